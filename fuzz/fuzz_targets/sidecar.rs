//! `tenon_fuzz_targets::sidecar` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tenon_fuzz_targets::sidecar(data));
