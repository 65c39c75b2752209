//! HTTP/1.1 as far as the tests need it: heads of requests read, answers written, over TCP or TLS.

use crate::answer::{Framing, Stop};
use crate::record::{Log, Seen};
use crate::{Answer, Blob};
use rustls::{ServerConnection, StreamOwned};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Bytes that are sent between two looks at whether the server ends.
const PIECE: usize = 1 << 20;

/// How often whoever waits looks whether the server ends.
const LOOK: Duration = Duration::from_millis(10);

/// Longest head of a request, in bytes.
const LONGEST_HEAD: u64 = 64 << 10;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `HEAD`, `CONNECT`.
    pub method: String,
    /// What stood after the method.
    pub target: String,
    /// All headers in their order.
    pub headers: Vec<(String, String)>,
}

impl Request {
    /// The first header of this name, in any case of letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The path asked for, without query, and without the origin that stands before it in requests to a proxy.
    pub fn path(&self) -> &str {
        let target = self.target.split('?').next().unwrap_or_default();
        let after_scheme = target.split_once("://").map_or(target, |(_, rest)| rest);
        match after_scheme.find('/') {
            Some(slash) if after_scheme.len() < target.len() => &after_scheme[slash..],
            _ => target,
        }
    }

    /// What is remembered of it.
    pub(crate) fn seen(&self, connection: usize) -> Seen {
        let Self { method, target, headers } = self.clone();
        Seen { connection, method, target, headers, status: 0, sent: 0 }
    }

    /// The part of a body of this size that is asked for: the whole, a part, or none that exists.
    fn wanted(&self, size: u64, etag: Option<&str>, deaf: bool) -> Wanted {
        let range = self.header("range").and_then(|range| range.strip_prefix("bytes="));
        let Some((start, end)) = range.and_then(|range| range.split_once('-')) else { return Wanted::Whole };
        let names_it = |tag| Some(tag) == etag && !etag.is_some_and(|etag| etag.starts_with("W/"));
        let current = deaf || self.header("if-range").is_none_or(names_it);
        match (current, start.parse::<u64>()) {
            (false, _) | (_, Err(_)) => Wanted::Whole,
            (true, Ok(start)) if start >= size => Wanted::Nothing,
            (true, Ok(start)) => Wanted::Part(start..end.parse().map_or(size, |last: u64| size.min(last + 1))),
        }
    }
}

enum Wanted {
    Whole,
    Part(Range<u64>),
    Nothing,
}

/// Reads the head of the next request; `None` when no more comes.
pub(crate) fn read_request(from: &mut BufReader<impl Read>) -> io::Result<Option<Request>> {
    let mut from = from.take(LONGEST_HEAD);
    let mut first = String::new();
    if from.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut words = first.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
            None => return Ok(Some(Request { method, target, headers })),
        }
    }
}

/// A socket that ends when its conversation does, while the server can still shut it down.
pub(crate) struct Socket(pub Arc<TcpStream>);

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(into)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.0).flush()
    }
}

/// A connection from a client.
pub(crate) enum Stream {
    Plain(Socket),
    Tls(Box<StreamOwned<ServerConnection, Socket>>),
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => &socket.0,
            Self::Tls(stream) => &stream.get_ref().0,
        }
    }

    /// Ends the connection: both sides hear that this was meant.
    pub(crate) fn close(&mut self, abrupt: bool) {
        if let Self::Tls(stream) = self
            && !abrupt
        {
            stream.conn.send_close_notify();
            // The other side may be gone already.
            let _ = stream.flush();
        }
        let _ = self.socket().shutdown(Shutdown::Write);
    }

    /// Makes the end of the connection a reset.
    fn reset(&self) {
        // A socket that refuses ends in order, and the test that counts on the reset says so.
        let _ = rustix::net::sockopt::set_socket_linger(self.socket(), Some(Duration::ZERO));
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// What a path holds, for an answer.
pub(crate) struct Held {
    pub blob: Option<Blob>,
    pub etag: Option<String>,
}

/// Writes one answer.
pub(crate) struct Reply<'a> {
    pub stream: &'a mut Stream,
    pub log: &'a Log,
    /// The request's number in the log.
    pub number: usize,
    /// Whether the server ends.
    pub stopping: &'a AtomicBool,
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Keep,
    Close,
    /// Closed already, one way or another.
    Gone,
}

impl Reply<'_> {
    /// Says what the answer says, and everything else as a good server would.
    pub(crate) fn write(&mut self, request: &Request, held: Held, answer: &Answer) -> io::Result<Next> {
        if let Some(raw) = &answer.raw {
            self.stream.write_all(raw)?;
            return self
                .stops(answer, &mut answer.stops.clone(), 0)
                .map(|next| if next == Next::Keep { Next::Close } else { next });
        }
        let Some(blob) = answer.body.clone().or(held.blob) else {
            return self.write(request, Held { blob: None, etag: None }, &Answer::status(404));
        };
        let etag = answer.etag.as_deref().or(held.etag.as_deref());
        let Head { status, range, content_range } = head(request, answer, &blob, etag);
        let (blob, range) = match answer.gzip {
            true => {
                let packed = answer.encoded(Blob::from(blob.part(range)?))?;
                let size = packed.size();
                (packed, 0..size)
            }
            false => (blob, range),
        };
        let mut headers = vec![("Accept-Ranges", "bytes".to_owned())];
        headers.extend(content_range.map(|value| ("Content-Range", value)));
        if status < 300 {
            headers.extend(etag.map(|etag| ("ETag", etag.to_owned())));
        }
        headers.extend(framing(answer.framing, range.end - range.start));
        self.log.answered(self.number, status);
        self.stream.write_all(render(status, headers, answer).as_bytes())?;
        if request.method == "HEAD" {
            return Ok(Next::Keep);
        }
        self.body(&blob, range, answer)
    }

    fn body(&mut self, blob: &Blob, range: Range<u64>, answer: &Answer) -> io::Result<Next> {
        let mut stops = answer.stops.clone();
        let (mut at, size) = (0, range.end - range.start);
        loop {
            match self.stops(answer, &mut stops, at)? {
                Next::Keep if at < size => {}
                Next::Keep => break,
                next => return Ok(next),
            }
            let stop = stops.first().map_or(size, |(after, _)| size.min(*after));
            let piece = answer.piece.map_or(PIECE, |(piece, _)| piece) as u64;
            let piece = match answer.framing {
                Framing::Chunked(chunk) => piece.min(chunk as u64),
                _ => piece,
            };
            let end = stop.min(at + piece);
            self.piece(blob, range.start + at..range.start + end, answer)?;
            at = end;
        }
        match answer.framing {
            Framing::Chunked(_) => self.stream.write_all(b"0\r\n\r\n").map(|()| Next::Keep),
            Framing::Length => Ok(Next::Keep),
            Framing::Claimed(_) | Framing::Close => Ok(Next::Close),
        }
    }

    fn piece(&mut self, blob: &Blob, part: Range<u64>, answer: &Answer) -> io::Result<()> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let size = part.end - part.start;
        let chunked = matches!(answer.framing, Framing::Chunked(_));
        if chunked {
            self.stream.write_all(format!("{size:x}\r\n").as_bytes())?;
        }
        blob.send(part, self.stream)?;
        if chunked {
            self.stream.write_all(b"\r\n")?;
        }
        self.stream.flush()?;
        self.log.sending(self.number, size);
        if let Some((_, pause)) = answer.piece {
            std::thread::sleep(pause);
        }
        Ok(())
    }

    /// Does what is to happen after this many bytes.
    fn stops(&mut self, answer: &Answer, stops: &mut Vec<(u64, Stop)>, at: u64) -> io::Result<Next> {
        while stops.first().is_some_and(|(after, _)| *after <= at) {
            match stops.remove(0).1 {
                Stop::Fin => {
                    self.stream.close(answer.abrupt);
                    return Ok(Next::Gone);
                }
                Stop::Reset => {
                    self.stream.reset();
                    return Ok(Next::Gone);
                }
                Stop::Gate(gate) => {
                    while !gate.is_open_after(LOOK) {
                        if self.stopping.load(Ordering::Relaxed) {
                            return Err(io::ErrorKind::ConnectionAborted.into());
                        }
                    }
                }
            }
        }
        Ok(Next::Keep)
    }
}

struct Head {
    status: u16,
    range: Range<u64>,
    content_range: Option<String>,
}

fn head(request: &Request, answer: &Answer, blob: &Blob, etag: Option<&str>) -> Head {
    let size = blob.size();
    let whole = |status| Head { status, range: 0..size, content_range: None };
    if let Some(status) = answer.status {
        return whole(status);
    }
    match request.wanted(size, etag, answer.deaf) {
        _ if answer.whole => whole(200),
        Wanted::Whole => whole(200),
        Wanted::Nothing => Head { status: 416, range: 0..0, content_range: Some(format!("bytes */{size}")) },
        Wanted::Part(asked) => {
            let start = asked.start.saturating_add_signed(answer.shift).min(asked.end - 1);
            let total = answer.total.unwrap_or(size);
            let content_range = Some(format!("bytes {start}-{}/{total}", asked.end - 1));
            Head { status: 206, range: start..asked.end, content_range }
        }
    }
}

fn framing(framing: Framing, size: u64) -> Option<(&'static str, String)> {
    match framing {
        Framing::Length => Some(("Content-Length", size.to_string())),
        Framing::Claimed(size) => Some(("Content-Length", size.to_string())),
        Framing::Close => Some(("Connection", "close".to_owned())),
        Framing::Chunked(_) => Some(("Transfer-Encoding", "chunked".to_owned())),
    }
}

fn render(status: u16, headers: Vec<(&str, String)>, answer: &Answer) -> String {
    let same = |one: &str, other: &str| one.eq_ignore_ascii_case(other);
    let replaced = |name: &str| answer.headers.iter().any(|(other, _)| same(other, name));
    let left_out = |name: &str| answer.without.iter().any(|other| same(other, name));
    let own = headers.iter().filter(|(name, _)| !replaced(name)).map(|(name, value)| (*name, value.as_str()));
    let given = answer.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let lines = own.chain(given).filter(|(name, _)| !left_out(name));
    let lines: String = lines.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status} {}\r\n{lines}\r\n", reason(status))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        300..=399 => "Redirect",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "Answer",
    }
}
