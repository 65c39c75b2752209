//! The threads that an engine has started: each is joined when it has ended, and none is forgotten.
//!
//! Who starts a thread gets a [`Member`] and joins it. One that hangs is left behind; the crew keeps its handle, joins
//! it when it ends after all, and counts it until then.

use crate::error::Result;
use crate::{log, plugin::call::no_thread};
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

/// The threads of one engine.
#[derive(Default)]
pub(crate) struct Crew {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    next: u64,
    /// Every thread that was started and not joined.
    threads: HashMap<u64, Thread>,
    /// Calls on threads of the callers that may have threads of their own.
    guests: usize,
}

#[derive(Default)]
struct Thread {
    /// `None` while it is being started, and while somebody is joining it.
    handle: Option<JoinHandle<()>>,
    ended: bool,
    /// Nobody will join it.
    left: bool,
}

impl Crew {
    /// Starts a thread with the log of this one. `stack` in bytes, where the system's own size will not do.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        name: &str,
        stack: Option<usize>,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<Member> {
        self.join_ended(|thread| thread.left);
        let id = self.enlist();
        let (ends, body) = (Ends { crew: Arc::clone(self), id }, log::inherited(body));
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = stack.into_iter().fold(thread, std::thread::Builder::stack_size);
        let started = thread.spawn(move || {
            let _ends = ends;
            body();
        });
        match started {
            Ok(handle) => {
                let thread = handle.thread().id();
                self.update(id, |entry| entry.handle = Some(handle));
                Ok(Member { crew: Arc::clone(self), id, thread })
            }
            Err(error) => {
                self.forget(id);
                Err(no_thread(error))
            }
        }
    }

    /// Counts a call that runs on a thread of the caller, until the guard is dropped.
    pub(crate) fn guest(&self) -> Guest<'_> {
        self.lock().guests += 1;
        Guest(self)
    }

    /// Waits until every thread has ended and was joined, and every guest is gone; how many are left after `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) -> usize {
        let until = Instant::now().checked_add(timeout);
        loop {
            self.join_ended(|_| true);
            let state = self.lock();
            let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            let present = state.threads.len() + state.guests;
            if present == 0 || left.is_zero() {
                return present;
            }
            // Nothing to join appeared since `join_ended` looked: what does appear wakes this.
            if state.threads.values().all(|thread| !thread.ended || thread.handle.is_none()) {
                drop(self.changed.wait_timeout(state, left.min(Duration::from_secs(3600))));
            }
        }
    }

    /// Joins those that have ended, of those that `which` picks.
    fn join_ended(&self, which: impl Fn(&Thread) -> bool) {
        let mut state = self.lock();
        let ended = state.threads.iter_mut().filter(|(_, thread)| thread.ended && which(thread));
        let ended: Vec<_> = ended.filter_map(|(id, thread)| Some((*id, thread.handle.take()?))).collect();
        drop(state);
        for (id, handle) in ended {
            join(handle);
            self.forget(id);
        }
    }

    fn enlist(&self) -> u64 {
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        state.threads.insert(id, Thread::default());
        id
    }

    fn forget(&self, id: u64) {
        self.lock().threads.remove(&id);
        self.changed.notify_all();
    }

    fn update(&self, id: u64, change: impl FnOnce(&mut Thread)) {
        if let Some(thread) = self.lock().threads.get_mut(&id) {
            change(thread);
        }
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn join(handle: JoinHandle<()>) {
    if let Err(payload) = handle.join() {
        // Dropping a payload may panic again.
        std::mem::forget(payload);
    }
}

/// Tells the crew that a thread has ended, whether by returning or by a panic.
struct Ends {
    crew: Arc<Crew>,
    id: u64,
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.crew.update(self.id, |thread| thread.ended = true);
    }
}

/// A call that is counted.
pub(crate) struct Guest<'a>(&'a Crew);

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        self.0.lock().guests -= 1;
        self.0.changed.notify_all();
    }
}

/// A thread of a crew. Dropping it leaves the thread behind.
pub(crate) struct Member {
    crew: Arc<Crew>,
    id: u64,
    thread: ThreadId,
}

impl Member {
    /// Whether this very thread is it.
    pub(crate) fn is_this_thread(&self) -> bool {
        self.thread == std::thread::current().id()
    }

    /// Waits until it has ended.
    pub(crate) fn join(self) {
        if self.is_this_thread() {
            return;
        }
        let handle = self.crew.lock().threads.get_mut(&self.id).and_then(|thread| thread.handle.take());
        if let Some(handle) = handle {
            join(handle);
            self.crew.forget(self.id);
        }
    }

    /// Waits until it has ended, but not longer than `patience`: then it is left behind, and this is false.
    pub(crate) fn join_within(self, patience: Duration) -> bool {
        let runs = |state: &mut State| state.threads.get(&self.id).is_some_and(|thread| !thread.ended);
        let (state, waited) = self
            .crew
            .changed
            .wait_timeout_while(self.crew.lock(), patience, runs)
            .unwrap_or_else(PoisonError::into_inner);
        drop(state);
        if !waited.timed_out() {
            self.join();
            return true;
        }
        false
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.crew.update(self.id, |thread| thread.left = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn waiting_is_over_when_every_thread_was_joined() {
        let crew = Arc::new(Crew::default());
        let (hold, held) = channel::<()>();
        let member = crew.spawn("waits", None, move || assert!(held.recv().is_err())).unwrap();
        assert_eq!(crew.wait(Duration::ZERO), 1);
        assert!(!member.join_within(Duration::from_millis(10)));
        drop(hold);
        assert_eq!(crew.wait(LONG), 0);
        assert!(crew.lock().threads.is_empty());
    }

    #[test]
    fn a_thread_that_was_left_behind_is_joined_once_it_has_ended() {
        let crew = Arc::new(Crew::default());
        drop(crew.spawn("panics", None, || std::panic::resume_unwind(Box::new(()))).unwrap());
        while !crew.lock().threads.values().all(|thread| thread.ended && thread.handle.is_some()) {
            std::thread::yield_now();
        }
        crew.spawn("next", None, || ()).unwrap().join();
        assert!(crew.lock().threads.is_empty());
    }

    #[test]
    fn a_guest_counts_until_it_goes() {
        let crew = Crew::default();
        let guest = crew.guest();
        assert_eq!(crew.wait(Duration::ZERO), 1);
        drop(guest);
        assert_eq!(crew.wait(LONG), 0);
    }

    #[test]
    fn a_thread_does_not_wait_for_itself() {
        let crew = Arc::new(Crew::default());
        let (give, take) = channel::<Member>();
        let member = crew.spawn("joins itself", None, move || take.recv().unwrap().join()).unwrap();
        give.send(member).unwrap();
        assert_eq!(crew.wait(LONG), 0);
    }
}
