//! `tenon gc`: removes from the store what no model needs.

use crate::args::Gc;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::output::{Table, size};
use serde_json::{Value, json};
use tenon_store::{Collect, Collected};

/// Runs the command.
pub fn run(context: &Context, args: &Gc) -> Outcome {
    let asked = Collect { dry_run: args.dry_run, all_parts: args.parts };
    let collected =
        context.engine()?.store().collect(&asked).map_err(|error| Failure::from(tenon::Error::from(error)))?;
    if context.out.json {
        let mut result = to_json(&collected);
        result["dry_run"] = json!(args.dry_run);
        return context.out.json(&result);
    }
    if args.dry_run {
        context.out.text(&table(&collected))?;
    }
    context.out.line(&match (collected.removed.is_empty(), args.dry_run) {
        (true, _) => "nothing to remove".to_owned(),
        (false, true) => format!("would remove {}", amount(&collected)),
        (false, false) => format!("removed {}", amount(&collected)),
    })?;
    remarks(context, &collected);
    Ok(())
}

fn table(collected: &Collected) -> String {
    if collected.removed.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["SIZE", "PATH"]);
    for file in &collected.removed {
        table.row([size(file.size), file.path.display().to_string()]);
    }
    table.to_string()
}

/// How many files, and how many bytes that frees.
pub fn amount(collected: &Collected) -> String {
    let count = collected.removed.len();
    let files = if count == 1 { "file" } else { "files" };
    format!("{count} {files}, {}", size(collected.bytes()))
}

/// What a collection left, and why.
pub fn remarks(context: &Context, collected: &Collected) {
    if !collected.busy.is_empty() {
        context.out.remark(&format!("left, since another process works on it: {}", collected.busy.len()));
    }
    if !collected.unread.is_empty() {
        context.out.remark("a reference could not be read: `tenon gc` removes the blobs that only it needed");
    }
}

/// What a collection removed.
pub fn to_json(collected: &Collected) -> Value {
    let removed: Vec<Value> =
        collected.removed.iter().map(|file| json!({"path": file.path, "size": file.size})).collect();
    json!({"removed": removed, "bytes": collected.bytes(), "busy": collected.busy})
}
