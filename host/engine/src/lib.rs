//! The engine of Tenon: verifies, loads and runs models on backends that plugins provide.
//!
//! ```no_run
//! use tenon::{AudioSource, Engine, Load, Request};
//!
//! let engine = Engine::builder().standard_places().build()?;
//! let model = engine.load("commands-en", Load::new())?;
//! let answer = model.session()?.run(&Request::transcribe(AudioSource::path("order.wav")))?;
//! println!("{}", answer.text);
//! # Ok::<(), tenon::Error>(())
//! ```
//!
//! An [`Engine`] knows manifests, plugins and the store. [`Engine::load`] verifies a model's files by SHA-256, loads the
//! plugin that its manifest names, checks its options against that plugin's schema, and gives a [`Model`]. A
//! [`Session`] runs one [`Request`] at a time, with [`Session::run`] or as a [`Stream`] of [`Event`]s. Every error is
//! an [`Error`] with a kind, a sentence and details.
//!
//! What holds everywhere:
//! * Nothing runs before its hash matched: neither a plugin's library nor a model's files.
//! * Nothing is silently left out, cut or replaced: it is an error, a note or a named damage of the audio.
//! * A request ends by cancel or deadline as soon as the backend looks, and its end is always delivered.
//! * Requests share one thread budget, the physical cores that the process may use.
//!
//! Unsafe code lives in the module `plugin` alone.

#![deny(unsafe_code)]

mod answer;
mod cancel;
mod cgroup;
mod collect;
mod crew;
mod engine;
mod error;
mod feed;
mod gate;
mod log;
mod memory;
mod model;
mod offline;
mod plugin;
mod pull;
mod request;
mod run;
mod session;
mod stream;
mod threads;
mod wakeup;

pub use answer::{Answer, AudioDamage, Event, FileProvenance, Provenance, Timings};
pub use cancel::CancelToken;
pub use engine::{
    Backend, Engine, EngineBuilder, FileReport, ModelEntry, PluginEntry, VerifyReport, WorkerTrial, x86_level,
};
pub use error::{EXIT_SOME_FAILED, Error, ErrorKind, Result};
pub use feed::LiveInput;
pub use memory::{DeviceFit, Estimate, Memory, MemoryCheck, estimate_of_manifest};
pub use model::{Load, LoadProgress, Model};
pub use offline::{BundleImport, BundleReport};
#[doc(hidden)]
pub use plugin::inside;
pub use plugin::load::shutdown_plugins;
pub use plugin::sidecar::seal;
pub use plugin::worker::WorkerSettings;
pub use pull::{Pull, PullEvent, PullReport, PulledFile};
pub use request::{AudioSource, Input, OnceReader, Request};
pub use session::{Session, SessionCanceller};
pub use stream::Stream;
pub use threads::Machine;

pub use tenon_abi::PluginEntry as EntryFunction;
pub use tenon_audio as audio;
pub use tenon_pull as fetch;
pub use tenon_store::{
    Catalog, Config, Diagnostic, Digest, Environment, How, Isolation, Locations, LockFile, Manifest, ManifestFile,
    Require, Sandbox, Signature, State, Trust, VerifiedFile, VerifyMode, WorkerOptions, bundle,
};
pub use tenon_tasks::{
    AudioFormat, Description, Device, DeviceEstimate, FinishReason, Finished, Language, MemoryEstimate, MemoryParts,
    Message, Note, Options, Role, Schema, Segment, TaskDescription, Token, Usage, Word, task,
};
