//! Frames over a Unix socket, with descriptors.

use crate::code::{self, too_many_descriptors};
use crate::{Error, Message, Order, Reply, Result, limits};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, Shutdown, recvmsg, sendmsg,
};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How much is read at once, and what a buffer keeps.
const CHUNK: usize = 64 * 1024;
/// Bytes of a frame's length.
const LENGTH: usize = 4;
/// Fewest bytes behind the length: type and call.
const HEAD: usize = 5;

/// One end of a connection: sends `S`, receives `R`. The engine has a `Link<Order, Reply>`, the worker the other.
pub struct Link<S, R> {
    socket: OwnedFd,
    messages: PhantomData<fn(S) -> R>,
}

impl Link<Order, Reply> {
    /// The engine's end, and the descriptor that becomes the worker's.
    ///
    /// # Errors
    /// When the system gives no socket pair.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socket_pair()?;
        Ok((Self::from(ours), theirs))
    }
}

impl<S, R> From<OwnedFd> for Link<S, R> {
    /// The end whose descriptor this is: a connected stream socket.
    fn from(socket: OwnedFd) -> Self {
        // What `NOSIGNAL` says elsewhere; without it a peer that is gone is a signal, which ends the process.
        #[cfg(target_vendor = "apple")]
        rustix::net::sockopt::set_socket_nosigpipe(&socket, true).expect("it is a socket");
        Self { socket, messages: PhantomData }
    }
}

impl<S: Message, R: Message> Link<S, R> {
    /// The two directions, for different threads. The connection is open until both are gone.
    pub fn split(self) -> (Sender<S>, Receiver<R>) {
        let socket = Arc::new(self.socket);
        let sender =
            Sender { socket: Arc::clone(&socket), out: Mutex::default(), timeout: None, messages: PhantomData };
        let receiver =
            Receiver { socket, bytes: Vec::new(), start: 0, end: 0, files: VecDeque::new(), messages: PhantomData };
        (sender, receiver)
    }
}

/// Sends whole frames, from any thread.
pub struct Sender<M> {
    socket: Arc<OwnedFd>,
    out: Mutex<Out>,
    timeout: Option<Duration>,
    messages: PhantomData<fn(M)>,
}

#[derive(Default)]
struct Out {
    frame: Vec<u8>,
    /// A frame may have been cut: nothing more may follow it.
    broken: bool,
}

impl<M: Message> Sender<M> {
    /// Waits at most this long until the other side has taken a frame. Without it, for ever.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends a frame, in one piece with its descriptors.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::Unsent`] leave the link as it was. After every other error nothing more can be
    /// sent.
    pub fn send(&self, message: &M) -> Result<()> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let Out { frame, broken } = &mut *out;
        if *broken {
            return Err(Error::Closed);
        }
        frame.clear();
        frame.extend([0; LENGTH]);
        let files = code::encode_to(message, frame)?;
        let length = (frame.len() - LENGTH) as u32;
        frame[..LENGTH].copy_from_slice(&length.to_le_bytes());
        let sent = self.transmit(frame, &files);
        *broken = sent.as_ref().is_err_and(|error| !matches!(error, Error::Unsent(_)));
        if frame.capacity() > 4 * CHUNK {
            *frame = Vec::new();
        }
        sent
    }

    /// Closes the connection both ways: the other side and the own receiver see its end.
    pub fn shutdown(&self) {
        // Fails only where it is closed already.
        _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }

    fn transmit(&self, mut bytes: &[u8], files: &[&File]) -> Result<()> {
        let deadline = self.timeout.map(|timeout| Instant::now() + timeout);
        let mut files: Vec<BorrowedFd<'_>> = files.iter().map(|file| file.as_fd()).collect();
        let whole = bytes.len();
        while !bytes.is_empty() {
            match self.transmit_some(bytes, &files, deadline.is_some()) {
                Ok(count) => {
                    bytes = &bytes[count..];
                    files.clear();
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if !wait(self.socket.as_fd(), PollFlags::OUT, deadline)? {
                        return Err(Error::Stalled(self.timeout.unwrap_or_default()));
                    }
                }
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => return Err(Error::Closed),
                Err(error) if bytes.len() == whole => return Err(Error::Unsent(error.into())),
                Err(error) => return Err(Error::Io(error.into())),
            }
        }
        Ok(())
    }

    fn transmit_some(&self, bytes: &[u8], files: &[BorrowedFd<'_>], at_once: bool) -> rustix::io::Result<usize> {
        let mut flags = SendFlags::empty();
        #[cfg(not(target_vendor = "apple"))]
        flags.insert(SendFlags::NOSIGNAL);
        flags.set(SendFlags::DONTWAIT, at_once);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(limits::DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(Errno::INVAL);
        }
        sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, flags)
    }
}

/// What [`Receiver::receive`] got.
#[derive(Debug)]
pub enum Received<M> {
    /// A whole frame.
    Message(M),
    /// The other side is gone, at the end of a frame.
    Closed,
    /// Nothing came in time.
    Timeout,
}

/// Receives whole frames.
pub struct Receiver<M> {
    socket: Arc<OwnedFd>,
    /// What came and was not decoded yet is at `start..end`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Descriptors that came and whose frame was not decoded yet.
    files: VecDeque<File>,
    messages: PhantomData<fn() -> M>,
}

enum Filled {
    Some,
    End,
    Timeout,
}

impl<M: Message> Receiver<M> {
    /// The next frame. Waits for it, at most as long as `timeout` says.
    ///
    /// # Errors
    /// [`Error::Garbage`] and [`Error::Cut`]: what comes behind is of no more use.
    pub fn receive(&mut self, timeout: Option<Duration>) -> Result<Received<M>> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if let Some(message) = self.next()? {
                return Ok(Received::Message(message));
            }
            match self.fill(deadline)? {
                Filled::Some => {}
                Filled::Timeout => return Ok(Received::Timeout),
                Filled::End if self.start == self.end => return Ok(Received::Closed),
                Filled::End => return Err(Error::Cut),
            }
        }
    }

    /// Whether [`receive`](Self::receive) has a frame, or an error, without reading from the socket: whoever polls the
    /// descriptor must look here first.
    pub fn is_ready(&self) -> bool {
        !matches!(self.frame(), Ok(None))
    }

    /// The length of the next frame, when the whole of it is here.
    fn frame(&self) -> Result<Option<usize>> {
        let waiting = &self.bytes[self.start..self.end];
        let Some((length, rest)) = waiting.split_first_chunk() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        match (HEAD..=limits::FRAME).contains(&length) {
            true => Ok(Some(length).filter(|length| *length <= rest.len())),
            false => {
                let most = limits::FRAME;
                Err(Error::Garbage(format!("a frame of {length} bytes; it has {HEAD} to {most}")))
            }
        }
    }

    /// Decodes the next frame when the whole of it is here.
    fn next(&mut self) -> Result<Option<M>> {
        let Some(length) = self.frame()? else { return Ok(None) };
        let begin = self.start + LENGTH;
        let message = code::decode_from(&self.bytes[begin..begin + length], &mut self.files)?;
        self.start = begin + length;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if !self.files.is_empty() {
                return Err(too_many_descriptors());
            }
            if self.bytes.len() > 4 * CHUNK {
                self.bytes = Vec::new();
            }
        }
        Ok(Some(message))
    }

    /// Reads what is there, or waits for something.
    fn fill(&mut self, deadline: Option<Instant>) -> Result<Filled> {
        self.make_room();
        loop {
            match self.fill_some(deadline.is_some()) {
                Ok(0) => return Ok(Filled::End),
                Ok(count) => {
                    self.end += count;
                    return Ok(Filled::Some);
                }
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !wait(self.socket.as_fd(), PollFlags::IN, deadline)? {
                        return Ok(Filled::Timeout);
                    }
                }
                // It closed its end while frames of ours were not read yet.
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(Filled::End),
                Err(error) => return Err(error),
            }
        }
    }

    /// Room grows with what came, never with what a length promises.
    fn make_room(&mut self) {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.bytes.len() - self.end < CHUNK / 2 {
            self.bytes.resize(self.end + self.end.max(CHUNK), 0);
        }
    }

    fn fill_some(&mut self, at_once: bool) -> Result<usize> {
        let mut flags = RecvFlags::empty();
        #[cfg(not(target_vendor = "apple"))]
        flags.insert(RecvFlags::CMSG_CLOEXEC);
        flags.set(RecvFlags::DONTWAIT, at_once);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(limits::DESCRIPTORS))];
        // Without room for them the system closes descriptors that nobody asked for.
        let room = if M::DESCRIPTORS { space.len() } else { 0 };
        let mut control = RecvAncillaryBuffer::new(&mut space[..room]);
        let into = &mut self.bytes[self.end..];
        let got = recvmsg(&self.socket, &mut [IoSliceMut::new(into)], &mut control, flags).map_err(io::Error::from)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                self.files.extend(files.map(File::from));
            }
        }
        #[cfg(target_vendor = "apple")]
        for file in &self.files {
            rustix::io::fcntl_setfd(file, rustix::io::FdFlags::CLOEXEC).map_err(io::Error::from)?;
        }
        // Those of a frame that is not whole yet, and those of the one behind it.
        if got.flags.contains(ReturnFlags::CTRUNC) || self.files.len() > 2 * limits::DESCRIPTORS {
            return Err(too_many_descriptors());
        }
        Ok(got.bytes)
    }
}

impl<M> AsFd for Receiver<M> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Waits until the socket is ready; says whether it was before the deadline.
fn wait(socket: BorrowedFd<'_>, what: PollFlags, deadline: Option<Instant>) -> Result<bool> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 }));
        match poll(&mut [PollFd::from_borrowed_fd(socket, what)], timeout.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(Error::Io(error.into())),
        }
    }
}

#[cfg(not(target_vendor = "apple"))]
fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

#[cfg(target_vendor = "apple")]
fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    Ok((ours.into(), theirs.into()))
}
