//! Sessions: one request at a time, made good again after an error.

use crate::answer::Answer;
use crate::cancel::{CancelToken, StopSigns};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Model, ModelInner};
use crate::plugin::OpenSession;
use crate::plugin::call::STACK;
use crate::plugin::host::Call;
use crate::request::{AudioSource, Input, Request};
use crate::run::{Run, caught};
use crate::stream::{Channel, Running, Stream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One conversation or one audio stream on a model; one request at a time.
///
/// After an error the backend's session is reset before the next request, and after a panic it is opened anew, so a
/// session stays usable whatever happened.
pub struct Session {
    model: Model,
    shared: Arc<Shared>,
}

/// What a session shares with the thread of its request.
struct Shared {
    busy: AtomicBool,
    current: Arc<Current>,
    slot: Mutex<Slot>,
    // Dropped after the backend's session.
    model: Arc<ModelInner>,
}

/// The token of the request that runs right now.
type Current = Mutex<Option<CancelToken>>;

/// The right to run on a session; given back when dropped.
struct Claim(Arc<Shared>);

impl Shared {
    fn claim(self: &Arc<Self>, token: Option<CancelToken>) -> Result<Claim> {
        match self.busy.swap(true, Ordering::Acquire) {
            false => {
                *lock(&self.current) = token;
                Ok(Claim(Arc::clone(self)))
            }
            true => {
                let message = "the session is running another request: wait for its end or open a second session";
                Err(Error::new(ErrorKind::Busy, message))
            }
        }
    }
}

impl Claim {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.0.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let slot = self.slot.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = slot.session.take() {
            self.model.close(session);
        }
    }
}

fn lock(current: &Current) -> MutexGuard<'_, Option<CancelToken>> {
    current.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Claim {
    fn drop(&mut self) {
        *lock(&self.0.current) = None;
        self.0.busy.store(false, Ordering::Release);
    }
}

/// Cancels what runs on a session, from any thread and while the session itself is in use. Clones are the same; it
/// does not keep the session open.
#[derive(Clone, Debug)]
pub struct SessionCanceller(Arc<Current>);

impl SessionCanceller {
    /// Asks the request that runs on the session now to end, whether it was run or streamed. Without one nothing
    /// happens; later requests are not affected.
    pub fn cancel(&self) {
        if let Some(token) = &*lock(&self.0) {
            token.cancel();
        }
    }
}

impl Session {
    pub(crate) fn open(model: &Model) -> Result<Self> {
        let inner = model.inner();
        let mut slot = Slot { session: None, used: Used::Well };
        inner.call_briefly(|stop| slot.make_ready(inner, stop))?;
        let (slot, busy) = (Mutex::new(slot), AtomicBool::new(false));
        let shared = Shared { busy, current: Arc::default(), slot, model: Arc::clone(inner) };
        Ok(Self { model: model.clone(), shared: Arc::new(shared) })
    }

    /// Runs a request and waits for its answer.
    ///
    /// The backend runs on a thread of the engine's, whose stack is as large as the plugin contract promises. Samples
    /// in memory with one channel at the backend's rate are not copied.
    ///
    /// # Errors
    /// Every kind; `InvalidArgument` for live audio, which needs [`Session::stream`]. A backend that ignores cancel and
    /// deadline for longer than the engine's patience is left behind, and this session is then `Busy` until it ends; so is
    /// the whole model where the backend runs one session at a time.
    pub fn run(&mut self, request: &Request) -> Result<Answer> {
        if matches!(request.input(), Input::Audio(AudioSource::Live)) {
            let message = "live audio comes while the request runs: use a stream";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let token = CancelToken::new();
        let run = Run::prepare(self.model.inner(), request.clone(), token.clone())?;
        self.start(run, token, false)?.wait()
    }

    /// Starts a request whose events are read while it runs. The stream does not borrow the session; a request that
    /// comes while it runs is refused with [`ErrorKind::Busy`].
    ///
    /// # Errors
    /// What can be told before the backend runs: unknown options, presets and tasks, input that does not fit.
    pub fn stream(&mut self, request: Request) -> Result<Stream> {
        let token = CancelToken::new();
        let run = Run::prepare(self.model.inner(), request, token.clone())?;
        let input = run.live_input()?;
        Ok(Stream::new(self.start(run, token.clone(), true)?, token, input))
    }

    /// Asks the request that runs on this session now to end, see [`SessionCanceller::cancel`].
    pub fn cancel(&self) {
        self.canceller().cancel();
    }

    /// What cancels the requests of this session from other threads, one at a time.
    pub fn canceller(&self) -> SessionCanceller {
        SessionCanceller(Arc::clone(&self.shared.current))
    }

    /// Makes the session as good as new: it forgets everything.
    ///
    /// # Errors
    /// `Busy` while a stream of this session runs; what the backend says.
    pub fn reset(&mut self) -> Result<()> {
        let inner = self.model.inner();
        let claim = self.shared.claim(None)?;
        inner.call_briefly(|stop| {
            let mut slot = claim.slot();
            slot.used = slot.used.max(Used::Badly);
            slot.make_ready(inner, stop)
        })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Runs on a thread of its own.
    fn start(&self, run: Run, token: CancelToken, listened: bool) -> Result<Running> {
        let inner = self.model.inner();
        // Whoever waits for the engine's threads either waits for this one as well or has kept it from starting.
        let _guest = inner.crew.guest();
        inner.refuse_after_shutdown()?;
        let claim = self.shared.claim(Some(token))?;
        let (channel, stop) = (Arc::new(Channel::default()), run.stop.clone());
        let outlet = Arc::clone(&channel);
        let body = move || {
            let outcome = caught(|| run.execute(&mut claim.slot(), &outlet, listened));
            // Before the end is told, so that whoever hears of it may go on with the session.
            drop(claim);
            outlet.finish(outcome);
        };
        let thread = inner.log.within(|| inner.crew.spawn("tenon-run", Some(STACK), body))?;
        Ok(Running::new(channel, stop, inner.patience, inner.log.clone(), thread))
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("model", &self.model.name()).finish_non_exhaustive()
    }
}

/// The backend's session, and what the last request left of it.
pub(crate) struct Slot {
    session: Option<OpenSession>,
    used: Used,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Used {
    /// Ready for the next request.
    Well,
    /// To be reset first.
    Badly,
    /// Not to be called again but to be closed.
    Poisoned,
}

impl Slot {
    /// Resets or reopens the backend's session where that is needed.
    pub(crate) fn make_ready(&mut self, model: &ModelInner, stop: &StopSigns) -> Result<()> {
        if self.session.as_ref().is_some_and(|session| !session.is_alive()) {
            tracing::debug!(model = model.manifest.name, "the worker of a session has ended: it is opened anew");
            self.used = Used::Poisoned;
        }
        if self.used == Used::Badly
            && let Some(session) = &mut self.session
        {
            match session.reset(Call::new(stop.clone())) {
                Ok(()) => self.used = Used::Well,
                Err(error) if error.is_stop() => return Err(error),
                Err(error) => {
                    tracing::warn!(plugin = model.plugin().id(), %error, "a session cannot be reset and is opened anew");
                    self.used = Used::Poisoned;
                }
            }
        }
        if self.used == Used::Poisoned {
            self.session = None;
        }
        if self.session.is_none() {
            self.session = Some(OpenSession::open(&model.open, Call::new(stop.clone()))?);
            self.used = Used::Well;
        }
        Ok(())
    }

    /// Runs on the session and remembers how it ended.
    pub(crate) fn run(&mut self, body: impl FnOnce(&mut OpenSession) -> Result<()>) -> Result<()> {
        let Some(session) = &mut self.session else {
            return Err(Error::new(ErrorKind::Internal, "a session is not ready: please report it"));
        };
        // Should the body panic, the session is in an unknown state.
        self.used = Used::Poisoned;
        let ran = body(session);
        self.used = match &ran {
            Ok(()) => Used::Well,
            Err(error) if matches!(error.kind(), ErrorKind::Panic | ErrorKind::WorkerDied) => Used::Poisoned,
            Err(_) => Used::Badly,
        };
        ran
    }
}
