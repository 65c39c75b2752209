//! A problem at a place in a text file, and the text with its places.

use crate::names::reorders_text;
use serde::{Serialize, Serializer};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use unicode_width::UnicodeWidthChar;

/// How much of a long line is shown, in characters.
const LONGEST_LINE: usize = 110;

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

/// A text file with its path, which turns byte ranges into diagnostics.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    pub(crate) fn new(path: &Path, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// A diagnostic at a range of bytes; what lies outside the text or inside a character is moved to where it fits.
    pub(crate) fn diagnostic(&self, range: Range<usize>, message: String, help: Option<String>) -> Diagnostic {
        let start = self.text.floor_char_boundary(range.start.min(self.text.len()));
        let line_start = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text[..line_start].matches('\n').count() + 1;
        let text = self.text[line_start..].split(['\n', '\r']).next().unwrap_or_default();
        let column = self.text[line_start..start].chars().count();
        let end = self.text.floor_char_boundary(range.end.clamp(start, self.text.len()));
        let length = self.text[start..end].split(['\n', '\r']).next().unwrap_or_default().chars().count();
        Diagnostic {
            path: self.path.clone(),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column + 1).unwrap_or(u32::MAX),
            message,
            help,
            snippet: snippet(line, text, column, length),
        }
    }
}

/// The line with its number, and carets under `length` characters from `column` (counted from 0).
fn snippet(number: usize, line: &str, column: usize, length: usize) -> String {
    let number = number.to_string();
    let margin = " ".repeat(number.len());
    let skipped = if line.chars().count() > LONGEST_LINE { column.saturating_sub(LONGEST_LINE / 3) } else { 0 };
    let mut shown: String = line.chars().skip(skipped).take(LONGEST_LINE).map(printable).collect();
    if line.chars().count() > skipped + LONGEST_LINE {
        shown.push('…');
    }
    let before: usize = shown.chars().take(column - skipped).map(width).sum();
    let under: usize = shown.chars().skip(column - skipped).take(length).map(width).sum();
    let lead = if skipped > 0 { "…" } else { "" };
    let carets = format!("{}{}", " ".repeat(before + lead.chars().count()), "^".repeat(under.max(1)));
    let shown = format!("{number} | {lead}{shown}");
    format!("{margin} |\n{}\n{margin} | {carets}", shown.trim_end())
}

/// A line of a stranger's file must not steer the terminal.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() || reorders_text(c) => char::REPLACEMENT_CHARACTER,
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
    }

    #[test]
    fn a_place_at_or_after_the_end_is_shown_at_the_end() {
        assert_eq!(shown("", 0..0), "x.toml:1:1: wrong\n  |\n1 |\n  | ^");
        assert!(shown("a\n", 7..9).starts_with("x.toml:2:1:"));
        assert!(shown("é", 1..2).starts_with("x.toml:1:1:"));
    }

    #[test]
    fn one_line_holds_no_text_of_the_file() {
        let diagnostic = Source::new(Path::new("x.toml"), "a").diagnostic(0..1, "wrong".into(), Some("mend it".into()));
        assert_eq!(diagnostic.one_line(), "x.toml:1:1: wrong");
        assert!(diagnostic.to_string().ends_with("\n  = help: mend it"));
    }
}
