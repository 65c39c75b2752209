//! What plugins emit, read out of their memory: every pointer, size, count, time and number is checked, then copied.

use tenon_abi as abi;
use tenon_tasks::{Segment, Token, Usage, Word};
pub use tenon_wire::Output;

/// Longest text of one item.
const LONGEST_TEXT: usize = 16 * 1024 * 1024;
/// Most words or tokens of one segment.
const MOST_PARTS: u32 = 65_536;
/// Most values of one embedding.
const MOST_VALUES: u64 = 1 << 20;
/// Latest time in an item: a hundred years.
const LATEST_US: i64 = 100 * 366 * 24 * 3600 * 1_000_000;

/// What is wrong with an item: the end of the sentence "the backend emitted …".
type Problem = String;

/// Reads an item and what it points to.
///
/// # Safety
/// `item` is NULL, misaligned or valid to read, and so is everything that a well-formed item points to; all of it stays
/// unchanged during this function. Sizes and counts may be anything: they are capped before they are used.
pub(crate) unsafe fn read(item: *const abi::Item) -> Result<Output, Problem> {
    // SAFETY: promised by the caller; `one` checks for NULL and alignment. Below, `payload` also checks the stamped
    // size, so that each read stays inside what the plugin says is there.
    unsafe {
        let item = one(item, "an item")?;
        match item.kind {
            abi::KIND_TEXT => {
                let text: abi::Text = payload(&item, "a text")?;
                bytes(text.text).map(|bytes| Output::Text(bytes.to_vec()))
            }
            abi::KIND_SEGMENT => segment(&payload(&item, "a segment")?).map(Output::Segment),
            abi::KIND_TOKEN => token(&payload(&item, "a token")?).map(Output::Token),
            abi::KIND_USAGE => Ok(Output::Usage(usage(&payload(&item, "a usage")?))),
            abi::KIND_DOCUMENT => document(&payload(&item, "a document")?),
            abi::KIND_EMBEDDING => embedding(&payload(&item, "an embedding")?),
            kind => Err(format!("an item of the unknown kind {kind}")),
        }
    }
}

/// Text that is made valid UTF-8 and cut to `longest` bytes; `None` when its pointer cannot be.
///
/// # Safety
/// A text whose pointer is not NULL is valid to read for its length.
pub(crate) unsafe fn lossy(text: abi::Str, longest: usize) -> Option<String> {
    let length = if text.len > LONGEST_TEXT { return None } else { text.len.min(longest) };
    // SAFETY: promised by the caller; the length is not more than that of the text.
    let bytes = unsafe { bytes(abi::Str { ptr: text.ptr, len: length }) }.ok()?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

/// # Safety
/// `pointer` is NULL, misaligned, or valid to read.
unsafe fn one<T: Copy>(pointer: *const T, what: &str) -> Result<T, Problem> {
    if pointer.is_null() || !pointer.is_aligned() {
        return Err(format!("{what} behind a pointer that is NULL or not aligned"));
    }
    // SAFETY: neither NULL nor misaligned, hence valid to read by the caller's promise.
    Ok(unsafe { *pointer })
}

/// # Safety
/// The item's data is NULL, misaligned, or valid to read for the item's size.
unsafe fn payload<T: Copy>(item: &abi::Item, what: &str) -> Result<T, Problem> {
    if item.size as usize != size_of::<T>() {
        return Err(format!("{what} of {} bytes, and it has {}", item.size, size_of::<T>()));
    }
    // SAFETY: promised by the caller, and the size is that of a `T`.
    unsafe { one(item.data.cast::<T>(), what) }
}

/// # Safety
/// A text whose pointer is not NULL is valid to read for its length, as long as the result lives.
unsafe fn bytes<'a>(text: abi::Str) -> Result<&'a [u8], Problem> {
    if text.len == 0 {
        return Ok(&[]);
    }
    if text.len > LONGEST_TEXT {
        return Err(format!("a text of {} bytes; the most is {LONGEST_TEXT}", text.len));
    }
    if text.ptr.is_null() {
        return Err(format!("a text of {} bytes at NULL", text.len));
    }
    // SAFETY: not NULL, of a length that is capped, and valid to read by the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(text.ptr.cast(), text.len) })
}

/// # Safety
/// As [`bytes`].
unsafe fn repaired(text: abi::Str) -> Result<String, Problem> {
    // SAFETY: promised by the caller.
    unsafe { bytes(text) }.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// # Safety
/// `pointer` is NULL, misaligned, or valid to read for `count` elements as long as the result lives.
unsafe fn list<'a, T>(pointer: *const T, count: u32, what: &str) -> Result<&'a [T], Problem> {
    match count {
        0 => Ok(&[]),
        count if count > MOST_PARTS => Err(format!("a segment of {count} {what}; the most is {MOST_PARTS}")),
        _ if pointer.is_null() || !pointer.is_aligned() => {
            Err(format!("{what} behind a pointer that is NULL or not aligned"))
        }
        // SAFETY: neither NULL nor misaligned, with a capped count, hence valid to read by the caller's promise.
        _ => Ok(unsafe { std::slice::from_raw_parts(pointer, count as usize) }),
    }
}

/// # Safety
/// Texts and lists of the segment are valid to read.
unsafe fn segment(segment: &abi::Segment) -> Result<Segment, Problem> {
    times(segment.start_us, segment.end_us, "a segment")?;
    // SAFETY: promised by the caller, for the texts of words and tokens too.
    unsafe {
        let words = list(segment.words, segment.word_count, "words")?;
        let tokens = list(segment.tokens, segment.token_count, "tokens")?;
        Ok(Segment {
            start_us: segment.start_us,
            end_us: segment.end_us,
            text: repaired(segment.text)?,
            confidence: probability(segment.confidence),
            no_speech: probability(segment.no_speech),
            words: words.iter().map(|item| word(item)).collect::<Result<_, _>>()?,
            tokens: tokens.iter().map(|item| token(item)).collect::<Result<_, _>>()?,
        })
    }
}

/// # Safety
/// The word's text is valid to read.
unsafe fn word(word: &abi::Word) -> Result<Word, Problem> {
    times(word.start_us, word.end_us, "a word")?;
    // SAFETY: promised by the caller.
    let text = unsafe { repaired(word.text)? };
    Ok(Word { start_us: word.start_us, end_us: word.end_us, text, confidence: probability(word.confidence) })
}

/// # Safety
/// The token's text is valid to read.
unsafe fn token(token: &abi::Token) -> Result<Token, Problem> {
    // −1 says that a token has no times.
    let timed = token.start_us >= 0 && token.end_us >= 0;
    if timed {
        times(token.start_us, token.end_us, "a token")?;
    }
    // SAFETY: promised by the caller.
    let text = unsafe { repaired(token.text)? };
    Ok(Token {
        id: token.id,
        text,
        logprob: Some(token.logprob).filter(|logprob| logprob.is_finite()),
        start_us: timed.then_some(token.start_us),
        end_us: timed.then_some(token.end_us),
    })
}

fn usage(usage: &abi::Usage) -> Usage {
    let time = |us: i64| us.clamp(0, LATEST_US);
    Usage {
        prompt_tokens: usage.prompt_tokens,
        cached_tokens: usage.cached_tokens,
        generated_tokens: usage.generated_tokens,
        audio_us: time(usage.audio_us),
        prompt_us: time(usage.prompt_us),
        generate_us: time(usage.generate_us),
    }
}

/// # Safety
/// The document's texts are valid to read.
unsafe fn document(document: &abi::Document) -> Result<Output, Problem> {
    // SAFETY: promised by the caller.
    unsafe {
        let name = repaired(document.name)?;
        if name.is_empty() || name.len() > 64 {
            return Err(format!("a document whose name has {} bytes; it has 1 to 64", name.len()));
        }
        Ok(Output::Document { name, text: repaired(document.text)? })
    }
}

/// # Safety
/// The values are valid to read.
unsafe fn embedding(embedding: &abi::Embedding) -> Result<Output, Problem> {
    if !(1..=MOST_VALUES).contains(&embedding.count) {
        return Err(format!("an embedding of {} values; it has 1 to {MOST_VALUES}", embedding.count));
    }
    if embedding.values.is_null() || !embedding.values.is_aligned() {
        return Err("an embedding behind a pointer that is NULL or not aligned".to_owned());
    }
    // SAFETY: neither NULL nor misaligned, with a capped count, hence valid to read by the caller's promise.
    let values = unsafe { std::slice::from_raw_parts(embedding.values, embedding.count as usize) };
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(Output::Embedding { index: embedding.index, values: values.to_vec() }),
        false => Err(format!("an embedding for text {} that holds NaN or infinity", embedding.index)),
    }
}

fn times(start_us: i64, end_us: i64, what: &str) -> Result<(), Problem> {
    match 0 <= start_us && start_us <= end_us && end_us <= LATEST_US {
        true => Ok(()),
        false => Err(format!("{what} from {start_us} to {end_us} µs")),
    }
}

/// NaN says that it is not known, and so does what cannot be a probability; rounding may leave the range by a little.
fn probability(value: f32) -> Option<f32> {
    (-0.001..=1.001).contains(&value).then(|| value.clamp(0.0, 1.0))
}
