//! Checks whether a plugin keeps the contract: the work behind `tenon plugin check`.
//!
//! First the library is looked at without running it: what it exports, what it needs, how it was linked. Then it is
//! loaded as any plugin, sidecar and hash first, and put through every path that a host may take: errors, cancel
//! before and during a request, a caller who has had enough, resets, several sessions.
//!
//! A plugin that ends the process ends the check as well: run it in a process of its own.

#![forbid(unsafe_code)]

mod kit;
mod library;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tenon::Isolation;

/// What to check a plugin with.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// A manifest whose model the backend can open. Needed where the backend requires model files.
    pub manifest: Option<PathBuf>,
    /// Folder of the manifest's files.
    pub models_dir: Option<PathBuf>,
    /// How long one request may take before it counts as hanging.
    pub patience: Duration,
    /// Only look at the library; run none of it.
    pub without_running: bool,
    /// Where the plugin runs: in a worker it is shut in as it is there.
    pub isolation: Isolation,
}

impl Default for CheckOptions {
    fn default() -> Self {
        let patience = Duration::from_secs(60);
        Self { manifest: None, models_dir: None, patience, without_running: false, isolation: Isolation::Process }
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The plugin breaks the contract.
    Error,
    /// It works, but something will bite.
    Warning,
    /// Something was not looked at, or is worth knowing.
    Note,
}

impl Level {
    /// Its name, lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Something that the check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub what: String,
    /// Where: a symbol, a task, a step of the check.
    pub place: String,
    /// What to do about it.
    pub advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.level.name(), self.place, self.what)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, " ({})", self.advice) }
    }
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The findings, in the order of the check.
    pub findings: Vec<Finding>,
    /// The steps that were taken, by name.
    pub steps: Vec<String>,
}

impl Report {
    /// Nothing found breaks the contract.
    pub fn passed(&self) -> bool {
        self.findings.iter().all(|finding| finding.level != Level::Error)
    }

    fn step(&mut self, name: impl Into<String>) {
        self.steps.push(name.into());
    }

    fn find(&mut self, level: Level, place: &str, what: impl Into<String>, advice: impl Into<String>) {
        let (what, place, advice) = (what.into(), place.to_owned(), advice.into());
        self.findings.push(Finding { level, what, place, advice });
    }

    fn error(&mut self, place: &str, what: impl Into<String>, advice: impl Into<String>) {
        self.find(Level::Error, place, what, advice);
    }

    fn warning(&mut self, place: &str, what: impl Into<String>, advice: impl Into<String>) {
        self.find(Level::Warning, place, what, advice);
    }

    fn note(&mut self, place: &str, what: impl Into<String>, advice: impl Into<String>) {
        self.find(Level::Note, place, what, advice);
    }
}

/// Checks the plugin at `path`, a library with its sidecar beside it.
pub fn check(path: &Path, options: &CheckOptions) -> Report {
    let mut report = Report::default();
    library::check(path, &mut report);
    if options.without_running {
        report.note("conformance", "the plugin was not run", "");
    } else if report.passed() {
        kit::check(path, options, &mut report);
    } else {
        report.note("conformance", "the plugin was not run, because the library is unfit", "mend the errors first");
    }
    report
}
