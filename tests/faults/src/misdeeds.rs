//! Faults from inside: a backend that aborts, crashes, hangs, leaks and lies, beside others that ask the same model.

use crate::home::Home;
use crate::stage::{Campaign, Hit, Stage};
use crate::strike::PAUSE;
use crate::{Outcome, life};
use std::time::{Duration, Instant};
use tenon::{CancelToken, Error, ErrorKind, Load, Options, Request, Session};
use tenon_fault_tests::random::Random;

/// A fault of the backend, and what must come of it.
#[derive(Clone, Copy, Debug)]
struct Misdeed {
    fault: &'static str,
    kind: ErrorKind,
    /// What the error must name.
    names: &'static str,
}

const fn deed(fault: &'static str, kind: ErrorKind, names: &'static str) -> Misdeed {
    Misdeed { fault, kind, names }
}

/// Those that end the worker come more often.
const MISDEEDS: &[(u64, Misdeed)] = &[
    (10, deed("abort", ErrorKind::WorkerDied, "SIGABRT")),
    (10, deed("segfault", ErrorKind::WorkerDied, "SIGSEGV")),
    (8, deed("exit", ErrorKind::WorkerDied, "77")),
    (6, deed("stack-overflow", ErrorKind::WorkerDied, "SIG")),
    (2, deed("hang", ErrorKind::WorkerDied, "did not end within")),
    (4, deed("panic", ErrorKind::Panic, "the run was asked to panic")),
    (3, deed("panic-twice", ErrorKind::Panic, "")),
    (2, deed("unknown-status", ErrorKind::Plugin, "4711")),
    (2, deed("error-without-message", ErrorKind::Backend, "without a message")),
    (2, deed("error-huge-message", ErrorKind::Backend, "xxxx")),
    (2, deed("null-item", ErrorKind::Plugin, "NULL")),
    (2, deed("endless-text", ErrorKind::Plugin, "a text of")),
    (2, deed("document-no-json", ErrorKind::Plugin, "finish")),
    (2, deed("unknown-kind", ErrorKind::Plugin, "unknown kind")),
    (3, deed("flood", ErrorKind::Cancelled, "")),
];

/// Makes faults on the stage of the faulty backend until the campaign is over.
pub fn run(campaign: &Campaign, stage: &Stage) {
    let mut random = Random::new(campaign.seed, "misdeeds");
    let mut session = None;
    while !campaign.is_over() {
        let misdeed = random.weighted(MISDEEDS);
        let (before, cancel) = (random.time_below(PAUSE), random.time_below(60));
        std::thread::sleep(before);
        campaign.report.fault(misdeed.fault);
        let began = Instant::now();
        let error = match commit(stage, &mut session, misdeed, cancel) {
            Ok(()) => {
                campaign.report.broken(format!("{misdeed:?} was served"));
                continue;
            }
            Err(error) => error,
        };
        judge(campaign, stage, misdeed, began, &error);
    }
}

fn commit(stage: &Stage, session: &mut Option<Session>, misdeed: Misdeed, cancel: Duration) -> Result<(), Error> {
    let session = match session {
        Some(session) => session,
        None => session.insert(stage.model.session()?),
    };
    let mut options = Options::new();
    options.set("fault", misdeed.fault).set("seconds", 30.0);
    let request = Request::generate("badly").options(options);
    match misdeed.fault {
        "hang" => session.run(&request.deadline(Duration::from_millis(100))).map(drop),
        "flood" => {
            let token = CancelToken::new();
            let mut stream = session.stream(request.cancel(token.clone()))?;
            // A reader that is slower than any flood.
            let end = Instant::now() + cancel;
            while Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
                stream.next().transpose()?;
            }
            token.cancel();
            stream.try_for_each(|event| event.map(drop))
        }
        _ => session.run(&request).map(drop),
    }
}

fn judge(campaign: &Campaign, stage: &Stage, misdeed: Misdeed, began: Instant, error: &Error) {
    // What came first may have been a want of descriptors, or a deadline that passed in the queue for threads.
    let early = misdeed.fault == "hang" && error.kind() == ErrorKind::Deadline;
    if early || campaign.scarcity.explains(began, error) {
        return;
    }
    let says = format!("{error} {}", error.detail("signal").unwrap_or_default());
    if error.kind() != misdeed.kind || !says.contains(misdeed.names) {
        campaign.report.broken(format!("{misdeed:?} came to {error:?}"));
    }
    if error.kind() != ErrorKind::WorkerDied {
        return;
    }
    match error.detail("worker_pid").and_then(|pid| pid.parse().ok()) {
        Some(pid) => stage.note(Hit { pid, names: vec![misdeed.names.to_owned()] }),
        None => campaign.report.broken(format!("{error:?} names no worker")),
    }
    let at = Instant::now();
    match stage.served_since(at) {
        Some(served) => campaign.report.recovered(stage.name, served - at),
        None => campaign.report.broken(format!("{}: nothing was served after {}", stage.name, misdeed.fault)),
    }
}

/// A backend that takes memory without end, in a worker with a limit.
pub fn leak(campaign: &Campaign, home: &Home, program: &str) -> Outcome<()> {
    let engine = home.engine(program)?;
    let manifest = home.manifest("faulty", "worker", "memory_limit = 268_435_456")?;
    let mut session = engine.load_manifest(manifest, Load::new())?.session()?;
    let mut options = Options::new();
    options.set("fault", "leak");
    match session.run(&Request::generate("more").options(options)) {
        Err(error) if error.message().contains("memory") => {}
        other => campaign.report.broken(format!("a leak came to {other:?}")),
    }
    let after = session.run(&Request::generate("well?"))?;
    if after.text != "all is well" {
        campaign.report.broken(format!("after a leak came {:?}", after.text));
    }
    drop(session);
    life::close(campaign, &engine, program);
    Ok(())
}
