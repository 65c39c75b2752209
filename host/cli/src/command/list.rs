//! `tenon list`: which models there are, and which of them are here.

use crate::args::List;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::{Table, age, size};
use serde_json::{Value, json};
use std::time::SystemTime;
use tenon::{Engine, ModelEntry, State};

/// Runs the command.
pub fn run(context: &Context, args: &List) -> Outcome {
    let engine = context.engine()?;
    // A broken manifest is to be mended, whether its files are here or not.
    let is_shown = |entry: &ModelEntry| args.all || entry.problem.is_some() || entry.state != State::Missing;
    let shown: Vec<ModelEntry> = engine.models().into_iter().filter(is_shown).collect();
    if context.out.json {
        let rows: Vec<Value> = shown.iter().map(|entry| to_json(engine, entry)).collect();
        return context.out.json(&json!(rows));
    }
    context.out.text(&if args.all { full_table(engine, &shown) } else { table(engine, &shown) })?;
    remarks(context, engine, &shown);
    Ok(())
}

/// The columns of `ollama list`.
fn table(engine: &Engine, entries: &[ModelEntry]) -> String {
    let mut table = Table::new(&["NAME", "ID", "SIZE", "MODIFIED"]);
    for entry in entries {
        let (id, size) = match entry.problem {
            Some(_) => ("broken".to_owned(), "-".to_owned()),
            None => (id(engine, entry), size(entry.size)),
        };
        table.row([entry.name.clone(), id, size, modified(entry)]);
    }
    table.to_string()
}

fn full_table(engine: &Engine, entries: &[ModelEntry]) -> String {
    let mut table = Table::new(&["NAME", "ID", "SIZE", "STATE", "TASK", "BACKEND", "LICENSE"]);
    for entry in entries {
        let state = if entry.problem.is_some() { "broken" } else { state_name(entry.state) };
        table.row([
            entry.name.clone(),
            id(engine, entry),
            size(entry.size),
            state.to_owned(),
            entry.task.clone(),
            entry.backend.clone(),
            entry.license.clone(),
        ]);
    }
    table.to_string()
}

fn remarks(context: &Context, engine: &Engine, entries: &[ModelEntry]) {
    for entry in entries {
        match (&entry.problem, entry.state) {
            (Some(problem), _) => context.out.warn(problem.message()),
            (None, State::Corrupt) => {
                let name = &entry.name;
                let mends = match can_be_pulled(engine, entry) {
                    true => format!(", `tenon pull {name}` mends it"),
                    false => String::new(),
                };
                context.out.warn(&format!("{name} is corrupt; `tenon verify {name}` says what is wrong{mends}"));
            }
            _ => {}
        }
    }
    let missing: Vec<&str> = entries
        .iter()
        .filter(|entry| is_missing(entry) && can_be_pulled(engine, entry))
        .map(|entry| entry.name.as_str())
        .collect();
    match missing.as_slice() {
        [] => {}
        [name] => context.out.remark(&format!("`tenon pull {name}` gets the missing one")),
        _ => context.out.remark("`tenon pull NAME` gets a missing one"),
    }
    if entries.is_empty() {
        context.out.remark("no model is present; `tenon search` shows what can be had, `tenon pull NAME` gets it");
    }
}

fn is_missing(entry: &ModelEntry) -> bool {
    entry.problem.is_none() && entry.state == State::Missing
}

/// Whether the manifest says where all that the model needs can be had.
fn can_be_pulled(engine: &Engine, entry: &ModelEntry) -> bool {
    let catalog = engine.catalog();
    let files = catalog.get(&entry.name).map(|manifest| manifest.files.as_slice()).unwrap_or_default();
    files.iter().any(|file| !file.urls.is_empty()) && files.iter().all(|file| file.optional || !file.urls.is_empty())
}

/// One model of `tenon list --json`.
fn to_json(engine: &Engine, entry: &ModelEntry) -> Value {
    let catalog = engine.catalog();
    json!({
        "name": entry.name,
        "task": entry.task,
        "backend": entry.backend,
        "isolation": catalog.get(&entry.name).ok().map(|manifest| manifest.isolation.name()),
        "state": entry.state,
        "size": entry.size,
        "id": id(engine, entry),
        "license": entry.license,
        "restricted": entry.restricted,
        "manifest": entry.manifest,
        "problem": entry.problem.as_ref().map(|problem| problem.message().to_owned()),
    })
}

/// The first digits of the digest of the model's first file, which is the model itself.
fn id(engine: &Engine, entry: &ModelEntry) -> String {
    let catalog = engine.catalog();
    let file = catalog.get(&entry.name).ok().and_then(|manifest| manifest.files.first());
    file.map(|file| file.sha256.short()).unwrap_or_default()
}

/// When the manifest was last written: model files keep the time of their making.
fn modified(entry: &ModelEntry) -> String {
    let time: Option<SystemTime> = std::fs::metadata(&entry.manifest).and_then(|metadata| metadata.modified()).ok();
    time.map(age).unwrap_or_default()
}

/// The name of a state in JSON and tables.
pub fn state_name(state: State) -> &'static str {
    match state {
        State::Present => "present",
        State::Missing => "missing",
        State::Corrupt => "corrupt",
    }
}
