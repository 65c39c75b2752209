//! Any common audio file, pipe or buffer as one channel of `f32` samples at a wanted rate, streamed.
//!
//! [`Decoder`] reads files, pipes and buffers of any format in docs/audio.md, told apart by their content. [`Converter`]
//! and [`convert`] take samples that are there already. Memory is bounded whatever the length; what is damaged is told
//! by [`Decoder::damage`] and never passed over in silence.
//!
//! ```no_run
//! use tenon_audio::{Decoder, Source, Wanted};
//!
//! let mut decoder = Decoder::open(Source::Path("talk.m4a".into()), Wanted::mono(16_000))?;
//! let samples = decoder.read_to_end()?;
//! for damage in decoder.damage() {
//!     eprintln!("talk.m4a: {damage}");
//! }
//! # Ok::<(), tenon_audio::AudioError>(())
//! ```
//!
//! Inside: `sniff` recognises, `wav`, `aiff`, `ogg`, `mkv` and `packets` (symphonia's containers) are the formats,
//! `codec` and `opus` decode packets, `resample` and `frames::Mix` convert, `decoder` holds them together.

mod adpcm;
mod aiff;
mod codec;
mod convert;
mod damage;
mod decoder;
mod error;
mod frames;
mod input;
mod mkv;
mod mp4;
mod mpeg;
mod ogg;
mod opus;
mod opus_raw;
mod packets;
mod pcm;
mod resample;
mod sniff;
mod source;
mod wav;

pub use convert::{Channels, Converter, Wanted, convert};
pub use damage::{Damage, DamageKind};
pub use decoder::{Decoder, Info};
pub use error::{AudioError, AudioErrorKind, Result};
pub use frames::is_sample;
pub use source::Source;
