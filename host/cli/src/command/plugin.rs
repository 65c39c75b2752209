//! `tenon plugin`: list, info, check, new, seal.

use crate::args::Plugin;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::output::Table;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use tenon::{Backend, ErrorKind, Isolation, PluginEntry, Schema};

mod check;
mod new;

/// Runs the command.
pub fn run(context: &Context, command: &Plugin) -> Outcome {
    match command {
        Plugin::List => list(context),
        Plugin::Info { plugin } => info(context, plugin),
        Plugin::Check(args) => check::run(context, args),
        Plugin::New(args) => new::run(context, args),
        Plugin::Seal { library, template } => seal(context, library, template.as_deref()),
    }
}

fn list(context: &Context) -> Outcome {
    let plugins = context.engine()?.plugins();
    if context.out.json {
        return context.out.json(&Value::Array(plugins.iter().map(entry_json).collect()));
    }
    let mut table = Table::new(&["ID", "VERSION", "ABI", "CPU", "TASKS", "STATE"]);
    for plugin in &plugins {
        let state = if plugin.problem.is_some() { "refused" } else { "ok" };
        table.row([
            plugin.id.clone(),
            plugin.version.clone(),
            plugin.abi.clone(),
            plugin.cpu.clone(),
            plugin.tasks.join(","),
            state.to_owned(),
        ]);
    }
    context.out.text(&table.to_string())?;
    for problem in plugins.iter().filter_map(|plugin| plugin.problem.as_ref()) {
        context.out.warn(problem.message());
    }
    if plugins.is_empty() {
        context.out.remark("no plugin was found; `tenon doctor` shows where they are looked for");
    }
    Ok(())
}

/// A plugin in JSON, as `plugin list` and `doctor` show it.
pub fn entry_json(plugin: &PluginEntry) -> Value {
    json!({
        "id": plugin.id,
        "version": plugin.version,
        "abi": plugin.abi,
        "tasks": plugin.tasks,
        "cpu": plugin.cpu,
        "license": plugin.license,
        "description": plugin.description,
        "path": plugin.path,
        "sidecar": plugin.sidecar,
        "sha256": plugin.sha256,
        "problem": plugin.problem.as_ref().map(|problem| problem.message().to_owned()),
    })
}

fn info(context: &Context, plugin: &str) -> Outcome {
    let engine = context.engine()?;
    let path = Path::new(plugin);
    // An id never holds a separator or a dot.
    let backend = if plugin.contains(['/', '\\', '.']) && path.exists() {
        if context.isolation() == Some(Isolation::Worker) {
            let message = "--isolation worker needs the id of an installed plugin; for a file there is \
                           `tenon plugin check FILE --isolation worker`";
            return Err(Failure::usage(message));
        }
        engine.backend_at(path)?
    } else {
        context.backend(engine, plugin)?
    };
    match context.out.json {
        true => context.out.json(&info_json(&backend)),
        false => context.out.text(&info_page(&backend)),
    }
}

fn info_json(backend: &Backend) -> Value {
    json!({
        "id": backend.id(),
        "version": backend.version(),
        "build": backend.build_info(),
        "path": backend.path(),
        "sha256": backend.digest(),
        "capabilities": capabilities(backend),
        "description": backend.description(),
    })
}

fn capabilities(backend: &Backend) -> Vec<&'static str> {
    let all = [
        (tenon_abi::CAP_CONCURRENT_SESSIONS, "concurrent-sessions"),
        (tenon_abi::CAP_PARALLEL_OPEN, "parallel-open"),
        (tenon_abi::CAP_LIVE_INPUT, "live-input"),
        (tenon_abi::CAP_CANCEL_COARSE, "cancel-coarse"),
    ];
    all.into_iter().filter(|(bit, _)| backend.caps() & bit != 0).map(|(_, name)| name).collect()
}

fn info_page(backend: &Backend) -> String {
    let description = backend.description();
    let mut page = format!("{} {}: {}\n", backend.id(), backend.version(), description.summary);
    let rows = [
        ("engine", description.engine.clone()),
        ("build", backend.build_info().to_owned()),
        ("library", backend.path().display().to_string()),
        ("sha256", backend.digest().map(|digest| digest.to_string()).unwrap_or_default()),
        ("can", capabilities(backend).join(" ")),
        ("audio", description.audio.map(|audio| format!("{} Hz, mono", audio.rate)).unwrap_or_default()),
    ];
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(page, "  {name:<8} {value}");
    }
    for file in &description.files {
        let need = if file.required { "required" } else { "optional" };
        let many = if file.many { ", may be several" } else { "" };
        let _ = writeln!(page, "  file     {} ({need}{many})", file.role);
    }
    for task in &description.tasks {
        if let Ok(schema) = backend.schema(&task.task) {
            page += &options_page(&format!("Options of {}", task.task), schema);
        }
    }
    page + &options_page("Load options", backend.load_schema())
}

fn options_page(heading: &str, schema: &Schema) -> String {
    let mut page = String::new();
    for field in schema.fields() {
        let default = if field.default.is_null() { String::new() } else { format!(", by default {}", field.default) };
        let _ = writeln!(page, "  {}: {}{default}\n      {}", field.name, field.kind, field.help);
    }
    if page.is_empty() { page } else { format!("\n{heading}\n{page}") }
}

fn seal(context: &Context, library: &Path, template: Option<&Path>) -> Outcome {
    let template = match template {
        Some(template) => template.to_owned(),
        None => only_template()?,
    };
    let sidecar = tenon::seal(library, &template)?;
    match context.out.json {
        true => context.out.json(&json!({"sidecar": sidecar, "library": library, "template": template})),
        false => context.out.line(&sidecar.display().to_string()),
    }
}

/// The only `*.plugin.toml` of the current folder.
fn only_template() -> Outcome<PathBuf> {
    let io = |error: &std::io::Error| Failure::io("the current folder", "cannot be listed", error);
    let entries = std::fs::read_dir(".").map_err(|error| io(&error))?;
    let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(PathBuf::from(entry.ok()?.file_name()))).collect();
    found.retain(|path| path.to_string_lossy().ends_with(".plugin.toml"));
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(Failure::new(ErrorKind::NotFound, "there is no *.plugin.toml here: name one with --template")),
        _ => Err(Failure::usage("there are several *.plugin.toml here: name one with --template")),
    }
}
