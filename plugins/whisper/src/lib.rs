//! Speech to text by whisper.cpp, as a Tenon plugin.
//!
//! `model` checks and loads files (`source` reads them), `estimate` says what memory they will take, `session` runs the
//! tasks: it cuts the audio (`windows`), leaves silence out (`silence`), tells the engine what to do (`options` →
//! `decoding`) on a thread of its own (`job`), says which tokens may come next (`filter`; `grammar` → `matching`), and
//! emits what comes (`transcript`). `native` and `shim.cpp` are the only places that touch C++. `docs/whisper.md` tells what is
//! like whisper-cli and what is not.

mod decoding;
mod estimate;
mod filter;
mod grammar;
mod job;
mod languages;
mod matching;
mod model;
mod native;
mod options;
mod samples;
mod session;
mod silence;
mod source;
mod transcript;
mod vocabulary;
mod windows;

use model::{MODEL_ROLE, Model, VAD_ROLE};
use options::{LoadOptions, WhisperOptions};
use tenon_plugin::{CAP_CONCURRENT_SESSIONS, CAP_LIVE_INPUT, CAP_PARALLEL_OPEN, Call, ModelFile, Result};
use tenon_tasks::{
    AudioFormat, Description, DetectLanguageOptions, Device, FileRole, MemoryEstimate, TaskDescription, schema_of, task,
};

/// The backend `whisper`.
struct Whisper;

impl tenon_plugin::Backend for Whisper {
    const ID: &'static str = "whisper";
    const CAPS: u32 = CAP_CONCURRENT_SESSIONS | CAP_PARALLEL_OPEN | CAP_LIVE_INPUT;
    type Model = Model;

    fn start() -> Result<Self> {
        native::set_up()?;
        Ok(Self)
    }

    fn build_info() -> String {
        format!("whisper.cpp {}; {}", whisper_rs::get_whisper_version(), whisper_rs::print_system_info().trim())
    }

    fn describe(&self) -> Description {
        let offer = |task: &str, schema| TaskDescription { task: task.to_owned(), schema };
        let role = |role: &str, required| FileRole { role: role.to_owned(), required, many: false };
        let device = |name: String, description: &str| Device {
            name,
            description: description.to_owned(),
            memory_total: 0,
            memory_free: 0,
        };
        let mut devices = vec![device("cpu".to_owned(), "the processor")];
        devices.extend(native::gpus().into_iter().map(|name| device(name, "a graphics processor")));
        Description {
            summary: "speech to text by whisper.cpp".to_owned(),
            engine: format!("whisper.cpp {}", whisper_rs::get_whisper_version()),
            tasks: vec![
                offer(task::TRANSCRIBE, schema_of::<WhisperOptions>()),
                offer(task::TRANSLATE, schema_of::<WhisperOptions>()),
                offer(task::DETECT_LANGUAGE, schema_of::<DetectLanguageOptions>()),
            ],
            load_schema: schema_of::<LoadOptions>(),
            files: vec![role(MODEL_ROLE, true), role(VAD_ROLE, false)],
            audio: Some(AudioFormat { rate: decoding::RATE as u32 }),
            devices,
        }
    }

    fn open(&self, call: &Call, files: &[ModelFile<'_>], options: &str) -> Result<Model> {
        let options: LoadOptions = tenon_plugin::options(options)?;
        Model::open(call, files, &options)
    }

    fn estimate(&self, _call: &Call, files: &[ModelFile<'_>], options: &str) -> Result<MemoryEstimate> {
        model::estimate(files, &tenon_plugin::options(options)?)
    }
}

tenon_plugin::export_backend!(Whisper);
