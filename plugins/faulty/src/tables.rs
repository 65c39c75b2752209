//! The tables that the host gets: the SDK's, tampered with as `TENON_FAULTY` and the load options ask.

use crate::backend::Faulty;
use crate::faults::{EntryFault, LoadOptions, ModelFault, hang};
use crate::raw;
use serde::Deserialize;
use serde::de::value::{Error as NameError, StrDeserializer};
use std::ffi::{CStr, c_char, c_void};
use std::sync::OnceLock;
use tenon_abi::{Backend, BackendModel, BackendSession, Call, File, Host, Item, Memory, Plugin, Status, Str, status};

/// A status that no version defines.
pub const UNKNOWN_STATUS: Status = 4711;

static TABLES: OnceLock<Tables> = OnceLock::new();

struct Tables {
    host: &'static Host,
    /// What the SDK made: the functions to fall back to.
    sdk: Backend,
    sdk_memory: Memory,
    plugin: Plugin,
    backend: Backend,
    memory: Memory,
}

// SAFETY: written once; the pointers in it lead to static memory.
unsafe impl Send for Tables {}
// SAFETY: as above.
unsafe impl Sync for Tables {}

/// The fault that the environment asks for, if any.
pub fn asked() -> Option<EntryFault> {
    let name = std::env::var("TENON_FAULTY").ok()?;
    EntryFault::deserialize(StrDeserializer::<NameError>::new(&name)).ok()
}

/// The entry: the SDK's, and then what was asked for.
///
/// # Safety
/// As `tenon_abi::PluginEntry` says.
pub unsafe fn enter(host: *const Host, out: *mut *const Plugin) -> Status {
    // SAFETY: the caller's word, handed on.
    let status = unsafe { tenon_plugin::export::enter::<Faulty>(host, out) };
    if status != status::OK {
        return status;
    }
    // SAFETY: the SDK checked both pointers and wrote a table of its own to `out`.
    unsafe {
        let tables = TABLES.get_or_init(|| tamper(&*host, &**out));
        *out = &tables.plugin;
    }
    match asked() {
        Some(EntryFault::EntryUnknownStatus) => UNKNOWN_STATUS,
        Some(EntryFault::EntryNullOut) => {
            // SAFETY: as above.
            unsafe { *out = std::ptr::null() };
            status::OK
        }
        Some(EntryFault::EntryHang) => {
            hang(None);
            status::OK
        }
        _ => status::OK,
    }
}

/// # Safety
/// `plugin` is the SDK's table.
unsafe fn tamper(host: &'static Host, plugin: &Plugin) -> Tables {
    let ask = plugin.get_interface.expect("the SDK fills every slot");
    // SAFETY: the SDK answers with its table for this id.
    let sdk = unsafe { *ask(c"tenon.backend/1".as_ptr()).cast::<Backend>() };
    // SAFETY: as above.
    let sdk_memory = unsafe { *ask(c"tenon.memory/1".as_ptr()).cast::<Memory>() };
    let mut memory = Memory { estimate: Some(estimate), ..sdk_memory };
    let mut plugin = *plugin;
    plugin.get_interface = Some(get_interface);
    plugin.shutdown = Some(shutdown);
    let mut backend = Backend {
        model_open: Some(model_open),
        model_close: Some(model_close),
        session_open: Some(session_open),
        run: Some(run),
        ..sdk
    };
    match asked() {
        Some(EntryFault::WrongMajor) => plugin.abi_major = 2,
        Some(EntryFault::ShortPlugin) => plugin.struct_size = 8,
        Some(EntryFault::LongPlugin) => plugin.struct_size = 4096,
        Some(EntryFault::NullId) => plugin.id = std::ptr::null(),
        Some(EntryFault::BrokenId) => plugin.id = c"f\xffulty".as_ptr(),
        Some(EntryFault::OtherId) => plugin.id = c"innocent".as_ptr(),
        Some(EntryFault::NullGetInterface) => plugin.get_interface = None,
        Some(EntryFault::ShortBackend) => backend.struct_size = 16,
        Some(EntryFault::NullSlot) => backend.session_reset = None,
        Some(EntryFault::DescribeNothing) => backend.describe = Some(describe_nothing),
        Some(EntryFault::DescribeNoJson) => backend.describe = Some(describe_no_json),
        Some(EntryFault::ShortMemory) => memory.struct_size = 8,
        Some(EntryFault::NullEstimate) => memory.estimate = None,
        _ => {}
    }
    Tables { host, sdk, sdk_memory, plugin, backend, memory }
}

fn tables() -> &'static Tables {
    TABLES.get().expect("the host enters the plugin before it calls it")
}

unsafe extern "C" fn get_interface(id: *const c_char) -> *const c_void {
    // SAFETY: by the contract the id ends with NUL.
    let id = unsafe { CStr::from_ptr(id) };
    if id == c"tenon.memory/1" {
        return std::ptr::from_ref(&tables().memory).cast();
    }
    if asked() == Some(EntryFault::NoBackend) || id != c"tenon.backend/1" {
        return std::ptr::null();
    }
    std::ptr::from_ref(&tables().backend).cast()
}

unsafe extern "C" fn estimate(call: *mut Call, files: *const File, file_count: u32, load_options: Str) -> Status {
    // SAFETY: the host's text, borrowed for this call.
    let asked: LoadOptions = unsafe { read(load_options) };
    match asked.fault {
        Some(ModelFault::EstimateNothing) => status::OK,
        Some(ModelFault::EstimateNoJson) => raw::document(tables().host, call, "estimate", "{\"devices\": oops"),
        _ => {
            let estimate = tables().sdk_memory.estimate.expect("the SDK fills every slot");
            // SAFETY: the host's arguments, handed on.
            unsafe { estimate(call, files, file_count, load_options) }
        }
    }
}

unsafe extern "C" fn shutdown() {
    raw::join_threads();
}

unsafe extern "C" fn describe_nothing(_call: *mut Call) -> Status {
    status::OK
}

unsafe extern "C" fn describe_no_json(call: *mut Call) -> Status {
    raw::document(tables().host, call, "backend", "{\"summary\": oops")
}

unsafe extern "C" fn model_open(
    call: *mut Call,
    files: *const File,
    file_count: u32,
    load_options: Str,
    out: *mut *mut BackendModel,
) -> Status {
    // SAFETY: the host's text, borrowed for this call.
    let asked: LoadOptions = unsafe { read(load_options) };
    match asked.fault {
        Some(ModelFault::OpenUnknownStatus) => UNKNOWN_STATUS,
        Some(ModelFault::OpenErrorWithoutMessage) => status::E_MODEL,
        Some(ModelFault::OpenNull) => status::OK,
        _ => {
            let open = tables().sdk.model_open.expect("the SDK fills every slot");
            // SAFETY: the host's arguments, handed on.
            let status = unsafe { open(call, files, file_count, load_options, out) };
            if status == status::OK && asked.fault == Some(ModelFault::SessionOpenNull) {
                // SAFETY: the SDK wrote the model to `out`.
                childless().push(unsafe { *out }.addr());
            }
            status
        }
    }
}

unsafe extern "C" fn model_close(model: *mut BackendModel) {
    childless().retain(|address| *address != model.addr());
    let close = tables().sdk.model_close.expect("the SDK fills every slot");
    // SAFETY: the host's argument, handed on.
    unsafe { close(model) };
}

/// The models that shall not get sessions.
fn childless() -> std::sync::MutexGuard<'static, Vec<usize>> {
    static CHILDLESS: std::sync::Mutex<Vec<usize>> = std::sync::Mutex::new(Vec::new());
    CHILDLESS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

unsafe extern "C" fn session_open(
    call: *mut Call,
    model: *mut BackendModel,
    options: Str,
    out: *mut *mut BackendSession,
) -> Status {
    if childless().contains(&model.addr()) {
        return status::OK;
    }
    let open = tables().sdk.session_open.expect("the SDK fills every slot");
    // SAFETY: the host's arguments, handed on.
    unsafe { open(call, model, options, out) }
}

unsafe extern "C" fn run(
    call: *mut Call,
    session: *mut BackendSession,
    task: Str,
    items: *const Item,
    item_count: u32,
    options: Str,
) -> Status {
    // SAFETY: the host's text, borrowed for this call.
    let asked: crate::faults::RunOptions = unsafe { read(options) };
    if let Some(status) = asked.fault.and_then(|fault| raw::misbehave(tables().host, call, fault, asked.seconds)) {
        return status;
    }
    let run = tables().sdk.run.expect("the SDK fills every slot");
    // SAFETY: the host's arguments, handed on.
    unsafe { run(call, session, task, items, item_count, options) }
}

/// Options, or none where they do not fit; the SDK's functions report what does not.
///
/// # Safety
/// `text` is valid for this call.
unsafe fn read<T: serde::de::DeserializeOwned + Default>(text: Str) -> T {
    if text.ptr.is_null() {
        return T::default();
    }
    // SAFETY: the caller's word.
    let bytes = unsafe { std::slice::from_raw_parts(text.ptr.cast::<u8>(), text.len) };
    serde_json::from_slice(bytes).unwrap_or_default()
}
