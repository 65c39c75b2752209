//! `tenon verify`: are the files of models what their manifests say?

use crate::args::VerifyArgs;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::output::{Table, size};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use tenon::{ErrorKind, How, ModelEntry, State, VerifyMode, VerifyReport};

/// Runs the command. The ledger does not count: whoever asks wants the bytes read.
pub fn run(context: &Context, args: &VerifyArgs) -> Outcome {
    let mut reports = Vec::new();
    let (names, absent) = names(context, args)?;
    for name in &names {
        reports.push(verify(context, name)?);
    }
    if context.out.json {
        context.out.json(&Value::Array(reports.iter().map(to_json).collect()))?;
    } else {
        context.out.text(&table(&reports).to_string())?;
    }
    if absent > 0 {
        context.out.remark(&format!("not here, and left out: {absent}; `tenon list --all` shows what can be had"));
    }
    verdict(context, &reports)
}

/// The models to verify, and how many `--all` leaves out because none of their files is here.
fn names(context: &Context, args: &VerifyArgs) -> Outcome<(Vec<String>, usize)> {
    if !args.all {
        // A mistyped name is found before anything is hashed.
        for name in &args.names {
            if let Some(problem) = context.entry(name)?.problem {
                return Err(problem.into());
            }
        }
        return Ok((args.names.clone(), 0));
    }
    let models = context.engine()?.models();
    let (here, away): (Vec<ModelEntry>, Vec<ModelEntry>) =
        models.into_iter().partition(|entry| entry.problem.is_some() || entry.state != State::Missing);
    if let Some(problem) = here.iter().find_map(|entry| entry.problem.clone()) {
        return Err(problem.into());
    }
    Ok((here.into_iter().map(|entry| entry.name).collect(), away.len()))
}

fn verify(context: &Context, name: &str) -> Outcome<VerifyReport> {
    let guard = context.interrupt.guard();
    let token = guard.token();
    let mut step = context.step(format!("verifying {name}"));
    let mut hears = |done, total| {
        step.bytes(done, total);
        if token.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let mode = match VerifyMode::from(context.globals.verify) {
        VerifyMode::Cached => VerifyMode::Always,
        mode => mode,
    };
    Ok(context.engine()?.verify(name, mode, &mut hears)?)
}

fn table(reports: &[VerifyReport]) -> Table {
    let mut table = Table::new(&["MODEL", "FILE", "SIZE", "SHA256", "RESULT"]);
    for report in reports {
        for file in &report.files {
            let result = match &file.result {
                Ok(Some((_, How::NotChecked))) => "not hashed".to_owned(),
                Ok(Some(_)) => "ok".to_owned(),
                Ok(None) => "optional, not here".to_owned(),
                Err(error) => format!("FAILED: {}", error.kind()),
            };
            table.row([report.model.clone(), file.name.clone(), size(file.size), file.sha256.short(), result]);
        }
    }
    table
}

fn to_json(report: &VerifyReport) -> Value {
    let files: Vec<Value> = report
        .files
        .iter()
        .map(|file| {
            let (path, how) = match &file.result {
                Ok(Some((path, how))) => (json!(path), json!(how)),
                _ => (Value::Null, Value::Null),
            };
            let error = file.result.as_ref().err().map(|error| Failure::from(error.clone()).to_json()["error"].clone());
            json!({
                "role": file.role, "name": file.name, "size": file.size, "sha256": file.sha256,
                "path": path, "how": how, "error": error,
            })
        })
        .collect();
    json!({"name": report.model, "ok": report.error().is_none(), "seconds": report.time.as_secs_f64(), "files": files})
}

/// Every error is said; the first wrong digest is that of the command, or else the first error.
fn verdict(context: &Context, reports: &[VerifyReport]) -> Outcome {
    let files = reports.iter().flat_map(|report| &report.files);
    let errors: Vec<&tenon::Error> = files.filter_map(|file| file.result.as_ref().err()).collect();
    let worst = errors.iter().position(|error| error.kind() == ErrorKind::HashMismatch).unwrap_or(0);
    for (index, &error) in errors.iter().enumerate() {
        if index != worst {
            context.out.failure(&error.clone().into());
        }
    }
    errors.get(worst).map_or(Ok(()), |&error| Err(error.clone().into()))
}
