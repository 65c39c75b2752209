//! The engine: what models and plugins there are, and the way from a name to a loaded model.

use crate::answer::Provenance;
use crate::cancel::{CancelToken, StopSigns};
use crate::crew::Crew;
use crate::error::{Error, ErrorKind, Result};
use crate::log::Log;
use crate::memory::{Estimate, MemoryCheck, Promised};
use crate::model::{Load, LoadProgress, Model, ModelInner, gate_for, patience_for};
use crate::offline::with_plugins_of;
use crate::plugin::call::on_big_stack;
use crate::plugin::face::Prepared;
use crate::plugin::host::Call;
use crate::plugin::load::Runner;
use crate::plugin::sidecar::all_in;
use crate::plugin::worker::{self, Spec, WorkerSettings, Workers};
use crate::plugin::{Plugin, Sidecar, load};
use crate::run::{asked_threads, check_threads};
use crate::threads::{Machine, budget};
use crate::{answer::FileProvenance, plugin::cpu};
use std::fmt;
use std::fs::File;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};
use tenon_store::{
    Catalog, Config, Diagnostic, Digest, Entry, Environment, How, Isolation, Locations, LockFile, Manifest, State,
    Store, Trust, VerifiedFile, VerifyMode,
};
use tenon_tasks::{Description, Options, Schema};

/// Owner of manifests, store and plugins. Clones share it. Several engines live side by side in one process; they
/// share the loaded plugins and the thread budget.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    locations: Locations,
    /// Replaced as a whole when a manifest is added: who reads goes on with what was there.
    catalog: RwLock<Arc<Catalog>>,
    /// Manifests that lie in no folder of this engine, in the order in which they were added. Locked before `catalog`.
    added: Mutex<Vec<Entry>>,
    /// Which manifests must be signed.
    trust: Trust,
    /// What may be loaded, and nothing else.
    locked: Option<LockFile>,
    store: Store,
    /// In search order; replaced as a whole when a plugin is added.
    plugins: RwLock<Arc<Vec<Found>>>,
    verify: VerifyMode,
    threads: usize,
    /// What the builder was told of it: who asks for more is refused.
    most_threads: Option<usize>,
    patience: Duration,
    memory_check: MemoryCheck,
    pretended_memory: Option<u64>,
    promised: Promised,
    shutdown: CancelToken,
    crew: Arc<Crew>,
    log: Log,
    workers: Arc<Workers>,
}

/// How long a backend may take to end after it was asked to, unless the engine is told otherwise: longer than a step
/// of a large model on a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A plugin that was found or added.
#[derive(Clone)]
pub(crate) enum Found {
    /// The sidecar at this path.
    Sidecar(PathBuf, Result<Arc<Sidecar>>),
    /// One that has none: a library whose digest somebody gave, or a backend that is linked into the program.
    Loaded(Arc<Plugin>),
}

impl Found {
    /// Whether the same plugin was found twice.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sidecar(path, _), Self::Sidecar(other, _)) => path == other,
            (Self::Loaded(plugin), Self::Loaded(other)) => Arc::ptr_eq(plugin, other),
            _ => false,
        }
    }

    /// Id and version; `None` for a broken sidecar.
    fn name(&self) -> Option<(&str, &str)> {
        match self {
            Self::Sidecar(_, sidecar) => sidecar.as_ref().ok().map(|sidecar| (&*sidecar.id, &*sidecar.version)),
            Self::Loaded(plugin) => Some((plugin.id(), plugin.version())),
        }
    }

    /// Whether it is `id` or `id@version`.
    fn answers_to(&self, wanted: &str) -> bool {
        self.name().is_some_and(|(id, version)| match wanted.split_once('@') {
            Some(exact) => exact == (id, version),
            None => wanted == id,
        })
    }
}

/// Says where an engine finds things and how it works.
#[derive(Clone, Debug, Default)]
pub struct EngineBuilder {
    locations: Locations,
    manifest_files: Vec<PathBuf>,
    plugin_files: Vec<PathBuf>,
    verify: VerifyMode,
    threads: Option<usize>,
    patience: Option<Duration>,
    memory_check: MemoryCheck,
    pretended_memory: Option<u64>,
    log: Option<tracing::Dispatch>,
    worker: WorkerSettings,
    trust: Option<Trust>,
    locked: Option<LockFile>,
}

impl EngineBuilder {
    /// Adds a folder of manifests. Folders named earlier win.
    #[must_use]
    pub fn manifest_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.locations.manifests.push(path.into());
        self
    }

    /// Adds one manifest, wherever it lies; it comes before those of folders.
    #[must_use]
    pub fn manifest_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.manifest_files.push(path.into());
        self
    }

    /// Adds a folder of plugins. Folders named earlier win.
    #[must_use]
    pub fn plugin_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.locations.plugins.push(path.into());
        self
    }

    /// Adds one plugin by the path of its library or of its sidecar; it comes before those of folders.
    #[must_use]
    pub fn plugin_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.plugin_files.push(path.into());
        self
    }

    /// Adds a folder of model files.
    #[must_use]
    pub fn models_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.locations.models.push(path.into());
        self
    }

    /// The store's folder.
    #[must_use]
    pub fn store_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.locations.store = path.into();
        self
    }

    /// The folder of the ledger that remembers which files were hashed.
    #[must_use]
    pub fn state_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.locations.state = path.into();
        self
    }

    /// When files are hashed; by default when the ledger does not know them.
    #[must_use]
    pub fn verify(mut self, mode: VerifyMode) -> Self {
        self.verify = mode;
        self
    }

    /// Most threads that one request of this engine is granted; by default the whole budget of the process. A request or
    /// a load that asks for more is refused.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// How long a backend may take to end after it was asked to, by cancel or deadline, before its thread is left
    /// behind; 30 seconds by default.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Whether models that do not fit into memory are refused; by default they are.
    #[must_use]
    pub fn memory(mut self, check: MemoryCheck) -> Self {
        self.memory_check = check;
        self
    }

    /// Pretends that so many bytes of memory are available, whatever the machine has: for trying out what happens on a
    /// small one.
    #[must_use]
    pub fn pretend_memory(mut self, available: u64) -> Self {
        self.pretended_memory = Some(available);
        self
    }

    /// Sends everything that this engine logs to this dispatch, on whatever thread it happens, and what its plugins
    /// log while it calls them. What a plugin logs on a thread of its own, or when no engine calls it, goes to every
    /// engine that has a dispatch, unless the program has a global one. Without this an engine logs to the dispatch of
    /// the thread that it runs on.
    ///
    /// The dispatch is also the one of the thread while callbacks run that the caller gave: progress and wakeups.
    #[must_use]
    pub fn log(mut self, dispatch: tracing::Dispatch) -> Self {
        self.log = Some(dispatch);
        self
    }

    /// How the workers of this engine are found, watched and ended.
    #[must_use]
    pub fn worker(mut self, settings: WorkerSettings) -> Self {
        self.worker = settings;
        self
    }

    /// Whose signatures of manifests are trusted, and which manifests need one; by default what the configuration of
    /// the standard places says, and nothing without them. A manifest in memory is the program's own word and needs
    /// none.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// Loads only what this lock file pins, and refuses every other model and plugin before anything of it runs. A
    /// backend that is linked into the program is part of the program.
    #[must_use]
    pub fn locked(mut self, lock: LockFile) -> Self {
        self.locked = Some(lock);
        self
    }

    /// Adds the standard places after those that were named: the checkout or installation that the program belongs
    /// to, the environment's, the user's, the system's.
    #[must_use]
    pub fn standard_places(self) -> Self {
        self.places(Locations::standard(&Environment::of_this_process()))
    }

    /// Adds these places after those that were named.
    #[must_use]
    pub fn places(mut self, places: Locations) -> Self {
        let named = std::mem::take(&mut self.locations);
        let with = |first: Vec<PathBuf>, then: Vec<PathBuf>| first.into_iter().chain(then).collect();
        let or = |first: PathBuf, then: PathBuf| if first.as_os_str().is_empty() { then } else { first };
        self.locations = Locations {
            manifests: with(named.manifests, places.manifests.clone()),
            plugins: with(named.plugins, places.plugins.clone()),
            models: with(named.models, places.models.clone()),
            store: or(named.store, places.store.clone()),
            state: or(named.state, places.state.clone()),
            ..places
        };
        self
    }

    /// Reads the manifests and sidecars. Loads nothing; a broken manifest or sidecar is an entry with its problem.
    ///
    /// # Errors
    /// `InvalidArgument` when no thread may be used, or never to verify what a lock file pins; `Manifest` when the
    /// configuration is wrong.
    pub fn build(mut self) -> Result<Engine> {
        let budget = budget().total();
        let threads = self.threads.unwrap_or(budget).min(budget);
        if threads == 0 {
            return Err(Error::new(ErrorKind::InvalidArgument, "an engine needs at least one thread"));
        }
        let trust = trust_of(self.trust, &self.locations)?;
        self.locations.plugins = with_plugins_of(&self.locations.store, self.locations.plugins);
        let read = |path: &PathBuf| Entry::read_with(path, &trust);
        let added: Vec<Entry> = self.manifest_files.iter().rev().map(read).collect();
        let catalog = read_catalog(&self.locations, &trust, &added);
        let store = Store::at(&self.locations).with_threads(threads);
        let plugins = find_plugins(&self.plugin_files, &self.locations.plugins);
        let patience = self.patience.unwrap_or(PATIENCE);
        let (shutdown, crew, log) = (CancelToken::new(), Arc::<Crew>::default(), Log::new(self.log));
        let workers = Workers::new(self.worker, Arc::clone(&crew), shutdown.clone(), log.clone());
        let engine = Engine(Arc::new(Inner {
            locations: self.locations,
            catalog: RwLock::new(Arc::new(catalog)),
            added: Mutex::new(added),
            trust,
            locked: self.locked,
            store,
            plugins: RwLock::new(Arc::new(plugins)),
            verify: self.verify,
            threads,
            most_threads: self.threads,
            patience,
            memory_check: self.memory_check,
            promised: if self.pretended_memory.is_some() { Promised::default() } else { Promised::of_process() },
            pretended_memory: self.pretended_memory,
            shutdown,
            crew,
            log,
            workers,
        }));
        engine.refuse_unverified(engine.0.verify)?;
        engine.0.log.within(|| engine.log_start());
        Ok(engine)
    }
}

/// The rules on signatures: those that were given, or else those of the configuration.
fn trust_of(given: Option<Trust>, locations: &Locations) -> Result<Trust> {
    match given {
        Some(trust) => Ok(trust),
        None if locations.config.as_os_str().is_empty() => Ok(Trust::default()),
        None => Ok(Config::of_folder(&locations.config)?.trust),
    }
}

/// What the folders hold, with these manifests before it.
fn read_catalog(locations: &Locations, trust: &Trust, added: &[Entry]) -> Catalog {
    let mut catalog = Catalog::read_with(&locations.manifest_folders(), trust);
    added.iter().for_each(|entry| catalog.put_first(entry.clone()));
    catalog
}

/// Plugins in search order. A sidecar that is reached twice is listed once.
fn find_plugins(files: &[PathBuf], folders: &[PathBuf]) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let named = files.iter().map(|path| (path.clone(), load::absolute(path).and_then(|path| Sidecar::of(&path))));
    let listed = folders.iter().filter_map(|folder| load::absolute(folder).ok()).flat_map(|folder| all_in(&folder));
    let listed = listed.map(|path| (path.clone(), Sidecar::read(&path)));
    for (path, sidecar) in named.chain(listed) {
        let path = sidecar.as_ref().map_or(path, |sidecar| sidecar.path.clone());
        let one = Found::Sidecar(path, sidecar.map(Arc::new));
        if found.iter().all(|other| !other.is(&one)) {
            found.push(one);
        }
    }
    found
}

/// What is there right now, for one who reads.
fn snapshot<T>(place: &RwLock<Arc<T>>) -> Arc<T> {
    let guard: RwLockReadGuard<'_, Arc<T>> = place.read().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(&guard)
}

impl Engine {
    /// Starts to say where things are.
    ///
    /// ```
    /// let engine = tenon::Engine::builder().manifest_dir("manifests").plugin_dir("plugins").build()?;
    /// assert!(engine.manifest("no-such-model").is_err());
    /// # Ok::<(), tenon::Error>(())
    /// ```
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// The models of all manifests, sorted by name. Cheap: no model file is read.
    pub fn models(&self) -> Vec<ModelEntry> {
        self.catalog().entries().iter().map(|entry| ModelEntry::of(entry, &self.0.store)).collect()
    }

    /// The plugins that were found, good and bad, in search order: of two with one id the first is taken.
    pub fn plugins(&self) -> Vec<PluginEntry> {
        snapshot(&self.0.plugins).iter().map(PluginEntry::of).collect()
    }

    /// The manifests that were found or added until now: also those that others hide, and the folders that cannot be
    /// read.
    pub fn catalog(&self) -> Arc<Catalog> {
        snapshot(&self.0.catalog)
    }

    /// Adds one manifest, wherever it lies, before all others. Gives its name.
    ///
    /// # Errors
    /// `Manifest` with everything that is wrong with it, `NotFound` or `Io` when it cannot be read.
    pub fn add_manifest_file(&self, path: impl AsRef<Path>) -> Result<String> {
        self.add_entry(Entry::read_with(path.as_ref(), &self.0.trust))
    }

    /// Adds a manifest in memory, before all others. `origin` is what errors call its file. Its files are found as
    /// those of any manifest. Gives its name.
    ///
    /// ```
    /// let engine = tenon::Engine::builder().build()?;
    /// let text = "name = \"parrot\"\ntask = \"chat\"\nbackend = \"echo\"\nlicense = \"MIT\"";
    /// assert_eq!(engine.add_manifest_text(text, "the settings")?, "parrot");
    /// assert_eq!(engine.manifest("parrot")?.task, "chat");
    /// # Ok::<(), tenon::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Manifest` with everything that is wrong with it.
    pub fn add_manifest_text(&self, text: &str, origin: &str) -> Result<String> {
        self.add_entry(Entry::of_text(text, Path::new(origin)))
    }

    fn add_entry(&self, entry: Entry) -> Result<String> {
        let name = entry.name.clone();
        if let Err(error) = &entry.manifest {
            return Err(error.clone().into());
        }
        let mut added = self.0.added.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is added again and again leaves nothing of its past behind.
        added.retain(|other| other.name != name);
        added.push(entry.clone());
        let mut catalog = self.0.catalog.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut *catalog).put_first(entry);
        Ok(name)
    }

    /// Reads the folders of manifests again: what was pulled, imported or removed since shows. What was added to this
    /// engine stays.
    pub fn refresh(&self) {
        // Held while the folders are read, so that nothing that is added meanwhile is lost.
        let added = self.0.added.lock().unwrap_or_else(PoisonError::into_inner);
        let catalog = Arc::new(read_catalog(&self.0.locations, &self.0.trust, &added));
        *self.0.catalog.write().unwrap_or_else(PoisonError::into_inner) = catalog;
    }

    /// The store of this engine: references, blobs, and everything that is done with them but loading.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Where this engine looks.
    pub fn locations(&self) -> &Locations {
        &self.0.locations
    }

    /// The manifest of a model.
    ///
    /// # Errors
    /// `NotFound` with the nearest name, or `Manifest` with everything that is wrong with it.
    pub fn manifest(&self, name: &str) -> Result<Arc<Manifest>> {
        Ok(Arc::new(self.catalog().get(name)?.clone()))
    }

    /// The backend of an id (`whisper`) or of an exact version (`whisper@0.1.0`), loaded when it is not yet.
    ///
    /// # Errors
    /// `Plugin` when there is no such plugin; why the plugin was refused otherwise.
    pub fn backend(&self, id: &str) -> Result<Backend> {
        self.backend_in(id, self.0.verify)
    }

    /// The backend of a model, where that is to run: `isolation` may ask for more than its manifest does. A plugin for
    /// workers is described by one of them, and runs no code in this process.
    ///
    /// # Errors
    /// As [`Engine::backend`]; `InvalidArgument` where less isolation is asked for than by the manifest, and why no worker
    /// can be started.
    pub fn backend_for(&self, manifest: &Manifest, isolation: Option<Isolation>) -> Result<Backend> {
        let isolation = isolation_of(manifest, isolation)?;
        let stop = self.stop_signs_of(None, None);
        let _guest = self.0.crew.guest();
        self.within(|| self.backend_of(manifest, isolation, self.0.verify, &stop))
    }

    /// Starts a worker with the plugin of a backend, as for a model whose manifest only says `isolation = "worker"`, and
    /// tells what shut it in. The worker ends at once.
    ///
    /// # Errors
    /// As [`Engine::backend_for`].
    pub fn try_worker(&self, id: &str) -> Result<WorkerTrial> {
        let manifest = Manifest::new("trial", "generate", id, "none");
        let backend = self.backend_for(&manifest, Some(Isolation::Worker))?;
        let program = worker::program(&self.0.workers)?;
        let (stop, began) = (self.stop_signs_of(None, None), Instant::now());
        let _guest = self.0.crew.guest();
        let started = self.within(|| {
            let Runner::Worker(library) = backend.0.runner() else { return Err(cannot_leave(&backend.0)) };
            worker::describe(&self.spec(backend.id(), library, &manifest), &stop)
        })?;
        let (sandbox, level) = (started.sandbox.to_string(), started.sandbox.level());
        Ok(WorkerTrial { program, sandbox, level, time: began.elapsed() })
    }

    /// A worker that only describes its plugin.
    fn spec(&self, name: &str, library: &Arc<File>, manifest: &Manifest) -> Spec {
        Spec {
            name: name.to_owned(),
            library: Arc::clone(library),
            files: Arc::default(),
            caps: 0,
            version: None,
            options: manifest.worker.clone(),
            workers: Arc::clone(&self.0.workers),
        }
    }

    fn backend_in(&self, id: &str, mode: VerifyMode) -> Result<Backend> {
        match self.usable(id)? {
            Found::Sidecar(_, sidecar) => {
                let sidecar = sidecar?;
                self.load_plugin(&sidecar, mode)
            }
            Found::Loaded(plugin) => Ok(Backend(plugin)),
        }
    }

    /// The backend that a manifest names, where it is to run: a plugin for workers runs no code in this process.
    fn backend_of(
        &self,
        manifest: &Manifest,
        isolation: Isolation,
        mode: VerifyMode,
        stop: &StopSigns,
    ) -> Result<Backend> {
        if isolation == Isolation::Process {
            return self.backend_in(&manifest.backend, mode);
        }
        let describe = |library: &Arc<File>, name: &str| worker::describe(&self.spec(name, library, manifest), stop);
        let (store, sandbox) = (&self.0.store, manifest.worker.sandbox);
        let plugin = match self.usable(&manifest.backend)? {
            Found::Sidecar(_, sidecar) => {
                let sidecar = sidecar?;
                self.refuse_unpinned_plugin(&sidecar)?;
                Plugin::apart(&sidecar, store, mode, sandbox, |library| describe(library, &sidecar.id))?
            }
            Found::Loaded(plugin) => {
                let Some(sha256) = plugin.digest() else { return Err(cannot_leave(&plugin)) };
                let origin = (plugin.library(), sha256);
                Plugin::apart_bare(origin, store, mode, sandbox, |library| describe(library, plugin.id()))?
            }
        };
        Ok(Backend(plugin))
    }

    /// The plugin that answers to an id, whose sidecar is good.
    fn usable(&self, id: &str) -> Result<Found> {
        let plugins = snapshot(&self.0.plugins);
        if let Some(found) = plugins.iter().find(|found| found.answers_to(id)) {
            return Ok(found.clone());
        }
        // A broken sidecar of that name is a better answer than "not found".
        let broken = plugins.iter().find_map(|found| match found {
            Found::Sidecar(path, Err(error)) if stem(path) == id => Some(error.clone()),
            _ => None,
        });
        Err(broken.unwrap_or_else(|| self.no_plugin(id)))
    }

    fn load_plugin(&self, sidecar: &Sidecar, mode: VerifyMode) -> Result<Backend> {
        self.refuse_unpinned_plugin(sidecar)?;
        let _guest = self.0.crew.guest();
        self.0.log.within(|| Plugin::load(sidecar, &self.0.store, mode)).map(Backend)
    }

    /// The plugin that answers to an id: the first in search order.
    pub(crate) fn found(&self, id: &str) -> Option<Found> {
        snapshot(&self.0.plugins).iter().find(|found| found.answers_to(id)).cloned()
    }

    /// Reads a folder of plugins again. Those that are new come last.
    pub(crate) fn refresh_plugins(&self, folder: &Path) {
        let mut plugins = self.0.plugins.write().unwrap_or_else(PoisonError::into_inner);
        let plugins = Arc::make_mut(&mut *plugins);
        for found in find_plugins(&[], &[folder.to_owned()]) {
            match plugins.iter_mut().find(|other| other.is(&found)) {
                Some(other) => *other = found,
                None => plugins.push(found),
            }
        }
    }

    pub(crate) fn trust(&self) -> &Trust {
        &self.0.trust
    }

    pub(crate) fn locked(&self) -> Option<&LockFile> {
        self.0.locked.as_ref()
    }

    /// Says that there is no such plugin, and which there are.
    pub(crate) fn no_plugin(&self, id: &str) -> Error {
        let plugins = snapshot(&self.0.plugins);
        let names = plugins.iter().filter_map(Found::name).map(|(id, version)| format!("{id}@{version}"));
        let names: Vec<String> = names.collect();
        let folders: Vec<String> = self.0.locations.plugins.iter().map(|folder| folder.display().to_string()).collect();
        let message = match (names.is_empty(), folders.is_empty()) {
            (false, _) => format!("no plugin provides the backend \"{id}\": there are {}", names.join(", ")),
            (true, false) => {
                format!("no plugin provides the backend \"{id}\": none was found in {}", folders.join(", "))
            }
            (true, true) => format!("no plugin provides the backend \"{id}\": name a folder of plugins"),
        };
        Error::new(ErrorKind::Plugin, message).with_detail("backend", id)
    }

    /// Loads the plugin of a library or sidecar file, wherever it lies.
    ///
    /// # Errors
    /// Why the plugin was refused.
    pub fn backend_at(&self, path: &Path) -> Result<Backend> {
        self.load_plugin(&Sidecar::of(&load::absolute(path)?)?, self.0.verify)
    }

    /// Loads the plugin of a library or sidecar file and adds it before all others. A digest must be that of its
    /// sidecar; without a sidecar it is required, and the plugin itself says what it is once the hash has matched.
    ///
    /// # Errors
    /// `Plugin` for a library with neither sidecar nor digest, `HashMismatch` when the library, its sidecar and the
    /// digest do not agree, and why the plugin was refused otherwise.
    pub fn add_plugin_file(&self, path: impl AsRef<Path>, sha256: Option<Digest>) -> Result<Backend> {
        let path = load::absolute(path.as_ref())?;
        match (Sidecar::beside(&path)?, sha256) {
            (Some(sidecar), wanted) => {
                wanted.map_or(Ok(()), |wanted| same_digest(&sidecar, wanted))?;
                let backend = self.load_plugin(&sidecar, self.0.verify)?;
                self.add_found(Found::Sidecar(sidecar.path.clone(), Ok(Arc::new(sidecar))));
                Ok(backend)
            }
            (None, Some(wanted)) => {
                self.0.locked.as_ref().map_or(Ok(()), |lock| lock.check_library(&path, &wanted))?;
                self.adopt(|| Plugin::load_bare(&path, wanted, &self.0.store, self.0.verify))
            }
            (None, None) => {
                let message = format!(
                    "{} has no sidecar, and no SHA-256 was given: nothing says that this is the library that was meant",
                    path.display()
                );
                Err(Error::new(ErrorKind::Plugin, message).with_detail("file", path.display().to_string()))
            }
        }
    }

    /// Adds a plugin that has no sidecar.
    pub(crate) fn adopt(&self, load: impl FnOnce() -> Result<Arc<Plugin>>) -> Result<Backend> {
        let _guest = self.0.crew.guest();
        let plugin = self.0.log.within(load)?;
        self.add_found(Found::Loaded(Arc::clone(&plugin)));
        Ok(Backend(plugin))
    }

    fn add_found(&self, found: Found) {
        let mut plugins = self.0.plugins.write().unwrap_or_else(PoisonError::into_inner);
        let plugins = Arc::make_mut(&mut *plugins);
        plugins.retain(|other| !other.is(&found));
        plugins.insert(0, found);
    }

    /// Verifies the files of a model. The callback hears bytes hashed and bytes to hash, and may stop.
    ///
    /// # Errors
    /// As [`Engine::manifest`]; what is wrong with a file stands in the report.
    pub fn verify(
        &self,
        name: &str,
        mode: VerifyMode,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<VerifyReport> {
        let (manifest, began) = (self.manifest(name)?, Instant::now());
        let mut progress = |how_far: &tenon_store::Progress| progress(how_far.done, how_far.total);
        let _guest = self.0.crew.guest();
        let results = self.0.log.within(|| self.0.store.examine(&manifest, mode, &mut progress));
        let files = manifest.files.iter().zip(results).map(|(wanted, result)| FileReport {
            role: wanted.role.clone(),
            name: wanted.name.clone(),
            size: wanted.size,
            sha256: wanted.sha256,
            result: result
                .transpose()
                .map_err(Error::from)
                .map(|file| file.map(|file| (file.path().to_owned(), file.how()))),
        });
        Ok(VerifyReport { model: name.to_owned(), files: files.collect(), time: began.elapsed() })
    }

    /// Checks a manifest against its backend: task, load options, presets and file roles. Loads the plugin.
    ///
    /// # Errors
    /// As [`Engine::backend`], and `Unsupported` when the backend does not offer the task: in both cases nothing here
    /// can tell what the manifest may say. What is wrong with the manifest is not an error but the result.
    pub fn check(&self, manifest: &Manifest) -> Result<Vec<Diagnostic>> {
        let stop = self.stop_signs_of(None, None);
        let backend = self.within(|| self.backend_of(manifest, manifest.isolation, self.0.verify, &stop))?;
        match not_offered(manifest, &backend) {
            Some((message, help)) => Err(Error::new(ErrorKind::Unsupported, format!("{message}: {help}"))),
            None => Ok(check_manifest(manifest, &backend)),
        }
    }

    /// Verifies and loads a model.
    ///
    /// # Errors
    /// Every kind: `NotFound` for a missing manifest or file, `Plugin` for a missing plugin, `Manifest` and `Options` with their places,
    /// `HashMismatch`, what the backend says of the files, and the stop kinds.
    pub fn load(&self, name: &str, load: Load) -> Result<Model> {
        let manifest = self.catalog().get(name)?.clone();
        self.load_manifest(manifest, load)
    }

    /// Verifies and loads a model from a manifest that is in no folder of this engine.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub fn load_manifest(&self, manifest: Manifest, load: Load) -> Result<Model> {
        let _guest = self.0.crew.guest();
        self.0.log.within(|| self.load_here(manifest, load))
    }

    fn load_here(&self, manifest: Manifest, load: Load) -> Result<Model> {
        let stop = self.stop_signs(&load);
        let mode = load.verify.unwrap_or(self.0.verify);
        let (backend, options) = self.prepared(&manifest, &load, mode, &stop)?;
        let loaded_threads = asked_threads(&backend.load_schema().settled(load.options.over(&manifest.load)));
        let hears = Arc::new(Mutex::new(load.progress));
        let began = Instant::now();
        let files = self.verified(&manifest, mode, &stop, &hears)?;
        let verify_time = began.elapsed();
        let began = Instant::now();
        let prepared = Prepared::new(&backend.0, &files, &manifest.worker, &self.0.workers, &stop)?;
        let asks = Call::new(stop.clone()).with_options(options.clone());
        let check = load.memory.unwrap_or(self.0.memory_check);
        let _promise = self.admit(&manifest, &backend, &prepared, &options, check, asks)?;
        let call = Call::new(stop).with_options(options.clone()).with_progress(Box::new(move |fraction| {
            tell(&hears, LoadProgress::Open(fraction));
        }));
        let open = on_big_stack(|| prepared.open(call))?;
        let open_time = began.elapsed();
        let workers = (backend.0.isolation() == Isolation::Worker).then_some(manifest.worker.count);
        tracing::info!(model = manifest.name, backend = backend.id(), ?verify_time, ?open_time, "model loaded");
        Ok(Model::new(ModelInner {
            provenance: provenance(&manifest, &backend, &files, options, open.sandbox()),
            open,
            gate: gate_for(backend.caps(), workers),
            shutdown: self.0.shutdown.clone(),
            crew: Arc::clone(&self.0.crew),
            log: self.0.log.clone(),
            threads: self.0.threads,
            most_threads: self.0.most_threads,
            loaded_threads,
            patience: patience_for(backend.caps(), self.0.patience),
            load_told: AtomicBool::new(false),
            manifest: Arc::new(manifest),
            files,
            backend,
            verify_time,
            open_time,
        }))
    }

    /// What is known of a load before a file is looked at: the backend, and the options that it will get.
    fn prepared(
        &self,
        manifest: &Manifest,
        load: &Load,
        mode: VerifyMode,
        stop: &StopSigns,
    ) -> Result<(Backend, Options)> {
        let isolation = isolation_of(manifest, load.isolation)?;
        stop.check()?;
        self.refuse_unverified(mode)?;
        self.refuse_unpinned(manifest)?;
        let backend = self.backend_of(manifest, isolation, mode, stop)?;
        let diagnostics = check_manifest(manifest, &backend);
        if !diagnostics.is_empty() {
            return Err(tenon_store::Error::from(tenon_store::ErrorKind::Manifest { diagnostics }).into());
        }
        let options = self.load_options(manifest, &backend, &load.options)?;
        Ok((backend, options))
    }

    /// As [`Engine::estimate`], for a manifest that is in no folder of this engine.
    ///
    /// # Errors
    /// As [`Engine::estimate`].
    pub fn estimate_manifest(&self, manifest: &Manifest, load: &Load) -> Result<Estimate> {
        let _guest = self.0.crew.guest();
        self.0.log.within(|| {
            let stop = self.stop_signs(load);
            let mode = load.verify.unwrap_or(self.0.verify);
            let (backend, options) = self.prepared(manifest, load, mode, &stop)?;
            let files = self.verified(manifest, mode, &stop, &Arc::default())?;
            let prepared = Prepared::new(&backend.0, &files, &manifest.worker, &self.0.workers, &stop)?;
            let call = Call::new(stop).with_options(options.clone());
            self.estimate_files(manifest, &backend, &prepared, &options, call)
        })
    }

    pub(crate) fn promised(&self) -> &Promised {
        &self.0.promised
    }

    pub(crate) fn pretended_memory(&self) -> Option<u64> {
        self.0.pretended_memory
    }

    fn stop_signs(&self, load: &Load) -> StopSigns {
        self.stop_signs_of(load.cancel.clone(), load.deadline)
    }

    /// What ends something that has such a token and must be done after this time.
    pub(crate) fn stop_signs_of(&self, cancel: Option<CancelToken>, deadline: Option<Duration>) -> StopSigns {
        StopSigns {
            tokens: cancel.into_iter().collect(),
            shutdown: Some(self.0.shutdown.clone()),
            deadline: deadline.and_then(|after| Instant::now().checked_add(after)),
        }
    }

    /// Does something of this engine on the caller's thread: what it logs goes where the engine's own lines go, and
    /// [`Engine::shutdown_within`] waits for it.
    pub(crate) fn within<T>(&self, body: impl FnOnce() -> T) -> T {
        let _guest = self.0.crew.guest();
        self.0.log.within(body)
    }

    /// The manifest's load options under those that were asked for; the thread grant where nobody said otherwise.
    fn load_options(&self, manifest: &Manifest, backend: &Backend, asked: &Options) -> Result<Options> {
        let schema = backend.load_schema();
        schema.check(asked).map_err(|problems| {
            let sentences: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let message = format!("load options of model \"{}\": {}", manifest.name, sentences.join("; "));
            Error::new(ErrorKind::Options, message)
        })?;
        let mut options = schema.settled(asked.over(&manifest.load));
        check_threads(&options, self.0.most_threads).map_err(|error| error.with_detail("model", &manifest.name))?;
        if schema.field("threads").is_some() && options.get("threads").is_none_or(serde_json::Value::is_null) {
            options.set("threads", self.0.threads);
        }
        Ok(options)
    }

    fn verified(
        &self,
        manifest: &Manifest,
        mode: VerifyMode,
        stop: &StopSigns,
        hears: &Arc<Mutex<Option<crate::model::Hears>>>,
    ) -> Result<Arc<Vec<VerifiedFile>>> {
        let verified = self.0.store.verify(manifest, mode, &mut |how_far| {
            tell(hears, LoadProgress::Verify { done: how_far.done, total: how_far.total });
            if stop.reason().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        stop.check()?;
        Ok(Arc::new(verified?))
    }

    /// Asks every request of this engine to end with [`ErrorKind::Shutdown`]; later ones are refused.
    pub fn shutdown(&self) {
        self.0.shutdown.cancel();
        self.0.workers.wake();
    }

    /// As [`Engine::shutdown`], and waits until every thread of this engine has ended and was joined, also those that
    /// were left behind before, and until every load has returned. Models, sessions and streams stay until they are
    /// dropped; what is then closed needs no thread that outlives the drop.
    ///
    /// # Errors
    /// `Timeout` with how many are still running. A backend that hangs in process cannot be ended.
    pub fn shutdown_within(&self, timeout: Duration) -> Result<()> {
        self.shutdown();
        match self.0.crew.wait(timeout) {
            0 => Ok(()),
            left => {
                let message = format!("{left} threads of the engine are still running after {timeout:?}");
                Err(Error::new(ErrorKind::Timeout, message).with_detail("threads", left.to_string()))
            }
        }
    }

    fn log_start(&self) {
        if !tracing::enabled!(tracing::Level::INFO) {
            return;
        }
        let Machine { physical_cores, logical_cores, memory_total, memory_available, .. } = Machine::look();
        let budget = budget().total();
        tracing::info!(budget, physical_cores, logical_cores, memory_total, memory_available, "engine started");
        for plugin in self.plugins() {
            match &plugin.problem {
                None => {
                    tracing::info!(id = plugin.id, version = plugin.version, path = %plugin.path.display(), "plugin found")
                }
                Some(problem) => tracing::warn!(path = %plugin.sidecar.display(), %problem, "plugin cannot be used"),
            }
        }
        let (mut found, mut missing) = (Vec::new(), 0);
        for model in self.models() {
            match (&model.problem, model.state) {
                (Some(problem), _) => tracing::warn!(%problem, "manifest cannot be used"),
                (None, State::Missing) => missing += 1,
                (None, _) => found.push(model.name.clone()),
            }
            tracing::debug!(name = model.name, backend = model.backend, state = ?model.state, "model");
        }
        tracing::info!(found = found.join(" "), missing, "models");
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("locations", &self.0.locations).field("threads", &self.0.threads).finish()
    }
}

/// Refuses a digest that is not that of the sidecar.
fn same_digest(sidecar: &Sidecar, wanted: Digest) -> Result<()> {
    if wanted == sidecar.sha256 {
        return Ok(());
    }
    let Sidecar { path, sha256, .. } = sidecar;
    let message = format!("{} names the SHA-256 {sha256}, not the {wanted} that was given", path.display());
    Err(load::other_digest(message, path, &wanted, sha256))
}

/// A panic of the callback is the caller's own business and goes no further; it hears nothing more.
fn tell(hears: &Mutex<Option<crate::model::Hears>>, how_far: LoadProgress) {
    let mut heard = hears.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(mut hears) = heard.take() else { return };
    match catch_unwind(AssertUnwindSafe(|| hears(how_far))) {
        Ok(()) => *heard = Some(hears),
        Err(payload) => {
            // Dropping either may panic again.
            std::mem::forget((payload, hears));
            tracing::error!("the progress callback of a load panicked");
        }
    }
}

/// Where a model is to run: as its manifest says, or more isolated than that.
fn isolation_of(manifest: &Manifest, asked: Option<Isolation>) -> Result<Isolation> {
    match (manifest.isolation, asked) {
        (Isolation::Worker, Some(Isolation::Process)) => {
            let message = format!(
                "the manifest of model \"{}\" asks for isolation = \"worker\", and a model is never run less isolated than that",
                manifest.name
            );
            Err(Error::new(ErrorKind::InvalidArgument, message).with_detail("model", &manifest.name))
        }
        (Isolation::Worker, _) => Ok(Isolation::Worker),
        (Isolation::Process, asked) => Ok(asked.unwrap_or_default()),
    }
}

/// The error for a backend that no worker can be given.
fn cannot_leave(plugin: &Plugin) -> Error {
    let message = format!(
        "backend \"{}\" is linked into this program, and a worker runs libraries: isolation = \"worker\" needs the plugin as a file",
        plugin.id()
    );
    Error::new(ErrorKind::Unsupported, message).with_detail("plugin", plugin.id())
}

/// Everything about a manifest that its backend would refuse.
fn check_manifest(manifest: &Manifest, backend: &Backend) -> Vec<Diagnostic> {
    let description = backend.description();
    let tasks: Vec<&str> = description.tasks.iter().map(|task| task.task.as_str()).collect();
    let schemas: Vec<(&str, &Schema)> =
        tasks.iter().filter_map(|task| backend.0.schema(task).map(|schema| (*task, schema))).collect();
    let mut diagnostics = manifest.check_options(Some(backend.load_schema()), &schemas);
    diagnostics.extend(manifest.check_files(&description.files));
    if let Some((message, help)) = not_offered(manifest, backend) {
        diagnostics.push(manifest.diagnostic("task", message, Some(help)));
    }
    diagnostics
}

/// That the backend does not offer the manifest's task, and what it offers instead.
fn not_offered(manifest: &Manifest, backend: &Backend) -> Option<(String, String)> {
    let tasks: Vec<&str> = backend.description().tasks.iter().map(|task| task.task.as_str()).collect();
    let message = || format!("backend \"{}\" does not offer the task \"{}\"", backend.id(), manifest.task);
    (!tasks.contains(&manifest.task.as_str())).then(|| (message(), format!("it offers {}", tasks.join(", "))))
}

fn provenance(
    manifest: &Manifest,
    backend: &Backend,
    files: &[VerifiedFile],
    options: Options,
    sandbox: Option<String>,
) -> Provenance {
    Provenance {
        model: manifest.name.clone(),
        files: files.iter().map(FileProvenance::of).collect(),
        plugin: backend.id().to_owned(),
        plugin_version: backend.version().to_owned(),
        plugin_sha256: backend.digest().map(|digest| digest.to_string()).unwrap_or_default(),
        engine: backend.description().engine.clone(),
        isolation: backend.0.isolation().name(),
        sandbox,
        load_options: options,
        preset: None,
        options: Options::new(),
    }
}

/// A model that a manifest describes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ModelEntry {
    /// Name of the model.
    pub name: String,
    /// What it does; empty when the manifest is broken.
    pub task: String,
    /// The backend that runs it; empty when the manifest is broken.
    pub backend: String,
    /// Whether its files are there, as far as can be told without reading them.
    pub state: State,
    /// Bytes of all its files together.
    pub size: u64,
    /// Licence of the weights.
    pub license: String,
    /// Whether a pull needs somebody to accept the licence.
    pub restricted: bool,
    /// The manifest file.
    pub manifest: PathBuf,
    /// What is wrong with the manifest, if something is.
    pub problem: Option<Error>,
}

impl ModelEntry {
    fn of(entry: &Entry, store: &Store) -> Self {
        let empty = Self {
            name: entry.name.clone(),
            task: String::new(),
            backend: String::new(),
            state: State::Missing,
            size: 0,
            license: String::new(),
            restricted: false,
            manifest: entry.path.clone(),
            problem: None,
        };
        match &entry.manifest {
            Ok(manifest) => Self {
                task: manifest.task.clone(),
                backend: manifest.backend.clone(),
                state: store.state(manifest),
                size: manifest.files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.size)),
                license: manifest.license.clone(),
                restricted: manifest.restricted,
                ..empty
            },
            Err(error) => Self { problem: Some(problem(error)), ..empty },
        }
    }
}

/// Why a manifest cannot be used. One that cannot be read is no better than one that is wrong.
fn problem(error: &tenon_store::Error) -> Error {
    match error.kind() {
        tenon_store::ErrorKind::Signature { .. } => error.clone().into(),
        _ => Error::new(ErrorKind::Manifest, error.to_string()),
    }
}

/// A plugin that was found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PluginEntry {
    /// Id of the backend; the stem of the file when the sidecar is broken.
    pub id: String,
    /// Version of the plugin.
    pub version: String,
    /// Version of the plugin contract that it was built for.
    pub abi: String,
    /// The library; empty for a backend that is linked into the program.
    pub path: PathBuf,
    /// The sidecar; empty for a plugin that was added without one.
    pub sidecar: PathBuf,
    /// SHA-256 of the library, by the sidecar or by whoever added it.
    pub sha256: Option<Digest>,
    /// The tasks that it says it offers.
    pub tasks: Vec<String>,
    /// What it needs of the CPU; empty when only a sidecar would know.
    pub cpu: String,
    /// Licence of the plugin; empty when only a sidecar would know.
    pub license: String,
    /// One line on what it is.
    pub description: String,
    /// Whether the library is loaded into this process.
    pub loaded: bool,
    /// Why it cannot be used, as far as is known without loading it.
    pub problem: Option<Error>,
}

impl PluginEntry {
    fn of(found: &Found) -> Self {
        match found {
            Found::Sidecar(_, Ok(sidecar)) => Self::of_sidecar(sidecar),
            Found::Sidecar(path, Err(error)) => Self::broken(path, error),
            Found::Loaded(plugin) => Self::of_loaded(plugin),
        }
    }

    fn of_sidecar(sidecar: &Sidecar) -> Self {
        let loaded = Plugin::loaded(&sidecar.sha256);
        let refused = sidecar.cpu.check(&sidecar.id).and_then(|()| load::check_contract(sidecar)).err();
        let refuse_other = |plugin: Arc<Plugin>| load::same_plugin(sidecar, plugin.id(), plugin.version());
        let missing = || (!sidecar.library.is_file()).then(|| load::no_library(sidecar));
        Self {
            id: sidecar.id.clone(),
            version: sidecar.version.clone(),
            abi: format!("{}.{}", sidecar.abi.0, sidecar.abi.1),
            path: sidecar.library.clone(),
            sidecar: sidecar.path.clone(),
            sha256: Some(sidecar.sha256),
            tasks: sidecar.tasks.clone(),
            cpu: sidecar.cpu.to_string(),
            license: sidecar.license.clone(),
            description: sidecar.description.clone(),
            loaded: matches!(loaded, Some(Ok(_))),
            problem: loaded.and_then(|plugin| plugin.and_then(refuse_other).err()).or(refused).or_else(missing),
        }
    }

    fn of_loaded(plugin: &Plugin) -> Self {
        let description = plugin.description();
        Self {
            id: plugin.id().to_owned(),
            version: plugin.version().to_owned(),
            abi: format!("{}.{}", plugin.abi().0, plugin.abi().1),
            path: plugin.library().to_owned(),
            sidecar: PathBuf::new(),
            sha256: plugin.digest(),
            tasks: description.tasks.iter().map(|task| task.task.clone()).collect(),
            cpu: String::new(),
            license: String::new(),
            description: description.summary.clone(),
            loaded: true,
            problem: None,
        }
    }

    fn broken(path: &Path, error: &Error) -> Self {
        Self {
            id: stem(path).to_owned(),
            version: String::new(),
            abi: String::new(),
            path: PathBuf::new(),
            sidecar: path.to_owned(),
            sha256: None,
            tasks: Vec::new(),
            cpu: String::new(),
            license: String::new(),
            description: String::new(),
            loaded: false,
            problem: Some(error.clone()),
        }
    }
}

/// The name of a sidecar without `.plugin.toml`.
fn stem(path: &Path) -> &str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_suffix(crate::plugin::sidecar::SUFFIX).unwrap_or(name)
}

/// What verifying a model found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Name of the model.
    pub model: String,
    /// Each file of the manifest.
    pub files: Vec<FileReport>,
    /// How long it took.
    pub time: Duration,
}

/// What verifying a file found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileReport {
    /// What it is to the backend.
    pub role: String,
    /// Its name in the manifest.
    pub name: String,
    /// Bytes, by the manifest.
    pub size: u64,
    /// Digest, by the manifest.
    pub sha256: Digest,
    /// Where it lies and how its digest is known; `None` for an optional file that is missing; or what is wrong.
    pub result: Result<Option<(PathBuf, How)>>,
}

impl VerifyReport {
    /// What is wrong with the first file that is wrong.
    pub fn error(&self) -> Option<&Error> {
        self.files.iter().find_map(|file| file.result.as_ref().err())
    }
}

/// What [`Engine::try_worker`] saw.
#[derive(Clone, Debug)]
pub struct WorkerTrial {
    /// The program that was started.
    pub program: PathBuf,
    /// What shut the worker in, in a word: `full`, `partial` or `none`.
    pub level: &'static str,
    /// The same with what it is made of, and with what is missing and why.
    pub sandbox: String,
    /// How long the worker took to start and to describe the plugin.
    pub time: Duration,
}

/// The backend of a loaded plugin.
#[derive(Clone, Debug)]
pub struct Backend(Arc<Plugin>);

impl Backend {
    pub(crate) fn plugin(&self) -> &Plugin {
        &self.0
    }

    /// Id of the plugin.
    pub fn id(&self) -> &str {
        self.0.id()
    }

    /// Version of the plugin.
    pub fn version(&self) -> &str {
        self.0.version()
    }

    /// How it was built, in its own words.
    pub fn build_info(&self) -> &str {
        self.0.build_info()
    }

    /// The library. Of two equal libraries the one that was loaded first; empty for a backend that is linked into the
    /// program.
    pub fn path(&self) -> &Path {
        self.0.library()
    }

    /// SHA-256 of the library; `None` for a backend that is linked into the program.
    pub fn digest(&self) -> Option<Digest> {
        self.0.digest()
    }

    /// `CAP_*` flags of the plugin contract.
    pub fn caps(&self) -> u32 {
        self.0.caps()
    }

    /// Where it runs.
    pub fn isolation(&self) -> Isolation {
        self.0.isolation()
    }

    /// What it is and can do.
    pub fn description(&self) -> &Description {
        self.0.description()
    }

    /// The options of a task.
    ///
    /// # Errors
    /// `Unsupported`, with the tasks that it offers.
    pub fn schema(&self, task: &str) -> Result<&Schema> {
        self.0.schema(task).ok_or_else(|| {
            let tasks: Vec<&str> = self.description().tasks.iter().map(|task| task.task.as_str()).collect();
            let message = format!("backend \"{}\" does not offer {task}: it offers {}", self.id(), tasks.join(", "));
            Error::new(ErrorKind::Unsupported, message).with_detail("plugin", self.id())
        })
    }

    /// The options of loading a model.
    pub fn load_schema(&self) -> &Schema {
        self.0.load_schema()
    }
}

/// The highest x86-64 level of this machine's CPU, 1 to 4; `None` on other architectures. What sidecars name as `cpu`.
pub fn x86_level() -> Option<u8> {
    cpu::x86_level()
}
