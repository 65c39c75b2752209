//! `tenon estimate`: how much memory a model is going to need, and whether it fits now.

use crate::args::EstimateArgs;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::output::{Table, size};
use serde_json::{Value, json};
use tenon::{DeviceFit, ErrorKind, Estimate, MemoryParts, Options};

/// Runs the command. What does not fit is an answer, not an error.
pub fn run(context: &Context, args: &EstimateArgs) -> Outcome {
    let options = load_options(context, args)?;
    let guard = context.interrupt.guard();
    let load = context.new_load().options(options).cancel(guard.token());
    let estimate = context.engine()?.estimate(&args.model, &load)?;
    if context.out.json {
        return context.out.json(&to_json(&estimate, args.sessions));
    }
    context.out.text(&table(&estimate, args.sessions).to_string())?;
    remarks(context, &estimate, args.sessions);
    Ok(())
}

/// What was asked for by `-o key=value`, read by the schema of the model's backend.
fn load_options(context: &Context, args: &EstimateArgs) -> Outcome<Options> {
    let mut options = Options::new();
    if args.option.is_empty() {
        return Ok(options);
    }
    let engine = context.engine()?;
    let backend = engine.backend_for(&*engine.manifest(&args.model)?, context.isolation())?;
    for pair in &args.option {
        let (key, text) = crate::flags::split(pair)?;
        let value = backend.load_schema().parse(&key, text);
        options.set(key, value.map_err(|problem| Failure::new(ErrorKind::Options, &*problem.message))?);
    }
    Ok(options)
}

fn table(estimate: &Estimate, sessions: u64) -> Table {
    let mut table =
        Table::new(&["DEVICE", "WEIGHTS", "CACHE", "COMPUTE", "OTHER", "TOTAL", "AVAILABLE", "RESERVE", "FITS"]);
    for device in &estimate.devices {
        let MemoryParts { weights, cache, compute, other } = device.need.parts(sessions);
        table.row([
            device.need.device.clone(),
            size(weights),
            size(cache),
            size(compute),
            size(other),
            size(device.need.total(sessions)),
            device.available.map_or_else(|| "unknown".to_owned(), size),
            size(device.reserve),
            if device.fits(sessions) { "yes" } else { "no" }.to_owned(),
        ]);
    }
    table
}

fn remarks(context: &Context, estimate: &Estimate, sessions: u64) {
    let each = estimate.total(1) - estimate.total(0);
    let (model, count) = (size(estimate.total(0)), if sessions == 1 { "session" } else { "sessions" });
    context.out.remark(&format!("{model} for the model, {} for each session; {sessions} {count}", size(each)));
    if !estimate.fits(sessions) {
        context.out.warn("it does not fit: loading it is refused, unless with --ignore-memory");
    }
}

fn to_json(estimate: &Estimate, sessions: u64) -> Value {
    let device = |device: &DeviceFit| {
        json!({
            "device": device.need.device,
            "model": device.need.model,
            "session": device.need.session,
            "reclaimable": device.need.reclaimable,
            "total": device.need.total(sessions),
            "available": device.available,
            "reserve": device.reserve,
            "fits": device.fits(sessions),
        })
    };
    json!({
        "model": estimate.model,
        "backend": estimate.backend,
        "load_options": estimate.load_options,
        "sessions": sessions,
        "devices": estimate.devices.iter().map(device).collect::<Vec<Value>>(),
        "total": estimate.total(sessions),
        "fits": estimate.fits(sessions),
    })
}
