//! What every format offers: one channel of samples at the source's own rate, block by block.

use crate::convert::Channels;
use crate::damage::Notes;
use crate::decoder::Info;
use crate::error::{AudioError, Result};

/// Channel counts and rates that are accepted.
pub(crate) const MAX_CHANNELS: u16 = 64;
pub(crate) const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;

/// What one call gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Samples were appended (perhaps none).
    Block(Block),
    /// So many frames are lost; silence is to stand in their place.
    Silence(Block, u64),
    /// A long stretch of the source held no sample: the caller should have the chance to stop.
    Pause,
    /// There is no more.
    End,
}

/// Bytes that are read at most without giving a sample or pausing.
pub(crate) const STRETCH: u64 = 1 << 20;

/// Tells when a source went on for so long without a sample that it is time to pause.
pub(crate) struct Quiet {
    until: u64,
}

impl Quiet {
    pub(crate) fn new() -> Self {
        Self { until: STRETCH }
    }

    /// The step after a block that ends at a position of the source; `empty` tells that it holds no sample.
    pub(crate) fn step(&mut self, block: Block, pos: u64, empty: bool) -> Step {
        let pause = empty && pos >= self.until;
        if pause || !empty {
            self.until = pos.saturating_add(STRETCH);
        }
        if pause { Step::Pause } else { Step::Block(block) }
    }
}

/// What holds for the samples of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Samples per second. May change between blocks (chained streams).
    pub(crate) rate: u32,
}

/// A format's samples.
pub(crate) trait Frames: Send {
    fn info(&self) -> &Info;

    /// Appends the next samples to `out`, one channel made from all as `mix` says.
    fn next(&mut self, mix: Mix, out: &mut Vec<f32>, notes: &mut Notes) -> Result<Step>;
}

/// Whether a number is a sample: finite, and at most 1e12 times full scale. Larger ones come from broken files alone,
/// and the sums of the resampler's filter would become infinite with them.
pub fn is_sample(number: f32) -> bool {
    number.abs() <= 1e12
}

/// Makes one channel of many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mix(pub(crate) Channels);

impl Mix {
    /// Appends interleaved `frames` as one channel. What is no sample becomes 0 first: see [`is_sample`].
    pub(crate) fn add(self, frames: &[f32], channels: u16, out: &mut Vec<f32>, notes: &mut Notes) {
        let n = usize::from(channels.max(1));
        let mut wrong = 0u64;
        let mut clean = |s: f32| {
            wrong += u64::from(!is_sample(s));
            if is_sample(s) { s } else { 0.0 }
        };
        match self.0 {
            Channels::Mix if n == 1 => out.extend(frames.iter().map(|&s| clean(s))),
            Channels::Mix => out.extend(frames.chunks_exact(n).map(|frame| {
                // Through f64: a quiet channel counts beside a loud one.
                let sum: f64 = frame.iter().map(|&s| f64::from(clean(s))).sum();
                (sum / n as f64) as f32
            })),
            Channels::Only(i) => out.extend(frames.chunks_exact(n).map(|frame| {
                let kept = frame.get(usize::from(i)).copied().unwrap_or(0.0);
                clean(kept)
            })),
        }
        notes.not_finite(wrong);
    }

    /// Whether a source of so many channels has what is wanted.
    pub(crate) fn check(self, channels: u16) -> Result<()> {
        match self.0 {
            Channels::Only(i) if i >= channels => {
                Err(AudioError::limit(format!("channel {i} is wanted and the audio has {channels}, counted from 0")))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a rate and a channel count are accepted.
pub(crate) fn check_format(rate: u32, channels: u16) -> Result<()> {
    if !RATES.contains(&rate) {
        let (low, high) = (RATES.start(), RATES.end());
        return Err(AudioError::limit(format!("a rate of {rate} Hz is not accepted; {low} to {high} Hz are")));
    }
    if channels == 0 || channels > MAX_CHANNELS {
        return Err(AudioError::limit(format!("{channels} channels are not accepted; 1 to {MAX_CHANNELS} are")));
    }
    Ok(())
}
