//! Pulling against a server that goes wrong. After each case no name in the store may point to wrong bytes.

mod changed;
mod child;
mod matrix;
mod names;
mod processes;
mod program;
mod ranges;
mod server;
mod support;
#[cfg(target_os = "linux")]
mod system;
mod tenon;
#[cfg(unix)]
mod terminal;
mod trust;
