//! Wave files: RIFF, RF64, BW64 and Sony Wave64, and the samples that they hold.

use symphonia::core::codecs::audio::well_known as id;

use crate::adpcm::AdpcmFrames;
use crate::damage::span;
use crate::decoder::Info;
use crate::error::{AudioError, Result};
use crate::frames::{Frames, check_format};
use crate::input::Input;
use crate::pcm::{Extent, Format, Layout, PcmFrames};

/// The tail that all "extensible" sub-format identifiers share.
const GUID_TAIL: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];
/// Chunks before the samples that are passed over at most, so that a crafted file cannot keep us busy for ever.
const MAX_CHUNKS: usize = 10_000;

/// The `fmt ` chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fmt {
    tag: u16,
    channels: u16,
    rate: u32,
    align: u16,
    bits: u16,
    frames_per_block: u16,
}

impl Fmt {
    fn parse(chunk: &[u8]) -> Option<Self> {
        let u16_at = |at: usize| Some(u16::from_le_bytes(chunk.get(at..at + 2)?.try_into().ok()?));
        let rate = u32::from_le_bytes(chunk.get(4..8)?.try_into().ok()?);
        let mut fmt = Self {
            tag: u16_at(0)?,
            channels: u16_at(2)?,
            rate,
            align: u16_at(12)?,
            bits: u16_at(14).unwrap_or(8),
            frames_per_block: u16_at(18).unwrap_or(0),
        };
        if fmt.tag == 0xfffe && chunk.get(26..40) == Some(&GUID_TAIL) {
            fmt.tag = u16_at(24)?;
        }
        Some(fmt)
    }

    /// How samples are written, for what is not compressed.
    fn layout(&self) -> Option<Layout> {
        let bytes = match self.align.checked_div(self.channels) {
            Some(bytes) if bytes > 0 && self.align.is_multiple_of(self.channels) => bytes,
            _ => self.bits.div_ceil(8),
        };
        match (self.tag, bytes) {
            (1, 1) => Some(Layout::little(Format::U8)),
            (1, bytes) => Layout::signed(bytes, false),
            (3, 4) => Some(Layout::little(Format::F32)),
            (3, 8) => Some(Layout::little(Format::F64)),
            (6, 1) => Some(Layout::little(Format::Alaw)),
            (7, 1) => Some(Layout::little(Format::Mulaw)),
            _ => None,
        }
    }
}

/// How the chunks of a file are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chunks {
    /// Four letters, 32-bit length, even.
    Riff,
    /// A 16-byte identifier, 64-bit length that counts its own header, a multiple of 8.
    Wave64,
}

struct Chunk {
    name: [u8; 4],
    len: u64,
}

fn read_chunk(input: &mut Input, kind: Chunks) -> std::io::Result<Option<Chunk>> {
    Ok(match kind {
        Chunks::Riff => input.array::<8>()?.map(|[a, b, c, d, l0, l1, l2, l3]| Chunk {
            name: [a, b, c, d],
            len: u32::from_le_bytes([l0, l1, l2, l3]).into(),
        }),
        Chunks::Wave64 => input.array::<24>()?.map(|head| {
            let (name, len) = (head.first_chunk::<4>(), head.last_chunk::<8>());
            Chunk {
                name: name.copied().unwrap_or_default(),
                len: len.copied().map_or(0, u64::from_le_bytes).saturating_sub(24),
            }
        }),
    })
}

/// Opens a wave file; the head has been recognised.
pub(crate) fn open(mut input: Input) -> Result<Box<dyn Frames>> {
    let io = |e| AudioError::io("reading the audio", e);
    let cut = || AudioError::malformed("the wave file ends before its samples begin");
    let form = input.peek(4).map_err(io)?.to_vec();
    let kind = if form == b"riff" { Chunks::Wave64 } else { Chunks::Riff };
    let header: u64 = if kind == Chunks::Wave64 { 40 } else { 12 };
    let riff_len = input.peek(8).map_err(io)?.get(4..8).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    input.skip(header).map_err(io)?;
    let (mut fmt, mut long, mut fact) = (None, None, None);
    for _ in 0..MAX_CHUNKS {
        let Chunk { name, len } = read_chunk(&mut input, kind).map_err(io)?.ok_or_else(cut)?;
        if &name == b"data" {
            let fmt: Fmt =
                fmt.ok_or_else(|| AudioError::malformed("the wave file has no \"fmt \" before its samples"))?;
            let extent = extent(kind, len, riff_len, long, &input);
            return frames(input, fmt, extent, fact);
        }
        let padded = if kind == Chunks::Wave64 { len.next_multiple_of(8) } else { len.saturating_add(len & 1) };
        let read = if matches!(&name, b"fmt " | b"fact" | b"ds64") { padded.min(256) } else { 0 };
        let body = input.take(read as usize).map_err(io)?;
        match &name {
            b"fmt " => fmt = Fmt::parse(&body),
            b"fact" => fact = body.first_chunk::<4>().map(|b| u64::from(u32::from_le_bytes(*b))),
            b"ds64" => long = body.get(8..16).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes),
            _ => {}
        }
        input.skip(padded - read).map_err(io)?;
    }
    Err(AudioError::malformed(format!("the wave file has more than {MAX_CHUNKS} chunks before its samples")))
}

/// How many bytes of samples there are. Programs that write to a pipe leave 0, all ones, or nearly 2 or 4 GiB.
fn extent(kind: Chunks, len: u64, riff_len: u32, long: Option<u64>, input: &Input) -> Extent {
    let riff_open = riff_len == 0 || riff_len == u32::MAX;
    match (kind, len) {
        (Chunks::Riff, 0xffff_ffff) => match long {
            Some(long) if long > 0 && long != u64::MAX => Extent::Bytes(long),
            _ => Extent::ToEnd,
        },
        (Chunks::Riff, 0) if riff_open => Extent::ToEnd,
        (Chunks::Riff, 0x7fff_f000..=0x7fff_ffff | 0xffff_f000..) => match input.len() {
            Some(all) if all.saturating_sub(input.pos()) >= len => Extent::Bytes(len),
            _ => Extent::ToEnd,
        },
        (Chunks::Wave64, len) if len >= 1 << 62 => Extent::ToEnd,
        (_, len) => Extent::Bytes(len),
    }
}

fn frames(input: Input, fmt: Fmt, extent: Extent, fact: Option<u64>) -> Result<Box<dyn Frames>> {
    check_format(fmt.rate, fmt.channels)?;
    let mut info = Info { container: "wav", codec: "", rate: fmt.rate, channels: fmt.channels, duration: None };
    let known = match extent {
        Extent::Bytes(bytes) => Some(bytes),
        Extent::ToEnd => input.len().map(|all| all.saturating_sub(input.pos())),
    };
    if let Some(layout) = fmt.layout() {
        let frame = layout.bytes() as u64 * u64::from(fmt.channels);
        info.codec = layout.name();
        info.duration = known.map(|bytes| span(bytes / frame, fmt.rate));
        return Ok(Box::new(PcmFrames::new(input, info, layout, extent)));
    }
    let codec = match (fmt.tag, fmt.bits) {
        (0x02, 4) => id::CODEC_ID_ADPCM_MS,
        (0x11, 4) => id::CODEC_ID_ADPCM_IMA_WAV,
        (tag, bits) => {
            let name = tag_name(tag);
            return Err(AudioError::unsupported(format!(
                "the wave file holds {name} (tag {tag:#06x}, {bits} bits per sample), which cannot be decoded here; convert it to plain PCM"
            )));
        }
    };
    let shape = crate::adpcm::Shape { block_bytes: fmt.align, frames_per_block: fmt.frames_per_block, frames: fact };
    Ok(Box::new(AdpcmFrames::new(input, info, codec, shape, extent)?))
}

fn tag_name(tag: u16) -> &'static str {
    match tag {
        0x01 | 0x03 => "PCM of an unusual width",
        0x31 => "GSM 6.10",
        0x50 | 0x55 => "MPEG audio",
        0x160..=0x163 => "Windows Media audio",
        0xff | 0x1600..=0x1610 => "AAC",
        0x2000 => "AC-3",
        _ => "a codec that is not known",
    }
}
