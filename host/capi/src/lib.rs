//! libtenon: the engine for C, C++ and every language that calls C.
//!
//! `include/tenon.h` is generated from this crate by `cargo xtask gen`: each file here is a section of it, and the
//! comments on functions, structs and constants are its text. The conventions that hold for all of them stand at the
//! head of the header (`xtask/gen/src/headers.rs`). Sessions, options and answers are those of the engine crate; this
//! crate adds handles, strings and the boundary, and nothing else.
//!
//! What a C caller may do wrong is refused with a status: [`handle`] knows every handle ever given out, [`boundary`]
//! checks texts, sizes and structs, catches panics, and refuses calls from callbacks and forked children.

#![allow(unsafe_code, reason = "every function here takes pointers from C")]
#![allow(non_camel_case_types, reason = "types are named as they are in the header")]
#![allow(clippy::missing_safety_doc, reason = "the safety contract is the head of the header, one for all functions")]

mod boundary;
mod callback;
mod engine;
mod error;
mod estimate;
mod handle;
mod log;
mod model;
mod options;
mod pull;
mod request;
mod result;
mod session;
mod stream;
mod table;
mod version;
mod wakeup;

pub use engine::*;
pub use error::*;
pub use estimate::*;
pub use log::*;
pub use model::*;
pub use options::*;
pub use pull::*;
pub use request::*;
pub use result::*;
pub use session::*;
pub use stream::*;
pub use table::*;
pub use version::*;
