//! What `tenon pull` shall fetch: names, manifest files, what a hub has, addresses, or everything that is missing.

use crate::args;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use tenon::fetch::{Network, hub, manifest_of_url};
use tenon::{CancelToken, Engine, Manifest, ModelEntry, State, VerifyMode};

/// The manifests of what the command line names, each once, in its order.
pub(super) fn manifests(
    context: &Context,
    args: &args::Pull,
    network: &Network,
    token: &CancelToken,
) -> Outcome<Vec<Manifest>> {
    if args.all_missing {
        return missing(context);
    }
    let foreign = args.what.iter().filter(|what| is_foreign(what)).count();
    refuse_flags(args, foreign)?;
    let mut wanted: Vec<Manifest> = Vec::new();
    // Names first: a typo is found before a hub is asked.
    for what in args.what.iter().filter(|what| !is_foreign(what)) {
        known(context, what)?;
    }
    for what in &args.what {
        let manifest = match is_foreign(what) {
            true => found_elsewhere(context, args, what, network, token)?,
            false => known(context, what)?,
        };
        if wanted.iter().all(|other| other.name != manifest.name) {
            wanted.push(manifest);
        }
    }
    Ok(wanted)
}

/// Whether no manifest of it is here.
fn is_foreign(what: &str) -> bool {
    what.starts_with("hf:") || what.contains("://")
}

/// A manifest file, or the name of a model.
fn known(context: &Context, what: &str) -> Outcome<Manifest> {
    let manifest = match Path::new(what).extension().is_some_and(|extension| extension == "toml") {
        true => Manifest::read(Path::new(what)).map_err(tenon::Error::from)?,
        false => context.engine()?.manifest(what)?.as_ref().clone(),
    };
    Ok(manifest)
}

/// Refuses flags that say something about a manifest that is made, where none is, or several are.
fn refuse_flags(args: &args::Pull, foreign: usize) -> Outcome {
    let of_one = [("--name", args.name.is_some()), ("--sha256", args.sha256.is_some())];
    let of_some =
        [("--task", args.task.is_some()), ("--backend", args.backend.is_some()), ("--license", args.license.is_some())];
    let given = |flags: &[(&'static str, bool)]| flags.iter().find(|(_, given)| *given).map(|(flag, _)| *flag);
    match (foreign, given(&of_one), given(&of_some)) {
        (0, Some(flag), _) | (0, None, Some(flag)) => {
            Err(Failure::usage(format!("{flag} is for hf: and addresses: a manifest says it already")))
        }
        (2.., Some(flag), _) => {
            Err(Failure::usage(format!("{flag} is for one thing at a time: pull the others apart")))
        }
        _ => Ok(()),
    }
}

/// A manifest that is made from what a hub or a server says, and shown.
fn found_elsewhere(
    context: &Context,
    args: &args::Pull,
    what: &str,
    network: &Network,
    token: &CancelToken,
) -> Outcome<Manifest> {
    let mut hears = |_: &tenon::fetch::Event| match token.is_cancelled() {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let found = match (what.starts_with("hf:"), args.sha256) {
        (true, None) => hub::resolve(network, what, &mut hears),
        (true, Some(_)) => return Err(Failure::usage("--sha256 is for addresses: a hub says the SHA-256 itself")),
        (false, Some(sha256)) => manifest_of_url(network, what, sha256, args.name.as_deref(), &mut hears),
        (false, None) => {
            let message = format!("{what} needs --sha256: nothing is fetched that nobody can check");
            return Err(Failure::usage(message));
        }
    };
    let mut manifest = found.map_err(tenon::Error::from)?;
    for (field, given) in [
        (&mut manifest.name, &args.name),
        (&mut manifest.task, &args.task),
        (&mut manifest.backend, &args.backend),
        (&mut manifest.license, &args.license),
    ] {
        if let Some(given) = given {
            field.clone_from(given);
        }
    }
    // What the hub says of the licence holds whatever the command line calls it.
    manifest.restricted |= tenon_store::is_research_only(&manifest.license);
    checked(context, &manifest)
}

/// Shows what was made, and reads it back as what a person wrote.
fn checked(context: &Context, manifest: &Manifest) -> Outcome<Manifest> {
    let text = manifest.to_toml();
    context.out.remark(&text);
    let name = PathBuf::from(format!("{}.toml", manifest.name));
    Manifest::parse(&text, &name).map_err(|diagnostics| {
        tenon::Error::from(tenon_store::Error::from(tenon_store::ErrorKind::Manifest { diagnostics })).into()
    })
}

/// The models of the user's whose files are not all here: see `--all-missing`.
fn missing(context: &Context) -> Outcome<Vec<Manifest>> {
    let engine = context.engine()?;
    let references = engine.store().references().map_err(tenon::Error::from)?;
    let references: BTreeSet<String> = references.into_iter().map(|entry| entry.name).collect();
    let folders = own_folders(context, engine);
    let catalog = engine.catalog();
    let incomplete =
        engine.models().into_iter().filter(|entry| entry.problem.is_none() && entry.state != State::Present);
    let manifests = incomplete.filter_map(|entry| Some((catalog.get(&entry.name).ok()?, entry)));
    let own = |(manifest, entry): &(&Manifest, ModelEntry)| {
        let named = entry.manifest.parent().is_some_and(|folder| folders.iter().any(|own| own == folder));
        named || references.contains(&entry.name) || has_begun(engine, manifest)
    };
    Ok(manifests.filter(own).map(|(manifest, _)| manifest.clone()).collect())
}

/// The folders of manifests that the user named, and those of the user's own.
fn own_folders(context: &Context, engine: &Engine) -> Vec<PathBuf> {
    let named = std::env::var_os("TENON_MANIFESTS").unwrap_or_default();
    let named = std::env::split_paths(&named).filter(|folder| !folder.as_os_str().is_empty());
    let own = engine.locations().config.join("models.d");
    context.globals.manifests.iter().cloned().chain(named).chain([own]).collect()
}

/// Whether a pull broke off, or a part of the model that it cannot do without is here.
fn has_begun(engine: &Engine, manifest: &Manifest) -> bool {
    let store = engine.store();
    let found = store.examine(manifest, VerifyMode::Never, &mut |_| ControlFlow::Continue(()));
    let mut files = manifest.files.iter().zip(found).filter(|(file, _)| !file.optional);
    files.any(|(file, found)| matches!(found, Some(Ok(_))) || store.taken_by_part(file.sha256) > 0)
}
