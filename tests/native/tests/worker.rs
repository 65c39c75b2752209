//! The native backends in a worker: token for token and segment for segment what they give in process.

#![cfg(target_os = "linux")]

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tenon::{Answer, AudioSource, CancelToken, Engine, ErrorKind, Event, Isolation, Load, Model, Options, Request};
use tenon::{Message, Role, Session};
use tenon_native_tests::{plugin_folder, root, worker};
use tenon_precheck::hostile::smallest_vad;

const RATE: u32 = 16_000;

/// One model twice: in this process and in a worker.
struct Pair {
    inside: Model,
    outside: Model,
    _home: tempfile::TempDir,
}

/// A shipped model by its own manifest, and the files that are added to it: role and path.
fn pair(manifest: &str, more: &[(&str, &Path)]) -> Pair {
    let home = tempfile::tempdir().unwrap();
    let mut text = std::fs::read_to_string(root().join(format!("manifests/{manifest}.toml"))).unwrap();
    for (role, path) in more {
        let name = path.file_name().unwrap().to_string_lossy();
        std::fs::copy(path, home.path().join(&*name)).unwrap();
        let hashed = tenon_store::hash_file(path).unwrap();
        let size = std::fs::metadata(path).unwrap().len();
        text += &format!(
            "\n[[file]]\nrole = \"{role}\"\nname = \"{name}\"\nsha256 = \"{}\"\nsize = {size}\n",
            hashed.digest
        );
    }
    let engine = Engine::builder()
        .models_dir(home.path())
        .models_dir(root().join("models"))
        .plugin_dir(plugin_folder())
        .state_dir(home.path())
        .worker(worker())
        .build()
        .unwrap();
    let name = engine.add_manifest_text(&text, "the test").unwrap();
    let inside = engine.load(&name, Load::new()).unwrap();
    let outside = engine.load(&name, Load::new().isolation(Isolation::Worker)).unwrap();
    assert_eq!((inside.provenance().isolation, outside.provenance().isolation), ("process", "worker"));
    Pair { inside, outside, _home: home }
}

fn options(value: Value) -> Options {
    Options::from_json(&value.to_string()).unwrap()
}

fn recording(name: &str) -> PathBuf {
    root().join(format!("models/recordings/{name}.wav"))
}

/// Samples of a recording: 16 bits, mono, 16 kHz.
fn samples(name: &str) -> Arc<[f32]> {
    let bytes = std::fs::read(recording(name)).unwrap();
    let data = bytes.windows(4).position(|chunk| chunk == b"data").unwrap() + 8;
    let pairs = bytes[data..].chunks_exact(2);
    pairs.map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32_768.0).collect()
}

/// Everything of an answer but its times and where it was made.
fn essence(answer: &Answer) -> Value {
    let mut value: Value = serde_json::from_str(&answer.to_json()).unwrap();
    let object = value.as_object_mut().unwrap();
    object.remove("timings");
    object.remove("provenance");
    let usage = object["usage"].as_object_mut().unwrap();
    // How long the backend took.
    usage.remove("prompt_us");
    usage.remove("generate_us");
    value
}

/// Runs a request as a stream, whose pieces must be those of its answer.
fn streamed(session: &mut Session, request: &Request) -> Value {
    let (mut text, mut tokens, mut segments, mut end) = (String::new(), Vec::new(), Vec::new(), None);
    for event in session.stream(request.clone()).unwrap() {
        match event.unwrap() {
            Event::Text(piece) => text += &piece,
            Event::Token(token) => tokens.push(token),
            Event::Segment(segment) => segments.push(segment),
            Event::End(answer) => end = Some(*answer),
            _ => {}
        }
    }
    let end = end.unwrap();
    assert_eq!((&tokens, &segments), (&end.tokens, &end.segments));
    assert!(!segments.is_empty() || text == end.text);
    essence(&end)
}

/// The same requests, in the same order, on one fresh session of each, the first one also without a stream; gives the
/// answers.
#[track_caller]
fn are_equal(pair: &Pair, requests: &[Request]) -> Vec<Value> {
    let (mut inside, mut outside) = (pair.inside.session().unwrap(), pair.outside.session().unwrap());
    let both = [&mut inside, &mut outside].map(|session| essence(&session.run(&requests[0]).unwrap()));
    assert_eq!(both[0], both[1], "{:?}", requests[0]);
    let equal = |request: &Request| {
        let (wanted, found) = (streamed(&mut inside, request), streamed(&mut outside, request));
        assert_eq!(found, wanted, "{request:?}");
        found
    };
    requests.iter().map(equal).collect()
}

#[test]
fn speech_has_the_same_segments_words_tokens_times_and_confidences() {
    let pair = pair("commands-en", &[]);
    let asked = |preset: &str| {
        Request::transcribe(AudioSource::path(recording("light")))
            .preset(preset)
            .options(options(json!({"words": true, "tokens": true, "threads": 1})))
    };
    let all = are_equal(&pair, &[asked("fast"), asked("default"), asked("high_quality")]);
    assert!(all.iter().all(|one| one["segments"][0]["words"][0]["text"].is_string()), "{all:?}");
    // Eleven seconds are more than a frame takes: they cross in a memory file.
    let long = Request::transcribe(AudioSource::mono(samples("eleven-seconds"), RATE)).preset("fast");
    assert_eq!(are_equal(&pair, &[long])[0]["usage"]["audio_us"], 11_000_000);
}

#[test]
fn speech_with_a_vad_model_leaves_out_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let vad = folder.path().join("vad.bin");
    std::fs::write(&vad, smallest_vad()).unwrap();
    let pair = pair("commands-en", &[("vad", &vad)]);
    let asked = |threshold: f64| {
        let wish = json!({"vad": true, "vad_threshold": threshold, "threads": 1});
        Request::transcribe(AudioSource::mono(samples("timer"), RATE)).preset("fast").options(options(wish))
    };
    let all = are_equal(&pair, &[asked(0.6), asked(0.4)]);
    assert_eq!(all[0]["notes"][0]["code"], "silence-skipped");
}

#[test]
fn live_audio_in_pieces_gives_the_same() {
    let pair = pair("commands-en", &[]);
    let samples = samples("two-commands");
    let live = |model: &Model| {
        let wish = options(json!({"tokens": true, "threads": 1}));
        let request = Request::transcribe(AudioSource::Live).preset("fast").options(wish);
        let mut session = model.session().unwrap();
        let mut stream = session.stream(request).unwrap();
        for piece in samples.chunks(3_333) {
            stream.push_audio(piece, RATE, 1).unwrap();
        }
        stream.finish_input().unwrap();
        let end = stream.find_map(|event| match event.unwrap() {
            Event::End(answer) => Some(essence(&answer)),
            _ => None,
        });
        end.unwrap()
    };
    let wanted = live(&pair.inside);
    assert!(!wanted["segments"].as_array().unwrap().is_empty());
    assert_eq!(live(&pair.outside), wanted);
}

fn chat(text: &str, wish: Value) -> Request {
    Request::chat(vec![Message { role: Role::User, content: text.to_owned() }]).options(options(wish))
}

#[test]
fn text_has_the_same_tokens_and_probabilities_however_it_is_drawn() {
    let pair = pair("intents-en", &[]);
    let wish = |more: Value| {
        let mut all = json!({"max_tokens": 32, "threads": 1, "tokens": true});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let schema = json!({"type": "object", "properties": {"intent": {"type": "string"}}, "required": ["intent"]});
    let mut requests = vec![
        chat("turn on the light in the kitchen", wish(json!({}))),
        chat("wake me up at half past six", wish(json!({"temperature": 1.1, "seed": 7, "top_k": 0}))),
        chat("wake me up at half past six", wish(json!({"temperature": 1.1, "seed": 8, "top_k": 0}))),
        chat("play some music", wish(json!({"json_schema": schema}))),
        chat("play some music", wish(json!({"grammar": "root ::= \"yes\" | \"no\"", "temperature": 1.0, "seed": 3}))),
        chat("stop", wish(json!({"stop": ["intent"]}))),
    ];
    requests.push(Request::generate("set a timer").options(options(wish(json!({"ignore_eos": true})))));
    let all = are_equal(&pair, &requests);
    assert!(all.iter().all(|one| one["tokens"][0]["logprob"].is_number()), "{all:?}");
}

#[test]
fn embeddings_are_the_same_numbers() {
    let pair = pair("intents-en", &[]);
    let texts = ["a light", "a longer text about a timer", "a light"].map(str::to_owned).to_vec();
    let all = are_equal(&pair, &[Request::embed(texts).options(options(json!({"threads": 1})))]);
    assert_eq!(all[0]["embeddings"].as_array().unwrap().len(), 3);
}

#[test]
fn what_is_refused_is_refused_in_the_same_words() {
    let pair = pair("intents-en", &[]);
    for request in [
        chat(&"very ".repeat(2_000), json!({"threads": 1})),
        chat("x", json!({"grammar": "root ::= other", "threads": 1})),
        chat("x", json!({"json_schema": {"type": "array", "uniqueItems": true}, "threads": 1})),
    ] {
        let refusal = |model: &Model| {
            let error = model.session().unwrap().run(&request).unwrap_err();
            let details: Vec<_> = error.details().map(|(key, value)| format!("{key}: {value}")).collect();
            (error.kind(), error.message().to_owned(), details)
        };
        assert_eq!(refusal(&pair.outside), refusal(&pair.inside));
    }
}

#[test]
fn a_cancelled_request_ends_and_leaves_the_session_as_it_is_in_process() {
    let pair = pair("intents-en", &[]);
    let run = |model: &Model| {
        let mut session = model.session().unwrap();
        let token = CancelToken::new();
        let wish = json!({"ignore_eos": true, "max_tokens": 400, "threads": 1});
        let mut stream = session.stream(chat("go on for ever", wish).cancel(token.clone())).unwrap();
        // In the middle: something has come, and much is left.
        assert!(stream.next().unwrap().is_ok());
        token.cancel();
        assert_eq!(stream.find_map(Result::err).unwrap().kind(), ErrorKind::Cancelled);
        drop(stream);
        let wish = json!({"max_tokens": 32, "threads": 1, "tokens": true});
        essence(&session.run(&chat("turn on the light", wish)).unwrap())
    };
    let mut wanted = run(&pair.inside);
    let mut found = run(&pair.outside);
    // How much of the memory is used again depends on where the cancel found it.
    for one in [&mut wanted, &mut found] {
        one["usage"].as_object_mut().unwrap().remove("cached_tokens");
    }
    assert_eq!(found, wanted);
}

#[test]
fn sessions_of_both_backends_side_by_side_give_what_each_gives_alone() {
    let (speech, text) = (pair("commands-en", &[]), pair("intents-en", &[]));
    let names = ["light", "timer", "music"];
    let hear = |model: &Model, name: &str| {
        let wish = options(json!({"tokens": true, "threads": 1}));
        let request = Request::transcribe(AudioSource::path(recording(name))).preset("fast").options(wish);
        essence(&model.session().unwrap().run(&request).unwrap())["segments"].clone()
    };
    let write = |model: &Model, name: &str| {
        let wish = json!({"max_tokens": 32, "threads": 1, "tokens": true});
        essence(&model.session().unwrap().run(&chat(&format!("{name} please"), wish)).unwrap())["tokens"].clone()
    };
    let alone: Vec<_> = names.iter().map(|name| (hear(&speech.inside, name), write(&text.inside, name))).collect();
    std::thread::scope(|scope| {
        let (speech, text, hear, write) = (&speech.outside, &text.outside, &hear, &write);
        for (name, (heard, written)) in names.iter().zip(&alone) {
            scope.spawn(move || assert_eq!(&hear(speech, name), heard));
            scope.spawn(move || assert_eq!(&write(text, name), written));
        }
    });
}
