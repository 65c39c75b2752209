//! Every format against the PCM that it was made from, from a path, from memory and from a pipe.

mod common;

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use common::{Decoded, bytes, decode, decode_bytes, decode_file, fixture, fixtures, offset, snr};
use tenon_audio::{AudioErrorKind, DamageKind, Source, Wanted};

const WANT: Wanted = Wanted { rate: 16_000, channels: tenon_audio::Channels::Mix };
const FRAMES: usize = 12_000;

/// The samples of a 16-bit wave file, read by hand: 44 bytes of header, then numbers divided by 32768.
fn by_hand(name: &str) -> Vec<f32> {
    let wav = bytes(name);
    wav[44..].chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0).collect()
}

#[test]
fn a_wave_file_at_the_wanted_rate_is_bit_exact() {
    let decoded = decode_file("reference.wav", WANT);
    assert_eq!(decoded.samples, by_hand("reference.wav"));
    assert_eq!(decoded.samples.len(), FRAMES);
    assert_eq!(decoded.info.duration, Some(Duration::from_millis(750)));
    assert_eq!((decoded.info.container, decoded.info.codec), ("wav", "pcm_s16le"));
}

#[test]
fn what_is_lossless_is_bit_exact() {
    let reference = by_hand("reference.wav");
    for name in ["plain.flac", "flac.ogg", "flac.mkv", "pcm.mkv", "alac.m4a"] {
        let decoded = decode_file(name, WANT);
        assert!(decoded.samples == reference, "{name} differs");
        assert!(decoded.damage.is_empty(), "{name}: {:?}", decoded.damage);
    }
}

#[test]
fn every_kind_of_pcm_gives_the_same_samples() {
    let reference = by_hand("pcm_s16.wav");
    let want = Wanted::mono(8_000);
    let exact = [
        "pcm_s24le.wav",
        "pcm_s32le.wav",
        "pcm_f32le.wav",
        "pcm_f64le.wav",
        "pcm.w64",
        "rf64.wav",
        "piped.wav",
        "pcm_s16be.aiff",
        "pcm_s24be.aiff",
        "pcm_f32be.aiff",
        "plain.aifc",
        "pcm_s16be.au",
    ];
    for name in exact {
        let decoded = decode_file(name, want);
        assert!(decoded.samples == reference, "{name} differs");
        assert!(decoded.damage.is_empty(), "{name}: {:?}", decoded.damage);
    }
    let lossy = [("pcm_u8.wav", 15.0), ("pcm_alaw.wav", 30.0), ("pcm_mulaw.wav", 30.0), ("pcm_mulaw.au", 30.0)];
    for (name, least) in lossy {
        let decoded = decode_file(name, want);
        let got = snr(&decoded.samples, &reference);
        assert_eq!(decoded.samples.len(), reference.len(), "{name}");
        assert!(got > least, "{name}: {got:.1} dB");
    }
}

#[test]
fn adpcm_is_close_and_keeps_time() {
    let reference = by_hand("pcm_s16.wav");
    for (name, least) in [("adpcm_ms.wav", 15.0), ("adpcm_ima.wav", 15.0)] {
        let decoded = decode_file(name, Wanted::mono(8_000));
        // The encoder fills up its last block.
        assert!(decoded.samples.len() >= reference.len(), "{name}: {}", decoded.samples.len());
        assert_eq!(offset(&decoded.samples, &reference, 20), 0, "{name}");
        let got = snr(&decoded.samples, &reference);
        assert!(got > least, "{name}: {got:.1} dB");
    }
}

#[test]
fn lossy_formats_start_where_they_should_and_last_as_long() {
    let reference = by_hand("reference.wav");
    // Name, least SNR in dB, frames beyond the reference.
    let cases = [
        ("lame.mp3", 20.0, 0),
        ("tagged.mp3", 20.0, 0),
        ("aac.m4a", 15.0, 0),
        ("faststart.mp4", 15.0, 0),
        ("vorbis.ogg", 18.0, 0),
        ("vorbis.webm", 18.0, 32),
        ("audio.opus", 15.0, 0),
        ("voip.opus", 3.0, 0),
        ("opus.webm", 3.0, 0),
        ("recorded.webm", 3.0, 0),
    ];
    for (name, least, more) in cases {
        let decoded = decode_file(name, WANT);
        assert_eq!(decoded.samples.len(), FRAMES + more, "{name}");
        assert!(offset(&decoded.samples, &reference, 30).abs() <= 1, "{name}");
        let got = snr(&decoded.samples, &reference);
        assert!(got > least, "{name}: {got:.1} dB");
        assert!(decoded.damage.is_empty(), "{name}: {:?}", decoded.damage);
    }
}

#[test]
fn formats_that_do_not_tell_their_delay_keep_it() {
    let reference = by_hand("reference.wav");
    for (name, delay) in [("bare.mp3", 1105), ("aac.aac", 1024), ("aac.mkv", 1024), ("fragments.mp4", 1024)] {
        let decoded = decode_file(name, WANT);
        assert!(decoded.samples.len() >= FRAMES + delay, "{name}: {}", decoded.samples.len());
        let got = snr(&decoded.samples[delay..], &reference);
        assert!(got > 15.0, "{name}: {got:.1} dB");
        assert!(decoded.damage.is_empty(), "{name}: {:?}", decoded.damage);
    }
}

#[test]
fn a_recording_without_lengths_says_no_duration() {
    assert_eq!(decode_file("recorded.webm", WANT).info.duration, None);
    assert_eq!(decode_file("opus.webm", WANT).info.codec, "opus");
}

#[test]
fn chained_streams_follow_each_other() {
    let first = decode_file("vorbis.ogg", WANT).samples;
    let second = decode_file("voip.opus", WANT).samples;
    let both = decode_file("chained.ogg", WANT);
    assert!(both.damage.is_empty(), "{:?}", both.damage);
    assert_eq!(both.samples.len(), first.len() + second.len());
    assert!(both.samples[..first.len()] == first);
    assert!(both.samples[first.len()..] == second);
}

/// The share of the power at one frequency.
fn tone(samples: &[f32], frequency: f64, rate: f64) -> f64 {
    let (mut re, mut im, mut all) = (0.0, 0.0, 1e-12);
    for (i, &s) in samples.iter().enumerate() {
        let angle = std::f64::consts::TAU * frequency * i as f64 / rate;
        re += f64::from(s) * angle.cos();
        im += f64::from(s) * angle.sin();
        all += f64::from(s).powi(2);
    }
    2.0 * (re * re + im * im) / (samples.len() as f64 * all)
}

#[test]
fn channels_can_be_chosen_one_by_one() {
    for name in ["stereo.flac", "stereo.mp3", "stereo.m4a", "stereo.opus"] {
        for (channel, frequency) in [(0, 440.0), (1, 660.0)] {
            let decoded = decode_file(name, Wanted::only(channel, 16_000));
            assert_eq!(decoded.samples.len(), 4_000, "{name}");
            let share = tone(&decoded.samples[400..3600], frequency, 16_000.0);
            assert!(share > 0.95, "{name} channel {channel}: {share}");
        }
    }
    let error = decode(Source::Path(fixture("stereo.flac")), Wanted::only(2, 16_000)).err().unwrap();
    assert_eq!(error.kind(), AudioErrorKind::Limit);
}

#[test]
fn opus_with_six_channels_has_each_in_its_place() {
    // Opus orders them as Vorbis does: left, centre, right, left rear, right rear, low.
    for (channel, frequency) in [(0, 200.0), (1, 400.0), (2, 300.0), (3, 700.0), (4, 900.0), (5, 60.0)] {
        let decoded = decode_file("six.opus", Wanted::only(channel, 16_000));
        assert_eq!((decoded.info.channels, decoded.samples.len()), (6, 4_000));
        let share = tone(&decoded.samples[400..3600], frequency, 16_000.0);
        assert!(share > 0.8, "channel {channel}: {share}");
    }
}

/// A reader that gives a few bytes at a time.
struct Slow {
    bytes: Vec<u8>,
    at: usize,
}

impl Read for Slow {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = out.len().min(self.bytes.len() - self.at).min(1 + self.at % 997);
        out[..n].copy_from_slice(&self.bytes[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

#[test]
fn a_path_a_buffer_and_a_pipe_give_the_same() {
    for name in fixtures() {
        let Decoded { samples, .. } = decode_file(&name, WANT);
        let memory = decode_bytes(&bytes(&name), WANT).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(memory.samples == samples, "{name} from memory differs");
        let pipe = Source::Reader(Box::new(Slow { bytes: bytes(&name), at: 0 }));
        let pipe = decode(pipe, WANT).unwrap_or_else(|e| panic!("{name} from a pipe: {e}"));
        assert!(pipe.samples == samples, "{name} from a pipe differs");
        assert!(pipe.damage.is_empty(), "{name} from a pipe: {:?}", pipe.damage);
    }
}

#[test]
fn a_tag_before_the_audio_is_passed_over() {
    for name in ["plain.flac", "aac.aac", "reference.wav"] {
        let mut tagged = b"ID3\x04\0\0\0\0\x02\x01".to_vec();
        tagged.extend(vec![0x55; 257]);
        tagged.extend(bytes(name));
        let decoded = decode_bytes(&tagged, WANT).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(decoded.samples == decode_file(name, WANT).samples, "{name}");
    }
}

#[test]
fn garbage_before_raw_frames_is_told() {
    let mut dirty = vec![0x11; 100];
    dirty.extend(bytes("bare.mp3"));
    let decoded = decode_bytes(&dirty, WANT).unwrap();
    assert_eq!(decoded.damage[0].kind, DamageKind::Garbage);
    assert_eq!(decoded.samples.len(), decode_file("bare.mp3", WANT).samples.len());
}

#[test]
fn video_without_sound_is_said_to_be_that() {
    let error = decode(Source::Path(fixture("video.mp4")), WANT).err().unwrap();
    assert_eq!(error.kind(), AudioErrorKind::NotAudio);
    assert_eq!(error.to_string(), "the mp4 file holds video or text, but no audio that is known here");
}

#[test]
fn a_missing_page_becomes_silence_of_its_length() {
    let ogg = bytes("flac.ogg");
    let pages: Vec<usize> = ogg.windows(4).enumerate().filter(|(_, w)| w == b"OggS").map(|(at, _)| at).collect();
    let (from, to) = (pages[pages.len() - 2], pages[pages.len() - 1]);
    let cut = [&ogg[..from], &ogg[to..]].concat();
    let decoded = decode_bytes(&cut, WANT).unwrap();
    let whole = decode_file("flac.ogg", WANT).samples;
    assert_eq!(decoded.samples.len(), whole.len());
    assert_eq!(decoded.damage.len(), 1, "{:?}", decoded.damage);
    assert_eq!(decoded.damage[0].kind, DamageKind::Gap);
    let silent = decoded.samples.iter().zip(&whole).filter(|(a, b)| a != b).count();
    assert!(silent > 1000, "{silent}");
}

/// How many frames less than all there are, of audio whose losses are each less than a clock may jump.
fn short_by(decoded: &Decoded) -> usize {
    let gaps = decoded.damage.iter().filter(|damage| damage.kind == DamageKind::Gap).count();
    assert!(gaps > 0, "{:?}", decoded.damage);
    FRAMES - decoded.samples.len()
}

/// Where the blocks of a webm file of one track stand whose clusters hold nothing but their time and blocks.
fn blocks(webm: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = webm.windows(4).position(|w| w == [0x1f, 0x43, 0xb6, 0x75]).unwrap();
    while let Some(&id) = webm.get(at) {
        let id_len = id.leading_zeros() as usize + 1;
        let len = webm[at + id_len].leading_zeros() as usize + 1;
        let size = webm[at + id_len..at + id_len + len].iter().fold(0, |n, &b| n << 8 | usize::from(b));
        let body = at + id_len + len;
        match id {
            0x1f => at = body,
            0xa3 | 0xe7 => {
                found.extend((id == 0xa3).then_some(at));
                at = body + (size & ((1 << (7 * len)) - 1));
            }
            _ => break,
        }
    }
    assert!(found.len() > 20, "{} blocks", found.len());
    found
}

#[test]
fn small_gaps_of_a_webm_file_add_up_to_silence() {
    let mut webm = bytes("recorded.webm");
    for &block in blocks(&webm).iter().skip(1).step_by(2) {
        // An element that is to be passed over.
        webm[block] = 0xec;
    }
    let short = short_by(&decode_bytes(&webm, WANT).unwrap());
    assert!(short <= 1_600 + 320, "{short} frames are missing");
}

#[test]
fn a_clock_that_trembles_is_no_gap() {
    let mut webm = bytes("recorded.webm");
    for (i, &block) in blocks(&webm).iter().enumerate() {
        let time = block + 3;
        let ticks = i16::from_be_bytes([webm[time], webm[time + 1]]);
        webm[time..time + 2].copy_from_slice(&(ticks + [0, 45, -30, 80, 10][i % 5]).to_be_bytes());
    }
    let decoded = decode_bytes(&webm, WANT).unwrap();
    assert!(decoded.damage.is_empty(), "{:?}", decoded.damage);
    assert!(decoded.samples == decode_file("recorded.webm", WANT).samples);
}

/// A page of one packet.
fn page(flags: u8, granule: i64, sequence: u32, packet: &[u8]) -> Vec<u8> {
    let mut page = [b"OggS\0".as_slice(), &[flags], &granule.to_le_bytes(), b"tone", &sequence.to_le_bytes()].concat();
    page.extend([0, 0, 0, 0, (packet.len() / 255 + 1) as u8]);
    page.extend(vec![255; packet.len() / 255]);
    page.push((packet.len() % 255) as u8);
    page.extend(packet);
    let sum = page.iter().fold(0u32, |sum, &byte| {
        (0..8).fold(sum ^ (u32::from(byte) << 24), |sum, _| (sum << 1) ^ ((sum >> 31) * 0x04c1_1db7))
    });
    page[22..26].copy_from_slice(&sum.to_le_bytes());
    page
}

/// `voip.opus` with a page for each packet, of which some are left out as if they had never been.
fn paged(keep: impl Fn(usize) -> bool) -> Vec<u8> {
    let ogg = bytes("voip.opus");
    let (mut packets, mut packet, mut at, mut end) = (Vec::new(), Vec::new(), 0, 0);
    while at < ogg.len() {
        let lengths = &ogg[at + 27..at + 27 + usize::from(ogg[at + 26])];
        end = i64::from_le_bytes(ogg[at + 6..at + 14].try_into().unwrap());
        at += 27 + lengths.len();
        for &length in lengths {
            packet.extend_from_slice(&ogg[at..at + usize::from(length)]);
            at += usize::from(length);
            if length < 255 {
                packets.push(std::mem::take(&mut packet));
            }
        }
    }
    let (last, mut sequence) = (packets.len() - 1, 0);
    let mut out = Vec::new();
    for (i, packet) in packets.iter().enumerate().filter(|&(i, _)| i < 2 || i == last || keep(i)) {
        let (flags, granule) = match i {
            0 => (2, 0),
            1 => (0, 0),
            i if i == last => (4, end),
            i => (0, 960 * (i as i64 - 1)),
        };
        out.extend(page(flags, granule, sequence, packet));
        sequence += 1;
    }
    out
}

#[test]
fn small_gaps_of_an_ogg_file_add_up_to_silence() {
    let whole = decode_bytes(&paged(|_| true), WANT).unwrap();
    assert!(whole.damage.is_empty(), "{:?}", whole.damage);
    assert!(whole.samples == decode_file("voip.opus", WANT).samples);
    let short = short_by(&decode_bytes(&paged(|i| i % 4 != 0), WANT).unwrap());
    assert!(short <= 320, "{short} frames are missing");
}

#[test]
fn a_pause_between_the_packets_of_an_mp4_file_is_kept() {
    let mut mp4 = bytes("aac.m4a");
    let table = mp4.windows(4).position(|w| w == b"stts").unwrap() + 8;
    assert_eq!(mp4[table..table + 4], 2u32.to_be_bytes());
    let packets = u32::from_be_bytes(mp4[table + 4..table + 8].try_into().unwrap());
    // The first packet lasts as long as nine, all others as long as one.
    for (i, number) in [1, 9 * 1024, packets, 1024].into_iter().enumerate() {
        mp4[table + 4 + 4 * i..table + 8 + 4 * i].copy_from_slice(&u32::to_be_bytes(number));
    }
    let decoded = decode_bytes(&mp4, WANT).unwrap();
    assert_eq!(decoded.samples.len(), FRAMES);
    assert_eq!(decoded.damage.iter().map(|d| d.kind).collect::<Vec<_>>(), [DamageKind::Gap]);
    assert_eq!(decoded.damage[0].lost, Some(Duration::from_millis(512)));
    assert!(decoded.samples[..8 * 1024].iter().all(|&s| s == 0.0));
    let whole = decode_file("aac.m4a", WANT).samples;
    assert_eq!(offset(&decoded.samples[8 * 1024..], &whole[..FRAMES - 8 * 1024], 30), 0);
}

#[test]
fn a_file_without_lengths_that_is_cut_inside_of_a_packet_says_so() {
    let frame = 216;
    let mp3 = bytes("bare.mp3");
    assert_eq!(mp3.len() % frame, 0);
    for (cut, told) in [(0, false), (frame, false), (1, true), (frame - 7, true), (frame - 2, true)] {
        let decoded = decode_bytes(&mp3[..mp3.len() - cut], WANT).unwrap();
        let kinds: Vec<_> = decoded.damage.iter().map(|d| d.kind).collect();
        assert_eq!(kinds == [DamageKind::Truncated], told, "{cut} bytes less: {:?}", decoded.damage);
        assert_eq!(kinds.is_empty(), !told, "{cut} bytes less: {:?}", decoded.damage);
    }
    let notes: [&[u8]; 4] = [&[b"TAG".as_slice(), &[0; 125]].concat(), b"APETAGEX and so on", &[0; 20_000], &[0; 100]];
    for note in notes {
        let decoded = decode_bytes(&[mp3.as_slice(), note].concat(), WANT).unwrap();
        assert!(decoded.damage.is_empty(), "{note:?}: {:?}", decoded.damage);
    }
    for name in ["fragments.mp4", "recorded.webm"] {
        let whole = bytes(name);
        let decoded = decode_bytes(&whole[..whole.len() / 2], WANT).unwrap();
        let kinds: Vec<_> = decoded.damage.iter().map(|d| d.kind).collect();
        assert_eq!(kinds, [DamageKind::Truncated], "{name}: {:?}", decoded.damage);
    }
}

#[test]
fn an_mp4_file_with_its_index_in_front_is_decoded_up_to_the_cut() {
    let mp4 = bytes("faststart.mp4");
    let whole = decode_file("faststart.mp4", WANT).samples;
    for part in [10, 12, 14] {
        let decoded = decode_bytes(&mp4[..mp4.len() * part / 16], WANT).unwrap();
        assert!(decoded.samples.len() > 2_000 && decoded.samples.len() < whole.len(), "{}", decoded.samples.len());
        assert!(decoded.samples == whole[..decoded.samples.len()]);
        let kinds: Vec<_> = decoded.damage.iter().map(|d| d.kind).collect();
        assert_eq!(kinds, [DamageKind::Truncated], "{:?}", decoded.damage);
    }
    // In the last packet, which is shorter than what encoders differ by.
    let decoded = decode_bytes(&mp4[..mp4.len() - 1], WANT).unwrap();
    assert_eq!(decoded.damage[0].kind, DamageKind::Truncated);
}

#[test]
fn a_wave_file_cut_short_says_what_is_missing() {
    let wav = bytes("reference.wav");
    let decoded = decode_bytes(&wav[..44 + 8_001], WANT).unwrap();
    assert_eq!(decoded.samples.len(), 4_000);
    assert_eq!(decoded.damage.len(), 1);
    assert_eq!(
        decoded.damage[0].to_string(),
        "at 0.250 s: the file ends before its header says that it should (0.500 s lost)"
    );
}

#[test]
fn numbers_that_are_not_finite_become_zero_and_are_told() {
    let mut wav = bytes("pcm_f32le.wav");
    let data = wav.windows(4).position(|w| w == b"data").unwrap() + 8;
    wav[data..data + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    wav[data + 8..data + 12].copy_from_slice(&f32::NEG_INFINITY.to_le_bytes());
    let decoded = decode_bytes(&wav, Wanted::mono(8_000)).unwrap();
    assert!(decoded.samples.iter().all(|s| s.is_finite()));
    assert_eq!((decoded.samples[0], decoded.samples[2]), (0.0, 0.0));
    assert_eq!(decoded.damage[0].kind, DamageKind::NotFinite);
}

#[test]
fn a_flac_file_whose_checksum_is_wrong_says_so() {
    let mut flac = bytes("plain.flac");
    flac[8 + 18] ^= 1;
    let decoded = decode_bytes(&flac, WANT).unwrap();
    assert_eq!(decoded.damage.iter().map(|d| d.kind).collect::<Vec<_>>(), [DamageKind::Checksum]);
}

#[test]
fn an_unreadable_source_is_an_io_error() {
    struct Broken(usize);
    impl Read for Broken {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let head = bytes("plain.flac");
            if self.0 >= 8192 {
                return Err(std::io::Error::new(std::io::ErrorKind::ConnectionReset, "the line went dead"));
            }
            let n = out.len().min(1024);
            out[..n].copy_from_slice(&head[self.0..self.0 + n]);
            self.0 += n;
            Ok(n)
        }
    }
    let error = decode(Source::Reader(Box::new(Broken(0))), WANT).err().unwrap();
    assert_eq!(error.kind(), AudioErrorKind::Io);
    assert!(error.to_string().contains("the line went dead"), "{error}");
    let missing = decode(Source::Path("no/such/file.wav".into()), WANT).err().unwrap();
    assert_eq!(missing.kind(), AudioErrorKind::Io);
    assert!(missing.to_string().starts_with("no/such/file.wav: "), "{missing}");
}

#[test]
fn a_decoder_can_be_sent_to_another_thread() {
    let mut decoder = tenon_audio::Decoder::open(Source::Bytes(Arc::from(bytes("voip.opus"))), WANT).unwrap();
    let samples = std::thread::spawn(move || decoder.read_to_end().unwrap()).join().unwrap();
    assert_eq!(samples.len(), FRAMES);
}
