//! A folder inside the store: opened once, listed, and emptied by name without ever following a link out of it.
//!
//! Removing is what this is for. [`crate::beneath`] opens files to be read, [`crate::part`] receives new ones.

use crate::{Error, Result};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A folder of the store.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    #[cfg(unix)]
    open: std::os::fd::OwnedFd,
}

/// What lies in a folder. A link is what it is itself, not what it leads to.
#[derive(Debug)]
pub(crate) struct Item {
    pub name: String,
    /// Whether it is a plain file.
    pub is_file: bool,
    /// Whether it is something that can be removed by its name: a file or a link.
    pub is_removable: bool,
    /// Bytes that are free once it is removed: none for a file that has another name.
    pub freed: u64,
    modified: SystemTime,
}

impl Item {
    /// How long ago it was written. What was written in the future is new.
    pub(crate) fn age(&self) -> Duration {
        self.modified.elapsed().unwrap_or_default()
    }
}

impl Folder {
    /// Opens `name` in the store at `store`; `None` when there is no such folder. A link in its place is refused: what
    /// it leads to is not the store's.
    pub(crate) fn open(store: &Path, name: &str) -> Result<Option<Self>> {
        let path = store.join(name);
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                return Err(Error::unsafe_path(
                    &path,
                    "is no folder of the store but a link or a file: nothing is removed",
                ));
            }
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(Error::io(&path, "look at", error)),
        }
        #[cfg(unix)]
        {
            use rustix::fs::{CWD, Mode, OFlags};
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let open = rustix::fs::openat(CWD, &path, flags, Mode::empty());
            let open = open.map_err(|error| Error::io(&path, "open", error.into()))?;
            Ok(Some(Self { path, open }))
        }
        #[cfg(not(unix))]
        Ok(Some(Self { path }))
    }

    /// The path of something in it.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What lies in it, sorted by name. Names that are no Unicode are nobody's here and left out.
    pub(crate) fn items(&self) -> Result<Vec<Item>> {
        let listed = std::fs::read_dir(&self.path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let listed = listed.map_err(|error| Error::io(&self.path, "list", error))?;
        let names = listed.into_iter().map(|entry| entry.file_name());
        let mut items: Vec<Item> = names.filter_map(|name: OsString| self.item(&name.into_string().ok()?)).collect();
        items.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(items)
    }

    /// What lies in it under this name now.
    pub(crate) fn item(&self, name: &str) -> Option<Item> {
        let metadata = std::fs::symlink_metadata(self.path_of(name)).ok()?;
        Some(Item {
            name: name.to_owned(),
            is_file: metadata.is_file(),
            is_removable: !metadata.is_dir(),
            freed: if names(&metadata) > 1 { 0 } else { metadata.len() },
            modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        })
    }

    /// Removes a file, or a link itself; whether there was one.
    pub(crate) fn remove(&self, name: &str) -> Result<bool> {
        #[cfg(unix)]
        let removed = rustix::fs::unlinkat(&self.open, name, rustix::fs::AtFlags::empty()).map_err(io::Error::from);
        #[cfg(not(unix))]
        let removed = remove_even_if_read_only(&self.path_of(name));
        match removed {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::writing(&self.path_of(name), "remove", error)),
        }
    }

    /// Makes what was removed or renamed stay so when the machine loses power.
    pub(crate) fn sync(&self) -> Result<()> {
        #[cfg(unix)]
        rustix::fs::fsync(&self.open).map_err(|error| Error::io(&self.path, "sync", error.into()))?;
        Ok(())
    }
}

/// How many names a file has.
#[cfg(unix)]
fn names(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

#[cfg(not(unix))]
fn names(_: &std::fs::Metadata) -> u64 {
    1
}

/// Windows removes no file that is marked read-only, as blobs are.
#[cfg(not(unix))]
fn remove_even_if_read_only(path: &Path) -> io::Result<()> {
    let mut permissions = std::fs::symlink_metadata(path)?.permissions();
    if permissions.readonly() {
        permissions.set_readonly(false);
        std::fs::set_permissions(path, permissions)?;
    }
    std::fs::remove_file(path)
}

/// Whether nothing lies there, not even a folder that it could lie in.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
