//! From options to what the engine is told, with every check that needs the model.

use crate::grammar::Grammar;
use crate::languages::{self, LanguageId};
use crate::native::SpeechOptions;
use crate::options::WhisperOptions;
use crate::vocabulary::Vocabulary;
use std::ffi::CString;
use tenon_plugin::{Error, Result};
use tenon_precheck::ggml::Whisper;

/// Samples per second of everything here.
pub const RATE: usize = 16_000;

/// What the engine is told for one window. Everything in it is within what the engine can bear.
#[derive(Clone, Debug)]
pub struct Decoding {
    /// Width of the beam search.
    pub beam_size: i32,
    /// Candidates above temperature 0.
    pub best_of: i32,
    /// Threads.
    pub threads: i32,
    /// Most tokens of earlier text.
    pub max_context: i32,
    /// Start within the window, milliseconds.
    pub offset_ms: i32,
    /// Length within the window, milliseconds; 0 for the rest.
    pub duration_ms: i32,
    /// To English.
    pub translate: bool,
    /// No timestamps.
    pub no_timestamps: bool,
    /// Times of tokens.
    pub token_times: bool,
    /// Threshold of timestamp tokens.
    pub word_thold: f32,
    /// Longest segment in characters, 0 for no limit.
    pub max_len: i32,
    /// Split at words.
    pub split_on_word: bool,
    /// Encoder positions, 0 for all.
    pub audio_ctx: i32,
    /// Tokens of the prompt.
    pub prompt: Vec<i32>,
    /// Prompt in every window.
    pub carry_initial_prompt: bool,
    /// Code of the language.
    pub language: CString,
    /// No tokens that stand for no speech.
    pub suppress_nst: bool,
    /// First temperature.
    pub temperature: f32,
    /// Step of the temperature, 0 for no repetition.
    pub temperature_inc: f32,
    /// Threshold of entropy.
    pub entropy_thold: f32,
    /// Threshold of the average log probability.
    pub logprob_thold: f32,
    /// Threshold of no speech.
    pub no_speech_thold: f32,
    /// Tokens that are never written.
    pub suppressed: Vec<i32>,
    /// Grammar of the text.
    pub grammar: Option<Grammar>,
    /// Penalty outside of the grammar.
    pub grammar_penalty: f32,
}

impl Decoding {
    /// As whisper-cli chooses: a grammar needs beam search.
    pub fn is_beam_search(&self) -> bool {
        self.beam_size > 1 || self.grammar.is_some()
    }

    /// The engine draws random numbers even when nothing fails.
    pub fn samples(&self) -> bool {
        self.is_beam_search() || self.temperature > 0.0
    }
}

/// What a request comes to on a model.
#[derive(Clone, Debug)]
pub struct Plan {
    /// For every window; offset and duration are set per window.
    pub decoding: Decoding,
    /// The language, if it was given or is the only one.
    pub language: Option<LanguageId>,
    /// Longest window in samples.
    pub window: usize,
    /// First sample to transcribe.
    pub begin: u64,
    /// First sample not to transcribe any more.
    pub end: u64,
    /// How to leave silence out, if asked, and the seconds kept after a stretch.
    pub speech: Option<(SpeechOptions, f32)>,
    /// Give words.
    pub words: bool,
    /// Give tokens.
    pub tokens: bool,
    /// Bytes of the prompt for which there is no token.
    pub unknown_bytes: usize,
}

impl Plan {
    /// Checks options against a model.
    pub fn new(
        options: &WhisperOptions,
        model: &Whisper,
        vocabulary: &Vocabulary,
        default_threads: u32,
        translate: bool,
    ) -> Result<Self> {
        if translate && !model.is_multilingual() {
            return Err(Error::unsupported("the model knows English only, so there is nothing to translate"));
        }
        let language = languages::find(&options.common.language, model)?;
        let (prompt, unknown_bytes) = vocabulary.tokenize(&options.common.prompt);
        let max_context = if options.max_context < 0 { 16_384 } else { options.max_context };
        check_prompt(prompt.len(), max_context, model)?;
        let audio_ctx = check_audio_ctx(options.audio_ctx, model)?;
        let decoding = Decoding {
            beam_size: options.beam_size.cast_signed(),
            best_of: options.best_of.cast_signed(),
            threads: options.common.threads.unwrap_or(default_threads).clamp(1, 256).cast_signed(),
            max_context,
            offset_ms: 0,
            duration_ms: 0,
            translate,
            no_timestamps: options.no_timestamps,
            token_times: options.common.words || options.common.tokens || options.max_len > 0,
            word_thold: options.word_thold as f32,
            max_len: options.max_len.cast_signed(),
            split_on_word: options.split_on_word,
            audio_ctx,
            prompt,
            carry_initial_prompt: options.carry_initial_prompt,
            language: CString::new(language.unwrap_or(LanguageId::ENGLISH).code()).unwrap_or_default(),
            suppress_nst: options.suppress_nst,
            temperature: options.common.temperature as f32,
            temperature_inc: temperature_step(options)?,
            entropy_thold: options.entropy_thold as f32,
            logprob_thold: options.logprob_thold as f32,
            no_speech_thold: options.no_speech_thold as f32,
            suppressed: suppressed(options, vocabulary)?,
            grammar: grammar(options)?,
            grammar_penalty: options.grammar_penalty as f32,
        };
        let (begin, end) = range(options);
        Ok(Self {
            decoding,
            language,
            window: window(options, audio_ctx),
            begin,
            end,
            speech: options.vad.then(|| (speech(options), options.vad_samples_overlap as f32)),
            words: options.common.words,
            tokens: options.common.tokens,
            unknown_bytes,
        })
    }
}

/// whisper.cpp silently cuts a prompt that is too long; here it is an error with both numbers.
fn check_prompt(tokens: usize, max_context: i32, model: &Whisper) -> Result<()> {
    // One place of the budget goes to the token that announces earlier text.
    let budget = (model.n_text_ctx / 2).min(max_context.cast_unsigned()).saturating_sub(1) as usize;
    if tokens <= budget {
        return Ok(());
    }
    let message = format!("the prompt has {tokens} tokens, the model takes {budget} beside the text of a window");
    Err(Error::context_overflow(message).detail("prompt_tokens", tokens).detail("limit", budget))
}

/// With flash attention whisper.cpp pads the encoder to a multiple of 256 without a mask, so that any other size would
/// let audio of earlier requests leak in.
fn check_audio_ctx(asked: u32, model: &Whisper) -> Result<i32> {
    let full = model.n_audio_ctx;
    if asked == 0 || asked == full {
        return Ok(0);
    }
    if asked > full || !asked.is_multiple_of(256) {
        let message = format!("audio_ctx {asked} is neither 0, the model's {full}, nor a multiple of 256 below that");
        return Err(Error::options(message).detail("option", "audio_ctx"));
    }
    Ok(asked.cast_signed())
}

/// The engine adds the step until it is above 1: a tiny step would never get there.
fn temperature_step(options: &WhisperOptions) -> Result<f32> {
    let step = if options.no_fallback { 0.0 } else { options.temperature_inc };
    if step != 0.0 && step < 0.01 {
        let message = format!("temperature_inc {step} is too small: give 0 for no repetition, or at least 0.01");
        return Err(Error::options(message).detail("option", "temperature_inc"));
    }
    Ok(step as f32)
}

fn suppressed(options: &WhisperOptions, vocabulary: &Vocabulary) -> Result<Vec<i32>> {
    if options.suppress_regex.is_empty() {
        return Ok(Vec::new());
    }
    vocabulary.matching(&options.suppress_regex)
}

fn grammar(options: &WhisperOptions) -> Result<Option<Grammar>> {
    if options.grammar.trim().is_empty() {
        return Ok(None);
    }
    Grammar::parse(&options.grammar, &options.grammar_rule).map(Some)
}

/// A shorter encoder hears no more of a window than its own length, so windows are as long as that.
fn window(options: &WhisperOptions, audio_ctx: i32) -> usize {
    let asked = options.window_s.max(1) as usize * RATE;
    match usize::try_from(audio_ctx) {
        // 50 encoder positions a second.
        Ok(positions) if positions > 0 => asked.min(positions * RATE / 50),
        _ => asked,
    }
}

/// The samples that `offset_t` and `duration` name.
fn range(options: &WhisperOptions) -> (u64, u64) {
    let samples = |ms: u32| u64::from(ms) * RATE as u64 / 1000;
    let begin = samples(options.offset_t);
    let end = if options.duration == 0 { u64::MAX } else { begin + samples(options.duration) };
    (begin, end)
}

fn speech(options: &WhisperOptions) -> SpeechOptions {
    SpeechOptions {
        threshold: options.vad_threshold as f32,
        min_speech_ms: options.vad_min_speech_duration_ms.cast_signed(),
        min_silence_ms: options.vad_min_silence_duration_ms.cast_signed(),
        max_speech_s: options.vad_max_speech_duration_s.map_or(f32::MAX, |seconds| seconds as f32),
        pad_ms: options.vad_speech_pad_ms.cast_signed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Whisper {
        let bytes = tenon_precheck::hostile::smallest_whisper();
        let model = tenon_precheck::ggml::whisper(std::io::Cursor::new(bytes)).unwrap();
        Whisper { n_audio_ctx: 1500, n_text_ctx: 448, ..model }
    }

    fn plan(document: &str) -> Result<Plan> {
        let vocabulary = Vocabulary::of(&[b"a", b" ", b"b"]);
        Plan::new(&serde_json::from_str(document).unwrap(), &model(), &vocabulary, 1, false)
    }

    fn refusal(document: &str) -> String {
        plan(document).unwrap_err().message().to_owned()
    }

    #[test]
    fn an_encoder_window_is_full_or_a_multiple_of_256() {
        for (asked, told) in [(0, 0), (1500, 0), (256, 256), (512, 512), (1280, 1280)] {
            assert_eq!(plan(&format!(r#"{{"audio_ctx": {asked}}}"#)).unwrap().decoding.audio_ctx, told);
        }
        for asked in [1, 255, 640, 1000, 1499, 1536] {
            assert_eq!(
                refusal(&format!(r#"{{"audio_ctx": {asked}}}"#)),
                format!("audio_ctx {asked} is neither 0, the model's 1500, nor a multiple of 256 below that")
            );
        }
    }

    #[test]
    fn a_shorter_encoder_shortens_the_windows() {
        assert_eq!(plan("{}").unwrap().window, 600 * RATE);
        assert_eq!(plan(r#"{"audio_ctx": 512}"#).unwrap().window, 163_840);
        assert_eq!(plan(r#"{"audio_ctx": 512, "window_s": 5}"#).unwrap().window, 5 * RATE);
    }

    #[test]
    fn a_prompt_that_would_be_cut_is_refused_with_both_numbers() {
        let prompt = |tokens: usize| format!(r#"{{"prompt": "{}"}}"#, "ab".repeat(tokens / 2));
        assert_eq!(plan(&prompt(222)).unwrap().decoding.prompt.len(), 222);
        let error = plan(&prompt(224)).unwrap_err();
        assert_eq!(error.message(), "the prompt has 224 tokens, the model takes 223 beside the text of a window");
        assert_eq!(error.details(), [("prompt_tokens".into(), "224".into()), ("limit".into(), "223".into())]);
        assert!(refusal(r#"{"prompt": "a", "max_context": 0}"#).contains("the model takes 0"));
    }

    #[test]
    fn a_temperature_step_that_never_arrives_is_refused() {
        assert!(refusal(r#"{"temperature_inc": 1e-9}"#).contains("too small"));
        assert_eq!(plan(r#"{"temperature_inc": 1e-9, "no_fallback": true}"#).unwrap().decoding.temperature_inc, 0.0);
    }

    #[test]
    fn beam_search_is_chosen_as_whisper_cli_chooses() {
        assert!(plan("{}").unwrap().decoding.is_beam_search());
        assert!(!plan(r#"{"beam_size": 1}"#).unwrap().decoding.is_beam_search());
        let grammar = plan(r#"{"beam_size": 1, "grammar": "root ::= \"a\""}"#).unwrap();
        assert!(grammar.decoding.is_beam_search());
    }

    #[test]
    fn translating_needs_a_model_of_many_languages() {
        let vocabulary = Vocabulary::of(&[]);
        let error = Plan::new(&WhisperOptions::default(), &model(), &vocabulary, 1, true).unwrap_err();
        assert_eq!(error.message(), "the model knows English only, so there is nothing to translate");
    }
}
