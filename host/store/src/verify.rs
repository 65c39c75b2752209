//! Hashing found files, and the files that came out of it verified.

use crate::digest::{Digest, hash_reader};
use crate::identity::Identity;
use crate::ledger::{self, Seen};
use crate::{Error, ErrorKind, ManifestFile, Result, beneath};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Seek;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// When the files of a model are hashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyMode {
    /// Each time.
    Always,
    /// Unless the ledger knows this very version of the file.
    #[default]
    Cached,
    /// Never. Sizes are compared all the same.
    Never,
}

/// How the digest of a file is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It was hashed just now.
    Hashed,
    /// It was hashed before, and the file has not changed since.
    Ledger,
    /// It is not: [`VerifyMode::Never`] was asked for.
    NotChecked,
}

/// How far the hashing of a model's files is. Files that need no hashing do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes hashed so far.
    pub done: u64,
    /// Bytes to hash.
    pub total: u64,
}

/// An open file that is what its manifest says. Only a [`crate::Store`] makes one.
///
/// The descriptor that was hashed is the one that is handed out, so that nothing can be put in its place between the
/// check and the use.
#[derive(Debug)]
pub struct VerifiedFile {
    role: String,
    name: String,
    path: PathBuf,
    file: File,
    identity: Identity,
    digest: Digest,
    how: How,
}

impl VerifiedFile {
    /// What it is to the backend.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// Its name in the manifest.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it lies: absolute, links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file, at its start.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The open file, at its start.
    pub fn into_file(self) -> File {
        self.file
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.identity.size
    }

    /// The digest that the manifest names.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How it is known that the file has this digest.
    pub fn how(&self) -> How {
        self.how
    }

    /// A path that opens this file for as long as `self` lives.
    ///
    /// On Linux `/proc/self/fd/N`, which opens the very file that was verified even when another has taken its
    /// place; only this process can use it. Elsewhere [`VerifiedFile::path`].
    pub fn open_path(&self) -> PathBuf {
        #[cfg(target_os = "linux")]
        {
            let path = beneath::descriptor_path(&self.file);
            if path.exists() {
                return path;
            }
        }
        self.path.clone()
    }

    /// Whether nobody has written to the file since it was verified, as far as its times tell: to be asked once a
    /// backend has read it.
    pub fn is_unchanged(&self) -> bool {
        Identity::of(&self.file).is_ok_and(|now| now == self.identity)
    }
}

/// A file of a manifest that was found with the right size.
#[derive(Debug)]
pub(crate) struct Found<'m> {
    pub wanted: &'m ManifestFile,
    pub file: File,
    pub path: PathBuf,
    pub identity: Identity,
}

impl Found<'_> {
    pub(crate) fn verified(self, how: How) -> VerifiedFile {
        VerifiedFile {
            role: self.wanted.role.clone(),
            name: self.wanted.name.clone(),
            path: beneath::real_path(&self.file, &self.path),
            file: self.file,
            identity: self.identity,
            digest: self.wanted.sha256,
            how,
        }
    }

    /// Hashes the file. What was seen is worth remembering whether or not it is what was wanted.
    fn hash(self, watch: &Watch) -> (Result<VerifiedFile>, Option<(Identity, Seen)>) {
        let at = ledger::now();
        let hashed = match hash_unchanged(&self.file, &self.path, &self.identity, watch) {
            Ok(hashed) => hashed,
            Err(error) => return (Err(error), None),
        };
        let row = Some((self.identity, Seen { digest: hashed, at }));
        if hashed == self.wanted.sha256 {
            return (Ok(self.verified(How::Hashed)), row);
        }
        let kind = ErrorKind::HashMismatch { path: self.path, expected: self.wanted.sha256, actual: hashed };
        (Err(kind.into()), row)
    }
}

/// The digest of an open file that stands at its start, if nobody wrote to it meanwhile. It stands there again.
fn hash_unchanged(mut file: &File, path: &Path, identity: &Identity, watch: &Watch) -> Result<Digest> {
    let hashed = hash_reader(&mut file, &mut |count| watch.advance(count)).map_err(|error| {
        if watch.is_cancelled() { ErrorKind::Cancelled.into() } else { Error::io(path, "read", error) }
    })?;
    let after = Identity::of(file).map_err(|error| Error::io(path, "look at", error))?;
    if after != *identity || hashed.size != identity.size {
        return Err(ErrorKind::Changed { path: path.to_owned() }.into());
    }
    file.rewind().map_err(|error| Error::io(path, "read", error))?;
    Ok(hashed.digest)
}

/// Hashes one open file on this thread, and says what is worth remembering of it.
pub(crate) fn hash_one(file: &File, path: &Path, identity: &Identity) -> Result<Seen> {
    let at = ledger::now();
    hash_unchanged(file, path, identity, &Watch::default()).map(|digest| Seen { digest, at })
}

/// What the hashing threads and the caller's thread share.
#[derive(Default)]
struct Watch {
    done: AtomicU64,
    cancelled: AtomicBool,
}

impl Watch {
    fn advance(&self, count: u64) -> ControlFlow<()> {
        self.done.fetch_add(count, Ordering::Relaxed);
        if self.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// What became of each file, in order, and what was seen.
pub(crate) type Outcomes = (Vec<Result<VerifiedFile>>, Vec<(Identity, Seen)>);

/// Hashes files with up to `threads` threads. `progress` is called on this thread, some 30 times a second.
pub(crate) fn hash_all(
    files: Vec<Found<'_>>,
    threads: usize,
    progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Outcomes> {
    const TICK: Duration = Duration::from_millis(33);

    if files.is_empty() {
        return Ok(Outcomes::default());
    }
    let total = files.iter().map(|found| found.identity.size).sum();
    let watch = Watch::default();
    let mut tell = |watch: &Watch| {
        let done = watch.done.load(Ordering::Relaxed).min(total);
        if progress(&Progress { done, total }).is_break() {
            watch.cancelled.store(true, Ordering::Relaxed);
        }
    };
    tell(&watch);
    let outcomes = in_parallel(files, threads, |found| found.hash(&watch), TICK, || tell(&watch))?;
    tell(&watch);
    let (results, rows): (Vec<_>, Vec<_>) = outcomes.into_iter().unzip();
    Ok((results, rows.into_iter().flatten().collect()))
}

/// Does `work` for all files on a pool of up to `threads` threads, and `meanwhile` on this one every `tick`. Every thread
/// has been joined when this returns, which dropping a pool of rayon's does not do by itself.
fn in_parallel<T: Send>(
    files: Vec<Found<'_>>,
    threads: usize,
    work: impl Fn(Found<'_>) -> T + Sync,
    tick: Duration,
    mut meanwhile: impl FnMut(),
) -> Result<Vec<T>> {
    let path = files[0].path.clone();
    let mut workers = Vec::new();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.clamp(1, files.len())).spawn_handler(|thread| {
        let name = format!("tenon-hash-{}", thread.index());
        workers.push(thread::Builder::new().name(name).spawn(|| thread.run())?);
        Ok(())
    });
    let pool = pool.build().map_err(|error| Error::io(&path, "start threads to read", std::io::Error::other(error)))?;
    let (finish, finished) = channel();
    let outcomes = pool.in_place_scope(|scope| {
        let work = &work;
        scope.spawn(move |_| {
            let _ = finish.send(files.into_par_iter().map(work).collect());
        });
        loop {
            match finished.recv_timeout(tick) {
                Ok(outcomes) => break outcomes,
                Err(RecvTimeoutError::Timeout) => meanwhile(),
                // The work panicked; the scope passes it on.
                Err(RecvTimeoutError::Disconnected) => break Vec::new(),
            }
        }
    });
    drop(pool);
    for worker in workers {
        worker.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload));
    }
    Ok(outcomes)
}
