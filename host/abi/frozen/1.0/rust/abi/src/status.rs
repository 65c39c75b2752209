//! Status codes: the numbers of every error that crosses a C boundary of Tenon.

/// A status: 0 is success, everything else an error kind of this module.
pub type Status = i32;

macro_rules! statuses {
    ($($(#[doc = $doc:literal])+ $name:ident = $value:literal;)+) => {
        $($(#[doc = $doc])+ pub const $name: Status = $value;)+

        /// All statuses with their C names, in the order of their numbers.
        pub const ALL: &[(Status, &str)] = &[$(($name, concat!("TENON_", stringify!($name)))),+];
    };
}

statuses! {
    /// Success.
    OK = 0;
    /// An argument is NULL, out of range, not UTF-8 or otherwise unusable.
    E_INVALID_ARGUMENT = 1;
    /// A model, manifest, plugin, file or key does not exist.
    E_NOT_FOUND = 2;
    /// The backend or this version cannot do what was asked.
    E_UNSUPPORTED = 3;
    /// The session is already running a request.
    E_BUSY = 4;
    /// The request was cancelled.
    E_CANCELLED = 5;
    /// The request's deadline passed.
    E_DEADLINE = 6;
    /// Nothing came within the time given; ask again.
    E_TIMEOUT = 7;
    /// There is nothing more to come.
    E_END = 8;
    /// Memory is not enough.
    E_OUT_OF_MEMORY = 9;
    /// Reading or writing failed.
    E_IO = 10;
    /// The bytes are not those that the manifest or sidecar names.
    E_HASH_MISMATCH = 11;
    /// A plugin was built for another contract.
    E_ABI_MISMATCH = 12;
    /// A plugin cannot be loaded or breaks its contract.
    E_PLUGIN = 13;
    /// The backend's engine failed.
    E_BACKEND = 14;
    /// A panic or exception was caught at a boundary.
    E_PANIC = 15;
    /// The input does not fit the model's context.
    E_CONTEXT_OVERFLOW = 16;
    /// A manifest is wrong.
    E_MANIFEST = 17;
    /// An option is unknown, of the wrong kind or out of range.
    E_OPTIONS = 18;
    /// Audio cannot be decoded or is too short.
    E_AUDIO = 19;
    /// A model file is malformed or of a kind that the backend does not read.
    E_MODEL = 20;
    /// A download failed, or the network may not be used.
    E_NETWORK = 21;
    /// The worker process that ran the plugin died.
    E_WORKER_DIED = 22;
    /// A fault of Tenon itself; please report it.
    E_INTERNAL = 23;
    /// The handle was freed or is of another kind.
    E_STALE_HANDLE = 24;
    /// The engine is shutting down.
    E_SHUTDOWN = 25;
}
