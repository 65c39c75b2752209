//! What can be asked of this backend: load options and transcription options, with the names and defaults of
//! whisper-cli's long flags.
//!
//! The ranges keep every value away from the engine that it cannot bear; what a range cannot say, `decoding` checks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tenon_tasks::TranscribeOptions;

/// How to load a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LoadOptions {
    /// Device to compute on; this build knows `cpu`.
    pub device: String,
    /// Compute attention in one step: faster, and whisper-cli's default.
    pub flash_attn: bool,
    /// Threads of a request that asks for none; 1 when nobody asks.
    #[schemars(range(min = 1, max = 256))]
    pub threads: Option<u32>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { device: "cpu".to_owned(), flash_attn: true, threads: None }
    }
}

/// How to turn speech into text with whisper.cpp.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct WhisperOptions {
    /// What every speech backend understands.
    #[serde(flatten)]
    pub common: TranscribeOptions,
    /// Width of the beam search; 1 decodes greedily.
    #[schemars(range(min = 1, max = 8))]
    pub beam_size: u32,
    /// Candidates that are sampled where the temperature is above 0.
    #[schemars(range(min = 1, max = 8))]
    pub best_of: u32,
    /// Most tokens of earlier text that a window is shown, the prompt included; -1 for as many as the model takes.
    #[schemars(range(min = -1, max = 16384))]
    pub max_context: i32,
    /// Longest segment in characters; 0 for no limit.
    #[schemars(range(min = 0, max = 1000))]
    pub max_len: u32,
    /// Split segments at words rather than at tokens when max_len is given.
    pub split_on_word: bool,
    /// Encoder positions of 20 ms each: 0 for all of the model's, or a multiple of 256.
    #[schemars(range(min = 0, max = 1500))]
    pub audio_ctx: u32,
    /// Probability from which a timestamp token places a word.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub word_thold: f64,
    /// Entropy below which a decoding counts as a loop and is repeated.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub entropy_thold: f64,
    /// Average log probability below which a decoding counts as failed and is repeated.
    #[schemars(range(min = -100.0, max = 0.0))]
    pub logprob_thold: f64,
    /// Probability of no speech from which a failed window counts as silent.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub no_speech_thold: f64,
    /// Added to the temperature at each repetition; 0 for none, else at least 0.01.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub temperature_inc: f64,
    /// Never repeat a decoding at a higher temperature.
    pub no_fallback: bool,
    /// Do not decode timestamps.
    pub no_timestamps: bool,
    /// Show the prompt to every window rather than to the first alone.
    pub carry_initial_prompt: bool,
    /// Never write tokens that stand for no speech, such as brackets and notes.
    pub suppress_nst: bool,
    /// Never write tokens whose whole text matches this regular expression.
    pub suppress_regex: String,
    /// Grammar in GBNF that the text should follow.
    pub grammar: String,
    /// Rule of the grammar to start with.
    pub grammar_rule: String,
    /// How much less likely a token outside of the grammar becomes.
    #[schemars(range(min = 0.0, max = 10000.0))]
    pub grammar_penalty: f64,
    /// Start at this millisecond of the audio.
    #[schemars(range(min = 0, max = 2_000_000_000))]
    pub offset_t: u32,
    /// Transcribe this many milliseconds; 0 for all.
    #[schemars(range(min = 0, max = 2_000_000_000))]
    pub duration: u32,
    /// Longest piece in seconds that is transcribed in one go; longer audio is cut where it is quiet.
    #[schemars(range(min = 1, max = 1800))]
    pub window_s: u32,
    /// Leave silence out, as the model's VAD file hears it.
    pub vad: bool,
    /// Probability from which VAD hears speech.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub vad_threshold: f64,
    /// Shortest stretch of speech that VAD keeps, milliseconds.
    #[schemars(range(min = 0, max = 60_000))]
    pub vad_min_speech_duration_ms: u32,
    /// Shortest silence that ends a stretch of speech, milliseconds.
    #[schemars(range(min = 0, max = 60_000))]
    pub vad_min_silence_duration_ms: u32,
    /// Longest stretch of speech in whole seconds before VAD splits it; by default there is no limit.
    #[schemars(range(min = 1, max = 100_000))]
    pub vad_max_speech_duration_s: Option<u32>,
    /// Padding around a stretch of speech, milliseconds.
    #[schemars(range(min = 0, max = 10_000))]
    pub vad_speech_pad_ms: u32,
    /// Seconds of audio after a stretch of speech that are kept before the next one.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub vad_samples_overlap: f64,
}

impl Default for WhisperOptions {
    fn default() -> Self {
        Self {
            common: TranscribeOptions::default(),
            beam_size: 5,
            best_of: 5,
            max_context: -1,
            max_len: 0,
            split_on_word: false,
            audio_ctx: 0,
            word_thold: 0.01,
            entropy_thold: 2.4,
            logprob_thold: -1.0,
            no_speech_thold: 0.6,
            temperature_inc: 0.2,
            no_fallback: false,
            no_timestamps: false,
            carry_initial_prompt: false,
            suppress_nst: false,
            suppress_regex: String::new(),
            grammar: String::new(),
            grammar_rule: "root".to_owned(),
            grammar_penalty: 100.0,
            offset_t: 0,
            duration: 0,
            window_s: 600,
            vad: false,
            vad_threshold: 0.5,
            vad_min_speech_duration_ms: 250,
            vad_min_silence_duration_ms: 100,
            vad_max_speech_duration_s: None,
            vad_speech_pad_ms: 30,
            vad_samples_overlap: 0.1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenon_tasks::{Kind, Options, Schema, schema_of};

    fn schema() -> Schema {
        Schema::from_json(&schema_of::<WhisperOptions>()).unwrap()
    }

    #[test]
    fn the_schema_refuses_what_the_engine_cannot_bear() {
        let schema = schema();
        for document in [
            r#"{"threads": 0}"#,
            r#"{"threads": -1}"#,
            r#"{"beam_size": 9}"#,
            r#"{"beam_size": 0}"#,
            r#"{"best_of": 9}"#,
            r#"{"audio_ctx": 1501}"#,
            r#"{"audio_ctx": -1}"#,
            r#"{"max_context": -2}"#,
            r#"{"temperature": 1.5}"#,
            r#"{"window_s": 0}"#,
            r#"{"offset_t": -1}"#,
            r#"{"beem_size": 1}"#,
        ] {
            assert!(schema.check(&Options::from_json(document).unwrap()).is_err(), "{document}");
        }
    }

    #[test]
    fn common_options_stand_beside_own_ones_with_their_defaults() {
        let schema = schema();
        assert_eq!(schema.field("language").unwrap().default, "auto");
        assert_eq!(schema.field("beam_size").unwrap().default, 5);
        assert_eq!(schema.field("entropy_thold").unwrap().default, 2.4);
        assert_eq!(schema.field("vad").unwrap().kind, Kind::Bool);
        assert!(schema.fields().iter().all(|field| !field.help.is_empty()));
    }

    #[test]
    fn a_sparse_document_keeps_the_other_defaults() {
        let asked: WhisperOptions = serde_json::from_str(r#"{"beam_size": 1, "words": true}"#).unwrap();
        let mut wanted = WhisperOptions { beam_size: 1, ..WhisperOptions::default() };
        wanted.common.words = true;
        assert_eq!(asked, wanted);
    }
}
