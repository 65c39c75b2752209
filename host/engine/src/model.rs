//! Models: a manifest made ready, its files verified and its backend opened.

use crate::answer::{FileProvenance, Provenance};
use crate::cancel::{CancelToken, StopSigns};
use crate::crew::Crew;
use crate::engine::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::gate::{Gate, Inside};
use crate::log::Log;
use crate::memory::MemoryCheck;
use crate::plugin::call::on_big_stack;
use crate::plugin::{OpenModel, OpenSession, Plugin};
use crate::session::Session;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tenon_abi::{CAP_CANCEL_COARSE, CAP_CONCURRENT_SESSIONS};
use tenon_store::{Isolation, Manifest, VerifiedFile, VerifyMode};
use tenon_tasks::{Options, Schema};

/// How to load a model.
///
/// ```
/// use tenon::{Load, Options, VerifyMode};
///
/// let mut options = Options::new();
/// options.set("context_size", 4096);
/// let load = Load::new().options(options).verify(VerifyMode::Always).progress(|how_far| println!("{how_far:?}"));
/// # drop(load);
/// ```
#[derive(Default)]
pub struct Load {
    pub(crate) options: Options,
    pub(crate) verify: Option<VerifyMode>,
    pub(crate) progress: Option<Hears>,
    pub(crate) cancel: Option<CancelToken>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) memory: Option<MemoryCheck>,
    pub(crate) isolation: Option<Isolation>,
}

/// What hears how far a load is.
pub(crate) type Hears = Box<dyn FnMut(LoadProgress) + Send>;

/// How far a load is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum LoadProgress {
    /// Files are being hashed.
    Verify {
        /// Bytes hashed so far.
        done: u64,
        /// Bytes to hash; files that the ledger knows do not count.
        total: u64,
    },
    /// How far the backend is, 0 to 1.
    Open(f32),
}

impl Load {
    /// As the manifest says.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for these load options; they lie over the manifest's.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// When to hash the files; by default as the engine was told.
    #[must_use]
    pub fn verify(mut self, mode: VerifyMode) -> Self {
        self.verify = Some(mode);
        self
    }

    /// Runs the model in workers although its manifest does not ask for that. A model whose manifest does is never run
    /// less isolated: [`Isolation::Process`] is refused for it.
    #[must_use]
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = Some(isolation);
        self
    }

    /// Hears how far the load is, on whatever thread notices. A panic of `hears` is logged and stops no load.
    #[must_use]
    pub fn progress(mut self, hears: impl FnMut(LoadProgress) + Send + 'static) -> Self {
        self.progress = Some(Box::new(hears));
        self
    }

    /// Ends the load when this token is cancelled.
    #[must_use]
    pub fn cancel(mut self, token: CancelToken) -> Self {
        self.cancel = Some(token);
        self
    }

    /// Ends the load when it takes longer than this.
    #[must_use]
    pub fn deadline(mut self, after: Duration) -> Self {
        self.deadline = Some(after);
        self
    }

    /// Whether a model that does not fit into memory is refused; by default as the engine was told.
    #[must_use]
    pub fn memory(mut self, check: MemoryCheck) -> Self {
        self.memory = Some(check);
        self
    }
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Load").field("options", &self.options).field("verify", &self.verify).finish_non_exhaustive()
    }
}

/// A loaded model. Clones share it; it is closed when the last clone and the last session are dropped. Where the backend
/// runs one session at a time, one that is dropped while another runs is closed when that has left the backend.
#[derive(Clone)]
pub struct Model(Arc<ModelInner>);

pub(crate) struct ModelInner {
    // Fields are dropped in this order: the backend's model before the files that it may still read.
    pub open: OpenModel,
    pub files: Arc<Vec<VerifiedFile>>,
    pub manifest: Arc<Manifest>,
    pub backend: Backend,
    pub provenance: Provenance,
    /// Lets one session at a time through, where the backend cannot run several.
    pub gate: Option<Arc<Gate>>,
    /// Set when the engine shuts down.
    pub shutdown: CancelToken,
    /// The engine's threads.
    pub crew: Arc<Crew>,
    /// Where the engine's log goes.
    pub log: Log,
    /// Most threads that a request is granted.
    pub threads: usize,
    /// Most threads that a request may ask for, where the engine was told.
    pub most_threads: Option<usize>,
    /// Threads of a request that asks for none, where the manifest or the load asked for some.
    pub loaded_threads: Option<usize>,
    /// How long the backend may take to end after it was asked to.
    pub patience: Duration,
    pub verify_time: Duration,
    pub open_time: Duration,
    pub load_told: AtomicBool,
}

impl Model {
    pub(crate) fn new(inner: ModelInner) -> Self {
        Self(Arc::new(inner))
    }

    pub(crate) fn inner(&self) -> &Arc<ModelInner> {
        &self.0
    }

    /// Name of the model.
    pub fn name(&self) -> &str {
        &self.0.manifest.name
    }

    /// The task of its manifest.
    pub fn task(&self) -> &str {
        &self.0.manifest.task
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// The backend that runs it.
    pub fn backend(&self) -> &Backend {
        &self.0.backend
    }

    /// Opens a session.
    ///
    /// # Errors
    /// What the backend says, such as `OutOfMemory`; `Busy` when the backend runs one session at a time and a request that
    /// was left behind is still in it.
    pub fn session(&self) -> Result<Session> {
        Session::open(self)
    }

    /// The options of a task.
    ///
    /// # Errors
    /// `Unsupported` when the backend does not offer the task.
    pub fn schema(&self, task: &str) -> Result<&Schema> {
        self.0.schema(task)
    }

    /// The options of a preset of the manifest.
    ///
    /// # Errors
    /// `NotFound`, with the names that there are.
    pub fn preset(&self, name: &str) -> Result<&Options> {
        self.0.preset(name)
    }

    /// Where the answers of this model come from; an answer's own provenance adds its preset and options.
    pub fn provenance(&self) -> &Provenance {
        &self.0.provenance
    }

    /// Its files, in the order of the manifest: open, and what the manifest says.
    pub fn files(&self) -> &[VerifiedFile] {
        &self.0.files
    }

    /// How long verifying the files took, and how long opening them in the backend.
    pub fn load_times(&self) -> (Duration, Duration) {
        (self.0.verify_time, self.0.open_time)
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("name", &self.name()).field("backend", &self.0.plugin()).finish_non_exhaustive()
    }
}

impl ModelInner {
    pub(crate) fn plugin(&self) -> &Plugin {
        self.backend.plugin()
    }

    pub(crate) fn schema(&self, task: &str) -> Result<&Schema> {
        self.backend.schema(task)
    }

    /// The sample rate that the backend wants.
    pub(crate) fn rate(&self) -> Result<u32> {
        let format = self.plugin().description().audio;
        format.map(|format| format.rate).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, format!("backend \"{}\" takes no audio", self.plugin().id()))
        })
    }

    pub(crate) fn preset(&self, name: &str) -> Result<&Options> {
        self.manifest.preset(name).ok_or_else(|| {
            let names: Vec<&str> = self.manifest.presets.iter().map(|(name, _)| name.as_str()).collect();
            let there =
                if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
            let message = format!("model \"{}\" has no preset \"{name}\": {there}", self.manifest.name);
            Error::new(ErrorKind::NotFound, message)
        })
    }

    pub(crate) fn refuse_after_shutdown(&self) -> Result<()> {
        StopSigns { shutdown: Some(self.shutdown.clone()), ..StopSigns::default() }.check()
    }

    /// Calls the backend outside of a request: alone where it wants that, on the stack that the contract promises.
    pub(crate) fn call_briefly<T: Send>(&self, body: impl FnOnce(&StopSigns) -> Result<T> + Send) -> Result<T> {
        let stop = StopSigns { shutdown: Some(self.shutdown.clone()), ..StopSigns::default() };
        let _guest = self.crew.guest();
        stop.check()?;
        self.log.within(|| {
            on_big_stack(|| {
                let _alone = self.alone(&stop)?;
                body(&stop)
            })
        })
    }

    /// Waits until no other session of the model is in the backend, where it cannot run several.
    ///
    /// # Errors
    /// `Busy` when a request that was given up for lost is there: nobody knows whether it ever ends.
    pub(crate) fn alone(&self, stop: &StopSigns) -> Result<Option<Inside>> {
        let Some(gate) = &self.gate else { return Ok(None) };
        let goes_on = || {
            stop.check()?;
            if gate.is_lost() { Err(self.blocked()) } else { Ok(()) }
        };
        gate.enter(goes_on).map(Some)
    }

    fn blocked(&self) -> Error {
        let message = format!(
            "backend \"{}\" runs one session at a time, and a request on model \"{}\" does not end although it was \
             asked to: nothing else can run on the model until it does, so load it anew, with isolation = \"worker\" \
             to have what hangs ended",
            self.plugin().id(),
            self.manifest.name
        );
        Error::new(ErrorKind::Busy, message).with_detail("lost", "true")
    }

    /// Closes a session that is called no more, when no other is in the backend.
    pub(crate) fn close(&self, session: OpenSession) {
        match &self.gate {
            Some(gate) => gate.close(session),
            None => drop(session),
        }
    }

    /// The time that loading took, for the first who asks; zero for all others.
    pub(crate) fn take_load_time(&self) -> Duration {
        let told = self.load_told.swap(true, Ordering::Relaxed);
        if told { Duration::ZERO } else { self.verify_time + self.open_time }
    }
}

/// A backend that says that it cannot look at its cancel flag often gets four times the engine's patience.
pub(crate) fn patience_for(caps: u32, patience: Duration) -> Duration {
    if caps & CAP_CANCEL_COARSE == 0 { patience } else { patience.saturating_mul(4) }
}

/// A gate for a backend that runs one session of a model at a time: in this process, or in each of so many workers.
pub(crate) fn gate_for(caps: u32, workers: Option<usize>) -> Option<Arc<Gate>> {
    (caps & CAP_CONCURRENT_SESSIONS == 0).then(|| Gate::new(workers.unwrap_or(1), workers.is_none()))
}

impl FileProvenance {
    pub(crate) fn of(file: &VerifiedFile) -> Self {
        Self {
            role: file.role().to_owned(),
            name: file.name().to_owned(),
            sha256: file.digest().to_string(),
            size: file.size(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_patience_is_too_long_to_be_multiplied() {
        assert_eq!(patience_for(CAP_CANCEL_COARSE, Duration::from_secs(2)), Duration::from_secs(8));
        assert_eq!(patience_for(CAP_CANCEL_COARSE, Duration::MAX), Duration::MAX);
        assert_eq!(patience_for(0, Duration::from_secs(2)), Duration::from_secs(2));
    }
}
