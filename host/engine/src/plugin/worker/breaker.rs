//! When a worker that died may be started again: at once, then after a moment, then only when a while is over.

use super::death::{Death, seconds};
use crate::error::{Error, ErrorKind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the second start in a row waits.
const MOMENT: Duration = Duration::from_millis(100);
/// How long the third is refused; each one after it twice as long as the one before.
const WHILE: Duration = Duration::from_secs(1);
/// How long it is refused at most.
const LONGEST: Duration = Duration::from_secs(60);

/// The failures of a model's workers since one of them has served a request, and of starts of further ones since one
/// has succeeded.
#[derive(Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Default)]
struct State {
    failures: u32,
    last: Option<(Instant, String)>,
    /// Starts that came to nothing, for whatever reason: requests that other workers serve do not forgive them.
    starts: u32,
    last_start: Option<Instant>,
}

/// Whether a worker may be started.
#[derive(Debug)]
pub(super) enum Start {
    Now,
    /// In this time.
    Soon(Duration),
    /// Not for a while: the error says how long.
    Refused(Error),
}

impl Breaker {
    /// A worker died that should not have.
    pub fn died(&self, death: &Death) {
        let mut state = self.lock();
        state.failures += 1;
        state.last = Some((Instant::now(), death.sentence()));
    }

    /// A worker has served a request.
    pub fn served(&self) {
        let mut state = self.lock();
        (state.failures, state.last) = (0, None);
    }

    /// A worker was started again, and is ready or is not.
    pub fn started(&self, ready: bool) {
        let mut state = self.lock();
        (state.starts, state.last_start) = if ready { (0, None) } else { (state.starts + 1, Some(Instant::now())) };
    }

    /// Whether another worker may be started beside one that lives.
    pub fn start_another(&self) -> bool {
        let state = self.lock();
        let is_over = |last: Instant| last.elapsed() >= pause(state.starts);
        let may = state.last_start.is_none_or(is_over);
        drop(state);
        may && matches!(self.start(), Start::Now)
    }

    /// Whether one may be started.
    pub fn start(&self) -> Start {
        let state = self.lock();
        let Some((last, sentence)) = &state.last else { return Start::Now };
        let left = pause(state.failures).saturating_sub(last.elapsed());
        match state.failures {
            _ if left.is_zero() => Start::Now,
            ..=2 => Start::Soon(left),
            failures => Start::Refused(refusal(failures, sentence, left)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long no worker is started after so many failures in a row.
fn pause(failures: u32) -> Duration {
    match failures {
        ..=1 => Duration::ZERO,
        2 => MOMENT,
        more => WHILE.saturating_mul(1 << (more - 3).min(16)).min(LONGEST),
    }
}

fn refusal(failures: u32, sentence: &str, left: Duration) -> Error {
    // Whole tenths, upwards: who comes back after that is not told to wait again.
    let left = Duration::from_millis(left.as_millis() as u64 / 100 * 100 + 100);
    let message = format!(
        "{sentence}; {failures} workers of this model died in a row, and none of them served a request: \
         will try again in {}",
        seconds(left)
    );
    let error = Error::new(ErrorKind::WorkerDied, message);
    error.with_detail("failures", failures.to_string()).with_detail("retry_after_ms", left.as_millis().to_string())
}

#[cfg(test)]
mod tests {
    use super::super::death::Cause;
    use super::*;

    fn die(breaker: &Breaker) {
        breaker.died(&Death { backend: "echo".to_owned(), pid: 1, cause: Cause::Exit(1), log: String::new() });
    }

    #[test]
    fn the_pauses_grow_to_a_minute() {
        let pauses: Vec<u64> = (0..12).map(|failures| pause(failures).as_millis() as u64).collect();
        assert_eq!(pauses, [0, 0, 100, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
        assert_eq!(pause(u32::MAX), LONGEST);
    }

    #[test]
    fn a_start_that_failed_is_forgiven_by_one_that_succeeds_and_by_no_request() {
        let breaker = Breaker::default();
        (0..3).for_each(|_| breaker.started(false));
        breaker.served();
        assert!(!breaker.start_another());
        // Where no other worker lives one is tried all the same: the reason why it cannot start is the answer.
        assert!(matches!(breaker.start(), Start::Now));
        breaker.started(true);
        assert!(breaker.start_another());
    }

    #[test]
    fn the_first_start_is_free_the_second_waits_and_the_third_is_refused_until_a_request_was_served() {
        let breaker = Breaker::default();
        assert!(matches!(breaker.start(), Start::Now));
        die(&breaker);
        assert!(matches!(breaker.start(), Start::Now));
        die(&breaker);
        assert!(matches!(breaker.start(), Start::Soon(left) if left <= MOMENT));
        die(&breaker);
        let Start::Refused(error) = breaker.start() else { panic!("not refused") };
        let says = "ended by itself with exit code 1; 3 workers of this model died in a row, and none of them served";
        assert!(error.message().contains(says), "{error}");
        assert!(error.message().contains("will try again in "), "{error}");
        assert_eq!((error.kind(), error.detail("failures")), (ErrorKind::WorkerDied, Some("3")));
        breaker.served();
        assert!(matches!(breaker.start(), Start::Now));
    }
}
