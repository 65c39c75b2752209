//! The program by itself, driven over its connection as an engine would, and as no engine should.
#![cfg(unix)]

mod common;

use common::{Ended, Worker, run, start};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;
use tenon_abi::status;
use tenon_testkit::{Built, echo, faulty, prober};
use tenon_wire::{Order, Output, Reply};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tenon-worker");

fn fault(name: &str) -> String {
    format!(r#"{{"fault": "{name}"}}"#)
}

fn texts(replies: &[Reply]) -> usize {
    replies.iter().filter(|reply| matches!(reply, Reply::Output { output: Output::Text(_), .. })).count()
}

fn ends_with(mut worker: Worker, body: impl FnOnce(&mut Worker)) -> Ended {
    body(&mut worker);
    worker.ended()
}

/// What becomes of a worker that gets an order which makes no sense.
fn refuses(worker: Worker, says: &str, body: impl FnOnce(&mut Worker)) {
    let ended = ends_with(worker, body);
    assert_eq!(ended.code(), 70, "{}", ended.stderr);
    assert!(ended.stderr.contains("the engine broke the protocol") && ended.stderr.contains(says), "{}", ended.stderr);
}

#[test]
fn started_by_hand_it_says_what_it_is() {
    let output = Command::new(PROGRAM).stdin(std::process::Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Tenon starts it"));
    assert!(output.stdout.is_empty());
    let output = Command::new(PROGRAM).arg("--serve").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let output = Command::new(PROGRAM).arg("--version").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with(&format!("tenon-worker {}", tenon_wire::VERSION)));
}

#[test]
fn what_makes_no_sense_ends_it_with_a_line_that_says_so() {
    let Built { library: echo, .. } = echo();
    let options = || "{}".to_owned();
    refuses(Worker::spawn(), "the first order", |worker| worker.send(Order::Ping { serial: 1 }));
    refuses(Worker::spawn(), "", |worker| worker.send_bytes(&[0xff; 64]));
    refuses(Worker::started(&echo), "", |worker| worker.send_bytes(b"\x05\0\0\0\xc8\0\0\0\0"));
    refuses(Worker::started(&echo), "second order to start", |worker| {
        worker.send(Order::Start(Box::new(start(&echo))));
    });
    refuses(Worker::started(&echo), "a session before the model", |worker| {
        worker.send(Order::OpenSession { call: 1, session: 1, options: options() });
    });
    refuses(Worker::ready(&echo), "a second model", |worker| {
        worker.send(Order::OpenModel { call: 3, options: options() });
    });
    refuses(Worker::ready(&echo), "a session of a number", |worker| {
        worker.send(Order::OpenSession { call: 3, session: 1, options: options() });
    });
    refuses(Worker::ready(&echo), "not open", |worker| worker.send(Order::ResetSession { call: 3, session: 2 }));
    refuses(Worker::ready(&echo), "in another call", |worker| {
        worker.send(run(3, "generate", "x", r#"{"delay_ms": 60000}"#));
        worker.send(run(4, "generate", "x", "{}"));
    });
    refuses(Worker::ready(&echo), "audio that no call asked for", |worker| {
        worker.send(run(3, "generate", "x", r#"{"delay_ms": 60000}"#));
        worker.send(Order::NoBlock { call: 3, status: status::E_END });
    });
}

#[test]
fn options_that_cannot_be_read_are_an_error_of_their_call_alone() {
    let deep = format!("{}1{}", r#"{"a":"#.repeat(128), "}".repeat(128));
    let mut worker = Worker::started(&faulty().library);
    for options in [&*deep, "[1"] {
        worker.send(Order::Estimate { call: 1, options: options.to_owned() });
        assert_eq!(worker.done(1).status, status::E_OPTIONS);
    }
    let mut worker = worker.with_session();
    worker.send(Order::OpenSession { call: 3, session: 2, options: deep.clone() });
    assert_eq!(worker.done(3).status, status::E_OPTIONS);
    // Its number is free again.
    worker.send(Order::OpenSession { call: 4, session: 2, options: "{}".to_owned() });
    assert_eq!(worker.done(4).status, status::OK);
    let (_, outcome) = worker.generate("x", &deep);
    assert_eq!(outcome.status, status::E_OPTIONS);
    assert!(outcome.message.is_some_and(|message| message.contains("nest them less deeply")));
    assert_eq!(worker.generate("x", "{}").0, "all is well");
    let mut worker = Worker::started(&faulty().library);
    worker.send(Order::OpenModel { call: 1, options: deep });
    assert_eq!(worker.done(1).status, status::E_OPTIONS);
}

#[test]
fn it_ends_with_the_connection_before_the_start_and_in_the_middle_of_a_call() {
    let ended = ends_with(Worker::spawn(), |worker| worker.hang_up());
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let ended = ends_with(Worker::ready(&faulty().library), |worker| {
        worker.send(run(3, "generate", "x", r#"{"fault": "hang", "seconds": 60}"#));
        worker.hang_up();
    });
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}

#[test]
fn it_ends_with_its_parent_although_another_process_keeps_the_connection() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // Commands in the background get another standard input, unless they are told which.
    let script = r#"exec 3<&0; "$0" <&3 3<&- & wait"#;
    let mut parent = Command::new("sh").args(["-c", script, PROGRAM]).stdin(OwnedFd::from(theirs)).spawn().unwrap();
    // It greets.
    ours.read_exact(&mut [0]).unwrap();
    parent.kill().unwrap();
    parent.wait().unwrap();
    // This end stays open, and the other one closes.
    ours.read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn a_run_gives_its_output_and_its_end() {
    let mut worker = Worker::ready(&echo().library);
    let (text, outcome) = worker.generate("hello there", "{}");
    assert_eq!((text.trim(), outcome.status), ("hello there", status::OK));
    worker.send(Order::ResetSession { call: 3, session: 1 });
    assert_eq!(worker.done(3).status, status::OK);
    worker.send(Order::Estimate { call: 4, options: "{}".to_owned() });
    let (replies, outcome) = worker.until_done(4);
    assert_eq!(outcome.status, status::OK);
    assert!(matches!(&replies[..], [Reply::Output { call: 4, output: Output::Document { .. } }]), "{replies:?}");
    // Nobody uses it again; closing what is not there is no mistake.
    worker.send(Order::CloseSession { session: 1 });
    worker.send(Order::CloseSession { session: 99 });
    worker.send(Order::Cancel { call: 99, status: status::E_CANCELLED });
    worker.send(Order::Quit);
    let ended = worker.ended();
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
}

#[test]
fn output_waits_for_credit_and_the_worker_answers_meanwhile() {
    let mut worker = Worker::ready(&faulty().library);
    let Order::Run(mut order) = run(3, "generate", "x", &fault("flood")) else { unreachable!() };
    order.credit = 5;
    worker.send(Order::Run(order));
    let outputs = |worker: &mut Worker, count: usize| {
        (0..count).for_each(|_| assert!(matches!(worker.reply(), Reply::Output { call: 3, .. })));
    };
    outputs(&mut worker, 5);
    for serial in [10, 11] {
        worker.send(Order::Ping { serial });
        assert!(matches!(worker.reply(), Reply::Pong { serial: back, .. } if back == serial));
    }
    worker.send(Order::Credit { call: 3, count: 3 });
    outputs(&mut worker, 3);
    worker.send(Order::Cancel { call: 3, status: status::E_CANCELLED });
    let (rest, outcome) = worker.until_done(3);
    assert_eq!((texts(&rest), outcome.status), (0, status::E_CANCELLED));
    assert_eq!(worker.generate("x", "{}").0, "all is well");
}

#[test]
fn a_deadline_ends_a_call_that_waits_for_credit() {
    let mut worker = Worker::ready(&faulty().library);
    let Order::Run(mut order) = run(3, "generate", "x", &fault("flood")) else { unreachable!() };
    (order.credit, order.deadline_us) = (1, Some(20_000));
    worker.send(Order::Run(order));
    assert_eq!(worker.done(3).status, status::E_DEADLINE);
}

#[test]
fn sessions_run_beside_each_other_and_close_after_their_call() {
    let mut worker = Worker::ready(&faulty().library);
    worker.send(Order::OpenSession { call: 3, session: 2, options: "{}".to_owned() });
    assert_eq!(worker.done(3).status, status::OK);
    worker.send(run(4, "generate", "x", &fault("flood")));
    let Order::Run(mut other) = run(5, "generate", "x", "{}") else { unreachable!() };
    other.session = 2;
    worker.send(Order::Run(other));
    let (before, outcome) = worker.until_done(5);
    assert_eq!(outcome.status, status::OK);
    assert!(before.iter().all(|reply| matches!(reply, Reply::Output { call: 4 | 5, .. })), "{before:?}");
    // The first is in a call, which goes on; the second is not.
    worker.send(Order::CloseSession { session: 1 });
    worker.send(Order::CloseSession { session: 2 });
    worker.send(Order::Cancel { call: 4, status: status::E_SHUTDOWN });
    assert_eq!(worker.done(4).status, status::E_SHUTDOWN);
    refuses(worker, "not open", |worker| worker.send(run(6, "generate", "x", "{}")));
}

#[cfg(target_os = "linux")]
#[test]
fn a_call_that_waits_for_a_thread_ends_at_once_when_it_is_cancelled() {
    let mut order = start(&faulty().library);
    // In the middle of what the worker itself needs, 3 MiB, and that with the stack of one more thread.
    order.memory_limit = Some(6 << 20);
    let mut worker = Worker::spawn().start(order).with_session();
    worker.send(Order::OpenSession { call: 3, session: 2, options: "{}".to_owned() });
    assert_eq!(worker.done(3).status, status::OK);
    worker.send(run(4, "generate", "x", &fault("hang")));
    let Order::Run(mut other) = run(5, "generate", "x", "{}") else { unreachable!() };
    other.session = 2;
    worker.send(Order::Run(other));
    worker.send(Order::Cancel { call: 5, status: status::E_CANCELLED });
    let (before, outcome) = worker.until_done(5);
    assert_eq!(outcome.status, status::E_CANCELLED);
    assert!(before.iter().all(|reply| matches!(reply, Reply::Progress { call: 4, .. })), "{before:?}");
    // Its session is as before.
    worker.send(Order::CloseSession { session: 2 });
    worker.send(Order::Ping { serial: 6 });
    let next =
        std::iter::repeat_with(|| worker.reply()).find(|reply| !matches!(reply, Reply::Progress { call: 4, .. }));
    assert!(matches!(next, Some(Reply::Pong { serial: 6, .. })), "{next:?}");
}

#[test]
fn quitting_ends_the_calls_that_run() {
    let ended = ends_with(Worker::ready(&faulty().library), |worker| {
        worker.send(run(3, "generate", "x", &fault("flood")));
        worker.send(Order::Quit);
        assert_eq!(worker.done(3).status, status::E_SHUTDOWN);
    });
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
}

#[test]
fn a_crash_is_one_line_the_end_of_the_connection_and_then_the_signal() {
    let library = faulty().library;
    let crashes = [
        ("segfault", -libc::SIGSEGV, "tenon-worker: crash signal=11 address=0x8\n"),
        ("abort", -libc::SIGABRT, "tenon-worker: crash signal=6\n"),
        ("stack-overflow", -libc::SIGSEGV, "tenon-worker: crash signal=11 address=0x"),
        ("exit", 77, ""),
    ];
    for (name, code, line) in crashes {
        let ended = ends_with(Worker::ready(&library), |worker| {
            worker.send(run(3, "generate", "x", &fault(name)));
            assert!(matches!(worker.replies.receive(Some(Duration::from_secs(60))), Ok(tenon_wire::Received::Closed)));
        });
        assert_eq!(ended.code(), code, "{name}: {}", ended.stderr);
        assert!(ended.stderr.starts_with(line), "{name}: {}", ended.stderr);
        assert!(ended.stderr.lines().count() <= 1, "{name}: {}", ended.stderr);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_crash_at_the_memory_limit_says_so() {
    let mut order = start(&faulty().library);
    order.memory_limit = Some(256 << 20);
    let worker = Worker::spawn().start(order).with_session();
    let ended = ends_with(worker, |worker| worker.send(run(3, "generate", "x", &fault("leak"))));
    assert_eq!(ended.code(), -libc::SIGABRT, "{}", ended.stderr);
    assert!(ended.stderr.contains("tenon-worker: crash memory-limit\n"), "{}", ended.stderr);
}

#[test]
fn errors_cross_with_their_kinds_and_words() {
    let mut worker = Worker::ready(&faulty().library);
    let (_, outcome) = worker.generate("x", &fault("unknown-status"));
    assert_eq!(outcome.status, status::E_PLUGIN);
    assert!(outcome.message.is_some_and(|message| message.contains("unknown status 4711")));
    let (_, outcome) = worker.generate("x", &fault("endless-text"));
    assert_eq!(outcome.status, status::E_PLUGIN);
    assert_eq!(worker.generate("x", "{}").0, "all is well");
    // Last, for the session is of no use after it.
    let (_, outcome) = worker.generate("x", &fault("panic"));
    assert_eq!(outcome.status, status::E_PANIC);
    assert!(outcome.message.is_some_and(|message| message.contains("the run was asked to panic")));
}

#[test]
fn a_model_that_cannot_be_opened_leaves_the_worker_well() {
    let mut worker = Worker::started(&faulty().library);
    worker.send(Order::OpenModel { call: 1, options: fault("open-error-without-message") });
    assert_eq!(worker.done(1).status, status::E_MODEL);
    worker.send(Order::Ping { serial: 5 });
    assert!(matches!(worker.reply(), Reply::Pong { serial: 5, .. }));
    worker.send(Order::Quit);
    assert_eq!(worker.ended().code(), 0);
}

#[test]
fn a_library_that_is_no_plugin_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libnothing.so");
    std::fs::write(&path, "no library").unwrap();
    let mut worker = Worker::spawn();
    worker.send(Order::Start(Box::new(start(&path))));
    let Reply::Refused(outcome) = worker.reply() else { panic!("it started") };
    assert_eq!(outcome.status, status::E_PLUGIN);
    assert!(outcome.message.is_some_and(|message| message.contains("libnothing")));
    assert_eq!(worker.ended().code(), 0);
}

#[test]
fn lines_of_the_log_come_before_the_end_of_their_call_when_they_are_wanted() {
    let mut worker = Worker::ready(&prober().library);
    let mut lines = |level: u8| {
        worker.send(Order::LogLevel { level });
        worker.send(run(3, "generate", "", r#"{"at_load": true}"#));
        let (replies, outcome) = worker.until_done(3);
        assert_eq!(outcome.status, status::OK);
        let lines = replies.into_iter().filter(|reply| matches!(reply, Reply::Log { .. }));
        lines.collect::<Vec<_>>()
    };
    assert_eq!(lines(3), []);
    let line = |message: &str| Reply::Log { level: 4, backend: "prober".to_owned(), message: message.to_owned() };
    assert_eq!(lines(4), [line("tries None")]);
    assert_eq!(lines(0), []);
}

#[test]
fn live_audio_is_asked_for_block_by_block() {
    let mut worker = Worker::ready(&echo().library);
    let Order::Run(mut order) = run(3, "transcribe", "", "{}") else { unreachable!() };
    (order.items, order.live_rate) = (Vec::new(), Some(16_000));
    worker.send(Order::Run(order));
    let mut pulls = 0;
    let outcome = loop {
        match worker.reply() {
            Reply::Pull { call: 3, .. } if pulls < 3 => {
                pulls += 1;
                let samples = tenon_wire::Samples::new(&vec![0.25; 8000 * pulls]).unwrap();
                worker.send(Order::Block { call: 3, samples });
            }
            Reply::Pull { call: 3, .. } => worker.send(Order::NoBlock { call: 3, status: status::E_END }),
            Reply::Done { call: 3, outcome } => break outcome,
            Reply::Output { call: 3, .. } | Reply::Progress { call: 3, .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((pulls, outcome.status), (3, status::OK));
}

#[test]
fn a_pull_that_nobody_answers_ends_when_the_call_is_cancelled() {
    let mut worker = Worker::ready(&echo().library);
    let Order::Run(mut order) = run(3, "transcribe", "", "{}") else { unreachable!() };
    (order.items, order.live_rate) = (Vec::new(), Some(16_000));
    worker.send(Order::Run(order));
    while !matches!(worker.reply(), Reply::Pull { .. }) {}
    worker.send(Order::Cancel { call: 3, status: status::E_CANCELLED });
    // The engine answers late, not knowing.
    worker.send(Order::NoBlock { call: 3, status: status::E_TIMEOUT });
    assert_eq!(worker.done(3).status, status::E_CANCELLED);
    assert_eq!(worker.generate("x", "{}").1.status, status::OK);
}

#[cfg(target_os = "linux")]
#[test]
fn the_files_that_it_reads_have_positions_of_their_own() {
    use std::io::Seek;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bin");
    std::fs::write(&path, "0123456789").unwrap();
    let mut order = start(&echo().library);
    // Without the sandbox others may look.
    order.sandbox = tenon_wire::Sandbox::Off;
    order.files.push(common::model_file(&path));
    let mut mine = order.files[0].file.try_clone().unwrap();
    mine.seek(std::io::SeekFrom::Start(7)).unwrap();
    let worker = Worker::spawn().start(order);
    let of_worker = std::path::PathBuf::from(format!("/proc/{}", worker.child.id()));
    let number = std::fs::read_dir(of_worker.join("fd"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .find(|entry| std::fs::read_link(entry.path()).unwrap().ends_with("model.bin"))
        .unwrap()
        .file_name();
    let known = std::fs::read_to_string(of_worker.join("fdinfo").join(number)).unwrap();
    assert!(known.starts_with("pos:\t0\n"), "{known}");
}

#[cfg(target_os = "linux")]
#[test]
fn it_keeps_no_descriptor_that_it_was_not_given() {
    // Children get this one: it has no flag that says otherwise.
    let left_open = rustix::io::dup(std::fs::File::open("/proc/self/exe").unwrap()).unwrap();
    let mut order = start(&echo().library);
    // Without the sandbox others may look.
    order.sandbox = tenon_wire::Sandbox::Off;
    let worker = Worker::spawn().start(order);
    drop(left_open);
    let folder = format!("/proc/{}/fd", worker.child.id());
    let held: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap().to_string_lossy().into_owned())
        .collect();
    let known = ["/dev/null", "pipe:", "socket:", "libtenon_echo"];
    assert!(held.iter().all(|target| known.iter().any(|known| target.contains(known))), "{held:?}");
    assert_eq!(held.len(), 5, "{held:?}");
}
