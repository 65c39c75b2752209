//! Which tokens may come next: what a request suppresses, and its grammar.
//!
//! whisper.cpp applies a grammar after it has decided whether a timestamp or text comes next, and has no hook there.
//! Following the user's rules can take it for ever (see [`crate::matching`]), so it is given a rule
//! instead that allows every text without the code point [`Filter::bar`], and the hook before the decision does the
//! rest: it masks timestamps as whisper.cpp will, decides as whisper.cpp would, and takes the penalty from what the
//! grammar refuses. Lest the decision fall differently after that, the tokens that the rule does not allow are raised by
//! [`Filter::penalty`], which whisper.cpp takes from them after the decision. So the logits from which it chooses are
//! those it would have come to itself. (A vocabulary that has no token of this kind would give a timestamp instead where
//! the grammar refuses all likely text; each of OpenAI's has tokens for single bytes that are no text.)

use crate::grammar::Grammar;
use crate::matching::Matcher;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tenon_plugin::Result;

/// Seconds within which the first timestamp of a window lies, as whisper.cpp has it by default.
pub const FIRST_TIMESTAMP_S: f32 = 1.0;

/// More than any two logits differ by.
const LIFT: f32 = 1024.0;

/// Texts that `suppress_nst` suppresses, alone or after a space: whisper.cpp's list.
const NO_SPEECH: &[&str] = &[
    "\"",
    "#",
    "(",
    ")",
    "*",
    "+",
    "/",
    ":",
    ";",
    "<",
    "=",
    ">",
    "@",
    "[",
    "\\",
    "]",
    "^",
    "_",
    "`",
    "{",
    "|",
    "}",
    "~",
    "「",
    "」",
    "『",
    "』",
    "<<",
    ">>",
    "<<<",
    ">>>",
    "--",
    "---",
    "-(",
    "-[",
    "('",
    "(\"",
    "((",
    "))",
    "(((",
    ")))",
    "[[",
    "]]",
    "{{",
    "}}",
    "♪♪",
    "♪♪♪",
    "♩",
    "♪",
    "♫",
    "♬",
    "♭",
    "♮",
    "♯",
    "-",
];

/// The special tokens of a model, and what its encoder hears.
#[derive(Clone, Copy, Debug)]
pub struct Marks {
    /// Ends a text; ids below stand for text.
    pub end_of_text: usize,
    /// The timestamp of 0 seconds; all from it on are timestamps.
    pub first_timestamp: usize,
    /// Encoder positions.
    pub audio_ctx: usize,
}

/// What a request wants of the next token.
pub struct Filter {
    suppressed: Vec<i32>,
    rules: Option<Rules>,
}

struct Rules {
    matcher: Mutex<Matcher>,
    bar: u32,
    marks: Marks,
    penalty: f32,
    no_speech: Vec<usize>,
}

impl Filter {
    /// Tokens that never come.
    pub fn new(suppressed: &[i32]) -> Self {
        Self { suppressed: suppressed.to_vec(), rules: None }
    }

    /// And a grammar that the text should follow, over the texts of all tokens.
    pub fn follow(&mut self, grammar: &Grammar, penalty: f32, suppress_nst: bool, marks: Marks, texts: Vec<Vec<u8>>) {
        let no_speech = if suppress_nst { no_speech(&texts) } else { Vec::new() };
        let texts = texts.into_iter().take(marks.end_of_text).collect();
        let matcher = Matcher::new(grammar, texts);
        let bar = matcher.bar();
        self.rules = Some(Rules { matcher: Mutex::new(matcher), bar, marks, penalty, no_speech });
    }

    /// The code point that whisper.cpp's rule does not allow.
    pub fn bar(&self) -> u32 {
        self.rules.as_ref().map_or(u32::MAX, |rules| rules.bar)
    }

    /// What whisper.cpp takes from tokens that its rule does not allow, after its decision.
    pub fn penalty(&self) -> f32 {
        self.rules.as_ref().map_or(0.0, |rules| rules.penalty + LIFT)
    }

    /// Changes the logits of what may follow these tokens.
    ///
    /// # Errors
    /// The grammar can go on in too many ways.
    pub fn apply(&self, tokens: &[i32], logits: &mut [f32], is_stopped: &dyn Fn() -> bool) -> Result<()> {
        for id in &self.suppressed {
            // The ids were taken from the vocabulary.
            logits[*id as usize] = f32::NEG_INFINITY;
        }
        self.rules.as_ref().map_or(Ok(()), |rules| rules.apply(tokens, logits, is_stopped))
    }
}

impl Rules {
    fn apply(&self, tokens: &[i32], logits: &mut [f32], is_stopped: &dyn Fn() -> bool) -> Result<()> {
        self.mask(tokens, logits);
        let (others, timestamps) = logits.split_at(self.marks.first_timestamp);
        let best = others.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if log_sum_exp(timestamps) > best {
            // A timestamp comes, with or without a grammar.
            return Ok(());
        }
        let mut matcher = self.matcher.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = matcher.next(tokens, is_stopped)?;
        drop(matcher);
        for id in verdict.barred.iter() {
            logits[*id] += self.penalty + LIFT;
        }
        for id in verdict.refused.iter().flat_map(|refused| refused.iter()) {
            logits[*id] -= self.penalty;
        }
        Ok(())
    }

    /// Masks what whisper.cpp will mask between its hook and its decision.
    fn mask(&self, tokens: &[i32], logits: &mut [f32]) {
        const NEVER: f32 = f32::NEG_INFINITY;
        let Marks { end_of_text, first_timestamp: first, audio_ctx, .. } = self.marks;
        for id in &self.no_speech {
            logits[*id] = NEVER;
        }
        let is_timestamp = |token: &i32| *token >= first as i32;
        if tokens.last().is_some_and(is_timestamp) {
            // Timestamps come in pairs.
            if tokens.len() < 2 || is_timestamp(&tokens[tokens.len() - 2]) {
                logits[first..].fill(NEVER);
            } else {
                logits[..end_of_text].fill(NEVER);
            }
        }
        if tokens.is_empty() {
            let position = 30.0 / audio_ctx as f32;
            let last = first + (FIRST_TIMESTAMP_S / position).round() as usize;
            logits.iter_mut().skip(last + 1).for_each(|logit| *logit = NEVER);
        }
        // And do not go back.
        if let Some(last) = tokens.iter().rev().find(|token| **token > first as i32) {
            logits[first..*last as usize].fill(NEVER);
        }
    }
}

/// Ids of the tokens that stand for no speech. Of equal texts the last one counts, as in whisper.cpp.
fn no_speech(texts: &[Vec<u8>]) -> Vec<usize> {
    let ids: HashMap<&[u8], usize> = texts.iter().enumerate().map(|(id, text)| (text.as_slice(), id)).collect();
    let id = |text: &str| ids.get(text.as_bytes()).copied();
    let after_space = |text: &str| id(&format!(" {text}"));
    let mut all: Vec<usize> = NO_SPEECH.iter().flat_map(|text| [id(text), after_space(text)]).flatten().collect();
    all.extend([after_space("-"), after_space("'")].into_iter().flatten());
    all
}

fn log_sum_exp(logits: &[f32]) -> f32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if most == f32::NEG_INFINITY {
        return most;
    }
    logits.iter().map(|logit| (logit - most).exp()).sum::<f32>().ln() + most
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens: a, b, a byte that is no text, the end, a special one, three timestamps.
    fn filter(grammar: &str) -> Filter {
        let texts = [&b"a"[..], b"b", b"\xa9", b"[_EOT_]", b"[_SOT_]", b"[_BEG_]", b"[_TT_1]", b"[_TT_2]"];
        let marks = Marks { end_of_text: 3, first_timestamp: 5, audio_ctx: 1500 };
        let mut filter = Filter::new(&[]);
        let grammar = Grammar::parse(grammar, "root").unwrap();
        filter.follow(&grammar, 100.0, false, marks, texts.map(<[u8]>::to_vec).to_vec());
        filter
    }

    /// The logits after whisper.cpp took its penalty from what is no text.
    fn after(grammar: &str, tokens: &[i32], mut logits: [f32; 8]) -> [f32; 8] {
        let filter = filter(grammar);
        filter.apply(tokens, &mut logits, &|| false).unwrap();
        if logits[2].is_finite() {
            logits[2] -= filter.penalty();
        }
        logits
    }

    #[test]
    fn the_penalty_is_taken_from_what_the_grammar_refuses_and_timestamps_stay() {
        let logits = [5.0, 6.0, 1.0, 2.0, 0.0, 3.0, 3.0, 3.0];
        assert_eq!(after("root ::= \"a\"", &[5], logits)[..5], [5.0, -94.0, -99.0, 2.0, 0.0]);
        assert_eq!(after("root ::= \"a\"", &[], logits), [5.0, -94.0, -99.0, 2.0, 0.0, 3.0, 3.0, 3.0]);
        // Once the text has left the grammar, it counts no more.
        assert_eq!(after("root ::= \"a\"", &[1], logits), logits);
    }

    #[test]
    fn text_that_comes_without_a_grammar_comes_with_it_too() {
        let mut logits = [1.0, 6.0, 1.0, 2.0, 0.0, 3.0, 3.0, 3.0];
        filter("root ::= \"a\"").apply(&[], &mut logits, &|| false).unwrap();
        let best = logits[..5].iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert!(best > log_sum_exp(&logits[5..]), "{logits:?}");
    }

    #[test]
    fn a_timestamp_that_comes_without_a_grammar_comes_with_it_too() {
        let logits = [5.0, 4.0, 1.0, 2.0, 0.0, 4.5, 4.5, 4.5];
        let mut filtered = logits;
        filter("root ::= \"a\"").apply(&[], &mut filtered, &|| false).unwrap();
        assert_eq!(filtered, logits);
    }

    #[test]
    fn timestamps_come_in_pairs_and_do_not_go_back() {
        let never = f32::NEG_INFINITY;
        let logits = [0.0, 0.0, 0.0, 9.0, 0.0, 1.0, 1.0, 1.0];
        assert_eq!(after("root ::= \"a\"*", &[5, 0, 6], logits)[5..], [never, 1.0, 1.0]);
        assert_eq!(after("root ::= \"a\"*", &[5, 0, 6], logits)[..2], [never, never]);
        assert_eq!(after("root ::= \"a\"*", &[5, 0, 6, 6], logits)[5..], [never; 3]);
    }
}
