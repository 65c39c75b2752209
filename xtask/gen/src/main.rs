//! Writes the generated files of the workspace, or with `--check` fails where one is out of date. With `--freeze` it writes
//! the frozen copy of the C interface of a version that is not published yet, too.
//!
//! Apart from `xtask`, which must start within seconds on a fresh machine, because this needs cbindgen and the crates
//! whose definitions it writes out.

mod embedding;
mod frozen;
mod headers;
mod options;
mod python;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let asked = |flag: &str| std::env::args().any(|argument| argument == flag);
    let (check, freeze) = (asked("--check"), asked("--freeze"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_path_buf).unwrap_or_default();
    match files(&root, freeze).and_then(|files| settle(&files, check)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Every generated file with the content that it must have.
fn files(root: &Path, freeze: bool) -> Result<Vec<(PathBuf, String)>, String> {
    let mut files = headers::generate(root)?;
    files.extend(embedding::generate(root)?);
    if freeze {
        files.extend(frozen::generate(&files)?);
    }
    files.push(python::generate(&files)?);
    let schema = serde_json::to_string_pretty(&tenon_store::manifest_schema()).map_err(|error| error.to_string())?;
    files.push((root.join("manifests/schema.json"), schema + "\n"));
    files.push((root.join("docs/options.md"), options::document(root)?));
    Ok(files)
}

/// Writes what differs; with `check` names it instead.
fn settle(files: &[(PathBuf, String)], check: bool) -> Result<(), String> {
    let mut stale = Vec::new();
    for (path, content) in files {
        if std::fs::read_to_string(path).is_ok_and(|present| present == *content) {
            continue;
        }
        if check {
            stale.push(path.display().to_string());
            continue;
        }
        std::fs::write(path, content).map_err(|error| format!("{}: {error}", path.display()))?;
        eprintln!("wrote {}", path.display());
    }
    if stale.is_empty() {
        Ok(())
    } else {
        Err(format!("out of date: {}; run `cargo xtask gen` and commit the result", stale.join(", ")))
    }
}
