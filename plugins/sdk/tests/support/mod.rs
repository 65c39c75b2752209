//! A host for tests: as small as the contract allows, and it writes down everything that a plugin does.

#![allow(unsafe_code, dead_code, reason = "each test program uses a part of it")]

use serde_json::Value;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use tenon_abi::{self as abi, Status, Str, status};

/// What a plugin emitted.
#[derive(Clone, Debug, PartialEq)]
pub enum Emitted {
    Text(String),
    Segment { start_us: i64, end_us: i64, text: String, words: Vec<String>, tokens: usize },
    Token { id: i32, text: String },
    Embedding { index: u32, values: Vec<f32> },
    Usage { prompt_tokens: u64, generated_tokens: u64, audio_us: i64 },
    Document { name: String, text: String },
}

/// The host's side of a call.
#[derive(Debug, Default)]
pub struct Call {
    pub emitted: RefCell<Vec<Emitted>>,
    pub message: RefCell<String>,
    pub details: RefCell<Vec<(String, String)>>,
    pub progress: RefCell<Vec<f32>>,
    /// Audio to be pulled.
    pub live: RefCell<VecDeque<Vec<f32>>>,
    pub pulled: RefCell<Vec<f32>>,
    pub pulled_audio: RefCell<Option<Box<abi::Audio>>>,
    pub strings: RefCell<Vec<Box<str>>>,
    pub cancelled: AtomicBool,
    /// Says stop from this item on.
    pub most: Option<usize>,
}

impl Call {
    pub fn texts(&self) -> String {
        let emitted = self.emitted.borrow();
        emitted
            .iter()
            .filter_map(|item| if let Emitted::Text(text) = item { Some(text.as_str()) } else { None })
            .collect()
    }

    pub fn document(&self, wanted: &str) -> Option<Value> {
        let emitted = self.emitted.borrow();
        emitted.iter().find_map(|item| match item {
            Emitted::Document { name, text } if name == wanted => Some(serde_json::from_str(text).unwrap()),
            _ => None,
        })
    }

    pub fn segments(&self) -> Vec<Emitted> {
        self.emitted.borrow().iter().filter(|item| matches!(item, Emitted::Segment { .. })).cloned().collect()
    }

    pub fn raw(&self) -> *mut abi::Call {
        std::ptr::from_ref(self).cast_mut().cast()
    }
}

pub static HOST: abi::Host = abi::Host {
    struct_size: size_of::<abi::Host>() as u32,
    abi_major: abi::ABI_MAJOR,
    abi_minor: abi::ABI_MINOR,
    log_level: Some(log_level),
    log: Some(log),
    fail: Some(fail),
    cancelled: Some(cancelled),
    progress: Some(progress),
    emit: Some(emit),
    pull: Some(pull),
    get_interface: Some(get_interface),
};

static OPTIONS: abi::HostOptions = abi::HostOptions {
    struct_size: size_of::<abi::HostOptions>() as u32,
    reserved: 0,
    get_string: Some(get_string),
    get_number: Some(get_number),
    get_integer: Some(get_integer),
    get_bool: Some(get_bool),
};

static ERRORS: abi::HostError =
    abi::HostError { struct_size: size_of::<abi::HostError>() as u32, reserved: 0, detail: Some(detail) };

/// SAFETY for all of these: only plugins of this test program call them, with calls and texts that are alive.
fn state<'a>(call: *const abi::Call) -> &'a Call {
    // SAFETY: see above.
    unsafe { &*call.cast::<Call>() }
}

fn text(raw: Str) -> String {
    if raw.len == 0 {
        return String::new();
    }
    // SAFETY: as for `state`.
    let bytes = unsafe { std::slice::from_raw_parts(raw.ptr.cast::<u8>(), raw.len) };
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn str(text: &str) -> Str {
    Str { ptr: text.as_ptr().cast(), len: text.len() }
}

unsafe extern "C" fn log_level() -> i32 {
    3
}

unsafe extern "C" fn log(level: i32, target: Str, message: Str) {
    println!("log {level} {}: {}", text(target), text(message));
}

unsafe extern "C" fn fail(call: *mut abi::Call, status: Status, message: Str) -> Status {
    *state(call).message.borrow_mut() = text(message);
    status
}

unsafe extern "C" fn detail(call: *mut abi::Call, key: Str, value: Str) {
    state(call).details.borrow_mut().push((text(key), text(value)));
}

unsafe extern "C" fn cancelled(call: *const abi::Call) -> i32 {
    i32::from(state(call).cancelled.load(Ordering::Relaxed))
}

unsafe extern "C" fn progress(call: *mut abi::Call, fraction: f32) {
    state(call).progress.borrow_mut().push(fraction);
}

unsafe extern "C" fn emit(call: *mut abi::Call, item: *const abi::Item) -> Status {
    let call = state(call);
    if call.most.is_some_and(|most| call.emitted.borrow().len() >= most) {
        return status::E_END;
    }
    // SAFETY: as for `state`.
    let emitted = unsafe { read(&*item) };
    call.emitted.borrow_mut().push(emitted);
    status::OK
}

unsafe fn payload<T: Copy>(item: &abi::Item) -> T {
    assert_eq!(item.size as usize, size_of::<T>());
    // SAFETY: as for `state`; the size was checked.
    unsafe { *item.data.cast::<T>() }
}

unsafe fn read(item: &abi::Item) -> Emitted {
    // SAFETY: as for `state`.
    unsafe {
        match item.kind {
            abi::KIND_TEXT => Emitted::Text(text(payload::<abi::Text>(item).text)),
            abi::KIND_SEGMENT => {
                let raw = payload::<abi::Segment>(item);
                let words = (0..raw.word_count as usize).map(|index| text((*raw.words.add(index)).text)).collect();
                let (start_us, end_us, tokens) = (raw.start_us, raw.end_us, raw.token_count as usize);
                Emitted::Segment { start_us, end_us, text: text(raw.text), words, tokens }
            }
            abi::KIND_TOKEN => {
                let raw = payload::<abi::Token>(item);
                Emitted::Token { id: raw.id, text: text(raw.text) }
            }
            abi::KIND_USAGE => {
                let abi::Usage { prompt_tokens, generated_tokens, audio_us, .. } = payload(item);
                Emitted::Usage { prompt_tokens, generated_tokens, audio_us }
            }
            abi::KIND_DOCUMENT => {
                let raw = payload::<abi::Document>(item);
                Emitted::Document { name: text(raw.name), text: text(raw.text) }
            }
            abi::KIND_EMBEDDING => {
                let raw = payload::<abi::Embedding>(item);
                let values = std::slice::from_raw_parts(raw.values, raw.count as usize).to_vec();
                Emitted::Embedding { index: raw.index, values }
            }
            other => panic!("an item of kind {other}"),
        }
    }
}

unsafe extern "C" fn pull(call: *mut abi::Call, _timeout_us: i64, out: *mut abi::Item) -> Status {
    let call = state(call);
    let Some(samples) = call.live.borrow_mut().pop_front() else { return status::E_END };
    if samples.is_empty() {
        return status::E_TIMEOUT;
    }
    *call.pulled.borrow_mut() = samples;
    let pulled = call.pulled.borrow();
    let audio = abi::Audio { samples: pulled.as_ptr(), frames: pulled.len() as u64, rate: 16_000, channels: 1 };
    let mut kept = call.pulled_audio.borrow_mut();
    let audio: &abi::Audio = kept.insert(Box::new(audio));
    let item = abi::Item {
        kind: abi::KIND_AUDIO,
        size: size_of::<abi::Audio>() as u32,
        data: std::ptr::from_ref(audio).cast(),
    };
    // SAFETY: as for `state`.
    unsafe { out.write(item) };
    status::OK
}

unsafe extern "C" fn get_interface(id: *const c_char) -> *const c_void {
    // SAFETY: as for `state`.
    match unsafe { CStr::from_ptr(id) }.to_str() {
        Ok(abi::HOST_OPTIONS_INTERFACE) => (&raw const OPTIONS).cast(),
        Ok(abi::HOST_ERROR_INTERFACE) => (&raw const ERRORS).cast(),
        _ => std::ptr::null(),
    }
}

/// The value of a key, as `pick` reads it, written to `out`.
fn option<T>(document: Str, key: Str, out: *mut T, pick: impl Fn(&Value) -> Option<T>) -> Status {
    let document: Value = serde_json::from_str(&text(document)).unwrap();
    match document.get(text(key)) {
        None | Some(Value::Null) => status::E_NOT_FOUND,
        Some(value) => match pick(value) {
            None => status::E_INVALID_ARGUMENT,
            Some(value) => {
                // SAFETY: as for `state`.
                unsafe { out.write(value) };
                status::OK
            }
        },
    }
}

unsafe extern "C" fn get_string(call: *mut abi::Call, document: Str, key: Str, out: *mut Str) -> Status {
    let call = state(call);
    option(document, key, out, |value| {
        let mut strings = call.strings.borrow_mut();
        strings.push(value.as_str()?.into());
        strings.last().map(|kept| str(kept))
    })
}

unsafe extern "C" fn get_number(_call: *mut abi::Call, document: Str, key: Str, out: *mut f64) -> Status {
    option(document, key, out, Value::as_f64)
}

unsafe extern "C" fn get_integer(_call: *mut abi::Call, document: Str, key: Str, out: *mut i64) -> Status {
    option(document, key, out, Value::as_i64)
}

unsafe extern "C" fn get_bool(_call: *mut abi::Call, document: Str, key: Str, out: *mut i32) -> Status {
    option(document, key, out, |value| value.as_bool().map(i32::from))
}

/// A plugin that was entered.
pub struct Plugin {
    pub plugin: abi::Plugin,
    pub backend: abi::Backend,
}

impl Plugin {
    pub fn enter(entry: abi::PluginEntry) -> Self {
        let mut out = std::ptr::null();
        // SAFETY: the table is static and `out` a place for a pointer; a plugin's table has the size that it says.
        unsafe {
            assert_eq!(entry(&HOST, &mut out), status::OK);
            let plugin = *out;
            assert_eq!(plugin.struct_size as usize, size_of::<abi::Plugin>());
            let backend = plugin.get_interface.unwrap()(c"tenon.backend/1".as_ptr()).cast::<abi::Backend>();
            assert!(!backend.is_null());
            Self { plugin, backend: *backend }
        }
    }

    /// Opens a library for the rest of the process and enters it.
    pub fn load(path: &std::path::Path) -> Self {
        // SAFETY: a plugin that this repository builds; it stays mapped.
        unsafe {
            let library = libloading::Library::new(path).unwrap();
            let entry = *library.get::<abi::PluginEntry>(abi::PLUGIN_ENTRY_SYMBOL.as_bytes()).unwrap();
            std::mem::forget(library);
            Self::enter(entry)
        }
    }

    pub fn describe(&self, call: &Call) -> Status {
        // SAFETY: the plugin's function, given a live call.
        unsafe { self.backend.describe.unwrap()(call.raw()) }
    }

    /// `None` when the plugin has no interface for it.
    pub fn estimate(&self, call: &Call, options: &str) -> Option<Status> {
        // SAFETY: the plugin's function, given a name that ends with NUL; a table has the size that it says.
        unsafe {
            let memory = self.plugin.get_interface.unwrap()(c"tenon.memory/1".as_ptr()).cast::<abi::Memory>();
            let memory = memory.as_ref()?;
            assert_eq!(memory.struct_size as usize, size_of::<abi::Memory>());
            Some(memory.estimate.unwrap()(call.raw(), std::ptr::null(), 0, str(options)))
        }
    }

    pub fn open(&self, call: &Call, options: &str) -> Result<*mut abi::BackendModel, Status> {
        let mut model = std::ptr::null_mut();
        // SAFETY: as for `describe`.
        let status =
            unsafe { self.backend.model_open.unwrap()(call.raw(), std::ptr::null(), 0, str(options), &mut model) };
        if status == status::OK { Ok(model) } else { Err(status) }
    }

    pub fn session(&self, call: &Call, model: *mut abi::BackendModel) -> Result<*mut abi::BackendSession, Status> {
        let mut session = std::ptr::null_mut();
        // SAFETY: as for `describe`.
        let status = unsafe { self.backend.session_open.unwrap()(call.raw(), model, str("{}"), &mut session) };
        if status == status::OK { Ok(session) } else { Err(status) }
    }

    pub fn run(
        &self,
        call: &Call,
        session: *mut abi::BackendSession,
        task: &str,
        items: &[abi::Item],
        options: &str,
    ) -> Status {
        let count = items.len() as u32;
        // SAFETY: as for `describe`.
        unsafe { self.backend.run.unwrap()(call.raw(), session, str(task), items.as_ptr(), count, str(options)) }
    }

    /// Runs a task on one text in a session of its own.
    pub fn ask(&self, task: &str, prompt: &str, options: &str) -> (Status, Call) {
        let call = Call::default();
        let status = self.ask_in(&call, task, prompt, options);
        (status, call)
    }

    pub fn ask_in(&self, call: &Call, task: &str, prompt: &str, options: &str) -> Status {
        let given = abi::Text { role: str("prompt"), text: str(prompt) };
        self.once(call, task, &[item(abi::KIND_TEXT, &given)], options)
    }

    /// Runs a task on audio at 16 kHz in a session of its own.
    pub fn hear(&self, task: &str, samples: &[f32], options: &str) -> (Status, Call) {
        let call = Call::default();
        let audio = abi::Audio { samples: samples.as_ptr(), frames: samples.len() as u64, rate: 16_000, channels: 1 };
        let status = self.once(&call, task, &[item(abi::KIND_AUDIO, &audio)], options);
        (status, call)
    }

    pub fn once(&self, call: &Call, task: &str, items: &[abi::Item], options: &str) -> Status {
        let model = self.open(call, "{}").unwrap();
        let session = self.session(call, model).unwrap();
        let status = self.run(call, session, task, items, options);
        self.close(session, model);
        status
    }

    pub fn close(&self, session: *mut abi::BackendSession, model: *mut abi::BackendModel) {
        // SAFETY: both are open and not used again.
        unsafe {
            self.backend.session_close.unwrap()(session);
            self.backend.model_close.unwrap()(model);
        }
    }
}

pub fn item<T>(kind: u32, payload: &T) -> abi::Item {
    abi::Item { kind, size: size_of::<T>() as u32, data: std::ptr::from_ref(payload).cast() }
}
