//! What can go wrong, once for all doors: kinds, their numbers in C, their exit codes and their HTTP statuses.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use tenon_abi::Status;
use tenon_store::Diagnostic;

/// The result of everything here that can go wrong.
pub type Result<T> = std::result::Result<T, Error>;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident: $status:ident, exit $exit:literal, http $http:literal, $name:literal;)+) => {
        /// What went wrong, for a program.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $($(#[doc = $doc])+ $kind,)+
        }

        impl ErrorKind {
            /// Every kind, in the order of the table.
            pub const ALL: &[ErrorKind] = &[$(Self::$kind),+];

            const fn row(self) -> Row {
                match self {
                    $(Self::$kind => Row {
                        status: tenon_abi::status::$status,
                        exit_code: $exit,
                        http_status: $http,
                        name: $name,
                    },)+
                }
            }
        }
    };
}

struct Row {
    status: Status,
    exit_code: u8,
    http_status: u16,
    name: &'static str,
}

// The one table: kind, C status, exit code of the program, HTTP status, name in JSON and logs.
kinds! {
    /// An argument is out of range or otherwise unusable.
    InvalidArgument: E_INVALID_ARGUMENT, exit 2, http 400, "invalid-argument";
    /// A model, manifest, plugin, file or key does not exist.
    NotFound: E_NOT_FOUND, exit 3, http 404, "not-found";
    /// The backend or this version cannot do what was asked.
    Unsupported: E_UNSUPPORTED, exit 1, http 501, "unsupported";
    /// The session is already running a request.
    Busy: E_BUSY, exit 1, http 503, "busy";
    /// The request was cancelled.
    Cancelled: E_CANCELLED, exit 130, http 499, "cancelled";
    /// The request's deadline passed.
    Deadline: E_DEADLINE, exit 1, http 504, "deadline";
    /// Nothing came within the time given; ask again.
    Timeout: E_TIMEOUT, exit 1, http 504, "timeout";
    /// There is nothing more to come.
    End: E_END, exit 1, http 500, "end";
    /// Memory is not enough.
    OutOfMemory: E_OUT_OF_MEMORY, exit 6, http 503, "out-of-memory";
    /// Reading or writing failed.
    Io: E_IO, exit 1, http 500, "io";
    /// The bytes are not those that the manifest or sidecar names.
    HashMismatch: E_HASH_MISMATCH, exit 4, http 500, "hash-mismatch";
    /// A plugin was built for another contract.
    AbiMismatch: E_ABI_MISMATCH, exit 5, http 500, "abi-mismatch";
    /// A plugin cannot be loaded or breaks its contract.
    Plugin: E_PLUGIN, exit 5, http 500, "plugin";
    /// The backend's engine failed.
    Backend: E_BACKEND, exit 8, http 500, "backend";
    /// A panic or exception was caught at a boundary.
    Panic: E_PANIC, exit 8, http 500, "panic";
    /// The input does not fit the model's context.
    ContextOverflow: E_CONTEXT_OVERFLOW, exit 1, http 400, "context-overflow";
    /// A manifest is wrong.
    Manifest: E_MANIFEST, exit 2, http 500, "manifest";
    /// An option is unknown, of the wrong kind or out of range.
    Options: E_OPTIONS, exit 2, http 400, "options";
    /// Audio cannot be decoded or is too short.
    Audio: E_AUDIO, exit 1, http 400, "audio";
    /// A model file is malformed or of a kind that the backend does not read.
    Model: E_MODEL, exit 1, http 500, "model";
    /// A download failed, or the network may not be used.
    Network: E_NETWORK, exit 7, http 502, "network";
    /// The worker process that ran the plugin died.
    WorkerDied: E_WORKER_DIED, exit 8, http 500, "worker-died";
    /// A fault of Tenon itself; please report it.
    Internal: E_INTERNAL, exit 1, http 500, "internal";
    /// The handle was freed or is of another kind.
    StaleHandle: E_STALE_HANDLE, exit 1, http 500, "stale-handle";
    /// The engine is shutting down.
    Shutdown: E_SHUTDOWN, exit 143, http 503, "shutdown";
}

/// Exit code of the program when some of several inputs failed; no single error has it.
pub const EXIT_SOME_FAILED: u8 = 9;

impl ErrorKind {
    /// The number that crosses C boundaries, one of [`tenon_abi::status`].
    pub const fn status(self) -> Status {
        self.row().status
    }

    /// The exit code of the program `tenon`.
    pub const fn exit_code(self) -> u8 {
        self.row().exit_code
    }

    /// The status of an HTTP answer.
    pub const fn http_status(self) -> u16 {
        self.row().http_status
    }

    /// The name in JSON and logs, kebab-case.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The kind of a status other than OK; `None` for OK and for numbers that are no status.
    pub fn from_status(status: Status) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.status() == status)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What went wrong, where, and what to do. Cheap to clone.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    details: Vec<(String, String)>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of this kind. The message is a sentence in lower case without a full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner { kind, message: message.into(), details: Vec::new(), source: None }))
    }

    /// Adds a detail: `file`, `line`, `plugin`, `native`, `expected`, `actual`, …
    #[must_use]
    pub fn with_detail(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).details.push((key.into(), value.into()));
        self
    }

    /// Names the error underneath.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.0).source = Some(Arc::new(source));
        self
    }

    /// What went wrong, for a program.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What went wrong, for people: what, where, what to do.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Details beside the message, in the order in which they were given.
    pub fn details(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.details.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The detail of this key.
    pub fn detail(&self, key: &str) -> Option<&str> {
        self.details().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Everything that is wrong with a manifest, with places and snippets, when that is what went wrong.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        let source = self.0.source.as_ref().and_then(|source| source.downcast_ref::<tenon_store::Error>());
        match source.map(tenon_store::Error::kind) {
            Some(tenon_store::ErrorKind::Manifest { diagnostics }) => diagnostics,
            _ => &[],
        }
    }

    /// Whether the request was asked to end: by cancel, deadline or shutdown.
    pub fn is_stop(&self) -> bool {
        matches!(self.kind(), ErrorKind::Cancelled | ErrorKind::Deadline | ErrorKind::Shutdown)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("details", &self.0.details)
            .field("source", &self.0.source.as_ref().map(ToString::to_string))
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as _)
    }
}

impl From<tenon_audio::AudioError> for Error {
    fn from(error: tenon_audio::AudioError) -> Self {
        let kind = match error.kind() {
            tenon_audio::AudioErrorKind::Io => {
                let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref());
                source.map_or(ErrorKind::Io, io_kind)
            }
            _ => ErrorKind::Audio,
        };
        Self::new(kind, error.to_string()).with_source(error)
    }
}

impl From<tenon_store::Error> for Error {
    fn from(error: tenon_store::Error) -> Self {
        use tenon_store::ErrorKind as Kind;
        let (kind, details) = match error.kind() {
            Kind::NoManifest { name, .. } => (ErrorKind::NotFound, vec![("model", name.clone())]),
            Kind::Manifest { diagnostics } => (ErrorKind::Manifest, diagnostics.first().map(place).unwrap_or_default()),
            Kind::NotFound { model, file, .. } => {
                (ErrorKind::NotFound, vec![("model", model.clone()), ("file", file.clone())])
            }
            Kind::SizeMismatch { path, expected, actual } => (ErrorKind::HashMismatch, differs(path, expected, actual)),
            Kind::HashMismatch { path, expected, actual } => (ErrorKind::HashMismatch, differs(path, expected, actual)),
            Kind::Changed { path } => (ErrorKind::HashMismatch, vec![("file", path.display().to_string())]),
            Kind::UnsafePath { path, .. } => (ErrorKind::InvalidArgument, vec![("file", path.display().to_string())]),
            Kind::Restricted { model, license, .. } => {
                (ErrorKind::InvalidArgument, vec![("model", model.clone()), ("license", license.clone())])
            }
            Kind::NoSpace { path, .. } | Kind::NotWritable { path, .. } => {
                (ErrorKind::Io, vec![("file", path.display().to_string())])
            }
            Kind::Name { name, .. } => (ErrorKind::InvalidArgument, vec![("model", name.clone())]),
            Kind::NoReference { name, .. } => (ErrorKind::NotFound, vec![("model", name.clone())]),
            Kind::BrokenReference { path, .. } => (ErrorKind::Manifest, vec![("file", path.display().to_string())]),
            Kind::Import { path, .. } => (ErrorKind::InvalidArgument, vec![("file", path.display().to_string())]),
            Kind::Signature { path, .. } => (ErrorKind::HashMismatch, vec![("file", path.display().to_string())]),
            Kind::Bundle { path, .. } => (ErrorKind::HashMismatch, vec![("file", path.display().to_string())]),
            Kind::Exists { path, .. } => (ErrorKind::InvalidArgument, vec![("file", path.display().to_string())]),
            Kind::NotPinned { lock, differs: None, .. } => {
                (ErrorKind::HashMismatch, vec![("file", lock.display().to_string())])
            }
            Kind::NotPinned { lock, differs: Some((pinned, found)), .. } => {
                (ErrorKind::HashMismatch, differs(lock, pinned, found))
            }
            Kind::Cancelled => (ErrorKind::Cancelled, Vec::new()),
            Kind::Io { path, source, .. } => (io_kind(source), vec![("file", path.display().to_string())]),
            _ => (ErrorKind::Io, Vec::new()),
        };
        let outer = Self::new(kind, error.to_string()).with_source(error);
        details.into_iter().fold(outer, |outer, (key, value)| outer.with_detail(key, value))
    }
}

fn io_kind(error: &std::io::Error) -> ErrorKind {
    match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Io,
    }
}

fn place(diagnostic: &Diagnostic) -> Vec<(&'static str, String)> {
    vec![("file", diagnostic.path.display().to_string()), ("line", diagnostic.line.to_string())]
}

fn differs(path: &Path, expected: &impl ToString, actual: &impl ToString) -> Vec<(&'static str, String)> {
    vec![("file", path.display().to_string()), ("expected", expected.to_string()), ("actual", actual.to_string())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_status_but_ok_has_exactly_one_kind() {
        let statuses: Vec<Status> = tenon_abi::status::ALL.iter().map(|(status, _)| *status).collect();
        assert_eq!(ErrorKind::ALL.len() + 1, statuses.len());
        for status in statuses {
            let kind = ErrorKind::from_status(status);
            assert_eq!(kind.is_none(), status == tenon_abi::status::OK, "{status}");
            assert!(kind.is_none_or(|kind| kind.status() == status));
        }
    }

    #[test]
    fn names_are_the_c_names_in_kebab_case() {
        let c_name = |kind: &ErrorKind| {
            tenon_abi::status::ALL.iter().find(|(status, _)| *status == kind.status()).map(|(_, name)| *name).unwrap()
        };
        for kind in ErrorKind::ALL {
            let wanted = c_name(kind).trim_start_matches("TENON_E_").to_lowercase().replace('_', "-");
            assert_eq!(kind.name(), wanted);
        }
        let names: HashSet<_> = ErrorKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), ErrorKind::ALL.len());
    }

    #[test]
    fn exit_codes_are_those_that_are_documented() {
        let documented = [1, 2, 3, 4, 5, 6, 7, 8, 130, 143];
        for kind in ErrorKind::ALL {
            assert!(documented.contains(&kind.exit_code()), "{kind}");
            assert!((400..600).contains(&kind.http_status()), "{kind}");
        }
        assert_eq!(ErrorKind::HashMismatch.exit_code(), 4);
        assert_eq!(ErrorKind::Options.exit_code(), 2);
    }

    #[test]
    fn details_and_source_stay_with_a_clone() {
        let error = Error::new(ErrorKind::Io, "disk is full")
            .with_detail("file", "a.bin")
            .with_source(std::io::Error::other("no space"));
        let clone = error.clone().with_detail("line", "3");
        assert_eq!(error.details().count(), 1);
        assert_eq!(clone.detail("file"), Some("a.bin"));
        assert_eq!(std::error::Error::source(&clone).unwrap().to_string(), "no space");
    }
}
