//! What a path of the server holds: bytes in memory, or a file too big for that.

use crate::wire::Stream;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes to serve. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Blob {
    /// In memory.
    Memory(Arc<[u8]>),
    /// In a file that does not change.
    File {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Memory(bytes.into())
    }
}

impl From<&[u8]> for Blob {
    fn from(bytes: &[u8]) -> Self {
        Self::Memory(bytes.into())
    }
}

impl From<&Vec<u8>> for Blob {
    fn from(bytes: &Vec<u8>) -> Self {
        Self::Memory(bytes.as_slice().into())
    }
}

impl Blob {
    /// The file at this path, as large as it is now.
    pub fn file(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let size = std::fs::metadata(&path)?.len();
        Ok(Self::File { path, size })
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { size, .. } => *size,
        }
    }

    /// A part of it, in memory.
    pub(crate) fn part(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        match self {
            Self::Memory(bytes) => Ok(bytes[range.start as usize..range.end as usize].to_vec()),
            Self::File { path, .. } => {
                let mut part = Vec::new();
                opened(path, range.start)?.take(range.end - range.start).read_to_end(&mut part)?;
                Ok(part)
            }
        }
    }

    /// Sends a part of it. A file goes to a plain connection without passing through this process.
    pub(crate) fn send(&self, range: Range<u64>, to: &mut Stream) -> io::Result<()> {
        match (self, to) {
            (Self::Memory(bytes), to) => to.write_all(&bytes[range.start as usize..range.end as usize]),
            (Self::File { path, .. }, Stream::Plain(to)) => {
                io::copy(&mut opened(path, range.start)?.take(range.end - range.start), &mut &*to.0).map(drop)
            }
            (Self::File { path, .. }, to) => {
                io::copy(&mut opened(path, range.start)?.take(range.end - range.start), to).map(drop)
            }
        }
    }
}

fn opened(path: &PathBuf, at: u64) -> io::Result<File> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(at))?;
    Ok(file)
}
