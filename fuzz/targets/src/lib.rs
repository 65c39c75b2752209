//! What the fuzzers run, as functions of bytes.
//!
//! Each target takes any bytes and panics when something that must hold for all of them does not: not only that nothing
//! crashes, but that what was accepted is what it was taken for, and that memory stays in proportion to the input.
//! `fuzz/fuzz_targets` gives them to libFuzzer, `tests/replay.rs` gives them the corpora. docs/fuzzing.md lists what
//! each one asserts.

// Linked for the entry of its backend alone.
#[cfg(unix)]
use echo as _;

mod audio;
mod bundles;
mod bytes;
#[cfg(unix)]
mod capi;
#[cfg(unix)]
mod frames;
mod holes;
mod memory;
mod models;
mod options;
mod panics;
mod sidecar;
#[cfg(unix)]
mod signals;
mod texts;
#[cfg(unix)]
mod worker;

pub use audio::audio;
pub use bundles::{bundle, signature};
#[cfg(unix)]
pub use capi::capi;
#[cfg(unix)]
pub use frames::{orders, replies};
pub use holes::with_holes;
pub use models::{ggml, gguf};
pub use options::options;
pub use sidecar::sidecar;
pub use texts::{lock_file, manifest};
#[cfg(unix)]
pub use worker::{be_a_worker, set_worker_program, worker};

/// A target: takes any bytes, and panics when it finds something wrong.
pub type Target = fn(&[u8]);

/// All targets by name; a corpus has the name of its target.
pub const ALL: &[(&str, Target)] = &[
    ("audio", audio),
    ("bundle", bundle),
    #[cfg(unix)]
    ("capi", capi),
    ("ggml", ggml),
    ("gguf", gguf),
    ("lock_file", lock_file),
    ("manifest", manifest),
    ("options", options),
    #[cfg(unix)]
    ("orders", orders),
    #[cfg(unix)]
    ("replies", replies),
    ("sidecar", sidecar),
    ("signature", signature),
    #[cfg(unix)]
    ("worker", worker),
];
