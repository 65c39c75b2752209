//! Audio of any kind by its content: whatever it is, the samples are numbers and memory does not grow with the length.

use crate::bytes::Bytes;
use crate::memory::measured;
use crate::panics;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use tenon_audio::{Channels, Decoder, Source, Wanted};

/// Rates that are asked for.
const RATES: [u32; 4] = [16_000, 8_000, 22_050, 48_000];
/// Samples after which it is enough: a small input may be hours of silence.
const ENOUGH: usize = 1 << 21;
/// Most that a decoder may hold at once, beside four times the input.
const MOST: usize = 24 << 20;

/// How an input wants to be decoded.
#[derive(Clone, Copy)]
struct How {
    want: Wanted,
    /// Bytes that the source gives at once; 0: it is a buffer.
    piece: usize,
}

/// What came out.
struct Decoded {
    samples: Vec<f32>,
    complete: bool,
    error: Option<String>,
}

/// The first byte says how: two bits of the rate, two of the channel, three of the size of a pipe's pieces.
pub fn audio(input: &[u8]) {
    let mut bytes = Bytes(input);
    let knobs = bytes.u8();
    let channels = match knobs >> 2 & 3 {
        0 | 1 => Channels::Mix,
        channel => Channels::Only(u16::from(channel) - 2),
    };
    let want = Wanted { rate: RATES[usize::from(knobs & 3)], channels };
    let piece = [0, 0, 0, 1, 7, 64, 4096, 1 << 16][usize::from(knobs >> 4 & 7)];
    let how = How { want, piece };
    let decoded = panics::only_of_others(|| decoded(bytes.0, how));
    if piece != 0 && decoded.complete {
        let buffer = panics::only_of_others(|| self::decoded(bytes.0, How { want, piece: 0 }));
        if buffer.complete {
            assert!(decoded.samples == buffer.samples, "a pipe and a buffer of the same bytes give other samples");
        }
    }
}

fn decoded(file: &[u8], how: How) -> Decoded {
    let mut out = Decoded { samples: Vec::new(), complete: false, error: None };
    let source = match how.piece {
        0 => Source::Bytes(Arc::from(file)),
        piece => Source::Reader(Box::new(Pipe { bytes: file.to_vec(), at: 0, piece })),
    };
    let mut samples = Vec::with_capacity(ENOUGH + (1 << 20));
    let (outcome, taken) = measured(|| decode(source, how.want, &mut samples));
    assert!(taken.most <= 4 * file.len() + MOST, "{} bytes held for an input of {}", taken.most, file.len());
    assert!(samples.iter().all(|sample| sample.is_finite()), "a sample is no number");
    out.samples = samples;
    match outcome {
        Ok(complete) => out.complete = complete,
        Err(error) => out.error = Some(error),
    }
    out
}

/// Whether the end was reached.
fn decode(source: Source, want: Wanted, samples: &mut Vec<f32>) -> Result<bool, String> {
    let mut decoder = Decoder::open(source, want).map_err(|error| error.to_string())?;
    let info = decoder.info().clone();
    assert!((1_000..=768_000).contains(&info.rate) && (1..=64).contains(&info.channels), "{info:?}");
    assert!(!info.container.is_empty() && !info.codec.is_empty(), "{info:?}");
    let mut before = 0;
    while samples.len() < ENOUGH && decoder.read(samples).map_err(|error| error.to_string())? {
        let block = samples.len() - before;
        assert!(block <= 2 * want.rate as usize + 4096, "a block of {block} samples");
        before = samples.len();
    }
    let complete = samples.len() < ENOUGH;
    damage_holds(&decoder);
    assert!(!complete || !decoder.read(samples).map_err(|error| error.to_string())?, "samples after the end");
    Ok(complete)
}

/// Losses come in the order of time, each with a reason, and not without end.
fn damage_holds(decoder: &Decoder) {
    let damage = decoder.damage();
    assert!(damage.len() <= 1000, "{} losses", damage.len());
    assert!(damage.is_sorted_by_key(|loss| loss.at), "{damage:?}");
    for loss in damage {
        assert!(!loss.message.is_empty() && loss.at < Duration::from_secs(u64::from(u32::MAX)), "{loss:?}");
    }
}

/// Bytes that can only be read forwards, a few at a time.
struct Pipe {
    bytes: Vec<u8>,
    at: usize,
    piece: usize,
}

impl Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = out.len().min(self.piece).min(self.bytes.len() - self.at);
        out[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
