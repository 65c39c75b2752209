//! The workers of one model: started when they are needed, again when they have died, and each with the model open.

use super::Spec;
use super::breaker::{self, Breaker};
use super::call::{Answer, error_of, open_model, perform};
use super::child::{Over, Worker, no_options};
use super::start::{kind_of, start};
use crate::cancel::{CancelToken, StopSigns};
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::call::Item;
use crate::plugin::host::Call;
use crate::threads::{Lease, Want};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};
use tenon_abi::{CAP_CANCEL_COARSE, CAP_CONCURRENT_SESSIONS};
use tenon_wire::{self as wire, Order, RunOrder, Samples, SandboxReport, Started, limits};

/// How often the stop signs are looked at while another starts a worker.
const LOOK: Duration = Duration::from_millis(10);
/// How long whoever drops a model waits for its workers to end. Those that take longer end without it.
const FAREWELL: Duration = Duration::from_millis(100);

/// A model in workers. Dropped, they end.
pub(crate) struct WorkerModel {
    spec: Arc<Spec>,
    /// What the first worker said.
    started: Started,
    /// The options that the model was opened with: the document for the workers to come.
    options: OnceLock<String>,
    /// How long the first worker took to open it.
    opening: OnceLock<Duration>,
    places: Mutex<Vec<Place>>,
    changed: Condvar,
    breaker: Arc<Breaker>,
    /// Cancelled when this is dropped: workers that are being started are not wanted any more.
    dropped: CancelToken,
}

/// A start of a worker: why it failed, for those who wait for it.
type Fill = OnceLock<Error>;

/// A place for a worker.
enum Place {
    Empty,
    /// One is being started.
    Starting(Arc<Fill>),
    Taken(Arc<Worker>),
}

/// What to do for one who needs a worker.
enum Pick {
    Use(Arc<Worker>),
    /// Start one in this place, which is kept for it.
    Start(usize, Arc<Fill>),
    /// Wait for one that is being started.
    Await(Arc<Fill>),
    Wait(Duration),
}

impl WorkerModel {
    /// Starts the first worker, which opens its plugin and no model yet.
    ///
    /// # Errors
    /// `NotFound` without the program, `AbiMismatch` for one of another build, `WorkerDied` when it dies or is not
    /// ready in time, why the plugin was refused, and the stop kinds.
    pub(crate) fn start(spec: Spec, stop: &StopSigns) -> Result<Self> {
        let breaker = Arc::default();
        let (worker, started) = start(&spec, Some(&breaker), stop)?;
        let mut places = vec![Place::Taken(worker)];
        places.resize_with(spec.options.count.max(1), || Place::Empty);
        Ok(Self {
            spec: Arc::new(spec),
            started,
            options: OnceLock::new(),
            opening: OnceLock::new(),
            places: Mutex::new(places),
            changed: Condvar::new(),
            breaker,
            dropped: CancelToken::new(),
        })
    }

    /// What holds its workers.
    pub(crate) fn sandbox(&self) -> SandboxReport {
        self.started.sandbox.clone()
    }

    /// Asks how much memory the model will need; the answer goes to the sink of `call`, which carries the load options.
    /// `None` when the plugin has no way to ask.
    pub(crate) fn estimate(&self, call: Call) -> Option<Result<()>> {
        let options = call.document().to_owned();
        self.started.has_estimate.then(|| {
            let order = |id| Ok(Order::Estimate { call: id, options: options.clone() });
            self.first(&call, |worker| perform(worker, &call, self.grace(), order))?.result
        })
    }

    /// Opens the model, in the first worker. `call` carries the load options.
    pub(crate) fn open(&self, call: Call) -> Result<()> {
        let options = self.options.get_or_init(|| call.document().to_owned());
        let began = Instant::now();
        let opened = self.first(&call, |worker| open_model(worker, &call, self.grace(), None, options))?.result;
        if opened.is_ok() {
            _ = self.opening.set(began.elapsed());
        }
        opened
    }

    /// Makes a call in the first worker, before there are others.
    fn first(&self, call: &Call, perform: impl Fn(&Worker) -> std::result::Result<Answer, Over>) -> Result<Answer> {
        let mut worker = match &self.lock()[0] {
            Place::Taken(worker) => Arc::clone(worker),
            Place::Empty | Place::Starting(_) => return Err(no_worker()),
        };
        loop {
            match perform(&worker) {
                Ok(answer) => return Ok(answer),
                // It has ended for want of calls, while nobody made any.
                Err(Over::Ending) => {}
                Err(Over::Dead(death)) if !death.is_failure() => {}
                Err(over) => return Err(error_of(&over, &worker)),
            }
            worker = start(&self.spec, Some(&self.breaker), call.stop_signs())?.0;
            self.lock()[0] = Place::Taken(Arc::clone(&worker));
        }
    }

    /// Opens a session in the worker that has the least to do.
    pub(crate) fn session(self: &Arc<Self>, call: Call) -> Result<WorkerSession> {
        let (worker, id) = self.open_session(&call)?;
        Ok(WorkerSession { model: Arc::clone(self), worker: Arc::downgrade(&worker), id })
    }

    fn open_session(self: &Arc<Self>, call: &Call) -> Result<(Arc<Worker>, u32)> {
        loop {
            let (worker, id) = self.worker(call.stop_signs())?;
            let order =
                |call_id| Ok(Order::OpenSession { call: call_id, session: id, options: call.document().to_owned() });
            let alone = match self.alone(&worker, call.stop_signs()) {
                Ok(alone) => alone,
                Err(error) => {
                    worker.remove_session();
                    return Err(error);
                }
            };
            let answer = match perform(&worker, call, self.grace(), order) {
                Ok(answer) => answer,
                // It ended in this moment; the next look finds another.
                Err(_) => {
                    worker.remove_session();
                    continue;
                }
            };
            drop(alone);
            if answer.left_something() {
                close(&worker, id);
            }
            return match answer.result {
                Ok(()) => Ok((worker, id)),
                Err(error) => {
                    worker.remove_session();
                    Err(error)
                }
            };
        }
    }

    /// The worker for a new session, which is counted there already, and the session's number.
    fn worker(self: &Arc<Self>, stop: &StopSigns) -> Result<(Arc<Worker>, u32)> {
        loop {
            stop.check()?;
            let mut places = self.lock();
            match self.pick(&mut places)? {
                Pick::Use(worker) => {
                    let id = worker.add_session();
                    return Ok((worker, id));
                }
                Pick::Wait(time) => {
                    // Whatever woke it, the next round looks.
                    drop(self.changed.wait_timeout(places, time.min(LOOK)));
                }
                Pick::Await(fill) => {
                    drop(places);
                    self.filled(&fill, stop)?;
                }
                Pick::Start(place, fill) => {
                    drop(places);
                    let filled = self.fill(place, Arc::clone(&fill)).and_then(|()| self.filled(&fill, stop));
                    if let Err(error) = filled {
                        stop.check()?;
                        return self.another(error);
                    }
                }
            }
        }
    }

    /// After a start that failed: another worker that lives is enough. The error where there is none.
    fn another(&self, error: Error) -> Result<(Arc<Worker>, u32)> {
        let worker = least(&self.lock()).map(|(_, worker)| worker).ok_or(error)?;
        let id = worker.add_session();
        Ok((worker, id))
    }

    /// Waits until a worker was started, but not longer than the stop signs allow.
    ///
    /// # Errors
    /// Why it was not, and the stop kinds.
    fn filled(&self, fill: &Arc<Fill>, stop: &StopSigns) -> Result<()> {
        let mut places = self.lock();
        loop {
            if let Some(error) = fill.get() {
                return Err(error.clone());
            }
            stop.check()?;
            if !places.iter().filter_map(Place::fill).any(|other| Arc::ptr_eq(other, fill)) {
                return Ok(());
            }
            places = self.changed.wait_timeout(places, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn pick(&self, places: &mut [Place]) -> Result<Pick> {
        for place in places.iter_mut() {
            if matches!(place, Place::Taken(worker) if !worker.is_alive()) {
                *place = Place::Empty;
            }
        }
        let worker = match least(places) {
            // An idle one is as good as a new one.
            Some(((0, 0), worker)) => return Ok(Pick::Use(worker)),
            least => least.map(|(_, worker)| worker),
        };
        let Some(empty) = places.iter().position(|place| matches!(place, Place::Empty)) else {
            let fill = || places.iter().find_map(Place::fill).map(Arc::clone);
            return Ok(worker.map(Pick::Use).or_else(|| fill().map(Pick::Await)).unwrap_or(Pick::Wait(LOOK)));
        };
        if let Some(worker) = worker.as_ref().filter(|_| !self.breaker.start_another()) {
            return Ok(Pick::Use(Arc::clone(worker)));
        }
        match (self.breaker.start(), worker) {
            (breaker::Start::Now, _) => {
                let fill = Arc::<Fill>::default();
                places[empty] = Place::Starting(Arc::clone(&fill));
                Ok(Pick::Start(empty, fill))
            }
            (_, Some(worker)) => Ok(Pick::Use(worker)),
            (breaker::Start::Soon(left), None) => Ok(Pick::Wait(left)),
            (breaker::Start::Refused(error), None) => Err(error.with_detail("plugin", &*self.spec.name)),
        }
    }

    /// Starts a worker on a thread of its own: whoever asked for it may give up, and the next one finds it ready.
    fn fill(self: &Arc<Self>, place: usize, fill: Arc<Fill>) -> Result<()> {
        let filling = Filling { model: Arc::downgrade(self), place, fill, with: Place::Empty };
        let shutdown = Some(self.spec.workers.shutdown.clone());
        let stop = StopSigns { tokens: vec![self.dropped.clone()], shutdown, deadline: None };
        let options = self.options.get().cloned().unwrap_or_else(no_options);
        let (spec, breaker, grace) = (Arc::clone(&self.spec), Arc::clone(&self.breaker), self.grace());
        let most = most_to_reopen(self.opening.get().copied().unwrap_or_default());
        let body = move || {
            let outcome = ready(&spec, &breaker, grace, (&options, most), &stop);
            breaker.started(outcome.is_ok());
            filling.end(outcome);
        };
        let crew = &self.spec.workers.crew;
        self.spec.workers.log.within(|| crew.spawn("tenon-restart", None, body)).map(drop)
    }

    /// Waits until no other session of this worker is in the backend, where it cannot run several. The engine's own gate
    /// counts sessions of all workers, and two may be in the same.
    fn alone(&self, worker: &Worker, stop: &StopSigns) -> Result<Option<Lease>> {
        let serial = self.spec.caps & CAP_CONCURRENT_SESSIONS == 0;
        serial.then(|| worker.gate.lease(Want::UpTo(1), stop)).transpose()
    }

    /// How long a call may take to end after it was told to.
    fn grace(&self) -> Duration {
        let grace = self.spec.workers.settings.grace;
        if self.spec.caps & CAP_CANCEL_COARSE == 0 { grace } else { grace.saturating_mul(4) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WorkerModel {
    fn drop(&mut self) {
        self.dropped.cancel();
        let places = std::mem::take(&mut *self.lock());
        let workers: Vec<_> = places.iter().filter_map(Place::worker).collect();
        workers.iter().for_each(|worker| worker.quit());
        let began = Instant::now();
        for worker in workers {
            worker.wait_gone(FAREWELL.saturating_sub(began.elapsed()));
        }
    }
}

impl Place {
    fn worker(&self) -> Option<&Arc<Worker>> {
        match self {
            Self::Taken(worker) => Some(worker),
            Self::Empty | Self::Starting(_) => None,
        }
    }

    fn fill(&self) -> Option<&Arc<Fill>> {
        match self {
            Self::Starting(fill) => Some(fill),
            Self::Empty | Self::Taken(_) => None,
        }
    }
}

/// A place that is being filled: gets what it is filled with, also when that went wrong.
struct Filling {
    model: Weak<WorkerModel>,
    place: usize,
    fill: Arc<Fill>,
    with: Place,
}

impl Filling {
    fn end(mut self, outcome: Result<Arc<Worker>>) {
        match outcome {
            Ok(worker) => self.with = Place::Taken(worker),
            // Nobody else sets it.
            Err(error) => _ = self.fill.set(error),
        }
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        let with = std::mem::replace(&mut self.with, Place::Empty);
        if matches!(with, Place::Empty) {
            // Set already, unless the thread could not be started or has panicked.
            _ = self.fill.set(no_worker());
        }
        let Some(model) = self.model.upgrade() else {
            with.worker().into_iter().for_each(|worker| worker.quit());
            return;
        };
        model.lock()[self.place] = with;
        model.changed.notify_all();
    }
}

/// The worker with the least to do, and how much that is.
fn least(places: &[Place]) -> Option<((usize, usize), Arc<Worker>)> {
    let living = places.iter().filter_map(Place::worker).filter(|worker| worker.is_alive());
    living.map(|worker| (worker.load(), worker)).min_by_key(|(load, _)| *load).map(|(load, it)| (load, Arc::clone(it)))
}

/// How long a worker that was started again may take to open the model, which has taken the first one so long.
fn most_to_reopen(first: Duration) -> Duration {
    limits::REOPEN.max(first.saturating_mul(limits::REOPEN_TIMES))
}

/// Starts a worker and opens the model there, in that time.
fn ready(
    spec: &Spec,
    breaker: &Arc<Breaker>,
    grace: Duration,
    (options, most): (&str, Duration),
    stop: &StopSigns,
) -> Result<Arc<Worker>> {
    let began = Instant::now();
    let worker = start(spec, Some(breaker), stop)?.0;
    let call = Call::new(stop.clone());
    let opened = match open_model(&worker, &call, grace, Some(most), options) {
        Ok(answer) => answer.result,
        Err(over) => Err(error_of(&over, &worker)),
    };
    match opened {
        Ok(()) => {
            tracing::info!(backend = spec.name, pid = worker.process.pid(), time = ?began.elapsed(), "worker ready");
            Ok(worker)
        }
        Err(error) => {
            // Refused in good order: the next one may be luckier with a worker of its own.
            worker.quit();
            Err(error)
        }
    }
}

fn no_worker() -> Error {
    Error::new(ErrorKind::Internal, "a model has no worker: please report it")
}

/// Closes a session, which nobody waits for.
fn close(worker: &Worker, session: u32) {
    worker.send(&Order::CloseSession { session });
}

/// A session in a worker. Closes itself; holds its model.
///
/// A session whose worker has ended is opened anew by the next call. A new session is as good as one that was reset.
pub(crate) struct WorkerSession {
    model: Arc<WorkerModel>,
    /// The model has it while it lives. A session that nobody uses keeps no descriptors of one that does not.
    worker: Weak<Worker>,
    id: u32,
}

impl WorkerSession {
    /// Whether its worker takes calls.
    pub(crate) fn is_alive(&self) -> bool {
        self.living().is_some()
    }

    fn living(&self) -> Option<Arc<Worker>> {
        self.worker.upgrade().filter(|worker| worker.is_alive())
    }

    /// Makes the session as good as new.
    pub(crate) fn reset(&mut self, call: Call) -> Result<()> {
        let Some(worker) = self.living() else { return self.reopen(&call) };
        let session = self.id;
        let alone = self.model.alone(&worker, call.stop_signs())?;
        let performed = perform(&worker, &call, self.model.grace(), |id| Ok(Order::ResetSession { call: id, session }));
        drop(alone);
        match performed {
            Ok(answer) => answer.result,
            Err(_) => self.reopen(&call),
        }
    }

    /// Runs a task; what comes of it goes to the sink of `call`.
    pub(crate) fn run(&mut self, task: &str, items: &[Item<'_>], call: Call) -> Result<()> {
        loop {
            let Some(worker) = self.living() else {
                self.reopen(&call)?;
                continue;
            };
            let session = self.id;
            let order = |id| run_order(id, session, task, items, &call).map(|run| Order::Run(Box::new(run)));
            let alone = self.model.alone(&worker, call.stop_signs())?;
            let performed = perform(&worker, &call, self.model.grace(), order);
            drop(alone);
            match performed {
                Ok(answer) => {
                    if answer.status.is_some() {
                        self.model.breaker.served();
                    }
                    return answer.result;
                }
                Err(_) => self.reopen(&call)?,
            }
        }
    }

    fn reopen(&mut self, call: &Call) -> Result<()> {
        let opens = Call::new(call.stop_signs().clone());
        let (worker, id) = self.model.open_session(&opens)?;
        if let Some(left) = self.worker.upgrade() {
            left.remove_session();
        }
        (self.worker, self.id) = (Arc::downgrade(&worker), id);
        Ok(())
    }
}

impl Drop for WorkerSession {
    fn drop(&mut self) {
        let Some(worker) = self.worker.upgrade() else { return };
        if worker.is_alive() {
            close(&worker, self.id);
        }
        worker.remove_session();
    }
}

fn run_order(id: u32, session: u32, task: &str, items: &[Item<'_>], call: &Call) -> Result<RunOrder> {
    let left = call.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
    Ok(RunOrder {
        call: id,
        session,
        task: task.to_owned(),
        options: call.document().to_owned(),
        deadline_us: left.map(|left| u64::try_from(left.as_micros()).unwrap_or(u64::MAX)),
        credit: limits::CREDIT,
        live_rate: call.feed_rate(),
        items: items.iter().map(crossing).collect::<Result<_>>()?,
    })
}

fn crossing(item: &Item<'_>) -> Result<wire::Item> {
    match *item {
        Item::Text { role, text } => Ok(wire::Item::Text { role: role.to_owned(), text: text.to_owned() }),
        Item::Audio { samples, rate } => {
            let samples = Samples::new(samples).map_err(|error| {
                let message = format!("cannot hand {} samples to a worker: {error}", samples.len());
                Error::new(kind_of(&error), message).with_source(error)
            })?;
            Ok(wire::Item::Audio { rate, samples })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_may_take_longer_the_longer_the_first_start_took() {
        let most = |first| most_to_reopen(Duration::from_secs(first)).as_secs();
        assert_eq!([0, 3, 4, 600].map(most), [60, 60, 80, 12_000]);
        assert_eq!(most_to_reopen(Duration::MAX), Duration::MAX);
    }
}
