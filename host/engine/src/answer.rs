//! What a request gets: the answer, what it cost, and where it comes from.

use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;
use tenon_tasks::{Finished, Language, Note, Options, Segment, Token, Usage};

/// What a run answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Answer {
    /// The name of the task.
    pub task: String,
    /// The text: what was generated, or the segments' texts joined. Whole, valid UTF-8.
    pub text: String,
    /// The segments of a transcript, in order of their start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<Segment>,
    /// The tokens, when they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<Token>,
    /// The language that was detected or used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// One vector for each text, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub embeddings: Vec<Vec<f32>>,
    /// Why the model stopped writing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish: Option<Finished>,
    /// What was consumed and produced.
    pub usage: Usage,
    /// What the reader should know about this answer. Nothing is left out without a note.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// What of the audio was lost although the rest could be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damage: Vec<AudioDamage>,
    /// Where the time went.
    pub timings: Timings,
    /// What made the answer.
    pub provenance: Provenance,
}

impl Answer {
    /// The answer as one line of JSON, as the program prints it.
    pub fn to_json(&self) -> String {
        json!(self).to_string()
    }
}

/// A part of the audio that was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AudioDamage {
    /// What kind of loss: `truncated`, `undecodable`, `gap`, `not-finite`, `garbage`.
    pub kind: String,
    /// Where it starts, microseconds from the beginning of the audio.
    pub at_us: i64,
    /// How much is lost, microseconds, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_us: Option<i64>,
    /// What was seen, as a sentence.
    pub message: String,
}

/// Where the time of a request went. Decoding audio overlaps with running where the backend takes audio as it comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Timings {
    /// Waiting for threads and for other sessions of the model.
    #[serde(serialize_with = "microseconds", rename = "queue_us")]
    pub queue: Duration,
    /// Decoding and converting audio.
    #[serde(serialize_with = "microseconds", rename = "audio_us")]
    pub audio: Duration,
    /// Loading the model; zero for every request but the first of a model.
    #[serde(serialize_with = "microseconds", rename = "load_us")]
    pub load: Duration,
    /// In the backend.
    #[serde(serialize_with = "microseconds", rename = "run_us")]
    pub run: Duration,
    /// From the start of the request to the first thing that the backend gave out.
    #[serde(serialize_with = "option_microseconds", rename = "first_us", skip_serializing_if = "Option::is_none")]
    pub first: Option<Duration>,
    /// From the start of the request to its end.
    #[serde(serialize_with = "microseconds", rename = "total_us")]
    pub total: Duration,
}

fn microseconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

fn option_microseconds<S: serde::Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    microseconds(&time.unwrap_or_default(), serializer)
}

/// What made an answer: enough to make it again.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Provenance {
    /// Name of the model.
    pub model: String,
    /// SHA-256 of each of the model's files: role, file name, 64 hex digits.
    pub files: Vec<FileProvenance>,
    /// Id of the plugin.
    pub plugin: String,
    /// Version of the plugin.
    pub plugin_version: String,
    /// SHA-256 of the plugin's library, 64 hex digits.
    pub plugin_sha256: String,
    /// The engine inside the backend, with its version.
    pub engine: String,
    /// Where the backend ran: `process` or `worker`.
    pub isolation: &'static str,
    /// What shut the worker in, `full`, `partial` or `none`; only for a worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// Load options in force that were asked for or granted by the host; all others are the backend's defaults.
    pub load_options: Options,
    /// The preset that was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Options in force that were asked for, preset, or granted by the host; all others are the backend's defaults.
    pub options: Options,
}

/// A file that a model is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileProvenance {
    /// What the file is for.
    pub role: String,
    /// Its name in the manifest.
    pub name: String,
    /// SHA-256, 64 hex digits.
    pub sha256: String,
    /// Size in bytes.
    pub size: u64,
}

/// What happens while a request runs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A piece of a transcript.
    Segment(Segment),
    /// A piece of generated text: whole code points.
    Text(String),
    /// A token, when they were asked for.
    Token(Token),
    /// The vector of one input text.
    Embedding {
        /// Which text.
        index: usize,
        /// The vector.
        values: Vec<f32>,
    },
    /// The language that was detected or used.
    Language(Language),
    /// How far it is, 0 to 1. Only the latest is kept when the reader is slow.
    Progress(f32),
    /// What the reader should know about this answer.
    Note(Note),
    /// The end: the whole answer. Always the last event of a request that succeeds.
    End(Box<Answer>),
}

impl Event {
    /// The event as one JSON object. `type` is `segment`, `text`, `token`, `embedding`, `language`, `progress`, `note`
    /// or `end`, and the rest stands under the key of that name; `end` has `answer`, `progress` has `fraction`,
    /// `embedding` has `index` and `values`.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Segment(segment) => json!({"type": "segment", "segment": segment}),
            Self::Text(text) => json!({"type": "text", "text": text}),
            Self::Token(token) => json!({"type": "token", "token": token}),
            Self::Embedding { index, values } => json!({"type": "embedding", "index": index, "values": values}),
            Self::Language(language) => json!({"type": "language", "language": language}),
            Self::Progress(fraction) => json!({"type": "progress", "fraction": fraction}),
            Self::Note(note) => json!({"type": "note", "note": note}),
            Self::End(answer) => json!({"type": "end", "answer": answer}),
        }
    }

    /// The event as one line of JSON, see [`Event::to_value`].
    pub fn to_json(&self) -> String {
        self.to_value().to_string()
    }
}
