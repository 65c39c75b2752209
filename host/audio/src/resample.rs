//! One channel from one rate to another, in step with the clock.
//!
//! The delay of the filter is taken out again and the length is exact: `round(frames * wanted / rate)`. Equal rates
//! pass through unchanged, bit by bit.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

use crate::error::{AudioError, Result};

/// The least length of the filter, in samples at the lower rate. Longer keeps more of the highest frequencies.
const FILTER: u64 = 1024;

/// A resampler for samples that arrive in pieces.
pub(crate) struct Resampler {
    from: u64,
    to: u64,
    fed: u64,
    given: u64,
    fft: Option<Stage>,
}

struct Stage {
    fft: Fft<f32>,
    waiting: Vec<f32>,
    block: Vec<f32>,
    /// Samples of the filter's own delay that are still to be dropped.
    delay: usize,
}

impl Resampler {
    pub(crate) fn new(from: u32, to: u32) -> Result<Self> {
        let fft = match from == to {
            true => None,
            false => Some(Stage::new(from, to)?),
        };
        Ok(Self { from: from.into(), to: to.into(), fed: 0, given: 0, fft })
    }

    /// Takes samples, appends what is ready.
    pub(crate) fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.fed += samples.len() as u64;
        let before = out.len();
        match &mut self.fft {
            None => out.extend_from_slice(samples),
            Some(stage) => stage.push(samples, out),
        }
        self.given += (out.len() - before) as u64;
    }

    /// Appends the rest, so that all together have the exact length.
    pub(crate) fn finish(&mut self, out: &mut Vec<f32>) {
        let (fed, from, to) = (u128::from(self.fed), u128::from(self.from), u128::from(self.to));
        let due = ((2 * fed * to + from) / (2 * from)) as u64;
        let Some(stage) = &mut self.fft else { return };
        let zeros = vec![0.0; stage.fft.input_frames_next()];
        while self.given < due {
            let before = out.len();
            stage.push(&zeros, out);
            self.given += (out.len() - before) as u64;
        }
        out.truncate(out.len() - (self.given - due) as usize);
        self.given = due;
    }
}

impl Stage {
    fn new(from: u32, to: u32) -> Result<Self> {
        let (f, t) = (u64::from(from), u64::from(to));
        // The filter's delay is half a block: an even number of smallest blocks makes it a whole number of samples.
        let smallest = f / gcd(f, t);
        let wanted = FILTER.max((FILTER * f).div_ceil(t));
        let chunk = (smallest * wanted.div_ceil(smallest).next_multiple_of(2)) as usize;
        let window = WindowFunction::BlackmanHarris2;
        let fft = Fft::new_custom(from as usize, to as usize, chunk, 1, 1, window, FixedSync::Both)
            .map_err(|e| AudioError::limit(format!("from {from} Hz to {to} Hz: {e}")))?;
        let (delay, block) = (fft.output_delay(), vec![0.0; fft.output_frames_max()]);
        Ok(Self { fft, waiting: Vec::new(), block, delay })
    }

    fn push(&mut self, mut samples: &[f32], out: &mut Vec<f32>) {
        loop {
            let need = self.fft.input_frames_next();
            let take = samples.len().min(need - self.waiting.len());
            let (now, later) = samples.split_at(take);
            self.waiting.extend_from_slice(now);
            samples = later;
            if self.waiting.len() < need {
                return;
            }
            self.block(need, out);
            self.waiting.clear();
        }
    }

    fn block(&mut self, need: usize, out: &mut Vec<f32>) {
        let room = self.block.len();
        let input = InterleavedSlice::new(&self.waiting, 1, need).expect("one channel of the length asked for");
        let mut output = InterleavedSlice::new_mut(&mut self.block, 1, room).expect("one channel, all of the buffer");
        let (_, made) =
            self.fft.process_into_buffer(&input, &mut output, None).expect("buffers of the lengths asked for");
        let dropped = self.delay.min(made);
        self.delay -= dropped;
        out.extend_from_slice(&self.block[dropped..made]);
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
