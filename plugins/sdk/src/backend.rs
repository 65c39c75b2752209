//! What a backend author writes: three traits, from the outside in.

use crate::{Call, Error, Input, ModelFile, Result};
use std::sync::Arc;
use tenon_tasks::{Description, MemoryEstimate};

/// The inference implementation that a plugin provides. One value of it lives as long as the process.
pub trait Backend: Send + Sync + Sized + 'static {
    /// Id, `[a-z0-9-]`; the sidecar `<id>.plugin.toml` says the same.
    const ID: &'static str;
    /// `CAP_*` flags of [`tenon_abi`].
    const CAPS: u32 = 0;
    /// What [`Backend::open`] makes.
    type Model: Model;

    /// Sets the process up, once, when the plugin is loaded: log hooks, global state of an engine.
    fn start() -> Result<Self>;

    /// How the plugin was built: engine version, compiler, CPU level.
    fn build_info() -> String {
        String::new()
    }

    /// What the backend is and can do: tasks, schemas of their options, devices.
    fn describe(&self) -> Description;

    /// Opens a model from verified files. `options` is a JSON object that fits the load schema; read it with
    /// [`crate::options`].
    fn open(&self, call: &Call, files: &[ModelFile<'_>], options: &str) -> Result<Self::Model>;

    /// How much memory a model will need, before it is opened: files and options are those that [`Backend::open`] will
    /// get. It reads headers and never weights, and need not check what `open` checks. A backend that does not say
    /// leaves this out: its models are then loaded without asking.
    fn estimate(&self, call: &Call, files: &[ModelFile<'_>], options: &str) -> Result<MemoryEstimate> {
        let _ = (call, files, options);
        Err(Error::unsupported(format!("the backend `{}` estimates no memory", Self::ID)))
    }

    /// The last call: join all threads. The library stays mapped.
    fn shutdown(&self) {}
}

/// Weights in memory. Sessions share it and keep it alive.
pub trait Model: Send + Sync + Sized + 'static {
    /// What [`Model::session`] makes.
    type Session: Session;

    /// Opens a session. `options` is a JSON object, empty in this version.
    fn session(self: &Arc<Self>, call: &Call, options: &str) -> Result<Self::Session>;
}

/// One conversation or one audio stream on a model; it runs one request at a time.
pub trait Session: Send + Sized + 'static {
    /// Does `task` with `input`, handing what comes of it to `call`. `options` is a JSON object that fits the task's
    /// schema; read it with [`crate::options`].
    fn run(&mut self, call: &Call, task: &str, input: Input<'_>, options: &str) -> Result<()>;

    /// Makes the session as good as new.
    fn reset(&mut self, call: &Call) -> Result<()>;
}

/// Reads an options document. What was not asked for comes from the struct's `Default`.
///
/// The host has checked the document against the schema that the backend described, so an error here means that the
/// schema promises more than the struct keeps.
/// ```
/// use tenon_tasks::EmbedOptions;
///
/// let asked: EmbedOptions = tenon_plugin::options(r#"{"normalize": false}"#).unwrap();
/// assert!(!asked.normalize && asked.threads.is_none());
/// ```
pub fn options<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    // No document at all asks for nothing.
    let text = if text.is_empty() { "{}" } else { text };
    serde_json::from_str(text).map_err(|error| Error::options(format!("the options do not fit: {error}")))
}
