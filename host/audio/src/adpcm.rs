//! Microsoft and IMA ADPCM blocks inside of wave files.

use symphonia::core::codecs::audio::AudioCodecId;

use crate::codec::{Codec, name_of, params};
use crate::damage::{DamageKind, Notes, span};
use crate::decoder::Info;
use crate::error::{AudioError, Result};
use crate::frames::{Block, Frames, Mix, Step};
use crate::input::Input;
use crate::pcm::Extent;

/// How blocks are laid out.
pub(crate) struct Shape {
    pub(crate) block_bytes: u16,
    pub(crate) frames_per_block: u16,
    /// How many frames there are in all, where the file says: the last block is filled up.
    pub(crate) frames: Option<u64>,
}

pub(crate) struct AdpcmFrames {
    input: Input,
    info: Info,
    codec: Codec,
    block_bytes: usize,
    per_block: u64,
    bytes: Extent,
    frames: Option<u64>,
}

impl AdpcmFrames {
    pub(crate) fn new(input: Input, mut info: Info, id: AudioCodecId, shape: Shape, bytes: Extent) -> Result<Self> {
        let per_block = u64::from(shape.frames_per_block);
        // A block holds a few header bytes per channel and two frames' worth of samples per byte.
        let most = 2 * u64::from(shape.block_bytes);
        if per_block == 0 || shape.block_bytes == 0 || per_block * u64::from(info.channels) > most + 2 {
            return Err(AudioError::malformed("the wave file's ADPCM block size and sample count do not fit together"));
        }
        let mut params = params(id, info.rate, info.channels, &[]);
        params.with_max_frames_per_packet(per_block).with_frames_per_block(per_block);
        info.codec = name_of(id);
        info.duration = shape.frames.map(|frames| span(frames, info.rate));
        let codec = Codec::new(&params)?;
        Ok(Self { input, info, codec, block_bytes: shape.block_bytes.into(), per_block, bytes, frames: shape.frames })
    }

    fn truncated(&self, notes: &mut Notes) {
        let lost = self.frames.filter(|&n| n > 0).map(|n| (n, self.info.rate));
        let short = matches!(self.bytes, Extent::Bytes(left) if left > 0) || lost.is_some();
        if short {
            notes.add(DamageKind::Truncated, lost, "the file ends before its header says that it should");
        }
    }
}

impl Frames for AdpcmFrames {
    fn info(&self) -> &Info {
        &self.info
    }

    fn next(&mut self, mix: Mix, out: &mut Vec<f32>, notes: &mut Notes) -> Result<Step> {
        let block = Block { rate: self.info.rate };
        let full = match self.bytes {
            Extent::Bytes(left) => left >= self.block_bytes as u64,
            Extent::ToEnd => true,
        };
        if !full || self.frames == Some(0) {
            return Ok(Step::End);
        }
        let data = self.input.take(self.block_bytes).map_err(|e| AudioError::io("reading the audio", e))?;
        if data.len() < self.block_bytes {
            self.truncated(notes);
            return Ok(Step::End);
        }
        if let Extent::Bytes(left) = &mut self.bytes {
            *left -= data.len() as u64;
        }
        let wanted = self.frames.map_or(self.per_block, |left| left.min(self.per_block));
        self.frames = self.frames.map(|left| left - wanted);
        match self.codec.decode(&data, self.per_block) {
            Ok(decoded) => {
                let keep = decoded.samples.len().min(wanted as usize * usize::from(decoded.channels));
                mix.add(&decoded.samples[..keep], decoded.channels, out, notes);
                Ok(Step::Block(block))
            }
            Err(message) => {
                notes.add(DamageKind::Undecodable, Some((wanted, block.rate)), message);
                Ok(Step::Silence(block, wanted))
            }
        }
    }
}
