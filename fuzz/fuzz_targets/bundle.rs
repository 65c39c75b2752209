//! `tenon_fuzz_targets::bundle` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tenon_fuzz_targets::bundle(data));
