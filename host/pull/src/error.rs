//! What can go wrong between a manifest and its blobs.

use std::fmt;
use std::sync::Arc;

/// What went wrong, where, and what to do about it.
#[derive(Clone, Debug)]
pub struct Error(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
}

/// The kinds of [`Error`]; each stands for one kind of the engine's.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An address, a name or a setting is unusable.
    InvalidArgument,
    /// The hub, or a manifest, has nothing of that name.
    NotFound,
    /// What was found cannot be run by any backend that is known.
    Unsupported,
    /// The caller asked to stop.
    Cancelled,
    /// No address gave the right bytes.
    HashMismatch,
    /// A server could not be reached or did not answer as it should, or the network may not be used.
    Network,
    /// The store refused: its own error says why.
    Store(Box<tenon_store::Error>),
}

impl Error {
    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner { kind, message: message.into() }))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn network(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Network, message)
    }

    pub(crate) fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "cancelled")
    }

    /// The same kind of error, told with what was wanted.
    pub(crate) fn about(&self, what: &str) -> Self {
        match self.kind() {
            ErrorKind::Cancelled => self.clone(),
            kind => Self::new(kind.clone(), format!("{what}: {self}")),
        }
    }
}

impl From<tenon_store::Error> for Error {
    fn from(error: tenon_store::Error) -> Self {
        let kind = match error.kind() {
            tenon_store::ErrorKind::Cancelled => ErrorKind::Cancelled,
            _ => ErrorKind::Store(Box::new(error.clone())),
        };
        Self::new(kind, error.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.kind() {
            ErrorKind::Store(error) => std::error::Error::source(error.as_ref()),
            _ => None,
        }
    }
}
