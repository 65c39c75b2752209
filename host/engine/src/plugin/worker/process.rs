//! A worker's process: started without a step between fork and exec, signalled and waited for by its descriptor.

use rustix::process::Signal;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Variables of this process that workers see, where it has them. Nothing else: what a plugin is, its hash says, and
/// secrets of this process are none of its business.
const INHERITED: [&str; 3] = ["LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "RUST_BACKTRACE"];
/// Variables that every worker has. Without this one, an assertion of ggml starts a debugger on the dying process.
const GIVEN: [(&str, &str); 1] = [("GGML_NO_BACKTRACE", "1")];

/// A process that was started and is waited for once.
pub(super) struct Process {
    pid: u32,
    child: Mutex<Waited>,
    /// Names the process even when its number was given to another.
    #[cfg(target_os = "linux")]
    handle: Option<OwnedFd>,
}

struct Waited {
    child: Child,
    exit: Option<Exit>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Exit {
    /// With this status.
    Status(ExitStatus),
    /// Somebody else took its status.
    Unknown,
}

impl Process {
    /// Starts `program` with `socket` as its standard input. Its standard error can be read from what comes back.
    pub fn spawn(program: &Path, socket: OwnedFd, environment: &[(String, String)]) -> io::Result<(Self, ChildStderr)> {
        use std::os::unix::process::CommandExt;
        let inherited = INHERITED.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        let mut child = Command::new(program)
            .stdin(Stdio::from(socket))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .env_clear()
            .envs(inherited)
            .envs(GIVEN)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            // Not in the terminal's foreground group: what is typed there is for this process to answer.
            .process_group(0)
            .spawn()?;
        let stderr = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let pid = child.id();
        #[cfg(target_os = "linux")]
        let handle =
            rustix::process::pidfd_open(rustix::process::Pid::from_child(&child), rustix::process::PidfdFlags::empty())
                .ok();
        Ok((
            Self {
                pid,
                child: Mutex::new(Waited { child, exit: None }),
                #[cfg(target_os = "linux")]
                handle,
            },
            stderr,
        ))
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Becomes readable when the process ends, where the system has such a thing.
    #[cfg(target_os = "linux")]
    pub fn handle(&self) -> Option<&OwnedFd> {
        self.handle.as_ref()
    }

    /// As above: nowhere but on Linux.
    #[cfg(not(target_os = "linux"))]
    pub fn handle(&self) -> Option<&OwnedFd> {
        None
    }

    /// How it ended, if it has. Takes its status, so that nothing of it is left in the system.
    pub fn exited(&self) -> Option<Exit> {
        let mut waited = self.lock();
        if waited.exit.is_none() {
            waited.exit = match waited.child.try_wait() {
                Ok(status) => status.map(Exit::Status),
                // Nobody's child any more: the program waits for all of its children, or ignores that they end.
                Err(_) => Some(Exit::Unknown),
            };
        }
        waited.exit
    }

    /// Sends a signal, unless it has ended.
    pub fn signal(&self, signal: Signal) {
        let waited = self.lock();
        if waited.exit.is_some() {
            return;
        }
        #[cfg(target_os = "linux")]
        if let Some(handle) = &self.handle {
            // Fails only where it has ended already.
            _ = rustix::process::pidfd_send_signal(handle, signal);
            return;
        }
        // Not waited for yet, so the number is still its own.
        _ = rustix::process::kill_process(rustix::process::Pid::from_child(&waited.child), signal);
    }

    fn lock(&self) -> MutexGuard<'_, Waited> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same file with a place to read at of its own, so that no two workers move each other's; where the system cannot
/// do that, the place is shared.
pub(super) fn own_copy(file: &File) -> io::Result<File> {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        if let Ok(copy) = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())) {
            return Ok(copy);
        }
    }
    file.try_clone()
}
