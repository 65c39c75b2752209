//! Workers: backends that run in processes of their own, one plugin and at most one model in each, supervised here.
//!
//! What the engine uses is [`WorkerModel`] and [`WorkerSession`], which look like a model and a session in this
//! process. The program is found ([`find`]), started ([`process`], [`start`]) and spoken to by frames
//! ([`tenon_wire`]). Each worker ([`child`]) has one thread of this process that reads all it sends ([`reader`]), into
//! mailboxes ([`mailbox`]) that the threads of requests empty ([`call`]). How a worker ended is told by its [`death`];
//! whether another may be started by the [`breaker`]; all workers of a model are its [`pool`].
//!
//! Nothing that a worker sends is trusted, and no lock is held while code of the caller runs.

#[cfg(unix)]
mod allowance;
#[cfg(unix)]
mod breaker;
#[cfg(unix)]
mod call;
#[cfg(unix)]
mod child;
#[cfg(unix)]
mod death;
#[cfg(unix)]
mod find;
#[cfg(unix)]
mod mailbox;
#[cfg(unix)]
mod pool;
#[cfg(unix)]
mod process;
#[cfg(unix)]
mod reader;
mod settings;
#[cfg(unix)]
mod start;
#[cfg(unix)]
mod tail;

#[cfg(not(unix))]
mod absent;

#[cfg(not(unix))]
pub(crate) use absent::{WorkerModel, WorkerSession, describe, program};
#[cfg(unix)]
pub(crate) use pool::{WorkerModel, WorkerSession};
pub use settings::WorkerSettings;

use crate::cancel::CancelToken;
use crate::crew::Crew;
use crate::log::Log;
use std::fs::File;
use std::sync::Arc;
#[cfg(unix)]
use std::sync::{Mutex, PoisonError, Weak};
use tenon_store::{VerifiedFile, WorkerOptions};

/// What all workers of one engine share.
#[cfg_attr(not(unix), expect(dead_code, reason = "there are no workers on this system"))]
pub(crate) struct Workers {
    settings: WorkerSettings,
    /// Has the threads that read from them.
    crew: Arc<Crew>,
    /// Set when the engine shuts down.
    shutdown: CancelToken,
    /// Where what their plugins log goes.
    log: Log,
    #[cfg(unix)]
    running: Mutex<Vec<Weak<child::Worker>>>,
}

impl Workers {
    /// None yet.
    pub(crate) fn new(settings: WorkerSettings, crew: Arc<Crew>, shutdown: CancelToken, log: Log) -> Arc<Self> {
        let folder = std::env::current_dir().ok();
        Arc::new(Self {
            settings: WorkerSettings { folder, ..settings },
            crew,
            shutdown,
            log,
            #[cfg(unix)]
            running: Mutex::default(),
        })
    }

    /// The engine shuts down, which its token says already: workers without a call end now, the others after theirs.
    pub(crate) fn wake(&self) {
        #[cfg(unix)]
        self.running().iter().filter_map(Weak::upgrade).for_each(|worker| worker.wake());
    }

    #[cfg(unix)]
    fn add(&self, worker: &Arc<child::Worker>) {
        let mut running = self.running();
        running.retain(|worker| worker.strong_count() > 0);
        running.push(Arc::downgrade(worker));
        drop(running);
        // It may be too late for `wake`.
        if self.shutdown.is_cancelled() {
            worker.wake();
        }
    }

    #[cfg(unix)]
    fn running(&self) -> std::sync::MutexGuard<'_, Vec<Weak<child::Worker>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What workers are to serve.
#[cfg_attr(not(unix), expect(dead_code, reason = "there are no workers on this system"))]
pub(crate) struct Spec {
    /// The plugin's id.
    pub name: String,
    /// Its library: open, and hashed.
    pub library: Arc<File>,
    /// The model's files; none for a worker that only describes.
    pub files: Arc<Vec<VerifiedFile>>,
    /// `CAP_*` flags of the plugin, where they are known.
    pub caps: u32,
    /// Its version, where that is known: a worker that says another, or another id, runs another plugin.
    pub version: Option<String>,
    /// What the manifest says of its workers.
    pub options: WorkerOptions,
    /// The engine's.
    pub workers: Arc<Workers>,
}

/// The program that workers run.
///
/// # Errors
/// `NotFound`, with where it was looked for.
#[cfg(unix)]
pub(crate) fn program(workers: &Workers) -> crate::error::Result<std::path::PathBuf> {
    find::program(&workers.settings)
}

/// Asks a worker, which ends then, what a plugin is.
///
/// # Errors
/// As [`WorkerModel::start`].
#[cfg(unix)]
pub(crate) fn describe(spec: &Spec, stop: &crate::cancel::StopSigns) -> crate::error::Result<tenon_wire::Started> {
    let (worker, started) = start::start(spec, None, stop)?;
    worker.quit();
    Ok(started)
}
