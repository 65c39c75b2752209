//! The lock of a blob: at most one process at a time receives it.
//!
//! An advisory lock on a file of its own, which the system takes back when the process dies. The file vanishes with its
//! holder; whoever waited for it finds that it did, and takes the new one.

#[cfg(unix)]
use crate::identity::Identity;
use crate::{Error, Result};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::time::Duration;

/// Milliseconds to wait for a clock; those of common file systems tick every 1 to 10.
#[cfg(unix)]
const MOMENT: u32 = 50;

/// The right to write the part and the blob of one digest. Ends when it is dropped.
#[derive(Debug)]
pub struct BlobLock {
    /// `None` where the file system knows no locks: then the part gets a name of its own.
    file: Option<File>,
    path: PathBuf,
}

impl BlobLock {
    /// Takes the lock, if no other holds it.
    pub(super) fn try_take(path: &Path) -> Result<Option<Self>> {
        loop {
            let file = open(path)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, path) => return Ok(Some(Self { file: Some(file), path: path.to_owned() })),
                // Its holder removed it after it was opened here.
                Ok(()) => continue,
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) if knows_no_locks(&error) => {
                    return Ok(Some(Self { file: None, path: path.to_owned() }));
                }
                Err(TryLockError::Error(error)) => return Err(Error::io(path, "lock", error)),
            }
        }
    }

    /// Waits until the clock of the file system is past a time, as it shows on the lock's own file; `false` where that
    /// takes longer than a moment.
    #[cfg(unix)]
    pub(super) fn outlasts(&self, changed: i128) -> bool {
        let Some(file) = &self.file else { return false };
        let is_past = || {
            // Setting the mode that it has changes nothing but the time.
            let permissions = file.metadata()?.permissions();
            file.set_permissions(permissions)?;
            Identity::of(file).map(|identity| identity.changed > changed)
        };
        (0..MOMENT).any(|_| {
            let past: io::Result<bool> = is_past();
            if !matches!(past, Ok(true)) {
                std::thread::sleep(Duration::from_millis(1));
            }
            past.unwrap_or(false)
        })
    }

    /// Nothing there tells when a file was changed last.
    #[cfg(not(unix))]
    pub(super) fn outlasts(&self, _: i128) -> bool {
        false
    }

    /// Whether no other process can hold it too.
    pub(super) fn is_exclusive(&self) -> bool {
        self.file.is_some()
    }
}

impl Drop for BlobLock {
    fn drop(&mut self) {
        if self.file.is_some() {
            // While it is still held: who opens the path from now on makes a new file.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    open_plain(&mut options, path).map_err(|error| Error::writing(path, "lock", error))
}

/// Opens a file of the store's own, following no link that somebody put in its place.
pub(super) fn open_plain(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.mode(0o600).custom_flags(flags.bits().cast_signed());
    }
    let file = options.open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a plain file")) }
}

/// Whether `path` still is the open file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// Elsewhere an open file keeps its name.
#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(unix)]
pub(crate) fn knows_no_locks(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    error.kind() == io::ErrorKind::Unsupported
        || errno.is_some_and(|errno| [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS].contains(&errno))
}

#[cfg(not(unix))]
pub(crate) fn knows_no_locks(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_the_lock_and_its_file_vanishes_with_the_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob.lock");
        let first = BlobLock::try_take(&path).unwrap().unwrap();
        assert!(first.is_exclusive());
        assert!(BlobLock::try_take(&path).unwrap().is_none());
        drop(first);
        assert!(!path.exists());
        assert!(BlobLock::try_take(&path).unwrap().is_some());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_the_place_of_the_lock_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob.lock");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap();
        assert!(BlobLock::try_take(&path).is_err());
        assert!(!folder.path().join("elsewhere").exists());
    }
}
