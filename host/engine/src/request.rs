//! What is asked: a task, its input, options, and when to give up.

use crate::cancel::CancelToken;
use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tenon_tasks::{Message, Options, task};

/// Where audio comes from. What a file is, is found from its bytes, never from its name.
#[derive(Clone)]
#[non_exhaustive]
pub enum AudioSource {
    /// A file.
    Path(PathBuf),
    /// A whole file in memory.
    Bytes(Arc<[u8]>),
    /// Something that can only be read forwards, such as standard input; see [`AudioSource::reader`].
    Reader(OnceReader),
    /// Interleaved samples. With one channel at the backend's rate they cross to the backend without a copy.
    Samples {
        /// Samples, nominally within -1 to 1.
        samples: Arc<[f32]>,
        /// Samples per second and channel.
        rate: u32,
        /// Number of channels.
        channels: u16,
    },
    /// Audio that comes while the request runs, through [`crate::Stream::push_audio`].
    Live,
}

/// A reader that one request consumes; a second request with it is refused.
#[derive(Clone)]
pub struct OnceReader(Arc<Mutex<Option<Box<dyn Read + Send>>>>);

impl OnceReader {
    pub(crate) fn take(&self) -> Option<Box<dyn Read + Send>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}

impl AudioSource {
    /// A file.
    pub fn path(path: impl Into<PathBuf>) -> Self {
        Self::Path(path.into())
    }

    /// Something that can only be read forwards, such as standard input.
    pub fn reader(reader: impl Read + Send + 'static) -> Self {
        Self::Reader(OnceReader(Arc::new(Mutex::new(Some(Box::new(reader))))))
    }

    /// Samples of one channel.
    pub fn mono(samples: impl Into<Arc<[f32]>>, rate: u32) -> Self {
        Self::Samples { samples: samples.into(), rate, channels: 1 }
    }
}

impl fmt::Debug for AudioSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.debug_tuple("Path").field(path).finish(),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Reader(_) => f.write_str("Reader"),
            Self::Samples { samples, rate, channels } => {
                write!(f, "Samples({} samples, {rate} Hz, {channels} channels)", samples.len())
            }
            Self::Live => f.write_str("Live"),
        }
    }
}

/// The input of a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Input {
    /// Audio, for the speech tasks.
    Audio(AudioSource),
    /// A text to continue.
    Prompt(String),
    /// A conversation, in order.
    Messages(Vec<Message>),
    /// Texts to embed.
    Texts(Vec<String>),
}

/// What is asked of a session. Reusable, except that a [`AudioSource::Reader`] is consumed by its first use.
///
/// ```
/// use std::time::Duration;
/// use tenon::{AudioSource, Options, Request};
///
/// let mut options = Options::new();
/// options.set("language", "de");
/// let request = Request::transcribe(AudioSource::path("speech.flac"))
///     .preset("fast")
///     .options(options)
///     .deadline(Duration::from_secs(30));
/// assert_eq!(request.task(), "transcribe");
/// ```
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) task: String,
    pub(crate) input: Input,
    pub(crate) options: Options,
    pub(crate) preset: Option<String>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) cancel: Option<CancelToken>,
}

impl Request {
    /// A request for a task by its name, for tasks that have no constructor of their own.
    pub fn new(task: impl Into<String>, input: Input) -> Self {
        let task = task.into();
        Self { task, input, options: Options::new(), preset: None, deadline: None, cancel: None }
    }

    /// Speech to text in the language spoken.
    pub fn transcribe(audio: AudioSource) -> Self {
        Self::new(task::TRANSCRIBE, Input::Audio(audio))
    }

    /// Speech to English text.
    pub fn translate(audio: AudioSource) -> Self {
        Self::new(task::TRANSLATE, Input::Audio(audio))
    }

    /// Which language is spoken.
    pub fn detect_language(audio: AudioSource) -> Self {
        Self::new(task::DETECT_LANGUAGE, Input::Audio(audio))
    }

    /// Continues a prompt.
    pub fn generate(prompt: impl Into<String>) -> Self {
        Self::new(task::GENERATE, Input::Prompt(prompt.into()))
    }

    /// Answers a conversation.
    pub fn chat(messages: Vec<Message>) -> Self {
        Self::new(task::CHAT, Input::Messages(messages))
    }

    /// Turns texts into vectors.
    pub fn embed(texts: Vec<String>) -> Self {
        Self::new(task::EMBED, Input::Texts(texts))
    }

    /// Asks for these options; they lie over the preset and over the backend's defaults.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Takes the options of this preset of the manifest; without it those of `default`, where the manifest has one.
    #[must_use]
    pub fn preset(mut self, name: impl Into<String>) -> Self {
        self.preset = Some(name.into());
        self
    }

    /// Ends the request with [`crate::ErrorKind::Deadline`] when no answer is complete this long after its start.
    #[must_use]
    pub fn deadline(mut self, after: Duration) -> Self {
        self.deadline = Some(after);
        self
    }

    /// Ends the request when this token is cancelled.
    #[must_use]
    pub fn cancel(mut self, token: CancelToken) -> Self {
        self.cancel = Some(token);
        self
    }

    /// The name of the task.
    pub fn task(&self) -> &str {
        &self.task
    }

    /// The input.
    pub fn input(&self) -> &Input {
        &self.input
    }
    /// The input, to add to it.
    pub fn input_mut(&mut self) -> &mut Input {
        &mut self.input
    }

    /// Replaces the input. Like the other setters for those who fill a request step by step.
    pub fn set_input(&mut self, input: Input) {
        self.input = input;
    }

    /// Replaces the options, see [`Request::options`].
    pub fn set_options(&mut self, options: Options) {
        self.options = options;
    }

    /// Names the preset, or none, see [`Request::preset`].
    pub fn set_preset(&mut self, name: Option<String>) {
        self.preset = name;
    }

    /// Sets the deadline, or none, see [`Request::deadline`].
    pub fn set_deadline(&mut self, after: Option<Duration>) {
        self.deadline = after;
    }
}
