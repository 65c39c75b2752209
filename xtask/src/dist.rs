//! A relocatable archive: program, plugins, headers, manifests, shipped models, completions, man pages, licences.

use crate::artifacts::{self, PLUGINS};
use crate::process::{self, output, root, run as run_command};
use std::fs;
use std::path::{Path, PathBuf};

/// Packs `target/dist/tenon-VERSION-TARGET.tar.gz` and tries the unpacked program.
pub fn run() -> Result<(), String> {
    artifacts::build()?;
    let name = format!("tenon-{}-{}", env!("CARGO_PKG_VERSION"), target()?);
    let dist = root().join("target/dist");
    let stage = dist.join(&name);
    if stage.exists() {
        fs::remove_dir_all(&stage).map_err(|error| format!("{}: {error}", stage.display()))?;
    }
    fill(&stage)?;
    let archive = dist.join(format!("{name}.tar.gz"));
    run_command(process::command("tar").arg("-C").arg(&dist).arg("-czf").arg(&archive).arg(&name))?;
    // The stage is what the archive unpacks to; its program must find its own models and plugins.
    run_command(process::command(stage.join("bin/tenon")).args(["demo", "--quiet"]))?;
    println!("{}", archive.display());
    Ok(())
}

fn fill(stage: &Path) -> Result<(), String> {
    let share = stage.join("share/tenon");
    copy(&artifacts::program(), &stage.join("bin"))?;
    for plugin in PLUGINS {
        copy(&artifacts::library(plugin), &stage.join("lib/tenon/plugins"))?;
        let sidecar = artifacts::release_folder().join(format!("{plugin}.plugin.toml"));
        copy(&sidecar, &stage.join("lib/tenon/plugins"))?;
    }
    copy_matching(&root().join("include"), &stage.join("include"), &["h", "hpp"])?;
    copy_matching(&root().join("manifests"), &share.join("manifests"), &["toml", "json"])?;
    copy_matching(&root().join("models"), &share.join("models"), &["bin", "gguf", "json", "md"])?;
    copy_matching(&root().join("models/recordings"), &share.join("models/recordings"), &["wav", "toml"])?;
    for file in ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"] {
        copy(&root().join(file), &share)?;
    }
    manuals(stage)?;
    completions(stage)
}

/// Writes the man pages, each into the folder of its section.
fn manuals(stage: &Path) -> Result<(), String> {
    let pages = stage.join("share/man/man1");
    create_parent(&pages.join("tenon.1"))?;
    run_command(process::command(artifacts::program()).args(["man", "--quiet"]).arg(&pages))?;
    let formats = pages.join("tenon-manifest.5");
    if formats.is_file() {
        copy(&formats, &stage.join("share/man/man5"))?;
        fs::remove_file(&formats).map_err(|error| format!("{}: {error}", formats.display()))?;
    }
    Ok(())
}

/// Writes the completions where the shells look for them.
fn completions(stage: &Path) -> Result<(), String> {
    let places = [
        ("bash", "share/bash-completion/completions/tenon"),
        ("zsh", "share/zsh/site-functions/_tenon"),
        ("fish", "share/fish/vendor_completions.d/tenon.fish"),
    ];
    for (shell, place) in places {
        let text = output(process::command(artifacts::program()).args(["completions", shell]))?;
        let path = stage.join(place);
        create_parent(&path)?;
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn copy_matching(from: &Path, to: &Path, endings: &[&str]) -> Result<(), String> {
    let entries = fs::read_dir(from).map_err(|error| format!("{}: {error}", from.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let ending = path.extension().map(|ending| ending.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_file() && endings.contains(&ending.as_str()) {
            copy(&path, to)?;
        }
    }
    Ok(())
}

fn copy(file: &Path, folder: &Path) -> Result<(), String> {
    let to: PathBuf = folder.join(file.file_name().unwrap_or_default());
    create_parent(&to)?;
    fs::copy(file, &to).map(|_| ()).map_err(|error| format!("{}: {error}", file.display()))
}

fn create_parent(path: &Path) -> Result<(), String> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))
}

/// The target triple of the compiler in use.
fn target() -> Result<String, String> {
    let about = output(process::command("rustc").arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc -vV names no host".to_owned())
}
