//! From a [`Manifest`] to TOML that reads back as the same manifest.

use super::{Isolation, Manifest, ManifestFile, WorkerOptions};
use serde_json::Value;
use std::fmt::Write;
use std::time::Duration;
use tenon_tasks::Options;

/// The manifest as TOML, in the order in which people write one.
pub(super) fn toml_of(manifest: &Manifest) -> String {
    let mut out = String::new();
    line(&mut out, "name", &quoted(&manifest.name));
    line(&mut out, "task", &quoted(&manifest.task));
    line(&mut out, "backend", &quoted(&manifest.backend));
    line(&mut out, "license", &quoted(&manifest.license));
    if manifest.restricted {
        line(&mut out, "restricted", "true");
    }
    if let Some(description) = &manifest.description {
        line(&mut out, "description", &quoted(description));
    }
    if !manifest.languages.is_empty() {
        line(&mut out, "languages", &list(&manifest.languages));
    }
    if let Some(parameters) = manifest.parameters {
        line(&mut out, "parameters", &parameters.to_string());
    }
    if let Some(homepage) = &manifest.homepage {
        line(&mut out, "homepage", &quoted(homepage));
    }
    if manifest.isolation == Isolation::Worker {
        line(&mut out, "isolation", "\"worker\"");
    }
    write_worker(&mut out, &manifest.worker);
    manifest.files.iter().for_each(|file| write_file(&mut out, file));
    if !manifest.load.is_empty() {
        write_options(&mut out, "load", &manifest.load);
    }
    for (name, options) in &manifest.presets {
        write_options(&mut out, &format!("preset.{}", key(name)), options);
    }
    out
}

/// Only what differs from what a manifest without the table says.
fn write_worker(out: &mut String, worker: &WorkerOptions) {
    let otherwise = WorkerOptions::default();
    if *worker == otherwise {
        return;
    }
    let seconds = |time: Option<Duration>| time.map_or(0, |time| time.as_secs()).to_string();
    out.push_str("\n[worker]\n");
    if worker.sandbox != otherwise.sandbox {
        line(out, "sandbox", &quoted(worker.sandbox.name()));
    }
    if worker.count != otherwise.count {
        line(out, "count", &worker.count.to_string());
    }
    if let Some(limit) = worker.memory_limit {
        line(out, "memory_limit", &limit.to_string());
    }
    if worker.idle_timeout != otherwise.idle_timeout {
        line(out, "idle_timeout", &seconds(worker.idle_timeout));
    }
    if worker.stall_timeout != otherwise.stall_timeout {
        line(out, "stall_timeout", &seconds(worker.stall_timeout));
    }
}

fn write_file(out: &mut String, file: &ManifestFile) {
    out.push_str("\n[[file]]\n");
    line(out, "role", &quoted(&file.role));
    line(out, "name", &quoted(&file.name));
    if !file.urls.is_empty() {
        line(out, "url", &list(&file.urls));
    }
    line(out, "sha256", &quoted(&file.sha256.to_string()));
    line(out, "size", &file.size.to_string());
    if file.optional {
        line(out, "optional", "true");
    }
    if let Some(chunks) = &file.chunks {
        line(out, "chunk_size", &chunks.size().to_string());
        let digests: String = chunks.digests().iter().map(|digest| format!("    \"{digest}\",\n")).collect();
        line(out, "chunks", &format!("[\n{digests}]"));
    }
}

fn write_options(out: &mut String, header: &str, options: &Options) {
    let _ = write!(out, "\n[{header}]\n");
    for (name, value) in options.iter() {
        // TOML has no null. In options, null asks for nothing, which is what leaving it out says.
        if let Some(value) = inline(value) {
            line(out, &key(name), &value);
        }
    }
}

fn line(out: &mut String, key: &str, value: &str) {
    let _ = writeln!(out, "{key} = {value}");
}

fn inline(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(quoted(text)),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().filter_map(inline).collect();
            Some(format!("[{}]", items.join(", ")))
        }
        Value::Object(map) => {
            let pairs: Vec<String> =
                map.iter().filter_map(|(name, value)| Some(format!("{} = {}", key(name), inline(value)?))).collect();
            Some(if pairs.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", pairs.join(", ")) })
        }
    }
}

fn list(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", texts.join(", "))
}

/// A key, in quotes where TOML wants them.
fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { quoted(name) }
}

/// A basic string.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
