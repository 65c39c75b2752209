//! SHA-256 digests: parse, print, and hash what can be read.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::str::FromStr;

/// Read this much at a time: small enough to stay in the second-level cache between reading and hashing.
const BUFFER: usize = 256 * 1024;

/// A SHA-256 digest.
///
/// ```
/// use tenon_store::Digest;
///
/// let empty = Digest::of(b"");
/// assert_eq!(empty.short(), "e3b0c44298fc");
/// assert_eq!(empty.to_string().parse::<Digest>().unwrap(), empty);
/// assert!("E3B0".parse::<Digest>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// A text that is not a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadDigest(String);

/// What hashing a stream gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// SHA-256 of all bytes.
    pub digest: Digest,
    /// How many bytes there were.
    pub size: u64,
}

impl Digest {
    /// The digest of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 12 hexadecimal digits, to show to people.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = BadDigest;

    /// Reads 64 lower-case hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let digits = text.as_bytes();
        let problem = match text.chars().find(|c| !matches!(c, '0'..='9' | 'a'..='f')) {
            Some(bad) => Some(format!("holds {bad:?}")),
            None if digits.len() != 64 => Some(format!("has {}", digits.len())),
            None => None,
        };
        if let Some(problem) = problem {
            return Err(BadDigest(format!("a SHA-256 is 64 lower-case hexadecimal digits; this one {problem}")));
        }
        let nibble = |digit: u8| if digit <= b'9' { digit - b'0' } else { digit - b'a' + 10 };
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0]) << 4 | nibble(pair[1]);
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for BadDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadDigest {}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Hashes all that `reader` gives, streamed.
///
/// `hook` gets the bytes hashed since its last call and may stop: then the error's kind is
/// [`io::ErrorKind::Interrupted`].
pub fn hash_reader(reader: &mut dyn Read, hook: &mut dyn FnMut(u64) -> ControlFlow<()>) -> io::Result<Hashed> {
    let mut buffer = vec![0; BUFFER];
    let mut hasher = Sha256::new();
    let mut size = 0;
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => return Ok(Hashed { digest: Digest(hasher.finalize().into()), size }),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..count]);
        size += count as u64;
        if hook(count as u64).is_break() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "cancelled"));
        }
    }
}

/// Hashes a whole file.
pub fn hash_file(path: &Path) -> io::Result<Hashed> {
    hash_reader(&mut File::open(path)?, &mut |_| ControlFlow::Continue(()))
}
