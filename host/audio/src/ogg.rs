//! Ogg: pages, packets, and the Opus, Vorbis and FLAC streams inside of them, one after the other where they are chained.
//!
//! The clock of a stream is the "granule" of its pages, a count of frames. It tells where the audio starts (a recording
//! cut out of a live stream), what is missing in the middle, and where the last packet ends.

use symphonia::core::codecs::audio::well_known as id;

use crate::codec::{Codec, params};
use crate::damage::{DamageKind, Notes, span};
use crate::decoder::Info;
use crate::error::{AudioError, Result};
use crate::frames::{Block, Frames, Mix, Quiet, STRETCH, Step, check_format};
use crate::input::Input;
use crate::opus;

/// The largest packet that is put together.
const MAX_PACKET: usize = 16 << 20;
/// Header pages read at most before the first audio.
const MAX_HEADER_PAGES: usize = 10_000;
/// Stretches without a page before the audio after which it is given up.
const MAX_HEADER_PAUSES: usize = 16;
const BUFFER: usize = 64 << 10;
/// Bytes that may be hashed for what turns out to be no page, beside four times the bytes read: crafted bytes look like
/// the beginning of a page every few bytes, and each would cost a checksum over 64 KiB.
const VAIN: u64 = 4 << 20;
/// The largest page: 27 bytes of header, 255 lengths, 255 times 255 bytes.
const MAX_PAGE: usize = 27 + 255 + 255 * 255;

const CONTINUED: u8 = 1;
const FIRST: u8 = 2;
const LAST: u8 = 4;

struct Page {
    flags: u8,
    granule: i64,
    serial: u32,
    sequence: u32,
    lengths: Vec<u8>,
    body: Vec<u8>,
}

/// What the search for a page found.
enum Next {
    Page(Page),
    /// No page in a long stretch; the search goes on with the next call.
    Pause,
    End,
}

/// Reads the next page whose checksum is right. Bytes in between are passed over and noted. `vain` counts the bytes that
/// were hashed for what is no page.
fn next_page(input: &mut Input, vain: &mut u64, notes: &mut Notes) -> Result<Next> {
    let io = |e| AudioError::io("reading the audio", e);
    let mut passed = 0u64;
    let next = loop {
        if passed >= STRETCH {
            break Next::Pause;
        }
        let window = input.peek(BUFFER).map_err(io)?;
        let at = window.windows(4).position(|w| w == b"OggS");
        let Some(at) = at else {
            let n = if window.len() < BUFFER { window.len() } else { window.len() - 3 };
            passed += n as u64;
            input.consume(n);
            if n == 0 || input.peek(1).map_err(io)?.is_empty() {
                break Next::End;
            }
            continue;
        };
        passed += at as u64;
        input.consume(at);
        let most = input.pos().saturating_mul(4).saturating_add(VAIN);
        let bytes = input.peek(MAX_PAGE).map_err(io)?;
        match parse_page(bytes, vain, most) {
            Parsed::Page(page, len) => {
                input.consume(len);
                break Next::Page(page);
            }
            Parsed::Cut => {
                notes.add(DamageKind::Truncated, None, "the file ends inside of a page");
                return Ok(Next::End);
            }
            Parsed::Broken => {
                passed += 4;
                input.consume(4);
            }
        }
    };
    if passed > 0 {
        notes.add(DamageKind::Garbage, None, "bytes that are no whole page were passed over");
    }
    Ok(next)
}

enum Parsed {
    Page(Page, usize),
    Cut,
    Broken,
}

/// `vain` counts the bytes hashed for what is no page; from `most` on nothing is hashed any more.
fn parse_page(bytes: &[u8], vain: &mut u64, most: u64) -> Parsed {
    let Some((head, rest)) = bytes.split_first_chunk::<27>() else { return Parsed::Cut };
    let &[
        _,
        _,
        _,
        _,
        version,
        flags,
        g0,
        g1,
        g2,
        g3,
        g4,
        g5,
        g6,
        g7,
        s0,
        s1,
        s2,
        s3,
        q0,
        q1,
        q2,
        q3,
        c0,
        c1,
        c2,
        c3,
        count,
    ] = head;
    if version != 0 || flags > CONTINUED | FIRST | LAST {
        return Parsed::Broken;
    }
    let Some((lengths, rest)) = rest.split_at_checked(usize::from(count)) else { return Parsed::Cut };
    let size = lengths.iter().map(|&n| usize::from(n)).sum();
    let Some(body) = rest.get(..size) else { return Parsed::Cut };
    if *vain >= most {
        return Parsed::Broken;
    }
    let mut crc = crc32(0, &head[..22]);
    crc = crc32(crc, &[0; 4]);
    crc = crc32(crc, &head[26..]);
    crc = crc32(crc32(crc, lengths), body);
    if crc != u32::from_le_bytes([c0, c1, c2, c3]) {
        *vain += (27 + lengths.len() + size) as u64;
        return Parsed::Broken;
    }
    let page = Page {
        flags,
        granule: i64::from_le_bytes([g0, g1, g2, g3, g4, g5, g6, g7]),
        serial: u32::from_le_bytes([s0, s1, s2, s3]),
        sequence: u32::from_le_bytes([q0, q1, q2, q3]),
        lengths: lengths.to_vec(),
        body: body.to_vec(),
    };
    Parsed::Page(page, 27 + lengths.len() + size)
}

const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000_0000 != 0 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

fn crc32(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, &b| crc << 8 ^ CRC[usize::from((crc >> 24) as u8 ^ b)])
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Opus,
    Vorbis,
    Flac,
}

/// What the first packet of a stream says.
enum Ident {
    Audio(Kind),
    /// Audio or other that cannot be decoded, by name.
    Other(&'static str),
}

fn identify(packet: &[u8]) -> Ident {
    match packet {
        [b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', ..] => Ident::Audio(Kind::Opus),
        [1, b'v', b'o', b'r', b'b', b'i', b's', ..] => Ident::Audio(Kind::Vorbis),
        [0x7f, b'F', b'L', b'A', b'C', ..] => Ident::Audio(Kind::Flac),
        [b'S', b'p', b'e', b'e', b'x', ..] => Ident::Other("Speex audio"),
        [0x80, b't', b'h', b'e', b'o', b'r', b'a', ..] => Ident::Other("Theora video"),
        _ => Ident::Other("no audio that is known here"),
    }
}

/// A stream whose header packets are still coming.
struct Headers {
    kind: Kind,
    serial: u32,
    packets: Vec<Vec<u8>>,
}

impl Headers {
    /// How many packets of header there are in all; 0 when only the first audio packet will tell.
    fn due(&self) -> usize {
        match self.kind {
            Kind::Opus => 2,
            Kind::Vorbis => 3,
            Kind::Flac => match self.packets.first().and_then(|p| p.get(7..9)) {
                Some(&[a, b]) => usize::from(u16::from_be_bytes([a, b])).saturating_add(1),
                _ => 1,
            },
        }
    }

    fn stream(&self, assembly: Assembly) -> Result<Stream> {
        let first = &self.packets[0];
        let broken = || AudioError::malformed("the header of the Ogg stream is cut short or breaks its rules");
        let (codec, name, rate, channels, skip) = match self.kind {
            Kind::Opus => {
                let head = opus::Head::parse(first)?;
                let params = params(id::CODEC_ID_OPUS, opus::RATE, head.channels.into(), first);
                (Codec::new(&params)?, "opus", opus::RATE, u16::from(head.channels), head.pre_skip)
            }
            Kind::Vorbis => {
                let (&channels, rate) = (first.get(11).ok_or_else(broken)?, first.get(12..16).ok_or_else(broken)?);
                let rate = u32::from_le_bytes(rate.try_into().map_err(|_| broken())?);
                check_format(rate, channels.into())?;
                let setup = self.packets.get(2).ok_or_else(broken)?;
                let extra = [first.as_slice(), setup].concat();
                let codec = Codec::new(&params(id::CODEC_ID_VORBIS, rate, channels.into(), &extra))?;
                (codec, "vorbis", rate, channels.into(), 0)
            }
            Kind::Flac => {
                let info = first.get(17..51).ok_or_else(broken)?;
                let rate = u32::from_be_bytes([0, info[10], info[11], info[12]]) >> 4;
                let channels = u16::from(info[12] >> 1 & 7) + 1;
                check_format(rate, channels)?;
                (Codec::new(&params(id::CODEC_ID_FLAC, rate, channels, info))?, "flac", rate, channels, 0)
            }
        };
        Ok(Stream {
            kind: self.kind,
            serial: self.serial,
            codec,
            name,
            rate,
            channels,
            skip: skip.into(),
            pos: None,
            ended: false,
            assembly,
        })
    }
}

/// Puts packets together from pages.
#[derive(Default)]
struct Assembly {
    partial: Vec<u8>,
    /// Whether `partial` is the beginning of a packet that goes on.
    open: bool,
    sequence: Option<u32>,
    too_long: bool,
}

impl Assembly {
    /// The packets that end on a page. The second value tells whether a page is missing before it.
    fn packets(&mut self, page: &Page) -> (Vec<Vec<u8>>, bool) {
        let hole = self.sequence.is_some_and(|last| page.sequence != last.wrapping_add(1));
        self.sequence = Some(page.sequence);
        if hole {
            (self.partial, self.open) = (Vec::new(), false);
        }
        // The end of a packet whose beginning is not there.
        let mut orphan = page.flags & CONTINUED != 0 && !self.open;
        if page.flags & CONTINUED == 0 {
            self.partial.clear();
        }
        let (mut packets, mut body) = (Vec::new(), page.body.as_slice());
        for &length in &page.lengths {
            let (part, rest) = body.split_at(usize::from(length));
            body = rest;
            if self.partial.len() + part.len() <= MAX_PACKET {
                self.partial.extend_from_slice(part);
            } else {
                self.too_long = true;
            }
            self.open = length == 255;
            if length < 255 {
                let packet = std::mem::take(&mut self.partial);
                if !std::mem::take(&mut orphan) && !std::mem::take(&mut self.too_long) {
                    packets.push(packet);
                }
            }
        }
        (packets, hole)
    }
}

struct Stream {
    kind: Kind,
    serial: u32,
    codec: Codec,
    name: &'static str,
    rate: u32,
    channels: u16,
    /// Frames still to be dropped from the beginning.
    skip: u64,
    /// The granule up to which audio was given; `None` before the first.
    pos: Option<i64>,
    ended: bool,
    assembly: Assembly,
}

impl Stream {
    /// Decodes the packets of a page to the end of `out`. Gives frames lost before the page.
    fn page(&mut self, page: &Page, mix: Mix, out: &mut Vec<f32>, notes: &mut Notes) -> Result<u64> {
        let (packets, hole) = self.assembly.packets(page);
        let base = out.len();
        for packet in &packets {
            if !self.is_header(packet) {
                self.packet(packet, mix, out, notes)?;
            }
        }
        let lost = self.follow(page, hole, base, out, notes);
        let dropped = (self.skip.min((out.len() - base) as u64)) as usize;
        out.drain(base..base + dropped);
        self.skip -= dropped as u64;
        Ok(lost)
    }

    fn is_header(&self, packet: &[u8]) -> bool {
        match self.kind {
            Kind::Opus => packet.starts_with(b"OpusTags") || packet.starts_with(b"OpusHead"),
            Kind::Vorbis => packet.first().is_some_and(|b| b & 1 == 1),
            Kind::Flac => packet.first() != Some(&0xff),
        }
    }

    fn packet(&mut self, packet: &[u8], mix: Mix, out: &mut Vec<f32>, notes: &mut Notes) -> Result<()> {
        match self.codec.decode(packet, 0) {
            Ok(decoded) => {
                check_format(decoded.rate, decoded.channels.max(1))?;
                mix.check(decoded.channels.max(1))?;
                mix.add(decoded.samples, decoded.channels, out, notes);
            }
            Err(message) => {
                let lost = match self.kind {
                    Kind::Opus => opus::packet_frames(packet),
                    _ => None,
                };
                out.extend(std::iter::repeat_n(0.0, lost.unwrap_or(0) as usize));
                notes.add(DamageKind::Undecodable, lost.map(|n| (n, self.rate)), message);
            }
        }
        Ok(())
    }

    /// Compares what was decoded with the page's clock: cuts the start and the end, finds gaps.
    fn follow(&mut self, page: &Page, hole: bool, base: usize, out: &mut Vec<f32>, notes: &mut Notes) -> u64 {
        let last = page.flags & LAST != 0;
        self.ended |= last;
        let frames = (out.len() - base) as i64;
        if page.granule < 0 {
            self.pos = self.pos.map(|pos| pos.saturating_add(frames));
            return 0;
        }
        let first = self.pos.is_none();
        if first && frames == 0 && !last {
            return 0;
        }
        let start = self.pos.unwrap_or_else(|| self.start(page.granule, frames, last, base, out));
        let end = start.saturating_add((out.len() - base) as i64);
        self.pos = Some(page.granule);
        if last && page.granule < end {
            let cut = end.saturating_sub(page.granule.max(0)).clamp(0, (out.len() - base) as i64);
            out.truncate(out.len() - cut as usize);
            return 0;
        }
        let lost = match first {
            // Pages may be missing between the headers and the first audio; otherwise a late start is a recording that
            // was cut out of a longer one.
            true => {
                if hole {
                    start
                } else {
                    0
                }
            }
            false => page.granule.saturating_sub(end),
        };
        let lost = u64::try_from(lost).unwrap_or(0);
        // Up to 20 ms is how muxers round. What was given out keeps its place then, so that small losses add up until
        // they are seen.
        if lost == 0 || (!hole && lost <= u64::from(self.rate / 50)) {
            self.pos = Some(page.granule.min(end));
            return 0;
        }
        notes.add(DamageKind::Gap, Some((lost, self.rate)), "packets are missing");
        lost
    }

    /// The granule at which the first page's audio begins.
    fn start(&self, granule: i64, frames: i64, last: bool, base: usize, out: &mut Vec<f32>) -> i64 {
        let start = granule.saturating_sub(frames);
        if start < 0 && !last && self.kind == Kind::Vorbis {
            // The encoder's own run-in.
            out.drain(base..base + start.unsigned_abs().min(frames.unsigned_abs()) as usize);
        }
        start.max(0)
    }
}

struct OggFrames {
    input: Input,
    info: Info,
    stream: Stream,
    /// A page's audio that waits behind the silence for what is missing before it.
    ready: Vec<f32>,
    /// Bytes hashed for what was no page.
    vain: u64,
    quiet: Quiet,
    /// What the headers already decoded of the first audio page.
    first: Option<Page>,
}

/// Opens an Ogg file; the head has been recognised.
pub(crate) fn open(mut input: Input, notes: &mut Notes) -> Result<Box<dyn Frames>> {
    let end = last_granule(&mut input).map_err(|e| AudioError::io("reading the audio", e))?;
    let mut vain = 0;
    let (stream, first) = read_headers(&mut input, None, &mut vain, notes)?;
    let duration = end
        .filter(|(serial, granule)| *serial == stream.serial && *granule > 0)
        .map(|(_, granule)| span(granule.unsigned_abs().saturating_sub(stream.skip), stream.rate));
    let info = Info { container: "ogg", codec: stream.name, rate: stream.rate, channels: stream.channels, duration };
    Ok(Box::new(OggFrames { input, info, stream, ready: Vec::new(), vain, quiet: Quiet::new(), first }))
}

/// The last page's stream and clock, where the end can be looked at.
fn last_granule(input: &mut Input) -> std::io::Result<Option<(u32, i64)>> {
    let Some(len) = input.len().filter(|_| input.can_seek()) else { return Ok(None) };
    input.seek_start(len.saturating_sub(MAX_PAGE as u64))?;
    let tail = input.take(MAX_PAGE)?;
    input.seek_start(0)?;
    let mut vain = 0;
    let starts = tail.windows(4).enumerate().rev().filter(|(_, w)| w == b"OggS");
    Ok(starts.map(|(at, _)| parse_page(&tail[at..], &mut vain, VAIN)).find_map(|parsed| match parsed {
        Parsed::Page(page, _) if page.granule >= 0 => Some((page.serial, page.granule)),
        _ => None,
    }))
}

/// Reads the headers of the next audio stream. `first` is its first page where that was read already. Gives the page on
/// which the headers ended too, since audio may follow on it.
fn read_headers(
    input: &mut Input,
    first: Option<Page>,
    vain: &mut u64,
    notes: &mut Notes,
) -> Result<(Stream, Option<Page>)> {
    let (mut headers, mut assembly, mut other) = (None::<Headers>, Assembly::default(), None);
    let (mut page, mut pauses) = (first, 0);
    for _ in 0..MAX_HEADER_PAGES {
        let next = match page.take() {
            Some(page) => Next::Page(page),
            None => next_page(input, vain, notes)?,
        };
        let now = match next {
            Next::Page(page) => page,
            Next::Pause if pauses < MAX_HEADER_PAUSES => {
                pauses += 1;
                continue;
            }
            Next::Pause => return Err(AudioError::malformed("the ogg file has no pages where its audio should begin")),
            Next::End => break,
        };
        if now.flags & FIRST != 0 && headers.is_none() {
            let mut start = Assembly::default();
            let (packets, _) = start.packets(&now);
            match identify(packets.first().map_or(&[], Vec::as_slice)) {
                Ident::Audio(kind) => {
                    headers = Some(Headers { kind, serial: now.serial, packets });
                    assembly = start;
                }
                Ident::Other(what) => other = Some(what),
            }
        } else if let Some(headers) = headers.as_mut().filter(|h| h.serial == now.serial) {
            let (packets, _) = assembly.packets(&now);
            headers.packets.extend(packets);
        }
        if let Some(headers) = headers.as_mut().filter(|h| h.serial == now.serial) {
            let due = headers.due();
            let audio = headers.kind == Kind::Flac && headers.packets.last().is_some_and(|p| p.first() == Some(&0xff));
            if headers.packets.len() >= due && (due > 1 || audio) {
                return finish_headers(headers, assembly, now, due);
            }
        }
    }
    Err(match (headers, other) {
        (None, Some(what)) => {
            AudioError::unsupported(format!("the ogg file holds {what}, which cannot be decoded here"))
        }
        _ => AudioError::malformed("the ogg file ends before its audio begins"),
    })
}

/// Makes the stream. Audio packets on the last header page are rare, but allowed: that page is read again.
fn finish_headers(headers: &Headers, mut assembly: Assembly, page: Page, due: usize) -> Result<(Stream, Option<Page>)> {
    let more = headers.packets.len() > due || due <= 1;
    if more {
        assembly = Assembly { sequence: Some(page.sequence.wrapping_sub(1)), open: true, ..Assembly::default() };
    }
    Ok((headers.stream(assembly)?, more.then_some(page)))
}

impl OggFrames {
    fn next_page(&mut self, notes: &mut Notes) -> Result<Next> {
        match self.first.take() {
            Some(page) => Ok(Next::Page(page)),
            None => next_page(&mut self.input, &mut self.vain, notes),
        }
    }

    fn step(&mut self, block: Block, out: &[f32]) -> Step {
        self.quiet.step(block, self.input.pos(), out.is_empty())
    }
}

impl Frames for OggFrames {
    fn info(&self) -> &Info {
        &self.info
    }

    fn next(&mut self, mix: Mix, out: &mut Vec<f32>, notes: &mut Notes) -> Result<Step> {
        let block = Block { rate: self.stream.rate };
        if !self.ready.is_empty() {
            out.append(&mut self.ready);
            return Ok(Step::Block(block));
        }
        let page = match self.next_page(notes)? {
            Next::Page(page) => page,
            Next::Pause => return Ok(Step::Pause),
            Next::End => {
                if !self.stream.ended {
                    notes.add(DamageKind::Truncated, None, "the stream stops without its last page");
                }
                return Ok(Step::End);
            }
        };
        if page.flags & FIRST != 0 && (self.stream.ended || self.stream.pos.is_some()) {
            if !self.stream.ended {
                notes.add(DamageKind::Truncated, None, "the stream stops without its last page");
            }
            let (stream, first) = read_headers(&mut self.input, Some(page), &mut self.vain, notes)?;
            mix.check(stream.channels)?;
            (self.stream, self.first) = (stream, first);
            return Ok(self.step(Block { rate: self.stream.rate }, out));
        }
        if page.serial != self.stream.serial || self.stream.ended {
            return Ok(self.step(block, out));
        }
        match self.stream.page(&page, mix, out, notes)? {
            0 => Ok(self.step(block, out)),
            lost => {
                self.ready.append(out);
                Ok(Step::Silence(block, lost))
            }
        }
    }
}
