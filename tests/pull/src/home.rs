//! A store in a folder of its own, and the check that no name in it points to wrong bytes.

use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tenon_store::{Digest, Manifest, ManifestFile, Store};

/// A folder with a store and its state, removed when dropped.
#[derive(Debug)]
pub struct Home {
    folder: PathBuf,
    _keeps: Option<TempDir>,
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// An empty one.
    pub fn new() -> Self {
        Self::named("home")
    }

    /// An empty one in a folder of this name.
    pub fn named(name: &str) -> Self {
        let around = TempDir::new().expect("a folder");
        let folder = around.path().join(name);
        std::fs::create_dir(&folder).expect("a folder");
        Self { folder, _keeps: Some(around) }
    }

    /// One in a folder that is there, and stays.
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), _keeps: None }
    }

    /// The folder around everything.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The folder of the store.
    pub fn store_folder(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// The folder of the ledger.
    pub fn state_folder(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// The store.
    pub fn store(&self) -> Store {
        Store::new(vec![self.folder.join("models")], self.store_folder(), self.state_folder())
    }

    /// Where the blob of this digest lies or would lie.
    pub fn blob_path(&self, digest: Digest) -> PathBuf {
        self.store_folder().join("blobs").join(format!("sha256-{digest}"))
    }

    /// Whether the name of these bytes' digest points to them; panics where it points to others.
    pub fn holds(&self, bytes: &[u8]) -> bool {
        let path = self.blob_path(Digest::of(bytes));
        let Ok(found) = std::fs::read(&path) else { return false };
        assert!(found == bytes, "{} holds other bytes", path.display());
        true
    }

    /// The file that receives a blob.
    pub fn part_path(&self, digest: Digest) -> PathBuf {
        self.store_folder().join("parts").join(format!("sha256-{digest}.part"))
    }

    /// The files in `parts/`.
    pub fn parts(&self) -> Vec<PathBuf> {
        entries(&self.store_folder().join("parts"))
    }

    /// Panics where a name points to bytes that are not its own, or where something lies in the folder that has no
    /// business there.
    pub fn assert_sound(&self, case: &str) {
        for blob in entries(&self.store_folder().join("blobs")) {
            let name = blob.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let bytes = std::fs::read(&blob).unwrap_or_else(|error| panic!("{case}: {}: {error}", blob.display()));
            assert_eq!(name, format!("sha256-{}", Digest::of(&bytes)), "{case}: {} holds other bytes", blob.display());
            let writable = std::fs::metadata(&blob).is_ok_and(|metadata| !metadata.permissions().readonly());
            assert!(!writable, "{case}: {} can be written to", blob.display());
        }
        for entry in entries(&self.store_folder()) {
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let known = ["blobs", "parts", "models", "plugins", "claims"];
            assert!(known.contains(&name.as_str()), "{case}: {} has no business there", entry.display());
        }
    }
}

/// What a folder holds; nothing where there is none.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}

/// A manifest for the echo backend with these files: name, addresses, bytes.
pub fn manifest(name: &str, files: &[(&str, &[String], &[u8])]) -> Manifest {
    let mut manifest = Manifest::new(name, "generate", "echo", "MIT");
    for (file, urls, bytes) in files {
        let mut file = ManifestFile::new("model", *file, Digest::of(bytes), bytes.len() as u64);
        file.urls = urls.to_vec();
        manifest.files.push(file);
    }
    manifest
}
