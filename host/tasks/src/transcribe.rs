//! Options of the speech tasks that every speech backend understands.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How to turn speech into text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TranscribeOptions {
    /// Language spoken, as an ISO 639-1 code or an English name; `auto` detects it.
    pub language: String,
    /// Text that precedes the audio: names and spellings to expect.
    pub prompt: String,
    /// Randomness of decoding; 0 always takes the most likely token first.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub temperature: f64,
    /// Give every word its own times.
    pub words: bool,
    /// Give the tokens of every segment, with their probabilities.
    pub tokens: bool,
    /// Threads to compute with; by default what the host's thread budget grants.
    #[schemars(range(min = 1, max = 256))]
    pub threads: Option<u32>,
}

impl Default for TranscribeOptions {
    fn default() -> Self {
        Self {
            language: "auto".to_owned(),
            prompt: String::new(),
            temperature: 0.0,
            words: false,
            tokens: false,
            threads: None,
        }
    }
}

/// How to find out which language is spoken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DetectLanguageOptions {
    /// Threads to compute with; by default what the host's thread budget grants.
    #[schemars(range(min = 1, max = 256))]
    pub threads: Option<u32>,
}
