//! The frozen binary contract between the Tenon host and its plugins.
//!
//! Every type here is `#[repr(C)]` and is also the source of `include/tenon_plugin.h`, which cbindgen generates
//! (`cargo xtask gen`). A plugin may be written in C, C++, Rust or anything that can fill a table of C functions.
//!
//! Rules that hold for all of it:
//! * **Frozen.** A struct of version 1 never changes. What is new comes as a new interface id with a new struct
//!   (`get_interface("tenon.state/1")`) or as a new item kind, never as a field more.
//! * **Borrowed.** What is passed into a call is valid for that call only; `emit` and `fail` copy. No memory that one
//!   side allocated is freed by the other.
//! * **No unwinding** crosses the line, in either direction.
//! * **Text** is UTF-8 with a length, without a terminating NUL, unless a field says otherwise. The host checks it.
//! * **Times** are microseconds in an `i64`.

#![no_std]
#![forbid(unsafe_code)]

use core::ffi::{c_char, c_void};

mod layout;
pub mod status;

pub use status::Status;

/// Major version of the plugin contract; a plugin with another one is refused.
pub const ABI_MAJOR: u16 = 1;
/// Minor version of the plugin contract; it grows when an interface or an item kind is added.
pub const ABI_MINOR: u16 = 1;

/// Interface id of [`Backend`], which every plugin provides.
pub const BACKEND_INTERFACE: &str = "tenon.backend/1";
/// Interface id of [`Memory`], which a plugin may provide; since 1.1.
pub const MEMORY_INTERFACE: &str = "tenon.memory/1";
/// Interface id of [`HostOptions`]: read option documents without a JSON parser.
pub const HOST_OPTIONS_INTERFACE: &str = "tenon.host.options/1";
/// Interface id of [`HostError`]: details beside the message of an error.
pub const HOST_ERROR_INTERFACE: &str = "tenon.host.error/1";

/// UTF-8 text of `len` bytes at `ptr`; not NUL-terminated. `ptr` may be NULL when `len` is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Str {
    /// First byte.
    pub ptr: *const c_char,
    /// Number of bytes.
    pub len: usize,
}

/// One call of the host into the plugin: its error slot, cancel flag, deadline and output queue. Host-owned, opaque,
/// valid until the function that received it returns; the host answers `TENON_E_INVALID_ARGUMENT` to a stale one.
#[repr(C)]
pub struct Call {
    _opaque: [u8; 0],
}

/// An opened model. Plugin-owned, opaque to the host.
#[repr(C)]
pub struct BackendModel {
    _opaque: [u8; 0],
}

/// A session on a model. Plugin-owned, opaque to the host.
#[repr(C)]
pub struct BackendSession {
    _opaque: [u8; 0],
}

/// A model file that the host has verified against its manifest.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// What the file is for: `model`, `vad`, `tokenizer`, … as in the manifest.
    pub role: Str,
    /// Absolute path that opens exactly the bytes that were hashed. On Linux it names the open descriptor.
    pub path: Str,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the content.
    pub sha256: [u8; 32],
    /// Open, read-only descriptor on Unix, valid during `model_open`; −1 elsewhere. The plugin must not close it.
    pub fd: i32,
    /// Zero.
    pub reserved: u32,
}

/// One tagged, size-stamped piece of input or output.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Item {
    /// One of the `KIND_*` constants; says what `data` points to.
    pub kind: u32,
    /// Size in bytes of the struct at `data`.
    pub size: u32,
    /// The payload struct.
    pub data: *const c_void,
}

/// [`Item::kind`] of a [`Text`]: prompt, chat message or text to embed (in); a piece of generated text (out).
pub const KIND_TEXT: u32 = 1;
/// [`Item::kind`] of an [`Audio`] (in).
pub const KIND_AUDIO: u32 = 2;
/// [`Item::kind`] of a [`Segment`] (out).
pub const KIND_SEGMENT: u32 = 3;
/// [`Item::kind`] of a [`Token`] (out).
pub const KIND_TOKEN: u32 = 4;
/// [`Item::kind`] of a [`Usage`] (out, once at the end of a run).
pub const KIND_USAGE: u32 = 5;
/// [`Item::kind`] of a [`Document`] (out).
pub const KIND_DOCUMENT: u32 = 6;
/// [`Item::kind`] of an [`Embedding`] (out).
pub const KIND_EMBEDDING: u32 = 7;

/// A text with a role: `prompt`, `system`, `user`, `assistant` for input; empty for output.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// Who says it.
    pub role: Str,
    /// What is said.
    pub text: Str,
}

/// Mono samples at the rate that the backend's description asks for.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Audio {
    /// `frames` samples, nominally within −1 to 1, always finite.
    pub samples: *const f32,
    /// Number of samples.
    pub frames: u64,
    /// Samples per second.
    pub rate: u32,
    /// Number of channels; 1 in this version.
    pub channels: u32,
}

/// A timed word of a segment.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// Start in microseconds from the beginning of the audio.
    pub start_us: i64,
    /// End in microseconds.
    pub end_us: i64,
    /// The word, without surrounding space.
    pub text: Str,
    /// Probability from 0 to 1, or NaN when unknown.
    pub confidence: f32,
    /// Zero.
    pub reserved: u32,
}

/// A timed piece of a transcript.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Start in microseconds from the beginning of the audio.
    pub start_us: i64,
    /// End in microseconds; not before the start.
    pub end_us: i64,
    /// The text as the model wrote it, surrounding space included.
    pub text: Str,
    /// `word_count` words, or NULL.
    pub words: *const Word,
    /// Number of words.
    pub word_count: u32,
    /// `token_count` tokens, or NULL.
    pub token_count: u32,
    /// The segment's tokens, or NULL.
    pub tokens: *const Token,
    /// Geometric mean of the tokens' probabilities, 0 to 1, or NaN when unknown.
    pub confidence: f32,
    /// Probability that the segment is no speech, 0 to 1, or NaN when unknown.
    pub no_speech: f32,
    /// Zero.
    pub reserved: [u32; 2],
}

/// A token of model text.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Token {
    /// The token's bytes; one token may hold a part of a code point only, the host joins them.
    pub text: Str,
    /// Start in microseconds for speech, or −1.
    pub start_us: i64,
    /// End in microseconds for speech, or −1.
    pub end_us: i64,
    /// Id in the model's vocabulary.
    pub id: i32,
    /// Natural logarithm of its probability, or NaN when unknown.
    pub logprob: f32,
}

/// What a run consumed and produced. A count or time that does not apply is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Tokens of the input.
    pub prompt_tokens: u64,
    /// Tokens of the input that were already in the session's memory.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// Audio consumed, microseconds.
    pub audio_us: i64,
    /// Time spent on the input (prefill or encoder), microseconds.
    pub prompt_us: i64,
    /// Time spent on generating or decoding, microseconds.
    pub generate_us: i64,
}

/// A named JSON document: a backend's description, a detected language, a finish reason.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Document {
    /// What the document is: `backend`, `language`, `finish`, `note`, …
    pub name: Str,
    /// JSON text.
    pub text: Str,
}

/// The embedding of one input text.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Embedding {
    /// `count` values.
    pub values: *const f32,
    /// Number of values.
    pub count: u64,
    /// Index of the input text it belongs to.
    pub index: u32,
    /// Zero.
    pub reserved: u32,
}

/// The host's functions for plugins. Any thread of the plugin may call them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Host {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// [`ABI_MAJOR`] of the host.
    pub abi_major: u16,
    /// [`ABI_MINOR`] of the host.
    pub abi_minor: u16,
    /// Least severe level that is recorded: 1 error, 2 warning, 3 info, 4 debug, 5 trace; 0 means nothing is.
    pub log_level: Option<unsafe extern "C" fn() -> i32>,
    /// Records a message. Text that is not UTF-8 is made so.
    pub log: Option<unsafe extern "C" fn(level: i32, target: Str, message: Str)>,
    /// Stores the message of an error and returns `status`, so that a function can end with `return host->fail(…)`.
    pub fail: Option<unsafe extern "C" fn(call: *mut Call, status: Status, message: Str) -> Status>,
    /// Not 0 when the call shall end; then return `TENON_E_CANCELLED`. Cheap: ask at least once per token or batch.
    pub cancelled: Option<unsafe extern "C" fn(call: *const Call) -> i32>,
    /// Reports progress, 0 to 1.
    pub progress: Option<unsafe extern "C" fn(call: *mut Call, fraction: f32)>,
    /// Hands an item to the host, which copies it; blocks while the queue is full. Another status than
    /// `TENON_OK` means: stop and return that status. Only inside the function that received `call`.
    pub emit: Option<unsafe extern "C" fn(call: *mut Call, item: *const Item) -> Status>,
    /// Waits for the next item of live input for up to `timeout_us` (−1: no limit). `TENON_E_END` at the end of the
    /// input, `TENON_E_TIMEOUT` when nothing came. The item is valid until the next `pull` of the same call.
    pub pull: Option<unsafe extern "C" fn(call: *mut Call, timeout_us: i64, out: *mut Item) -> Status>,
    /// A named interface of the host as a pointer to its frozen struct, or NULL. `id` is NUL-terminated.
    pub get_interface: Option<unsafe extern "C" fn(id: *const c_char) -> *const c_void>,
}

/// `"tenon.host.options/1"`: reads an options document, so that a plugin needs no JSON parser.
///
/// Each function answers `TENON_E_NOT_FOUND` when the key is absent or null, and `TENON_E_INVALID_ARGUMENT` when the
/// value is of another kind. `document` is one that the host passed into `call`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct HostOptions {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Reads a text, valid until the end of `call`.
    pub get_string: Option<unsafe extern "C" fn(call: *mut Call, document: Str, key: Str, out: *mut Str) -> Status>,
    /// Reads a number.
    pub get_number: Option<unsafe extern "C" fn(call: *mut Call, document: Str, key: Str, out: *mut f64) -> Status>,
    /// Reads a whole number.
    pub get_integer: Option<unsafe extern "C" fn(call: *mut Call, document: Str, key: Str, out: *mut i64) -> Status>,
    /// Reads true (1) or false (0).
    pub get_bool: Option<unsafe extern "C" fn(call: *mut Call, document: Str, key: Str, out: *mut i32) -> Status>,
}

/// `"tenon.host.error/1"`: details beside the message that `fail` stores.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct HostError {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Adds a detail to the error of `call`, such as `("context_size", "2048")`.
    pub detail: Option<unsafe extern "C" fn(call: *mut Call, key: Str, value: Str)>,
}

/// [`Backend::caps`]: several sessions of one model may run at the same time.
pub const CAP_CONCURRENT_SESSIONS: u32 = 1;
/// [`Backend::caps`]: several models may be opened at the same time.
pub const CAP_PARALLEL_OPEN: u32 = 2;
/// [`Backend::caps`]: `run` takes its audio from `pull` when it is given no audio item.
pub const CAP_LIVE_INPUT: u32 = 4;
/// [`Backend::caps`]: cancelling may take long, because the backend cannot ask often.
pub const CAP_CANCEL_COARSE: u32 = 8;

/// `"tenon.backend/1"`: the inference implementation that a plugin provides. All functions are required.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Backend {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// `CAP_*` flags.
    pub caps: u32,
    /// Emits one [`Document`] named `backend` whose text describes tasks, option schemas and devices.
    pub describe: Option<unsafe extern "C" fn(call: *mut Call) -> Status>,
    /// Opens a model from verified files. `load_options` is a JSON object that fits the load schema.
    pub model_open: Option<
        unsafe extern "C" fn(
            call: *mut Call,
            files: *const File,
            file_count: u32,
            load_options: Str,
            out: *mut *mut BackendModel,
        ) -> Status,
    >,
    /// Closes a model whose sessions are all closed.
    pub model_close: Option<unsafe extern "C" fn(model: *mut BackendModel)>,
    /// Opens a session. `options` is a JSON object, empty in this version.
    pub session_open: Option<
        unsafe extern "C" fn(
            call: *mut Call,
            model: *mut BackendModel,
            options: Str,
            out: *mut *mut BackendSession,
        ) -> Status,
    >,
    /// Makes a session as good as new.
    pub session_reset: Option<unsafe extern "C" fn(call: *mut Call, session: *mut BackendSession) -> Status>,
    /// Closes a session.
    pub session_close: Option<unsafe extern "C" fn(session: *mut BackendSession)>,
    /// Runs `task` on `items` and emits what comes of it. `options` is a JSON object that fits the task's schema.
    pub run: Option<
        unsafe extern "C" fn(
            call: *mut Call,
            session: *mut BackendSession,
            task: Str,
            items: *const Item,
            item_count: u32,
            options: Str,
        ) -> Status,
    >,
}

/// `"tenon.memory/1"`: how much memory a model is going to need, asked before it is opened. Since 1.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Memory {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Emits one [`Document`] named `estimate`: bytes on each device, of the model and of each session on it. Files and
    /// options are those that `model_open` will get. It reads the headers of the files and never their weights, and
    /// answers `TENON_E_UNSUPPORTED` where nothing can be said.
    pub estimate:
        Option<unsafe extern "C" fn(call: *mut Call, files: *const File, file_count: u32, load_options: Str) -> Status>,
}

/// What a plugin is: the root that its entry function hands out. Static memory of the plugin.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Plugin {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// [`ABI_MAJOR`] that the plugin was built for.
    pub abi_major: u16,
    /// [`ABI_MINOR`] that the plugin was built for.
    pub abi_minor: u16,
    /// Id, `[a-z0-9-]`, NUL-terminated; equal to the sidecar's.
    pub id: *const c_char,
    /// Version, NUL-terminated.
    pub version: *const c_char,
    /// Free text on how it was built (engine version, compiler, CPU level), NUL-terminated.
    pub build_info: *const c_char,
    /// A named interface as a pointer to its frozen struct, or NULL. `id` is NUL-terminated.
    pub get_interface: Option<unsafe extern "C" fn(id: *const c_char) -> *const c_void>,
    /// Last call into the plugin: join all threads. The library stays mapped.
    pub shutdown: Option<unsafe extern "C" fn()>,
}

/// Type of the one symbol that a plugin exports, [`PLUGIN_ENTRY_SYMBOL`].
///
/// `host` stays valid until the process ends; `*out` must be set to static memory of the plugin.
pub type PluginEntry = unsafe extern "C" fn(host: *const Host, out: *mut *const Plugin) -> Status;

/// Name of the symbol of type [`PluginEntry`].
pub const PLUGIN_ENTRY_SYMBOL: &str = "tenon_plugin_entry_v1";
