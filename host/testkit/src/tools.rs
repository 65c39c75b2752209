//! Tools that a test may need and a machine may lack.

use std::io::Write;
use std::process::{Command, Stdio};

/// Says loudly that a test cannot run here, and why: on standard error and in the file that `TENON_SKIP_LOG` names,
/// whose lines `cargo xtask test` counts.
pub fn skip(test: &str, why: &str) {
    eprintln!("SKIPPED: {test}: {why}");
    if let Some(log) = std::env::var_os("TENON_SKIP_LOG")
        && let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(log)
    {
        // The line on standard error stands in any case.
        let _ = writeln!(file, "{test}: {why}");
    }
}

/// Whether a tool can be run, as `tool --version` tells; [`skip`] says so for `test` where it cannot.
pub fn installed(tool: &str, test: &str) -> bool {
    let mut command = Command::new(tool);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let there = command.status().is_ok_and(|status| status.success());
    if !there {
        skip(test, &format!("{tool} is not installed"));
    }
    there
}
