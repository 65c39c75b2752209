//! Room on the disk: checked and reserved before the first byte, so that a full disk is said at once.

use crate::{Error, ErrorKind, Result};
use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

/// Checks that `need` more bytes fit on the disk of `folder`, or of the first folder above it that exists.
pub(super) fn check(folder: &Path, need: u64) -> Result<()> {
    let Some(place) = folder.ancestors().find(|folder| folder.exists()) else { return Ok(()) };
    match free(place) {
        Some(have) if have < need => Err(ErrorKind::NoSpace { path: folder.to_owned(), need, have }.into()),
        _ => Ok(()),
    }
}

/// Reserves the blocks that a part still lacks. Its length stays: it tells what is there.
pub(super) fn reserve(file: &File, path: &Path, size: u64) -> Result<()> {
    let metadata = file.metadata().map_err(|error| Error::io(path, "look at", error))?;
    let need = size.saturating_sub(taken(&metadata));
    check(path.parent().unwrap_or(path), need)?;
    match allocate(file, size) {
        Ok(()) => Ok(()),
        Err(error) if is_full(&error) => {
            // Nothing of a reservation that did not come about may stay.
            let _ = file.set_len(metadata.len());
            Err(or_no_space(path, need, "reserve room for", error))
        }
        // Where nothing can be reserved, what was checked above must do.
        Err(_) => Ok(()),
    }
}

/// The error of a write, told in bytes where the disk is full.
pub(super) fn or_no_space(path: &Path, need: u64, doing: &'static str, error: io::Error) -> Error {
    if !is_full(&error) {
        return Error::writing(path, doing, error);
    }
    let folder = path.parent().unwrap_or(path);
    ErrorKind::NoSpace { path: folder.to_owned(), need, have: free(folder).unwrap_or(0) }.into()
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Bytes that this user may still write there.
#[cfg(unix)]
fn free(folder: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(folder).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(not(unix))]
fn free(_: &Path) -> Option<u64> {
    None
}

/// Bytes on the disk that a file takes.
#[cfg(unix)]
pub(super) fn taken(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata).saturating_mul(512)
}

#[cfg(not(unix))]
pub(super) fn taken(metadata: &Metadata) -> u64 {
    metadata.len()
}

#[cfg(target_os = "linux")]
fn allocate(file: &File, size: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    Ok(fallocate(file, FallocateFlags::KEEP_SIZE, 0, size)?)
}

#[cfg(not(target_os = "linux"))]
fn allocate(_: &File, _: u64) -> io::Result<()> {
    Ok(())
}
