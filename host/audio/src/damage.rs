//! What of a source was lost although the rest could be read.

use std::fmt;
use std::time::Duration;

/// What kind of loss it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DamageKind {
    /// The source ends before its own header says that it should, or in the middle of a packet.
    Truncated,
    /// Packets could not be decoded; silence of their length stands in their place.
    Undecodable,
    /// Packets are missing in the middle; silence stands in their place where their length is known.
    Gap,
    /// Samples were NaN, infinite or beyond 1e12; zeros stand in their place.
    NotFinite,
    /// All samples were decoded, and their checksum differs from the one in the header.
    Checksum,
    /// Bytes that belong to nothing were passed over.
    Garbage,
}

impl DamageKind {
    /// The kind as one kebab-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Undecodable => "undecodable",
            Self::Gap => "gap",
            Self::NotFinite => "not-finite",
            Self::Checksum => "checksum",
            Self::Garbage => "garbage",
        }
    }
}

/// One loss. Neighbouring losses of one kind are told as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What kind of loss it was.
    pub kind: DamageKind,
    /// Where it starts, on the clock of the audio that was given out.
    pub at: Duration,
    /// How much audio is lost, where that is known.
    pub lost: Option<Duration>,
    /// What was seen, as a sentence.
    pub message: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:.3} s: {}", self.at.as_secs_f64(), self.message)?;
        match self.lost {
            Some(lost) => write!(f, " ({:.3} s lost)", lost.as_secs_f64()),
            None => Ok(()),
        }
    }
}

/// How many losses are told apart; the rest is added to the last one.
const MOST: usize = 1000;

/// Collects losses while decoding.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// The moment that the next samples will have.
    pub(crate) now: Duration,
    /// Sum of all numbers that were no samples.
    pub(crate) not_finite: u64,
    list: Vec<Damage>,
}

impl Notes {
    /// Notes a loss at the present moment; `lost` is a count of frames and their rate.
    pub(crate) fn add(&mut self, kind: DamageKind, lost: Option<(u64, u32)>, message: impl Into<String>) {
        let lost = lost.map(|(frames, rate)| span(frames, rate));
        let message = message.into();
        let full = self.list.len() >= MOST;
        if let Some(last) = self.list.last_mut() {
            let end = last.at.saturating_add(last.lost.unwrap_or_default());
            let near = self.now.saturating_sub(end) < Duration::from_millis(50) && last.message == message;
            if full || (last.kind == kind && near) {
                last.lost = match (last.lost, lost) {
                    (Some(a), Some(b)) => Some(a.saturating_add(b)),
                    (a, b) => a.or(b),
                };
                return;
            }
        }
        self.list.push(Damage { kind, at: self.now, lost, message });
    }

    /// Notes numbers that were no samples.
    pub(crate) fn not_finite(&mut self, count: u64) {
        if count > 0 {
            self.not_finite += count;
            self.add(DamageKind::NotFinite, None, "samples that are NaN, infinite or beyond 1e12 became 0");
        }
    }

    pub(crate) fn list(&self) -> &[Damage] {
        &self.list
    }
}

/// How long so many frames last.
pub(crate) fn span(frames: u64, rate: u32) -> Duration {
    let rate = u64::from(rate.max(1));
    let part = (frames % rate) as f64 / rate as f64;
    Duration::from_secs(frames / rate) + Duration::from_secs_f64(part)
}
