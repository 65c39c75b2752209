//! The thread of a worker: reads all that the worker sends, watches that it lives, ends it and buries it.
//!
//! It waits for the socket, standard error, the process and a wake together, and never for a slow consumer: what comes
//! goes into the mailboxes of calls ([`super::mailbox`]), which are bounded. What it reads is believed only as far as
//! it was checked; a worker that sends what cannot be is killed.

use super::allowance::Allowance;
use super::child::{Ending, Worker};
use super::death::{Cause, Death, Verdict, crash_line};
use super::process::Exit;
use super::tail::Tail;
use crate::log;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Signal;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ChildStderr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tenon_wire::{Error as WireError, Order, Received, Receiver, Reply};

/// How long a worker that was told to quit may take, before it is asked with SIGTERM.
const QUIT: Duration = Duration::from_secs(2);
/// How long a worker may take to end on SIGTERM, before it is killed.
const TERM: Duration = Duration::from_millis(500);
/// How long a worker that has closed its connection may take to end.
const SOON: Duration = Duration::from_secs(1);
/// How often the end of a process is looked for where nothing tells of it.
const LOOK: Duration = Duration::from_millis(5);
/// How long the thread rests when the system does not let it wait: for want of memory, or of descriptors.
const REST: Duration = Duration::from_millis(20);
/// The level of a warning, as in the plugin contract.
const WARN: i32 = 2;
/// Questions in the time after which a worker that does not answer counts as hung.
const QUESTIONS: u32 = 3;
/// The shortest time between two of them.
const SHORTEST: Duration = Duration::from_millis(10);

/// How long a worker may do nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Without a call, before it is told to end.
    pub idle: Option<Duration>,
    /// In a call, without a sign of life of the backend.
    pub stall: Option<Duration>,
    /// In a call, without an answer of the worker itself.
    pub silence: Duration,
    /// Bytes that it may allocate, for the error.
    pub memory: Option<u64>,
}

/// What the thread owns.
pub(super) struct Reader {
    pub worker: Arc<Worker>,
    pub receiver: Receiver<Reply>,
    pub stderr: Option<ChildStderr>,
    pub limits: Limits,
    pub watched: Watched,
}

/// What the thread remembers.
pub(super) struct Watched {
    tail: Tail,
    allowance: Allowance,
    stage: Stage,
    /// The last step on the way to the worker's end, and when it was taken.
    step: Option<(Step, Instant)>,
    /// When the worker was last looked after.
    looked: Instant,
    /// The last question.
    serial: u32,
    /// How many times in a row it was not answered when the next was due; `None` while there is none.
    unanswered: Option<u32>,
    /// The count of signs of life, and when it last changed.
    activity: (u64, Instant),
}

impl Default for Watched {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            tail: Tail::default(),
            allowance: Allowance::new(now),
            stage: Stage::Silent,
            step: None,
            looked: now,
            serial: 0,
            unanswered: None,
            activity: (0, now),
        }
    }
}

/// How far the worker has introduced itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Silent,
    Greeted,
    Ready,
    Refused,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Quit,
    Term,
    Kill,
}

/// Why there is nothing more to read.
enum End {
    /// The connection is closed.
    Closed,
    /// The process has ended.
    Exited,
    /// It sent what cannot be.
    Garbage(String),
    /// This code is at fault.
    Fault,
}

#[derive(Default)]
struct Ready {
    socket: bool,
    stderr: bool,
    wake: bool,
    exited: bool,
}

impl Reader {
    /// Reads until the worker has ended and nothing is left of it.
    pub fn run(mut self) {
        let watched = catch_unwind(AssertUnwindSafe(|| self.watch()));
        let end = watched.unwrap_or_else(|payload| {
            // Dropping a payload may panic again.
            std::mem::forget(payload);
            End::Fault
        });
        let death = Arc::new(self.inquest(end));
        self.worker.die(&death);
        self.bury();
        self.worker.is_gone();
        self.tell(&death);
    }

    /// Logs the end of the worker: last, for whoever listens to the log may block, or panic.
    fn tell(&self, death: &Death) {
        let write = || {
            if death.is_failure() {
                tracing::warn!(backend = death.backend, pid = death.pid, log = death.log, "{}", death.sentence());
            } else {
                tracing::debug!(backend = death.backend, pid = death.pid, "the worker has ended");
            }
        };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(write)) {
            // Dropping a payload may panic again.
            std::mem::forget(payload);
        }
    }

    fn watch(&mut self) -> End {
        loop {
            let ready = self.wait();
            if ready.wake {
                // One byte, which `wake` wrote.
                _ = self.worker.woken().read(&mut [0]);
                self.worker.was_woken();
            }
            if ready.stderr {
                self.read_stderr();
            }
            if ready.socket {
                if let Err(end) = self.read_socket() {
                    return end;
                }
            } else if ready.exited {
                return End::Exited;
            }
            self.look_after();
        }
    }

    /// Waits until something can be read or something is to be done.
    fn wait(&self) -> Ready {
        let step = self.watched.step.map(|(step, since)| step.time().saturating_sub(since.elapsed()));
        let left = step.unwrap_or_else(|| self.interval().saturating_sub(self.watched.looked.elapsed()));
        // A whole millisecond at least, so that what is due is due.
        let timeout = Timespec::try_from(left.max(Duration::from_millis(1))).ok();
        let (socket, stderr) = (Some(&self.receiver), self.stderr.as_ref());
        let mut fds = Vec::with_capacity(4);
        fds.push(PollFd::new(self.worker.woken(), PollFlags::IN));
        fds.extend(socket.map(|socket| PollFd::new(socket, PollFlags::IN)));
        fds.extend(stderr.map(|stderr| PollFd::new(stderr, PollFlags::IN)));
        fds.extend(self.worker.process.handle().map(|handle| PollFd::new(handle, PollFlags::IN)));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            // A signal came: the next round looks again.
            Err(Errno::INTR) => return Ready::default(),
            // Nothing can be said of what there is to read, but everything else is looked after.
            Err(_) => {
                std::thread::sleep(REST);
                return Ready { exited: self.worker.process.exited().is_some(), ..Ready::default() };
            }
        }
        let happened: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        Ready {
            wake: happened[0],
            socket: happened[1],
            stderr: stderr.is_some() && happened[2],
            exited: self.worker.process.handle().is_some() && happened.last() == Some(&true),
        }
    }

    /// How often the worker is looked after.
    fn interval(&self) -> Duration {
        let Limits { idle, stall, silence, .. } = self.limits;
        let wanted = [Some(silence / QUESTIONS), idle, stall.map(|stall| stall / 4)];
        wanted.into_iter().flatten().min().unwrap_or(silence).max(SHORTEST)
    }

    /// Reads what is there. The error is why there is no more.
    fn read_socket(&mut self) -> Result<(), End> {
        loop {
            match self.receiver.receive(Some(Duration::ZERO)) {
                Ok(Received::Message(reply)) => self.take(reply).map_err(End::Garbage)?,
                Ok(Received::Timeout) => return Ok(()),
                Ok(Received::Closed) | Err(WireError::Cut | WireError::Closed | WireError::Io(_)) => {
                    return Err(End::Closed);
                }
                Err(error) => return Err(End::Garbage(error.to_string())),
            }
            if !self.receiver.is_ready() {
                return Ok(());
            }
        }
    }

    /// Hands a reply to whom it concerns. The error is what is wrong with it.
    fn take(&mut self, reply: Reply) -> Result<(), String> {
        let stage = &mut self.watched.stage;
        match (&reply, *stage) {
            (Reply::Hello(_), Stage::Silent) => *stage = Stage::Greeted,
            (Reply::Started(_), Stage::Greeted) => *stage = Stage::Ready,
            (Reply::Refused(_), Stage::Greeted) => *stage = Stage::Refused,
            (Reply::Log { .. }, Stage::Greeted | Stage::Ready | Stage::Refused) => {}
            (Reply::Pong { .. }, Stage::Ready) => {}
            (Reply::Output { .. } | Reply::Progress { .. } | Reply::Pull { .. } | Reply::Done { .. }, Stage::Ready) => {
            }
            (reply, _) => return Err(format!("{} where none may be", name_of(reply))),
        }
        match reply {
            Reply::Log { level, backend, message } => {
                self.log(level, &backend, &message);
                Ok(())
            }
            Reply::Pong { serial, activity } => self.answered(serial, activity),
            Reply::Output { call, .. }
            | Reply::Progress { call, .. }
            | Reply::Pull { call, .. }
            | Reply::Done { call, .. } => self.worker.deliver(call, reply),
            Reply::Hello(_) | Reply::Started(_) | Reply::Refused(_) => self.worker.deliver(0, reply),
        }
    }

    fn log(&mut self, level: u8, backend: &str, message: &str) {
        self.watched.tail.push_line(message);
        let Some(missed) = self.watched.allowance.take(message.len(), Instant::now()) else { return };
        let write = || {
            self.worker.log.within(|| {
                if missed > 0 {
                    let note = format!("{missed} lines were left out, for they came too fast");
                    log::line(WARN, backend, &note);
                }
                log::line(i32::from(level), backend, message);
            });
        };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(write)) {
            // Whoever listens to the log has panicked, which is no fault of the worker; and dropping may panic again.
            std::mem::forget(payload);
        }
    }

    fn answered(&mut self, serial: u32, activity: u64) -> Result<(), String> {
        let Watched { serial: asked, unanswered, activity: known, .. } = &mut self.watched;
        if unanswered.take().is_none() || serial != *asked {
            return Err("an answer to a question that nobody asked".to_owned());
        }
        if known.0 != activity {
            *known = (activity, Instant::now());
        }
        Ok(())
    }

    /// Does what is due: the next step of the worker's end, or a look at whether it lives and is wanted.
    fn look_after(&mut self) {
        let now = Instant::now();
        if self.worker.ending().is_none() && self.worker.shutdown.is_cancelled() {
            self.worker.quit_if_idle(now);
        }
        if self.worker.ending().is_none() && self.watched.looked.elapsed() >= self.interval() {
            self.watched.looked = now;
            let unused = self.limits.idle.and_then(|idle| now.checked_sub(idle));
            if self.watched.stage == Stage::Ready && !unused.is_some_and(|since| self.worker.quit_if_idle(since)) {
                self.ask();
            }
        }
        if let Some(ending) = self.worker.ending() {
            self.step(&ending);
        }
    }

    /// Asks whether it lives, while it has a call.
    fn ask(&mut self) {
        if !self.worker.is_busy() {
            self.watched.unanswered = self.watched.unanswered.map(|_| 0);
            return;
        }
        match &mut self.watched.unanswered {
            Some(times) => *times += 1,
            none => {
                *none = Some(0);
                self.watched.serial = self.watched.serial.wrapping_add(1);
                self.worker.send(&Order::Ping { serial: self.watched.serial });
            }
        }
        // Counted in looks and not on the clock: time in which this process itself stood still is no silence.
        let unanswered = self.watched.unanswered.unwrap_or(0);
        if unanswered > 0 && self.interval() * unanswered >= self.limits.silence {
            self.worker.kill(Verdict::Silent(self.limits.silence));
        }
        let stalled = |stall: &Duration| {
            let owing = self.worker.owing_since().is_some_and(|since| since.elapsed() >= *stall);
            owing && self.watched.activity.1.elapsed() >= *stall
        };
        if let Some(stall) = self.limits.stall.filter(stalled) {
            self.worker.kill(Verdict::Stalled(stall));
        }
    }

    /// Takes the next step of the worker's end when it is due.
    fn step(&mut self, ending: &Ending) {
        let next = match (self.watched.step, ending) {
            (None, Ending::Quit) => Step::Quit,
            (None | Some((Step::Quit, _)), Ending::Kill(_)) => Step::Term,
            (Some((step, since)), _) if since.elapsed() < step.time() => return,
            (Some((Step::Quit, _)), Ending::Quit) => Step::Term,
            (Some(_), _) => Step::Kill,
        };
        self.watched.step = Some((next, Instant::now()));
        match next {
            Step::Quit => self.worker.send(&Order::Quit),
            Step::Term => self.worker.process.signal(Signal::TERM),
            Step::Kill => self.worker.process.signal(Signal::KILL),
        }
    }

    /// Finds out why the worker ended, or kills it for why it shall.
    fn inquest(&mut self, end: End) -> Death {
        let refused = self.watched.stage == Stage::Refused;
        match end {
            End::Garbage(what) => self.worker.kill(Verdict::Garbage(what)),
            End::Fault => self.worker.kill(Verdict::Fault),
            End::Closed | End::Exited => {}
        }
        self.read_stderr();
        let cause = match self.worker.ending() {
            Some(Ending::Kill(verdict)) => Cause::Killed(verdict),
            Some(Ending::Quit) => Cause::Told,
            // It said so, and whoever listens to that has not told it to end yet.
            None if refused => Cause::Told,
            // A worker that caught its signal says so before its memory is given back, which may take long.
            None => self.crash_line().unwrap_or_else(|| self.cause_of_exit()),
        };
        let (backend, pid) = (self.worker.backend.clone(), self.worker.process.pid());
        Death { backend, pid, cause, log: self.watched.tail.text() }
    }

    fn crash_line(&self) -> Option<Cause> {
        crash_line(&self.watched.tail.text(), self.limits.memory)
    }

    fn cause_of_exit(&mut self) -> Cause {
        let Some(exit) = self.wait_for_exit(SOON) else { return Cause::Killed(Verdict::HungUp) };
        self.read_stderr();
        let of_status = || match exit {
            Exit::Unknown => Cause::Unknown,
            Exit::Status(status) => match (status.signal(), status.code()) {
                (Some(signal), _) => Cause::Signal(signal),
                (None, Some(code)) => Cause::Exit(code),
                (None, None) => Cause::Unknown,
            },
        };
        self.crash_line().unwrap_or_else(of_status)
    }

    /// Waits for the end of the process, but not longer than this.
    fn wait_for_exit(&mut self, most: Duration) -> Option<Exit> {
        let began = Instant::now();
        loop {
            if let Some(exit) = self.worker.process.exited() {
                return Some(exit);
            }
            let left = most.saturating_sub(began.elapsed());
            if left.is_zero() {
                return None;
            }
            let handle = self.worker.process.handle();
            let left = if handle.is_some() { left } else { left.min(LOOK) };
            let timeout = Timespec::try_from(left).ok();
            let mut fds = Vec::with_capacity(2);
            fds.extend(handle.map(|handle| PollFd::new(handle, PollFlags::IN)));
            // A process that cannot get rid of its last words does not end.
            fds.extend(self.stderr.as_ref().map(|stderr| PollFd::new(stderr, PollFlags::IN)));
            // Whatever it says, the next round looks.
            if poll(&mut fds, timeout.as_ref()).is_err_and(|error| error != Errno::INTR) {
                std::thread::sleep(LOOK);
            }
            self.read_stderr();
        }
    }

    /// Sees to it that nothing is left of the process.
    fn bury(&mut self) {
        if matches!(self.worker.ending(), Some(Ending::Quit)) && self.wait_for_exit(QUIT).is_some() {
            return;
        }
        self.worker.process.signal(Signal::KILL);
        while self.wait_for_exit(SOON).is_none() {}
    }

    fn read_stderr(&mut self) {
        let mut bytes = [0; 8192];
        // No more than this at once: what floods it must not keep the thread from everything else.
        for _ in 0..8 {
            let Some(stderr) = &mut self.stderr else { return };
            match stderr.read(&mut bytes) {
                Ok(0) => self.stderr = None,
                Ok(count) => self.watched.tail.push(&bytes[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => self.stderr = None,
            }
        }
    }
}

impl Step {
    /// How long it may take.
    fn time(self) -> Duration {
        match self {
            Self::Quit => QUIT,
            Self::Term => TERM,
            // There is no further step; who is killed and does not go is asked again.
            Self::Kill => SOON,
        }
    }
}

fn name_of(reply: &Reply) -> &'static str {
    match reply {
        Reply::Hello(_) => "a greeting",
        Reply::Started(_) => "a word that it is ready",
        Reply::Refused(_) => "a refusal to start",
        Reply::Output { .. } => "an output",
        Reply::Progress { .. } => "a progress",
        Reply::Pull { .. } => "a pull",
        Reply::Done { .. } => "the end of a call",
        Reply::Log { .. } => "a line of the log",
        Reply::Pong { .. } => "an answer",
    }
}
