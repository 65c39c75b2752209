//! What keeps a plugin in: descriptors, limits, files (Landlock) and system calls (seccomp), in this order.
//!
//! Set up by the main thread, while it is the only one and before any code of the plugin was loaded; threads that are
//! started later inherit all of it. What the system does not have is reported, or refused where it was required.
//! Nothing here undoes anything.

#[cfg(unix)]
mod descriptors;
#[cfg(target_os = "linux")]
mod files;
#[cfg(unix)]
mod limits;
#[cfg(target_os = "linux")]
mod syscalls;

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use tenon_wire::{Sandbox, SandboxReport};

/// What a worker may keep.
pub struct Given<'a> {
    /// The connection to the engine.
    pub socket: RawFd,
    /// The library and the model's files: what it may read.
    pub files: &'a [BorrowedFd<'a>],
    /// Most memory for data, bytes.
    pub memory_limit: Option<u64>,
}

/// A worker that is shut in, or as far as that was asked for and can be done.
pub struct Shut {
    report: SandboxReport,
    /// Filters of system calls before any code of the plugin ran, where the kernel counts them.
    filters: Option<u32>,
}

/// Shuts this process in.
///
/// # Errors
/// A sentence: what was required and is missing, or that descriptors which nobody gave cannot be closed.
pub fn enter(wanted: Sandbox, given: &Given<'_>) -> Result<Shut, String> {
    descriptors::close_all_but(&kept(given))
        .map_err(|error| format!("the worker cannot close descriptors: {error}"))?;
    limits::always(given.memory_limit).map_err(|error| format!("the worker cannot limit itself: {error}"))?;
    if wanted == Sandbox::Off {
        return Ok(Shut { report: SandboxReport::default(), filters: None });
    }
    let Layers { report, filters, missing } = shut_in(given);
    match (wanted, missing.is_empty()) {
        (Sandbox::Require, false) => Err(required(&missing)),
        _ => Ok(Shut { report: SandboxReport { missing: said(&missing), ..report }, filters }),
    }
}

impl Shut {
    /// Refuses memory that can be run from now on: the plugin is loaded. `wanted` is what was asked for at first.
    ///
    /// # Errors
    /// A sentence, where this was required.
    pub fn refuse_new_code(&mut self, wanted: Sandbox) -> Result<(), String> {
        // Where the first filter is missing, so is this one, and that was said already.
        if !self.report.seccomp {
            return Ok(());
        }
        let Err(problem) = no_new_code(self.filters) else { return Ok(()) };
        if wanted == Sandbox::Require {
            return Err(required(&[problem]));
        }
        let known = self.report.missing.take();
        self.report.missing = said(&known.into_iter().chain([problem]).collect::<Vec<_>>());
        Ok(())
    }

    /// What is in force, and what is missing.
    pub fn report(&self) -> &SandboxReport {
        &self.report
    }
}

/// What of the sandbox is in force, and what is not, each with its reason.
struct Layers {
    report: SandboxReport,
    filters: Option<u32>,
    missing: Vec<String>,
}

#[cfg(target_os = "linux")]
fn shut_in(given: &Given<'_>) -> Layers {
    let mut missing = Vec::new();
    let mut keep = |result: Result<(), String>| result.map_err(|problem| missing.push(problem)).is_ok();
    let limited = limits::in_sandbox(given.files, given.memory_limit);
    keep(limited.map_err(|error| format!("limits ({error})")));
    let mut landlock = None;
    keep(
        files::restrict(given.files).map(|version| landlock = Some(version)).map_err(|why| format!("Landlock ({why})")),
    );
    let limited = given.memory_limit.is_some();
    let seccomp = keep(syscalls::restrict(limited).map_err(|why| format!("seccomp ({why})")));
    Layers { report: SandboxReport { landlock, seccomp, missing: None }, filters: syscalls::filters(), missing }
}

#[cfg(not(target_os = "linux"))]
fn shut_in(_: &Given<'_>) -> Layers {
    let missing = vec![format!("a sandbox (Tenon has none on {})", std::env::consts::OS)];
    Layers { report: SandboxReport::default(), filters: None, missing }
}

#[cfg(target_os = "linux")]
fn no_new_code(filters: Option<u32>) -> Result<(), String> {
    syscalls::refuse_new_code(filters).map_err(|why| format!("seccomp after loading ({why})"))
}

#[cfg(not(target_os = "linux"))]
fn no_new_code(_: Option<u32>) -> Result<(), String> {
    Ok(())
}

fn kept(given: &Given<'_>) -> Vec<RawFd> {
    let standard = [0, 1, 2, given.socket];
    standard.into_iter().chain(given.files.iter().map(AsRawFd::as_raw_fd)).collect()
}

fn said(missing: &[String]) -> Option<String> {
    (!missing.is_empty()).then(|| missing.join(", "))
}

fn required(missing: &[String]) -> String {
    let missing = missing.join(", ");
    format!(
        "the manifest requires a sandbox, and this system lacks {missing}: run it elsewhere, or say sandbox = \"on\""
    )
}
