//! Containers that symphonia reads: native flac, MPEG audio, ADTS and mp4.

use std::io;

use symphonia::core::audio::Channels as Layout;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::CODEC_ID_NULL_AUDIO;
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::{FormatOptions, FormatReader, Track};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::packet::Packet;
use symphonia::core::units::Duration;
use symphonia::default::formats::{AdtsReader, FlacReader, IsoMp4Reader, MpaReader};

use crate::codec::{Codec, name_of};
use crate::damage::{DamageKind, Notes, span};
use crate::decoder::Info;
use crate::error::{AudioError, Result};
use crate::frames::{Block, Frames, Mix, Step, check_format};
use crate::input::{Failure, Forward, Input, Tail};
use crate::{mp4, mpeg};

/// Errors of the container in a row after which the rest is given up.
const PATIENCE: u32 = 64;
/// Frames behind the announced end that an encoder may have padded with (mp3 writes at most 4095, in whole packets).
const PADDING: usize = 4096 + 1152;

/// Packets in a row without a sample of ours after which the caller should have the chance to stop.
const IDLE: u32 = 100_000;

type Reader = Box<dyn FormatReader>;

/// What to keep of all frames that the packets hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    /// Frames of encoder delay before the first real one.
    pub(crate) start: u64,
    /// Where the last real frame ends, counted like `start`.
    pub(crate) end: Option<u64>,
    /// The end is a note of the encoder about its own padding, to be doubted when much more follows.
    pub(crate) hint: bool,
}

struct PacketFrames {
    reader: Reader,
    codec: Codec,
    info: Info,
    track: u32,
    /// Frames per unit of the packets' clock, as a fraction.
    clock: (u64, u64),
    window: Window,
    /// How many frames the packets' clock may be ahead of the audio before that shows a loss; `None` where packets do
    /// not carry the true time.
    ahead: Option<u64>,
    /// How many frames should come, where the container says.
    expected: Option<u64>,
    pos: u64,
    given: u64,
    held: Vec<f32>,
    later: Option<Packet>,
    failures: u32,
    failed: Failure,
    /// Packets in a row without a sample.
    idle: u32,
    /// What was read last, and the last packet, where a cut shows in no other way.
    tail: Tail,
    last: Vec<u8>,
    cut: bool,
}

/// What comes next.
enum Next {
    Packet(Packet),
    /// Many packets of other tracks went by.
    Pause,
    End,
}

/// Opens a native flac file.
pub(crate) fn open_flac(input: Input) -> Result<Box<dyn Frames>> {
    let mut frames = open(input, "flac", None, |s| Ok(Box::new(FlacReader::try_new(s, FormatOptions::default())?)))?;
    frames.ahead = Some(0);
    Ok(Box::new(frames))
}

/// Opens MPEG audio without a container.
pub(crate) fn open_mpeg(input: Input) -> Result<Box<dyn Frames>> {
    // Read forwards only: symphonia would otherwise guess the length from the size and cut the audio there.
    let mut frames = open(input, "mp3", None, |s| Ok(Box::new(MpaReader::try_new(s, FormatOptions::default())?)))?;
    let track = frames.reader.tracks().first();
    let delay = u64::from(track.and_then(|t| t.delay).unwrap_or(0));
    let end = track.and_then(|t| t.num_frames).map(|n| n + delay);
    frames.window = Window { start: delay, end, hint: true };
    Ok(Box::new(frames))
}

/// Opens AAC with ADTS headers.
pub(crate) fn open_adts(input: Input) -> Result<Box<dyn Frames>> {
    let mut frames = open(input, "adts", None, |s| Ok(Box::new(AdtsReader::try_new(s, FormatOptions::default())?)))?;
    // The reader guesses a length from the first frames.
    (frames.expected, frames.info.duration) = (None, None);
    Ok(Box::new(frames))
}

/// Opens an mp4 or m4a file.
pub(crate) fn open_mp4(input: Input) -> Result<Box<dyn Frames>> {
    let mut input = input.spooled("mp4")?;
    let edits = mp4::edits(&mut input).map_err(|e| AudioError::io("reading the audio", e))?;
    input.seek_start(0).map_err(|e| AudioError::io("reading the audio", e))?;
    let claimed = edits.claimed;
    let mut frames =
        open(input, "mp4", claimed, |s| Ok(Box::new(IsoMp4Reader::try_new(s, FormatOptions::default())?)))?;
    // A clock coarser than the samples may have rounded each packet up: what it is ahead by means nothing.
    let fine = frames.clock.0 <= frames.clock.1;
    frames.ahead = fine.then_some(u64::from(frames.info.rate) / 10);
    if let Some(window) = edits.window(frames.track, frames.info.rate) {
        frames.window = window;
        if let Some(end) = window.end {
            let kept = end.saturating_sub(window.start);
            frames.info.duration = Some(span(kept, frames.info.rate));
            frames.expected = frames.expected.map(|all| all.saturating_sub(window.start).min(kept));
        }
    }
    Ok(Box::new(frames))
}

fn open(
    input: Input,
    container: &'static str,
    claimed: Option<u64>,
    reader: impl FnOnce(MediaSourceStream<'static>) -> symphonia::core::errors::Result<Reader>,
) -> Result<PacketFrames> {
    let failed = input.failure();
    let forward = container != "mp4";
    let source = Forward::new(input, forward, claimed);
    let tail = source.tail();
    let stream = MediaSourceStream::new(Box::new(source), MediaSourceStreamOptions::default());
    let reader = reader(stream).map_err(|e| open_error(e, container, &failed))?;
    let track = pick_track(reader.as_ref(), container)?;
    let Some(CodecParameters::Audio(params)) = &track.codec_params else {
        return Err(AudioError::not_audio(format!("the {container} file holds no audio track")));
    };
    let mut codec_params = params.clone();
    // A stream of zero-length description is described by its first packets; only the decoder can know.
    let rate = params.sample_rate.unwrap_or(0);
    let channels = params.channels.as_ref().map_or(1, Layout::count) as u16;
    check_format(rate, channels)?;
    if codec_params.channels.is_none() {
        codec_params.with_channels(Layout::Discrete(channels));
    }
    let (numer, denom) =
        track.time_base.map_or((1, u64::from(rate)), |tb| (tb.numer.get().into(), tb.denom.get().into()));
    let expected = track.num_frames.filter(|&n| n > 0);
    let duration = match (expected, track.duration) {
        (Some(frames), _) if container != "mp4" => Some(span(frames, rate)),
        (_, Some(ticks)) if !ticks.is_zero() => Some(span(scale(ticks.get(), u64::from(rate) * numer, denom), rate)),
        _ => None,
    };
    let expected = match container {
        "mp4" => duration.map(|d| (d.as_secs_f64() * f64::from(rate)) as u64),
        _ => expected,
    };
    Ok(PacketFrames {
        codec: Codec::new(&codec_params)?,
        info: Info { container, codec: name_of(params.codec), rate, channels, duration },
        track: track.id,
        clock: (u64::from(rate) * numer, denom),
        window: Window::default(),
        ahead: None,
        expected: expected.filter(|&n| n > 0),
        pos: 0,
        given: 0,
        held: Vec::new(),
        later: None,
        failures: 0,
        failed,
        idle: 0,
        tail,
        last: Vec::new(),
        cut: false,
        reader,
    })
}

fn scale(value: u64, numer: u64, denom: u64) -> u64 {
    let scaled = u128::from(value) * u128::from(numer) / u128::from(denom.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

fn pick_track(reader: &dyn FormatReader, container: &str) -> Result<Track> {
    let audio = |t: &&Track| matches!(&t.codec_params, Some(CodecParameters::Audio(_)));
    let known =
        |t: &&Track| matches!(&t.codec_params, Some(CodecParameters::Audio(p)) if p.codec != CODEC_ID_NULL_AUDIO);
    let tracks = reader.tracks();
    let found = tracks.iter().find(known).or_else(|| tracks.iter().find(audio));
    found.cloned().ok_or_else(|| match tracks.len() {
        0 => AudioError::malformed(format!("the {container} file holds no track")),
        _ => {
            AudioError::not_audio(format!("the {container} file holds video or text, but no audio that is known here"))
        }
    })
}

fn open_error(error: SymphoniaError, container: &str, failed: &Failure) -> AudioError {
    if let Some(error) = failed.take() {
        return AudioError::io("reading the audio", error);
    }
    match error {
        SymphoniaError::Unsupported(what) if what.contains("missing moov") => AudioError::malformed(format!(
            "the {container} file has no index (moov): it was cut short or never finished"
        )),
        SymphoniaError::Unsupported(what) => {
            AudioError::unsupported(format!("the {container} file cannot be read here: {what}"))
        }
        SymphoniaError::IoError(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            AudioError::malformed(format!("the {container} file ends before its audio begins"))
        }
        e => AudioError::malformed(format!("the {container} file: {e}")),
    }
}

impl PacketFrames {
    /// The next packet of our track.
    fn packet(&mut self, notes: &mut Notes) -> Result<Next> {
        if let Some(packet) = self.later.take() {
            return Ok(Next::Packet(packet));
        }
        loop {
            if self.idle >= IDLE {
                self.idle = 0;
                return Ok(Next::Pause);
            }
            self.idle += 1;
            let error = match self.reader.next_packet() {
                Ok(Some(mut packet)) if packet.track_id == self.track => {
                    self.failures = 0;
                    // The window does the trimming.
                    (packet.trim_start, packet.trim_end) = (Duration::ZERO, Duration::ZERO);
                    return Ok(Next::Packet(packet));
                }
                Ok(Some(_)) => continue,
                Ok(None) => {
                    self.cut = self.info.container == "mp3" && self.ends_in_a_frame();
                    break;
                }
                Err(e) => e,
            };
            if let Some(error) = self.failed.take() {
                return Err(AudioError::io("reading the audio", error));
            }
            self.failures += 1;
            self.cut = matches!(&error, SymphoniaError::IoError(e) if e.kind() == io::ErrorKind::UnexpectedEof);
            if self.cut {
                break;
            }
            notes.add(DamageKind::Garbage, None, error.to_string());
            if self.failures >= PATIENCE {
                break;
            }
        }
        self.ended(notes);
        Ok(Next::End)
    }

    /// Whether the bytes behind the last packet are the beginning of another. Tags and zeros are not.
    fn ends_in_a_frame(&self) -> bool {
        match self.tail.behind(&self.last).as_deref() {
            Some(rest @ [_, _, _, _, _, _, ..]) => {
                mpeg::length(rest).is_some_and(|len| len > rest.len()) && mpeg::alike(rest, &self.last)
            }
            // Too short to tell its length, so that no frame can be whole.
            Some([0xff]) => true,
            Some(rest @ [0xff, ..]) => mpeg::alike(rest, &self.last),
            _ => false,
        }
    }

    /// Frames that should have come and did not.
    fn short(&self) -> u64 {
        self.expected.map_or(0, |n| n.saturating_sub(self.given))
    }

    fn ended(&mut self, notes: &mut Notes) {
        let short = self.short();
        if self.info.codec == "flac" && short == 0 && self.codec.verified() == Some(false) {
            notes.add(DamageKind::Checksum, None, "the samples differ from the checksum in the header");
        }
        // Encoders differ by a packet in what they count.
        let slack = if self.info.codec == "flac" { 0 } else { 2304 };
        if short > slack {
            notes.add(
                DamageKind::Truncated,
                Some((short, self.info.rate)),
                "the file ends before its header says that it should",
            );
        } else if self.cut && (short > 0 || self.expected.is_none() || self.info.container != "mp4") {
            // Of an mp4 file that has given all its audio, another track is cut.
            notes.add(DamageKind::Truncated, None, "the file ends inside of a packet");
        }
        self.expected = None;
    }

    /// Frames between where the audio so far ends and where this packet begins.
    fn gap(&self, packet: &Packet) -> u64 {
        match (u64::try_from(packet.pts.get()), self.ahead) {
            (Ok(ticks), Some(ahead)) => {
                let gap = scale(ticks, self.clock.0, self.clock.1).saturating_sub(self.pos);
                if gap > ahead { gap } else { 0 }
            }
            _ => 0,
        }
    }

    /// Passes over frames that are not there. Gives how many of them the window keeps.
    fn lose(&mut self, frames: u64) -> u64 {
        let before = self.pos.max(self.window.start);
        self.pos = self.pos.saturating_add(frames);
        let lost = self.pos.min(self.window.end.unwrap_or(u64::MAX)).saturating_sub(before);
        self.given = self.given.saturating_add(lost);
        lost
    }

    /// Cuts what lies outside of the window off the `got` frames that were just appended.
    fn trim(&mut self, out: &mut Vec<f32>, got: usize, notes: &mut Notes) {
        let base = out.len() - got;
        let before = self.pos;
        self.pos += got as u64;
        if let Some(end) = self.window.end {
            let beyond = (self.pos.saturating_sub(end.max(before)) as usize).min(got);
            let tail = out.split_off(out.len() - beyond);
            if self.window.hint {
                self.held.extend(tail);
            }
            if self.held.len() > PADDING {
                notes.add(
                    DamageKind::Garbage,
                    None,
                    "the header tells a shorter length than there is; all of it is kept",
                );
                out.append(&mut self.held);
                (self.window.end, self.expected) = (None, None);
            }
        }
        let early = (self.window.start.saturating_sub(before) as usize).min(out.len() - base);
        out.drain(base..base + early);
        self.given += (out.len() - base) as u64;
    }
}

impl Frames for PacketFrames {
    fn info(&self) -> &Info {
        &self.info
    }

    fn next(&mut self, mix: Mix, out: &mut Vec<f32>, notes: &mut Notes) -> Result<Step> {
        let block = Block { rate: self.info.rate };
        let packet = match self.packet(notes)? {
            Next::Packet(packet) => packet,
            Next::Pause => return Ok(Step::Pause),
            Next::End => return Ok(Step::End),
        };
        let gap = self.gap(&packet);
        if gap > 0 {
            let lost = self.lose(gap);
            notes.add(DamageKind::Gap, Some((lost, block.rate)), "packets are missing");
            self.later = Some(packet);
            return Ok(Step::Silence(block, lost));
        }
        if self.info.container == "mp3" {
            self.last.clear();
            self.last.extend_from_slice(&packet.data);
        }
        let lasts = scale(packet.dur.get(), self.clock.0, self.clock.1);
        match self.codec.decode_packet(&packet) {
            Ok(decoded) => {
                check_format(decoded.rate, decoded.channels.max(1))?;
                mix.check(decoded.channels.max(1))?;
                let (block, before) = (Block { rate: decoded.rate }, out.len());
                mix.add(decoded.samples, decoded.channels, out, notes);
                if block.rate != self.info.rate && self.info.container == "mp4" {
                    // The clock is converted at another rate than the samples have.
                    self.ahead = None;
                }
                self.trim(out, out.len() - before, notes);
                if !out.is_empty() {
                    self.idle = 0;
                }
                Ok(Step::Block(block))
            }
            Err(message) => {
                let lost = self.lose(lasts);
                if lost > 0 {
                    self.idle = 0;
                }
                notes.add(DamageKind::Undecodable, Some((lost, block.rate)), message);
                Ok(Step::Silence(block, lost))
            }
        }
    }
}
