//! Loading a plugin: hash first, then open that very file, check the contract, copy the vtable. Never unloads.
//!
//! Everything that can be checked without running the library's code is checked before it is opened: sidecar, CPU,
//! contract version, SHA-256. Constructors run when it is opened, so the hash is what protects; the checks after that
//! are for correctness.

use super::host::{Call, HOST, Sink};
use super::item::Output;
use super::sidecar::{Sidecar, check_id, io_error};
use super::{call, library};
use crate::cancel::StopSigns;
use crate::error::{Error, ErrorKind, Result};
use std::collections::HashMap;
use std::ffi::{CString, c_char, c_void};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tenon_abi as abi;
use tenon_abi::{Status, status};
use tenon_store::{Digest, Store, VerifyMode};
use tenon_tasks::{Description, Schema};

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

/// A library that is to be loaded, and what is known of it before.
struct Wanted<'a> {
    path: &'a Path,
    sha256: Digest,
    /// Without one, who loads it vouches for the digest, and the plugin itself says what it is.
    sidecar: Option<&'a Sidecar>,
}

impl Wanted<'_> {
    /// What it is called in messages.
    fn name(&self) -> String {
        match (self.sidecar, self.path.file_name()) {
            (Some(sidecar), _) => sidecar.id.clone(),
            (None, Some(name)) => name.to_string_lossy().into_owned(),
            (None, None) => self.path.display().to_string(),
        }
    }
}

/// A loaded plugin. There is one for each library in the process, however many engines use it.
pub(crate) struct Plugin {
    id: String,
    version: String,
    abi: (u16, u16),
    /// Where it was loaded from; `None` when it is linked into the program.
    origin: Option<(PathBuf, Digest)>,
    build_info: String,
    vtable: Vtable,
    estimate: Option<EstimateFunction>,
    shutdown: Option<unsafe extern "C" fn()>,
    description: Description,
    schemas: HashMap<String, Schema>,
    load_schema: Schema,
    opening: Mutex<()>,
    uses: Mutex<Uses>,
}

#[derive(Default)]
struct Uses {
    models: usize,
    ended: bool,
}

impl Plugin {
    /// Loads the plugin of a sidecar, or gives the one that this library already is in this process. `store` knows
    /// libraries that were hashed before; those that it does not know are hashed in every mode.
    pub(crate) fn load(sidecar: &Sidecar, store: &Store, mode: VerifyMode) -> Result<Arc<Self>> {
        sidecar.cpu.check(&sidecar.id)?;
        check_contract(sidecar)?;
        let wanted = Wanted { path: &sidecar.library, sha256: sidecar.sha256, sidecar: Some(sidecar) };
        Self::load_wanted(&wanted, store, mode)
    }

    /// Loads a library without a sidecar, whose digest the caller vouches for.
    pub(crate) fn load_bare(path: &Path, sha256: Digest, store: &Store, mode: VerifyMode) -> Result<Arc<Self>> {
        Self::load_wanted(&Wanted { path, sha256, sidecar: None }, store, mode)
    }

    fn load_wanted(wanted: &Wanted<'_>, store: &Store, mode: VerifyMode) -> Result<Arc<Self>> {
        // One loader at a time: constructors and entry functions of plugins run alone.
        let mut registry = registry().lock().unwrap_or_else(PoisonError::into_inner);
        let file = open_verified(wanted, store, mode)?;
        if let Some(known) = registry.plugins.get(&wanted.sha256) {
            let plugin = known.clone()?;
            wanted.sidecar.map_or(Ok(()), |sidecar| same_id(sidecar, plugin.id()))?;
            return Ok(plugin);
        }
        registry.refuse_overwritten(&file, wanted)?;
        let identity = library::identity(&file, wanted.path);
        // A library that cannot be opened may be tried again; one that was opened stays, and so does its verdict.
        let opened = library::open(file, wanted.path)?;
        registry.files.extend(identity.map(|identity| (identity, wanted.sha256)));
        let loaded = call::on_big_stack(|| Self::start(wanted, &opened)).map(Arc::new);
        let loaded = loaded.map_err(|error| error.with_detail("plugin", wanted.name()));
        registry.plugins.insert(wanted.sha256, loaded.clone());
        loaded.inspect(|plugin| plugin.log_loaded())
    }

    /// Whether the library of this digest is loaded, and what came of it.
    pub(crate) fn loaded(digest: &Digest) -> Option<Result<Arc<Self>>> {
        registry().lock().unwrap_or_else(PoisonError::into_inner).plugins.get(digest).cloned()
    }

    /// A plugin that is linked into the program; each entry is called once.
    ///
    /// # Safety
    /// `entry`, and all that it hands out, keeps the plugin contract.
    pub(super) unsafe fn linked(entry: abi::PluginEntry) -> Result<Arc<Self>> {
        let mut registry = registry().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = registry.linked.get(&(entry as usize)) {
            return known.clone();
        }
        let started = call::on_big_stack(|| {
            // SAFETY: promised by the caller.
            let root = unsafe { enter(entry, "linked into this program") }?;
            // SAFETY: the root comes from an entry that keeps the contract.
            unsafe { Self::of_root(&root, None, None) }
        });
        let started = started.map(Arc::new);
        registry.linked.insert(entry as usize, started.clone());
        started.inspect(|plugin| plugin.log_loaded())
    }

    fn start(wanted: &Wanted<'_>, opened: &library::Library) -> Result<Self> {
        let name = wanted.name();
        library::check_witness(opened, &name)?;
        // SAFETY: by the contract the symbol of this name is a function of this type.
        let entry = unsafe { opened.get::<abi::PluginEntry>(abi::PLUGIN_ENTRY_SYMBOL) };
        let entry = entry.ok_or_else(|| no_entry(wanted, opened))?;
        // SAFETY: whoever vouches for the library's digest vouches that its entry keeps the contract.
        let root = unsafe { enter(entry, &name) }?;
        let origin = (wanted.path.to_owned(), wanted.sha256);
        // SAFETY: as above.
        unsafe { Self::of_root(&root, Some(origin), wanted.sidecar) }
    }

    /// # Safety
    /// The root was handed out by an entry that keeps the contract.
    unsafe fn of_root(
        root: &abi::Plugin,
        origin: Option<(PathBuf, Digest)>,
        sidecar: Option<&Sidecar>,
    ) -> Result<Self> {
        // SAFETY: the root's texts are NUL-terminated by the contract.
        let (id, version, build_info) = unsafe { (text(root.id), text(root.version), text(root.build_info)) };
        match sidecar {
            Some(sidecar) => same_plugin(sidecar, &id, &version)?,
            None => check_id(&id).map_err(|problem| {
                Error::new(ErrorKind::Plugin, format!("a plugin without a sidecar has an id that cannot be: {problem}"))
            })?,
        }
        let mut plugin = Self {
            abi: (root.abi_major, root.abi_minor),
            vtable: backend(root, &id)?,
            estimate: memory(root, &id)?,
            id,
            version,
            origin,
            build_info,
            shutdown: root.shutdown,
            description: no_description(),
            schemas: HashMap::new(),
            load_schema: Schema::default(),
            opening: Mutex::default(),
            uses: Mutex::default(),
        };
        plugin.read_description()?;
        Ok(plugin)
    }

    fn read_description(&mut self) -> Result<()> {
        let documents = Arc::new(Mutex::new(Vec::new()));
        let sink = Documents(Arc::clone(&documents));
        call::describe(self, Call::new(StopSigns::default()).with_sink(Box::new(sink)))?;
        let documents = std::mem::take(&mut *documents.lock().unwrap_or_else(PoisonError::into_inner));
        let [text] = documents.as_slice() else {
            return Err(self.broken(format!("describes itself {} times", documents.len())));
        };
        let wrong =
            |plugin: &Self, error: String| plugin.broken(format!("gives a description that cannot be read: {error}"));
        let description: Description = serde_json::from_str(text).map_err(|error| wrong(self, error.to_string()))?;
        for task in &description.tasks {
            let schema = Schema::from_json(&task.schema).map_err(|error| wrong(self, error))?;
            self.schemas.insert(task.task.clone(), schema);
        }
        self.load_schema = Schema::from_json(&description.load_schema).map_err(|error| wrong(self, error))?;
        if description.audio.is_some_and(|audio| !(1_000..=384_000).contains(&audio.rate)) {
            return Err(wrong(self, "its audio rate lies outside of 1000 to 384000".to_owned()));
        }
        self.description = description;
        Ok(())
    }

    fn broken(&self, does: String) -> Error {
        Error::new(ErrorKind::Plugin, format!("backend \"{}\" {does}", self.id()))
    }

    fn log_loaded(&self) {
        let (id, version) = (self.id(), self.version());
        tracing::info!(id, version, path = %self.library().display(), build = self.build_info, "plugin loaded");
        for device in &self.description.devices {
            let tenon_tasks::Device { name, description, memory_total, memory_free } = device;
            tracing::info!(plugin = id, name, description, memory_total, memory_free, "device");
        }
    }

    pub(super) fn vtable(&self) -> &Vtable {
        &self.vtable
    }

    /// The function that estimates memory, where the plugin has one.
    pub(super) fn estimate(&self) -> Option<EstimateFunction> {
        self.estimate
    }

    pub(super) fn opening(&self) -> &Mutex<()> {
        &self.opening
    }

    /// Counts an open model; refused once the plugin was ended.
    pub(super) fn begin_use(&self) -> Result<()> {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.ended {
            return Err(Error::new(ErrorKind::Shutdown, format!("plugin \"{}\" was shut down", self.id())));
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

    /// The library; empty for a plugin that is linked into the program.
    pub(crate) fn library(&self) -> &Path {
        self.origin.as_ref().map_or(Path::new(""), |(path, _)| path)
    }

    /// SHA-256 of the library, where there is one.
    pub(crate) fn digest(&self) -> Option<Digest> {
        self.origin.as_ref().map(|(_, digest)| *digest)
    }

    pub(crate) fn build_info(&self) -> &str {
        &self.build_info
    }

    pub(crate) fn caps(&self) -> u32 {
        self.vtable.caps
    }

    pub(crate) fn description(&self) -> &Description {
        &self.description
    }

    pub(crate) fn schema(&self, task: &str) -> Option<&Schema> {
        self.schemas.get(task)
    }

    pub(crate) fn load_schema(&self) -> &Schema {
        &self.load_schema
    }

    fn end(&self) -> Result<()> {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.models > 0 {
            let message = format!("plugin \"{}\" has {} open models: drop them first", self.id(), uses.models);
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

/// Lets every plugin of the process join its threads, for a program that is about to end. No model can be opened
/// afterwards.
///
/// # Errors
/// `Busy` when a model of some plugin is still open; the plugins before it were ended.
pub fn shutdown_plugins() -> Result<()> {
    let registry = registry().lock().unwrap_or_else(PoisonError::into_inner);
    let plugins: Vec<_> = registry.plugins.values().chain(registry.linked.values()).cloned().collect();
    drop(registry);
    plugins.iter().flatten().try_for_each(|plugin| plugin.end())
}

/// Every library that was opened in this process, for ever.
#[derive(Default)]
struct Registry {
    /// By digest, with what came of it.
    plugins: HashMap<Digest, Result<Arc<Plugin>>>,
    /// Plugins of the program itself, by the address of their entry.
    linked: HashMap<usize, Result<Arc<Plugin>>>,
    /// What was in a file when it was opened.
    files: HashMap<library::Identity, Digest>,
}

impl Registry {
    /// The system's loader knows a file by its identity and would hand out the old library for new bytes.
    fn refuse_overwritten(&self, file: &File, wanted: &Wanted<'_>) -> Result<()> {
        let identity = library::identity(file, wanted.path);
        if identity.is_none_or(|identity| !self.files.contains_key(&identity)) {
            return Ok(());
        }
        let message = format!(
            "{} was written over after this process had loaded it: put plugins in place by renaming, and start anew",
            wanted.path.display()
        );
        Err(Error::new(ErrorKind::Plugin, message).with_detail("plugin", wanted.name()))
    }
}

/// The one registry.
fn registry() -> &'static Mutex<Registry> {
    static REGISTRY: OnceLock<Mutex<Registry>> = OnceLock::new();
    REGISTRY.get_or_init(Mutex::default)
}

/// Refuses a plugin that says it was built for another contract.
pub(crate) fn check_contract(sidecar: &Sidecar) -> Result<()> {
    let (major, minor) = sidecar.abi;
    match major == abi::ABI_MAJOR {
        true => Ok(()),
        false => Err(other_contract(&sidecar.id, &format!("{major}.{minor}"))),
    }
}

fn other_contract(id: &str, theirs: &str) -> Error {
    let ours = format!("{}.{}", abi::ABI_MAJOR, abi::ABI_MINOR);
    let message = format!("plugin \"{id}\" was built for plugin contract {theirs}, and this host speaks {ours}");
    Error::new(ErrorKind::AbiMismatch, message).with_detail("expected", ours).with_detail("actual", theirs)
}

/// The error for a sidecar without its library.
pub(crate) fn no_library(sidecar: &Sidecar) -> Error {
    let message = format!("{} is missing, which {} names", sidecar.library.display(), sidecar.path.display());
    Error::new(ErrorKind::NotFound, message).with_detail("plugin", &sidecar.id)
}

/// Opens the library and sees to it that what was opened has the wanted digest.
fn open_verified(wanted: &Wanted<'_>, store: &Store, mode: VerifyMode) -> Result<File> {
    let path = wanted.path;
    let file = library::open_file(path).map_err(|error| match (error.kind(), wanted.sidecar) {
        (std::io::ErrorKind::NotFound, Some(sidecar)) => no_library(sidecar),
        _ => io_error("open", path, error),
    })?;
    let digest = store.digest_of(&file, path, wanted.sha256, mode)?;
    if digest == wanted.sha256 {
        return Ok(file);
    }
    let (whose, help) = match wanted.sidecar {
        Some(_) => ("of its sidecar", "get the plugin again, or seal it if you built it"),
        None => ("that was given", "get the plugin again, or give its own"),
    };
    let message = format!("{} has the SHA-256 {digest}, not the {} {whose}: {help}", path.display(), wanted.sha256);
    Err(other_digest(message, path, &wanted.sha256, &digest).with_detail("plugin", wanted.name()))
}

/// The error for a library that is not the one that was meant.
pub(crate) fn other_digest(message: String, path: &Path, expected: &Digest, actual: &Digest) -> Error {
    Error::new(ErrorKind::HashMismatch, message)
        .with_detail("file", path.display().to_string())
        .with_detail("expected", expected.to_string())
        .with_detail("actual", actual.to_string())
}

/// Whether a plugin is the one that its sidecar tells of.
fn same_plugin(sidecar: &Sidecar, id: &str, version: &str) -> Result<()> {
    same_id(sidecar, id)?;
    if version == sidecar.version {
        return Ok(());
    }
    let message = format!(
        "plugin \"{id}\" says that it is version {version}, and its sidecar {} says {}: seal it again",
        sidecar.path.display(),
        sidecar.version
    );
    Err(Error::new(ErrorKind::Plugin, message))
}

fn same_id(sidecar: &Sidecar, id: &str) -> Result<()> {
    if id == sidecar.id {
        return Ok(());
    }
    let message = format!("{} says that the plugin is \"{}\", and it is \"{id}\"", sidecar.path.display(), sidecar.id);
    Err(Error::new(ErrorKind::Plugin, message))
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

fn no_entry(wanted: &Wanted<'_>, opened: &library::Library) -> Error {
    let other = (1..=LATEST_ENTRY).filter(|version| *version != abi::ABI_MAJOR).find(|version| {
        // SAFETY: only the presence of the symbol is of interest; it is not called.
        unsafe { opened.get::<abi::PluginEntry>(&format!("tenon_plugin_entry_v{version}")) }.is_some()
    });
    match other {
        Some(major) => other_contract(&wanted.name(), &format!("{major}.x")),
        None => {
            let message = format!("{} is no plugin: it exports no {}", wanted.path.display(), abi::PLUGIN_ENTRY_SYMBOL);
            Error::new(ErrorKind::Plugin, message)
        }
    }
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

fn no_description() -> Description {
    Description {
        summary: String::new(),
        engine: String::new(),
        tasks: Vec::new(),
        load_schema: serde_json::Value::Null,
        files: Vec::new(),
        audio: None,
        devices: Vec::new(),
    }
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

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("id", &self.id).field("version", &self.version).finish()
    }
}

/// Where a plugin may be looked for; never the current directory by a bare name.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| io_error("find", path, error))
}
