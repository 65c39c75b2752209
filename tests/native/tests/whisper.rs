//! The whisper backend through the host, on the speech model that ships.
//!
//! The test against whisper-cli wants its path in `TENON_WHISPER_CLI`, built from whisper.cpp 1.8.3.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tenon::{Answer, AudioSource, CancelToken, Engine, Error, ErrorKind, Event, Load, Model, Request};
use tenon_native_tests::{plugin_folder, root, skip};
use tenon_precheck::hostile::{smallest_vad, smallest_whisper};
use tenon_tasks::{Options, Segment};

const RATE: usize = 16_000;

fn shipped() -> PathBuf {
    root().join("models/commands-en-q5_0.bin")
}

/// A model, and the folder of its files, which it needs as long as it lives.
struct Bench {
    model: Model,
    _home: tempfile::TempDir,
}

fn options(value: Value) -> Options {
    Options::from_json(&value.to_string()).unwrap()
}

/// Opens files by role and bytes as a model.
fn open(files: &[(&str, &Path)], load: Value) -> Result<Bench, Error> {
    let home = tempfile::tempdir().unwrap();
    let mut manifest =
        "name = \"case\"\ntask = \"transcribe\"\nbackend = \"whisper\"\nlicense = \"unknown\"\n".to_owned();
    for (role, path) in files {
        let name = path.file_name().unwrap().to_string_lossy();
        std::fs::copy(path, home.path().join(&*name)).unwrap();
        let digest = tenon_store::hash_file(path).unwrap().digest;
        let size = std::fs::metadata(path).unwrap().len();
        manifest +=
            &format!("\n[[file]]\nrole = \"{role}\"\nname = \"{name}\"\nsha256 = \"{digest}\"\nsize = {size}\n");
    }
    let manifests = home.path().join("manifests");
    std::fs::create_dir(&manifests).unwrap();
    std::fs::write(manifests.join("case.toml"), manifest).unwrap();
    let engine = Engine::builder()
        .manifest_dir(manifests)
        .models_dir(home.path())
        .plugin_dir(plugin_folder())
        .state_dir(home.path())
        .build()?;
    let model = engine.load("case", Load::new().options(options(load)))?;
    Ok(Bench { model, _home: home })
}

fn bench() -> Bench {
    open(&[("model", &shipped())], json!({"threads": 1})).unwrap()
}

/// The shipped model with a VAD model that hears speech everywhere with a probability of one half.
fn bench_with_vad() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let vad = folder.path().join("vad.bin");
    std::fs::write(&vad, smallest_vad()).unwrap();
    open(&[("model", &shipped()), ("vad", &vad)], json!({"threads": 1})).unwrap()
}

/// Samples of a recording: 16 bits, mono, 16 kHz.
fn read(recording: &Path) -> Vec<f32> {
    let bytes = std::fs::read(recording).unwrap();
    let header = bytes.windows(4).position(|name| name == b"data").unwrap() + 8;
    bytes[header..].chunks_exact(2).map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32_768.0).collect()
}

/// Recordings one after another, beginning with number `first`, cut to a length.
fn speech(seconds: f32, first: usize) -> Vec<f32> {
    let recordings = recordings();
    assert!(!recordings.is_empty(), "there are no recordings in models/recordings");
    let count = (seconds * RATE as f32) as usize;
    let mut samples = Vec::new();
    for recording in recordings.iter().cycle().skip(first % recordings.len()) {
        if samples.len() >= count {
            break;
        }
        samples.extend(read(recording));
        samples.resize(samples.len() + RATE / 2, 0.0);
    }
    samples.truncate(count);
    samples
}

fn fast() -> Value {
    json!({"beam_size": 1, "audio_ctx": 512, "threads": 1})
}

fn with(base: Value, more: Value) -> Value {
    let mut all = base;
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

fn request(samples: Vec<f32>, asked: Value) -> Request {
    Request::transcribe(AudioSource::mono(samples, RATE as u32)).options(options(asked))
}

fn refusal(asked: Value) -> Error {
    let mut session = bench().model.session().unwrap();
    session.run(&request(speech(1.0, 1), asked)).expect_err("it was not refused")
}

/// What must be equal: texts, times and token ids.
fn essence(answer: &Answer) -> Vec<(i64, i64, String, Vec<i32>)> {
    let ids = |segment: &Segment| segment.tokens.iter().map(|token| token.id).collect();
    answer.segments.iter().map(|one| (one.start_us, one.end_us, one.text.clone(), ids(one))).collect()
}

#[test]
fn a_used_session_answers_as_a_fresh_one() {
    let bench = bench();
    let mut used = bench.model.session().unwrap();
    let searches = json!({"tokens": true, "threads": 1});
    used.run(&request(speech(9.0, 1), fast())).unwrap();
    used.run(&request(speech(4.0, 2), searches.clone())).unwrap();
    for asked in
        [searches, with(fast(), json!({"tokens": true})), json!({"beam_size": 1, "tokens": true, "threads": 1})]
    {
        let mut fresh = bench.model.session().unwrap();
        let wanted = fresh.run(&request(speech(6.0, 3), asked.clone())).unwrap();
        assert!(!wanted.segments.is_empty());
        for _ in 0..2 {
            let answer = used.run(&request(speech(6.0, 3), asked.clone())).unwrap();
            assert_eq!(essence(&answer), essence(&wanted), "{asked}");
        }
    }
}

#[test]
fn sessions_side_by_side_do_not_disturb_each_other() {
    let bench = bench();
    let alone: Vec<_> = (0..3_usize)
        .map(|seed| essence(&bench.model.session().unwrap().run(&request(speech(5.0, seed), fast())).unwrap()))
        .collect();
    std::thread::scope(|scope| {
        for (seed, wanted) in alone.iter().enumerate() {
            let model = &bench.model;
            scope.spawn(move || {
                let mut session = model.session().unwrap();
                for _ in 0..3 {
                    let answer = session.run(&request(speech(5.0, seed), fast())).unwrap();
                    assert_eq!(&essence(&answer), wanted);
                }
            });
        }
    });
}

#[test]
fn live_audio_gives_what_the_same_audio_gives_at_once() {
    let bench = bench();
    let samples = speech(6.0, 4);
    let mut session = bench.model.session().unwrap();
    let wanted = session.run(&request(samples.clone(), fast())).unwrap();
    assert!(!wanted.segments.is_empty());
    let live = Request::transcribe(AudioSource::Live).options(options(fast()));
    let mut stream = session.stream(live).unwrap();
    for piece in samples.chunks(1_000) {
        stream.push_audio(piece, RATE as u32, 1).unwrap();
    }
    stream.finish_input().unwrap();
    let end = stream.by_ref().find_map(|event| match event.unwrap() {
        Event::End(answer) => Some(answer),
        _ => None,
    });
    assert_eq!(essence(&end.unwrap()), essence(&wanted));
}

#[test]
fn long_audio_is_cut_into_windows_and_none_of_it_is_lost() {
    let bench = bench();
    let answer = bench.model.session().unwrap().run(&request(speech(31.0, 5), fast())).unwrap();
    assert_eq!(answer.usage.audio_us, 31_000_000);
    let mut last = 0;
    for segment in &answer.segments {
        assert!(segment.start_us >= last && segment.end_us >= segment.start_us, "{:?}", answer.segments);
        last = segment.start_us;
    }
    assert!(last > 10_000_000, "nothing comes from later windows: {:?}", answer.segments);
    assert!(answer.segments.iter().all(|segment| segment.end_us <= 31_000_000));
}

#[test]
fn audio_of_a_few_samples_is_heard_and_no_time_is_past_its_end() {
    let bench = bench();
    let mut session = bench.model.session().unwrap();
    for count in [1, 10, 160, 201, 1_600, 1_700, 8_000, 15_999] {
        let answer = session.run(&request(speech(1.0, 6)[..count].to_vec(), fast())).unwrap();
        let end = (count * 1_000_000 / RATE) as i64;
        assert!(answer.segments.iter().all(|segment| segment.end_us <= end), "{count}: {:?}", answer.segments);
        assert_eq!(answer.usage.audio_us, end);
    }
    let error = session.run(&request(Vec::new(), fast())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Audio, "{error}");
}

/// A grammar of rules that are each two of the next one, the last of which can be empty.
fn doubling(levels: usize) -> String {
    let rules: Vec<String> = (0..levels).map(|level| format!("x{level} ::= x{0} x{0}\n", level + 1)).collect();
    format!("root ::= x0\n{}x{levels} ::= \"a\" |\n", rules.concat())
}

/// A grammar in which every letter opens one of two brackets, so that the ways to go on double with it.
fn brackets() -> String {
    "root ::= [a-z ] root \"1\" | [a-z ] root \"2\" | [a-z ]".to_owned()
}

#[test]
fn an_ambiguous_grammar_gives_what_a_plain_one_gives() {
    let bench = bench();
    let mut session = bench.model.session().unwrap();
    let samples = speech(3.0, 12);
    let mut answer = |grammar: &str| {
        let asked = json!({"grammar": grammar, "beam_size": 1, "audio_ctx": 512, "tokens": true, "threads": 1});
        session.run(&request(samples.clone(), asked)).unwrap()
    };
    let plain = answer("root ::= [a-z ]+");
    assert!(!plain.segments.is_empty());
    for grammar in ["root ::= (\" \"? [a-z]+ \" \"?)+", "root ::= (word | name)*\nword ::= [a-z ]\nname ::= [a-z ]+"] {
        assert_eq!(essence(&answer(grammar)), essence(&plain), "{grammar}");
    }
}

#[test]
fn text_outside_of_a_grammar_gets_the_penalty_and_text_inside_of_it_is_left_alone() {
    let bench = bench();
    let asked = |more: Value| with(json!({"beam_size": 2, "audio_ctx": 512, "tokens": true, "threads": 1}), more);
    let answer = |more: Value| bench.model.session().unwrap().run(&request(speech(3.0, 12), asked(more))).unwrap();
    let free = answer(json!({}));
    assert!(!free.segments.is_empty());
    assert_eq!(essence(&answer(json!({"grammar": "root ::= [^0-9]*"}))), essence(&free));
    assert_eq!(essence(&answer(json!({"grammar": "root ::= \"x\"", "grammar_penalty": 0}))), essence(&free));
    let bound = answer(json!({"grammar": "root ::= (\" \" [f-z]+)*"}));
    let text: String = bound.segments.iter().map(|segment| segment.text.as_str()).collect();
    assert!(!text.contains(['a', 'b', 'c', 'd', 'e']), "{text}");
}

#[test]
fn nothing_is_heard_past_a_duration_that_ends_just_behind_a_cut() {
    let bench = bench();
    let recording = read(&root().join("models/recordings/eleven-seconds.wav"));
    let mut session = bench.model.session().unwrap();
    for duration in 3_100..3_112 {
        let asked = with(fast(), json!({"window_s": 4, "duration": duration}));
        let answer = session.run(&request(recording.clone(), asked)).unwrap();
        let end = i64::from(duration) * 1000;
        assert!(answer.segments.iter().all(|one| one.end_us <= end), "{duration}: {:?}", answer.segments);
    }
}

#[test]
fn what_cannot_be_done_is_refused_with_a_sentence() {
    for (asked, kind, part) in [
        (json!({"audio_ctx": 640}), ErrorKind::Options, "audio_ctx 640 is neither 0, the model's 1500, nor a multiple"),
        (json!({"threads": 0}), ErrorKind::Options, "threads"),
        (json!({"beam_size": 9}), ErrorKind::Options, "beam_size"),
        (json!({"temperature_inc": 1e-9}), ErrorKind::Options, "too small"),
        (json!({"offset_t": 5000}), ErrorKind::Options, "past the end of the audio, which is 1000 ms long"),
        (json!({"prompt": "turn on ".repeat(200)}), ErrorKind::ContextOverflow, "the prompt has 400 tokens"),
        (json!({"language": "de"}), ErrorKind::Unsupported, "English"),
        (json!({"language": "klingon"}), ErrorKind::Options, "there is no language \"klingon\""),
        (json!({"vad": true}), ErrorKind::Options, "role \"vad\""),
        (json!({"grammar": "root ::= other"}), ErrorKind::Options, "does not define it"),
        (json!({"grammar": "root ::= root \"a\""}), ErrorKind::Options, "begin with itself"),
        (json!({"grammar": doubling(26)}), ErrorKind::Options, "can go on in too many ways"),
        (json!({"grammar": brackets()}), ErrorKind::Options, "starts with \"root\" is too ambiguous"),
        (json!({"suppress_regex": "("}), ErrorKind::Options, "no regular expression"),
    ] {
        let error = refusal(asked.clone());
        assert_eq!(error.kind(), kind, "{asked}: {error}");
        assert!(error.to_string().contains(part), "{asked}: {error}");
    }
}

#[test]
fn a_model_that_knows_english_alone_translates_and_detects_nothing() {
    let bench = bench();
    let mut session = bench.model.session().unwrap();
    let audio = || AudioSource::mono(speech(1.0, 7), RATE as u32);
    for request in [Request::translate(audio()), Request::detect_language(audio())] {
        assert_eq!(session.run(&request).unwrap_err().kind(), ErrorKind::Unsupported);
    }
    let answer = session.run(&request(speech(1.0, 7), fast())).unwrap();
    assert_eq!(answer.language.unwrap().code, "en");
}

#[test]
fn another_device_than_the_cpu_is_refused_and_not_replaced() {
    let error = open(&[("model", &shipped())], json!({"device": "cuda0"})).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("there is no device \"cuda0\""), "{error}");
}

#[test]
fn files_that_the_engine_would_stumble_over_are_refused_before_it_sees_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bin");
    let whole = std::fs::read(shipped()).unwrap();
    let dimensions = {
        let mut bytes = whole.clone();
        bytes[12..16].copy_from_slice(&0_u32.to_le_bytes());
        bytes
    };
    for bytes in [&whole[..4], &whole[..whole.len() - 1], &dimensions] {
        std::fs::write(&path, bytes).unwrap();
        let error = open(&[("model", &path)], json!({})).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Model, "{error}");
    }
    std::fs::write(&path, smallest_whisper()).unwrap();
    let error = open(&[("model", &shipped()), ("vad", &path)], json!({})).err().unwrap();
    assert!(error.to_string().contains("no Silero model"), "{error}");
}

#[test]
fn words_and_tokens_come_with_times_and_probabilities() {
    let asked = with(fast(), json!({"words": true, "tokens": true}));
    let answer = bench().model.session().unwrap().run(&request(speech(6.0, 8), asked)).unwrap();
    assert!(!answer.segments.is_empty());
    for segment in &answer.segments {
        let confidence = segment.confidence.unwrap();
        assert!((0.0..=1.0).contains(&confidence) && segment.no_speech.is_some());
        assert!(segment.tokens.iter().all(|token| token.logprob.is_some_and(|logprob| logprob <= 0.0)));
        let words: Vec<&str> = segment.words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(words, segment.text.split_whitespace().collect::<Vec<_>>());
        let mut last = segment.start_us;
        for word in &segment.words {
            assert!(word.start_us >= last && word.end_us >= word.start_us && word.end_us <= segment.end_us);
            last = word.end_us;
        }
    }
}

#[test]
fn vad_leaves_out_what_it_does_not_take_for_speech_and_says_so() {
    let bench = bench_with_vad();
    let mut session = bench.model.session().unwrap();
    let asked = |threshold: f64| with(fast(), json!({"vad": true, "vad_threshold": threshold}));
    let silent = session.run(&request(speech(5.0, 9), asked(0.6))).unwrap();
    assert!(silent.segments.is_empty());
    assert_eq!(silent.notes[0].code, "silence-skipped");
    assert_eq!(silent.notes[0].message, "5.0 s of silence were left out");
    let heard = session.run(&request(speech(5.0, 9), asked(0.4))).unwrap();
    assert!(heard.notes.iter().all(|note| !note.message.starts_with('5')), "{:?}", heard.notes);
}

#[test]
fn a_cancelled_request_returns_within_a_tenth_of_a_second_and_the_session_goes_on() {
    let bench = bench();
    let mut session = bench.model.session().unwrap();
    let samples = speech(40.0, 10);
    let asked = json!({"threads": 1, "words": true});
    let mut latencies = Vec::new();
    // More for a measurement on a quiet machine: TENON_CANCEL_MOMENTS=200.
    let moments = std::env::var("TENON_CANCEL_MOMENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_u64);
    for moment in 0..moments {
        let token = CancelToken::new();
        let trigger = token.clone();
        let timer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(moment * 37 % 740));
            let asked = Instant::now();
            trigger.cancel();
            asked
        });
        let outcome = session.run(&request(samples.clone(), asked.clone()).cancel(token));
        let returned = Instant::now();
        let asked = timer.join().unwrap();
        if let Err(error) = outcome {
            assert_eq!(error.kind(), ErrorKind::Cancelled);
            latencies.push(returned.saturating_duration_since(asked));
        }
    }
    latencies.sort();
    println!("{} cancels, the slowest {:?}", latencies.len(), latencies.last());
    assert!(latencies.len() >= 5, "too few requests were cancelled");
    // On a busy machine one of them may wait for a core; the typical one must not.
    assert!(latencies[latencies.len() / 2] < Duration::from_millis(100), "{latencies:?}");
    session.run(&request(speech(2.0, 11), fast())).unwrap();
}

/// Text, times and tokens of whisper-cli for a recording.
fn whisper_cli(program: &Path, recording: &Path, more: &[&str]) -> Vec<(i64, i64, String, Vec<i32>)> {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let status = Command::new(program)
        .args(["-t", "1", "-np", "-ojf", "-m"])
        .arg(shipped())
        .arg("-of")
        .arg(&output)
        .arg("-f")
        .arg(recording)
        .args(more)
        .status()
        .unwrap();
    assert!(status.success());
    let bytes = std::fs::read(output.with_extension("json")).unwrap();
    let json: Value = serde_json::from_str(&String::from_utf8_lossy(&bytes)).unwrap();
    let segment = |one: &Value| {
        let ids = one["tokens"].as_array().unwrap().iter().map(|token| token["id"].as_i64().unwrap() as i32).collect();
        let time = |name: &str| one["offsets"][name].as_i64().unwrap() * 1000;
        (time("from"), time("to"), one["text"].as_str().unwrap().to_owned(), ids)
    };
    json["transcription"].as_array().unwrap().iter().map(segment).collect()
}

fn recordings() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(root().join("models/recordings"));
    let paths = folder.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "wav")).collect();
    paths.sort();
    paths
}

#[test]
fn text_times_and_tokens_are_those_of_whisper_cli() {
    let name = "text_times_and_tokens_are_those_of_whisper_cli";
    let Some(program) = std::env::var_os("TENON_WHISPER_CLI").map(PathBuf::from) else {
        return skip(name, "TENON_WHISPER_CLI does not name a whisper-cli of whisper.cpp 1.8.3");
    };
    let bench = bench();
    let recordings = recordings();
    assert!(!recordings.is_empty(), "there are no recordings in models/recordings");
    for recording in recordings {
        for beam in ["1", "5"] {
            let asked = json!({"beam_size": beam.parse::<u32>().unwrap(), "tokens": true, "threads": 1});
            let asked = Request::transcribe(AudioSource::path(&recording)).options(options(asked));
            let answer = bench.model.session().unwrap().run(&asked).unwrap();
            let end = answer.usage.audio_us;
            let wanted = whisper_cli(&program, &recording, &["-bs", beam]);
            // whisper-cli lets a segment end after the audio does.
            let wanted: Vec<_> = wanted.into_iter().map(|one| (one.0.min(end), one.1.min(end), one.2, one.3)).collect();
            assert_eq!(essence(&answer), wanted, "{} with beam {beam}", recording.display());
        }
    }
}
