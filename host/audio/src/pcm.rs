//! Uncompressed samples: how they are written, and what they are as `f32`.

use crate::damage::{DamageKind, Notes};
use crate::decoder::Info;
use crate::error::{AudioError, Result};
use crate::frames::{Block, Frames, Mix, Step};
use crate::input::Input;

/// How one sample is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    U8,
    S8,
    S16,
    S24,
    S32,
    F32,
    F64,
    Alaw,
    Mulaw,
}

/// Samples of one format, in one order of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) format: Format,
    pub(crate) big: bool,
}

impl Layout {
    pub(crate) fn little(format: Format) -> Self {
        Self { format, big: false }
    }

    pub(crate) fn big(format: Format) -> Self {
        Self { format, big: true }
    }

    /// Signed integers of `bytes` bytes.
    pub(crate) fn signed(bytes: u16, big: bool) -> Option<Self> {
        let format = match bytes {
            1 => Format::S8,
            2 => Format::S16,
            3 => Format::S24,
            4 => Format::S32,
            _ => return None,
        };
        Some(Self { format, big })
    }

    /// Bytes of one sample.
    pub(crate) fn bytes(self) -> usize {
        match self.format {
            Format::U8 | Format::S8 | Format::Alaw | Format::Mulaw => 1,
            Format::S16 => 2,
            Format::S24 => 3,
            Format::S32 | Format::F32 => 4,
            Format::F64 => 8,
        }
    }

    /// The codec's usual name.
    pub(crate) fn name(self) -> &'static str {
        match (self.format, self.big) {
            (Format::U8, _) => "pcm_u8",
            (Format::S8, _) => "pcm_s8",
            (Format::Alaw, _) => "pcm_alaw",
            (Format::Mulaw, _) => "pcm_mulaw",
            (Format::S16, false) => "pcm_s16le",
            (Format::S16, true) => "pcm_s16be",
            (Format::S24, false) => "pcm_s24le",
            (Format::S24, true) => "pcm_s24be",
            (Format::S32, false) => "pcm_s32le",
            (Format::S32, true) => "pcm_s32be",
            (Format::F32, false) => "pcm_f32le",
            (Format::F32, true) => "pcm_f32be",
            (Format::F64, false) => "pcm_f64le",
            (Format::F64, true) => "pcm_f64be",
        }
    }

    /// Appends the samples of `bytes`, a whole number of them.
    pub(crate) fn decode(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self.format {
            Format::U8 => out.extend(bytes.iter().map(|&b| (f32::from(b) - 128.0) / 128.0)),
            Format::S8 => out.extend(bytes.iter().map(|&b| f32::from(b.cast_signed()) / 128.0)),
            Format::Alaw => out.extend(bytes.iter().map(|&b| f32::from(alaw(b)) / 32768.0)),
            Format::Mulaw => out.extend(bytes.iter().map(|&b| f32::from(mulaw(b)) / 32768.0)),
            Format::S16 => self.each(bytes, out, |b| f32::from(i16::from_le_bytes(b)) / 32768.0),
            Format::S24 => self.each(bytes, out, |[a, b, c]| i32_to_f32(i32::from_le_bytes([0, a, b, c]))),
            Format::S32 => self.each(bytes, out, |b| i32_to_f32(i32::from_le_bytes(b))),
            Format::F32 => self.each(bytes, out, f32::from_le_bytes),
            Format::F64 => self.each(bytes, out, |b| f64::from_le_bytes(b) as f32),
        }
    }

    fn each<const N: usize>(self, bytes: &[u8], out: &mut Vec<f32>, sample: impl Fn([u8; N]) -> f32) {
        out.extend(bytes.as_chunks::<N>().0.iter().map(|&(mut chunk)| {
            if self.big {
                chunk.reverse();
            }
            sample(chunk)
        }));
    }
}

fn i32_to_f32(value: i32) -> f32 {
    (f64::from(value) / 2_147_483_648.0) as f32
}

/// ITU-T G.711 A-law.
fn alaw(code: u8) -> i16 {
    let code = code ^ 0x55;
    let exponent = (code >> 4) & 7;
    let mantissa = i16::from(code & 15) << 4;
    let magnitude = match exponent {
        0 => mantissa + 8,
        _ => (mantissa + 0x108) << (exponent - 1),
    };
    if code & 0x80 == 0 { -magnitude } else { magnitude }
}

/// ITU-T G.711 µ-law.
fn mulaw(code: u8) -> i16 {
    let code = !code;
    let magnitude = (((i16::from(code & 15) << 3) + 0x84) << ((code >> 4) & 7)) - 0x84;
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

/// How many bytes of samples a container holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// So many bytes, says the header.
    Bytes(u64),
    /// As many as come: the header was written before the end was known.
    ToEnd,
}

/// The samples of a container that holds them as they are.
pub(crate) struct PcmFrames {
    input: Input,
    info: Info,
    layout: Layout,
    left: Extent,
    bytes: Vec<f32>,
}

impl PcmFrames {
    pub(crate) fn new(input: Input, info: Info, layout: Layout, extent: Extent) -> Self {
        Self { input, info, layout, left: extent, bytes: Vec::new() }
    }

    fn frame_bytes(&self) -> usize {
        self.layout.bytes() * usize::from(self.info.channels)
    }

    fn ended(&self, partial: usize, notes: &mut Notes) {
        let missing = match self.left {
            Extent::Bytes(left) => left / self.frame_bytes() as u64,
            Extent::ToEnd => 0,
        };
        if missing > 0 {
            let message = "the file ends before its header says that it should";
            notes.add(DamageKind::Truncated, Some((missing, self.info.rate)), message);
        } else if partial > 0 {
            notes.add(DamageKind::Truncated, Some((1, self.info.rate)), "the file ends inside of a frame");
        }
    }
}

impl Frames for PcmFrames {
    fn info(&self) -> &Info {
        &self.info
    }

    fn next(&mut self, mix: Mix, out: &mut Vec<f32>, notes: &mut Notes) -> Result<Step> {
        let frame = self.frame_bytes();
        let per_block = (32 << 10) / frame.max(1) + 1;
        let mut ask = per_block * frame;
        if let Extent::Bytes(left) = self.left {
            ask = ask.min(usize::try_from(left - left % frame as u64).unwrap_or(ask));
        }
        if ask == 0 {
            return Ok(Step::End);
        }
        let bytes = self.input.peek(ask).map_err(|e| AudioError::io("reading the audio", e))?;
        let whole = bytes.len() - bytes.len() % frame;
        let partial = bytes.len() - whole;
        self.bytes.clear();
        self.layout.decode(&bytes[..whole], &mut self.bytes);
        self.input.consume(whole);
        if let Extent::Bytes(left) = &mut self.left {
            *left -= whole as u64;
        }
        if whole == 0 {
            self.ended(partial, notes);
            return Ok(Step::End);
        }
        mix.add(&self.bytes, self.info.channels, out, notes);
        Ok(Step::Block(Block { rate: self.info.rate }))
    }
}
