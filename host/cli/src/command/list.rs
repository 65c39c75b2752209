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
    let shown: Vec<ModelEntry> =
        engine.models().into_iter().filter(|entry| args.all || entry.state != State::Missing).collect();
    if context.out.json {
        let rows: Vec<Value> = shown.iter().map(|entry| to_json(engine, entry)).collect();
        return context.out.json(&json!(rows));
    }
    context.out.text(&if args.all { full_table(engine, &shown) } else { table(engine, &shown) })?;
    remarks(context, &shown);
    Ok(())
}

/// The columns of `ollama list`.
fn table(engine: &Engine, entries: &[ModelEntry]) -> String {
    let mut table = Table::new(&["NAME", "ID", "SIZE", "MODIFIED"]);
    for entry in entries {
        table.row([entry.name.clone(), id(engine, entry), size(entry.size), modified(entry)]);
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

fn remarks(context: &Context, entries: &[ModelEntry]) {
    for entry in entries {
        match (&entry.problem, entry.state) {
            (Some(problem), _) => context.out.warn(problem.message()),
            (None, State::Corrupt) => {
                let name = &entry.name;
                context.out.warn(&format!(
                    "{name} is corrupt; `tenon verify {name}` says what is wrong, `tenon pull {name}` mends it"
                ));
            }
            _ => {}
        }
    }
    let missing: Vec<&str> =
        entries.iter().filter(|entry| is_missing(entry)).map(|entry| entry.name.as_str()).collect();
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
