//! What a model answers, and the messages of a conversation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A timed word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Word {
    /// Start in microseconds from the beginning of the audio.
    pub start_us: i64,
    /// End in microseconds.
    pub end_us: i64,
    /// The word, without surrounding space.
    pub text: String,
    /// Probability, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub confidence: Option<f32>,
}

/// A token of model text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// Id in the model's vocabulary.
    pub id: i32,
    /// The token's bytes as text; bytes that are no whole code point are replaced.
    pub text: String,
    /// Natural logarithm of its probability.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub logprob: Option<f32>,
    /// Start in microseconds, for speech.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub start_us: Option<i64>,
    /// End in microseconds, for speech.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end_us: Option<i64>,
}

/// A timed piece of a transcript.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Segment {
    /// Start in microseconds from the beginning of the audio.
    pub start_us: i64,
    /// End in microseconds; not before the start.
    pub end_us: i64,
    /// The text as the model wrote it, surrounding space included.
    pub text: String,
    /// Geometric mean of the tokens' probabilities, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub confidence: Option<f32>,
    /// Probability that the segment is no speech, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub no_speech: Option<f32>,
    /// Its words, when asked for.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub words: Vec<Word>,
    /// Its tokens, when asked for.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tokens: Vec<Token>,
}

/// What a run consumed and produced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Tokens of the input.
    pub prompt_tokens: u64,
    /// Tokens of the input that were already in the session's memory.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// Audio consumed, microseconds.
    pub audio_us: i64,
    /// Time spent on the input (prefill or encoder), microseconds.
    pub prompt_us: i64,
    /// Time spent on generating or decoding, microseconds.
    pub generate_us: i64,
}

/// Who speaks in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sets the scene.
    System,
    /// Asks.
    User,
    /// Answers.
    Assistant,
}

impl Role {
    /// The name that crosses the plugin boundary and stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// A turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// Why a model stopped writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The model ended its answer or a stop text came.
    Stop,
    /// `max_tokens` or the end of the context was reached.
    Length,
}

/// The document named `finish`, which a text backend emits at the end of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finished {
    /// Why it ended.
    pub reason: FinishReason,
    /// The stop text that ended it, if one did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stop: Option<String>,
}

/// The document named `language`: the language that was detected or used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Language {
    /// ISO 639-1 code.
    pub code: String,
    /// English name, lower case.
    pub name: String,
    /// Probability, 0 to 1, when it was detected.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub probability: Option<f32>,
}

/// The document named `note`: something that the user should know about this result, such as a part that was
/// left out on purpose. Nothing is left out without one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Note {
    /// Short stable name, such as `silence-skipped`.
    pub code: String,
    /// A sentence.
    pub message: String,
}
