//! Cut, flipped, crafted, endless and wrong sources: an error or what is good of them, in bounded time and memory.

mod common;

use std::io::Read;
use std::time::{Duration, Instant};

use common::{bytes, decode, decode_bytes, fixtures};
use tenon_audio::{AudioErrorKind, DamageKind, Decoder, Source, Wanted};

const WANT: Wanted = Wanted { rate: 16_000, channels: tenon_audio::Channels::Mix };
/// No fixture lasts longer than 2 s; lost audio may be filled with a minute of silence.
const MOST_SAMPLES: usize = 16_000 * 600;
const LONGEST: Duration = Duration::from_secs(60);

/// Decodes what may be anything. Gives the number of samples, or the error's kind.
fn survive(name: &str, bytes: &[u8]) -> Result<usize, AudioErrorKind> {
    let start = Instant::now();
    let mut decoder = Decoder::open(Source::Bytes(bytes.into()), WANT).map_err(|e| e.kind())?;
    let (mut samples, mut count) = (Vec::new(), 0);
    let result = loop {
        samples.clear();
        match decoder.read(&mut samples) {
            Ok(true) => {}
            Ok(false) => break Ok(count),
            Err(e) => break Err(e.kind()),
        }
        count += samples.len();
        assert!(samples.iter().all(|s| s.is_finite()), "{name}: a sample is not finite");
        assert!(samples.len() <= 3 * 16_000, "{name}: a block of {} samples", samples.len());
        assert!(count <= MOST_SAMPLES, "{name}: {count} samples");
    };
    assert!(decoder.damage().len() <= 1001, "{name}: {} losses", decoder.damage().len());
    assert!(start.elapsed() < LONGEST, "{name} took {:?}", start.elapsed());
    result
}

#[test]
fn every_sixteenth_of_every_file_gives_an_error_or_what_is_good() {
    for name in fixtures() {
        let whole = bytes(&name);
        let all = survive(&name, &whole).unwrap();
        for part in 0..16 {
            let cut = &whole[..whole.len() * part / 16];
            if let Ok(count) = survive(&name, cut) {
                assert!(count <= all + 16_000, "{name} cut to {part}/16 gives {count} of {all} samples");
            }
        }
    }
}

#[test]
fn a_cut_in_the_audio_is_told() {
    // Where the cut is between two packets, or nothing but lengths could tell.
    let quiet = ["aac.aac", "piped.wav"];
    for name in fixtures().iter().filter(|n| !quiet.contains(&n.as_str())) {
        let whole = bytes(name);
        let cut = &whole[..whole.len() * 13 / 16];
        if let Ok(decoded) = decode_bytes(cut, WANT) {
            assert!(!decoded.damage.is_empty(), "{name} cut to 13/16 says nothing");
        }
    }
}

/// Decodes audio with megabytes of `pattern` behind it. Gives how often the decoder came back without a sample.
fn pauses(name: &str, pattern: &[u8]) -> usize {
    let start = Instant::now();
    let mut hostile = bytes(name);
    hostile.extend(pattern.iter().cycle().take(4 << 20));
    let mut decoder = Decoder::open(Source::Bytes(hostile.into()), WANT).unwrap();
    let (mut samples, mut pauses, mut before) = (Vec::new(), 0, 0);
    while decoder.read(&mut samples).unwrap() {
        pauses += usize::from(samples.len() == before);
        before = samples.len();
    }
    assert!(start.elapsed() < LONGEST, "{name} took {:?}", start.elapsed());
    assert!(samples.len() >= 12_000, "{name}: {}", samples.len());
    assert!(decoder.damage().iter().any(|damage| damage.kind == DamageKind::Garbage), "{:?}", decoder.damage());
    pauses
}

#[test]
fn megabytes_of_beginnings_do_not_take_long_and_can_be_left() {
    for pattern in [b"OggS\0\xff\xff\xff".as_slice(), b"OggS\0\0\xff\xff\xff", b"nothing at all"] {
        assert!(pauses("voip.opus", pattern) >= 2, "{pattern:?}");
    }
    for pattern in [b"\x1f\x43\xb6\x75\0".as_slice(), b"\0"] {
        assert!(pauses("recorded.webm", pattern) >= 2, "{pattern:?}");
    }
}

#[test]
fn a_file_of_beginnings_is_refused_soon() {
    let start = Instant::now();
    for pattern in [b"OggS\0\xff\xff\xff".as_slice(), b"OggS\0\0\xff\xff\xff"] {
        let hostile: Vec<u8> = pattern.iter().copied().cycle().take(4 << 20).collect();
        assert_eq!(survive("beginnings", &hostile), Err(AudioErrorKind::Malformed));
    }
    assert!(start.elapsed() < LONGEST, "{:?}", start.elapsed());
}

/// A small generator with a fixed start: the same bytes on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// Flips bytes of every `of`-th fixture, half of them in its first 200 bytes.
fn flip(which: usize, of: usize) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15 + which as u64);
    let (mut tried, mut good) = (0, 0);
    for name in fixtures().iter().skip(which).step_by(of) {
        let whole = bytes(name);
        for round in 0..50 {
            let mut hostile = whole.clone();
            let reach = if round % 2 == 0 { whole.len() } else { whole.len().min(200) };
            for _ in 0..=random.below(4) {
                hostile[random.below(reach)] = random.next() as u8;
            }
            tried += 1;
            good += usize::from(survive(&format!("{name}, round {round}"), &hostile).is_ok());
        }
    }
    assert!(tried >= 500, "only {tried} files");
    assert!(good > tried / 10, "{good} of {tried} files gave audio");
}

#[test]
fn flipped_bytes_do_no_harm_first_quarter() {
    flip(0, 4);
}

#[test]
fn flipped_bytes_do_no_harm_second_quarter() {
    flip(1, 4);
}

#[test]
fn flipped_bytes_do_no_harm_third_quarter() {
    flip(2, 4);
}

#[test]
fn flipped_bytes_do_no_harm_fourth_quarter() {
    flip(3, 4);
}

#[test]
fn noise_behind_every_beginning_does_no_harm() {
    let mut random = Random(42);
    for name in fixtures() {
        let mut hostile = bytes(&name);
        for keep in [4, 12, 64, 300] {
            hostile.truncate(20_000);
            for byte in hostile.iter_mut().skip(keep) {
                *byte = random.next() as u8;
            }
            let _either = survive(&format!("{name}, noise after {keep}"), &hostile);
        }
    }
}

/// A wave file that goes on for hours without being anywhere.
struct Hours {
    head: Vec<u8>,
    left: u64,
    at: u64,
}

impl Read for Hours {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if !self.head.is_empty() {
            let n = out.len().min(self.head.len());
            out[..n].copy_from_slice(&self.head[..n]);
            self.head.drain(..n);
            return Ok(n);
        }
        let n = out.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        out[..n].fill(128 + (self.at % 7) as u8);
        self.left -= n as u64;
        self.at += 1;
        Ok(n)
    }
}

/// Bytes of memory that this process has in use, where the system tells.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()? * 4096)
}

#[test]
fn eight_hours_need_no_more_memory_than_one_second() {
    let seconds = 8 * 3600u64;
    let head =
        b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data\xff\xff\xff\xff";
    let source = Source::Reader(Box::new(Hours { head: head.to_vec(), left: seconds * 8_000, at: 0 }));
    let mut decoder = Decoder::open(source, Wanted::mono(8_000)).unwrap();
    let (mut block, mut count) = (Vec::new(), 0u64);
    assert!(decoder.read(&mut block).unwrap());
    let before = resident();
    let mut capacity = 0;
    loop {
        count += block.len() as u64;
        capacity = capacity.max(block.capacity());
        block.clear();
        if !decoder.read(&mut block).unwrap() {
            break;
        }
    }
    assert_eq!(count, seconds * 8_000);
    assert!(capacity <= 4 * 8_000, "a block of {capacity} samples");
    if let (Some(before), Some(after)) = (before, resident()) {
        // Other tests of this program run at the same time; the audio would be 900 MB.
        assert!(after < before + (200 << 20), "grew from {before} to {after} bytes");
    }
}

#[test]
fn what_is_not_audio_is_called_by_its_name() {
    let cases: &[(&[u8], AudioErrorKind, &str)] = &[
        (b"", AudioErrorKind::Empty, "the audio is empty: there is not one byte"),
        (b"PK\x03\x04rest of it", AudioErrorKind::NotAudio, "this is a zip archive, not audio"),
        (
            b"<!DOCTYPE html><html><body>404",
            AudioErrorKind::NotAudio,
            "this is an HTML page (perhaps an error page of a download), not audio",
        ),
        (b" {\"error\": \"not found\"}", AudioErrorKind::NotAudio, "this is JSON text, not audio"),
        (b"version https://git-lfs.github.com/spec/v1\n", AudioErrorKind::NotAudio, "this is plain text, not audio"),
        (b"GGUF\x03\0\0\0", AudioErrorKind::NotAudio, "this is a GGUF model, not audio"),
        (
            b"\x01\x02\x03\x04\x05\x06\x07\x08\x09",
            AudioErrorKind::NotAudio,
            "this is no audio format that is known here; it begins with the bytes 01 02 03 04 05 06 07 08",
        ),
        (
            b"wvPK1234",
            AudioErrorKind::UnsupportedCodec,
            "this is WavPack audio, which cannot be decoded here; convert it to wav or flac",
        ),
        (b"RIFF\x24\0\0\0AVI LIST", AudioErrorKind::NotAudio, "this is an AVI video; extract its audio first"),
    ];
    for &(bytes, kind, sentence) in cases {
        let error = decode_bytes(bytes, WANT).err().unwrap();
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, sentence));
    }
    let error = decode(Source::Path(env!("CARGO_MANIFEST_DIR").into()), WANT).err().unwrap();
    assert_eq!(error.kind(), AudioErrorKind::NotAudio);
}

#[test]
fn a_file_without_a_sample_is_empty() {
    let header = &bytes("reference.wav")[..44];
    let mut empty = header.to_vec();
    empty[4..8].copy_from_slice(&36u32.to_le_bytes());
    empty[40..44].copy_from_slice(&0u32.to_le_bytes());
    let error = decode_bytes(&empty, WANT).err().unwrap();
    assert_eq!((error.kind(), error.to_string().as_str()), (AudioErrorKind::Empty, "the wav file holds no sample"));
}

#[test]
fn an_mp4_file_without_its_index_says_so() {
    let whole = bytes("aac.m4a");
    let error = decode_bytes(&whole[..whole.len() / 2], WANT).err().unwrap();
    assert_eq!(error.kind(), AudioErrorKind::Malformed);
    assert_eq!(error.to_string(), "the mp4 file has no index (moov): it was cut short or never finished");
}

#[test]
fn a_block_that_is_shorter_than_the_number_of_its_track_is_a_loss() {
    let mut webm = bytes("opus.webm");
    let block = webm.windows(6).position(|bytes| bytes == [0xa3, 0xb2, 0x81, 0, 0x29, 0x80]).unwrap();
    // It has no bytes, and what stands behind it looks like the number.
    webm[block + 1] = 0x80;
    let decoded = decode_bytes(&webm, WANT).unwrap();
    assert!(
        decoded.damage.iter().any(|damage| damage.message.contains("a block breaks its own rules")),
        "{:?}",
        decoded.damage
    );
}
