//! `tenon_fuzz_targets::manifest` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tenon_fuzz_targets::manifest(data));
