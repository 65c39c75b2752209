//! The text side of the llama backend: everything between a request's words and a model's tokens that needs no
//! llama.cpp.
//!
//! It is a crate of its own so that its tests need no native library and no C++ compiler, and so that
//! `forbid(unsafe_code)` holds for what reads templates, grammars and schemas of strangers.

#![forbid(unsafe_code)]

mod control;
mod grammar;
mod pattern;
mod schema;
mod stop;
mod template;
mod utf8;

pub use control::{ControlTokens, Piece};
pub use grammar::{check as check_grammar, named_tokens as grammar_tokens};
pub use schema::Contract;
pub use stop::StopTexts;
pub use template::{Chat, Template, Turn};
pub use utf8::Utf8Joiner;

use std::fmt;

/// Why a template, a grammar or a schema cannot be used: a sentence that says what and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// The outcome of a check.
pub type Result<T> = std::result::Result<T, Error>;
