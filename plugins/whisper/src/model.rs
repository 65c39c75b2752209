//! A loaded model: weights, vocabulary, and the VAD model beside it.

use crate::estimate;
use crate::native::Context;
use crate::options::LoadOptions;
use crate::session::Session;
use crate::vocabulary::Vocabulary;
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;
use tenon_plugin::{Call, Error, ModelFile, Result};
use tenon_precheck::Memo;
use tenon_precheck::ggml::{self, Whisper};
use tenon_tasks::MemoryEstimate;

/// Role of the file with the weights.
pub const MODEL_ROLE: &str = "model";
/// Role of the file that hears speech.
pub const VAD_ROLE: &str = "vad";
/// Largest VAD file; Silero's has less than 1 MB.
const VAD_BYTES: u64 = 16 << 20;

/// Weights in memory, shared by sessions.
pub struct Model {
    /// Weights.
    pub context: Arc<Context>,
    /// What the model file says about itself.
    pub info: Whisper,
    /// Tokens.
    pub vocabulary: Vocabulary,
    /// The VAD model's file, checked.
    pub vad: Option<Vec<u8>>,
    /// Threads of a request that asks for none.
    pub threads: u32,
}

impl Model {
    /// Checks and loads the files of a model.
    pub fn open(call: &Call, files: &[ModelFile<'_>], options: &LoadOptions) -> Result<Self> {
        check_device(&options.device)?;
        check_roles(files)?;
        let vad = files.iter().find(|file| file.role == VAD_ROLE).map(read_vad).transpose()?;
        let file = model_file(files)?;
        let mut opened = File::open(file.path)?;
        let info = match CHECKED.take(&file.sha256) {
            Some(info) => info,
            None => precheck(&mut opened)?,
        };
        opened.seek(SeekFrom::Start(0))?;
        call.check()?;
        let mut progress = |fraction| call.progress(fraction);
        let context = Context::open(&mut opened, file.size, options.flash_attn, &mut progress)?;
        call.check()?;
        let context = Arc::new(context);
        let vocabulary = Vocabulary::new(Arc::clone(&context), info.n_vocab.cast_signed(), context.end_of_text());
        let threads = options.threads.unwrap_or(1);
        Ok(Self { context, info, vocabulary, vad, threads })
    }
}

/// What was found in files that are about to be opened.
static CHECKED: Memo<Whisper> = Memo::new();

/// What a model will need of memory, by the head of its file.
pub fn estimate(files: &[ModelFile<'_>], options: &LoadOptions) -> Result<MemoryEstimate> {
    let file = model_file(files)?;
    let info = match CHECKED.take(&file.sha256) {
        Some(info) => info,
        None => precheck(&mut File::open(file.path)?)?,
    };
    let vad = files.iter().find(|file| file.role == VAD_ROLE).map_or(0, |file| file.size);
    let estimate = estimate::of(&info, file.size, vad, options);
    CHECKED.put(file.sha256, info);
    Ok(estimate)
}

fn model_file<'a, 'b>(files: &'a [ModelFile<'b>]) -> Result<&'a ModelFile<'b>> {
    let file = files.iter().find(|file| file.role == MODEL_ROLE);
    file.ok_or_else(|| Error::model(format!("the model has no file of role \"{MODEL_ROLE}\"")))
}

/// Reads the structure of the file before whisper.cpp does.
fn precheck(file: &mut File) -> Result<Whisper> {
    ggml::whisper(file).map_err(|error| refusal("model", &error))
}

impl tenon_plugin::Model for Model {
    type Session = Session;

    fn session(self: &Arc<Self>, _call: &Call, _options: &str) -> Result<Session> {
        Session::open(self)
    }
}

/// This build computes on the CPU: asking for anything else is refused, never answered by the CPU instead.
fn check_device(device: &str) -> Result<()> {
    if device == "cpu" {
        return Ok(());
    }
    let message = format!("there is no device \"{device}\": this build of the plugin computes on \"cpu\" alone");
    Err(Error::unsupported(message).detail("option", "device"))
}

fn check_roles(files: &[ModelFile<'_>]) -> Result<()> {
    for role in [MODEL_ROLE, VAD_ROLE] {
        let count = files.iter().filter(|file| file.role == role).count();
        if count > 1 {
            return Err(Error::model(format!("the model has {count} files of role \"{role}\", whisper takes one")));
        }
    }
    match files.iter().find(|file| ![MODEL_ROLE, VAD_ROLE].contains(&file.role)) {
        None => Ok(()),
        Some(file) => Err(Error::model(format!("whisper has no use for a file of role \"{}\"", file.role))),
    }
}

fn read_vad(file: &ModelFile<'_>) -> Result<Vec<u8>> {
    if file.size > VAD_BYTES {
        return Err(Error::model(format!("the VAD file has {} bytes, no Silero model is so large", file.size)));
    }
    let mut bytes = Vec::new();
    File::open(file.path)?.take(VAD_BYTES).read_to_end(&mut bytes)?;
    ggml::vad(Cursor::new(&bytes)).map_err(|error| refusal("VAD", &error))?;
    Ok(bytes)
}

fn refusal(what: &str, error: &tenon_precheck::Error) -> Error {
    let make = if error.is_io() { Error::io } else { Error::model };
    make(format!("the {what} file is not usable: {error}")).detail("offset", error.offset)
}
