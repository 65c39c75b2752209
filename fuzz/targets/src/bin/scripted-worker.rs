//! The program that the replay of the corpora has engines start as a worker. Under libFuzzer the fuzzer itself is it.

fn main() {
    #[cfg(unix)]
    tenon_fuzz_targets::be_a_worker();
    eprintln!("this program is started by the replay of the fuzzers' corpora alone");
    std::process::exit(64);
}
