//! `tenon bundle`: export, import, show.

use crate::args::{BundleCommand, BundleExport, BundleImport};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::output::{Table, size};
use crate::progress::Step;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;
use tenon::bundle::{Bundle, Index, Stage};
use tenon::{BundleReport, CancelToken, Manifest, Signature};

/// Runs the command.
pub fn run(context: &Context, command: &BundleCommand) -> Outcome {
    match command {
        BundleCommand::Export(args) => export(context, args),
        BundleCommand::Import(args) => import(context, args),
        BundleCommand::Show { bundle } => show(context, bundle),
    }
}

/// Shows how far a bundle is, and stops it when that is asked for.
fn watch<'w>(
    context: &'w Context,
    name: String,
    token: CancelToken,
) -> impl FnMut(Stage, &tenon_store::Progress) -> ControlFlow<()> + 'w {
    let mut step: Option<(Stage, Step)> = None;
    move |stage, how_far| {
        if step.as_ref().is_none_or(|(before, _)| *before != stage) {
            // One bar at a time.
            step = None;
            let doing = match stage {
                Stage::Writing => "writing",
                Stage::Reading => "reading",
                Stage::Verifying => "verifying",
            };
            step = Some((stage, context.step(format!("{doing} {name}"))));
        }
        if let Some((_, step)) = &mut step {
            step.bytes(how_far.done, how_far.total);
        }
        if token.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn export(context: &Context, args: &BundleExport) -> Outcome {
    let engine = context.engine()?;
    let guard = context.interrupt.guard();
    let (names, with_plugins) = (&args.names, !args.no_plugins);
    if args.output == Path::new("-") {
        let mut watch = watch(context, "the bundle".to_owned(), guard.token());
        let mut out = Piped(io::stdout().lock(), None);
        let written = engine.export_bundle_to(names, with_plugins, &mut out, &mut watch);
        return match (written, out.1) {
            // Nobody reads any more.
            (Err(_), Some(error)) => Err(error.into()),
            (written, _) => Ok(written.map(drop)?),
        };
    }
    let index = {
        let mut watch = watch(context, args.output.display().to_string(), guard.token());
        engine.export_bundle(names, with_plugins, &args.output, &mut watch)?
    };
    let bytes = std::fs::metadata(&args.output).map_or(0, |metadata| metadata.len());
    if context.out.json {
        return context.out.json(&json!({"path": args.output, "size": bytes, "index": index}));
    }
    let models: Vec<&str> = index.models.iter().map(|model| model.name.as_str()).collect();
    let mut page = format!("models   {}\n", models.join(", "));
    page += &plugin_line(index.plugins.iter().map(|plugin| plugin.id.as_str()), "plugins");
    context.out.text(&format!("{page}written to {}, {}\n", args.output.display(), size(bytes)))
}

/// Standard output, and why it could not be written.
struct Piped<W: Write>(W, Option<io::Error>);

impl<W: Write> Write for Piped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(|error| self.keep(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(|error| self.keep(error))
    }
}

impl<W: Write> Piped<W> {
    fn keep(&mut self, error: io::Error) -> io::Error {
        let kind = error.kind();
        // What comes again is nobody's end.
        if kind != io::ErrorKind::Interrupted {
            self.1 = Some(error);
        }
        kind.into()
    }
}

/// A bundle that is a file, or what is piped in.
fn open(bundle: &Path) -> Outcome<(Box<dyn Read>, &Path)> {
    if bundle == Path::new("-") {
        return Ok((Box::new(io::stdin().lock()), Path::new("standard input")));
    }
    let opened = File::open(bundle).map_err(|error| Failure::io(bundle.display(), "cannot be opened", &error))?;
    Ok((Box::new(opened), bundle))
}

fn import(context: &Context, args: &BundleImport) -> Outcome {
    let engine = context.engine()?;
    let (mut from, name) = open(&args.bundle)?;
    let bundle = engine.open_bundle(&mut *from, name)?;
    for manifest in bundle.manifests() {
        let Manifest { name, license, .. } = manifest;
        context.out.remark(&format!("{name}: license {license}, {}", size(manifest.size())));
    }
    let how = tenon::BundleImport {
        accept_license: args.accept_license,
        without_plugins: args.no_plugins,
        replace_plugins: args.replace_plugins,
        replace_models: args.replace_models,
    };
    let guard = context.interrupt.guard();
    let report = {
        let mut watch = watch(context, name.display().to_string(), guard.token());
        engine.import_bundle(bundle, how, &mut watch)?
    };
    report.hidden.iter().for_each(|sentence| context.out.warn(sentence));
    match context.out.json {
        true => context.out.json(&imported_json(&report)),
        false => context.out.text(&imported_page(&report)),
    }
}

fn imported_page(report: &BundleReport) -> String {
    let done = &report.imported;
    let mut page = format!("models   {}\n", done.models.join(", "));
    page += &plugin_line(done.new_plugins.iter().map(String::as_str), "plugins");
    page += &plugin_line(done.known_plugins.iter().map(String::as_str), "plugins that were there");
    let known = match done.known_bytes {
        0 => String::new(),
        bytes => format!(", {} were there", size(bytes)),
    };
    page + &format!("imported {}{known}\n", size(done.new_bytes))
}

fn plugin_line<'p>(ids: impl Iterator<Item = &'p str>, heading: &str) -> String {
    let ids: Vec<&str> = ids.collect();
    if ids.is_empty() { String::new() } else { format!("{heading}  {}\n", ids.join(", ")) }
}

fn imported_json(report: &BundleReport) -> Value {
    let done = &report.imported;
    json!({
        "models": done.models,
        "new_bytes": done.new_bytes,
        "known_bytes": done.known_bytes,
        "new_plugins": done.new_plugins,
        "known_plugins": done.known_plugins,
        "hidden": report.hidden,
    })
}

fn show(context: &Context, path: &Path) -> Outcome {
    let (mut from, name) = open(path)?;
    let bundle = context.engine()?.open_bundle(&mut *from, name)?;
    match context.out.json {
        true => context.out.json(&bundle_json(&bundle)),
        false => context.out.text(&bundle_page(&bundle)),
    }
}

fn bundle_page(bundle: &Bundle<'_>) -> String {
    let index = bundle.index();
    let mut models = Table::new(&["MODEL", "TASK", "BACKEND", "SIZE", "LICENSE", "SIGNED BY"]);
    for manifest in bundle.manifests() {
        let Manifest { name, task, backend, .. } = manifest;
        let cells = [name, task, backend].map(Clone::clone);
        let more = [size(carried(index, manifest)), license(manifest), signer(manifest.signature())];
        models.row(cells.into_iter().chain(more));
    }
    let mut page = models.to_string();
    if !index.plugins.is_empty() {
        let mut plugins = Table::new(&["PLUGIN", "VERSION", "ABI", "TARGET", "CPU", "SIZE"]);
        for plugin in &index.plugins {
            let texts = [&plugin.id, &plugin.version, &plugin.abi, &index.target, &plugin.cpu].map(Clone::clone);
            plugins.row(texts.into_iter().chain([size(plugin.library.size)]));
        }
        page += &format!("\n{plugins}");
    }
    page
}

/// Bytes of a model's files that are in the bundle: optional ones may be missing.
fn carried(index: &Index, manifest: &Manifest) -> u64 {
    let is_here = |file: &&tenon::ManifestFile| index.blobs.iter().any(|blob| blob.sha256 == file.sha256);
    manifest.files.iter().filter(is_here).map(|file| file.size).sum()
}

fn license(manifest: &Manifest) -> String {
    match manifest.restricted {
        true => format!("{} (restricted)", manifest.license),
        false => manifest.license.clone(),
    }
}

/// The key that signed a manifest, and whether anybody here knows it.
pub fn signer(signature: Option<&Signature>) -> String {
    match signature {
        Some(signature) if signature.is_good() => signature.key().to_owned(),
        Some(signature) => format!("{}, a key that is not trusted here", signature.key()),
        None => String::new(),
    }
}

/// A signature in JSON.
pub fn signature_json(signature: Option<&Signature>) -> Value {
    match signature {
        Some(signature) => {
            let comment = signature.is_good().then(|| signature.comment());
            json!({"key": signature.key(), "good": signature.is_good(), "comment": comment})
        }
        None => Value::Null,
    }
}

fn bundle_json(bundle: &Bundle<'_>) -> Value {
    let index = bundle.index();
    let models = bundle.manifests().iter().map(|manifest| {
        json!({
            "name": manifest.name,
            "task": manifest.task,
            "backend": manifest.backend,
            "license": manifest.license,
            "restricted": manifest.restricted,
            "size": carried(index, manifest),
            "signature": signature_json(manifest.signature()),
        })
    });
    let models: Vec<Value> = models.collect();
    json!({"target": index.target, "size": index.size(), "models": models, "blobs": index.blobs, "plugins": index.plugins})
}
