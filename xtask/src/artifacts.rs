//! The programs, the C library and the native plugins in target/release, each plugin sealed with its sidecar.

use crate::process::{self, cargo, root, run};
use crate::tools;
use std::path::PathBuf;

/// The plugins that the project builds, by folder under plugins/.
pub const PLUGINS: &[&str] = &["echo", "whisper", "llama"];

/// Sets up, builds the program, the library and every plugin, and seals the plugins.
pub fn build() -> Result<(), String> {
    tools::set_up()?;
    build_host()?;
    build_plugins()
}

/// Builds the programs and the C library. Needs no C++ toolchain. One call, so that all have the same features of the
/// crates that they share, which are then compiled once.
fn build_host() -> Result<(), String> {
    run(&mut cargo(&["build", "--release", "--locked", "-p", "tenon-cli", "-p", "tenon-capi", "-p", "tenon-worker"]))
}

/// Builds the plugins and writes the sidecar of each.
fn build_plugins() -> Result<(), String> {
    let mut command = cargo(&["build", "--release", "--locked"]);
    for plugin in PLUGINS {
        command.args(["-p", &format!("tenon-{plugin}")]);
    }
    if let Some(folder) = tools::libclang_folder() {
        command.env("LIBCLANG_PATH", folder);
    }
    run(&mut command)?;
    PLUGINS.iter().try_for_each(|plugin| seal(plugin))
}

/// Writes the sidecar beside a built plugin: its template with file name and SHA-256.
fn seal(plugin: &str) -> Result<(), String> {
    let template = root().join(format!("plugins/{plugin}/{plugin}.plugin.toml"));
    let mut command = process::command(program());
    command.args(["plugin", "seal", "--quiet"]).arg(library(plugin)).arg("--template").arg(template);
    run(&mut command)
}

/// The program `tenon` that [`build_host`] makes.
pub fn program() -> PathBuf {
    release_folder().join(format!("tenon{}", std::env::consts::EXE_SUFFIX))
}

/// The program `tenon-worker`, beside it.
pub fn worker() -> PathBuf {
    release_folder().join(format!("tenon-worker{}", std::env::consts::EXE_SUFFIX))
}

/// The library of a plugin.
pub fn library(plugin: &str) -> PathBuf {
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    release_folder().join(format!("{prefix}tenon_{plugin}{suffix}"))
}

/// Where release artefacts are.
pub fn release_folder() -> PathBuf {
    target_folder().join("release")
}

/// Where the libraries are that tests load.
pub fn debug_folder() -> PathBuf {
    target_folder().join("debug")
}

fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
