//! Why audio could not be read at all. What could be read in part is told by [`crate::Damage`].

use std::fmt;
use std::io;

/// What went wrong, for a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AudioErrorKind {
    /// The bytes are not audio in any format known here.
    NotAudio,
    /// The format is known, the codec inside it (or a feature of it) cannot be decoded here.
    UnsupportedCodec,
    /// The bytes break the rules of their own format, so that nothing can be decoded.
    Malformed,
    /// Reading the source went wrong.
    Io,
    /// The source holds no sample.
    Empty,
    /// A rate, channel count or size lies outside of what is accepted.
    Limit,
}

/// Why a source yields no audio.
#[derive(Debug)]
pub struct AudioError {
    kind: AudioErrorKind,
    message: String,
    source: Option<io::Error>,
}

impl AudioError {
    pub(crate) fn new(kind: AudioErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(crate) fn not_audio(message: impl Into<String>) -> Self {
        Self::new(AudioErrorKind::NotAudio, message)
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(AudioErrorKind::UnsupportedCodec, message)
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(AudioErrorKind::Malformed, message)
    }

    pub(crate) fn empty(message: impl Into<String>) -> Self {
        Self::new(AudioErrorKind::Empty, message)
    }

    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Self::new(AudioErrorKind::Limit, message)
    }

    pub(crate) fn io(what: impl fmt::Display, error: io::Error) -> Self {
        Self { kind: AudioErrorKind::Io, message: format!("{what}: {error}"), source: Some(error) }
    }

    /// What went wrong, for a program.
    pub fn kind(&self) -> AudioErrorKind {
        self.kind
    }
}

impl fmt::Display for AudioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for AudioError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|e| e as _)
    }
}

/// The result of everything here that can go wrong.
pub type Result<T> = std::result::Result<T, AudioError>;
