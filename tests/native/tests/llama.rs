//! The llama backend through the host, on a tiny model that is made here, so that nothing has to be downloaded.
//!
//! Its answers mean nothing, but they are the same every time, and everything around them is real: llama.cpp's loader,
//! tokeniser, memory, samplers and grammars.

use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use tenon::{Answer, CancelToken, Engine, Error, ErrorKind, Event, Load, Model, Request, Session};
use tenon_precheck::hostile::GgufFile;
use tenon_tasks::{FinishReason, Message, Options, Role};

/// A model file of this process, its home folder, and the engine over both.
struct Bench {
    model: Model,
    _home: tempfile::TempDir,
    _files: tempfile::TempDir,
}

fn options(value: Value) -> Options {
    Options::from_json(&value.to_string()).unwrap()
}

fn open(file: &GgufFile, load: Value) -> Result<Bench, Error> {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("tiny.gguf");
    std::fs::write(&path, file.bytes()).unwrap();
    open_file(&path, files, load)
}

fn open_file(path: &Path, files: tempfile::TempDir, load: Value) -> Result<Bench, Error> {
    let home = tenon_native_tests::home("llama", path).unwrap();
    let engine = Engine::builder()
        .manifest_dir(home.path())
        .models_dir(path.parent().unwrap())
        .plugin_dir(tenon_native_tests::plugin_folder())
        .state_dir(home.path())
        .build()?;
    let model = engine.load("case", Load::new().options(options(load)))?;
    Ok(Bench { model, _home: home, _files: files })
}

fn tiny() -> Bench {
    open(&GgufFile::tiny(), json!({"threads": 1, "ubatch_size": 16})).unwrap()
}

fn message(role: Role, content: &str) -> Message {
    Message { role, content: content.to_owned() }
}

fn greedy(prompt: &str, more: Value) -> Request {
    let mut all = json!({"temperature": 0.0, "max_tokens": 24, "threads": 1, "tokens": true, "seed": 1});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Request::generate(prompt).options(options(all))
}

fn run(session: &mut Session, request: Request) -> Answer {
    session.run(&request).unwrap()
}

fn refusal(session: &mut Session, request: Request) -> Error {
    session.run(&request).expect_err("it was not refused")
}

fn ids(answer: &Answer) -> Vec<i32> {
    answer.tokens.iter().map(|token| token.id).collect()
}

#[test]
fn generates_the_same_tokens_every_time_and_counts_them() {
    let bench = tiny();
    let mut session = bench.model.session().unwrap();
    let first = run(&mut session, greedy("hello", json!({"ignore_eos": true})));
    assert_eq!(first.usage.generated_tokens, 24);
    // One for the beginning of the text, one for each letter: the vocabulary has no longer tokens.
    assert!(first.usage.prompt_tokens >= 6, "{:?}", first.usage);
    assert_eq!(first.tokens.len(), 24);
    assert!(first.tokens.iter().all(|token| token.logprob.is_some_and(|logprob| logprob <= 0.0)));
    let mut other = bench.model.session().unwrap();
    for _ in 0..3 {
        assert_eq!(ids(&run(&mut other, greedy("hello", json!({"ignore_eos": true})))), ids(&first));
    }
    assert_eq!(first.finish.as_ref().unwrap().reason, FinishReason::Length);
}

#[test]
fn a_seed_repeats_an_answer_and_another_one_changes_it() {
    let bench = tiny();
    let mut session = bench.model.session().unwrap();
    let mut with =
        |seed: u32| ids(&run(&mut session, greedy("abc", json!({"temperature": 1.5, "seed": seed, "top_k": 0}))));
    let first = with(7);
    assert_eq!(with(7), first);
    assert!((8..12).any(|seed| with(seed) != first));
}

#[test]
fn memory_that_is_used_again_changes_no_token_and_no_probability() {
    let bench = tiny();
    let prompt: String = "the quick brown fox ".repeat(4);
    let longer = format!("{prompt} jumps");
    let mut used = bench.model.session().unwrap();
    run(&mut used, greedy(&prompt, json!({})));
    let again = run(&mut used, greedy(&longer, json!({})));
    assert!(again.usage.cached_tokens >= 16, "{:?}", again.usage);
    assert_eq!(again.usage.cached_tokens % 16, 0, "whole steps only");
    let mut fresh = bench.model.session().unwrap();
    let fresh = run(&mut fresh, greedy(&longer, json!({})));
    assert_eq!(fresh.usage.cached_tokens, 0);
    assert_eq!(fresh.tokens, again.tokens);
}

#[test]
fn a_prompt_longer_than_the_context_is_refused_with_both_numbers() {
    let bench = tiny();
    let mut session = bench.model.session().unwrap();
    let error = refusal(&mut session, greedy(&"x".repeat(400), json!({})));
    assert_eq!(error.kind(), ErrorKind::ContextOverflow);
    let needed: usize = error.detail("prompt_tokens").unwrap().parse().unwrap();
    assert!(needed > 400 && error.detail("context_size") == Some("256"), "{error}");
    assert!(error.message().contains(&needed.to_string()) && error.message().contains("256"), "{error}");
    // The session is as good as before.
    run(&mut session, greedy("x", json!({})));
}

#[test]
fn an_answer_that_fills_the_context_ends_there_and_says_so() {
    let bench = tiny();
    let mut session = bench.model.session().unwrap();
    let request = greedy(&"x".repeat(200), json!({"max_tokens": null, "ignore_eos": true}));
    let answer = run(&mut session, request);
    assert_eq!(answer.finish.as_ref().unwrap().reason, FinishReason::Length);
    assert!(answer.notes.iter().any(|note| note.code == "context-full"), "{:?}", answer.notes);
    assert!(answer.usage.prompt_tokens + answer.usage.generated_tokens <= 257, "{:?}", answer.usage);
}

#[test]
fn a_stop_text_ends_the_answer_and_is_not_part_of_it() {
    let bench = tiny();
    let mut session = bench.model.session().unwrap();
    let whole = run(&mut session, greedy("stop here", json!({"grammar": "root ::= [a-c]{20}"}))).text;
    assert_eq!(whole.len(), 20, "{whole:?}");
    let stop = &whole[8..11];
    let at = whole.find(stop).unwrap();
    let request = greedy("stop here", json!({"grammar": "root ::= [a-c]{20}", "stop": [stop]}));
    let mut text = String::new();
    let mut end = None;
    for event in session.stream(request).unwrap() {
        match event.unwrap() {
            Event::Text(piece) => {
                text += &piece;
                assert!(!text.contains(stop));
            }
            Event::End(answer) => end = Some(answer),
            _ => {}
        }
    }
    let end = end.unwrap();
    assert_eq!(text, whole[..at]);
    assert_eq!(end.text, text);
    assert_eq!(end.finish.as_ref().unwrap().stop.as_deref(), Some(stop));
    assert_eq!(end.tokens.iter().map(|token| token.text.as_str()).collect::<String>(), text);
}

#[test]
fn a_grammar_is_kept_and_a_broken_one_is_refused_before_anything_is_written() {
    let bench = tiny();
    let mut session = bench.model.session().unwrap();
    for seed in 0..5 {
        let request =
            greedy("choose", json!({"grammar": "root ::= \"yes\" | \"no\" [.!]", "temperature": 2.0, "seed": seed}));
        let answer = run(&mut session, request);
        assert!(["yes", "no.", "no!"].contains(&answer.text.as_str()), "{:?}", answer.text);
        assert_eq!(answer.finish.unwrap().reason, FinishReason::Stop);
    }
    for (grammar, why) in [
        ("root ::= (", "is expected"),
        ("root ::= other", "does not define"),
        ("root ::= root \"a\" | \"b\"", "left-recursive"),
        ("start ::= \"a\"", "no rule \"root\""),
        ("root ::= \"a\"{0,5000}", "more than 2000"),
        ("root ::= ([a-z{\"]?){0,300}", "may be empty"),
        (&"(".repeat(100_000), "more than 65536"),
    ] {
        let error = refusal(&mut session, greedy("x", json!({"grammar": grammar})));
        assert_eq!(error.kind(), ErrorKind::Options, "{error}");
        assert!(error.message().contains(why), "{error}");
    }
}

#[test]
fn a_control_token_stands_for_no_text_of_a_grammar() {
    let bench = tiny();
    let mut session = bench.model.session().unwrap();
    // Of the tiny model, token 3 is <|im_start|>.
    for (grammar, text) in [("root ::= \"<|im_start|>\" \"yes\"", "<|im_start|>yes"), ("root ::= <[3]> \"yes\"", "yes")]
    {
        for seed in 0..3 {
            let wish = json!({"grammar": grammar, "temperature": 2.0, "seed": seed, "max_tokens": 40});
            assert_eq!(run(&mut session, greedy("choose", wish)).text, text, "{grammar}");
        }
    }
}

#[test]
fn a_pattern_is_kept_and_the_reply_stays_json() {
    let bench = tiny();
    let mut session = bench.model.session().unwrap();
    let schema = json!({"type": "string", "pattern": "^\\d{2}(-|[b-f])\\w{3}[ -~]?$"});
    for seed in 0..5 {
        let wish = json!({"json_schema": schema, "temperature": 2.0, "seed": seed, "max_tokens": 60});
        let answer = run(&mut session, greedy("a code", wish));
        let value: String = serde_json::from_str(&answer.text).unwrap();
        assert!(value.chars().take(2).all(|letter| letter.is_ascii_digit()), "{value}");
        assert!((6..=7).contains(&value.chars().count()), "{value}");
    }
}

#[test]
fn a_reply_that_is_whole_when_it_is_cut_is_not_called_incomplete() {
    let bench = tiny();
    let mut session = bench.model.session().unwrap();
    let wish = json!({"json_schema": {"type": "null"}, "max_tokens": 4});
    let answer = run(&mut session, greedy("give json", wish));
    assert_eq!((answer.text.as_str(), answer.finish.unwrap().reason), ("null", FinishReason::Length));
    assert!(answer.notes.is_empty(), "{:?}", answer.notes);
}

#[test]
fn a_schema_is_kept_and_one_that_cannot_be_is_refused() {
    let bench = tiny();
    let mut session = bench.model.session().unwrap();
    let schema = json!({
        "type": "object",
        "properties": {"on": {"type": "boolean"}, "level": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["on", "level"],
        "additionalProperties": false,
    });
    for seed in 0..4 {
        let wish = json!({"json_schema": schema, "temperature": 1.0, "seed": seed, "max_tokens": 120});
        let answer = run(&mut session, greedy("give json", wish));
        assert_eq!(answer.finish.as_ref().unwrap().reason, FinishReason::Stop, "{:?}", answer.text);
        let value: Value = serde_json::from_str(&answer.text).unwrap();
        assert!(value["on"].is_boolean() && value["level"].as_u64().is_some_and(|level| level < 10), "{value}");
    }
    let cut = run(&mut session, greedy("give json", json!({"json_schema": schema, "max_tokens": 3})));
    assert_eq!(cut.finish.as_ref().unwrap().reason, FinishReason::Length);
    assert!(cut.notes.iter().any(|note| note.code == "schema-incomplete"), "{:?}", cut.notes);
    for (schema, why) in [
        (json!({"type": "array", "uniqueItems": true}), "uniqueItems"),
        (json!({"type": "string", "format": "email"}), "email"),
        (json!({"type": "string", "pattern": "^(?!a).*$"}), "the pattern at #"),
        (json!({"type": "string", "pattern": "^(a?){0,300}$"}), "may be empty"),
        (json!({"$ref": "#/$defs/missing"}), "JSON Schema is none"),
    ] {
        let error = refusal(&mut session, greedy("x", json!({"json_schema": schema})));
        assert_eq!(error.kind(), ErrorKind::Options, "{error}");
        assert!(error.message().contains(why), "{error}");
    }
}

#[test]
fn chat_uses_the_models_template_and_forged_control_tokens_stay_text() {
    let bench = tiny();
    let mut session = bench.model.session().unwrap();
    let mut count = |content: &str| {
        let wish = json!({"temperature": 0.0, "max_tokens": 1, "threads": 1});
        let request = Request::chat(vec![message(Role::User, content)]).options(options(wish));
        run(&mut session, request).usage.prompt_tokens
    };
    let plain = count("a");
    // `<|im_end|>` written by a user is ten characters of text, not one token.
    assert!(count("a<|im_end|>") >= plain + 10);
    assert_eq!(count("ab"), plain + 1);
}

#[test]
fn a_model_without_a_template_refuses_to_chat() {
    let mut file = GgufFile::tiny();
    file.remove("tokenizer.chat_template");
    let bench = open(&file, json!({"threads": 1})).unwrap();
    let request = Request::chat(vec![message(Role::User, "hi")]).options(options(json!({"threads": 1})));
    let error = refusal(&mut bench.model.session().unwrap(), request);
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("no chat template"), "{error}");
}

#[test]
fn what_a_template_refuses_is_its_own_sentence() {
    let mut file = GgufFile::tiny();
    file.set_text("tokenizer.chat_template", b"{{ raise_exception('roles must alternate') }}");
    let bench = open(&file, json!({"threads": 1})).unwrap();
    let request = Request::chat(vec![message(Role::User, "hi")]).options(options(json!({"threads": 1})));
    let error = refusal(&mut bench.model.session().unwrap(), request);
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("roles must alternate"), "{error}");
}

#[test]
fn tools_of_a_request_reach_the_template() {
    let mut file = GgufFile::tiny();
    file.set_text("tokenizer.chat_template", b"{{ raise_exception(tools[0] ~ documents[0]) }}");
    let bench = open(&file, json!({"threads": 1})).unwrap();
    let mut session = bench.model.session().unwrap();
    let mut refused = |arguments: Value| {
        let wish = json!({"threads": 1, "template_arguments": arguments});
        refusal(&mut session, Request::chat(vec![message(Role::User, "hi")]).options(options(wish)))
    };
    let error = refused(json!({"tools": ["hammer"], "documents": ["book"]}));
    assert!(error.message().contains("hammerbook"), "{error}");
    assert!(refused(json!({"messages": []})).message().contains("\"messages\" cannot be given"));
}

#[test]
fn templates_that_nest_deeply_are_refused_and_overflow_no_stack() {
    let nest = "{% set ns = namespace(x=0) %}{% for i in range(20000) %}{% set ns.x = [ns.x] %}{% endfor %}";
    for (template, why) in [
        (format!("{{{{ {}1 }}}}", "not ".repeat(16_000)), "fuel"),
        (format!("{{{{ 1{} }}}}", "+1".repeat(32_000)), "refuses"),
        (format!("{nest}{{{{ ns.x | tojson }}}}"), "no more than 128 levels"),
        (format!("{nest}{{{{ ns.x == 1 }}}}{{{{ raise_exception('reached') }}}}"), "reached"),
        ("x".repeat(70_000), "more than 65536"),
    ] {
        let mut file = GgufFile::tiny();
        let end = if why == "fuel" || why == "refuses" { "{{ raise_exception('fuel') }}" } else { "" };
        file.set_text("tokenizer.chat_template", format!("{template}{end}").as_bytes());
        let bench = open(&file, json!({"threads": 1})).unwrap();
        let request = Request::chat(vec![message(Role::User, "hi")]).options(options(json!({"threads": 1})));
        let error = refusal(&mut bench.model.session().unwrap(), request);
        assert!(error.message().contains(why), "{error}");
    }
}

#[test]
fn a_model_without_a_vocabulary_is_refused() {
    let mut file = GgufFile::tiny();
    file.set_text("tokenizer.ggml.model", b"none");
    let error = open(&file, json!({"threads": 1})).err().expect("it was opened");
    assert_eq!(error.kind(), ErrorKind::Model, "{error}");
    assert!(error.message().contains("no vocabulary"), "{error}");
}

#[test]
fn embeds_each_text_by_itself() {
    let bench = tiny();
    let mut session = bench.model.session().unwrap();
    let texts = ["abc", "a longer text than that", "abc"].map(str::to_owned).to_vec();
    let answer = run(&mut session, Request::embed(texts).options(options(json!({"threads": 1}))));
    assert_eq!(answer.embeddings.len(), 3);
    assert_eq!(answer.embeddings[0], answer.embeddings[2]);
    assert_ne!(answer.embeddings[0], answer.embeddings[1]);
    for vector in &answer.embeddings {
        assert_eq!(vector.len(), 32);
        let length: f32 = vector.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-4, "{length}");
    }
    let error = refusal(&mut session, Request::embed(vec!["y".repeat(600)]).options(options(json!({"threads": 1}))));
    assert_eq!(error.kind(), ErrorKind::ContextOverflow);
    // What the vocabulary puts around a text does not make one of nothing.
    let error = refusal(&mut session, Request::embed(vec![String::new()]).options(options(json!({"threads": 1}))));
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
}

#[test]
fn load_options_that_cannot_be_kept_are_refused() {
    for (load, why) in [
        (json!({"gpu_layers": 99}), "CPU only"),
        (json!({"context_size": 100_000}), "trained with 256"),
        (json!({"kv_type": "q8_0", "flash_attn": "off"}), "flash attention"),
    ] {
        let error = open(&GgufFile::tiny(), load.clone()).err().unwrap_or_else(|| panic!("{load} was accepted"));
        assert!(error.message().contains(why), "{error}");
    }
    for load in [
        json!({"context_size": 64, "batch_size": 8, "mmap": false, "threads": 1}),
        json!({"kv_type": "f32", "flash_attn": "off", "threads": 1}),
        json!({"kv_type": "q8_0", "flash_attn": "on", "threads": 1}),
        json!({"prefix_reuse": "full", "threads": 2}),
    ] {
        // Quantised memory needs heads of at least 32 numbers.
        let mut file = GgufFile::tiny();
        file.set_u32("llama.attention.head_count", 1);
        file.set_u32("llama.attention.head_count_kv", 1);
        file.set_u32("llama.rope.dimension_count", 32);
        let bench = open(&file, load).unwrap();
        run(&mut bench.model.session().unwrap(), greedy("a prompt that is longer than one batch", json!({})));
    }
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let bench = tiny();
    let mut session = bench.model.session().unwrap();
    for wish in [
        json!({"repeat_penalty": 0.0}),
        json!({"repeat_penalty": 1e-300}),
        json!({"grammar": "root ::= \"a\"", "json_schema": {"type": "null"}}),
        json!({"grammar": "root ::= \"a\"", "ignore_eos": true}),
    ] {
        assert_eq!(refusal(&mut session, greedy("x", wish)).kind(), ErrorKind::Options);
    }
    for wish in [
        json!({"temperature": 1e-300}),
        json!({"temperature": 1e-39}),
        json!({"temperature": 1.0, "mirostat": 1}),
        json!({"temperature": 1.0, "mirostat": 2, "mirostat_tau": 3.0}),
        json!({"temperature": 1.0, "typical_p": 0.5, "top_n_sigma": 1.0, "repeat_penalty": 1.3, "repeat_last_n": -1}),
    ] {
        run(&mut session, greedy("x", wish));
    }
}

#[test]
fn several_sessions_of_one_model_run_side_by_side_and_agree() {
    let bench = tiny();
    let alone = ids(&run(&mut bench.model.session().unwrap(), greedy("together", json!({}))));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let mut session = bench.model.session().unwrap();
            std::thread::spawn(move || {
                (0..3).map(|_| ids(&run(&mut session, greedy("together", json!({}))))).collect::<Vec<_>>()
            })
        })
        .collect();
    for thread in threads {
        assert!(thread.join().unwrap().iter().all(|tokens| *tokens == alone));
    }
}

#[test]
fn two_hundred_cancels_at_random_moments_all_end_at_once() {
    let bench = tiny();
    let mut session = bench.model.session().unwrap();
    let fresh = ids(&run(&mut session, greedy("cancel", json!({}))));
    let (mut latencies, mut cancelled) = (Vec::new(), 0);
    for number in 0..200_u64 {
        let token = CancelToken::new();
        let long = greedy(&"some words ".repeat(15), json!({"max_tokens": null, "ignore_eos": true}));
        let mut stream = session.stream(long.cancel(token.clone())).unwrap();
        // Between nothing and the whole run, in an order that is not that of the numbers.
        std::thread::sleep(Duration::from_micros(number * 7919 % 20_000));
        let asked = Instant::now();
        token.cancel();
        let last = stream.by_ref().last().unwrap();
        let took = asked.elapsed();
        match last {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Cancelled);
                cancelled += 1;
            }
            Ok(event) => assert!(matches!(event, Event::End(_)), "{event:?}"),
        }
        drop(stream);
        latencies.push(took);
    }
    latencies.sort();
    println!("slowest of 200 cancels: {:?}, {cancelled} of them before the end", latencies.last());
    // A machine that stands still for a moment holds up one of them, or a few.
    assert!(latencies[189] < Duration::from_secs(1), "{latencies:?}");
    // Had a cancel no effect until the end, none would have been.
    assert!(cancelled >= 50, "{cancelled}");
    assert_eq!(ids(&run(&mut session, greedy("cancel", json!({})))), fresh);
}

#[test]
fn a_model_in_shards_gives_the_tokens_of_the_whole_one() {
    let expected = ids(&run(&mut tiny().model.session().unwrap(), greedy("shards", json!({}))));
    let home = tempfile::tempdir().unwrap();
    let mut shards = [GgufFile::tiny(), GgufFile::tiny()];
    shards[0].tensors.truncate(6);
    shards[1].tensors.drain(..6);
    shards[1].pairs.clear();
    let mut manifest = "name = \"case\"\ntask = \"generate\"\nbackend = \"llama\"\nlicense = \"unknown\"\n".to_owned();
    // Written in the wrong order on purpose.
    for index in [1_u16, 0] {
        let shard = &mut shards[index as usize];
        shard.set("split.count", 2, 2_u16.to_le_bytes().to_vec());
        shard.set("split.no", 2, index.to_le_bytes().to_vec());
        shard.set("split.tensors.count", 5, 11_i32.to_le_bytes().to_vec());
        let path = home.path().join(format!("part-{index}.gguf"));
        std::fs::write(&path, shard.bytes()).unwrap();
        let digest = tenon_store::hash_file(&path).unwrap().digest;
        let size = std::fs::metadata(&path).unwrap().len();
        manifest += &format!(
            "\n[[file]]\nrole = \"model\"\nname = \"part-{index}.gguf\"\nsha256 = \"{digest}\"\nsize = {size}\n"
        );
    }
    std::fs::write(home.path().join("case.toml"), manifest).unwrap();
    let engine = Engine::builder()
        .manifest_dir(home.path())
        .models_dir(home.path())
        .plugin_dir(tenon_native_tests::plugin_folder())
        .state_dir(home.path())
        .build()
        .unwrap();
    let model = engine.load("case", Load::new().options(options(json!({"threads": 1, "ubatch_size": 16})))).unwrap();
    assert_eq!(ids(&run(&mut model.session().unwrap(), greedy("shards", json!({})))), expected);
}

/// The model that ships.
fn shipped() -> Bench {
    let path = tenon_native_tests::root().join("models/intents-en-q8_0.gguf");
    open_file(&path, tempfile::tempdir().unwrap(), json!({"threads": 1})).unwrap()
}

const WISHES: [&str; 12] = [
    "turn on the light",
    "switch off the lamp in the kitchen",
    "set a timer for five minutes",
    "play some music",
    "what is the weather tomorrow",
    "make it warmer in the bedroom",
    "stop",
    "volume up please",
    "close the blinds",
    "set the light to forty percent",
    "call off the alarm",
    "good night",
];

fn chatml(wish: &str) -> String {
    format!("<|im_start|>user\n{wish}<|im_end|>\n<|im_start|>assistant\n")
}

#[test]
fn a_chat_is_the_rendered_prompt_token_for_token() {
    let bench = shipped();
    let mut session = bench.model.session().unwrap();
    let wish = || options(json!({"temperature": 0.0, "max_tokens": 48, "threads": 1, "tokens": true}));
    for text in WISHES {
        let chat = run(&mut session, Request::chat(vec![message(Role::User, text)]).options(wish()));
        let prompt = run(&mut session, Request::generate(chatml(text)).options(wish()));
        assert_eq!((chat.usage.prompt_tokens, chat.tokens), (prompt.usage.prompt_tokens, prompt.tokens), "{text}");
    }
}

/// What llama-completion writes behind a prompt. Its printing thread now and then loses the end when the process exits,
/// so the longest of several outputs is the whole one.
fn answer_of_tool(tool: &std::ffi::OsStr, model: &Path, prompt: &str, arguments: &[&str]) -> String {
    let ask = || {
        let output = std::process::Command::new(tool)
            .args(["-no-cnv", "--no-display-prompt", "-n", "48", "-s", "42", "-t", "1", "-p", prompt, "-m"])
            .arg(model)
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.trim_end_matches('\n').trim_end_matches(" [end of text]").to_owned()
    };
    (0..3).map(|_| ask()).max_by_key(String::len).unwrap_or_default()
}

/// `TENON_LLAMA_CLI` names llama.cpp's `llama-completion` of the version that this plugin is built on.
#[test]
fn writes_what_llama_cpps_own_tool_writes() {
    let Some(tool) = std::env::var_os("TENON_LLAMA_CLI") else {
        tenon_native_tests::skip("writes_what_llama_cpps_own_tool_writes", "TENON_LLAMA_CLI names no llama-completion");
        return;
    };
    let file = tenon_native_tests::root().join("models/intents-en-q8_0.gguf");
    let bench = shipped();
    let mut compared = 0;
    for (sampling, arguments) in [
        (json!({"temperature": 0.0}), vec!["--temp", "0"]),
        (json!({"temperature": 0.8}), vec!["--temp", "0.8"]),
        (
            json!({"temperature": 1.3, "top_k": 0, "repeat_penalty": 1.2}),
            vec!["--temp", "1.3", "--top-k", "0", "--repeat-penalty", "1.2"],
        ),
    ] {
        for prompt in WISHES.map(str::to_owned).into_iter().chain(WISHES.map(chatml)) {
            let theirs = answer_of_tool(&tool, &file, &prompt, &arguments);
            let mut wish = json!({"max_tokens": 48, "threads": 1, "seed": 42});
            wish.as_object_mut().unwrap().extend(sampling.as_object().unwrap().clone());
            let request = Request::generate(prompt.as_str()).options(options(wish));
            let ours = run(&mut bench.model.session().unwrap(), request);
            assert_eq!(ours.text.trim_end_matches('\n'), theirs.trim_end_matches('\n'), "{prompt:?} with {sampling}");
            compared += 1;
        }
    }
    println!("{compared} answers are those of llama-completion");
}
