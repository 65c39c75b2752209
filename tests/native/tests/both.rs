//! Both native plugins in one process: each has its own copy of ggml, and neither may notice the other.
//!
//! Each load order runs in a process of its own, because a plugin stays loaded.

use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use tenon::{Answer, AudioSource, Engine, Load, Model, Request};
use tenon_native_tests::{home, plugin_folder, root};
use tenon_tasks::{Message, Options, Role};

/// Set in the child: which plugins to load, in order, and whether to run them at once.
const ORDER: &str = "TENON_TEST_ORDER";
const WISHES: [&str; 4] = ["turn on the light", "set a timer for five minutes", "stop", "play some music"];

fn options(value: &Value) -> Options {
    Options::from_json(&value.to_string()).unwrap()
}

fn load(backend: &str) -> (Model, tempfile::TempDir) {
    let file =
        root().join("models").join(if backend == "whisper" { "commands-en-q5_0.bin" } else { "intents-en-q8_0.gguf" });
    let home = home(backend, &file).unwrap();
    let engine = Engine::builder()
        .manifest_dir(home.path())
        .models_dir(root().join("models"))
        .plugin_dir(plugin_folder())
        .state_dir(home.path())
        .threads(2)
        .build()
        .unwrap();
    (engine.load("case", Load::new()).unwrap(), home)
}

/// A recording that ships, or, without any, a tone.
fn sound() -> AudioSource {
    let folder: PathBuf = root().join("models/samples");
    let mut recordings: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    recordings.retain(|path| path.extension().is_some_and(|extension| extension == "wav"));
    recordings.sort();
    match recordings.first() {
        Some(path) => AudioSource::path(path),
        None => AudioSource::mono((0..32_000).map(|n| (n as f32 * 0.2).sin() * 0.3).collect::<Vec<f32>>(), 16_000),
    }
}

/// What a backend makes of its test input: token ids and text.
fn answers(backend: &str, model: &Model) -> Value {
    let mut session = model.session().unwrap();
    let show = |answer: Answer| {
        let tokens = answer.tokens.iter().chain(answer.segments.iter().flat_map(|segment| &segment.tokens));
        json!([answer.text, tokens.map(|token| token.id).collect::<Vec<_>>()])
    };
    if backend == "whisper" {
        let wish = options(&json!({"tokens": true, "threads": 1, "temperature": 0.0}));
        return (0..2)
            .map(|_| show(session.run(&Request::transcribe(sound()).options(wish.clone())).unwrap()))
            .collect();
    }
    let wish = options(&json!({"tokens": true, "threads": 1, "temperature": 0.0, "max_tokens": 48}));
    let chat = |text: &str| vec![Message { role: Role::User, content: text.to_owned() }];
    WISHES.iter().map(|text| show(session.run(&Request::chat(chat(text)).options(wish.clone())).unwrap())).collect()
}

/// The child's part: loads the plugins in their order, runs them all at once, and prints what came.
#[test]
fn what_they_made_stays_when_a_program_ends_while_they_compute() {
    if !cfg!(target_os = "linux") {
        return;
    }
    for name in ["libtenon_whisper.so", "libtenon_llama.so"] {
        let library = std::fs::read(plugin_folder().join(name)).unwrap();
        let names = |symbol: &[u8]| library.windows(symbol.len()).any(|bytes| bytes == symbol);
        // With it the C library would destroy tables that a request still reads.
        assert!(names(b"__cxa_finalize") && !names(b"__cxa_atexit"), "{name} registers exit handlers");
    }
}

#[test]
fn child() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let loaded: Vec<_> = order.split(',').map(|backend| (backend.to_owned(), load(backend))).collect();
    let threads: Vec<_> = loaded
        .into_iter()
        .map(|(backend, (model, home))| {
            std::thread::spawn(move || {
                let rounds: Vec<Value> = (0..3).map(|_| answers(&backend, &model)).collect();
                drop(home);
                assert!(rounds.iter().all(|round| *round == rounds[0]), "{backend} changed its mind");
                (backend, rounds[0].clone())
            })
        })
        .collect();
    let all: serde_json::Map<String, Value> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    println!("\nANSWERS {}", Value::Object(all));
}

fn in_child(order: &str) -> Value {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(ORDER, order)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("ANSWERS "));
    let line = line
        .unwrap_or_else(|| panic!("{order}: {}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
    serde_json::from_str(line).unwrap()
}

#[test]
fn both_plugins_in_one_process_answer_as_they_do_alone() {
    let (whisper, llama) = (in_child("whisper"), in_child("llama"));
    for order in ["whisper,llama", "llama,whisper"] {
        let both = in_child(order);
        assert_eq!(both["whisper"], whisper["whisper"], "{order}");
        assert_eq!(both["llama"], llama["llama"], "{order}");
    }
    assert!(llama["llama"].as_array().is_some_and(|answers| answers.len() == WISHES.len()), "{llama}");
}
