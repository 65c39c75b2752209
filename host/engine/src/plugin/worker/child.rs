//! A worker as this side sees it: its calls and sessions, what it was told, and whether it is still there.
//!
//! Everything that is shared between the threads of its requests ([`super::call`]) and the one thread that reads what
//! it sends and ends it ([`super::reader`]).

use super::breaker::Breaker;
use super::death::{Death, Verdict};
use super::mailbox::{Held, Mailbox};
use super::process::Process;
use crate::cancel::CancelToken;
use crate::log::{self, Log};
use crate::threads::Budget;
use std::collections::{HashMap, HashSet};
use std::io::{self, PipeReader, PipeWriter, Write};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tenon_tasks::Options;
use tenon_wire::{Order, Reply, limits};

/// Least verbose level at which a worker sends the lines of its plugin: what comes is not logged unless somebody wants
/// it, but it stands in the error when the worker dies.
const LEAST_LEVEL: u8 = 2;

/// A worker. It is ended by [`Worker::quit`] or [`Worker::kill`], not by being dropped.
pub(super) struct Worker {
    /// Id of the plugin that it runs.
    pub backend: String,
    pub process: Process,
    sender: tenon_wire::Sender<Order>,
    /// Wakes the thread that reads. Both ends, as long as anybody may wake it: to write to a pipe that nobody can read
    /// is a signal, which ends a program in C.
    pipe: (PipeReader, PipeWriter),
    woken: AtomicBool,
    pub log: Log,
    /// The engine's: workers without a call end.
    pub shutdown: CancelToken,
    /// What it was told of which lines are wanted.
    level: AtomicU8,
    state: Mutex<State>,
    gone: Condvar,
    held: Held,
    /// Hears of its death.
    breaker: Option<Arc<Breaker>>,
    /// Lets one session at a time through, for a backend that cannot run several.
    pub gate: Arc<Budget>,
}

struct State {
    calls: HashMap<u32, Arc<Mailbox>>,
    /// Calls that were given up before the worker said that they are over.
    given_up: HashSet<u32>,
    last_call: u32,
    last_session: u32,
    /// Sessions that are open, or are being opened.
    sessions: usize,
    /// Since when it has no call.
    idle: Instant,
    ending: Option<Ending>,
    death: Option<Arc<Death>>,
    gone: bool,
}

/// How a worker was told to end.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    /// By itself, soon.
    Quit,
    /// At once.
    Kill(Verdict),
}

/// Why nothing of an order was sent.
#[derive(Debug)]
pub(super) enum Unsent {
    /// It does not fit a frame.
    TooLarge(String),
    /// The system refused.
    Refused(io::Error),
}

/// A worker that takes no more calls.
#[derive(Debug)]
pub(super) enum Over {
    /// Why it died.
    Dead(Arc<Death>),
    /// It was told to end.
    Ending,
}

/// What a worker is made of, but for the end that is read from.
pub(super) struct Parts {
    pub backend: String,
    pub process: Process,
    pub sender: tenon_wire::Sender<Order>,
    pub pipe: (PipeReader, PipeWriter),
    pub log: Log,
    pub shutdown: CancelToken,
    pub breaker: Option<Arc<Breaker>>,
}

impl Worker {
    pub fn new(parts: Parts) -> Self {
        let Parts { backend, process, sender, pipe, log, shutdown, breaker } = parts;
        let level = AtomicU8::new(level_of(&log));
        let state = State {
            calls: HashMap::new(),
            given_up: HashSet::new(),
            last_call: 0,
            last_session: 0,
            sessions: 0,
            idle: Instant::now(),
            ending: None,
            death: None,
            gone: false,
        };
        Self {
            backend,
            process,
            sender,
            pipe,
            woken: AtomicBool::new(false),
            log,
            shutdown,
            level,
            state: Mutex::new(state),
            gone: Condvar::new(),
            held: Held::default(),
            breaker,
            gate: Budget::new(1),
        }
    }

    /// Whether it takes calls.
    pub fn is_alive(&self) -> bool {
        self.lock().over().is_none()
    }

    /// Calls that run, and sessions that are open: how busy it is.
    pub fn load(&self) -> (usize, usize) {
        let state = self.lock();
        (state.calls.len(), state.sessions)
    }

    /// A call of its own, with the mailbox of what comes for it.
    pub fn begin(&self) -> Result<(u32, Arc<Mailbox>), Over> {
        let mut state = self.lock();
        if let Some(over) = state.over() {
            return Err(over);
        }
        let Some(call) = state.last_call.checked_add(1) else {
            state.ending = Some(Ending::Quit);
            self.wake();
            return Err(Over::Ending);
        };
        let mailbox = Mailbox::new(limits::CREDIT, &self.held);
        state.last_call = call;
        state.calls.insert(call, Arc::clone(&mailbox));
        Ok((call, mailbox))
    }

    /// A mailbox for what it says while it starts, which is no call yet.
    pub fn greeting(&self) -> Arc<Mailbox> {
        let mailbox = Mailbox::new(0, &self.held);
        self.lock().calls.insert(0, Arc::clone(&mailbox));
        mailbox
    }

    /// The call is over; `done` unless the worker may still send something of it.
    pub fn end(&self, call: u32, done: bool) {
        let mut state = self.lock();
        state.calls.remove(&call);
        if !done && state.death.is_none() {
            state.given_up.insert(call);
        }
        if state.calls.is_empty() {
            state.idle = Instant::now();
            if self.shutdown.is_cancelled() {
                self.wake();
            }
        }
    }

    /// A reply for the call that it names. The error is what is wrong with it.
    pub fn deliver(&self, call: u32, reply: Reply) -> Result<(), String> {
        let mut state = self.lock();
        match state.calls.get(&call).cloned() {
            Some(mailbox) => {
                drop(state);
                mailbox.put(reply)
            }
            None if state.given_up.contains(&call) => {
                if matches!(reply, Reply::Done { .. }) {
                    state.given_up.remove(&call);
                }
                Ok(())
            }
            None => Err(format!("a frame of call {call}, which it does not have")),
        }
    }

    /// Counts a session that is going to be opened.
    pub fn add_session(&self) -> u32 {
        let mut state = self.lock();
        state.sessions += 1;
        // Sessions are fewer than calls, which run out first.
        state.last_session = state.last_session.wrapping_add(1);
        state.last_session
    }

    pub fn remove_session(&self) {
        self.lock().sessions -= 1;
    }

    /// Sends an order that the worker must not miss: what goes wrong ends it, and whoever waits for its calls hears of
    /// that.
    pub fn send(&self, order: &Order) {
        match self.try_send(order) {
            Ok(()) => {}
            Err(Unsent::TooLarge(what)) => self.kill(Verdict::Deaf(what)),
            Err(Unsent::Refused(error)) => self.kill(Verdict::Deaf(error.to_string())),
        }
    }

    /// Sends an order that nothing depends on but the call that it begins. The error is why nothing of it was sent;
    /// whatever else goes wrong ends the worker.
    pub fn try_send(&self, order: &Order) -> Result<(), Unsent> {
        match self.sender.send(order) {
            Ok(()) => Ok(()),
            Err(tenon_wire::Error::TooLarge(what)) => Err(Unsent::TooLarge(what)),
            Err(tenon_wire::Error::Unsent(error)) => Err(Unsent::Refused(error)),
            // The thread that reads sees it too, and knows more.
            Err(tenon_wire::Error::Closed) => Ok(()),
            Err(error) => {
                self.kill(Verdict::Deaf(error.to_string()));
                Ok(())
            }
        }
    }

    /// Tells it which lines of the log are wanted, where that has changed.
    pub fn tell_level(&self) {
        let level = level_of(&self.log);
        if self.level.swap(level, Ordering::Relaxed) != level {
            self.send(&Order::LogLevel { level });
        }
    }

    pub fn level(&self) -> u8 {
        self.level.load(Ordering::Relaxed)
    }

    /// Tells it to end by itself; who does not is killed.
    pub fn quit(&self) {
        self.end_with(Ending::Quit);
    }

    /// Tells it to end and kills it when it does not at once.
    pub fn kill(&self, verdict: Verdict) {
        self.end_with(Ending::Kill(verdict));
    }

    fn end_with(&self, ending: Ending) {
        let mut state = self.lock();
        match (&state.ending, &ending) {
            (Some(Ending::Kill(_)), _) | (Some(Ending::Quit), Ending::Quit) => return,
            _ => state.ending = Some(ending),
        }
        drop(state);
        self.wake();
    }

    /// Tells it to end when it has had no call since then; whether it was told.
    pub fn quit_if_idle(&self, since: Instant) -> bool {
        let mut state = self.lock();
        let idle = state.calls.is_empty() && state.idle <= since && state.over().is_none();
        if idle {
            state.ending = Some(Ending::Quit);
        }
        idle
    }

    pub fn ending(&self) -> Option<Ending> {
        self.lock().ending.clone()
    }

    /// Wakes the thread that reads, to look what it is to do.
    pub fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            // The pipe is empty, and its other end open.
            _ = (&self.pipe.1).write_all(&[0]);
        }
    }

    /// Where [`Worker::wake`] can be read.
    pub fn woken(&self) -> &PipeReader {
        &self.pipe.0
    }

    /// The byte of [`Worker::wake`] was read.
    pub fn was_woken(&self) {
        self.woken.store(false, Ordering::Release);
    }

    /// Whether it has a call.
    pub fn is_busy(&self) -> bool {
        !self.lock().calls.is_empty()
    }

    /// Since when a call is owed a sign of life: the one that waits the longest.
    pub fn owing_since(&self) -> Option<Instant> {
        let state = self.lock();
        let mailboxes: Vec<_> = state.calls.values().cloned().collect();
        drop(state);
        mailboxes.iter().filter_map(|mailbox| mailbox.owing_since()).min()
    }

    /// Nothing more comes from it: every call hears why.
    pub fn die(&self, death: &Arc<Death>) {
        if let Some(breaker) = self.breaker.as_ref().filter(|_| death.is_failure()) {
            breaker.died(death);
        }
        let mut state = self.lock();
        state.death = Some(Arc::clone(death));
        state.given_up.clear();
        let mailboxes: Vec<_> = state.calls.values().cloned().collect();
        drop(state);
        mailboxes.iter().for_each(|mailbox| mailbox.die(death));
        self.sender.shutdown();
    }

    /// Nothing is left of its process.
    pub fn is_gone(&self) {
        self.lock().gone = true;
        self.gone.notify_all();
    }

    /// Waits until nothing is left of its process, but not longer than this.
    pub fn wait_gone(&self, most: Duration) {
        drop(self.gone.wait_timeout_while(self.lock(), most, |state| !state.gone));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn over(&self) -> Option<Over> {
        match (&self.death, &self.ending) {
            (Some(death), _) => Some(Over::Dead(Arc::clone(death))),
            (None, Some(_)) => Some(Over::Ending),
            (None, None) => None,
        }
    }
}

fn level_of(log: &Log) -> u8 {
    log.within(log::wanted_level).max(LEAST_LEVEL)
}

/// The options document of a call without options.
pub(super) fn no_options() -> String {
    Options::new().to_json()
}
