//! Wakeups: how an event loop learns that a stream has something to read.

use crate::callback::{self, Data};
use host::Result;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Says that a stream has something to read. Called on any thread, one at a time. It must not wait for the thread that
/// reads the stream, which may be waiting for it. It may call `tenon_stream_cancel` and
/// nothing else of that stream; usually it posts to the program's own event loop.
pub type tenon_wakeup_fn = Option<unsafe extern "C-unwind" fn(data: *mut c_void)>;

/// The hooks of one stream.
#[derive(Default)]
pub(crate) struct Wakeup {
    function: Mutex<Option<(unsafe extern "C-unwind" fn(*mut c_void), Data)>>,
    pipe: OnceLock<Pipe>,
    silent: AtomicBool,
}

impl Wakeup {
    /// Replaces the function. Waits for a call of the old one that runs on another thread.
    pub(crate) fn set(&self, function: tenon_wakeup_fn, data: *mut c_void) {
        let hook = function.map(|function| (function, Data(data)));
        *self.function.lock().unwrap_or_else(PoisonError::into_inner) = hook;
    }

    /// Starts no more calls, without waiting for one that runs.
    pub(crate) fn silence(&self) {
        self.silent.store(true, Ordering::Release);
    }

    /// Tells the caller. The lock is held meanwhile, so that a function that was replaced is never called again.
    pub(crate) fn fire(&self) {
        if let Some(pipe) = self.pipe.get() {
            pipe.raise();
        }
        let hook = self.function.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((function, data)) = *hook
            && !self.silent.load(Ordering::Acquire)
        {
            // SAFETY: the caller gave the function for this, and takes it back before its pointer is no longer good.
            callback::inside(|| unsafe { function(data.pointer()) });
        }
    }

    /// The descriptor to watch, made at the first call.
    pub(crate) fn descriptor(&self) -> Result<i32> {
        let pipe = match self.pipe.get() {
            Some(pipe) => pipe,
            None => {
                let pipe = Pipe::new()?;
                self.pipe.get_or_init(|| pipe)
            }
        };
        Ok(pipe.number())
    }

    /// There was nothing to read.
    pub(crate) fn lower(&self) {
        if let Some(pipe) = self.pipe.get() {
            pipe.lower();
        }
    }
}

/// A pipe whose reading end is readable while there may be something to read.
#[cfg(unix)]
struct Pipe {
    reader: std::os::fd::OwnedFd,
    writer: std::os::fd::OwnedFd,
}

#[cfg(unix)]
impl Pipe {
    fn new() -> Result<Self> {
        let made = Self::open().map_err(|problem| {
            host::Error::new(host::ErrorKind::Io, format!("no descriptor for the stream: {problem}"))
        })?;
        Ok(made)
    }

    /// Both ends are closed by exec, and from their beginning where the system can do that.
    #[cfg(not(target_vendor = "apple"))]
    fn open() -> rustix::io::Result<Self> {
        use rustix::pipe::{PipeFlags, pipe_with};
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self { reader, writer })
    }

    #[cfg(target_vendor = "apple")]
    fn open() -> rustix::io::Result<Self> {
        let (reader, writer) = rustix::pipe::pipe()?;
        for end in [&reader, &writer] {
            rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
            let flags = rustix::fs::fcntl_getfl(end)?;
            rustix::fs::fcntl_setfl(end, flags | rustix::fs::OFlags::NONBLOCK)?;
        }
        Ok(Self { reader, writer })
    }

    fn number(&self) -> i32 {
        use std::os::fd::AsRawFd;
        self.reader.as_raw_fd()
    }

    /// A full pipe is readable already.
    fn raise(&self) {
        let _ = rustix::io::write(&self.writer, &[1]);
    }

    fn lower(&self) {
        let mut bytes = [0; 256];
        while matches!(rustix::io::read(&self.reader, &mut bytes), Ok(count) if count == bytes.len()) {}
    }
}

#[cfg(not(unix))]
struct Pipe;

#[cfg(not(unix))]
impl Pipe {
    fn new() -> Result<Self> {
        let message = "a stream has no descriptor on this system: use tenon_stream_set_wakeup";
        Err(host::Error::new(host::ErrorKind::Unsupported, message))
    }

    fn number(&self) -> i32 {
        -1
    }

    fn raise(&self) {}

    fn lower(&self) {}
}
