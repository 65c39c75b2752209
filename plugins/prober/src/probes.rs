//! The attempts. Their names are the choices of the option, so `tenon plugin info prober` lists them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    // What must work.
    /// Read the model's file when the model is opened.
    ReadModel,
    /// Read the model's file again, by the path of its descriptor.
    ReopenModel,
    /// Read /proc/cpuinfo.
    ReadCpuinfo,
    /// Read /proc/meminfo.
    ReadMeminfo,
    /// Read /proc/self/maps.
    ReadMaps,
    /// List the folder of the system's libraries.
    ListLibraries,
    /// Start a thread and wait for it.
    StartThread,
    /// Ask how many processors there are, and for how long the machine is up.
    AskMachine,
    /// Take and give back 64 MiB of memory.
    TakeMemory,
    /// Take memory that grows bit by bit to 64 MiB.
    GrowMemory,

    // Files. The text is a path.
    /// Read a file.
    ReadFile,
    /// Read a file through /proc/self/root.
    ReadThroughRoot,
    /// Read a file of the working folder through /proc/self/cwd.
    ReadThroughCwd,
    /// List a folder.
    ListFolder,
    /// Make a file in a folder.
    CreateFile,
    /// Make a file in the working folder.
    CreateInCwd,
    /// Empty a file by opening it for reading.
    TruncateByOpening,
    /// Remove a file that is not there.
    RemoveFile,
    /// Make a folder where there is one.
    MakeFolder,
    /// Make a symbolic link where there is something.
    MakeLink,
    /// Make shared memory with a name.
    ShmOpen,
    /// Open the model's file for writing.
    WriteModel,
    /// Mount something on a folder that is not there.
    Mount,
    /// Change the root folder to one that is not there.
    Chroot,

    // The network.
    /// Make a TCP socket.
    SocketTcp,
    /// Make a UDP socket.
    SocketUdp,
    /// Make a Unix socket.
    SocketUnix,
    /// Make a pair of Unix sockets.
    SocketPair,
    /// Make a netlink socket.
    SocketNetlink,
    /// Connect what is no socket.
    Connect,
    /// Bind what is no socket.
    Bind,

    // Programs and other processes. The text is a process id.
    /// Start a program by fork and exec.
    ForkExec,
    /// Start a program by posix_spawn.
    PosixSpawn,
    /// Run a program that is not there in the place of this one.
    Exec,
    /// Trace a process.
    Ptrace,
    /// Send a process a signal that does nothing.
    Kill,
    /// Send the thread of a process a signal that does nothing.
    Tgkill,
    /// Open the memory of a process.
    OpenMemory,
    /// Read the environment of a process.
    ReadEnviron,
    /// Read the memory of a process by process_vm_readv.
    ReadVm,
    /// Get a descriptor of a process.
    PidfdOpen,
    /// Choose the processors of a process.
    SetAffinity,
    /// Let signals of a descriptor go to a process.
    SetOwner,

    // The kernel.
    /// Make a memory file.
    MemfdCreate,
    /// Make an io_uring.
    IoUring,
    /// Handle page faults.
    Userfaultfd,
    /// Leave shared attributes of the process.
    Unshare,
    /// Enter a namespace behind a descriptor that is none.
    Setns,
    /// Load a BPF program.
    Bpf,
    /// Count events of the processor.
    PerfEvent,
    /// Put a system call in that only another binary interface has.
    OtherInterface,
    /// Let others look into this process.
    BecomeDumpable,
    /// Take more descriptors.
    RaiseLimit,
    /// Put in a further filter of system calls.
    Seccomp,
    /// Put a character into the terminal's input.
    PushTerminal,

    // Code.
    /// Take memory that can be written and run.
    MapWriteRun,
    /// Take memory that can be run.
    MapRun,
    /// Make memory that was written runnable.
    ProtectRun,

    // Memory that no limit counts.
    /// Take memory that is shared with whoever is forked.
    MapShared,
    /// Take memory that grows like a stack.
    MapGrowing,
    /// Make a page of the first thread's stack a larger piece of memory.
    GrowStack,
    /// Take so many addresses that the kernel's own tables of them are large.
    ReserveMuch,
}

#[cfg(not(target_os = "linux"))]
pub fn at_load() -> String {
    String::new()
}

#[cfg(not(target_os = "linux"))]
pub fn attempt(_: Probe, _: &str, _: Option<i32>) -> String {
    "no attempts on this system".to_owned()
}

#[cfg(target_os = "linux")]
pub use linux::{at_load, attempt};

#[cfg(target_os = "linux")]
mod linux {
    use super::Probe;
    use std::ffi::{CString, c_int, c_long};
    use std::fs::{self, File, OpenOptions};
    use std::io::{Error, Read, Result};
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    use std::os::unix::fs::OpenOptionsExt;
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::ptr::{null, null_mut};
    use std::sync::OnceLock;

    /// What the constructor tried, and what came of it.
    static AT_LOAD: OnceLock<String> = OnceLock::new();

    extern "C" fn constructor() {
        const ATTEMPTS: [(Probe, &str); 7] = [
            (Probe::ReadFile, "/etc/passwd"),
            (Probe::CreateFile, "/tmp"),
            (Probe::SocketTcp, ""),
            (Probe::SocketUnix, ""),
            (Probe::PosixSpawn, ""),
            (Probe::MemfdCreate, ""),
            (Probe::MapWriteRun, ""),
        ];
        let lines = ATTEMPTS.map(|(probe, text)| format!("{probe:?}: {}", attempt(probe, text, None)));
        // A constructor runs once.
        _ = AT_LOAD.set(lines.join("\n"));
        if std::env::var_os("TENON_PROBER").is_some_and(|wish| wish == "no-more-filters") {
            no_more_filters();
        }
    }

    /// Puts in a filter that answers every request for another with success, and does nothing.
    fn no_more_filters() {
        const SUCCESS: u32 = libc::SECCOMP_RET_ERRNO;
        let step =
            |code: u32, jump_false: u8, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: jump_false, k };
        let mut steps = [
            // The number of the call, which comes first.
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, libc::SYS_seccomp as u32),
            step(libc::BPF_RET | libc::BPF_K, 0, SUCCESS),
            step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
        // SAFETY: the program is live, and whatever comes of it, later calls are only refused or answered.
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    }

    #[used]
    #[unsafe(link_section = ".init_array")]
    static CONSTRUCTOR: extern "C" fn() = constructor;

    pub fn at_load() -> String {
        AT_LOAD.get().cloned().unwrap_or_else(|| "nothing ran at load".to_owned())
    }

    pub fn attempt(probe: Probe, text: &str, model: Option<i32>) -> String {
        match try_it(probe, text, model) {
            Ok(()) => "succeeded".to_owned(),
            Err(error) => format!("refused {}", name_of(&error)),
        }
    }

    fn name_of(error: &Error) -> String {
        match error.raw_os_error() {
            Some(libc::EPERM) => "EPERM".to_owned(),
            Some(libc::EACCES) => "EACCES".to_owned(),
            Some(libc::ENOSYS) => "ENOSYS".to_owned(),
            Some(libc::ENOENT) => "ENOENT".to_owned(),
            Some(libc::ENOMEM) => "ENOMEM".to_owned(),
            Some(number) => format!("errno {number}"),
            None => error.to_string(),
        }
    }

    fn try_it(probe: Probe, text: &str, model: Option<i32>) -> Result<()> {
        match probe {
            Probe::ReadModel
            | Probe::ReopenModel
            | Probe::ReadCpuinfo
            | Probe::ReadMeminfo
            | Probe::ReadMaps
            | Probe::ListLibraries
            | Probe::StartThread
            | Probe::AskMachine
            | Probe::TakeMemory
            | Probe::GrowMemory => needed(probe, model),
            Probe::ReadFile
            | Probe::ReadThroughRoot
            | Probe::ReadThroughCwd
            | Probe::ListFolder
            | Probe::CreateFile
            | Probe::CreateInCwd
            | Probe::TruncateByOpening
            | Probe::RemoveFile
            | Probe::MakeFolder
            | Probe::MakeLink
            | Probe::ShmOpen
            | Probe::WriteModel
            | Probe::Mount
            | Probe::Chroot => files(probe, text, model),
            Probe::SocketTcp
            | Probe::SocketUdp
            | Probe::SocketUnix
            | Probe::SocketPair
            | Probe::SocketNetlink
            | Probe::Connect
            | Probe::Bind => network(probe),
            Probe::ForkExec
            | Probe::PosixSpawn
            | Probe::Exec
            | Probe::Ptrace
            | Probe::Kill
            | Probe::Tgkill
            | Probe::OpenMemory
            | Probe::ReadEnviron
            | Probe::ReadVm
            | Probe::PidfdOpen
            | Probe::SetAffinity
            | Probe::SetOwner => processes(probe, text),
            Probe::MapWriteRun | Probe::MapRun | Probe::ProtectRun | Probe::MapShared | Probe::MapGrowing => {
                memory(probe)
            }
            Probe::GrowStack => grow_stack(),
            Probe::ReserveMuch => reserve_much(),
            _ => kernel(probe),
        }
    }

    fn needed(probe: Probe, model: Option<i32>) -> Result<()> {
        match probe {
            Probe::ReopenModel => read_some(&format!("/proc/self/fd/{}", model.unwrap_or(-1))),
            Probe::ReadCpuinfo => read_some("/proc/cpuinfo"),
            Probe::ReadMeminfo => read_some("/proc/meminfo"),
            Probe::ReadMaps => read_some("/proc/self/maps"),
            Probe::ListLibraries => list("/usr/lib"),
            Probe::StartThread => std::thread::Builder::new()
                .spawn(|| ())
                .and_then(|thread| thread.join().map_err(|_| Error::other("the thread panicked"))),
            Probe::AskMachine => {
                std::thread::available_parallelism()?;
                // SAFETY: all zero is a valid value, and the place for the answer is live.
                status(unsafe { libc::sysinfo(&mut std::mem::zeroed()) }.into())
            }
            _ => {
                let memory = match probe {
                    Probe::GrowMemory => grown(),
                    _ => std::hint::black_box(vec![1_u8; 64 << 20]),
                };
                match memory.iter().step_by(4096).all(|byte| *byte == 1) {
                    true => Ok(()),
                    false => Err(Error::other("the memory holds something else")),
                }
            }
        }
    }

    /// 64 MiB that began as 1 MiB, which the C library makes larger where it lies, or elsewhere.
    fn grown() -> Vec<u8> {
        let mut memory = Vec::new();
        for size in 1_usize..=64 {
            memory.reserve_exact((size << 20) - memory.len());
            memory.resize(size << 20, 1);
        }
        std::hint::black_box(memory)
    }

    fn files(probe: Probe, text: &str, model: Option<i32>) -> Result<()> {
        match probe {
            Probe::ReadFile => read_some(text),
            Probe::ReadThroughRoot => read_some(&format!("/proc/self/root{text}")),
            Probe::ReadThroughCwd => read_some(&format!("/proc/self/cwd/{text}")),
            Probe::ListFolder => list(text),
            Probe::CreateFile => create(Path::new(text)),
            Probe::CreateInCwd => create(Path::new("")),
            Probe::TruncateByOpening => {
                let path = c_text(text);
                // SAFETY: the path is NUL-terminated.
                owned(unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_TRUNC | libc::O_CLOEXEC) })
            }
            Probe::RemoveFile => fs::remove_file(text),
            Probe::MakeFolder => fs::create_dir(text),
            Probe::MakeLink => std::os::unix::fs::symlink("anywhere", text),
            Probe::ShmOpen => create(Path::new("/dev/shm")),
            Probe::WriteModel => {
                let path = format!("/proc/self/fd/{}", model.unwrap_or(-1));
                OpenOptions::new().read(true).write(true).open(path).map(drop)
            }
            Probe::Mount => {
                let (kind, place) = (c_text("tmpfs"), c_text(text));
                // SAFETY: the texts are NUL-terminated; no further data.
                status(unsafe { libc::mount(kind.as_ptr(), place.as_ptr(), kind.as_ptr(), 0, null()) }.into())
            }
            _ => std::os::unix::fs::chroot(text),
        }
    }

    fn network(probe: Probe) -> Result<()> {
        let socket = |family, kind| {
            // SAFETY: makes a descriptor.
            owned(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) })
        };
        // SAFETY: all zero is an address, and its size is its own.
        let address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
        let (place, length) = (std::ptr::from_ref(&address).cast(), size_of_val(&address) as u32);
        match probe {
            Probe::SocketTcp => socket(libc::AF_INET, libc::SOCK_STREAM),
            Probe::SocketUdp => socket(libc::AF_INET, libc::SOCK_DGRAM),
            Probe::SocketUnix => socket(libc::AF_UNIX, libc::SOCK_STREAM),
            Probe::SocketNetlink => socket(libc::AF_NETLINK, libc::SOCK_RAW),
            Probe::SocketPair => std::os::unix::net::UnixStream::pair().map(drop),
            // SAFETY: the address is live, and descriptor −1 is none.
            Probe::Connect => status(unsafe { libc::connect(-1, place, length) }.into()),
            // SAFETY: as above.
            _ => status(unsafe { libc::bind(-1, place, length) }.into()),
        }
    }

    fn processes(probe: Probe, text: &str) -> Result<()> {
        let other: libc::pid_t = text.parse().unwrap_or(libc::pid_t::MAX);
        match probe {
            Probe::ForkExec => fork_exec(),
            Probe::PosixSpawn => Command::new("/bin/true").stdin(Stdio::null()).status().map(drop),
            Probe::Exec => {
                let path = c_text("/nowhere/at/all");
                let arguments = [path.as_ptr(), null()];
                // SAFETY: path and arguments are NUL-terminated.
                status(unsafe { libc::execv(path.as_ptr(), arguments.as_ptr()) }.into())
            }
            Probe::Ptrace => {
                // SAFETY: takes numbers; the other process goes on.
                status(unsafe { libc::ptrace(libc::PTRACE_SEIZE, other, null_mut::<u8>(), null_mut::<u8>()) })
            }
            // SAFETY: takes numbers.
            Probe::Kill => status(unsafe { libc::kill(other, 0) }.into()),
            Probe::Tgkill => call(libc::SYS_tgkill, [other.into(), other.into(), 0, 0]),
            Probe::OpenMemory => File::open(format!("/proc/{other}/mem")).map(drop),
            Probe::ReadEnviron => read_some(&format!("/proc/{other}/environ")),
            Probe::ReadVm => call(libc::SYS_process_vm_readv, [other.into(), 0, 0, 0]),
            // SAFETY: makes a descriptor.
            Probe::PidfdOpen => owned(unsafe { libc::syscall(libc::SYS_pidfd_open, other, 0) } as c_int),
            Probe::SetAffinity => {
                // SAFETY: all zero is a valid set, filled by the first call and read by the second.
                status(unsafe {
                    let mut set: libc::cpu_set_t = std::mem::zeroed();
                    libc::sched_getaffinity(0, size_of_val(&set), &mut set);
                    libc::sched_setaffinity(other, size_of_val(&set), &set).into()
                })
            }
            // SAFETY: takes numbers.
            _ => status(unsafe { libc::fcntl(2, libc::F_SETOWN, other) }.into()),
        }
    }

    fn fork_exec() -> Result<()> {
        let path = c_text("/bin/true");
        let arguments = [path.as_ptr(), null()];
        // SAFETY: the child calls exec or ends, nothing else.
        match unsafe { libc::fork() } {
            -1 => Err(Error::last_os_error()),
            // SAFETY: path and arguments are NUL-terminated.
            0 => unsafe {
                libc::execv(path.as_ptr(), arguments.as_ptr());
                libc::_exit(1)
            },
            child => {
                // SAFETY: waits for the own child.
                status(unsafe { libc::waitpid(child, null_mut(), 0) }.into())
            }
        }
    }

    fn kernel(probe: Probe) -> Result<()> {
        // SAFETY: makes descriptors, of which none is kept, or takes numbers.
        unsafe {
            match probe {
                Probe::MemfdCreate => owned(libc::memfd_create(c"probe".as_ptr(), libc::MFD_CLOEXEC)),
                Probe::IoUring => {
                    let mut parameters = [0_u8; 120];
                    owned(libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) as c_int)
                }
                // Flag 1: for faults of the program alone, which everybody may handle.
                Probe::Userfaultfd => owned(libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | 1) as c_int),
                Probe::Unshare => status(libc::unshare(libc::CLONE_FS).into()),
                Probe::Setns => status(libc::setns(-1, 0).into()),
                Probe::Bpf => call(libc::SYS_bpf, [-1, 0, 0, 0]),
                Probe::PerfEvent => call(libc::SYS_perf_event_open, [0, 0, -1, -1]),
                Probe::OtherInterface => call(0x4000_0000 | libc::SYS_getpid, [0; 4]),
                Probe::BecomeDumpable => status(libc::prctl(libc::PR_SET_DUMPABLE, 1).into()),
                Probe::RaiseLimit => raise_limit(),
                Probe::Seccomp => call(libc::SYS_seccomp, [libc::SECCOMP_SET_MODE_FILTER.into(), 0, 0, 0]),
                _ => status(libc::ioctl(2, libc::TIOCSTI, c"x".as_ptr()).into()),
            }
        }
    }

    /// Sets the limit of descriptors to what it is.
    fn raise_limit() -> Result<()> {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the place for the answer is live.
        status(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }.into())?;
        // SAFETY: as above.
        status(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }.into())
    }

    fn memory(probe: Probe) -> Result<()> {
        let (write, run) = (libc::PROT_READ | libc::PROT_WRITE, libc::PROT_READ | libc::PROT_EXEC);
        let first = match probe {
            Probe::MapWriteRun => write | run,
            Probe::MapRun => run,
            _ => write,
        };
        let kind = match probe {
            Probe::MapShared => libc::MAP_SHARED,
            Probe::MapGrowing => libc::MAP_PRIVATE | libc::MAP_GROWSDOWN,
            _ => libc::MAP_PRIVATE,
        };
        // SAFETY: a mapping of its own, given back below.
        unsafe {
            let page = libc::mmap(null_mut(), 4096, first, kind | libc::MAP_ANONYMOUS, -1, 0);
            if page == libc::MAP_FAILED {
                return Err(Error::last_os_error());
            }
            let result = match probe {
                Probe::ProtectRun => status(libc::mprotect(page, 4096, run).into()),
                _ => Ok(()),
            };
            libc::munmap(page, 4096);
            result
        }
    }

    /// Of the lowest page of the stack, which nobody uses as long as what lies above it is deep enough.
    fn grow_stack() -> Result<()> {
        const PAGE: usize = 4096;
        const LARGER: usize = 1 << 20;
        // Where this is the first thread its stack is deeper after this than it is now.
        std::hint::black_box([1_u8; 64 * PAGE]);
        let maps = fs::read_to_string("/proc/self/maps")?;
        let stack = maps.lines().find(|line| line.ends_with("[stack]")).and_then(|line| line.split_once('-'));
        let lowest = stack.and_then(|(start, _)| usize::from_str_radix(start, 16).ok());
        let lowest = lowest.ok_or_else(|| Error::other("no stack is listed"))?;
        // SAFETY: nothing lies in this page, and the stack grows again when it is needed; given back below.
        unsafe {
            let larger = libc::mremap(lowest as *mut libc::c_void, PAGE, LARGER, libc::MREMAP_MAYMOVE);
            if larger == libc::MAP_FAILED {
                return Err(Error::last_os_error());
            }
            status(libc::munmap(larger, LARGER).into())
        }
    }

    fn reserve_much() -> Result<()> {
        const MUCH: usize = 1 << 40;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a mapping of its own that nobody looks into, given back.
        unsafe {
            let much = libc::mmap(null_mut(), MUCH, libc::PROT_READ, kind, -1, 0);
            if much == libc::MAP_FAILED {
                return Err(Error::last_os_error());
            }
            status(libc::munmap(much, MUCH).into())
        }
    }

    fn read_some(path: &str) -> Result<()> {
        File::open(path)?.read_exact(&mut [0])
    }

    fn list(path: &str) -> Result<()> {
        fs::read_dir(path)?.next().map_or(Ok(()), |entry| entry.map(drop))
    }

    /// Makes a file in a folder, and removes it.
    fn create(folder: &Path) -> Result<()> {
        let path = folder.join(format!("tenon-prober-{}", std::process::id()));
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        fs::remove_file(path)
    }

    fn c_text(text: &str) -> CString {
        CString::new(text).unwrap_or_default()
    }

    /// A raw system call. A negative result is an error.
    fn call(number: c_long, [a, b, c, d]: [c_long; 4]) -> Result<()> {
        // SAFETY: the calls that are made this way get numbers and no pointers but NULL.
        status(unsafe { libc::syscall(number, a, b, c, d) })
    }

    fn status(result: c_long) -> Result<()> {
        if result < 0 { Err(Error::last_os_error()) } else { Ok(()) }
    }

    /// A descriptor that was made: closed again.
    fn owned(number: c_int) -> Result<()> {
        status(number.into())?;
        // SAFETY: the descriptor was just made, and nobody else has it.
        let made = unsafe { OwnedFd::from_raw_fd(number) };
        debug_assert_eq!(made.as_raw_fd(), number);
        Ok(())
    }
}
