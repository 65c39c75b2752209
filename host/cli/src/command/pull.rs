//! `tenon pull`: fetches what models lack into the store, and says how far it is.
//!
//! [`wanted`] turns the command line into manifests, [`show`] turns events into bars, lines and JSON.

mod show;
mod wanted;

use crate::args;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::output::size;
use serde_json::{Value, json};
use show::Show;
use std::io::{BufRead, IsTerminal, Write};
use std::num::NonZeroU64;
use tenon::fetch::Network;
use tenon::{CancelToken, Environment, ErrorKind, Manifest, Pull, PullReport, VerifyMode};

/// `--all-missing` asks before it fetches more than this.
const ASK_ABOVE: u64 = 1_000_000_000;

/// Runs the command. Names, licences and flags are checked before the first byte of anything is fetched.
pub fn run(context: &Context, args: &args::Pull) -> Outcome {
    let network = network(args)?;
    let guard = context.interrupt.guard();
    let wanted = wanted::manifests(context, args, &network, &guard.token())?;
    for manifest in &wanted {
        manifest.check_license(args.accept_license).map_err(tenon::Error::from)?;
    }
    if args.all_missing {
        confirm(context, args, &wanted)?;
    }
    let mut pulled = Vec::new();
    for manifest in &wanted {
        let outcome = one(context, args, manifest, &network, guard.token());
        let stopped = matches!(&outcome, Err(failure) if failure.kind == ErrorKind::Cancelled.name());
        match outcome {
            Err(failure) if wanted.len() == 1 || stopped => return Err(failure),
            Err(failure) => {
                context.out.failure(&failure);
                pulled.push((manifest, Err(failure)));
            }
            Ok(report) => pulled.push((manifest, Ok(report))),
        }
    }
    finish(context, &pulled)
}

fn network(args: &args::Pull) -> Outcome<Network> {
    let mut network = Network::of(&Environment::of_this_process()).map_err(tenon::Error::from)?;
    if args.offline {
        network = network.offline(true);
    }
    if let Some(endpoint) = &args.endpoint {
        network = network.endpoint(endpoint).map_err(tenon::Error::from)?;
    }
    if let Some(connections) = args.connections {
        network = network.connections(connections.into());
    }
    Ok(match args.rate_limit.and_then(NonZeroU64::new) {
        Some(limit) => network.rate_limit(Some(limit)),
        None => network,
    })
}

/// Says how much all of it is, and asks when it is a lot.
fn confirm(context: &Context, args: &args::Pull, wanted: &[Manifest]) -> Outcome {
    let store = context.engine()?.store();
    let lacking = |manifest: &Manifest| -> u64 {
        let found = store.examine(manifest, VerifyMode::Never, &mut |_| std::ops::ControlFlow::Continue(()));
        let files = manifest.files.iter().zip(found).filter(|(file, _)| !(file.optional && args.no_optional));
        files.filter(|(_, found)| !matches!(found, Some(Ok(_)))).map(|(file, _)| file.size).sum()
    };
    let total: u64 = wanted.iter().map(lacking).sum();
    match wanted {
        [] => context.out.remark("nothing is missing"),
        [one] => context.out.remark(&format!("to fetch: {} for {}", size(total), one.name)),
        models => context.out.remark(&format!("to fetch: {} for {} models", size(total), models.len())),
    }
    if args.yes || total <= ASK_ABOVE {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::usage(format!("this fetches {}: say --yes if it shall", size(total))));
    }
    let _ = write!(std::io::stderr(), "Fetch {}? [y/N] ", size(total));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::check("nothing was fetched")),
    }
}

fn one(
    context: &Context,
    args: &args::Pull,
    manifest: &Manifest,
    network: &Network,
    token: CancelToken,
) -> Outcome<PullReport> {
    let pull = Pull::new().accept_license(args.accept_license).network(network.clone()).cancel(token);
    fetch(context, manifest, if args.no_optional { pull.without_optional() } else { pull })
}

/// Pulls one model, and shows how far it is.
pub fn fetch(context: &Context, manifest: &Manifest, pull: Pull<'_>) -> Outcome<PullReport> {
    let mut show = Show::new(context, manifest);
    let outcome = context.engine()?.pull_manifest(manifest, pull.events(|event| show.event(event)));
    show.end();
    let report = outcome?;
    context.progress.status("success");
    Ok(report)
}

fn finish(context: &Context, pulled: &[(&Manifest, Outcome<PullReport>)]) -> Outcome {
    if context.out.json {
        let models: Vec<Value> = pulled.iter().map(|(manifest, outcome)| to_json(manifest, outcome)).collect();
        let fetched: u64 =
            pulled.iter().filter_map(|(_, outcome)| outcome.as_ref().ok()).map(PullReport::fetched).sum();
        context.out.json(&json!({"models": models, "fetched": fetched}))?;
    }
    match pulled.iter().filter(|(_, outcome)| outcome.is_err()).count() {
        0 => Ok(()),
        failed => Err(Failure::some(failed, pulled.len(), "models")),
    }
}

fn to_json(manifest: &Manifest, outcome: &Outcome<PullReport>) -> Value {
    let report = match outcome {
        Ok(report) => report,
        Err(failure) => return json!({"name": manifest.name, "ok": false, "error": failure.to_json()["error"]}),
    };
    let files = report.files.iter().map(|file| {
        json!({
            "role": file.role, "name": file.name, "size": file.size, "sha256": file.sha256,
            "path": file.path, "fetched": file.fetched,
        })
    });
    json!({
        "name": manifest.name,
        "ok": true,
        "license": manifest.license,
        "restricted": manifest.restricted,
        "reference": report.reference,
        "files": files.collect::<Vec<_>>(),
        "fetched": report.fetched(),
        "seconds": report.time.as_secs_f64(),
    })
}
