//! Write a Tenon backend in safe Rust.
//!
//! Implement [`Backend`], [`Model`] and [`Session`], name the backend in [`export_backend!`], build a `cdylib`, and put
//! a sidecar `<id>.plugin.toml` beside it (`tenon plugin seal`). The macro makes the C functions of the contract
//! (`tenon-abi`): every pointer, size and text that comes in is checked, every panic becomes `TENON_E_PANIC`, and
//! nothing unwinds over the line. `plugins/echo` is a whole backend in a hundred lines; `docs/plugins.md` tells the
//! rules.
//!
//! ```
//! use std::sync::Arc;
//! use tenon_plugin::{Backend, Call, Error, Input, Model, ModelFile, Result, Session};
//! use tenon_tasks::{Description, FileRole, TaskDescription, schema_of, task};
//!
//! struct Shout;
//!
//! impl Backend for Shout {
//!     const ID: &'static str = "shout";
//!     type Model = Loud;
//!
//!     fn start() -> Result<Self> {
//!         Ok(Shout)
//!     }
//!
//!     fn describe(&self) -> Description {
//!         let schema = schema_of::<tenon_tasks::GenerateOptions>();
//!         Description {
//!             summary: "answers louder".into(),
//!             engine: "none".into(),
//!             tasks: vec![TaskDescription { task: task::GENERATE.into(), schema }],
//!             load_schema: serde_json::json!({"type": "object"}),
//!             files: vec![FileRole { role: "model".into(), required: true, many: false }],
//!             audio: None,
//!             devices: vec![],
//!         }
//!     }
//!
//!     fn open(&self, _call: &Call, _files: &[ModelFile<'_>], _options: &str) -> Result<Loud> {
//!         Ok(Loud)
//!     }
//! }
//!
//! struct Loud;
//!
//! impl Model for Loud {
//!     type Session = Voice;
//!
//!     fn session(self: &Arc<Self>, _call: &Call, _options: &str) -> Result<Voice> {
//!         Ok(Voice)
//!     }
//! }
//!
//! struct Voice;
//!
//! impl Session for Voice {
//!     fn run(&mut self, call: &Call, task: &str, input: Input<'_>, _options: &str) -> Result<()> {
//!         match task {
//!             task::GENERATE => call.emit_text(&input.text()?.to_uppercase()),
//!             other => Err(Error::unsupported(format!("no task `{other}`"))),
//!         }
//!     }
//!
//!     fn reset(&mut self, _call: &Call) -> Result<()> {
//!         Ok(())
//!     }
//! }
//!
//! tenon_plugin::export_backend!(Shout);
//! # fn main() {}
//! ```

mod backend;
mod boundary;
mod call;
mod error;
mod host;
mod input;
mod item;
pub mod log;
mod panic;

pub use backend::{Backend, Model, Session, options};
pub use call::{Call, CancelProbe};
pub use error::{Error, Result};
pub use input::{AudioInput, Input, Next};
pub use item::{Audio, ModelFile, Segment, Text, Token, Word};
pub use tenon_abi::{CAP_CANCEL_COARSE, CAP_CONCURRENT_SESSIONS, CAP_LIVE_INPUT, CAP_PARALLEL_OPEN};
pub use tenon_tasks as tasks;

#[cfg(not(panic = "unwind"))]
compile_error!("a plugin must be built with panic = \"unwind\": a panic has to become an error of one call");

/// What [`export_backend!`] expands to. Not for use by hand.
#[doc(hidden)]
pub mod export {
    pub use crate::boundary::{Exported, State, enter};
    pub use crate::panic::quiet_hook;
    pub use tenon_abi as abi;
    pub use tenon_witness::export_witness;
}

/// Exports a backend: makes the symbols that the host looks up in the library.
#[macro_export]
macro_rules! export_backend {
    ($backend:ty) => {
        $crate::export::export_witness!();

        const _: () = {
            #[cfg(not(panic = "unwind"))]
            compile_error!(
                "a plugin must be built with panic = \"unwind\": a panic has to become an error of one call"
            );

            impl $crate::export::Exported for $backend {
                const VERSION: &'static str = env!("CARGO_PKG_VERSION");

                fn state() -> &'static $crate::export::State<Self> {
                    static STATE: $crate::export::State<$backend> = $crate::export::State::new();
                    &STATE
                }
            }

            /// The entry of the plugin contract, version 1.
            ///
            /// # Safety
            /// Called by the host as `tenon_abi::PluginEntry` says.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn tenon_plugin_entry_v1(
                host: *const $crate::export::abi::Host,
                out: *mut *const $crate::export::abi::Plugin,
            ) -> $crate::export::abi::Status {
                // A test program keeps its own report of panics.
                if !cfg!(test) {
                    $crate::export::quiet_hook();
                }
                // SAFETY: the host's word, handed on.
                unsafe { $crate::export::enter::<$backend>(host, out) }
            }
        };
    };
}
