//! What was found out about a file, kept until the file is opened: a host asks what a model needs just before it opens
//! it, and the check of its file is the dear part of both.

use std::sync::{Mutex, PoisonError};

/// Most findings that wait for their file to be opened.
const MOST: usize = 16;

/// Findings by the SHA-256 of their file, which the host has verified.
#[derive(Debug)]
pub struct Memo<T>(Mutex<Vec<([u8; 32], T)>>);

impl<T> Memo<T> {
    /// Without findings.
    #[expect(clippy::new_without_default, reason = "only statics hold one")]
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Keeps a finding; the oldest one goes when there are too many.
    pub fn put(&self, sha256: [u8; 32], finding: T) {
        let mut findings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        findings.retain(|(known, _)| *known != sha256);
        if findings.len() == MOST {
            findings.remove(0);
        }
        findings.push((sha256, finding));
    }

    /// Takes the finding of a file out.
    pub fn take(&self, sha256: &[u8; 32]) -> Option<T> {
        let mut findings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = findings.iter().position(|(known, _)| known == sha256)?;
        Some(findings.remove(place).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_there_once_and_the_last_one_counts() {
        let memo = Memo::new();
        memo.put([1; 32], "old");
        memo.put([1; 32], "new");
        assert_eq!(memo.take(&[2; 32]), None);
        assert_eq!((memo.take(&[1; 32]), memo.take(&[1; 32])), (Some("new"), None));
    }

    #[test]
    fn files_that_nobody_opens_are_forgotten() {
        let memo = Memo::new();
        (0..20).for_each(|number| memo.put([number; 32], number));
        assert_eq!((memo.take(&[3; 32]), memo.take(&[4; 32])), (None, Some(4)));
    }
}
