//! The Tenon backend `{{id}}`.

#![forbid(unsafe_code)]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tenon_plugin::tasks::{Description, FileRole, FinishReason, GenerateOptions, TaskDescription, schema_of, task};
use tenon_plugin::{Backend, Call, Error, Input, Model, ModelFile, Result, Session};

/// What a request may ask of this backend: the options that all text backends share, and its own.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Asked {
    #[serde(flatten)]
    common: GenerateOptions,
    /// Answer in capitals.
    loud: bool,
}

/// What may be asked when a model is loaded.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct LoadOptions {
    /// What to say before each answer.
    greeting: String,
}

struct Plugin;

impl Backend for Plugin {
    const ID: &'static str = "{{id}}";
    type Model = Weights;

    fn start() -> Result<Self> {
        Ok(Plugin)
    }

    fn describe(&self) -> Description {
        Description {
            summary: "says what this backend is in one line".into(),
            engine: concat!("{{id}} ", env!("CARGO_PKG_VERSION")).into(),
            tasks: vec![TaskDescription { task: task::GENERATE.into(), schema: schema_of::<Asked>() }],
            load_schema: schema_of::<LoadOptions>(),
            files: vec![FileRole { role: "model".into(), required: false, many: false }],
            audio: None,
            devices: vec![],
        }
    }

    fn open(&self, _call: &Call, _files: &[ModelFile<'_>], options: &str) -> Result<Weights> {
        // Read your model here: `files` are verified, and `file.path` opens exactly those bytes.
        let asked: LoadOptions = tenon_plugin::options(options)?;
        Ok(Weights { greeting: asked.greeting })
    }
}

struct Weights {
    greeting: String,
}

impl Model for Weights {
    type Session = Conversation;

    fn session(self: &Arc<Self>, _call: &Call, _options: &str) -> Result<Conversation> {
        Ok(Conversation { weights: Arc::clone(self) })
    }
}

struct Conversation {
    weights: Arc<Weights>,
}

impl Session for Conversation {
    fn run(&mut self, call: &Call, task: &str, input: Input<'_>, options: &str) -> Result<()> {
        if task != task::GENERATE {
            return Err(Error::unsupported(format!("no task `{task}`")));
        }
        let asked: Asked = tenon_plugin::options(options)?;
        let most = asked.common.max_tokens.map_or(usize::MAX, |most| most as usize);
        call.emit_text(&self.weights.greeting)?;
        let mut words = input.text()?.split_inclusive(' ');
        for word in words.by_ref().take(most) {
            // Ask once per token: a caller who has gone must not wait.
            call.check()?;
            call.emit_text(&if asked.loud { word.to_uppercase() } else { word.to_owned() })?;
        }
        let reason = if words.next().is_some() { FinishReason::Length } else { FinishReason::Stop };
        call.emit_finish(reason, None)
    }

    fn reset(&mut self, _call: &Call) -> Result<()> {
        Ok(())
    }
}

tenon_plugin::export_backend!(Plugin);
