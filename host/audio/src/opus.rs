//! Opus: the identification header, packets, and streams of more than two channels.
//!
//! The decoding proper is done by [`crate::opus_raw`]; everything that reads lengths out of a hostile packet stands
//! here, in safe code. RFC 6716 appendix B says how several streams share a packet, RFC 7845 what the header means.

use crate::error::{AudioError, Result};
use crate::opus_raw::RawDecoder;

/// Opus always decodes at 48 kHz here.
pub(crate) const RATE: u32 = 48_000;
/// The longest packet: 120 ms.
const MAX_FRAMES: usize = 5760;
const SILENT: u8 = 255;

/// The identification header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) channels: u8,
    /// Frames at 48 kHz to drop from the beginning.
    pub(crate) pre_skip: u16,
    /// The rate before encoding, as a hint; 0 when not told.
    pub(crate) input_rate: u32,
    /// Gain in 1/256 dB.
    pub(crate) gain: i16,
    streams: u8,
    coupled: u8,
    mapping: Vec<u8>,
}

impl Head {
    /// Reads `OpusHead`.
    pub(crate) fn parse(head: &[u8]) -> Result<Self> {
        let broken = || AudioError::malformed("the Opus header is cut short or breaks its rules");
        let body = head.strip_prefix(b"OpusHead").ok_or_else(broken)?;
        let (fixed, rest) = body.split_first_chunk::<11>().ok_or_else(broken)?;
        let &[version, channels, skip0, skip1, r0, r1, r2, r3, g0, g1, family] = fixed;
        if version & 0xf0 != 0 {
            return Err(AudioError::unsupported(format!("Opus streams of version {version} are not known")));
        }
        let (streams, coupled, mapping) = match (family, channels) {
            (0, 1 | 2) => (1, channels - 1, (0..channels).collect()),
            (1 | 255, 1..) => {
                let (&[streams, coupled], table) = rest.split_first_chunk::<2>().ok_or_else(broken)?;
                (streams, coupled, table.get(..usize::from(channels)).ok_or_else(broken)?.to_vec())
            }
            (0, _) | (_, 0) => return Err(broken()),
            (family, _) => {
                return Err(AudioError::unsupported(format!(
                    "Opus with channel mapping family {family} cannot be decoded here"
                )));
            }
        };
        let decoded = u16::from(streams) + u16::from(coupled);
        let known = mapping.iter().all(|&m| m == SILENT || u16::from(m) < decoded);
        if streams == 0 || coupled > streams || decoded > 255 || !known {
            return Err(broken());
        }
        crate::frames::check_format(RATE, u16::from(streams).max(channels.into()))?;
        Ok(Self {
            channels,
            pre_skip: u16::from_le_bytes([skip0, skip1]),
            input_rate: u32::from_le_bytes([r0, r1, r2, r3]),
            gain: i16::from_le_bytes([g0, g1]),
            streams,
            coupled,
            mapping,
        })
    }
}

/// Frames at 48 kHz in a packet; `None` when it breaks the rules.
pub(crate) fn packet_frames(packet: &[u8]) -> Option<u64> {
    let &toc = packet.first()?;
    let count = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(packet.get(1)? & 0x3f),
    };
    let frames = count * frame_size(toc);
    (1..=MAX_FRAMES as u64).contains(&frames).then_some(frames)
}

/// Frames at 48 kHz in one frame of a packet.
fn frame_size(toc: u8) -> u64 {
    let config = toc >> 3;
    match config {
        0..12 => [480, 960, 1920, 2880][usize::from(config & 3)],
        12..16 => [480, 960][usize::from(config & 1)],
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    }
}

/// Decodes the packets of one stream, however many channels it has.
pub(crate) struct OpusDecoder {
    head: Head,
    gain: f32,
    streams: Vec<RawDecoder>,
    decoded: Vec<Vec<f32>>,
}

impl OpusDecoder {
    /// A decoder by an identification header.
    pub(crate) fn new(head: &[u8]) -> Result<Self> {
        let head = Head::parse(head)?;
        let streams = (0..head.streams)
            .map(|i| RawDecoder::new(if i < head.coupled { 2 } else { 1 }))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| AudioError::limit("there is no memory for the Opus decoder"))?;
        let decoded = streams.iter().map(|s| vec![0.0; MAX_FRAMES * s.channels()]).collect();
        let gain = match head.gain {
            0 => 1.0,
            gain => 10f32.powf(f32::from(gain) / (20.0 * 256.0)),
        };
        Ok(Self { head, gain, streams, decoded })
    }

    pub(crate) fn channels(&self) -> u16 {
        self.head.channels.into()
    }

    /// Appends the interleaved samples of a packet.
    pub(crate) fn decode(&mut self, packet: &[u8], out: &mut Vec<f32>) -> std::result::Result<(), String> {
        let mut rest = packet;
        let mut frames = None;
        let last = self.streams.len() - 1;
        for (i, (stream, pcm)) in self.streams.iter_mut().zip(&mut self.decoded).enumerate() {
            let owned;
            let part = if i == last {
                rest
            } else {
                let (first, after) =
                    split_self_delimited(rest).ok_or("a packet of several streams breaks its rules")?;
                rest = after;
                owned = first;
                &owned
            };
            let got = stream.decode(part, pcm).ok_or("a packet breaks the rules of Opus")?;
            if frames.is_some_and(|n| n != got) {
                return Err("the streams of a packet differ in length".into());
            }
            frames = Some(got);
        }
        self.interleave(frames.unwrap_or(0), out);
        Ok(())
    }

    fn interleave(&self, frames: usize, out: &mut Vec<f32>) {
        let coupled = usize::from(self.head.coupled);
        for frame in 0..frames {
            for &m in &self.head.mapping {
                let m = usize::from(m);
                let sample = match m {
                    255 => 0.0,
                    m if m < 2 * coupled => self.decoded[m / 2][2 * frame + m % 2],
                    m => self.decoded[m - coupled][frame],
                };
                out.push(sample * self.gain);
            }
        }
    }
}

/// A length of one or two bytes, and what follows it.
fn length(data: &[u8]) -> Option<(usize, &[u8])> {
    match data {
        [a @ 0..=251, rest @ ..] => Some((usize::from(*a), rest)),
        [a, b, rest @ ..] => Some((usize::from(*a) + 4 * usize::from(*b), rest)),
        _ => None,
    }
}

/// Takes one self-delimited packet off `data`: the packet in its plain form, and what follows it.
fn split_self_delimited(data: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (&toc, body) = data.split_first()?;
    let mut plain = vec![toc];
    match toc & 3 {
        0 => {
            let (len, rest) = length(body)?;
            take_payload(plain, rest, len, 0)
        }
        1 => {
            let (len, rest) = length(body)?;
            take_payload(plain, rest, 2 * len, 0)
        }
        2 => {
            let (first, after) = length(body)?;
            plain.extend_from_slice(&body[..body.len() - after.len()]);
            let (second, rest) = length(after)?;
            take_payload(plain, rest, first + second, 0)
        }
        _ => split_many(plain, body),
    }
}

/// The form with a count of frames (code 3).
fn split_many(mut plain: Vec<u8>, body: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (&flags, mut rest) = body.split_first()?;
    let count = usize::from(flags & 0x3f);
    plain.push(flags);
    let mut padding = 0;
    if flags & 0x40 != 0 {
        loop {
            let (&byte, after) = rest.split_first()?;
            plain.push(byte);
            rest = after;
            padding += usize::from(if byte == 255 { 254 } else { byte });
            if byte != 255 {
                break;
            }
        }
    }
    let mut payload = 0;
    if flags & 0x80 != 0 {
        for _ in 1..count {
            let (len, after) = length(rest)?;
            plain.extend_from_slice(&rest[..rest.len() - after.len()]);
            rest = after;
            payload += len;
        }
        let (len, after) = length(rest)?;
        take_payload(plain, after, payload + len, padding)
    } else {
        let (len, after) = length(rest)?;
        take_payload(plain, after, len * count, padding)
    }
}

fn take_payload(mut plain: Vec<u8>, rest: &[u8], len: usize, padding: usize) -> Option<(Vec<u8>, &[u8])> {
    let (payload, rest) = rest.split_at_checked(len.checked_add(padding)?)?;
    plain.extend_from_slice(payload);
    Some((plain, rest))
}
