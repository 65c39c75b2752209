//! What the tests of this crate share.
#![allow(dead_code)]

use std::path::PathBuf;
use std::sync::Arc;

use tenon_audio::{Damage, Decoder, Info, Result, Source, Wanted};

/// What decoding gave.
pub struct Decoded {
    pub info: Info,
    pub samples: Vec<f32>,
    pub damage: Vec<Damage>,
}

pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Every fixture that is audio.
pub fn fixtures() -> Vec<String> {
    let folder = std::fs::read_dir(fixture("")).unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> =
        names.filter(|n| !matches!(n.as_str(), "README.md" | "make.sh" | "video.mp4")).collect();
    names.sort();
    assert!(names.len() > 40, "only {} fixtures", names.len());
    names
}

pub fn decode(source: Source, want: Wanted) -> Result<Decoded> {
    let mut decoder = Decoder::open(source, want)?;
    let info = decoder.info().clone();
    let mut samples = Vec::new();
    while decoder.read(&mut samples)? {}
    Ok(Decoded { info, samples, damage: decoder.damage().to_vec() })
}

pub fn decode_bytes(bytes: &[u8], want: Wanted) -> Result<Decoded> {
    decode(Source::Bytes(Arc::from(bytes)), want)
}

pub fn decode_file(name: &str, want: Wanted) -> Decoded {
    decode(Source::Path(fixture(name)), want).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Ratio of `reference` to what differs from it, in dB; gain is not adjusted, position is not either.
pub fn snr(samples: &[f32], reference: &[f32]) -> f64 {
    let (mut signal, mut noise) = (1e-30, 1e-30);
    for (&a, &b) in samples.iter().zip(reference) {
        signal += f64::from(b).powi(2);
        noise += (f64::from(a) - f64::from(b)).powi(2);
    }
    10.0 * (signal / noise).log10()
}

/// By how many samples `samples` is late against `reference`, within `most`: where they agree best.
pub fn offset(samples: &[f32], reference: &[f32], most: usize) -> isize {
    let most = most as isize;
    let score = |shift: isize| {
        let pairs = (0..reference.len() as isize)
            .filter_map(|i| Some((samples.get(usize::try_from(i + shift).ok()?)?, reference[i as usize])));
        pairs.map(|(&a, b)| f64::from(a) * f64::from(b)).sum::<f64>()
    };
    (-most..=most).max_by(|&a, &b| score(a).total_cmp(&score(b))).unwrap()
}
