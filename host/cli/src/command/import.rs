//! `tenon import`: a file that is here already becomes the file of a model.

use crate::args::Import as Args;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::output::{Table, size};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use tenon_store::{Import, Imported, Placing};

/// Runs the command.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let engine = context.engine()?;
    let asked = Import {
        placing: placing(args),
        name: args.name.clone(),
        task: args.task.clone(),
        backend: args.backend.clone(),
        license: args.license.clone(),
    };
    let guard = context.interrupt.guard();
    let token = guard.token();
    let mut step = context.step(format!("importing {}", args.file.display()));
    let mut hears = |progress: &tenon_store::Progress| {
        step.bytes(progress.done, progress.total);
        if token.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let imported = engine.store().import(&args.file, &engine.catalog(), &asked, &mut hears);
    drop(step);
    let imported = imported.map_err(|error| Failure::from(tenon::Error::from(error)))?;
    engine.refresh();
    if context.out.json {
        return context.out.json(&to_json(&imported));
    }
    context.out.text(&page(&imported))?;
    remarks(context, &imported);
    Ok(())
}

fn placing(args: &Args) -> Placing {
    match (args.copy, args.hard_link, args.link) {
        (true, ..) => Placing::Copy,
        (_, true, _) => Placing::HardLink,
        (.., true) => Placing::Link,
        _ => Placing::Clone,
    }
}

fn page(imported: &Imported) -> String {
    let name = &imported.manifest.name;
    let head = match imported.known {
        true => format!("this is {name} of the catalogue\n"),
        false => format!("imported as {name}, manifest {}\n", imported.reference.display()),
    };
    let mut table = Table::new(&["FILE", "SIZE", "SHA256", "IN THE STORE"]);
    for file in &imported.files {
        let place = if file.was_there { "was there".to_owned() } else { file.place.display().to_string() };
        table.row([file.from.display().to_string(), size(file.size), file.sha256.short(), place]);
    }
    head + &table.to_string()
}

fn remarks(context: &Context, imported: &Imported) {
    if !imported.missing.is_empty() {
        let name = &imported.manifest.name;
        let missing = imported.missing.join(", ");
        context.out.warn(&format!("{name} still lacks {missing}: `tenon pull {name}` fetches that, or import it too"));
    }
}

fn to_json(imported: &Imported) -> Value {
    let files: Vec<Value> = imported
        .files
        .iter()
        .map(|file| {
            json!({
                "from": file.from, "place": file.place, "sha256": file.sha256, "size": file.size,
                "was_there": file.was_there,
            })
        })
        .collect();
    json!({
        "name": imported.manifest.name,
        "known": imported.known,
        "manifest": imported.reference,
        "files": files,
        "missing": imported.missing,
    })
}
