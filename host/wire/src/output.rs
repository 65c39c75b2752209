//! What a backend emits, as it crosses.

use crate::code::{Reader, Writer};
use crate::{Error, Result, limits};
use tenon_tasks::{Segment, Token, Usage, Word};

/// An item that a backend emitted.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// A piece of text; may begin or end inside a code point.
    Text(Vec<u8>),
    /// A piece of a transcript.
    Segment(Segment),
    /// A token of model text.
    Token(Token),
    /// What the run consumed and produced.
    Usage(Usage),
    /// A named JSON document.
    Document {
        /// Its name, 1 to [`limits::DOCUMENT_NAME`] bytes.
        name: String,
        /// The document.
        text: String,
    },
    /// The vector of one input text.
    Embedding {
        /// Which text, from 0.
        index: u32,
        /// Finite, 1 to [`limits::VALUES`] of them.
        values: Vec<f32>,
    },
}

/// A time that a token does not have.
const NO_TIME: i64 = -1;
/// Fewest bytes of a token: id, text, probability, two times. Of a word: the same without the id.
const TOKEN: usize = 4 + 4 + 4 + 8 + 8;
const WORD: usize = 8 + 8 + 4 + 4;

impl Output {
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Self::Text(_) => 0,
            Self::Segment(_) => 1,
            Self::Token(_) => 2,
            Self::Usage(_) => 3,
            Self::Document { .. } => 4,
            Self::Embedding { .. } => 5,
        }
    }

    pub(crate) fn put<'a>(&'a self, to: &mut Writer<'a, '_>) {
        match self {
            Self::Text(bytes) => to.bytes("a text", bytes, limits::TEXT),
            Self::Segment(segment) => put_segment(segment, to),
            Self::Token(token) => put_token(token, to),
            Self::Usage(usage) => {
                to.u64(usage.prompt_tokens);
                to.u64(usage.cached_tokens);
                to.u64(usage.generated_tokens);
                to.i64(usage.audio_us);
                to.i64(usage.prompt_us);
                to.i64(usage.generate_us);
            }
            Self::Document { name, text } => {
                to.text("a document's name", name, limits::DOCUMENT_NAME);
                to.text("a document", text, limits::TEXT);
            }
            Self::Embedding { index, values } => {
                to.u32(*index);
                to.count("values", values.len(), limits::VALUES);
                to.floats(values);
            }
        }
    }

    pub(crate) fn take(kind: u8, from: &mut Reader<'_>) -> Result<Self> {
        match kind {
            0 => from.bytes("a text", limits::TEXT).map(|bytes| Self::Text(bytes.to_vec())),
            1 => segment(from).map(Self::Segment),
            2 => token(from).map(Self::Token),
            3 => Ok(Self::Usage(Usage {
                prompt_tokens: from.u64()?,
                cached_tokens: from.u64()?,
                generated_tokens: from.u64()?,
                audio_us: duration(from)?,
                prompt_us: duration(from)?,
                generate_us: duration(from)?,
            })),
            4 => document(from),
            5 => embedding(from),
            unknown => Err(Error::Garbage(format!("output of the unknown kind {unknown}"))),
        }
    }
}

fn put_segment<'a>(segment: &'a Segment, to: &mut Writer<'a, '_>) {
    to.i64(segment.start_us);
    to.i64(segment.end_us);
    to.text("a segment's text", &segment.text, limits::TEXT);
    to.optional_f32(segment.confidence);
    to.optional_f32(segment.no_speech);
    to.count("words", segment.words.len(), limits::PARTS);
    for word in &segment.words {
        to.i64(word.start_us);
        to.i64(word.end_us);
        to.text("a word", &word.text, limits::TEXT);
        to.optional_f32(word.confidence);
    }
    to.count("tokens", segment.tokens.len(), limits::PARTS);
    for token in &segment.tokens {
        put_token(token, to);
    }
}

fn segment(from: &mut Reader<'_>) -> Result<Segment> {
    let (start_us, end_us) = times("a segment", from)?;
    Ok(Segment {
        start_us,
        end_us,
        text: from.text("a segment's text", limits::TEXT)?,
        confidence: probability(from)?,
        no_speech: probability(from)?,
        words: from.list("words", limits::PARTS, WORD, word)?,
        tokens: from.list("tokens", limits::PARTS, TOKEN, token)?,
    })
}

fn word(from: &mut Reader<'_>) -> Result<Word> {
    let (start_us, end_us) = times("a word", from)?;
    Ok(Word { start_us, end_us, text: from.text("a word", limits::TEXT)?, confidence: probability(from)? })
}

fn put_token<'a>(token: &'a Token, to: &mut Writer<'a, '_>) {
    to.i32(token.id);
    to.text("a token's text", &token.text, limits::TEXT);
    to.optional_f32(token.logprob);
    to.i64(token.start_us.unwrap_or(NO_TIME));
    to.i64(token.end_us.unwrap_or(NO_TIME));
}

fn token(from: &mut Reader<'_>) -> Result<Token> {
    let id = from.i32()?;
    let text = from.text("a token's text", limits::TEXT)?;
    let logprob = match from.optional_f32()? {
        Some(value) if value.is_infinite() => return Err(Error::Garbage("a probability of infinity".to_owned())),
        logprob => logprob,
    };
    let (start_us, end_us) = match (from.i64()?, from.i64()?) {
        (NO_TIME, NO_TIME) => (None, None),
        (start, end) => checked_times("a token", start, end).map(|(start, end)| (Some(start), Some(end)))?,
    };
    Ok(Token { id, text, logprob, start_us, end_us })
}

fn document(from: &mut Reader<'_>) -> Result<Output> {
    let name = from.text("a document's name", limits::DOCUMENT_NAME)?;
    match name.is_empty() {
        true => Err(Error::Garbage("a document without a name".to_owned())),
        false => Ok(Output::Document { name, text: from.text("a document", limits::TEXT)? }),
    }
}

fn embedding(from: &mut Reader<'_>) -> Result<Output> {
    let index = from.u32()?;
    let values = from.floats("values", 1..=limits::VALUES)?;
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(Output::Embedding { index, values }),
        false => Err(Error::Garbage(format!("an embedding for text {index} that holds NaN or infinity"))),
    }
}

fn times(what: &str, from: &mut Reader<'_>) -> Result<(i64, i64)> {
    let (start, end) = (from.i64()?, from.i64()?);
    checked_times(what, start, end)
}

fn checked_times(what: &str, start: i64, end: i64) -> Result<(i64, i64)> {
    match 0 <= start && start <= end && end <= limits::LATEST_US {
        true => Ok((start, end)),
        false => Err(Error::Garbage(format!("{what} from {start} to {end} µs"))),
    }
}

fn duration(from: &mut Reader<'_>) -> Result<i64> {
    let time = from.i64()?;
    match (0..=limits::LATEST_US).contains(&time) {
        true => Ok(time),
        false => Err(Error::Garbage(format!("a time of {time} µs"))),
    }
}

/// NaN crosses for one that is not known.
fn probability(from: &mut Reader<'_>) -> Result<Option<f32>> {
    match from.optional_f32()? {
        Some(value) if !(0.0..=1.0).contains(&value) => Err(Error::Garbage(format!("a probability of {value}"))),
        probability => Ok(probability),
    }
}
