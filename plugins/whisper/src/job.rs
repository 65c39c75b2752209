//! Native work on a thread of its own, so that a call can return as soon as it is cancelled.
//!
//! Most native work asks [`Abort`] between the steps of a graph and ends within milliseconds. What cannot be asked (the
//! spectrogram of a long window, allocations) is left to finish alone: its thread is a straggler, which takes the state
//! that it works on with it and is waited for before the session does anything else or closes.

use crate::native::{Abort, Event};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tenon_plugin::{Call, Error, Result};

/// How often the host is asked whether the call was cancelled.
const POLL: Duration = Duration::from_millis(3);
/// How long aborted work is waited for.
const PATIENCE: Duration = Duration::from_millis(20);
/// Stack of the thread: as much as the host gives to its own.
const STACK: usize = 8 << 20;

/// Threads whose calls were given up; one session has at most one that still works.
#[derive(Debug, Default)]
pub struct Stragglers(Mutex<Vec<JoinHandle<()>>>);

impl Stragglers {
    fn add(&self, thread: JoinHandle<()>) {
        self.threads().push(thread);
    }

    /// Waits until none works any more, so that cancelled work does not pile up.
    ///
    /// # Errors
    /// The call was cancelled.
    pub fn wait(&self, call: &Call) -> Result<()> {
        while !self.threads().iter().all(JoinHandle::is_finished) {
            call.check()?;
            thread::sleep(POLL);
        }
        self.threads().clear();
        Ok(())
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stragglers {
    fn drop(&mut self) {
        for thread in std::mem::take(&mut *self.threads()) {
            // A panic of work that nobody wants any more concerns nobody.
            let _ = thread.join();
        }
    }
}

/// Does `work` on another thread and hands its events to `on_event` on this one, in order.
///
/// # Errors
/// The call was cancelled, or `on_event` failed: the work is then aborted, and what it owns is lost. The work panicked.
pub fn run<T: Send + 'static>(
    call: &Call,
    abort: &Abort,
    stragglers: &Stragglers,
    work: impl FnOnce(&Sender<Event>) -> T + Send + 'static,
    mut on_event: impl FnMut(Event) -> Result<()>,
) -> Result<T> {
    let (events, incoming) = channel();
    let (answer, answered) = channel();
    let builder = thread::Builder::new().name("tenon-whisper".to_owned()).stack_size(STACK);
    let thread = builder.spawn(move || {
        let result = work(&events);
        let _ = answer.send(result);
    })?;
    let mut stopped: Option<(Error, Instant)> = None;
    loop {
        let outcome = match incoming.recv_timeout(POLL) {
            Ok(event) if stopped.is_none() => on_event(event).and_then(|()| call.check()),
            Ok(_) => Ok(()),
            Err(RecvTimeoutError::Timeout) => call.check(),
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if let (Err(error), None) = (outcome, &stopped) {
            abort.ask();
            stopped = Some((error, Instant::now()));
        }
        if stopped.as_ref().is_some_and(|(_, since)| since.elapsed() > PATIENCE) {
            stragglers.add(thread);
            break;
        }
    }
    match (stopped, answered.try_recv()) {
        (Some((error, _)), _) => Err(error),
        (None, Ok(result)) => Ok(result),
        (None, Err(_)) => answered.recv().map_err(|_| Error::panic("the thread of a transcription panicked")),
    }
}
