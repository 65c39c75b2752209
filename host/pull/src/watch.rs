//! What all connections of a pull share: whether somebody wants it to stop, and how fast it may go.

use std::num::NonZeroU64;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often whoever waits looks whether to go on.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Shared by the thread that was asked to pull and those that it started.
#[derive(Debug)]
pub(crate) struct Watch {
    stopped: AtomicBool,
    limit: Option<Limit>,
}

/// A rate that several connections keep together.
#[derive(Debug)]
struct Limit {
    rate: NonZeroU64,
    /// When what was taken so far is paid for.
    paid: Mutex<Instant>,
}

impl Watch {
    pub(crate) fn new(rate: Option<NonZeroU64>) -> Self {
        let limit = rate.map(|rate| Limit { rate, paid: Mutex::new(Instant::now()) });
        Self { stopped: AtomicBool::new(false), limit }
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Waits, unless it is stopped before: then this breaks.
    pub(crate) fn sleep(&self, mut left: Duration) -> ControlFlow<()> {
        while !left.is_zero() {
            if self.is_stopped() {
                return ControlFlow::Break(());
            }
            let now = left.min(TICK);
            std::thread::sleep(now);
            left -= now;
        }
        if self.is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// The most bytes to take at once.
    pub(crate) fn mouthful(&self, most: usize) -> usize {
        match &self.limit {
            // A tenth of a second's worth, so that the rate is even.
            Some(limit) => usize::try_from(limit.rate.get() / 10).unwrap_or(most).clamp(1, most),
            None => most,
        }
    }

    /// Takes bytes, and waits until they are paid for.
    pub(crate) fn take(&self, bytes: usize) -> ControlFlow<()> {
        let Some(limit) = &self.limit else { return ControlFlow::Continue(()) };
        let cost = Duration::from_secs_f64(bytes as f64 / limit.rate.get() as f64);
        let now = Instant::now();
        let wait = {
            let mut paid = limit.paid.lock().unwrap_or_else(PoisonError::into_inner);
            *paid = (*paid).max(now) + cost;
            *paid - now
        };
        self.sleep(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_by_all_together() {
        let watch = Watch::new(NonZeroU64::new(1_000_000));
        assert_eq!(watch.mouthful(1 << 20), 100_000);
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..5).for_each(|_| assert!(watch.take(10_000).is_continue())));
            }
        });
        assert!(start.elapsed() >= Duration::from_millis(100));
    }

    #[test]
    fn whoever_is_stopped_waits_no_longer() {
        let watch = Watch::new(NonZeroU64::new(1));
        watch.stop();
        assert!(watch.take(1_000_000).is_break());
        assert!(watch.sleep(Duration::from_secs(1000)).is_break());
    }
}
