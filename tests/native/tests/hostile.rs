//! The hostile corpus against both loaders, in process and in workers: no file may kill or hang the process that asked,
//! and what becomes of a file is the same in both.
//!
//! Files are loaded one after another by a child of the test, whose death or silence is that of the file it was given.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tenon_native_tests::root;
use tenon_precheck::hostile::{self, Sample};

/// Fixed, so that a failure can be repeated.
const SEED: u64 = 20_261_122;
/// A load of the shipped models takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// A child that loads files, and the lines that it says.
struct Loader {
    child: Child,
    files: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Loader {
    fn start(backend: &str, isolation: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_load-many"))
            .args([backend, isolation])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (say, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        // Ends with the child, and with whoever listens.
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| say.send(line)));
        Self { files: child.stdin.take(), child, lines }
    }

    /// What became of a file: `loaded`, `refused …`, or `died …` or `hung`, after which this is of no more use.
    fn load(&mut self, file: &Path) -> String {
        // A child that has died before it was asked is noticed below.
        let _ = writeln!(self.files.as_ref().unwrap(), "{}", file.display());
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(_) => match self.child.try_wait().unwrap() {
                Some(status) => format!("died ({status})"),
                None => "hung".to_owned(),
            },
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        drop(self.files.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What became of each file, by its name.
fn load_all(
    backend: &str,
    isolation: &str,
    model: &str,
    corpus: impl Iterator<Item = Sample>,
) -> Vec<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join(model);
    let mut loader = Loader::start(backend, isolation);
    let mut outcomes = Vec::new();
    for Sample { name, bytes } in corpus {
        std::fs::write(&file, bytes).unwrap();
        let outcome = loader.load(&file);
        if !outcome.starts_with("loaded") && !outcome.starts_with("refused") {
            loader = Loader::start(backend, isolation);
        }
        outcomes.push((name, outcome));
    }
    outcomes
}

/// Loads every file of a corpus in process and in workers, side by side.
fn judge(backend: &str, model: &str, corpus: fn(&[u8]) -> Box<dyn Iterator<Item = Sample> + '_>) {
    let base = std::fs::read(root().join("models").join(model)).unwrap();
    let sound = Sample { name: "sound".to_owned(), bytes: base.clone() };
    let files = || std::iter::once(sound.clone()).chain(corpus(&base));
    let (inside, outside) = std::thread::scope(|scope| {
        let inside = scope.spawn(|| load_all(backend, "process", model, files()));
        // There are no workers on Windows.
        let outside = cfg!(unix).then(|| load_all(backend, "worker", model, files()));
        (inside.join().unwrap(), outside)
    });
    assert_eq!(inside[0].1, "loaded", "the file that the corpus is made from");
    all_ended(backend, "in process", &inside);
    if let Some(outside) = outside {
        all_ended(backend, "in workers", &outside);
        let differ: Vec<_> = inside.iter().zip(&outside).filter(|(one, other)| one != other).collect();
        assert!(differ.is_empty(), "{backend}: {differ:?}");
    }
}

/// Every file was refused or loaded.
fn all_ended(backend: &str, place: &str, outcomes: &[(String, String)]) {
    let count = |what: &str| outcomes.iter().filter(|(_, outcome)| outcome.starts_with(what)).count();
    let (refused, died, loaded) = (count("refused"), count("refused worker-died"), count("loaded"));
    println!("{backend} {place}: {refused} refused, {died} of them by the death of the worker, {loaded} loaded");
    assert!(refused + loaded >= 200, "{} files", refused + loaded);
    let lost: Vec<_> = outcomes.iter().filter(|(_, end)| end.starts_with("died") || end == "hung").collect();
    assert!(lost.is_empty(), "{backend} {place}: {lost:?}");
}

#[test]
fn no_hostile_ggml_file_kills_or_hangs_the_whisper_loader() {
    judge("whisper", "commands-en-q5_0.bin", |base| Box::new(hostile::ggml_corpus(base, SEED)));
}

#[test]
fn no_hostile_gguf_file_kills_or_hangs_the_llama_loader() {
    judge("llama", "intents-en-q8_0.gguf", |base| Box::new(hostile::gguf_corpus(base, SEED)));
}
