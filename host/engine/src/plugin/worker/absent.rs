//! Systems without workers: every way to one says so.

use super::{Spec, Workers};
use crate::cancel::StopSigns;
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::call::Item;
use crate::plugin::host::Call;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use tenon_wire::{SandboxReport, Started};

fn unsupported() -> Error {
    let message = "isolation = \"worker\" needs Unix sockets and signals, which this system does not have: \
                   load the model with isolation = \"process\"";
    Error::new(ErrorKind::Unsupported, message)
}

/// Refuses.
pub(crate) fn describe(_: &Spec, _: &StopSigns) -> Result<Started> {
    Err(unsupported())
}

/// Refuses.
pub(crate) fn program(_: &Workers) -> Result<PathBuf> {
    Err(unsupported())
}

/// Never made.
pub(crate) struct WorkerModel(Infallible);

/// Never made.
pub(crate) struct WorkerSession(Infallible);

impl WorkerModel {
    /// Refuses.
    pub(crate) fn start(_: Spec, _: &StopSigns) -> Result<Self> {
        Err(unsupported())
    }

    pub(crate) fn sandbox(&self) -> SandboxReport {
        match self.0 {}
    }

    pub(crate) fn estimate(&self, _: Call) -> Option<Result<()>> {
        match self.0 {}
    }

    pub(crate) fn open(&self, _: Call) -> Result<()> {
        match self.0 {}
    }

    pub(crate) fn session(self: &Arc<Self>, _: Call) -> Result<WorkerSession> {
        match self.0 {}
    }
}

impl WorkerSession {
    pub(crate) fn is_alive(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn reset(&mut self, _: Call) -> Result<()> {
        match self.0 {}
    }

    pub(crate) fn run(&mut self, _: &str, _: &[Item<'_>], _: Call) -> Result<()> {
        match self.0 {}
    }
}
