//! `tenon show`: what is known about a model.

use crate::args::Show;
use crate::command::bundle::{signature_json, signer};
use crate::command::list::state_name;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::{Table, size};
use serde_json::{Map, Value, json};
use tenon::{Isolation, Manifest, ModelEntry, State};

/// Runs the command.
pub fn run(context: &Context, args: &Show) -> Outcome {
    let entry = context.entry(&args.model)?;
    if let Some(problem) = entry.problem {
        return Err(problem.into());
    }
    let manifest = context.engine()?.manifest(&args.model)?;
    if context.out.json {
        return context.out.json(&to_json(&entry, &manifest));
    }
    context.out.text(&page(&entry, &manifest))
}

fn page(entry: &ModelEntry, manifest: &Manifest) -> String {
    let mut page = facts(entry, manifest).to_string();
    page += "\nFiles\n";
    let mut files = Table::new(&["  ROLE", "NAME", "SIZE", "SHA256"]);
    for file in &manifest.files {
        let digest = file.sha256.to_string();
        files.row([format!("  {}", file.role), file.name.clone(), size(file.size), digest]);
    }
    page += &files.to_string();
    page += &options("Load options", [("", &manifest.load)].into_iter());
    page += &options("Presets", manifest.presets.iter().map(|(name, options)| (name.as_str(), options)));
    page
}

fn facts(entry: &ModelEntry, manifest: &Manifest) -> Table {
    let mut table = Table::new(&["Model", &manifest.name]);
    let mut add = |name: &str, value: String| {
        if !value.is_empty() {
            table.row([format!("  {name}"), value]);
        }
    };
    add("description", manifest.description.clone().unwrap_or_default());
    add("task", manifest.task.clone());
    add("backend", manifest.backend.clone());
    add("isolation", isolation(manifest));
    add("state", state(entry));
    add("size", size(entry.size));
    add("parameters", manifest.parameters.map(|count| count.to_string()).unwrap_or_default());
    add("languages", manifest.languages.join(" "));
    add("license", license(manifest));
    add("homepage", manifest.homepage.clone().unwrap_or_default());
    add("manifest", entry.manifest.display().to_string());
    add("signed by", signer(manifest.signature()));
    table
}

/// The state, and what to do about one that is not `present`.
fn state(entry: &ModelEntry) -> String {
    let (state, name) = (state_name(entry.state), &entry.name);
    match entry.state {
        State::Present => state.to_owned(),
        State::Missing => format!("{state}; `tenon pull {name}` gets it"),
        State::Corrupt => format!("{state}; `tenon verify {name}` says what is wrong, `tenon pull {name}` mends it"),
    }
}

/// Where the backend runs, and how its workers are held; nothing for what is said of no model.
fn isolation(manifest: &Manifest) -> String {
    if manifest.isolation == Isolation::Process {
        return String::new();
    }
    let worker = &manifest.worker;
    let mut parts = vec![format!("sandbox {}", worker.sandbox)];
    if worker.count > 1 {
        parts.push(format!("up to {} side by side", worker.count));
    }
    parts.extend(worker.memory_limit.map(|limit| format!("{} of memory each", size(limit))));
    format!("worker, {}", parts.join(", "))
}

/// What the manifest says of its workers; null for a model that has none.
fn worker_json(manifest: &Manifest) -> Value {
    if manifest.isolation == Isolation::Process {
        return Value::Null;
    }
    let worker = &manifest.worker;
    let seconds = |time: Option<std::time::Duration>| time.map_or(0, |time| time.as_secs());
    json!({
        "sandbox": worker.sandbox,
        "count": worker.count,
        "memory_limit": worker.memory_limit,
        "idle_timeout": seconds(worker.idle_timeout),
        "stall_timeout": seconds(worker.stall_timeout),
    })
}

/// The licence, and whether it has to be accepted.
fn license(manifest: &Manifest) -> String {
    match manifest.restricted {
        true => format!("{}, for research or non-commercial use only", manifest.license),
        false => manifest.license.clone(),
    }
}

fn options<'a>(heading: &str, sets: impl Iterator<Item = (&'a str, &'a tenon::Options)>) -> String {
    let mut text = String::new();
    for (name, options) in sets {
        let pairs: Vec<String> = options.iter().map(|(key, value)| format!("{key}={value}")).collect();
        if !name.is_empty() || !pairs.is_empty() {
            text += format!("  {name} {}", pairs.join(" ")).replace("   ", "  ").trim_end();
            text.push('\n');
        }
    }
    if text.is_empty() { text } else { format!("\n{heading}\n{text}") }
}

fn to_json(entry: &ModelEntry, manifest: &Manifest) -> Value {
    let files: Vec<Value> = manifest
        .files
        .iter()
        .map(|file| {
            json!({
                "role": file.role, "name": file.name, "size": file.size, "sha256": file.sha256,
                "urls": file.urls, "optional": file.optional,
            })
        })
        .collect();
    let presets: Map<String, Value> =
        manifest.presets.iter().map(|(name, options)| (name.clone(), Value::from(options.clone()))).collect();
    json!({
        "name": manifest.name,
        "description": manifest.description,
        "task": manifest.task,
        "backend": manifest.backend,
        "isolation": manifest.isolation.name(),
        "worker": worker_json(manifest),
        "state": entry.state,
        "size": entry.size,
        "parameters": manifest.parameters,
        "languages": manifest.languages,
        "license": manifest.license,
        "restricted": manifest.restricted,
        "homepage": manifest.homepage,
        "manifest": entry.manifest,
        "signature": signature_json(manifest.signature()),
        "files": files,
        "load": manifest.load,
        "presets": presets,
    })
}
