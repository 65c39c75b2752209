//! What came from a worker for one call, between the thread that reads the socket and the one that drives the call.
//!
//! Bounded by credit and by bytes, so that the reader never waits: a worker that sends more than it may is at fault.

use super::death::Death;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tenon_wire::{Hello, Outcome, Output, Reply, Started, limits};

/// Most bytes that may lie in all mailboxes of one worker: as many items as a call has credit for, of a mebibyte each.
const MOST_BYTES: usize = limits::CREDIT as usize * 1024 * 1024;
/// Bytes that a message takes beside its texts and values.
const MESSAGE: usize = 128;

/// What a call hears of its worker.
#[derive(Debug)]
pub(super) enum Message {
    /// An item that the backend emitted.
    Output(Output),
    /// The backend wants audio, and waits so long at most.
    Pull(Option<Duration>),
    /// The call is over.
    Done(Outcome),
    /// While a worker starts: who it is, that it is ready, or why it is not.
    Hello(Hello),
    Started(Box<Started>),
    Refused(Outcome),
}

/// The bytes in all mailboxes of a worker.
pub(super) type Held = Arc<AtomicUsize>;

/// The mailbox of one call.
pub(super) struct Mailbox {
    state: Mutex<State>,
    came: Condvar,
    held: Held,
}

struct State {
    messages: VecDeque<Message>,
    bytes: usize,
    /// Of all output so far.
    total: usize,
    /// Only the latest.
    progress: Option<f32>,
    /// Items that may still come.
    credit: u32,
    /// Whether the backend waits for audio.
    pulling: bool,
    over: bool,
    /// Nobody asks it for signs of life.
    silent: bool,
    death: Option<Arc<Death>>,
    /// Somebody waits for `came`.
    awaited: bool,
    /// Since when the worker is to do something.
    owing: Instant,
}

/// Everything that lay in a mailbox.
#[derive(Default)]
pub(super) struct Batch {
    /// In the order in which they came.
    pub messages: VecDeque<Message>,
    pub progress: Option<f32>,
    /// Nothing comes after the messages: the worker is gone.
    pub death: Option<Arc<Death>>,
    /// Gives the room back.
    _room: Option<Room>,
}

struct Room {
    held: Held,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Mailbox {
    /// For a call whose worker may send so many items.
    pub fn new(credit: u32, held: &Held) -> Arc<Self> {
        let state = State {
            messages: VecDeque::new(),
            bytes: 0,
            total: 0,
            progress: None,
            credit,
            pulling: false,
            over: false,
            silent: false,
            death: None,
            awaited: false,
            owing: Instant::now(),
        };
        Arc::new(Self { state: Mutex::new(state), came: Condvar::new(), held: Arc::clone(held) })
    }

    /// Puts a reply in. The error is what is wrong with it.
    pub fn put(&self, reply: Reply) -> Result<(), String> {
        let mut state = self.lock();
        if state.over {
            return Err("a frame of a call that is over".to_owned());
        }
        match reply {
            Reply::Progress { fraction, .. } => state.progress = Some(fraction),
            Reply::Output { output, .. } => {
                state.credit = state.credit.checked_sub(1).ok_or("more output than it had credit for")?;
                let bytes = MESSAGE + size_of_output(&output);
                state.bytes += bytes;
                state.total += bytes;
                if self.held.fetch_add(bytes, Ordering::Relaxed) + bytes > MOST_BYTES {
                    return Err(format!("more than {MOST_BYTES} bytes that nobody has read yet"));
                }
                if state.total > limits::ANSWER {
                    return Err(format!("more than {} bytes of output in one call", limits::ANSWER));
                }
                state.messages.push_back(Message::Output(output));
            }
            Reply::Pull { timeout_us, .. } => {
                if std::mem::replace(&mut state.pulling, true) {
                    return Err("a second pull before the first was answered".to_owned());
                }
                let timeout = u64::try_from(timeout_us).ok().map(Duration::from_micros);
                state.messages.push_back(Message::Pull(timeout));
            }
            Reply::Done { outcome, .. } => {
                state.over = true;
                state.messages.push_back(Message::Done(outcome));
            }
            Reply::Hello(hello) => state.messages.push_back(Message::Hello(hello)),
            Reply::Started(started) => state.messages.push_back(Message::Started(started)),
            Reply::Refused(outcome) => state.messages.push_back(Message::Refused(outcome)),
            Reply::Log { .. } | Reply::Pong { .. } => return Err("a frame that belongs to no call".to_owned()),
        }
        self.wake(state);
        Ok(())
    }

    /// Nothing more comes: the worker is gone. What lies here can still be taken.
    pub fn die(&self, death: &Arc<Death>) {
        let mut state = self.lock();
        state.death = Some(Arc::clone(death));
        self.wake(state);
    }

    fn wake(&self, state: MutexGuard<'_, State>) {
        let awaited = state.awaited;
        drop(state);
        if awaited {
            self.came.notify_all();
        }
    }

    /// Takes everything, and waits for something to come, but not longer than `wait`.
    pub fn take(&self, wait: Duration) -> Batch {
        let mut state = self.lock();
        if state.is_empty() && !wait.is_zero() {
            state.awaited = true;
            let waited = self.came.wait_timeout_while(state, wait, |state| state.is_empty());
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.awaited = false;
        }
        let bytes = std::mem::take(&mut state.bytes);
        let room = (bytes > 0).then(|| Room { held: Arc::clone(&self.held), bytes });
        let (messages, progress) = (std::mem::take(&mut state.messages), state.progress.take());
        Batch { messages, progress, death: state.death.clone(), _room: room }
    }

    /// The worker may send so many items more.
    pub fn give_credit(&self, count: u32) {
        let mut state = self.lock();
        state.credit = state.credit.saturating_add(count).min(limits::CREDIT);
        state.owing = Instant::now();
    }

    /// The call may take its time without a sign of life.
    pub fn may_be_silent(&self) {
        self.lock().silent = true;
    }

    /// The pull was answered.
    pub fn end_pull(&self) {
        let mut state = self.lock();
        state.pulling = false;
        state.owing = Instant::now();
    }

    /// Since when the worker owes this call a sign of life; `None` while it waits for something of this side.
    pub fn owing_since(&self) -> Option<Instant> {
        let state = self.lock();
        (state.credit > 0 && !state.pulling && !state.over && !state.silent).then_some(state.owing)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let bytes = self.lock().bytes;
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.progress.is_none() && self.death.is_none()
    }
}

fn size_of_output(output: &Output) -> usize {
    let of_tokens =
        |tokens: &[tenon_tasks::Token]| tokens.iter().map(|token| size_of_val(token) + token.text.len()).sum::<usize>();
    match output {
        Output::Text(bytes) => bytes.len(),
        Output::Segment(segment) => {
            let words: usize = segment.words.iter().map(|word| size_of_val(word) + word.text.len()).sum();
            segment.text.len() + words + of_tokens(&segment.tokens)
        }
        Output::Token(token) => token.text.len(),
        Output::Usage(_) => 0,
        Output::Document { name, text } => name.len() + text.len(),
        Output::Embedding { values, .. } => size_of_val(&**values),
    }
}

#[cfg(test)]
mod tests {
    use super::super::death::Cause;
    use super::*;

    const CALL: u32 = 1;

    fn text(bytes: usize) -> Reply {
        Reply::Output { call: CALL, output: Output::Text(vec![b'x'; bytes]) }
    }

    fn done() -> Reply {
        Reply::Done { call: CALL, outcome: Outcome::default() }
    }

    #[test]
    fn what_came_is_taken_in_order_and_the_death_comes_last() {
        let mailbox = Mailbox::new(2, &Held::default());
        mailbox.put(text(1)).unwrap();
        mailbox.put(Reply::Progress { call: CALL, fraction: 0.1 }).unwrap();
        mailbox.put(Reply::Progress { call: CALL, fraction: 0.2 }).unwrap();
        mailbox.put(Reply::Pull { call: CALL, timeout_us: -1 }).unwrap();
        let death = Death { backend: String::new(), pid: 1, cause: Cause::Unknown, log: String::new() };
        mailbox.die(&Arc::new(death));
        let batch = mailbox.take(Duration::ZERO);
        assert!(matches!(batch.messages.make_contiguous_copy()[..], ["output", "pull"]));
        assert_eq!((batch.progress, batch.death.is_some()), (Some(0.2), true));
        assert!(mailbox.take(Duration::from_secs(60)).messages.is_empty());
    }

    trait Kinds {
        fn make_contiguous_copy(&self) -> Vec<&'static str>;
    }

    impl Kinds for VecDeque<Message> {
        fn make_contiguous_copy(&self) -> Vec<&'static str> {
            self.iter()
                .map(|message| match message {
                    Message::Output(_) => "output",
                    Message::Pull(_) => "pull",
                    _ => "other",
                })
                .collect()
        }
    }

    #[test]
    fn more_than_the_credit_is_refused_until_more_is_given() {
        let mailbox = Mailbox::new(1, &Held::default());
        mailbox.put(text(1)).unwrap();
        assert_eq!(mailbox.owing_since(), None);
        assert!(mailbox.put(text(1)).unwrap_err().contains("credit"));
        mailbox.give_credit(1);
        assert!(mailbox.owing_since().is_some());
        mailbox.put(text(1)).unwrap();
    }

    #[test]
    fn more_bytes_than_may_lie_there_are_refused_and_room_comes_back() {
        let held = Held::default();
        let mailbox = Mailbox::new(limits::CREDIT, &held);
        (0..15).for_each(|_| mailbox.put(text(16 << 20)).unwrap());
        assert!(mailbox.put(text(16 << 20)).unwrap_err().contains("nobody has read"));
        drop(mailbox.take(Duration::ZERO));
        assert_eq!(held.load(Ordering::Relaxed), 0);
        mailbox.put(text(16 << 20)).unwrap();
        drop(mailbox);
        assert_eq!(held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn more_bytes_than_an_answer_may_have_are_refused_however_fast_they_are_read() {
        let mailbox = Mailbox::new(limits::CREDIT, &Held::default());
        let size = 16 << 20;
        let put = || {
            mailbox.give_credit(1);
            let put = mailbox.put(text(size));
            drop(mailbox.take(Duration::ZERO));
            put
        };
        (0..limits::ANSWER / (size + MESSAGE)).for_each(|_| put().unwrap());
        assert!(put().unwrap_err().contains("bytes of output in one call"));
    }

    #[test]
    fn nothing_comes_after_the_end_and_no_second_pull_before_an_answer() {
        let mailbox = Mailbox::new(1, &Held::default());
        mailbox.put(Reply::Pull { call: CALL, timeout_us: 0 }).unwrap();
        assert!(mailbox.put(Reply::Pull { call: CALL, timeout_us: 0 }).is_err());
        mailbox.end_pull();
        mailbox.put(Reply::Pull { call: CALL, timeout_us: 5 }).unwrap();
        mailbox.put(done()).unwrap();
        assert!(mailbox.put(done()).is_err());
        assert!(mailbox.put(text(1)).is_err());
    }
}
