//! The error of a call: a status for the host, a sentence for a person, details for a program.

use std::fmt;
use tenon_abi::{Status, status};

/// Result of everything that a backend does for the host.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call ended without success.
///
/// The message says what, where and what to do, starts lower case and has no full stop:
/// ```
/// use tenon_plugin::Error;
///
/// let error = Error::context_overflow("the prompt has 5000 tokens, the context holds 4096")
///     .detail("needed", 5000)
///     .detail("context_size", 4096);
/// assert_eq!(error.message(), "the prompt has 5000 tokens, the context holds 4096");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    status: Status,
    message: String,
    details: Vec<(String, String)>,
}

macro_rules! constructors {
    ($($(#[doc = $doc:literal])+ $name:ident = $status:ident;)+) => {
        impl Error {
            $($(#[doc = $doc])+ pub fn $name(message: impl Into<String>) -> Self {
                Self::new(status::$status, message)
            })+
        }
    };
}

constructors! {
    /// An argument is unusable.
    invalid_argument = E_INVALID_ARGUMENT;
    /// Something that was named does not exist.
    not_found = E_NOT_FOUND;
    /// The backend cannot do what was asked.
    unsupported = E_UNSUPPORTED;
    /// The session is already running a request.
    busy = E_BUSY;
    /// Nothing came within the time given.
    timeout = E_TIMEOUT;
    /// Memory is not enough.
    out_of_memory = E_OUT_OF_MEMORY;
    /// Reading or writing failed.
    io = E_IO;
    /// The plugin or something under it breaks its contract.
    plugin = E_PLUGIN;
    /// The engine inside the backend reported an error.
    backend = E_BACKEND;
    /// A panic or exception was caught at a boundary.
    panic = E_PANIC;
    /// The input does not fit the model's context.
    context_overflow = E_CONTEXT_OVERFLOW;
    /// An option is unknown, of the wrong kind or out of range.
    options = E_OPTIONS;
    /// The audio cannot be used.
    audio = E_AUDIO;
    /// A model file is malformed or of a kind that the backend does not read.
    model = E_MODEL;
    /// A fault of the backend itself.
    internal = E_INTERNAL;
}

impl Error {
    /// An error with any status; [`status::OK`] becomes [`status::E_INTERNAL`], because an error is no success.
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        let status = if status == status::OK { status::E_INTERNAL } else { status };
        Self { status, message: message.into(), details: Vec::new() }
    }

    /// The call was cancelled or its deadline passed; the host knows which.
    pub fn cancelled() -> Self {
        Self::from_host(status::E_CANCELLED)
    }

    /// A status that the host gave and that goes back to it as it is, without a message.
    pub(crate) fn from_host(status: Status) -> Self {
        Self::new(status, "")
    }

    /// Adds a detail that a program can read, such as `("context_size", 4096)`.
    #[must_use]
    pub fn detail(mut self, key: impl Into<String>, value: impl ToString) -> Self {
        self.details.push((key.into(), value.to_string()));
        self
    }

    /// The status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The sentence; empty when the host gave the status itself.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The details in the order in which they were added.
    pub fn details(&self) -> &[(String, String)] {
        &self.details
    }

    /// The call was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.status == status::E_CANCELLED
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.message.is_empty() {
            return f.write_str(&self.message);
        }
        let name = status::ALL.iter().find(|(status, _)| *status == self.status).map(|(_, name)| *name);
        match name {
            Some(name) => f.write_str(name),
            None => write!(f, "status {}", self.status),
        }
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::io(error.to_string())
    }
}
