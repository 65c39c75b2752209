//! `tenon manifest`: check, schema, new.

use crate::args::{ManifestCommand, ManifestNew};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use serde::Serialize;
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use tenon::{Diagnostic, ErrorKind, Manifest};

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

/// A manifest as it is written; the order of the fields is that of the file.
#[derive(Serialize)]
struct Draft<'a> {
    name: &'a str,
    task: &'a str,
    backend: &'a str,
    license: &'a str,
    file: Vec<DraftFile>,
}

#[derive(Serialize)]
struct DraftFile {
    role: String,
    name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    url: Vec<String>,
    sha256: String,
    size: u64,
}

fn new(context: &Context, args: &ManifestNew) -> Outcome {
    if args.url.len() > args.files.len() {
        return Err(Failure::usage("--url is given more often than there are files"));
    }
    let mut files = Vec::new();
    for (index, file) in args.files.iter().enumerate() {
        files.push(draft_file(context, file, args.url.get(index))?);
    }
    let draft =
        Draft { name: &args.name, task: &args.task, backend: &args.backend, license: &args.license, file: files };
    let text = toml::to_string(&draft).map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?;
    // What this command writes is checked as what a person writes.
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{}.toml", args.name)));
    if let Err(diagnostics) = Manifest::parse(&text, &path) {
        let lines: Vec<String> = diagnostics.iter().map(Diagnostic::to_string).collect();
        return Err(Failure::new(ErrorKind::Manifest, lines.join("\n")));
    }
    match &args.output {
        Some(path) => write_new(context, path, &text),
        None if context.out.json => context.out.json(&json!(draft)),
        None => context.out.text(&text),
    }
}

fn write_new(context: &Context, path: &Path, text: &str) -> Outcome {
    let io = |error: &std::io::Error| Failure::io(path.display(), "cannot be written", error);
    let mut file = std::fs::File::create_new(path).map_err(|error| io(&error))?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(|error| io(&error))?;
    match context.out.json {
        true => context.out.json(&json!({"path": path})),
        false => context.out.line(&path.display().to_string()),
    }
}

/// `PATH` or `ROLE=PATH`, hashed.
fn draft_file(context: &Context, argument: &str, url: Option<&String>) -> Outcome<DraftFile> {
    let (role, path) = match argument.split_once('=') {
        Some((role, path)) if !role.contains(['/', '\\', '.']) => (role, Path::new(path)),
        _ => ("model", Path::new(argument)),
    };
    let io = |error: &std::io::Error| Failure::io(path.display(), "cannot be read", error);
    let mut file = std::fs::File::open(path).map_err(|error| io(&error))?;
    let total = file.metadata().map_err(|error| io(&error))?.len();
    let guard = context.interrupt.guard();
    let token = guard.token();
    let mut step = context.step(format!("hashing {}", path.display()));
    let mut done = 0;
    let mut hears = |more| {
        done += more;
        step.bytes(done, total);
        if token.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let hashed = tenon_store::hash_reader(&mut file, &mut hears).map_err(|error| match error.kind() {
        std::io::ErrorKind::Interrupted => Failure::new(ErrorKind::Cancelled, "cancelled"),
        _ => io(&error),
    })?;
    Ok(DraftFile {
        role: role.to_owned(),
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        url: url.cloned().into_iter().collect(),
        sha256: hashed.digest.to_string(),
        size: hashed.size,
    })
}
