//! The hook that a stream's reader may set to hear that something can be read.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

/// What a reader sets.
pub(crate) type Hook = Box<dyn Fn() + Send + Sync>;

/// A place for a hook, which may be called from several threads while another replaces it.
#[derive(Default)]
pub(crate) struct Wakeup {
    /// Whether there is a hook: most streams have none, and each event asks.
    set: AtomicBool,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    hook: Option<Arc<Hook>>,
    /// The threads that are in a hook right now.
    inside: Vec<ThreadId>,
}

impl Wakeup {
    /// Replaces the hook. The old one is not running when this returns, unless it is the old one itself that calls.
    pub(crate) fn set(&self, hook: Option<Hook>) {
        let this = std::thread::current().id();
        let mut state = self.lock();
        self.set.store(hook.is_some(), Ordering::Release);
        let old = std::mem::replace(&mut state.hook, hook.map(Arc::new));
        while state.inside.iter().any(|thread| *thread != this) {
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        // Not under the lock: what the hook owns may call back when it goes.
        drop(old);
    }

    /// Calls the hook, if there is one. A panic of it is the caller's own business and goes no further.
    pub(crate) fn call(&self) {
        if !self.set.load(Ordering::Acquire) {
            return;
        }
        let this = std::thread::current().id();
        let mut state = self.lock();
        let Some(hook) = state.hook.clone() else { return };
        state.inside.push(this);
        drop(state);
        let called = catch_unwind(AssertUnwindSafe(|| hook()));
        // Before the others hear that it is over: the last to hold the hook is then whoever replaced it.
        drop(hook);
        let mut state = self.lock();
        let at = state.inside.iter().position(|thread| *thread == this);
        at.map(|at| state.inside.swap_remove(at));
        drop(state);
        self.returned.notify_all();
        if let Err(payload) = called {
            // Dropping a payload may panic again.
            std::mem::forget(payload);
            tracing::error!("the wakeup of a stream panicked");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Weak;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn a_hook_may_take_itself_away_or_panic() {
        let (wakeup, called) = (Arc::new(Wakeup::default()), Arc::new(AtomicUsize::new(0)));
        let (itself, counts): (Weak<Wakeup>, _) = (Arc::downgrade(&wakeup), Arc::clone(&called));
        wakeup.set(Some(Box::new(move || {
            counts.fetch_add(1, Ordering::Relaxed);
            itself.upgrade().unwrap().set(None);
        })));
        wakeup.call();
        wakeup.call();
        assert_eq!((called.load(Ordering::Relaxed), Arc::strong_count(&called)), (1, 1));
        wakeup.set(Some(Box::new(|| panic!("in a hook"))));
        wakeup.call();
        assert!(wakeup.lock().inside.is_empty());
    }

    #[test]
    fn a_hook_is_not_running_when_it_was_replaced() {
        let (wakeup, inside) = (Wakeup::default(), Arc::new(AtomicUsize::new(0)));
        let hook = |inside: &Arc<AtomicUsize>| -> Hook {
            let inside = Arc::clone(inside);
            Box::new(move || {
                inside.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(std::time::Duration::from_micros(200));
                inside.fetch_sub(1, Ordering::SeqCst);
            })
        };
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::SeqCst) {
                        wakeup.call();
                    }
                });
            }
            for _ in 0..200 {
                wakeup.set(Some(hook(&inside)));
                while inside.load(Ordering::SeqCst) == 0 {
                    std::thread::yield_now();
                }
                wakeup.set(None);
                assert_eq!((inside.load(Ordering::SeqCst), Arc::strong_count(&inside)), (0, 1));
            }
            done.store(true, Ordering::SeqCst);
        });
    }
}
