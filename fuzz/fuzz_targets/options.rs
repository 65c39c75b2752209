//! `tenon_fuzz_targets::options` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tenon_fuzz_targets::options(data));
