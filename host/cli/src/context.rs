//! What every command needs: the global flags, where to write, and the engine when it is needed.

use crate::args::Globals;
use crate::failure::{Failure, Outcome};
use crate::flags::Asked;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress::{Mode, Step};
use std::cell::OnceCell;
use std::path::Path;
use tenon::{
    Backend, Engine, ErrorKind, Isolation, Load, LoadProgress, LockFile, Manifest, MemoryCheck, Model, ModelEntry,
    State,
};

/// What every command needs.
pub struct Context {
    /// The global flags.
    pub globals: Globals,
    /// Where to write.
    pub out: Output,
    /// How progress is shown.
    pub progress: Mode,
    /// What signals act on.
    pub interrupt: Interrupt,
    engine: OnceCell<Engine>,
}

impl Context {
    /// A context; the engine comes when it is first asked for.
    pub fn new(globals: Globals, interrupt: Interrupt) -> Self {
        let out = Output::new(globals.json, globals.quiet);
        let progress = globals.progress.settle(globals.quiet);
        Self { globals, out, progress, interrupt, engine: OnceCell::new() }
    }

    /// The engine over the folders of the flags and the standard ones.
    pub fn engine(&self) -> Outcome<&Engine> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        let engine = self.build()?;
        Ok(self.engine.get_or_init(|| engine))
    }

    fn build(&self) -> Outcome<Engine> {
        self.check_folders()?;
        let mut builder = Engine::builder().verify(self.globals.verify.into());
        for folder in &self.globals.manifests {
            builder = builder.manifest_dir(folder);
        }
        for path in &self.globals.plugins {
            builder = if path.is_file() { builder.plugin_file(path) } else { builder.plugin_dir(path) };
        }
        for folder in &self.globals.models {
            builder = builder.models_dir(folder);
        }
        if let Some(store) = &self.globals.store {
            builder = builder.store_dir(store);
        }
        if let Some(lock) = &self.globals.locked {
            builder = builder.locked(read_lock(lock)?);
        }
        if let Some(threads) = self.globals.threads {
            builder = builder.threads(threads.into());
        }
        if self.globals.ignore_memory {
            builder = builder.memory(MemoryCheck::Ignore);
        }
        Ok(builder.standard_places().build()?)
    }

    /// What flags name is meant to be there, other than the standard folders. Only the store is made when it is needed.
    fn check_folders(&self) -> Outcome {
        let globals = &self.globals;
        globals.manifests.iter().try_for_each(|folder| check_folder("--manifests", folder))?;
        globals.models.iter().try_for_each(|folder| check_folder("--models", folder))?;
        for path in globals.plugins.iter().filter(|path| !path.is_file()) {
            check_folder("--plugins", path)?;
        }
        match globals.store.as_ref().filter(|store| store.exists()) {
            Some(store) => check_folder("--store", store),
            None => Ok(()),
        }
    }

    /// A step that takes a while.
    pub fn step(&self, label: impl Into<String>) -> Step {
        Step::begin(self.progress, label)
    }

    /// Verifies and loads a model, showing how far it is.
    pub fn load(&self, name: &str, asked: &Asked) -> Outcome<Model> {
        let guard = self.interrupt.guard();
        let (mode, label) = (self.progress, name.to_owned());
        let mut step: Option<(bool, Step)> = None;
        let hears = move |progress| {
            let verifying = matches!(progress, LoadProgress::Verify { .. });
            if step.as_ref().is_none_or(|(before, _)| *before != verifying) {
                let doing = if verifying { "verifying" } else { "loading" };
                step = None;
                step = Some((verifying, Step::begin(mode, format!("{doing} {label}"))));
            }
            match (&mut step, progress) {
                (Some((_, step)), LoadProgress::Verify { done, total }) => step.bytes(done, total),
                (Some((_, step)), LoadProgress::Open(fraction)) => step.fraction(fraction),
                _ => {}
            }
        };
        let load = self.new_load().options(asked.load.clone()).progress(hears).cancel(guard.token());
        Ok(self.engine()?.load(name, load)?)
    }

    /// Where backends shall run, if the command line says so.
    pub fn isolation(&self) -> Option<Isolation> {
        self.globals.isolation.map(Isolation::from)
    }

    /// A load as isolated as the command line asks.
    pub fn new_load(&self) -> Load {
        match self.isolation() {
            Some(isolation) => Load::new().isolation(isolation),
            None => Load::new(),
        }
    }

    /// The backend of an id, described where the command line says that it shall run.
    pub fn backend(&self, engine: &Engine, id: &str) -> tenon::Result<Backend> {
        match self.isolation() {
            None | Some(Isolation::Process) => engine.backend(id),
            // That of a model which asks for nothing, and is never loaded.
            isolation => engine.backend_for(&Manifest::new("any", "generate", id, "none"), isolation),
        }
    }

    /// The entry of a model; an unknown name is an error that names the nearest.
    pub fn entry(&self, name: &str) -> Outcome<ModelEntry> {
        let engine = self.engine()?;
        match engine.models().into_iter().find(|entry| entry.name == name) {
            Some(entry) => Ok(entry),
            // The engine's sentence says where it looked and which name is near.
            None => match engine.manifest(name) {
                Err(error) => Err(error.into()),
                Ok(_) => Err(Failure::new(ErrorKind::NotFound, format!("no model is named \"{name}\""))),
            },
        }
    }

    /// The only model for one of these tasks that is present; which to name otherwise.
    pub fn only_model(&self, tasks: &[&str]) -> Outcome<String> {
        let models = self.engine()?.models();
        let fits = |entry: &&ModelEntry| tasks.contains(&entry.task.as_str()) && entry.state == State::Present;
        let names: Vec<&str> = models.iter().filter(fits).map(|entry| entry.name.as_str()).collect();
        match names.as_slice() {
            [name] => Ok((*name).to_owned()),
            [] => Err(Failure::new(
                ErrorKind::NotFound,
                format!("no model for {0} is present; `tenon search --task {0}` shows what can be had", tasks[0]),
            )),
            names => Err(Failure::usage(format!(
                "several models for {} are present: name one with -m: {}",
                tasks[0],
                names.join(", ")
            ))),
        }
    }
}

fn check_folder(flag: &str, folder: &Path) -> Outcome {
    match std::fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(Failure::usage(format!("{flag} {}: this is no folder", folder.display()))),
        Err(error) => Err(Failure::io(format!("{flag} {}", folder.display()), "cannot be opened", &error)),
    }
}

/// The lock file at this path.
pub fn read_lock(path: &Path) -> Outcome<LockFile> {
    if path.exists() {
        return LockFile::read(path).map_err(|error| tenon::Error::from(error).into());
    }
    let message = format!("there is no lock file {}: `tenon lock` writes one", path.display());
    Err(Failure::new(ErrorKind::NotFound, message))
}
