//! Structural check of GGUF model files, the format of llama.cpp.
//!
//! Two layers. The *container*: magic, version, counts against the bytes that are left, key and tensor names, types,
//! dimensions, sizes with checked arithmetic, alignment, offsets. Then the *model*: an architecture that the bundled
//! llama.cpp knows, hyperparameters within what its loader asserts, a vocabulary that is consistent. Weights are never
//! read; memory stays within some ten megabytes whatever the file says.

use crate::shape::{Shape, Tensor};
use crate::{Error, Result};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};

/// Most key-value pairs of a file.
const MAX_KEYS: u64 = 65_536;
/// Most tensors of a file.
const MAX_TENSORS: u64 = 65_536;
/// Longest key.
const MAX_KEY: u64 = 65_535;
/// Longest text value, such as a chat template.
const MAX_TEXT: u64 = 4 << 20;
/// Longest text value that is kept for the checks of the model.
const KEPT_TEXT: u64 = 1024;
/// Longest number array that is kept for the checks of the model.
const KEPT_NUMBERS: u64 = 1024;
/// Most tokens of a vocabulary.
const MAX_TOKENS: u64 = 1 << 22;
/// Longest tensor name, with the terminating NUL that ggml adds.
const MAX_NAME: u64 = 63;
/// `LLAMA_MAX_LAYERS` of the bundled llama.cpp.
const MAX_LAYERS: u64 = 512;
/// `LLAMA_MAX_EXPERTS` of the bundled llama.cpp.
const MAX_EXPERTS: u64 = 1024;
const VOCABULARY: &str = "tokenizer.ggml.tokens";
const MERGES: &str = "tokenizer.ggml.merges";
const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";
/// Type of a token that stands for a byte.
const BYTE_TOKEN: i128 = 6;

/// Architectures that the bundled llama.cpp runs. `clip` is missing: a projector is no language model.
const ARCHITECTURES: &[&str] = &[
    "afmoe",
    "apertus",
    "arcee",
    "arctic",
    "arwkv7",
    "baichuan",
    "bailingmoe",
    "bailingmoe2",
    "bailingmoe3",
    "bert",
    "bitnet",
    "bloom",
    "chameleon",
    "chatglm",
    "clef",
    "codeshell",
    "cogvlm",
    "cohere2",
    "cohere2moe",
    "command-r",
    "dbrx",
    "deci",
    "deepseek",
    "deepseek2",
    "deepseek2-ocr",
    "deepseek32",
    "deepseek4",
    "dflash",
    "dots1",
    "dots3note",
    "dream",
    "eagle3",
    "ernie4_5",
    "ernie4_5-moe",
    "eurobert",
    "exaone",
    "exaone-moe",
    "exaone4",
    "falcon",
    "falcon-h1",
    "gemma",
    "gemma-embedding",
    "gemma2",
    "gemma3",
    "gemma3n",
    "gemma4",
    "gemma4-assistant",
    "glm-dsa",
    "glm4",
    "glm4moe",
    "glm5-next",
    "gpt-oss",
    "gpt2",
    "gptj",
    "gptneox",
    "granite",
    "granite_swa",
    "granitehybrid",
    "granitemoe",
    "graniteswitch",
    "grok",
    "grovemoe",
    "hrm_text",
    "hunyuan-dense",
    "hunyuan-moe",
    "hunyuan_vl",
    "hy_v3",
    "hy_v4",
    "internlm2",
    "jais",
    "jais2",
    "jamba",
    "jina-bert-v2",
    "jina-bert-v3",
    "kimi-k3",
    "kimi-linear",
    "laguna",
    "lfm2",
    "lfm2moe",
    "llada",
    "llada-moe",
    "llama",
    "llama-embed",
    "llama4",
    "maincoder",
    "mamba",
    "mamba2",
    "maple",
    "mellum",
    "mimo2",
    "minicpm",
    "minicpm3",
    "minimax-01",
    "minimax-m2",
    "minimax-m3",
    "mistral3",
    "mistral4",
    "modern-bert",
    "mpt",
    "muse-glimmer",
    "nanbeige",
    "nemotron",
    "nemotron_h",
    "nemotron_h_moe",
    "neo-bert",
    "nomic-bert",
    "nomic-bert-moe",
    "olmo",
    "olmo2",
    "olmoe",
    "openelm",
    "orion",
    "paddleocr",
    "pangu-embedded",
    "phi2",
    "phi3",
    "phimoe",
    "plamo",
    "plamo2",
    "plamo3",
    "plm",
    "pockettts",
    "qwen",
    "qwen2",
    "qwen2moe",
    "qwen2vl",
    "qwen3",
    "qwen35",
    "qwen35moe",
    "qwen3moe",
    "qwen3next",
    "qwen3tts",
    "qwen3vl",
    "qwen3vlmoe",
    "qwen4exp",
    "refact",
    "rnd1",
    "rwkv6",
    "rwkv6qwen2",
    "rwkv7",
    "seed_oss",
    "smallthinker",
    "smollm3",
    "spark2_5",
    "stablelm",
    "starcoder",
    "starcoder2",
    "step35",
    "t5",
    "t5encoder",
    "talkie",
    "wavtokenizer-dec",
    "xverse",
];

/// Architectures whose layers may have no attention heads: recurrent ones, those that mix both, and those with layers
/// that attend to nothing. The loader divides by the number of heads of none of them.
const HEADLESS: &[&str] = &[
    "arwkv7",
    "bailingmoe3",
    "clef",
    "deci",
    "deepseek4",
    "falcon-h1",
    "glm5-next",
    "granitehybrid",
    "jamba",
    "kimi-k3",
    "kimi-linear",
    "lfm2",
    "lfm2moe",
    "mamba",
    "mamba2",
    "minimax-01",
    "nemotron_h",
    "nemotron_h_moe",
    "plamo2",
    "pockettts",
    "qwen35",
    "qwen35moe",
    "qwen3next",
    "qwen4exp",
    "rwkv6",
    "rwkv6qwen2",
    "rwkv7",
    "wavtokenizer-dec",
];

/// Keys that are divided by. Where one may be missing, llama.cpp has a default that is not 0.
const DIVISORS: &[&str] = &[
    "attention.group_norm_groups",
    "attention.indexer.block_size",
    "attention.output_group_count",
    "decision.head_count",
    "experts_per_group",
    "full_attention_interval",
    "interleave_moe_layer_step",
    "ple.head_vocab_sizes",
    "ssm.group_count",
    "ssm.inner_size",
    "ssm.time_step_rank",
    "wkv.head_size",
];

/// Architectures that divide by the number of experts in use even where there are none.
const UNASKED_EXPERTS: &[&str] = &["qwen35moe", "qwen3next", "qwen4exp"];

/// Tensor types: number, elements of a block, bytes of a block.
const TENSOR_TYPES: &[(u32, u64, u64)] = &[
    (0, 1, 4),
    (1, 1, 2),
    (2, 32, 18),
    (3, 32, 20),
    (6, 32, 22),
    (7, 32, 24),
    (8, 32, 34),
    (9, 32, 36),
    (10, 256, 84),
    (11, 256, 110),
    (12, 256, 144),
    (13, 256, 176),
    (14, 256, 210),
    (15, 256, 292),
    (16, 256, 66),
    (17, 256, 74),
    (18, 256, 98),
    (19, 256, 50),
    (20, 32, 18),
    (21, 256, 110),
    (22, 256, 82),
    (23, 256, 136),
    (24, 1, 1),
    (25, 1, 2),
    (26, 1, 4),
    (27, 1, 8),
    (28, 1, 8),
    (29, 256, 56),
    (30, 1, 2),
    (34, 256, 54),
    (35, 256, 66),
    (39, 32, 17),
    (40, 64, 36),
    (41, 128, 18),
    (42, 64, 18),
];

/// What a file says about itself, once it has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Architecture; empty in a shard other than the first.
    pub architecture: String,
    /// The tensors in this file.
    pub tensors: Vec<Tensor>,
    /// Number of tokens of the vocabulary, 0 without one.
    pub tokens: u64,
    /// Number of merges of the tokenizer, 0 without any.
    pub merges: u64,
    /// Shape of the model's layers; empty in a shard other than the first.
    pub shape: Shape,
    /// Which part of a model in several files this is.
    pub shard: Option<Shard>,
}

/// A part of a model in several files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its number, from 0.
    pub index: u64,
    /// How many there are.
    pub count: u64,
    /// Tensors in all of them together.
    pub tensors: u64,
}

/// Checks a whole file. The reader may stand anywhere.
pub fn check(reader: impl Read + Seek) -> Result<Summary> {
    let mut file = File::new(reader)?;
    let (tensors, keys) = file.header()?;
    let mut metadata = Metadata::default();
    for _ in 0..keys {
        metadata.read_pair(&mut file)?;
    }
    let shard = metadata.shard(tensors)?;
    let tensors = file.tensors(tensors, metadata.alignment()?)?;
    let (architecture, shape) = match shard {
        // Only the first shard carries the model's metadata.
        Some(Shard { index: 1.., .. }) => (String::new(), Shape::default()),
        _ => Model::new(&metadata)?.check()?,
    };
    let merges = match metadata.get(MERGES) {
        Some((_, Value::Array(_, length))) => *length,
        _ => 0,
    };
    Ok(Summary { architecture, tensors, tokens: metadata.vocabulary.count, merges, shape, shard })
}

/// Puts the shards of a model into their order and checks that they are all there. The result holds the positions in
/// `parts`; for a model in one file that is `[0]`.
pub fn order(parts: &[Summary]) -> Result<Vec<usize>> {
    let lone = parts.len() == 1;
    let mut places = vec![None; parts.len()];
    let mut total = 0;
    for (position, part) in parts.iter().enumerate() {
        let shard = match part.shard {
            None if lone => return Ok(vec![0]),
            None => return Err(Error::new(0, "one of several model files is a whole model; give one model")),
            Some(shard) => shard,
        };
        if shard.count != parts.len() as u64 {
            let message = format!("the model is split into {} files, {} were given", shard.count, parts.len());
            return Err(Error::new(0, message));
        }
        total += part.tensors.len() as u64;
        match places.get_mut(shard.index as usize) {
            Some(place @ None) => *place = Some(position),
            _ => return Err(Error::new(0, format!("part {} of the model is given twice", shard.index + 1))),
        }
    }
    if parts.iter().filter_map(|part| part.shard).any(|shard| shard.tensors != total) {
        return Err(Error::new(0, "the parts are not of one model: their tensors do not add up"));
    }
    Ok(places.into_iter().flatten().collect())
}

/// A reader that knows where it stands and how much is left.
struct File<R> {
    reader: BufReader<R>,
    offset: u64,
    size: u64,
}

impl<R: Read + Seek> File<R> {
    fn new(mut reader: R) -> Result<Self> {
        let size = reader.seek(SeekFrom::End(0)).map_err(|error| Error::read(0, error))?;
        reader.seek(SeekFrom::Start(0)).map_err(|error| Error::read(0, error))?;
        Ok(Self { reader: BufReader::with_capacity(1 << 16, reader), offset: 0, size })
    }

    fn left(&self) -> u64 {
        self.size.saturating_sub(self.offset)
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(Error::new(self.offset, message))
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        if bytes.len() as u64 > self.left() {
            return Err(Error::read(self.offset, ErrorKind::UnexpectedEof.into()));
        }
        self.reader.read_exact(bytes).map_err(|error| Error::read(self.offset, error))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn skip(&mut self, count: u64) -> Result<()> {
        if count > self.left() {
            return Err(Error::read(self.offset, ErrorKind::UnexpectedEof.into()));
        }
        let step = i64::try_from(count).map_err(|_| Error::new(self.offset, "the file is too large"))?;
        self.reader.seek_relative(step).map_err(|error| Error::read(self.offset, error))?;
        self.offset += count;
        Ok(())
    }

    fn u32(&mut self) -> Result<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// The length of a text that fits the file and `most`.
    fn length(&mut self, what: &str, most: u64) -> Result<u64> {
        let at = self.offset;
        let length = self.u64()?;
        if length > most || length > self.left() {
            return Err(Error::new(at, format!("a {what} of {length} bytes is too long")));
        }
        Ok(length)
    }

    fn text(&mut self, what: &str, most: u64) -> Result<Vec<u8>> {
        let length = self.length(what, most)?;
        let mut text = vec![0; length as usize];
        self.fill(&mut text)?;
        Ok(text)
    }

    /// Numbers of tensors and of key-value pairs.
    fn header(&mut self) -> Result<(u64, u64)> {
        if self.bytes::<4>()? != *b"GGUF" {
            return Err(Error::new(0, "this is no GGUF file"));
        }
        match self.u32()? {
            2 | 3 => {}
            version if matches!(version.swap_bytes(), 2 | 3) => return self.fail("big-endian GGUF files are not read"),
            version => return self.fail(format!("GGUF version {version} is not read, only 2 and 3")),
        }
        let (tensors, keys) = (self.u64()?, self.u64()?);
        // The smallest tensor entry has 8 + 1 + 4 + 8 + 4 + 8 bytes, the smallest pair 8 + 1 + 4 + 1.
        if tensors > MAX_TENSORS.min(self.left() / 33) {
            return self.fail(format!("{tensors} tensors do not fit the file"));
        }
        if keys > MAX_KEYS.min(self.left() / 14) {
            return self.fail(format!("{keys} keys do not fit the file"));
        }
        Ok((tensors, keys))
    }

    /// Walks the tensor entries and checks that the data of each lies within the file, one after another.
    fn tensors(&mut self, count: u64, alignment: u64) -> Result<Vec<Tensor>> {
        let mut names = HashSet::new();
        let mut tensors = Vec::new();
        let mut end = 0;
        let mut expected = 0;
        for _ in 0..count {
            let at = self.offset;
            let name = self.text("tensor name", MAX_NAME)?;
            let text = String::from_utf8_lossy(&name).into_owned();
            if name.is_empty() || !names.insert(name) {
                return Err(Error::new(at, "a tensor name is empty or occurs twice"));
            }
            let tensor = self.tensor(text)?;
            let bytes = tensor.bytes;
            tensors.push(tensor);
            let offset = self.u64()?;
            if offset != expected {
                return Err(Error::new(at, format!("tensor data at {offset} where {expected} is expected")));
            }
            end = offset.checked_add(bytes).ok_or_else(|| Error::new(at, "the tensor sizes overflow"))?;
            expected =
                end.checked_next_multiple_of(alignment).ok_or_else(|| Error::new(at, "the tensor sizes overflow"))?;
        }
        let start = self.offset.next_multiple_of(alignment);
        if count > 0 && start.checked_add(end).is_none_or(|end| end > self.size) {
            let message = format!("the file ends at {} within the tensor data, which needs {end} bytes", self.size);
            return Err(Error::new(start, message));
        }
        Ok(tensors)
    }

    /// A tensor with its bytes, from its dimensions and type.
    fn tensor(&mut self, name: String) -> Result<Tensor> {
        let at = self.offset;
        let count = self.u32()?;
        if !(1..=4).contains(&count) {
            return Err(Error::new(at, format!("a tensor of {count} dimensions")));
        }
        let mut elements = 1_u64;
        let mut dimensions = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let length = self.u64()?;
            dimensions.push(length);
            elements = elements
                .checked_mul(length)
                .filter(|&n| n > 0 && n <= i64::MAX as u64)
                .ok_or_else(|| Error::new(at, "a tensor has a dimension of 0 or more elements than can be counted"))?;
        }
        let kind = self.u32()?;
        let Some(&(_, block, bytes)) = TENSOR_TYPES.iter().find(|(number, _, _)| *number == kind) else {
            return Err(Error::new(at, format!("unknown tensor type {kind}")));
        };
        let row = dimensions[0];
        if row % block != 0 {
            return Err(Error::new(at, format!("a row of {row} elements is no multiple of the block size {block}")));
        }
        let bytes = (elements / block).checked_mul(bytes);
        let bytes = bytes.ok_or_else(|| Error::new(at, "the tensor sizes overflow"))?;
        Ok(Tensor { name, kind, dimensions, bytes })
    }
}

/// A value of the metadata, as far as the checks need it.
#[derive(Clone, Debug)]
enum Value {
    Integer(i128),
    Float(f64),
    Bool,
    Text(Vec<u8>),
    /// A text too long to keep.
    LongText,
    Numbers(Vec<f64>),
    /// Another array: its element type and length.
    Array(u32, u64),
}

#[derive(Default)]
struct Metadata {
    values: HashMap<Vec<u8>, (u64, Value)>,
    vocabulary: Vocabulary,
}

impl Metadata {
    fn read_pair<R: Read + Seek>(&mut self, file: &mut File<R>) -> Result<()> {
        let at = file.offset;
        let key = file.text("key", MAX_KEY)?;
        if key.is_empty() || std::str::from_utf8(&key).is_err() || key.contains(&0) {
            return Err(Error::new(at, "a key is empty or no text"));
        }
        let kind = file.u32()?;
        let value = match kind {
            9 if key == VOCABULARY.as_bytes() => self.vocabulary.read(file)?,
            9 if key == TOKEN_TYPES.as_bytes() => self.vocabulary.read_types(file)?,
            9 => read_array(file)?,
            8 => read_text(file)?,
            _ => read_scalar(file, kind)?,
        };
        if self.values.insert(key.clone(), (at, value)).is_some() {
            return Err(Error::new(at, format!("the key \"{}\" occurs twice", String::from_utf8_lossy(&key))));
        }
        Ok(())
    }

    fn get(&self, key: &str) -> Option<&(u64, Value)> {
        self.values.get(key.as_bytes())
    }

    fn at(&self, key: &str) -> u64 {
        self.get(key).map_or(0, |(at, _)| *at)
    }

    /// A whole number, when the key is there.
    fn integer(&self, key: &str) -> Result<Option<u64>> {
        match self.get(key) {
            None => Ok(None),
            Some((at, Value::Integer(number))) => u64::try_from(*number)
                .map(Some)
                .map_err(|_| Error::new(*at, format!("\"{key}\" is {number}, which is negative"))),
            Some((at, _)) => Err(Error::new(*at, format!("\"{key}\" is no whole number"))),
        }
    }

    fn text(&self, key: &str) -> Result<Option<String>> {
        match self.get(key) {
            None => Ok(None),
            Some((at, Value::Text(text))) => String::from_utf8(text.clone())
                .map(Some)
                .map_err(|_| Error::new(*at, format!("\"{key}\" is not UTF-8"))),
            Some((at, _)) => Err(Error::new(*at, format!("\"{key}\" is no short text"))),
        }
    }

    fn alignment(&self) -> Result<u64> {
        let key = "general.alignment";
        let alignment = self.integer(key)?.unwrap_or(32);
        if !alignment.is_power_of_two() || alignment > 1 << 20 {
            return Err(Error::new(self.at(key), format!("an alignment of {alignment} is no power of two up to 2^20")));
        }
        Ok(alignment)
    }

    fn shard(&self, tensors: u64) -> Result<Option<Shard>> {
        let Some(count) = self.integer("split.count")?.filter(|&count| count > 1) else { return Ok(None) };
        let index = self.integer("split.no")?.unwrap_or(0);
        let total = self.integer("split.tensors.count")?.unwrap_or(0);
        if index >= count || count > 4096 || total < tensors {
            return Err(Error::new(self.at("split.count"), "the numbers of a split model contradict each other"));
        }
        Ok(Some(Shard { index, count, tensors: total }))
    }
}

fn read_scalar<R: Read + Seek>(file: &mut File<R>, kind: u32) -> Result<Value> {
    let value = match kind {
        0 => Value::Integer(file.bytes::<1>()?[0].into()),
        1 => Value::Integer(i8::from_le_bytes(file.bytes()?).into()),
        2 => Value::Integer(u16::from_le_bytes(file.bytes()?).into()),
        3 => Value::Integer(i16::from_le_bytes(file.bytes()?).into()),
        4 => Value::Integer(file.u32()?.into()),
        5 => Value::Integer(i32::from_le_bytes(file.bytes()?).into()),
        6 => Value::Float(f32::from_le_bytes(file.bytes()?).into()),
        7 => match file.bytes::<1>()?[0] {
            0 | 1 => Value::Bool,
            other => return file.fail(format!("a truth value of {other}")),
        },
        10 => Value::Integer(file.u64()?.into()),
        11 => Value::Integer(i64::from_le_bytes(file.bytes()?).into()),
        12 => Value::Float(f64::from_le_bytes(file.bytes()?)),
        other => return file.fail(format!("unknown value type {other}")),
    };
    Ok(value)
}

fn read_text<R: Read + Seek>(file: &mut File<R>) -> Result<Value> {
    let length = file.length("text", MAX_TEXT)?;
    if length > KEPT_TEXT {
        file.skip(length)?;
        return Ok(Value::LongText);
    }
    let mut text = vec![0; length as usize];
    file.fill(&mut text)?;
    Ok(Value::Text(text))
}

/// Element type and length of an array, once the length fits the bytes that are left.
fn array_head<R: Read + Seek>(file: &mut File<R>) -> Result<(u32, u64)> {
    let at = file.offset;
    let (kind, length) = (file.u32()?, file.u64()?);
    let Some(smallest) = element_size(kind).or((kind == 8).then_some(8)) else {
        return Err(Error::new(at, format!("an array of type {kind}")));
    };
    if length > file.left() / smallest {
        return Err(Error::new(at, format!("an array of {length} elements does not fit the file")));
    }
    Ok((kind, length))
}

fn element_size(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn read_array<R: Read + Seek>(file: &mut File<R>) -> Result<Value> {
    let (kind, length) = array_head(file)?;
    match element_size(kind) {
        None => {
            for _ in 0..length {
                let length = file.length("text", MAX_TEXT)?;
                file.skip(length)?;
            }
        }
        Some(_) if length <= KEPT_NUMBERS && kind != 7 => {
            let numbers = (0..length).map(|_| match read_scalar(file, kind)? {
                Value::Integer(number) => Ok(number as f64),
                Value::Float(number) => Ok(number),
                _ => file.fail("an array of truth values where numbers are expected"),
            });
            return numbers.collect::<Result<_>>().map(Value::Numbers);
        }
        Some(size) => file.skip(length * size)?,
    }
    Ok(Value::Array(kind, length))
}

/// The tokens: their number, and whether those are there that a tokenizer needs.
#[derive(Default)]
struct Vocabulary {
    count: u64,
    newline: bool,
    /// Some token stands for a byte.
    bytes: bool,
    /// Position of a token whose escapes the RWKV tokenizer would read past the end of.
    broken_escape: Option<u64>,
}

impl Vocabulary {
    fn read<R: Read + Seek>(&mut self, file: &mut File<R>) -> Result<Value> {
        let at = file.offset;
        let (kind, length) = array_head(file)?;
        if kind != 8 || length > MAX_TOKENS || length == 0 {
            return Err(Error::new(at, format!("a vocabulary of {length} tokens of type {kind}")));
        }
        let mut seen = Seen::default();
        let mut token = Vec::new();
        for index in 0..length {
            let at = file.offset;
            let size = file.length("token", 1 << 16)?;
            token.resize(size as usize, 0);
            file.fill(&mut token)?;
            // llama.cpp reads a token up to a NUL, and gives an empty one a name of its own.
            let read = token.split(|&byte| byte == 0).next().unwrap_or_default();
            if !read.is_empty() && !seen.insert(read) {
                let text = String::from_utf8_lossy(read);
                return Err(Error::new(at, format!("token {index}, {text:?}, is in the vocabulary twice")));
            }
            self.newline |= token == b"\\n" || token == b"\n";
            if self.broken_escape.is_none() && !escapes_are_whole(&token) {
                self.broken_escape = Some(at);
            }
        }
        self.count = length;
        Ok(Value::Array(kind, length))
    }
}

impl Vocabulary {
    fn read_types<R: Read + Seek>(&mut self, file: &mut File<R>) -> Result<Value> {
        let at = file.offset;
        let (kind, length) = array_head(file)?;
        if !matches!(kind, 4 | 5) || length > MAX_TOKENS {
            return Err(Error::new(at, format!("\"{TOKEN_TYPES}\" holds {length} values of type {kind}")));
        }
        for _ in 0..length {
            self.bytes |= matches!(read_scalar(file, kind)?, Value::Integer(BYTE_TOKEN));
        }
        Ok(Value::Array(kind, length))
    }
}

/// A set of texts that keeps 8 bytes of each, however long it is. The hashes are keyed at random: nobody can prepare
/// texts that share one, and of 150,000 two do so by chance in one of a thousand million files.
#[derive(Default)]
struct Seen {
    key: RandomState,
    set: HashSet<u64, BuildHasherDefault<Hashed>>,
}

impl Seen {
    fn insert(&mut self, text: &[u8]) -> bool {
        self.set.insert(self.key.hash_one(text))
    }
}

/// Hands on a number that is a hash already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Whether every backslash of a token is followed by what it needs: `\x` by two hexadecimal digits, others by a byte.
fn escapes_are_whole(token: &[u8]) -> bool {
    let mut rest = token;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
        let needed = if rest.get(at + 1) == Some(&b'x') { 4 } else { 2 };
        match rest.get(at..at + needed) {
            Some(escape) if needed == 2 || escape[2..].iter().all(u8::is_ascii_hexdigit) => rest = &rest[at + needed..],
            _ => return false,
        }
    }
    true
}

/// The checks of the model's metadata against what the loader takes for granted.
struct Model<'a> {
    metadata: &'a Metadata,
    architecture: String,
}

impl<'a> Model<'a> {
    fn new(metadata: &'a Metadata) -> Result<Self> {
        let key = "general.architecture";
        let architecture = metadata.text(key)?.ok_or_else(|| Error::new(0, format!("there is no \"{key}\"")))?;
        if !ARCHITECTURES.contains(&architecture.as_str()) {
            let message = format!("the architecture \"{architecture}\" is not one that this backend runs");
            return Err(Error::new(metadata.at(key), message));
        }
        Ok(Self { metadata, architecture })
    }

    /// The architecture and the shape of what is sound.
    fn check(self) -> Result<(String, Shape)> {
        self.floats()?;
        let layers = self.required("block_count", 1, MAX_LAYERS)?;
        let context = self.required("context_length", 1, 1 << 28)?;
        let width = self.required("embedding_length", 1, 1 << 20)?;
        self.optional("nextn_predict_layers", 0, layers)?;
        self.optional("pooling_type", 0, 4)?;
        self.optional("attention.key_length", 1, 1 << 16)?;
        self.optional("attention.value_length", 1, 1 << 16)?;
        self.optional("vocab_size", 0, MAX_TOKENS)?;
        self.heads(width)?;
        self.numbers("feed_forward_length", 1 << 24)?;
        self.divisors()?;
        self.rope(width)?;
        self.epsilons()?;
        self.experts()?;
        self.experts_width(layers)?;
        self.tokenizer()?;
        let shape = self.shape(layers, width, context)?;
        Ok((self.architecture, shape))
    }

    /// What memory depends on; called when all of it was found to be within its bounds.
    fn shape(&self, layers: u64, width: u64, context: u64) -> Result<Shape> {
        let heads = self.numbers("attention.head_count", width)?;
        let key_heads = self.numbers("attention.head_count_kv", width)?;
        let key_heads = (0..layers as usize)
            .map(|layer| of_layer(&key_heads, layer).or(of_layer(&heads, layer)).unwrap_or(0))
            .collect();
        let heads = heads.into_iter().max().unwrap_or(0);
        let natural = width.checked_div(heads).unwrap_or(0);
        let number = |name: &str| self.optional(name, 0, 1 << 24).map(|number| number.unwrap_or(0));
        let used = self.numbers("expert_used_count", MAX_EXPERTS)?.into_iter().max().unwrap_or(0);
        let experts = used.saturating_mul(number("expert_feed_forward_length")?);
        let hidden = self.numbers("feed_forward_length", 1 << 24)?.into_iter().max().unwrap_or(0);
        Ok(Shape {
            context,
            width,
            hidden: hidden.max(experts),
            heads,
            key_heads,
            key_length: self.optional("attention.key_length", 1, 1 << 16)?.unwrap_or(natural),
            value_length: self.optional("attention.value_length", 1, 1 << 16)?.unwrap_or(natural),
            pools: number("pooling_type")? > 0,
            state: number("ssm.inner_size")? * (number("ssm.state_size")? + number("ssm.conv_kernel")?),
        })
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn fail<T>(&self, key: &str, message: impl Into<String>) -> Result<T> {
        Err(Error::new(self.metadata.at(key), message))
    }

    fn optional(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>> {
        let key = self.key(name);
        match self.metadata.integer(&key)? {
            Some(number) if !(least..=most).contains(&number) => {
                self.fail(&key, format!("\"{key}\" is {number}, outside {least} to {most}"))
            }
            number => Ok(number),
        }
    }

    fn required(&self, name: &str, least: u64, most: u64) -> Result<u64> {
        let key = self.key(name);
        self.optional(name, least, most)?.ok_or_else(|| Error::new(0, format!("there is no \"{key}\"")))
    }

    /// A number for all layers or one for each: none negative, none above `most`.
    fn numbers(&self, name: &str, most: u64) -> Result<Vec<u64>> {
        let key = self.key(name);
        let numbers = match self.metadata.get(&key) {
            Some((_, Value::Numbers(numbers))) => numbers.clone(),
            Some((_, Value::Array(..))) => return self.fail(&key, format!("\"{key}\" has too many elements")),
            _ => return Ok(self.optional(name, 0, most)?.into_iter().collect()),
        };
        if numbers.is_empty()
            || numbers.len() as u64 > MAX_LAYERS
            || numbers.iter().any(|n| !(0.0..=most as f64).contains(n))
        {
            return self.fail(&key, format!("\"{key}\" holds a number outside 0 to {most}, or not one for each layer"));
        }
        Ok(numbers.into_iter().map(|number| number as u64).collect())
    }

    fn heads(&self, width: u64) -> Result<()> {
        let heads = self.numbers("attention.head_count", width)?;
        let key_heads = self.numbers("attention.head_count_kv", width)?;
        if !HEADLESS.contains(&self.architecture.as_str()) && (heads.is_empty() || heads.contains(&0)) {
            let key = self.key("attention.head_count");
            return self.fail(&key, format!("\"{key}\" is missing or 0, and the loader divides by it"));
        }
        if let ([heads], [key_heads]) = (&heads[..], &key_heads[..])
            && *key_heads > 0
            && heads % key_heads != 0
        {
            let key = self.key("attention.head_count_kv");
            return self.fail(&key, format!("{heads} heads cannot share {key_heads} key heads"));
        }
        Ok(())
    }

    /// Numbers that the loader or the graph divides by. An integer division by 0 is a signal, which nothing catches.
    fn divisors(&self) -> Result<()> {
        for name in DIVISORS {
            // PLaMo 2 has no groups and says so.
            let groupless = *name == "ssm.group_count" && self.architecture == "plamo2";
            // Llama 4 without experts says 0, and only ERNIE divides unasked.
            let unasked = *name != "interleave_moe_layer_step" || self.architecture == "ernie4_5-moe";
            if !groupless && unasked && self.numbers(name, u64::from(u32::MAX))?.contains(&0) {
                let key = self.key(name);
                return self.fail(&key, format!("\"{key}\" is 0, and the loader divides by it"));
            }
        }
        Ok(())
    }

    /// Where a file does not say how wide an expert is, the loader divides by the number of experts in use.
    fn experts_width(&self, layers: u64) -> Result<()> {
        let used = self.numbers("expert_used_count", MAX_EXPERTS)?;
        let widths = self.numbers("expert_feed_forward_length", 1 << 24)?;
        let hidden = self.numbers("feed_forward_length", 1 << 24)?;
        let experts = self.optional("expert_count", 0, MAX_EXPERTS)?.unwrap_or(0);
        let divides = |layer: usize| of_layer(&widths, layer).unwrap_or(0) == 0;
        let idle = |layer: usize| of_layer(&used, layer).unwrap_or(0) == 0;
        // These look at their first layer only, and whether they have experts or not; Nemotron looks at each that has
        // some; the others make sure by themselves.
        let first = UNASKED_EXPERTS.contains(&self.architecture.as_str()) && divides(0) && idle(0);
        let later = experts > 0
            && self.architecture.starts_with("nemotron_h")
            && (0..layers as usize)
                .any(|layer| of_layer(&hidden, layer).unwrap_or(0) > 0 && divides(layer) && idle(layer));
        if first || later {
            let key = self.key("expert_used_count");
            return self.fail(&key, format!("\"{key}\" is 0 in a layer whose experts have no width of their own"));
        }
        Ok(())
    }

    fn rope(&self, width: u64) -> Result<()> {
        for name in ["rope.dimension_count", "rope.dimension_count_swa"] {
            if self.optional(name, 0, width.max(1 << 16))?.is_some_and(|count| count % 2 != 0) {
                let key = self.key(name);
                return self.fail(&key, format!("\"{key}\" is odd"));
            }
        }
        for name in ["rope.freq_base", "rope.freq_base_swa"] {
            self.float(name, |base| base > 0.0)?;
        }
        for name in ["rope.scaling.factor", "rope.scale_linear", "rope.scaling.attn_factor"] {
            self.float(name, |factor| factor >= 0.0)?;
        }
        let key = self.key("rope.scaling.type");
        match self.metadata.text(&key)?.as_deref() {
            None | Some("none" | "linear" | "yarn" | "longrope") => Ok(()),
            Some(other) => self.fail(&key, format!("unknown rope scaling \"{other}\"")),
        }
    }

    fn epsilons(&self) -> Result<()> {
        for name in ["attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon", "attention.group_norm_epsilon"]
        {
            self.float(name, |epsilon| (0.0..1.0).contains(&epsilon))?;
        }
        Ok(())
    }

    fn float(&self, name: &str, fits: impl Fn(f64) -> bool) -> Result<()> {
        let key = self.key(name);
        match self.metadata.get(&key) {
            None => Ok(()),
            Some((_, Value::Float(number))) if fits(*number) => Ok(()),
            Some((_, Value::Float(number))) => self.fail(&key, format!("\"{key}\" is {number}")),
            Some(_) => self.fail(&key, format!("\"{key}\" is no floating-point number")),
        }
    }

    /// No hyperparameter may be infinite or not a number.
    fn floats(&self) -> Result<()> {
        let prefix = format!("{}.", self.architecture);
        for (key, (at, value)) in &self.metadata.values {
            let finite = match value {
                Value::Float(number) => number.is_finite(),
                Value::Numbers(numbers) => numbers.iter().all(|number| number.is_finite()),
                _ => true,
            };
            if !finite && key.starts_with(prefix.as_bytes()) {
                return Err(Error::new(*at, format!("\"{}\" is not finite", String::from_utf8_lossy(key))));
            }
        }
        Ok(())
    }

    fn experts(&self) -> Result<()> {
        let experts = self.optional("expert_count", 0, MAX_EXPERTS)?.unwrap_or(0);
        let used = self.numbers("expert_used_count", experts)?.into_iter().max().unwrap_or(0);
        let groups = self.optional("expert_group_count", 0, experts.saturating_sub(1))?.unwrap_or(0);
        let key = self.key("expert_count");
        if experts > 0 && used == 0 {
            return self.fail(&key, format!("of {experts} experts none is used"));
        }
        if groups > 1 {
            self.required("expert_group_used_count", 1, groups - 1)?;
            if experts % groups != 0 {
                return self.fail(&key, format!("{experts} experts in {groups} groups"));
            }
        }
        Ok(())
    }

    fn tokenizer(&self) -> Result<()> {
        let key = "tokenizer.ggml.model";
        let Some(model) = self.metadata.text(key)? else {
            return self.fail(key, format!("there is no \"{key}\", so no text can be read or written"));
        };
        let special: &[(&str, u64)] = match model.as_str() {
            "none" | "no_vocab" => {
                return self.fail(key, "the model has no vocabulary, so no text can be read or written");
            }
            "llama" => &[("bos", 1), ("eos", 2), ("unknown", 0)],
            "bert" => &[("bos", 101), ("unknown", 100), ("seperator", 102), ("padding", 0), ("mask", 103)],
            "gpt2" | "gemma4" | "hybriddna" | "whitespace" => &[],
            "t5" => &[("eos", 1), ("unknown", 2), ("padding", 0)],
            "plamo2" => &[("bos", 1), ("eos", 2), ("unknown", 0), ("padding", 3)],
            "rwkv" => &[],
            other => return self.fail(key, format!("unknown tokenizer \"{other}\"")),
        };
        let vocabulary = &self.metadata.vocabulary;
        if vocabulary.count == 0 {
            return self.fail(key, format!("there is no \"{VOCABULARY}\""));
        }
        self.special_tokens(special)?;
        self.per_token("tokenizer.ggml.scores", &[6])?;
        self.per_token(TOKEN_TYPES, &[4, 5])?;
        if vocabulary.bytes && matches!(model.as_str(), "bert" | "gpt2" | "rwkv") {
            return self.fail(TOKEN_TYPES, format!("a vocabulary of the kind \"{model}\" has no tokens for bytes"));
        }
        match vocabulary.broken_escape {
            _ if model != "rwkv" => Ok(()),
            Some(at) => Err(Error::new(at, "a token of the RWKV vocabulary ends within an escape")),
            None if !vocabulary.newline => self.fail(key, "the vocabulary has no token for a newline"),
            None => Ok(()),
        }
    }

    /// Ids of special tokens, those given and those that the tokenizer takes without being told.
    fn special_tokens(&self, defaults: &[(&str, u64)]) -> Result<()> {
        let count = self.metadata.vocabulary.count;
        let names = [
            "bos",
            "eos",
            "eot",
            "eom",
            "unknown",
            "seperator",
            "padding",
            "cls",
            "mask",
            "fim_pre",
            "fim_suf",
            "fim_mid",
            "fim_pad",
            "fim_rep",
            "fim_sep",
        ];
        for name in names {
            let default = defaults.iter().find(|(known, _)| *known == name).map(|(_, id)| *id);
            let key = format!("tokenizer.ggml.{name}_token_id");
            let id = self.metadata.integer(&key)?.or(default);
            // Fine-tunes of Llama 2 name a padding token one past the vocabulary; llama.cpp leaves it out.
            let lenient = name == "padding" && default.is_none();
            if id.is_some_and(|id| id >= count && id != u64::from(u32::MAX) && !lenient) {
                let id = id.unwrap_or_default();
                return self.fail(&key, format!("the {name} token is number {id} of a vocabulary of {count}"));
            }
        }
        Ok(())
    }

    /// An array with an entry for each token, if it is there.
    fn per_token(&self, key: &str, kinds: &[u32]) -> Result<()> {
        let count = self.metadata.vocabulary.count;
        match self.metadata.get(key) {
            None => Ok(()),
            Some((_, Value::Array(kind, length))) if kinds.contains(kind) && *length == count => Ok(()),
            Some((_, Value::Numbers(numbers))) if numbers.len() as u64 == count => Ok(()),
            Some(_) => self.fail(key, format!("\"{key}\" is no array with a number for each of {count} tokens")),
        }
    }
}

/// Of a number for all layers or one for each, that of a layer.
fn of_layer(numbers: &[u64], layer: usize) -> Option<u64> {
    match numbers {
        [] => None,
        [one] => Some(*one),
        many => Some(many.get(layer).copied().unwrap_or(0)),
    }
}

/// Where the tensor entries of a sound file end and its weights begin.
pub(crate) fn metadata_end(bytes: &[u8]) -> Option<usize> {
    let mut file = File::new(std::io::Cursor::new(bytes)).ok()?;
    let (tensors, keys) = file.header().ok()?;
    let mut metadata = Metadata::default();
    for _ in 0..keys {
        metadata.read_pair(&mut file).ok()?;
    }
    file.tensors(tensors, metadata.alignment().ok()?).ok()?;
    usize::try_from(file.offset).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile::{GGUF_KILLERS, GgufFile, gguf_corpus, mutations};
    use std::io::Cursor;

    fn checked(bytes: &[u8]) -> Result<Summary> {
        check(Cursor::new(bytes))
    }

    /// Of a whole model with so many tensors.
    fn summary(tensors: usize) -> Summary {
        let tensor = Tensor { name: "t".into(), kind: 0, dimensions: vec![1], bytes: 4 };
        let tensors = vec![tensor; tensors];
        Summary { architecture: String::new(), tensors, tokens: 0, merges: 0, shape: Shape::default(), shard: None }
    }

    #[test]
    fn tells_the_shape_and_the_size_of_every_tensor() {
        let mut file = GgufFile::tiny();
        file.set_u32("llama.attention.head_count_kv", 1);
        let Summary { tensors, shape, merges, .. } = checked(&file.bytes()).unwrap();
        assert_eq!((tensors[0].name.as_str(), tensors[0].bytes, tensors[0].rows()), ("token_embd.weight", 36_864, 288));
        assert_eq!((shape.context, shape.width, shape.hidden, shape.heads), (256, 32, 64, 2));
        assert_eq!((shape.key_heads.as_slice(), shape.cached()), (&[1][..], (16, 16)));
        assert_eq!(shape.recurrent_layers(), 0);
        assert_eq!(merges, 0);
    }

    fn refusal(change: impl FnOnce(&mut GgufFile)) -> String {
        let mut file = GgufFile::tiny();
        change(&mut file);
        checked(&file.bytes()).expect_err("the file passed").message
    }

    #[test]
    fn accepts_the_tiny_model_in_both_versions() {
        let mut file = GgufFile::tiny();
        for version in [2, 3] {
            file.version = version;
            let summary = checked(&file.bytes()).unwrap();
            assert_eq!((summary.architecture.as_str(), summary.tensors.len(), summary.tokens), ("llama", 11, 288));
        }
    }

    #[test]
    fn refuses_each_header_that_kills_the_native_loader() {
        assert_eq!(GGUF_KILLERS.len(), 15);
        for (name, lie) in GGUF_KILLERS {
            let mut file = GgufFile::tiny();
            lie(&mut file);
            let refused = checked(&file.bytes());
            assert!(refused.is_err(), "{name} passed");
        }
    }

    #[test]
    fn refuses_zeros_that_are_divided_by_and_no_others() {
        let renamed = |architecture: &str, name: &str, number: u32| {
            let mut file = GgufFile::tiny();
            file.rename(architecture);
            file.set_u32(&format!("{architecture}.{name}"), number);
            checked(&file.bytes()).map(|_| ()).map_err(|error| error.message)
        };
        for (architecture, name) in [
            ("gemma2", "attention.head_count"),
            ("deepseek4", "attention.output_group_count"),
            ("ernie4_5-moe", "interleave_moe_layer_step"),
            ("falcon-h1", "ssm.group_count"),
            ("mamba2", "ssm.time_step_rank"),
            ("nemotron_h", "ssm.inner_size"),
            ("qwen3next", "full_attention_interval"),
            ("rwkv7", "wkv.head_size"),
            ("wavtokenizer-dec", "attention.group_norm_groups"),
        ] {
            let message = renamed(architecture, name, 0).expect_err(name);
            assert!(message.contains(name) && message.contains("divides by it"), "{architecture}: {message}");
        }
        for (architecture, name) in [
            ("jamba", "attention.head_count"),
            ("mamba", "attention.head_count"),
            ("plamo2", "ssm.group_count"),
            ("llama4", "interleave_moe_layer_step"),
        ] {
            assert_eq!(renamed(architecture, name, 0), Ok(()), "{architecture} {name}");
        }
        let message = renamed("qwen3next", "expert_used_count", 0).unwrap_err();
        assert!(message.contains("no width of their own"), "{message}");
        assert_eq!(renamed("qwen3next", "expert_feed_forward_length", 64), Ok(()));
    }

    #[test]
    fn a_layer_without_heads_is_refused_where_every_layer_has_some() {
        let mut file = GgufFile::tiny();
        file.set_u32("llama.block_count", 2);
        let heads = |numbers: &[u32]| {
            let mut array = 4_u32.to_le_bytes().to_vec();
            array.extend((numbers.len() as u64).to_le_bytes());
            numbers.iter().for_each(|number| array.extend(number.to_le_bytes()));
            array
        };
        file.set("llama.attention.head_count", 9, heads(&[2, 0]));
        let message = checked(&file.bytes()).unwrap_err().message;
        assert!(message.contains("head_count"), "{message}");
        file.rename("deci");
        assert!(checked(&file.bytes()).is_ok());
    }

    #[test]
    fn refuses_a_model_without_a_vocabulary() {
        for kind in [&b"none"[..], b"no_vocab"] {
            let message = refusal(|file| file.set_text("tokenizer.ggml.model", kind));
            assert!(message.contains("no vocabulary"), "{message}");
        }
        let message = refusal(|file| file.set_u32("llama.vocab_size", u32::MAX));
        assert!(message.contains("vocab_size"), "{message}");
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(
            refusal(|file| file.set_u32("llama.block_count", 513)),
            "\"llama.block_count\" is 513, outside 1 to 512"
        );
        assert_eq!(
            refusal(|file| file.set("llama.attention.layer_norm_rms_epsilon", 6, f32::NAN.to_le_bytes().to_vec())),
            "\"llama.attention.layer_norm_rms_epsilon\" is not finite"
        );
        assert_eq!(refusal(|file| file.tensors[0].dimensions = vec![1; 5]), "a tensor of 5 dimensions");
        assert_eq!(refusal(|file| file.tensors[1].shift = 32), "tensor data at 36896 where 36864 is expected");
        assert_eq!(refusal(|file| file.magic = *b"lmgg"), "this is no GGUF file");
    }

    #[test]
    fn refuses_a_file_cut_anywhere() {
        let whole = GgufFile::tiny().bytes();
        for length in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
            assert!(checked(&whole[..length]).is_err(), "{length} of {} bytes passed", whole.len());
        }
    }

    #[test]
    fn never_panics_on_a_hostile_corpus_and_refuses_most_of_it() {
        let base = GgufFile::tiny().bytes();
        let corpus: Vec<_> = gguf_corpus(&base, 1).collect();
        assert!(corpus.len() >= 200, "{}", corpus.len());
        let refused = corpus.iter().filter(|sample| checked(&sample.bytes).is_err()).count();
        // The others changed what no check looks at, such as the letters of a token.
        assert!(refused * 10 > corpus.len() * 6, "{refused} of {}", corpus.len());
        for seed in 2..12 {
            mutations(&base, base.len(), seed).for_each(|sample| drop(checked(&sample.bytes)));
        }
    }

    #[test]
    fn puts_shards_in_order_and_misses_none() {
        let part = |index, count, tensors| Summary { shard: Some(Shard { index, count, tensors }), ..summary(2) };
        let whole = summary(4);
        assert_eq!(order(std::slice::from_ref(&whole)).unwrap(), [0]);
        assert_eq!(order(&[part(1, 2, 4), part(0, 2, 4)]).unwrap(), [1, 0]);
        for (parts, why) in [
            (vec![part(0, 2, 4)], "split into 2 files, 1 were given"),
            (vec![part(0, 2, 4), part(0, 2, 4)], "given twice"),
            (vec![part(0, 2, 9), part(1, 2, 9)], "do not add up"),
            (vec![whole.clone(), part(1, 2, 4)], "whole model"),
        ] {
            let message = order(&parts).unwrap_err().message;
            assert!(message.contains(why), "{message}");
        }
    }

    #[test]
    fn a_shard_after_the_first_needs_no_architecture() {
        let mut file = GgufFile::tiny();
        file.pairs.clear();
        for (key, number) in [("split.count", 2_u16), ("split.no", 1), ("split.tensors.count", 22)] {
            file.set(key, 2, number.to_le_bytes().to_vec());
        }
        let summary = checked(&file.bytes()).unwrap();
        assert_eq!(summary.shard, Some(Shard { index: 1, count: 2, tensors: 22 }));
    }
}
