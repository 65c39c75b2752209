//! A model with those who ask it: the lanes, what was done to its workers, and the verdict on each request.

use crate::census::{Child, children};
use crate::questions::{Bank, Question, essence};
use crate::report::{End, Report};
use crate::scarce::Scarcity;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tenon::{Answer, CancelToken, Error, ErrorKind, Model};
use tenon_fault_tests::random::Random;

/// How long something that must come is waited for, on however busy a machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What all parts of the campaign share.
pub struct Campaign {
    /// The counts.
    pub report: Report,
    /// Times in which the process has no descriptors to spare.
    pub scarcity: Scarcity,
    /// The seed.
    pub seed: u64,
    /// When the last fault is made.
    pub until: Instant,
    /// How many faults are made at most.
    pub most: u64,
}

impl Campaign {
    /// Whether no more faults are to be made.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.until || self.report.faults() >= self.most
    }
}

/// How the next request of a lane is made.
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    /// Waited for.
    Run,
    /// Read as a stream.
    Stream,
    /// Read as a stream with a pause before each event.
    Slow(Duration),
    /// Read as a stream that is dropped after so many events.
    Drop(u64),
    /// Cancelled after this time.
    Cancel(Duration),
    /// With this deadline.
    Deadline(Duration),
}

/// What was done to a worker.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Which worker.
    pub pid: u32,
    /// One of these words must be in the error of a request that was in it.
    pub names: Vec<String>,
}

/// A model, its lanes and its workers.
pub struct Stage {
    /// What reports call it.
    pub name: &'static str,
    /// The file name of its workers' program.
    pub program: &'static str,
    /// The model.
    pub model: Model,
    /// What it is asked.
    pub bank: Bank,
    /// Held while one worker after another is hit, until the model serves again: what hits it too often in a row is
    /// refused for a while, and rightly so.
    pub turn: Mutex<()>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    paused: bool,
    over: bool,
    flights: Vec<Option<Flight>>,
    orders: VecDeque<Manner>,
    hits: Vec<Hit>,
    /// When the latest served request was begun, and when it ended.
    served: Option<(Instant, Instant)>,
    /// When a worker was last hit or stopped.
    disturbed: Option<Instant>,
}

/// A request on its way.
#[derive(Clone)]
pub struct Flight {
    /// When it began.
    pub began: Instant,
    /// What cancels it.
    pub token: CancelToken,
    /// Whether it has a deadline.
    pub deadline: bool,
}

impl Stage {
    /// A stage for so many lanes.
    pub fn new(name: &'static str, program: &'static str, model: Model, bank: Bank, lanes: usize) -> Self {
        let state = State { flights: vec![None; lanes], ..State::default() };
        Self { name, program, model, bank, turn: Mutex::new(()), state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the state is as wanted; `None` when it is not for too long.
    fn wait<T>(&self, patience: Duration, mut wanted: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let end = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            if let Some(found) = wanted(&mut state) {
                return Some(found);
            }
            let left = end.checked_duration_since(Instant::now())?;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// What a lane does next, once nothing keeps it; `None` at the end.
    pub fn next(&self, random: &mut Random) -> Option<Manner> {
        let usual = if random.below(2) == 0 { Manner::Run } else { Manner::Stream };
        let next = |state: &mut State| match (state.over, state.paused) {
            (true, _) => Some(None),
            (_, true) => None,
            _ => Some(Some(state.orders.pop_front().unwrap_or(usual))),
        };
        self.wait(Duration::MAX / 4, next).flatten()
    }

    /// A lane's request begins.
    pub fn begin(&self, lane: usize, flight: Flight) {
        self.change(|state| state.flights[lane] = Some(flight));
    }

    /// A lane's request has ended and was judged. Gives how long it took when it was served and nothing was done to a
    /// worker from the beginning of the one that was served before it.
    pub fn end(&self, lane: usize, end: End) -> Option<Duration> {
        self.change(|state| {
            let flight = state.flights[lane].take().filter(|_| end == End::Served)?;
            let before = state.served.replace((flight.began, Instant::now()))?;
            let calm = state.disturbed.is_none_or(|at| at < before.0.min(flight.began));
            calm.then(|| flight.began.elapsed())
        })
    }

    /// Lets the lanes end.
    pub fn close(&self) {
        self.change(|state| state.over = true);
    }

    /// How many lanes it has.
    pub fn lanes(&self) -> usize {
        self.lock().flights.len()
    }

    /// Whether no request is on its way.
    pub fn is_idle(&self) -> bool {
        self.lock().flights.iter().all(Option::is_none)
    }

    /// The requests that are on their way longer than they may be.
    pub fn overdue(&self) -> usize {
        self.lock().flights.iter().flatten().filter(|flight| flight.began.elapsed() > PATIENCE * 2).count()
    }

    /// Runs `body` while no request is on its way.
    pub fn while_idle<T>(&self, body: impl FnOnce() -> T) -> Option<T> {
        self.change(|state| state.paused = true);
        let idle = self.wait(PATIENCE, |state| state.flights.iter().all(Option::is_none).then_some(()));
        let result = idle.map(|()| body());
        self.change(|state| state.paused = false);
        result
    }

    /// Makes the next requests in these manners, and waits until all of them were begun.
    pub fn order(&self, manners: &[Manner]) -> bool {
        self.change(|state| state.orders.extend(manners));
        self.wait(PATIENCE, |state| state.orders.is_empty().then_some(())).is_some()
    }

    /// Cancels every request that is on its way for longer than this.
    pub fn cancel_all(&self, older: Duration) {
        let state = self.lock();
        state.flights.iter().flatten().filter(|flight| flight.began.elapsed() >= older).for_each(|flight| {
            flight.token.cancel();
        });
    }

    /// Notes what is about to be done to a worker.
    pub fn note(&self, hit: Hit) {
        self.change(|state| {
            state.hits.push(hit);
            state.disturbed = Some(Instant::now());
        });
    }

    /// Notes that a worker was stopped until now.
    pub fn disturbed(&self) {
        self.change(|state| state.disturbed = Some(Instant::now()));
    }

    /// Waits for a request that was begun at `since` or later to be served; gives when it ended.
    pub fn served_since(&self, since: Instant) -> Option<Instant> {
        self.wait(PATIENCE, |state| state.served.filter(|(began, _)| *began >= since).map(|(_, ended)| ended))
    }

    /// The workers that run now.
    pub fn workers(&self) -> Vec<Child> {
        running(self.program)
    }

    /// Judges how a request of a lane has ended. `None` is a stream that was dropped.
    pub fn judge(
        &self,
        campaign: &Campaign,
        flight: &Flight,
        question: &Question,
        outcome: Option<Result<Answer, Error>>,
    ) -> End {
        match outcome {
            None => End::Stopped,
            Some(Ok(answer)) if essence(&answer) == question.wanted => End::Served,
            Some(Ok(answer)) => {
                let answer = essence(&answer);
                campaign.report.broken(format!("{}: {answer} came for {}", self.name, question.wanted));
                End::MixedUp
            }
            Some(Err(error)) => self.judge_error(campaign, flight, &error),
        }
    }

    /// Judges an error by what was done meanwhile.
    pub fn judge_error(&self, campaign: &Campaign, flight: &Flight, error: &Error) -> End {
        let stopped = match error.kind() {
            ErrorKind::Cancelled => flight.token.is_cancelled(),
            ErrorKind::Deadline => flight.deadline,
            _ => false,
        };
        if stopped {
            return End::Stopped;
        }
        if let Some(hit) = self.hit_of(error) {
            let says = format!("{error} {}", error.detail("signal").unwrap_or_default());
            if !hit.names.iter().any(|name| says.contains(name)) {
                campaign.report.broken(format!("{}: {error:?} does not name {:?}", self.name, hit.names));
            }
            return End::Hit;
        }
        // A request beside it was cancelled and took longer to end than the time of grace: a busy machine, no fault.
        if error.kind() == ErrorKind::WorkerDied && error.message().contains("did not end within") {
            return End::Hit;
        }
        if campaign.scarcity.explains(flight.began, error) {
            return End::Wanting;
        }
        if says_when_to_try_again(error) {
            return End::Refused;
        }
        campaign.report.broken(format!("{}: nothing explains {error:?}", self.name));
        End::Lost
    }

    /// What was done to the worker that the error names. It may be noted a moment after the error.
    fn hit_of(&self, error: &Error) -> Option<Hit> {
        if error.kind() != ErrorKind::WorkerDied {
            return None;
        }
        let pid: u32 = error.detail("worker_pid")?.parse().ok()?;
        self.wait(Duration::from_secs(5), |state| state.hits.iter().rev().find(|hit| hit.pid == pid).cloned())
    }
}

/// Whether the circuit breaker refused, and said for how long.
fn says_when_to_try_again(error: &Error) -> bool {
    error.message().contains("try again in ")
}

/// The running children of this program.
pub fn running(program: &str) -> Vec<Child> {
    let short = &program[..program.len().min(15)];
    children().into_iter().filter(|child| !child.zombie && child.program == short).collect()
}
