//! The folder of plugins in the store, and how those of a bundle get there: under names that nothing looks at until all
//! of the bundle is known to be good, then library first and sidecar last, since the sidecar is what makes a plugin one.

use super::index::{BundledPlugin, SIDECAR};
use crate::names::quoted;
use crate::{Digest, Error, ErrorKind, Result, hash_file};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The folder in the store that plugins of bundles go to. An engine searches it last.
pub const PLUGINS: &str = "plugins";

/// How the names of files begin that are not there yet.
const INCOMING: &str = ".incoming-";
/// Nobody but who holds it changes the folder.
const LOCK: &str = ".lock";
/// How often a lock that another process holds is tried again.
const TICK: Duration = Duration::from_millis(100);

/// What stands in the way of a plugin, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It is to be put there.
    New,
    /// It is there, byte for byte.
    Same,
}

/// Whether a plugin may be put into the store's folder of plugins.
///
/// # Errors
/// [`ErrorKind::Exists`] where another plugin has its id and was not to be replaced, or its file belongs to another.
pub(super) fn fit(store: &Path, plugin: &BundledPlugin, replace: bool) -> Result<Fit> {
    let folder = store.join(PLUGINS);
    let library = folder.join(&plugin.file);
    if let Some(owner) = owner_of(&folder, &plugin.file, &plugin.id)? {
        let problem = format!("belongs to the plugin {}: move that away first", quoted(&owner));
        return Err(ErrorKind::Exists { path: library, problem }.into());
    }
    let sidecar = folder.join(plugin.sidecar_name());
    let there = digest_of(&sidecar)?;
    let same = there == Some(plugin.sidecar.sha256) && digest_of(&library)? == Some(plugin.library.sha256);
    match (there, same) {
        (_, true) => Ok(Fit::Same),
        (Some(_), false) if !replace => {
            let problem = format!(
                "is of another plugin {}: --replace-plugins puts that of the bundle in its place",
                quoted(&plugin.id)
            );
            Err(ErrorKind::Exists { path: sidecar, problem }.into())
        }
        _ => Ok(Fit::New),
    }
}

/// The plugin of another id whose sidecar names this file.
fn owner_of(folder: &Path, file: &str, id: &str) -> Result<Option<String>> {
    let listed = match fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(folder, "list", error)),
    };
    for entry in listed {
        let entry = entry.map_err(|error| Error::io(folder, "list", error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(other) = name.strip_suffix(SIDECAR).filter(|other| *other != id) else { continue };
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let named =
            text.parse::<toml::Table>().ok().and_then(|table| Some(table.get("file")?.as_str()?.to_lowercase()));
        if named.is_some_and(|named| named == file.to_lowercase()) {
            return Ok(Some(other.to_owned()));
        }
    }
    Ok(None)
}

/// The digest of a file; `None` where there is none.
fn digest_of(path: &Path) -> Result<Option<Digest>> {
    match hash_file(path) {
        Ok(hashed) => Ok(Some(hashed.digest)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path, "read", error)),
    }
}

/// The folder of plugins while it is being changed. Dropped, it takes away what did not get there.
#[derive(Debug)]
pub(super) struct Incoming {
    folder: PathBuf,
    lock: Option<File>,
    /// Where a file lies now, and what it shall be called.
    staged: Vec<(PathBuf, String)>,
}

impl Incoming {
    /// Waits for the folder, makes it where there is none, and clears away what a process left that was killed.
    pub(super) fn begin(store: &Path, waits: &mut dyn FnMut() -> ControlFlow<()>) -> Result<Self> {
        let folder = store.join(PLUGINS);
        fs::create_dir_all(&folder).map_err(|error| Error::writing(&folder, "make", error))?;
        let path = folder.join(LOCK);
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let lock = lock.map_err(|error| Error::writing(&path, "open", error))?;
        let mut incoming = Self { folder, lock: None, staged: Vec::new() };
        loop {
            match lock.try_lock() {
                Ok(()) => break incoming.lock = Some(lock),
                Err(TryLockError::WouldBlock) if waits().is_break() => return Err(ErrorKind::Cancelled.into()),
                Err(TryLockError::WouldBlock) => std::thread::sleep(TICK),
                // A file system without locks: who imports twice at once there gets what he asked for.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => break,
                Err(TryLockError::Error(error)) => return Err(Error::io(&path, "lock", error)),
            }
        }
        incoming.clear();
        Ok(incoming)
    }

    fn clear(&self) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(INCOMING));
        ours.for_each(|entry| drop(fs::remove_file(entry.path())));
    }

    /// A new file that shall be called `name` once it is good.
    pub(super) fn stage(&mut self, name: &str) -> Result<Staged> {
        let path = self.folder.join(format!("{INCOMING}{}-{}", std::process::id(), self.staged.len()));
        let file = File::create_new(&path).map_err(|error| Error::writing(&path, "make", error))?;
        self.staged.push((path.clone(), name.to_owned()));
        Ok(Staged { file, path })
    }

    /// Gives every staged file its name, in the order in which they came.
    pub(super) fn install(mut self) -> Result<()> {
        for (path, name) in std::mem::take(&mut self.staged) {
            let place = self.folder.join(name);
            fs::rename(&path, &place).map_err(|error| Error::writing(&place, "write", error))?;
        }
        #[cfg(unix)]
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| Error::io(&self.folder, "sync", error))?;
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.staged.iter().for_each(|(path, _)| drop(fs::remove_file(path)));
    }
}

/// A file that has no name of its own yet.
#[derive(Debug)]
pub(super) struct Staged {
    file: File,
    path: PathBuf,
}

impl Staged {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| Error::writing(&self.path, "write", error))
    }

    /// Sends it to the disk, where nobody may write to it any more. Windows would not let it be replaced then.
    pub(super) fn settle(self) -> Result<()> {
        let settle = || {
            #[cfg(unix)]
            self.file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o444))?;
            self.file.sync_all()
        };
        settle().map_err(|error| Error::writing(&self.path, "write", error))
    }
}
