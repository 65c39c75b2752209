//! `tenon lock`: pin models and plugins by their digests, and check what is pinned.

use crate::args::Lock;
use crate::context::{Context, read_lock};
use crate::failure::{Failure, Outcome};
use serde_json::{Value, json};
use tenon::{Error, ErrorKind, LockFile};

/// Runs the command.
pub fn run(context: &Context, args: &Lock) -> Outcome {
    match args.check {
        true => check(context, args),
        false => write(context, args),
    }
}

fn write(context: &Context, args: &Lock) -> Outcome {
    let lock = context.engine()?.lock(&args.names)?;
    if lock.models.is_empty() {
        return Err(Failure::new(ErrorKind::NotFound, "no model is present, so that there is nothing to pin"));
    }
    lock.write(&args.output).map_err(Error::from)?;
    match context.out.json {
        true => context.out.json(&to_json(args, &lock)),
        false => context.out.text(&page(args, &lock)),
    }
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
