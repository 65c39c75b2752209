//! `tenon devices`: what the plugins can compute on, in their own words.

use crate::context::Context;
use crate::failure::Outcome;
use crate::output::{Table, size};
use serde_json::{Value, json};

/// Runs the command, with `--isolation worker` as workers see the machine. Loads every plugin that can be loaded; the
/// others are `tenon doctor`'s business.
pub fn run(context: &Context) -> Outcome {
    let engine = context.engine()?;
    let mut table = Table::new(&["BACKEND", "DEVICE", "DESCRIPTION", "MEMORY", "FREE"]);
    let mut rows = Vec::new();
    for plugin in engine.plugins().into_iter().filter(|plugin| plugin.problem.is_none()) {
        let backend = match context.backend(engine, &plugin.id) {
            Ok(backend) => backend,
            Err(error) => {
                context.out.warn(error.message());
                continue;
            }
        };
        for device in &backend.description().devices {
            let memory = |bytes| if bytes == 0 { "-".to_owned() } else { size(bytes) };
            table.row([
                plugin.id.clone(),
                device.name.clone(),
                device.description.clone(),
                memory(device.memory_total),
                memory(device.memory_free),
            ]);
            let mut row = json!({"backend": plugin.id});
            merge(&mut row, json!(device));
            rows.push(row);
        }
    }
    if context.out.json { context.out.json(&json!(rows)) } else { context.out.text(&table.to_string()) }
}

fn merge(row: &mut Value, more: Value) {
    if let (Value::Object(row), Value::Object(more)) = (row, more) {
        row.extend(more);
    }
}
