//! `tenon verify --repair`: what is corrupt goes out of use, and what is good of it need not be fetched again.

use crate::args::VerifyArgs;
use crate::command::pull;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::output::size;
use std::ops::ControlFlow;
use std::sync::Arc;
use tenon::fetch::Network;
use tenon::{Environment, FileReport, Manifest, Pull, VerifyReport};
use tenon_store::{Demoted, ManifestFile};

/// Brings the files of a model in order that verifying found corrupt or missing.
pub fn repair(context: &Context, args: &VerifyArgs, report: &VerifyReport) -> Outcome {
    let engine = context.engine()?;
    let manifest = engine.manifest(&report.model)?;
    let bad: Vec<&ManifestFile> = report
        .files
        .iter()
        .zip(&manifest.files)
        .filter(|(file, _)| file.result.is_err())
        .map(|(_, wanted)| wanted)
        .collect();
    let mut demoted = Vec::new();
    for wanted in &bad {
        demoted.extend(demote(context, &manifest, wanted)?);
    }
    for line in &demoted {
        context.out.remark(line);
    }
    let guard = context.interrupt.guard();
    let mut network = Network::of(&Environment::of_this_process()).map_err(tenon::Error::from)?;
    if args.offline {
        network = network.offline(true);
    }
    // Whoever pulled the model has accepted its licence.
    let pull = Pull::new().accept_license(was_pulled(context, &manifest)?).network(network).cancel(guard.token());
    let keeps_optional =
        bad.iter().any(|wanted| wanted.optional) || report.files.iter().zip(&manifest.files).all(is_here);
    let pull = if keeps_optional { pull } else { pull.without_optional() };
    pull::fetch(context, &manifest, pull).map(drop).map_err(|failure| said_with(failure, &demoted))
}

/// Whether a file is not an optional one that is missing.
fn is_here((file, _): (&FileReport, &ManifestFile)) -> bool {
    !matches!(file.result, Ok(None))
}

/// Takes a corrupt file out of use; what to say about it.
fn demote(context: &Context, manifest: &Arc<Manifest>, wanted: &ManifestFile) -> Outcome<Option<String>> {
    let guard = context.interrupt.guard();
    let token = guard.token();
    let mut step = context.step(format!("looking for what is good of {}", wanted.name));
    let mut done = 0;
    let mut hears = |more| {
        done += more;
        step.bytes(done, wanted.size);
        if token.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let store = context.engine()?.store();
    let demoted = store.demote(manifest, wanted, &mut hears).map_err(tenon::Error::from)?;
    let Demoted::Corrupt { path, kept } = demoted else { return Ok(None) };
    let kept = if kept == 0 { "nothing of it is kept".to_owned() } else { format!("{} of it are kept", size(kept)) };
    Ok(Some(match path.starts_with(store.folder()) {
        true => format!("{} was corrupt and is out of use; {kept}", path.display()),
        false => format!("{} is corrupt and stays as it is; {kept} for the copy in the store", path.display()),
    }))
}

/// Whether the store has a reference of the model.
fn was_pulled(context: &Context, manifest: &Manifest) -> Outcome<bool> {
    let references = context.engine()?.store().references().map_err(tenon::Error::from)?;
    Ok(references.iter().any(|reference| reference.manifest.as_ref().is_ok_and(|one| one.name == manifest.name)))
}

/// A failed pull, with what has become of the corrupt files all the same.
fn said_with(failure: Failure, demoted: &[String]) -> Failure {
    let before: String = demoted.iter().map(|line| format!("{line}; ")).collect();
    Failure { message: before + &failure.message, ..failure }
}
