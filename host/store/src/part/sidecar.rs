//! What is written beside a part: where it comes from and which bytes it holds.

use super::ranges::Ranges;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::Path;

/// The layout of the file. Another one is as good as none.
const VERSION: u32 = 1;

/// Longest sidecar that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// Where the bytes of a part come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The address, as the manifest names it.
    pub url: String,
    /// The strong entity tag that the server gave, with its quotes.
    pub etag: Option<String>,
}

/// The content of a sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sidecar {
    version: u32,
    /// Bytes of the whole blob.
    pub size: u64,
    #[serde(default)]
    pub source: Option<Source>,
    /// The ranges that are there. Without them the part grows from its start, and its length says it all.
    #[serde(default)]
    held: Option<Vec<[u64; 2]>>,
}

impl Sidecar {
    pub(super) fn new(size: u64, source: Option<Source>, held: Option<&Ranges>) -> Self {
        let held = held.map(|held| held.iter().map(|range| [range.start, range.end]).collect());
        Self { version: VERSION, size, source, held }
    }

    /// Reads a sidecar; `None` when there is none that can be understood.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let mut text = Vec::new();
        File::open(path).ok()?.take(LONGEST).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok().filter(|sidecar: &Self| sidecar.version == VERSION)
    }

    /// The ranges that it claims.
    pub(super) fn held(&self) -> Option<impl Iterator<Item = Range<u64>>> {
        self.held.as_ref().map(|held| held.iter().map(|&[start, end]| start..end))
    }

    /// Writes the sidecar: whoever reads it sees the old one or the new one.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let mut file = super::lock::open_plain(&mut options, Path::new(&new))?;
        file.write_all(&serde_json::to_vec(self)?)?;
        drop(file);
        fs::rename(&new, path)
    }
}
