//! Malformed GGUF files: changed at random, or crafted to be sound but for one lie; and the tiny model that they are
//! crafted from.

use super::{Random, Sample};

/// A change of a file.
#[derive(Clone, Debug)]
enum Change {
    Flip { at: usize, mask: u8 },
    Set { at: usize, value: u8 },
    Run { at: usize, values: [u8; 16] },
    Cut { to: usize },
}

impl Change {
    fn apply(&self, base: &[u8]) -> Vec<u8> {
        let mut bytes = base.to_vec();
        match self {
            Self::Flip { at, mask } => bytes[*at] ^= mask,
            Self::Set { at, value } => bytes[*at] = *value,
            Self::Run { at, values } => bytes.iter_mut().skip(*at).zip(values).for_each(|(byte, value)| *byte = *value),
            Self::Cut { to } => bytes.truncate(*to),
        }
        bytes
    }
}

/// Changes of every kind to the first `head` bytes of `base`, and cuts anywhere. Files come one at a time, because a
/// corpus of a large model would not fit into memory.
pub fn mutations(base: &[u8], head: usize, seed: u64) -> impl Iterator<Item = Sample> {
    let mut random = Random::new(seed);
    let head = head.min(base.len()).max(1);
    let mut changes = Vec::new();
    for number in 0..60 {
        let at = random.below(head);
        changes.push((format!("bit-{number:02}-at-{at}"), Change::Flip { at, mask: 1 << random.below(8) }));
    }
    for number in 0..50 {
        let at = random.below(head);
        let value = [0x00, 0xff, 0x7f, 0x80][number % 4] ^ (random.below(2) as u8);
        changes.push((format!("byte-{number:02}-at-{at}"), Change::Set { at, value }));
    }
    for number in 0..20 {
        let at = random.below(head);
        let values = std::array::from_fn(|_| random.next() as u8);
        changes.push((format!("run-{number:02}-at-{at}"), Change::Run { at, values }));
    }
    for number in 0..30 {
        let most = if number % 2 == 0 { head } else { base.len() };
        let to = if number < 5 { number * 4 } else { random.below(most) };
        changes.push((format!("cut-{number:02}-to-{to}"), Change::Cut { to }));
    }
    changes.into_iter().map(move |(name, change)| Sample { name, bytes: change.apply(base) })
}

/// At least 200 malformed GGUF files: made from a good one, and crafted.
pub fn gguf_corpus(base: &[u8], seed: u64) -> impl Iterator<Item = Sample> {
    // Metadata and tensor entries lie in front; changed weights are not what is tested here.
    let head = crate::gguf::metadata_end(base).unwrap_or(base.len());
    mutations(base, head, seed).chain(crafted_gguf())
}

/// A GGUF file under construction.
#[derive(Clone, Debug)]
pub struct GgufFile {
    /// Magic number.
    pub magic: [u8; 4],
    /// Version of the format.
    pub version: u32,
    /// Keys with the number of their type and the bytes of their value.
    pub pairs: Vec<(Vec<u8>, u32, Vec<u8>)>,
    /// Tensors.
    pub tensors: Vec<GgufTensor>,
    /// Added to the number of tensors that the header tells.
    pub extra_tensors: u64,
    /// Added to the number of pairs that the header tells.
    pub extra_pairs: u64,
    /// Bytes taken off the end.
    pub cut: usize,
}

/// A tensor of a [`GgufFile`].
#[derive(Clone, Debug)]
pub struct GgufTensor {
    /// Name.
    pub name: Vec<u8>,
    /// Dimensions, fastest first.
    pub dimensions: Vec<u64>,
    /// Number of the type.
    pub kind: u32,
    /// Added to the offset.
    pub shift: u64,
}

/// A text as GGUF writes it.
fn text(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text].concat()
}

fn array(kind: u32, count: u64, elements: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &count.to_le_bytes(), elements].concat()
}

fn texts(all: &[&[u8]]) -> Vec<u8> {
    array(8, all.len() as u64, &all.iter().flat_map(|one| text(one)).collect::<Vec<u8>>())
}

/// Tokens of the tiny model: three special ones, the 256 byte tokens, some letters.
fn tiny_tokens() -> Vec<Vec<u8>> {
    let special = [&b"<unk>"[..], b"<s>", b"</s>", b"<|im_start|>", b"<|im_end|>"].map(<[u8]>::to_vec);
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>").into_bytes());
    let letters = (b'a'..=b'z').map(|letter| vec![letter]);
    special.into_iter().chain(bytes).chain(letters).chain(["\u{2581}".as_bytes().to_vec()]).collect()
}

impl GgufFile {
    /// A tiny model of the `llama` architecture that loads and runs: one layer, width 32, weights of small random
    /// numbers. Its answers mean nothing.
    pub fn tiny() -> Self {
        let tokens = tiny_tokens();
        let vocabulary = tokens.len() as u64;
        let kinds = (0..tokens.len()).map(|id| match id {
            0 => 2_i32,
            1..=4 => 3,
            5..=260 => 6,
            _ => 1,
        });
        let scores: Vec<u8> = (0..tokens.len()).flat_map(|id| (-(id as f32)).to_le_bytes()).collect();
        let kinds: Vec<u8> = kinds.flat_map(i32::to_le_bytes).collect();
        let borrowed: Vec<&[u8]> = tokens.iter().map(Vec::as_slice).collect();
        let mut file = Self {
            magic: *b"GGUF",
            version: 3,
            pairs: Vec::new(),
            tensors: Vec::new(),
            extra_tensors: 0,
            extra_pairs: 0,
            cut: 0,
        };
        file.set_text("general.architecture", b"llama");
        for (key, number) in [
            ("context_length", 256),
            ("embedding_length", 32),
            ("block_count", 1),
            ("feed_forward_length", 64),
            ("attention.head_count", 2),
            ("attention.head_count_kv", 2),
            ("rope.dimension_count", 16),
        ] {
            file.set_u32(&format!("llama.{key}"), number);
        }
        file.set("llama.attention.layer_norm_rms_epsilon", 6, 1e-5_f32.to_le_bytes().to_vec());
        file.set_text("tokenizer.ggml.model", b"llama");
        file.set("tokenizer.ggml.tokens", 9, texts(&borrowed));
        file.set("tokenizer.ggml.scores", 9, array(6, vocabulary, &scores));
        file.set("tokenizer.ggml.token_type", 9, array(5, vocabulary, &kinds));
        file.set_u32("tokenizer.ggml.bos_token_id", 1);
        file.set_u32("tokenizer.ggml.eos_token_id", 4);
        file.set_text("tokenizer.chat_template", TINY_TEMPLATE.as_bytes());
        for (name, dimensions) in [
            ("token_embd", vec![32, vocabulary]),
            ("output_norm", vec![32]),
            ("blk.0.attn_norm", vec![32]),
            ("blk.0.ffn_norm", vec![32]),
            ("blk.0.attn_q", vec![32, 32]),
            ("blk.0.attn_k", vec![32, 32]),
            ("blk.0.attn_v", vec![32, 32]),
            ("blk.0.attn_output", vec![32, 32]),
            ("blk.0.ffn_gate", vec![32, 64]),
            ("blk.0.ffn_up", vec![32, 64]),
            ("blk.0.ffn_down", vec![64, 32]),
        ] {
            file.tensors.push(GgufTensor {
                name: format!("{name}.weight").into_bytes(),
                dimensions,
                kind: 0,
                shift: 0,
            });
        }
        file
    }

    /// Sets a key to a value of any type, replacing an earlier one.
    pub fn set(&mut self, key: &str, kind: u32, value: Vec<u8>) {
        match self.pairs.iter_mut().find(|(known, _, _)| known == key.as_bytes()) {
            Some(pair) => (pair.1, pair.2) = (kind, value),
            None => self.pairs.push((key.as_bytes().to_vec(), kind, value)),
        }
    }

    /// Sets a key to a number.
    pub fn set_u32(&mut self, key: &str, number: u32) {
        self.set(key, 4, number.to_le_bytes().to_vec());
    }

    /// Sets a key to a text.
    pub fn set_text(&mut self, key: &str, value: &[u8]) {
        self.set(key, 8, text(value));
    }

    /// Makes it a model of another architecture, with the same hyperparameters.
    pub fn rename(&mut self, architecture: &str) {
        for (key, _, _) in &mut self.pairs {
            if let Some(name) = key.strip_prefix(b"llama.") {
                *key = [architecture.as_bytes(), b".", name].concat();
            }
        }
        self.set_text("general.architecture", architecture.as_bytes());
    }

    /// Takes a key away.
    pub fn remove(&mut self, key: &str) {
        self.pairs.retain(|(known, _, _)| known != key.as_bytes());
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64 + self.extra_tensors).to_le_bytes());
        out.extend((self.pairs.len() as u64).wrapping_add(self.extra_pairs).to_le_bytes());
        for (key, kind, value) in &self.pairs {
            out.extend(text(key));
            out.extend(kind.to_le_bytes());
            out.extend(value);
        }
        let mut data = Vec::new();
        for tensor in &self.tensors {
            out.extend(text(&tensor.name));
            out.extend((tensor.dimensions.len() as u32).to_le_bytes());
            tensor.dimensions.iter().for_each(|dimension| out.extend(dimension.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend((data.len() as u64).wrapping_add(tensor.shift).to_le_bytes());
            // The name alone decides, so that a tensor is the same in a shard of the model.
            let mut random =
                Random::new(tensor.name.iter().fold(7, |seed, &byte| seed * 31 % 0xffff_fffb + u64::from(byte)));
            // A lie about the size is not followed by as much data.
            let elements = tensor.dimensions.iter().try_fold(1_u64, |all, one| all.checked_mul(*one)).unwrap_or(0);
            for _ in 0..elements.min(1 << 16) {
                let number = (random.below(2001) as f32 - 1000.0) / 4000.0;
                data.extend(number.to_le_bytes());
            }
            data.resize(data.len().next_multiple_of(32), 0);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(data);
        out.truncate(out.len().saturating_sub(self.cut));
        out
    }
}

const TINY_TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] \
    + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

type Craft = (&'static str, fn(&mut GgufFile));

/// Files that are the tiny model but for one lie. These are the header values that end a process in
/// llama.cpp's loader when nothing checks them first.
pub const GGUF_KILLERS: &[Craft] = &[
    ("block-count-0", |file| file.set_u32("llama.block_count", 0)),
    ("block-count-513", |file| file.set_u32("llama.block_count", 513)),
    ("block-count-huge", |file| file.set_u32("llama.block_count", u32::MAX)),
    ("rms-eps-nan", |file| file.set("llama.attention.layer_norm_rms_epsilon", 6, f32::NAN.to_le_bytes().to_vec())),
    ("rms-eps-negative", |file| {
        file.set("llama.attention.layer_norm_rms_epsilon", 6, (-1.0_f32).to_le_bytes().to_vec());
    }),
    ("token-twice", |file| {
        let tokens = tiny_tokens();
        let mut tokens: Vec<&[u8]> = tokens.iter().map(Vec::as_slice).collect();
        tokens[270] = tokens[271];
        file.set("tokenizer.ggml.tokens", 9, texts(&tokens));
    }),
    ("tokenizer-bert", |file| file.set_text("tokenizer.ggml.model", b"bert")),
    ("tokenizer-bert-small", |file| {
        small_vocabulary(file);
        file.set_text("tokenizer.ggml.model", b"bert");
    }),
    ("tokenizer-rwkv", |file| file.set_text("tokenizer.ggml.model", b"rwkv")),
    ("tokenizer-none", |file| {
        file.set_text("tokenizer.ggml.model", b"none");
        file.set_u32("llama.vocab_size", 288);
    }),
    ("tokenizer-no-vocab", |file| {
        file.set_text("tokenizer.ggml.model", b"no_vocab");
        file.set_u32("llama.vocab_size", u32::MAX);
    }),
    ("gemma2-heads-0", |file| divided_by_heads(file, "gemma2", 46)),
    ("gemma3-heads-0", |file| divided_by_heads(file, "gemma3", 62)),
    ("rwkv6qwen2-head-size-0", |file| {
        for name in ["time_mix_extra_dim", "time_decay_extra_dim", "token_shift_count"] {
            file.set_u32(&format!("llama.{name}"), 1);
        }
        for name in ["rescale_every_n_layers", "wkv.head_size"] {
            file.set_u32(&format!("llama.{name}"), 0);
        }
        // It is read before the division.
        file.tensors.push(GgufTensor {
            name: b"output.weight".to_vec(),
            dimensions: file.tensors[0].dimensions.clone(),
            kind: 0,
            shift: 0,
        });
        file.rename("rwkv6qwen2");
    }),
    ("mamba2-groups-0", |file| {
        for name in ["ssm.conv_kernel", "ssm.inner_size", "ssm.state_size", "ssm.time_step_rank"] {
            file.set_u32(&format!("llama.{name}"), 4);
        }
        file.set_u32("llama.ssm.group_count", 0);
        file.rename("mamba2");
    }),
];

fn divided_by_heads(file: &mut GgufFile, architecture: &str, layers: u32) {
    file.set_u32("llama.block_count", layers);
    file.set_u32("llama.attention.head_count", 0);
    file.set_u32("llama.attention.head_count_kv", 0);
    file.rename(architecture);
}

fn small_vocabulary(file: &mut GgufFile) {
    file.set("tokenizer.ggml.tokens", 9, texts(&[b"<unk>", b"<s>", b"</s>", b"a", b"b", b"c"]));
    file.remove("tokenizer.ggml.scores");
    file.remove("tokenizer.ggml.token_type");
}

const CRAFTED: &[Craft] = &[
    ("magic", |file| file.magic = *b"GGUX"),
    ("magic-ggml", |file| file.magic = *b"lmgg"),
    ("version-0", |file| file.version = 0),
    ("version-1", |file| file.version = 1),
    ("version-4", |file| file.version = 4),
    ("version-big-endian", |file| file.version = 3_u32.swap_bytes()),
    ("tensor-count-huge", |file| file.extra_tensors = u64::MAX / 2),
    ("tensor-count-one-more", |file| file.extra_tensors = 1),
    ("pair-count-huge", |file| file.extra_pairs = u64::MAX / 2),
    ("pair-count-one-more", |file| file.extra_pairs = 1),
    ("pair-count-one-less", |file| file.extra_pairs = u64::MAX),
    ("key-empty", |file| file.set_u32("", 1)),
    ("key-twice", |file| file.pairs.push(file.pairs[1].clone())),
    ("key-nul", |file| file.set_u32("llama.\0", 1)),
    ("key-no-text", |file| file.pairs.push((vec![0xff, 0xfe], 4, vec![0; 4]))),
    ("text-length-huge", |file| file.set("general.name", 8, u64::MAX.to_le_bytes().to_vec())),
    ("text-length-past-end", |file| file.set("general.name", 8, (1_u64 << 20).to_le_bytes().to_vec())),
    ("value-type-13", |file| file.set("general.name", 13, vec![0; 8])),
    ("value-type-huge", |file| file.set("general.name", u32::MAX, vec![0; 8])),
    ("truth-2", |file| file.set("tokenizer.ggml.add_bos_token", 7, vec![2])),
    ("array-huge", |file| file.set("general.tags", 9, array(4, u64::MAX, &[]))),
    ("array-past-end", |file| file.set("general.tags", 9, array(4, 1 << 30, &[]))),
    ("array-nested", |file| file.set("general.tags", 9, array(9, 1, &array(4, 1, &[0; 4])))),
    ("array-of-texts-huge", |file| file.set("general.tags", 9, array(8, u64::MAX / 8, &[]))),
    ("alignment-0", |file| file.set_u32("general.alignment", 0)),
    ("alignment-3", |file| file.set_u32("general.alignment", 3)),
    ("alignment-huge", |file| file.set_u32("general.alignment", 1 << 31)),
    ("architecture-missing", |file| file.remove("general.architecture")),
    ("architecture-unknown", |file| file.set_text("general.architecture", b"llamma")),
    ("architecture-clip", |file| file.set_text("general.architecture", b"clip")),
    ("architecture-number", |file| file.set_u32("general.architecture", 7)),
    ("architecture-mamba", |file| file.set_text("general.architecture", b"mamba")),
    ("context-0", |file| file.set_u32("llama.context_length", 0)),
    ("context-huge", |file| file.set_u32("llama.context_length", u32::MAX)),
    ("context-missing", |file| file.remove("llama.context_length")),
    ("context-text", |file| file.set_text("llama.context_length", b"512")),
    ("width-0", |file| file.set_u32("llama.embedding_length", 0)),
    ("width-huge", |file| file.set_u32("llama.embedding_length", u32::MAX)),
    ("width-other", |file| file.set_u32("llama.embedding_length", 48)),
    ("heads-0", |file| file.set_u32("llama.attention.head_count", 0)),
    ("heads-huge", |file| file.set_u32("llama.attention.head_count", u32::MAX)),
    ("heads-3", |file| file.set_u32("llama.attention.head_count", 3)),
    ("key-heads-0", |file| file.set_u32("llama.attention.head_count_kv", 0)),
    ("key-heads-3", |file| file.set_u32("llama.attention.head_count_kv", 3)),
    ("rope-odd", |file| file.set_u32("llama.rope.dimension_count", 15)),
    ("rope-huge", |file| file.set_u32("llama.rope.dimension_count", u32::MAX)),
    ("rope-base-nan", |file| file.set("llama.rope.freq_base", 6, f32::NAN.to_le_bytes().to_vec())),
    ("rope-base-0", |file| file.set("llama.rope.freq_base", 6, vec![0; 4])),
    ("rope-scaling-unknown", |file| file.set_text("llama.rope.scaling.type", b"cubic")),
    ("rope-factor-infinite", |file| {
        file.set("llama.rope.scaling.factor", 6, f32::INFINITY.to_le_bytes().to_vec());
    }),
    ("experts-2000", |file| file.set_u32("llama.expert_count", 2000)),
    ("experts-unused", |file| file.set_u32("llama.expert_count", 8)),
    ("experts-used-more", |file| file.set_u32("llama.expert_used_count", 4)),
    ("expert-groups", |file| file.set_u32("llama.expert_group_count", 4)),
    ("pooling-9", |file| file.set_u32("llama.pooling_type", 9)),
    ("tokenizer-missing", |file| file.remove("tokenizer.ggml.model")),
    ("tokenizer-unknown", |file| file.set_text("tokenizer.ggml.model", b"bpe")),
    ("tokenizer-gpt2", |file| file.set_text("tokenizer.ggml.model", b"gpt2")),
    ("tokenizer-t5", |file| file.set_text("tokenizer.ggml.model", b"t5")),
    ("tokens-missing", |file| file.remove("tokenizer.ggml.tokens")),
    ("tokens-none", |file| file.set("tokenizer.ggml.tokens", 9, array(8, 0, &[]))),
    ("tokens-numbers", |file| file.set("tokenizer.ggml.tokens", 9, array(4, 1, &[0; 4]))),
    ("tokens-few", small_vocabulary),
    ("scores-short", |file| file.set("tokenizer.ggml.scores", 9, array(6, 1, &[0; 4]))),
    ("scores-texts", |file| file.set("tokenizer.ggml.scores", 9, texts(&[b"a"]))),
    ("token-types-short", |file| file.set("tokenizer.ggml.token_type", 9, array(5, 1, &[0; 4]))),
    ("bos-out-of-range", |file| file.set_u32("tokenizer.ggml.bos_token_id", 1 << 20)),
    ("eos-negative", |file| file.set("tokenizer.ggml.eos_token_id", 5, (-5_i32).to_le_bytes().to_vec())),
    ("tensor-dimensions-0", |file| file.tensors[0].dimensions.clear()),
    ("tensor-dimensions-5", |file| file.tensors[0].dimensions = vec![32, 1, 1, 1, 1]),
    ("tensor-dimensions-64", |file| file.tensors[0].dimensions = vec![1; 64]),
    ("tensor-dimension-of-0", |file| file.tensors[0].dimensions = vec![32, 0]),
    ("tensor-elements-overflow", |file| file.tensors[0].dimensions = vec![1 << 40, 1 << 40]),
    ("tensor-dimension-negative", |file| file.tensors[0].dimensions = vec![u64::MAX, 1]),
    ("tensor-type-4", |file| file.tensors[0].kind = 4),
    ("tensor-type-99", |file| file.tensors[0].kind = 99),
    ("tensor-type-huge", |file| file.tensors[0].kind = u32::MAX),
    ("tensor-row-no-block", |file| {
        file.tensors[0] = GgufTensor { name: b"token_embd.weight".to_vec(), dimensions: vec![33, 4], kind: 8, shift: 0 }
    }),
    ("tensor-name-empty", |file| file.tensors[1].name.clear()),
    ("tensor-name-long", |file| file.tensors[1].name = vec![b'x'; 64]),
    ("tensor-name-twice", |file| file.tensors[1].name = file.tensors[2].name.clone()),
    ("tensor-offset-odd", |file| file.tensors[1].shift = 1),
    ("tensor-offset-huge", |file| file.tensors[1].shift = u64::MAX / 2),
    ("tensor-overlap", |file| file.tensors[1].shift = 32_u64.wrapping_neg()),
    ("tensor-missing", |file| drop(file.tensors.remove(4))),
    ("tensor-of-other-shape", |file| file.tensors[4].dimensions = vec![32, 16]),
    ("no-tensors", |file| file.tensors.clear()),
    ("data-cut-by-1", |file| file.cut = 1),
    ("data-cut-by-4096", |file| file.cut = 4096),
    ("split-of-3", |file| {
        file.set("split.count", 2, 3_u16.to_le_bytes().to_vec());
        file.set("split.no", 2, 0_u16.to_le_bytes().to_vec());
    }),
    ("split-index-past-count", |file| {
        file.set("split.count", 2, 3_u16.to_le_bytes().to_vec());
        file.set("split.no", 2, 9_u16.to_le_bytes().to_vec());
    }),
];

fn crafted_gguf() -> impl Iterator<Item = Sample> {
    GGUF_KILLERS.iter().chain(CRAFTED).map(|(name, lie)| {
        let mut file = GgufFile::tiny();
        lie(&mut file);
        Sample { name: (*name).to_owned(), bytes: file.bytes() }
    })
}
