//! From inside: a plugin that tries to get out. What it must not be able to do is refused, what it needs works; and the
//! same attempts succeed without a sandbox, which shows that these tests can fail.
#![cfg(target_os = "linux")]

mod common;

use common::{Ended, Worker, model_file, start};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule, apply_filter};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;
use tenon::{Load, Options, Request, Session};
use tenon_abi::status;
use tenon_testkit::{Home, c_example, cpp_example, echo, prober};
use tenon_wire::{Order, Reply, Sandbox, SandboxReport, Start, Started};

/// What must work, in a sandbox and without.
const NEEDED: &[&str] = &[
    "read-model",
    "reopen-model",
    "read-cpuinfo",
    "read-meminfo",
    "read-maps",
    "list-libraries",
    "start-thread",
    "ask-machine",
    "take-memory",
    "grow-memory",
];

/// What must fail in a sandbox, and whether it succeeds, without privileges, where there is none. What does not at
/// least gets another answer there than "refused EPERM" or "refused EACCES".
const FORBIDDEN: &[(&str, Text, Without)] = &[
    ("read-file", Text::Secret, Without::Succeeds),
    ("read-through-root", Text::Secret, Without::Succeeds),
    ("read-through-cwd", Text::InCwd, Without::Succeeds),
    ("list-folder", Text::Folder, Without::Succeeds),
    ("create-file", Text::Folder, Without::Succeeds),
    ("create-in-cwd", Text::Nothing, Without::NeedsPrivilege),
    ("truncate-by-opening", Text::Victim, Without::Succeeds),
    ("remove-file", Text::Absent, Without::AnswersOtherwise),
    ("make-folder", Text::Folder, Without::AnswersOtherwise),
    ("make-link", Text::Folder, Without::AnswersOtherwise),
    ("shm-open", Text::Nothing, Without::Succeeds),
    ("write-model", Text::Nothing, Without::Succeeds),
    ("mount", Text::Absent, Without::NeedsPrivilege),
    ("chroot", Text::Absent, Without::AnswersOtherwise),
    ("socket-tcp", Text::Nothing, Without::Succeeds),
    ("socket-udp", Text::Nothing, Without::Succeeds),
    ("socket-unix", Text::Nothing, Without::Succeeds),
    ("socket-pair", Text::Nothing, Without::Succeeds),
    ("socket-netlink", Text::Nothing, Without::Succeeds),
    ("connect", Text::Nothing, Without::AnswersOtherwise),
    ("bind", Text::Nothing, Without::AnswersOtherwise),
    ("fork-exec", Text::Nothing, Without::Succeeds),
    ("posix-spawn", Text::Nothing, Without::Succeeds),
    ("exec", Text::Nothing, Without::AnswersOtherwise),
    ("ptrace", Text::Process, Without::NeedsPrivilege),
    ("kill", Text::Process, Without::Succeeds),
    ("tgkill", Text::Process, Without::Succeeds),
    ("open-memory", Text::Process, Without::NeedsPrivilege),
    ("read-environ", Text::Process, Without::Succeeds),
    ("read-vm", Text::Process, Without::AnswersOtherwise),
    ("pidfd-open", Text::Process, Without::Succeeds),
    ("set-affinity", Text::Process, Without::Succeeds),
    ("set-owner", Text::Process, Without::Succeeds),
    ("memfd-create", Text::Nothing, Without::Succeeds),
    ("io-uring", Text::Nothing, Without::NeedsPrivilege),
    ("userfaultfd", Text::Nothing, Without::NeedsPrivilege),
    ("unshare", Text::Nothing, Without::Succeeds),
    ("setns", Text::Nothing, Without::AnswersOtherwise),
    ("bpf", Text::Nothing, Without::NeedsPrivilege),
    ("perf-event", Text::Nothing, Without::AnswersOtherwise),
    ("other-interface", Text::Nothing, Without::AnswersOtherwise),
    ("become-dumpable", Text::Nothing, Without::Succeeds),
    ("raise-limit", Text::Nothing, Without::Succeeds),
    ("seccomp", Text::Nothing, Without::NeedsPrivilege),
    ("push-terminal", Text::Nothing, Without::AnswersOtherwise),
    ("map-write-run", Text::Nothing, Without::Succeeds),
    ("map-run", Text::Nothing, Without::Succeeds),
    ("protect-run", Text::Nothing, Without::Succeeds),
    ("map-shared", Text::Nothing, Without::Succeeds),
    ("map-growing", Text::Nothing, Without::Succeeds),
];

/// What an attempt is told.
#[derive(Clone, Copy)]
enum Text {
    Nothing,
    /// A file that the user may read.
    Secret,
    /// A file, by its name in the working folder.
    InCwd,
    /// A file that the user may write.
    Victim,
    /// A folder that the user may write in.
    Folder,
    /// A path where nothing is.
    Absent,
    /// Another process of the user.
    Process,
}

/// What an attempt does where nothing holds it.
#[derive(Clone, Copy, PartialEq)]
enum Without {
    Succeeds,
    AnswersOtherwise,
    /// Depends on the user and on how the system is set up.
    NeedsPrivilege,
}

/// Files and a process that attempts are aimed at.
struct Aim {
    folder: TempDir,
    process: Child,
}

impl Aim {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["secret", "victim", "model"] {
            std::fs::write(folder.path().join(name), "0123456789").unwrap();
        }
        let process = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        Self { folder, process }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn text(&self, text: Text) -> String {
        match text {
            Text::Nothing => String::new(),
            Text::Secret => self.path("secret"),
            // Tests run in the folder of their package.
            Text::InCwd => "Cargo.toml".to_owned(),
            Text::Victim => self.path("victim"),
            Text::Folder => self.path(""),
            Text::Absent => self.path("absent"),
            Text::Process => self.process.id().to_string(),
        }
    }

    /// An order to start the prober, with its model.
    fn start(&self, sandbox: Sandbox) -> Start {
        let files = vec![model_file(Path::new(&self.path("model")))];
        Start { files, sandbox, ..start(&prober().library) }
    }
}

impl Drop for Aim {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

fn options(probe: &str) -> String {
    format!(r#"{{"probe": "{probe}"}}"#)
}

fn answer(worker: &mut Worker, probe: &str, text: &str) -> String {
    let (answer, outcome) = worker.generate(text, &options(probe));
    assert_eq!(outcome.status, status::OK, "{probe}: {outcome:?}");
    answer
}

fn report(start: Start) -> (Worker, SandboxReport) {
    report_by(Command::new(env!("CARGO_BIN_EXE_tenon-worker")), start)
}

fn report_by(program: Command, start: Start) -> (Worker, SandboxReport) {
    let mut worker = Worker::spawn_by(program);
    worker.send(Order::Start(Box::new(start)));
    let Started { sandbox, .. } = worker.await_started();
    (worker.with_session(), sandbox)
}

/// The prober in this process, on the same model.
fn without(home: &Home) -> Session {
    home.add_plugin(&prober());
    let file = home.add_file("model", "model.bin", b"0123456789");
    home.add_manifest("prober", "generate", "prober", &file);
    home.engine().load("prober", Load::new()).unwrap().session().unwrap()
}

fn answer_here(session: &mut Session, asked: &str, text: &str) -> String {
    let request = Request::generate(text).options(Options::from_json(asked).unwrap());
    session.run(&request).unwrap().text
}

fn is_refused(answer: &str) -> bool {
    matches!(answer, "refused EPERM" | "refused EACCES")
}

#[test]
fn a_plugin_cannot_get_out_and_has_what_it_needs() {
    let aim = Aim::new();
    let (mut worker, report) = report(aim.start(Sandbox::Require));
    assert_eq!((report.level(), report.missing), ("full", None));
    for probe in NEEDED {
        assert_eq!(answer(&mut worker, probe, ""), "succeeded", "{probe}");
    }
    let answers = FORBIDDEN.iter().map(|(probe, text, _)| (probe, answer(&mut worker, probe, &aim.text(*text))));
    let escaped: Vec<_> = answers.filter(|(_, answer)| !is_refused(answer)).collect();
    assert!(escaped.is_empty(), "{escaped:?}");
    assert_eq!(std::fs::read_to_string(aim.path("victim")).unwrap(), "0123456789");
    // It was none of these attempts that took something away.
    for probe in NEEDED {
        assert_eq!(answer(&mut worker, probe, ""), "succeeded", "{probe}");
    }
    worker.send(Order::Quit);
    let Ended { stderr, .. } = worker.ended();
    assert_eq!(stderr, "");
}

#[test]
fn a_memory_limit_holds_for_what_grows_from_the_stack_and_for_addresses_without_end() {
    let aim = Aim::new();
    let home = Home::new();
    let mut session = without(&home);
    let limited = Start { memory_limit: Some(256 << 20), ..aim.start(Sandbox::Require) };
    let (mut worker, report) = report(limited);
    assert_eq!(report.level(), "full");
    for (probe, refusal) in [("grow-stack", "refused EPERM"), ("reserve-much", "refused ENOMEM")] {
        assert_eq!(answer_here(&mut session, &options(probe), "x"), "succeeded", "{probe}");
        assert_eq!(answer(&mut worker, probe, ""), refusal, "{probe}");
    }
    for probe in NEEDED {
        assert_eq!(answer(&mut worker, probe, ""), "succeeded", "{probe}");
    }
}

#[test]
fn a_plugin_that_answers_for_the_kernel_is_not_taken_for_shut_in() {
    let aim = Aim::new();
    let spoofing = || {
        let mut program = Command::new(env!("CARGO_BIN_EXE_tenon-worker"));
        program.env("TENON_PROBER", "no-more-filters");
        program
    };
    let (_, report) = report_by(spoofing(), aim.start(Sandbox::On));
    assert_eq!(report.level(), "partial");
    assert!(report.missing.is_some_and(|missing| missing.contains("seccomp after loading")));
    let mut worker = Worker::spawn_by(spoofing());
    worker.send(Order::Start(Box::new(aim.start(Sandbox::Require))));
    let Reply::Refused(outcome) = worker.reply() else { panic!("it started") };
    assert_eq!(outcome.status, status::E_UNSUPPORTED);
}

#[test]
fn what_runs_while_the_library_is_loaded_cannot_get_out_either() {
    let aim = Aim::new();
    let (mut worker, _) = report(aim.start(Sandbox::On));
    let (attempts, _) = worker.generate("", r#"{"at_load": true}"#);
    let attempts: Vec<(&str, &str)> = attempts.lines().map(|line| line.split_once(": ").unwrap()).collect();
    assert_eq!(attempts.len(), 7);
    assert!(attempts.iter().all(|(_, answer)| is_refused(answer)), "{attempts:?}");
    let home = Home::new();
    let here = answer_here(&mut without(&home), r#"{"at_load": true}"#, "x");
    assert!(here.lines().all(|line| line.ends_with(": succeeded")), "{here}");
}

#[test]
fn without_a_sandbox_the_same_attempts_succeed() {
    let aim = Aim::new();
    let home = Home::new();
    let mut session = without(&home);
    let (mut off, report) = report(aim.start(Sandbox::Off));
    assert_eq!((report.level(), report.missing), ("none", None));
    for probe in NEEDED {
        assert_eq!(answer_here(&mut session, &options(probe), "x"), "succeeded", "{probe}");
        assert_eq!(answer(&mut off, probe, ""), "succeeded", "{probe}");
    }
    for (probe, text, without) in FORBIDDEN.iter().filter(|(_, _, without)| *without != Without::NeedsPrivilege) {
        let text = aim.text(*text);
        for answer in [answer_here(&mut session, &options(probe), &text), answer(&mut off, probe, &text)] {
            match without {
                Without::Succeeds => assert_eq!(answer, "succeeded", "{probe}"),
                _ => assert!(!is_refused(&answer), "{probe}: {answer}"),
            }
        }
    }
    assert_eq!(std::fs::read_to_string(aim.path("victim")).unwrap(), "");
}

/// Starts a worker on a system that lacks these calls: a filter of this thread makes it so.
fn on_a_system_without(calls: &'static [libc::c_long], start: Start) -> Worker {
    let body = move || {
        let rules: BTreeMap<i64, Vec<SeccompRule>> = calls.iter().map(|call| (*call, Vec::new())).collect();
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let missing = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, missing, arch).unwrap();
        apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
        Worker::spawn()
    };
    let worker = std::thread::spawn(body).join().unwrap();
    worker.send(Order::Start(Box::new(start)));
    worker
}

const LANDLOCK: &[libc::c_long] =
    &[libc::SYS_landlock_create_ruleset, libc::SYS_landlock_add_rule, libc::SYS_landlock_restrict_self];
const SECCOMP: &[libc::c_long] = &[libc::SYS_seccomp];
const NEITHER: &[libc::c_long] = &[
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
    libc::SYS_seccomp,
    libc::SYS_close_range,
];

#[test]
fn what_the_system_lacks_is_reported_and_the_rest_holds() {
    let aim = Aim::new();
    for (calls, landlock, seccomp, words) in [
        (LANDLOCK, false, true, &["Landlock"][..]),
        (SECCOMP, true, false, &["seccomp"]),
        (NEITHER, false, false, &["Landlock", "seccomp"]),
    ] {
        let mut worker = on_a_system_without(calls, aim.start(Sandbox::On));
        let report = worker.await_started().sandbox;
        assert_eq!((report.landlock.is_some(), report.seccomp), (landlock, seccomp), "{report:?}");
        let missing = report.missing.unwrap();
        assert!(words.iter().all(|word| missing.contains(word)), "{missing}");
        let mut worker = worker.with_session();
        let mut refuses = |probe: &str, text| is_refused(&answer(&mut worker, probe, &aim.text(text)));
        assert_eq!(refuses("read-file", Text::Secret), landlock);
        assert_eq!(refuses("create-file", Text::Folder), landlock || seccomp);
        assert_eq!(refuses("socket-tcp", Text::Nothing), seccomp);
        assert_eq!(refuses("map-run", Text::Nothing), seccomp);
        assert_eq!(answer(&mut worker, "read-model", ""), "succeeded");
    }
}

#[test]
fn a_sandbox_that_is_required_and_not_to_be_had_is_refused_by_name() {
    let aim = Aim::new();
    for (calls, words) in [(LANDLOCK, &["Landlock"][..]), (SECCOMP, &["seccomp"]), (NEITHER, &["Landlock", "seccomp"])]
    {
        let mut worker = on_a_system_without(calls, aim.start(Sandbox::Require));
        let Reply::Refused(outcome) = worker.reply() else { panic!("it started") };
        assert_eq!(outcome.status, status::E_UNSUPPORTED);
        let message = outcome.message.unwrap();
        assert!(message.contains("requires a sandbox"), "{message}");
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
        assert_eq!(worker.ended().code(), 0);
    }
}

#[test]
fn backends_in_rust_c_and_cpp_work_in_a_sandbox() {
    let libraries = [Some(echo()), c_example(), cpp_example()].into_iter().flatten();
    for library in libraries.map(|built| built.library) {
        let aim = Aim::new();
        let files = vec![model_file(Path::new(&aim.path("model")))];
        let (mut worker, report) = report(Start { files, sandbox: Sandbox::Require, ..start(&library) });
        assert_eq!(report.level(), "full");
        let (text, outcome) = worker.generate("hello there", "{}");
        assert_eq!(outcome.status, status::OK, "{}: {outcome:?}", library.display());
        assert!(!text.is_empty(), "{}", library.display());
    }
}
