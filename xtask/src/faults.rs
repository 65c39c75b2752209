//! The fault campaign of `tests/faults`, with everything that it loads.

use crate::artifacts;
use crate::process::{self, cargo, run as run_command};
use std::path::Path;

/// Builds all of it optimised and runs a campaign: `[--seed N] [--seconds S] [--faults N]`.
pub fn run(wishes: &[&str]) -> Result<(), String> {
    artifacts::build()?;
    run_command(&mut cargo(&["build", "--release", "--locked", "-p", "tenon-faulty", "-p", "tenon-fault-tests"]))?;
    campaign(&artifacts::release_folder(), wishes)
}

/// A short campaign as a test, always the same, of what the tests were built with and the plugins of
/// [`artifacts::build`]. Nothing that it measures decides.
pub fn short() -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        eprintln!("skipped: the fault campaign runs on Linux only");
        return Ok(());
    }
    campaign(&artifacts::debug_folder(), &["--seed", "1", "--seconds", "15"])
}

/// Runs the campaign that was built in this folder.
fn campaign(built: &Path, wishes: &[&str]) -> Result<(), String> {
    let suffix = std::env::consts::EXE_SUFFIX;
    let library = format!("{}tenon_faulty{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let mut command = process::command(built.join(format!("tenon-faults{suffix}")));
    command.arg("--plugins").arg(artifacts::release_folder()).arg("--faulty").arg(built.join(library));
    command.arg("--worker").arg(built.join(format!("tenon-worker{suffix}"))).args(wishes);
    run_command(&mut command)
}
