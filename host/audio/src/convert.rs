//! From interleaved samples at any rate to one channel at the wanted rate, for samples that are already in memory or
//! arrive live. Files go through [`crate::Decoder`].

use crate::damage::Notes;
use crate::error::Result;
use crate::frames::{Mix, check_format};
use crate::resample::Resampler;

/// Which channels of a source are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channels {
    /// The average of all channels.
    #[default]
    Mix,
    /// One channel alone, counted from 0.
    Only(u16),
}

/// What a decoder or a converter gives out: one channel of `f32` samples, nominally from -1 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Samples per second, 1,000 to 768,000.
    pub rate: u32,
    /// Which channels of the source.
    pub channels: Channels,
}

impl Wanted {
    /// The average of all channels at `rate` samples per second.
    pub fn mono(rate: u32) -> Self {
        Self { rate, channels: Channels::Mix }
    }

    /// One channel alone, counted from 0, at `rate` samples per second.
    pub fn only(channel: u16, rate: u32) -> Self {
        Self { rate, channels: Channels::Only(channel) }
    }
}

/// Samples that arrive in pieces (live input), converted as they come.
///
/// Holds back about 64 ms while it resamples, and nothing when the rates are equal.
///
/// ```
/// use tenon_audio::{Converter, Wanted};
///
/// let mut converter = Converter::new(48_000, 2, Wanted::mono(16_000))?;
/// let mut out = Vec::new();
/// for piece in vec![0.0; 96_000].chunks(1_000) {
///     converter.push(piece, &mut out);
/// }
/// converter.finish(&mut out);
/// assert_eq!(out.len(), 16_000);
/// # Ok::<(), tenon_audio::AudioError>(())
/// ```
pub struct Converter {
    channels: u16,
    mix: Mix,
    resampler: Resampler,
    /// The beginning of a frame whose other channels have not come yet.
    cut: Vec<f32>,
    mono: Vec<f32>,
    notes: Notes,
}

impl std::fmt::Debug for Converter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Converter").field("channels", &self.channels).field("mix", &self.mix).finish_non_exhaustive()
    }
}

impl Converter {
    /// A converter from interleaved samples at `rate` with `channels` channels.
    ///
    /// # Errors
    /// `Limit` for a rate or channel count that is not accepted, or a wanted channel that is not there.
    pub fn new(rate: u32, channels: u16, want: Wanted) -> Result<Self> {
        check_format(rate, channels)?;
        check_format(want.rate, 1)?;
        let mix = Mix(want.channels);
        mix.check(channels)?;
        let resampler = Resampler::new(rate, want.rate)?;
        Ok(Self { channels, mix, resampler, cut: Vec::new(), mono: Vec::new(), notes: Notes::default() })
    }

    /// Takes interleaved samples, appends what is ready to `out`. A frame may be cut between two calls.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        let channels = usize::from(self.channels);
        let missing = (channels - self.cut.len()) % channels;
        let (head, rest) = samples.split_at(missing.min(samples.len()));
        self.cut.extend_from_slice(head);
        self.mono.clear();
        if self.cut.len() == channels {
            self.mix.add(&self.cut, self.channels, &mut self.mono, &mut self.notes);
            self.cut.clear();
        }
        let (whole, tail) = rest.split_at(rest.len() - rest.len() % channels);
        self.mix.add(whole, self.channels, &mut self.mono, &mut self.notes);
        self.cut.extend_from_slice(tail);
        self.resampler.push(&self.mono, out);
    }

    /// As [`Converter::push`], for 16-bit samples: each is divided by 32768.
    pub fn push_i16(&mut self, samples: &[i16], out: &mut Vec<f32>) {
        let mut floats = [0.0; 1024];
        for part in samples.chunks(floats.len()) {
            for (float, &sample) in floats.iter_mut().zip(part) {
                *float = f32::from(sample) / 32768.0;
            }
            self.push(&floats[..part.len()], out);
        }
    }

    /// Appends what is left. All together `out` then got `round(frames * wanted / rate)` samples. A frame that lacks
    /// channels is dropped.
    pub fn finish(mut self, out: &mut Vec<f32>) {
        self.resampler.finish(out);
    }

    /// How many samples were NaN, infinite or beyond 1e12 and became 0: see [`crate::is_sample`].
    pub fn not_finite(&self) -> u64 {
        self.notes.not_finite
    }
}

/// Converts a whole buffer of interleaved samples.
///
/// # Errors
/// As [`Converter::new`].
pub fn convert(samples: &[f32], rate: u32, channels: u16, want: Wanted) -> Result<Vec<f32>> {
    let mut converter = Converter::new(rate, channels, want)?;
    let mut out = Vec::new();
    converter.push(samples, &mut out);
    converter.finish(&mut out);
    Ok(out)
}
