//! Loading a plugin: hash first, then open that very file, check the contract, copy the vtable. Never unloads.
//!
//! Everything that can be checked without running the library's code is checked before it is opened: sidecar, CPU,
//! contract version, SHA-256. Constructors run when it is opened, so the hash is what protects; the checks after that
//! are for correctness.

use super::opened::{Opened, other_contract};
use super::sidecar::{Sidecar, check_id, io_error};
use super::{call, library};
use crate::error::{Error, ErrorKind, Result};
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tenon_abi as abi;
use tenon_store::{Digest, Isolation, Sandbox, Store, VerifyMode};
use tenon_tasks::{Description, Schema};
use tenon_wire::Started;

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

    fn origin(&self) -> (PathBuf, Digest) {
        (self.path.to_owned(), self.sha256)
    }

    /// A plugin that is loaded, if it is the one that was wanted.
    fn taken(&self, plugin: Arc<Plugin>) -> Result<Arc<Plugin>> {
        let other = self.refuse_other(plugin.id(), plugin.version());
        other.map(|()| plugin).map_err(|error| error.with_detail("plugin", self.name()))
    }

    /// Refuses a plugin that says it is another one than it was taken for.
    fn refuse_other(&self, id: &str, version: &str) -> Result<()> {
        match self.sidecar {
            Some(sidecar) => same_plugin(sidecar, id, version),
            None => refuse_bad_id(id),
        }
    }
}

fn refuse_bad_id(id: &str) -> Result<()> {
    check_id(id).map_err(|problem| {
        Error::new(ErrorKind::Plugin, format!("a plugin without a sidecar has an id that cannot be: {problem}"))
    })
}

/// A plugin that was loaded into this process or described by a worker: what it is, and how it is run. There is one for
/// each library and each way to run it, however many engines use it.
pub(crate) struct Plugin {
    id: String,
    version: String,
    abi: (u16, u16),
    /// Where it was loaded from; `None` when it is linked into the program.
    origin: Option<(PathBuf, Digest)>,
    build_info: String,
    caps: u32,
    runner: Runner,
    description: Description,
    schemas: HashMap<String, Schema>,
    load_schema: Schema,
}

/// Where the functions of a plugin run.
pub(crate) enum Runner {
    /// In this process.
    Here(Arc<Opened>),
    /// In workers, which are given this library: open, and hashed.
    Worker(Arc<File>),
}

/// What a plugin says of itself, and who says it.
struct Said<'a> {
    id: &'a str,
    version: &'a str,
    abi: (u16, u16),
    build_info: &'a str,
    caps: u32,
    /// JSON.
    description: &'a str,
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
            return wanted.taken(known.clone()?);
        }
        registry.refuse_overwritten(&file, wanted)?;
        let identity = library::identity(&file, wanted.path);
        // A library that cannot be opened may be tried again; one that was opened stays, and so does its verdict.
        let library = library::open(file, wanted.path)?;
        registry.files.extend(identity.map(|identity| (identity, wanted.sha256)));
        let started = call::on_big_stack(|| {
            let opened = Opened::of_library(&library, &wanted.name())?;
            Self::of_opened(opened, Some(wanted.origin()))
        });
        let loaded = started.map(Arc::new).map_err(|error| error.with_detail("plugin", wanted.name()));
        // The verdict on the library holds for every sidecar; that on this sidecar does not.
        registry.plugins.insert(wanted.sha256, loaded.clone());
        wanted.taken(loaded?).inspect(|plugin| plugin.log_loaded())
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
            let opened = unsafe { Opened::of_entry(entry, "linked into this program") }?;
            refuse_bad_id(opened.id())?;
            Self::of_opened(opened, None)
        });
        let started = started.map(Arc::new);
        registry.linked.insert(entry as usize, started.clone());
        started.inspect(|plugin| plugin.log_loaded())
    }

    /// The plugin of a sidecar, to be run in workers: none of its code runs in this process. `describe` asks a worker
    /// what it is.
    pub(crate) fn apart(
        sidecar: &Sidecar,
        store: &Store,
        mode: VerifyMode,
        sandbox: Sandbox,
        describe: impl FnOnce(&Arc<File>) -> Result<Started>,
    ) -> Result<Arc<Self>> {
        sidecar.cpu.check(&sidecar.id)?;
        check_contract(sidecar)?;
        let wanted = Wanted { path: &sidecar.library, sha256: sidecar.sha256, sidecar: Some(sidecar) };
        Self::apart_wanted(&wanted, store, mode, sandbox, describe)
    }

    /// As [`Plugin::apart`], for a library without a sidecar, whose digest the caller vouches for.
    pub(crate) fn apart_bare(
        (path, sha256): (&Path, Digest),
        store: &Store,
        mode: VerifyMode,
        sandbox: Sandbox,
        describe: impl FnOnce(&Arc<File>) -> Result<Started>,
    ) -> Result<Arc<Self>> {
        Self::apart_wanted(&Wanted { path, sha256, sidecar: None }, store, mode, sandbox, describe)
    }

    fn apart_wanted(
        wanted: &Wanted<'_>,
        store: &Store,
        mode: VerifyMode,
        sandbox: Sandbox,
        describe: impl FnOnce(&Arc<File>) -> Result<Started>,
    ) -> Result<Arc<Self>> {
        let file = Arc::new(open_verified(wanted, store, mode)?);
        let key = (wanted.sha256, sandbox);
        let known = registry().lock().unwrap_or_else(PoisonError::into_inner).apart.get(&key).cloned();
        if let Some(plugin) = known {
            return wanted.taken(plugin);
        }
        // Not under the lock: a plugin that hangs must not keep others from being loaded.
        let with_name = |error: Error| error.with_detail("plugin", wanted.name());
        let started = describe(&file).map_err(with_name)?;
        wanted.refuse_other(&started.id, &started.version).map_err(with_name)?;
        let said = Said {
            id: &started.id,
            version: &started.version,
            abi: started.abi,
            build_info: &started.build_info,
            caps: started.caps,
            description: &started.description,
        };
        let plugin = Arc::new(Self::of_words(&said, Some(wanted.origin()), Runner::Worker(file)).map_err(with_name)?);
        plugin.log_loaded();
        registry().lock().unwrap_or_else(PoisonError::into_inner).apart.insert(key, Arc::clone(&plugin));
        Ok(plugin)
    }

    fn of_opened(opened: Opened, origin: Option<(PathBuf, Digest)>) -> Result<Self> {
        let description = opened.describe()?;
        let opened = Arc::new(opened);
        let said = Said {
            id: opened.id(),
            version: opened.version(),
            abi: opened.abi(),
            build_info: opened.build_info(),
            caps: opened.caps(),
            description: &description,
        };
        Self::of_words(&said, origin, Runner::Here(Arc::clone(&opened)))
    }

    fn of_words(said: &Said<'_>, origin: Option<(PathBuf, Digest)>, runner: Runner) -> Result<Self> {
        let wrong = |error: String| {
            let message = format!("backend \"{}\" gives a description that cannot be read: {error}", said.id);
            Error::new(ErrorKind::Plugin, message)
        };
        let description: Description =
            serde_json::from_str(said.description).map_err(|error| wrong(error.to_string()))?;
        let schema_of = |task: &tenon_tasks::TaskDescription| {
            Schema::from_json(&task.schema).map(|schema| (task.task.clone(), schema)).map_err(wrong)
        };
        let schemas = description.tasks.iter().map(schema_of).collect::<Result<_>>()?;
        let load_schema = Schema::from_json(&description.load_schema).map_err(wrong)?;
        if description.audio.is_some_and(|audio| !(1_000..=384_000).contains(&audio.rate)) {
            return Err(wrong("its audio rate lies outside of 1000 to 384000".to_owned()));
        }
        Ok(Self {
            id: said.id.to_owned(),
            version: said.version.to_owned(),
            abi: said.abi,
            origin,
            build_info: said.build_info.to_owned(),
            caps: said.caps,
            runner,
            description,
            schemas,
            load_schema,
        })
    }

    fn log_loaded(&self) {
        let (id, version) = (self.id(), self.version());
        let isolation = self.isolation().name();
        tracing::info!(id, version, path = %self.library().display(), isolation, build = self.build_info, "plugin loaded");
        for device in &self.description.devices {
            let tenon_tasks::Device { name, description, memory_total, memory_free } = device;
            tracing::info!(plugin = id, name, description, memory_total, memory_free, "device");
        }
    }

    pub(crate) fn runner(&self) -> &Runner {
        &self.runner
    }

    /// Where it runs.
    pub(crate) fn isolation(&self) -> Isolation {
        match self.runner {
            Runner::Here(_) => Isolation::Process,
            Runner::Worker(_) => Isolation::Worker,
        }
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
        self.caps
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
        match &self.runner {
            Runner::Here(opened) => opened.end(),
            // Workers end with the models that they serve.
            Runner::Worker(_) => Ok(()),
        }
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
    /// Those that run in workers, by digest and by what the worker that described them was allowed.
    apart: HashMap<(Digest, Sandbox), Arc<Plugin>>,
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
pub(crate) fn same_plugin(sidecar: &Sidecar, id: &str, version: &str) -> Result<()> {
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

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("id", &self.id).field("version", &self.version).finish()
    }
}

/// Where a plugin may be looked for; never the current directory by a bare name.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| io_error("find", path, error))
}
