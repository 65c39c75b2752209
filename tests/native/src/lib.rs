//! What the tests of the native plugins share: an engine over the checkout, the shipped models and recordings.
//!
//! The plugins are loaded from `target/release`, where `cargo xtask build` puts them; a test that misses one fails and
//! says so.

use std::path::{Path, PathBuf};
use tenon::{Manifest, WorkerSettings};

pub mod random;

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_path_buf).unwrap_or_default()
}

/// Where the sealed plugins are.
pub fn plugin_folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("release")
}

/// Says loudly that a test cannot run here, and why: on stderr and in the log whose lines `cargo xtask test` counts.
pub fn skip(test: &str, why: &str) {
    eprintln!("skipped: {test}: {why}");
    if let Some(log) = std::env::var_os("TENON_SKIP_LOG")
        && let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(log)
    {
        use std::io::Write;
        // The line on stderr stands in any case.
        let _ = writeln!(file, "{test}: {why}");
    }
}

/// Workers of the program that was built along with the plugins.
pub fn worker() -> WorkerSettings {
    WorkerSettings::new().program(plugin_folder().join(format!("tenon-worker{}", std::env::consts::EXE_SUFFIX)))
}

/// A manifest for one model file, whose backend runs in the `process` or in a `worker`.
pub fn isolated(backend: &str, file: &Path, isolation: &str) -> Result<Manifest, Box<dyn std::error::Error>> {
    let text = format!("isolation = \"{isolation}\"\n{}", manifest(backend, file)?);
    Manifest::parse_text(&text, Path::new("the test")).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        problems.join("; ").into()
    })
}

/// A folder with a manifest named `case` for one model file.
pub fn home(backend: &str, file: &Path) -> Result<tempfile::TempDir, Box<dyn std::error::Error>> {
    let home = tempfile::tempdir()?;
    std::fs::write(home.path().join("case.toml"), manifest(backend, file)?)?;
    Ok(home)
}

fn manifest(backend: &str, file: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let task = if backend == "whisper" { "transcribe" } else { "chat" };
    let digest = tenon_store::hash_file(file)?.digest;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let size = std::fs::metadata(file)?.len();
    Ok(format!(
        "name = \"case\"\ntask = \"{task}\"\nbackend = \"{backend}\"\nlicense = \"unknown\"\n\n[[file]]\nrole = \"model\"\n\
         name = \"{name}\"\nsha256 = \"{digest}\"\nsize = {size}\n"
    ))
}
