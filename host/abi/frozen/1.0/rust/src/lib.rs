//! A plugin straight on tenon-abi 1.0, without the SDK: `generate` says the prompt twice. Frozen.

use std::ffi::{CStr, c_char, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};
use tenon_abi::*;

static HOST: AtomicPtr<Host> = AtomicPtr::new(std::ptr::null_mut());

static BACKEND: Backend = Backend {
    struct_size: size_of::<Backend>() as u32,
    caps: 0,
    describe: Some(describe),
    model_open: Some(model_open),
    model_close: Some(model_close),
    session_open: Some(session_open),
    session_reset: Some(session_reset),
    session_close: Some(session_close),
    run: Some(run),
};

struct Root(Plugin);
// SAFETY: its pointers lead to static texts.
unsafe impl Sync for Root {}

static ROOT: Root = Root(Plugin {
    struct_size: size_of::<Plugin>() as u32,
    abi_major: ABI_MAJOR,
    abi_minor: ABI_MINOR,
    id: c"frozen-rust".as_ptr(),
    version: c"1.0.0".as_ptr(),
    build_info: c"".as_ptr(),
    get_interface: Some(get_interface),
    shutdown: Some(shutdown),
});

const DESCRIPTION: &str = r#"{"summary": "says it twice", "engine": "none",
    "tasks": [{"task": "generate", "schema": {"type": "object", "properties": {}}}],
    "load_schema": {"type": "object", "properties": {}},
    "files": [{"role": "model", "required": false, "many": true}]}"#;

/// # Safety
/// As `PluginEntry` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_plugin_entry_v1(host: *const Host, out: *mut *const Plugin) -> Status {
    HOST.store(host.cast_mut(), Ordering::Release);
    // SAFETY: the host's place for a pointer.
    unsafe { *out = &ROOT.0 };
    status::OK
}

unsafe extern "C" fn get_interface(id: *const c_char) -> *const c_void {
    // SAFETY: ends with NUL by the contract.
    let wanted = unsafe { CStr::from_ptr(id) };
    if wanted == c"tenon.backend/1" { (&raw const BACKEND).cast() } else { std::ptr::null() }
}

unsafe extern "C" fn shutdown() {}

fn emit<T>(call: *mut Call, kind: u32, payload: &T) -> Status {
    let item = Item { kind, size: size_of::<T>() as u32, data: std::ptr::from_ref(payload).cast() };
    // SAFETY: the host stays until the process ends, and the item is alive.
    unsafe { (*HOST.load(Ordering::Acquire)).emit.unwrap()(call, &item) }
}

fn text(text: &str) -> Str {
    Str { ptr: text.as_ptr().cast(), len: text.len() }
}

unsafe extern "C" fn describe(call: *mut Call) -> Status {
    emit(call, KIND_DOCUMENT, &Document { name: text("backend"), text: text(DESCRIPTION) })
}

unsafe extern "C" fn model_open(_: *mut Call, _: *const File, _: u32, _: Str, out: *mut *mut BackendModel) -> Status {
    // SAFETY: the host's place for a pointer; the model is one byte that nobody looks at.
    unsafe { *out = Box::into_raw(Box::new(0_u8)).cast() };
    status::OK
}

unsafe extern "C" fn model_close(model: *mut BackendModel) {
    // SAFETY: made by `model_open`.
    drop(unsafe { Box::from_raw(model.cast::<u8>()) });
}

unsafe extern "C" fn session_open(_: *mut Call, _: *mut BackendModel, _: Str, out: *mut *mut BackendSession) -> Status {
    // SAFETY: as for `model_open`.
    unsafe { *out = Box::into_raw(Box::new(0_u8)).cast() };
    status::OK
}

unsafe extern "C" fn session_reset(_: *mut Call, _: *mut BackendSession) -> Status {
    status::OK
}

unsafe extern "C" fn session_close(session: *mut BackendSession) {
    // SAFETY: made by `session_open`.
    drop(unsafe { Box::from_raw(session.cast::<u8>()) });
}

unsafe extern "C" fn run(
    call: *mut Call,
    _: *mut BackendSession,
    _: Str,
    items: *const Item,
    count: u32,
    _: Str,
) -> Status {
    if count != 1 {
        return status::E_INVALID_ARGUMENT;
    }
    // SAFETY: one item, which is a text by the task's contract.
    let prompt = unsafe { (*(*items).data.cast::<Text>()).text };
    for _ in 0..2 {
        let status = emit(call, KIND_TEXT, &Text { role: text(""), text: prompt });
        if status != status::OK {
            return status;
        }
    }
    emit(call, KIND_DOCUMENT, &Document { name: text("finish"), text: text(r#"{"reason":"stop"}"#) })
}
