//! Audio in windows that fit into memory: pieces come in, windows of bounded length go out.
//!
//! Audio that is no longer than the limit is one window. Longer audio is cut in the middle of the quietest 200 ms of the
//! last third (or the last 30 seconds, if that is less) of what fits, so every sample is in exactly one window.

use crate::decoding::RATE;
use crate::samples::Samples;
use std::time::Duration;
use tenon_plugin::{AudioInput, Call, Error, Input, Next, Result};

/// How long to wait for live audio before asking whether the call was cancelled.
const PATIENCE: Duration = Duration::from_millis(20);
/// Length of the stretch that has to be quiet, and the steps in which it is looked for.
const QUIET: usize = RATE / 5;
const STEP: usize = RATE / 100;
/// Longest part of a window in which a quiet place is looked for.
const SEARCH: usize = 30 * RATE;

/// A piece of the audio.
#[derive(Debug, PartialEq)]
pub struct Window {
    /// Mono samples at 16 kHz.
    pub samples: Samples,
    /// Index of the first one in the whole audio.
    pub start: u64,
}

/// Cuts the audio of a call into windows.
pub struct Windows<'a> {
    source: Source<'a>,
    limit: usize,
    buffer: Samples,
    start: u64,
    has_ended: bool,
    /// Samples of the whole audio, once that is known.
    total: Option<u64>,
}

enum Source<'a> {
    Given(&'a [f32]),
    Coming(AudioInput<'a>),
}

impl<'a> Windows<'a> {
    /// Windows of at most `limit` samples.
    pub fn new(input: Input<'a>, limit: usize) -> Self {
        match input.samples() {
            Some(samples) => Self::over(Source::Given(samples), limit, Some(samples.len() as u64)),
            None => Self::over(Source::Coming(input.into_audio()), limit, None),
        }
    }

    fn over(source: Source<'a>, limit: usize, total: Option<u64>) -> Self {
        Self { source, limit, buffer: Samples::default(), start: 0, has_ended: false, total }
    }

    /// The next window; none at the end.
    ///
    /// # Errors
    /// The call was cancelled, or the audio cannot be read.
    pub fn next(&mut self, call: &Call) -> Result<Option<Window>> {
        while !self.has_ended && self.buffer.len() <= self.limit {
            self.fill(call)?;
        }
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let length = if self.buffer.len() > self.limit { cut(&self.buffer[..self.limit]) } else { self.buffer.len() };
        let rest = self.buffer.split_off(length)?;
        let window = Window { samples: std::mem::replace(&mut self.buffer, rest), start: self.start };
        self.start += length as u64;
        Ok(Some(window))
    }

    /// As many samples from the beginning as fit into a window, wherever it is quiet; none if there are none at all.
    ///
    /// # Errors
    /// The call was cancelled, or the audio cannot be read.
    pub fn beginning(mut self, call: &Call) -> Result<Option<Samples>> {
        while !self.has_ended && self.buffer.len() < self.limit {
            self.fill(call)?;
        }
        self.buffer.truncate(self.limit);
        Ok(Some(self.buffer).filter(|samples| !samples.is_empty()))
    }

    /// Samples that have gone out.
    pub fn consumed(&self) -> u64 {
        self.start
    }

    /// Samples of the whole audio, if that is known already.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    fn fill(&mut self, call: &Call) -> Result<()> {
        match &mut self.source {
            Source::Given(samples) => {
                let (now, later) = samples.split_at(samples.len().min(self.limit + 1 - self.buffer.len()));
                self.buffer.extend(now)?;
                *samples = later;
                self.has_ended = later.is_empty();
            }
            Source::Coming(audio) => match audio.next_within(PATIENCE)? {
                Next::Audio(piece) if piece.rate as usize != RATE => {
                    return Err(Error::audio(format!("whisper wants audio at {RATE} Hz, not {} Hz", piece.rate)));
                }
                Next::Audio(piece) => self.buffer.extend(piece.samples)?,
                Next::Nothing => call.check()?,
                Next::End => {
                    self.has_ended = true;
                    self.total = Some(self.start + self.buffer.len() as u64);
                }
            },
        }
        Ok(())
    }
}

/// Where to cut samples that go on: how many of them make the window.
fn cut(samples: &[f32]) -> usize {
    let from = samples.len() - (samples.len() / 3).min(SEARCH);
    let mut quietest = (f64::INFINITY, samples.len());
    for start in (from..(samples.len() + 1).saturating_sub(QUIET)).step_by(STEP) {
        let stretch = &samples[start..start + QUIET];
        let energy: f64 = stretch.iter().map(|sample| f64::from(sample * sample)).sum();
        // Of equally quiet places the last one makes the fewest windows.
        if energy <= quietest.0 {
            quietest = (energy, start + QUIET / 2);
        }
    }
    quietest.1.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cut_is_in_the_middle_of_the_quietest_place() {
        let mut samples: Vec<f32> = (0..10 * RATE).map(|index| if index % 2 == 0 { 0.5 } else { -0.5 }).collect();
        samples[8 * RATE..8 * RATE + QUIET].fill(0.001);
        assert!(cut(&samples).abs_diff(8 * RATE + QUIET / 2) <= STEP);
    }

    #[test]
    fn a_quiet_place_long_before_the_limit_is_not_taken() {
        let mut samples = vec![0.5; 90 * RATE];
        samples[10 * RATE..20 * RATE].fill(0.0);
        assert!(cut(&samples) >= 60 * RATE);
    }

    #[test]
    fn audio_of_one_loudness_is_cut_as_late_as_can_be() {
        let samples = vec![0.0; 9 * RATE];
        assert_eq!(cut(&samples), 9 * RATE - QUIET / 2);
    }

    #[test]
    fn samples_that_are_too_few_to_search_are_one_window() {
        assert_eq!(cut(&[0.1; 100]), 100);
    }
}
