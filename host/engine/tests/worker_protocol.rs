//! Workers that do not keep the protocol: each is ended and named, and the host goes on. `examples/fake_worker.rs` is
//! the worker.

#![cfg(unix)]

use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tenon::{AudioSource, Engine, Error, ErrorKind, Load, Request, WorkerSettings};
use tenon_testkit::{Home, Lines, example, workers};
use tracing::Level;

const WORKER: &str = "isolation = \"worker\"";

/// An engine whose workers are fakes with this fault, and its home.
fn engine(fault: &str, settings: impl FnOnce(WorkerSettings) -> WorkerSettings) -> (Engine, Home) {
    // What echo is, a worker that keeps the protocol has told this process before: the fakes get as far as a model.
    static KNOWN: OnceLock<()> = OnceLock::new();
    let home = Home::with_echo();
    home.add_manifest("echo", "generate", "echo", WORKER);
    KNOWN.get_or_init(|| {
        let engine = home.builder().worker(workers()).build().unwrap();
        drop(engine.load("echo", Load::new()).unwrap());
    });
    (home.builder().worker(settings(fake(fault))).build().unwrap(), home)
}

fn fake(fault: &str) -> WorkerSettings {
    WorkerSettings::new().program(example("fake_worker")).env("FAKE_WORKER", fault)
}

/// What becomes of a load, and then of the engine: no thread and no process is left.
fn load_error(fault: &str, settings: impl FnOnce(WorkerSettings) -> WorkerSettings) -> Error {
    let (engine, _home) = engine(fault, settings);
    let error = engine.load("echo", Load::new()).unwrap_err();
    engine.shutdown_within(Duration::from_secs(60)).unwrap();
    error
}

fn run_error(fault: &str, request: Request, settings: impl FnOnce(WorkerSettings) -> WorkerSettings) -> Error {
    let (engine, _home) = engine(fault, settings);
    let mut session = engine.load("echo", Load::new()).unwrap().session().unwrap();
    let error = session.run(&request).unwrap_err();
    engine.shutdown_within(Duration::from_secs(60)).unwrap();
    error
}

#[test]
fn one_that_keeps_the_protocol_is_a_worker() {
    let (engine, _home) = engine("", |settings| settings);
    let mut session = engine.load("echo", Load::new()).unwrap().session().unwrap();
    for _ in 0..3 {
        assert_eq!(session.run(&Request::generate("x")).unwrap().text, "fine");
        session.reset().unwrap();
    }
    drop(session);
    engine.shutdown_within(Duration::from_secs(60)).unwrap();
}

#[test]
fn one_that_does_not_start_in_good_order_is_named() {
    let faults = [
        (
            "exit",
            ErrorKind::WorkerDied,
            "before it was ready, the worker of backend \"echo\" ended by itself with exit code 3",
        ),
        ("last-words", ErrorKind::WorkerDied, "ended by itself with exit code 4; it last said: the disk is on fire"),
        ("noise", ErrorKind::WorkerDied, "sent garbage and was killed: a frame of "),
        ("huge-frame", ErrorKind::WorkerDied, "sent garbage and was killed: a frame of "),
        ("half-a-frame", ErrorKind::WorkerDied, "ended by itself with exit code 0"),
        ("two-greetings", ErrorKind::WorkerDied, "sent garbage and was killed: a greeting where none may be"),
        ("output-before-ready", ErrorKind::WorkerDied, "sent garbage and was killed: an output where none may be"),
        ("ready-twice", ErrorKind::WorkerDied, "sent garbage and was killed: a word that it is ready where none may"),
        ("refuses", ErrorKind::Model, "out of order"),
        ("refuses-with-success", ErrorKind::WorkerDied, "refused to start and gave no reason"),
        ("other-version", ErrorKind::AbiMismatch, "is of version 0.0.0 (protocol"),
        ("other-protocol", ErrorKind::AbiMismatch, "use the one that came with it"),
    ];
    for (fault, kind, says) in faults {
        let error = load_error(fault, |settings| settings);
        assert_eq!(error.kind(), kind, "{fault}: {error}");
        assert!(error.message().contains(says), "{fault}: {error}");
    }
}

#[test]
fn one_that_is_not_ready_in_time_is_killed() {
    for fault in ["silence", "half-a-frame-and-silence", "no-greeting", "never-ready"] {
        let error = load_error(fault, |settings| settings.start_timeout(Duration::from_millis(200)));
        assert_eq!(error.kind(), ErrorKind::WorkerDied, "{fault}: {error}");
        assert!(error.message().contains("was not ready within 0.2 s and was killed"), "{fault}: {error}");
    }
}

#[test]
fn a_load_ends_at_its_deadline_while_a_worker_starts() {
    let (engine, _home) = engine("silence", |settings| settings);
    let began = Instant::now();
    let error = engine.load("echo", Load::new().deadline(Duration::from_millis(50))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    // Long before the time that a worker has to start.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    engine.shutdown_within(Duration::from_secs(60)).unwrap();
}

#[test]
fn one_that_sends_what_cannot_be_is_killed() {
    let faults = [
        ("unknown-call", "a frame of call 4711, which it does not have"),
        ("pong", "an answer to a question that nobody asked"),
        ("noise-in-a-run", "a frame of 4294967295 bytes"),
        ("descriptor", "descriptor"),
    ];
    for (fault, says) in faults {
        let error = run_error(fault, Request::generate("x"), |settings| settings);
        assert_eq!(error.kind(), ErrorKind::WorkerDied, "{fault}: {error}");
        assert!(error.message().contains("sent garbage and was killed: "), "{fault}: {error}");
        assert!(error.message().contains(says), "{fault}: {error}");
        assert_eq!(error.detail("plugin"), Some("echo"));
        assert!(error.detail("worker_pid").is_some_and(|pid| pid.parse::<u32>().is_ok()), "{error:?}");
    }
}

#[test]
fn one_that_sends_more_than_a_slow_reader_lets_it_is_killed() {
    let (_, home) = engine("no-credit", |settings| settings);
    let lines = Lines::new(Level::WARN);
    let settings = WorkerSettings::new().program(example("fake_worker")).env("FAKE_WORKER", "no-credit");
    let engine = home.builder().worker(settings).log(lines.dispatch()).build().unwrap();
    let mut session = engine.load("echo", Load::new()).unwrap().session().unwrap();
    // Nobody reads until there is no worker any more.
    let stream = session.stream(Request::generate("x")).unwrap();
    let began = Instant::now();
    while lines.all().iter().all(|line| !line.contains("sent garbage")) {
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", lines.all());
        std::thread::sleep(Duration::from_millis(5));
    }
    let error = stream.filter_map(Result::err).last().unwrap();
    assert!(error.message().contains("sent garbage and was killed: more output than it had credit for"), "{error}");
    engine.shutdown_within(Duration::from_secs(60)).unwrap();
}

#[test]
fn one_that_floods_the_log_is_cut_short_and_goes_on() {
    let home = Home::with_echo();
    home.add_manifest("echo", "generate", "echo", WORKER);
    let (lines, settings) = (Lines::new(Level::WARN), fake("endless-log"));
    let engine = home.builder().worker(settings).log(lines.dispatch()).build().unwrap();
    let mut session = engine.load("echo", Load::new()).unwrap().session().unwrap();
    assert_eq!(session.run(&Request::generate("x")).unwrap().text, "fine");
    let logged = lines.of("tenon::plugin");
    let (flood, others): (Vec<_>, Vec<_>) = logged.iter().partition(|line| line.contains("xxx"));
    assert!((1_000..6_000).contains(&flood.len()), "{} lines", flood.len());
    let count =
        |line: &&&String| line.strip_prefix("message=")?.split_once(" lines were left out")?.0.parse::<usize>().ok();
    let left_out: usize = others.iter().filter_map(|line| count(&line)).sum();
    assert_eq!(flood.len() + left_out, 10_000, "{others:?}");
    assert!(others.last().unwrap().contains("the last one"), "{others:?}");
}

#[test]
fn one_that_asks_for_audio_twice_at_once_is_killed() {
    let (engine, _home) = engine("two-pulls", |settings| settings);
    let mut session = engine.load("echo", Load::new()).unwrap().session().unwrap();
    // Nobody speaks: the first is not answered.
    let stream = session.stream(Request::transcribe(AudioSource::Live)).unwrap();
    let error = stream.filter_map(Result::err).last().unwrap();
    assert!(error.message().contains("killed: a second pull before the first was answered"), "{error}");
    engine.shutdown_within(Duration::from_secs(60)).unwrap();
}

#[test]
fn one_that_sends_after_the_end_of_a_call_is_not_there_for_the_next() {
    for fault in ["done-twice", "output-after-done"] {
        let (engine, _home) = engine(fault, |settings| settings);
        let mut session = engine.load("echo", Load::new()).unwrap().session().unwrap();
        // The answer was complete. Whether it is told before the frame that is too much comes is nobody's to say.
        match session.run(&Request::generate("x")) {
            Ok(answer) => assert_eq!(answer.text, ""),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WorkerDied, "{fault}: {error}"),
        }
        drop(session);
        engine.shutdown_within(Duration::from_secs(60)).unwrap();
    }
}

#[test]
fn one_that_does_not_answer_or_does_not_end_or_hangs_up_is_killed() {
    let soon =
        |settings: WorkerSettings| settings.silence(Duration::from_millis(300)).grace(Duration::from_millis(100));
    let error = run_error("mute", Request::generate("x"), soon);
    assert!(error.message().contains("did not answer for 0.3 s and was killed"), "{error}");
    let error = run_error("hangs", Request::generate("x").deadline(Duration::from_millis(50)), soon);
    assert!(error.message().contains("did not end within 0.1 s after the deadline and was killed"), "{error}");
    assert_eq!(error.kind(), ErrorKind::WorkerDied);
    let error = run_error("hangs-up", Request::generate("x"), soon);
    assert!(error.message().contains("closed its connection, went on running and was killed"), "{error}");
}

#[test]
fn what_it_says_of_a_call_is_judged_as_what_a_plugin_says() {
    for fault in ["unknown-status", "cancelled-by-itself"] {
        let error = run_error(fault, Request::generate("x"), |settings| settings);
        assert_eq!(error.kind(), ErrorKind::Plugin, "{fault}: {error}");
        assert!(error.message().contains("which it may not"), "{fault}: {error}");
    }
}

#[test]
fn one_that_does_not_quit_is_killed_and_nobody_waits_for_that() {
    let waited = || {
        let (engine, _home) = engine("stays", |settings| settings);
        let model = engine.load("echo", Load::new()).unwrap();
        let began = Instant::now();
        drop(model);
        let waited = began.elapsed();
        engine.shutdown_within(Duration::from_secs(60)).unwrap();
        waited
    };
    // It is killed after two seconds. A busy machine may take as long once, but not always.
    assert!((0..4).any(|_| waited() < Duration::from_secs(2)));
}

#[test]
fn a_program_that_is_missing_is_named_with_where_it_was_looked_for() {
    let home = Home::with_echo();
    home.add_manifest("echo", "generate", "echo", WORKER);
    let settings = WorkerSettings::new().program("/nowhere/tenon-worker");
    let error = home.builder().worker(settings).build().unwrap().load("echo", Load::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("/nowhere/tenon-worker"), "{error}");
}
