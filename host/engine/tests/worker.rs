//! Models in workers: the same results as in this process, and an orderly end for whatever a backend does to its
//! process.

#![cfg(target_os = "linux")]

use std::sync::Arc;
use std::time::{Duration, Instant};
use tenon::{
    Answer, AudioSource, Engine, EngineBuilder, Error, ErrorKind, Event, Isolation, Load, LoadProgress, Message, Model,
    Options, Request, Role, Session, Stream,
};
use tenon_testkit::{Home, Lines, example, prober, wav, workers};
use tracing::Level;

const LONG: Duration = Duration::from_secs(60);

fn options(json: &str) -> Options {
    Options::from_json(json).unwrap()
}

/// A home whose models run in workers, with `[worker]` as given.
fn home(backend: &str, table: &str) -> Home {
    let home = if backend == "echo" { Home::with_echo() } else { Home::with_faulty() };
    home.add_manifest(backend, "generate", backend, &format!("isolation = \"worker\"\n[worker]\n{table}"));
    home
}

fn builder(home: &Home) -> EngineBuilder {
    home.builder().worker(workers().grace(Duration::from_millis(300)))
}

/// An engine, what it logs, and a model in a worker.
fn started(home: &Home) -> (Engine, Lines, Model) {
    let lines = Lines::new(Level::DEBUG);
    let engine = builder(home).log(lines.dispatch()).build().unwrap();
    let name = engine.models()[0].name.clone();
    // What the plugin is, another worker says: its start is no part of what the tests look at.
    engine.backend_for(&engine.manifest(&name).unwrap(), None).unwrap();
    while pids(&lines).len() != ended(&lines) {
        std::thread::sleep(Duration::from_millis(2));
    }
    let model = engine.load(&name, Load::new()).unwrap();
    (engine, lines, model)
}

/// The workers that were started, in order.
fn pids(lines: &Lines) -> Vec<u32> {
    let pid = |line: &String| line.split("pid=").nth(1)?.split_whitespace().next()?.parse().ok();
    lines.all().iter().filter(|line| line.contains("message=worker started")).filter_map(pid).collect()
}

fn last_pid(lines: &Lines) -> u32 {
    *pids(lines).last().unwrap()
}

/// How many workers have ended.
fn ended(lines: &Lines) -> usize {
    let is_end = |line: &&String| {
        line.contains("message=the worker has ended") || line.contains("message=the worker of backend")
    };
    lines.all().iter().filter(is_end).count()
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Whether the process is there, and not only what is left of it until somebody takes its status.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < LONG, "not in {LONG:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn asks(fault: &str) -> Request {
    Request::generate("text").options(options(&format!(r#"{{"fault": "{fault}", "seconds": 60}}"#)))
}

/// A request that hangs by now.
fn hung(session: &mut Session) -> Stream {
    let mut stream = session.stream(asks("hang")).unwrap();
    assert_eq!(stream.next().unwrap().unwrap(), Event::Progress(0.5));
    stream
}

fn is_well(session: &mut Session) {
    assert_eq!(session.run(&Request::generate("text")).unwrap().text, "all is well");
}

fn sound(samples: usize) -> Vec<f32> {
    (0..samples).map(|at| (at % 100) as f32 / 200.0).collect()
}

/// A request of every task, with more samples than a frame holds.
fn requests() -> Vec<Request> {
    let message = |role, content: &str| Message { role, content: content.to_owned() };
    let audio = || AudioSource::mono(sound(50_000), 16_000);
    vec![
        Request::generate("one two ☃ three").options(options(r#"{"tokens": true, "max_tokens": 3}"#)),
        Request::generate("one two three").options(options(r#"{"stop": ["th"]}"#)),
        Request::chat(vec![message(Role::System, "be brief"), message(Role::User, "good morning")]),
        Request::embed(vec!["a".to_owned(), String::new(), "longer".to_owned()]),
        Request::transcribe(audio()).options(options(r#"{"words": true, "tokens": true}"#)),
        Request::transcribe(AudioSource::Bytes(wav(&sound(40_000), 8_000).into())),
        Request::translate(audio()),
        Request::detect_language(audio()),
        Request::generate("x").options(options(r#"{"grammar": "root ::= \"x\""}"#)),
        Request::generate("x").options(options(r#"{"no_such_option": 1}"#)),
    ]
}

/// What of an answer does not depend on the moment and the place.
fn said(answer: Answer) -> String {
    let Answer { task, text, segments, tokens, language, embeddings, finish, usage, notes, damage, .. } = answer;
    format!("{:?}", (task, text, segments, tokens, language, embeddings, finish, usage, notes, damage))
}

fn events(session: &mut Session, request: &Request) -> Vec<String> {
    let tell = |event: Result<Event, Error>| match event {
        Ok(Event::End(answer)) => said(*answer),
        Ok(event) => event.to_json(),
        Err(error) => told(&error),
    };
    match session.stream(request.clone()) {
        Ok(stream) => stream.map(tell).collect(),
        Err(error) => vec![told(&error)],
    }
}

fn told(error: &Error) -> String {
    format!("{:?}", (error.kind(), error.message(), error.details().collect::<Vec<_>>()))
}

#[test]
fn every_task_gives_the_same_as_in_this_process() {
    let home = Home::with_echo();
    let engine = builder(&home).build().unwrap();
    let here = engine.load("echo", Load::new()).unwrap();
    let there = engine.load("echo", Load::new().isolation(Isolation::Worker)).unwrap();
    let (mut here, mut there) = (here.session().unwrap(), there.session().unwrap());
    for request in requests() {
        let outcome = |session: &mut Session| session.run(&request).map_or_else(|error| told(&error), said);
        assert_eq!(outcome(&mut here), outcome(&mut there));
        assert_eq!(events(&mut here, &request), events(&mut there, &request));
    }
}

#[test]
fn live_audio_gives_the_same_as_in_this_process() {
    let home = Home::with_echo();
    let engine = builder(&home).build().unwrap();
    let transcribed = |isolation: Isolation| {
        let mut session = engine.load("echo", Load::new().isolation(isolation)).unwrap().session().unwrap();
        let mut stream = session.stream(Request::transcribe(AudioSource::Live)).unwrap();
        // Blocks of all sizes, one of them larger than a frame.
        for block in [1, 160, 4_000, 40_000, 23] {
            stream.push_audio(&sound(block), 16_000, 1).unwrap();
        }
        // What can be heard is heard before the input ends.
        let first = stream.by_ref().take(3).map(|event| event.unwrap().to_json()).collect::<Vec<_>>();
        stream.finish_input().unwrap();
        let rest = stream.map(|event| match event.unwrap() {
            Event::End(answer) => said(*answer),
            event => event.to_json(),
        });
        first.into_iter().chain(rest).collect::<Vec<_>>()
    };
    assert_eq!(transcribed(Isolation::Process), transcribed(Isolation::Worker));
}

#[test]
fn loads_tell_how_far_they_are_and_answers_where_they_come_from() {
    let home = Home::with_echo();
    let engine = builder(&home).build().unwrap();
    let steps = |isolation: Isolation| {
        let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        let load = Load::new().isolation(isolation).options(options(r#"{"delay_ms": 15}"#)).progress(move |how_far| {
            if let LoadProgress::Open(fraction) = how_far {
                hears.lock().unwrap().push(fraction);
            }
        });
        let model = engine.load("echo", load).unwrap();
        let answer = model.session().unwrap().run(&Request::generate("x")).unwrap();
        let heard = heard.lock().unwrap().clone();
        (heard, answer.provenance.isolation, answer.provenance.sandbox)
    };
    let (here, isolation, sandbox) = steps(Isolation::Process);
    assert_eq!((isolation, sandbox), ("process", None));
    let (there, isolation, sandbox) = steps(Isolation::Worker);
    assert_eq!((isolation, sandbox.is_some()), ("worker", true));
    assert_eq!(here.last(), Some(&1.0));
    // Of steps that come faster than they are told, only the latest is.
    assert_eq!(there.last(), Some(&1.0));
    assert!(there.len() > 1 && there.iter().all(|step| here.contains(step)), "{there:?}");
}

#[test]
fn a_progress_callback_that_panics_stops_no_load_and_hears_nothing_more() {
    let home = Home::with_echo();
    let lines = Lines::new(Level::DEBUG);
    let engine = builder(&home).log(lines.dispatch()).build().unwrap();
    for isolation in [Isolation::Process, Isolation::Worker] {
        let load = Load::new().isolation(isolation).options(options(r#"{"delay_ms": 100}"#));
        let panics = load.progress(|how_far| assert!(!matches!(how_far, LoadProgress::Open(_)), "in a test"));
        let model = engine.load("echo", panics).unwrap();
        assert_eq!(model.session().unwrap().run(&Request::generate("x")).unwrap().text, "x");
    }
    let panics = lines.all().into_iter().filter(|line| line.contains("the progress callback of a load panicked"));
    assert_eq!(panics.count(), 2, "{:?}", lines.all());
    until("every worker ended with its model", || pids(&lines).len() == ended(&lines));
}

#[test]
fn what_the_plugin_logs_and_estimates_arrives() {
    let home = home("faulty", "");
    let (_engine, lines, model) = started(&home);
    let error = model.session().unwrap().run(&asks("panic")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panic);
    let panics = lines.of("tenon::plugin").into_iter().filter(|line| line.contains("asked to panic"));
    assert_eq!(panics.count(), 1, "{:?}", lines.all());
    let home = Home::with_echo();
    let file = home.add_file("model", "weights.bin", &[7; 1000]);
    home.add_manifest("here", "generate", "echo", &file);
    home.add_manifest("there", "generate", "echo", &format!("isolation = \"worker\"\n{file}"));
    let engine = builder(&home).build().unwrap();
    let estimate = |name| engine.estimate(name, &Load::new()).unwrap().total(2);
    assert_eq!(estimate("here"), estimate("there"));
    assert_eq!(
        engine.load("there", Load::new()).unwrap().session().unwrap().run(&requests()[0]).unwrap().text.len(),
        12
    );
}

#[test]
fn what_ends_the_process_ends_the_worker_and_the_next_request_has_a_new_one() {
    let home = home("faulty", "");
    let (engine, lines, model) = started(&home);
    let mut session = model.session().unwrap();
    let faults = [
        ("abort", "crashed with SIGABRT", Some("SIGABRT"), None),
        ("segfault", "crashed with SIGSEGV", Some("SIGSEGV"), None),
        ("stack-overflow", "crashed with SIGSEGV", Some("SIGSEGV"), None),
        ("exit", "ended by itself with exit code 77", None, Some("77")),
    ];
    for (fault, says, signal, code) in faults {
        let pid = last_pid(&lines).to_string();
        let error = session.run(&asks(fault)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WorkerDied, "{fault}: {error}");
        assert!(error.message().contains(says), "{fault}: {error}");
        assert_eq!((error.detail("signal"), error.detail("exit_code")), (signal, code), "{fault}: {error:?}");
        assert_eq!(error.detail("worker_pid"), Some(&*pid));
        assert_eq!(error.detail("plugin"), Some("faulty"));
        is_well(&mut session);
        assert_ne!(last_pid(&lines).to_string(), pid);
    }
    drop((session, model));
    engine.shutdown_within(LONG).unwrap();
    assert!(pids(&lines).into_iter().all(|pid| !runs(pid)));
}

#[test]
fn a_request_that_hangs_past_its_deadline_or_cancel_costs_its_worker() {
    let home = home("faulty", "");
    let (_engine, _lines, model) = started(&home);
    let (mut session, mut other) = (model.session().unwrap(), model.session().unwrap());
    let error = session.run(&asks("hang").deadline(Duration::from_millis(50))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WorkerDied);
    assert!(error.message().contains("did not end within 0.3 s after the deadline and was killed"), "{error}");
    is_well(&mut session);
    is_well(&mut other);
    let stream = hung(&mut session);
    stream.cancel();
    let error = stream.filter_map(Result::err).last().unwrap();
    assert!(error.message().contains("after the request was cancelled and was killed"), "{error}");
    is_well(&mut other);
    // Nobody reads this one to its end: dropping it ends it as well.
    drop(hung(&mut session));
    is_well(&mut session);
}

#[test]
fn requests_that_end_in_time_keep_their_worker() {
    let home = home("faulty", "");
    let (_engine, lines, model) = started(&home);
    let mut session = model.session().unwrap();
    let error = session.run(&asks("flood").deadline(Duration::from_millis(50))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    let mut stream = session.stream(asks("flood")).unwrap();
    stream.next().unwrap().unwrap();
    stream.cancel();
    assert_eq!(stream.filter_map(Result::err).last().unwrap().kind(), ErrorKind::Cancelled);
    is_well(&mut session);
    assert_eq!(pids(&lines).len(), pids(&lines).iter().position(|pid| *pid == last_pid(&lines)).unwrap() + 1);
    assert!(runs(last_pid(&lines)));
    assert_eq!(ended(&lines) + 1, pids(&lines).len());
}

#[test]
fn a_worker_is_killed_at_any_moment_and_nothing_else_is_lost() {
    let home = home("echo", "");
    let (engine, lines, model) = started(&home);
    let mut session = model.session().unwrap();
    // Idle.
    kill(last_pid(&lines));
    until("the death is noticed", || ended(&lines) == pids(&lines).len());
    assert_eq!(session.run(&Request::generate("idle")).unwrap().text, "idle");
    // In the middle of a stream.
    let slow = Request::generate("a b c d e f g h").options(options(r#"{"delay_ms": 5000}"#));
    let mut stream = session.stream(slow.options(options(r#"{"delay_ms": 50}"#))).unwrap();
    assert_eq!(stream.next().unwrap().unwrap(), Event::Text("a ".to_owned()));
    kill(last_pid(&lines));
    let error = stream.filter_map(Result::err).last().unwrap();
    assert_eq!((error.kind(), error.detail("signal")), (ErrorKind::WorkerDied, Some("SIGKILL")));
    assert!(error.message().contains("perhaps by the system for want of memory"), "{error}");
    assert_eq!(session.run(&Request::generate("stream")).unwrap().text, "stream");
    // While a model is loading.
    let known = pids(&lines).len();
    let loading = {
        let engine = engine.clone();
        let load = Load::new().options(options(r#"{"delay_ms": 10000}"#));
        std::thread::spawn(move || engine.load("echo", load).unwrap_err())
    };
    until("another worker", || pids(&lines).len() > known);
    kill(last_pid(&lines));
    assert_eq!(loading.join().unwrap().kind(), ErrorKind::WorkerDied);
    assert_eq!(session.run(&Request::generate("load")).unwrap().text, "load");
}

#[test]
fn workers_that_die_in_a_row_are_not_started_for_a_while() {
    let home = home("faulty", "");
    let (_engine, lines, model) = started(&home);
    let mut session = model.session().unwrap();
    for _ in 0..3 {
        assert_eq!(session.run(&asks("abort")).unwrap_err().detail("signal"), Some("SIGABRT"));
    }
    let known = pids(&lines).len();
    let error = session.run(&Request::generate("text")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WorkerDied);
    assert!(error.message().contains("3 workers of this model died in a row"), "{error}");
    assert!(error.message().contains("will try again in "), "{error}");
    let wait: u64 = error.detail("retry_after_ms").unwrap().parse().unwrap();
    assert_eq!(pids(&lines).len(), known);
    std::thread::sleep(Duration::from_millis(wait));
    is_well(&mut session);
    // A request was served: the next death is the first.
    session.run(&asks("abort")).unwrap_err();
    is_well(&mut session);
}

#[test]
fn a_worker_that_nobody_uses_ends_and_comes_back() {
    let home = home("faulty", "idle_timeout = 1");
    let (_engine, lines, model) = started(&home);
    let mut session = model.session().unwrap();
    is_well(&mut session);
    let pid = last_pid(&lines);
    until("it ends", || !runs(pid));
    is_well(&mut session);
    assert_ne!(last_pid(&lines), pid);
    assert!(lines.all().iter().all(|line| !line.contains("message=the worker of backend")), "{:?}", lines.all());
}

#[test]
fn who_gives_up_on_a_restart_leaves_it_to_the_next_one() {
    let home = Home::with_echo();
    home.add_manifest("echo", "generate", "echo", "isolation = \"worker\"\n[load]\ndelay_ms = 50");
    let (_engine, lines, model) = started(&home);
    let mut session = model.session().unwrap();
    let (pid, starts) = (last_pid(&lines), pids(&lines).len());
    kill(pid);
    until("it ends", || !runs(pid));
    // A start takes ten times as long as a delay, and nobody waits for so long.
    let request = Request::generate("at last").deadline(Duration::from_millis(150));
    let mut outcomes = std::iter::repeat_with(|| session.run(&request)).take(200);
    let first = outcomes.position(|outcome| outcome.is_ok()).expect("no start has come to its end");
    assert!(first > 0, "the start was faster than the deadline: nothing was shown");
    assert_eq!(pids(&lines).len(), starts + 1, "{:?}", lines.all());
}

/// Listens to nothing but warnings, and panics when it hears one.
struct Panics;

impl tracing::Subscriber for Panics {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        panic!("for the test: whoever listens to the log panics");
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_log_that_panics_keeps_nobody_from_hearing_of_a_crash() {
    let home = home("faulty", "");
    let engine = builder(&home).log(tracing::Dispatch::new(Panics)).build().unwrap();
    let model = engine.load("faulty", Load::new()).unwrap();
    let mut session = model.session().unwrap();
    let error = session.run(&asks("abort")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WorkerDied, "{error}");
    is_well(&mut session);
    drop((session, model));
    engine.shutdown_within(LONG).unwrap();
}

#[test]
#[expect(unsafe_code, reason = "no safe function blocks signals")]
fn signals_that_a_thread_of_the_host_blocks_are_not_blocked_in_its_workers() {
    let home = home("faulty", "");
    // SAFETY: the set is written before it is read, and the mask is this thread's.
    unsafe {
        let mut signals = std::mem::MaybeUninit::uninit();
        libc::sigemptyset(signals.as_mut_ptr());
        [libc::SIGTERM, libc::SIGSEGV].iter().for_each(|signal| _ = libc::sigaddset(signals.as_mut_ptr(), *signal));
        libc::pthread_sigmask(libc::SIG_BLOCK, signals.as_ptr(), std::ptr::null_mut());
    }
    let (_engine, lines, _model) = started(&home);
    let blocked = |process: &str| {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().trim().to_owned();
        u64::from_str_radix(&line, 16).unwrap()
    };
    assert_ne!(blocked("thread-self"), 0);
    assert_eq!(blocked(&last_pid(&lines).to_string()), 0);
}

#[test]
fn a_request_without_a_sign_of_life_is_ended_and_one_that_waits_for_its_reader_is_not() {
    let home = home("faulty", "stall_timeout = 1");
    let (_engine, lines, model) = started(&home);
    let mut session = model.session().unwrap();
    let mut stream = session.stream(asks("flood")).unwrap();
    stream.next().unwrap().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    stream.cancel();
    assert_eq!(stream.filter_map(Result::err).last().unwrap().kind(), ErrorKind::Cancelled);
    let pid = last_pid(&lines);
    let error = session.run(&asks("hang")).unwrap_err();
    assert_eq!(error.detail("worker_pid"), Some(&*pid.to_string()));
    assert!(error.message().contains("gave no sign of life for 1 s and was killed"), "{error}");
    is_well(&mut session);
}

#[test]
fn more_memory_than_allowed_ends_the_worker_alone() {
    let home = home("faulty", "memory_limit = 268435456");
    let (_engine, _lines, model) = started(&home);
    let mut session = model.session().unwrap();
    is_well(&mut session);
    let error = session.run(&asks("leak")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WorkerDied);
    assert!(error.message().contains("exceeded its memory limit of 268435456 bytes"), "{error}");
    is_well(&mut session);
}

#[test]
fn sessions_side_by_side_share_a_worker_and_those_of_a_pool_do_not() {
    for (count, wanted) in [(1, 1), (2, 2)] {
        let home = home("echo", &format!("count = {count}"));
        let (_engine, lines, model) = started(&home);
        let known = pids(&lines).len();
        let mut sessions: Vec<Session> = (0..4).map(|_| model.session().unwrap()).collect();
        assert_eq!(pids(&lines).len() - known, wanted - 1);
        let slow = options(r#"{"delay_ms": 20}"#);
        std::thread::scope(|scope| {
            for (number, session) in sessions.iter_mut().enumerate() {
                let text = format!("session {number} says this");
                let request = Request::generate(text.clone()).options(slow.clone());
                scope.spawn(move || (0..3).for_each(|_| assert_eq!(session.run(&request).unwrap().text, text)));
            }
        });
        // The last worker dies. That costs the first session its request only where it is the same.
        let long = Request::generate("a b c d").options(options(r#"{"delay_ms": 100}"#));
        let mut stream = sessions[0].stream(long).unwrap();
        stream.next().unwrap().unwrap();
        kill(last_pid(&lines));
        let ended = stream.last().unwrap();
        assert_eq!(ended.map_err(|error| error.kind()).err(), (wanted == 1).then_some(ErrorKind::WorkerDied));
        for session in &mut sessions {
            assert_eq!(session.run(&Request::generate("again")).unwrap().text, "again");
        }
    }
}

#[test]
fn a_pool_whose_further_workers_cannot_start_goes_on_with_the_one_that_lives() {
    let home = home("echo", "count = 2");
    let link = home.path().join("linked-worker");
    std::os::unix::fs::symlink(tenon_testkit::worker(), &link).unwrap();
    let engine = home.builder().worker(tenon::WorkerSettings::new().program(&link)).build().unwrap();
    let model = engine.load("echo", Load::new()).unwrap();
    let mut first = model.session().unwrap();
    std::fs::remove_file(&link).unwrap();
    for _ in 0..6 {
        assert_eq!(model.session().unwrap().run(&Request::generate("second")).unwrap().text, "second");
        assert_eq!(first.run(&Request::generate("first")).unwrap().text, "first");
    }
}

#[test]
fn options_that_are_nested_too_deeply_for_a_worker_cost_their_request_alone() {
    let home = home("echo", "");
    let (_engine, lines, model) = started(&home);
    let (mut one, mut other) = (model.session().unwrap(), model.session().unwrap());
    let slow = Request::generate("a b c d").options(options(r#"{"delay_ms": 50}"#));
    let mut stream = other.stream(slow).unwrap();
    stream.next().unwrap().unwrap();
    // As deep as a text is read at all, and a level deeper inside of the options.
    let deep = (0..127).fold(serde_json::Value::from(1), |inner, _| serde_json::json!({"a": inner}));
    let mut asked = Options::new();
    asked.set("json_schema", deep);
    let error = one.run(&Request::generate("x").options(asked)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Options, "{error}");
    assert!(stream.all(|event| event.is_ok()));
    assert_eq!(one.run(&Request::generate("well")).unwrap().text, "well");
    assert_eq!(ended(&lines) + 1, pids(&lines).len());
}

#[test]
fn a_load_may_be_silent_for_longer_than_a_request() {
    let home = home("faulty", "stall_timeout = 1");
    let engine = builder(&home).build().unwrap();
    let load = Load::new().options(options(r#"{"fault": "open-hang", "seconds": 4}"#));
    // It comes to the end that the backend wants, or to a model.
    let died = engine.load("faulty", load).err().filter(|error| error.kind() == ErrorKind::WorkerDied);
    assert!(died.is_none(), "{died:?}");
}

#[test]
fn a_backend_that_runs_one_session_at_a_time_does_so_in_each_of_its_workers() {
    let home = Home::new();
    home.add_plugin(&prober());
    for count in [1, 2] {
        let name = format!("prober-{count}");
        home.add_manifest(&name, "generate", "prober", &format!("isolation = \"worker\"\n[worker]\ncount = {count}"));
        let model = builder(&home).build().unwrap().load(&name, Load::new()).unwrap();
        // More sessions than workers, so that some share one.
        let mut sessions: Vec<Session> = (0..5).map(|_| model.session().unwrap()).collect();
        std::thread::scope(|scope| {
            for session in &mut sessions {
                let request = Request::generate("").options(options(r#"{"stay": true}"#));
                scope.spawn(move || (0..4).for_each(|_| assert_eq!(session.run(&request).unwrap().text, "alone")));
            }
        });
    }
}

#[test]
fn what_goes_wrong_before_a_model_is_there_is_an_error_of_the_load() {
    let faults = [
        ("entry-error", ErrorKind::Backend),
        ("entry-panic", ErrorKind::Panic),
        ("entry-null-out", ErrorKind::Plugin),
        ("wrong-major", ErrorKind::AbiMismatch),
        ("other-id", ErrorKind::Plugin),
        ("describe-panic", ErrorKind::Panic),
        ("describe-no-json", ErrorKind::Plugin),
        ("entry-hang", ErrorKind::WorkerDied),
    ];
    let home = home("faulty", "sandbox = \"off\"");
    for (fault, kind) in faults {
        let wait = if fault == "entry-hang" { Duration::from_millis(500) } else { LONG };
        let settings = workers().env("TENON_FAULTY", fault).start_timeout(wait);
        let engine = home.builder().worker(settings).build().unwrap();
        let error = engine.load("faulty", Load::new()).unwrap_err();
        assert_eq!(error.kind(), kind, "{fault}: {error}");
        assert_eq!(error.detail("plugin"), Some("faulty"), "{fault}: {error:?}");
        engine.shutdown_within(LONG).unwrap();
    }
}

#[test]
fn a_load_that_hangs_and_a_close_that_hangs_cost_their_worker() {
    let home = home("faulty", "");
    let (engine, lines, model) = started(&home);
    drop(model);
    let load = |fault: &str| Load::new().options(options(&format!(r#"{{"fault": "{fault}", "seconds": 60}}"#)));
    let error = engine.load("faulty", load("open-hang").deadline(Duration::from_millis(100))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WorkerDied);
    assert!(error.message().contains("after the deadline and was killed"), "{error}");
    let model = engine.load("faulty", load("session-close-hang")).unwrap();
    let mut session = model.session().unwrap();
    drop(model.session().unwrap());
    is_well(&mut session);
    drop((session, model));
    let model = engine.load("faulty", load("close-hang")).unwrap();
    is_well(&mut model.session().unwrap());
    let began = Instant::now();
    drop(model);
    // A tenth of a second, on a machine that has nothing else to do; the close would take a minute.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    engine.shutdown_within(LONG).unwrap();
    assert!(pids(&lines).into_iter().all(|pid| !runs(pid)));
}

#[test]
fn a_shutdown_ends_workers_whatever_they_do() {
    let home = home("faulty", "");
    let (engine, lines, model) = started(&home);
    let (mut busy, idle) = (model.session().unwrap(), model.session().unwrap());
    let stream = hung(&mut busy);
    engine.shutdown_within(LONG).unwrap();
    assert_eq!(stream.filter_map(Result::err).last().unwrap().kind(), ErrorKind::WorkerDied);
    assert!(pids(&lines).into_iter().all(|pid| !runs(pid)));
    drop(idle);
    assert_eq!(busy.run(&Request::generate("x")).unwrap_err().kind(), ErrorKind::Shutdown);
}

#[test]
fn the_end_of_the_host_is_the_end_of_its_workers() {
    let home = home("faulty", "");
    let mut command = std::process::Command::new(example("ask"));
    command.env("TENON_WORKER", tenon_testkit::worker()).stdout(std::process::Stdio::null()).arg(home.path());
    let mut host =
        command.args(["faulty", "generate", "text", "{}", r#"{"fault": "hang", "seconds": 60}"#]).spawn().unwrap();
    // The one that describes the plugin, or the one of the model: at whatever moment.
    until("a worker runs", || !children(host.id()).is_empty());
    let workers = children(host.id());
    host.kill().unwrap();
    host.wait().unwrap();
    until("they are gone", || !workers.iter().any(|pid| runs(*pid)));
}

fn children(parent: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten();
    let texts = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    texts.flat_map(|text| text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>()).collect()
}
