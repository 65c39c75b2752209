//! The model's tokens as bytes: prompts to tokens, and which tokens a pattern names.
//!
//! whisper.cpp does both with `std::regex`, whose recursion a long word or a nasty pattern drives over the end of the
//! stack. Here both take linear time and no recursion; the tokens of a prompt are the same.

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;
use tenon_plugin::{Error, Result};

/// Who knows the texts of tokens.
pub trait Texts: Send + Sync {
    /// The bytes of a token that exists.
    fn text(&self, id: i32) -> &[u8];
}

/// Texts of all tokens, and the way back.
pub struct Vocabulary {
    texts: Box<dyn Texts>,
    count: i32,
    end_of_text: i32,
    /// Made for the first prompt: it takes megabytes and milliseconds, and few requests have one.
    ids: OnceLock<Ids>,
}

/// The way from texts to ids.
struct Ids {
    of: HashMap<Box<[u8]>, i32>,
    longest: usize,
}

impl Vocabulary {
    /// A vocabulary of `count` tokens. Ids from `end_of_text` on stand for no text.
    pub fn new(texts: impl Texts + 'static, count: i32, end_of_text: i32) -> Self {
        Self { texts: Box::new(texts), count, end_of_text, ids: OnceLock::new() }
    }

    /// The bytes of a token; none for an id that does not exist.
    pub fn bytes(&self, id: i32) -> &[u8] {
        if (0..self.count).contains(&id) { self.texts.text(id) } else { &[] }
    }

    fn ids(&self) -> &Ids {
        self.ids.get_or_init(|| {
            // Of equal texts the last one counts, as in whisper.cpp.
            let of: HashMap<Box<[u8]>, i32> = (0..self.count).map(|id| (self.bytes(id).into(), id)).collect();
            let longest = of.keys().map(|text| text.len()).max().unwrap_or(0);
            Ids { of, longest }
        })
    }

    /// The token stands for text.
    pub fn is_text(&self, id: i32) -> bool {
        id < self.end_of_text
    }

    /// The tokens of a text: it is split into words, numbers, punctuation and space, and of each the longest known
    /// piece is taken again and again. Bytes that no token holds are left out, and their number is told.
    pub fn tokenize(&self, text: &str) -> (Vec<i32>, usize) {
        let mut ids = Vec::new();
        let mut unknown = 0;
        if text.is_empty() {
            return (ids, unknown);
        }
        let Ids { of, longest } = self.ids();
        for mut word in Words(text.as_bytes()) {
            while !word.is_empty() {
                let most = word.len().min((*longest).max(1));
                let known = (1..=most).rev().find_map(|len| of.get(&word[..len]).map(|id| (len, *id)));
                match known {
                    Some((len, id)) => {
                        ids.push(id);
                        word = &word[len..];
                    }
                    None => {
                        unknown += 1;
                        word = &word[1..];
                    }
                }
            }
        }
        (ids, unknown)
    }

    /// Ids of the tokens whose whole text matches a regular expression.
    pub fn matching(&self, pattern: &str) -> Result<Vec<i32>> {
        let whole = format!("^(?:{pattern})$");
        let regex = regex::bytes::RegexBuilder::new(&whole)
            .unicode(false)
            .size_limit(1 << 20)
            .nest_limit(64)
            .build()
            .map_err(|error| Error::options(format!("suppress_regex is no regular expression: {error}")))?;
        Ok((0..self.count).filter(|id| regex.is_match(self.bytes(*id))).collect())
    }
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vocabulary").field("count", &self.count).finish_non_exhaustive()
    }
}

/// Splits text as GPT-2 does, byte by byte: contractions; letters, digits or other marks with at most one space
/// before them; runs of white space. Bytes beyond ASCII count as other marks.
struct Words<'a>(&'a [u8]);

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = match self.0 {
            [] => return None,
            text => contraction(text).or_else(|| run(text)).unwrap_or_else(|| space(text)),
        };
        let (word, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(word)
    }
}

fn contraction(text: &[u8]) -> Option<usize> {
    ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"]
        .iter()
        .find(|end| text.starts_with(end.as_bytes()))
        .map(|end| end.len())
}

fn run(text: &[u8]) -> Option<usize> {
    let before = usize::from(text[0] == b' ');
    let kinds: [fn(&u8) -> bool; 3] = [u8::is_ascii_alphabetic, u8::is_ascii_digit, is_mark];
    kinds.iter().find_map(|kind| {
        let length = text[before..].iter().take_while(|byte| kind(byte)).count();
        (length > 0).then_some(before + length)
    })
}

/// White space up to the last one before a word, which belongs to the word.
fn space(text: &[u8]) -> usize {
    let length = text.iter().take_while(|byte| is_space(byte)).count();
    if length > 1 && length < text.len() { length - 1 } else { length.max(1) }
}

fn is_mark(byte: &u8) -> bool {
    !is_space(byte) && !byte.is_ascii_alphanumeric()
}

fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Texts for Vec<&'static [u8]> {
        fn text(&self, id: i32) -> &[u8] {
            self[id as usize]
        }
    }

    impl Vocabulary {
        /// A vocabulary of these tokens, all of which stand for text.
        pub(crate) fn of(tokens: &[&'static [u8]]) -> Self {
            let count = tokens.len() as i32;
            Self::new(tokens.to_vec(), count, count)
        }
    }

    fn vocabulary() -> Vocabulary {
        let texts = ["a", " ", "ab", " ab", "b", "1", " 12", "'s", ".", "ä", "\n", "abc", " ("];
        Vocabulary::of(&texts.map(str::as_bytes))
    }

    fn words(text: &str) -> Vec<&str> {
        Words(text.as_bytes()).map(|word| std::str::from_utf8(word).unwrap()).collect()
    }

    #[test]
    fn text_is_split_as_whisper_splits_it() {
        assert_eq!(words("it's 5 o'clock, isn't it"), ["it", "'s", " 5", " o", "'", "clock", ",", " isn", "'t", " it"]);
        assert_eq!(words("a  b\n\nc "), ["a", " ", " b", "\n", "\n", "c", " "]);
        assert_eq!(words(""), [""; 0]);
    }

    #[test]
    fn the_longest_known_piece_is_taken() {
        assert_eq!(vocabulary().tokenize("abcab ab 12"), (vec![11, 2, 3, 6], 0));
    }

    #[test]
    fn bytes_without_a_token_are_counted_and_left_out() {
        assert_eq!(vocabulary().tokenize("aéä"), (vec![0, 9], 2));
    }

    #[test]
    fn an_id_that_does_not_exist_has_no_bytes() {
        assert_eq!([-1, 0, 13, i32::MAX].map(|id| vocabulary().bytes(id).len()), [0, 1, 0, 0]);
    }

    #[test]
    fn of_equal_texts_the_last_counts() {
        assert_eq!(Vocabulary::of(&[b"a", b"b", b"a"]).tokenize("a"), (vec![2], 0));
    }

    #[test]
    fn a_word_of_a_million_letters_is_no_problem() {
        let (ids, unknown) = vocabulary().tokenize(&"b".repeat(1_000_000));
        assert_eq!((ids.len(), unknown), (1_000_000, 0));
    }

    #[test]
    fn a_pattern_names_whole_tokens() {
        let vocabulary = vocabulary();
        assert_eq!(vocabulary.matching("a|b").unwrap(), [0, 4]);
        assert_eq!(vocabulary.matching("[ ]?ab?").unwrap(), [0, 2, 3]);
        assert!(vocabulary.matching("(").unwrap_err().message().starts_with("suppress_regex is no regular expression"));
        assert!(vocabulary.matching(&"(".repeat(100_000)).is_err());
        // Takes std::regex exponential time.
        assert!(vocabulary.matching("(a*)*b{50}").unwrap().is_empty());
    }
}
