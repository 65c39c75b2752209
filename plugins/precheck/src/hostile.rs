//! Makers of malformed model files, for the tests of the checks and of the loaders behind them.
//!
//! A corpus comes from a good file and a seed, always the same. Not every file of a corpus is unreadable; each must end
//! in an error or in a model that loads, never in the death of the process.

mod ggml;
mod gguf;

pub use ggml::{ggml_corpus, smallest_vad, smallest_whisper};
pub use gguf::{GGUF_KILLERS, GgufFile, GgufTensor, gguf_corpus, mutations};

/// One file of a corpus.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What was done to it, as a file name without extension.
    pub name: String,
    /// The file.
    pub bytes: Vec<u8>,
}

/// A small generator of numbers that are the same on every machine for the same seed (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
