//! What the program says: results on standard output, everything else on standard error.

use crate::failure::{Failure, Outcome};
use crate::transcript::pretty;
use anstyle::{AnsiColor, Style};
use serde_json::Value;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, SystemTime};

/// Where results and remarks go, and in which shape.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// One JSON object or array instead of text for people.
    pub json: bool,
    /// Nothing but results and errors.
    pub quiet: bool,
    /// Colour on standard output.
    pub colour: bool,
    /// Colour on standard error.
    pub colour_remarks: bool,
}

impl Output {
    /// Follows `NO_COLOR`, `CLICOLOR_FORCE`, `TERM=dumb` and whether somebody watches.
    pub fn new(json: bool, quiet: bool) -> Self {
        let wants = |choice| choice != anstream::ColorChoice::Never;
        Self {
            json,
            quiet,
            colour: wants(anstream::AutoStream::choice(&io::stdout())),
            colour_remarks: wants(anstream::AutoStream::choice(&io::stderr())),
        }
    }

    /// A piece of a result, as it is.
    pub fn text(&self, text: &str) -> Outcome {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        Ok(stdout.flush()?)
    }

    /// A line of a result.
    pub fn line(&self, line: &str) -> Outcome {
        self.text(&format!("{line}\n"))
    }

    /// A result as indented JSON.
    pub fn json(&self, value: &Value) -> Outcome {
        self.text(&pretty(value, b"  "))
    }

    /// A result as one line of JSON.
    pub fn json_line(&self, value: &Value) -> Outcome {
        self.line(&value.to_string())
    }

    /// A remark beside the results; nothing with `--quiet`.
    pub fn remark(&self, remark: &str) {
        if !self.quiet {
            say(remark);
        }
    }

    /// Something that the user should know although the command goes on; nothing with `--quiet`.
    pub fn warn(&self, warning: &str) {
        if !self.quiet {
            say(&format!("{}: {warning}", self.paint_remark("warning", AnsiColor::Yellow)));
        }
    }

    /// Why the command, or one of its inputs, failed: also with `--quiet`.
    pub fn failure(&self, failure: &Failure) {
        if failure.message.is_empty() {
            return;
        }
        if self.json {
            say(&failure.to_json().to_string());
        } else {
            say(&format!("{}: {}", self.paint_remark("error", AnsiColor::Red), failure.message));
            failure.last_lines().iter().for_each(|line| say(line));
        }
    }

    /// This text in colour, where standard output shows colour.
    pub fn paint(&self, text: &str, colour: AnsiColor) -> String {
        paint(self.colour, text, colour)
    }

    fn paint_remark(&self, text: &str, colour: AnsiColor) -> String {
        paint(self.colour_remarks, text, colour)
    }
}

fn paint(wanted: bool, text: &str, colour: AnsiColor) -> String {
    if !wanted {
        return text.to_owned();
    }
    let style = Style::new().fg_color(Some(colour.into())).bold();
    format!("{style}{text}{style:#}")
}

/// A line on standard error. When even that cannot be written there is nobody left to tell.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Whether somebody watches standard error on a terminal that can move its cursor.
pub fn watched() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Rows under headings, columns two spaces apart, without borders.
pub struct Table(Vec<Vec<String>>);

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self(vec![headings.iter().map(|&heading| heading.to_owned()).collect()])
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let cells = |column: usize| self.0.iter().filter_map(move |row| row.get(column));
        let width = |column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.0 {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// `1.2 GB`: decimal units, as ollama and file managers show them.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    let mut amount = bytes as f64;
    let mut name = "B";
    for unit in UNITS {
        if amount < 999.5 {
            break;
        }
        amount /= 1000.0;
        name = unit;
    }
    if name == "B" || amount >= 9.95 { format!("{amount:.0} {name}") } else { format!("{amount:.1} {name}") }
}

/// `3 weeks ago`.
pub fn age(then: SystemTime) -> String {
    let seconds = SystemTime::now().duration_since(then).unwrap_or(Duration::ZERO).as_secs();
    let spans = [("year", 31_536_000), ("month", 2_592_000), ("week", 604_800), ("day", 86_400)];
    let short = [("hour", 3600), ("minute", 60), ("second", 1)];
    for (unit, length) in spans.into_iter().chain(short) {
        let count = seconds / length;
        if count > 0 {
            return format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" });
        }
    }
    "just now".to_owned()
}

/// `350 ms`, `2.31 s`, `4 min 05 s`.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        _ if seconds < 0.0995 => format!("{:.1} ms", seconds * 1e3),
        _ if seconds < 0.9995 => format!("{:.0} ms", seconds * 1e3),
        _ if seconds < 60.0 => format!("{seconds:.2} s"),
        _ => format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_digits_and_a_decimal_unit() {
        let sizes = [0, 999, 1000, 1499, 6_800_000, 147_951_465, 999_999_999, 4_700_000_000];
        let shown: Vec<String> = sizes.into_iter().map(size).collect();
        assert_eq!(shown, ["0 B", "999 B", "1.0 KB", "1.5 KB", "6.8 MB", "148 MB", "1.0 GB", "4.7 GB"]);
    }

    #[test]
    fn ages_name_the_largest_whole_unit() {
        let ago = |seconds| age(SystemTime::now() - Duration::from_secs(seconds));
        assert_eq!(ago(90_000), "1 day ago");
        assert_eq!(ago(22 * 86_400), "3 weeks ago");
        assert_eq!(age(SystemTime::now() + Duration::from_secs(5)), "just now");
    }

    #[test]
    fn columns_are_two_spaces_apart_and_lines_end_without_space() {
        let mut table = Table::new(&["NAME", "SIZE"]);
        table.row(["a".to_owned(), "1 B".to_owned()]);
        table.row(["longer".to_owned(), String::new()]);
        assert_eq!(table.to_string(), "NAME    SIZE\na       1 B\nlonger\n");
    }

    #[test]
    fn times_have_a_fitting_unit() {
        let shown: Vec<String> =
            [0.0012, 0.35, 2.314, 245.0].into_iter().map(|time| span(Duration::from_secs_f64(time))).collect();
        assert_eq!(shown, ["1.2 ms", "350 ms", "2.31 s", "4 min 05 s"]);
    }
}
