//! `tenon manifest`: check, schema, new.

use crate::args::{ManifestCommand, ManifestNew};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Seek;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use tenon::{Diagnostic, Engine, ErrorKind, Isolation, Manifest};
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
    /// Why the file or folder could not be read.
    failure: Option<Failure>,
}

impl Checked {
    fn new(path: PathBuf, diagnostics: Vec<Diagnostic>) -> Self {
        Self { path, diagnostics, unchecked: None, failure: None }
    }

    fn unread(path: PathBuf, failure: Failure) -> Self {
        Self { failure: Some(failure), ..Self::new(path, Vec::new()) }
    }

    fn is_ok(&self) -> bool {
        self.diagnostics.is_empty() && self.failure.is_none()
    }
}

fn check(context: &Context, paths: &[PathBuf]) -> Outcome {
    let mut checked = Vec::new();
    for path in paths {
        match files(path) {
            Ok(files) => {
                for file in files {
                    checked.push(check_file(context, file)?);
                }
            }
            Err(failure) => checked.push(Checked::unread(path.clone(), failure)),
        }
    }
    report(context, &checked)?;
    verdict(context, &checked)
}

/// What could not be read is said one by one; a manifest that is wrong decides on the exit code.
fn verdict(context: &Context, checked: &[Checked]) -> Outcome {
    let failures: Vec<&Failure> = checked.iter().filter_map(|checked| checked.failure.as_ref()).collect();
    let broken = checked.iter().filter(|checked| !checked.is_ok()).count();
    if let ([failure], [_]) = (failures.as_slice(), checked) {
        return Err((*failure).clone());
    }
    failures.iter().for_each(|failure| context.out.failure(failure));
    match broken {
        0 => Ok(()),
        _ if broken == failures.len() => Err(Failure::some(broken, checked.len(), "manifests")),
        _ => Err(Failure::new(ErrorKind::Manifest, format!("{broken} of {} manifests are wrong", checked.len()))),
    }
}

/// The file that was named, or every `*.toml` of the folder.
fn files(path: &Path) -> Outcome<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let io = |error: &std::io::Error| Failure::io(path.display(), "cannot be listed", error);
    let entries = std::fs::read_dir(path).map_err(|error| io(&error))?;
    let mut inside: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    inside.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    if inside.is_empty() {
        return Err(Failure::new(ErrorKind::NotFound, format!("{}: there is no manifest in it", path.display())));
    }
    inside.sort();
    Ok(inside)
}

fn check_file(context: &Context, path: PathBuf) -> Outcome<Checked> {
    let text = match read(&path) {
        Ok(text) => text,
        Err(failure) => return Ok(Checked::unread(path, failure)),
    };
    let manifest = match Manifest::parse(&text, &path) {
        Ok(manifest) => manifest,
        Err(diagnostics) => return Ok(Checked::new(path, diagnostics)),
    };
    let engine = context.engine()?;
    Ok(match engine.check(&manifest) {
        Ok(diagnostics) => Checked::new(path, diagnostics),
        Err(error) => match not_offered(engine, &manifest) {
            Some(diagnostic) => Checked::new(path, vec![diagnostic]),
            None => Checked { unchecked: Some(error.message().to_owned()), ..Checked::new(path, Vec::new()) },
        },
    })
}

/// The text of a manifest. A pipe or a device would make reading wait for ever.
fn read(path: &Path) -> Outcome<String> {
    let io = |error: &std::io::Error| Failure::io(path.display(), "cannot be read", error);
    if !std::fs::metadata(path).map_err(|error| io(&error))?.is_file() {
        return Err(Failure::new(ErrorKind::Io, format!("{}: this is not a plain file", path.display())));
    }
    std::fs::read_to_string(path).map_err(|error| io(&error))
}

/// That the backend is here and does not offer the manifest's task, for which every load is refused.
fn not_offered(engine: &Engine, manifest: &Manifest) -> Option<Diagnostic> {
    let backend = engine.backend_for(manifest, None).ok()?;
    let tasks: Vec<&str> = backend.description().tasks.iter().map(|task| task.task.as_str()).collect();
    let message = || format!("backend \"{}\" does not offer the task \"{}\"", backend.id(), manifest.task);
    let help = || format!("it offers {}", tasks.join(", "));
    (!tasks.contains(&&*manifest.task)).then(|| manifest.diagnostic("task", message(), Some(help())))
}

fn report(context: &Context, checked: &[Checked]) -> Outcome {
    if context.out.json {
        return context.out.json(&Value::Array(checked.iter().map(to_json).collect()));
    }
    for Checked { path, diagnostics, unchecked, .. } in checked.iter().filter(|checked| checked.failure.is_none()) {
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
        "ok": checked.is_ok(),
        "problems": checked.diagnostics,
        "unchecked": checked.unchecked,
        "error": checked.failure.as_ref().map(|failure| failure.to_json()["error"].clone()),
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
