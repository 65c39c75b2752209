//! One running call: what the thread that runs it and the thread that reads orders share, and its sink and feed.

use crate::desk::try_send;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tenon::inside::{Call, Feed, Pulled, Sink, StopSigns};
use tenon::{CancelToken, Error, ErrorKind, Options};
use tenon_abi::status;
use tenon_wire::{Outcome, Output, Reply, Sender};

/// A call that is not over.
pub struct Ongoing {
    id: u32,
    replies: Arc<Sender<Reply>>,
    cancel: CancelToken,
    shutdown: CancelToken,
    deadline: Option<Instant>,
    flow: Mutex<Flow>,
    changed: Condvar,
    /// Nothing of it may be sent any more. Held while something is sent that a thread of the plugin may send as late as
    /// it likes.
    over: Mutex<bool>,
}

/// What the engine lets in and out.
#[derive(Default)]
struct Flow {
    credit: u32,
    stopped: Option<ErrorKind>,
    pull: Pull,
}

/// Live audio that was asked for.
#[derive(Default)]
enum Pull {
    #[default]
    Nothing,
    Asked,
    Answered(Answer),
}

/// What the engine answers to a pull.
pub enum Answer {
    /// Samples.
    Block(Vec<f32>),
    /// None, for the reason of this status.
    None(i32),
}

impl Ongoing {
    /// A call that begins now. `credit`: how many items it may emit.
    pub fn new(id: u32, credit: u32, time: Option<Duration>, replies: Arc<Sender<Reply>>) -> Arc<Self> {
        Arc::new(Self {
            id,
            replies,
            cancel: CancelToken::new(),
            shutdown: CancelToken::new(),
            deadline: time.and_then(|time| Instant::now().checked_add(time)),
            flow: Mutex::new(Flow { credit, ..Flow::default() }),
            changed: Condvar::new(),
            over: Mutex::new(false),
        })
    }

    /// The call as the plugin gets it when it may emit nothing.
    pub fn enter(self: &Arc<Self>, options: Options) -> Call {
        let stop = StopSigns {
            tokens: vec![self.cancel.clone()],
            shutdown: Some(self.shutdown.clone()),
            deadline: self.deadline,
        };
        let teller = Arc::clone(self);
        Call::new(stop).with_options(options).with_progress(Box::new(move |fraction| teller.progress(fraction)))
    }

    /// The call as the plugin gets it when it may emit. `live`: the rate of the audio that it may pull.
    pub fn enter_emitting(self: &Arc<Self>, options: Options, live: Option<u32>) -> Call {
        let call = self.enter(options).with_sink(Box::new(Emitted(Arc::clone(self))));
        match live {
            Some(rate) => call.with_feed(Box::new(Live(Arc::clone(self))), rate),
            None => call,
        }
    }

    /// Ends the call soon, for the reason of this status.
    pub fn stop(&self, why: i32) {
        let kind = ErrorKind::from_status(why).unwrap_or(ErrorKind::Cancelled);
        match kind {
            ErrorKind::Shutdown => self.shutdown.cancel(),
            _ => self.cancel.cancel(),
        }
        self.flow().stopped.get_or_insert(kind);
        self.changed.notify_all();
    }

    /// Lets the call emit so many items more.
    pub fn credit(&self, count: u32) {
        let mut flow = self.flow();
        flow.credit = flow.credit.saturating_add(count);
        drop(flow);
        self.changed.notify_all();
    }

    /// Takes the answer to a pull. The answer is refused when the call did not ask.
    pub fn answer(&self, answer: Answer) -> Result<(), &'static str> {
        let mut flow = self.flow();
        match flow.pull {
            Pull::Asked => flow.pull = Pull::Answered(answer),
            _ => return Err("audio that no call asked for"),
        }
        drop(flow);
        self.changed.notify_all();
        Ok(())
    }

    /// Says that the call is over. Nothing of it is sent after this.
    pub fn done(&self, result: Result<(), Error>) {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        *over = true;
        crate::desk::send(&self.replies, &Reply::Done { call: self.id, outcome: outcome(result) });
    }

    /// Ends a call that has not begun, because it shall not.
    pub fn never_begun(&self) {
        let kind = self.flow().stopped.unwrap_or(ErrorKind::Cancelled);
        self.done(Err(stopped(kind)));
    }

    fn progress(&self, fraction: f32) {
        if fraction.is_finite() {
            self.send(&Reply::Progress { call: self.id, fraction: fraction.clamp(0.0, 1.0) });
        }
    }

    /// Sends what a thread of the plugin may send at any time; says whether the call was not over.
    fn send(&self, reply: &Reply) -> bool {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        if !*over {
            crate::desk::send(&self.replies, reply);
        }
        !*over
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready` gives something; an error when the call shall stop before that.
    fn wait<T>(&self, mut ready: impl FnMut(&mut Flow) -> Option<T>) -> Result<T, Error> {
        let mut flow = self.flow();
        loop {
            if let Some(kind) = flow.stopped {
                return Err(stopped(kind));
            }
            if let Some(thing) = ready(&mut flow) {
                return Ok(thing);
            }
            flow = match self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return Err(stopped(ErrorKind::Deadline)),
                Some(left) => self.changed.wait_timeout(flow, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(flow).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

/// The sink: each item spends a credit, and waits for one.
struct Emitted(Arc<Ongoing>);

impl Sink for Emitted {
    fn take(&mut self, output: Output) -> Result<(), Error> {
        let call = &self.0;
        call.wait(|flow| (flow.credit > 0).then(|| flow.credit -= 1))?;
        try_send(&call.replies, &Reply::Output { call: call.id, output })
            .inspect_err(|_| call.credit(1))
            .map_err(|too_large| Error::new(ErrorKind::Plugin, format!("the backend emitted {too_large}")))
    }
}

/// The feed: asks the engine for a block, and waits for the answer.
struct Live(Arc<Ongoing>);

impl Feed for Live {
    fn pull(&mut self, timeout: Option<Duration>) -> Pulled {
        let call = &self.0;
        let timeout_us = timeout.map_or(-1, |timeout| i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX));
        call.flow().pull = Pull::Asked;
        if !call.send(&Reply::Pull { call: call.id, timeout_us }) {
            return Pulled::End;
        }
        let answer = call.wait(|flow| match std::mem::take(&mut flow.pull) {
            Pull::Answered(answer) => Some(answer),
            not_yet => {
                flow.pull = not_yet;
                None
            }
        });
        match answer {
            Ok(Answer::Block(samples)) => Pulled::Block(samples),
            Ok(Answer::None(status::E_END)) => Pulled::End,
            Ok(Answer::None(status::E_TIMEOUT)) => Pulled::Timeout,
            Ok(Answer::None(why)) => Pulled::Failed(unreadable(why)),
            Err(error) => Pulled::Failed(error),
        }
    }
}

fn stopped(kind: ErrorKind) -> Error {
    Error::new(kind, "the call shall end")
}

/// The engine knows what is wrong with its input, and says so itself.
fn unreadable(why: i32) -> Error {
    let kind = ErrorKind::from_status(why).unwrap_or(ErrorKind::Internal);
    Error::new(kind, "the input cannot be read on")
}

/// An end as it crosses: the engine judges it as it would judge a plugin in its own process.
pub fn outcome(result: Result<(), Error>) -> Outcome {
    let Err(error) = result else { return Outcome { status: status::OK, ..Outcome::default() } };
    // Why the call was to end is the engine's to say; what the plugin said to that is a detail.
    let own = error.is_stop();
    let message = if own { error.detail("native") } else { Some(error.message()) };
    let known = |key: &str| key == "plugin" || own && key == "native";
    let details = error.details().filter(|(key, _)| !known(key));
    Outcome {
        status: error.kind().status(),
        message: message.map(str::to_owned),
        details: details.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_crosses_with_its_details_and_without_what_the_engine_adds() {
        let error = Error::new(ErrorKind::Model, "no tensor").with_detail("file", "x").with_detail("plugin", "echo");
        let crossed = outcome(Err(error));
        assert_eq!(crossed.status, status::E_MODEL);
        assert_eq!(crossed.message.as_deref(), Some("no tensor"));
        assert_eq!(crossed.details, [("file".to_owned(), "x".to_owned())]);
    }

    #[test]
    fn nothing_follows_the_end_of_a_call() {
        let (engine, worker) = tenon_wire::Link::pair().unwrap();
        let (replies, _orders) = tenon_wire::Link::<Reply, tenon_wire::Order>::from(worker).split();
        let call = Ongoing::new(7, 1, None, Arc::new(replies));
        call.progress(0.25);
        call.done(Ok(()));
        call.progress(0.5);
        assert!(matches!(Live(Arc::clone(&call)).pull(None), Pulled::End));
        let (_sender, mut receiver) = engine.split();
        let mut came = Vec::new();
        while let tenon_wire::Received::Message(reply) = receiver.receive(Some(Duration::ZERO)).unwrap() {
            came.push(matches!(reply, Reply::Done { call: 7, .. }));
        }
        assert_eq!(came, [false, true]);
    }

    #[test]
    fn of_a_call_that_was_stopped_only_the_plugins_own_words_cross() {
        let error = Error::new(ErrorKind::Cancelled, "cancelled").with_detail("native", "gave up");
        let crossed = outcome(Err(error));
        assert_eq!((crossed.status, crossed.message.as_deref()), (status::E_CANCELLED, Some("gave up")));
        assert!(crossed.details.is_empty());
    }
}
