//! How a worker comes to be: process, greeting, plugin, in this order and within a time.

use super::child::{Parts, Unsent, Worker};
use super::death::Verdict;
use super::mailbox::{Mailbox, Message};
use super::process::{Process, own_copy};
use super::reader::{Limits, Reader, Watched};
use super::{Spec, breaker::Breaker, find};
use crate::cancel::StopSigns;
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::host::{Call, Remote};
use rustix::fs::OFlags;
use rustix::process::Signal;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tenon_store::VerifiedFile;
use tenon_tasks::Sandbox;
use tenon_wire::{FileEntry, Hello, Library, Link, Order, Outcome, PROTOCOL, Start, Started, VERSION};

/// How often the stop signs are looked at while nothing comes.
const LOOK: Duration = Duration::from_millis(10);
/// How long a worker may take to read an order that does not fit into the connection's buffer.
const DEAF: Duration = Duration::from_secs(5);

/// Starts a worker and lets it open its plugin. `breaker` hears of its death.
pub(super) fn start(spec: &Spec, breaker: Option<&Arc<Breaker>>, stop: &StopSigns) -> Result<(Arc<Worker>, Started)> {
    stop.check()?;
    let began = Instant::now();
    let program = find::program(&spec.workers.settings)?;
    let (worker, greeting) = launch(spec, breaker, &program)?;
    let until = began.checked_add(spec.workers.settings.start);
    let said = Said { worker: &worker, mailbox: greeting, messages: VecDeque::new(), stop, until, spec, program };
    let started = said.listen();
    match started {
        Ok(started) => {
            worker.end(0, true);
            spec.workers.add(&worker);
            let (pid, sandbox, time) = (worker.process.pid(), started.sandbox.level(), began.elapsed());
            tracing::debug!(backend = spec.name, pid, sandbox, ?time, "worker started");
            if let (Sandbox::On, Some(missing)) = (spec.options.sandbox, &started.sandbox.missing) {
                tracing::warn!(backend = spec.name, pid, "the sandbox of this worker is not whole: {missing}");
            }
            Ok((worker, started))
        }
        Err(error) => {
            worker.quit();
            worker.end(0, false);
            Err(error)
        }
    }
}

/// Starts the process and the thread that reads from it.
fn launch(spec: &Spec, breaker: Option<&Arc<Breaker>>, program: &Path) -> Result<(Arc<Worker>, Arc<Mailbox>)> {
    let workers = &spec.workers;
    let impossible = |error: io::Error| {
        let message = format!("cannot start the worker {}: {error}", program.display());
        Error::new(kind_of(&error), message).with_source(error)
    };
    let (link, socket) = Link::pair().map_err(impossible)?;
    let (sender, receiver) = link.split();
    let pipe = io::pipe().map_err(impossible)?;
    let (process, stderr) = Process::spawn(program, socket, &workers.settings.environment).map_err(impossible)?;
    let worker = Arc::new(Worker::new(Parts {
        backend: spec.name.clone(),
        process,
        sender: sender.with_timeout(DEAF),
        pipe,
        log: workers.log.clone(),
        shutdown: workers.shutdown.clone(),
        breaker: breaker.cloned(),
    }));
    let greeting = worker.greeting();
    // Our end alone: the worker's is another description.
    let quiet = rustix::fs::fcntl_setfl(&stderr, OFlags::NONBLOCK);
    let limits = Limits {
        idle: spec.options.idle_timeout,
        stall: spec.options.stall_timeout,
        silence: workers.settings.silence,
        memory: spec.options.memory_limit,
    };
    let stderr = quiet.is_ok().then_some(stderr);
    let reader = Reader { worker: Arc::clone(&worker), receiver, stderr, limits, watched: Watched::default() };
    let log = workers.log.clone();
    let thread = log.within(|| workers.crew.spawn("tenon-worker", None, move || reader.run()));
    match thread {
        Ok(_member) => Ok((worker, greeting)),
        Err(error) => {
            // Nobody else will.
            worker.process.signal(Signal::KILL);
            while worker.process.exited().is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error)
        }
    }
}

/// The kind of what the system refuses.
pub(super) fn kind_of(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::OutOfMemory => ErrorKind::OutOfMemory,
        _ => ErrorKind::Io,
    }
}

/// What a worker says before it is ready.
struct Said<'a> {
    worker: &'a Arc<Worker>,
    mailbox: Arc<Mailbox>,
    messages: VecDeque<Message>,
    stop: &'a StopSigns,
    until: Option<Instant>,
    spec: &'a Spec,
    program: PathBuf,
}

impl Said<'_> {
    fn listen(mut self) -> Result<Started> {
        match self.next()? {
            Message::Hello(hello) => self.check(&hello)?,
            _ => return Err(self.nonsense()),
        }
        let order = self.order()?;
        self.worker.try_send(&order).map_err(|unsent| match unsent {
            Unsent::TooLarge(what) => {
                Error::new(ErrorKind::Unsupported, format!("the model is too large for a worker: {what}"))
            }
            Unsent::Refused(error) => self.unreadable(error),
        })?;
        // The descriptors are the worker's from here on.
        drop(order);
        match self.next()? {
            Message::Started(started) if self.is_known(&started) => Ok(*started),
            Message::Started(_) => Err(self.changed()),
            Message::Refused(outcome) => Err(self.refusal(outcome)),
            _ => Err(self.nonsense()),
        }
    }

    /// What it says next. Waits until the time is over, or the start shall end.
    fn next(&mut self) -> Result<Message> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Ok(message);
            }
            let batch = self.mailbox.take(LOOK);
            if let Some(death) = batch.death.as_ref().filter(|_| batch.messages.is_empty()) {
                // A worker that ends because the start was to end is no news.
                self.stop.check()?;
                let error = death.error_when("before it was ready, ");
                return Err(error.with_detail("program", self.program.display().to_string()));
            }
            self.messages = batch.messages;
            self.stop.check()?;
            if self.until.is_some_and(|until| Instant::now() >= until) {
                self.worker.kill(Verdict::Late(self.spec.workers.settings.start));
            }
        }
    }

    /// Whether it runs the plugin that it was started for, as far as that is known.
    fn is_known(&self, started: &Started) -> bool {
        let Spec { name, caps, version, .. } = self.spec;
        version.as_ref().is_none_or(|version| (name, version, caps) == (&started.id, &started.version, &started.caps))
    }

    fn changed(&self) -> Error {
        let what = "a plugin of another id, version or ability than the worker that described it";
        self.worker.kill(Verdict::Garbage(what.to_owned()));
        let message = format!("the worker of backend \"{}\" sent garbage: {what}", self.spec.name);
        let error = Error::new(ErrorKind::WorkerDied, message);
        error.with_detail("worker_pid", self.worker.process.pid().to_string())
    }

    fn nonsense(&self) -> Error {
        self.worker.kill(Verdict::Garbage("not what comes next at the start".to_owned()));
        Error::new(ErrorKind::Internal, "a worker started out of order: please report it")
    }

    /// Refuses the program of another build.
    fn check(&self, hello: &Hello) -> Result<()> {
        if (hello.protocol, &*hello.version) == (PROTOCOL, VERSION) {
            return Ok(());
        }
        let theirs = format!("{} (protocol {})", hello.version, hello.protocol);
        let ours = format!("{VERSION} (protocol {PROTOCOL})");
        let message = format!(
            "{} is of version {theirs}, and this engine of {ours}: use the one that came with it",
            self.program.display()
        );
        let error = Error::new(ErrorKind::AbiMismatch, message);
        Err(error.with_detail("expected", ours).with_detail("actual", theirs))
    }

    /// What the worker is told to be.
    fn order(&self) -> Result<Order> {
        let Spec { name, library, files, options, .. } = self.spec;
        let entry = |file: &VerifiedFile| {
            Ok(FileEntry {
                role: file.role().to_owned(),
                name: file.name().to_owned(),
                size: file.size(),
                sha256: *file.digest().as_bytes(),
                file: own_copy(file.file())?,
            })
        };
        let copy: io::Result<File> = own_copy(library);
        let plugin = Library { name: name.clone(), file: copy.map_err(|error| self.unreadable(error))? };
        let files = files.iter().map(entry).collect::<io::Result<_>>().map_err(|error| self.unreadable(error))?;
        let (sandbox, memory_limit) = (options.sandbox, options.memory_limit);
        Ok(Order::Start(Box::new(Start { plugin, files, sandbox, memory_limit, log_level: self.worker.level() })))
    }

    fn unreadable(&self, error: io::Error) -> Error {
        let message = format!("cannot hand the files of backend \"{}\" to a worker: {error}", self.spec.name);
        Error::new(kind_of(&error), message).with_source(error)
    }

    /// Why it does not start, as the plugin in this process would say it.
    fn refusal(&self, outcome: Outcome) -> Error {
        let Outcome { status, message, details } = outcome;
        let judged =
            Call::new(StopSigns::default()).end_remote(Remote::Returned { status, message, details }, &self.spec.name);
        match judged {
            Err(error) => error,
            Ok(()) => Error::new(ErrorKind::WorkerDied, "the worker refused to start and gave no reason"),
        }
    }
}
