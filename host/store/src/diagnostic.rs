//! A problem at a place in a text file, and the text with its places.

use crate::names::{plain, steers};
use serde::{Serialize, Serializer};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use unicode_width::UnicodeWidthChar;

/// How much of a long line is shown, in characters.
const LONGEST_LINE: usize = 110;

/// How many problems of a file are shown. Nobody mends more at once, and a stranger's file may have one for every few
/// bytes.
pub(crate) const MOST_PROBLEMS: usize = 100;

/// What some editors put before the first character of a text; it stands in no line.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A problem at a place in a file.
///
/// It prints like a compiler's message, or as one line with [`Diagnostic::one_line`].
///
/// ```
/// use std::path::Path;
/// use tenon_store::Manifest;
///
/// let problems = Manifest::parse("nmae = \"tiny\"\n", Path::new("tiny.toml")).unwrap_err();
/// assert_eq!(problems[0].one_line(), r#"tiny.toml:1:1: unknown key "nmae" (did you mean "name"?)"#);
/// assert!(problems[0].to_string().contains("1 | nmae = \"tiny\"\n  | ^^^^"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The file, as it was named.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it, if the message does not say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The line of the file and carets under the place: three lines of text.
    pub snippet: String,
}

fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

impl Diagnostic {
    /// The problem in one line, without the text of the file:
    /// `manifests/x.toml:7:1: unknown key "sha265" (did you mean "sha256"?)`.
    pub fn one_line(&self) -> String {
        format!("{}:{}:{}: {}", self.path.display(), self.line, self.column, self.message)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.one_line(), self.snippet)?;
        match &self.help {
            Some(help) => write!(f, "\n{} = help: {help}", " ".repeat(self.line.to_string().len())),
            None => Ok(()),
        }
    }
}

/// What is wrong at a range of bytes: what a [`Diagnostic`] is made of. That takes time by the length of a line, and is
/// left until it is known which problems are shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub place: Range<usize>,
    pub message: String,
    pub help: Option<String>,
}

/// A text file with its path, which turns byte ranges into diagnostics.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    text: String,
    /// Where each line begins; known once somebody asks.
    lines: OnceLock<Vec<usize>>,
}

impl Source {
    pub(crate) fn new(path: &Path, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), lines: OnceLock::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The number of the line that holds a byte, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.lines().partition_point(|start| *start <= at).max(1)
    }

    fn lines(&self) -> &[usize] {
        self.lines.get_or_init(|| {
            let first = if self.text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8() } else { 0 };
            std::iter::once(first).chain(self.text.match_indices('\n').map(|(newline, _)| newline + 1)).collect()
        })
    }

    /// The diagnostics of these problems in the order of the text. Of more than [`MOST_PROBLEMS`] they are the first,
    /// and one more that says how many are left out.
    pub(crate) fn diagnostics(&self, mut found: Vec<Problem>) -> Vec<Diagnostic> {
        found.sort_by_key(|problem| problem.place.start);
        found.dedup();
        let rest = found.split_off(found.len().min(MOST_PROBLEMS));
        let more = rest.first().map(|next| {
            let message = format!("and {} from here on: mend the others first", more_problems(rest.len()));
            self.diagnostic(next.place.clone(), message, None)
        });
        let shown = found.into_iter().map(|problem| self.diagnostic(problem.place, problem.message, problem.help));
        let mut shown: Vec<Diagnostic> = shown.chain(more).collect();
        shown.dedup();
        shown
    }

    /// A diagnostic at a range of bytes; what lies outside the text or inside a character is moved to where it fits.
    pub(crate) fn diagnostic(&self, range: Range<usize>, message: String, help: Option<String>) -> Diagnostic {
        let start = self.text.floor_char_boundary(range.start.min(self.text.len()));
        let line = self.line(start);
        let line_start = self.lines()[line - 1];
        let start = start.max(line_start);
        let line_end = self.lines().get(line).map_or(self.text.len(), |next| next - 1);
        let text = &self.text[line_start..line_end];
        let text = text.find('\r').map_or(text, |end| &text[..end]);
        let column = self.text[line_start..start].chars().count();
        let end = self.text.floor_char_boundary(range.end.clamp(start, self.text.len()));
        let under = self.text[start..end].chars().take(LONGEST_LINE + 1).take_while(|c| !matches!(c, '\n' | '\r'));
        Diagnostic {
            path: self.path.clone(),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column + 1).unwrap_or(u32::MAX),
            message: plain(&message),
            help: help.map(|help| plain(&help)),
            snippet: snippet(line, text, start - line_start, under.count()),
        }
    }
}

fn more_problems(count: usize) -> String {
    match count {
        1 => "1 more problem".to_owned(),
        count => format!("{count} more problems"),
    }
}

/// The line with its number, and carets under `length` characters from byte `at` of it. Of a long line only what is
/// around that is looked at.
fn snippet(number: usize, line: &str, at: usize, length: usize) -> String {
    let number = number.to_string();
    let margin = " ".repeat(number.len());
    let before = &line[..at.min(line.len())];
    let is_long = |text: &str| text.chars().nth(LONGEST_LINE).is_some();
    let skipped = match is_long(line) {
        true => before.char_indices().rev().nth(LONGEST_LINE / 3 - 1).map_or(0, |(start, _)| start),
        false => 0,
    };
    let (column, rest) = (before[skipped..].chars().count(), &line[skipped..]);
    let mut shown: String = rest.chars().take(LONGEST_LINE).map(printable).collect();
    if is_long(rest) {
        shown.push('…');
    }
    let before: usize = shown.chars().take(column).map(width).sum();
    let under: usize = shown.chars().skip(column).take(length).map(width).sum();
    let lead = if skipped > 0 { "…" } else { "" };
    let carets = format!("{}{}", " ".repeat(before + lead.chars().count()), "^".repeat(under.max(1)));
    let shown = format!("{number} | {lead}{shown}");
    format!("{margin} |\n{}\n{margin} | {carets}", shown.trim_end())
}

/// A line of a stranger's file must not steer the terminal.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if steers(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

fn width(c: char) -> usize {
    c.width().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, range: Range<usize>) -> String {
        Source::new(Path::new("x.toml"), text).diagnostic(range, "wrong".to_owned(), None).to_string()
    }

    #[test]
    fn carets_stand_under_the_range() {
        assert_eq!(shown("name = \"a\"\nsize = 0\n", 18..19), "x.toml:2:8: wrong\n  |\n2 | size = 0\n  |        ^");
    }

    #[test]
    fn wide_characters_and_tabs_keep_the_carets_in_place() {
        let text = "x\t= \"模型\" 7";
        let at = text.find('7').unwrap();
        assert_eq!(shown(text, at..at + 1), "x.toml:1:10: wrong\n  |\n1 | x = \"模型\" 7\n  |            ^");
    }

    #[test]
    fn a_long_line_is_shown_around_the_place() {
        let text = format!("{}!{}", "a".repeat(5000), "b".repeat(5000));
        let shown = shown(&text, 5000..5001);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[2].chars().count() < 130);
        let column = lines[3].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[2].chars().nth(column), Some('!'));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let shown = shown("name = \u{1b}[2J \u{202e}x", 0..4);
        assert!(!shown.contains(['\u{1b}', '\u{202e}']));
        let source = Source::new(Path::new("x.toml"), "");
        let named = source.diagnostic(0..0, "unknown key \u{1b}[2J".to_owned(), Some("not \u{202e}x".to_owned()));
        assert!(!named.to_string().contains(['\u{1b}', '\u{202e}']), "{named}");
    }

    #[test]
    fn a_place_at_or_after_the_end_is_shown_at_the_end() {
        assert_eq!(shown("", 0..0), "x.toml:1:1: wrong\n  |\n1 |\n  | ^");
        assert!(shown("a\n", 7..9).starts_with("x.toml:2:1:"));
        assert!(shown("é", 1..2).starts_with("x.toml:1:1:"));
    }

    #[test]
    fn a_byte_order_mark_is_in_no_line() {
        let text = "\u{feff}nmae = 1\nsize = 0";
        assert_eq!(shown(text, 3..7), "x.toml:1:1: wrong\n  |\n1 | nmae = 1\n  | ^^^^");
        assert_eq!(shown(text, 0..0), "x.toml:1:1: wrong\n  |\n1 | nmae = 1\n  | ^");
        assert_eq!(shown(text, 12..16), "x.toml:2:1: wrong\n  |\n2 | size = 0\n  | ^^^^");
        assert!(shown("\u{feff}", 0..3).starts_with("x.toml:1:1:"));
    }

    #[test]
    fn of_very_many_problems_the_first_are_shown_and_the_others_counted() {
        let wrong = |at: usize| Problem { place: at..at + 1, message: format!("wrong at {at}"), help: None };
        let source = Source::new(Path::new("x.toml"), &"\n".repeat(5000));
        let shown = source.diagnostics((0..5000).rev().map(wrong).collect());
        assert_eq!(shown.len(), MOST_PROBLEMS + 1);
        assert_eq!((shown[0].one_line(), shown[99].line), ("x.toml:1:1: wrong at 0".to_owned(), 100));
        assert_eq!(shown[100].one_line(), "x.toml:101:1: and 4900 more problems from here on: mend the others first");
        assert_eq!(source.diagnostics((0..100).map(wrong).collect()).len(), 100);
    }

    #[test]
    fn one_line_holds_no_text_of_the_file() {
        let diagnostic = Source::new(Path::new("x.toml"), "a").diagnostic(0..1, "wrong".into(), Some("mend it".into()));
        assert_eq!(diagnostic.one_line(), "x.toml:1:1: wrong");
        assert!(diagnostic.to_string().ends_with("\n  = help: mend it"));
    }
}
