//! What the manifest folders hold, good and broken.

use crate::names::nearest;
use crate::{Diagnostic, Error, ErrorKind, Manifest, Result, Trust};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// What the manifest folders hold. A broken manifest hides no good one but that of its own name.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    folders: Vec<PathBuf>,
    entries: Vec<Entry>,
    shadowed: Vec<Shadowed>,
    problems: Vec<Error>,
}

/// One manifest file.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Name of the model: the stem of the file.
    pub name: String,
    /// The file, or what stands for it where the manifest lies in none.
    pub path: PathBuf,
    /// What it says, or what is wrong with it.
    pub manifest: Result<Manifest>,
}

/// A manifest that another of the same name, in a folder searched before, hides although it says something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadowed {
    /// The name of both.
    pub name: String,
    /// The hidden file.
    pub path: PathBuf,
    /// The file that hides it.
    pub by: PathBuf,
}

impl Entry {
    /// Reads one manifest file, with the signature beside it.
    pub fn read(path: &Path) -> Self {
        Self::read_with(path, &Trust::default())
    }

    /// As [`Entry::read`]; what these rules refuse is an error, as a broken manifest is.
    pub fn read_with(path: &Path, trust: &Trust) -> Self {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let manifest = Manifest::read(path).and_then(|manifest| trust.admit(manifest));
        Self { name, path: path.to_owned(), manifest }
    }

    /// Reads the text of a manifest that lies in no file; `origin` is what errors call it. A broken one has no name.
    pub fn of_text(text: &str, origin: &Path) -> Self {
        let manifest = Manifest::parse_text(text, origin).map_err(|diagnostics| ErrorKind::Manifest { diagnostics });
        let name = manifest.as_ref().map(|manifest| manifest.name.clone()).unwrap_or_default();
        Self { name, path: origin.to_owned(), manifest: manifest.map_err(Error::from) }
    }

    /// Whether the manifest file at `path` is a good one that says the same.
    fn says_the_same_as(&self, path: &Path) -> bool {
        let Ok(manifest) = &self.manifest else { return false };
        Manifest::read(path).is_ok_and(|other| other == *manifest)
    }

    /// Everything that is wrong with the text of the manifest.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self.manifest.as_ref().map_err(Error::kind) {
            Err(ErrorKind::Manifest { diagnostics }) => diagnostics,
            _ => &[],
        }
    }
}

impl Catalog {
    /// Reads the manifests (`*.toml`) of the folders. On a name, the first folder wins. Folders that do not exist
    /// are passed over.
    pub fn read(folders: &[PathBuf]) -> Self {
        Self::read_with(folders, &Trust::default())
    }

    /// As [`Catalog::read`], with rules on signatures: a manifest that they refuse is as a broken one.
    pub fn read_with(folders: &[PathBuf], trust: &Trust) -> Self {
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        let mut catalog = Self { folders: folders.to_vec(), ..Self::default() };
        for folder in folders {
            let paths = manifests_in(folder).unwrap_or_else(|error| {
                catalog.problems.push(error);
                Vec::new()
            });
            for path in paths {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                match entries.get(&name) {
                    // References repeat what the catalogue says.
                    Some(first) if first.says_the_same_as(&path) => {}
                    Some(first) => catalog.shadowed.push(Shadowed { name, path, by: first.path.clone() }),
                    None => {
                        entries.insert(name, Entry::read_with(&path, trust));
                    }
                }
            }
        }
        catalog.entries = entries.into_values().collect();
        catalog
    }

    /// Adds a manifest before all others.
    pub fn put_first(&mut self, entry: Entry) {
        let at = self.entries.partition_point(|other| other.name < entry.name);
        match self.entries.get_mut(at) {
            Some(hidden) if hidden.name == entry.name => {
                let (name, by) = (entry.name.clone(), entry.path.clone());
                let hidden = std::mem::replace(hidden, entry);
                // Read again, it hides nothing but its own past.
                if hidden.path != by {
                    self.shadowed.push(Shadowed { name, path: hidden.path, by });
                }
            }
            _ => self.entries.insert(at, entry),
        }
    }

    /// All manifests, sorted by name.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The good manifests, sorted by name.
    pub fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.entries.iter().filter_map(|entry| entry.manifest.as_ref().ok())
    }

    /// The manifests that others of another content hide, in the order in which they were found.
    pub fn shadowed(&self) -> &[Shadowed] {
        &self.shadowed
    }

    /// The folders that exist but could not be listed.
    pub fn problems(&self) -> &[Error] {
        &self.problems
    }

    /// The manifest of this name. A broken one is an error with its diagnostics.
    pub fn get(&self, name: &str) -> Result<&Manifest> {
        let Ok(at) = self.entries.binary_search_by(|entry| entry.name.as_str().cmp(name)) else {
            let names = self.entries.iter().map(|entry| entry.name.as_str());
            return Err(ErrorKind::NoManifest {
                name: name.to_owned(),
                nearest: nearest(name, names).map(str::to_owned),
                searched: self.folders.clone(),
            }
            .into());
        };
        let entry = &self.entries[at];
        entry.manifest.as_ref().map_err(Error::clone)
    }
}

/// The paths of the manifests of a folder, sorted; none when there is no such folder.
pub(crate) fn manifests_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let listed = match std::fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(folder, "list", error)),
    };
    let mut paths = Vec::new();
    for entry in listed {
        let path = entry.map_err(|error| Error::io(folder, "list", error))?.path();
        // Editors leave hidden files beside the ones that they edit.
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
