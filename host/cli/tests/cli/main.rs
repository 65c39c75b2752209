//! The program as people run it: every command, every exit code, on the echo backend in a home of its own.

#[cfg(target_os = "linux")]
mod chat;
#[cfg(target_os = "linux")]
mod docs;
mod estimate;
mod models;
mod offline;
mod plugins;
mod program;
mod pull;
mod run;
mod store;
mod support;
mod transcribe;
#[cfg(unix)]
mod workers;
