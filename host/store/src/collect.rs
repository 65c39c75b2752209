//! What the store no longer needs: found, and removed.
//!
//! A blob stays while a reference or a claim names it ([`crate::references`]). All else that the store itself made is
//! garbage: blobs, links, parts that nobody goes on with, and what a killed process left behind. Nothing outside the
//! store is ever removed, and nothing that another process is working on. Each file goes in one step, references before
//! blobs: a process that is killed here leaves garbage, and never a reference to nothing.

use crate::folder::{Folder, Item};
use crate::links::LINKS;
use crate::names::nearest;
use crate::references::{MODELS, PARTS, UNFINISHED, broken_reference, good_name};
use crate::{Digest, ErrorKind, Manifest, Result, Store};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// The folder of blobs in the store.
pub(crate) const BLOBS: &str = "blobs";

/// A part that nobody has gone on with for this long is stale.
const STALE: Duration = Duration::from_secs(14 * 24 * 3600);

/// What [`Store::collect`] is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collect {
    /// Only say what would be removed.
    pub dry_run: bool,
    /// Every part that nobody works on, however young.
    pub all_parts: bool,
}

/// What a collection removed, or would.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Collected {
    /// The files.
    pub removed: Vec<Removed>,
    /// Garbage that stayed, because another process is working on it.
    pub busy: Vec<PathBuf>,
    /// References that were removed although they could not be read: what they needed is left to the next collection.
    pub unread: Vec<PathBuf>,
}

/// A file that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// Where it lay.
    pub path: PathBuf,
    /// Bytes that this freed: none when the file has another name elsewhere.
    pub size: u64,
}

impl Collected {
    /// Bytes that were freed, or would be.
    pub fn bytes(&self) -> u64 {
        self.removed.iter().map(|removed| removed.size).sum()
    }
}

impl Store {
    /// Removes what no reference needs: blobs, links, stale parts.
    ///
    /// # Errors
    /// [`ErrorKind::BrokenReference`] before anything is removed; [`ErrorKind::UnsafePath`] when a folder of the store
    /// is a link.
    pub fn collect(&self, asked: &Collect) -> Result<Collected> {
        let mut collected = Collected::default();
        if !self.folder().is_dir() {
            return Ok(collected);
        }
        let turn = if asked.dry_run { None } else { Some(self.turn()?) };
        let claimed = self.claimed(turn.as_ref())?;
        let needed: BTreeSet<Digest> = self.referenced()?.union(&claimed).copied().collect();
        let mut sweep = Sweep { store: self, dry_run: asked.dry_run, collected: &mut collected };
        for name in [BLOBS, LINKS] {
            sweep.folder(name, |item| digest_of(item).filter(|digest| !needed.contains(digest)))?;
        }
        let is_stale = |item: &Item| asked.all_parts || item.age() > STALE;
        sweep.folder(PARTS, |item| digest_of(item).filter(|digest| !claimed.contains(digest) && is_stale(item)))?;
        sweep.unfinished()?;
        Ok(collected)
    }

    /// Removes references, and of their blobs those that no other reference needs. No other blob is touched.
    ///
    /// # Errors
    /// [`ErrorKind::NoReference`] when the store holds no model of one of the names, [`ErrorKind::BrokenReference`] when
    /// one that is to stay cannot be read; both before anything is removed.
    pub fn remove(&self, names: &[&str]) -> Result<Collected> {
        let mut collected = Collected::default();
        names.iter().try_for_each(|name| good_name(name).map(drop))?;
        if !self.folder().is_dir() {
            return names.first().map_or(Ok(collected), |name| Err(self.no_reference(name, &[])));
        }
        let turn = self.turn()?;
        let digests = self.digests_of(names, &mut collected)?;
        for name in names {
            self.remove_reference(name)?;
        }
        let needed: BTreeSet<Digest> = self.referenced()?.union(&self.claimed(Some(&turn))?).copied().collect();
        let mut sweep = Sweep { store: self, dry_run: false, collected: &mut collected };
        for name in [BLOBS, LINKS, PARTS] {
            sweep.folder(name, |item| digest_of(item).filter(|one| digests.contains(one) && !needed.contains(one)))?;
        }
        Ok(collected)
    }

    /// The digests that these references name; that all others can be read is made sure of.
    fn digests_of(&self, names: &[&str], collected: &mut Collected) -> Result<BTreeSet<Digest>> {
        let entries = self.references()?;
        let known: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
            return Err(self.no_reference(unknown, &known));
        }
        let mut digests = BTreeSet::new();
        for entry in entries {
            match (Manifest::read(&entry.path), names.contains(&entry.name.as_str())) {
                (Ok(manifest), true) => digests.extend(manifest.files.iter().map(|file| file.sha256)),
                (Err(_), true) => collected.unread.push(entry.path),
                (Ok(_), false) => {}
                (Err(error), false) => return Err(broken_reference(entry.path, &error)),
            }
        }
        Ok(digests)
    }

    fn no_reference(&self, name: &str, known: &[&str]) -> crate::Error {
        let nearest = nearest(name, known.iter().copied()).map(str::to_owned);
        ErrorKind::NoReference { name: name.to_owned(), nearest, store: self.folder().to_owned() }.into()
    }
}

/// One pass over the folders of a store.
struct Sweep<'s> {
    store: &'s Store,
    dry_run: bool,
    collected: &'s mut Collected,
}

impl Sweep<'_> {
    /// Removes the files of a folder for which `garbage` gives their digest, unless another process holds its lock.
    fn folder(&mut self, name: &str, garbage: impl Fn(&Item) -> Option<Digest>) -> Result<()> {
        let Some(folder) = Folder::open(self.store.folder(), name)? else { return Ok(()) };
        for item in folder.items()? {
            let Some(digest) = garbage(&item) else { continue };
            // Held while the file goes.
            match self.store.try_lock_blob(digest) {
                Ok(None) => self.collected.busy.push(folder.path_of(&item.name)),
                Err(error) if !self.dry_run => return Err(error),
                _lock => self.remove(&folder, &item)?,
            }
        }
        self.sync(&folder)
    }

    /// Removes what a process left that was killed while it wrote a reference or a link. It is this one's turn, so that
    /// nobody is writing one now.
    fn unfinished(&mut self) -> Result<()> {
        for name in [MODELS, LINKS] {
            let Some(folder) = Folder::open(self.store.folder(), name)? else { continue };
            let left = |item: &&Item| item.name.starts_with('.') && item.name.ends_with(UNFINISHED);
            for item in folder.items()?.iter().filter(left) {
                self.remove(&folder, item)?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, folder: &Folder, item: &Item) -> Result<()> {
        if self.dry_run || folder.remove(&item.name)? {
            self.collected.removed.push(Removed { path: folder.path_of(&item.name), size: item.freed });
        }
        Ok(())
    }

    fn sync(&self, folder: &Folder) -> Result<()> {
        if self.dry_run { Ok(()) } else { folder.sync() }
    }
}

/// The digest in the name of a blob, link or part; `None` for what the store did not make.
fn digest_of(item: &Item) -> Option<Digest> {
    let rest = item.name.strip_prefix("sha256-")?;
    let digest = rest.split('.').next()?.parse().ok()?;
    // Locks vanish with their holders.
    (item.is_removable && !rest.ends_with(".lock")).then_some(digest)
}
