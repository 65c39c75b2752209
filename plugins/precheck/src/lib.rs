//! Structural checks of model files, made in safe Rust before a native loader sees a single byte.
//!
//! The loaders of whisper.cpp and llama.cpp end the process on many malformed files (assertions, out-of-range
//! writes, unbounded allocations). What these checks refuse never reaches them. [`ggml`] reads whisper's format,
//! [`gguf`] llama.cpp's, and [`hostile`] makes the corpora of malformed files that both are tested with.

#![forbid(unsafe_code)]

use std::fmt;
use std::io;

pub mod ggml;
pub mod gguf;
pub mod hostile;
mod memo;
pub mod shape;

pub use memo::Memo;

/// Why a model file is refused.
#[derive(Debug)]
pub struct Error {
    /// Byte offset in the file at which the reason stands.
    pub offset: u64,
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
    /// The reading error behind it, when the file could not be read at all.
    pub source: Option<io::Error>,
}

impl Error {
    /// An error about the bytes at `offset`.
    pub fn new(offset: u64, message: impl Into<String>) -> Self {
        Self { offset, message: message.into(), source: None }
    }

    /// A reading error at `offset`; the end of the file becomes a sentence about a file that is too short.
    pub fn read(offset: u64, source: io::Error) -> Self {
        let message = match source.kind() {
            io::ErrorKind::UnexpectedEof => "the file ends too early".to_owned(),
            _ => "the file cannot be read".to_owned(),
        };
        Self { offset, message, source: Some(source) }
    }

    /// Whether reading failed for another reason than the end of the file, so that nothing is known about the model.
    pub fn is_io(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.kind() != io::ErrorKind::UnexpectedEof)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: {}", self.offset, self.message)?;
        match &self.source {
            Some(source) if self.is_io() => write!(f, ": {source}"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// The outcome of a check.
pub type Result<T> = std::result::Result<T, Error>;
