//! From the engine's segments to the host's: times in microseconds of the whole audio, whole code points, words,
//! confidence.

use crate::native::{Segment, Token};
use crate::silence::TimeMap;
use crate::vocabulary::Vocabulary;
use tenon_plugin::{Call, Result};

/// A hundredth of a second in microseconds.
const HUNDREDTH_US: i64 = 10_000;

/// Where the segments of a window lie in the whole audio.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    /// Start of the window, microseconds.
    pub start_us: i64,
    /// End of the window: no time is later.
    pub end_us: i64,
    /// From times of what the engine heard to times in the window.
    pub times: TimeMap,
}

impl Place {
    fn us(&self, hundredths: i64) -> i64 {
        (self.start_us + hundredths * HUNDREDTH_US).clamp(self.start_us, self.end_us)
    }

    fn segment(&self, segment: &Segment) -> (i64, i64) {
        let (start, end) = self.times.segment(segment.t0, segment.t1);
        let start = self.us(start);
        (start, self.us(end).max(start))
    }

    fn token(&self, token: &Token) -> Option<(i64, i64)> {
        if token.t0 < 0 || token.t1 < 0 {
            return None;
        }
        let start = self.us(self.times.original(token.t0));
        Some((start, self.us(self.times.original(token.t1)).max(start)))
    }
}

/// Emits segments.
pub struct Writer<'a> {
    call: &'a Call,
    vocabulary: &'a Vocabulary,
    words: bool,
    tokens: bool,
    held: Held,
    /// Tokens emitted so far, special ones too.
    pub generated: u64,
}

impl<'a> Writer<'a> {
    /// Emits to a call, with words and tokens if asked.
    pub fn new(call: &'a Call, vocabulary: &'a Vocabulary, words: bool, tokens: bool) -> Self {
        Self { call, vocabulary, words, tokens, held: Held::default(), generated: 0 }
    }

    /// Emits a segment of a window.
    ///
    /// # Errors
    /// The caller wants no more.
    pub fn segment(&mut self, segment: &Segment, place: &Place) -> Result<()> {
        self.generated += segment.tokens.len() as u64;
        let text = self.held.whole_text(&segment.text);
        let (start, end) = place.segment(segment);
        let words = if self.words { words(segment, self.vocabulary, place, (start, end)) } else { Vec::new() };
        let words: Vec<tenon_plugin::Word<'_>> = words
            .iter()
            .map(|word| tenon_plugin::Word::new(word.start_us, word.end_us, &word.text).confidence(word.confidence))
            .collect();
        let tokens: Vec<tenon_plugin::Token<'_>> = if self.tokens {
            segment.tokens.iter().map(|token| self.token(token, place)).collect()
        } else {
            Vec::new()
        };
        let emitted = tenon_plugin::Segment::new(start, end, &text)
            .words(&words)
            .tokens(&tokens)
            .confidence(confidence(segment.tokens.iter().filter(|token| self.vocabulary.is_text(token.id))))
            .no_speech(segment.no_speech);
        self.call.emit_segment(&emitted)
    }

    fn token(&self, token: &Token, place: &Place) -> tenon_plugin::Token<'a> {
        let (start, end) = place.token(token).unwrap_or((-1, -1));
        tenon_plugin::Token::new(token.id, self.vocabulary.bytes(token.id)).logprob(token.logprob).times(start, end)
    }

    /// Nothing of a window that is over goes on in the next one.
    pub fn end_window(&mut self) {
        self.held.end();
    }
}

/// Bytes of a code point whose rest comes with the next segment of the same window.
#[derive(Debug, Default)]
struct Held(Vec<u8>);

impl Held {
    /// The text with the bytes held back before it, without a code point that the next segment ends.
    fn whole_text(&mut self, text: &[u8]) -> String {
        self.0.extend_from_slice(text);
        let whole = self.0.len() - unfinished(&self.0);
        let rest = self.0.split_off(whole);
        let text = String::from_utf8_lossy(&self.0).into_owned();
        self.0 = rest;
        text
    }

    /// Drops a code point whose rest does not come any more.
    fn end(&mut self) {
        self.0.clear();
    }
}

/// Number of bytes at the end that begin a code point and do not end it.
fn unfinished(text: &[u8]) -> usize {
    for back in 1..=text.len().min(3) {
        let needed = match text[text.len() - back] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return 0,
        };
        return if needed > back { back } else { 0 };
    }
    0
}

/// Geometric mean of the tokens' probabilities; NaN without tokens.
fn confidence<'a>(tokens: impl Iterator<Item = &'a Token>) -> f32 {
    let (sum, count) = tokens.fold((0.0, 0.0), |(sum, count), token| (sum + token.logprob, count + 1.0));
    // `clamp` keeps NaN, `min` would not.
    (sum / count).exp().clamp(0.0, 1.0)
}

/// A word before it is emitted.
#[derive(Debug, PartialEq)]
struct Word {
    start_us: i64,
    end_us: i64,
    text: String,
    confidence: f32,
}

/// The words of a segment: a token that begins with a space, or with a letter of a script without spaces, begins one.
/// Times do not go back and stay within the segment.
fn words(segment: &Segment, vocabulary: &Vocabulary, place: &Place, (start, end): (i64, i64)) -> Vec<Word> {
    let mut groups: Vec<(Vec<u8>, Vec<&Token>)> = Vec::new();
    for token in segment.tokens.iter().filter(|token| vocabulary.is_text(token.id)) {
        let bytes = vocabulary.bytes(token.id);
        match groups.last_mut() {
            Some((text, tokens)) if unfinished(text) > 0 || !begins_word(bytes) => {
                text.extend_from_slice(bytes);
                tokens.push(token);
            }
            _ => groups.push((bytes.to_vec(), vec![token])),
        }
    }
    let mut last = start;
    let mut words = Vec::new();
    for (text, tokens) in groups {
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        if text.is_empty() {
            continue;
        }
        let times: Vec<(i64, i64)> = tokens.iter().filter_map(|token| place.token(token)).collect();
        let start_us = times.first().map_or(last, |time| time.0).clamp(last, end);
        let end_us = times.last().map_or(start_us, |time| time.1).clamp(start_us, end);
        last = end_us;
        words.push(Word { start_us, end_us, text, confidence: confidence(tokens.into_iter()) });
    }
    words
}

fn begins_word(bytes: &[u8]) -> bool {
    if bytes.first().is_some_and(u8::is_ascii_whitespace) {
        return true;
    }
    if unfinished(bytes) == bytes.len() {
        // The first bytes of kana and Han; the rest comes with the next token.
        return matches!(bytes.first(), Some(0xe3..=0xe9));
    }
    let text = String::from_utf8_lossy(bytes);
    // Kana, Han, Hangul stands with spaces, Thai, Lao, Khmer, Myanmar, Tibetan.
    text.chars().next().is_some_and(|first| {
        matches!(u32::from(first), 0x0e00..=0x109f | 0x1780..=0x17ff | 0x3040..=0x30ff | 0x3400..=0x9fff | 0x20000..=0x3ffff)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary() -> Vocabulary {
        let tokens: [&'static [u8]; 8] = [b" turn", b" on", b"ly", b".", "日".as_bytes(), b"\xe6\x9c", b"\xac", b" "];
        Vocabulary::of(&tokens)
    }

    fn token(id: i32, t0: i64, t1: i64) -> Token {
        Token { id, logprob: 0.5_f32.ln(), t0, t1 }
    }

    fn segment(tokens: Vec<Token>) -> Segment {
        Segment { t0: 0, t1: 300, text: Vec::new(), no_speech: 0.0, tokens }
    }

    fn place() -> Place {
        Place { start_us: 1_000_000, end_us: 3_000_000, times: TimeMap::default() }
    }

    #[test]
    fn words_begin_with_a_space_and_end_where_their_last_token_ends() {
        let segment =
            segment(vec![token(0, 0, 50), token(1, 50, 80), token(2, 80, 120), token(3, 120, 130), token(9, 1, 2)]);
        let words = words(&segment, &vocabulary(), &place(), (1_000_000, 3_000_000));
        let plain: Vec<_> = words.iter().map(|word| (word.text.as_str(), word.start_us, word.end_us)).collect();
        assert_eq!(plain, [("turn", 1_000_000, 1_500_000), ("only.", 1_500_000, 2_300_000)]);
        assert!(words.iter().all(|word| (word.confidence - 0.5).abs() < 1e-6));
    }

    #[test]
    fn scripts_without_spaces_give_a_word_for_each_sign_and_none_is_torn() {
        let segment = segment(vec![token(4, 0, 10), token(5, 10, 20), token(6, 20, 30)]);
        let words = words(&segment, &vocabulary(), &place(), (1_000_000, 3_000_000));
        assert_eq!(words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>(), ["日", "本"]);
    }

    #[test]
    fn times_of_words_never_go_back_or_leave_the_segment() {
        let segment = segment(vec![token(0, 100, 150), token(1, 20, 900)]);
        let words = words(&segment, &vocabulary(), &place(), (1_000_000, 2_800_000));
        assert_eq!((words[1].start_us, words[1].end_us), (2_500_000, 2_800_000));
    }

    #[test]
    fn no_time_lies_past_the_end_of_the_audio() {
        let segment = Segment { t0: 100, t1: 3000, ..segment(Vec::new()) };
        assert_eq!(place().segment(&segment), (2_000_000, 3_000_000));
    }

    #[test]
    fn a_code_point_that_is_torn_is_known_by_its_first_byte() {
        for (text, length) in
            [(&b"a"[..], 0), (b"a\xe6", 1), (b"a\xe6\x9c", 2), (b"\xe6\x9c\xac", 0), (b"\xf0\x9f\x98", 3), (b"\xac", 0)]
        {
            assert_eq!(unfinished(text), length, "{text:?}");
        }
    }

    #[test]
    fn a_torn_code_point_goes_on_in_the_next_segment_and_not_in_the_next_window() {
        let mut held = Held::default();
        assert_eq!(held.whole_text(b"a\xe6"), "a");
        assert_eq!(held.whole_text(b"\x9c\xac b\xe6"), "本 b");
        held.end();
        assert_eq!(held.whole_text(b" c"), " c");
    }

    #[test]
    fn confidence_is_the_geometric_mean() {
        let tokens = [token(0, 0, 0), Token { logprob: 0.125_f32.ln(), ..token(1, 0, 0) }];
        assert!((confidence(tokens.iter()) - 0.25).abs() < 1e-6);
        assert!(confidence([].iter()).is_nan());
    }
}
