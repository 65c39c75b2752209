//! AIFF, AIFF-C and Sun/NeXT `.snd` files.

use crate::damage::span;
use crate::decoder::Info;
use crate::error::{AudioError, Result};
use crate::frames::{Frames, check_format};
use crate::input::Input;
use crate::pcm::{Extent, Format, Layout, PcmFrames};

const MAX_CHUNKS: usize = 10_000;

/// The `COMM` chunk.
struct Common {
    channels: u16,
    frames: u32,
    rate: u32,
    layout: Layout,
}

/// Opens an AIFF or AIFF-C file; the head has been recognised.
pub(crate) fn open_aiff(mut input: Input) -> Result<Box<dyn Frames>> {
    let io = |e| AudioError::io("reading the audio", e);
    let cut = || AudioError::malformed("the AIFF file ends before its samples begin");
    let head = input.array::<12>().map_err(io)?.ok_or_else(cut)?;
    let compressed = head.ends_with(b"AIFC");
    let mut common = None;
    for _ in 0..MAX_CHUNKS {
        let [a, b, c, d, len @ ..] = input.array::<8>().map_err(io)?.ok_or_else(cut)?;
        let len = u64::from(u32::from_be_bytes(len));
        let padded = len + (len & 1);
        match &[a, b, c, d] {
            b"COMM" => {
                let body = input.take(padded.min(256) as usize).map_err(io)?;
                common = Some(parse_common(&body, compressed)?);
                input.skip(padded.saturating_sub(256)).map_err(io)?;
            }
            b"SSND" => {
                let common = common.ok_or_else(|| {
                    AudioError::unsupported("the AIFF file describes its samples only after them; convert it to wav")
                })?;
                let [o0, o1, o2, o3, ..] = input.array::<8>().map_err(io)?.ok_or_else(cut)?;
                let offset = u64::from(u32::from_be_bytes([o0, o1, o2, o3]));
                input.skip(offset).map_err(io)?;
                return Ok(frames(input, common, len.saturating_sub(8).saturating_sub(offset)));
            }
            _ => {
                input.skip(padded).map_err(io)?;
            }
        }
    }
    Err(AudioError::malformed(format!("the AIFF file has more than {MAX_CHUNKS} chunks before its samples")))
}

fn frames(input: Input, common: Common, bytes: u64) -> Box<dyn Frames> {
    let Common { channels, frames, rate, layout } = common;
    let said = u64::from(frames) * u64::from(channels) * layout.bytes() as u64;
    // A writer to a pipe leaves one of the two lengths empty.
    let extent = match (bytes, said) {
        (0, 0) => Extent::ToEnd,
        (0, said) => Extent::Bytes(said),
        (bytes, 0) => Extent::Bytes(bytes),
        (bytes, said) => Extent::Bytes(bytes.min(said)),
    };
    let duration = (frames > 0).then(|| span(frames.into(), rate));
    let info = Info { container: "aiff", codec: layout.name(), rate, channels, duration };
    Box::new(PcmFrames::new(input, info, layout, extent))
}

fn parse_common(body: &[u8], compressed: bool) -> Result<Common> {
    let broken = || AudioError::malformed("the AIFF file's COMM chunk is cut short");
    let (&[c0, c1, f0, f1, f2, f3, b0, b1], rest) = body.split_first_chunk::<8>().ok_or_else(broken)?;
    let (rate, rest) = rest.split_first_chunk::<10>().ok_or_else(broken)?;
    let bits = u16::from_be_bytes([b0, b1]);
    let kind = match compressed {
        true => *rest.first_chunk::<4>().ok_or_else(broken)?,
        false => *b"NONE",
    };
    let bytes = bits.div_ceil(8);
    let layout = match &kind {
        b"NONE" | b"twos" | b"in24" | b"in32" => Layout::signed(bytes, true),
        b"sowt" => Layout::signed(bytes, false),
        b"raw " => Some(Layout::big(Format::U8)),
        b"fl32" | b"FL32" => Some(Layout::big(Format::F32)),
        b"fl64" | b"FL64" => Some(Layout::big(Format::F64)),
        b"alaw" | b"ALAW" => Some(Layout::big(Format::Alaw)),
        b"ulaw" | b"ULAW" => Some(Layout::big(Format::Mulaw)),
        _ => None,
    };
    let layout = layout.ok_or_else(|| {
        let kind = kind.escape_ascii();
        AudioError::unsupported(format!(
            "the AIFF file holds \"{kind}\" with {bits} bits, which cannot be decoded here"
        ))
    })?;
    let (channels, rate) = (u16::from_be_bytes([c0, c1]), extended(rate));
    check_format(rate, channels)?;
    Ok(Common { channels, frames: u32::from_be_bytes([f0, f1, f2, f3]), rate, layout })
}

/// An 80-bit extended float as a whole number; 0 when it is none.
fn extended(bytes: &[u8; 10]) -> u32 {
    let [e0, e1, m @ ..] = *bytes;
    let exponent = i32::from(u16::from_be_bytes([e0, e1])) - 16383;
    let mantissa = u64::from_be_bytes(m);
    match exponent {
        0..=31 => u32::try_from(mantissa >> (63 - exponent)).unwrap_or(0),
        _ => 0,
    }
}

/// Opens a Sun/NeXT sound file.
pub(crate) fn open_au(mut input: Input) -> Result<Box<dyn Frames>> {
    let io = |e| AudioError::io("reading the audio", e);
    let head = input.array::<24>().map_err(io)?;
    let head = head.ok_or_else(|| AudioError::malformed("the snd file ends inside of its header"))?;
    let word = |i: usize| head.as_chunks::<4>().0.get(i).map_or(0, |b| u32::from_be_bytes(*b));
    let (offset, bytes, encoding, rate) = (word(1), word(2), word(3), word(4));
    let layout = match encoding {
        1 => Layout::big(Format::Mulaw),
        2 => Layout::big(Format::S8),
        3 => Layout::big(Format::S16),
        4 => Layout::big(Format::S24),
        5 => Layout::big(Format::S32),
        6 => Layout::big(Format::F32),
        7 => Layout::big(Format::F64),
        27 => Layout::big(Format::Alaw),
        _ => return Err(AudioError::unsupported(format!("the snd file's encoding {encoding} cannot be decoded here"))),
    };
    let channels = u16::try_from(word(5)).unwrap_or(u16::MAX);
    check_format(rate, channels)?;
    input.skip(u64::from(offset).saturating_sub(24)).map_err(io)?;
    let frame = layout.bytes() as u64 * u64::from(channels);
    let (extent, duration) = match bytes {
        u32::MAX => (Extent::ToEnd, None),
        bytes => (Extent::Bytes(bytes.into()), Some(span(u64::from(bytes) / frame, rate))),
    };
    let info = Info { container: "snd", codec: layout.name(), rate, channels, duration };
    Ok(Box::new(PcmFrames::new(input, info, layout, extent)))
}
