//! One try to fetch what a part lacks from one address, over one connection or several.
//!
//! The threads take pieces in their order, so that the part grows from its start and its hash keeps up. The first piece
//! is asked for alone: only a server that answers it as it should is asked for more at once.

use crate::Error;
use crate::client::{Answer, Ask, Client, Trouble};
use crate::network::Network;
use crate::url::Url;
use crate::watch::{TICK, Watch};
use crate::wire::Refusal;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};
use tenon_store::{Part, PartWriter, Source};

/// Bytes read at a time.
const BUFFER: usize = 256 << 10;

/// Bytes of a piece: enough that asking for it costs next to nothing, and few enough that the hash keeps up.
const PIECE: Range<u64> = 16 << 20..64 << 20;

/// A connection that brings less than this many bytes a second counts as stalled.
const CRAWL: f64 = 32.0;

/// How to ask the next time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// Connections at once.
    pub(crate) connections: usize,
    /// Without ranges, from the first byte on: the server cannot be trusted with them.
    pub(crate) plain: bool,
    /// From the first byte on: the file has changed on the server.
    pub(crate) anew: bool,
    /// It has before. A server that changes its mind again and again is asked without ranges.
    pub(crate) has_changed: bool,
}

/// One try.
pub(crate) struct Transfer<'t> {
    network: &'t Network,
    watch: Arc<Watch>,
    part: &'t Part,
    /// The address as the manifest has it.
    url: &'t str,
    /// The one that is asked for it.
    address: &'t Url,
    plan: Plan,
    pieces: Mutex<VecDeque<Range<u64>>>,
    /// A server has answered with bytes.
    begun: AtomicBool,
    fetched: AtomicU64,
    /// Several connections were open.
    was_parallel: AtomicBool,
    must_be_plain: AtomicBool,
    has_changed: AtomicBool,
}

/// What a thread tells the one that started it.
enum Note {
    /// The first piece is coming, and the server knows ranges.
    Ranges,
    Ended(Result<(), Trouble>),
}

impl<'t> Transfer<'t> {
    pub(crate) fn new(
        network: &'t Network,
        watch: Arc<Watch>,
        part: &'t Part,
        url: &'t str,
        address: &'t Url,
        plan: Plan,
    ) -> Self {
        Self {
            network,
            watch,
            part,
            url,
            address,
            plan,
            pieces: Mutex::default(),
            begun: AtomicBool::new(false),
            fetched: AtomicU64::new(0),
            was_parallel: AtomicBool::new(false),
            must_be_plain: AtomicBool::new(false),
            has_changed: AtomicBool::new(false),
        }
    }

    /// Bytes that came.
    pub(crate) fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// How to ask after this try.
    pub(crate) fn next_plan(&self, failed: bool) -> Plan {
        let fall_back = failed && self.was_parallel.load(Ordering::Relaxed);
        let changed = self.has_changed.load(Ordering::Relaxed);
        let must_be_plain = self.must_be_plain.load(Ordering::Relaxed);
        let plain = self.plan.plain || must_be_plain || changed && self.plan.has_changed;
        let connections = if fall_back || plain { 1 } else { self.plan.connections };
        Plan { connections, plain, anew: changed, has_changed: changed || self.plan.has_changed }
    }

    /// Fetches. `report` is called some ten times a second on this thread, with whether bytes are coming, and cancels by
    /// breaking.
    pub(crate) fn run(&self, report: &mut dyn FnMut(bool) -> ControlFlow<()>) -> Result<(), Trouble> {
        if (self.plan.plain || self.plan.anew) && self.part.held() > 0 {
            self.part.restart().map_err(final_store)?;
        }
        let pieces = self.cut(self.part.missing());
        if pieces.is_empty() {
            return Ok(());
        }
        *self.pieces.lock().unwrap_or_else(PoisonError::into_inner) = pieces;
        std::thread::scope(|scope| {
            let (tell, told) = channel();
            let mut failed = None;
            let mut running = 0;
            running += self.start(scope, 1, true, &tell, &mut failed);
            while running > 0 {
                match told.recv_timeout(TICK) {
                    Ok(Note::Ranges) => {
                        let more = self.plan.connections.min(self.pieces_left() + 1).saturating_sub(1);
                        running += self.start(scope, more, false, &tell, &mut failed);
                    }
                    Ok(Note::Ended(outcome)) => {
                        running -= 1;
                        self.note(outcome, &mut failed);
                    }
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
                }
                if !self.watch.is_stopped() && report(self.begun.load(Ordering::Relaxed)).is_break() {
                    self.watch.stop();
                    failed = Some(Trouble::Final(Error::cancelled()));
                }
            }
            failed.map_or(Ok(()), Err)
        })
    }

    /// Starts threads; how many came to be.
    fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        count: usize,
        first: bool,
        tell: &Sender<Note>,
        failed: &mut Option<Trouble>,
    ) -> usize {
        if count > 0 && !first {
            self.was_parallel.store(true, Ordering::Relaxed);
        }
        let start = |_| {
            let tell = tell.clone();
            let work = move || {
                let outcome = self.work(first, &tell);
                let _ = tell.send(Note::Ended(outcome));
            };
            std::thread::Builder::new().name("tenon-fetch".to_owned()).spawn_scoped(scope, work)
        };
        let started: Vec<io::Result<_>> = (0..count).map(start).collect();
        let good = started.iter().filter(|thread| thread.is_ok()).count();
        if let Some(error) = started.into_iter().find_map(Result::err).filter(|_| first) {
            *failed = Some(Trouble::again(format!("cannot start a thread: {error}")));
        }
        good
    }

    /// Keeps the first trouble that is final, else the first of all. What is final ends the other threads.
    fn note(&self, outcome: Result<(), Trouble>, failed: &mut Option<Trouble>) {
        match outcome {
            Ok(()) => {}
            Err(trouble @ Trouble::Final(_)) => {
                self.watch.stop();
                if !matches!(failed, Some(Trouble::Final(_))) {
                    *failed = Some(trouble);
                }
            }
            Err(trouble) => {
                failed.get_or_insert(trouble);
            }
        }
    }

    fn pieces_left(&self) -> usize {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What is missing, in pieces where several connections are to share it.
    fn cut(&self, missing: Vec<Range<u64>>) -> VecDeque<Range<u64>> {
        let size = self.part.size();
        let parallel = self.plan.connections > 1 && !self.plan.plain && size >= self.network.parallel_from;
        if !parallel {
            return missing.into();
        }
        let piece = (size / 32).clamp(PIECE.start, PIECE.end).min((size / self.plan.connections as u64).max(1));
        let cut = |range: Range<u64>| {
            let count = (range.end - range.start).div_ceil(piece);
            (0..count).map(move |at| {
                let start = range.start + at * piece;
                start..(start + piece).min(range.end)
            })
        };
        missing.into_iter().flat_map(cut).collect()
    }

    /// Takes pieces until none is left.
    fn work(&self, mut first: bool, tell: &Sender<Note>) -> Result<(), Trouble> {
        let mut client = Client::new(self.network, Arc::clone(&self.watch));
        loop {
            let piece = self.pieces.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(piece) = piece else { return Ok(()) };
            self.piece(&mut client, piece, first, tell)?;
            first = false;
        }
    }

    fn piece(
        &self,
        client: &mut Client<'_>,
        piece: Range<u64>,
        first: bool,
        tell: &Sender<Note>,
    ) -> Result<(), Trouble> {
        let size = self.part.size();
        let known = self.part.source().filter(|source| source.url == self.url).and_then(|source| source.etag);
        let is_whole = piece == (0..size);
        let range = (!is_whole).then(|| (piece.start, (piece.end < size).then(|| piece.end - 1)));
        let if_range = known.as_deref().filter(|_| range.is_some() && (!first || self.part.held() > 0));
        let answer = client.ask(&Ask { range, if_range, ..Ask::get(self.address) })?;
        match answer.status() {
            206 if range.is_some() => self.some(answer, &piece, known.as_deref(), first, tell),
            200 => self.all(answer, is_whole, first),
            416 => Err(self.no_such_range(&answer)),
            status => {
                let url = self.address.without_query();
                Err(Trouble::final_network(format!("{url} answered {status} to a request for a file")))
            }
        }
    }

    /// Takes the range that was asked for.
    fn some(
        &self,
        answer: Answer,
        piece: &Range<u64>,
        known: Option<&str>,
        first: bool,
        tell: &Sender<Note>,
    ) -> Result<(), Trouble> {
        let end = self.check_range(&answer, piece)?;
        let etag = answer.strong_etag().map(str::to_owned);
        let has_changed = known.zip(etag.as_deref()).is_some_and(|(known, now)| known != now);
        if has_changed && self.part.held() > 0 {
            self.has_changed.store(true, Ordering::Relaxed);
            let error = Error::network(format!("{} has changed since", self.address.without_query()));
            return Err(Trouble::Again(error, Some(Duration::ZERO)));
        }
        self.remember(first, etag)?;
        if first && self.pieces_left() > 0 {
            let _ = tell.send(Note::Ranges);
        }
        self.body(answer, piece.start..end, piece.end)
    }

    /// Takes the whole file.
    fn all(&self, answer: Answer, was_asked_for: bool, first: bool) -> Result<(), Trouble> {
        self.check_length(&answer)?;
        if !was_asked_for {
            self.take_all(first)?;
        }
        let etag = answer.strong_etag().map(str::to_owned);
        self.remember(first, etag)?;
        self.body(answer, 0..self.part.size(), self.part.size())
    }

    /// The server sends all, although it was asked for a range: what there is gives way to it.
    fn take_all(&self, first: bool) -> Result<(), Trouble> {
        if !first {
            let url = self.address.without_query();
            return Err(Trouble::again(format!("{url} gave ranges, and then all of the file")));
        }
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if self.part.held() > 0 { self.part.restart().map_err(final_store) } else { Ok(()) }
    }

    /// Writes down where the bytes come from, before the first of them.
    fn remember(&self, first: bool, etag: Option<String>) -> Result<(), Trouble> {
        self.begun.store(true, Ordering::Relaxed);
        let source = Source { url: self.url.to_owned(), etag };
        if first && self.part.source().as_ref() != Some(&source) {
            self.part.set_source(source).map_err(final_store)?;
        }
        Ok(())
    }

    /// Checks the head of a partial answer; where its bytes end.
    fn check_range(&self, answer: &Answer, piece: &Range<u64>) -> Result<u64, Trouble> {
        let url = self.address.without_query();
        let size = self.part.size();
        let said = answer.header("content-range").unwrap_or_default().to_owned();
        let Some((start, last, total)) = content_range(&said) else {
            return Err(self.plain_again(format!("{url} answered a range without saying which")));
        };
        if total != size {
            return Err(Trouble::final_network(format!("{url} has {total} bytes, not the {size} of the manifest")));
        }
        let length_fits = answer.length().is_none_or(|length| Some(length) == (last + 1).checked_sub(start));
        if start != piece.start || last < start || last >= piece.end || !length_fits {
            let asked = format!("{}-{}", piece.start, piece.end - 1);
            return Err(self.plain_again(format!("{url} was asked for the bytes {asked} and answered {said:?}")));
        }
        Ok(last + 1)
    }

    /// Checks the length of a whole answer, where it says one.
    fn check_length(&self, answer: &Answer) -> Result<(), Trouble> {
        let (url, size) = (self.address.without_query(), self.part.size());
        match answer.length() {
            Some(length) if length != size => {
                Err(Trouble::final_network(format!("{url} has {length} bytes, not the {size} of the manifest")))
            }
            _ => Ok(()),
        }
    }

    /// A range was refused that the file should have.
    fn no_such_range(&self, answer: &Answer) -> Trouble {
        let (url, size) = (self.address.without_query(), self.part.size());
        let total = answer.header("content-range").and_then(|said| said.strip_prefix("bytes */")?.parse::<u64>().ok());
        match total {
            Some(total) if total != size => {
                Trouble::final_network(format!("{url} has {total} bytes, not the {size} of the manifest"))
            }
            _ => self.plain_again(format!("{url} refuses a range of the file")),
        }
    }

    /// Again, but from the first byte and without ranges.
    fn plain_again(&self, message: String) -> Trouble {
        self.must_be_plain.store(true, Ordering::Relaxed);
        // Nothing on the server's side has to pass first.
        Trouble::Again(Error::network(message), Some(Duration::ZERO))
    }

    /// Writes the body of an answer that should hold `range`, of a piece that ends at `wanted`.
    fn body(&self, answer: Answer, range: Range<u64>, wanted: u64) -> Result<(), Trouble> {
        let host = answer.url.host.clone();
        let mut writer = self.part.writer(range.clone()).map_err(final_store)?;
        let mut reader = answer.into_reader();
        let mut buffer = vec![0; BUFFER];
        let mut pace = Pace::new(self.network);
        while writer.remaining() > 0 {
            let most = usize::try_from(writer.remaining()).unwrap_or(BUFFER).min(BUFFER);
            let count = reader.read(&mut buffer[..most]).map_err(|error| self.broken(&host, &writer, error))?;
            if count == 0 {
                let (at, size) = (writer.at(), self.part.size());
                return Err(Trouble::again(format!("{host} ended at byte {at} of {size}")));
            }
            writer.write(&buffer[..count]).map_err(final_store)?;
            self.fetched.fetch_add(count as u64, Ordering::Relaxed);
            pace.check(count, &host)?;
            if self.watch.is_stopped() {
                return Err(Trouble::Final(Error::cancelled()));
            }
        }
        // One byte more is one too many. What goes wrong after the last one does no harm.
        if reader.read(&mut buffer[..1]).unwrap_or(0) > 0 {
            let (url, size) = (self.address.without_query(), self.part.size());
            return Err(Trouble::final_network(format!("{url} sends more than the {size} bytes of the manifest")));
        }
        match range.end < wanted {
            // A server may give less than it was asked for; the rest is still missing.
            true => Err(Trouble::again(format!("{host} gave a range up to byte {} only", range.end))),
            false => Ok(()),
        }
    }

    /// What an error in the middle of a body means.
    fn broken(&self, host: &str, writer: &PartWriter, error: io::Error) -> Trouble {
        if self.watch.is_stopped() {
            return Trouble::Final(Error::cancelled());
        }
        let (at, size) = (writer.at(), self.part.size());
        let reason = match ureq::Error::from(error) {
            ureq::Error::Timeout(_) => format!("nothing came for {} s", self.network.stall.as_secs_f64()),
            ureq::Error::Io(error) => error.to_string(),
            ureq::Error::Other(other) if other.downcast_ref::<Refusal>().is_some() => {
                return Trouble::Final(Error::cancelled());
            }
            other => other.to_string(),
        };
        Trouble::again(format!("the connection to {host} broke at byte {at} of {size}: {reason}"))
    }
}

fn final_store(error: tenon_store::Error) -> Trouble {
    Trouble::Final(error.into())
}

/// First byte, last byte and total of a `Content-Range`.
fn content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?, total.trim().parse().ok()?))
}

/// Tells a connection that crawls from one that is slow.
struct Pace {
    stall: Duration,
    least: u64,
    since: Instant,
    bytes: u64,
}

impl Pace {
    fn new(network: &Network) -> Self {
        let seconds = network.stall.as_secs_f64();
        let allowed = network.rate_limit.map_or(f64::INFINITY, |rate| rate.get() as f64 / 2.0);
        let least = (CRAWL.min(allowed) * seconds).max(1.0) as u64;
        Self { stall: network.stall, least, since: Instant::now(), bytes: 0 }
    }

    fn check(&mut self, count: usize, host: &str) -> Result<(), Trouble> {
        self.bytes += count as u64;
        if self.since.elapsed() < self.stall {
            return Ok(());
        }
        if self.bytes < self.least {
            let (bytes, seconds) = (self.bytes, self.stall.as_secs_f64());
            return Err(Trouble::again(format!("{host} brought {bytes} bytes in {seconds} s")));
        }
        (self.since, self.bytes) = (Instant::now(), 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_is_three_numbers() {
        assert_eq!(content_range("bytes 0-9/10"), Some((0, 9, 10)));
        for bad in ["bytes */10", "bytes 0-9/*", "bytes=0-9/10", "items 0-9/10", "bytes 0-/10", "bytes -1-9/10", ""] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
