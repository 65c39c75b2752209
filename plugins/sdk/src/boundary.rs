//! The C functions of a backend: each checks what comes in, calls the safe trait, and turns errors and panics into a
//! status. Nothing unwinds over the line.

#![allow(unsafe_code)]

use crate::backend::{Backend, Model, Session};
use crate::call::Call;
use crate::host::Host;
use crate::input::{Input, slice, text};
use crate::item::ModelFile;
use crate::{Error, Result, log, panic};
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, TryLockError};
use tenon_abi::{self as abi, Status, Str, status};

/// A backend that [`crate::export_backend!`] has given its place in static memory.
pub trait Exported: Backend {
    /// Version of the plugin's package.
    const VERSION: &'static str;

    /// The plugin's static memory.
    fn state() -> &'static State<Self>;
}

/// The static memory of an exported backend.
pub struct State<B> {
    entered: OnceLock<Result<Entered<B>>>,
}

struct Entered<B> {
    backend: B,
    tables: Tables,
}

impl<B: Exported> State<B> {
    /// Before the plugin is entered.
    #[expect(clippy::new_without_default, reason = "only a static holds one")]
    pub const fn new() -> Self {
        Self { entered: OnceLock::new() }
    }

    fn enter(&self) -> Result<&Entered<B>, &Error> {
        let enter = || Ok(Entered { tables: Tables::new::<B>()?, backend: B::start()? });
        self.entered.get_or_init(enter).as_ref()
    }

    fn get(&self) -> Result<&Entered<B>> {
        match self.entered.get() {
            Some(Ok(entered)) => Ok(entered),
            _ => Err(Error::plugin("the plugin was not entered")),
        }
    }
}

/// The tables that the host copies, and the texts that they point to.
struct Tables {
    plugin: abi::Plugin,
    backend: abi::Backend,
    memory: abi::Memory,
    _texts: [CString; 3],
}

// SAFETY: the tables are never written again, and their pointers lead to `_texts`, which lives as long as they do.
unsafe impl Send for Tables {}
// SAFETY: as above.
unsafe impl Sync for Tables {}

impl Tables {
    fn new<B: Exported>() -> Result<Self> {
        let c_text = |text: String| {
            CString::new(text).map_err(|_| Error::plugin("the id, version or build info of the plugin contains NUL"))
        };
        let texts = [c_text(B::ID.to_owned())?, c_text(B::VERSION.to_owned())?, c_text(B::build_info())?];
        let plugin = abi::Plugin {
            struct_size: size_of::<abi::Plugin>() as u32,
            abi_major: abi::ABI_MAJOR,
            abi_minor: abi::ABI_MINOR,
            id: texts[0].as_ptr(),
            version: texts[1].as_ptr(),
            build_info: texts[2].as_ptr(),
            get_interface: Some(get_interface::<B>),
            shutdown: Some(shutdown::<B>),
        };
        let backend = abi::Backend {
            struct_size: size_of::<abi::Backend>() as u32,
            caps: B::CAPS,
            describe: Some(describe::<B>),
            model_open: Some(model_open::<B>),
            model_close: Some(model_close::<B>),
            session_open: Some(session_open::<B>),
            session_reset: Some(session_reset::<B>),
            session_close: Some(session_close::<B>),
            run: Some(run::<B>),
        };
        let memory =
            abi::Memory { struct_size: size_of::<abi::Memory>() as u32, reserved: 0, estimate: Some(estimate::<B>) };
        Ok(Self { plugin, backend, memory, _texts: texts })
    }
}

/// The body of `tenon_plugin_entry_v1`.
///
/// # Safety
/// `host` is NULL or a host's table that stays until the process ends; `out` is NULL or a place for a pointer.
pub unsafe fn enter<B: Exported>(host: *const abi::Host, out: *mut *const abi::Plugin) -> Status {
    let entered = panic::catch(|| {
        if out.is_null() {
            return status::E_INVALID_ARGUMENT;
        }
        // SAFETY: `out` is not NULL and the caller says that it is a place for a pointer.
        unsafe { out.write(std::ptr::null()) };
        // SAFETY: the caller's word for `host`.
        if let Err(status) = unsafe { Host::install(host, B::ID) } {
            return status;
        }
        match B::state().enter() {
            Ok(entered) => {
                // SAFETY: as for the write above.
                unsafe { out.write(&entered.tables.plugin) };
                status::OK
            }
            Err(error) => {
                log::error(error);
                error.status()
            }
        }
    });
    entered.unwrap_or(status::E_PANIC)
}

/// What the host holds as a model.
struct OpenModel<B: Backend> {
    model: Arc<B::Model>,
    poisoned: AtomicBool,
}

/// What the host holds as a session. The session goes before the model that it stands on.
struct OpenSession<B: Backend> {
    session: Mutex<<B::Model as Model>::Session>,
    _model: Arc<OpenModel<B>>,
}

unsafe extern "C" fn get_interface<B: Exported>(id: *const c_char) -> *const c_void {
    if id.is_null() {
        return std::ptr::null();
    }
    // SAFETY: not NULL, and by the contract it ends with NUL.
    let id = unsafe { CStr::from_ptr(id) };
    let Ok(Entered { tables, .. }) = B::state().get() else { return std::ptr::null() };
    match id.to_bytes() {
        id if id == abi::BACKEND_INTERFACE.as_bytes() => std::ptr::from_ref(&tables.backend).cast(),
        id if id == abi::MEMORY_INTERFACE.as_bytes() => std::ptr::from_ref(&tables.memory).cast(),
        _ => std::ptr::null(),
    }
}

unsafe extern "C" fn shutdown<B: Exported>() {
    quietly("shutdown", || {
        if let Ok(entered) = B::state().get() {
            entered.backend.shutdown();
        }
    });
}

unsafe extern "C" fn describe<B: Exported>(call: *mut abi::Call) -> Status {
    boundary(call, |call| {
        let description = B::state().get()?.backend.describe();
        call.emit_document("backend", &description)
    })
}

unsafe extern "C" fn model_open<B: Exported>(
    call: *mut abi::Call,
    files: *const abi::File,
    file_count: u32,
    load_options: Str,
    out: *mut *mut abi::BackendModel,
) -> Status {
    boundary(call, |call| {
        // SAFETY: `out` and the rest are what the contract says; `place`, `slice` and `text` check what can be.
        unsafe {
            let out = place(out)?;
            let files = model_files(files, file_count)?;
            let options = text(load_options, "load options")?;
            let model = B::state().get()?.backend.open(call, &files, options)?;
            let open = OpenModel::<B> { model: Arc::new(model), poisoned: AtomicBool::new(false) };
            *out = Arc::into_raw(Arc::new(open)).cast_mut().cast();
            Ok(())
        }
    })
}

unsafe extern "C" fn estimate<B: Exported>(
    call: *mut abi::Call,
    files: *const abi::File,
    file_count: u32,
    load_options: Str,
) -> Status {
    boundary(call, |call| {
        // SAFETY: files and options are what the contract says; `model_files` and `text` check what can be.
        let (files, options) = unsafe { (model_files(files, file_count)?, text(load_options, "load options")?) };
        call.emit_document("estimate", &B::state().get()?.backend.estimate(call, &files, options)?)
    })
}

unsafe extern "C" fn model_close<B: Exported>(model: *mut abi::BackendModel) {
    if model.is_null() {
        return;
    }
    quietly("model_close", || {
        // SAFETY: the pointer came from `Arc::into_raw` in `model_open`, and the host closes a model once.
        drop(unsafe { Arc::from_raw(model.cast::<OpenModel<B>>()) });
    });
}

unsafe extern "C" fn session_open<B: Exported>(
    call: *mut abi::Call,
    model: *mut abi::BackendModel,
    options: Str,
    out: *mut *mut abi::BackendSession,
) -> Status {
    boundary(call, |call| {
        // SAFETY: `model` is NULL or came from `model_open` and is not closed; `place` and `text` check what can be.
        unsafe {
            let out = place(out)?;
            let model = model.cast::<OpenModel<B>>().as_ref().ok_or_else(|| null("model"))?;
            let options = text(options, "session options")?;
            let session = model.session(call, options)?;
            // The host keeps its own count; this one is the session's.
            Arc::increment_strong_count(model);
            let open = OpenSession::<B> { session: Mutex::new(session), _model: Arc::from_raw(model) };
            *out = Box::into_raw(Box::new(open)).cast();
            Ok(())
        }
    })
}

impl<B: Backend> OpenModel<B> {
    /// Opens a session; a panic on the way leaves the model unfit for more.
    fn session(&self, call: &Call, options: &str) -> Result<<B::Model as Model>::Session> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(Error::panic("an earlier panic left this model in an unknown state; load it again"));
        }
        panic::catch(|| self.model.session(call, options)).unwrap_or_else(|said| {
            self.poisoned.store(true, Ordering::Release);
            Err(Error::panic(said))
        })
    }
}

unsafe extern "C" fn session_reset<B: Exported>(call: *mut abi::Call, session: *mut abi::BackendSession) -> Status {
    boundary(call, |call| {
        // SAFETY: `session` is NULL or came from `session_open` and is not closed.
        unsafe { with_session::<B>(session, |session| session.reset(call)) }
    })
}

unsafe extern "C" fn session_close<B: Exported>(session: *mut abi::BackendSession) {
    if session.is_null() {
        return;
    }
    quietly("session_close", || {
        // SAFETY: the pointer came from `Box::into_raw` in `session_open`, and the host closes a session once.
        drop(unsafe { Box::from_raw(session.cast::<OpenSession<B>>()) });
    });
}

unsafe extern "C" fn run<B: Exported>(
    call: *mut abi::Call,
    session: *mut abi::BackendSession,
    task: Str,
    items: *const abi::Item,
    item_count: u32,
    options: Str,
) -> Status {
    boundary(call, |call| {
        // SAFETY: `session` is as for `session_reset`; items and texts are borrowed for this call, and `slice`, `text`
        // and `Input::read` check what can be.
        unsafe {
            let task = text(task, "task")?;
            let options = text(options, "options")?;
            let input = Input::read(call, slice(items, item_count.into(), "items")?)?;
            with_session::<B>(session, |session| session.run(call, task, input, options))
        }
    })
}

/// Runs `body` with the session. A panic in it poisons the lock, so that nobody uses a half-changed session.
///
/// # Safety
/// `session` is NULL or came from `session_open` of the same backend and is not closed.
unsafe fn with_session<B: Backend>(
    session: *mut abi::BackendSession,
    body: impl FnOnce(&mut <B::Model as Model>::Session) -> Result<()>,
) -> Result<()> {
    // SAFETY: the caller's word.
    let open = unsafe { session.cast::<OpenSession<B>>().as_ref() }.ok_or_else(|| null("session"))?;
    match open.session.try_lock() {
        Ok(mut session) => body(&mut session),
        Err(TryLockError::WouldBlock) => Err(Error::busy("the session is already running a request")),
        Err(TryLockError::Poisoned(_)) => {
            Err(Error::panic("an earlier panic left this session in an unknown state; open another one"))
        }
    }
}

/// Runs the body of a function that answers with a status.
fn boundary(call: *mut abi::Call, body: impl FnOnce(&Call) -> Result<()>) -> Status {
    let Some(host) = Host::installed().filter(|_| !call.is_null()) else {
        return status::E_INVALID_ARGUMENT;
    };
    let call = Call::new(call, host);
    let ended = panic::catch(|| body(&call).map_err(|error| call.fail(&error)));
    match ended {
        Ok(Ok(())) => status::OK,
        Ok(Err(status)) => status,
        Err(said) => call.fail(&Error::panic(said)),
    }
}

/// Runs the body of a function that cannot answer; a panic in it is logged.
fn quietly(name: &str, body: impl FnOnce()) {
    if let Err(said) = panic::catch(body) {
        // The message must not bring down what the panic did not.
        let _ = panic::catch(|| log::error(format_args!("{name}: {said}")));
    }
}

fn null(what: &str) -> Error {
    Error::invalid_argument(format!("the {what} is NULL"))
}

/// The place for a result, set to NULL first.
///
/// # Safety
/// `out` is NULL or a place for a pointer that nobody else uses for `'a`.
unsafe fn place<'a, T>(out: *mut *mut T) -> Result<&'a mut *mut T> {
    // SAFETY: the caller's word.
    let out = unsafe { out.as_mut() }.ok_or_else(|| null("place for the result"))?;
    *out = std::ptr::null_mut();
    Ok(out)
}

/// # Safety
/// `files` is NULL or points to `count` files whose texts are valid for `'a`.
unsafe fn model_files<'a>(files: *const abi::File, count: u32) -> Result<Vec<ModelFile<'a>>> {
    // SAFETY: the caller's word.
    let files = unsafe { slice(files, count.into(), "files")? };
    // SAFETY: as above.
    files.iter().map(|file| unsafe { model_file(file) }).collect()
}

/// # Safety
/// The texts of `file` are valid for `'a`.
unsafe fn model_file<'a>(file: &abi::File) -> Result<ModelFile<'a>> {
    // SAFETY: the caller's word.
    let (role, path) = unsafe { (text(file.role, "role of a file")?, text(file.path, "path of a file")?) };
    let fd = (file.fd >= 0).then_some(file.fd);
    Ok(ModelFile { role, path: Path::new(path), size: file.size, sha256: file.sha256, fd })
}
