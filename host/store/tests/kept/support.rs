//! A store on a path with a space and letters beyond ASCII, and models to keep in it.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tenon_store::{
    Chunks, Digest, Error, Locations, Manifest, ManifestFile, Progress, Receive, Store, VerifiedFile, VerifyMode,
};

pub struct Home {
    _folder: TempDir,
    pub root: PathBuf,
}

impl Home {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("Zoë Ω home");
        fs::create_dir_all(root.join("models")).unwrap();
        Self { _folder: folder, root }
    }

    pub fn locations(&self) -> Locations {
        Locations {
            models: vec![self.root.join("models")],
            downloads: self.root.join("models"),
            store: self.root.join("store"),
            stores: vec![self.root.join("shared")],
            hub: self.root.join("hub"),
            state: self.root.join("state"),
            ..Locations::default()
        }
    }

    pub fn store(&self) -> Store {
        Store::at(&self.locations())
    }

    /// Writes a file of the home.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Where the blob of these bytes lies.
    pub fn blob(&self, bytes: &[u8]) -> PathBuf {
        self.store().blob_path(Digest::of(bytes))
    }

    /// The names in a folder of the store, sorted; locks, which come and go, left out.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let Ok(listed) = fs::read_dir(self.root.join("store").join(folder)) else { return Vec::new() };
        let mut names: Vec<String> = listed.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.ends_with(".lock"));
        names.sort();
        names
    }
}

pub fn go_on(_: &Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A manifest with a file for each text.
pub fn model(name: &str, texts: &[&str]) -> Manifest {
    let mut manifest = Manifest::new(name, "chat", "echo", "MIT");
    for text in texts {
        manifest.files.push(file(&format!("{text}.bin"), text.as_bytes()));
    }
    manifest
}

pub fn file(name: &str, bytes: &[u8]) -> ManifestFile {
    let mut file = ManifestFile::new("model", name, Digest::of(bytes), bytes.len() as u64);
    file.urls = vec![format!("https://example.org/{}", name.replace(' ', "-"))];
    file
}

/// Bytes of which no two chunks are the same, and their chunks.
pub fn chunked(count: usize) -> (Vec<u8>, Chunks) {
    let bytes: Vec<u8> = (0..count * 65_536 - 100).map(|index| (index / 251 + index / 65_536) as u8).collect();
    let chunks = Chunks::of(&mut &bytes[..], 65_536, &mut |_| ControlFlow::Continue(())).unwrap();
    (bytes, chunks)
}

/// Brings bytes into the store as a pull would.
pub fn bring(store: &Store, bytes: &[u8]) -> PathBuf {
    match store.receive(Digest::of(bytes), bytes.len() as u64, &mut || ControlFlow::Continue(())).unwrap() {
        Receive::Present(path) => path,
        Receive::Part(part) => {
            part.restart().unwrap();
            part.writer(0..bytes.len() as u64).unwrap().write(bytes).unwrap();
            part.commit(&mut go_on).unwrap()
        }
    }
}

/// A model that was pulled.
pub fn pulled(store: &Store, name: &str, texts: &[&str]) -> Manifest {
    let manifest = model(name, texts);
    let claim = store.claim(&manifest).unwrap();
    texts.iter().for_each(|text| drop(bring(store, text.as_bytes())));
    claim.refer().unwrap();
    manifest
}

pub fn verify(store: &Store, manifest: &Manifest) -> Result<Vec<VerifiedFile>, Error> {
    store.verify(manifest, VerifyMode::Always, &mut go_on)
}

/// Whether an error is one sentence for a person: one line, no full stop.
pub fn is_one_sentence(error: &Error) -> bool {
    let text = error.to_string();
    !text.contains('\n') && !text.ends_with('.') && text.chars().next().is_some_and(|c| !c.is_uppercase())
}

pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}
