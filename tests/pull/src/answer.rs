//! What the server says to one request: by default what a good server says, and everything that can be wrong with it.

use crate::{Blob, gzip};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// The answer to one request. Starts as a good one; each method puts one thing wrong.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub(crate) status: Option<u16>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) without: Vec<&'static str>,
    pub(crate) body: Option<Blob>,
    pub(crate) etag: Option<String>,
    pub(crate) gzip: bool,
    pub(crate) whole: bool,
    pub(crate) shift: i64,
    pub(crate) deaf: bool,
    pub(crate) total: Option<u64>,
    pub(crate) framing: Framing,
    pub(crate) stops: Vec<(u64, Stop)>,
    pub(crate) piece: Option<(usize, Duration)>,
    pub(crate) raw: Option<Vec<u8>>,
    pub(crate) abrupt: bool,
}

/// How the end of the body is told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Framing {
    /// By its length.
    #[default]
    Length,
    /// By a length that is not its own.
    Claimed(u64),
    /// By the end of the connection.
    Close,
    /// In chunks of this many bytes.
    Chunked(usize),
}

/// What happens after a number of bytes of the body.
#[derive(Clone, Debug)]
pub(crate) enum Stop {
    /// The connection ends in order.
    Fin,
    /// The connection is reset.
    Reset,
    /// Nothing more comes until the gate opens.
    Gate(Gate),
}

impl Answer {
    /// What a good server says.
    pub fn good() -> Self {
        Self::default()
    }

    /// A status with a short text instead of the blob.
    pub fn status(status: u16) -> Self {
        Self { status: Some(status), body: Some(Blob::from(format!("status {status}\n").into_bytes())), ..Self::good() }
    }

    /// A redirect.
    pub fn redirect(status: u16, to: impl Into<String>) -> Self {
        Self::status(status).header("Location", to)
    }

    /// A JSON document.
    pub fn json(value: &serde_json::Value) -> Self {
        let answer = Self { body: Some(Blob::from(value.to_string().into_bytes())), ..Self::good() };
        answer.header("Content-Type", "application/json")
    }

    /// These bytes, whatever HTTP says.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { raw: Some(bytes.into()), ..Self::good() }
    }

    /// The connection ends in order before an answer.
    pub fn hang_up() -> Self {
        Self::raw("")
    }

    /// The connection is reset before an answer.
    pub fn reset() -> Self {
        Self { stops: vec![(0, Stop::Reset)], ..Self::raw("") }
    }

    /// Not a word, not even a head.
    pub fn silence() -> Self {
        Self { stops: vec![(0, Stop::Gate(Gate::shut()))], ..Self::raw("") }
    }

    /// The body of another blob than the path holds.
    #[must_use]
    pub fn body(self, blob: impl Into<Blob>) -> Self {
        Self { body: Some(blob.into()), ..self }
    }

    /// A header in place of the one of this name, or beside the others.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Leaves a header out.
    #[must_use]
    pub fn without(mut self, name: &'static str) -> Self {
        self.without.push(name);
        self
    }

    /// Another entity tag than the path's, quotes included; `If-Range` is compared with it.
    #[must_use]
    pub fn etag(self, etag: impl Into<String>) -> Self {
        Self { etag: Some(etag.into()), ..self }
    }

    /// Ends the connection after this many bytes of the body.
    #[must_use]
    pub fn cut(self, after: u64) -> Self {
        self.stop(after, Stop::Fin)
    }

    /// Resets the connection after this many bytes of the body.
    #[must_use]
    pub fn reset_after(self, after: u64) -> Self {
        self.stop(after, Stop::Reset)
    }

    /// Sends nothing more after this many bytes of the body, and keeps the connection.
    #[must_use]
    pub fn stall(self, after: u64) -> Self {
        self.stop(after, Stop::Gate(Gate::shut()))
    }

    /// Waits at a gate after this many bytes of the body.
    #[must_use]
    pub fn gate(self, after: u64, gate: &Gate) -> Self {
        self.stop(after, Stop::Gate(gate.clone()))
    }

    /// Sends the body in pieces of so many bytes with a pause after each.
    #[must_use]
    pub fn drip(self, piece: usize, pause: Duration) -> Self {
        Self { piece: Some((piece, pause)), ..self }
    }

    /// Answers a range with 200 and the whole blob.
    #[must_use]
    pub fn whole(self) -> Self {
        Self { whole: true, ..self }
    }

    /// Sends, and says that it sends, a range that begins so many bytes further on than the one asked for.
    #[must_use]
    pub fn shifted(self, by: i64) -> Self {
        Self { shift: by, ..self }
    }

    /// Answers a range with that range also where `If-Range` names another blob.
    #[must_use]
    pub fn deaf_to_if_range(self) -> Self {
        Self { deaf: true, ..self }
    }

    /// Says in `Content-Range` that the blob has this size.
    #[must_use]
    pub fn total(self, total: u64) -> Self {
        Self { total: Some(total), ..self }
    }

    /// Packs the body with gzip, and says so.
    #[must_use]
    pub fn gzipped(self) -> Self {
        Self { gzip: true, ..self }.header("Content-Encoding", "gzip")
    }

    /// Says another length than the body has, and ends the connection after the body.
    #[must_use]
    pub fn length(self, claimed: u64) -> Self {
        Self { framing: Framing::Claimed(claimed), ..self }
    }

    /// Says no length; the end of the connection is the end of the body.
    #[must_use]
    pub fn without_length(self) -> Self {
        Self { framing: Framing::Close, ..self }
    }

    /// Sends the body in chunks of so many bytes.
    #[must_use]
    pub fn chunked(self, chunk: usize) -> Self {
        Self { framing: Framing::Chunked(chunk), ..self }
    }

    /// Over TLS: the connection ends without the alert that says so, as if somebody had cut it.
    #[must_use]
    pub fn abrupt(self) -> Self {
        Self { abrupt: true, ..self }
    }

    fn stop(mut self, after: u64, stop: Stop) -> Self {
        self.stops.push((after, stop));
        self.stops.sort_by_key(|(after, _)| *after);
        self
    }

    /// The body as it goes over the wire.
    pub(crate) fn encoded(&self, body: Blob) -> std::io::Result<Blob> {
        if self.gzip { Ok(Blob::from(gzip(&body.part(0..body.size())?))) } else { Ok(body) }
    }
}

/// A gate that holds answers until a test opens it.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// A gate that is shut.
    pub fn shut() -> Self {
        Self::default()
    }

    /// Lets everything through, now and later.
    pub fn open(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Waits a moment; whether the gate is open.
    pub(crate) fn is_open_after(&self, moment: Duration) -> bool {
        let open = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.1.wait_timeout_while(open, moment, |open| !*open);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
