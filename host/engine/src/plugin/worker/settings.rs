//! How an engine runs its workers.

use std::path::PathBuf;
use std::time::Duration;

/// How long a worker may take to end after a request was asked to, unless its backend looks rarely.
const GRACE: Duration = Duration::from_secs(5);
/// How long a worker may take until its plugin is open.
const START: Duration = Duration::from_secs(30);
/// How long a worker in which a request runs may leave the engine's question unanswered.
const SILENCE: Duration = Duration::from_secs(15);

/// How an engine runs its workers: what holds for all of its models. What holds for one stands in its manifest.
///
/// ```
/// use std::time::Duration;
/// use tenon::{Engine, WorkerSettings};
///
/// let settings = WorkerSettings::new().program("/opt/example/tenon-worker").grace(Duration::from_secs(2));
/// let engine = Engine::builder().worker(settings).build()?;
/// # Ok::<(), tenon::Error>(())
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(not(unix), allow(dead_code, reason = "there are no workers on this system"))]
pub struct WorkerSettings {
    pub(super) program: Option<PathBuf>,
    /// Where a relative name of it begins: the working folder when the engine was made, which may change later.
    pub(super) folder: Option<PathBuf>,
    pub(super) grace: Duration,
    pub(super) start: Duration,
    pub(super) silence: Duration,
    pub(super) environment: Vec<(String, String)>,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self { program: None, folder: None, grace: GRACE, start: START, silence: SILENCE, environment: Vec::new() }
    }
}

impl WorkerSettings {
    /// As the engine does when nothing is said.
    pub fn new() -> Self {
        Self::default()
    }

    /// The program `tenon-worker`; a relative path begins in the folder in which the engine is made. Without it the environment variable `TENON_WORKER` says where it is, and without
    /// that it is looked for beside the library or program that contains the engine.
    #[must_use]
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = Some(path.into());
        self
    }

    /// How long a worker may take to end a request that was cancelled or is past its deadline, before it is killed with
    /// everything else that runs in it; 5 seconds by default, four times as long where the backend says that it looks
    /// rarely.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long a worker may take to start and to open its plugin, before any model; 30 seconds by default.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start = timeout;
        self
    }

    /// How long a worker in which a request runs may leave the engine without an answer before it is taken for hung;
    /// 15 seconds by default. It is not the backend that answers, so this bounds no request.
    #[must_use]
    pub fn silence(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }

    /// Sets an environment variable of the workers, which see next to nothing of this process's own.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }
}
