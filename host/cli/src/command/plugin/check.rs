//! `tenon plugin check`: whether a plugin keeps the contract.
//!
//! The checks run in a process of their own, because a plugin that breaks the contract may end it.

use crate::args::PluginCheck;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use tenon::{Engine, ErrorKind};
use tenon_conformance::{CheckOptions, Report};

/// Runs the command.
pub fn run(context: &Context, args: &PluginCheck) -> Outcome {
    if args.here {
        return context.out.json(&to_json(&check(context, args)));
    }
    if !args.file.exists() {
        let message = format!("{}: there is no such file", args.file.display());
        return Err(Failure::new(ErrorKind::NotFound, message));
    }
    if !args.file.is_file() {
        return Err(Failure::usage(format!("{}: this is no file", args.file.display())));
    }
    let report = in_a_child(context, args)?;
    print(&context.out, args, &report)?;
    if report["passed"] == true {
        return Ok(());
    }
    let file = args.file.display();
    Err(match is_changed(&args.file) {
        true => Failure::new(ErrorKind::HashMismatch, format!("{file} is not the library that its sidecar names")),
        false => Failure::new(ErrorKind::Plugin, format!("{file} does not keep the contract")),
    })
}

/// Whether the library has another SHA-256 than its sidecar says. Nothing of it is run.
fn is_changed(file: &Path) -> bool {
    let engine = Engine::builder().plugin_file(file).build().ok();
    let plugin = engine.and_then(|engine| engine.plugins().into_iter().next());
    plugin.filter(|plugin| plugin.path.is_file()).is_some_and(|plugin| {
        let hashed = tenon_store::hash_file(&plugin.path).ok();
        hashed.is_some_and(|hashed| plugin.sha256.is_some_and(|sha256| sha256 != hashed.digest))
    })
}

fn check(context: &Context, args: &PluginCheck) -> Report {
    let options = CheckOptions {
        manifest: args.manifest.clone(),
        models_dir: context.globals.models.first().cloned(),
        patience: args.patience,
        without_running: args.without_running,
        isolation: context.isolation().unwrap_or_default(),
    };
    tenon_conformance::check(&args.file, &options)
}

/// The report of a child that is asked the same.
fn in_a_child(context: &Context, args: &PluginCheck) -> Outcome<Value> {
    let trouble = |error: std::io::Error| Failure::new(ErrorKind::Io, format!("the check cannot be started: {error}"));
    let step = context.step(format!("checking {}", args.file.display()));
    let mut command = Command::new(std::env::current_exe().map_err(trouble)?);
    command.args(["plugin", "check", "--here"]).arg("--patience").arg(args.patience.as_secs_f64().to_string());
    command.args(args.without_running.then_some("--without-running"));
    command.args(context.isolation().map(|isolation| format!("--isolation={}", isolation.name())));
    for (flag, value) in [("--manifest", &args.manifest), ("--models", &context.globals.models.first().cloned())] {
        if let Some(value) = value {
            command.arg(flag).arg(value);
        }
    }
    command.arg("--").arg(&args.file);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().map_err(trouble)?;
    drop(step);
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let message = format!("{}: the plugin ended the process of its check: {}", args.file.display(), output.status);
        Failure::new(ErrorKind::Plugin, message)
    })
}

fn to_json(report: &Report) -> Value {
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "level": finding.level.name(), "place": finding.place, "what": finding.what, "advice": finding.advice,
                "line": finding.to_string(),
            })
        })
        .collect();
    json!({"passed": report.passed(), "steps": report.steps, "findings": findings})
}

fn print(out: &Output, args: &PluginCheck, report: &Value) -> Outcome {
    if out.json {
        return out.json(report);
    }
    let list = |key: &str| report[key].as_array().map(Vec::as_slice).unwrap_or_default();
    for finding in list("findings") {
        out.line(finding["line"].as_str().unwrap_or_default())?;
    }
    let verdict = if report["passed"] == true { "keeps the contract" } else { "BREAKS the contract" };
    out.line(&format!("{} {verdict} ({} steps)", args.file.display(), list("steps").len()))
}
