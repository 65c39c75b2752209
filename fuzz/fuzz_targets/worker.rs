//! `tenon_fuzz_targets::worker` under libFuzzer. Engines start this program as their worker.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: tenon_fuzz_targets::be_a_worker(),
    |data: &[u8]| tenon_fuzz_targets::worker(data)
);
