//! Bytes of a source: read forwards, and backwards where the source can.
//!
//! Everything above reads through [`Input`], so that a file, a buffer and a pipe look the same.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use symphonia::core::io::MediaSource;

use crate::error::{AudioError, Result};
use crate::source::Source;

/// How much of a pipe is kept on disk when its format must be read out of order.
const SPOOL_LIMIT: u64 = 4 << 30;
const BUFFER: usize = 64 << 10;

enum Raw {
    File(File),
    Bytes(Cursor<Arc<[u8]>>),
    /// The lock is never contended: it only makes the reader `Sync`, which symphonia asks for.
    Pipe(Mutex<Box<dyn Read + Send>>),
}

/// A source of bytes with a small buffer. Offsets count from where the format's own header starts.
pub(crate) struct Input {
    raw: Raw,
    len: Option<u64>,
    base: u64,
    pos: u64,
    buffer: Vec<u8>,
    at: usize,
    /// Nothing comes behind what is in the buffer.
    ended: bool,
    failed: Failure,
}

/// Keeps the error of a read that went wrong where a decoder in between would turn it into something else.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failure(Arc<Mutex<Option<io::Error>>>);

impl Failure {
    /// The error, once.
    pub(crate) fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }

    fn keep(&self, error: &io::Error) {
        let copy = io::Error::new(error.kind(), error.to_string());
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(copy);
    }
}

/// The last bytes that a decoder read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail(Arc<Mutex<Vec<u8>>>);

impl Tail {
    /// More than two of the largest MPEG frames.
    const SIZE: usize = 8 << 10;

    /// What was read behind `packet`; `None` when it was not among the last bytes.
    pub(crate) fn behind(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = tail.windows(packet.len().max(1)).rposition(|bytes| bytes == packet)?;
        Some(tail[at + packet.len()..].to_vec())
    }

    fn keep(&self, bytes: &[u8]) {
        let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend_from_slice(&bytes[bytes.len().saturating_sub(Self::SIZE)..]);
        let old = tail.len().saturating_sub(Self::SIZE);
        tail.drain(..old);
    }
}

impl Input {
    pub(crate) fn open(source: Source) -> Result<Self> {
        match source {
            Source::Path(path) => open_path(&path),
            Source::Bytes(bytes) => Ok(Self::new(Some(bytes.len() as u64), Raw::Bytes(Cursor::new(bytes)))),
            Source::Reader(reader) => Ok(Self::new(None, Raw::Pipe(Mutex::new(reader)))),
        }
    }

    fn new(len: Option<u64>, raw: Raw) -> Self {
        Self { raw, len, base: 0, pos: 0, buffer: Vec::new(), at: 0, ended: false, failed: Failure::default() }
    }

    /// Where the errors of this input's reads are kept.
    pub(crate) fn failure(&self) -> Failure {
        self.failed.clone()
    }

    /// Where the next byte stands.
    pub(crate) fn pos(&self) -> u64 {
        self.pos - self.base
    }

    /// How many bytes there are, where the source knows.
    pub(crate) fn len(&self) -> Option<u64> {
        self.len.map(|len| len.saturating_sub(self.base))
    }

    /// Makes the present position the new start.
    pub(crate) fn rebase(&mut self) {
        self.base = self.pos;
    }

    pub(crate) fn can_seek(&self) -> bool {
        !matches!(self.raw, Raw::Pipe(_))
    }

    /// Up to `n` bytes that come next (fewer only at the end), without taking them.
    pub(crate) fn peek(&mut self, n: usize) -> io::Result<&[u8]> {
        if self.buffer.len() - self.at < n && !self.ended {
            self.buffer.drain(..self.at);
            self.at = 0;
            let mut have = self.buffer.len();
            // Room for more than is asked for: a search that goes on by a few bytes must not move the rest each time.
            self.buffer.resize(n + BUFFER, 0);
            while have < n {
                match self.raw.read(&mut self.buffer[have..]) {
                    Ok(0) => {
                        self.ended = true;
                        break;
                    }
                    Ok(got) => have += got,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => {
                        self.failed.keep(&e);
                        self.buffer.truncate(have);
                        return Err(e);
                    }
                }
            }
            self.buffer.truncate(have);
        }
        let end = self.buffer.len().min(self.at + n);
        Ok(&self.buffer[self.at..end])
    }

    /// Takes `n` bytes, or fewer at the end.
    pub(crate) fn take(&mut self, n: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        while out.len() < n {
            let part = self.peek((n - out.len()).min(BUFFER))?;
            if part.is_empty() {
                break;
            }
            out.extend_from_slice(part);
            let taken = part.len();
            self.consume(taken);
        }
        Ok(out)
    }

    /// Takes exactly `N` bytes; `None` when the source ends first.
    pub(crate) fn array<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        let found = self.peek(N)?.try_into().ok();
        if found.is_some() {
            self.consume(N);
        }
        Ok(found)
    }

    /// Takes what [`Input::peek`] showed.
    pub(crate) fn consume(&mut self, n: usize) {
        self.at += n;
        self.pos += n as u64;
    }

    /// Passes over `n` bytes; tells how many there were.
    pub(crate) fn skip(&mut self, n: u64) -> io::Result<u64> {
        let buffered = (self.buffer.len() - self.at) as u64;
        if let (true, Some(len)) = (self.can_seek() && n > buffered, self.len) {
            let to = self.pos.saturating_add(n).min(len);
            let skipped = to - self.pos.min(to);
            self.seek_to(to)?;
            return Ok(skipped);
        }
        let mut left = n;
        while left > 0 {
            let got = self.peek(left.min(BUFFER as u64) as usize)?.len();
            if got == 0 {
                break;
            }
            self.consume(got);
            left -= got as u64;
        }
        Ok(n - left)
    }

    /// Goes to `pos`, counted from the start of the format.
    pub(crate) fn seek_start(&mut self, pos: u64) -> io::Result<()> {
        self.seek_to(self.base.saturating_add(pos))
    }

    fn seek_to(&mut self, absolute: u64) -> io::Result<()> {
        match &mut self.raw {
            Raw::File(file) => file.seek(SeekFrom::Start(absolute))?,
            Raw::Bytes(cursor) => cursor.seek(SeekFrom::Start(absolute))?,
            Raw::Pipe(_) => return Err(io::Error::other("a pipe cannot be read out of order")),
        };
        self.buffer.clear();
        (self.at, self.ended) = (0, false);
        self.pos = absolute;
        Ok(())
    }

    /// The same bytes in a form that can be read out of order. A pipe goes to a temporary file without a name.
    pub(crate) fn spooled(mut self, format: &str) -> Result<Self> {
        if self.can_seek() {
            return Ok(self);
        }
        let wrong = |e| AudioError::io("keeping a copy of the piped audio in the temporary folder", e);
        let mut file = tempfile::tempfile().map_err(wrong)?;
        let mut len = 0u64;
        loop {
            let part = self.peek(BUFFER).map_err(|e| AudioError::io("reading the audio", e))?;
            if part.is_empty() {
                break;
            }
            len += part.len() as u64;
            if len > SPOOL_LIMIT {
                return Err(AudioError::limit(format!(
                    "{format} must be read out of order and this pipe holds more than {} GiB of it; give a file instead",
                    SPOOL_LIMIT >> 30
                )));
            }
            file.write_all(part).map_err(wrong)?;
            let taken = part.len();
            self.consume(taken);
        }
        file.rewind().map_err(wrong)?;
        Ok(Self::new(Some(len), Raw::File(file)))
    }
}

fn open_path(path: &Path) -> Result<Input> {
    let wrong = |e| AudioError::io(path.display(), e);
    let file = File::open(path).map_err(wrong)?;
    let meta = file.metadata().map_err(wrong)?;
    if meta.is_dir() {
        return Err(AudioError::not_audio(format!("{} is a folder; name an audio file in it", path.display())));
    }
    // A named pipe or a device is read forwards only, whatever its name says.
    match meta.is_file() {
        true => Ok(Input::new(Some(meta.len()), Raw::File(file))),
        false => Ok(Input::new(None, Raw::Pipe(Mutex::new(Box::new(file))))),
    }
}

impl Read for Raw {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(out),
            Self::Bytes(cursor) => cursor.read(out),
            Self::Pipe(reader) => reader.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).read(out),
        }
    }
}

impl Read for Input {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let have = self.peek(out.len().clamp(1, BUFFER))?;
        let n = have.len().min(out.len());
        out[..n].copy_from_slice(&have[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl Seek for Input {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, by) = match to {
            SeekFrom::Start(pos) => (pos, 0),
            SeekFrom::Current(by) => (self.pos(), by),
            SeekFrom::End(by) => (self.len().ok_or_else(|| io::Error::other("the length is not known"))?, by),
        };
        let pos = from.checked_add_signed(by).ok_or_else(|| io::Error::other("a position before the start"))?;
        self.seek_start(pos)?;
        Ok(pos)
    }
}

/// An input for symphonia, which may be told to read it forwards only.
pub(crate) struct Forward {
    input: Input,
    only: bool,
    /// The length that the source should have, where that is more than it has.
    claimed: Option<u64>,
    tail: Tail,
}

impl Forward {
    pub(crate) fn new(input: Input, only: bool, claimed: Option<u64>) -> Self {
        Self { input, only, claimed, tail: Tail::default() }
    }

    /// Where the last bytes that were read are kept.
    pub(crate) fn tail(&self) -> Tail {
        self.tail.clone()
    }
}

impl Read for Forward {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(out)?;
        if self.only {
            self.tail.keep(&out[..n]);
        }
        Ok(n)
    }
}

impl Seek for Forward {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match (to, self.claimed) {
            (SeekFrom::End(by), Some(len)) => {
                let pos = len.checked_add_signed(by).ok_or_else(|| io::Error::other("a position before the start"))?;
                self.input.seek(SeekFrom::Start(pos))
            }
            _ => self.input.seek(to),
        }
    }
}

impl MediaSource for Forward {
    fn is_seekable(&self) -> bool {
        !self.only && self.input.can_seek()
    }

    fn byte_len(&self) -> Option<u64> {
        self.claimed.or(self.input.len()).filter(|_| !self.only)
    }
}
