//! How much memory a model will take, from the head of its file alone.
//!
//! It holds for a window of 30 seconds with the default number of decoders and as many tokens of earlier text as the
//! model takes; longer windows add their samples. The buffers follow the four graphs of whisper.cpp (convolution,
//! encoder, keys and values of the audio, decoder): what is counted is what a run writes to, not what is reserved and
//! never touched. The constants were fitted to measurements; `docs/performance.md` tells how near they come.

use crate::options::{LoadOptions, WhisperOptions};
use tenon_precheck::ggml::Whisper;
use tenon_tasks::{MemoryEstimate, MemoryParts};

/// Positions of keys and values come in steps of this many.
const CACHE_STEP: u64 = 256;
/// Bytes of a number of the keys and values.
const HALF: u64 = 2;
/// Text and place in the tables of one token.
const TOKEN: u64 = 190;
/// Of one decoder and token: score, its logarithm, its probability, and its place in what is sorted by.
const SCORE: u64 = 20;
/// Nodes and plans of one graph.
const GRAPH: u64 = 1_600_000;
/// Samples of 30 seconds as they come, as they are padded, and their spectrogram.
const AUDIO: u64 = 10_000_000;
/// Tokens that tell language and task.
const TASK_TOKENS: u64 = 4;
/// A voice activity model beside its file.
const DETECTOR: u64 = 4_000_000;

/// Of a model in a file of so many bytes, with a voice activity model of so many.
pub fn of(model: &Whisper, file: u64, vad: u64, options: &LoadOptions) -> MemoryEstimate {
    let tokens = u64::from(model.n_vocab);
    let decoders = decoders();
    let model_parts = MemoryParts {
        weights: file.saturating_sub(model.head).saturating_add(vad),
        other: TOKEN * tokens,
        ..MemoryParts::default()
    };
    let prompt = u64::from(model.n_text_ctx) / 2 + TASK_TOKENS;
    let session = MemoryParts {
        cache: cache(model, decoders),
        compute: compute(model, prompt, options.flash_attn),
        // The scores of every token of the prompt, once more, and those of every decoder.
        other: AUDIO + 4 * prompt * tokens + SCORE * decoders * tokens + if vad > 0 { DETECTOR + vad } else { 0 },
        ..MemoryParts::default()
    };
    MemoryEstimate::on_cpu(model_parts, session)
}

fn decoders() -> u64 {
    let default = WhisperOptions::default();
    default.beam_size.max(default.best_of).into()
}

/// Keys and values of the text of all decoders, of the audio, and their padding.
fn cache(model: &Whisper, decoders: u64) -> u64 {
    let (state, layers) = (u64::from(model.n_state), u64::from(model.n_text_layer));
    let padded = |positions: u32| u64::from(positions).next_multiple_of(CACHE_STEP);
    // whisper.cpp takes two more than there are decoders, against gaps.
    let text = padded(model.n_text_ctx) * layers * if decoders > 1 { decoders + 2 } else { 1 };
    let audio = padded(model.n_audio_ctx) * layers;
    2 * HALF * state * (text + audio + padded(model.n_audio_ctx))
}

/// What the four graphs write to, each in a buffer of its own.
fn compute(model: &Whisper, prompt: u64, flash: bool) -> u64 {
    let (state, positions) = (u64::from(model.n_state), u64::from(model.n_audio_ctx));
    let row = 4 * state;
    let convolution = positions * (4 * row + 16 * u64::from(model.n_mels)) + GRAPH;
    let heads = u64::from(model.n_audio_head);
    // Without flash attention, the scores of each pair of positions, and those once more in 16 bits.
    let scores = positions * positions * heads;
    let (encoder, prepared) = if flash {
        (positions * 7 * row, positions * row * 2)
    } else {
        ((positions * 5 * row + 4 * scores).max(positions * 7 * row), 2 * scores)
    };
    let cross = positions * row;
    let decoder = prompt * (4 * u64::from(model.n_vocab) + 2 * row);
    convolution + encoder + prepared + cross + decoder + 3 * GRAPH + 4 * GRAPH
}
