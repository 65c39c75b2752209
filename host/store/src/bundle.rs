//! Bundles: models and plugins in one archive, for machines that are never online.
//!
//! A bundle is an uncompressed tar archive of plain files in one order that the index, its first file, lays down:
//!
//! ```text
//! bundle.toml                              the index: what follows, with sizes and SHA-256
//! bundle.sha256                            the SHA-256 of the index
//! models/NAME.toml                         the manifests, and NAME.toml.minisig behind those that are signed
//! blobs/sha256-HEX                         the files of the models, by digest
//! plugins/ID.plugin.toml  plugins/FILE     sidecar and library of each plugin
//! ```
//!
//! [`export`](fn@export) writes one, [`Bundle::open`] reads its index and manifests, and [`Bundle::import`] takes it into a store.
//! The module `archive` knows the format of tar, `index` what an index may say, `plugins` the folder of plugins.

mod archive;
mod export;
mod import;
mod index;
mod plugins;

pub use export::{PluginSource, export, export_file};
pub use import::{Bundle, Import, Imported};
pub use index::{BundledBlob, BundledModel, BundledPlugin, Content, Index};
pub use plugins::PLUGINS;

use crate::{Error, ErrorKind, Progress, Result};
use std::ops::ControlFlow;
use std::path::Path;

/// The target that this program was built for. A bundle's plugins run on its own target only.
pub const TARGET: &str = env!("TENON_TARGET");

/// What is being done to a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is being written, and what goes into it is being hashed.
    Writing,
    /// It is being read and hashed.
    Reading,
    /// What came out of it is being hashed again where it lies now.
    Verifying,
}

/// Hears how far a bundle is, some hundred times, and may stop it.
pub type Watch<'w> = dyn FnMut(Stage, &Progress) -> ControlFlow<()> + 'w;

/// Counts what is done of a stage and tells it.
struct Meter<'m, 'w> {
    watch: &'m mut Watch<'w>,
    stage: Stage,
    done: u64,
    told: u64,
    total: u64,
}

impl<'m, 'w> Meter<'m, 'w> {
    fn begin(watch: &'m mut Watch<'w>, stage: Stage, total: u64) -> Result<Self> {
        let mut meter = Self { watch, stage, done: 0, told: 0, total };
        meter.tell()?;
        Ok(meter)
    }

    /// Adds so many bytes; stops where that was asked for.
    fn add(&mut self, bytes: usize) -> Result<()> {
        self.done += bytes as u64;
        let step = (self.total / 200).max(64 << 10);
        if self.done - self.told >= step || self.done >= self.total { self.tell() } else { Ok(()) }
    }

    fn tell(&mut self) -> Result<()> {
        self.told = self.done;
        match (self.watch)(self.stage, &Progress { done: self.done, total: self.total }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ErrorKind::Cancelled.into()),
        }
    }
}

/// Something about the bundle at `path` that cannot be.
fn refused(path: &Path, problem: impl Into<String>) -> Error {
    ErrorKind::Bundle { path: path.to_owned(), problem: problem.into() }.into()
}
