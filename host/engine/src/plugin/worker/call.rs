//! One call in a worker, driven by the thread of the request: output goes to the call's sink, audio comes from its
//! feed, stop signs are passed on, and a worker that does not obey them is killed.

use super::child::{Over, Unsent, Worker};
use super::death::{Cause, Death, Verdict};
use super::mailbox::{Mailbox, Message};
use super::start::kind_of;
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::host::{Call, Remote};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tenon_abi::{Status, status};
use tenon_wire::{Order, Outcome, Samples, limits};

/// How often a call looks at its stop signs while nothing comes.
const LOOK: Duration = Duration::from_millis(10);
/// How long the feed may be waited for at a time, in which nothing else is noticed.
const SLICE: Duration = Duration::from_millis(20);
/// Items after which credit is given back.
const GIVEN_BACK: u32 = limits::CREDIT / 4;

/// What came of a call.
pub(super) struct Answer {
    /// As the plugin in this process would give it.
    pub result: Result<()>,
    /// What the plugin returned; `None` where the worker died.
    pub status: Option<Status>,
}

impl Answer {
    /// For a call that the worker never heard of.
    fn unsent(error: Error) -> Self {
        Self { result: Err(error), status: None }
    }

    /// Whether what was to be opened is open there, although the call ended with an error here.
    pub fn left_something(&self) -> bool {
        self.result.is_err() && self.status == Some(status::OK)
    }
}

/// Makes a call. `order` is what the worker is told, given the call's number.
///
/// # Errors
/// That the worker takes no calls: this one was not begun.
pub(super) fn perform(
    worker: &Worker,
    call: &Call,
    grace: Duration,
    order: impl FnOnce(u32) -> Result<Order>,
) -> std::result::Result<Answer, Over> {
    let (id, mailbox) = worker.begin()?;
    drive(worker, call, grace, None, (id, mailbox), order)
}

/// The same for opening a model, for which nobody expects signs of life. `most`: how long it may take, after which the
/// worker is killed.
///
/// # Errors
/// As [`perform`].
pub(super) fn open_model(
    worker: &Worker,
    call: &Call,
    grace: Duration,
    most: Option<Duration>,
    options: &str,
) -> std::result::Result<Answer, Over> {
    let (id, mailbox) = worker.begin()?;
    mailbox.may_be_silent();
    let order = |call| Ok(Order::OpenModel { call, options: options.to_owned() });
    drive(worker, call, grace, most, (id, mailbox), order)
}

fn drive(
    worker: &Worker,
    call: &Call,
    grace: Duration,
    most: Option<Duration>,
    (id, mailbox): (u32, Arc<Mailbox>),
    order: impl FnOnce(u32) -> Result<Order>,
) -> std::result::Result<Answer, Over> {
    let late = most.map(|most| (Instant::now(), most));
    let mut driver = Driver { worker, call, grace, late, id, mailbox, done: true, used: 0, told: None, pull: None };
    worker.tell_level();
    let sent = order(id).and_then(|order| worker.try_send(&order).map_err(not_handed_over));
    if let Err(error) = sent {
        return Ok(Answer::unsent(error));
    }
    driver.done = false;
    Ok(driver.drive())
}

/// The error of a call whose worker takes none.
pub(super) fn error_of(over: &Over, worker: &Worker) -> Error {
    match over {
        Over::Dead(death) => death.error(),
        Over::Ending => {
            let (backend, pid) = (worker.backend.clone(), worker.process.pid());
            Death { backend, pid, cause: Cause::Told, log: String::new() }.error()
        }
    }
}

fn not_handed_over(error: Unsent) -> Error {
    match error {
        Unsent::TooLarge(what) => {
            Error::new(ErrorKind::InvalidArgument, format!("the request is too large for a worker: {what}"))
        }
        Unsent::Refused(error) => {
            let message = format!("cannot hand the request to a worker: {error}");
            Error::new(kind_of(&error), message).with_source(error)
        }
    }
}

struct Driver<'a> {
    worker: &'a Worker,
    call: &'a Call,
    grace: Duration,
    /// When it began, and how long it may take, whatever the stop signs say.
    late: Option<(Instant, Duration)>,
    id: u32,
    mailbox: Arc<Mailbox>,
    /// The worker sends nothing more of it.
    done: bool,
    /// Items taken for which no credit was given back yet.
    used: u32,
    /// When the worker was told that the call shall end, and why.
    told: Option<(Instant, ErrorKind)>,
    /// The backend waits for audio, until then or for ever.
    pull: Option<Option<Instant>>,
}

impl Driver<'_> {
    fn drive(mut self) -> Answer {
        loop {
            let wait = if self.pull.is_some() { Duration::ZERO } else { LOOK };
            let mut batch = self.mailbox.take(wait);
            if let Some(fraction) = batch.progress {
                self.call.tell_progress(fraction);
            }
            while let Some(message) = batch.messages.pop_front() {
                match message {
                    Message::Output(output) => self.output(output),
                    Message::Pull(timeout) => {
                        self.pull = Some(timeout.and_then(|timeout| Instant::now().checked_add(timeout)));
                    }
                    Message::Done(outcome) => return self.returned(outcome),
                    Message::Hello(_) | Message::Started(_) | Message::Refused(_) => {}
                }
            }
            if let Some(death) = batch.death {
                return self.died(&death);
            }
            self.obey();
            self.feed();
        }
    }

    fn output(&mut self, output: tenon_wire::Output) {
        // What comes after the call was told to end reaches nobody.
        if self.told.is_none()
            && let Err(refused) = self.call.take_output(output)
        {
            self.tell(refused);
        }
        self.used += 1;
        if self.used >= GIVEN_BACK {
            let count = std::mem::take(&mut self.used);
            // Before the worker hears of it, who may use it at once.
            self.mailbox.give_credit(count);
            self.worker.send(&Order::Credit { call: self.id, count });
        }
    }

    /// Looks at the stop signs.
    fn obey(&mut self) {
        if let Some((_, most)) = self.late.filter(|(began, most)| began.elapsed() >= *most) {
            self.worker.kill(Verdict::Late(most));
        }
        match (self.told, self.call.stop_reason()) {
            (None, Some(reason)) => self.tell(reason.status()),
            (Some((since, reason)), _) if since.elapsed() >= self.grace => {
                self.worker.kill(Verdict::NotEnding(self.grace, reason));
            }
            _ => {}
        }
    }

    /// Tells the worker, once, that the call shall end.
    fn tell(&mut self, status: Status) {
        if self.told.is_none() {
            self.told = Some((Instant::now(), ErrorKind::from_status(status).unwrap_or(ErrorKind::Internal)));
            self.worker.send(&Order::Cancel { call: self.id, status });
        }
    }

    /// Answers a pull when there is an answer, and waits for it a little.
    fn feed(&mut self) {
        let Some(until) = self.pull else { return };
        let left = until.map_or(SLICE, |until| until.saturating_duration_since(Instant::now()));
        let pulled = match left {
            // The last look, after which the backend goes on.
            Duration::ZERO => self.call.pull_block(Some(left)),
            _ => match self.call.pull_block_on(left.min(SLICE)) {
                Err(status::E_TIMEOUT) => return,
                pulled => pulled,
            },
        };
        let refused = match pulled {
            Ok(samples) => return self.block(&samples),
            Err(refused) => refused,
        };
        if !matches!(refused, status::E_END | status::E_TIMEOUT) {
            self.tell(refused);
        }
        self.answer_pull(&Order::NoBlock { call: self.id, status: refused });
    }

    fn block(&mut self, samples: &[f32]) {
        match Samples::new(samples) {
            Ok(samples) => self.answer_pull(&Order::Block { call: self.id, samples }),
            Err(error) => self.answer_pull(&Order::NoBlock { call: self.id, status: kind_of(&error).status() }),
        }
    }

    fn answer_pull(&mut self, order: &Order) {
        self.pull = None;
        // Before the worker hears of it, who may pull again at once.
        self.mailbox.end_pull();
        self.worker.send(order);
    }

    fn returned(mut self, outcome: Outcome) -> Answer {
        self.done = true;
        let Outcome { status, message, details } = outcome;
        let result = self.call.end_remote(Remote::Returned { status, message, details }, &self.worker.backend);
        Answer { result, status: Some(status) }
    }

    fn died(mut self, death: &Death) -> Answer {
        self.done = true;
        let result = self.call.end_remote(Remote::Died(death.error()), &self.worker.backend);
        Answer { result, status: None }
    }

    /// Waits for the end of a call whose callbacks have panicked: nobody else may come into the backend before that.
    fn abandon(&mut self) {
        self.tell(status::E_CANCELLED);
        let since = Instant::now();
        while !self.done {
            let batch = self.mailbox.take(LOOK);
            let ended = |message: &Message| matches!(message, Message::Done(_));
            self.done = batch.death.is_some() || batch.messages.iter().any(ended);
            if since.elapsed() >= self.grace {
                self.worker.kill(Verdict::NotEnding(self.grace, ErrorKind::Cancelled));
            }
        }
    }
}

impl Drop for Driver<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.abandon();
        }
        self.worker.end(self.id, self.done);
    }
}
