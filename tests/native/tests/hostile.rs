//! The hostile corpus against both loaders, each file in a process of its own: none may kill or hang it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tenon_native_tests::root;
use tenon_precheck::hostile::{self, Sample};

/// Fixed, so that a failure can be repeated.
const SEED: u64 = 20_261_122;
/// A load of the shipped models takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of the files of a corpus.
#[derive(Debug, Default, PartialEq)]
struct Outcomes {
    refused: usize,
    loaded: usize,
    died: Vec<String>,
    hung: Vec<String>,
}

impl Outcomes {
    fn judge(&mut self, name: &str, backend: &str, file: &Path) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_load-one"))
            .arg(backend)
            .arg(file)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let end = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > end {
                child.kill().unwrap();
                child.wait().unwrap();
                self.hung.push(name.to_owned());
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let output = child.wait_with_output().unwrap();
        match (output.status.success(), output.stdout.starts_with(b"loaded")) {
            (false, _) => self.died.push(format!("{name} ({})", output.status)),
            (true, true) => self.loaded += 1,
            (true, false) => self.refused += 1,
        }
    }
}

/// Runs a corpus made from a shipped model.
fn run(backend: &str, model: &str, corpus: impl IntoIterator<Item = Sample>) -> Outcomes {
    let folder = tempfile::tempdir().unwrap();
    let mut outcomes = Outcomes::default();
    for Sample { name, bytes } in corpus {
        let file = folder.path().join(model);
        std::fs::write(&file, bytes).unwrap();
        outcomes.judge(&name, backend, &file);
    }
    println!(
        "{backend}: {} refused, {} loaded, died {:?}, hung {:?}",
        outcomes.refused, outcomes.loaded, outcomes.died, outcomes.hung
    );
    outcomes
}

#[test]
fn no_hostile_ggml_file_kills_or_hangs_the_whisper_loader() {
    let model = "commands-en-q5_0.bin";
    let base = std::fs::read(root().join("models").join(model)).unwrap();
    let outcomes = run("whisper", model, hostile::ggml_corpus(&base, SEED));
    assert!(outcomes.refused + outcomes.loaded >= 200, "{outcomes:?}");
    assert!(outcomes.died.is_empty() && outcomes.hung.is_empty(), "{outcomes:?}");
}

#[test]
fn no_hostile_gguf_file_kills_or_hangs_the_llama_loader() {
    let model = "intents-en-q8_0.gguf";
    let base = std::fs::read(root().join("models").join(model)).unwrap();
    let outcomes = run("llama", model, hostile::gguf_corpus(&base, SEED));
    assert!(outcomes.refused + outcomes.loaded >= 200, "{outcomes:?}");
    assert!(outcomes.died.is_empty() && outcomes.hung.is_empty(), "{outcomes:?}");
}
