//! The frozen layout on 64-bit targets: a change that moves or resizes anything does not compile.

use crate::*;
use core::mem::{align_of, offset_of, size_of};

macro_rules! frozen {
    ($type:ty, $size:literal, { $($field:ident: $offset:literal),+ $(,)? }) => {
        const _: () = {
            assert!(size_of::<$type>() == $size);
            assert!(align_of::<$type>() == 8);
            $(assert!(offset_of!($type, $field) == $offset);)+
        };
    };
}

#[cfg(target_pointer_width = "64")]
mod lp64 {
    use super::*;

    frozen!(Str, 16, { ptr: 0, len: 8 });
    frozen!(File, 80, { role: 0, path: 16, size: 32, sha256: 40, fd: 72, reserved: 76 });
    frozen!(Item, 16, { kind: 0, size: 4, data: 8 });
    frozen!(Text, 32, { role: 0, text: 16 });
    frozen!(Audio, 24, { samples: 0, frames: 8, rate: 16, channels: 20 });
    frozen!(Word, 40, { start_us: 0, end_us: 8, text: 16, confidence: 32, reserved: 36 });
    frozen!(Segment, 72, {
        start_us: 0, end_us: 8, text: 16, words: 32, word_count: 40, token_count: 44, tokens: 48, confidence: 56,
        no_speech: 60, reserved: 64,
    });
    frozen!(Token, 40, { text: 0, start_us: 16, end_us: 24, id: 32, logprob: 36 });
    frozen!(Usage, 48, {
        prompt_tokens: 0, cached_tokens: 8, generated_tokens: 16, audio_us: 24, prompt_us: 32, generate_us: 40,
    });
    frozen!(Document, 32, { name: 0, text: 16 });
    frozen!(Embedding, 24, { values: 0, count: 8, index: 16, reserved: 20 });
    frozen!(Host, 72, {
        struct_size: 0, abi_major: 4, abi_minor: 6, log_level: 8, log: 16, fail: 24, cancelled: 32, progress: 40,
        emit: 48, pull: 56, get_interface: 64,
    });
    frozen!(HostOptions, 40, {
        struct_size: 0, reserved: 4, get_string: 8, get_number: 16, get_integer: 24, get_bool: 32,
    });
    frozen!(HostError, 16, { struct_size: 0, reserved: 4, detail: 8 });
    frozen!(Backend, 64, {
        struct_size: 0, caps: 4, describe: 8, model_open: 16, model_close: 24, session_open: 32, session_reset: 40,
        session_close: 48, run: 56,
    });
    frozen!(Memory, 16, { struct_size: 0, reserved: 4, estimate: 8 });
    frozen!(Plugin, 48, {
        struct_size: 0, abi_major: 4, abi_minor: 6, id: 8, version: 16, build_info: 24, get_interface: 32,
        shutdown: 40,
    });
}
