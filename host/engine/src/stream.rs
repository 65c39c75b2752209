//! A running request: its thread, its events, and what the caller still has to say to it.

use crate::answer::{Answer, Event};
use crate::cancel::{CancelToken, StopSigns, stop_error};
use crate::crew::Member;
use crate::error::{Error, ErrorKind, Result};
use crate::feed::LiveInput;
use crate::gate::Inside;
use crate::log::Log;
use crate::threads::Lease;
use crate::wakeup::{Hook, Wakeup};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Events that may wait in the queue before the backend is made to wait. The reader takes all of them at once, so
/// twice as many may be on their way.
const CAPACITY: usize = 128;
/// How often a waiting thread looks at its stop signs.
const LOOK: Duration = Duration::from_millis(10);

/// A running request, read event by event. Ends with [`Event::End`] or with one error; then `None` for ever.
///
/// Dropping it cancels the request and waits until the backend has ended. A backend that does not end within the
/// engine's patience ([`crate::EngineBuilder::patience`]) keeps its thread, its session and its model, and a warning
/// is logged.
pub struct Stream {
    running: Running,
    token: CancelToken,
    input: Option<LiveInput>,
    ended: bool,
}

impl Stream {
    pub(crate) fn new(running: Running, token: CancelToken, input: Option<LiveInput>) -> Self {
        Self { running, token, input, ended: false }
    }

    /// The next event; an error of the kind [`ErrorKind::Timeout`] when none came within `timeout`, after which the
    /// stream goes on; `None` after the end.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Result<Event>> {
        self.next_until(Instant::now().checked_add(timeout))
    }

    fn next_until(&mut self, until: Option<Instant>) -> Option<Result<Event>> {
        if self.ended {
            return None;
        }
        match self.running.next(until) {
            Next::Event(event) => Some(Ok(event)),
            Next::Timeout => Some(Err(Error::new(ErrorKind::Timeout, "no event came in the time given"))),
            Next::End(outcome) => {
                self.ended = true;
                let outcome = *outcome;
                Some(outcome.map(|answer| Event::End(Box::new(answer))))
            }
        }
    }

    /// Whether an event, or the end, can be read without waiting; true for ever once the end was read.
    pub fn is_ready(&self) -> bool {
        self.ended || self.running.is_ready()
    }

    /// Sets what is called whenever something can be read, or takes it away with `None`: for event loops, which then
    /// read with [`Stream::next_timeout`] and a timeout of zero as long as [`Stream::is_ready`] says so.
    ///
    /// It is called on whatever thread brought what can be read, outside of every lock, perhaps more often than there
    /// is something to read; and at once, on this thread, when something can be read already. It should only pass the
    /// word on: the backend waits for it. When this returns, the hook from before is not running and never runs again,
    /// unless it is that hook which calls this. The same holds when the stream is dropped. A backend that hangs wakes
    /// nobody; only a read notices that the engine's patience with it is over.
    ///
    /// ```no_run
    /// # use tenon::{Request, Session};
    /// # fn example(session: &mut Session) -> tenon::Result<()> {
    /// let (ring, bell) = std::sync::mpsc::channel();
    /// let mut stream = session.stream(Request::generate("Once upon a time"))?;
    /// stream.set_wakeup(Some(Box::new(move || {
    ///     let _ = ring.send(());
    /// })));
    /// while bell.recv().is_ok() {
    ///     while stream.is_ready() {
    ///         let Some(event) = stream.next() else { return Ok(()) };
    ///         println!("{}", event?.to_json());
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_wakeup(&self, wakeup: Option<Box<dyn Fn() + Send + Sync>>) {
        self.running.set_wakeup(wakeup);
        if self.is_ready() {
            self.running.channel.wakeup.call();
        }
    }

    /// Asks the request to end. Events that it has already given out can still be read; its last one is then an error
    /// of the kind [`ErrorKind::Cancelled`].
    pub fn cancel(&self) {
        self.token.cancel();
    }

    /// A token that cancels this request, for other threads.
    pub fn cancel_token(&self) -> CancelToken {
        self.token.clone()
    }

    /// The way in for live audio, for other threads; `None` unless the request's audio is
    /// [`crate::AudioSource::Live`].
    pub fn input(&self) -> Option<LiveInput> {
        self.input.clone()
    }

    /// Hands over live audio, see [`LiveInput::push`].
    pub fn push_audio(&self, samples: &[f32], rate: u32, channels: u16) -> Result<()> {
        self.live()?.push(samples, rate, channels)
    }

    /// Says that no more live audio comes, see [`LiveInput::finish`].
    pub fn finish_input(&self) -> Result<()> {
        self.live()?.finish()
    }

    fn live(&self) -> Result<&LiveInput> {
        self.input.as_ref().ok_or_else(|| {
            let message = "this request takes no live audio: ask for it with AudioSource::Live";
            Error::new(ErrorKind::InvalidArgument, message)
        })
    }
}

impl Iterator for Stream {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_until(None)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.running.set_wakeup(None);
        if !self.ended {
            self.token.cancel();
            self.running.abandon();
        }
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("ended", &self.ended).field("live", &self.input.is_some()).finish()
    }
}

/// A request on its thread.
pub(crate) struct Running {
    channel: Arc<Channel>,
    stop: StopSigns,
    patience: Duration,
    log: Log,
    thread: Option<Member>,
    /// Since when the request is to end.
    stopped: Option<Instant>,
    /// Events that were taken out of the queue together.
    taken: VecDeque<Event>,
}

pub(crate) enum Next {
    Event(Event),
    End(Box<Result<Answer>>),
    Timeout,
}

impl Running {
    /// `thread` ends soon after it has finished `channel`.
    pub(crate) fn new(channel: Arc<Channel>, stop: StopSigns, patience: Duration, log: Log, thread: Member) -> Self {
        Self { channel, stop, patience, log, thread: Some(thread), stopped: None, taken: VecDeque::new() }
    }

    /// Waits for the answer of a request that nobody listens to.
    pub(crate) fn wait(mut self) -> Result<Answer> {
        loop {
            if let Next::End(outcome) = self.next(None) {
                return *outcome;
            }
        }
    }

    fn next(&mut self, until: Option<Instant>) -> Next {
        // Long enough to cost nothing, short enough to see in time that a backend does not obey.
        const SLICE: Duration = Duration::from_millis(100);
        loop {
            if let Some(event) = self.taken.pop_front() {
                return Next::Event(event);
            }
            let left = until.map_or(SLICE, |until| until.saturating_duration_since(Instant::now()).min(SLICE));
            match self.channel.take(left, &mut self.taken) {
                Some(outcome) => {
                    self.join();
                    return Next::End(outcome);
                }
                None if !self.taken.is_empty() => continue,
                None => {}
            }
            if let Some(reason) = self.is_lost() {
                return Next::End(Box::new(Err(self.lose(reason))));
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Next::Timeout;
            }
        }
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }

    fn set_wakeup(&self, hook: Option<Hook>) {
        self.channel.wakeup.set(hook);
    }

    fn is_ready(&self) -> bool {
        let lost = || self.stopped.is_some_and(|since| since.elapsed() > self.patience);
        !self.taken.is_empty() || !self.channel.lock().is_empty() || lost()
    }

    /// Why the request is to end, if it was asked to longer ago than anybody should wait.
    fn is_lost(&mut self) -> Option<ErrorKind> {
        let reason = self.stop.reason()?;
        let since = *self.stopped.get_or_insert_with(Instant::now);
        (since.elapsed() > self.patience).then_some(reason)
    }

    /// Leaves the thread behind. Everything that it uses is shared with it and stays; what others wait for they get.
    fn lose(&mut self, reason: ErrorKind) -> Error {
        drop(self.thread.take());
        self.channel.holds.lose();
        let message = format!("{}, and the backend does not end: its session stays busy", stop_error(reason));
        self.log.within(|| tracing::warn!("{message}"));
        Error::new(reason, message).with_detail("lost", "true")
    }

    /// Waits until the backend has ended, but not for ever. The request was cancelled before.
    fn abandon(&mut self) {
        self.channel.abandon();
        self.taken.clear();
        // Dropped by a hook that the request's own thread calls: it cannot wait for itself.
        if self.thread.as_ref().is_some_and(Member::is_this_thread) {
            return;
        }
        while !matches!(self.next(None), Next::End(_)) {}
    }
}

/// The bounded queue between the thread of a request and its reader.
#[derive(Default)]
pub(crate) struct Channel {
    state: Mutex<Queue>,
    came: Condvar,
    room: Condvar,
    /// Called after each change that the reader waits for, never under `state`.
    wakeup: Wakeup,
    /// What the request has that others wait for.
    pub holds: Holds,
}

/// What a request has that others wait for. Once it is lost they wait no more.
#[derive(Default)]
pub(crate) struct Holds(Mutex<Held>);

#[derive(Default)]
struct Held {
    inside: Weak<Inside>,
    lease: Weak<Lease>,
    lost: bool,
}

impl Holds {
    /// The request is in the backend, which runs one session at a time.
    pub(crate) fn place(&self, inside: &Arc<Inside>) {
        self.change(|held| held.inside = Arc::downgrade(inside));
    }

    /// The request has threads.
    pub(crate) fn threads(&self, lease: &Arc<Lease>) {
        self.change(|held| held.lease = Arc::downgrade(lease));
    }

    fn lose(&self) {
        self.change(|held| held.lost = true);
    }

    fn change(&self, change: impl FnOnce(&mut Held)) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut held);
        let (inside, lease, lost) = (held.inside.upgrade(), held.lease.upgrade(), held.lost);
        // Not under the lock: the last of either may be dropped here.
        drop(held);
        if lost {
            inside.iter().for_each(|inside| inside.lose());
            lease.iter().for_each(|lease| lease.forfeit());
        }
    }
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    /// Only the latest.
    progress: Option<f32>,
    outcome: Option<Box<Result<Answer>>>,
    abandoned: bool,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.progress.is_none() && self.outcome.is_none()
    }
}

impl Channel {
    /// The end: always has room.
    pub(crate) fn finish(&self, outcome: Result<Answer>) {
        self.lock().outcome = Some(Box::new(outcome));
        self.came.notify_all();
        self.wakeup.call();
    }

    pub(crate) fn progress(&self, fraction: f32) {
        self.lock().progress = Some(fraction);
        self.came.notify_all();
        self.wakeup.call();
    }

    /// Waits for something to come and takes all events; the outcome when there is nothing else left.
    fn take(&self, wait: Duration, taken: &mut VecDeque<Event>) -> Option<Box<Result<Answer>>> {
        let queue = self.lock();
        let waited = self.came.wait_timeout_while(queue, wait, |queue| queue.is_empty());
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        taken.extend(queue.progress.take().map(Event::Progress));
        if !queue.events.is_empty() {
            taken.append(&mut queue.events);
            drop(queue);
            self.room.notify_all();
            return None;
        }
        if taken.is_empty() { queue.outcome.take() } else { None }
    }

    fn abandon(&self) {
        let mut queue = self.lock();
        queue.abandoned = true;
        queue.events.clear();
        drop(queue);
        self.room.notify_all();
    }

    /// The event again when there is no room for it.
    fn try_send(&self, event: Event) -> Option<Event> {
        let mut queue = self.lock();
        if queue.abandoned {
            return None;
        }
        if queue.events.len() >= CAPACITY {
            return Some(event);
        }
        queue.events.push_back(event);
        drop(queue);
        self.came.notify_one();
        self.wakeup.call();
        None
    }

    fn wait_for_room(&self, stop: &StopSigns) {
        let mut queue = self.lock();
        while queue.events.len() >= CAPACITY && !queue.abandoned && stop.reason().is_none() {
            queue = self.room.wait_timeout(queue, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending end of a channel. While the reader is behind, the request's threads are lent to others.
#[derive(Clone)]
pub(crate) struct Outlet {
    pub channel: Arc<Channel>,
    pub stop: StopSigns,
    pub lease: Arc<Lease>,
}

impl Outlet {
    /// Waits for room. An error of a stop kind when the request is to end meanwhile.
    pub(crate) fn send(&self, event: Event) -> Result<()> {
        let mut event = event;
        loop {
            self.stop.check()?;
            match self.channel.try_send(event) {
                None => return Ok(()),
                Some(back) => event = back,
            }
            self.lease.while_idle(&self.stop, || self.channel.wait_for_room(&self.stop))?;
        }
    }
}
