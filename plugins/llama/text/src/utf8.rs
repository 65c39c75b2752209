//! Joins bytes of tokens into whole, valid UTF-8: one code point may come in several tokens.

/// Holds back an incomplete code point at the end until the rest comes.
///
/// ```
/// use tenon_llama_text::Utf8Joiner;
///
/// let mut joiner = Utf8Joiner::default();
/// assert_eq!(joiner.push(b"na\xc3"), "na");
/// assert_eq!(joiner.push(b"\xafve"), "\u{ef}ve");
/// assert_eq!(joiner.finish(), "");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Utf8Joiner {
    pending: Vec<u8>,
}

impl Utf8Joiner {
    /// Takes bytes and gives what is whole by now. Bytes that can be part of no text become U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let keep = incomplete_tail(&self.pending);
        let rest = self.pending.split_off(self.pending.len() - keep);
        let whole = std::mem::replace(&mut self.pending, rest);
        String::from_utf8_lossy(&whole).into_owned()
    }

    /// Gives what is left; an incomplete code point becomes U+FFFD.
    pub fn finish(&mut self) -> String {
        let rest = std::mem::take(&mut self.pending);
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// Bytes at the end that are the beginning of a code point.
fn incomplete_tail(bytes: &[u8]) -> usize {
    let start = bytes.len().saturating_sub(3);
    for at in (start..bytes.len()).rev() {
        let needed = match bytes[at] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return 0,
        };
        let have = bytes.len() - at;
        // `from_utf8` tells a beginning that can still become valid from one that cannot.
        let open = std::str::from_utf8(&bytes[at..]).is_err_and(|error| error.error_len().is_none());
        return if have < needed && open { have } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_split_of_a_text_comes_out_whole() {
        let text = "aé€𝄞 naïve — 日本語 🙂";
        for step in 1..7 {
            let mut joiner = Utf8Joiner::default();
            let mut out = String::new();
            for piece in text.as_bytes().chunks(step) {
                let whole = joiner.push(piece);
                assert!(!whole.contains('\u{fffd}'));
                out += &whole;
            }
            assert_eq!(out + &joiner.finish(), text);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_at_once() {
        let mut joiner = Utf8Joiner::default();
        assert_eq!(joiner.push(b"a\xff\xfeb"), "a\u{fffd}\u{fffd}b");
        assert_eq!(joiner.push(b"\xe0\x80"), "\u{fffd}\u{fffd}");
        assert_eq!(joiner.push(b"\xf0\x9f"), "");
        assert_eq!(joiner.finish(), "\u{fffd}");
    }
}
