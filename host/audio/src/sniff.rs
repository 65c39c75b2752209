//! What a source is, by its first bytes.

use crate::damage::{DamageKind, Notes};
use crate::error::{AudioError, Result};
use crate::frames::Frames;
use crate::input::Input;
use crate::{aiff, mkv, mpeg, ogg, packets, wav};

/// How far raw MPEG or ADTS frames are looked for.
const SEARCH: usize = 64 << 10;
/// Tags before the audio that are passed over at most.
const MAX_TAGS: usize = 16;

/// Opens whatever the source is.
pub(crate) fn open(mut input: Input, notes: &mut Notes) -> Result<Box<dyn Frames>> {
    skip_tags(&mut input)?;
    let head = input.peek(SEARCH).map_err(|e| AudioError::io("reading the audio", e))?.to_vec();
    if head.is_empty() {
        return Err(AudioError::empty("the audio is empty: there is not one byte"));
    }
    match head.as_slice() {
        [b'R', b'I', b'F', b'F' | b'X', ..] | [b'R', b'F', b'6', b'4', ..] | [b'B', b'W', b'6', b'4', ..] => {
            open_riff(input, &head)
        }
        [b'r', b'i', b'f', b'f', 0x2e, 0x91, 0xcf, 0x11, ..] => wav::open(input),
        [b'F', b'O', b'R', b'M', _, _, _, _, b'A', b'I', b'F', b'F' | b'C', ..] => aiff::open_aiff(input),
        [b'.', b's', b'n', b'd', ..] => aiff::open_au(input),
        [b'f', b'L', b'a', b'C', ..] => packets::open_flac(input),
        [b'O', b'g', b'g', b'S', ..] => ogg::open(input, notes),
        [0x1a, 0x45, 0xdf, 0xa3, ..] => mkv::open(input, notes),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => packets::open_mp4(input),
        [_, _, _, _, b'm', b'o', b'o', b'v', ..] | [_, _, _, _, b'm', b'd', b'a', b't', ..] => packets::open_mp4(input),
        _ => open_frames(input, &head, notes),
    }
}

fn open_riff(input: Input, head: &[u8]) -> Result<Box<dyn Frames>> {
    match (head.first_chunk::<4>(), head.get(8..12)) {
        (Some(b"RIFX"), _) => {
            Err(AudioError::unsupported("this is a big-endian wave file (RIFX); convert it to plain wav"))
        }
        (_, Some(b"WAVE")) => wav::open(input),
        (_, Some(b"AVI ")) => Err(AudioError::not_audio("this is an AVI video; extract its audio first")),
        (_, Some(b"WEBP")) => Err(AudioError::not_audio("this is a WebP picture, not audio")),
        (_, Some(_)) => Err(AudioError::not_audio("this is a RIFF file, but no wave file")),
        (_, None) => Err(AudioError::malformed("the wave file ends inside of its first 12 bytes")),
    }
}

/// Raw MPEG or ADTS frames, which have no header of their own.
fn open_frames(mut input: Input, head: &[u8], notes: &mut Notes) -> Result<Box<dyn Frames>> {
    if let Some(what) = not_audio(head) {
        return Err(what);
    }
    let Some((at, kind)) = mpeg::find(head) else {
        return Err(unknown(head));
    };
    if at > 0 {
        input.consume(at);
        input.rebase();
        notes.add(DamageKind::Garbage, None, format!("{at} bytes before the first frame were passed over"));
    }
    match kind {
        mpeg::Kind::Adts => packets::open_adts(input),
        mpeg::Kind::Mpeg => packets::open_mpeg(input),
    }
}

/// Passes over ID3v2 tags, which stand before mp3, and at times before flac and aac.
fn skip_tags(input: &mut Input) -> Result<()> {
    let io = |e| AudioError::io("reading the audio", e);
    for _ in 0..MAX_TAGS {
        let &[b'I', b'D', b'3', _, _, flags, a, b, c, d] = input.peek(10).map_err(io)? else { break };
        let len = [a, b, c, d].iter().fold(0u64, |n, &byte| n << 7 | u64::from(byte & 0x7f));
        let footer = if flags & 0x10 != 0 { 10 } else { 0 };
        input.skip(10 + len + footer).map_err(io)?;
        // Some writers leave zeros between the tag and the first frame.
        while input.peek(1).map_err(io)? == [0] && input.pos() < (1 << 28) {
            let zeros = input.peek(4096).map_err(io)?.iter().take_while(|&&b| b == 0).count();
            input.consume(zeros);
        }
    }
    input.rebase();
    Ok(())
}

/// Formats that are known not to be audio, or audio that is known not to be decoded.
fn not_audio(head: &[u8]) -> Option<AudioError> {
    const OTHERS: &[(&[u8], &str)] = &[
        (b"PK\x03\x04", "a zip archive"),
        (b"\x1f\x8b", "gzip-compressed data"),
        (b"\xfd7zXZ", "xz-compressed data"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"\x28\xb5\x2f\xfd", "zstd-compressed data"),
        (b"Rar!", "a rar archive"),
        (b"%PDF", "a PDF document"),
        (b"\x89PNG", "a PNG picture"),
        (b"\xff\xd8\xff", "a JPEG picture"),
        (b"GIF8", "a GIF picture"),
        (b"\x7fELF", "a program"),
        (b"MZ", "a Windows program"),
        (b"GGUF", "a GGUF model"),
        (b"lmgg", "a ggml model"),
        (b"SQLite format 3", "a database"),
        (b"MThd", "a MIDI file: notes, not sound"),
        (b"#EXTM3U", "a playlist: give the audio that it names"),
        (b"WEBVTT", "a subtitle file"),
        (b"FLV\x01", "a Flash video; extract its audio first"),
        (b"\x00\x00\x01\xba", "an MPEG video; extract its audio first"),
        (b"\x00\x00\x01\xb3", "an MPEG video; extract its audio first"),
    ];
    const CODECS: &[(&[u8], &str)] = &[
        (b"wvPK", "WavPack"),
        (b"MAC ", "Monkey's Audio"),
        (b"#!AMR", "AMR"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media (ASF)"),
        (b"caff", "Core Audio (CAF)"),
        (b"MPCK", "Musepack"),
        (b"MP+", "Musepack"),
        (b"TTA1", "True Audio"),
        (b"DSD ", "DSD"),
        (b"FRM8", "DSD"),
        (b".RMF", "RealMedia"),
        (b"ADIF", "AAC in ADIF"),
        (b"\x0b\x77", "AC-3"),
    ];
    let of =
        |list: &[(&[u8], &'static str)]| list.iter().find(|(magic, _)| head.starts_with(magic)).map(|&(_, what)| what);
    if let Some(what) = of(OTHERS) {
        return Some(AudioError::not_audio(format!("this is {what}, not audio")));
    }
    if let Some(what) = of(CODECS) {
        return Some(AudioError::unsupported(format!(
            "this is {what} audio, which cannot be decoded here; convert it to wav or flac"
        )));
    }
    let transport = head.len() > 376 && head[0] == 0x47 && head[188] == 0x47 && head[376] == 0x47;
    transport.then(|| AudioError::not_audio("this is an MPEG transport stream; extract its audio first"))
}

fn unknown(head: &[u8]) -> AudioError {
    let start = &head[..head.len().min(512)];
    let valid = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(e) if e.valid_up_to() + 4 > start.len() => std::str::from_utf8(&start[..e.valid_up_to()]).unwrap_or(""),
        Err(_) => "",
    };
    let text = valid.trim_start_matches('\u{feff}').trim_start();
    let printable = !text.is_empty() && text.chars().all(|c| !c.is_control() || c.is_whitespace());
    let lower = text.get(..text.len().min(64)).unwrap_or(text).to_ascii_lowercase();
    let what = match text.chars().next() {
        _ if !printable => {
            let bytes: Vec<String> = head.iter().take(8).map(|b| format!("{b:02x}")).collect();
            return AudioError::not_audio(format!(
                "this is no audio format that is known here; it begins with the bytes {}",
                bytes.join(" ")
            ));
        }
        Some('<') if lower.contains("html") => "an HTML page (perhaps an error page of a download)",
        Some('<') => "XML text",
        Some('{' | '[') => "JSON text",
        _ => "plain text",
    };
    AudioError::not_audio(format!("this is {what}, not audio"))
}
