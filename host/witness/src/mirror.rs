//! The frozen structs of `tenon-abi` once more, with a description of their layout that abi_stable can compare.
//!
//! `tenon-abi` has no dependency, so it cannot carry the description itself. That the mirrors are true is checked by
//! the compiler: same size, same fields, each at the same offset.

use abi_stable::StableAbi;
use std::ffi::{c_char, c_void};

/// The status of a call.
pub type Status = i32;

/// Holds when `$name` here and in `tenon-abi` have the same fields at the same places, and no others.
macro_rules! mirrors {
    ($name:ident { $($field:ident),+ $(,)? }) => {
        const _: () = {
            assert!(size_of::<$name>() == size_of::<tenon_abi::$name>());
            assert!(align_of::<$name>() == align_of::<tenon_abi::$name>());
            $(assert!(std::mem::offset_of!($name, $field) == std::mem::offset_of!(tenon_abi::$name, $field));)+
            // Patterns without `..`: a field that is missing from the list does not compile.
            const fn names_every_field(mirror: &$name, original: &tenon_abi::$name) {
                let $name { $($field: _),+ } = mirror;
                let tenon_abi::$name { $($field: _),+ } = original;
            }
            let _ = names_every_field;
        };
    };
}

/// A host's call, opaque.
#[repr(C)]
#[derive(StableAbi)]
pub struct Call {
    opaque: [u8; 0],
}

/// A plugin's model, opaque.
#[repr(C)]
#[derive(StableAbi)]
pub struct BackendModel {
    opaque: [u8; 0],
}

/// A plugin's session, opaque.
#[repr(C)]
#[derive(StableAbi)]
pub struct BackendSession {
    opaque: [u8; 0],
}

/// Mirrors [`tenon_abi::Str`].
#[repr(C)]
#[derive(StableAbi)]
pub struct Str {
    ptr: *const c_char,
    len: usize,
}
mirrors!(Str { ptr, len });

/// Mirrors [`tenon_abi::File`].
#[repr(C)]
#[derive(StableAbi)]
pub struct File {
    role: Str,
    path: Str,
    size: u64,
    sha256: [u8; 32],
    fd: i32,
    reserved: u32,
}
mirrors!(File { role, path, size, sha256, fd, reserved });

/// Mirrors [`tenon_abi::Item`].
#[repr(C)]
#[derive(StableAbi)]
pub struct Item {
    kind: u32,
    size: u32,
    data: *const c_void,
}
mirrors!(Item { kind, size, data });

/// Mirrors [`tenon_abi::Text`].
#[repr(C)]
#[derive(StableAbi)]
pub struct Text {
    role: Str,
    text: Str,
}
mirrors!(Text { role, text });

/// Mirrors [`tenon_abi::Audio`].
#[repr(C)]
#[derive(StableAbi)]
pub struct Audio {
    samples: *const f32,
    frames: u64,
    rate: u32,
    channels: u32,
}
mirrors!(Audio { samples, frames, rate, channels });

/// Mirrors [`tenon_abi::Word`].
#[repr(C)]
#[derive(StableAbi)]
pub struct Word {
    start_us: i64,
    end_us: i64,
    text: Str,
    confidence: f32,
    reserved: u32,
}
mirrors!(Word { start_us, end_us, text, confidence, reserved });

/// Mirrors [`tenon_abi::Segment`].
#[repr(C)]
#[derive(StableAbi)]
pub struct Segment {
    start_us: i64,
    end_us: i64,
    text: Str,
    words: *const Word,
    word_count: u32,
    token_count: u32,
    tokens: *const Token,
    confidence: f32,
    no_speech: f32,
    reserved: [u32; 2],
}
mirrors!(Segment { start_us, end_us, text, words, word_count, token_count, tokens, confidence, no_speech, reserved });

/// Mirrors [`tenon_abi::Token`].
#[repr(C)]
#[derive(StableAbi)]
pub struct Token {
    text: Str,
    start_us: i64,
    end_us: i64,
    id: i32,
    logprob: f32,
}
mirrors!(Token { text, start_us, end_us, id, logprob });

/// Mirrors [`tenon_abi::Usage`].
#[repr(C)]
#[derive(StableAbi)]
pub struct Usage {
    prompt_tokens: u64,
    cached_tokens: u64,
    generated_tokens: u64,
    audio_us: i64,
    prompt_us: i64,
    generate_us: i64,
}
mirrors!(Usage { prompt_tokens, cached_tokens, generated_tokens, audio_us, prompt_us, generate_us });

/// Mirrors [`tenon_abi::Document`].
#[repr(C)]
#[derive(StableAbi)]
pub struct Document {
    name: Str,
    text: Str,
}
mirrors!(Document { name, text });

/// Mirrors [`tenon_abi::Embedding`].
#[repr(C)]
#[derive(StableAbi)]
pub struct Embedding {
    values: *const f32,
    count: u64,
    index: u32,
    reserved: u32,
}
mirrors!(Embedding { values, count, index, reserved });

/// Mirrors [`tenon_abi::Host`].
#[repr(C)]
#[derive(StableAbi)]
pub struct Host {
    struct_size: u32,
    abi_major: u16,
    abi_minor: u16,
    log_level: Option<unsafe extern "C" fn() -> i32>,
    log: Option<unsafe extern "C" fn(i32, Str, Str)>,
    fail: Option<unsafe extern "C" fn(*mut Call, Status, Str) -> Status>,
    cancelled: Option<unsafe extern "C" fn(*const Call) -> i32>,
    progress: Option<unsafe extern "C" fn(*mut Call, f32)>,
    emit: Option<unsafe extern "C" fn(*mut Call, *const Item) -> Status>,
    pull: Option<unsafe extern "C" fn(*mut Call, i64, *mut Item) -> Status>,
    get_interface: Option<unsafe extern "C" fn(*const c_char) -> *const c_void>,
}
mirrors!(Host {
    struct_size,
    abi_major,
    abi_minor,
    log_level,
    log,
    fail,
    cancelled,
    progress,
    emit,
    pull,
    get_interface
});

/// Mirrors [`tenon_abi::HostOptions`].
#[repr(C)]
#[derive(StableAbi)]
pub struct HostOptions {
    struct_size: u32,
    reserved: u32,
    get_string: Option<unsafe extern "C" fn(*mut Call, Str, Str, *mut Str) -> Status>,
    get_number: Option<unsafe extern "C" fn(*mut Call, Str, Str, *mut f64) -> Status>,
    get_integer: Option<unsafe extern "C" fn(*mut Call, Str, Str, *mut i64) -> Status>,
    get_bool: Option<unsafe extern "C" fn(*mut Call, Str, Str, *mut i32) -> Status>,
}
mirrors!(HostOptions { struct_size, reserved, get_string, get_number, get_integer, get_bool });

/// Mirrors [`tenon_abi::HostError`].
#[repr(C)]
#[derive(StableAbi)]
pub struct HostError {
    struct_size: u32,
    reserved: u32,
    detail: Option<unsafe extern "C" fn(*mut Call, Str, Str)>,
}
mirrors!(HostError { struct_size, reserved, detail });

/// Mirrors [`tenon_abi::Backend`].
#[repr(C)]
#[derive(StableAbi)]
pub struct Backend {
    struct_size: u32,
    caps: u32,
    describe: Option<unsafe extern "C" fn(*mut Call) -> Status>,
    model_open: Option<unsafe extern "C" fn(*mut Call, *const File, u32, Str, *mut *mut BackendModel) -> Status>,
    model_close: Option<unsafe extern "C" fn(*mut BackendModel)>,
    session_open: Option<unsafe extern "C" fn(*mut Call, *mut BackendModel, Str, *mut *mut BackendSession) -> Status>,
    session_reset: Option<unsafe extern "C" fn(*mut Call, *mut BackendSession) -> Status>,
    session_close: Option<unsafe extern "C" fn(*mut BackendSession)>,
    run: Option<unsafe extern "C" fn(*mut Call, *mut BackendSession, Str, *const Item, u32, Str) -> Status>,
}
mirrors!(Backend {
    struct_size,
    caps,
    describe,
    model_open,
    model_close,
    session_open,
    session_reset,
    session_close,
    run
});

/// Mirrors [`tenon_abi::Plugin`].
#[repr(C)]
#[derive(StableAbi)]
pub struct Plugin {
    struct_size: u32,
    abi_major: u16,
    abi_minor: u16,
    id: *const c_char,
    version: *const c_char,
    build_info: *const c_char,
    get_interface: Option<unsafe extern "C" fn(*const c_char) -> *const c_void>,
    shutdown: Option<unsafe extern "C" fn()>,
}
mirrors!(Plugin { struct_size, abi_major, abi_minor, id, version, build_info, get_interface, shutdown });

/// Every frozen struct, mentioned by a pointer that is never followed.
#[repr(C)]
#[derive(StableAbi)]
pub struct Contract {
    plugin: *const Plugin,
    host: *const Host,
    host_options: *const HostOptions,
    host_error: *const HostError,
    backend: *const Backend,
    item: *const Item,
    file: *const File,
    text: *const Text,
    audio: *const Audio,
    segment: *const Segment,
    word: *const Word,
    token: *const Token,
    usage: *const Usage,
    document: *const Document,
    embedding: *const Embedding,
}

/// The root that abi_stable looks at: one field, which never grows.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = RootRef, prefix_fields = RootPrefix)))]
#[sabi(missing_field(panic))]
pub struct Root {
    /// Does nothing; its type is what is compared.
    #[sabi(last_prefix_field)]
    pub contract: extern "C" fn(*const Contract),
}
