//! `tenon manifest`: check, schema, new.

use crate::args::{ManifestCommand, ManifestNew};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Seek;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use tenon::{Diagnostic, ErrorKind, Isolation, Manifest};
use tenon_store::{Chunks, ManifestFile};

/// Runs the command.
pub fn run(context: &Context, command: &ManifestCommand) -> Outcome {
    match command {
        ManifestCommand::Check { paths } => check(context, paths),
        ManifestCommand::Schema => context.out.json(&tenon_store::manifest_schema()),
        ManifestCommand::New(args) => new(context, args),
    }
}

/// What is known about one manifest file after its check.
struct Checked {
    path: PathBuf,
    diagnostics: Vec<Diagnostic>,
    /// Why the options could not be checked against the backend.
    unchecked: Option<String>,
}

fn check(context: &Context, paths: &[PathBuf]) -> Outcome {
    let mut checked = Vec::new();
    for file in files(paths)? {
        checked.push(check_file(context, file)?);
    }
    report(context, &checked)?;
    let broken = checked.iter().filter(|checked| !checked.diagnostics.is_empty()).count();
    match broken {
        0 => Ok(()),
        _ => Err(Failure::new(ErrorKind::Manifest, format!("{broken} of {} manifests are wrong", checked.len()))),
    }
}

/// The files that were named, and every `*.toml` of the folders.
fn files(paths: &[PathBuf]) -> Outcome<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let io = |error: &std::io::Error| Failure::io(path.display(), "cannot be listed", error);
        let entries = std::fs::read_dir(path).map_err(|error| io(&error))?;
        let mut inside: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        inside.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
        if inside.is_empty() {
            return Err(Failure::new(ErrorKind::NotFound, format!("{}: there is no manifest in it", path.display())));
        }
        inside.sort();
        files.append(&mut inside);
    }
    Ok(files)
}

fn check_file(context: &Context, path: PathBuf) -> Outcome<Checked> {
    let text = std::fs::read_to_string(&path).map_err(|error| Failure::io(path.display(), "cannot be read", &error))?;
    let manifest = match Manifest::parse(&text, &path) {
        Ok(manifest) => manifest,
        Err(diagnostics) => return Ok(Checked { path, diagnostics, unchecked: None }),
    };
    Ok(match context.engine()?.check(&manifest) {
        Ok(diagnostics) => Checked { path, diagnostics, unchecked: None },
        Err(error) => Checked { path, diagnostics: Vec::new(), unchecked: Some(error.message().to_owned()) },
    })
}

fn report(context: &Context, checked: &[Checked]) -> Outcome {
    if context.out.json {
        return context.out.json(&Value::Array(checked.iter().map(to_json).collect()));
    }
    for Checked { path, diagnostics, unchecked } in checked {
        match (diagnostics.is_empty(), unchecked) {
            (true, None) => context.out.line(&format!("{}: ok", path.display()))?,
            (true, Some(reason)) => {
                context.out.line(&format!("{}: ok, but its options are unchecked: {reason}", path.display()))?;
            }
            (false, _) => diagnostics.iter().try_for_each(|diagnostic| context.out.line(&diagnostic.to_string()))?,
        }
    }
    Ok(())
}

fn to_json(checked: &Checked) -> Value {
    json!({
        "path": checked.path,
        "ok": checked.diagnostics.is_empty(),
        "problems": checked.diagnostics,
        "unchecked": checked.unchecked,
    })
}

fn new(context: &Context, args: &ManifestNew) -> Outcome {
    if args.url.len() > args.files.len() {
        return Err(Failure::usage("--url is given more often than there are files"));
    }
    let mut draft = Manifest::new(&args.name, &args.task, &args.backend, &args.license);
    draft.isolation = context.isolation().unwrap_or_default();
    for (index, file) in args.files.iter().enumerate() {
        draft.files.push(draft_file(context, file, args.url.get(index), args.chunks)?);
    }
    let text = draft.to_toml();
    // What this command writes is checked as what a person writes.
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{}.toml", args.name)));
    if let Err(diagnostics) = Manifest::parse(&text, &path) {
        let lines: Vec<String> = diagnostics.iter().map(Diagnostic::to_string).collect();
        return Err(Failure::new(ErrorKind::Manifest, lines.join("\n")));
    }
    match &args.output {
        Some(path) => write_new(context, path, &text),
        None if context.out.json => context.out.json(&draft_to_json(&draft)),
        None => context.out.text(&text),
    }
}

/// The draft by the keys of a manifest.
fn draft_to_json(draft: &Manifest) -> Value {
    let files = draft.files.iter().map(|file| {
        let mut json = json!({"role": file.role, "name": file.name});
        if !file.urls.is_empty() {
            json["url"] = json!(file.urls);
        }
        (json["sha256"], json["size"]) = (json!(file.sha256), json!(file.size));
        if let Some(chunks) = &file.chunks {
            (json["chunk_size"], json["chunks"]) = (json!(chunks.size()), json!(chunks.digests()));
        }
        json
    });
    let mut json = json!({
        "name": draft.name, "task": draft.task, "backend": draft.backend, "license": draft.license,
        "file": files.collect::<Vec<_>>(),
    });
    if draft.isolation != Isolation::default() {
        json["isolation"] = json!(draft.isolation.name());
    }
    json
}

fn write_new(context: &Context, path: &Path, text: &str) -> Outcome {
    let io = |error: &std::io::Error| Failure::io(path.display(), "cannot be written", error);
    let mut file = File::create_new(path).map_err(|error| io(&error))?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(|error| io(&error))?;
    match context.out.json {
        true => context.out.json(&json!({"path": path})),
        false => context.out.line(&path.display().to_string()),
    }
}

/// `PATH` or `ROLE=PATH`, hashed; with `chunks`, in chunks too.
fn draft_file(context: &Context, argument: &str, url: Option<&String>, chunks: bool) -> Outcome<ManifestFile> {
    let (role, path) = match argument.split_once('=') {
        Some((role, path)) if !role.contains(['/', '\\', '.']) => (role, Path::new(path)),
        _ => ("model", Path::new(argument)),
    };
    let failure = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::Interrupted => Failure::new(ErrorKind::Cancelled, "cancelled"),
        _ => Failure::io(path.display(), "cannot be read", &error),
    };
    let mut file = File::open(path).map_err(failure)?;
    let size = file.metadata().map_err(failure)?.len();
    let total = if chunks { 2 * size } else { size };
    let guard = context.interrupt.guard();
    let token = guard.token();
    let mut step = context.step(format!("hashing {}", path.display()));
    let mut done = 0;
    let mut hears = |more| {
        done += more;
        step.bytes(done, total);
        if token.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let hashed = tenon_store::hash_reader(&mut file, &mut hears).map_err(failure)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut drafted = ManifestFile::new(role, name, hashed.digest, hashed.size);
    drafted.urls = url.cloned().into_iter().collect();
    if chunks {
        file.rewind().map_err(failure)?;
        drafted.chunks = Some(Chunks::of(&mut file, Chunks::fitting_size(hashed.size), &mut hears).map_err(failure)?);
    }
    Ok(drafted)
}
