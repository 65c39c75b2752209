//! The smallest backend: repeats what it is given, for every task, always the same way. Read it to learn how one is
//! written; tests use it where a model would be in the way. What it answers stands in `answers.rs`.

#![forbid(unsafe_code)]

mod answers;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tenon_plugin::{Backend, Call, Error, Input, Model, ModelFile, Result, Session};
use tenon_tasks::*;

/// The options of a task, and one of echo's own.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Slowly<T: Default> {
    #[serde(flatten)]
    common: T,
    /// Wait before each piece, in milliseconds.
    #[schemars(range(max = 60000))]
    delay_ms: u64,
}

/// How to load it.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Pretend {
    /// Memory that the model says it needs, beside its files, in megabytes; it takes none.
    #[schemars(range(max = 1_000_000_000))]
    memory_mb: u64,
}

struct Echo;

impl Backend for Echo {
    const ID: &'static str = "echo";
    const CAPS: u32 =
        tenon_plugin::CAP_CONCURRENT_SESSIONS | tenon_plugin::CAP_PARALLEL_OPEN | tenon_plugin::CAP_LIVE_INPUT;
    type Model = Echo;

    fn start() -> Result<Self> {
        Ok(Echo)
    }

    fn describe(&self) -> Description {
        let schema = |task: &&str| match *task {
            task::TRANSCRIBE | task::TRANSLATE => schema_of::<Slowly<TranscribeOptions>>(),
            task::DETECT_LANGUAGE => schema_of::<Slowly<DetectLanguageOptions>>(),
            task::EMBED => schema_of::<Slowly<EmbedOptions>>(),
            _ => schema_of::<Slowly<GenerateOptions>>(),
        };
        Description {
            summary: "repeats what it is given".into(),
            engine: concat!("echo ", env!("CARGO_PKG_VERSION")).into(),
            tasks: task::ALL
                .iter()
                .map(|task| TaskDescription { task: task.to_string(), schema: schema(task) })
                .collect(),
            load_schema: schema_of::<Slowly<Pretend>>(),
            files: vec![FileRole { role: "model".into(), required: false, many: true }],
            audio: Some(AudioFormat { rate: 16_000 }),
            devices: vec![],
        }
    }

    fn open(&self, call: &Call, _files: &[ModelFile<'_>], options: &str) -> Result<Echo> {
        let asked: Slowly<Pretend> = tenon_plugin::options(options)?;
        for step in 1..=10 {
            answers::wait(call, asked.delay_ms)?;
            call.progress(step as f32 / 10.0);
        }
        Ok(Echo)
    }

    fn estimate(&self, _call: &Call, files: &[ModelFile<'_>], options: &str) -> Result<MemoryEstimate> {
        let asked: Slowly<Pretend> = tenon_plugin::options(options)?;
        let weights = files.iter().map(|file| file.size).sum();
        let model = MemoryParts { weights, other: asked.common.memory_mb * 1_000_000, ..MemoryParts::default() };
        Ok(MemoryEstimate::on_cpu(model, MemoryParts { cache: 4096, compute: 8192, ..MemoryParts::default() }))
    }
}

impl Model for Echo {
    type Session = Echo;

    fn session(self: &Arc<Self>, _call: &Call, _options: &str) -> Result<Echo> {
        Ok(Echo)
    }
}

impl Session for Echo {
    fn run(&mut self, call: &Call, task: &str, input: Input<'_>, options: &str) -> Result<()> {
        match task {
            task::TRANSCRIBE => answers::transcribe(call, input.into_audio(), options, str::to_owned),
            task::TRANSLATE => answers::transcribe(call, input.into_audio(), options, str::to_uppercase),
            task::DETECT_LANGUAGE => answers::detect_language(call, input.into_audio(), options),
            task::GENERATE => answers::generate(call, input.text()?, options),
            task::CHAT => answers::generate(call, input.texts().last().map_or("", |message| message.text), options),
            task::EMBED => answers::embed(call, input.texts(), options),
            other => Err(Error::unsupported(format!("echo has no task `{other}`"))),
        }
    }

    fn reset(&mut self, _call: &Call) -> Result<()> {
        Ok(())
    }
}

tenon_plugin::export_backend!(Echo);
