//! Cancelling: a sticky flag that any thread may set, and why a request was asked to end.

use crate::error::{Error, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A flag that asks requests to end. It is sticky: once set it stays set, also for requests that begin later.
///
/// ```
/// let token = tenon::CancelToken::new();
/// let same = token.clone();
/// std::thread::spawn(move || same.cancel()).join().unwrap();
/// assert!(token.is_cancelled());
/// ```
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every request that holds this token to end. May be called from any thread, any number of times.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether [`CancelToken::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Everything that can ask a call to end: tokens, a deadline, the engine's end.
#[derive(Clone, Debug, Default)]
pub struct StopSigns {
    /// The caller's tokens and the stream's own.
    pub tokens: Vec<CancelToken>,
    /// The engine's, set when it shuts down.
    pub shutdown: Option<CancelToken>,
    /// Moment after which the call ends itself.
    pub deadline: Option<Instant>,
}

impl StopSigns {
    /// Why the call shall end, if it shall. Cheap: a load for each token, and the clock only when there is a deadline.
    pub(crate) fn reason(&self) -> Option<ErrorKind> {
        if self.tokens.iter().any(CancelToken::is_cancelled) {
            return Some(ErrorKind::Cancelled);
        }
        if self.shutdown.as_ref().is_some_and(CancelToken::is_cancelled) {
            return Some(ErrorKind::Shutdown);
        }
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline).then_some(ErrorKind::Deadline)
    }

    /// The error of that reason, if the call shall end.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.reason().map_or(Ok(()), |kind| Err(stop_error(kind)))
    }
}

/// The error for a call that was asked to end.
pub(crate) fn stop_error(kind: ErrorKind) -> Error {
    let message = match kind {
        ErrorKind::Deadline => "the deadline passed before the answer was complete",
        ErrorKind::Shutdown => "the engine is shutting down",
        _ => "cancelled",
    };
    Error::new(kind, message)
}
