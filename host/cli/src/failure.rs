//! What a command ends with when it does not succeed: a sentence, a kind, an exit code.

use serde_json::{Map, Value, json};
use std::fmt;
use std::io;
use tenon::ErrorKind;

/// How a command ends.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Why a command did not succeed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The exit code of the program.
    pub code: u8,
    /// What went wrong, for a program: a name of the engine's table, or `usage`, `some-failed`, `check`.
    pub kind: &'static str,
    /// What, where, and what to do; empty when everything has been said already.
    pub message: String,
    /// Details beside the message.
    pub details: Vec<(String, String)>,
}

/// Exit code of bad usage; clap uses it too.
pub const EXIT_USAGE: u8 = 2;
/// The detail of an error that has what a worker wrote.
const WORKER_LOG: &str = "log";
/// Most lines of it that people are shown.
const LAST_LINES: usize = 10;
/// Kind of a failure to write because nobody reads any more.
const BROKEN_PIPE: &str = "broken-pipe";

impl Failure {
    /// A kind of the engine's table with a sentence.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { code: kind.exit_code(), kind: kind.name(), message: message.into(), details: Vec::new() }
    }

    /// The command line asks for something that cannot be.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: EXIT_USAGE, kind: "usage", message: message.into(), details: Vec::new() }
    }

    /// A check found something; what it found is on standard output.
    pub fn check(message: impl Into<String>) -> Self {
        Self { code: 1, kind: "check", message: message.into(), details: Vec::new() }
    }

    /// Some of several inputs failed; each has been reported.
    pub fn some(failed: usize, of: usize, noun: &str) -> Self {
        let message = format!("{failed} of {of} {noun} failed");
        Self { code: tenon::EXIT_SOME_FAILED, kind: "some-failed", message, details: Vec::new() }
    }

    /// A file that could not be read or written.
    pub fn io(path: impl fmt::Display, doing: &str, error: &io::Error) -> Self {
        let kind = if error.kind() == io::ErrorKind::NotFound { ErrorKind::NotFound } else { ErrorKind::Io };
        Self::new(kind, format!("{path}: {doing}: {error}"))
    }

    /// Nobody reads standard output any more: not worth a word.
    pub fn is_broken_pipe(&self) -> bool {
        self.kind == BROKEN_PIPE
    }

    /// What a worker that died wrote last, for people: a heading and some lines. Nothing where the message has it all.
    pub fn last_lines(&self) -> Vec<String> {
        let log = self.details.iter().find(|(key, _)| key == WORKER_LOG).map(|(_, log)| log.as_str());
        let lines: Vec<&str> = log.unwrap_or_default().lines().filter(|line| !line.trim().is_empty()).collect();
        if self.kind != ErrorKind::WorkerDied.name() || lines.len() < 2 {
            return Vec::new();
        }
        let last = lines[lines.len().saturating_sub(LAST_LINES)..].iter().map(|line| format!("  {}", line.trim_end()));
        std::iter::once("the last lines of the worker:".to_owned()).chain(last).collect()
    }

    /// The object that `--json` prints on standard error.
    pub fn to_json(&self) -> Value {
        let details: Map<String, Value> = self.details.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        // What clap says goes on with a usage line for people.
        let sentence = self.message.split("\n\nUsage:").next().unwrap_or_default();
        json!({"error": {
            "kind": self.kind,
            "message": sentence,
            "exit_code": self.code,
            "details": details,
        }})
    }
}

impl From<tenon::Error> for Failure {
    fn from(error: tenon::Error) -> Self {
        Self {
            code: error.kind().exit_code(),
            kind: error.kind().name(),
            message: error.message().to_owned(),
            details: error.details().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        }
    }
}

/// Writing to standard output or standard error.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { code: 141, kind: BROKEN_PIPE, message: String::new(), details: Vec::new() };
        }
        Self::new(ErrorKind::Io, format!("standard output: {error}"))
    }
}
