//! Pull: a model's missing files are fetched into the store, every byte verified, and a reference names them.
//!
//! The bytes are the business of `tenon-pull`, their place that of `tenon-store`. Here is what a pull means to an
//! engine: licence, pins, disk space, reference, and that the model can be loaded at once.

use crate::cancel::{CancelToken, StopSigns};
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tenon_pull::{Network, Puller};
use tenon_store::{Digest, Entry, Environment, Manifest, ManifestFile, State, VerifyMode};

/// What hears how far a pull is.
type Hears<'a> = Box<dyn FnMut(&PullEvent<'_>) + 'a>;

/// How a model is pulled.
#[derive(Default)]
pub struct Pull<'a> {
    accept_license: bool,
    without_optional: bool,
    network: Option<Network>,
    events: Option<Hears<'a>>,
    cancel: Option<CancelToken>,
    deadline: Option<Duration>,
}

impl<'a> Pull<'a> {
    /// Everything that the manifest names, by the network that the environment describes; no restricted licence is
    /// accepted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether somebody accepts the licence of a model that is [restricted](Manifest::restricted).
    #[must_use]
    pub fn accept_license(mut self, accepted: bool) -> Self {
        self.accept_license = accepted;
        self
    }

    /// Leaves out the files that the model loads without.
    #[must_use]
    pub fn without_optional(mut self) -> Self {
        self.without_optional = true;
        self
    }

    /// How the network is used; by default as the environment of this process says.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.network = Some(network);
        self
    }

    /// Hears how far the pull is, on the thread that pulls.
    #[must_use]
    pub fn events(mut self, events: impl FnMut(&PullEvent<'_>) + 'a) -> Self {
        self.events = Some(Box::new(events));
        self
    }

    /// Ends the pull when this is cancelled. What came until then is kept, and the next pull goes on from there.
    #[must_use]
    pub fn cancel(mut self, token: CancelToken) -> Self {
        self.cancel = Some(token);
        self
    }

    /// Ends the pull after this time, as a cancel does.
    #[must_use]
    pub fn deadline(mut self, after: Duration) -> Self {
        self.deadline = Some(after);
        self
    }
}

impl fmt::Debug for Pull<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pull")
            .field("accept_license", &self.accept_license)
            .field("without_optional", &self.without_optional)
            .field("network", &self.network)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// How far a pull is.
#[derive(Debug)]
#[non_exhaustive]
pub enum PullEvent<'a> {
    /// Files that lie here already are hashed.
    Check {
        /// Bytes hashed so far.
        done: u64,
        /// Bytes to hash.
        total: u64,
    },
    /// What is going to be fetched.
    Plan {
        /// The files, in the order in which they are fetched; none when everything is here.
        files: &'a [ManifestFile],
    },
    /// A file is on its way.
    Fetch(&'a tenon_pull::Event),
    /// The reference is written to this file.
    Refer(&'a Path),
}

/// What a pull did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PullReport {
    /// Name of the model.
    pub model: String,
    /// The reference that names it in the store; `None` when nothing of it lies there.
    pub reference: Option<PathBuf>,
    /// Each file of the manifest.
    pub files: Vec<PulledFile>,
    /// How long it took.
    pub time: Duration,
}

impl PullReport {
    /// Bytes that came over the network.
    pub fn fetched(&self) -> u64 {
        self.files.iter().map(|file| file.fetched).sum()
    }
}

/// What a pull did with a file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PulledFile {
    /// What it is to the backend.
    pub role: String,
    /// Its name in the manifest.
    pub name: String,
    /// Bytes, by the manifest.
    pub size: u64,
    /// Digest, by the manifest, and of its bytes.
    pub sha256: Digest,
    /// Where it lies; `None` for an optional file that was left out.
    pub path: Option<PathBuf>,
    /// Bytes that came over the network; 0 for one that was here.
    pub fetched: u64,
}

impl Engine {
    /// Fetches what a model lacks into the store, every byte verified, and writes a reference that keeps it there. The
    /// model can be loaded at once. What broke off goes on where it stopped. On the calling thread.
    ///
    /// ```no_run
    /// use tenon::{Engine, Load, Pull};
    ///
    /// let engine = Engine::builder().standard_places().build()?;
    /// engine.pull("whisper-base", Pull::new())?;
    /// let model = engine.load("whisper-base", Load::new())?;
    /// # Ok::<(), tenon::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound` for a name that no manifest has; `InvalidArgument` for a licence that must be accepted; `Io` when the
    /// disk is too small; `Network`, `HashMismatch`; the stop kinds.
    pub fn pull(&self, name: &str, pull: Pull<'_>) -> Result<PullReport> {
        let manifest = self.catalog().get(name)?.clone();
        self.pull_manifest(&manifest, pull)
    }

    /// As [`Engine::pull`], for a manifest that is in no folder of this engine. Its reference makes it one that is.
    ///
    /// # Errors
    /// As [`Engine::pull`], and `InvalidArgument` when another model has its name.
    pub fn pull_manifest(&self, manifest: &Manifest, pull: Pull<'_>) -> Result<PullReport> {
        self.within(|| self.pull_here(manifest, pull))
    }

    fn pull_here(&self, manifest: &Manifest, pull: Pull<'_>) -> Result<PullReport> {
        let began = Instant::now();
        self.admit_pull(manifest, pull.accept_license)?;
        let stop = self.stop_signs_of(pull.cancel.clone(), pull.deadline);
        let mut hears = pull.events.unwrap_or_else(|| Box::new(|_| {}));
        let mut run = Run { engine: self, manifest, stop, hears: &mut hears };
        let mut files = run.found()?;
        let lacks = |file: &PulledFile, wanted: &ManifestFile| {
            file.path.is_none() && !(wanted.optional && pull.without_optional)
        };
        let missing: Vec<ManifestFile> = files
            .iter()
            .zip(&manifest.files)
            .filter(|(file, wanted)| lacks(file, wanted))
            .map(|(_, w)| w.clone())
            .collect();
        let reference = run.bring(&mut files, missing, pull.network)?;
        Ok(PullReport { model: manifest.name.clone(), reference, files, time: began.elapsed() })
    }

    /// What can be refused before anything is looked at.
    fn admit_pull(&self, manifest: &Manifest, accepted: bool) -> Result<()> {
        self.check_pinned(manifest)?;
        manifest.check_license(accepted)?;
        self.refuse_other_of_the_name(manifest)
    }

    /// A reference comes last in the search: where another manifest of its name comes first, nobody would ever see it.
    /// One reference may replace another: the model of a hub has a new revision.
    fn refuse_other_of_the_name(&self, manifest: &Manifest) -> Result<()> {
        let catalog = self.catalog();
        let other = match catalog.get(&manifest.name) {
            Ok(other) if other == manifest => return Ok(()),
            Ok(other) => other.path().to_owned(),
            Err(error) if matches!(error.kind(), tenon_store::ErrorKind::NoManifest { .. }) => return Ok(()),
            Err(_) => match catalog.entries().iter().find(|entry| entry.name == manifest.name) {
                Some(entry) => entry.path.clone(),
                None => return Ok(()),
            },
        };
        if self.locations().reference_folders().first().is_some_and(|folder| other.starts_with(folder)) {
            return Ok(());
        }
        let message = format!(
            "another model is called \"{}\" already, by {}: choose another name",
            manifest.name,
            other.display()
        );
        Err(Error::new(ErrorKind::InvalidArgument, message).with_detail("model", &manifest.name))
    }
}

/// One pull on its way.
struct Run<'r, 'e> {
    engine: &'r Engine,
    manifest: &'r Manifest,
    stop: StopSigns,
    hears: &'r mut Hears<'e>,
}

impl Run<'_, '_> {
    /// What is here, file by file; without a path for what is missing or is not what the manifest says.
    fn found(&mut self) -> Result<Vec<PulledFile>> {
        let (stop, hears) = (&self.stop, &mut *self.hears);
        let mut progress = |how_far: &tenon_store::Progress| {
            hears(&PullEvent::Check { done: how_far.done, total: how_far.total });
            go_on(stop)
        };
        let outcomes = self.engine.store().examine(self.manifest, VerifyMode::Cached, &mut progress);
        self.check_stop()?;
        let files = self.manifest.files.iter().zip(outcomes).map(|(wanted, outcome)| {
            let path = match outcome {
                Some(Ok(file)) => Some(file.path().to_owned()),
                None => None,
                Some(Err(error)) => match error.kind() {
                    tenon_store::ErrorKind::NotFound { .. }
                    | tenon_store::ErrorKind::SizeMismatch { .. }
                    | tenon_store::ErrorKind::HashMismatch { .. } => None,
                    _ => return Err(error.into()),
                },
            };
            let (role, name) = (wanted.role.clone(), wanted.name.clone());
            Ok(PulledFile { role, name, size: wanted.size, sha256: wanted.sha256, path, fetched: 0 })
        });
        files.collect()
    }

    /// Fetches what is missing and refers to the model. Where nothing is missing and nothing of it lies in the store,
    /// there is nothing to refer to.
    fn bring(
        &mut self,
        files: &mut [PulledFile],
        missing: Vec<ManifestFile>,
        network: Option<Network>,
    ) -> Result<Option<PathBuf>> {
        let store = self.engine.store();
        (self.hears)(&PullEvent::Plan { files: &missing });
        // Paths of verified files have their links resolved.
        let folder = std::fs::canonicalize(store.folder()).unwrap_or_else(|_| store.folder().to_owned());
        let in_store = |file: &PulledFile| file.path.as_ref().is_some_and(|path| path.starts_with(&folder));
        if missing.is_empty() && !files.iter().any(in_store) {
            return Ok(None);
        }
        if missing.is_empty()
            && let Some(reference) = self.reference()?
        {
            return Ok(Some(reference));
        }
        if store.folder().as_os_str().is_empty() {
            let message = format!("model \"{}\" has no place to go: name the folder of the store", self.manifest.name);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let claim = store.claim(self.manifest)?;
        if !missing.is_empty() {
            self.fetch(files, missing, network)?;
        }
        let reference = claim.refer()?;
        (self.hears)(&PullEvent::Refer(&reference));
        self.engine.refresh();
        match store.state(self.manifest) {
            State::Present => Ok(Some(reference)),
            _ => {
                let name = &self.manifest.name;
                let message =
                    format!("files of model \"{name}\" were changed or removed while it was pulled: try again");
                Err(Error::new(ErrorKind::HashMismatch, message).with_detail("model", name))
            }
        }
    }

    /// The reference, where it says the same already.
    fn reference(&self) -> Result<Option<PathBuf>> {
        let references = self.engine.store().references()?;
        let same = |entry: &&Entry| entry.manifest.as_ref().is_ok_and(|manifest| manifest == self.manifest);
        Ok(references.iter().find(same).map(|entry| entry.path.clone()))
    }

    fn fetch(&mut self, files: &mut [PulledFile], missing: Vec<ManifestFile>, network: Option<Network>) -> Result<()> {
        let store = self.engine.store();
        let network = match network {
            Some(network) => network,
            None => Network::of(&Environment::of_this_process())?,
        };
        let mut partial = self.manifest.clone();
        partial.files = missing;
        let (stop, hears) = (&self.stop, &mut *self.hears);
        let pulled = Puller::new(store, &network).pull(&partial, &mut |event| {
            tracing::debug!(?event, "pull");
            hears(&PullEvent::Fetch(event));
            go_on(stop)
        });
        self.check_stop()?;
        for one in pulled? {
            for file in files.iter_mut().filter(|file| file.sha256 == one.digest && file.path.is_none()) {
                (file.path, file.fetched) = (Some(one.path.clone()), one.fetched);
            }
        }
        Ok(())
    }

    /// The error of a pull that was asked to end.
    fn check_stop(&self) -> Result<()> {
        let Some(kind) = self.stop.reason() else { return Ok(()) };
        let why = match kind {
            ErrorKind::Deadline => "the deadline passed before everything was here",
            ErrorKind::Shutdown => "the engine is shutting down",
            _ => "cancelled",
        };
        let name = &self.manifest.name;
        Err(Error::new(kind, format!("{why}: `tenon pull {name}` goes on where this pull stopped")))
    }
}

fn go_on(stop: &StopSigns) -> ControlFlow<()> {
    if stop.reason().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

impl From<tenon_pull::Error> for Error {
    fn from(error: tenon_pull::Error) -> Self {
        use tenon_pull::ErrorKind as Kind;
        let kind = match error.kind() {
            Kind::Store(inner) => return Self::from((**inner).clone()),
            Kind::InvalidArgument => ErrorKind::InvalidArgument,
            Kind::NotFound => ErrorKind::NotFound,
            Kind::Unsupported => ErrorKind::Unsupported,
            Kind::Cancelled => ErrorKind::Cancelled,
            Kind::HashMismatch => ErrorKind::HashMismatch,
            Kind::Network => ErrorKind::Network,
            _ => ErrorKind::Io,
        };
        Self::new(kind, error.to_string()).with_source(error)
    }
}
