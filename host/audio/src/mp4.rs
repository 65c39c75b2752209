//! The edit lists of mp4 files: which part of a track is to be heard.
//!
//! AAC encoders start with silence of their own (1024 to 2112 frames) and fill up the last packet; an edit list, or
//! Apple's `iTunSMPB` note, says how much. The packets themselves are read by symphonia ([`crate::packets`]).

use std::io;

use crate::input::Input;
use crate::packets::Window;

/// The largest box of the kinds read here that is looked at.
const MAX_BOX: u64 = 1 << 20;
/// Boxes that are looked at in all.
const MAX_BOXES: usize = 100_000;

/// One track's numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Track {
    id: u32,
    timescale: u32,
    /// Duration in the movie's timescale, first frame in the track's.
    edit: Option<(u64, u64)>,
    edits: usize,
}

/// What the file says about what is to be heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edits {
    timescale: u32,
    tracks: Vec<Track>,
    /// Delay and length in frames.
    smpb: Option<(u64, u64)>,
    /// How long the file should be, where a box behind the index goes on beyond the file's end.
    pub(crate) claimed: Option<u64>,
}

impl Edits {
    /// What to keep of a track, in frames at `rate`.
    pub(crate) fn window(&self, id: u32, rate: u32) -> Option<Window> {
        let scale = |value: u64, by: u32| (u128::from(value) * u128::from(rate) / u128::from(by.max(1))) as u64;
        let track = self.tracks.iter().find(|t| t.id == id).or(self.tracks.first())?;
        match (track.edit, track.edits) {
            (Some((duration, media)), 1) => {
                let start = scale(media, track.timescale);
                let len = scale(duration, self.timescale);
                let end = (duration > 0).then(|| start.saturating_add(len));
                Some(Window { start, end, hint: false })
            }
            _ => {
                self.smpb.map(|(delay, len)| Window { start: delay, end: Some(delay.saturating_add(len)), hint: false })
            }
        }
    }
}

/// Walks the boxes of a file that can be read out of order. Boxes that make no sense end the walk.
pub(crate) fn edits(input: &mut Input) -> io::Result<Edits> {
    let mut edits = Edits::default();
    let mut index_end = None;
    for _ in 0..MAX_BOXES {
        let Some([s0, s1, s2, s3, kind @ ..]) = input.array::<8>()? else { break };
        let size = match u32::from_be_bytes([s0, s1, s2, s3]) {
            1 => match input.array::<8>()? {
                Some(long) => u64::from_be_bytes(long).saturating_sub(16),
                None => break,
            },
            0 => u64::MAX,
            // A box shorter than its own header: what stands before it still holds.
            2..8 => break,
            size => u64::from(size) - 8,
        };
        match &kind {
            b"moov" => index_end = input.pos().checked_add(size),
            // Boxes of boxes: go on inside.
            b"mdia" | b"edts" | b"udta" | b"ilst" => {}
            b"trak" => edits.tracks.push(Track::default()),
            b"meta" => {
                input.skip(4)?;
            }
            b"mvhd" | b"tkhd" | b"mdhd" | b"elst" | b"----" if size <= MAX_BOX => {
                let body = input.take(size as usize)?;
                read(&mut edits, &kind, &body);
            }
            _ => {
                let start = input.pos();
                if input.skip(size)? < size {
                    if size < u64::MAX && index_end.is_some_and(|end| start > end) {
                        edits.claimed = start.checked_add(size).filter(|&end| i64::try_from(end).is_ok());
                    }
                    break;
                }
            }
        }
    }
    Ok(edits)
}

fn read(edits: &mut Edits, kind: &[u8; 4], body: &[u8]) -> Option<()> {
    let version = *body.first()?;
    let u32_at = |at: usize| Some(u32::from_be_bytes(body.get(at..at + 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_be_bytes(body.get(at..at + 8)?.try_into().ok()?));
    match (kind, edits.tracks.last_mut()) {
        (b"mvhd", _) => edits.timescale = u32_at(if version == 1 { 20 } else { 12 })?,
        (b"tkhd", Some(track)) => track.id = u32_at(if version == 1 { 20 } else { 12 })?,
        (b"mdhd", Some(track)) => track.timescale = u32_at(if version == 1 { 20 } else { 12 })?,
        (b"elst", Some(track)) => {
            let width = if version == 1 { 20 } else { 12 };
            for i in 0..u32_at(4)?.min(1000) as usize {
                let at = 8 + i * width;
                let (duration, media) = match version {
                    1 => (u64_at(at)?, u64_at(at + 8)?.cast_signed()),
                    _ => (u32_at(at)?.into(), i64::from(u32_at(at + 4)?.cast_signed())),
                };
                // A media time of -1 is a pause before the track.
                if let Ok(media) = u64::try_from(media) {
                    track.edits += 1;
                    track.edit.get_or_insert((duration, media));
                }
            }
        }
        (b"----", _) => edits.smpb = edits.smpb.or(smpb(body)),
        _ => {}
    }
    Some(())
}

/// `iTunSMPB`: hexadecimal words; the second is the delay, the fourth the length.
fn smpb(body: &[u8]) -> Option<(u64, u64)> {
    let name = body.windows(8).position(|w| w == b"iTunSMPB")?;
    let data = body[name..].windows(4).position(|w| w == b"data")? + name + 12;
    let text = std::str::from_utf8(body.get(data..)?).ok()?;
    let mut words = text.split_ascii_whitespace().map(|w| u64::from_str_radix(w, 16).ok());
    let (delay, _, len) = (words.nth(1)??, words.next()??, words.next()??);
    (len > 0 && delay < 1 << 20).then_some((delay, len))
}
