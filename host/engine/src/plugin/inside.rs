//! What the program `tenon-worker` is made of: one plugin in this process, without an engine.
//!
//! Public for that program and no part of the crate's interface: anything here may change in any version.

use super::call::{self, ModelHere, SessionHere, on_big_stack};
use super::library;
use super::opened::Opened;
use crate::error::{Error, ErrorKind, Result};
use crate::log::Log;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

pub use super::call::{FileHere as FileAt, Item, STACK};
pub use super::host::{Call, Feed, Pulled, Sink, activity};
pub use crate::cancel::StopSigns;

/// A plugin whose library is open in this process.
pub struct Backend(Arc<Opened>);

impl Backend {
    /// Opens a library and calls its entry. `name` stands in messages. Whoever calls this has hashed the file.
    ///
    /// # Errors
    /// `Plugin`, `AbiMismatch` and what the entry says.
    pub fn open(library: File, name: &str) -> Result<Arc<Self>> {
        let place = place_of(&library, name);
        let library = library::open(library, &place)?;
        on_big_stack(|| Opened::of_library(&library, name)).map(|opened| Arc::new(Self(Arc::new(opened))))
    }

    /// Id of the plugin.
    pub fn id(&self) -> &str {
        self.0.id()
    }

    /// Version of the plugin.
    pub fn version(&self) -> &str {
        self.0.version()
    }

    /// The contract that it was built for.
    pub fn abi(&self) -> (u16, u16) {
        self.0.abi()
    }

    /// How it was built, in its own words.
    pub fn build_info(&self) -> &str {
        self.0.build_info()
    }

    /// `CAP_*` flags of the plugin contract.
    pub fn caps(&self) -> u32 {
        self.0.caps()
    }

    /// Whether it can say how much memory a model will need.
    pub fn has_estimate(&self) -> bool {
        self.0.estimate().is_some()
    }

    /// The document in which the plugin describes itself: JSON.
    ///
    /// # Errors
    /// What the plugin says; `Plugin` when it describes itself not once.
    pub fn describe(&self) -> Result<String> {
        on_big_stack(|| self.0.describe())
    }

    /// Asks how much memory a model will need; the document goes to the sink of `call`. Must run on a stack of
    /// [`STACK`].
    ///
    /// # Errors
    /// What the plugin says; `Unsupported` when it cannot be asked.
    pub fn estimate(&self, files: &[FileAt<'_>], call: Call) -> Result<()> {
        let unable = || Err(Error::new(ErrorKind::Unsupported, format!("plugin \"{}\" estimates nothing", self.id())));
        call::estimate(&self.0, files, call).unwrap_or_else(unable)
    }

    /// Lets the plugin join its threads.
    ///
    /// # Errors
    /// `Busy` while a model is open.
    pub fn end(&self) -> Result<()> {
        self.0.end()
    }
}

/// A model that a backend opened. Closes itself; its sessions hold it.
pub struct Model(Arc<ModelHere>);

impl Model {
    /// Opens a model. `call` carries the load options. Must run on a stack of [`STACK`].
    ///
    /// # Errors
    /// What the plugin says.
    pub fn open(backend: &Backend, files: &[FileAt<'_>], call: Call) -> Result<Arc<Self>> {
        ModelHere::open(&backend.0, files, call).map(|model| Arc::new(Self(Arc::new(model))))
    }
}

/// A session that a backend opened. Closes itself; holds its model.
pub struct Session(SessionHere);

impl Session {
    /// Opens a session. Must run on a stack of [`STACK`].
    ///
    /// # Errors
    /// What the plugin says.
    pub fn open(model: &Model, call: Call) -> Result<Self> {
        SessionHere::open(&model.0, call).map(Self)
    }

    /// Makes the session as good as new. Must run on a stack of [`STACK`].
    ///
    /// # Errors
    /// What the plugin says.
    pub fn reset(&mut self, call: Call) -> Result<()> {
        self.0.reset(call)
    }

    /// Runs a task; what comes of it goes to the sink of `call`. Must run on a stack of [`STACK`].
    ///
    /// # Errors
    /// What the plugin says.
    pub fn run(&mut self, task: &str, items: &[Item<'_>], call: Call) -> Result<()> {
        self.0.run(task, items, call)
    }
}

/// Runs `body`; what plugins log meanwhile, on whatever thread, goes to this dispatch, with the target `tenon::plugin`
/// and the field `backend`.
pub fn with_log<T>(dispatch: tracing::Dispatch, body: impl FnOnce() -> T) -> T {
    Log::new(Some(dispatch)).within(body)
}

/// Where a library lies, as far as the system needs to know: it is opened by its descriptor where that can be done.
#[cfg(not(target_vendor = "apple"))]
fn place_of(_library: &File, name: &str) -> PathBuf {
    PathBuf::from(name)
}

/// As above: here libraries are opened by their paths.
#[cfg(target_vendor = "apple")]
fn place_of(library: &File, name: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let path = rustix::fs::getpath(library).map(|path| std::ffi::OsString::from_vec(path.into_bytes()).into());
    path.unwrap_or_else(|_| PathBuf::from(name))
}
