//! The structural checks of model files: what they accept is whole, and what they say of it fits the file.

use crate::holes::Holes;
use crate::memory::measured;
use std::collections::HashSet;
use tenon_precheck::gguf::Summary;
use tenon_precheck::{Error, ggml as whisper_files, gguf as llama_files};

/// Most that a check may hold at once, beside four times the input.
const MOST: usize = 48 << 20;

/// Runs a check of a file in little memory.
fn checked<'a, T>(input: &'a [u8], check: impl FnOnce(Holes<'a>) -> Result<T, Error>) -> Result<T, Error> {
    let file = Holes::new(input);
    let length = file.length();
    let (found, taken) = measured(|| check(file));
    assert!(taken.most <= 4 * input.len() + MOST, "{} bytes held for an input of {}", taken.most, input.len());
    if let Err(error) = &found {
        assert!(!error.is_io(), "reading memory cannot go wrong: {error}");
        assert!(!error.message.is_empty() && !error.message.ends_with('.'), "{error}");
        assert!(error.offset <= length.next_multiple_of(1 << 20), "byte {} of {length}: {error}", error.offset);
    }
    found
}

/// whisper's and Silero's files: an accepted one holds what its numbers say, and not a byte more or less.
pub fn ggml(input: &[u8]) {
    let file = Holes::new(input);
    let length = file.length();
    if let Ok(model) = checked(input, whisper_files::whisper) {
        assert!(model.head < length, "{model:?} of {length} bytes");
        assert_eq!(model.n_state % model.n_audio_head, 0, "{model:?}");
        assert_eq!(model.n_state % model.n_text_head, 0, "{model:?}");
        assert!((1..=100).contains(&model.languages()), "{model:?}");
        // The smallest type has 84 bytes for 256 elements.
        let (width, layers) = (u64::from(model.n_state), u64::from(model.n_audio_layer + 2 * model.n_text_layer));
        let least = (u64::from(model.n_vocab) * width + 8 * layers * width * width) / 256 * 84;
        assert!(model.head + least / 2 <= length, "{model:?} of {length} bytes");
        for other in [length - 1, length + 1, length + 4096] {
            assert!(whisper_files::whisper(file.clone().with_length(other)).is_err(), "{other} and {length} bytes");
        }
        assert!(checked(input, whisper_files::vad).is_err(), "a file of two kinds: {model:?}");
    } else if let Ok(model) = checked(input, whisper_files::vad) {
        assert!(model.kind.starts_with("silero") && model.kind.len() <= 64 * 3, "{model:?}");
        for other in [length - 1, length + 1, length + 4096] {
            assert!(whisper_files::vad(file.clone().with_length(other)).is_err(), "{other} and {length} bytes");
        }
    }
}

/// llama.cpp's files: the tensors of an accepted one lie in it, and its shape is one that a model can have.
pub fn gguf(input: &[u8]) {
    let Ok(summary) = checked(input, llama_files::check) else { return };
    let file = Holes::new(input);
    let data = tensors_hold(&summary, file.length());
    if data > 0 {
        let cut = file.clone().with_length(data - 1);
        assert!(llama_files::check(cut).is_err(), "{data} bytes of tensors in fewer");
    }
    if summary.shard.is_none_or(|shard| shard.index == 0) {
        shape_holds(&summary);
    }
    match summary.shard {
        None => assert!(matches!(llama_files::order(std::slice::from_ref(&summary)).as_deref(), Ok([0]))),
        Some(shard) => {
            assert!(shard.index < shard.count && shard.tensors >= summary.tensors.len() as u64, "{shard:?}");
            assert!(
                llama_files::order(std::slice::from_ref(&summary)).is_err(),
                "one of {} parts is no model",
                shard.count
            );
            assert!(llama_files::order(&[summary.clone(), summary]).is_err(), "the same part twice is no model");
        }
    }
}

/// Bytes of all tensors.
fn tensors_hold(summary: &Summary, length: u64) -> u64 {
    let mut names = HashSet::new();
    let mut data = 0_u64;
    for tensor in &summary.tensors {
        assert!(names.insert(&tensor.name) || tensor.name.contains('\u{fffd}'), "{} comes twice", tensor.name);
        assert!((1..=4).contains(&tensor.dimensions.len()) && !tensor.dimensions.contains(&0), "{tensor:?}");
        // No type takes less than a ninth of a byte or more than eight bytes for an element.
        let elements: u128 = tensor.dimensions.iter().map(|dimension| u128::from(*dimension)).product();
        let bytes = u128::from(tensor.bytes);
        assert!(bytes <= elements * 8 && bytes * 9 >= elements, "{tensor:?}");
        data = data.checked_add(tensor.bytes).expect("the tensors fit a file");
    }
    assert!(data < length || data == 0, "{data} bytes of tensors in a file of {length}");
    data
}

fn shape_holds(summary: &Summary) {
    let shape = &summary.shape;
    assert!(!summary.architecture.is_empty());
    assert!((1..=512).contains(&shape.key_heads.len()), "{} layers", shape.key_heads.len());
    assert!(shape.width > 0 && shape.context > 0, "{shape:?}");
    let (keys, values) = shape.cached();
    // What one token keeps, times the longest context, must still be a number.
    let all = u128::from(shape.context) * (u128::from(keys) + u128::from(values) + u128::from(shape.state)) * 8;
    assert!(all < 1 << 63, "{shape:?}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::holes::with_holes;
    use tenon_precheck::hostile::{GgufFile, smallest_vad, smallest_whisper};

    #[test]
    fn good_files_with_holes_are_accepted_so_that_what_must_hold_of_them_is_looked_at() {
        let (whisper, vad) = (with_holes(&smallest_whisper()), with_holes(&smallest_vad()));
        assert!(checked(&whisper, whisper_files::whisper).is_ok());
        assert!(checked(&vad, whisper_files::vad).is_ok());
        let tiny = with_holes(&GgufFile::tiny().bytes());
        assert!(checked(&tiny, llama_files::check).is_ok());
        [whisper, vad].iter().for_each(|file| ggml(file));
        gguf(&tiny);
    }
}
