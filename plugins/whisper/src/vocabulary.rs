//! The model's tokens as bytes: prompts to tokens, and which tokens a pattern names.
//!
//! whisper.cpp does both with `std::regex`, whose recursion a long word or a nasty pattern drives over the end of the
//! stack. Here both take linear time and no recursion; the tokens of a prompt are the same.

use std::collections::HashMap;
use tenon_plugin::{Error, Result};

/// Texts of all tokens, and the way back.
#[derive(Debug)]
pub struct Vocabulary {
    tokens: Vec<Box<[u8]>>,
    ids: HashMap<Box<[u8]>, i32>,
    longest: usize,
    end_of_text: i32,
}

impl Vocabulary {
    /// A vocabulary from its texts in order. Ids from `end_of_text` on stand for no text.
    pub fn new(tokens: impl Iterator<Item = Box<[u8]>>, end_of_text: i32) -> Self {
        let tokens: Vec<Box<[u8]>> = tokens.collect();
        let longest = tokens.iter().map(|token| token.len()).max().unwrap_or(0);
        // Of equal texts the last one counts, as in whisper.cpp.
        let ids = tokens.iter().zip(0..).map(|(token, id)| (token.clone(), id)).collect();
        Self { tokens, ids, longest, end_of_text }
    }

    /// The bytes of a token; none for an id that does not exist.
    pub fn bytes(&self, id: i32) -> &[u8] {
        usize::try_from(id).ok().and_then(|id| self.tokens.get(id)).map_or(&[], |token| token)
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
        for mut word in Words(text.as_bytes()) {
            while !word.is_empty() {
                let most = word.len().min(self.longest.max(1));
                let known = (1..=most).rev().find_map(|len| self.ids.get(&word[..len]).map(|id| (len, *id)));
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
        let matching = self.tokens.iter().zip(0..).filter(|(token, _)| regex.is_match(token));
        Ok(matching.map(|(_, id)| id).collect())
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

    fn vocabulary() -> Vocabulary {
        let texts = ["a", " ", "ab", " ab", "b", "1", " 12", "'s", ".", "ä", "\n", "abc", " ("];
        Vocabulary::new(texts.iter().map(|text| text.as_bytes().into()), 12)
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
