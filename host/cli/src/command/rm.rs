//! `tenon rm`: models leave the store, with what only they needed of it.

use crate::args::Rm;
use crate::command::gc;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use serde_json::json;

/// Runs the command.
pub fn run(context: &Context, args: &Rm) -> Outcome {
    let engine = context.engine()?;
    let names: Vec<&str> = args.names.iter().map(String::as_str).collect();
    let removed = engine.store().remove(&names).map_err(|error| explained(context, &error))?;
    engine.refresh();
    if context.out.json {
        return context.out.json(&json!({"models": names, "files": gc::to_json(&removed)}));
    }
    context.out.line(&format!("removed {}: {}", names.join(", "), gc::amount(&removed)))?;
    gc::remarks(context, &removed);
    Ok(())
}

/// A model that the catalogue knows can be here without being in the store.
fn explained(context: &Context, error: &tenon_store::Error) -> Failure {
    let failure = Failure::from(tenon::Error::from(error.clone()));
    let tenon_store::ErrorKind::NoReference { name, .. } = error.kind() else { return failure };
    let known = context.engine().is_ok_and(|engine| engine.manifest(name).is_ok());
    let more =
        "; it is in the catalogue, and was neither pulled nor imported: `tenon show` tells where its manifest lies";
    Failure { message: if known { failure.message + more } else { failure.message }, ..failure }
}
