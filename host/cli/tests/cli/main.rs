//! The program as people run it: every command, every exit code, on the echo backend in a home of its own.

mod chat;
mod docs;
mod models;
mod plugins;
mod program;
mod run;
mod support;
mod transcribe;
