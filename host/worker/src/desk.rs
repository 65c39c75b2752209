//! Where the engine's orders arrive: one thread reads them, whatever the plugin is doing, and hands calls to the main
//! thread, or to a thread of their own when that one is busy.
//!
//! The end of the connection is the end of the process, at once and in the middle of any call.

use crate::call::{Answer, Ongoing};
use crate::crash;
use crate::start::{NO_SYSTEM, Parent};
use rustix::process::{Resource, getrlimit};
use std::collections::{HashMap, VecDeque};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tenon::inside::{Backend, FileAt, Item, Model, STACK, Session, activity};
use tenon::{Error, ErrorKind, Options};
use tenon_abi::{CAP_CONCURRENT_SESSIONS, status};
use tenon_wire::{Error as WireError, FileEntry, Order, Received, Receiver, Reply, RunOrder, Sender};

/// Exit code: the engine broke the protocol.
const BROKEN: i32 = 70;

/// Ends the process, because what the engine sent makes no sense.
pub fn broken(problem: &str) -> ! {
    eprintln!("tenon-worker: the engine broke the protocol: {problem}");
    crash::exit(BROKEN)
}

/// Sends what fits a frame whatever the plugin does. Ends the process when the engine is gone.
pub fn send(replies: &Sender<Reply>, reply: &Reply) {
    if let Err(too_large) = try_send(replies, reply) {
        eprintln!("tenon-worker: {too_large}");
        crash::exit(NO_SYSTEM)
    }
}

/// Sends what may be too large for a frame, which is the error. Ends the process when the engine is gone.
pub fn try_send(replies: &Sender<Reply>, reply: &Reply) -> Result<(), String> {
    match replies.send(reply) {
        Ok(()) => Ok(()),
        Err(WireError::TooLarge(what)) => Err(what),
        Err(_) => crash::exit(0),
    }
}

/// The state that all threads share.
pub struct Desk {
    replies: Arc<Sender<Reply>>,
    level: Arc<AtomicU8>,
    backend: OnceLock<Arc<Backend>>,
    /// Open until the process ends: the numbers of their descriptors are parts of their paths.
    files: Vec<FileEntry>,
    state: Mutex<State>,
    changed: Condvar,
    /// Held in the backend, where it runs one session at a time: the engine sends one call at a time, and with it what
    /// was dropped meanwhile.
    alone: Mutex<()>,
}

#[derive(Default)]
struct State {
    calls: HashMap<u32, Arc<Ongoing>>,
    sessions: HashMap<u32, Place>,
    model: Option<Arc<Model>>,
    /// The model was opened, or is being opened.
    model_asked: bool,
    /// What the main thread shall do next.
    queue: VecDeque<Job>,
    /// It waits for a job, or will once it has said that its call is over.
    main_is_free: bool,
    /// Jobs that are not done.
    jobs: usize,
    quits: bool,
}

/// Where a session is.
enum Place {
    /// Nobody uses it.
    Here(Session),
    /// A call has it, or makes it. It is closed after that when `closes`.
    InCall { closes: bool },
}

/// Work for a thread with a large stack.
enum Job {
    Call(Arc<Ongoing>, u32, Work),
    Close(Session),
}

enum Work {
    Estimate(Asked),
    OpenModel(Asked),
    OpenSession(u32, Asked),
    Reset(u32, Session),
    Run(Box<RunOrder>, Asked, Session),
}

/// The options of a call. The call ends with the error where they cannot be read.
type Asked = Result<Options, Error>;

impl Desk {
    /// Without a plugin as yet.
    pub fn new(replies: Arc<Sender<Reply>>, level: Arc<AtomicU8>, files: Vec<FileEntry>) -> Arc<Self> {
        let state = Mutex::default();
        let (backend, changed, alone) = (OnceLock::new(), Condvar::new(), Mutex::default());
        Arc::new(Self { replies, level, backend, files, state, changed, alone })
    }

    /// The plugin is there, and the main thread is about to [`work`](Self::work): orders may come that need both.
    pub fn open(&self, backend: Arc<Backend>) {
        // The main thread does this once.
        _ = self.backend.set(backend);
        self.state().main_is_free = main_fits();
    }

    /// Reads orders until the connection ends, or the process that started this one, and this process with it.
    pub fn read(self: &Arc<Self>, mut orders: Receiver<Order>, parent: Parent) -> ! {
        loop {
            match orders.receive(Some(Parent::LOOK)) {
                Ok(Received::Message(order)) => self.take(order),
                Ok(Received::Timeout) => parent.end_without(),
                Ok(Received::Closed) | Err(WireError::Cut | WireError::Io(_)) => crash::exit(0),
                Err(error) => broken(&error.to_string()),
            }
        }
    }

    /// Does jobs on the main thread until the engine says that this shall end.
    ///
    /// The first call is on this thread: the C library gives it memory faster than others.
    pub fn work(self: &Arc<Self>) -> ! {
        let mut state = self.state();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                self.run(job, true);
                state = self.state();
                state.main_is_free = main_fits() && state.queue.is_empty();
            } else if state.quits && state.jobs == 0 {
                drop(state);
                self.quit();
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn quit(&self) -> ! {
        let mut state = self.state();
        let (sessions, model) = (std::mem::take(&mut state.sessions), state.model.take());
        drop(state);
        drop(sessions);
        drop(model);
        if let Some(backend) = self.backend.get() {
            // Nothing of it is open.
            _ = backend.end();
        }
        crash::exit(0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, order: Order) {
        match order {
            Order::Ping { serial } => send(&self.replies, &Reply::Pong { serial, activity: activity() }),
            Order::LogLevel { level } => self.level.store(level, Ordering::Relaxed),
            Order::Start(_) => broken("a second order to start"),
            Order::Quit => self.begin_to_quit(),
            _ if self.state().quits => {}
            Order::Cancel { call, status } => self.cancel(call, status),
            Order::Credit { call, count } => self.on(call, |call| call.credit(count)),
            Order::Block { call, samples } => self.answer(call, Answer::Block(samples.to_vec())),
            Order::NoBlock { call, status } => self.answer(call, Answer::None(status)),
            Order::CloseSession { session } => self.close(session),
            _ if self.backend.get().is_none() => broken("a call before the plugin is there"),
            Order::Estimate { call, options } => self.begin(call, 1, None, Work::Estimate(document(&options))),
            Order::OpenModel { call, options } => self.open_model(call, document(&options)),
            Order::OpenSession { call, session, options } => self.open_session(call, session, document(&options)),
            Order::ResetSession { call, session } => {
                let open = self.check_out(session);
                self.begin(call, 0, None, Work::Reset(session, open));
            }
            Order::Run(run) => {
                let (session, options) = (self.check_out(run.session), document(&run.options));
                let time = run.deadline_us.map(Duration::from_micros);
                self.begin(run.call, run.credit, time, Work::Run(run, options, session));
            }
        }
    }

    /// Ends a call, at once where it waits for a thread.
    fn cancel(self: &Arc<Self>, call: u32, status: i32) {
        self.on(call, |call| call.stop(status));
        let mut state = self.state();
        let waits = state.queue.iter().position(|job| matches!(job, Job::Call(_, id, _) if *id == call));
        let Some(Job::Call(ongoing, _, work)) = waits.and_then(|place| state.queue.remove(place)) else { return };
        state.calls.remove(&call);
        state.jobs -= 1;
        if let Work::OpenSession(session, _) = work {
            state.sessions.remove(&session);
        }
        drop(state);
        match work {
            Work::Reset(session, open) => self.check_in(session, open),
            Work::Run(run, _, open) => self.check_in(run.session, open),
            Work::Estimate(_) | Work::OpenModel(_) | Work::OpenSession(..) => {}
        }
        ongoing.never_begun();
    }

    /// Does something with a call; one that is over is left in peace, for the engine cannot know.
    fn on(&self, call: u32, body: impl FnOnce(&Ongoing)) {
        let call = self.state().calls.get(&call).cloned();
        if let Some(call) = call {
            body(&call);
        }
    }

    fn answer(&self, call: u32, answer: Answer) {
        let call = self.state().calls.get(&call).cloned();
        if let Some(Err(problem)) = call.map(|call| call.answer(answer)) {
            broken(problem);
        }
    }

    fn open_model(self: &Arc<Self>, call: u32, options: Asked) {
        if std::mem::replace(&mut self.state().model_asked, true) {
            broken("a second model");
        }
        self.begin(call, 0, None, Work::OpenModel(options));
    }

    fn open_session(self: &Arc<Self>, call: u32, session: u32, options: Asked) {
        if self.state().sessions.insert(session, Place::InCall { closes: false }).is_some() {
            broken("a session of a number that is in use");
        }
        self.begin(call, 0, None, Work::OpenSession(session, options));
    }

    /// Takes a session for a call.
    fn check_out(&self, session: u32) -> Session {
        match self.state().sessions.insert(session, Place::InCall { closes: false }) {
            Some(Place::Here(open)) => open,
            Some(Place::InCall { .. }) => broken("a call of a session that is in another call"),
            None => broken("a call of a session that is not open"),
        }
    }

    /// Puts a session back after its call.
    fn check_in(self: &Arc<Self>, session: u32, open: Session) {
        let mut state = self.state();
        match state.sessions.get_mut(&session) {
            Some(place @ Place::InCall { closes: false }) => *place = Place::Here(open),
            _ => {
                state.sessions.remove(&session);
                drop(state);
                drop(open);
            }
        }
    }

    fn close(self: &Arc<Self>, session: u32) {
        let mut state = self.state();
        match state.sessions.remove(&session) {
            Some(Place::Here(open)) => {
                drop(state);
                self.hand_out(Job::Close(open));
            }
            Some(Place::InCall { .. }) => drop(state.sessions.insert(session, Place::InCall { closes: true })),
            // It could not be opened, or the engine closes it twice.
            None => {}
        }
    }

    fn begin(self: &Arc<Self>, id: u32, credit: u32, time: Option<Duration>, work: Work) {
        let call = Ongoing::new(id, credit, time, Arc::clone(&self.replies));
        if self.state().calls.insert(id, Arc::clone(&call)).is_some() {
            broken("a call of a number that is in use");
        }
        self.hand_out(Job::Call(call, id, work));
    }

    fn begin_to_quit(&self) {
        let mut state = self.state();
        state.quits = true;
        let calls: Vec<_> = state.calls.values().cloned().collect();
        drop(state);
        calls.iter().for_each(|call| call.stop(status::E_SHUTDOWN));
        self.changed.notify_all();
    }

    /// Gives a job to the main thread when that has none, else to a new one.
    fn hand_out(self: &Arc<Self>, job: Job) {
        let mut state = self.state();
        state.jobs += 1;
        if std::mem::take(&mut state.main_is_free) {
            return self.queue(state, job);
        }
        drop(state);
        let desk = Arc::clone(self);
        // Comes back when there is no thread for it.
        let job = Arc::new(Mutex::new(Some(job)));
        let theirs = Arc::clone(&job);
        let body = move || take(&theirs).into_iter().for_each(|job| desk.run(job, false));
        let thread = std::thread::Builder::new().name("tenon-call".to_owned()).stack_size(STACK);
        let Err(error) = thread.spawn(body) else { return };
        match take(&job) {
            // For want of memory, or of threads: it waits for the one that there is.
            Some(job) if main_fits() => self.queue(self.state(), job),
            _ => {
                eprintln!("tenon-worker: cannot start a thread for a call: {error}");
                crash::exit(NO_SYSTEM)
            }
        }
    }

    fn queue(&self, mut state: MutexGuard<'_, State>, job: Job) {
        state.queue.push_back(job);
        drop(state);
        self.changed.notify_all();
    }

    /// Does a job, on this thread, which is the `main` one or another.
    fn run(self: &Arc<Self>, job: Job, main: bool) {
        let done = catch_unwind(AssertUnwindSafe(|| match job {
            Job::Call(call, id, work) => {
                let turn = self.turn();
                let result = self.run_call(&call, work);
                drop(turn);
                let mut state = self.state();
                // The engine may use the number again as soon as it hears, and find this thread.
                state.calls.remove(&id);
                state.main_is_free |= main && state.queue.is_empty();
                drop(state);
                call.done(result);
            }
            Job::Close(session) => {
                let turn = self.turn();
                drop(session);
                drop(turn);
            }
        }));
        if let Err(payload) = done {
            // Dropping a payload may panic again. What it says was printed.
            std::mem::forget(payload);
            crash::exit(NO_SYSTEM);
        }
        self.state().jobs -= 1;
        self.changed.notify_all();
    }

    /// Waits until nothing else is in the backend, where it runs one session at a time.
    fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        let serial = self.backend().caps() & CAP_CONCURRENT_SESSIONS == 0;
        serial.then(|| self.alone.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn run_call(self: &Arc<Self>, call: &Arc<Ongoing>, work: Work) -> Result<(), Error> {
        match work {
            Work::Estimate(options) => self.backend().estimate(&self.files_at(), call.enter_emitting(options?, None)),
            Work::OpenModel(options) => Model::open(self.backend(), &self.files_at(), call.enter(options?))
                .map(|model| self.state().model = Some(model)),
            Work::OpenSession(session, options) => self.make_session(call, session, options),
            Work::Reset(session, mut open) => {
                let result = open.reset(call.enter(Options::new()));
                self.check_in(session, open);
                result
            }
            Work::Run(run, options, mut open) => {
                let result = options.and_then(|options| {
                    open.run(
                        &run.task,
                        &run.items.iter().map(item).collect::<Vec<_>>(),
                        call.enter_emitting(options, run.live_rate),
                    )
                });
                self.check_in(run.session, open);
                result
            }
        }
    }

    fn make_session(self: &Arc<Self>, call: &Arc<Ongoing>, session: u32, options: Asked) -> Result<(), Error> {
        let model = self.state().model.clone();
        let Some(model) = model else { broken("a session before the model is open") };
        let opened = options.and_then(|options| Session::open(&model, call.enter(options)));
        match opened {
            Ok(open) => {
                self.check_in(session, open);
                Ok(())
            }
            Err(error) => {
                self.state().sessions.remove(&session);
                Err(error)
            }
        }
    }

    fn backend(&self) -> &Arc<Backend> {
        self.backend.get().unwrap_or_else(|| broken("a call before the plugin is there"))
    }

    fn files_at(&self) -> Vec<FileAt<'_>> {
        self.files.iter().map(file_at).collect()
    }
}

fn file_at(entry: &FileEntry) -> FileAt<'_> {
    let folder = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    let FileEntry { role, size, sha256, file, .. } = entry;
    let fd = file.as_raw_fd();
    FileAt { role, path: format!("{folder}/{fd}"), size: *size, sha256: *sha256, fd }
}

/// Whether the main thread has as much stack as plugins may count on. Where not, calls run on others.
fn main_fits() -> bool {
    getrlimit(Resource::Stack).current.is_none_or(|bytes| bytes >= STACK as u64)
}

fn take(job: &Mutex<Option<Job>>) -> Option<Job> {
    job.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Reads the options of a call. They may be nested deeper than a text of them can be read: inside of the document, what
/// a request says as a text of its own is a level deeper. That is an error of this call and of no other.
fn document(options: &str) -> Asked {
    Options::from_json(options).map_err(|error| {
        let message = format!("the options cannot be handed to a worker: {error}: nest them less deeply");
        Error::new(ErrorKind::Options, message)
    })
}

fn item(item: &tenon_wire::Item) -> Item<'_> {
    match item {
        tenon_wire::Item::Text { role, text } => Item::Text { role, text },
        tenon_wire::Item::Audio { rate, samples } => Item::Audio { samples, rate: *rate },
    }
}
