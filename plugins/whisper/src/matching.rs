//! Which tokens may follow a text by a grammar, as whisper.cpp would answer, in bounded time.
//!
//! whisper.cpp keeps a list of stacks, one for each way in which the text so far can be read. It leaves equal ones in
//! the list, so that an ambiguous grammar doubles it with every letter, finds new ones by recursion, and cannot be
//! stopped meanwhile. Here a state is a set of stacks, each of them is stored once, and what follows a state by a code
//! point is remembered. A text is read from its beginning for every question, which costs one look-up a code point.

use crate::grammar::{Element, Grammar, Kind};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tenon_plugin::{Error, Result};

/// Most steps that lead from one place in a grammar to all the places where a code point is wanted: more than any list
/// of words takes that fits into a grammar.
const STEPS: usize = 1 << 15;
/// Most stacks of all states that are remembered while one question is answered.
const REMEMBERED: usize = 1 << 22;
/// Most answers that are remembered.
const ANSWERS: usize = 256;

/// A stack, by its index; 0 is the empty one, at which the grammar is at its end.
type Stack = u32;
/// A set of stacks, by its index; 0 is the empty one, from which nothing follows.
type State = u32;
const NOTHING: State = 0;

/// Stacks of places in a grammar, and sets of them.
pub struct Stacks {
    /// All rules, one behind the other.
    elements: Vec<Element>,
    /// Where the alternatives of each rule begin.
    alternatives: Vec<Vec<u32>>,
    first: Vec<u32>,
    /// What lies below the top of each stack, and the place at the top.
    stacks: Vec<(Stack, u32)>,
    stack_ids: HashMap<(Stack, u32), Stack>,
    states: Vec<Arc<[Stack]>>,
    state_ids: HashMap<Arc<[Stack]>, State>,
    following: HashMap<(State, u32), State>,
    /// Stacks in all states.
    remembered: usize,
}

impl Stacks {
    /// Nothing known yet about a grammar.
    pub fn new(grammar: &Grammar) -> Self {
        let mut elements = Vec::new();
        let (mut alternatives, mut first) = (Vec::new(), Vec::new());
        for rule in grammar.rules() {
            let begin = elements.len() as u32;
            let behind =
                |(at, element): (usize, &Element)| (element.kind == Kind::Alternative).then_some(begin + at as u32 + 1);
            first.push(begin);
            alternatives.push(std::iter::once(begin).chain(rule.iter().enumerate().filter_map(behind)).collect());
            elements.extend_from_slice(rule);
        }
        let mut all = Self {
            elements,
            alternatives,
            first,
            stacks: Vec::new(),
            stack_ids: HashMap::new(),
            states: Vec::new(),
            state_ids: HashMap::new(),
            following: HashMap::new(),
            remembered: 0,
        };
        all.forget();
        all
    }

    /// Starts anew with the empty stack and the empty state alone.
    fn forget(&mut self) {
        self.stacks = vec![(0, 0)];
        self.stack_ids.clear();
        self.states = vec![Arc::from([])];
        self.state_ids = HashMap::from([(Arc::from([]), NOTHING)]);
        self.following.clear();
        self.remembered = 0;
    }

    /// How many steps lead from a part of a rule to all the places where a code point is wanted; none for too many.
    pub fn steps_from(&mut self, rule: usize, at: usize) -> Option<usize> {
        self.forget();
        let stack = self.push(0, self.first[rule] + at as u32);
        self.expand(vec![stack]).map(|(_, steps)| steps)
    }

    fn kind(&self, at: u32) -> Kind {
        self.elements[at as usize].kind
    }

    /// A stack with one more place, unless nothing stands there.
    fn push(&mut self, below: Stack, at: u32) -> Stack {
        if matches!(self.kind(at), Kind::End | Kind::Alternative) {
            return below;
        }
        let next = self.stacks.len() as Stack;
        let id = *self.stack_ids.entry((below, at)).or_insert(next);
        if id == next {
            self.stacks.push((below, at));
        }
        id
    }

    /// All stacks with a code point at the top, or nothing, that these come to, and the steps to them; none for too
    /// many.
    fn expand(&mut self, mut open: Vec<Stack>) -> Option<(Vec<Stack>, usize)> {
        let mut seen = HashSet::new();
        let mut ready = Vec::new();
        while let Some(stack) = open.pop() {
            if !seen.insert(stack) {
                continue;
            }
            if seen.len() > STEPS {
                return None;
            }
            let (below, at) = self.stacks[stack as usize];
            if stack == 0 || self.kind(at) != Kind::Rule {
                ready.push(stack);
                continue;
            }
            let rest = self.push(below, at + 1);
            let rule = self.elements[at as usize].value as usize;
            for index in 0..self.alternatives[rule].len() {
                let begin = self.alternatives[rule][index];
                open.push(self.push(rest, begin));
            }
        }
        ready.sort_unstable();
        Some((ready, seen.len()))
    }

    /// The state of these stacks; none for too many.
    fn state(&mut self, open: Vec<Stack>) -> Option<State> {
        let (ready, _) = self.expand(open)?;
        let ready: Arc<[Stack]> = ready.into();
        if let Some(id) = self.state_ids.get(&ready) {
            return Some(*id);
        }
        self.remembered += ready.len();
        if self.remembered > REMEMBERED || self.stacks.len() > REMEMBERED {
            return None;
        }
        let id = self.states.len() as State;
        self.states.push(Arc::clone(&ready));
        self.state_ids.insert(ready, id);
        Some(id)
    }

    /// The state before any text.
    fn start(&mut self, rule: usize) -> Option<State> {
        let open = (0..self.alternatives[rule].len()).map(|index| self.alternatives[rule][index]);
        let open: Vec<u32> = open.collect();
        let open = open.into_iter().map(|at| self.push(0, at)).collect();
        self.state(open)
    }

    /// The state after one more code point; none if there are too many ways.
    fn follow(&mut self, state: State, point: u32) -> Option<State> {
        if state == NOTHING {
            return Some(NOTHING);
        }
        if let Some(next) = self.following.get(&(state, point)) {
            return Some(*next);
        }
        let mut open = Vec::new();
        for stack in self.states[state as usize].clone().iter().filter(|stack| **stack != 0) {
            let (below, at) = self.stacks[*stack as usize];
            let (is_match, behind) = self.matches(at, |from, to| from <= point && point <= to);
            if is_match {
                open.push(self.push(below, behind));
            }
        }
        let next = self.state(open)?;
        self.following.insert((state, point), next);
        Some(next)
    }

    /// Whether the class at a place takes what `is_within` says of a range, and the place behind the class.
    fn matches(&self, at: u32, is_within: impl Fn(u32, u32) -> bool) -> (bool, u32) {
        let mut next = at as usize;
        let mut found = false;
        loop {
            let from = self.elements[next].value;
            let is_range = self.elements[next + 1].kind == Kind::RangeEnd;
            let to = if is_range { self.elements[next + 1].value } else { from };
            found |= is_within(from, to);
            next += if is_range { 2 } else { 1 };
            if self.elements[next].kind != Kind::OrChar {
                break;
            }
        }
        (found == (self.kind(at) == Kind::Char), next as u32)
    }

    /// Some text that begins with this part of a code point may follow. Of a class that is negated, a part that could
    /// become any of its code points is refused, as by whisper.cpp.
    fn takes_part(&self, state: State, part: Part) -> bool {
        let bits = part.missing.unsigned_abs() * 6;
        let low = part.value << bits;
        let high = low | ((1 << bits) - 1);
        let low = match (low, part.missing) {
            (0, 2) => 1 << 11,
            (0, 3) => 1 << 16,
            _ => low,
        };
        let mut stacks = self.states[state as usize].iter().filter(|stack| **stack != 0);
        stacks.any(|stack| self.matches(self.stacks[*stack as usize].1, |from, to| from <= high && low <= to).0)
    }
}

/// The beginning of a code point at the end of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Part {
    value: u32,
    /// Bytes that are missing; −1 after bytes that are no text.
    missing: i32,
}

impl Part {
    /// Nothing can make a code point of it.
    fn is_broken(self) -> bool {
        self.missing < 0 || (self.missing == 1 && self.value < 2)
    }
}

/// The code points of a token after what an earlier one began, and what it begins itself. Bytes are trusted just as far
/// as whisper.cpp trusts them.
fn decode(text: &[u8], begun: Part) -> (Vec<u32>, Part) {
    let broken = (Vec::new(), Part { value: 0, missing: -1 });
    let mut points = Vec::new();
    let Part { mut value, mut missing } = begun;
    let mut bytes = text.iter().map(|byte| u32::from(*byte)).peekable();
    while missing > 0 {
        let Some(byte) = bytes.next() else { break };
        if byte >> 6 != 2 {
            return broken;
        }
        value = (value << 6) + (byte & 0x3f);
        missing -= 1;
    }
    if begun.missing > 0 && missing == 0 {
        points.push(value);
    }
    while let Some(byte) = bytes.next() {
        missing = match byte >> 4 {
            0..=7 => 0,
            8..=11 => return broken,
            12 | 13 => 1,
            14 => 2,
            _ => 3,
        };
        value = byte & ((1 << (7 - missing)) - 1);
        while missing > 0 {
            let Some(byte) = bytes.next() else { break };
            value = (value << 6) + (byte & 0x3f);
            missing -= 1;
        }
        if missing == 0 {
            points.push(value);
        }
    }
    (points, if missing > 0 { Part { value, missing } } else { Part::default() })
}

/// A token that may come next.
struct Candidate {
    id: usize,
    points: Vec<u32>,
    part: Part,
}

/// All tokens after what an earlier one began, in the order of their code points, and apart from them those that are no
/// text there.
struct Candidates {
    sorted: Vec<Candidate>,
    broken: Vec<usize>,
    barred: Arc<[usize]>,
}

impl Candidates {
    fn of(texts: &[Vec<u8>], begun: Part, bar: u32) -> Self {
        let (mut sorted, mut broken) = (Vec::new(), Vec::new());
        for (id, text) in texts.iter().enumerate().filter(|(_, text)| !text.is_empty()) {
            let (mut points, part) = decode(text, begun);
            // whisper.cpp's code points end at the first 0.
            points.truncate(points.iter().position(|point| *point == 0).unwrap_or(points.len()));
            if part.is_broken() { broken.push(id) } else { sorted.push(Candidate { id, points, part }) }
        }
        sorted.sort_unstable_by(|a, b| a.points.cmp(&b.points));
        let barred = sorted.iter().filter(|candidate| candidate.points.contains(&bar)).map(|candidate| candidate.id);
        let barred = broken.iter().copied().chain(barred).collect();
        Self { sorted, broken, barred }
    }
}

/// What the grammar says about the next token.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Tokens with the code point [`Matcher::bar`], and those that are no text after what an earlier one began.
    pub barred: Arc<[usize]>,
    /// Tokens that the grammar does not allow; none once the text has left the grammar, after which whisper.cpp
    /// heeds it no more.
    pub refused: Option<Arc<[usize]>>,
}

/// Follows a grammar from token to token.
pub struct Matcher {
    /// Texts of all tokens that stand for text.
    texts: Vec<Vec<u8>>,
    stacks: Stacks,
    start: usize,
    name: String,
    bar: u32,
    /// For a text that ends with a whole code point, which nearly all do.
    whole: Candidates,
    answers: HashMap<(State, Part), Arc<[usize]>>,
}

impl Matcher {
    /// A matcher over the texts of the tokens that stand for text, by id.
    pub fn new(grammar: &Grammar, texts: Vec<Vec<u8>>) -> Self {
        let bar = bar(&texts);
        let whole = Candidates::of(&texts, Part::default(), bar);
        let (stacks, start, name) = (Stacks::new(grammar), grammar.start(), grammar.name().to_owned());
        Self { texts, stacks, start, name, bar, whole, answers: HashMap::new() }
    }

    /// A code point that is in no token, or else in such tokens only as whisper.cpp skips when it follows a grammar.
    pub fn bar(&self) -> u32 {
        self.bar
    }

    /// What may follow these tokens. Others than those that stand for text change nothing. It asks `is_stopped` now and
    /// then, and is done at once if so.
    ///
    /// # Errors
    /// The grammar can go on in too many ways.
    pub fn next(&mut self, tokens: &[i32], is_stopped: &dyn Fn() -> bool) -> Result<Verdict> {
        if self.stacks.remembered > REMEMBERED / 2 || self.stacks.stacks.len() > REMEMBERED / 2 {
            self.stacks.forget();
            self.answers.clear();
        }
        let (state, begun) = self.read(tokens)?;
        let others = (begun.missing > 0).then(|| Candidates::of(&self.texts, begun, self.bar));
        let candidates = others.as_ref().unwrap_or(&self.whole);
        let barred = Arc::clone(&candidates.barred);
        if state == NOTHING {
            return Ok(Verdict { barred, refused: None });
        }
        if let Some(refused) = self.answers.get(&(state, begun)) {
            return Ok(Verdict { barred, refused: Some(Arc::clone(refused)) });
        }
        let refused = refused(&mut self.stacks, state, &candidates.sorted, is_stopped);
        let mut refused = refused.ok_or_else(|| too_many_ways(&self.name))?;
        refused.extend(&candidates.broken);
        let refused: Arc<[usize]> = refused.into();
        if self.answers.len() >= ANSWERS {
            self.answers.clear();
        }
        if !is_stopped() {
            self.answers.insert((state, begun), Arc::clone(&refused));
        }
        Ok(Verdict { barred, refused: Some(refused) })
    }

    /// The state after a text, and what its last token begins.
    fn read(&mut self, tokens: &[i32]) -> Result<(State, Part)> {
        let mut begun = Part::default();
        let mut state = self.stacks.start(self.start).ok_or_else(|| too_many_ways(&self.name))?;
        for token in tokens {
            let Some(text) = usize::try_from(*token).ok().and_then(|id| self.texts.get(id)) else { continue };
            // What whisper.cpp takes for a special token.
            if text.starts_with(SPECIAL) {
                continue;
            }
            let (points, part) = decode(text, begun);
            // Behind bytes that are no text the next token is read as if nothing had begun.
            begun = if part.missing > 0 { part } else { Part::default() };
            for point in points {
                state = self.stacks.follow(state, point).ok_or_else(|| too_many_ways(&self.name))?;
            }
        }
        Ok((state, begun))
    }
}

/// How the names of tokens begin that whisper.cpp takes for special ones.
const SPECIAL: &[u8] = b"[_";

/// A vocabulary without bytes that are no text has no such tokens; but one that is too short for its model is filled up
/// with special ones.
fn bar(texts: &[Vec<u8>]) -> u32 {
    let is_broken = |text: &Vec<u8>| !text.is_empty() && decode(text, Part::default()).1.is_broken();
    let is_special = |text: &Vec<u8>| text.starts_with(SPECIAL) || !text.contains(&SPECIAL[0]);
    if !texts.iter().any(is_broken) && texts.iter().all(is_special) { u32::from(SPECIAL[0]) } else { u32::MAX }
}

/// The candidates that a state does not allow; none if there are too many ways.
fn refused(
    stacks: &mut Stacks,
    state: State,
    candidates: &[Candidate],
    is_stopped: &dyn Fn() -> bool,
) -> Option<Vec<usize>> {
    let mut refused = Vec::new();
    // The states along the code points of the candidate before, up to where nothing follows.
    let mut path = vec![state];
    let mut before: &[u32] = &[];
    for Candidate { id, points, part } in candidates {
        let common = before.iter().zip(points).take_while(|(a, b)| a == b).count();
        path.truncate(common + 1);
        before = points;
        let mut last = path.last().copied().unwrap_or(NOTHING);
        while last != NOTHING && path.len() <= points.len() {
            if is_stopped() {
                return Some(Vec::new());
            }
            last = stacks.follow(last, points[path.len() - 1])?;
            path.push(last);
        }
        if last == NOTHING || (part.missing > 0 && !stacks.takes_part(last, *part)) {
            refused.push(*id);
        }
    }
    Some(refused)
}

fn too_many_ways(name: &str) -> Error {
    let message = format!(
        "the grammar that starts with \"{name}\" is too ambiguous: a text can go on in more than {STEPS} ways; have fewer \
         parts in it that can be empty or repeat, one within another"
    );
    Error::options(message).detail("option", "grammar")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: [&[u8]; 9] = [b"a", b"b", b" a", b" b", b"ab", "é".as_bytes(), b"\xc3", b"\xa9", b"aaaaaaaaaaaaaaaa"];

    fn matcher(grammar: &str) -> Matcher {
        let grammar = Grammar::parse(grammar, "root").unwrap();
        Matcher::new(&grammar, TOKENS.iter().map(|text| text.to_vec()).collect())
    }

    fn refused(grammar: &str, tokens: &[i32]) -> Option<Vec<usize>> {
        let verdict = matcher(grammar).next(tokens, &|| false).unwrap();
        verdict.refused.map(|refused| {
            let mut refused = refused.to_vec();
            refused.sort_unstable();
            refused
        })
    }

    #[test]
    fn a_token_is_refused_when_no_reading_of_the_text_goes_on_with_it() {
        let grammar = "root ::= \"a\" (\" a\" | \" b\")* \"é\"?";
        assert_eq!(refused(grammar, &[]).unwrap(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(refused(grammar, &[0]).unwrap(), [0, 1, 4, 7, 8]);
        assert_eq!(refused(grammar, &[0, 3, 900]).unwrap(), [0, 1, 4, 7, 8]);
        // At the end everything is refused; behind it the grammar counts no more.
        assert_eq!(refused(grammar, &[0, 5]).unwrap(), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(refused(grammar, &[0, 5, 0]), None);
    }

    #[test]
    fn a_torn_code_point_is_allowed_where_one_of_its_wholes_is() {
        assert_eq!(refused("root ::= [è-ê]", &[6]).unwrap(), [0, 1, 2, 3, 4, 5, 6, 8]);
        assert_eq!(refused("root ::= [a-zà-ç]", &[6]).unwrap(), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(refused("root ::= [a-z]", &[]).unwrap().contains(&6));
        assert!(!refused("root ::= [^é]", &[]).unwrap().contains(&0));
        let verdict = matcher("root ::= \"é\"*").next(&[6], &|| false).unwrap();
        assert_eq!(*verdict.barred, [0, 1, 2, 3, 4, 5, 6, 8]);
        let verdict = matcher("root ::= \"é\"*").next(&[], &|| false).unwrap();
        assert_eq!(*verdict.barred, [7]);
    }

    #[test]
    fn tokens_that_fill_up_a_vocabulary_are_barred_where_all_bytes_are_text() {
        let grammar = Grammar::parse("root ::= [^b]*", "root").unwrap();
        let texts = |more: &[u8]| [&b"a"[..], b"b", b"[_extra_token_2]", more].map(<[u8]>::to_vec).to_vec();
        let mut matcher = Matcher::new(&grammar, texts(b"c"));
        assert_eq!(matcher.bar(), u32::from('['));
        let verdict = matcher.next(&[0, 2], &|| false).unwrap();
        assert_eq!((&*verdict.barred, &*verdict.refused.unwrap()), (&[2][..], &[1][..]));
        assert_eq!(Matcher::new(&grammar, texts(b" [")).bar(), u32::MAX);
        assert_eq!(Matcher::new(&grammar, texts(b"\xa9")).bar(), u32::MAX);
    }

    #[test]
    fn equal_readings_count_once_so_that_ambiguity_costs_nothing() {
        for grammar in ["root ::= (\" \"? [a-z]+)+", "root ::= (word | name)*\nword ::= [a-z ]\nname ::= [a-z ]"] {
            let mut matcher = matcher(grammar);
            let verdict = matcher.next(&[8; 200], &|| false).unwrap();
            assert!(!verdict.refused.unwrap().contains(&0), "{grammar}");
            assert!(matcher.stacks.states.len() < 20, "{grammar}");
        }
    }

    #[test]
    fn too_many_different_readings_are_an_error_that_names_the_grammar() {
        // Every letter begins a bracket that has to be closed, or does not.
        let mut matcher = matcher("root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"a\"");
        let error = matcher.next(&[8; 20], &|| false).unwrap_err();
        assert!(error.message().contains("starts with \"root\" is too ambiguous"), "{error}");
    }

    #[test]
    fn it_is_done_at_once_when_it_is_stopped() {
        let verdict = matcher("root ::= [^x]*").next(&[], &|| true).unwrap();
        assert_eq!(*verdict.refused.unwrap(), [7]);
    }
}
