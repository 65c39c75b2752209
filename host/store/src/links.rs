//! Links: where a file lies that was imported in place.
//!
//! A link is a small text in the store, `links/sha256-<hex>`, that holds one absolute path. The file that it names
//! belongs to somebody else: it is never written to and never removed, and it is hashed, as every file is, before
//! anything trusts it.

use crate::references::{Turn, make_folder, write_whole};
use crate::{Digest, Error, ErrorKind, Result, Store, beneath};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The folder of links in the store.
pub(crate) const LINKS: &str = "links";

/// Longest text that is read, in bytes: more than any system's longest path.
const LONGEST: u64 = 32 << 10;

/// The path that the link of this digest names in the store at `store`; `None` when there is no link.
pub(crate) fn target(store: &Path, digest: Digest) -> Result<Option<PathBuf>> {
    let name = format!("sha256-{digest}");
    let Some(file) = beneath::open(store, &[LINKS, &name])? else { return Ok(None) };
    let path = store.join(LINKS).join(name);
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).map_err(|error| Error::io(&path, "read", error))?;
    let target = PathBuf::from(text.trim_end_matches(['\r', '\n']));
    match target.is_absolute() {
        true => Ok(Some(target)),
        false => Err(Error::unsafe_path(&path, "does not hold an absolute path: remove it, and import the file again")),
    }
}

/// Opens the file that a link names; `None` when it is gone.
pub(crate) fn open(target: &Path) -> Result<Option<File>> {
    match (target.parent(), target.file_name().and_then(|name| name.to_str())) {
        (Some(folder), Some(name)) => beneath::open(folder, &[name]),
        _ => Err(Error::unsafe_path(target, "is no path of a file")),
    }
}

impl Store {
    /// Writes a link to a file.
    pub(crate) fn link(&self, digest: Digest, target: &Path, _: &Turn) -> Result<PathBuf> {
        let Some(text) = target.to_str().filter(|text| !text.contains(['\n', '\r'])) else {
            let problem = "has a path that is no plain text: rename it, or import it with --copy".to_owned();
            return Err(ErrorKind::Import { path: target.to_owned(), problem }.into());
        };
        let path = make_folder(self.folder(), LINKS)?.join(format!("sha256-{digest}"));
        write_whole(&path, format!("{text}\n").as_bytes())?;
        Ok(path)
    }
}
