//! `tenon verify`: are the files of models what their manifests say? With `--repair`, they are afterwards.

mod repair;

use crate::args::VerifyArgs;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::output::{Table, size};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use tenon::{ErrorKind, How, State, VerifyMode, VerifyReport};

/// Runs the command. The ledger does not count: whoever asks wants the bytes read.
pub fn run(context: &Context, args: &VerifyArgs) -> Outcome {
    let mut reports = Vec::new();
    let Wanted { names, absent, broken } = names(context, args)?;
    let mut repaired = Vec::new();
    for name in &names {
        let report = verify(context, name)?;
        if args.repair && report.error().is_some() {
            let again = repair(context, args, report)?;
            repaired.extend(again.error().is_none().then_some(name.as_str()));
            reports.push(again);
        } else {
            reports.push(report);
        }
    }
    if context.out.json {
        let verified = reports.iter().map(|report| to_json(report, &repaired));
        context.out.json(&Value::Array(verified.chain(broken.iter().map(broken_json)).collect()))?;
    } else {
        context.out.text(&table(&reports).to_string())?;
    }
    if absent > 0 {
        context.out.remark(&format!("not here, and left out: {absent}; `tenon list --all` shows what can be had"));
    }
    verdict(context, &reports, &broken)
}

/// What there is to verify.
struct Wanted {
    names: Vec<String>,
    /// How many `--all` leaves out because none of their files is here.
    absent: usize,
    /// Those of `--all` whose manifests cannot be read.
    broken: Vec<(String, tenon::Error)>,
}

fn names(context: &Context, args: &VerifyArgs) -> Outcome<Wanted> {
    if !args.all {
        // A mistyped name is found before anything is hashed.
        for name in &args.names {
            if let Some(problem) = context.entry(name)?.problem {
                return Err(problem.into());
            }
        }
        return Ok(Wanted { names: args.names.clone(), absent: 0, broken: Vec::new() });
    }
    let models = context.engine()?.models();
    let pulled = if args.repair { pulled(context)? } else { Vec::new() };
    let mut wanted = Wanted { names: Vec::new(), absent: 0, broken: Vec::new() };
    for entry in models {
        match entry.problem {
            Some(problem) => wanted.broken.push((entry.name, problem)),
            None if entry.state != State::Missing || pulled.contains(&entry.name) => wanted.names.push(entry.name),
            None => wanted.absent += 1,
        }
    }
    Ok(wanted)
}

/// The models that the store has references of: they are to be here, even if nothing of them is.
fn pulled(context: &Context) -> Outcome<Vec<String>> {
    let references = context.engine()?.store().references().map_err(tenon::Error::from)?;
    Ok(references.into_iter().map(|reference| reference.name).collect())
}

/// What verifying finds once what is wrong has been repaired. What could not be is said, and stays wrong.
fn repair(context: &Context, args: &VerifyArgs, report: VerifyReport) -> Outcome<VerifyReport> {
    match repair::repair(context, args, &report) {
        Err(failure) if args.names.len() == 1 => return Err(failure),
        Err(failure) => context.out.failure(&failure),
        Ok(()) => {}
    }
    verify(context, &report.model)
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

fn to_json(report: &VerifyReport, repaired: &[&str]) -> Value {
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
    json!({
        "name": report.model, "ok": report.error().is_none(), "repaired": repaired.contains(&report.model.as_str()),
        "seconds": report.time.as_secs_f64(), "files": files, "error": null,
    })
}

/// A model whose manifest cannot be read, with the same keys.
fn broken_json((name, problem): &(String, tenon::Error)) -> Value {
    let error = Failure::from(problem.clone()).to_json()["error"].clone();
    json!({"name": name, "ok": false, "repaired": false, "seconds": 0.0, "files": [], "error": error})
}

/// Every error is said; the first wrong digest is that of the command, or else the first error of a file. Of manifests
/// that cannot be read, one alone is the command's error.
fn verdict(context: &Context, reports: &[VerifyReport], broken: &[(String, tenon::Error)]) -> Outcome {
    if let ([], [(_, problem)]) = (reports, broken) {
        return Err(problem.clone().into());
    }
    broken.iter().for_each(|(_, problem)| context.out.failure(&problem.clone().into()));
    let files = reports.iter().flat_map(|report| &report.files);
    let errors: Vec<&tenon::Error> = files.filter_map(|file| file.result.as_ref().err()).collect();
    let worst = errors.iter().position(|error| error.kind() == ErrorKind::HashMismatch).unwrap_or(0);
    for (index, &error) in errors.iter().enumerate() {
        if index != worst {
            context.out.failure(&error.clone().into());
        }
    }
    match (errors.get(worst), broken.len()) {
        (Some(&error), _) => Err(error.clone().into()),
        (None, 0) => Ok(()),
        (None, failed) => Err(Failure::some(failed, failed + reports.len(), "models")),
    }
}
