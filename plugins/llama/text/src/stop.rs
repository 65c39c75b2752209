//! Stop texts: ends an answer at the first of them and never lets a part of one out.

/// Watches a growing answer for stop texts. Works on bytes, so that a stop text may come in pieces of code points.
///
/// ```
/// use tenon_llama_text::StopTexts;
///
/// let mut stop = StopTexts::new(["<end>".to_owned()]);
/// assert_eq!(stop.push(b"one <e"), b"one ");
/// assert_eq!(stop.push(b"lse> two <en"), b"<else> two ");
/// assert_eq!(stop.push(b"d> three"), b"");
/// assert_eq!(stop.found(), Some("<end>"));
/// ```
#[derive(Clone, Debug)]
pub struct StopTexts {
    texts: Vec<String>,
    held: Vec<u8>,
    found: Option<usize>,
}

impl StopTexts {
    /// Watches for any of `texts`; empty ones are left out.
    pub fn new(texts: impl IntoIterator<Item = String>) -> Self {
        let texts = texts.into_iter().filter(|text| !text.is_empty()).collect();
        Self { texts, held: Vec::new(), found: None }
    }

    /// Takes the next bytes of the answer and gives those that certainly are part of it. Once a stop text was found
    /// nothing more is given.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.found.is_some() {
            return Vec::new();
        }
        self.held.extend_from_slice(bytes);
        if let Some((at, which)) = self.first_match() {
            self.found = Some(which);
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let keep = self.open_suffix();
        let rest = self.held.split_off(self.held.len() - keep);
        std::mem::replace(&mut self.held, rest)
    }

    /// Gives what was held back, at the end of an answer that no stop text ended.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// The stop text that ended the answer.
    pub fn found(&self) -> Option<&str> {
        self.found.map(|which| self.texts[which].as_str())
    }

    /// Where the earliest stop text begins, the longest one where several do.
    fn first_match(&self) -> Option<(usize, usize)> {
        let find = |text: &String| self.held.windows(text.len()).position(|window| window == text.as_bytes());
        let matches = self.texts.iter().enumerate().filter_map(|(which, text)| Some((find(text)?, which)));
        matches.min_by_key(|&(at, which)| (at, std::cmp::Reverse(self.texts[which].len())))
    }

    /// Length of the longest end of what is held that is the beginning of a stop text.
    fn open_suffix(&self) -> usize {
        let begins = |text: &String| {
            let most = text.len().saturating_sub(1).min(self.held.len());
            (1..=most).rev().find(|&length| self.held.ends_with(&text.as_bytes()[..length])).unwrap_or(0)
        };
        self.texts.iter().map(begins).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], text: &str, step: usize) -> (String, Option<String>) {
        let mut stop = StopTexts::new(stops.iter().map(|&text| text.to_owned()));
        let mut out = Vec::new();
        for piece in text.as_bytes().chunks(step) {
            out.extend(stop.push(piece));
        }
        out.extend(stop.finish());
        (String::from_utf8(out).unwrap(), stop.found().map(str::to_owned))
    }

    #[test]
    fn ends_at_the_first_stop_text_however_it_is_cut() {
        for step in 1..8 {
            assert_eq!(
                run(&["STOP", "\n\n"], "a SSTO\nSTOP b", step),
                ("a SSTO\n".to_owned(), Some("STOP".to_owned()))
            );
            assert_eq!(run(&["é€"], "xé é€y", step), ("xé ".to_owned(), Some("é€".to_owned())));
        }
    }

    #[test]
    fn gives_everything_when_no_stop_text_comes() {
        for step in 1..5 {
            assert_eq!(run(&["abc", ""], "ab abab ab", step), ("ab abab ab".to_owned(), None));
        }
    }

    #[test]
    fn of_two_that_begin_together_the_longer_one_wins_when_it_is_there() {
        assert_eq!(run(&["</", "</s>"], "x</s>", 9), ("x".to_owned(), Some("</s>".to_owned())));
    }

    #[test]
    fn a_part_of_a_stop_text_never_leaks() {
        let mut stop = StopTexts::new(["<|end|>".to_owned()]);
        let mut out = Vec::new();
        for byte in b"hello <|en<|end|>" {
            out.extend(stop.push(&[*byte]));
            assert!(!String::from_utf8_lossy(&out).ends_with('<'), "leaked at {out:?}");
        }
        assert_eq!(out, b"hello <|en");
    }
}
