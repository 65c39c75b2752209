//! The lowest layer of a connection: names to addresses, and bytes over a socket, both of which stop when asked to.
//!
//! These stand in for the resolver and the sockets of `ureq`, which would wait for a silent peer without looking up, and
//! would connect to whatever address a name has.

use crate::reach::Reach;
use crate::watch::{TICK, Watch};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 8;

/// Longest time for one of several addresses.
const ONE_ADDRESS: Duration = Duration::from_secs(10);

/// Why no connection came about, where the system is not to blame.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// The pull was stopped.
    Stopped,
    /// A server sent on to a place inside.
    Inside(&'static str),
    /// The name has no address, for this reason.
    NoAddress(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped"),
            Self::Inside(place) => write!(f, "the redirect leads to {place}"),
            Self::NoAddress(reason) => write!(f, "its name has no address: {reason}"),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for ureq::Error {
    fn from(refusal: Refusal) -> Self {
        Self::Other(Box::new(refusal))
    }
}

/// Where a chain of redirects began.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    first: Option<Reach>,
    /// Hops made so far.
    pub(crate) hops: u32,
}

impl Chain {
    /// Whether the chain may go there. Its first hop may go anywhere, and is remembered.
    pub(crate) fn check(&mut self, reach: Reach) -> Result<(), Refusal> {
        if self.hops == 0 {
            self.first.get_or_insert(reach);
            return Ok(());
        }
        // By a proxy the first host may have had no address here; then it counts as far away.
        let first = self.first.unwrap_or(Reach::Public);
        if first.may_lead_to(reach) { Ok(()) } else { Err(Refusal::Inside(reach.name())) }
    }
}

/// Names to addresses: only to those that the chain may go to.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) watch: Arc<Watch>,
    pub(crate) chain: Arc<Mutex<Chain>>,
}

impl Resolver for Names {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let found = match host.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => self.look_up(host, port, timeout)?,
        };
        let mut allowed = self.empty();
        let mut refused = None;
        for address in found.into_iter().take(MOST_ADDRESSES) {
            // The proxy is the user's own choice, wherever it is.
            let checked = match config.proxy() {
                Some(_) => Ok(()),
                None => self.chain.lock().unwrap_or_else(PoisonError::into_inner).check(Reach::of(address.ip())),
            };
            match checked {
                Ok(()) => allowed.push(address),
                Err(refusal) => refused = Some(refusal),
            }
        }
        match refused {
            Some(refusal) if allowed.is_empty() => Err(refusal.into()),
            _ if allowed.is_empty() => Err(Refusal::NoAddress("none was found".to_owned()).into()),
            _ => Ok(allowed),
        }
    }
}

impl Names {
    fn look_up(&self, host: String, port: u16, timeout: NextTimeout) -> Result<Vec<SocketAddr>, ureq::Error> {
        let found = aside("tenon-resolve", move || (host.as_str(), port).to_socket_addrs().map(Vec::from_iter))?;
        let found = wait(&self.watch, &found, timeout)?;
        found.map_err(|error| Refusal::NoAddress(error.to_string()).into())
    }
}

/// Does something that cannot be interrupted on a thread of its own, which nobody waits for.
fn aside<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<Receiver<T>> {
    let (done, result) = channel();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || done.send(work()))?;
    Ok(result)
}

/// Waits for the outcome of such a thing, as long as nobody wants to stop.
fn wait<T>(watch: &Watch, result: &Receiver<T>, timeout: NextTimeout) -> Result<T, ureq::Error> {
    let until = deadline(timeout);
    loop {
        match result.recv_timeout(TICK) {
            Ok(found) => return Ok(found),
            Err(RecvTimeoutError::Disconnected) => return Err(Refusal::Stopped.into()),
            Err(RecvTimeoutError::Timeout) if watch.is_stopped() => return Err(Refusal::Stopped.into()),
            Err(RecvTimeoutError::Timeout) if until.is_some_and(|until| Instant::now() >= until) => {
                return Err(ureq::Error::Timeout(timeout.reason));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// When to give up, if ever.
fn deadline(timeout: NextTimeout) -> Option<Instant> {
    timeout.not_zero().and_then(|after| Instant::now().checked_add(*after))
}

/// Opens sockets.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) watch: Arc<Watch>,
    pub(crate) stall: Duration,
}

impl<In: Transport> Connector<In> for Sockets {
    type Out = Either<In, Wire>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        // By a proxy the connection is there already.
        if let Some(chained) = chained {
            return Ok(Some(Either::A(chained)));
        }
        let addresses: Vec<SocketAddr> = details.addrs.iter().copied().collect();
        let patience = if addresses.len() > 1 { self.stall.min(ONE_ADDRESS) } else { self.stall };
        let opened = aside("tenon-connect", move || open_any(&addresses, patience))?;
        let stream = wait(&self.watch, &opened, details.timeout)??;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TICK))?;
        stream.set_write_timeout(Some(TICK))?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(Wire { stream, buffers, watch: Arc::clone(&self.watch), stall: self.stall })))
    }
}

fn open_any(addresses: &[SocketAddr], patience: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect_timeout(address, patience) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A socket that looks up ten times a second, and gives up when nothing comes for too long.
pub(crate) struct Wire {
    stream: TcpStream,
    buffers: LazyBuffers,
    watch: Arc<Watch>,
    stall: Duration,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("peer", &self.stream.peer_addr().ok()).finish_non_exhaustive()
    }
}

impl Wire {
    /// Repeats what a tick interrupts, until it works, somebody stops it or the time is over.
    fn patiently<T>(
        &mut self,
        timeout: NextTimeout,
        mut work: impl FnMut(&mut Self) -> io::Result<T>,
    ) -> Result<T, ureq::Error> {
        let stalled = Instant::now() + self.stall;
        let until = deadline(timeout).map_or(stalled, |until| until.min(stalled));
        loop {
            if self.watch.is_stopped() {
                return Err(Refusal::Stopped.into());
            }
            match work(self) {
                Err(error) if is_tick(&error) && Instant::now() >= until => {
                    return Err(ureq::Error::Timeout(timeout.reason));
                }
                Err(error) if is_tick(&error) => {}
                other => return Ok(other?),
            }
        }
    }
}

fn is_tick(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

impl Transport for Wire {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let mut sent = 0;
        while sent < amount {
            sent += self.patiently(timeout, |wire| match wire.stream.write(&wire.buffers.output()[sent..amount]) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                other => other,
            })?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let count = self.patiently(timeout, |wire| {
            let room = wire.buffers.input_append_buf();
            let most = wire.watch.mouthful(room.len());
            wire.stream.read(&mut room[..most])
        })?;
        self.buffers.input_appended(count);
        if self.watch.take(count).is_break() {
            return Err(Refusal::Stopped.into());
        }
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        let probe = |stream: &mut TcpStream| -> io::Result<bool> {
            stream.set_nonblocking(true)?;
            let silent = matches!(stream.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
            stream.set_nonblocking(false)?;
            Ok(silent)
        };
        probe(&mut self.stream).unwrap_or(false)
    }
}
