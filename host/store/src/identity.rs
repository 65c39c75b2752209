//! Which file an open file is, and in which version: what must be the same for its bytes to be the same.

use std::fs::File;
use std::io;

/// A file and its version, as far as the system tells.
///
/// The change time is what counts: it cannot be set from outside, while the modification time can. Windows does not
/// tell it; there a verified file cannot be written to while it is open, and the time of creation stands in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    /// Nanoseconds since 1970.
    pub modified: i128,
    /// Nanoseconds since 1970.
    pub changed: i128,
}

impl Identity {
    #[cfg(unix)]
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = file.metadata()?;
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    #[cfg(windows)]
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let information = winapi_util::file::information(file)?;
        // Steps of 100 ns since 1601.
        let nanoseconds = |time: Option<u64>| (i128::from(time.unwrap_or(0)) - 116_444_736_000_000_000) * 100;
        Ok(Self {
            device: information.volume_serial_number(),
            inode: information.file_index(),
            size: information.file_size(),
            modified: nanoseconds(information.last_write_time()),
            changed: nanoseconds(information.creation_time()),
        })
    }

    /// Without a way to tell files apart nothing is ever the same, and everything is hashed each time.
    #[cfg(not(any(unix, windows)))]
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let inode = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Self { device: 0, inode, size: file.metadata()?.len(), modified: 0, changed: 0 })
    }
}
