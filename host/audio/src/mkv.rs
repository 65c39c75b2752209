//! Matroska and WebM, read forwards: what browsers record has neither lengths nor an index.
//!
//! Elements are read flat: those that hold others are entered, the rest is passed over. So an element of unknown length
//! needs no care, and after damage the next cluster can be found by its identifier.

use std::collections::VecDeque;

use symphonia::core::codecs::audio::well_known as id;

use crate::codec::{Codec, params};
use crate::damage::{DamageKind, Notes};
use crate::decoder::Info;
use crate::error::{AudioError, Result};
use crate::frames::{Block, Frames, Mix, Quiet, STRETCH, Step, check_format};
use crate::input::Input;
use crate::opus;
use crate::pcm::{Format, Layout};

const SEGMENT: u32 = 0x1853_8067;
const CLUSTER: u32 = 0x1f43_b675;
const TRACK_ENTRY: u32 = 0xae;
const BLOCK_GROUP: u32 = 0xa0;
/// Elements that hold others of interest: segment, info, tracks, track, audio, encodings, cluster, group of a block.
const ENTERED: [u32; 10] =
    [SEGMENT, 0x1549_a966, 0x1654_ae6b, TRACK_ENTRY, 0xe1, 0x6d80, 0x6240, 0x5034, CLUSTER, BLOCK_GROUP];
const UNKNOWN: u64 = u64::MAX;
/// The largest block of audio, and the largest description of a codec.
const MAX_BLOCK: u64 = 16 << 20;
const MAX_VALUE: u64 = 1 << 20;
const MAX_TRACKS: usize = 256;
const NANOS: i128 = 1_000_000_000;
/// How far the clock may be ahead of the audio that was given out: recorders round and are late at times.
const JITTER: i64 = 100_000_000;
/// A clock that falls so far behind the audio was set back, and counts from there.
const SET_BACK: i64 = 1_000_000_000;
/// Elements that are read at most before the first cluster.
const MAX_HEAD: usize = 1_000_000;
/// How much is searched for a cluster at once.
const WINDOW: usize = 64 << 10;

struct Element {
    id: u32,
    size: u64,
}

#[derive(Clone, Debug)]
struct Track {
    number: u64,
    kind: u64,
    codec: String,
    private: Vec<u8>,
    delay: u64,
    rate: f64,
    channels: u64,
    bits: u64,
    /// Bytes that were taken off the front of each packet.
    stripped: Vec<u8>,
    packed: Option<&'static str>,
}

impl Default for Track {
    fn default() -> Self {
        Self {
            number: 0,
            kind: 0,
            codec: String::new(),
            private: Vec::new(),
            delay: 0,
            rate: 8000.0,
            channels: 1,
            bits: 0,
            stripped: Vec::new(),
            packed: None,
        }
    }
}

struct Packet {
    data: Vec<u8>,
    /// Nanoseconds, for the first packet of a block.
    time: Option<i64>,
    /// Nanoseconds to cut off the end.
    discard: i64,
}

struct MkvFrames {
    input: Input,
    info: Info,
    codec: Codec,
    track: Track,
    scale: u64,
    cluster: i64,
    queue: VecDeque<Packet>,
    /// A block whose group may still say how much of it to cut.
    grouped: Option<Vec<Packet>>,
    /// Where the audio that was given out ends on the packets' clock, in nanoseconds.
    expected: Option<i64>,
    skip: u64,
    segment_end: Option<u64>,
    /// After damage: the next cluster is looked for.
    lost: bool,
    quiet: Quiet,
    ended: bool,
}

fn io(e: std::io::Error) -> AudioError {
    AudioError::io("reading the audio", e)
}

/// Reads an element's identifier and length; `Err(true)` is the end, `Err(false)` no element.
fn element(input: &mut Input) -> Result<std::result::Result<Element, bool>> {
    let bytes = input.peek(12).map_err(io)?;
    let Some(&first) = bytes.first() else { return Ok(Err(true)) };
    let width = first.leading_zeros() as usize + 1;
    if width > 4 {
        return Ok(Err(false));
    }
    let Some(&second) = bytes.get(width) else { return Ok(Err(true)) };
    let len = second.leading_zeros() as usize + 1;
    if len > 8 {
        return Ok(Err(false));
    }
    if bytes.len() < width + len {
        return Ok(Err(true));
    }
    let id = bytes[..width].iter().fold(0, |n, &b| n << 8 | u32::from(b));
    let size = number(&bytes[width..width + len]);
    input.consume(width + len);
    Ok(Ok(Element { id, size }))
}

/// A number with its width marked by the first set bit; all ones is "unknown".
fn number(bytes: &[u8]) -> u64 {
    let width = bytes.len() as u32;
    let raw = bytes.iter().fold(0u64, |n, &b| n << 8 | u64::from(b));
    let mask = (1u64 << (7 * width)) - 1;
    if raw & mask == mask { UNKNOWN } else { raw & mask }
}

fn uint(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |n, &b| n << 8 | u64::from(b))
}

fn int(bytes: &[u8]) -> i64 {
    let start = bytes.first().map_or(0, |&b| i64::from(b.cast_signed()) >> 7);
    bytes.iter().take(8).fold(start, |n, &b| n << 8 | i64::from(b))
}

fn float(bytes: &[u8]) -> f64 {
    match *bytes {
        [a, b, c, d] => f32::from_be_bytes([a, b, c, d]).into(),
        [a, b, c, d, e, f, g, h] => f64::from_be_bytes([a, b, c, d, e, f, g, h]),
        _ => 0.0,
    }
}

/// What stands before the first cluster.
struct Head {
    scale: u64,
    duration: f64,
    tracks: Vec<Track>,
    segment_end: Option<u64>,
}

fn read_head(input: &mut Input) -> Result<Head> {
    let mut head = Head { scale: 1_000_000, duration: 0.0, tracks: Vec::new(), segment_end: None };
    let cut = |what: &str| AudioError::malformed(format!("the webm or mkv file {what} before its audio begins"));
    for _ in 0..MAX_HEAD {
        let Element { id, size } = match element(input)? {
            Ok(element) => element,
            Err(true) => return Err(cut("ends")),
            Err(false) => return Err(cut("breaks its own rules")),
        };
        match id {
            CLUSTER => return Ok(head),
            SEGMENT => head.segment_end = (size != UNKNOWN).then(|| input.pos().saturating_add(size)),
            TRACK_ENTRY if head.tracks.len() >= MAX_TRACKS => {
                return Err(AudioError::limit("the file has too many tracks"));
            }
            TRACK_ENTRY => head.tracks.push(Track::default()),
            id if ENTERED.contains(&id) => {}
            _ if size == UNKNOWN => return Err(cut("breaks its own rules")),
            id if is_value(id) && size <= MAX_VALUE => {
                let value = input.take(size as usize).map_err(io)?;
                if (value.len() as u64) < size {
                    return Err(cut("ends"));
                }
                read_value(&mut head, id, value);
            }
            _ => {
                input.skip(size).map_err(io)?;
            }
        }
    }
    Err(AudioError::limit("the webm or mkv file has too many elements before its audio begins"))
}

fn is_value(id: u32) -> bool {
    matches!(
        id,
        0x2ad7b1 | 0x4489 | 0xd7 | 0x83 | 0x86 | 0x63a2 | 0x56aa | 0xb5 | 0x9f | 0x6264 | 0x4254 | 0x4255 | 0x5035
    )
}

fn read_value(head: &mut Head, id: u32, value: Vec<u8>) {
    match (id, head.tracks.last_mut()) {
        (0x2ad7b1, _) => head.scale = uint(&value).clamp(1, NANOS as u64),
        (0x4489, _) => head.duration = float(&value),
        (0xd7, Some(track)) => track.number = uint(&value),
        (0x83, Some(track)) => track.kind = uint(&value),
        (0x86, Some(track)) => track.codec = String::from_utf8_lossy(&value).trim_end_matches('\0').into(),
        (0x63a2, Some(track)) => track.private = value,
        (0x56aa, Some(track)) => track.delay = uint(&value),
        (0xb5, Some(track)) => track.rate = float(&value),
        (0x9f, Some(track)) => track.channels = uint(&value),
        (0x6264, Some(track)) => track.bits = uint(&value),
        (0x4254, Some(track)) if uint(&value) != 3 => track.packed = Some("compressed"),
        (0x4255, Some(track)) => track.stripped = value,
        (0x5035, Some(track)) => track.packed = Some("encrypted"),
        _ => {}
    }
}

/// Opens a Matroska or WebM file; the head has been recognised.
pub(crate) fn open(mut input: Input, _notes: &mut Notes) -> Result<Box<dyn Frames>> {
    let head = read_head(&mut input)?;
    let mut wrong = None;
    for track in head.tracks.iter().filter(|t| t.kind == 2) {
        match make_codec(track) {
            Ok((codec, name, rate, channels, skip)) => {
                let nanos = head.duration * head.scale as f64;
                let duration = (nanos > 0.0 && nanos < 1e18).then(|| std::time::Duration::from_nanos(nanos as u64));
                let info = Info { container: "webm", codec: name, rate, channels, duration };
                return Ok(Box::new(MkvFrames {
                    input,
                    info,
                    codec,
                    track: track.clone(),
                    scale: head.scale,
                    cluster: 0,
                    queue: VecDeque::new(),
                    grouped: None,
                    expected: None,
                    skip,
                    segment_end: head.segment_end,
                    lost: false,
                    quiet: Quiet::new(),
                    ended: false,
                }));
            }
            Err(e) => wrong = wrong.or(Some(e)),
        }
    }
    Err(wrong.unwrap_or_else(|| match head.tracks.is_empty() {
        true => AudioError::malformed("the webm or mkv file holds no track"),
        false => AudioError::not_audio("the webm or mkv file holds video or text, but no audio"),
    }))
}

type Made = (Codec, &'static str, u32, u16, u64);

fn make_codec(track: &Track) -> Result<Made> {
    if let Some(how) = track.packed {
        return Err(AudioError::unsupported(format!("the packets of the mkv file's audio are {how}; remux it first")));
    }
    let channels = u16::try_from(track.channels).unwrap_or(u16::MAX);
    let rate = if track.rate > 0.0 && track.rate < 1e7 { track.rate.round() as u32 } else { 0 };
    let private = track.private.as_slice();
    if track.codec == "A_OPUS" {
        let head = opus::Head::parse(private)?;
        let params = params(id::CODEC_ID_OPUS, opus::RATE, head.channels.into(), private);
        return Ok((Codec::new(&params)?, "opus", opus::RATE, head.channels.into(), head.pre_skip.into()));
    }
    check_format(rate, channels)?;
    let pcm = |layout: Option<Layout>| {
        let layout = layout
            .ok_or_else(|| AudioError::unsupported(format!("PCM of {} bits cannot be decoded here", track.bits)))?;
        Ok((Codec::pcm(layout, rate, channels), layout.name(), rate, channels, 0))
    };
    let bytes = u16::try_from(track.bits / 8).unwrap_or(0);
    let (codec, name, extra) = match track.codec.as_str() {
        "A_VORBIS" => (id::CODEC_ID_VORBIS, "vorbis", private),
        "A_FLAC" => (id::CODEC_ID_FLAC, "flac", private.get(8..42).unwrap_or(private)),
        "A_MPEG/L3" => (id::CODEC_ID_MP3, "mp3", private),
        "A_MPEG/L2" => (id::CODEC_ID_MP2, "mp2", private),
        "A_ALAC" => (id::CODEC_ID_ALAC, "alac", private),
        name if name.starts_with("A_AAC") => (id::CODEC_ID_AAC, "aac", private),
        "A_PCM/INT/LIT" if bytes == 1 => return pcm(Some(Layout::little(Format::U8))),
        "A_PCM/INT/LIT" => return pcm(Layout::signed(bytes, false)),
        "A_PCM/INT/BIG" => return pcm(Layout::signed(bytes, true)),
        "A_PCM/FLOAT/IEEE" if bytes == 4 => return pcm(Some(Layout::little(Format::F32))),
        "A_PCM/FLOAT/IEEE" if bytes == 8 => return pcm(Some(Layout::little(Format::F64))),
        name => {
            return Err(AudioError::unsupported(format!("the codec {name:?} of the mkv file cannot be decoded here")));
        }
    };
    let skip = (i128::from(track.delay) * i128::from(rate) + NANOS / 2) / NANOS;
    Ok((Codec::new(&params(codec, rate, channels, extra))?, name, rate, channels, skip as u64))
}

impl MkvFrames {
    /// Reads on until packets are queued, a long stretch held none or the end is reached.
    fn fill(&mut self, notes: &mut Notes) -> Result<()> {
        let from = self.input.pos();
        while self.queue.is_empty() && !self.ended && self.input.pos().saturating_sub(from) < STRETCH {
            if self.lost {
                self.resync(notes)?;
                continue;
            }
            match element(&mut self.input)? {
                Ok(Element { id, size }) => self.handle(id, size, notes)?,
                Err(true) if self.input.peek(1).map_err(io)?.is_empty() => self.end(notes),
                Err(true) => self.cut(notes),
                Err(false) => self.lose(notes)?,
            }
        }
        Ok(())
    }

    fn handle(&mut self, id: u32, size: u64, notes: &mut Notes) -> Result<()> {
        match id {
            CLUSTER | BLOCK_GROUP => self.flush(),
            0xe7 if size <= 8 => {
                let value = self.input.take(size as usize).map_err(io)?;
                self.cluster = i64::try_from(uint(&value)).unwrap_or(i64::MAX);
            }
            0xa3 | 0xa1 if size != UNKNOWN => self.block(id == 0xa1, size, notes)?,
            0x75a2 if size <= 8 => {
                let value = int(&self.input.take(size as usize).map_err(io)?);
                if let Some(last) = self.grouped.as_mut().and_then(|block| block.last_mut()) {
                    last.discard = value;
                }
            }
            id if ENTERED.contains(&id) => {}
            _ if size == UNKNOWN => self.lose(notes)?,
            _ => self.pass(size, notes)?,
        }
        Ok(())
    }

    /// Passes over the rest of an element.
    fn pass(&mut self, size: u64, notes: &mut Notes) -> Result<()> {
        if self.input.skip(size).map_err(io)? < size {
            self.cut(notes);
        }
        Ok(())
    }

    fn flush(&mut self) {
        self.queue.extend(self.grouped.take().unwrap_or_default());
    }

    fn end(&mut self, notes: &mut Notes) {
        self.flush();
        if !self.ended && self.segment_end.is_some_and(|end| self.input.pos() < end) {
            notes.add(DamageKind::Truncated, None, "the file ends before its header says that it should");
        }
        self.ended = true;
    }

    /// The end, inside of an element.
    fn cut(&mut self, notes: &mut Notes) {
        if !self.ended && self.segment_end.is_none_or(|end| self.input.pos() >= end) {
            notes.add(DamageKind::Truncated, None, "the file ends inside of a block");
        }
        self.end(notes);
    }

    /// What stands here makes no sense: on to the next cluster.
    fn lose(&mut self, notes: &mut Notes) -> Result<()> {
        notes.add(DamageKind::Garbage, None, "bytes that make no sense were passed over");
        self.flush();
        let n = self.input.peek(1).map_err(io)?.len();
        self.input.consume(n);
        self.lost = true;
        Ok(())
    }

    /// Looks for the next cluster in what comes next.
    fn resync(&mut self, notes: &mut Notes) -> Result<()> {
        let window = self.input.peek(WINDOW).map_err(io)?;
        let found = window.windows(4).position(|w| w == CLUSTER.to_be_bytes());
        let last = window.len() < WINDOW;
        let n = found.unwrap_or(if last { window.len() } else { window.len() - 3 });
        self.input.consume(n);
        self.lost = found.is_none();
        if self.lost && last {
            self.end(notes);
        }
        Ok(())
    }

    fn block(&mut self, grouped: bool, size: u64, notes: &mut Notes) -> Result<()> {
        self.flush();
        let head = self.input.peek(12).map_err(io)?;
        let width = head.first().map_or(9, |b| b.leading_zeros() as usize + 1);
        let number = if width <= 8 { head.get(..width).map(number) } else { None };
        if number != Some(self.track.number) || size > MAX_BLOCK {
            return self.pass(size, notes);
        }
        let body = self.input.take(size as usize).map_err(io)?;
        if (body.len() as u64) < size {
            self.cut(notes);
            return Ok(());
        }
        // The number that was peeked at may have been that of bytes behind a block that is shorter than it.
        match body.get(width..).and_then(|body| self.packets(body)) {
            Some(packets) if grouped => self.grouped = Some(packets),
            Some(packets) => self.queue.extend(packets),
            None => notes.add(DamageKind::Undecodable, None, "a block breaks its own rules"),
        }
        Ok(())
    }

    fn packets(&self, body: &[u8]) -> Option<Vec<Packet>> {
        let (&[t0, t1, flags], data) = body.split_first_chunk::<3>()?;
        let ticks = self.cluster.saturating_add(i16::from_be_bytes([t0, t1]).into());
        let time = i64::try_from(i128::from(ticks) * i128::from(self.scale)).ok()?;
        let parts = match flags >> 1 & 3 {
            0 => vec![data],
            lacing => unlace(lacing, data)?,
        };
        let packet = |(i, part): (usize, &[u8])| Packet {
            data: [self.track.stripped.as_slice(), part].concat(),
            time: (i == 0).then_some(time),
            discard: 0,
        };
        Some(parts.into_iter().enumerate().map(packet).collect())
    }

    /// Frames missing before a packet, by its time. Small losses add up until they are more than the clock's jitter.
    fn gap(&mut self, packet: &Packet) -> u64 {
        let (Some(time), Some(expected)) = (packet.time, self.expected) else { return 0 };
        let late = time.saturating_sub(expected);
        if late < -SET_BACK {
            self.expected = Some(time);
        }
        if late <= JITTER {
            return 0;
        }
        (i128::from(late) * i128::from(self.info.rate) / NANOS) as u64
    }
}

/// Several packets in one block: 1 Xiph's lengths, 2 all alike, 3 lengths as differences.
fn unlace(lacing: u8, data: &[u8]) -> Option<Vec<&[u8]>> {
    let (&count, mut data) = data.split_first()?;
    let count = usize::from(count);
    let mut sizes = Vec::with_capacity(count + 1);
    match lacing {
        1 => {
            for _ in 0..count {
                let mut size = 0;
                loop {
                    let (&byte, rest) = data.split_first()?;
                    data = rest;
                    size += usize::from(byte);
                    if byte != 255 {
                        break;
                    }
                }
                sizes.push(size);
            }
        }
        3 => {
            for i in 0..count {
                let width = data.first()?.leading_zeros() as usize + 1;
                if width > 8 {
                    return None;
                }
                let (value, rest) = data.split_at_checked(width)?;
                data = rest;
                let value = i64::try_from(number(value)).ok()?;
                let size = match (i, sizes.last()) {
                    (1.., Some(&last)) => i64::try_from(last).ok()? + value - ((1 << (7 * width - 1)) - 1),
                    _ => value,
                };
                sizes.push(usize::try_from(size).ok()?);
            }
        }
        _ => {
            let each = data.len() / (count + 1);
            sizes.resize(count, each);
        }
    }
    let mut parts = Vec::with_capacity(count + 1);
    for size in sizes {
        let (part, rest) = data.split_at_checked(size)?;
        parts.push(part);
        data = rest;
    }
    parts.push(data);
    Some(parts)
}

impl Frames for MkvFrames {
    fn info(&self) -> &Info {
        &self.info
    }

    fn next(&mut self, mix: Mix, out: &mut Vec<f32>, notes: &mut Notes) -> Result<Step> {
        let block = Block { rate: self.info.rate };
        self.fill(notes)?;
        let Some(packet) = self.queue.pop_front() else {
            return Ok(if self.ended { Step::End } else { Step::Pause });
        };
        let gap = self.gap(&packet);
        if gap > 0 {
            notes.add(DamageKind::Gap, Some((gap, block.rate)), "packets are missing");
            self.expected = packet.time;
            self.queue.push_front(packet);
            return Ok(Step::Silence(block, gap));
        }
        let before = out.len();
        let frames = match self.codec.decode(&packet.data, 0) {
            Ok(decoded) => {
                check_format(decoded.rate, decoded.channels.max(1))?;
                mix.check(decoded.channels.max(1))?;
                mix.add(decoded.samples, decoded.channels, out, notes);
                // What a container says about its codec can be wrong; the decoder knows.
                self.info.rate = decoded.rate;
                decoded.frames()
            }
            Err(message) => {
                let lost = if self.info.codec == "opus" { opus::packet_frames(&packet.data) } else { None };
                notes.add(DamageKind::Undecodable, lost.map(|n| (n, block.rate)), message);
                out.extend(std::iter::repeat_n(0.0, lost.unwrap_or(0) as usize));
                lost.unwrap_or(0)
            }
        };
        let cut = (i128::from(packet.discard.max(0)) * i128::from(self.info.rate) + NANOS / 2) / NANOS;
        let cut = frames.min(cut as u64);
        let nanos = (i128::from(frames - cut) * NANOS / i128::from(self.info.rate)) as i64;
        self.expected = self.expected.or(packet.time).map(|t| t.saturating_add(nanos));
        out.truncate((out.len() - cut as usize).max(before));
        let dropped = (self.skip.min((out.len() - before) as u64)) as usize;
        out.drain(before..before + dropped);
        self.skip -= dropped as u64;
        Ok(self.quiet.step(Block { rate: self.info.rate }, self.input.pos(), out.len() == before))
    }
}
