//! Checks a GBNF grammar before llama.cpp compiles it.
//!
//! llama.cpp's own parser writes to stderr, takes some bounds for none, and on some grammars recurses or loops without end.
//! What passes here is read by it as it is meant: whole syntax, every rule defined once, a `root`, no left recursion, not
//! even through rules that may be empty, no repetition that it would silently leave unbounded, and none of what may be
//! empty, with which it would go on without end or nearly so.

use crate::{Error, Result};
use std::collections::HashMap;

/// Longest grammar in bytes.
const MAX_BYTES: usize = 64 << 10;
/// Deepest nesting of groups.
const MAX_DEPTH: usize = 64;
/// Highest count in a repetition; llama.cpp takes a higher one for no limit.
const MAX_REPEAT: u64 = 2000;
/// Most times that what may be empty is repeated: llama.cpp keeps every way to leave some of them out, and with each
/// character looks through them for each of them.
const MAX_EMPTY_REPEAT: u64 = 16;
/// Most elements that repetitions may expand to.
const MAX_EXPANSION: u64 = 1 << 20;

/// Checks the text of a grammar.
///
/// ```
/// use tenon_llama_text::check_grammar;
///
/// assert!(check_grammar("root ::= \"yes\" | \"no\"").is_ok());
/// let error = check_grammar("root ::= answer").unwrap_err();
/// assert_eq!(error.to_string(), "the grammar names a rule \"answer\" that it does not define");
/// ```
pub fn check(grammar: &str) -> Result<()> {
    named_tokens(grammar).map(drop)
}

/// Checks the text of a grammar and tells the tokens that it names by number for itself, as `<[7]>`.
///
/// ```
/// use tenon_llama_text::grammar_tokens;
///
/// assert_eq!(grammar_tokens("root ::= <[7]> !<[8]> \"<[9]>\""), Ok(vec![7]));
/// ```
pub fn named_tokens(grammar: &str) -> Result<Vec<i32>> {
    if grammar.len() > MAX_BYTES {
        return Err(Error::new(format!("the grammar has {} bytes, more than {MAX_BYTES}", grammar.len())));
    }
    if grammar.contains('\0') {
        return Err(Error::new("the grammar holds a NUL character"));
    }
    let mut parser = Parser {
        text: grammar.as_bytes(),
        at: 0,
        names: Vec::new(),
        ids: HashMap::new(),
        rules: Vec::new(),
        symbols: 0,
        expansion: 0,
        tokens: Vec::new(),
    };
    parser.space(true);
    while parser.peek().is_some() {
        parser.rule()?;
    }
    parser.finish()
}

/// What a rule is made of, as far as emptiness and recursion go.
#[derive(Debug)]
enum Element {
    /// Reads at least a character or a token.
    Terminal,
    Rule(usize),
    Group(Vec<Vec<Element>>),
    /// May be left out.
    Optional(Box<Element>),
    /// Without an upper bound; the second field says whether it may be left out.
    Repeated(Box<Element>, bool),
    /// More than a few times, up to a bound; the second field as above.
    Many(Box<Element>, bool),
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    names: Vec<String>,
    ids: HashMap<String, usize>,
    rules: Vec<Option<Vec<Vec<Element>>>>,
    /// Symbols that llama.cpp will have made by now: it limits repetitions by their number.
    symbols: u64,
    expansion: u64,
    /// Tokens that are named by number.
    tokens: Vec<i32>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn fail<T>(&self, what: impl std::fmt::Display) -> Result<T> {
        let before = &self.text[..self.at.min(self.text.len())];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
        Err(Error::new(format!("the grammar, line {line}, column {column}: {what}")))
    }

    /// Skips blanks and comments, and line ends where `newline` says so.
    fn space(&mut self, newline: bool) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' => self.at += 1,
                b'\r' | b'\n' if newline => self.at += 1,
                b'#' => {
                    while self.peek().is_some_and(|byte| byte != b'\r' && byte != b'\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn name(&mut self) -> Result<String> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            self.at += 1;
        }
        if start == self.at {
            return self.fail("a rule name is expected (letters, digits and \"-\")");
        }
        Ok(String::from_utf8_lossy(&self.text[start..self.at]).into_owned())
    }

    fn id(&mut self, name: String) -> usize {
        if let Some(&id) = self.ids.get(&name) {
            return id;
        }
        self.symbols += 1;
        self.ids.insert(name.clone(), self.names.len());
        self.names.push(name);
        self.rules.push(None);
        self.names.len() - 1
    }

    fn rule(&mut self) -> Result<()> {
        let name = self.name()?;
        let id = self.id(name);
        self.space(false);
        if !(self.take(b':') && self.take(b':') && self.take(b'=')) {
            return self.fail("\"::=\" is expected");
        }
        self.space(true);
        let alternatives = self.alternatives(0)?;
        if self.rules[id].replace(alternatives).is_some() {
            return self.fail(format_args!("the rule \"{}\" is defined twice", self.names[id]));
        }
        match self.peek() {
            None | Some(b'\r' | b'\n') => self.space(true),
            Some(_) => return self.fail("the end of the line is expected"),
        }
        Ok(())
    }

    fn alternatives(&mut self, depth: usize) -> Result<Vec<Vec<Element>>> {
        if depth > MAX_DEPTH {
            return self.fail(format_args!("groups are nested deeper than {MAX_DEPTH}"));
        }
        let mut all = vec![self.sequence(depth)?];
        while self.take(b'|') {
            self.space(true);
            all.push(self.sequence(depth)?);
        }
        Ok(all)
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<Element>> {
        let mut sequence = Vec::new();
        // What the last item expands to, and how many symbols llama.cpp makes for it; `None` before the first item.
        let mut last: Option<(u64, u64)> = None;
        while let Some(byte) = self.peek() {
            let symbols = self.symbols;
            match byte {
                b'"' => {
                    let length = self.literal()?;
                    if length > 0 {
                        sequence.push(Element::Terminal);
                    }
                    last = (length > 0).then_some((length, 1));
                }
                b'[' => {
                    last = Some((self.class()?, 1));
                    sequence.push(Element::Terminal);
                }
                b'<' | b'!' => {
                    self.token()?;
                    last = Some((1, 1));
                    sequence.push(Element::Terminal);
                }
                b'.' => {
                    self.at += 1;
                    last = Some((1, 1));
                    sequence.push(Element::Terminal);
                }
                b'(' => {
                    self.at += 1;
                    self.symbols += 1;
                    self.space(true);
                    let group = self.alternatives(depth + 1)?;
                    if !self.take(b')') {
                        return self.fail("\")\" is expected");
                    }
                    last = Some((1, (self.symbols - symbols).max(1)));
                    sequence.push(Element::Group(group));
                }
                b'*' | b'+' | b'?' | b'{' => {
                    let (least, most) = self.repetition(byte)?;
                    let (Some((length, rules)), Some(item)) = (last, sequence.pop()) else {
                        return self.fail("there is nothing to repeat here");
                    };
                    last = Some((length, self.repeat(length, rules, least, most)?));
                    sequence.push(match most {
                        None => Element::Repeated(Box::new(item), least == 0),
                        Some(0) => Element::Group(vec![vec![]]),
                        Some(most) if most > MAX_EMPTY_REPEAT => Element::Many(Box::new(item), least == 0),
                        Some(_) if least == 0 => Element::Optional(Box::new(item)),
                        Some(_) => item,
                    });
                }
                byte if byte.is_ascii_alphanumeric() || byte == b'-' => {
                    let name = self.name()?;
                    sequence.push(Element::Rule(self.id(name)));
                    last = Some((1, 1));
                }
                _ => break,
            }
            self.space(depth > 0);
        }
        Ok(sequence)
    }

    /// Takes the cost of a repetition into account. The result is the number of rules that llama.cpp counts for it.
    fn repeat(&mut self, length: u64, rules: u64, least: u64, most: Option<u64>) -> Result<u64> {
        let times = most.filter(|&most| most > 0).unwrap_or(least).max(1);
        let rules = rules.saturating_mul(times);
        self.expansion = self.expansion.saturating_add(length.saturating_mul(times));
        if rules > MAX_REPEAT || self.expansion > MAX_EXPANSION {
            return self.fail("the repetitions multiply to too many rules");
        }
        self.symbols += most.map_or(1, |most| most.saturating_sub(least));
        Ok(rules)
    }

    /// The bounds of `*`, `+`, `?` or `{m,n}`.
    fn repetition(&mut self, byte: u8) -> Result<(u64, Option<u64>)> {
        self.at += 1;
        let bounds = match byte {
            b'*' => (0, None),
            b'+' => (1, None),
            b'?' => (0, Some(1)),
            _ => {
                self.space(true);
                let least = self.number()?;
                self.space(true);
                let mut most = Some(least);
                if self.take(b',') {
                    self.space(true);
                    most =
                        if self.peek().is_some_and(|byte| byte.is_ascii_digit()) { Some(self.number()?) } else { None };
                    self.space(true);
                }
                if !self.take(b'}') {
                    return self.fail("\"}\" is expected");
                }
                (least, most)
            }
        };
        match bounds {
            (least, Some(most)) if least > most => self.fail(format_args!("{least} to {most} is no range")),
            (least, most) if least.max(most.unwrap_or(0)) > MAX_REPEAT => {
                self.fail(format_args!("more than {MAX_REPEAT} repetitions cannot be enforced"))
            }
            bounds => Ok(bounds),
        }
    }

    fn number(&mut self) -> Result<u64> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        let digits = std::str::from_utf8(&self.text[start..self.at]).unwrap_or_default();
        digits.parse().or_else(|_| self.fail("a whole number is expected"))
    }

    /// A text in quotes; gives its number of characters.
    fn literal(&mut self) -> Result<u64> {
        self.at += 1;
        let mut length = 0;
        while !self.take(b'"') {
            self.character()?;
            length += 1;
        }
        Ok(length)
    }

    /// A character class; gives its number of entries.
    fn class(&mut self) -> Result<u64> {
        self.at += 1;
        self.take(b'^');
        let mut entries = 0;
        while !self.take(b']') {
            self.character()?;
            if self.peek() == Some(b'-') && self.text.get(self.at + 1) != Some(&b']') {
                self.at += 1;
                self.character()?;
            }
            entries += 1;
        }
        if entries == 0 {
            return self.fail("an empty character class matches nothing");
        }
        Ok(entries)
    }

    fn character(&mut self) -> Result<()> {
        let Some(byte) = self.peek() else { return self.fail("the grammar ends within a text or a character class") };
        if byte != b'\\' {
            // The grammar is UTF-8, so a whole code point follows.
            self.at += match byte {
                0xf0.. => 4,
                0xe0.. => 3,
                0xc0.. => 2,
                _ => 1,
            };
            return Ok(());
        }
        let digits = match self.text.get(self.at + 1) {
            Some(b'x') => 2,
            Some(b'u') => 4,
            Some(b'U') => 8,
            Some(b't' | b'r' | b'n' | b'\\' | b'"' | b'[' | b']' | b'-') => 0,
            _ => {
                return self
                    .fail("an unknown escape; \\t \\r \\n \\\\ \\\" \\[ \\] \\- \\xHH \\uHHHH \\UHHHHHHHH are known");
            }
        };
        let code = self.text.get(self.at + 2..self.at + 2 + digits).and_then(|code| std::str::from_utf8(code).ok());
        let valid = code.is_some_and(|code| {
            code.bytes().all(|digit| digit.is_ascii_hexdigit())
                && (digits == 0 || u32::from_str_radix(code, 16).is_ok_and(|code| code <= 0x10_ffff))
        });
        if !valid {
            return self.fail(format_args!("an escape of {digits} hexadecimal digits up to 10ffff is expected"));
        }
        self.at += 2 + digits;
        Ok(())
    }

    /// A token by its number, `<[7]>` or `!<[7]>`.
    fn token(&mut self) -> Result<()> {
        let other = self.take(b'!');
        if !(self.take(b'<') && self.take(b'[')) {
            return self.fail("a token is written by its number, as <[7]>");
        }
        let number = i32::try_from(self.number()?);
        let (Ok(number), true) = (number, self.take(b']') && self.take(b'>')) else {
            return self.fail("a token is written by its number, as <[7]>");
        };
        if !other {
            self.tokens.push(number);
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<i32>> {
        let mut rules = Vec::with_capacity(self.rules.len());
        for (rule, name) in self.rules.into_iter().zip(&self.names) {
            match rule {
                Some(rule) => rules.push(rule),
                None => return Err(Error::new(format!("the grammar names a rule \"{name}\" that it does not define"))),
            }
        }
        if !self.ids.contains_key("root") {
            return Err(Error::new("the grammar has no rule \"root\""));
        }
        let empty = nullable(&rules);
        for (rule, name) in rules.iter().zip(&self.names) {
            if rule.iter().flatten().any(|element| repeats_nothing(element, &empty)) {
                return Err(Error::new(format!(
                    "the grammar's rule \"{name}\" repeats without bound, or more than {MAX_EMPTY_REPEAT} times, what may \
                     be empty"
                )));
            }
        }
        match left_recursive(&rules, &empty) {
            Some(rule) => Err(Error::new(format!("the grammar's rule \"{}\" is left-recursive", self.names[rule]))),
            None => Ok(self.tokens),
        }
    }
}

/// Which rules may be empty: the least set that is closed.
fn nullable(rules: &[Vec<Vec<Element>>]) -> Vec<bool> {
    let mut empty = vec![false; rules.len()];
    loop {
        let next: Vec<bool> = rules.iter().map(|rule| any_empty(rule, &empty)).collect();
        if next == empty {
            return empty;
        }
        empty = next;
    }
}

fn any_empty(alternatives: &[Vec<Element>], empty: &[bool]) -> bool {
    alternatives.iter().any(|sequence| sequence.iter().all(|element| may_be_empty(element, empty)))
}

fn may_be_empty(element: &Element, empty: &[bool]) -> bool {
    match element {
        Element::Terminal => false,
        Element::Rule(rule) => empty[*rule],
        Element::Group(alternatives) => any_empty(alternatives, empty),
        Element::Optional(_) | Element::Repeated(_, true) | Element::Many(_, true) => true,
        Element::Repeated(element, false) | Element::Many(element, false) => may_be_empty(element, empty),
    }
}

/// Whether an unbounded or a long repetition of what may be empty stands in here: llama.cpp never gets past the first,
/// and past the second not in reasonable time.
fn repeats_nothing(element: &Element, empty: &[bool]) -> bool {
    match element {
        Element::Terminal | Element::Rule(_) => false,
        Element::Group(alternatives) => alternatives.iter().flatten().any(|element| repeats_nothing(element, empty)),
        Element::Optional(element) => repeats_nothing(element, empty),
        Element::Repeated(element, _) | Element::Many(element, _) => {
            may_be_empty(element, empty) || repeats_nothing(element, empty)
        }
    }
}

/// Rules that may stand first in an element.
fn first_rules(element: &Element, empty: &[bool], out: &mut Vec<usize>) {
    match element {
        Element::Terminal => {}
        Element::Rule(rule) => out.push(*rule),
        Element::Group(alternatives) => alternatives.iter().for_each(|sequence| first_of(sequence, empty, out)),
        Element::Optional(element) | Element::Repeated(element, _) | Element::Many(element, _) => {
            first_rules(element, empty, out);
        }
    }
}

fn first_of(sequence: &[Element], empty: &[bool], out: &mut Vec<usize>) {
    for element in sequence {
        first_rules(element, empty, out);
        if !may_be_empty(element, empty) {
            return;
        }
    }
}

/// A rule that can begin with itself.
fn left_recursive(rules: &[Vec<Vec<Element>>], empty: &[bool]) -> Option<usize> {
    let first: Vec<Vec<usize>> = rules
        .iter()
        .map(|rule| {
            let mut out = Vec::new();
            rule.iter().for_each(|sequence| first_of(sequence, empty, &mut out));
            out
        })
        .collect();
    // Depth first without recursion: 0 not seen, 1 on the path, 2 done.
    let mut state = vec![0_u8; rules.len()];
    for start in 0..rules.len() {
        let mut path = vec![(start, 0)];
        while let Some((rule, next)) = path.pop() {
            if next == 0 {
                if state[rule] != 0 {
                    continue;
                }
                state[rule] = 1;
            }
            match first[rule].get(next) {
                None => state[rule] = 2,
                Some(&into) if state[into] == 1 => return Some(into),
                Some(&into) => path.extend([(rule, next + 1), (into, 0)]),
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(grammar: &str) -> String {
        check(grammar).expect_err(grammar).to_string()
    }

    #[test]
    fn accepts_what_llama_cpp_accepts() {
        for grammar in [
            "root ::= \"a\"",
            "root ::= [a-z0-9-]+ # a comment\nother ::= .",
            "root ::= (\"a\" | \"b\" ws)* end\r\nws ::= [ \\t\\n]*\r\nend ::= \"\" | \"\\x0a\"",
            "root ::= \"x\"{2} [^\\]\\\\\"]{0,3} ( . | <[7]> !<[8]> ){1,}\n",
            "root ::=\n  \"a\" b?\nb ::= \"é\\u00e9\\U0001F600\"",
            "\n\n# only\nroot ::= item{0,2000}\nitem ::= [0-9]",
            "root ::= value\nvalue ::= \"[\" (value (\",\" value)*)? \"]\"",
        ] {
            assert_eq!(check(grammar), Ok(()), "{grammar}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_read_and_says_where() {
        assert_eq!(refusal("root = \"a\""), "the grammar, line 1, column 6: \"::=\" is expected");
        assert_eq!(refusal("root ::= \"a\"\nb ::= ("), "the grammar, line 2, column 8: \")\" is expected");
        assert_eq!(refusal("root ::= *"), "the grammar, line 1, column 11: there is nothing to repeat here");
        for (grammar, why) in [
            ("root ::= \"a", "ends within a text"),
            ("root ::= [a", "ends within a text"),
            ("root ::= []", "empty character class"),
            ("root ::= \"\\q\"", "unknown escape"),
            ("root ::= \"\\xg0\"", "2 hexadecimal digits"),
            ("root ::= \"\\UFFFFFFFF\"", "up to 10ffff"),
            ("root ::= \"a\"{3,1}", "3 to 1 is no range"),
            ("root ::= \"a\"{,3}", "whole number"),
            ("root ::= \"a\"{99999999999999999999}", "whole number"),
            ("root ::= <think>", "by its number"),
            ("root ::= \"a\" }", "end of the line"),
            ("root ::= \"a\"\nroot ::= \"b\"", "defined twice"),
            ("", "no rule \"root\""),
            ("start ::= \"a\"", "no rule \"root\""),
            ("root ::= \"\0\"", "NUL"),
        ] {
            let message = refusal(grammar);
            assert!(message.contains(why), "{grammar}: {message}");
        }
    }

    #[test]
    fn refuses_left_recursion_in_all_its_disguises() {
        for grammar in [
            "root ::= root \"a\" | \"a\"",
            "root ::= a\na ::= b \"x\"\nb ::= a",
            "root ::= empty root \"a\"\nempty ::= \"\" | \"b\"",
            "root ::= x y root\nx ::= y\ny ::= \"a\"?",
            "root ::= (\"b\"* root)? \"a\"",
            "root ::= \"a\"{0,3} (root)",
        ] {
            assert!(refusal(grammar).contains("left-recursive"), "{grammar}: {}", refusal(grammar));
        }
    }

    #[test]
    fn refuses_endless_repetition_of_nothing() {
        for grammar in [
            "root ::= (\"a\"?)*",
            "root ::= x+\nx ::= \"\"",
            "root ::= (\"a\"* | \"b\"){2,} \"c\"",
            "root ::= ([a-z{\"]?){0,300}",
            "root ::= x{17}\nx ::= \"a\"?",
            "root ::= ((\"a\"{0,20}){20} \"b\")?",
        ] {
            assert!(refusal(grammar).contains("may be empty"), "{grammar}: {}", refusal(grammar));
        }
        assert_eq!(check("root ::= (\"a\"?){0,16} (\"b\"{0,20} \"c\"){20}"), Ok(()));
    }

    #[test]
    fn refuses_bounds_that_would_be_dropped_and_bombs() {
        assert!(refusal("root ::= \"a\"{0,2001}").contains("more than 2000 repetitions"));
        assert!(refusal("root ::= ((\"a\"{0,100}){0,100}){0,100}").contains("too many rules"));
        assert!(refusal(&format!("root ::= \"{}\"{{2000}}", "a".repeat(1000))).contains("too many rules"));
        assert!(
            refusal(&format!("root ::= {}\"a\"{}", "(".repeat(70), ")".repeat(70))).contains("nested deeper than 64")
        );
        assert!(refusal(&"(".repeat(200_000)).contains("more than 65536"));
    }

    #[test]
    fn long_chains_of_rules_are_walked_without_recursion() {
        let mut grammar = "root ::= r0\n".to_owned();
        for rule in 0..3000 {
            grammar += &format!("r{rule} ::= r{}\n", rule + 1);
        }
        grammar += "r3000 ::= \"a\"";
        assert_eq!(check(&grammar), Ok(()));
    }
}
