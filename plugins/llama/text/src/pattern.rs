//! Patterns of a JSON Schema, for the converter of llama.cpp.
//!
//! The converter copies a pattern into a grammar piece by piece and takes what it does not know for "any string". It also
//! knows nothing of JSON: a quotation mark that a pattern allows would end the string in the reply. So a pattern is read
//! here and written anew with what the converter knows. What that matches is a string that stands in JSON as it is, and
//! never more than the pattern matches.

use std::fmt::Write;

/// Deepest nesting of groups.
const MAX_DEPTH: usize = 32;
/// Highest count of a repetition; a grammar cannot enforce a higher one.
const MAX_COUNT: u32 = 2000;
/// What cannot stand in a JSON string as it is.
const UNWRITABLE: &[(u32, u32)] = &[(0, 0x1f), (0x22, 0x22), (0x5c, 0x5c), (0x7f, 0x7f)];
/// What `.` leaves out beside that.
const LINE_ENDS: &[(u32, u32)] = &[(0x2028, 0x2029)];
const DIGITS: &[(u32, u32)] = &[(0x30, 0x39)];
const WORD: &[(u32, u32)] = &[(0x30, 0x39), (0x41, 0x5a), (0x5f, 0x5f), (0x61, 0x7a)];
const SPACE: &[(u32, u32)] = &[
    (0x09, 0x0d),
    (0x20, 0x20),
    (0xa0, 0xa0),
    (0x1680, 0x1680),
    (0x2000, 0x200a),
    (0x2028, 0x2029),
    (0x202f, 0x202f),
    (0x205f, 0x205f),
    (0x3000, 0x3000),
    (0xfeff, 0xfeff),
];

/// The pattern as the converter reads it, or what of it cannot be enforced.
pub fn enforceable(pattern: &str) -> Result<String, String> {
    let Some(inner) = pattern.strip_prefix('^').and_then(|rest| rest.strip_suffix('$')) else {
        return Err("must begin with \"^\" and end with \"$\"".to_owned());
    };
    let mut reader = Reader { letters: inner.chars().collect(), at: 0 };
    let inner = reader.alternatives(0)?;
    match reader.peek() {
        None => Ok(format!("^{inner}$")),
        Some(_) => Err("closes a group that it does not open".to_owned()),
    }
}

/// What is repeated or stands alone.
enum Atom {
    Letter(char),
    Class(String),
    Group(String),
}

/// What a backslash and a letter mean.
enum Escape {
    Letter(char),
    /// Everything in these ranges, or outside of them.
    Set(&'static [(u32, u32)], bool),
}

struct Reader {
    letters: Vec<char>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.letters.get(self.at).copied()
    }

    fn take(&mut self, letter: char) -> bool {
        let found = self.peek() == Some(letter);
        self.at += usize::from(found);
        found
    }

    fn next(&mut self) -> Result<char, String> {
        let letter = self.peek().ok_or("ends too early")?;
        self.at += 1;
        Ok(letter)
    }

    fn alternatives(&mut self, depth: usize) -> Result<String, String> {
        if depth > MAX_DEPTH {
            return Err(format!("has groups nested deeper than {MAX_DEPTH}"));
        }
        let mut out = String::new();
        while let Some(letter) = self.peek().filter(|&letter| letter != ')') {
            self.at += 1;
            if letter == '|' {
                out.push('|');
                continue;
            }
            let atom = self.atom(letter, depth)?;
            let repetition = self.repetition()?;
            match atom {
                // The converter would repeat the letters in front of it too.
                Atom::Letter(letter) if !repetition.is_empty() => {
                    out += &class_of(&[(letter.into(), letter.into())], &[], false)?;
                }
                Atom::Letter(letter) => write_letter(&mut out, letter),
                Atom::Class(class) => out += &class,
                Atom::Group(group) => out = format!("{out}({group})"),
            }
            out += &repetition;
        }
        Ok(out)
    }

    fn atom(&mut self, letter: char, depth: usize) -> Result<Atom, String> {
        match letter {
            '(' => {
                if self.take('?') && !self.take(':') {
                    return Err("has a group that begins with \"(?\"; of these only \"(?:\" can be enforced".to_owned());
                }
                let group = self.alternatives(depth + 1)?;
                if self.take(')') {
                    Ok(Atom::Group(group))
                } else {
                    Err("opens a group that it does not close".to_owned())
                }
            }
            '[' => self.class().map(Atom::Class),
            '.' => class_of(&[], LINE_ENDS, true).map(Atom::Class),
            '\\' => match self.escape()? {
                Escape::Letter(letter) => writable(letter),
                Escape::Set(ranges, outside) => class_of(&[], ranges, outside).map(Atom::Class),
            },
            '^' | '$' => Err(format!("has \"{letter}\" inside, which only stands at its ends")),
            '*' | '+' | '?' | '{' => Err(format!("has \"{letter}\" with nothing to repeat")),
            ']' | '}' => Err(format!("has \"{letter}\" without its opening; write \"\\{letter}\"")),
            letter => writable(letter),
        }
    }

    /// Behind a backslash.
    fn escape(&mut self) -> Result<Escape, String> {
        let letter = self.next()?;
        Ok(match letter {
            'd' => Escape::Set(DIGITS, false),
            'D' => Escape::Set(DIGITS, true),
            'w' => Escape::Set(WORD, false),
            'W' => Escape::Set(WORD, true),
            's' => Escape::Set(SPACE, false),
            'S' => Escape::Set(SPACE, true),
            't' => Escape::Letter('\t'),
            'n' => Escape::Letter('\n'),
            'r' => Escape::Letter('\r'),
            'x' => Escape::Letter(self.code(2)?),
            'u' => Escape::Letter(self.code(4)?),
            letter if letter.is_ascii_punctuation() => Escape::Letter(letter),
            letter => return Err(format!("has \"\\{letter}\", which cannot be enforced")),
        })
    }

    fn code(&mut self, digits: usize) -> Result<char, String> {
        let code = self.letters.get(self.at..self.at + digits).ok_or("ends within an escape")?;
        let code: String = code.iter().collect();
        self.at += digits;
        let valid = code.bytes().all(|digit| digit.is_ascii_hexdigit());
        let letter = u32::from_str_radix(&code, 16).ok().filter(|_| valid).and_then(char::from_u32);
        letter.ok_or_else(|| format!("has an escape of \"{code}\", which is no character"))
    }

    /// A class, behind its bracket.
    fn class(&mut self) -> Result<String, String> {
        let outside = self.take('^');
        let mut ranges = Vec::new();
        while !self.take(']') {
            let Some(low) = self.member(outside, &mut ranges)? else { continue };
            let range = self.peek() == Some('-') && self.letters.get(self.at + 1).is_some_and(|&next| next != ']');
            self.at += usize::from(range);
            let high = if range { self.member(outside, &mut ranges)? } else { Some(low) };
            match high {
                Some(high) if high >= low => ranges.push((low, high)),
                _ => return Err("has a range in a class that is none".to_owned()),
            }
        }
        class_of(&ranges, &[], outside)
    }

    /// A character of a class; a set such as `\d` goes into `ranges`.
    fn member(&mut self, outside: bool, ranges: &mut Vec<(u32, u32)>) -> Result<Option<u32>, String> {
        match self.next()? {
            '[' => Err("has \"[\" within a class; write \"\\[\"".to_owned()),
            '\\' => match self.escape()? {
                Escape::Letter(letter) => Ok(Some(letter.into())),
                Escape::Set(set, false) => {
                    ranges.extend_from_slice(set);
                    Ok(None)
                }
                Escape::Set(_, true) if outside => {
                    Err("has a class of everything but everything but something".to_owned())
                }
                Escape::Set(set, true) => {
                    ranges.extend(inverted(set));
                    Ok(None)
                }
            },
            letter => Ok(Some(letter.into())),
        }
    }

    /// The repetition behind an atom, as it is written; empty where there is none.
    fn repetition(&mut self) -> Result<String, String> {
        let start = self.at;
        match self.peek() {
            Some('*' | '+' | '?') => self.at += 1,
            Some('{') => {
                self.at += 1;
                let least = self.number()?;
                let most = match self.take(',') {
                    true if self.peek() == Some('}') => None,
                    true => Some(self.number()?),
                    false => Some(least),
                };
                if !self.take('}') || most.is_some_and(|most| most < least) {
                    return Err("has a repetition that is none".to_owned());
                }
            }
            _ => return Ok(String::new()),
        }
        if matches!(self.peek(), Some('*' | '+' | '?' | '{')) {
            return Err("has a repetition of a repetition, or a lazy one".to_owned());
        }
        Ok(self.letters[start..self.at].iter().collect())
    }

    fn number(&mut self) -> Result<u32, String> {
        let start = self.at;
        while self.peek().is_some_and(|letter| letter.is_ascii_digit()) {
            self.at += 1;
        }
        let digits: String = self.letters[start..self.at].iter().collect();
        let number = digits.parse().ok().filter(|&number| number <= MAX_COUNT);
        number.ok_or_else(|| format!("has a repetition without a count up to {MAX_COUNT}"))
    }
}

/// A letter that a JSON string holds as it is.
fn writable(letter: char) -> Result<Atom, String> {
    match UNWRITABLE.iter().any(|&(low, high)| (low..=high).contains(&u32::from(letter))) {
        true => Err(format!("has {letter:?}, which a JSON string cannot hold as it is")),
        false => Ok(Atom::Letter(letter)),
    }
}

/// A class of these ranges, or of everything outside of them, without what JSON cannot hold.
fn class_of(ranges: &[(u32, u32)], more: &[(u32, u32)], outside: bool) -> Result<String, String> {
    let mut out = String::new();
    let ranges: Vec<(u32, u32)> = ranges.iter().chain(more).copied().collect();
    if outside {
        out += "[^";
        ranges.iter().chain(UNWRITABLE).for_each(|&range| write_range(&mut out, range));
    } else {
        out.push('[');
        let allowed = inverted(UNWRITABLE);
        let pieces = ranges.iter().flat_map(|&(low, high)| {
            allowed.iter().map(move |&(from, to)| (low.max(from), high.min(to))).filter(|(low, high)| low <= high)
        });
        let pieces: Vec<(u32, u32)> = pieces.collect();
        if pieces.is_empty() {
            return Err("has a class of nothing that a JSON string can hold as it is".to_owned());
        }
        pieces.into_iter().for_each(|range| write_range(&mut out, range));
    }
    out.push(']');
    Ok(out)
}

/// What is outside of ranges that are in order and apart.
fn inverted(ranges: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let mut out = Vec::new();
    let mut next = 0;
    for &(low, high) in ranges {
        if low > next {
            out.push((next, low - 1));
        }
        next = high + 1;
    }
    out.push((next, 0x10_ffff));
    out
}

fn write_range(out: &mut String, (low, high): (u32, u32)) {
    write_code(out, low);
    if high > low {
        out.push('-');
        write_code(out, high);
    }
}

/// Letters and digits as they are; the rest by its number, in which nothing has a meaning of its own.
fn write_code(out: &mut String, code: u32) {
    let plain = char::from_u32(code).filter(char::is_ascii_alphanumeric);
    // Writing to a text cannot fail.
    let _ = match (plain, code) {
        (Some(letter), _) => write!(out, "{letter}"),
        (None, ..0x100) => write!(out, "\\x{code:02X}"),
        (None, ..0x1_0000) => write!(out, "\\u{code:04X}"),
        (None, _) => write!(out, "\\U{code:08X}"),
    };
}

fn write_letter(out: &mut String, letter: char) {
    if "^$.[](){}|*+?".contains(letter) {
        out.push('\\');
    }
    out.push(letter);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_the_converter_reads_as_it_is_meant() {
        const NOT: &str = "\\x00-\\x1F\\x22\\x5C\\x7F";
        for (pattern, written) in [
            ("^[a-z ]+$", "^[a-z\\x20]+$".to_owned()),
            ("^a\\.b*(?:c|d){2,3}$", "^a\\.[b]*(c|d){2,3}$".to_owned()),
            ("^\\d{3}-\\w?$", "^[0-9]{3}-[0-9A-Z\\x5Fa-z]?$".to_owned()),
            ("^.$", format!("^[^\\u2028-\\u2029{NOT}]$")),
            ("^[^a-c]*$", format!("^[^a-c{NOT}]*$")),
            ("^[ -~]{1,}$", "^[\\x20-\\x21\\x23-\\x5B\\x5D-\\x7E]{1,}$".to_owned()),
            ("^[\\]\\-^]é\\x41$", "^[\\x5D\\x2D\\x5E]éA$".to_owned()),
            ("^é+$", "^[\\xE9]+$".to_owned()),
            ("^\\S$", {
                let mut set = String::new();
                SPACE.iter().for_each(|&range| write_range(&mut set, range));
                format!("^[^{set}{NOT}]$")
            }),
            ("^$", "^$".to_owned()),
        ] {
            assert_eq!(enforceable(pattern), Ok(written), "{pattern}");
        }
    }

    #[test]
    fn refuses_what_the_converter_would_take_for_any_string() {
        for (pattern, why) in [
            ("a+", "must begin"),
            ("^(?=a)b$", "(?:"),
            ("^(?<x>a)$", "(?:"),
            ("^a^b$", "\"^\" inside"),
            ("^a$b$", "\"$\" inside"),
            ("^a]$", "without its opening"),
            ("^a}$", "without its opening"),
            ("^a)$", "closes a group"),
            ("^(a$", "does not close"),
            ("^[a$", "ends too early"),
            ("^*a$", "nothing to repeat"),
            ("^a+?$", "lazy"),
            ("^a{2}{3}$", "repetition of a repetition"),
            ("^a{,3}$", "without a count"),
            ("^a{3,2}$", "that is none"),
            ("^a{9999}$", "up to 2000"),
            ("^\\bword$", "\"\\b\""),
            ("^(a)\\1$", "\"\\1\""),
            ("^\\p{L}$", "\"\\p\""),
            ("^a\"b$", "JSON string cannot hold"),
            ("^a\\\\b$", "JSON string cannot hold"),
            ("^a\\nb$", "JSON string cannot hold"),
            ("^[\"]$", "class of nothing"),
            ("^[]$", "class of nothing"),
            ("^[z-a]$", "range in a class"),
            ("^[[a]$", "within a class"),
        ] {
            let message = enforceable(pattern).expect_err(pattern);
            assert!(message.contains(why), "{pattern}: {message}");
        }
        let deep = format!("^{}a{}$", "(".repeat(40), ")".repeat(40));
        assert!(enforceable(&deep).unwrap_err().contains("deeper than 32"));
    }
}
