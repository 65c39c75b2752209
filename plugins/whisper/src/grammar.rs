//! Grammars in GBNF, checked and compiled into rules that [`crate::matching`] follows.
//!
//! Undefined rules and left recursion are refused here, and size, nesting and the ways in which a rule can begin are
//! bounded.

use crate::matching::Stacks;
use std::collections::HashMap;
use tenon_plugin::{Error, Result};

/// Longest grammar in bytes.
const BYTES: usize = 64 * 1024;
/// Deepest nesting of parentheses.
const DEPTH: usize = 64;
/// Most rules, those that repetitions and parentheses make included.
const RULES: usize = 4096;
/// Most steps to see in which ways all the rules can go on.
const STEPS: usize = 1 << 22;

/// Rules that can be followed safely.
#[derive(Clone, Debug)]
pub struct Grammar {
    rules: Vec<Vec<Element>>,
    start: usize,
    /// Name of the rule to start with.
    name: String,
}

/// A part of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// What it is.
    pub kind: Kind,
    /// A code point, or the number of a rule.
    pub value: u32,
}

/// What a part of a rule is. A class is one `Char` or `NotChar` with what belongs to it behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// End of the rule.
    End,
    /// End of an alternative, with another one behind it.
    Alternative,
    /// Another rule.
    Rule,
    /// A code point.
    Char,
    /// Any code point but this.
    NotChar,
    /// The code point before it begins a range, which ends with this one.
    RangeEnd,
    /// One more code point of a class.
    OrChar,
}

use Kind::{Alternative, Char, End, NotChar, OrChar, RangeEnd, Rule};

fn element(kind: Kind, value: u32) -> Element {
    Element { kind, value }
}

impl Grammar {
    /// Compiles a grammar whose texts follow the rule `start`.
    pub fn parse(text: &str, start: &str) -> Result<Self> {
        if text.len() > BYTES {
            return Err(Error::options(format!("the grammar has {} bytes, more than {BYTES}", text.len())));
        }
        let mut parser = Parser { text: text.as_bytes(), at: 0, names: HashMap::new(), rules: Vec::new() };
        parser.grammar()?;
        let Some(&start_id) = parser.names.get(start) else {
            return Err(Error::options(format!("the grammar has no rule \"{start}\" to start with")));
        };
        for (name, id) in &parser.names {
            if parser.rules[*id].is_empty() {
                return Err(Error::options(format!("the grammar uses the rule \"{name}\" but does not define it")));
            }
        }
        let grammar = Self { rules: parser.rules, start: start_id, name: start.to_owned() };
        grammar.refuse_left_recursion(&parser.names)?;
        grammar.refuse_too_many_ways(&parser.names)?;
        Ok(grammar)
    }

    /// The rules; the number of a rule is its index.
    pub fn rules(&self) -> &[Vec<Element>] {
        &self.rules
    }

    /// Name of the rule to start with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Index of the rule to start with.
    pub fn start(&self) -> usize {
        self.start
    }

    /// A rule that can begin with itself sends the engine round for ever.
    fn refuse_left_recursion(&self, names: &HashMap<String, usize>) -> Result<()> {
        let nullable = self.nullable();
        let begins: Vec<Vec<usize>> = self.rules.iter().map(|rule| begins_with(rule, &nullable)).collect();
        for rule in 0..self.rules.len() {
            let mut seen = vec![false; self.rules.len()];
            let mut next = begins[rule].clone();
            while let Some(other) = next.pop() {
                if other == rule {
                    let name = name_of(rule, names);
                    return Err(Error::options(format!("in the grammar \"{name}\" can begin with itself")));
                }
                if !std::mem::replace(&mut seen[other], true) {
                    next.extend(&begins[other]);
                }
            }
        }
        Ok(())
    }

    /// Rules that can be empty, one behind and within another, can begin in more ways than there is time to try.
    fn refuse_too_many_ways(&self, names: &HashMap<String, usize>) -> Result<()> {
        let mut stacks = Stacks::new(self);
        let mut steps = 0;
        for (id, rule) in self.rules.iter().enumerate() {
            for at in (0..rule.len()).filter(|at| rule[*at].kind == Rule) {
                steps += stacks.steps_from(id, at).unwrap_or(STEPS);
                if steps >= STEPS {
                    let name = name_of(id, names);
                    let message = format!(
                        "in the grammar \"{name}\" can go on in too many ways: have fewer parts in it \
                                           that can be empty, and fewer that can begin alike"
                    );
                    return Err(Error::options(message).detail("option", "grammar"));
                }
            }
        }
        Ok(())
    }

    /// Which rules can be empty.
    fn nullable(&self) -> Vec<bool> {
        let mut nullable = vec![false; self.rules.len()];
        loop {
            let mut changed = false;
            for (id, rule) in self.rules.iter().enumerate() {
                let is_empty = |part: &[Element]| {
                    part.iter().all(|element| element.kind == Rule && nullable[element.value as usize])
                };
                if !nullable[id] && alternatives(rule).any(is_empty) {
                    nullable[id] = true;
                    changed = true;
                }
            }
            if !changed {
                return nullable;
            }
        }
    }
}

/// What a rule is called in messages.
fn name_of(rule: usize, names: &HashMap<String, usize>) -> &str {
    names.iter().find(|(_, id)| **id == rule).map_or("a repetition", |(name, _)| name)
}

/// The alternatives of a rule, without their ends.
fn alternatives(rule: &[Element]) -> impl Iterator<Item = &[Element]> {
    rule[..rule.len().saturating_sub(1)].split(|element| element.kind == Alternative)
}

/// The rules that a text of this rule can begin with.
fn begins_with(rule: &[Element], nullable: &[bool]) -> Vec<usize> {
    let mut begins = Vec::new();
    for alternative in alternatives(rule) {
        for element in alternative {
            if element.kind != Rule {
                break;
            }
            let id = element.value as usize;
            begins.push(id);
            if !nullable[id] {
                break;
            }
        }
    }
    begins
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    names: HashMap<String, usize>,
    /// Empty for a rule that was used but is not defined yet.
    rules: Vec<Vec<Element>>,
}

impl Parser<'_> {
    fn error(&self, what: &str) -> Error {
        let line = 1 + self.text[..self.at.min(self.text.len())].iter().filter(|byte| **byte == b'\n').count();
        Error::options(format!("the grammar is wrong in line {line}: {what}"))
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn grammar(&mut self) -> Result<()> {
        self.space(true);
        while self.peek().is_some() {
            let name = self.name()?;
            let id = self.rule(&name)?;
            self.space(false);
            if !self.text[self.at..].starts_with(b"::=") {
                return Err(self.error("expected ::= after the name of a rule"));
            }
            self.at += 3;
            self.space(true);
            if !self.rules[id].is_empty() {
                return Err(self.error(&format!("\"{name}\" is defined twice")));
            }
            self.rules[id] = self.body(0)?;
            if !matches!(self.peek(), None | Some(b'\n' | b'\r')) {
                return Err(self.error("expected the end of the line"));
            }
            self.space(true);
        }
        Ok(())
    }

    /// Alternatives up to the end of the rule or the closing parenthesis.
    fn body(&mut self, depth: usize) -> Result<Vec<Element>> {
        if depth > DEPTH {
            return Err(self.error(&format!("parentheses are nested deeper than {DEPTH}")));
        }
        let mut body = Vec::new();
        loop {
            self.sequence(&mut body, depth)?;
            if self.peek() != Some(b'|') {
                break;
            }
            self.at += 1;
            self.space(true);
            body.push(element(Alternative, 0));
        }
        body.push(element(End, 0));
        Ok(body)
    }

    fn sequence(&mut self, body: &mut Vec<Element>, depth: usize) -> Result<()> {
        // Start of the item that a repetition would repeat.
        let mut last = None;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    last = Some(body.len());
                    self.literal(body)?;
                }
                b'[' => {
                    last = Some(body.len());
                    self.class(body)?;
                }
                b'(' => {
                    last = Some(body.len());
                    self.at += 1;
                    self.space(true);
                    let inner = self.body(depth + 1)?;
                    if self.peek() != Some(b')') {
                        return Err(self.error("expected )"));
                    }
                    self.at += 1;
                    let id = self.new_rule(inner)?;
                    body.push(element(Rule, id));
                }
                b'*' | b'+' | b'?' => {
                    let Some(start) = last.take() else {
                        return Err(self.error("a repetition has nothing to repeat"));
                    };
                    self.at += 1;
                    self.repeat(body, start, byte)?;
                }
                byte if is_name(byte) => {
                    last = Some(body.len());
                    let name = self.name()?;
                    let id = self.rule(&name)?;
                    body.push(element(Rule, id as u32));
                }
                _ => break,
            }
            self.space(depth > 0);
        }
        Ok(())
    }

    /// `x*` is the rule `r ::= x r |`, `x+` is `r ::= x r | x`, `x?` is `r ::= x |`.
    fn repeat(&mut self, body: &mut Vec<Element>, start: usize, how: u8) -> Result<()> {
        let repeated = body.split_off(start);
        let id = self.new_rule(Vec::new())?;
        let mut rule = repeated.clone();
        if how != b'?' {
            rule.push(element(Rule, id));
        }
        rule.push(element(Alternative, 0));
        if how == b'+' {
            rule.extend(repeated);
        }
        rule.push(element(End, 0));
        self.rules[id as usize] = rule;
        body.push(element(Rule, id));
        Ok(())
    }

    fn literal(&mut self, body: &mut Vec<Element>) -> Result<()> {
        self.at += 1;
        while self.peek() != Some(b'"') {
            let point = self.point()?;
            body.push(element(Char, point));
        }
        self.at += 1;
        Ok(())
    }

    fn class(&mut self, body: &mut Vec<Element>) -> Result<()> {
        self.at += 1;
        let is_negative = self.peek() == Some(b'^');
        self.at += usize::from(is_negative);
        let mut kind = if is_negative { NotChar } else { Char };
        if self.peek() == Some(b']') {
            return Err(self.error("[] matches nothing"));
        }
        while self.peek() != Some(b']') {
            let first = self.point()?;
            body.push(element(kind, first));
            kind = OrChar;
            if self.peek() == Some(b'-') && self.text.get(self.at + 1) != Some(&b']') {
                self.at += 1;
                let last = self.point()?;
                if last < first {
                    return Err(self.error("a range ends before it begins"));
                }
                body.push(element(RangeEnd, last));
            }
        }
        self.at += 1;
        Ok(())
    }

    /// One code point, written as it is or after a backslash.
    fn point(&mut self) -> Result<u32> {
        if self.peek() == Some(b'\\') {
            self.at += 1;
            return self.escape();
        }
        // The text is UTF-8 and `at` stands at the start of a code point.
        let rest = std::str::from_utf8(&self.text[self.at..]).unwrap_or_default();
        match rest.chars().next() {
            Some(point) if point != '\n' => {
                self.at += point.len_utf8();
                Ok(u32::from(point))
            }
            _ => Err(self.error("a text or class does not end")),
        }
    }

    fn escape(&mut self) -> Result<u32> {
        let Some(byte) = self.peek() else {
            return Err(self.error("a backslash stands at the end"));
        };
        self.at += 1;
        let digits = match byte {
            b'n' => return Ok(u32::from(b'\n')),
            b'r' => return Ok(u32::from(b'\r')),
            b't' => return Ok(u32::from(b'\t')),
            b'\\' | b'"' | b'[' | b']' | b'-' | b'^' => return Ok(u32::from(byte)),
            b'x' => 2,
            b'u' => 4,
            b'U' => 8,
            _ => return Err(self.error("an unknown escape stands after a backslash")),
        };
        let text = self.text.get(self.at..self.at + digits).and_then(|digits| std::str::from_utf8(digits).ok());
        let point =
            text.and_then(|text| u32::from_str_radix(text, 16).ok()).filter(|point| char::from_u32(*point).is_some());
        self.at += digits;
        point.ok_or_else(|| {
            self.error(&format!("\\{} needs {digits} hexadecimal digits of a code point", char::from(byte)))
        })
    }

    fn name(&mut self) -> Result<String> {
        let length = self.text[self.at..].iter().take_while(|byte| is_name(**byte)).count();
        if length == 0 {
            return Err(self.error("expected the name of a rule"));
        }
        let name = String::from_utf8_lossy(&self.text[self.at..self.at + length]).into_owned();
        self.at += length;
        Ok(name)
    }

    /// The id of a named rule, which need not be defined yet.
    fn rule(&mut self, name: &str) -> Result<usize> {
        if let Some(id) = self.names.get(name) {
            return Ok(*id);
        }
        let id = self.new_rule(Vec::new())? as usize;
        self.names.insert(name.to_owned(), id);
        Ok(id)
    }

    fn new_rule(&mut self, body: Vec<Element>) -> Result<u32> {
        if self.rules.len() >= RULES {
            return Err(self.error(&format!("the grammar has more than {RULES} rules and repetitions")));
        }
        self.rules.push(body);
        Ok((self.rules.len() - 1) as u32)
    }

    /// Skips spaces and comments, and line ends where a rule may go on.
    fn space(&mut self, over_lines: bool) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' => self.at += 1,
                b'#' => self.at += self.text[self.at..].iter().take_while(|byte| **byte != b'\n').count(),
                b'\n' | b'\r' if over_lines => self.at += 1,
                _ => break,
            }
        }
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Grammar::parse(text, "root").unwrap_err().message().to_owned()
    }

    #[test]
    fn compiles_texts_classes_groups_and_repetitions() {
        let grammar =
            Grammar::parse("# a command\nroot ::= \" turn \" (on | \"off\")+ [a-z^]? [^0-9]*\non ::= \"on\"\n", "root");
        let grammar = grammar.unwrap();
        assert_eq!(grammar.start(), 0);
        // root, on, the group, and three repetitions.
        assert_eq!(grammar.rules().len(), 6);
        assert!(grammar.rules.iter().all(|rule| rule.last().is_some_and(|element| element.kind == End)));
    }

    #[test]
    fn refuses_what_cannot_be_followed() {
        assert_eq!(refusal("root ::= other"), "the grammar uses the rule \"other\" but does not define it");
        assert_eq!(refusal("root ::= root \"a\""), "in the grammar \"root\" can begin with itself");
        assert_eq!(refusal("root ::= a\na ::= \"b\"? root"), "in the grammar \"root\" can begin with itself");
        assert!(refusal("root ::= (\"a\"?)*").contains("can begin with itself"));
        assert_eq!(refusal("top ::= \"a\""), "the grammar has no rule \"root\" to start with");
        assert_eq!(refusal(""), "the grammar has no rule \"root\" to start with");
    }

    #[test]
    fn refuses_what_can_go_on_in_too_many_ways() {
        let twice = |levels: usize| {
            let rules: Vec<String> = (0..levels).map(|n| format!("x{n} ::= x{} x{}\n", n + 1, n + 1)).collect();
            format!("root ::= x0\n{}x{levels} ::= \"a\" |\n", rules.concat())
        };
        assert!(Grammar::parse(&twice(5), "root").is_ok());
        assert!(refusal(&twice(26)).contains("can go on in too many ways"));
        let many = |count: usize| format!("root ::= {}\nc0 ::= c1\nc1 ::= \"a\" |", "c0 ".repeat(count));
        assert!(Grammar::parse(&many(100), "root").is_ok());
        assert!(refusal(&many(15_000)).contains("\"root\" can go on in too many ways"));
    }

    #[test]
    fn refuses_what_is_no_grammar_and_says_where() {
        assert_eq!(refusal("root ::= \"a"), "the grammar is wrong in line 1: a text or class does not end");
        assert_eq!(refusal("\nroot = \"a\""), "the grammar is wrong in line 2: expected ::= after the name of a rule");
        assert_eq!(refusal("root ::= [z-a]"), "the grammar is wrong in line 1: a range ends before it begins");
        assert_eq!(refusal("root ::= *"), "the grammar is wrong in line 1: a repetition has nothing to repeat");
        assert_eq!(
            refusal("root ::= \"\\ud800\""),
            "the grammar is wrong in line 1: \\u needs 4 hexadecimal digits of a code point"
        );
        assert_eq!(
            refusal("root ::= \"a\"\nroot ::= \"b\""),
            "the grammar is wrong in line 2: \"root\" is defined twice"
        );
    }

    #[test]
    fn refuses_what_is_too_deep_or_too_large() {
        assert!(refusal(&format!("root ::= {}", "(".repeat(30_000))).contains("nested deeper than 64"));
        assert!(refusal(&"#".repeat(70_000)).contains("more than 65536"));
        assert!(refusal(&format!("root ::= {}", "\"a\"?".repeat(5000))).contains("more than 4096 rules"));
    }
}
