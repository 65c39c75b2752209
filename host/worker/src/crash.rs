//! What a worker still does when it crashes: one line for people and for the engine, and the end of the connection, so
//! that the engine need not wait until the system has taken the memory down.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

/// Signals that end a process which did something wrong.
const SIGNALS: [c_int; 6] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGTRAP];

/// The connection to the engine.
static SOCKET: AtomicI32 = AtomicI32::new(-1);
/// How much must be left under the memory limit for it not to be the reason of a crash; 0 without a limit.
static ROOM: AtomicUsize = AtomicUsize::new(0);

/// A thread crashed: the signal ends the process, and nothing else may do that before.
static CRASHED: AtomicBool = AtomicBool::new(false);

/// Sees to it that crashes are told, and that a ^C in the engine's terminal, and the end of that terminal, are for the
/// engine to decide on. Threads of Rust have stacks of their own for signals; on others a crash for want of stack just
/// ends the process.
pub fn install(socket: RawFd) {
    SOCKET.store(socket, Ordering::Relaxed);
    unblock();
    for signal in SIGNALS {
        // The default comes back when the handler begins, so that the signal, raised again, ends the process.
        let flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESETHAND | libc::SA_NODEFER;
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = crashed;
        dispose(signal, handler as libc::sighandler_t, flags);
    }
    for signal in [libc::SIGINT, libc::SIGHUP] {
        dispose(signal, libc::SIG_IGN, 0);
    }
    // Whoever started the engine may have had it ignored.
    dispose(libc::SIGTERM, libc::SIG_DFL, 0);
    // A regular file as standard error: writing to it shall fail where files may not grow, not end the process.
    dispose(libc::SIGXFSZ, libc::SIG_IGN, 0);
}

/// Tells crashes about the memory limit, bytes.
pub fn limited(limit: u64) {
    let room = (limit / 16).clamp(1 << 20, 64 << 20);
    ROOM.store(room as usize, Ordering::Relaxed);
}

/// Ends the process at once: no destructors, which a plugin may have brought. While the process crashes this just
/// waits, for the crash closes the connection, which other threads take for the end.
pub fn exit(code: c_int) -> ! {
    while CRASHED.load(Ordering::Acquire) {
        std::thread::park();
    }
    // SAFETY: always safe to call.
    unsafe { libc::_exit(code) }
}

/// The thread of the engine that started this process may have blocked signals, which is inherited.
fn unblock() {
    let mut none = MaybeUninit::uninit();
    // SAFETY: the set is written before it is read. Neither call can fail with these arguments.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

fn dispose(signal: c_int, handler: libc::sighandler_t, flags: c_int) {
    // SAFETY: all zero is a valid value; the fields that matter are set below.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: the handler does only what may be done in a signal handler. Cannot fail for these signals.
    unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
}

/// Everything in here may be done in a signal handler: system calls and arithmetic.
extern "C" fn crashed(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    CRASHED.store(true, Ordering::Release);
    if is_out_of_memory() {
        Line::new().text(b"tenon-worker: crash memory-limit\n").write();
    }
    let mut line = Line::new();
    line.text(b"tenon-worker: crash signal=").number(signal.unsigned_abs() as usize, 10);
    if signal != libc::SIGABRT {
        // SAFETY: the system passes what is known of the signal, which for these has an address.
        line.text(b" address=0x").number(unsafe { (*info).si_addr() }.addr(), 16);
    }
    line.text(b"\n").write();
    // SAFETY: system calls on numbers.
    unsafe {
        libc::shutdown(SOCKET.load(Ordering::Relaxed), libc::SHUT_RDWR);
        libc::raise(signal);
        libc::_exit(128 + signal);
    }
}

/// Whether there is a memory limit and nearly nothing left under it.
fn is_out_of_memory() -> bool {
    let room = ROOM.load(Ordering::Relaxed);
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANON);
    // SAFETY: a new mapping of memory, wherever the system likes; nobody uses it.
    room > 0 && unsafe { libc::mmap(std::ptr::null_mut(), room, access, kind, -1, 0) } == libc::MAP_FAILED
}

/// A line that is put together without allocating.
struct Line {
    bytes: [u8; 96],
    length: usize,
}

impl Line {
    fn new() -> Self {
        Self { bytes: [0; 96], length: 0 }
    }

    fn text(&mut self, text: &[u8]) -> &mut Self {
        for byte in text {
            if let Some(place) = self.bytes.get_mut(self.length) {
                *place = *byte;
                self.length += 1;
            }
        }
        self
    }

    /// No recursion: there is little stack for signals.
    fn number(&mut self, number: usize, base: usize) -> &mut Self {
        let mut power = 1;
        while number / power >= base {
            power *= base;
        }
        while power > 0 {
            self.text(&[b"0123456789abcdef"[number / power % base]]);
            power /= base;
        }
        self
    }

    fn write(&self) {
        // SAFETY: writes bytes that live on.
        unsafe { libc::write(libc::STDERR_FILENO, self.bytes.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &Line) -> &str {
        std::str::from_utf8(&line.bytes[..line.length]).unwrap()
    }

    #[test]
    fn a_line_holds_numbers_and_is_cut_where_it_is_full() {
        assert_eq!(
            text(Line::new().number(0, 10).text(b" ").number(4096, 16).text(b" ").number(170, 10)),
            "0 1000 170"
        );
        assert_eq!(text(Line::new().number(usize::MAX, 16)), "f".repeat(size_of::<usize>() * 2));
        assert_eq!(text(Line::new().text(&[b'x'; 200])).len(), 96);
    }
}
