//! Asking again: how often, after how long, and saying so all the while.

use crate::client::{Client, Trouble};
use crate::network::Network;
use crate::watch::{TICK, Watch};
use crate::{Error, Event, Events, Result};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Back-off doubles up to this many times.
const MOST_DOUBLINGS: u32 = 5;

/// What somebody asks for: the name that events give it, and its address.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'s> {
    pub(crate) name: &'s str,
    pub(crate) url: &'s str,
}

/// Passes an event on, which may cancel.
pub(crate) fn tell(events: &mut Events<'_>, event: &Event) -> Result<()> {
    if events(event).is_break() { Err(Error::cancelled()) } else { Ok(()) }
}

/// What to do about a try that failed: waits and returns, or returns the error when that was enough.
pub(crate) fn again(
    network: &Network,
    name: &str,
    trouble: Trouble,
    attempt: u32,
    events: &mut Events<'_>,
) -> Result<()> {
    let (error, asked) = match trouble {
        Trouble::Final(error) => return Err(error),
        Trouble::Again(error, asked) => (error, asked),
    };
    if attempt >= network.tries {
        let tries = network.tries;
        return Err(Error::new(error.kind().clone(), format!("{error} (after {tries} tries)")));
    }
    let after = asked.unwrap_or_else(|| back_off(network.back_off, attempt));
    pause(name, &error, after, attempt, events)
}

/// Waits before the next try, and says so.
pub(crate) fn pause(name: &str, error: &Error, after: Duration, attempt: u32, events: &mut Events<'_>) -> Result<()> {
    let event = Event::Retrying { file: name.to_owned(), reason: error.to_string(), after, attempt };
    let until = Instant::now() + after;
    loop {
        tell(events, &event)?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(TICK));
    }
}

/// Asks a server something small, again if need be. `work` runs on a thread of its own.
pub(crate) fn patiently<T: Send>(
    network: &Network,
    subject: Subject<'_>,
    events: &mut Events<'_>,
    work: impl Fn(&mut Client<'_>) -> std::result::Result<T, Trouble> + Sync,
) -> Result<T> {
    let asking = Event::Connecting { file: subject.name.to_owned(), url: subject.url.to_owned() };
    let mut attempt = 0;
    loop {
        tell(events, &asking)?;
        let watch = Arc::new(Watch::new(None));
        let outcome = std::thread::scope(|scope| {
            let (done, outcome) = channel();
            let mut client = Client::new(network, Arc::clone(&watch));
            let work = &work;
            scope.spawn(move || done.send(work(&mut client)));
            loop {
                match outcome.recv_timeout(TICK) {
                    Ok(outcome) => break outcome,
                    // The thread panicked; the scope passes it on.
                    Err(RecvTimeoutError::Disconnected) => break Err(Trouble::Final(Error::cancelled())),
                    Err(RecvTimeoutError::Timeout) if tell(events, &asking).is_err() => watch.stop(),
                    Err(RecvTimeoutError::Timeout) => {}
                }
            }
        });
        attempt += 1;
        match outcome {
            Ok(found) => return Ok(found),
            Err(trouble) => again(network, subject.name, trouble, attempt, events)?,
        }
    }
}

/// How long to wait after this many failed tries: twice as long each time, less up to a half by chance.
fn back_off(base: Duration, attempt: u32) -> Duration {
    let whole = base * 2_u32.pow(attempt.saturating_sub(1).min(MOST_DOUBLINGS));
    whole.mul_f64(0.5 + chance() / 2.0)
}

/// A number from 0 to 1 that differs between processes and calls.
fn chance() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let bits = RandomState::new().hash_one(Instant::now());
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let base = Duration::from_secs(1);
        for (attempt, whole) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 32), (1000, 32)] {
            for _ in 0..20 {
                let wait = back_off(base, attempt).as_secs_f64();
                assert!((f64::from(whole) / 2.0..=f64::from(whole)).contains(&wait), "{attempt}: {wait}");
            }
        }
    }
}
