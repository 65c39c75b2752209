//! What a server or a proxy saw.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A test that waits for something to be seen gives up after this long: it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request that was seen, and what was said to it so far.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The connection that it came on, counted from 0.
    pub connection: usize,
    /// `GET`, `HEAD`, `CONNECT`.
    pub method: String,
    /// What stood after the method: a path with its query, or an address at a proxy.
    pub target: String,
    /// All headers in their order, names as they were written.
    pub headers: Vec<(String, String)>,
    /// The status of the answer; 0 when there was none.
    pub status: u16,
    /// Bytes of the body that were handed to the system so far.
    pub sent: u64,
}

impl Seen {
    /// The first header of this name, in any case of letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The first byte that was asked for: 0 where the request has no range.
    pub fn start(&self) -> u64 {
        self.range().map_or(0, |(start, _)| start)
    }

    /// The range asked for: first byte, and the last one where it is said.
    pub fn range(&self) -> Option<(u64, Option<u64>)> {
        let (start, end) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((start.parse().ok()?, end.parse().ok()))
    }
}

/// Everything that was seen, in order. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<(Mutex<State>, Condvar)>);

#[derive(Debug, Default)]
struct State {
    connections: usize,
    seen: Vec<Seen>,
}

impl Log {
    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.with(|state| state.connections)
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.with(|state| state.seen.clone())
    }

    /// Waits until this holds of the requests; panics where it never does.
    pub fn wait(&self, what: &str, mut holds: impl FnMut(&[Seen]) -> bool) {
        let until = Instant::now() + PATIENCE;
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !holds(&state.seen) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "never came: {what}; seen: {:#?}", state.seen);
            state = self.0.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Bytes of bodies sent to requests for this path.
    pub fn sent(&self, path: &str) -> u64 {
        self.with(|state| state.seen.iter().filter(|seen| seen.path() == path).map(|seen| seen.sent).sum())
    }

    pub(crate) fn connected(&self) -> usize {
        self.with(|state| {
            state.connections += 1;
            state.connections - 1
        })
    }

    /// Records a request and gives its number.
    pub(crate) fn add(&self, seen: Seen) -> usize {
        self.with(|state| {
            state.seen.push(seen);
            state.seen.len() - 1
        })
    }

    pub(crate) fn answered(&self, number: usize, status: u16) {
        self.with(|state| state.seen[number].status = status);
    }

    pub(crate) fn sending(&self, number: usize, bytes: u64) {
        self.with(|state| state.seen[number].sent += bytes);
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let result = work(&mut self.0.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.1.notify_all();
        result
    }
}
