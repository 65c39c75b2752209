//! A source as a stream of samples: opens the right format, converts, keeps the clock and the list of losses.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::convert::Wanted;
use crate::damage::{Damage, DamageKind, Notes, span};
use crate::error::{AudioError, AudioErrorKind, Result};
use crate::frames::{Frames, Mix, Step, check_format};
use crate::input::Input;
use crate::resample::Resampler;
use crate::sniff;
use crate::source::Source;

/// Silence that may stand for lost audio, beyond as much as there is real audio. A crafted file must not be able to
/// ask for days of it.
const SILENCE: Duration = Duration::from_secs(60);

/// What a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The container: `wav`, `aiff`, `snd`, `flac`, `mp3`, `ogg`, `webm`, `mp4`, `adts`.
    pub container: &'static str,
    /// The codec, e.g. `pcm_s16le`, `flac`, `mp3`, `vorbis`, `opus`, `aac`.
    pub codec: &'static str,
    /// Samples per second of the source, before conversion.
    pub rate: u32,
    /// Channels of the source, before conversion.
    pub channels: u16,
    /// How long the source says that it is. `None` where it does not say (pipes, browser recordings).
    pub duration: Option<Duration>,
}

/// A source as a stream of samples: one channel of `f32` at the wanted rate.
///
/// ```
/// use std::sync::Arc;
/// use tenon_audio::{Decoder, Source, Wanted};
///
/// // A wave file of four 16-bit samples at 16 kHz.
/// let mut wav = b"RIFF\x2c\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\x08\0\0\0".to_vec();
/// wav.extend([0, 0, 0, 64, 0, 128, 0, 0]);
///
/// let mut decoder = Decoder::open(Source::Bytes(Arc::from(wav)), Wanted::mono(16_000))?;
/// assert_eq!(decoder.info().codec, "pcm_s16le");
/// let mut samples = Vec::new();
/// while decoder.read(&mut samples)? {}
/// assert_eq!(samples, [0.0, 0.5, -1.0, 0.0]);
/// assert!(decoder.damage().is_empty());
/// # Ok::<(), tenon_audio::AudioError>(())
/// ```
pub struct Decoder {
    frames: Box<dyn Frames>,
    want: Wanted,
    resampler: Resampler,
    rate: u32,
    /// When the samples at the present rate began, and how many there were.
    began: Duration,
    count: u64,
    /// Samples at the source's rate that are still to be converted.
    waiting: Vec<f32>,
    at: usize,
    silence: u64,
    filled: Duration,
    ended: bool,
    notes: Notes,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("info", self.info()).field("want", &self.want).finish_non_exhaustive()
    }
}

impl Decoder {
    /// Finds out what the source is and makes ready to decode it. Reads its head only, but for mp4 from a pipe, which
    /// is copied to a temporary file first.
    ///
    /// # Errors
    /// Every kind of [`AudioErrorKind`].
    pub fn open(source: Source, want: Wanted) -> Result<Self> {
        check_format(want.rate, 1)?;
        let input = Input::open(source)?;
        let mut notes = Notes::default();
        let frames = guard(|| sniff::open(input, &mut notes))?;
        let info = frames.info();
        Mix(want.channels).check(info.channels)?;
        Ok(Self {
            rate: info.rate,
            resampler: Resampler::new(info.rate, want.rate)?,
            frames,
            want,
            began: Duration::ZERO,
            count: 0,
            waiting: Vec::new(),
            at: 0,
            silence: 0,
            filled: Duration::ZERO,
            ended: false,
            notes,
        })
    }

    /// What the source is.
    pub fn info(&self) -> &Info {
        self.frames.info()
    }

    /// Appends the next block (about a second at most) to `out`. `false`: the end was reached and nothing was appended.
    /// `true` with nothing appended: a long stretch of the source held no audio, and the caller may stop here or go on.
    ///
    /// # Errors
    /// `Io` when reading goes wrong, `Empty` at the end of a source that had no sample, `Malformed` when none could be
    /// decoded, `Limit` when a chained stream lacks the wanted channel. What goes wrong after the first samples is told
    /// by [`Decoder::damage`] instead, but for `Io` and `Limit`.
    pub fn read(&mut self, out: &mut Vec<f32>) -> Result<bool> {
        let before = out.len();
        while out.len() == before && !self.ended {
            if self.silence > 0 || self.at < self.waiting.len() {
                self.convert(out);
            } else if !self.step(out)? {
                return Ok(true);
            }
        }
        Ok(out.len() > before)
    }

    /// Reads all that is left.
    ///
    /// # Errors
    /// As [`Decoder::read`].
    pub fn read_to_end(&mut self) -> Result<Vec<f32>> {
        let mut out = Vec::new();
        while self.read(&mut out)? {}
        Ok(out)
    }

    /// What was lost so far, in order of time. Complete once [`Decoder::read`] gave `false`.
    pub fn damage(&self) -> &[Damage] {
        self.notes.list()
    }

    /// Converts up to a second of what waits.
    fn convert(&mut self, out: &mut Vec<f32>) {
        let second = self.rate as usize;
        if self.silence > 0 {
            let n = second.min(usize::try_from(self.silence).unwrap_or(second));
            self.resampler.push(&vec![0.0; n], out);
            self.silence -= n as u64;
            return;
        }
        let n = second.min(self.waiting.len() - self.at);
        self.resampler.push(&self.waiting[self.at..self.at + n], out);
        self.at += n;
    }

    /// Asks the format for its next block. `false`: it pauses.
    fn step(&mut self, out: &mut Vec<f32>) -> Result<bool> {
        self.waiting.clear();
        self.at = 0;
        let (frames, waiting, notes) = (&mut self.frames, &mut self.waiting, &mut self.notes);
        let mix = Mix(self.want.channels);
        match guard(|| frames.next(mix, waiting, notes)) {
            Ok(Step::Block(block)) => {
                self.change_rate(block.rate, out)?;
                self.advance(self.waiting.len() as u64);
            }
            Ok(Step::Silence(block, lost)) => {
                self.change_rate(block.rate, out)?;
                self.fill(lost);
            }
            Ok(Step::Pause) => return Ok(false),
            Ok(Step::End) => self.end(out)?,
            Err(e) if matches!(e.kind(), AudioErrorKind::Io | AudioErrorKind::Limit) || self.nothing() => {
                self.ended = true;
                return Err(e);
            }
            Err(e) => {
                self.waiting.clear();
                self.notes.add(DamageKind::Truncated, None, format!("nothing after this could be decoded: {e}"));
                self.end(out)?;
            }
        }
        Ok(true)
    }

    fn nothing(&self) -> bool {
        self.count == 0 && self.began.is_zero()
    }

    fn advance(&mut self, frames: u64) {
        self.count += frames;
        self.notes.now = self.began.saturating_add(span(self.count, self.rate));
    }

    fn fill(&mut self, lost: u64) {
        let time = span(lost, self.rate);
        if self.filled.saturating_add(time) <= self.notes.now.saturating_add(SILENCE) {
            self.filled += time;
            self.silence = lost;
            self.advance(lost);
        } else {
            self.notes.add(DamageKind::Gap, None, "a gap too long to be true was closed up");
        }
    }

    fn change_rate(&mut self, rate: u32, out: &mut Vec<f32>) -> Result<()> {
        if rate == self.rate {
            return Ok(());
        }
        check_format(rate, 1)?;
        self.resampler.finish(out);
        self.resampler = Resampler::new(rate, self.want.rate)?;
        self.began = self.notes.now;
        (self.rate, self.count) = (rate, 0);
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<f32>) -> Result<()> {
        self.ended = true;
        if !self.nothing() {
            self.resampler.finish(out);
            return Ok(());
        }
        let what = self.frames.info();
        Err(match self.notes.list().first() {
            Some(damage) => AudioError::malformed(format!(
                "no sample of the {} audio could be decoded: {}",
                what.codec, damage.message
            )),
            None => AudioError::empty(format!("the {} file holds no sample", what.container)),
        })
    }
}

/// Runs code that reads hostile bytes. A panic in a decoder becomes `Malformed`: the decoders are safe code, so what a
/// panic leaves behind is at worst wrong, never dangling, and it is not used again.
fn guard<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        Err(AudioError::malformed(format!("the decoder gave up on these bytes ({said})")))
    })
}
