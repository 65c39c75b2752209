//! Receiving a blob: from a part file that grows, maybe over several processes' lives, to a verified blob.
//!
//! A [`Part`] is the right to write one blob, held by one process at a time. Its bytes lie in
//! `parts/sha256-<hex>.part`; beside it a sidecar says where they come from and, once they arrive out of order, which
//! are there. A range is claimed only after its bytes were written, so that a process killed at any moment loses at most
//! what it wrote last. [`Part::commit`] is the only way into `blobs/`, and it lets only bytes in whose digest is right.

mod follower;
mod lock;
mod ranges;
mod sidecar;
mod space;

pub use lock::BlobLock;
pub(crate) use lock::knows_no_locks;
pub use sidecar::Source;

use crate::identity::Identity;
use crate::ledger::{self, Ledger, Seen};
use crate::{Digest, Error, ErrorKind, Progress, Result, Store};
use follower::Followers;
use ranges::Ranges;
use sidecar::Sidecar;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

/// How often whoever waits is asked whether to go on.
const TICK: Duration = Duration::from_millis(100);

/// How often a commit tells how far it is.
const PROGRESS_TICK: Duration = Duration::from_millis(33);

/// What [`Store::receive`] found.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made, and never kept")]
pub enum Receive {
    /// The blob is in the store.
    Present(PathBuf),
    /// It is to be fetched: the part, with what it already holds.
    Part(Part),
}

/// What [`Store::lock_to_receive`] found.
#[derive(Debug)]
pub(crate) enum Place {
    /// The blob is in the store.
    Present(PathBuf),
    /// It is not, and only the holder of this lock may change that.
    Free(BlobLock),
}

impl Store {
    /// The blob of a digest, or the right to write it.
    ///
    /// While another process has that right this waits, and calls `waits` some ten times a second, which cancels by
    /// breaking. A blob of another size, or one that was seen to have another digest, is removed.
    pub fn receive(&self, digest: Digest, size: u64, waits: &mut dyn FnMut() -> ControlFlow<()>) -> Result<Receive> {
        match self.lock_to_receive(digest, size, waits)? {
            Place::Present(blob) => Ok(Receive::Present(blob)),
            Place::Free(lock) => Part::open(self, lock, digest, size).map(Receive::Part),
        }
    }

    /// As [`Store::receive`], for one who brings the blob by other means than a part.
    pub(crate) fn lock_to_receive(
        &self,
        digest: Digest,
        size: u64,
        waits: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Place> {
        let blob = self.blob_path(digest);
        let lock = loop {
            if self.has_blob(&blob, digest, size) {
                return Ok(Place::Present(blob));
            }
            if let Some(lock) = self.try_lock_blob(digest)? {
                break lock;
            }
            if waits().is_break() {
                return Err(ErrorKind::Cancelled.into());
            }
            std::thread::sleep(TICK);
        };
        // Whoever held the lock may have committed in between.
        if self.has_blob(&blob, digest, size) {
            return Ok(Place::Present(blob));
        }
        match fs::remove_file(&blob) {
            Ok(()) => tracing::warn!(blob = %blob.display(), "a blob that is not what its name says was removed"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::writing(&blob, "remove", error)),
        }
        Ok(Place::Free(lock))
    }

    /// The lock of a blob; `None` while another process, or another part of this one, holds it.
    pub fn try_lock_blob(&self, digest: Digest) -> Result<Option<BlobLock>> {
        for folder in ["parts", "blobs"] {
            let folder = self.folder().join(folder);
            fs::create_dir_all(&folder).map_err(|error| Error::writing(&folder, "make", error))?;
        }
        BlobLock::try_take(&self.part_path(digest, ".part.lock"))
    }

    /// Where the blob of a digest lies, once it is there.
    pub fn blob_path(&self, digest: Digest) -> PathBuf {
        self.folder().join("blobs").join(format!("sha256-{digest}"))
    }

    /// Checks that this many more bytes fit on the store's disk: [`ErrorKind::NoSpace`] if they do not. What no system
    /// call tells passes.
    pub fn room_for(&self, bytes: u64) -> Result<()> {
        space::check(self.folder(), bytes)
    }

    /// Bytes on the disk that the part of a blob takes, those reserved included.
    pub fn taken_by_part(&self, digest: Digest) -> u64 {
        fs::symlink_metadata(self.part_path(digest, ".part")).map_or(0, |metadata| space::taken(&metadata))
    }

    fn part_path(&self, digest: Digest, ending: &str) -> PathBuf {
        self.folder().join("parts").join(format!("sha256-{digest}{ending}"))
    }

    fn has_blob(&self, blob: &Path, digest: Digest, size: u64) -> bool {
        let Ok(metadata) = fs::symlink_metadata(blob) else { return false };
        if !metadata.is_file() || metadata.len() != size {
            return false;
        }
        let identity = File::open(blob).and_then(|file| Identity::of(&file));
        identity.is_ok_and(|identity| self.ledger().rows().get(&identity).is_none_or(|seen| seen.digest == digest))
    }
}

/// A blob that is being received. Dropped, it keeps what it holds for the next time.
#[derive(Debug)]
pub struct Part {
    digest: Digest,
    blob: PathBuf,
    shared: Arc<Shared>,
    followers: Mutex<Option<Followers>>,
    ledger: Ledger,
    committed: bool,
    lock: BlobLock,
}

/// What the part, its writers and its followers share.
#[derive(Debug)]
struct Shared {
    file: File,
    path: PathBuf,
    sidecar: PathBuf,
    size: u64,
    state: Mutex<State>,
    changed: Condvar,
    /// Taken while the sidecar is written, so that an older one never replaces a newer.
    writing: Mutex<()>,
    /// Held for reading while bytes are written, and for writing while the part is emptied.
    emptying: RwLock<()>,
}

#[derive(Debug, Default)]
struct State {
    held: Ranges,
    /// Bytes arrive out of order: the sidecar says which are there, and not the length of the file.
    scattered: bool,
    source: Option<Source>,
    has_sidecar: bool,
    /// Bytes that the sidecar does not claim yet.
    unclaimed: u64,
    /// Bytes that were not sent to the disk yet.
    unsent: u64,
    /// Counts how often the part was emptied: what was written before counts for nothing.
    generation: u64,
    /// Bytes hashed, from the start.
    hashed: u64,
    digest: Option<Digest>,
    /// What went wrong on a thread of its own.
    failed: Option<Error>,
    stopped: bool,
}

impl Part {
    /// Opens the part of a digest, or begins it.
    pub(crate) fn open(store: &Store, lock: BlobLock, digest: Digest, size: u64) -> Result<Self> {
        let ending = if lock.is_exclusive() { ".part".to_owned() } else { unique_ending() };
        let path = store.part_path(digest, &ending);
        let file = open_part(&path).map_err(|error| Error::writing(&path, "open", error))?;
        let metadata = file.metadata().map_err(|error| Error::io(&path, "look at", error))?;
        let sidecar = store.part_path(digest, &format!("{ending}.json"));
        let state = state_of(&sidecar, size, metadata.len());
        if state.held.total() == 0 {
            file.set_len(0).map_err(|error| Error::writing(&path, "empty", error))?;
        }
        let shared = Shared {
            file,
            path,
            sidecar,
            size,
            state: Mutex::new(state),
            changed: Condvar::new(),
            writing: Mutex::default(),
            emptying: RwLock::default(),
        };
        let part = Self {
            digest,
            blob: store.blob_path(digest),
            shared: Arc::new(shared),
            followers: Mutex::default(),
            ledger: store.ledger().another(),
            committed: false,
            lock,
        };
        space::reserve(&part.shared.file, &part.shared.path, size)?;
        Ok(part)
    }

    /// Makes a part of `size` bytes of an existing file of which only `good` ranges are right, by moving it. A file that
    /// has other names is copied instead, since whoever knows it by those must not see it change.
    pub fn adopt(
        store: &Store,
        lock: BlobLock,
        (digest, size): (Digest, u64),
        file: &Path,
        good: &[Range<u64>],
    ) -> Result<Self> {
        let path = store.part_path(digest, ".part");
        let sidecar = store.part_path(digest, ".part.json");
        // In this order nothing is ever claimed that is not there.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::writing(&path, "remove", error));
            }
            _ => {}
        }
        Sidecar::new(size, None, Some(&Ranges::of(good.iter().cloned(), size)))
            .write(&sidecar)
            .map_err(|error| Error::writing(&sidecar, "write", error))?;
        take_over(file, &path, size).map_err(|error| Error::writing(&path, "make", error))?;
        Self::open(store, lock, digest, size)
    }

    /// The digest that the whole will have.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Bytes of the whole.
    pub fn size(&self) -> u64 {
        self.shared.size
    }

    /// The file that the bytes are written to.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The same, open. Who writes to it without a [`PartWriter`] says so with [`Part::fill`].
    pub fn file(&self) -> &File {
        &self.shared.file
    }

    /// The ranges that are still to be fetched, in order.
    pub fn missing(&self) -> Vec<Range<u64>> {
        self.shared.lock().held.missing(self.shared.size)
    }

    /// Bytes that are there.
    pub fn held(&self) -> u64 {
        self.shared.lock().held.total()
    }

    /// Where the bytes come from, as far as somebody said.
    pub fn source(&self) -> Option<Source> {
        self.shared.lock().source.clone()
    }

    /// Says where the bytes come from, for whoever goes on with this part.
    pub fn set_source(&self, source: Source) -> Result<()> {
        self.shared.lock().source = Some(source);
        self.shared.claim()
    }

    /// Throws away all bytes, to begin from the first. Writers made before refuse to write.
    pub fn restart(&self) -> Result<()> {
        let shared = &self.shared;
        {
            let _alone = shared.emptying.write().unwrap_or_else(PoisonError::into_inner);
            let mut state = shared.lock();
            shared.file.set_len(0).map_err(|error| Error::writing(&shared.path, "empty", error))?;
            *state = State {
                generation: state.generation + 1,
                failed: state.failed.take(),
                source: state.source.take(),
                stopped: state.stopped,
                ..State::default()
            };
            shared.changed.notify_all();
        }
        // After the bytes are gone: a sidecar that claims too much is cut by the length of the file.
        shared.claim()?;
        space::reserve(&shared.file, &shared.path, shared.size)
    }

    /// A writer of a range. Several may write at once, each to its own.
    pub fn writer(&self, range: Range<u64>) -> Result<PartWriter> {
        self.follow()?;
        let (generation, must_claim) = {
            let mut state = self.shared.lock();
            let in_order = range.start == state.held.prefix() && state.held.iter().count() <= 1;
            let must_claim = !state.has_sidecar || !state.scattered && !in_order;
            state.scattered |= !in_order;
            (state.generation, must_claim)
        };
        if must_claim {
            self.shared.claim()?;
        }
        let end = range.end.min(self.shared.size);
        Ok(PartWriter { shared: Arc::clone(&self.shared), at: range.start, end, generation })
    }

    /// Says that all bytes have been put into [`Part::file`].
    pub fn fill(&self) -> Result<()> {
        let length = self.shared.file.metadata().map_err(|error| Error::io(self.path(), "look at", error))?.len();
        if length != self.shared.size {
            return Err(self.wrong_size(length));
        }
        self.follow()?;
        self.shared.lock().held.add(0..length);
        self.shared.changed.notify_all();
        self.shared.claim()
    }

    /// Writes down what is there now. Writers do so by themselves often enough that one per cent is lost at most.
    pub fn checkpoint(&self) -> Result<()> {
        self.shared.claim()
    }

    /// Makes the part a blob: waits until all is hashed, compares, sends it to the disk and gives it its name.
    ///
    /// `progress` tells how far the hashing is and cancels by breaking; then the part stays as it is. Where the digest
    /// differs, or the disk lost something, the part is gone.
    pub fn commit(mut self, progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>) -> Result<PathBuf> {
        let held = self.held();
        if held != self.shared.size {
            return Err(self.wrong_size(held));
        }
        self.follow()?;
        let actual = match self.wait_for_digest(progress) {
            Err(error) if !matches!(error.kind(), ErrorKind::Cancelled) => return Err(self.thrown_away(error)),
            other => other?,
        };
        if actual != self.digest {
            let (path, expected) = (self.shared.path.clone(), self.digest);
            let differs = Error::from(ErrorKind::HashMismatch { path, expected, actual });
            return Err(self.thrown_away(differs.advising("it was thrown away, get it again")));
        }
        self.stop();
        if let Err(error) = self.settle() {
            return Err(self.thrown_away(error));
        }
        self.committed = true;
        self.remember(actual);
        Ok(self.blob.clone())
    }

    /// Throws the part away, with all that it holds.
    pub fn discard(mut self) -> Result<()> {
        self.remove()
    }

    fn wrong_size(&self, actual: u64) -> Error {
        let (path, expected) = (self.shared.path.clone(), self.shared.size);
        Error::from(ErrorKind::SizeMismatch { path, expected, actual }).advising("get it again")
    }

    fn follow(&self) -> Result<()> {
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        if followers.is_none() {
            let started = Followers::start(&self.shared, self.shared.size);
            *followers = Some(started.map_err(|error| Error::io(&self.shared.path, "start threads for", error))?);
        }
        Ok(())
    }

    fn wait_for_digest(&self, progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>) -> Result<Digest> {
        let shared = &self.shared;
        loop {
            let (done, digest) = {
                let state = shared.lock();
                let waited = shared
                    .changed
                    .wait_timeout_while(state, PROGRESS_TICK, |state| state.digest.is_none() && state.failed.is_none());
                let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
                if let Some(error) = &state.failed {
                    return Err(error.clone());
                }
                (state.hashed, state.digest)
            };
            if progress(&Progress { done, total: shared.size }).is_break() {
                return Err(ErrorKind::Cancelled.into());
            }
            if let Some(digest) = digest {
                return Ok(digest);
            }
        }
    }

    /// Mode, disk, name, folder: in this order the name never stands for bytes that may yet be lost.
    fn settle(&self) -> Result<()> {
        let Shared { file, path, .. } = &*self.shared;
        if let Some(error) = &self.shared.lock().failed {
            return Err(error.clone());
        }
        let length = file.metadata().map_err(|error| Error::io(path, "look at", error))?.len();
        if length != self.shared.size {
            return Err(self.wrong_size(length));
        }
        make_read_only(file).map_err(|error| Error::writing(path, "set the mode of", error))?;
        file.sync_all().map_err(|error| Error::writing(path, "send to the disk", error))?;
        rename_new(path, &self.blob).map_err(|error| Error::writing(&self.blob, "make", error))?;
        let folder = self.blob.parent().unwrap_or(&self.blob);
        sync_folder(folder).map_err(|error| Error::writing(folder, "send to the disk", error))?;
        let _ = fs::remove_file(&self.shared.sidecar);
        Ok(())
    }

    /// Tells the ledger, so that the next start need not hash the blob.
    ///
    /// A row is believed if the file was at rest for a while when it was hashed. Here the hash is older than the name; but
    /// once the clock of the file system has moved on, whoever still changes the blob changes its time too, and then it
    /// is as good as hashed later.
    fn remember(&self, digest: Digest) {
        let identity = match File::open(&self.blob).and_then(|file| Identity::of(&file)) {
            Ok(identity) => identity,
            Err(error) => return tracing::debug!(%error, "cannot look at the blob again"),
        };
        let at = if self.lock.outlasts(identity.changed) { ledger::at_rest(&identity) } else { ledger::now() };
        if let Err(error) = self.ledger.remember(&[(identity, Seen { digest, at })]) {
            tracing::debug!(%error, "cannot write the ledger; the blob will be hashed at the next start");
        }
    }

    /// Throws the part away over this error.
    fn thrown_away(mut self, error: Error) -> Error {
        if let Err(error) = self.remove() {
            tracing::warn!(%error, "cannot remove a part that is of no use");
        }
        error
    }

    fn remove(&mut self) -> Result<()> {
        self.stop();
        self.committed = true;
        for path in [&self.shared.path, &self.shared.sidecar] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::writing(path, "remove", error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn stop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
        let followers = self.followers.get_mut().unwrap_or_else(PoisonError::into_inner);
        followers.iter_mut().for_each(Followers::join);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        self.stop();
        // Where the disk lost something, nobody knows what.
        let is_sound = self.shared.lock().failed.is_none();
        let kept = is_sound && self.held() > 0 && self.lock.is_exclusive();
        let done = if kept { self.shared.claim().and_then(|()| self.give_back()) } else { self.remove() };
        if let Err(error) = done {
            tracing::debug!(%error, "a part was not left as it should be");
        }
    }
}

impl Part {
    /// Gives the disk back what was reserved and not used.
    fn give_back(&self) -> Result<()> {
        let Shared { file, path, .. } = &*self.shared;
        let length = file.metadata().and_then(|metadata| file.set_len(metadata.len()));
        length.map_err(|error| Error::io(path, "cut", error))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(&self, mut waits: impl FnMut(&State) -> bool) -> MutexGuard<'_, State> {
        self.changed.wait_while(self.lock(), |state| waits(state)).unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread of the part's own failed.
    fn fail(&self, error: io::Error) {
        self.lock().failed.get_or_insert(Error::writing(&self.path, "read back or send to the disk", error));
        self.changed.notify_all();
    }

    /// Writes the sidecar as things stand.
    fn claim(&self) -> Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let sidecar = {
            let mut state = self.lock();
            state.unclaimed = 0;
            state.has_sidecar = true;
            Sidecar::new(self.size, state.source.clone(), state.scattered.then_some(&state.held))
        };
        sidecar.write(&self.sidecar).map_err(|error| Error::writing(&self.sidecar, "write", error))
    }

    /// Bytes that may be written before they are claimed: a fraction of the one per cent that a death may cost.
    fn step(&self) -> u64 {
        self.size / 400
    }
}

/// Writes one range of a part, from its start on.
#[derive(Debug)]
pub struct PartWriter {
    shared: Arc<Shared>,
    at: u64,
    end: u64,
    generation: u64,
}

impl PartWriter {
    /// Where the next byte goes.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Bytes that still go into the range.
    pub fn remaining(&self) -> u64 {
        self.end - self.at
    }

    /// Writes bytes, at most [`PartWriter::remaining`] of them.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Shared { file, path, size, .. } = &*self.shared;
        let _writing = self.shared.emptying.read().unwrap_or_else(PoisonError::into_inner);
        let count = bytes.len() as u64;
        if count > self.remaining() {
            let actual = self.at.saturating_add(count);
            let kind = ErrorKind::SizeMismatch { path: path.clone(), expected: self.end, actual };
            return Err(Error::from(kind).advising("get it again"));
        }
        {
            let state = self.shared.lock();
            if state.generation != self.generation {
                return Err(ErrorKind::Changed { path: path.clone() }.into());
            }
            if let Some(error) = &state.failed {
                return Err(error.clone());
            }
        }
        write_all_at(file, bytes, self.at)
            .map_err(|error| space::or_no_space(&self.shared.path, size - self.at, "write", error))?;
        let claim = {
            let mut state = self.shared.lock();
            state.held.add(self.at..self.at + count);
            state.unclaimed += count;
            state.unsent += count;
            state.scattered && state.unclaimed >= self.shared.step()
        };
        self.shared.changed.notify_all();
        self.at += count;
        if claim { self.shared.claim() } else { Ok(()) }
    }
}

/// What is known of a part from its sidecar and its length.
fn state_of(sidecar: &Path, size: u64, length: u64) -> State {
    let Some(known) = Sidecar::read(sidecar).filter(|known| known.size == size && length <= size) else {
        return State::default();
    };
    let (held, scattered) = match known.held() {
        Some(held) => (Ranges::of(held, length), true),
        None => (Ranges::of(std::iter::once(0..length), length), false),
    };
    State { held, scattered, source: known.source, has_sidecar: true, ..State::default() }
}

/// For file systems without locks: no two processes share a part.
fn unique_ending() -> String {
    format!(".{}-{:x}.part", std::process::id(), ledger::now())
}

/// Moves a file, or copies it where it has other names or lies on another disk; it can be written to afterwards, and has
/// at most `longest` bytes.
fn take_over(from: &Path, to: &Path, longest: u64) -> io::Result<()> {
    let alone = has_one_name(&fs::symlink_metadata(from)?);
    if !alone || fs::rename(from, to).is_err() {
        fs::copy(from, to)?;
        fs::remove_file(from)?;
    }
    let mut permissions = fs::metadata(to)?.permissions();
    make_private(&mut permissions);
    fs::set_permissions(to, permissions)?;
    let file = OpenOptions::new().write(true).open(to)?;
    if file.metadata()?.len() > longest { file.set_len(longest) } else { Ok(()) }
}

/// Opens a part, or begins it. One that is read-only was about to get its name when its process died.
fn open_part(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    match lock::open_plain(&mut options, path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let metadata = fs::symlink_metadata(path)?;
            if !metadata.is_file() || !metadata.permissions().readonly() {
                return Err(error);
            }
            let mut permissions = metadata.permissions();
            make_private(&mut permissions);
            fs::set_permissions(path, permissions)?;
            lock::open_plain(&mut options, path)
        }
        opened => opened,
    }
}

#[cfg(unix)]
fn has_one_name(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(metadata) == 1
}

#[cfg(not(unix))]
fn has_one_name(_: &fs::Metadata) -> bool {
    false
}

#[cfg(unix)]
fn make_private(permissions: &mut fs::Permissions) {
    std::os::unix::fs::PermissionsExt::set_mode(permissions, 0o600);
}

#[cfg(not(unix))]
fn make_private(permissions: &mut fs::Permissions) {
    permissions.set_readonly(false);
}

#[cfg(unix)]
fn make_read_only(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o444))
}

#[cfg(not(unix))]
fn make_read_only(file: &File) -> io::Result<()> {
    let mut permissions = file.metadata()?.permissions();
    permissions.set_readonly(true);
    file.set_permissions(permissions)
}

/// Renames without replacing: who came first has the same bytes.
#[cfg(target_os = "linux")]
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => fs::remove_file(from),
        // Not every file system knows the flag.
        Err(Errno::INVAL | Errno::NOSYS) => fs::rename(from, to),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    if to.exists() { fs::remove_file(from) } else { fs::rename(from, to) }
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Folders cannot be opened there.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !bytes.is_empty() {
        let count = file.seek_write(bytes, at)?;
        bytes = &bytes[count..];
        at += count as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
