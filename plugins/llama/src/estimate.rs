//! How much memory a model will take, from the heads of its files alone.
//!
//! Weights and keys and values are known to the byte. The buffers of the computation follow the graph that llama.cpp
//! builds for a step of `ubatch_size` tokens: what is counted is what a step writes to, not what is reserved and never
//! touched (the scores of every token of a step, of which all but the last one's are left out). The constants were
//! fitted to measurements; `docs/performance.md` tells how near they come.

use crate::options::{FlashAttention, LoadOptions, MemoryType};
use tenon_plugin::Result;
use tenon_precheck::gguf::Summary;
use tenon_precheck::shape::{Shape, Tensor};
use tenon_tasks::{DeviceEstimate, MemoryEstimate, MemoryParts};

/// llama.cpp rounds a context up to this many tokens.
const CONTEXT_STEP: u64 = 256;
/// Text, score and place in the tables of one token.
const TOKEN: u64 = 175;
/// Place in the tables of one merge of two tokens.
const MERGE: u64 = 120;
/// Tables of characters that the first tokenizer with merges makes for the process.
const CHARACTERS: u64 = 2_600_000;
/// Whatever else a model takes, however small.
const MODEL: u64 = 700_000;
/// Nodes, hashes and plans of the graphs of a context, and its threads.
const GRAPHS: u64 = 2_400_000;
/// Scores of a token, and its place among the candidates and in what they are sorted by.
const SCORE: u64 = 20;

/// ggml's number of the 16-bit format.
const F16: u32 = 1;
/// ggml's number of the 32-bit format.
const F32: u32 = 0;
/// Types that ggml rearranges for the vector units of x86-64 when it loads them: Q4_0, Q4_K, IQ4_NL. They then lie in
/// memory of their own.
const REARRANGED: [u32; 3] = [2, 12, 20];
/// Rows that are rearranged together.
const REARRANGED_ROWS: u64 = 8;

/// Of a model in these files, in any order.
pub fn of(parts: &[Summary], options: &LoadOptions) -> Result<MemoryEstimate> {
    let Some(head) = parts.iter().max_by_key(|part| part.shape.width) else { return Ok(MemoryEstimate::default()) };
    let context = options.context(u32::try_from(head.shape.context).unwrap_or(u32::MAX))?;
    let weights = Weights::of(parts, options.mmap);
    let characters = if head.merges > 0 { CHARACTERS } else { 0 };
    let model = MemoryParts {
        weights: weights.kept,
        other: MODEL + characters + TOKEN * head.tokens + MERGE * head.merges,
        ..MemoryParts::default()
    };
    // Models that read a whole text at once, both ways, keep nothing of the past.
    let keeps = !head.architecture.contains("bert") && head.architecture != "gemma-embedding";
    let session = MemoryParts {
        cache: if keeps { cache(&head.shape, context.into(), options.kv_type) } else { 0 },
        compute: compute(&head.shape, context.into(), weights.widest, options),
        other: SCORE * head.tokens,
        ..MemoryParts::default()
    };
    let cpu = DeviceEstimate { device: "cpu".to_owned(), model, session, reclaimable: weights.reclaimable };
    Ok(MemoryEstimate { devices: vec![cpu] })
}

/// Sums over the tensors of a model, in bytes.
struct Weights {
    /// What stays.
    kept: u64,
    /// Of the files, what was mapped only to be rearranged.
    reclaimable: u64,
    /// ggml's number of the type that most of the weights have.
    widest: u32,
}

impl Weights {
    fn of(parts: &[Summary], mapped: bool) -> Self {
        let tensors = || parts.iter().flat_map(|part| &part.tensors);
        let sum = |wanted: &dyn Fn(&Tensor) -> bool| {
            tensors().filter(|tensor| wanted(tensor)).fold(0, |sum: u64, tensor| sum.saturating_add(tensor.bytes))
        };
        // Without an output of its own a model computes its scores with the table of its tokens, which then lies in
        // memory twice where it is rearranged.
        let tied = tensors().all(|tensor| tensor.name != "output.weight");
        let is_table = |tensor: &Tensor| tensor.name == "token_embd.weight";
        let twice = if tied { sum(&|tensor| is_table(tensor) && is_rearranged(tensor)) } else { 0 };
        let rearranged = sum(&|tensor| !is_table(tensor) && is_rearranged(tensor));
        let most = tensors().filter(|tensor| !is_table(tensor)).max_by_key(|tensor| tensor.bytes);
        Self {
            kept: sum(&|_| true).saturating_add(twice),
            reclaimable: if mapped { rearranged } else { 0 },
            widest: most.map_or(F32, |tensor| tensor.kind),
        }
    }
}

fn is_rearranged(tensor: &Tensor) -> bool {
    cfg!(target_arch = "x86_64")
        && REARRANGED.contains(&tensor.kind)
        && tensor.dimensions.len() > 1
        && tensor.rows().is_multiple_of(REARRANGED_ROWS)
}

/// Keys and values of all tokens, and the state of layers that have none.
fn cache(shape: &Shape, context: u64, kind: MemoryType) -> u64 {
    let (keys, values) = shape.cached();
    let numbers = context.next_multiple_of(CONTEXT_STEP).saturating_mul(keys.saturating_add(values));
    let cache = match kind {
        MemoryType::F32 => numbers.saturating_mul(4),
        MemoryType::F16 => numbers.saturating_mul(2),
        MemoryType::Q8 => numbers / 32 * 34,
    };
    cache.saturating_add(shape.recurrent_layers().saturating_mul(shape.state).saturating_mul(4))
}

/// What the graph of a full step writes to.
fn compute(shape: &Shape, context: u64, weights: u32, options: &LoadOptions) -> u64 {
    // A vector for a text needs all of it in one step.
    let step = if shape.pools { context } else { u64::from(options.step()).min(context) };
    let context = context.next_multiple_of(CONTEXT_STEP);
    let Shape { width, hidden, heads, key_length, value_length, .. } = *shape;
    let kept = 2 * width;
    let attention = heads.saturating_mul(key_length.saturating_mul(2).saturating_add(value_length));
    let row = kept.saturating_add(hidden.saturating_mul(3).max(attention)).saturating_mul(4);
    // The rows that a product of matrices reads are first brought into a format that suits its weights.
    let prepared = match weights {
        F32 => 0,
        F16 => hidden.saturating_mul(2),
        _ => hidden / 16 * 17,
    };
    let scores = match options.flash_attn {
        // What may be looked at, 16 bits for each pair of tokens.
        FlashAttention::Auto | FlashAttention::On => context * 2,
        // The same in 32 bits, the scores of every head, and those once more in 16 bits, in a buffer that grows with
        // the context and leaves some of its earlier selves behind.
        FlashAttention::Off => context * 4 + context.saturating_mul(heads).saturating_mul(13) / 2,
    };
    step.saturating_mul(row.saturating_add(prepared).saturating_add(scores)).saturating_add(GRAPHS)
}
