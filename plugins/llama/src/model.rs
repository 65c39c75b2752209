//! A loaded model, what its sessions share, and the sessions.

use crate::embed::Pooler;
use crate::generate::Memory;
use crate::options::{LoadOptions, PrefixReuse};
use crate::{embed, estimate, generate, native};
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tenon_llama_text::{ControlTokens, Template};
use tenon_plugin::{Call, Error, Input, Model, ModelFile, Result, Session};
use tenon_precheck::{Memo, gguf};
use tenon_tasks::{MemoryEstimate, task};

/// Weights, vocabulary, chat template and load options.
#[derive(Debug)]
pub struct Loaded {
    /// llama.cpp's model.
    pub native: Arc<native::Model>,
    /// As it was asked for.
    pub options: LoadOptions,
    /// Texts that become control tokens.
    pub controls: ControlTokens,
    /// Such as `llama`; the prefix of the model's keys.
    pub architecture: String,
    template_source: Option<String>,
    /// Read for the first chat.
    template: OnceLock<Result<Template, tenon_llama_text::Error>>,
}

impl Loaded {
    /// Checks the files, then loads them.
    pub fn open(call: &Call, files: &[ModelFile<'_>], options: &str) -> Result<Self> {
        let options: LoadOptions = tenon_plugin::options(options)?;
        options.check()?;
        let files = model_files(files)?;
        let parts = files.iter().map(|file| precheck(file)).collect::<Result<Vec<_>>>()?;
        let order = gguf::order(&parts).map_err(|error| Error::model(error.message))?;
        let paths: Vec<&Path> = order.iter().map(|&place| files[place].path).collect();
        let probe = call.cancel_probe();
        let report = |fraction: f32| {
            call.progress(fraction);
            !probe.is_cancelled()
        };
        let native = native::Model::load(&paths, options.model(), &report);
        call.check()?;
        let native = Arc::new(native?);
        options.context(native.trained_context())?;
        let architecture = parts[order[0]].architecture.clone();
        let controls = ControlTokens::new(native.control_texts());
        let template_source = native.metadata("tokenizer.chat_template");
        Ok(Self { native, options, controls, architecture, template_source, template: OnceLock::new() })
    }

    /// The chat template, or why there is none.
    pub fn template(&self) -> Result<&Template> {
        let source = self.template_source.as_ref().ok_or_else(|| {
            Error::unsupported("the model has no chat template of its own; use the task `generate` with a whole prompt")
        })?;
        let template = self.template.get_or_init(|| Template::new(source));
        template.as_ref().map_err(|error| Error::model(error.to_string()))
    }

    /// The text of the chat template.
    pub fn template_source(&self) -> &str {
        self.template_source.as_deref().unwrap_or_default()
    }

    /// Refuses models that do not write text token by token.
    pub fn can_generate(&self) -> Result<()> {
        let (encoder, decoder) = self.native.parts();
        if !decoder || encoder {
            return Err(Error::unsupported(format!(
                "a model of the architecture `{}` does not generate",
                self.architecture
            )));
        }
        if self.native.is_diffusion() {
            return Err(Error::unsupported("a diffusion model writes no text token by token"));
        }
        if !self.native.has_vocabulary() {
            return Err(Error::unsupported("the model has no vocabulary"));
        }
        Ok(())
    }

    /// What of a session's memory may be used again.
    pub fn reuse(&self) -> PrefixReuse {
        if self.native.can_rewind() { self.options.prefix_reuse } else { PrefixReuse::Off }
    }
}

/// Threads to compute with when nobody says: the host does, so this is for a host without a budget.
pub fn available_threads() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(4) as u32)
}

/// What a model will need of memory, by the heads of its files.
pub fn estimate(files: &[ModelFile<'_>], options: &str) -> Result<MemoryEstimate> {
    let options: LoadOptions = tenon_plugin::options(options)?;
    let files = model_files(files)?;
    let parts = files.iter().map(|file| precheck(file)).collect::<Result<Vec<_>>>()?;
    let estimate = estimate::of(&parts, &options);
    files.iter().zip(parts).for_each(|(file, part)| CHECKED.put(file.sha256, part));
    estimate
}

/// What was found in files that are about to be opened.
static CHECKED: Memo<gguf::Summary> = Memo::new();

fn model_files<'a, 'b>(files: &'a [ModelFile<'b>]) -> Result<Vec<&'a ModelFile<'b>>> {
    let files: Vec<_> = files.iter().filter(|file| file.role == "model").collect();
    match files.is_empty() {
        true => Err(Error::invalid_argument("the manifest names no file with the role `model`")),
        false => Ok(files),
    }
}

/// Reads the structure of a file before llama.cpp does.
fn precheck(file: &ModelFile<'_>) -> Result<gguf::Summary> {
    if let Some(found) = CHECKED.take(&file.sha256) {
        return Ok(found);
    }
    let name = file.path.display();
    let opened = File::open(file.path).map_err(|error| Error::io(format!("{name}: {error}")))?;
    gguf::check(opened).map_err(|error| {
        let message = format!("the model file cannot be used: {error}");
        let error_of = if error.is_io() { Error::io(message) } else { Error::model(message) };
        error_of.detail("offset", error.offset)
    })
}

impl Model for Loaded {
    type Session = Conversation;

    fn session(self: &Arc<Self>, _call: &Call, _options: &str) -> Result<Conversation> {
        Ok(Conversation { model: self.clone(), memory: None, pooler: None })
    }
}

/// A session: at most one context to write with and one to embed with, made when they are needed first.
#[derive(Debug)]
pub struct Conversation {
    memory: Option<Memory>,
    pooler: Option<Pooler>,
    // Last, so that it is dropped after its contexts.
    model: Arc<Loaded>,
}

impl Session for Conversation {
    fn run(&mut self, call: &Call, task: &str, input: Input<'_>, options: &str) -> Result<()> {
        match task {
            task::GENERATE => generate::generate(&self.model, &mut self.memory, call, input.text()?, options),
            task::CHAT => generate::chat(&self.model, &mut self.memory, call, input.texts(), options),
            task::EMBED => embed::embed(&self.model, &mut self.pooler, call, input.texts(), options),
            other => Err(Error::unsupported(format!("the llama backend has no task `{other}`"))),
        }
    }

    fn reset(&mut self, _call: &Call) -> Result<()> {
        self.memory = None;
        self.pooler = None;
        Ok(())
    }
}
