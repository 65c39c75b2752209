//! Rates and channels: exact lengths, exact positions, and how little is lost.

mod common;

use std::f64::consts::TAU;

use common::{decode_bytes, snr};
use tenon_audio::{Channels, Converter, Wanted, convert};

const RATES: [u32; 10] = [8_000, 11_025, 12_000, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000];

/// A sum of two tones that every rate here can carry, faded in and out.
fn tones(rate: u32, frames: usize) -> Vec<f32> {
    let seconds = frames as f64 / f64::from(rate);
    let at = |i: usize| {
        let t = i as f64 / f64::from(rate);
        let fade = (TAU / 2.0 * t / seconds).sin().powi(2);
        (fade * (0.5 * (TAU * 440.0 * t).sin() + 0.3 * (TAU * 2_900.0 * t).cos())) as f32
    };
    (0..frames).map(at).collect()
}

fn length(frames: usize, from: u32, to: u32) -> usize {
    (frames as f64 * f64::from(to) / f64::from(from)).round() as usize
}

#[test]
fn every_rate_becomes_every_other_in_place_and_in_length() {
    for from in RATES {
        for to in [8_000, 16_000, 22_050, 48_000] {
            let frames = from as usize / 2 + 7;
            let out = convert(&tones(from, frames), from, 1, Wanted::mono(to)).unwrap();
            assert_eq!(out.len(), length(frames, from, to), "{from} to {to}");
            let seconds = frames as f64 / f64::from(from);
            let ideal: Vec<f32> = (0..out.len())
                .map(|i| {
                    let t = i as f64 / f64::from(to);
                    let fade = (TAU / 2.0 * t / seconds).sin().powi(2);
                    (fade * (0.5 * (TAU * 440.0 * t).sin() + 0.3 * (TAU * 2_900.0 * t).cos())) as f32
                })
                .collect();
            let got = snr(&out, &ideal);
            assert!(got > 90.0, "{from} to {to}: {got:.1} dB");
        }
    }
}

#[test]
fn odd_rates_and_odd_lengths_have_the_exact_length() {
    let plain =
        [(1_000, 16_000), (16_000, 768_000), (37_800, 16_000)].map(|pair| (pair, [1, 2, 999, 12_345].as_slice()));
    // Rates without a common divisor need a filter of that many samples: few and slow.
    let odd = [(44_101, 16_000), (767_999, 16_000)].map(|pair| (pair, [12_345].as_slice()));
    for ((from, to), lengths) in plain.into_iter().chain(odd) {
        for &frames in lengths {
            let out = convert(&vec![0.25; frames], from, 1, Wanted::mono(to)).unwrap();
            assert_eq!(out.len(), length(frames, from, to), "{frames} from {from} to {to}");
        }
    }
    assert!(convert(&[], 44_100, 2, Wanted::mono(16_000)).unwrap().is_empty());
}

#[test]
fn equal_rates_change_no_bit() {
    let samples = tones(16_000, 5_000);
    assert_eq!(convert(&samples, 16_000, 1, Wanted::mono(16_000)).unwrap(), samples);
}

#[test]
fn pieces_of_any_size_give_what_the_whole_gives() {
    let samples = tones(44_100, 30_000);
    for channels in [1, 2, 3] {
        let whole = convert(&samples, 44_100, channels, Wanted::mono(16_000)).unwrap();
        for size in [1, 7, 1_000, 29_999] {
            let mut converter = Converter::new(44_100, channels, Wanted::mono(16_000)).unwrap();
            let mut out = Vec::new();
            for piece in samples.chunks(size) {
                converter.push(piece, &mut out);
            }
            converter.finish(&mut out);
            assert!(out == whole, "{channels} channels in pieces of {size}");
        }
    }
}

#[test]
fn sixteen_bit_samples_are_divided_by_32768() {
    let mut converter = Converter::new(16_000, 1, Wanted::mono(16_000)).unwrap();
    let mut out = Vec::new();
    converter.push_i16(&[i16::MIN, -1, 0, 1, i16::MAX], &mut out);
    assert_eq!(out, [-1.0, -1.0 / 32768.0, 0.0, 1.0 / 32768.0, 32767.0 / 32768.0]);
}

#[test]
fn samples_that_are_not_finite_are_counted() {
    let mut converter = Converter::new(16_000, 2, Wanted::mono(16_000)).unwrap();
    let mut out = Vec::new();
    converter.push(&[f32::NAN, 0.5, f32::INFINITY, f32::NEG_INFINITY, 1e12, 1e12], &mut out);
    assert_eq!((out.as_slice(), converter.not_finite()), ([0.25, 0.0, 1e12].as_slice(), 3));
}

#[test]
fn numbers_that_would_overflow_the_filter_are_no_samples() {
    for loud in [1e13, f32::MAX, -f32::MAX] {
        let mut converter = Converter::new(8_000, 1, Wanted::mono(16_000)).unwrap();
        let mut out = Vec::new();
        converter.push(&[loud; 8_000], &mut out);
        assert_eq!(converter.not_finite(), 8_000);
        converter.finish(&mut out);
        assert_eq!(out, [0.0; 16_000]);
    }
    let loudest = convert(&[1e12; 8_000], 8_000, 1, Wanted::mono(16_000)).unwrap();
    assert!(loudest.iter().all(|sample| sample.is_finite()));
}

/// A wave file of 32-bit floats.
fn wav(channels: u16, rate: u32, samples: &[f32]) -> Vec<u8> {
    let size = samples.len() as u32 * 4;
    let mut out = b"RIFF".to_vec();
    out.extend((36 + size).to_le_bytes());
    out.extend(b"WAVEfmt \x10\0\0\0\x03\0");
    out.extend(channels.to_le_bytes());
    out.extend(rate.to_le_bytes());
    out.extend((rate * 4 * u32::from(channels)).to_le_bytes());
    out.extend((4 * channels).to_le_bytes());
    out.extend(b"\x20\0data");
    out.extend(size.to_le_bytes());
    out.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
    out
}

#[test]
fn one_to_sixty_four_channels_are_averaged_or_picked() {
    for channels in [1u16, 2, 3, 4, 5, 6, 7, 8, 64] {
        let frame: Vec<f32> = (0..channels).map(|c| f32::from(c) / 64.0).collect();
        let file = wav(channels, 16_000, &frame.repeat(100));
        let mixed = decode_bytes(&file, Wanted::mono(16_000)).unwrap().samples;
        let mean = f32::from(channels - 1) / 128.0;
        assert_eq!(mixed, vec![mean; 100], "{channels} channels");
        for channel in 0..channels {
            let picked = decode_bytes(&file, Wanted { rate: 16_000, channels: Channels::Only(channel) }).unwrap();
            assert_eq!(picked.samples, vec![f32::from(channel) / 64.0; 100]);
        }
    }
    let error = decode_bytes(&wav(65, 16_000, &[0.0; 65]), Wanted::mono(16_000)).err().unwrap();
    assert_eq!(error.to_string(), "65 channels are not accepted; 1 to 64 are");
}

#[test]
fn rates_outside_of_what_is_accepted_are_refused() {
    let error = decode_bytes(&wav(1, 999, &[0.0; 8]), Wanted::mono(16_000)).err().unwrap();
    assert_eq!(error.to_string(), "a rate of 999 Hz is not accepted; 1000 to 768000 Hz are");
    assert!(Converter::new(16_000, 1, Wanted::mono(0)).is_err());
    assert!(Converter::new(16_000, 0, Wanted::mono(16_000)).is_err());
}
