//! Whisper and Silero model files in ggml's older format: what is wrong with one, before whisper.cpp sees it.
//!
//! whisper.cpp 1.8.3 trusts every number of a file: of 84 malformed files 53 ended or hung the process, and a file cut
//! inside its last tensor loads with whatever the memory held. Nothing is left to chance here: magic, every
//! hyper-parameter, the vocabulary, and each tensor by name, type, shape and size up to the exact end of the file.
//! Reading is streamed; memory is bounded by the names of the tensors that the file must hold.

use crate::{Error, Result};
use std::collections::BTreeMap;
use std::io::{BufReader, Read, Seek, SeekFrom};

/// The four bytes that both kinds of file begin with, as a little-endian number: `ggml`.
const MAGIC: u32 = 0x6767_6d6c;
/// Bins of the Fourier transform: one plus half of the 400 samples of a frame.
const FFT_BINS: i32 = 201;
/// Longest text of a vocabulary entry in bytes; whisper's own longest has 128.
const TOKEN_BYTES: u32 = 1024;

/// What a whisper file says about itself; true of any file that [`whisper`] accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whisper {
    /// Tokens: 51864 for English only, 51865 or 51866 for many languages.
    pub n_vocab: u32,
    /// Encoder positions; 1500 for 30 seconds.
    pub n_audio_ctx: u32,
    /// Width of encoder and decoder.
    pub n_state: u32,
    /// Attention heads of the encoder.
    pub n_audio_head: u32,
    /// Layers of the encoder.
    pub n_audio_layer: u32,
    /// Decoder positions: prompt and text of one window.
    pub n_text_ctx: u32,
    /// Attention heads of the decoder.
    pub n_text_head: u32,
    /// Layers of the decoder.
    pub n_text_layer: u32,
    /// Bands of the spectrogram: 80 or 128.
    pub n_mels: u32,
    /// Type of the large tensors, by ggml's name.
    pub weights: &'static str,
    /// Bytes before the first tensor.
    pub head: u64,
}

impl Whisper {
    /// The model knows more than English.
    pub fn is_multilingual(&self) -> bool {
        self.n_vocab > 51864
    }

    /// Number of languages that it knows: the first ones of whisper's table.
    pub fn languages(&self) -> u32 {
        if self.is_multilingual() { self.n_vocab - 51766 } else { 1 }
    }
}

/// What a Silero file says about itself; true of any file that [`vad`] accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vad {
    /// Kind of model, such as `silero-16k`.
    pub kind: String,
    /// Version of the model: major, minor, patch.
    pub version: [u32; 3],
    /// Samples that give one probability.
    pub n_window: u32,
}

/// Checks a whisper model.
///
/// # Errors
/// What is wrong and at which byte, or that the file could not be read.
pub fn whisper<R: Read + Seek>(reader: R) -> Result<Whisper> {
    let mut file = Bytes::open(reader)?;
    file.magic("a whisper model in ggml format")?;
    let (mut model, weights) = hyper_parameters(&mut file)?;
    filters(&mut file, &model)?;
    vocabulary(&mut file, &model)?;
    model.head = file.offset;
    tensors(&mut file, whisper_tensors(&model, weights))?;
    Ok(model)
}

/// Checks a Silero model for voice activity.
///
/// # Errors
/// What is wrong and at which byte, or that the file could not be read.
pub fn vad<R: Read + Seek>(reader: R) -> Result<Vad> {
    let mut file = Bytes::open(reader)?;
    file.magic("a Silero model in ggml format")?;
    let length = file.range("length of the model's kind", 1, 64).map_err(|error| {
        Error::new(error.offset, "this is no Silero model: give the file of a voice activity model the role \"vad\"")
    })?;
    let at = file.offset;
    let kind = String::from_utf8_lossy(&file.bytes(length as usize)?).into_owned();
    if !kind.starts_with("silero") {
        return Err(Error::new(at, format!("the voice activity model is of kind {kind:?}, not silero")));
    }
    let mut version = [0; 3];
    for part in &mut version {
        *part = file.range("version", 0, 1000)?;
    }
    let n_window = file.exact("n_window", 512)?;
    file.exact("n_context", 64)?;
    file.exact("n_encoder_layers", SILERO_ENCODER.len() as u32)?;
    for (channels_in, channels_out) in SILERO_ENCODER {
        file.exact("encoder_in_channels", channels_in)?;
        file.exact("encoder_out_channels", channels_out)?;
        file.exact("kernel_size", 3)?;
    }
    for (name, value) in [("lstm_input_size", 128), ("lstm_hidden_size", 128), ("final_conv_in", 128)] {
        file.exact(name, value)?;
    }
    file.exact("final_conv_out", 1)?;
    tensors(&mut file, silero_tensors())?;
    Ok(Vad { kind, version, n_window })
}

/// Channels in and out of Silero's encoder layers; whisper.cpp's graph is written for these alone.
const SILERO_ENCODER: [(u32, u32); 4] = [(129, 128), (128, 64), (64, 64), (64, 128)];

/// How the elements of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Type {
    /// Number in the file.
    id: u32,
    name: &'static str,
    /// Elements in a block, which lie along the first dimension.
    block: u64,
    /// Bytes of a block.
    bytes: u64,
}

const F32: Type = Type { id: 0, name: "F32", block: 1, bytes: 4 };
const F16: Type = Type { id: 1, name: "F16", block: 1, bytes: 2 };

/// The types that a whisper file may give its large tensors, each with its number in the header.
const WEIGHT_TYPES: [(u32, Type); 12] = [
    (0, F32),
    (1, F16),
    (2, Type { id: 2, name: "Q4_0", block: 32, bytes: 18 }),
    (3, Type { id: 3, name: "Q4_1", block: 32, bytes: 20 }),
    (7, Type { id: 8, name: "Q8_0", block: 32, bytes: 34 }),
    (8, Type { id: 6, name: "Q5_0", block: 32, bytes: 22 }),
    (9, Type { id: 7, name: "Q5_1", block: 32, bytes: 24 }),
    (10, Type { id: 10, name: "Q2_K", block: 256, bytes: 84 }),
    (11, Type { id: 11, name: "Q3_K", block: 256, bytes: 110 }),
    (12, Type { id: 12, name: "Q4_K", block: 256, bytes: 144 }),
    (13, Type { id: 13, name: "Q5_K", block: 256, bytes: 176 }),
    (14, Type { id: 14, name: "Q6_K", block: 256, bytes: 210 }),
];

/// A tensor that a file must hold: its dimensions, the fastest first, and its type.
type Wanted = BTreeMap<String, (Vec<u64>, Type)>;

fn hyper_parameters<R: Read + Seek>(file: &mut Bytes<R>) -> Result<(Whisper, Type)> {
    let n_vocab = file.range("n_vocab", 51864, 51866)?;
    let n_audio_ctx = file.range("n_audio_ctx", 64, 1500)?;
    let n_state = file.range("n_audio_state", 16, 8192)?;
    let n_audio_head = heads(file, "n_audio_head", n_state)?;
    let n_audio_layer = file.range("n_audio_layer", 1, 128)?;
    let n_text_ctx = file.range("n_text_ctx", 32, 1024)?;
    file.exact("n_text_state", n_state)?;
    let n_text_head = heads(file, "n_text_head", n_state)?;
    let n_text_layer = file.range("n_text_layer", 1, 128)?;
    let at = file.offset;
    let n_mels = file.u32()?;
    if n_mels != 80 && n_mels != 128 {
        return Err(Error::new(at, format!("n_mels is {}, not 80 or 128", n_mels.cast_signed())));
    }
    let weights = weight_type(file, n_state)?;
    let model = Whisper {
        n_vocab,
        n_audio_ctx,
        n_state,
        n_audio_head,
        n_audio_layer,
        n_text_ctx,
        n_text_head,
        n_text_layer,
        n_mels,
        weights: weights.name,
        head: 0,
    };
    Ok((model, weights))
}

fn heads<R: Read + Seek>(file: &mut Bytes<R>, name: &str, n_state: u32) -> Result<u32> {
    let at = file.offset;
    let heads = file.range(name, 1, 256)?;
    let size = n_state / heads;
    if !n_state.is_multiple_of(heads) || !size.is_multiple_of(8) || size > 256 {
        let message = format!("{name} is {heads}, which does not divide a width of {n_state} into heads of 8 to 256");
        return Err(Error::new(at, message));
    }
    Ok(heads)
}

fn weight_type<R: Read + Seek>(file: &mut Bytes<R>, n_state: u32) -> Result<Type> {
    let at = file.offset;
    let ftype = file.u32()?;
    // The thousands are the version of the quantisation.
    let known = WEIGHT_TYPES.iter().find(|(id, _)| ftype < 3000 && *id == ftype % 1000);
    let Some((_, weights)) = known else {
        let names: Vec<&str> = WEIGHT_TYPES.iter().map(|(_, known)| known.name).collect();
        let message = format!("ftype is {}, which is none of {}", ftype.cast_signed(), names.join(", "));
        return Err(Error::new(at, message));
    };
    if !u64::from(n_state).is_multiple_of(weights.block) {
        let message =
            format!("a width of {n_state} cannot be stored as {} in blocks of {}", weights.name, weights.block);
        return Err(Error::new(at, message));
    }
    Ok(*weights)
}

fn filters<R: Read + Seek>(file: &mut Bytes<R>, model: &Whisper) -> Result<()> {
    file.exact("n_mel of the filters", model.n_mels)?;
    file.exact("n_fft of the filters", FFT_BINS.cast_unsigned())?;
    for _ in 0..model.n_mels * FFT_BINS.cast_unsigned() {
        let at = file.offset;
        let value = f32::from_bits(file.u32()?);
        if !value.is_finite() {
            return Err(Error::new(at, format!("a filter of the spectrogram is {value}")));
        }
    }
    Ok(())
}

fn vocabulary<R: Read + Seek>(file: &mut Bytes<R>, model: &Whisper) -> Result<()> {
    let start = file.offset;
    let count = file.range("number of vocabulary entries", 1, model.n_vocab)?;
    let mut has_space = false;
    let mut text = [0; TOKEN_BYTES as usize];
    for _ in 0..count {
        let length = file.range("length of a vocabulary entry", 0, TOKEN_BYTES)?;
        let text = &mut text[..length as usize];
        file.fill(text)?;
        has_space |= text == b" ";
    }
    // whisper.cpp looks it up whenever it suppresses a blank.
    if has_space { Ok(()) } else { Err(Error::new(start, "the vocabulary has no entry for a single space")) }
}

/// Reads tensor headers up to the end of the file; each must be a wanted one, and each wanted one must come once.
fn tensors<R: Read + Seek>(file: &mut Bytes<R>, mut wanted: Wanted) -> Result<()> {
    if file.offset == file.size {
        return Err(Error::new(file.offset, "the file holds no weights: it is made for testing loaders"));
    }
    while file.offset < file.size {
        let at = file.offset;
        let n_dims = file.range("number of dimensions of a tensor", 0, 4)?;
        let length = file.range("length of a tensor's name", 1, 128)?;
        let kind = file.u32()?;
        let mut dims = Vec::with_capacity(4);
        for _ in 0..n_dims {
            dims.push(u64::from(file.u32()?));
        }
        let name = String::from_utf8_lossy(&file.bytes(length as usize)?).into_owned();
        let Some((shape, stored)) = wanted.remove(&name) else {
            return Err(Error::new(at, format!("tensor {name:?} has no place in this model, or comes twice")));
        };
        let padded = |dims: &[u64]| std::array::from_fn::<u64, 4, _>(|i| dims.get(i).copied().unwrap_or(1));
        if padded(&dims) != padded(&shape) {
            return Err(Error::new(at, format!("tensor {name:?} has the shape {dims:?}, not {shape:?}")));
        }
        if kind != stored.id {
            let message =
                format!("tensor {name:?} is of type {}, not {} ({})", kind.cast_signed(), stored.id, stored.name);
            return Err(Error::new(at, message));
        }
        let bytes = shape.iter().product::<u64>() / stored.block * stored.bytes;
        file.skip(bytes, &name)?;
    }
    match wanted.keys().next() {
        None => Ok(()),
        Some(name) => {
            let message = format!("{} tensors are missing, among them {name:?}: get the whole file", wanted.len());
            Err(Error::new(file.offset, message))
        }
    }
}

fn whisper_tensors(model: &Whisper, weights: Type) -> Wanted {
    let state = u64::from(model.n_state);
    let convolution = if weights == F32 { F32 } else { F16 };
    let mut wanted = Wanted::new();
    let mut want = |name: &str, dims: &[u64], stored: Type| {
        wanted.insert(name.to_owned(), (dims.to_vec(), stored));
    };
    want("encoder.positional_embedding", &[state, u64::from(model.n_audio_ctx)], F32);
    want("encoder.conv1.weight", &[3, u64::from(model.n_mels), state], convolution);
    want("encoder.conv1.bias", &[1, state], F32);
    want("encoder.conv2.weight", &[3, state, state], convolution);
    want("encoder.conv2.bias", &[1, state], F32);
    want("encoder.ln_post.weight", &[state], F32);
    want("encoder.ln_post.bias", &[state], F32);
    want("decoder.positional_embedding", &[state, u64::from(model.n_text_ctx)], F32);
    want("decoder.token_embedding.weight", &[state, u64::from(model.n_vocab)], weights);
    want("decoder.ln.weight", &[state], F32);
    want("decoder.ln.bias", &[state], F32);
    for (side, layers) in [("encoder", model.n_audio_layer), ("decoder", model.n_text_layer)] {
        for layer in 0..layers {
            let block = format!("{side}.blocks.{layer}");
            feed_forward(&mut want, &block, state, weights);
            attention(&mut want, &format!("{block}.attn"), state, weights);
            if side == "decoder" {
                attention(&mut want, &format!("{block}.cross_attn"), state, weights);
            }
        }
    }
    wanted
}

fn feed_forward(want: &mut impl FnMut(&str, &[u64], Type), block: &str, state: u64, weights: Type) {
    want(&format!("{block}.mlp_ln.weight"), &[state], F32);
    want(&format!("{block}.mlp_ln.bias"), &[state], F32);
    want(&format!("{block}.mlp.0.weight"), &[state, 4 * state], weights);
    want(&format!("{block}.mlp.0.bias"), &[4 * state], F32);
    want(&format!("{block}.mlp.2.weight"), &[4 * state, state], weights);
    want(&format!("{block}.mlp.2.bias"), &[state], F32);
}

fn attention(want: &mut impl FnMut(&str, &[u64], Type), name: &str, state: u64, weights: Type) {
    want(&format!("{name}_ln.weight"), &[state], F32);
    want(&format!("{name}_ln.bias"), &[state], F32);
    for part in ["query", "key", "value", "out"] {
        want(&format!("{name}.{part}.weight"), &[state, state], weights);
        if part != "key" {
            want(&format!("{name}.{part}.bias"), &[state], F32);
        }
    }
}

fn silero_tensors() -> Wanted {
    let mut wanted = Wanted::new();
    let mut want = |name: String, dims: &[u64], stored: Type| {
        wanted.insert(format!("_model.{name}"), (dims.to_vec(), stored));
    };
    want("stft.forward_basis_buffer".to_owned(), &[256, 1, 258], F16);
    for (layer, (channels_in, channels_out)) in SILERO_ENCODER.into_iter().enumerate() {
        let dims = [3, u64::from(channels_in), u64::from(channels_out)];
        want(format!("encoder.{layer}.reparam_conv.weight"), &dims, F16);
        want(format!("encoder.{layer}.reparam_conv.bias"), &dims[2..], F32);
    }
    for side in ["ih", "hh"] {
        want(format!("decoder.rnn.weight_{side}"), &[128, 512], F32);
        want(format!("decoder.rnn.bias_{side}"), &[512], F32);
    }
    want("decoder.decoder.2.weight".to_owned(), &[128], F16);
    want("decoder.decoder.2.bias".to_owned(), &[], F32);
    wanted
}

/// A file read forward, with its position for errors.
struct Bytes<R> {
    reader: BufReader<R>,
    offset: u64,
    size: u64,
}

impl<R: Read + Seek> Bytes<R> {
    fn open(mut reader: R) -> Result<Self> {
        let size = reader.seek(SeekFrom::End(0)).map_err(|error| Error::read(0, error))?;
        reader.seek(SeekFrom::Start(0)).map_err(|error| Error::read(0, error))?;
        Ok(Self { reader: BufReader::new(reader), offset: 0, size })
    }

    fn magic(&mut self, what: &str) -> Result<()> {
        match self.u32()? {
            MAGIC => Ok(()),
            0x4655_4747 => Err(Error::new(0, format!("this is a GGUF file, not {what}"))),
            other => Err(Error::new(0, format!("the file begins with {other:#010x}, so it is not {what}"))),
        }
    }

    fn u32(&mut self) -> Result<u32> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// A number within bounds, both included. whisper.cpp reads it as signed, so that is how an error shows it.
    fn range(&mut self, name: &str, least: u32, most: u32) -> Result<u32> {
        let at = self.offset;
        let value = self.u32()?;
        if (least..=most).contains(&value) {
            return Ok(value);
        }
        let value = value.cast_signed();
        Err(Error::new(at, format!("{name} is {value}, not within {least} to {most}")))
    }

    fn exact(&mut self, name: &str, wanted: u32) -> Result<u32> {
        let at = self.offset;
        let value = self.u32()?;
        if value == wanted {
            return Ok(value);
        }
        Err(Error::new(at, format!("{name} is {}, not {wanted}", value.cast_signed())))
    }

    fn bytes(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.reader.read_exact(bytes).map_err(|error| Error::read(self.offset, error))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn skip(&mut self, bytes: u64, name: &str) -> Result<()> {
        let left = self.size.saturating_sub(self.offset);
        if bytes > left {
            let message = format!("tensor {name:?} needs {bytes} bytes, the file has {left} left: get the whole file");
            return Err(Error::new(self.offset, message));
        }
        self.reader.seek_relative(bytes.cast_signed()).map_err(|error| Error::read(self.offset, error))?;
        self.offset += bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile::{Sample, ggml_corpus, smallest_vad, smallest_whisper};
    use std::io::Cursor;

    fn check(bytes: &[u8]) -> Result<Whisper> {
        whisper(Cursor::new(bytes))
    }

    /// The good file with the number at `offset` replaced, and the sentence that refuses it.
    fn refusal(offset: usize, value: u32) -> String {
        let mut bytes = smallest_whisper();
        bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        check(&bytes).expect_err("a spoiled number is accepted").to_string()
    }

    /// Offset of the vocabulary's count in the good file.
    const VOCABULARY: usize = 56 + 80 * 201 * 4;
    /// Offset of the first tensor: count and three tokens of one byte before it.
    const FIRST_TENSOR: usize = VOCABULARY + 4 + 3 * 5;

    #[test]
    fn accepts_a_file_that_is_right_in_every_number() {
        let model = check(&smallest_whisper()).unwrap();
        assert_eq!((model.n_vocab, model.n_audio_ctx, model.n_text_ctx, model.weights), (51864, 64, 32, "F16"));
        assert!(!model.is_multilingual());
        assert_eq!(model.languages(), 1);
        let silero = vad(Cursor::new(smallest_vad())).unwrap();
        assert_eq!((silero.kind.as_str(), silero.version, silero.n_window), ("silero-16k", [6, 2, 0], 512));
    }

    #[test]
    fn refuses_another_kind_of_file_by_its_name() {
        assert_eq!(refusal(0, 0x4655_4747), "byte 0: this is a GGUF file, not a whisper model in ggml format");
        assert!(refusal(0, 0).contains("begins with 0x00000000"));
        assert_eq!(check(b"lmgg").unwrap_err().to_string(), "byte 4: the file ends too early");
        assert_eq!(check(b"").unwrap_err().to_string(), "byte 0: the file ends too early");
    }

    #[test]
    fn refuses_hyper_parameters_out_of_range() {
        for offset in (4..48).step_by(4) {
            for value in [0, u32::MAX, 1 << 31, i32::MAX as u32] {
                // F32 is number 0, and then every tensor is of the wrong type.
                let sentence = refusal(offset, value);
                assert!(sentence.starts_with(&format!("byte {offset}:")) || (offset, value) == (44, 0), "{sentence}");
            }
        }
        assert_eq!(refusal(4, 51867), "byte 4: n_vocab is 51867, not within 51864 to 51866");
        assert_eq!(
            refusal(16, 3),
            "byte 16: n_audio_head is 3, which does not divide a width of 16 into heads of 8 to 256"
        );
        assert_eq!(refusal(28, 17), "byte 28: n_text_state is 17, not 16");
        assert_eq!(refusal(40, 81), "byte 40: n_mels is 81, not 80 or 128");
        assert!(refusal(44, 5).starts_with("byte 44: ftype is 5, which is none of F32, F16, Q4_0"));
        assert!(refusal(44, 2010).contains("a width of 16 cannot be stored as Q2_K in blocks of 256"));
    }

    #[test]
    fn refuses_filters_of_other_dimensions_or_not_finite() {
        for value in [0, 81, u32::MAX, i32::MAX as u32] {
            assert!(refusal(48, value).starts_with("byte 48: n_mel of the filters"));
            assert!(refusal(52, value).starts_with("byte 52: n_fft of the filters"));
        }
        assert_eq!(refusal(60, f32::NAN.to_bits()), "byte 60: a filter of the spectrogram is NaN");
    }

    #[test]
    fn refuses_a_vocabulary_that_is_too_large_or_has_no_space() {
        for value in [0, 51865, u32::MAX] {
            assert!(
                refusal(VOCABULARY, value).starts_with(&format!("byte {VOCABULARY}: number of vocabulary entries"))
            );
        }
        for value in [1025, u32::MAX, i32::MAX as u32] {
            assert!(refusal(VOCABULARY + 4, value).contains("length of a vocabulary entry"));
        }
        let mut bytes = smallest_whisper();
        bytes[VOCABULARY + 4 + 5 + 4] = b'x';
        assert!(check(&bytes).unwrap_err().message.contains("no entry for a single space"));
    }

    #[test]
    fn refuses_tensor_headers_that_would_run_over_the_loader() {
        for value in [5, 64, u32::MAX] {
            assert!(refusal(FIRST_TENSOR, value).contains("number of dimensions of a tensor"));
        }
        for value in [0, 129, u32::MAX] {
            assert!(refusal(FIRST_TENSOR + 4, value).contains("length of a tensor's name"));
        }
        for value in [1, 4, 40, u32::MAX] {
            assert!(refusal(FIRST_TENSOR + 8, value).contains("is of type"));
        }
        for value in [0, u32::MAX, 1 << 31] {
            assert!(refusal(FIRST_TENSOR + 12, value).contains("has the shape"));
        }
        assert!(refusal(FIRST_TENSOR + 20, 0).contains("has no place in this model, or comes twice"));
    }

    #[test]
    fn refuses_a_file_that_does_not_end_exactly_after_its_last_tensor() {
        let good = smallest_whisper();
        for cut in [1, 2, 12, 31] {
            let error = check(&good[..good.len() - cut]).unwrap_err();
            assert!(error.message.contains("get the whole file"), "{error}");
        }
        for more in [1, 11, 12, 100] {
            let mut bytes = good.clone();
            bytes.resize(good.len() + more, 0);
            assert!(check(&bytes).is_err(), "{more} bytes more");
        }
    }

    #[test]
    fn refuses_a_model_without_weights() {
        let error = check(&smallest_whisper()[..FIRST_TENSOR]).unwrap_err();
        assert!(error.message.contains("holds no weights"), "{error}");
    }

    #[test]
    fn refuses_a_missing_and_a_repeated_tensor() {
        let good = smallest_whisper();
        // Header of 12 bytes, two dimensions, the name and the values of the positional embedding.
        let end = FIRST_TENSOR + 12 + 8 + "encoder.positional_embedding".len() + 16 * 64 * 4;
        let missing = [&good[..FIRST_TENSOR], &good[end..]].concat();
        let message = check(&missing).unwrap_err().message;
        assert!(message.contains(r#"1 tensors are missing, among them "encoder.positional_embedding""#), "{message}");
        let repeated = [&good[..], &good[FIRST_TENSOR..end]].concat();
        assert!(check(&repeated).unwrap_err().message.contains("comes twice"));
    }

    #[test]
    fn refuses_a_whisper_file_given_as_vad_and_the_reverse() {
        let error = vad(Cursor::new(smallest_whisper())).unwrap_err();
        assert!(error.message.contains("no Silero model"), "{error}");
        assert!(check(&smallest_vad()).is_err());
    }

    #[test]
    fn refuses_every_spoiled_number_of_a_vad_header() {
        let good = smallest_vad();
        for offset in (30..38).chain(38..106).step_by(4) {
            for value in [0, u32::MAX, i32::MAX as u32] {
                let mut bytes = good.clone();
                bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
                assert!(vad(Cursor::new(bytes)).is_err(), "{value} at {offset}");
            }
        }
    }

    #[test]
    fn no_file_of_the_corpus_makes_the_check_panic_and_most_are_refused() {
        for (base, is_vad) in [(smallest_whisper(), false), (smallest_vad(), true)] {
            let (mut total, mut accepted) = (0, Vec::new());
            for Sample { name, bytes } in ggml_corpus(&base, 7) {
                total += 1;
                let good = if is_vad { vad(Cursor::new(&bytes)).is_ok() } else { check(&bytes).is_ok() };
                if good && bytes != base {
                    accepted.push(name);
                }
            }
            assert!(total >= 200, "{total} files");
            // Flips of weights, filters and vocabulary texts change no structure.
            // A width can be divided into any number of heads that leaves them a fitting size.
            let structural = |name: &&String| {
                !["bit-", "byte-", "n_audio_head-1", "n_text_head-1"].iter().any(|free| name.starts_with(free))
            };
            let rest: Vec<_> = accepted.iter().filter(structural).collect();
            assert!(rest.is_empty(), "{rest:?}");
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_corpus() {
        let base = smallest_vad();
        let names = |seed| ggml_corpus(&base, seed).map(|sample| sample.name).collect::<Vec<_>>();
        assert_eq!(names(3), names(3));
        assert_ne!(names(3), names(4));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_called_malformed() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("the disk is gone"))
            }
        }
        impl Seek for Broken {
            fn seek(&mut self, _: SeekFrom) -> std::io::Result<u64> {
                Ok(100)
            }
        }
        let error = whisper(Broken).unwrap_err();
        assert!(error.is_io());
        assert_eq!(error.to_string(), "byte 0: the file cannot be read: the disk is gone");
    }
}
