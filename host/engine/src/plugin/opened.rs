//! A plugin whose library is open in this process: what its entry handed out, checked and copied.
//!
//! [`super::load`] opens libraries for the engine, after their hash; the program `tenon-worker` opens the one library
//! that it was given. Both end here. What the functions are called with is the affair of [`super::call`].

use super::host::{Call, HOST, Sink};
use super::item::Output;
use super::{call, library};
use crate::cancel::StopSigns;
use crate::error::{Error, ErrorKind, Result};
use crate::threads::Budget;
use std::ffi::{CString, c_char, c_void};
use std::sync::{Arc, Mutex, PoisonError};
use tenon_abi as abi;
use tenon_abi::{Status, status};

/// Longest id, version or build text that a plugin may name.
const LONGEST_NAME: usize = 4096;
/// Latest version of the entry function to look for when this one is missing, for the message.
const LATEST_ENTRY: u16 = 9;

/// A backend's functions, each known to be there.
#[derive(Clone, Copy)]
pub(super) struct Vtable {
    caps: u32,
    pub describe: unsafe extern "C" fn(*mut abi::Call) -> Status,
    pub model_open:
        unsafe extern "C" fn(*mut abi::Call, *const abi::File, u32, abi::Str, *mut *mut abi::BackendModel) -> Status,
    pub model_close: unsafe extern "C" fn(*mut abi::BackendModel),
    pub session_open:
        unsafe extern "C" fn(*mut abi::Call, *mut abi::BackendModel, abi::Str, *mut *mut abi::BackendSession) -> Status,
    pub session_reset: unsafe extern "C" fn(*mut abi::Call, *mut abi::BackendSession) -> Status,
    pub session_close: unsafe extern "C" fn(*mut abi::BackendSession),
    pub run: unsafe extern "C" fn(
        *mut abi::Call,
        *mut abi::BackendSession,
        abi::Str,
        *const abi::Item,
        u32,
        abi::Str,
    ) -> Status,
}

/// Estimates the memory of a model: the one function of `tenon.memory/1`.
pub(super) type EstimateFunction = unsafe extern "C" fn(*mut abi::Call, *const abi::File, u32, abi::Str) -> Status;

impl Vtable {
    /// The error is the name of the function that is missing.
    fn of(backend: &abi::Backend) -> std::result::Result<Self, &'static str> {
        Ok(Self {
            caps: backend.caps,
            describe: backend.describe.ok_or("describe")?,
            model_open: backend.model_open.ok_or("model_open")?,
            model_close: backend.model_close.ok_or("model_close")?,
            session_open: backend.session_open.ok_or("session_open")?,
            session_reset: backend.session_reset.ok_or("session_reset")?,
            session_close: backend.session_close.ok_or("session_close")?,
            run: backend.run.ok_or("run")?,
        })
    }
}

/// A plugin that is open in this process.
pub(crate) struct Opened {
    id: String,
    version: String,
    abi: (u16, u16),
    build_info: String,
    vtable: Vtable,
    estimate: Option<EstimateFunction>,
    shutdown: Option<unsafe extern "C" fn()>,
    /// One place, for a backend that opens one model at a time.
    opening: Arc<Budget>,
    uses: Mutex<Uses>,
}

#[derive(Default)]
struct Uses {
    models: usize,
    ended: bool,
}

impl Opened {
    /// Checks the witness of a library and calls its entry. `name` stands in messages. Must run on a stack of
    /// [`call::STACK`].
    pub(super) fn of_library(opened: &library::Library, name: &str) -> Result<Self> {
        library::check_witness(opened, name)?;
        // SAFETY: by the contract the symbol of this name is a function of this type.
        let entry = unsafe { opened.get::<abi::PluginEntry>(abi::PLUGIN_ENTRY_SYMBOL) };
        let entry = entry.ok_or_else(|| no_entry(name, opened))?;
        // SAFETY: whoever vouches for the library's digest vouches that its entry keeps the contract.
        unsafe { Self::of_entry(entry, name) }
    }

    /// Calls an entry. Must run on a stack of [`call::STACK`].
    ///
    /// # Safety
    /// The entry, and all that it hands out, keeps the plugin contract.
    pub(super) unsafe fn of_entry(entry: abi::PluginEntry, name: &str) -> Result<Self> {
        // SAFETY: promised by the caller.
        let root = unsafe { enter(entry, name) }?;
        // SAFETY: the root's texts are NUL-terminated by the contract.
        let (id, version, build_info) = unsafe { (text(root.id), text(root.version), text(root.build_info)) };
        Ok(Self {
            abi: (root.abi_major, root.abi_minor),
            vtable: backend(&root, &id)?,
            estimate: memory(&root, &id)?,
            id,
            version,
            build_info,
            shutdown: root.shutdown,
            opening: Budget::new(1),
            uses: Mutex::default(),
        })
    }

    /// The document in which the plugin describes itself: JSON. Must run on a stack of [`call::STACK`].
    pub(crate) fn describe(&self) -> Result<String> {
        let documents = Arc::new(Mutex::new(Vec::new()));
        let sink = Documents(Arc::clone(&documents));
        call::describe(self, Call::new(StopSigns::default()).with_sink(Box::new(sink)))?;
        let mut documents = std::mem::take(&mut *documents.lock().unwrap_or_else(PoisonError::into_inner));
        match documents.len() {
            1 => Ok(documents.remove(0)),
            count => {
                let message = format!("backend \"{}\" describes itself {count} times", self.id);
                Err(Error::new(ErrorKind::Plugin, message))
            }
        }
    }

    pub(super) fn vtable(&self) -> &Vtable {
        &self.vtable
    }

    /// The function that estimates memory, where the plugin has one.
    pub(super) fn estimate(&self) -> Option<EstimateFunction> {
        self.estimate
    }

    pub(super) fn opening(&self) -> &Arc<Budget> {
        &self.opening
    }

    /// Counts an open model; refused once the plugin was ended.
    pub(super) fn begin_use(&self) -> Result<()> {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.ended {
            return Err(Error::new(ErrorKind::Shutdown, format!("plugin \"{}\" was shut down", self.id)));
        }
        uses.models += 1;
        Ok(())
    }

    pub(super) fn end_use(&self) {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner).models -= 1;
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The contract that it was built for.
    pub(crate) fn abi(&self) -> (u16, u16) {
        self.abi
    }

    /// How it was built, in its own words.
    pub(crate) fn build_info(&self) -> &str {
        &self.build_info
    }

    /// `CAP_*` flags of the plugin contract.
    pub(crate) fn caps(&self) -> u32 {
        self.vtable.caps
    }

    /// Lets the plugin join its threads. No model can be opened afterwards.
    ///
    /// # Errors
    /// `Busy` while a model is open.
    pub(crate) fn end(&self) -> Result<()> {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.models > 0 {
            let message = format!("plugin \"{}\" has {} open models: drop them first", self.id, uses.models);
            return Err(Error::new(ErrorKind::Busy, message));
        }
        if !std::mem::replace(&mut uses.ended, true)
            && let Some(shutdown) = self.shutdown
        {
            // SAFETY: the function comes from a root that was checked and copied; no model of the plugin is open, and
            // `ended` keeps any from being opened and this from being called again.
            unsafe { shutdown() };
        }
        Ok(())
    }
}

/// The error for a plugin of another contract.
pub(super) fn other_contract(id: &str, theirs: &str) -> Error {
    let ours = format!("{}.{}", abi::ABI_MAJOR, abi::ABI_MINOR);
    let message = format!("plugin \"{id}\" was built for plugin contract {theirs}, and this host speaks {ours}");
    Error::new(ErrorKind::AbiMismatch, message).with_detail("expected", ours).with_detail("actual", theirs)
}

fn no_entry(name: &str, opened: &library::Library) -> Error {
    let other = (1..=LATEST_ENTRY).filter(|version| *version != abi::ABI_MAJOR).find(|version| {
        // SAFETY: only the presence of the symbol is of interest; it is not called.
        unsafe { opened.get::<abi::PluginEntry>(&format!("tenon_plugin_entry_v{version}")) }.is_some()
    });
    match other {
        Some(major) => other_contract(name, &format!("{major}.x")),
        None => {
            let message = format!("{name} is no plugin: it exports no {}", abi::PLUGIN_ENTRY_SYMBOL);
            Error::new(ErrorKind::Plugin, message)
        }
    }
}

/// Calls the entry function and copies what it hands out. `name` stands in messages.
///
/// # Safety
/// The entry keeps the plugin contract.
unsafe fn enter(entry: abi::PluginEntry, name: &str) -> Result<abi::Plugin> {
    let mut root = std::ptr::null();
    // SAFETY: `HOST` is static, `root` lives until the function returns.
    let returned = unsafe { entry(&HOST, &mut root) };
    let broken = |does: String| Error::new(ErrorKind::Plugin, format!("plugin \"{name}\" {does}"));
    if returned != status::OK {
        let kind = ErrorKind::from_status(returned).unwrap_or(ErrorKind::Plugin);
        return Err(Error::new(kind, format!("plugin \"{name}\" refuses to start with status {returned}")));
    }
    // SAFETY: the entry hands out NULL or static memory that begins with its own size and version.
    unsafe { copy_root(root) }.map_err(|problem| match problem {
        Bad::Contract(major, minor) => other_contract(name, &format!("{major}.{minor}")),
        Bad::Other(does) => broken(does),
    })
}

enum Bad {
    Contract(u16, u16),
    Other(String),
}

/// Copies a root after its size and version were checked.
///
/// # Safety
/// `root` is NULL or points to static memory that begins with the size of what is there and the contract's version.
unsafe fn copy_root(root: *const abi::Plugin) -> std::result::Result<abi::Plugin, Bad> {
    // SAFETY: promised by the caller.
    let size =
        unsafe { stamped_size(root.cast(), 8) }.map_err(|does| Bad::Other(format!("hands out a root {does}")))?;
    // SAFETY: `stamped_size` saw that there are at least 8 bytes at an aligned place: the size and the version.
    let (major, minor) = unsafe { ((*root).abi_major, (*root).abi_minor) };
    if major != abi::ABI_MAJOR {
        return Err(Bad::Contract(major, minor));
    }
    if size != size_of::<abi::Plugin>() {
        let message = format!("hands out a root of {size} bytes; contract 1 has {}", size_of::<abi::Plugin>());
        return Err(Bad::Other(message));
    }
    // SAFETY: the memory is as large as it must be.
    Ok(unsafe { *root })
}

/// The size that a struct at `start` says it has.
///
/// # Safety
/// `start` is NULL, misaligned, or points to a `u32` that says how many bytes are there.
unsafe fn stamped_size(start: *const c_void, least: usize) -> std::result::Result<usize, String> {
    if start.is_null() {
        return Err("that is NULL".to_owned());
    }
    if !start.addr().is_multiple_of(align_of::<u64>()) {
        return Err("that is not aligned".to_owned());
    }
    // SAFETY: neither NULL nor misaligned, hence a `u32` by the caller's promise.
    let size = unsafe { *start.cast::<u32>() } as usize;
    if size < least { Err(format!("of {size} bytes")) } else { Ok(size) }
}

/// Fetches the backend's functions and copies them.
fn backend(root: &abi::Plugin, id: &str) -> Result<Vtable> {
    let name = abi::BACKEND_INTERFACE;
    let table = interface(root, id, name, size_of::<abi::Backend>())?;
    let table = table.ok_or_else(|| broken(id, &format!("does not provide {name}")))?;
    // SAFETY: not NULL, aligned, and as large as it must be.
    let backend = unsafe { *table.cast::<abi::Backend>() };
    Vtable::of(&backend).map_err(|slot| broken(id, &format!("lacks the function {slot} of {name}")))
}

/// Fetches the function that estimates memory, where the plugin has one.
fn memory(root: &abi::Plugin, id: &str) -> Result<Option<EstimateFunction>> {
    let name = abi::MEMORY_INTERFACE;
    let Some(table) = interface(root, id, name, size_of::<abi::Memory>())? else { return Ok(None) };
    // SAFETY: not NULL, aligned, and as large as it must be.
    let memory = unsafe { *table.cast::<abi::Memory>() };
    memory.estimate.map(Some).ok_or_else(|| broken(id, &format!("lacks the function estimate of {name}")))
}

/// A table of the plugin by the name of its interface, of the size that it must have; `None` where it has none.
fn interface(root: &abi::Plugin, id: &str, name: &str, wanted: usize) -> Result<Option<*const c_void>> {
    let get_interface = root.get_interface.ok_or_else(|| broken(id, "lacks the function get_interface"))?;
    let c_name = CString::new(name).map_err(|_| broken(id, &format!("cannot be asked for {name}")))?;
    // SAFETY: the function comes from a root that was checked and copied; the name is NUL-terminated.
    let table = unsafe { get_interface(c_name.as_ptr()) };
    if table.is_null() {
        return Ok(None);
    }
    // SAFETY: by the contract the interface is static memory that begins with its own size.
    let size = unsafe { stamped_size(table, 4) }.map_err(|does| broken(id, &format!("has a {name} {does}")))?;
    match size == wanted {
        true => Ok(Some(table)),
        false => Err(broken(id, &format!("has a {name} of {size} bytes; it has {wanted}"))),
    }
}

fn broken(id: &str, does: &str) -> Error {
    Error::new(ErrorKind::Plugin, format!("plugin \"{id}\" {does}"))
}

/// A NUL-terminated text of the plugin, made valid and not longer than [`LONGEST_NAME`].
///
/// # Safety
/// `start` is NULL or points to text that ends with NUL.
unsafe fn text(start: *const c_char) -> String {
    if start.is_null() {
        return String::new();
    }
    // SAFETY: each byte is read only after those before it were found not to end the text.
    let bytes: Vec<u8> =
        (0..LONGEST_NAME).map(|at| unsafe { *start.add(at) }.cast_unsigned()).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Collects the documents that `describe` emits.
struct Documents(Arc<Mutex<Vec<String>>>);

impl Sink for Documents {
    fn take(&mut self, output: Output) -> Result<()> {
        match output {
            Output::Document { name, text } if name == "backend" => {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                Ok(())
            }
            _ => Err(Error::new(ErrorKind::Plugin, "a description is one document named \"backend\"")),
        }
    }
}
