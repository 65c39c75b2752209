//! What the engine calls, wherever the backend runs: models and sessions in this process ([`super::call`]) or in a
//! worker ([`super::worker`]). Sessions, streams and everything above cannot tell the two apart.

use super::call::{self, FileHere, Item, ModelHere, SessionHere};
use super::host::Call;
use super::load::{Plugin, Runner};
use super::opened::Opened;
use super::worker::{Spec, WorkerModel, WorkerSession, Workers};
use crate::cancel::StopSigns;
use crate::error::{Error, ErrorKind, Result};
use std::sync::Arc;
use tenon_store::{VerifiedFile, WorkerOptions};

/// A backend with the files of a model: ready to be asked what it will need, and to open it.
pub(crate) enum Prepared {
    Here(Arc<Opened>, Arc<Vec<VerifiedFile>>),
    Worker(Arc<WorkerModel>),
}

impl Prepared {
    /// Starts the first worker, where the plugin runs in workers.
    pub(crate) fn new(
        plugin: &Plugin,
        files: &Arc<Vec<VerifiedFile>>,
        options: &WorkerOptions,
        workers: &Arc<Workers>,
        stop: &StopSigns,
    ) -> Result<Self> {
        match plugin.runner() {
            Runner::Here(opened) => Ok(Self::Here(Arc::clone(opened), Arc::clone(files))),
            Runner::Worker(library) => {
                let spec = Spec {
                    name: plugin.id().to_owned(),
                    library: Arc::clone(library),
                    files: Arc::clone(files),
                    caps: plugin.caps(),
                    version: Some(plugin.version().to_owned()),
                    options: options.clone(),
                    workers: Arc::clone(workers),
                };
                WorkerModel::start(spec, stop).map(|model| Self::Worker(Arc::new(model)))
            }
        }
    }

    /// Asks how much memory the model will need; the answer goes to the sink of `call`, which carries the load options.
    /// `None` when the plugin has no way to ask. Must run on a stack of [`call::STACK`].
    pub(crate) fn estimate(&self, call: Call) -> Option<Result<()>> {
        match self {
            Self::Here(opened, files) => match files_here(files) {
                Ok(files) => call::estimate(opened, &files, call),
                Err(error) => Some(Err(error)),
            },
            Self::Worker(model) => model.estimate(call),
        }
    }

    /// Opens the model. `call` carries the load options. Must run on a stack of [`call::STACK`].
    pub(crate) fn open(self, call: Call) -> Result<OpenModel> {
        match self {
            Self::Here(opened, files) => {
                let model = ModelHere::open(&opened, &files_here(&files)?, call)?;
                Ok(OpenModel::Here(Arc::new(model)))
            }
            Self::Worker(model) => {
                model.open(call)?;
                Ok(OpenModel::Worker(model))
            }
        }
    }
}

/// A model that a backend opened. Closes itself; its sessions hold it.
pub(crate) enum OpenModel {
    Here(Arc<ModelHere>),
    Worker(Arc<WorkerModel>),
}

impl OpenModel {
    /// How far its workers are shut in, in a word; `None` in this process.
    pub(crate) fn sandbox(&self) -> Option<String> {
        match self {
            Self::Here(_) => None,
            Self::Worker(model) => Some(model.sandbox().level().to_owned()),
        }
    }
}

/// A session that a backend opened. Closes itself; holds its model.
pub(crate) enum OpenSession {
    Here(SessionHere),
    Worker(WorkerSession),
}

impl OpenSession {
    /// Opens a session. Must run on a stack of [`call::STACK`].
    pub(crate) fn open(model: &OpenModel, call: Call) -> Result<Self> {
        match model {
            OpenModel::Here(model) => SessionHere::open(model, call).map(Self::Here),
            OpenModel::Worker(model) => model.session(call).map(Self::Worker),
        }
    }

    /// Whether it can still be called: its worker has not ended.
    pub(crate) fn is_alive(&self) -> bool {
        match self {
            Self::Here(_) => true,
            Self::Worker(session) => session.is_alive(),
        }
    }

    /// Makes the session as good as new. Must run on a stack of [`call::STACK`].
    pub(crate) fn reset(&mut self, call: Call) -> Result<()> {
        match self {
            Self::Here(session) => session.reset(call),
            Self::Worker(session) => session.reset(call),
        }
    }

    /// Runs a task; what comes of it goes to the sink of `call`. Must run on a stack of [`call::STACK`].
    pub(crate) fn run(&mut self, task: &str, items: &[Item<'_>], call: Call) -> Result<()> {
        match self {
            Self::Here(session) => session.run(task, items, call),
            Self::Worker(session) => session.run(task, items, call),
        }
    }
}

fn files_here(files: &[VerifiedFile]) -> Result<Vec<FileHere<'_>>> {
    let here = |file| {
        Ok(FileHere {
            role: VerifiedFile::role(file),
            path: path_text(file)?,
            size: file.size(),
            sha256: *file.digest().as_bytes(),
            fd: descriptor(file),
        })
    };
    files.iter().map(here).collect()
}

/// The path that a backend opens, as text: the contract speaks UTF-8.
fn path_text(file: &VerifiedFile) -> Result<String> {
    file.open_path().into_os_string().into_string().map_err(|path| {
        let message = format!("the path {} is not UTF-8: move the model to one that is", path.display());
        Error::new(ErrorKind::Unsupported, message)
    })
}

#[cfg(unix)]
fn descriptor(file: &VerifiedFile) -> i32 {
    use std::os::fd::AsRawFd;
    file.file().as_raw_fd()
}

#[cfg(not(unix))]
fn descriptor(_: &VerifiedFile) -> i32 {
    -1
}
