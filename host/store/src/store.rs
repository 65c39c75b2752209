//! From a manifest to verified files: finds them beneath the folders of models and in the store, and has them hashed
//! where the ledger does not know them.

use crate::identity::Identity;
use crate::ledger::{self, Ledger, Rows, Seen};
use crate::verify::{Found, hash_all, hash_one};
use crate::{
    Digest, Error, ErrorKind, How, Locations, Manifest, ManifestFile, Progress, Result, VerifiedFile, VerifyMode,
    beneath, hub_cache, links,
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Finds the files of models and verifies them.
///
/// A file of a manifest is looked for as `blobs/sha256-<hex>` in the store and in the shared stores, then in each folder
/// of models as `<model>/<file>` and as `<file>`, and last in the cache of the Hugging Face tools. The first that has the
/// right size is taken. In a store, `links/sha256-<hex>` may say where else the file lies.
#[derive(Debug)]
pub struct Store {
    models: Vec<PathBuf>,
    store: PathBuf,
    /// Stores of others, and what is not ours at all: read, never written to.
    shared: Vec<PathBuf>,
    hub: Option<PathBuf>,
    place: PathBuf,
    threads: usize,
    ledger: Ledger,
    /// Somebody was told that the ledger cannot be written: once is enough.
    warned: AtomicBool,
}

/// How the files of a model stand, as far as can be told without reading them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// All there, with the right sizes.
    Present,
    /// At least one is nowhere to be found.
    Missing,
    /// At least one cannot be used: another size, another digest when last hashed, or unsafe to open.
    Corrupt,
}

impl Store {
    /// A store over folders of model files, the store's own folder, and the folder where the ledger lies. None of
    /// them need exist, and nothing is touched yet.
    pub fn new(models: Vec<PathBuf>, store: PathBuf, state: PathBuf) -> Self {
        let place = models.first().cloned().unwrap_or_else(|| store.join("models"));
        let (ledger, warned) = (Ledger::in_folder(state), AtomicBool::new(false));
        Self { models, store, shared: Vec::new(), hub: None, place, threads: 1, ledger, warned }
    }

    /// The store of these locations.
    pub fn at(locations: &Locations) -> Self {
        let store = Self::new(locations.models.clone(), locations.store.clone(), locations.state.clone());
        let shared = locations.stores.iter().filter(|shared| **shared != locations.store);
        Self {
            place: locations.downloads.clone(),
            shared: shared.cloned().collect(),
            hub: Some(locations.hub.clone()).filter(|hub| !hub.as_os_str().is_empty()),
            ..store
        }
    }

    /// The store's own folder: the only one that anything is written to.
    pub fn folder(&self) -> &Path {
        &self.store
    }

    /// Hashes several files with up to this many threads; 1 by default.
    #[must_use]
    pub fn with_threads(self, threads: usize) -> Self {
        Self { threads: threads.max(1), ..self }
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// How the files of a model stand, without reading them.
    pub fn state(&self, manifest: &Manifest) -> State {
        let rows = self.ledger.rows();
        let mut state = State::Present;
        for wanted in &manifest.files {
            match self.find(manifest, wanted) {
                Ok(Some(found)) if is_known_bad(&found, &rows) => return State::Corrupt,
                Ok(Some(_)) => {}
                Ok(None) if wanted.optional => {}
                Ok(None) => state = State::Missing,
                Err(_) => return State::Corrupt,
            }
        }
        state
    }

    /// The verified files of a model, in the order of the manifest. Optional files that are missing are left out.
    ///
    /// The first file that is missing or has another size is the error, before anything is hashed. `progress` is
    /// called on this thread while files are hashed, and cancels by breaking.
    pub fn verify(
        &self,
        manifest: &Manifest,
        mode: VerifyMode,
        progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Vec<VerifiedFile>> {
        let found: Vec<_> = manifest.files.iter().map(|wanted| self.find_or_say(manifest, wanted)).collect();
        if found.iter().any(Result::is_err) {
            return Err(found.into_iter().find_map(Result::err).unwrap_or(ErrorKind::Cancelled.into()));
        }
        self.settle(manifest, found, mode, progress).into_iter().flatten().collect()
    }

    /// As [`Store::verify`], but goes on after an error: what became of each file, in the order of the manifest.
    /// `None` stands for an optional file that is missing.
    pub fn examine(
        &self,
        manifest: &Manifest,
        mode: VerifyMode,
        progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Vec<Option<Result<VerifiedFile>>> {
        let found = manifest.files.iter().map(|wanted| self.find_or_say(manifest, wanted)).collect();
        self.settle(manifest, found, mode, progress)
    }

    /// The SHA-256 of an open file that no manifest names, such as a plugin. `path` is where it lies, for errors.
    ///
    /// Where the ledger knows this very version of the file by the `wanted` digest, that is the answer, except in
    /// [`VerifyMode::Always`]. Else the file is hashed, in every mode.
    pub fn digest_of(&self, file: &File, path: &Path, wanted: Digest, mode: VerifyMode) -> Result<Digest> {
        let identity = Identity::of(file).map_err(|error| Error::io(path, "look at", error))?;
        if mode != VerifyMode::Always && is_known_good(&identity, wanted, &self.ledger.rows()) {
            return Ok(wanted);
        }
        let seen = hash_one(file, path, &identity)?;
        self.remember(&[(identity, seen)]);
        Ok(seen.digest)
    }

    /// Hashes what has to be, and puts the outcomes in the order of the manifest.
    fn settle(
        &self,
        manifest: &Manifest,
        found: Vec<Result<Option<Found<'_>>>>,
        mode: VerifyMode,
        progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Vec<Option<Result<VerifiedFile>>> {
        let rows = self.ledger.rows();
        let mut to_hash = Vec::new();
        let mut outcomes: Vec<Outcome> = Vec::new();
        for one in found {
            outcomes.push(match one {
                Err(error) => Outcome::Settled(Some(Err(error))),
                Ok(None) => Outcome::Settled(None),
                Ok(Some(found)) => match how_without_hashing(&found, mode, &rows) {
                    Some(how) => Outcome::Settled(Some(Ok(found.verified(how)))),
                    None => {
                        to_hash.push(found);
                        Outcome::Hashed
                    }
                },
            });
        }
        let mut hashed = self.hash(to_hash, progress);
        let settled = outcomes.into_iter().map(|outcome| match outcome {
            Outcome::Settled(outcome) => outcome,
            Outcome::Hashed => Some(hashed.pop_front().unwrap_or_else(|| Err(ErrorKind::Cancelled.into()))),
        });
        let with_its_file = |(outcome, file): (Option<Result<VerifiedFile>>, &ManifestFile)| {
            outcome.map(|outcome| outcome.map_err(|error| error.of_file(manifest, file)))
        };
        settled.zip(&manifest.files).map(with_its_file).collect()
    }

    /// Hashes files and remembers what was seen. One outcome for each, in order.
    fn hash(
        &self,
        files: Vec<Found<'_>>,
        progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> VecDeque<Result<VerifiedFile>> {
        let (results, rows) = match hash_all(files, self.threads, progress) {
            Ok(outcomes) => outcomes,
            Err(error) => return VecDeque::from([Err(error)]),
        };
        self.remember(&rows);
        results.into()
    }

    fn remember(&self, rows: &[(Identity, Seen)]) {
        if !rows.is_empty()
            && let Err(error) = self.ledger.remember(rows)
            && !self.warned.swap(true, Ordering::Relaxed)
        {
            let path = self.ledger.path();
            tracing::warn!(
                path = %path.display(),
                %error,
                "cannot write the ledger; files will be hashed again at the next start"
            );
        }
    }

    fn find_or_say<'m>(&self, manifest: &Manifest, wanted: &'m ManifestFile) -> Result<Option<Found<'m>>> {
        match self.find(manifest, wanted).map_err(|error| error.of_file(manifest, wanted))? {
            None if !wanted.optional => Err(ErrorKind::NotFound {
                model: manifest.name.clone(),
                file: wanted.name.clone(),
                urls: wanted.urls.clone(),
                // A file that was imported in place belongs where it was.
                place: match links::target(&self.store, wanted.sha256) {
                    Ok(Some(target)) => target,
                    _ => self.place.join(&wanted.name),
                },
            }
            .into()),
            found => Ok(found),
        }
    }

    /// The first place where the file lies with the right size. Where it lies only with another size, that is the
    /// error, except in places that are not ours: what they hold amiss is as if it were not there.
    pub(crate) fn find<'m>(&self, manifest: &Manifest, wanted: &'m ManifestFile) -> Result<Option<Found<'m>>> {
        let mut wrong_size = None;
        for place in self.places(manifest, wanted) {
            let found = place.open().and_then(|open| open.map(|(file, path)| found(wanted, file, &path)).transpose());
            match found {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(error) if place.is_others => tracing::debug!(%error, "passed over"),
                Err(error) if matches!(error.kind(), ErrorKind::SizeMismatch { .. }) => {
                    wrong_size.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        wrong_size.map_or(Ok(None), Err)
    }

    /// Where a file may lie, in the order of the search.
    fn places<'p>(&'p self, manifest: &'p Manifest, wanted: &'p ManifestFile) -> impl Iterator<Item = Place<'p>> {
        let of_store = move |root: &'p Path, is_others| {
            let blob = vec!["blobs".to_owned(), format!("sha256-{}", wanted.sha256)];
            [
                Place { root, lies: Lies::At(blob), is_others },
                Place { root, lies: Lies::Linked(wanted.sha256), is_others },
            ]
        };
        let of_models = |root: &'p PathBuf| {
            let own = vec![manifest.name.clone(), wanted.name.clone()];
            [own, vec![wanted.name.clone()]].map(|at| Place { root, lies: Lies::At(at), is_others: false })
        };
        let shared = self.shared.iter().flat_map(move |root| of_store(root, true));
        let hub = self.hub.iter().flat_map(|root| {
            hub_cache::places_of(wanted).into_iter().map(|at| Place { root, lies: Lies::At(at), is_others: true })
        });
        of_store(&self.store, false).into_iter().chain(shared).chain(self.models.iter().flat_map(of_models)).chain(hub)
    }
}

/// Where a file may lie.
struct Place<'p> {
    root: &'p Path,
    lies: Lies,
    /// What is wrong with it is somebody else's affair.
    is_others: bool,
}

/// How a place says where the file is.
enum Lies {
    /// By these names beneath the root.
    At(Vec<String>),
    /// By the link of this digest in the store that the root is.
    Linked(Digest),
}

impl Place<'_> {
    /// The open file and its path; `None` when nothing lies there.
    fn open(&self) -> Result<Option<(File, PathBuf)>> {
        match &self.lies {
            Lies::At(components) => {
                let names: Vec<&str> = components.iter().map(String::as_str).collect();
                let path = || self.root.join(components.iter().collect::<PathBuf>());
                Ok(beneath::open(self.root, &names)?.map(|file| (file, path())))
            }
            Lies::Linked(digest) => match links::target(self.root, *digest)? {
                Some(target) => Ok(links::open(&target)?.map(|file| (file, target))),
                None => Ok(None),
            },
        }
    }
}

/// What became of a file before hashing.
enum Outcome {
    Settled(Option<Result<VerifiedFile>>),
    /// It is the next of those that are hashed.
    Hashed,
}

fn found<'m>(wanted: &'m ManifestFile, file: File, path: &Path) -> Result<Found<'m>> {
    let identity = Identity::of(&file).map_err(|error| Error::io(path, "look at", error))?;
    if identity.size != wanted.size {
        let (expected, actual) = (wanted.size, identity.size);
        return Err(ErrorKind::SizeMismatch { path: path.to_owned(), expected, actual }.into());
    }
    Ok(Found { wanted, file, path: path.to_owned(), identity })
}

fn how_without_hashing(found: &Found<'_>, mode: VerifyMode, rows: &Rows) -> Option<How> {
    match mode {
        VerifyMode::Always => None,
        VerifyMode::Never => Some(How::NotChecked),
        VerifyMode::Cached => is_known_good(&found.identity, found.wanted.sha256, rows).then_some(How::Ledger),
    }
}

/// Whether this version of a file was seen to have the wanted digest.
fn is_known_good(identity: &Identity, wanted: Digest, rows: &Rows) -> bool {
    rows.get(identity).is_some_and(|seen| seen.digest == wanted && seen.is_believed(identity, ledger::now()))
}

/// Whether this version of the file was seen to have another digest. That is believed at once: the worst that a
/// wrong belief does here is to send somebody to `tenon verify`.
fn is_known_bad(found: &Found<'_>, rows: &Rows) -> bool {
    rows.get(&found.identity).is_some_and(|seen| seen.digest != found.wanted.sha256)
}
