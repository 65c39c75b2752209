//! The last words of a worker: the end of what it wrote to standard error, and the last lines of its plugin's log.

use std::collections::VecDeque;

/// Bytes that are kept.
const KEPT: usize = 8 * 1024;

/// The end of a text that grows.
#[derive(Default)]
pub(super) struct Tail(VecDeque<u8>);

impl Tail {
    /// Adds bytes, whole lines or not.
    pub fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(KEPT)..];
        let over = (self.0.len() + bytes.len()).saturating_sub(KEPT);
        self.0.drain(..over);
        self.0.extend(bytes);
    }

    /// Adds a line of the log.
    pub fn push_line(&mut self, line: &str) {
        if self.0.back().is_some_and(|last| *last != b'\n') {
            self.push(b"\n");
        }
        self.push(line.trim_end().as_bytes());
        self.push(b"\n");
    }

    /// What is there, as text: only whole lines once there was more.
    pub fn text(&self) -> String {
        let bytes: Vec<u8> = self.0.iter().copied().collect();
        let cut = bytes.len() == KEPT;
        let first = bytes.iter().position(|byte| *byte == b'\n').filter(|_| cut);
        let whole = first.map_or(&*bytes, |end| &bytes[end + 1..]);
        // Control characters of whatever wrote there are not for the terminal of who reads the error.
        let text =
            String::from_utf8_lossy(whole).replace(|c: char| c.is_control() && c != '\n' && c != '\t', "\u{fffd}");
        text.trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_in_whole_lines() {
        let mut tail = Tail::default();
        assert_eq!(tail.text(), "");
        tail.push(b"half ");
        tail.push(b"a line");
        tail.push_line("and one\n");
        assert_eq!(tail.text(), "half a line\nand one");
        (0..2000).for_each(|line| tail.push_line(&format!("line {line}")));
        let text = tail.text();
        assert!(text.len() <= KEPT && text.starts_with("line ") && text.ends_with("line 1999"), "{text}");
        tail.push(&[b'x'; 3 * KEPT]);
        assert_eq!(tail.text().len(), KEPT);
        tail.push(b"\n\xff\x1b[31m");
        assert_eq!(tail.text(), "\u{fffd}\u{fffd}[31m");
    }
}
