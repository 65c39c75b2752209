//! The committed corpora, each input through its target: what the fuzzers found once stays mended.

use std::fs;
use std::path::{Path, PathBuf};
use tenon_fuzz_targets::{ALL, Target};

/// What engines start as a worker.
fn prepare() {
    #[cfg(unix)]
    tenon_fuzz_targets::set_worker_program(env!("CARGO_BIN_EXE_scripted-worker"));
}

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpora")
}

/// The files of a folder, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

#[test]
fn every_input_of_every_corpus_passes_its_target() {
    prepare();
    // A thread for each target, as the fuzzers have a process for each.
    let failed: Vec<PathBuf> = std::thread::scope(|scope| {
        let replays: Vec<_> = ALL.iter().map(|(name, target)| scope.spawn(|| failing(name, *target))).collect();
        replays.into_iter().flat_map(|replay| replay.join().expect("a replay does not panic")).collect()
    });
    // The C library's hook for panics says nothing, so this does.
    failed.iter().for_each(|file| eprintln!("{} does not pass its target", file.display()));
    assert!(failed.is_empty(), "{failed:?}");
}

/// The inputs of a corpus that do not pass.
fn failing(name: &str, target: Target) -> Vec<PathBuf> {
    let inputs = files(&corpora().join(name));
    assert!(!inputs.is_empty(), "the corpus of {name} is empty");
    let fails = |file: &PathBuf| {
        let input = fs::read(file).expect("an input can be read");
        std::panic::catch_unwind(|| target(&input)).is_err()
    };
    inputs.into_iter().filter(fails).collect()
}

// Elsewhere some targets are missing, and their corpora would be those of none.
#[cfg(unix)]
#[test]
fn the_corpora_are_those_of_the_targets_and_small() {
    for folder in files(&corpora()) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        assert!(ALL.iter().any(|(target, _)| *target == name), "{name} is no target");
        let inputs = files(&folder);
        let bytes: u64 = inputs.iter().map(|file| fs::metadata(file).expect("a file").len()).sum();
        assert!(inputs.len() <= 256 && bytes <= 512 << 10, "{name}: {} files, {bytes} bytes", inputs.len());
    }
}

#[test]
fn no_target_minds_an_empty_or_a_short_input() {
    prepare();
    for (_, target) in ALL {
        for input in [&[][..], &[0], &[1], &[255], &[0; 16], &[255; 64]] {
            target(input);
        }
    }
}
