//! A backend that tries what a plugin in a sandbox must not be able to do, and some of what it must.
//!
//! A request names an attempt with the option `probe` and, where it needs one, a path or a process as its text. The
//! answer is `succeeded` or `refused ENAME`, the name of the error. Some attempts are made while the library is being
//! loaded, by a constructor, which is before anything else of a plugin runs: `at_load` asks what came of those.
//! No attempt leaves anything behind.

#![allow(unsafe_code)]

mod probes;

use probes::Probe;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tenon_plugin::{Backend, Call, Error, Input, Model, ModelFile, Result, Session};
use tenon_tasks::{Description, FileRole, FinishReason, TaskDescription, schema_of, task};

/// The request options.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct RunOptions {
    /// What to try.
    probe: Option<Probe>,
    /// Say what came of the attempts at loading instead, one in each line.
    at_load: bool,
    /// Stay a moment, and say whether another request was there meanwhile, which this backend does not allow.
    stay: bool,
}

/// Requests that are in the backend.
static PRESENT: AtomicUsize = AtomicUsize::new(0);
/// How long a request stays that was told to.
const MOMENT: Duration = Duration::from_millis(5);

/// Whether this was the only request for a moment.
fn stay() -> &'static str {
    let others = PRESENT.fetch_add(1, Ordering::SeqCst);
    std::thread::sleep(MOMENT);
    let with_this = PRESENT.fetch_sub(1, Ordering::SeqCst);
    if others == 0 && with_this == 1 { "alone" } else { "not alone" }
}

/// The load options: none.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct LoadOptions {}

/// The backend.
struct Prober;

/// The model: the descriptor of its file, and what it read of that when it was opened.
struct Opened {
    file: Option<i32>,
    read: String,
}

impl Backend for Prober {
    const ID: &'static str = "prober";
    // No flags: one session at a time, which `stay` looks after.
    const CAPS: u32 = 0;
    type Model = Opened;

    fn start() -> Result<Self> {
        Ok(Prober)
    }

    fn describe(&self) -> Description {
        Description {
            summary: "tries to get out of the sandbox".into(),
            engine: concat!("prober ", env!("CARGO_PKG_VERSION")).into(),
            tasks: vec![TaskDescription { task: task::GENERATE.to_owned(), schema: schema_of::<RunOptions>() }],
            load_schema: schema_of::<LoadOptions>(),
            files: vec![FileRole { role: "model".into(), required: false, many: false }],
            audio: None,
            devices: vec![],
        }
    }

    fn open(&self, _call: &Call, files: &[ModelFile<'_>], _options: &str) -> Result<Opened> {
        let read = files.first().map_or_else(
            || "no file".to_owned(),
            |file| match std::fs::read(file.path) {
                Ok(bytes) if bytes.len() as u64 == file.size => "succeeded".to_owned(),
                Ok(bytes) => format!("{} of {} bytes", bytes.len(), file.size),
                Err(error) => format!("refused: {error}"),
            },
        );
        Ok(Opened { file: files.first().and_then(|file| file.fd), read })
    }
}

impl Model for Opened {
    type Session = Attempts;

    fn session(self: &Arc<Self>, _call: &Call, _options: &str) -> Result<Attempts> {
        Ok(Attempts(Arc::clone(self)))
    }
}

/// A session.
struct Attempts(Arc<Opened>);

impl Session for Attempts {
    fn run(&mut self, call: &Call, _task: &str, input: Input<'_>, options: &str) -> Result<()> {
        let asked: RunOptions = tenon_plugin::options(options)?;
        tenon_plugin::log::debug(format_args!("tries {:?}", asked.probe));
        let answer = match asked.probe {
            _ if asked.at_load => probes::at_load(),
            _ if asked.stay => stay().to_owned(),
            Some(Probe::ReadModel) => self.0.read.clone(),
            Some(probe) => probes::attempt(probe, input.text()?, self.0.file),
            None => return Err(Error::options("name a `probe`")),
        };
        call.emit_text(&answer)?;
        call.emit_finish(FinishReason::Stop, None)
    }

    fn reset(&mut self, _call: &Call) -> Result<()> {
        Ok(())
    }
}

tenon_plugin::export_backend!(Prober);
