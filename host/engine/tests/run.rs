//! Requests on the echo backend: what is asked comes back, with what it cost and where it comes from.

use std::sync::Arc;
use std::time::{Duration, Instant};
use tenon::{
    AudioSource, CancelToken, Error, ErrorKind, FinishReason, Input, Load, LoadProgress, Message, Options, Request,
    Role,
};
use tenon_testkit::{Home, wav};

fn options(json: &str) -> Options {
    Options::from_json(json).unwrap()
}

fn message(role: Role, content: &str) -> Message {
    Message { role, content: content.to_owned() }
}

/// Half a second of silence, then a second and a half at half loudness, at 16 kHz.
fn sound() -> Vec<f32> {
    let mut samples = vec![0.0; 8_000];
    samples.extend((0..24_000).map(|at| if at % 2 == 0 { 0.5 } else { -0.5 }));
    samples
}

fn refused(request: Request) -> Error {
    Home::with_echo().session("echo").run(&request).unwrap_err()
}

#[test]
fn a_prompt_is_answered() {
    let answer = Home::with_echo().session("echo").run(&Request::generate("one two ☃")).unwrap();
    assert_eq!(answer.text, "one two ☃");
    assert_eq!(answer.task, "generate");
    assert_eq!(answer.usage.generated_tokens, 3);
    assert_eq!(answer.finish.unwrap().reason, FinishReason::Stop);
    assert!(answer.timings.first.unwrap() <= answer.timings.total);
    assert!(answer.timings.run <= answer.timings.total);
}

#[test]
fn a_conversation_is_answered() {
    let messages = vec![message(Role::System, "be brief"), message(Role::User, "good morning")];
    let answer = Home::with_echo().session("echo").run(&Request::chat(messages)).unwrap();
    assert_eq!(answer.text, "good morning");
}

#[test]
fn each_text_is_embedded_in_its_place() {
    let texts = vec!["a".to_owned(), "b".to_owned(), "a".to_owned()];
    let answer = Home::with_echo().session("echo").run(&Request::embed(texts)).unwrap();
    assert_eq!(answer.embeddings.len(), 3);
    assert_eq!(answer.embeddings[0], answer.embeddings[2]);
    assert_eq!(answer.embeddings[0].len(), 8);
}

#[test]
fn the_same_audio_gives_the_same_transcript_from_wherever_it_comes() {
    let home = Home::with_echo();
    let (samples, file) = (sound(), wav(&sound(), 16_000));
    let path = home.path().join("sound with no extension");
    std::fs::write(&path, &file).unwrap();
    let stereo: Vec<f32> = samples.iter().flat_map(|sample| [*sample, *sample]).collect();
    let sources = [
        AudioSource::mono(samples, 16_000),
        AudioSource::path(path),
        AudioSource::Bytes(file.clone().into()),
        AudioSource::reader(std::io::Cursor::new(file)),
        AudioSource::Samples { samples: stereo.into(), rate: 16_000, channels: 2 },
    ];
    let mut session = home.session("echo");
    for source in sources {
        let answer = session.run(&Request::transcribe(source)).unwrap();
        assert_eq!(answer.text, " second 1 peak 50 second 2 peak 50");
        assert_eq!(answer.segments.len(), 2);
        assert_eq!(answer.segments[1].end_us, 2_000_000);
        assert_eq!(answer.usage.audio_us, 2_000_000);
        assert_eq!(answer.language.unwrap().code, "en");
        assert!(answer.damage.is_empty());
    }
}

#[test]
fn words_and_tokens_come_when_they_are_asked_for() {
    let request =
        Request::transcribe(AudioSource::mono(sound(), 16_000)).options(options(r#"{"words": true, "tokens": true}"#));
    let answer = Home::with_echo().session("echo").run(&request).unwrap();
    assert_eq!(answer.segments[0].words.len(), 4);
    assert_eq!(answer.segments[0].tokens.len(), 4);
    assert_eq!(answer.segments[0].words[0].text, "second");
    assert_eq!(answer.segments[0].words[0].start_us, 0);
}

#[test]
fn audio_at_another_rate_is_resampled() {
    let samples = vec![0.25_f32; 44_100];
    let answer =
        Home::with_echo().session("echo").run(&Request::transcribe(AudioSource::mono(samples, 44_100))).unwrap();
    assert_eq!(answer.usage.audio_us, 1_000_000);
    assert_eq!(answer.segments.len(), 1);
}

#[test]
fn what_of_the_audio_was_lost_is_said() {
    let mut file = wav(&sound(), 16_000);
    file.truncate(44 + 32_000);
    let mut session = Home::with_echo().session("echo");
    let answer = session.run(&Request::transcribe(AudioSource::Bytes(file.into()))).unwrap();
    assert_eq!(answer.segments.len(), 1);
    assert_eq!(answer.damage[0].kind, "truncated");
    let mut samples = sound();
    samples[100] = f32::NAN;
    let answer = session.run(&Request::transcribe(AudioSource::mono(samples, 16_000))).unwrap();
    assert_eq!(answer.damage[0].kind, "not-finite");
    assert!(answer.damage[0].message.starts_with("1 samples"));
}

#[test]
fn what_is_no_audio_is_an_error_of_its_kind() {
    let mut session = Home::with_echo().session("echo");
    let error = session.run(&Request::transcribe(AudioSource::Bytes(b"no audio at all".to_vec().into()))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Audio);
    let error = session.run(&Request::transcribe(AudioSource::path("/no/such/file.wav"))).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::NotFound), "{error:?}");
    assert!(error.message().contains("/no/such/file.wav"), "{error}");
    let error = session.run(&Request::transcribe(AudioSource::mono(Vec::new(), 16_000))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Audio);
    assert_eq!(session.run(&Request::generate("still here")).unwrap().text, "still here");
}

#[test]
fn a_reader_is_consumed_by_its_first_request() {
    let mut session = Home::with_echo().session("echo");
    let request = Request::transcribe(AudioSource::reader(std::io::Cursor::new(wav(&sound(), 16_000))));
    session.run(&request).unwrap();
    let error = session.run(&request).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("reader"));
}

#[test]
fn a_request_lies_over_its_preset_and_the_preset_over_the_defaults() {
    let home = Home::with_echo();
    let presets = "[preset.default]\nmax_tokens = 3\n[preset.fast]\nmax_tokens = 1\nwords = true\n";
    home.add_manifest("preset", "generate", "echo", presets);
    let mut session = home.session("preset");
    let mut text = |request: Request| session.run(&request).unwrap();
    assert_eq!(text(Request::generate("a b c d")).text, "a b c ");
    assert_eq!(text(Request::generate("a b c d").preset("fast")).text, "a ");
    let answer = text(Request::generate("a b c d").preset("fast").options(options(r#"{"max_tokens": 2}"#)));
    assert_eq!(answer.text, "a b ");
    assert_eq!(answer.finish.unwrap().reason, FinishReason::Length);
    assert_eq!(answer.provenance.preset.as_deref(), Some("fast"));
    assert_eq!(answer.provenance.options.get("max_tokens"), Some(&2.into()));
    // `words` is an option of another task of the backend, so it is no option of this request.
    assert_eq!(answer.provenance.options.get("words"), None);
}

#[test]
fn a_whole_number_may_be_written_as_a_fraction() {
    let request = Request::generate("a b c d").options(options(r#"{"max_tokens": 2.0}"#));
    assert_eq!(Home::with_echo().session("echo").run(&request).unwrap().text, "a b ");
}

#[test]
fn options_that_do_not_fit_are_refused_all_at_once_with_the_nearest_name() {
    let error = refused(Request::generate("x").options(options(r#"{"max_token": 3, "temperature": 9}"#)));
    assert_eq!(error.kind(), ErrorKind::Options);
    assert_eq!(
        error.message(),
        "model \"echo\", task generate: unknown option \"max_token\" (did you mean \"max_tokens\"?); \
         option \"temperature\" must be a number from 0 to 2, not 9"
    );
}

#[test]
fn presets_tasks_and_input_that_do_not_fit_are_refused() {
    let error = refused(Request::generate("x").preset("slow"));
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::NotFound, "model \"echo\" has no preset \"slow\": it has none")
    );
    let error = refused(Request::new("paint", Input::Prompt("a cat".to_owned())));
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("it offers transcribe, translate"), "{error}");
    assert_eq!(refused(Request::chat(Vec::new())).kind(), ErrorKind::InvalidArgument);
    assert_eq!(refused(Request::new("chat", Input::Prompt("x".to_owned()))).kind(), ErrorKind::InvalidArgument);
    assert_eq!(refused(Request::transcribe(AudioSource::Live)).kind(), ErrorKind::InvalidArgument);
}

#[test]
fn more_threads_than_cores_are_refused() {
    let error = refused(Request::generate("x").options(options(r#"{"threads": 256}"#)));
    assert_eq!(error.kind(), ErrorKind::Options);
    assert!(error.message().starts_with("256 threads were asked for"));
}

#[test]
fn an_answer_says_where_it_comes_from() {
    let home = Home::with_echo();
    let file = home.add_file("model", "weights.bin", b"weights");
    home.add_manifest("filed", "generate", "echo", &format!("{file}[load]\ndelay_ms = 0\n"));
    let model = home.model("filed");
    let mut session = model.session().unwrap();
    let answer = session.run(&Request::generate("x")).unwrap();
    let from = answer.provenance;
    assert_eq!((from.model.as_str(), from.plugin.as_str()), ("filed", "echo"));
    assert_eq!(from.files[0].sha256, tenon::Digest::of(b"weights").to_string());
    assert_eq!(from.plugin_sha256, model.backend().digest().unwrap().to_string());
    assert_eq!(from.plugin_version, model.backend().version());
    assert_eq!(from.load_options.get("delay_ms"), Some(&0.into()));
    let threads = from.options.get("threads").and_then(|threads| threads.as_u64()).unwrap();
    assert!(threads >= 1 && threads <= tenon::Machine::look().threads as u64);
    assert!(answer.timings.load > Duration::ZERO);
    assert_eq!(session.run(&Request::generate("x")).unwrap().timings.load, Duration::ZERO);
}

#[test]
fn a_deadline_ends_a_request_and_the_session_goes_on() {
    let mut session = Home::with_echo().session("echo");
    let slow = Request::generate("a b c d e f").options(options(r#"{"delay_ms": 60000}"#));
    let began = Instant::now();
    let error = session.run(&slow.deadline(Duration::from_millis(50))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(session.run(&Request::generate("again")).unwrap().text, "again");
}

#[test]
fn a_cancelled_token_ends_requests_before_they_begin() {
    let mut session = Home::with_echo().session("echo");
    let token = CancelToken::new();
    token.cancel();
    let error = session.run(&Request::generate("x").cancel(token)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

#[test]
fn a_load_can_be_cancelled_and_tells_how_far_it_is() {
    let home = Home::with_echo();
    let file = home.add_file("model", "weights.bin", &[7; 100_000]);
    home.add_manifest("filed", "generate", "echo", &file);
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (hears, token) = (Arc::clone(&heard), CancelToken::new());
    let cancels = token.clone();
    let load = Load::new().options(options(r#"{"delay_ms": 100}"#)).cancel(token).progress(move |how_far| {
        hears.lock().unwrap().push(how_far);
        if let LoadProgress::Open(_) = how_far {
            cancels.cancel();
        }
    });
    let error = home.engine().load("filed", load).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    let heard = heard.lock().unwrap();
    assert!(heard.contains(&LoadProgress::Verify { done: 100_000, total: 100_000 }), "{heard:?}");
    assert!(heard.contains(&LoadProgress::Open(0.1)), "{heard:?}");
    assert!(!heard.contains(&LoadProgress::Open(0.2)), "{heard:?}");
}

#[test]
fn a_shut_down_engine_runs_nothing_more() {
    let home = Home::with_echo();
    let engine = home.engine();
    let mut session = engine.load("echo", Load::new()).unwrap().session().unwrap();
    let request = Request::generate("a b c").options(options(r#"{"delay_ms": 5000}"#));
    let error = std::thread::scope(|scope| {
        let runs = scope.spawn(|| session.run(&request).unwrap_err());
        std::thread::sleep(Duration::from_millis(50));
        engine.shutdown();
        runs.join().unwrap()
    });
    assert_eq!(error.kind(), ErrorKind::Shutdown);
    assert_eq!(engine.load("echo", Load::new()).unwrap_err().kind(), ErrorKind::Shutdown);
    assert_eq!(home.session("echo").run(&Request::generate("other engine")).unwrap().text, "other engine");
}

#[test]
fn sessions_run_side_by_side() {
    let model = Home::with_echo().model("echo");
    std::thread::scope(|scope| {
        for number in 0..8 {
            let model = &model;
            scope.spawn(move || {
                let mut session = model.session().unwrap();
                for turn in 0..10 {
                    let text = format!("session {number} turn {turn}");
                    assert_eq!(session.run(&Request::generate(&text)).unwrap().text, text);
                }
            });
        }
    });
}

#[test]
fn requests_that_need_the_whole_budget_wait_for_each_other() {
    let model = Home::with_echo().model("echo");
    let budget = tenon::Machine::look().threads;
    let options = options(&format!(r#"{{"threads": {budget}, "delay_ms": 40}}"#));
    let began = Instant::now();
    let ran: Duration = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8)
            .map(|_| {
                let request = Request::generate("x").options(options.clone());
                let mut session = model.session().unwrap();
                scope.spawn(move || session.run(&request).unwrap().timings.run)
            })
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).sum()
    });
    assert!(ran >= Duration::from_millis(8 * 40));
    // Had two of them run at once, the time that passed would be less than that of all runs together.
    assert!(began.elapsed() >= ran, "{:?} < {ran:?}", began.elapsed());
}

#[test]
fn several_engines_share_a_process() {
    let (one, other) = (Home::with_echo(), Home::with_echo());
    let (first, second) = (one.engine(), other.engine());
    let mut a = first.load("echo", Load::new()).unwrap().session().unwrap();
    let mut b = second.load("echo", Load::new()).unwrap().session().unwrap();
    assert_eq!(a.run(&Request::generate("a")).unwrap().text, "a");
    drop((first, a));
    assert_eq!(b.run(&Request::generate("b")).unwrap().text, "b");
}

#[test]
fn a_request_is_filled_step_by_step() {
    let mut request = Request::chat(Vec::new());
    if let Input::Messages(messages) = request.input_mut() {
        messages.push(message(Role::User, "a b c"));
    }
    request.set_options(options(r#"{"max_tokens": 2}"#));
    let mut session = Home::with_echo().session("echo");
    assert_eq!(session.run(&request).unwrap().text, "a b ");
    request.set_preset(Some("slow".to_owned()));
    assert_eq!(session.run(&request).unwrap_err().kind(), ErrorKind::NotFound);
    request.set_preset(None);
    request.set_deadline(Some(Duration::ZERO));
    assert_eq!(session.run(&request).unwrap_err().kind(), ErrorKind::Deadline);
    request.set_deadline(None);
    request.set_input(Input::Messages(vec![message(Role::User, "other")]));
    assert_eq!(session.run(&request).unwrap().text, "other");
}
