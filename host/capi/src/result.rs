//! Results.

use crate::boundary::{self, Sized_, c_text, free, out, quick, text, value};
use crate::error::tenon_error;
use crate::handle::{self, Kind, Object};
use crate::table::{Rows, tenon_table};
use host::{Answer, Error, ErrorKind, FinishReason, Result, Segment, Token, Usage, Word};
use std::ffi::{CString, c_char};
use std::sync::OnceLock;
use tenon_abi::Status;

/// What a request answered. Immutable; may be used by several threads at once.
pub struct tenon_result {
    _opaque: [u8; 0],
}

/// A timed piece of a transcript.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct tenon_timed_segment {
    /// `sizeof(tenon_timed_segment)`, set by the caller.
    pub struct_size: u32,
    /// Words that `tenon_result_word` knows of it; 0 unless they were asked for.
    pub word_count: u32,
    /// Start, microseconds from the beginning of the audio.
    pub start_us: i64,
    /// End, microseconds; not before the start.
    pub end_us: i64,
    /// The text as the model wrote it, surrounding space included; valid until the result is freed.
    pub text: *const c_char,
    /// Bytes of the text, without the NUL that ends it.
    pub text_size: usize,
    /// Probability of the text, 0 to 1; negative when the backend tells none.
    pub confidence: f32,
    /// Probability that this is no speech, 0 to 1; negative when the backend tells none.
    pub no_speech: f32,
}

/// A timed word.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct tenon_timed_word {
    /// `sizeof(tenon_timed_word)`, set by the caller.
    pub struct_size: u32,
    /// Probability, 0 to 1; negative when the backend tells none.
    pub confidence: f32,
    /// Start, microseconds from the beginning of the audio.
    pub start_us: i64,
    /// End, microseconds.
    pub end_us: i64,
    /// The word, without surrounding space; valid until the result is freed.
    pub text: *const c_char,
    /// Bytes of the text, without the NUL that ends it.
    pub text_size: usize,
}

/// What a request consumed and produced, and where its time went.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct tenon_run_usage {
    /// `sizeof(tenon_run_usage)`, set by the caller.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Tokens of the input.
    pub prompt_tokens: u64,
    /// Tokens of the input that the session remembered.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// Audio consumed, microseconds.
    pub audio_us: i64,
    /// Time spent on the input (prefill or encoder), microseconds.
    pub prompt_us: i64,
    /// Time spent on generating or decoding, microseconds.
    pub generate_us: i64,
    /// Time until the first thing came, microseconds; negative when nothing did.
    pub first_us: i64,
    /// Time from start to end, microseconds.
    pub total_us: i64,
}

// SAFETY: repr(C), begins with a u32, and zeroes are valid in every field.
unsafe impl Sized_ for tenon_timed_segment {
    const NAME: &str = "tenon_timed_segment";
}
// SAFETY: as above.
unsafe impl Sized_ for tenon_timed_word {
    const NAME: &str = "tenon_timed_word";
}
// SAFETY: as above.
unsafe impl Sized_ for tenon_run_usage {
    const NAME: &str = "tenon_run_usage";
}

/// A result in C's hands.
pub(crate) struct Given {
    answer: Answer,
    text: CString,
    segments: Vec<Timed>,
    json: OnceLock<CString>,
    infos: OnceLock<Vec<(&'static str, CString)>>,
}

/// The texts of a segment.
struct Timed {
    text: CString,
    words: Vec<CString>,
}

impl Object for Given {
    const KIND: Kind = Kind::Result;
    type Handle = tenon_result;
}

impl Given {
    pub(crate) fn new(answer: Answer) -> Self {
        let timed = |segment: &Segment| Timed {
            text: c_text(&segment.text),
            words: segment.words.iter().map(|word| c_text(&word.text)).collect(),
        };
        let (text, segments) = (c_text(&answer.text), answer.segments.iter().map(timed).collect());
        Self { answer, text, segments, json: OnceLock::new(), infos: OnceLock::new() }
    }

    fn infos(&self) -> Vec<(&'static str, CString)> {
        let (answer, made) = (&self.answer, &self.answer.provenance);
        let language = answer.language.as_ref();
        let probability = language.and_then(|language| language.probability);
        let finish = answer.finish.as_ref();
        let reason = finish.map(|finish| match finish.reason {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
        });
        let all = [
            ("task", Some(answer.task.clone())),
            ("language", language.map(|language| language.code.clone())),
            ("language_name", language.map(|language| language.name.clone())),
            ("language_probability", probability.map(|probability| probability.to_string())),
            ("finish", reason.map(str::to_owned)),
            ("stop", finish.and_then(|finish| finish.stop.clone())),
            ("model", Some(made.model.clone())),
            ("plugin", Some(made.plugin.clone())),
            ("plugin_version", Some(made.plugin_version.clone())),
            ("engine", Some(made.engine.clone())),
            ("preset", made.preset.clone()),
            ("options", Some(made.options.to_json())),
        ];
        all.into_iter().filter_map(|(key, text)| Some((key, c_text(&text?)))).collect()
    }
}

pub(crate) fn probability(known: Option<f32>) -> f32 {
    known.unwrap_or(-1.0)
}

fn no_such(what: &str, index: usize, count: usize) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no {what} {index}: there are {count}"))
}

/// The text: what was generated, or the segments' texts joined. Valid until the result is freed; NULL for what is no
/// result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_result_text(result: *const tenon_result) -> *const c_char {
    value(std::ptr::null(), || Some(handle::get::<Given>(result).ok()?.text.as_ptr()))
}

/// Bytes of the text, without the NUL that ends it; 0 for what is no result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_result_text_size(result: *const tenon_result) -> usize {
    value(0, || Some(handle::get::<Given>(result).ok()?.text.as_bytes().len()))
}

/// Everything as one JSON object, the same that `tenon --json` prints. Valid until the result is freed; NULL for what is
/// no result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_result_json(result: *const tenon_result) -> *const c_char {
    value(std::ptr::null(), || {
        let given = handle::get::<Given>(result).ok()?;
        Some(given.json.get_or_init(|| c_text(&given.answer.to_json())).as_ptr())
    })
}

/// What is known of a result: "task", "language" (code), "language_name", "language_probability", "finish" ("stop", or
/// "length" when `max_tokens` or the end of the context was reached), "stop" (the stop text that ended it), "model",
/// "plugin", "plugin_version", "engine", "preset", "options" (JSON, those in force). NULL for another key, and where a
/// result has no such thing. Valid until the result is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_result_info(result: *const tenon_result, key: *const c_char) -> *const c_char {
    value(std::ptr::null(), || {
        // SAFETY: the header says that texts are NULL or NUL-terminated.
        let key = unsafe { text(key, "key") }.ok()?;
        let given = handle::get::<Given>(result).ok()?;
        let infos = given.infos.get_or_init(|| given.infos());
        infos.iter().find(|(name, _)| *name == key).map(|(_, text)| text.as_ptr())
    })
}

/// The number of segments of a transcript; 0 for what is no result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_result_segment_count(result: *const tenon_result) -> usize {
    value(0, || Some(handle::get::<Given>(result).ok()?.segments.len()))
}

/// Reads a segment, counted from 0, into a struct whose `struct_size` is set. `TENON_E_NOT_FOUND` when there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_result_segment(
    result: *const tenon_result,
    index: usize,
    segment: *mut tenon_timed_segment,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        quick(error, || {
            let given = handle::get::<Given>(result)?;
            let (known, texts) = given.segment(index)?;
            boundary::write(segment, &segment_of(known, &texts.text))
        })
    }
}

pub(crate) fn segment_of(segment: &Segment, text: &CString) -> tenon_timed_segment {
    tenon_timed_segment {
        struct_size: 0,
        word_count: u32::try_from(segment.words.len()).unwrap_or(u32::MAX),
        start_us: segment.start_us,
        end_us: segment.end_us,
        text: text.as_ptr(),
        text_size: text.as_bytes().len(),
        confidence: probability(segment.confidence),
        no_speech: probability(segment.no_speech),
    }
}

impl Given {
    fn segment(&self, index: usize) -> Result<(&Segment, &Timed)> {
        let found = self.answer.segments.get(index).zip(self.segments.get(index));
        found.ok_or_else(|| no_such("segment", index, self.segments.len()))
    }
}

/// Reads a word of a segment, both counted from 0, into a struct whose `struct_size` is set. Words are there when the
/// request's options asked for them. `TENON_E_NOT_FOUND` when there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_result_word(
    result: *const tenon_result,
    segment: usize,
    index: usize,
    word: *mut tenon_timed_word,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        quick(error, || {
            let given = handle::get::<Given>(result)?;
            let (known, texts) = given.segment(segment)?;
            let found = known.words.get(index).zip(texts.words.get(index));
            let (known, text) = found.ok_or_else(|| no_such("word", index, known.words.len()))?;
            let Word { start_us, end_us, confidence, .. } = known;
            let info = tenon_timed_word {
                struct_size: 0,
                confidence: probability(*confidence),
                start_us: *start_us,
                end_us: *end_us,
                text: text.as_ptr(),
                text_size: text.as_bytes().len(),
            };
            boundary::write(word, &info)
        })
    }
}

/// The number of vectors that embed made: one for each text. 0 for what is no result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_result_embedding_count(result: *const tenon_result) -> usize {
    value(0, || Some(handle::get::<Given>(result).ok()?.answer.embeddings.len()))
}

/// Gives the vector of a text, counted from 0, and its size. Valid until the result is freed. `TENON_E_NOT_FOUND` when
/// there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_result_embedding(
    result: *const tenon_result,
    index: usize,
    values: *mut *const f32,
    size: *mut usize,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        let (first, count) = (out(values, std::ptr::null(), "values"), out(size, 0, "size"));
        quick(error, || {
            let (first, count) = (first?, count?);
            let given = handle::get::<Given>(result)?;
            let all = &given.answer.embeddings;
            let vector = all.get(index).ok_or_else(|| no_such("embedding", index, all.len()))?;
            (*first, *count) = (vector.as_ptr(), vector.len());
            Ok(())
        })
    }
}

/// Lists the tokens of a text, where the request's options asked for them. Columns: `id`, `text`, `logprob`,
/// `start_us`, `end_us`. Free the table with `tenon_table_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_result_tokens(
    result: *const tenon_result,
    tokens: *mut *mut tenon_table,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        let place = out(tokens, std::ptr::null_mut(), "tokens");
        quick(error, || {
            let place = place?;
            let given = handle::get::<Given>(result)?;
            let rows = given.answer.tokens.iter().map(token_row);
            *place = Rows::new(["id", "text", "logprob", "start_us", "end_us"], rows).give_out()?;
            Ok(())
        })
    }
}

fn token_row(token: &Token) -> [String; 5] {
    let time = |time: Option<i64>| time.map(|time| time.to_string()).unwrap_or_default();
    let logprob = token.logprob.map(|logprob| logprob.to_string()).unwrap_or_default();
    [token.id.to_string(), token.text.clone(), logprob, time(token.start_us), time(token.end_us)]
}

/// Lists what the reader of a result should know: notes of the backend, and parts of the audio that were lost although
/// the rest could be read. Nothing is left out of a result without a row here. Columns: `code`, `message`, `at_us`,
/// `lost_us`. Free the table with `tenon_table_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_result_notes(
    result: *const tenon_result,
    notes: *mut *mut tenon_table,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        let place = out(notes, std::ptr::null_mut(), "notes");
        quick(error, || {
            let place = place?;
            let given = handle::get::<Given>(result)?;
            let none = String::new;
            let said = given.answer.notes.iter().map(|note| [note.code.clone(), note.message.clone(), none(), none()]);
            let lost = given.answer.damage.iter().map(|damage| {
                let lost = damage.lost_us.map(|lost| lost.to_string()).unwrap_or_default();
                [damage.kind.clone(), damage.message.clone(), damage.at_us.to_string(), lost]
            });
            *place = Rows::new(["code", "message", "at_us", "lost_us"], said.chain(lost)).give_out()?;
            Ok(())
        })
    }
}

/// Reads what the request consumed and produced into a struct whose `struct_size` is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_result_usage(
    result: *const tenon_result,
    usage: *mut tenon_run_usage,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        quick(error, || {
            let given = handle::get::<Given>(result)?;
            boundary::write(usage, &usage_of(&given.answer))
        })
    }
}

fn usage_of(answer: &Answer) -> tenon_run_usage {
    let micros = |time: std::time::Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    let Usage { prompt_tokens, cached_tokens, generated_tokens, audio_us, prompt_us, generate_us } = answer.usage;
    tenon_run_usage {
        struct_size: 0,
        reserved: 0,
        prompt_tokens,
        cached_tokens,
        generated_tokens,
        audio_us,
        prompt_us,
        generate_us,
        first_us: answer.timings.first.map_or(-1, micros),
        total_us: micros(answer.timings.total),
    }
}

/// Frees a result. NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_result_free(result: *mut tenon_result) {
    free::<Given>(result, |_| {});
}
