//! Leaving silence out, and putting times back to where they were.
//!
//! The stretches of speech are joined as whisper-cli joins them with `--vad`: each but the last goes on for the overlap,
//! then 100 ms of silence follow. Times are mapped back by the same table of points; whisper-cli maps segments alone,
//! here the same table serves words and tokens.

use crate::decoding::RATE;
use crate::samples::Samples;
use std::io;

/// Silence between two stretches, samples.
const PAUSE: usize = RATE / 10;
/// Stretches longer than this get points between their ends, hundredths of a second.
const LONG: i64 = 100;
/// Distance of those points.
const POINT: i64 = 20;
/// Shortest segment, hundredths of a second.
const SHORTEST: i64 = 10;

/// Speech without the silence around it.
#[derive(Debug, Default, PartialEq)]
pub struct Speech {
    /// What is left, joined.
    pub samples: Samples,
    /// From times in `samples` to times in the audio.
    pub times: TimeMap,
    /// Samples of the audio that are not in `samples`.
    pub skipped: usize,
}

/// Points that give, for a time in the joined speech, the time in the audio; hundredths of a second, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimeMap(Vec<(i64, i64)>);

impl TimeMap {
    /// The time in the audio, between points on a straight line; without points, the same time.
    pub fn original(&self, time: i64) -> i64 {
        let (Some(first), Some(last)) = (self.0.first(), self.0.last()) else {
            return time;
        };
        if time <= first.0 {
            return first.1;
        }
        if time >= last.0 {
            return last.1;
        }
        let upper = self.0.partition_point(|point| point.0 < time);
        let (before, after) = (self.0[upper - 1], self.0[upper]);
        if after.0 == time {
            return after.1;
        }
        before.1 + (time - before.0) * (after.1 - before.1) / (after.0 - before.0)
    }

    /// Start and end of a segment in the audio.
    pub fn segment(&self, start: i64, end: i64) -> (i64, i64) {
        if self.0.is_empty() {
            return (start, end);
        }
        let start = self.original(start);
        (start, self.original(end).max(start + SHORTEST))
    }
}

/// Joins the stretches `speech` (start and end in hundredths of a second) of `samples`.
///
/// # Errors
/// The system has no memory for them.
pub fn join(samples: &[f32], speech: &[(i64, i64)], overlap_s: f32) -> io::Result<Speech> {
    let overlap = (overlap_s * RATE as f32) as usize;
    let mut joined = Speech::default();
    let mut kept = 0;
    let mut kept_up_to = 0;
    for (index, (start, end)) in speech.iter().enumerate() {
        let next = speech.get(index + 1);
        let last = samples.len().saturating_sub(1);
        let from = to_samples(*start).min(last);
        let to = (to_samples(*end) + if next.is_some() { overlap } else { 0 }).min(last);
        if to <= from {
            continue;
        }
        kept += to - from.max(kept_up_to).min(to);
        kept_up_to = kept_up_to.max(to);
        let begin = to_hundredths(joined.samples.len());
        joined.samples.extend(&samples[from..to])?;
        joined.times.add_stretch((begin, to_hundredths(joined.samples.len())), (*start, *end));
        if let Some((next_start, _)) = next {
            joined.times.0.push((to_hundredths(joined.samples.len()), *end));
            joined.samples.pad(joined.samples.len() + PAUSE)?;
            joined.times.0.push((to_hundredths(joined.samples.len()), *next_start));
        }
    }
    // Of points at one time the first stays, as it was added.
    joined.times.0.sort_by_key(|point| point.0);
    joined.times.0.dedup_by_key(|point| point.0);
    joined.skipped = samples.len() - kept;
    Ok(joined)
}

impl TimeMap {
    fn add_stretch(&mut self, (begin, end): (i64, i64), (start, stop): (i64, i64)) {
        self.0.push((begin, start));
        self.0.push((end, stop));
        let length = end - begin;
        if length > LONG {
            let between = (1..length / POINT).map(|index| index * POINT);
            self.0.extend(between.map(|at| (begin + at, start + at * (stop - start) / length)));
        }
    }
}

fn to_samples(hundredths: i64) -> usize {
    usize::try_from(hundredths).unwrap_or(0) * (RATE / 100)
}

fn to_hundredths(samples: usize) -> i64 {
    (samples as f64 / RATE as f64 * 100.0 + 0.5) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(seconds: usize) -> Vec<f32> {
        (0..seconds * RATE).map(|index| index as f32).collect()
    }

    #[test]
    fn stretches_are_joined_with_overlap_and_a_pause() {
        let speech = join(&ramp(10), &[(100, 200), (500, 550)], 0.1).unwrap();
        // 1.1 s, 0.1 s of pause, 0.5 s.
        assert_eq!(speech.samples.len(), RATE * 17 / 10);
        assert_eq!(speech.samples[0], RATE as f32);
        assert_eq!(speech.samples[RATE * 115 / 100], 0.0);
        assert_eq!(speech.samples[RATE * 12 / 10], 5.0 * RATE as f32);
        assert_eq!(speech.skipped, RATE * 10 - RATE * 16 / 10);
    }

    #[test]
    fn times_go_back_to_where_they_were() {
        let times = join(&ramp(10), &[(100, 200), (500, 550)], 0.1).unwrap().times;
        assert_eq!(times.original(0), 100);
        assert_eq!(times.original(110), 200);
        assert_eq!(times.original(120), 500);
        assert_eq!(times.original(145), 525);
        assert_eq!(times.original(10_000), 550);
        assert!((times.original(55) - 150).abs() <= 1);
        assert_eq!(times.segment(120, 121), (500, 510));
    }

    #[test]
    fn without_speech_nothing_is_left() {
        let speech = join(&ramp(3), &[], 0.1).unwrap();
        assert!(speech.samples.is_empty());
        assert_eq!(speech.skipped, 3 * RATE);
        assert_eq!(speech.times.original(7), 7);
        assert_eq!(speech.times.segment(7, 8), (7, 8));
    }

    #[test]
    fn stretches_past_the_end_are_clipped() {
        let speech = join(&ramp(1), &[(50, 400), (500, 600)], 0.1).unwrap();
        assert!(speech.samples.len() < RATE && !speech.samples.is_empty());
    }
}
