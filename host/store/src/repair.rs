//! Making way for a good copy of a file that is corrupt or missing.
//!
//! A broken blob of the store becomes a part that holds what is still good of it, so that a pull fetches only the rest. A
//! broken file that lies elsewhere is not ours and stays as it is: the good copy will lie in the store, which is searched
//! first, and takes over what is good of it.

use crate::collect::BLOBS;
use crate::folder::Folder;
use crate::identity::Identity;
use crate::verify::hash_one;
use crate::{BlobLock, Error, Manifest, ManifestFile, Part, Receive, Result, Store, beneath};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

/// What became of a corrupt or missing file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Demoted {
    /// It is what it should be by now.
    Good,
    /// Another process is writing it; a pull waits for that.
    Busy,
    /// It was nowhere: all of it is to be fetched.
    Missing,
    /// It was corrupt.
    Corrupt {
        /// Where it lay. In the store there is nothing by this name any more; elsewhere it lies as it did.
        path: PathBuf,
        /// Bytes of it that are good, and need not be fetched again.
        kept: u64,
    },
}

impl Store {
    /// Makes way for a good copy of a file of a model. By the chunks of the manifest, if it names any, what is good of a
    /// corrupt file is kept; without them nothing is.
    ///
    /// `hook` gets the bytes read since its last call, and cancels by breaking: then nothing has changed.
    ///
    /// # Errors
    /// When a file cannot be read, or the store cannot be written to.
    pub fn demote(
        &self,
        manifest: &Manifest,
        wanted: &ManifestFile,
        hook: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Demoted> {
        let blob = self.blob_path(wanted.sha256);
        if std::fs::symlink_metadata(&blob).is_ok() {
            return match self.try_lock_blob(wanted.sha256)? {
                Some(lock) => self.demote_blob(lock, &blob, wanted, hook),
                None => Ok(Demoted::Busy),
            };
        }
        // Of another size, it is an error with a path; what is good of that is not worth looking for.
        match self.find(manifest, wanted) {
            Ok(Some(found)) => self.take_good_of(&found.file, &found.path, wanted, hook),
            Ok(None) => Ok(Demoted::Missing),
            Err(error) => match error.path() {
                Some(path) => Ok(Demoted::Corrupt { path: path.to_owned(), kept: 0 }),
                None => Err(error),
            },
        }
    }

    /// Makes a part of a blob, or removes it. Until then its name stands for bytes that are known to be wrong, and
    /// afterwards for nothing.
    fn demote_blob(
        &self,
        lock: BlobLock,
        blob: &Path,
        wanted: &ManifestFile,
        hook: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Demoted> {
        let name = format!("sha256-{}", wanted.sha256);
        // What is no plain file has nothing good in it.
        let open = beneath::open(self.folder(), &[BLOBS, &name]).unwrap_or_default();
        let good = match &open {
            Some(file) if self.is_good(file, blob, wanted)? => return Ok(Demoted::Good),
            Some(file) => good_ranges(file, blob, wanted, hook)?,
            None => Vec::new(),
        };
        drop(open);
        if good.is_empty() {
            let folder = Folder::open(self.folder(), BLOBS)?;
            folder.map(|folder| folder.remove(&name).and_then(|_| folder.sync())).transpose()?;
        } else {
            // Dropped, the part keeps what it holds.
            drop(Part::adopt(self, lock, (wanted.sha256, wanted.size), blob, &good)?);
        }
        Ok(Demoted::Corrupt { path: blob.to_owned(), kept: length_of(&good) })
    }

    /// Whether a blob has the right size and digest. One that was seen to have another is not read again.
    fn is_good(&self, file: &File, path: &Path, wanted: &ManifestFile) -> Result<bool> {
        let identity = Identity::of(file).map_err(|error| Error::io(path, "look at", error))?;
        if identity.size != wanted.size {
            return Ok(false);
        }
        match self.ledger().rows().get(&identity) {
            Some(seen) if seen.digest != wanted.sha256 => Ok(false),
            _ => Ok(hash_one(file, path, &identity)?.digest == wanted.sha256),
        }
    }

    /// Begins a part with what is good of a file that is not ours.
    fn take_good_of(
        &self,
        file: &File,
        path: &Path,
        wanted: &ManifestFile,
        hook: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Demoted> {
        let good = good_ranges(file, path, wanted, hook)?;
        let busy = &mut || ControlFlow::Break(());
        let mut part = match self.receive(wanted.sha256, wanted.size, busy) {
            Ok(Receive::Part(part)) => part,
            Ok(Receive::Present(_)) => return Ok(Demoted::Good),
            Err(error) if matches!(error.kind(), crate::ErrorKind::Cancelled) => return Ok(Demoted::Busy),
            Err(error) => return Err(error),
        };
        copy_ranges(file, path, &mut part, &good)?;
        Ok(Demoted::Corrupt { path: path.to_owned(), kept: length_of(&good) })
    }
}

/// The ranges of a corrupt file that are good by the chunks of the manifest.
fn good_ranges(
    file: &File,
    path: &Path,
    wanted: &ManifestFile,
    hook: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Vec<Range<u64>>> {
    let Some(chunks) = &wanted.chunks else { return Ok(Vec::new()) };
    let mut file = file;
    let good = file.rewind().and_then(|()| chunks.good_ranges(&mut file, wanted.size, hook));
    let good = good.map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted => crate::ErrorKind::Cancelled.into(),
        _ => Error::io(path, "read", error),
    })?;
    // Then the manifest contradicts itself, and its chunks are worth nothing.
    Ok(if length_of(&good) == wanted.size { Vec::new() } else { good })
}

/// Copies ranges into a part, those of them that it lacks.
fn copy_ranges(mut file: &File, path: &Path, part: &mut Part, ranges: &[Range<u64>]) -> Result<()> {
    let mut buffer = vec![0; 256 << 10];
    for lacking in part.missing() {
        for range in ranges {
            let both = range.start.max(lacking.start)..range.end.min(lacking.end);
            if both.is_empty() {
                continue;
            }
            file.seek(SeekFrom::Start(both.start)).map_err(|error| Error::io(path, "read", error))?;
            let mut writer = part.writer(both)?;
            while writer.remaining() > 0 {
                let most = usize::try_from(writer.remaining()).unwrap_or(usize::MAX).min(buffer.len());
                file.read_exact(&mut buffer[..most]).map_err(|error| Error::io(path, "read", error))?;
                writer.write(&buffer[..most])?;
            }
        }
    }
    part.checkpoint()
}

fn length_of(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}
