//! Engines.

use crate::boundary::{self, Sized_, free, optional, out, path, run, text};
use crate::callback::{self, Data};
use crate::error::tenon_error;
use crate::handle::{self, Kind, Object};
use crate::log::{sink, tenon_log_fn};
use crate::table::{Rows, tenon_table};
use host::{
    Engine, EngineBuilder, Error, ErrorKind, Isolation, Load, Locations, LockFile, MemoryCheck, ModelEntry,
    PluginEntry, Result, State, VerifyMode, WorkerSettings,
};
use std::ffi::{c_char, c_void};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tenon_abi::Status;

/// An engine: manifests, plugins and the store. Several live side by side; they share the loaded plugins and the
/// threads that the process may use. May be used by several threads at once.
pub struct tenon_engine {
    _opaque: [u8; 0],
}

/// Flag of `tenon_engine_options`: look only where the options say, not in the standard places.
pub const TENON_ENGINE_ONLY_NAMED_PLACES: u32 = 1;
/// Flag of `tenon_engine_options`: load models that do not fit into memory, too. Without it they are refused with
/// `TENON_E_OUT_OF_MEMORY` and the numbers: see `tenon_engine_estimate`.
pub const TENON_ENGINE_IGNORE_MEMORY: u32 = 2;
/// Flag of `tenon_engine_options`: run every model in a worker, a process of its own, also where its manifest does not
/// ask for that. When a worker dies its requests end with `TENON_E_WORKER_DIED`, and the next one starts another. A
/// backend that is linked into the program cannot be run in one: loading its models is `TENON_E_UNSUPPORTED`.
pub const TENON_ENGINE_WORKERS: u32 = 4;

/// Model files are hashed when the ledger of verified files does not know them as they are. The default.
pub const TENON_VERIFY_CACHED: i32 = 0;
/// Model files are hashed at every load.
pub const TENON_VERIFY_ALWAYS: i32 = 1;
/// Model files are never hashed; their sizes are still checked. For those who verified them in another way.
pub const TENON_VERIFY_NEVER: i32 = 2;

/// How an engine works. Fill it by `tenon_engine_options_init`, then set what shall differ. Everything is copied.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct tenon_engine_options {
    /// `sizeof(tenon_engine_options)`.
    pub struct_size: u32,
    /// `TENON_ENGINE_*` flags.
    pub flags: u32,
    /// When model files are hashed: `TENON_VERIFY_*`.
    pub verify: i32,
    /// Most threads that one request is granted; 0 for all that the process may use.
    pub threads: u32,
    /// How long a backend may take to end after cancel or deadline before its thread is left behind, in microseconds;
    /// 0 for 30 seconds.
    pub patience_us: i64,
    /// Folders of manifests, ended by NULL; or NULL. They come before the standard places.
    pub manifest_dirs: *const *const c_char,
    /// Folders of plugins, ended by NULL; or NULL. They come before the standard places.
    pub plugin_dirs: *const *const c_char,
    /// Folders of model files, ended by NULL; or NULL. They come before the standard places.
    pub model_dirs: *const *const c_char,
    /// Folder of the store; NULL for the user's.
    pub store_dir: *const c_char,
    /// Folder of the ledger that remembers which files were verified; NULL for the user's.
    pub state_dir: *const c_char,
    /// Hears what this engine logs; NULL for nobody. A plugin's own threads, which belong to no engine, are heard by
    /// all engines.
    pub log: tenon_log_fn,
    /// Handed to `log`. Must stay good as long as `log` can be called: until `tenon_engine_shutdown` has returned
    /// `TENON_OK` and the last object of the engine is freed. A plugin's own thread may be in a call a moment longer.
    pub log_data: *mut c_void,
    /// What is logged at most: `TENON_LOG_*`.
    pub log_level: i32,
    /// 0.
    pub reserved: i32,
    /// A lock file, as `tenon lock` writes it; NULL for none. Every model and plugin that it does not pin is refused with
    /// `TENON_E_HASH_MISMATCH` before anything of it runs.
    pub lock_file: *const c_char,
    /// The program `tenon-worker`, which models with `isolation = "worker"` run in; NULL to take the one that the
    /// environment variable `TENON_WORKER` names, or else to look around this library and the running program.
    pub worker_program: *const c_char,
    /// How long a worker may take to end a request after cancel or deadline before it is killed with all that runs in it,
    /// in microseconds; 0 for 5 seconds.
    pub worker_grace_us: i64,
}

// SAFETY: repr(C), begins with a u32, and zeroes are valid in every field.
unsafe impl Sized_ for tenon_engine_options {
    const NAME: &str = "tenon_engine_options";
}

/// The first phase of a load: files are being hashed.
pub const TENON_PHASE_VERIFY: i32 = 1;
/// The second phase of a load: the backend reads the model.
pub const TENON_PHASE_LOAD: i32 = 2;
/// The phase of a pull in which files come over the network.
pub const TENON_PHASE_PULL: i32 = 3;

/// Hears how far a load, a verification or a pull is: the phase (`TENON_PHASE_*`) and the fraction of it, 0 to 1. Returns 0 to
/// go on; anything else cancels. Called on the calling thread or on one of the engine, while the caller waits.
pub type tenon_progress_fn = Option<unsafe extern "C-unwind" fn(data: *mut c_void, phase: i32, fraction: f32) -> i32>;

/// The entry of a plugin, as `tenon_plugin.h` declares it; here without its types.
pub type tenon_entry_fn = Option<unsafe extern "C" fn(host: *const c_void, plugin: *mut *const c_void) -> Status>;

/// An engine in C's hands.
pub(crate) struct Owner(pub Engine, Isolation);

impl Owner {
    /// A load as isolated as the engine's options say.
    pub(crate) fn new_load(&self) -> Load {
        if self.1 == Isolation::Worker { Load::new().isolation(self.1) } else { Load::new() }
    }
}

impl Object for Owner {
    const KIND: Kind = Kind::Engine;
    type Handle = tenon_engine;
}

/// A progress function with its pointer.
#[derive(Clone, Copy)]
pub(crate) struct Progress {
    function: unsafe extern "C-unwind" fn(*mut c_void, i32, f32) -> i32,
    data: Data,
}

impl Progress {
    pub(crate) fn new(function: tenon_progress_fn, data: *mut c_void) -> Option<Self> {
        function.map(|function| Self { function, data: Data(data) })
    }

    /// Whether to go on.
    pub(crate) fn tell(&self, phase: i32, fraction: f32) -> bool {
        // SAFETY: the caller gave the function for this, and waits while it is called.
        callback::inside(|| unsafe { (self.function)(self.data.pointer(), phase, fraction) }) == 0
    }
}

pub(crate) fn fraction(done: u64, total: u64) -> f32 {
    if total == 0 { 1.0 } else { (done as f64 / total as f64) as f32 }
}

/// Makes an engine: reads the manifests and the plugins' sidecars and loads nothing. `options` may be NULL. A manifest
/// or plugin that cannot be used is no error here: `tenon_engine_models` and `tenon_engine_plugins` tell of it.
/// Free it with `tenon_engine_free`.
///
/// The standard places are, in this order: those named by the environment (`TENON_MANIFESTS`, `TENON_PLUGIN_PATH`,
/// `TENON_MODELS`); the installation around the running program, and around this library; the user's; the system's.
/// The environment is read here and nowhere else, so change it on no other thread meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_engine_new(
    options: *const tenon_engine_options,
    engine: *mut *mut tenon_engine,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        let place = out(engine, std::ptr::null_mut(), "engine");
        run(error, || {
            let place = place?;
            let standard = || (Engine::builder().places(standard()), Isolation::Process);
            let (builder, isolation) = if options.is_null() { standard() } else { builder(options)? };
            *place = handle::put(Owner(builder.build()?, isolation))?;
            Ok(())
        })
    }
}

/// # Safety
/// As the header says of `tenon_engine_new`.
unsafe fn builder(options: *const tenon_engine_options) -> Result<(EngineBuilder, Isolation)> {
    // SAFETY: as the caller of this function says, for this and for every pointer in the struct.
    unsafe {
        let options = boundary::read(options)?;
        let mut builder = Engine::builder().verify(verify_mode(options.verify)?);
        let known = TENON_ENGINE_ONLY_NAMED_PLACES | TENON_ENGINE_IGNORE_MEMORY | TENON_ENGINE_WORKERS;
        let unknown = options.flags & !known;
        boundary::nothing_unknown::<tenon_engine_options>(unknown, options.reserved)?;
        for folder in folders(options.manifest_dirs, "manifest_dirs")? {
            builder = builder.manifest_dir(folder);
        }
        for folder in folders(options.plugin_dirs, "plugin_dirs")? {
            builder = builder.plugin_dir(folder);
        }
        for folder in folders(options.model_dirs, "model_dirs")? {
            builder = builder.models_dir(folder);
        }
        if let Some(folder) = path(options.store_dir, "store_dir")? {
            builder = builder.store_dir(folder);
        }
        if let Some(folder) = path(options.state_dir, "state_dir")? {
            builder = builder.state_dir(folder);
        }
        if options.flags & TENON_ENGINE_IGNORE_MEMORY != 0 {
            builder = builder.memory(MemoryCheck::Ignore);
        }
        if let Some(file) = path(options.lock_file, "lock_file")? {
            builder = builder.locked(LockFile::read(&file)?);
        }
        if options.threads != 0 {
            builder = builder.threads(options.threads as usize);
        }
        match options.patience_us {
            0 => {}
            patience => {
                let patience = boundary::duration(patience)
                    .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "patience_us is negative"))?;
                builder = builder.patience(patience);
            }
        }
        builder = builder.worker(workers(&options)?);
        if let Some(dispatch) = sink(options.log, options.log_data, options.log_level) {
            builder = builder.log(dispatch);
        }
        let has = |flag| options.flags & flag != 0;
        let isolation = if has(TENON_ENGINE_WORKERS) { Isolation::Worker } else { Isolation::Process };
        Ok((if has(TENON_ENGINE_ONLY_NAMED_PLACES) { builder } else { builder.places(standard()) }, isolation))
    }
}

/// # Safety
/// `worker_program` is NULL or a NUL-terminated text.
unsafe fn workers(options: &tenon_engine_options) -> Result<WorkerSettings> {
    let mut settings = WorkerSettings::new();
    // SAFETY: as the caller says.
    if let Some(program) = unsafe { path(options.worker_program, "worker_program") }? {
        settings = settings.program(program);
    }
    match options.worker_grace_us {
        0 => Ok(settings),
        grace => boundary::duration(grace)
            .map(|grace| settings.grace(grace))
            .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "worker_grace_us is negative")),
    }
}

pub(crate) fn verify_mode(number: i32) -> Result<VerifyMode> {
    match number {
        TENON_VERIFY_CACHED => Ok(VerifyMode::Cached),
        TENON_VERIFY_ALWAYS => Ok(VerifyMode::Always),
        TENON_VERIFY_NEVER => Ok(VerifyMode::Never),
        _ => {
            Err(Error::new(ErrorKind::InvalidArgument, format!("verify is {number}, which is no TENON_VERIFY_ number")))
        }
    }
}

/// # Safety
/// `list` is NULL or points to pointers of which each is a NUL-terminated text and the last is NULL.
unsafe fn folders(list: *const *const c_char, name: &str) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    if list.is_null() {
        return Ok(folders);
    }
    if !list.is_aligned() {
        return Err(Error::new(ErrorKind::InvalidArgument, format!("{name} is not aligned as pointers are")));
    }
    // SAFETY: aligned, and the list goes on until its NULL.
    while let Some(folder) = unsafe { path(*list.add(folders.len()), name) }? {
        folders.push(folder);
    }
    Ok(folders)
}

fn standard() -> Locations {
    let environment = host::Environment { library: own_library(), ..host::Environment::of_this_process() };
    Locations::standard(&environment)
}

/// The file that this code was loaded from: the library, or the program where it is linked in.
#[cfg(unix)]
fn own_library() -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let mut info = libc::Dl_info {
        dli_fname: std::ptr::null(),
        dli_fbase: std::ptr::null_mut(),
        dli_sname: std::ptr::null(),
        dli_saddr: std::ptr::null_mut(),
    };
    let here: extern "C" fn() -> u32 = crate::version::tenon_version;
    // SAFETY: an address of this library and a place for the answer.
    let known = unsafe { libc::dladdr(here as *const c_void, &raw mut info) } != 0 && !info.dli_fname.is_null();
    // SAFETY: the linker's own text, which stays as long as the library.
    let name = known.then(|| unsafe { std::ffi::CStr::from_ptr(info.dli_fname) })?;
    std::fs::canonicalize(std::ffi::OsStr::from_bytes(name.to_bytes())).ok()
}

/// Windows tells it by functions that nobody has tried here yet: name the places in the options.
#[cfg(not(unix))]
fn own_library() -> Option<PathBuf> {
    None
}

/// Adds the manifest of a file, before those of folders.
/// `TENON_E_MANIFEST` with everything that is wrong with it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_engine_add_manifest(
    engine: *mut tenon_engine,
    path: *const c_char,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        run(error, || {
            let path = text(path, "path")?;
            handle::get::<Owner>(engine)?.0.add_manifest_file(path).map(drop)
        })
    }
}

/// Adds a manifest that lies in memory. `origin` is what errors call it; NULL for "(text)".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_engine_add_manifest_text(
    engine: *mut tenon_engine,
    manifest: *const c_char,
    origin: *const c_char,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        run(error, || {
            let (manifest, origin) = (text(manifest, "manifest")?, optional(origin, "origin")?.unwrap_or("(text)"));
            handle::get::<Owner>(engine)?.0.add_manifest_text(manifest, origin).map(drop)
        })
    }
}

/// Loads a plugin by the path of its library or sidecar, wherever it lies, and puts it before those that were found.
/// `sha256` (64 hexadecimal digits, or NULL) must be that of the library and of the sidecar; without a sidecar it is
/// needed. The library is hashed before anything in it runs. A plugin stays loaded until the process ends.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_engine_load_plugin(
    engine: *mut tenon_engine,
    path: *const c_char,
    sha256: *const c_char,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        run(error, || {
            let (path, sha256) = (text(path, "path")?, optional(sha256, "sha256")?);
            let digest = sha256
                .map(|digits| digits.to_ascii_lowercase().parse())
                .transpose()
                .map_err(|problem| Error::new(ErrorKind::InvalidArgument, format!("sha256 is no digest: {problem}")))?;
            handle::get::<Owner>(engine)?.0.add_plugin_file(path, digest).map(drop)
        })
    }
}

/// Adds a backend that is linked into the program, by its `tenon_plugin_entry_v1`. For programs that cannot load
/// libraries, and for tests. It is trusted as the program itself is: nothing is hashed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_engine_register_plugin(
    engine: *mut tenon_engine,
    entry: tenon_entry_fn,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        run(error, || {
            let entry = entry.ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "entry is NULL"))?;
            // SAFETY: the two types differ only in what their pointers are called to point to.
            let entry = std::mem::transmute::<
                unsafe extern "C" fn(*const c_void, *mut *const c_void) -> Status,
                tenon_abi::PluginEntry,
            >(entry);
            handle::get::<Owner>(engine)?.0.register_plugin(entry).map(drop)
        })
    }
}

/// Lists the models of all manifests, by name. Columns: `name`, `task`, `backend`, `state` (present, missing or
/// corrupt), `size` (bytes), `license`, `manifest` (path), `problem` (what is wrong with the manifest), `restricted` (yes
/// where a pull needs `TENON_PULL_ACCEPT_LICENSE`). Reads no model file. Free the table with `tenon_table_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_engine_models(
    engine: *const tenon_engine,
    models: *mut *mut tenon_table,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        let place = out(models, std::ptr::null_mut(), "models");
        run(error, || {
            let place = place?;
            let columns = ["name", "task", "backend", "state", "size", "license", "manifest", "problem", "restricted"];
            let rows = handle::get::<Owner>(engine)?.0.models().into_iter().map(model_row);
            *place = Rows::new(columns, rows).give_out()?;
            Ok(())
        })
    }
}

fn model_row(model: ModelEntry) -> [String; 9] {
    let state = match model.state {
        State::Present => "present",
        State::Missing => "missing",
        State::Corrupt => "corrupt",
    };
    let problem = model.problem.map(|problem| problem.to_string()).unwrap_or_default();
    let (state, manifest) = (state.to_owned(), model.manifest.display().to_string());
    let (size, restricted) = (model.size.to_string(), if model.restricted { "yes" } else { "" }.to_owned());
    [model.name, model.task, model.backend, state, size, model.license, manifest, problem, restricted]
}

/// Lists the plugins that were found, in search order: of two with one id the first is taken. Columns: `id`,
/// `version`, `abi`, `path`, `sha256`, `tasks` (separated by spaces), `cpu`, `license`, `description`, `loaded` (yes or
/// no), `problem` (why it cannot be used). Loads nothing. Free the table with `tenon_table_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_engine_plugins(
    engine: *const tenon_engine,
    plugins: *mut *mut tenon_table,
    error: *mut *mut tenon_error,
) -> Status {
    const COLUMNS: [&str; 11] =
        ["id", "version", "abi", "path", "sha256", "tasks", "cpu", "license", "description", "loaded", "problem"];
    // SAFETY: the header says what these pointers are.
    unsafe {
        let place = out(plugins, std::ptr::null_mut(), "plugins");
        run(error, || {
            let place = place?;
            let rows = handle::get::<Owner>(engine)?.0.plugins().into_iter().map(plugin_row);
            *place = Rows::new(COLUMNS, rows).give_out()?;
            Ok(())
        })
    }
}

fn plugin_row(plugin: PluginEntry) -> [String; 11] {
    let path = |path: &Path| path.display().to_string();
    let file = if plugin.path.as_os_str().is_empty() { path(&plugin.sidecar) } else { path(&plugin.path) };
    [
        plugin.id,
        plugin.version,
        plugin.abi,
        file,
        plugin.sha256.map(|digest| digest.to_string()).unwrap_or_default(),
        plugin.tasks.join(" "),
        plugin.cpu,
        plugin.license,
        plugin.description,
        if plugin.loaded { "yes" } else { "no" }.to_owned(),
        plugin.problem.map(|problem| problem.to_string()).unwrap_or_default(),
    ]
}

/// Compares the files of a model with its manifest, and loads nothing. `verify` says how: `TENON_VERIFY_ALWAYS` hashes
/// them whether or not the ledger knows them. `progress` may be NULL. `TENON_E_HASH_MISMATCH`, `TENON_E_NOT_FOUND` and
/// so on for the first file that is not what its manifest says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_model_verify(
    engine: *const tenon_engine,
    name: *const c_char,
    verify: i32,
    progress: tenon_progress_fn,
    data: *mut c_void,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        run(error, || {
            let (name, mode) = (text(name, "name")?, verify_mode(verify)?);
            let engine = Arc::clone(&handle::get::<Owner>(engine)?);
            let progress = Progress::new(progress, data);
            let report = engine.0.verify(name, mode, &mut |done, total| {
                let go_on = progress.is_none_or(|progress| progress.tell(TENON_PHASE_VERIFY, fraction(done, total)));
                if go_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            report.error().map_or(Ok(()), |problem| Err(problem.clone()))
        })
    }
}

/// Asks every request of the engine to end with `TENON_E_SHUTDOWN`, refuses new ones, and waits until all of its
/// threads have ended, but at most `timeout_us` microseconds (negative: as long as it takes). `TENON_E_TIMEOUT` when
/// some still run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_engine_shutdown(
    engine: *mut tenon_engine,
    timeout_us: i64,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        run(error, || {
            let timeout = boundary::duration(timeout_us).unwrap_or(std::time::Duration::MAX);
            handle::get::<Owner>(engine)?.0.shutdown_within(timeout)
        })
    }
}

/// Frees an engine. NULL does nothing. Models, sessions and streams of it go on until they are freed themselves; with
/// the last of them the last thread of the engine ends.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_engine_free(engine: *mut tenon_engine) {
    free::<Owner>(engine, |_| {});
}
