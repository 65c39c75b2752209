//! Model files of real shapes with random weights: right in every number that memory depends on, and their answers mean
//! nothing. They are written from their shapes alone.

use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::path::Path;

/// How the large tensors of a file are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Store {
    /// ggml's number of the type.
    id: u32,
    /// Number of the type in a whisper file's header.
    ftype: u32,
    /// Elements of a block.
    block: u64,
    /// Bytes of a block.
    bytes: u64,
    /// Places of 16-bit scales in a block.
    scales: &'static [usize],
}

/// 32-bit floating point.
pub const F32: Store = Store { id: 0, ftype: 0, block: 1, bytes: 4, scales: &[] };
/// 16-bit floating point.
pub const F16: Store = Store { id: 1, ftype: 1, block: 1, bytes: 2, scales: &[0] };
/// 4 bits and a scale for 32 numbers.
pub const Q4_0: Store = Store { id: 2, ftype: 2, block: 32, bytes: 18, scales: &[0] };
/// 5 bits and a scale for 32 numbers.
pub const Q5_0: Store = Store { id: 6, ftype: 8, block: 32, bytes: 22, scales: &[0] };
/// 8 bits and a scale for 32 numbers.
pub const Q8_0: Store = Store { id: 8, ftype: 7, block: 32, bytes: 34, scales: &[0] };
/// Some 4.5 bits for each of 256 numbers.
pub const Q4_K: Store = Store { id: 12, ftype: 12, block: 256, bytes: 144, scales: &[0, 2] };

/// A scale of about 0.02 as a 16-bit floating-point number.
const SCALE: [u8; 2] = [0x1f, 0x25];

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

impl Store {
    /// Many blocks of small random numbers, to be written again and again.
    fn sample(self) -> Vec<u8> {
        let mut dice = Dice(u64::from(self.id) + 1);
        let mut bytes = Vec::new();
        for _ in 0..(1 << 18) / self.bytes {
            let start = bytes.len();
            match self {
                F32 => bytes.extend(((dice.next() % 2001) as f32 / 50_000.0 - 0.02).to_le_bytes()),
                // A sign, an exponent that makes it small, a fraction.
                F16 => bytes.extend((((dice.next() & 0x83ff) | 0x2000) as u16).to_le_bytes()),
                _ => bytes.extend((0..self.bytes).map(|_| dice.next() as u8)),
            }
            if self != F16 {
                self.scales.iter().for_each(|at| bytes[start + at..start + at + 2].copy_from_slice(&SCALE));
            }
        }
        bytes
    }

    fn size(self, dims: &[u64]) -> u64 {
        dims.iter().product::<u64>() / self.block * self.bytes
    }
}

/// The shape of a text model of the kind of Llama or Qwen 2.
#[derive(Clone, Copy, Debug)]
pub struct TextShape {
    /// `llama` or `qwen2`.
    pub architecture: &'static str,
    /// Layers.
    pub layers: u64,
    /// Width.
    pub width: u64,
    /// Heads.
    pub heads: u64,
    /// Heads of keys and values.
    pub key_heads: u64,
    /// Width of the feed-forward part.
    pub hidden: u64,
    /// Tokens of the vocabulary, at least 300.
    pub tokens: u64,
    /// Whether the output has weights of its own.
    pub output: bool,
}

impl TextShape {
    /// Tensors: name, dimensions, and whether it is one of the large ones.
    fn tensors(&self) -> Vec<(String, Vec<u64>, bool)> {
        let Self { layers, width, heads, key_heads, hidden, tokens, .. } = *self;
        let keys = width / heads * key_heads;
        let mut all = vec![("token_embd.weight".to_owned(), vec![width, tokens], true)];
        all.push(("output_norm.weight".to_owned(), vec![width], false));
        if self.output {
            all.push(("output.weight".to_owned(), vec![width, tokens], true));
        }
        for layer in 0..layers {
            let mut add =
                |name: &str, dims: &[u64], large| all.push((format!("blk.{layer}.{name}"), dims.to_vec(), large));
            for norm in ["attn_norm.weight", "ffn_norm.weight"] {
                add(norm, &[width], false);
            }
            for (name, rows) in [("attn_q", width), ("attn_k", keys), ("attn_v", keys)] {
                add(&format!("{name}.weight"), &[width, rows], true);
                if self.architecture == "qwen2" {
                    add(&format!("{name}.bias"), &[rows], false);
                }
            }
            add("attn_output.weight", &[width, width], true);
            add("ffn_gate.weight", &[width, hidden], true);
            add("ffn_up.weight", &[width, hidden], true);
            add("ffn_down.weight", &[hidden, width], true);
        }
        all
    }

    fn pairs(&self) -> Pairs {
        let mut pairs = Pairs::default();
        pairs.text("general.architecture", self.architecture);
        for (key, number) in [
            ("context_length", 32_768),
            ("embedding_length", self.width),
            ("block_count", self.layers),
            ("feed_forward_length", self.hidden),
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", self.key_heads),
            ("rope.dimension_count", self.width / self.heads),
        ] {
            pairs.number(&format!("{}.{key}", self.architecture), number as u32);
        }
        pairs.float(&format!("{}.attention.layer_norm_rms_epsilon", self.architecture), 1e-6);
        let words = words(self.tokens as usize);
        pairs.text("tokenizer.ggml.model", "gpt2");
        pairs.text("tokenizer.ggml.pre", "default");
        pairs.texts("tokenizer.ggml.tokens", &words);
        pairs.numbers("tokenizer.ggml.token_type", &vec![1; words.len()]);
        // Real vocabularies have about as many merges as tokens.
        let merges: Vec<String> = words[300..].iter().map(|word| format!("{} {}", &word[..1], &word[1..])).collect();
        pairs.texts("tokenizer.ggml.merges", &merges);
        pairs.number("tokenizer.ggml.bos_token_id", 256);
        pairs.number("tokenizer.ggml.eos_token_id", 257);
        pairs
    }

    /// Writes the file; its large tensors are stored as `store`.
    pub fn write(&self, path: &Path, store: Store) -> Result<()> {
        let (tensors, pairs) = (self.tensors(), self.pairs());
        let store_of = |large| if large { store } else { F32 };
        let mut head = b"GGUF".to_vec();
        head.extend(3_u32.to_le_bytes());
        head.extend((tensors.len() as u64).to_le_bytes());
        head.extend(pairs.count.to_le_bytes());
        head.extend(pairs.bytes);
        let mut offset = 0_u64;
        for (name, dims, large) in &tensors {
            head.extend(gguf_text(name));
            head.extend((dims.len() as u32).to_le_bytes());
            dims.iter().for_each(|dim| head.extend(dim.to_le_bytes()));
            head.extend(store_of(*large).id.to_le_bytes());
            head.extend(offset.to_le_bytes());
            offset += store_of(*large).size(dims).next_multiple_of(32);
        }
        head.resize(head.len().next_multiple_of(32), 0);
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        file.write_all(&head)?;
        let samples = [store.sample(), F32.sample()];
        for (_, dims, large) in &tensors {
            let size = store_of(*large).size(dims);
            repeat(&mut file, &samples[usize::from(!large)], size)?;
            file.write_all(&vec![0; (size.next_multiple_of(32) - size) as usize])?;
        }
        file.flush()
    }
}

fn repeat(file: &mut impl Write, sample: &[u8], mut size: u64) -> Result<()> {
    while size > 0 {
        let now = size.min(sample.len() as u64);
        file.write_all(&sample[..now as usize])?;
        size -= now;
    }
    Ok(())
}

/// A made-up vocabulary: 256 tokens for the bytes as GPT-2 spells them, special ones, and words.
fn words(count: usize) -> Vec<String> {
    let mut spare = 0;
    let mut byte = |value: u32| match value {
        33..=126 | 161..=172 | 174..=255 => char::from_u32(value),
        _ => {
            spare += 1;
            char::from_u32(255 + spare)
        }
    };
    let mut words: Vec<String> = (0..256).filter_map(&mut byte).map(String::from).collect();
    words.extend((0..44).map(|id| format!("<|special-{id}|>")));
    let syllables = ["ba", "de", "ki", "lo", "mu", "na", "pe", "ri", "so", "tu", "va", "ze"];
    words.extend((300..count).map(|id| {
        let mut rest = id;
        let mut word = String::from("\u{120}");
        while rest > 0 {
            word += syllables[rest % syllables.len()];
            rest /= syllables.len();
        }
        word.replace('\u{120}', "x")
    }));
    words
}

fn gguf_text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// Key-value pairs of a GGUF file.
#[derive(Default)]
struct Pairs {
    count: u64,
    bytes: Vec<u8>,
}

impl Pairs {
    fn add(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.count += 1;
        self.bytes.extend(gguf_text(key));
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend(value);
    }

    fn text(&mut self, key: &str, text: &str) {
        self.add(key, 8, &gguf_text(text));
    }

    fn number(&mut self, key: &str, number: u32) {
        self.add(key, 4, &number.to_le_bytes());
    }

    fn float(&mut self, key: &str, number: f32) {
        self.add(key, 6, &number.to_le_bytes());
    }

    fn array(&mut self, key: &str, kind: u32, count: usize, elements: Vec<u8>) {
        let head = [&kind.to_le_bytes()[..], &(count as u64).to_le_bytes()].concat();
        self.add(key, 9, &[head, elements].concat());
    }

    fn texts(&mut self, key: &str, texts: &[String]) {
        self.array(key, 8, texts.len(), texts.iter().flat_map(|text| gguf_text(text)).collect());
    }

    fn numbers(&mut self, key: &str, numbers: &[i32]) {
        self.array(key, 5, numbers.len(), numbers.iter().flat_map(|number| number.to_le_bytes()).collect());
    }
}

/// The shape of a whisper model.
#[derive(Clone, Copy, Debug)]
pub struct SpeechShape {
    /// Width.
    pub width: u32,
    /// Heads.
    pub heads: u32,
    /// Layers of the encoder and of the decoder.
    pub layers: [u32; 2],
}

/// Tokens of a whisper vocabulary for English.
const SPEECH_TOKENS: u32 = 51_864;
const AUDIO_POSITIONS: u32 = 1500;
const TEXT_POSITIONS: u32 = 448;
const BANDS: u32 = 80;

impl SpeechShape {
    /// Writes the file; its large tensors are stored as `store`.
    pub fn write(&self, path: &Path, store: Store) -> Result<()> {
        let Self { width, heads, layers: [encoder, decoder] } = *self;
        let mut out = SpeechFile { file: BufWriter::with_capacity(1 << 20, File::create(path)?), large: store };
        let header =
            [SPEECH_TOKENS, AUDIO_POSITIONS, width, heads, encoder, TEXT_POSITIONS, width, heads, decoder, BANDS];
        out.numbers(&[0x6767_6d6c])?;
        out.numbers(&header)?;
        out.numbers(&[store.ftype, BANDS, 201])?;
        (0..BANDS * 201).try_for_each(|place| out.numbers(&[(place as f32 * 1e-6).to_bits()]))?;
        out.vocabulary()?;
        out.tensor("encoder.positional_embedding", &[width, AUDIO_POSITIONS], F32)?;
        out.tensor("encoder.conv1.weight", &[3, BANDS, width], F16)?;
        out.tensor("encoder.conv1.bias", &[1, width], F32)?;
        out.tensor("encoder.conv2.weight", &[3, width, width], F16)?;
        out.tensor("encoder.conv2.bias", &[1, width], F32)?;
        out.tensor("decoder.positional_embedding", &[width, TEXT_POSITIONS], F32)?;
        out.tensor("decoder.token_embedding.weight", &[width, SPEECH_TOKENS], store)?;
        for norm in ["encoder.ln_post", "decoder.ln"] {
            out.norm(norm, width)?;
        }
        (0..encoder).try_for_each(|layer| out.block(&format!("encoder.blocks.{layer}"), &["attn"], width))?;
        (0..decoder)
            .try_for_each(|layer| out.block(&format!("decoder.blocks.{layer}"), &["attn", "cross_attn"], width))?;
        out.file.flush()
    }
}

struct SpeechFile {
    file: BufWriter<File>,
    large: Store,
}

impl SpeechFile {
    fn numbers(&mut self, numbers: &[u32]) -> Result<()> {
        numbers.iter().try_for_each(|number| self.file.write_all(&number.to_le_bytes()))
    }

    /// As many entries as a real file has; the rest of the tokens are special ones that have no text.
    fn vocabulary(&mut self) -> Result<()> {
        let mut words = words(50_257);
        words[32] = " ".to_owned();
        self.numbers(&[words.len() as u32])?;
        for word in words {
            self.numbers(&[word.len() as u32])?;
            self.file.write_all(word.as_bytes())?;
        }
        Ok(())
    }

    fn tensor(&mut self, name: &str, dims: &[u32], store: Store) -> Result<()> {
        self.numbers(&[dims.len() as u32, name.len() as u32, store.id])?;
        self.numbers(dims)?;
        self.file.write_all(name.as_bytes())?;
        let dims: Vec<u64> = dims.iter().map(|dim| u64::from(*dim)).collect();
        repeat(&mut self.file, &store.sample(), store.size(&dims))
    }

    fn norm(&mut self, name: &str, width: u32) -> Result<()> {
        ["weight", "bias"].iter().try_for_each(|part| self.tensor(&format!("{name}.{part}"), &[width], F32))
    }

    fn block(&mut self, name: &str, attentions: &[&str], width: u32) -> Result<()> {
        for attention in attentions {
            let at = format!("{name}.{attention}");
            self.norm(&format!("{at}_ln"), width)?;
            for part in ["query", "key", "value", "out"] {
                self.tensor(&format!("{at}.{part}.weight"), &[width, width], self.large)?;
                if part != "key" {
                    self.tensor(&format!("{at}.{part}.bias"), &[width], F32)?;
                }
            }
        }
        self.norm(&format!("{name}.mlp_ln"), width)?;
        self.tensor(&format!("{name}.mlp.0.weight"), &[width, 4 * width], self.large)?;
        self.tensor(&format!("{name}.mlp.0.bias"), &[4 * width], F32)?;
        self.tensor(&format!("{name}.mlp.2.weight"), &[4 * width, width], self.large)?;
        self.tensor(&format!("{name}.mlp.2.bias"), &[width], F32)
    }
}
