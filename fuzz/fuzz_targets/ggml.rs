//! `tenon_fuzz_targets::ggml` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tenon_fuzz_targets::ggml(data));
