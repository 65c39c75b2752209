//! Malformed whisper and Silero files in ggml's format, and the smallest good ones to make them from.

use super::{Random, Sample};

/// Malformed files made from a good one, at least 200, the same ones for the same seed: bit and byte flips, cuts,
/// numbers of the header, of the vocabulary and of tensor headers set to values that loaders stumble over. A few of
/// them, such as a flipped bit of a weight, are as good as the base.
///
/// Files come one at a time, because a corpus of a large model would not fit into memory. `base` is a whisper or a
/// Silero file; of other bytes only flips and cuts are made.
pub fn ggml_corpus(base: &[u8], seed: u64) -> impl Iterator<Item = Sample> + '_ {
    changes(base, seed).into_iter().map(move |(name, change)| Sample { name, bytes: change.apply(base) })
}

/// The smallest whisper file that the check accepts: right in every number, all its weights zero.
pub fn smallest_whisper() -> Vec<u8> {
    let mut file = Writer::default();
    let (vocabulary, audio_ctx, state, text_ctx) = (51864, 64, 16, 32);
    file.numbers(&[MAGIC, vocabulary, audio_ctx, state, 2, 1, text_ctx, state, 2, 1, 80, 1]);
    file.numbers(&[80, 201]);
    file.0.resize(file.0.len() + 80 * 201 * 4, 0);
    file.numbers(&[3]);
    for token in ["a", " ", "b"] {
        file.text(token);
    }
    file.tensor("encoder.positional_embedding", &[state, audio_ctx], 0);
    file.tensor("encoder.conv1.weight", &[3, 80, state], 1);
    file.tensor("encoder.conv1.bias", &[1, state], 0);
    file.tensor("encoder.conv2.weight", &[3, state, state], 1);
    file.tensor("encoder.conv2.bias", &[1, state], 0);
    file.norm("encoder.ln_post", state);
    file.tensor("decoder.positional_embedding", &[state, text_ctx], 0);
    file.tensor("decoder.token_embedding.weight", &[state, vocabulary], 1);
    file.norm("decoder.ln", state);
    file.block("encoder.blocks.0", &["attn"], state);
    file.block("decoder.blocks.0", &["attn", "cross_attn"], state);
    file.0
}

/// The smallest Silero file that the check accepts: right in every number, all its weights zero.
pub fn smallest_vad() -> Vec<u8> {
    let mut file = Writer::default();
    file.numbers(&[MAGIC]);
    file.text("silero-16k");
    file.numbers(&[6, 2, 0, 512, 64, 4]);
    let encoder = [[129, 128], [128, 64], [64, 64], [64, 128]];
    for [channels_in, channels_out] in encoder {
        file.numbers(&[channels_in, channels_out, 3]);
    }
    file.numbers(&[128, 128, 128, 1]);
    file.tensor("_model.stft.forward_basis_buffer", &[256, 1, 258], 1);
    for (layer, [channels_in, channels_out]) in encoder.into_iter().enumerate() {
        file.tensor(&format!("_model.encoder.{layer}.reparam_conv.weight"), &[3, channels_in, channels_out], 1);
        file.tensor(&format!("_model.encoder.{layer}.reparam_conv.bias"), &[channels_out], 0);
    }
    for side in ["ih", "hh"] {
        file.tensor(&format!("_model.decoder.rnn.weight_{side}"), &[128, 512], 0);
        file.tensor(&format!("_model.decoder.rnn.bias_{side}"), &[512], 0);
    }
    file.tensor("_model.decoder.decoder.2.weight", &[128], 1);
    file.tensor("_model.decoder.decoder.2.bias", &[], 0);
    file.0
}

const MAGIC: u32 = 0x6767_6d6c;

/// Values that loaders stumble over: zero, negative, huge, just past a limit.
const BAD: [u32; 8] = [0, 1, u32::MAX, i32::MIN as u32, i32::MAX as u32, 1 << 20, 65, 100_000];

/// One change of the base.
enum Change {
    Flip { offset: usize, mask: u8 },
    Cut(usize),
    Number { offset: usize, value: u32 },
    Append(usize),
    Repeat { from: usize, to: usize },
    Drop { from: usize, to: usize },
}

impl Change {
    fn apply(self, base: &[u8]) -> Vec<u8> {
        let mut bytes = base.to_vec();
        match self {
            Self::Flip { offset, mask } => bytes[offset] ^= mask,
            Self::Cut(length) => bytes.truncate(length),
            Self::Number { offset, value } => bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes()),
            Self::Append(count) => bytes.resize(base.len() + count, 0x5a),
            Self::Repeat { from, to } => bytes.extend_from_slice(&base[from..to]),
            Self::Drop { from, to } => drop(bytes.drain(from..to)),
        }
        bytes
    }
}

fn changes(base: &[u8], seed: u64) -> Vec<(String, Change)> {
    let mut random = Random::new(seed);
    let layout = Layout::of(base);
    let mut changes = Vec::new();
    if base.is_empty() {
        return changes;
    }
    flips(base, &layout, &mut random, &mut changes);
    cuts(base, &layout, &mut random, &mut changes);
    for (name, offset) in &layout.numbers {
        for value in BAD {
            changes.push((format!("{name}-{}", value.cast_signed()), Change::Number { offset: *offset, value }));
        }
    }
    for count in [1, 11, 12, 13, 4096] {
        changes.push((format!("append-{count}"), Change::Append(count)));
    }
    if let (Some(first), Some(last)) = (layout.tensors.first(), layout.tensors.last()) {
        changes.push(("first-tensor-twice".into(), Change::Repeat { from: first.0, to: first.1 }));
        changes.push(("no-first-tensor".into(), Change::Drop { from: first.0, to: first.1 }));
        changes.push(("no-last-tensor".into(), Change::Drop { from: last.0, to: last.1 }));
        changes.push(("no-tensors".into(), Change::Cut(first.0)));
    }
    changes
}

fn flips(base: &[u8], layout: &Layout, random: &mut Random, changes: &mut Vec<(String, Change)>) {
    for (name, end, count) in [("header", 128, 48), ("front", layout.front, 32), ("file", base.len(), 32)] {
        for _ in 0..count {
            let offset = random.below(end.clamp(1, base.len()));
            let bit = Change::Flip { offset, mask: 1 << random.below(8) };
            changes.push((format!("bit-{name}-{offset}"), bit));
            let offset = random.below(end.clamp(1, base.len()));
            let byte = Change::Flip { offset, mask: 1 + random.below(255) as u8 };
            changes.push((format!("byte-{name}-{offset}"), byte));
        }
    }
}

fn cuts(base: &[u8], layout: &Layout, random: &mut Random, changes: &mut Vec<(String, Change)>) {
    for length in
        [0, 1, 3, 4, 5, 8, 47, 48, 52, 56, 60, base.len() / 2, base.len() - 1, base.len() - 100.min(base.len())]
    {
        if length < base.len() {
            changes.push((format!("cut-{length}"), Change::Cut(length)));
        }
    }
    for (from, to) in layout.tensors.iter().rev().take(8) {
        for length in [*from, from + 4, from + 12, from + 20, (from + to) / 2] {
            changes.push((format!("cut-tensor-{length}"), Change::Cut(length.min(base.len()))));
        }
    }
    for _ in 0..16 {
        let length = random.below(base.len());
        changes.push((format!("cut-{length}"), Change::Cut(length)));
    }
}

/// Where the numbers and the tensors of a good file stand.
#[derive(Default)]
struct Layout {
    /// Name and offset of each number worth spoiling.
    numbers: Vec<(String, usize)>,
    /// Start and end of each tensor, its header included.
    tensors: Vec<(usize, usize)>,
    /// End of everything before the tensors.
    front: usize,
}

impl Layout {
    fn of(base: &[u8]) -> Self {
        let mut layout = Self { front: base.len(), ..Self::default() };
        // A base that is no good file has no layout beyond what could be read.
        let _ = layout.read(base);
        layout
    }

    fn read(&mut self, base: &[u8]) -> Option<()> {
        let at = |offset: usize| Some(u32::from_le_bytes(base.get(offset..offset + 4)?.try_into().ok()?) as usize);
        let is_vad = base.get(8..14)? == b"silero";
        let mut offset = if is_vad { self.vad_header() } else { self.whisper_header(&at)? };
        self.front = offset;
        while offset < base.len() {
            let (dims, name, kind) = (at(offset)?, at(offset + 4)?, at(offset + 8)?);
            let elements: usize = (0..dims).map(|i| at(offset + 12 + 4 * i)).product::<Option<usize>>()?;
            let (block, bytes) = [(1, 4), (1, 2), (32, 18), (32, 20), (1, 4), (1, 4), (32, 22), (32, 24), (32, 34)]
                .get(kind)
                .copied()?;
            let end = offset + 12 + 4 * dims + name + elements / block * bytes;
            self.tensors.push((offset, end));
            offset = end;
        }
        let spoiled = [0, self.tensors.len() / 2, self.tensors.len().saturating_sub(1)];
        for tensor in spoiled {
            let start = self.tensors.get(tensor)?.0;
            for (part, name) in ["n_dims", "name_length", "type", "first_dim", "second_dim"].iter().enumerate() {
                self.numbers.push((format!("tensor{tensor}-{name}"), start + 4 * part));
            }
        }
        Some(())
    }

    fn vad_header(&mut self) -> usize {
        self.numbers.push(("kind-length".into(), 4));
        // The version before them may be any.
        for (index, offset) in (30..102).step_by(4).enumerate() {
            self.numbers.push((format!("number{index}"), offset));
        }
        // Kind, version, window, context, layers, 4 × 3 numbers of layers, 4 numbers of the rest.
        4 + 4 + 10 + 12 + 8 + 4 + 48 + 16
    }

    fn whisper_header(&mut self, at: &dyn Fn(usize) -> Option<usize>) -> Option<usize> {
        const NAMES: [&str; 14] = [
            "magic",
            "n_vocab",
            "n_audio_ctx",
            "n_audio_state",
            "n_audio_head",
            "n_audio_layer",
            "n_text_ctx",
            "n_text_state",
            "n_text_head",
            "n_text_layer",
            "n_mels",
            "ftype",
            "filter-n_mel",
            "filter-n_fft",
        ];
        for (index, name) in NAMES.iter().enumerate() {
            self.numbers.push(((*name).to_owned(), 4 * index));
        }
        let mut offset = 56 + at(48)? * at(52)? * 4;
        self.numbers.push(("vocabulary-count".into(), offset));
        self.numbers.push(("first-token-length".into(), offset + 4));
        let count = at(offset)?;
        offset += 4;
        for _ in 0..count {
            offset += 4 + at(offset)?;
        }
        Some(offset)
    }
}

/// Writes a file piece by piece.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn numbers(&mut self, numbers: &[u32]) {
        self.0.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    }

    fn text(&mut self, text: &str) {
        self.numbers(&[text.len() as u32]);
        self.0.extend_from_slice(text.as_bytes());
    }

    /// A tensor of zeros, of F32 (0) or F16 (1).
    fn tensor(&mut self, name: &str, dims: &[u32], kind: u32) {
        self.numbers(&[dims.len() as u32, name.len() as u32, kind]);
        self.numbers(dims);
        self.0.extend_from_slice(name.as_bytes());
        let bytes = dims.iter().product::<u32>() * if kind == 0 { 4 } else { 2 };
        self.0.resize(self.0.len() + bytes as usize, 0);
    }

    fn norm(&mut self, name: &str, state: u32) {
        self.tensor(&format!("{name}.weight"), &[state], 0);
        self.tensor(&format!("{name}.bias"), &[state], 0);
    }

    fn block(&mut self, block: &str, attentions: &[&str], state: u32) {
        self.norm(&format!("{block}.mlp_ln"), state);
        self.linear(&format!("{block}.mlp.0"), [state, 4 * state], true);
        self.linear(&format!("{block}.mlp.2"), [4 * state, state], true);
        for attention in attentions {
            self.norm(&format!("{block}.{attention}_ln"), state);
            for part in ["query", "key", "value", "out"] {
                self.linear(&format!("{block}.{attention}.{part}"), [state, state], part != "key");
            }
        }
    }

    fn linear(&mut self, name: &str, dims: [u32; 2], has_bias: bool) {
        self.tensor(&format!("{name}.weight"), &dims, 1);
        if has_bias {
            self.tensor(&format!("{name}.bias"), &dims[1..], 0);
        }
    }
}
