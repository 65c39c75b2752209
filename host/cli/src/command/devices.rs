//! `tenon devices`: what the plugins can compute on, in their own words.

use crate::context::Context;
use crate::failure::Outcome;
use crate::output::{Table, size};
use serde_json::{Value, json};
use tenon::Device;

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
            rows.push(to_json(&plugin.id, device));
        }
    }
    if context.out.json { context.out.json(&json!(rows)) } else { context.out.text(&table.to_string()) }
}

fn to_json(backend: &str, device: &Device) -> Value {
    let mut row = json!({"backend": backend});
    if let (Value::Object(row), Value::Object(more)) = (&mut row, json!(device)) {
        row.extend(more);
    }
    // Zero is how a backend says that it does not know.
    for (key, bytes) in [("memory_total", device.memory_total), ("memory_free", device.memory_free)] {
        if bytes == 0 {
            row[key] = Value::Null;
        }
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_a_backend_does_not_know_is_null() {
        let text = r#"{"name": "cpu", "description": "any", "memory_total": 0, "memory_free": 5}"#;
        let row = to_json("echo", &serde_json::from_str(text).unwrap());
        assert_eq!((&row["backend"], &row["name"]), (&json!("echo"), &json!("cpu")));
        assert_eq!((&row["memory_total"], &row["memory_free"]), (&Value::Null, &json!(5)));
    }
}
