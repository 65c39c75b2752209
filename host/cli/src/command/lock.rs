//! `tenon lock`: pin models and plugins by their digests, and check what is pinned.

use crate::args::Lock;
use crate::context::{Context, read_lock};
use crate::failure::{Failure, Outcome};
use serde_json::{Value, json};
use tenon::{Engine, Error, ErrorKind, LockFile, State};

/// Runs the command.
pub fn run(context: &Context, args: &Lock) -> Outcome {
    match args.check {
        true => check(context, args),
        false => write(context, args),
    }
}

fn write(context: &Context, args: &Lock) -> Outcome {
    let engine = context.engine()?;
    let (names, broken) = match args.names.is_empty() {
        true => present(engine),
        false => (args.names.clone(), Vec::new()),
    };
    if names.is_empty() {
        let nothing = Failure::new(ErrorKind::NotFound, "no model is present, so that there is nothing to pin");
        return Err(broken.into_iter().next().map_or(nothing, Failure::from));
    }
    let lock = engine.lock(&names)?;
    lock.write(&args.output).map_err(Error::from)?;
    match context.out.json {
        true => context.out.json(&to_json(args, &lock))?,
        false => context.out.text(&page(args, &lock))?,
    }
    broken.iter().for_each(|error| context.out.failure(&error.clone().into()));
    match broken.len() {
        0 => Ok(()),
        failed => Err(Failure::some(failed, failed + names.len(), "models")),
    }
}

/// The models whose files are here, and what is wrong with manifests that cannot be read: what they describe cannot be
/// loaded, locked or not.
fn present(engine: &Engine) -> (Vec<String>, Vec<Error>) {
    let (mut names, mut broken) = (Vec::new(), Vec::new());
    for entry in engine.models() {
        match entry.problem {
            Some(problem) => broken.push(problem),
            None if entry.state != State::Missing => names.push(entry.name),
            None => {}
        }
    }
    (names, broken)
}

fn page(args: &Lock, lock: &LockFile) -> String {
    let models: Vec<&str> = lock.models.iter().map(|model| model.name.as_str()).collect();
    let plugins: Vec<String> = lock.plugins.iter().map(|plugin| format!("{} {}", plugin.id, plugin.version)).collect();
    let mut page = format!("models   {}\n", models.join(", "));
    if !plugins.is_empty() {
        page += &format!("plugins  {}\n", plugins.join(", "));
    }
    format!("{page}pinned in {}\n", args.output.display())
}

fn to_json(args: &Lock, lock: &LockFile) -> Value {
    json!({"path": args.output, "models": lock.models, "plugins": lock.plugins})
}

/// Every difference is said; all of them are one failure.
fn check(context: &Context, args: &Lock) -> Outcome {
    let lock = read_lock(&args.output)?;
    let differences = context.engine()?.compare(&lock);
    let count = lock.models.len() + lock.plugins.len();
    if context.out.json {
        let said: Vec<&str> = differences.iter().map(Error::message).collect();
        context.out.json(&json!({"path": args.output, "ok": said.is_empty(), "pinned": count, "differences": said}))?;
    } else if differences.is_empty() {
        context.out.line(&format!("{}: ok, {count} pinned", args.output.display()))?;
    } else {
        differences.iter().for_each(|error| context.out.failure(&error.clone().into()));
    }
    match differences.len() {
        0 => Ok(()),
        differing => {
            let message = format!("{differing} of {count} that {} pins are not as it says", args.output.display());
            Err(Failure::new(ErrorKind::HashMismatch, message))
        }
    }
}
