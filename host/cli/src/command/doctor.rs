//! `tenon doctor`: what this installation is made of, and what is wrong with it.

use crate::command::list::state_name;
use crate::command::version::abi;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::output::size;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;
use tenon::{Engine, ErrorKind, Machine, ModelEntry, PluginEntry, State, WorkerTrial};

/// Runs the command. Loads every plugin, because a plugin that cannot be loaded is what people come here for.
pub fn run(context: &Context) -> Outcome {
    let engine = context.engine()?;
    let findings = Findings::look(engine);
    match context.out.json {
        true => context.out.json(&findings.to_json(engine))?,
        false => context.out.text(&findings.page(engine))?,
    }
    match findings.problems.len() {
        0 => Ok(()),
        1 => Err(Failure::check("1 problem was found")),
        count => Err(Failure::check(format!("{count} problems were found"))),
    }
}

/// What became of starting a worker; `None` where there is no plugin to start one with.
type Worker = Option<tenon::Result<WorkerTrial>>;

struct Findings {
    machine: Machine,
    worker: Worker,
    plugins: Vec<PluginEntry>,
    models: Vec<ModelEntry>,
    problems: Vec<String>,
}

impl Findings {
    fn look(engine: &Engine) -> Self {
        let mut plugins = engine.plugins();
        for plugin in &mut plugins {
            if plugin.problem.is_none() {
                let exact = format!("{}@{}", plugin.id, plugin.version);
                plugin.problem = engine.backend(&exact).err();
            }
        }
        let models = engine.models();
        let worker = plugins.iter().find(|plugin| plugin.problem.is_none()).map(|plugin| engine.try_worker(&plugin.id));
        let mut problems: Vec<String> = plugins
            .iter()
            .filter_map(|plugin| Some(format!("plugin {}: {}", plugin.id, plugin.problem.as_ref()?.message())))
            .collect();
        problems.extend(models.iter().filter_map(|model| problem(model, &plugins)));
        problems.extend(broken_references(engine, &models));
        problems.extend(worker_problem(&worker));
        Self { machine: Machine::look(), worker, plugins, models, problems }
    }

    fn count(&self, state: State) -> usize {
        self.models.iter().filter(|model| model.problem.is_none() && model.state == state).count()
    }

    fn page(&self, engine: &Engine) -> String {
        let mut page = format!("tenon {}, plugin ABI {}\n\nMachine\n", env!("CARGO_PKG_VERSION"), abi());
        let machine = &self.machine;
        let quota = machine.quota_millicores.map(|quota| format!(", quota {:.2} cores", quota as f64 / 1000.0));
        let _ = write!(
            page,
            "  cpu        {} physical cores, {} logical{}; {}; {} threads to compute with\n  memory     {} of {} free\n",
            machine.physical_cores,
            machine.logical_cores,
            quota.unwrap_or_default(),
            cpu_level(),
            machine.threads,
            size(machine.memory_available),
            size(machine.memory_total),
        );
        page += "\nLocations\n";
        for (name, folders) in locations(engine) {
            for folder in folders {
                let absent = if folder.exists() { "" } else { " (not there)" };
                let _ = writeln!(page, "  {name:<9}  {}{absent}", folder.display());
            }
        }
        page += "\nWorkers\n";
        page += &worker_page(&self.worker);
        page += "\nPlugins\n";
        for plugin in &self.plugins {
            let verdict = if plugin.problem.is_some() { "REFUSED" } else { "ok" };
            let _ = writeln!(page, "  {verdict:<7}  {} {}  {}", plugin.id, plugin.version, plugin.path.display());
        }
        page += "\nModels\n";
        for model in self.models.iter().filter(|model| model.problem.is_some() || model.state != State::Missing) {
            let verdict = if model.problem.is_some() { "broken" } else { state_name(model.state) };
            let _ = writeln!(page, "  {verdict:<7}  {}  {}", model.name, size(model.size));
        }
        let _ = writeln!(page, "  {} more can be had: tenon list --all", self.count(State::Missing));
        page += if self.problems.is_empty() { "\nNothing is wrong.\n" } else { "\nProblems\n" };
        for problem in &self.problems {
            let _ = writeln!(page, "  {problem}");
        }
        page
    }

    fn to_json(&self, engine: &Engine) -> Value {
        let machine = &self.machine;
        let locations: serde_json::Map<String, Value> =
            locations(engine).into_iter().map(|(name, folders)| (name.to_owned(), json!(folders))).collect();
        let plugins: Vec<Value> = self.plugins.iter().map(crate::command::plugin::entry_json).collect();
        json!({
            "ok": self.problems.is_empty(),
            "version": env!("CARGO_PKG_VERSION"),
            "abi": abi(),
            "machine": {
                "physical_cores": machine.physical_cores,
                "logical_cores": machine.logical_cores,
                "quota_millicores": machine.quota_millicores,
                "threads": machine.threads,
                "cpu": cpu_level(),
                "memory_total": machine.memory_total,
                "memory_available": machine.memory_available,
            },
            "locations": locations,
            "worker": worker_json(&self.worker),
            "plugins": plugins,
            "models": {
                "present": self.count(State::Present),
                "missing": self.count(State::Missing),
                "corrupt": self.count(State::Corrupt),
                "broken": self.models.iter().filter(|model| model.problem.is_some()).count(),
            },
            "problems": self.problems,
        })
    }
}

/// Why no worker can be started. That the system has none is nothing wrong.
fn worker_problem(worker: &Worker) -> Option<String> {
    let error = worker.as_ref()?.as_ref().err().filter(|error| error.kind() != ErrorKind::Unsupported)?;
    Some(format!("workers: {}", error.message()))
}

fn worker_page(worker: &Worker) -> String {
    match worker {
        None => "  not tried, because there is no plugin to run in one\n".to_owned(),
        Some(Ok(trial)) => format!(
            "  program    {}\n  sandbox    {}\n  start      {:.0} ms until its plugin is ready\n",
            trial.program.display(),
            trial.sandbox,
            trial.time.as_secs_f64() * 1000.0,
        ),
        Some(Err(error)) if error.kind() == ErrorKind::Unsupported => format!("  none: {}\n", error.message()),
        Some(Err(_)) => "  REFUSED\n".to_owned(),
    }
}

fn worker_json(worker: &Worker) -> Value {
    match worker {
        None => Value::Null,
        Some(Ok(trial)) => json!({
            "program": trial.program,
            "sandbox": trial.level,
            "sandbox_made_of": trial.sandbox,
            "start_ms": trial.time.as_secs_f64() * 1000.0,
            "problem": null,
        }),
        Some(Err(error)) => json!({"problem": error.message()}),
    }
}

/// What is wrong with a model. That it is not here is nothing wrong.
fn problem(model: &ModelEntry, plugins: &[PluginEntry]) -> Option<String> {
    if let Some(problem) = &model.problem {
        return Some(format!("model {}: {}", model.name, problem.message()));
    }
    let name = &model.name;
    let id = model.backend.split('@').next().unwrap_or_default();
    match model.state {
        State::Corrupt => Some(format!("model {name} is corrupt: `tenon verify {name}` says what is wrong")),
        State::Present if !plugins.iter().any(|plugin| plugin.id == id) => Some(format!(
            "model {name} needs the plugin {id}, which is not here; `cargo xtask setup` builds those of a checkout"
        )),
        _ => None,
    }
}

/// References that cannot be read and that a good manifest hides: they keep `tenon gc` from its work.
fn broken_references(engine: &Engine, models: &[ModelEntry]) -> Vec<String> {
    match engine.store().references() {
        Ok(references) => references
            .iter()
            .filter(|entry| entry.manifest.is_err() && models.iter().all(|model| model.manifest != entry.path))
            .map(|entry| {
                format!("reference {} cannot be read: mend it, or `tenon rm {}`", entry.path.display(), entry.name)
            })
            .collect(),
        Err(error) => vec![error.to_string()],
    }
}

fn locations(engine: &Engine) -> [(&'static str, Vec<PathBuf>); 7] {
    let locations = engine.locations();
    [
        ("manifests", locations.manifests.clone()),
        ("plugins", locations.plugins.clone()),
        ("models", locations.models.clone()),
        ("store", vec![locations.store.clone()]),
        ("shared", locations.stores.clone()),
        ("hub", vec![locations.hub.clone()]),
        ("state", vec![locations.state.clone()]),
    ]
}

/// The level of the CPU as sidecars name it, or the architecture's name.
fn cpu_level() -> String {
    match tenon::x86_level() {
        Some(level) => format!("x86-64-v{level}"),
        None => std::env::consts::ARCH.to_owned(),
    }
}
