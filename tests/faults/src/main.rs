//! The fault campaign: what goes wrong in workers, at random and by seed. `cargo xtask faults` builds what it needs and
//! runs it.
//!
//! Eight threads ask models that run in workers; each request has an input of its own, and its answer is known. Beside
//! them other threads do everything that must not matter to any request but those in the worker that is hit. The order
//! and the parameters of the faults depend on the seed alone. `stage.rs` judges each request, `report.rs` counts. At the end
//! `calm.rs` measures how soon a model is back when nothing else runs.

#[cfg(target_os = "linux")]
mod calm;
#[cfg(target_os = "linux")]
mod campaign;
#[cfg(target_os = "linux")]
mod census;
#[cfg(target_os = "linux")]
mod home;
#[cfg(target_os = "linux")]
mod hostile;
#[cfg(target_os = "linux")]
mod lane;
#[cfg(target_os = "linux")]
mod life;
#[cfg(target_os = "linux")]
mod misdeeds;
#[cfg(target_os = "linux")]
mod odds;
#[cfg(target_os = "linux")]
mod questions;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod scarce;
#[cfg(target_os = "linux")]
mod stage;
#[cfg(target_os = "linux")]
mod strike;

use std::process::ExitCode;

/// The error is a sentence for the terminal.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((first, words)) if first == "without-disk" => scarce::without_disk(words).map(|()| true),
        _ => campaign::run(&arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("error: the fault campaign reads /proc, which only Linux has");
    ExitCode::FAILURE
}
