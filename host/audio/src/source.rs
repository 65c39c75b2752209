//! Where audio comes from.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

/// Where audio comes from. What it is, is found from its bytes, never from a name.
pub enum Source {
    /// A file.
    Path(PathBuf),
    /// A whole file in memory.
    Bytes(Arc<[u8]>),
    /// Something that can only be read forwards, such as standard input.
    Reader(Box<dyn Read + Send>),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.debug_tuple("Path").field(path).finish(),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Reader(_) => f.write_str("Reader"),
        }
    }
}
