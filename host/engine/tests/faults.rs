//! A backend that misbehaves on request: what can be contained is an error of the right kind, and the host goes on.

use std::time::{Duration, Instant};
use tenon::{AudioSource, Error, ErrorKind, Load, Model, Options, Request, Session};
use tenon_testkit::{Home, example, in_workers, worker};

fn options(json: &str) -> Options {
    Options::from_json(json).unwrap()
}

fn asks(task: &str, fault: &str) -> Request {
    let request = match task {
        "transcribe" => Request::transcribe(AudioSource::mono(vec![0.1; 1600], 16_000)),
        "embed" => Request::embed(vec!["text".to_owned()]),
        _ => Request::generate("text"),
    };
    match fault {
        "" => request,
        fault => request.options(options(&format!(r#"{{"fault": "{fault}"}}"#))),
    }
}

fn is_well(session: &mut Session) {
    assert_eq!(session.run(&asks("generate", "")).unwrap().text, "all is well");
}

#[test]
fn what_a_run_does_wrong_is_an_error_and_the_session_goes_on() {
    let faults = [
        ("generate", "panic", ErrorKind::Panic, "the run was asked to panic"),
        ("generate", "panic-twice", ErrorKind::Panic, ""),
        ("generate", "unknown-status", ErrorKind::Plugin, "returned the unknown status 4711, which it may not"),
        ("generate", "negative-status", ErrorKind::Plugin, "the unknown status -1"),
        ("generate", "error-without-message", ErrorKind::Backend, "returned TENON_E_BACKEND without a message"),
        ("generate", "error-broken-message", ErrorKind::Backend, "br\u{fffd}ken"),
        ("generate", "error-huge-message", ErrorKind::Backend, "xxxx"),
        ("generate", "null-item", ErrorKind::Plugin, "an item behind a pointer that is NULL"),
        ("generate", "null-payload", ErrorKind::Plugin, "a text behind a pointer that is NULL"),
        ("generate", "unknown-kind", ErrorKind::Plugin, "an item of the unknown kind 99"),
        ("generate", "input-kind", ErrorKind::Plugin, "an item of the unknown kind 2"),
        ("generate", "wrong-size", ErrorKind::Plugin, "a text of 8 bytes, and it has 32"),
        ("generate", "misaligned-payload", ErrorKind::Plugin, "not aligned"),
        ("generate", "endless-text", ErrorKind::Plugin, "a text of 18446744073709551615 bytes"),
        ("generate", "null-text", ErrorKind::Plugin, "a text of 7 bytes at NULL"),
        ("transcribe", "segment-negative-times", ErrorKind::Plugin, "a segment from -5 to"),
        ("transcribe", "segment-endless-words", ErrorKind::Plugin, "a segment of 4294967295 words"),
        ("transcribe", "segment-null-words", ErrorKind::Plugin, "words behind a pointer that is NULL"),
        ("embed", "embedding-not-a-number", ErrorKind::Plugin, "holds NaN or infinity"),
        ("embed", "embedding-endless", ErrorKind::Plugin, "an embedding of 9223372036854775808 values"),
        ("embed", "embedding-odd-index", ErrorKind::Plugin, "an embedding for text 12345 of 1"),
        ("embed", "nothing", ErrorKind::Plugin, "gave 0 embeddings for 1 texts"),
        ("generate", "document-no-json", ErrorKind::Plugin, "a document \"finish\" that cannot be read"),
        ("generate", "document-odd-shape", ErrorKind::Plugin, "a document \"finish\" that cannot be read"),
    ];
    let mut session = Home::with_faulty().session("faulty");
    for (task, fault, kind, says) in faults {
        let error = session.run(&asks(task, fault)).unwrap_err();
        assert_eq!(error.kind(), kind, "{fault}: {error}");
        assert!(error.message().contains(says), "{fault}: {error}");
        assert!(error.message().len() < 20_000, "{fault}");
        assert_eq!(error.detail("plugin").unwrap_or("faulty"), "faulty");
        is_well(&mut session);
    }
}

#[test]
fn what_is_only_odd_is_repaired_or_left_out_and_still_an_answer() {
    let mut session = Home::with_faulty().session("faulty");
    let mut run = |task: &str, fault: &str| session.run(&asks(task, fault)).unwrap();
    assert_eq!(run("generate", "broken-text").text, "bro\u{fffd}\u{fffd}ken");
    assert_eq!(run("transcribe", "segment-broken-text").segments[0].text, "bro\u{fffd}\u{fffd}ken");
    assert_eq!(run("transcribe", "segment-odd-confidence").segments[0].confidence, None);
    assert_eq!(run("generate", "unknown-document").text, "");
    assert_eq!(run("generate", "odd-progress").text, "all is well");
    assert_eq!(run("generate", "nothing").text, "");
    let usage = run("generate", "usage-negative").usage;
    assert_eq!((usage.audio_us, usage.prompt_us, usage.generate_us), (0, 0, 0));
}

#[test]
fn what_is_emitted_after_the_return_reaches_nobody() {
    let mut session = Home::with_faulty().session("faulty");
    assert_eq!(session.run(&asks("generate", "emit-after-return")).unwrap().text, "in time");
    let until = Instant::now() + Duration::from_millis(300);
    while Instant::now() < until {
        is_well(&mut session);
    }
}

#[test]
fn a_backend_that_does_not_stop_emitting_ends_as_cancelled() {
    let mut session = Home::with_faulty().session("faulty");
    let mut stream = session.stream(asks("generate", "emit-after-stop")).unwrap();
    stream.next().unwrap().unwrap();
    stream.cancel();
    let error = stream.find_map(Result::err).unwrap();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    is_well(&mut session);
}

#[test]
fn success_after_a_cancel_is_no_success() {
    let mut session = Home::with_faulty().session("faulty");
    let error = session.run(&asks("generate", "ignore-cancel").deadline(Duration::from_millis(30))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    is_well(&mut session);
}

#[test]
fn a_run_that_does_not_look_at_its_deadline_ends_late_as_one() {
    let mut session = Home::with_faulty().session("faulty");
    let hang = Request::generate("x").options(options(r#"{"fault": "hang", "seconds": 0.5}"#));
    let error = session.run(&hang.deadline(Duration::from_millis(20))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    is_well(&mut session);
}

#[test]
fn a_run_that_never_ends_is_left_behind_and_the_host_goes_on() {
    let home = Home::with_faulty();
    let engine = home.builder().patience(Duration::from_millis(300)).build().unwrap();
    let model = engine.load("faulty", Load::new()).unwrap();
    let mut session = model.session().unwrap();
    let hang = Request::generate("x").options(options(r#"{"fault": "hang", "seconds": 6}"#));
    let error = session.run(&hang.deadline(Duration::from_millis(20))).unwrap_err();
    assert_eq!((error.kind(), error.detail("lost")), (ErrorKind::Deadline, Some("true")));
    // It hangs still.
    assert_eq!(session.run(&asks("generate", "")).unwrap_err().kind(), ErrorKind::Busy);
    is_well(&mut model.session().unwrap());
    while session.run(&asks("generate", "")).is_err_and(|error| error.kind() == ErrorKind::Busy) {
        std::thread::sleep(Duration::from_millis(50));
    }
    is_well(&mut session);
}

#[test]
fn a_thread_that_was_left_behind_counts_until_it_has_ended_after_all() {
    let home = Home::with_faulty();
    let engine = home.builder().patience(Duration::from_millis(300)).build().unwrap();
    let mut session = engine.load("faulty", Load::new()).unwrap().session().unwrap();
    let hang = Request::generate("x").options(options(r#"{"fault": "hang", "seconds": 3}"#));
    let error = session.run(&hang.deadline(Duration::from_millis(200))).unwrap_err();
    assert_eq!(error.detail("lost"), Some("true"));
    let error = engine.shutdown_within(Duration::from_millis(10)).unwrap_err();
    // With a worker, there is also the thread that reads from it.
    let threads = if in_workers() { "2" } else { "1" };
    assert_eq!((error.kind(), error.detail("threads")), (ErrorKind::Timeout, Some(threads)));
    engine.shutdown_within(Duration::from_secs(60)).unwrap();
}

fn loaded(fault: &str) -> Result<Model, Error> {
    let home = Home::with_faulty();
    home.engine().load("faulty", Load::new().options(options(&format!(r#"{{"fault": "{fault}"}}"#))))
}

#[test]
fn what_opening_does_wrong_is_an_error() {
    let faults = [
        ("open-panic", ErrorKind::Panic, "opening was asked to panic"),
        ("open-null", ErrorKind::Plugin, "said that it opened a model and gave none"),
        ("open-unknown-status", ErrorKind::Plugin, "the unknown status 4711"),
        ("open-error-without-message", ErrorKind::Model, "returned TENON_E_MODEL without a message"),
    ];
    for (fault, kind, says) in faults {
        let error = loaded(fault).unwrap_err();
        assert_eq!(error.kind(), kind, "{fault}: {error}");
        assert!(error.message().contains(says), "{fault}: {error}");
    }
    let error = loaded("session-open-panic").unwrap().session().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panic);
    let error = loaded("session-open-null").unwrap().session().unwrap_err();
    assert!(error.message().contains("said that it opened a session and gave none"), "{error}");
}

#[test]
fn a_session_that_cannot_be_reset_is_opened_anew() {
    for fault in ["reset-panic", "reset-error"] {
        let mut session = loaded(fault).unwrap().session().unwrap();
        assert_eq!(session.run(&asks("generate", "error-without-message")).unwrap_err().kind(), ErrorKind::Backend);
        is_well(&mut session);
        session.reset().unwrap();
        is_well(&mut session);
    }
}

#[test]
fn a_panic_in_closing_is_not_the_hosts() {
    for fault in ["close-panic", "session-close-panic"] {
        let model = loaded(fault).unwrap();
        let mut session = model.session().unwrap();
        is_well(&mut session);
        drop((session, model));
    }
    is_well(&mut Home::with_faulty().session("faulty"));
}

#[test]
fn what_ends_the_process_ends_it_and_is_on_the_list_of_what_needs_a_worker() {
    let home = Home::with_faulty();
    for fault in ["abort", "segfault", "exit", "stack-overflow"] {
        let options = format!(r#"{{"fault": "{fault}"}}"#);
        let mut command = std::process::Command::new(example("ask"));
        command.arg(home.path()).args(["faulty", "generate", "text", "{}", &options]);
        if in_workers() {
            let output = command.env("TENON_WORKER", worker()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(output.status.code(), Some(i32::from(ErrorKind::WorkerDied.exit_code())), "{fault}: {output:?}");
            assert!(said.starts_with("worker-died: the worker of backend \"faulty\" "), "{fault}: {said}");
            continue;
        }
        let output = command.output().unwrap();
        assert!(!output.status.success(), "{fault}");
        assert!(output.stdout.is_empty(), "{fault}: {output:?}");
        assert_eq!(output.status.code() == Some(77), fault == "exit", "{fault}");
    }
}
