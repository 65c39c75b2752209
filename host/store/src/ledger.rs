//! Remembers which digest a file was seen to have, so that the next start need not hash it.
//!
//! A row holds for one version of one file ([`Identity`]) and is believed only if the file had been at rest for a
//! while when it was hashed (git's rule for racily clean files), and for 30 days. The ledger is a cache: what cannot
//! be read is ignored, what cannot be written is done again next time, and what others may write is not believed.

use crate::Digest;
use crate::identity::Identity;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// First line of the file. Another version starts with another line, and is ignored.
const HEAD: &str = "tenon-ledger 1";

/// File systems tell times in steps of up to this (FAT), in nanoseconds: within one step a file can change twice
/// and show one time.
const STEP: i128 = 2_000_000_000;

/// A row is believed this long, in nanoseconds: disks rot without changing a time.
const BELIEVED: i128 = 30 * 24 * 3600 * 1_000_000_000;

/// Rows that are kept; the oldest go first.
const MOST_ROWS: usize = 4096;

/// Longest ledger that is read, in bytes.
const LONGEST: u64 = 4 << 20;

/// How long to wait for another process that writes the ledger.
const PATIENCE: Duration = Duration::from_secs(1);

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub digest: Digest,
    /// When hashing began, in nanoseconds since 1970.
    pub at: i128,
}

impl Seen {
    /// Whether the digest still holds for a file of this identity.
    pub(crate) fn is_believed(&self, identity: &Identity, now: i128) -> bool {
        let at_rest = self.at > identity.changed.max(identity.modified) + STEP;
        at_rest && self.at <= now + STEP && now - self.at < BELIEVED
    }
}

/// The time now, in nanoseconds since 1970.
pub(crate) fn now() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
}

/// The earliest time of hashing at which a row for this version of a file is believed.
pub(crate) fn at_rest(identity: &Identity) -> i128 {
    identity.changed.max(identity.modified) + STEP + 1
}

/// Rows by file.
pub(crate) type Rows = HashMap<Identity, Seen>;

/// The ledger file of a state folder.
#[derive(Debug)]
pub(crate) struct Ledger {
    folder: PathBuf,
    /// The rows as last read, with the version of the file that they were read from.
    last: Mutex<Option<(Identity, Arc<Rows>)>>,
}

impl Ledger {
    pub(crate) fn in_folder(folder: PathBuf) -> Self {
        Self { folder, last: Mutex::new(None) }
    }

    /// The same ledger, for another owner.
    pub(crate) fn another(&self) -> Self {
        Self::in_folder(self.folder.clone())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join("verified.ledger")
    }

    /// Without this, whoever names no folder would find a ledger in the current one.
    fn has_folder(&self) -> bool {
        !self.folder.as_os_str().is_empty()
    }

    /// What is remembered now. Anything that cannot be read is not remembered, and nothing is without a folder.
    pub(crate) fn rows(&self) -> Arc<Rows> {
        if !self.has_folder() {
            return Arc::default();
        }
        let Ok(file) = File::open(self.path()) else { return Arc::default() };
        let Ok(identity) = Identity::of(&file) else { return Arc::default() };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, rows)) = &*last
            && *of == identity
        {
            return Arc::clone(rows);
        }
        let rows = Arc::new(if is_private(&file) { parse(&file) } else { Rows::new() });
        *last = Some((identity, Arc::clone(&rows)));
        rows
    }

    /// Remembers rows, with those of other processes. Readers see the old file or the new one, never a part.
    pub(crate) fn remember(&self, seen: &[(Identity, Seen)]) -> io::Result<()> {
        if !self.has_folder() {
            return Ok(());
        }
        make_private_folder(&self.folder)?;
        let lock = private_file(&self.folder.join("verified.lock"), OpenOptions::new().write(true).create(true))?;
        wait_for(&lock)?;
        let mut rows = Rows::clone(&self.rows());
        for (identity, row) in seen {
            // Other versions of the same file are gone for good.
            rows.retain(|other, _| (other.device, other.inode) != (identity.device, identity.inode));
            rows.insert(*identity, *row);
        }
        let part = self.folder.join(format!("verified.{}.part", std::process::id()));
        let written = write_part(&part, &rows).and_then(|()| fs::rename(&part, self.path()));
        if written.is_err() {
            let _ = fs::remove_file(&part);
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
        written
    }
}

fn write_part(part: &Path, rows: &Rows) -> io::Result<()> {
    // What a killed process left behind under the same number.
    let _ = fs::remove_file(part);
    let mut file = private_file(part, OpenOptions::new().write(true).create_new(true))?;
    file.write_all(print(rows).as_bytes())
}

fn print(rows: &Rows) -> String {
    let mut rows: Vec<(&Identity, &Seen)> = rows.iter().collect();
    rows.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.at));
    rows.truncate(MOST_ROWS);
    let line = |(identity, seen): (&Identity, &Seen)| {
        let Identity { device, inode, size, modified, changed } = identity;
        format!("{device} {inode} {size} {modified} {changed} {} {}\n", seen.at, seen.digest)
    };
    std::iter::once(format!("{HEAD}\n")).chain(rows.into_iter().map(line)).collect()
}

fn parse(file: &File) -> Rows {
    let mut bytes = Vec::new();
    if file.take(LONGEST).read_to_end(&mut bytes).is_err() {
        return Rows::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.split_inclusive('\n');
    match lines.next() {
        Some(head) if head.trim_end() == HEAD => lines.filter_map(parse_row).collect(),
        _ => Rows::new(),
    }
}

/// A row, if the line is a whole one.
fn parse_row(line: &str) -> Option<(Identity, Seen)> {
    let mut fields = line.strip_suffix('\n')?.split(' ');
    let identity = Identity {
        device: fields.next()?.parse().ok()?,
        inode: fields.next()?.parse().ok()?,
        size: fields.next()?.parse().ok()?,
        modified: fields.next()?.parse().ok()?,
        changed: fields.next()?.parse().ok()?,
    };
    let seen = Seen { at: fields.next()?.parse().ok()?, digest: fields.next()?.parse().ok()? };
    fields.next().is_none().then_some((identity, seen))
}

/// Waits for the lock, but not for ever: whoever holds it may hang.
fn wait_for(lock: &File) -> io::Result<()> {
    let until = SystemTime::now() + PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(fs::TryLockError::WouldBlock) if SystemTime::now() < until => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(fs::TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
    }
}

#[cfg(unix)]
fn make_private_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn make_private_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

#[cfg(unix)]
fn private_file(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600).open(path)
}

#[cfg(not(unix))]
fn private_file(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.open(path)
}

/// Whether nobody else could have written the ledger.
#[cfg(unix)]
fn is_private(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let own = rustix::process::geteuid().as_raw();
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.uid() == own && metadata.mode() & 0o077 == 0)
}

/// The user's own folders are private by their access lists.
#[cfg(not(unix))]
fn is_private(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: i128 = 1_000_000_000;

    fn identity(inode: u64) -> Identity {
        Identity { device: 1, inode, size: 3, modified: 50 * SECOND, changed: 100 * SECOND }
    }

    fn seen(at: i128) -> Seen {
        Seen { digest: Digest::of(b"abc"), at }
    }

    #[test]
    fn a_file_that_changed_just_before_it_was_hashed_is_not_believed() {
        let now = 1000 * SECOND;
        assert!(!seen(100 * SECOND).is_believed(&identity(1), now));
        assert!(!seen(102 * SECOND).is_believed(&identity(1), now));
        assert!(seen(102 * SECOND + 1).is_believed(&identity(1), now));
        let touched = Identity { modified: 500 * SECOND, ..identity(1) };
        assert!(!seen(501 * SECOND).is_believed(&touched, now));
    }

    #[test]
    fn a_row_from_the_future_or_from_long_ago_is_not_believed() {
        assert!(!seen(2000 * SECOND).is_believed(&identity(1), 1000 * SECOND));
        assert!(!seen(200 * SECOND).is_believed(&identity(1), 200 * SECOND + BELIEVED));
        assert!(seen(200 * SECOND).is_believed(&identity(1), 199 * SECOND + BELIEVED));
    }

    #[test]
    fn rows_come_back_as_they_were_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::in_folder(folder.path().join("a/b"));
        assert!(ledger.rows().is_empty());
        ledger.remember(&[(identity(1), seen(1)), (identity(2), seen(2))]).unwrap();
        ledger.remember(&[(identity(3), seen(3))]).unwrap();
        let rows = Ledger::in_folder(folder.path().join("a/b")).rows();
        assert_eq!((rows.len(), rows[&identity(2)]), (3, seen(2)));
    }

    #[test]
    fn without_a_folder_nothing_is_remembered() {
        let ledger = Ledger::in_folder(PathBuf::new());
        ledger.remember(&[(identity(1), seen(1))]).unwrap();
        assert!(ledger.rows().is_empty());
        assert!(!Path::new("verified.ledger").exists());
    }

    #[test]
    fn a_new_version_of_a_file_replaces_the_old_row() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::in_folder(folder.path().to_owned());
        ledger.remember(&[(identity(1), seen(1))]).unwrap();
        let newer = Identity { changed: 7, ..identity(1) };
        ledger.remember(&[(newer, seen(2))]).unwrap();
        assert_eq!(*ledger.rows(), Rows::from([(newer, seen(2))]));
    }

    #[test]
    fn only_the_newest_rows_are_kept() {
        let rows: Rows = (0..MOST_ROWS as u64 + 10).map(|n| (identity(n), seen(i128::from(n)))).collect();
        let text = print(&rows);
        assert_eq!(text.lines().count(), MOST_ROWS + 1);
        assert!(!text.contains(" 9 ba7816bf"));
    }

    #[cfg(unix)]
    #[test]
    fn the_ledger_is_private_and_is_ignored_when_it_is_not() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let ledger = Ledger::in_folder(state.clone());
        ledger.remember(&[(identity(1), seen(1))]).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&state), mode(&ledger.path())), (0o700, 0o600));
        fs::set_permissions(ledger.path(), fs::Permissions::from_mode(0o622)).unwrap();
        assert!(ledger.rows().is_empty());
    }

    #[test]
    fn a_broken_ledger_is_an_empty_one_and_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::in_folder(folder.path().to_owned());
        for broken in [&b""[..], b"\xff\xfe", b"tenon-ledger 2\n", b"tenon-ledger 1\nx y z\n1 2 3\n", &[0; 4096]] {
            let _ = fs::remove_file(ledger.path());
            let options = &mut OpenOptions::new();
            private_file(&ledger.path(), options.write(true).create(true)).unwrap().write_all(broken).unwrap();
            assert!(ledger.rows().is_empty());
        }
        ledger.remember(&[(identity(1), seen(1))]).unwrap();
        assert_eq!(ledger.rows().len(), 1);
    }

    #[test]
    fn processes_that_remember_at_once_lose_no_row() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let folder = folder.path().to_owned();
                scope.spawn(move || {
                    for n in 0..25 {
                        // A ledger of its own each time, as another process would have; the part files' names are
                        // by process, and the lock keeps them apart here.
                        let ledger = Ledger::in_folder(folder.clone());
                        ledger.remember(&[(identity(thread * 1000 + n), seen(1))]).unwrap();
                    }
                });
            }
        });
        assert_eq!(Ledger::in_folder(folder.path().to_owned()).rows().len(), 100);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(format!("{HEAD}\n").as_bytes()).unwrap();
            file.write_all(&bytes).unwrap();
            io::Seek::rewind(&mut file).unwrap();
            parse(&file);
        }

        #[test]
        fn a_cut_ledger_keeps_only_whole_rows(cut in 0usize..600) {
            let rows: Rows = (0..5).map(|n| (identity(n), seen(i128::from(n)))).collect();
            let text = print(&rows);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&text.as_bytes()[..cut.min(text.len())]).unwrap();
            io::Seek::rewind(&mut file).unwrap();
            for (identity, seen) in parse(&file) {
                prop_assert_eq!(rows.get(&identity), Some(&seen));
            }
        }
    }
}
