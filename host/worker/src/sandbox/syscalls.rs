//! Which system calls a worker may make: seccomp, an allow-list of what loading libraries, threads and computing need.
//! Everything else fails with EPERM: sockets, programs, other processes, files to write, memory files, namespaces.
//!
//! Two filters: one before the plugin's library is loaded, and one after it, which refuses memory that can be run.

#![allow(unsafe_code)]

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter, apply_filter_all_threads,
};
use std::collections::BTreeMap;
use std::ffi::c_int;

/// Calls that may be made with any arguments.
const FREE: &[libc::c_long] = &[
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_munlock,
    libc::SYS_munmap,
    // Files that are open, and what is known of those that are not.
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fstat,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
    // The connection to the engine.
    libc::SYS_ppoll,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_shutdown,
    // Threads. A second filter answers clone3, so that the C library falls back to clone.
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_gettid,
    libc::SYS_rseq,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    // Signals of its own.
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Time, chance, and what the process is.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_nanosleep,
    libc::SYS_sysinfo,
    libc::SYS_times,
    libc::SYS_uname,
];

/// The same in the forms that only this processor's Linux still has.
#[cfg(target_arch = "x86_64")]
const FREE_HERE: &[libc::c_long] =
    &[libc::SYS_access, libc::SYS_lstat, libc::SYS_poll, libc::SYS_readlink, libc::SYS_stat, libc::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const FREE_HERE: &[libc::c_long] = &[];

/// What opening for reading does not ask for.
const WRITING: c_int = libc::O_WRONLY
    | libc::O_RDWR
    | libc::O_CREAT
    | libc::O_TRUNC
    | libc::O_APPEND
    | (libc::O_TMPFILE & !libc::O_DIRECTORY);

/// What makes a new task a thread of this process.
const THREAD: c_int = libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM;
/// What a thread does not ask for.
const NEW_WORLD: c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_VFORK
    | libc::CLONE_PTRACE;

const WRITE: u64 = libc::PROT_WRITE as u64;
const EXECUTE: u64 = libc::PROT_EXEC as u64;

/// Flags of mmap: memory that is no file's, and memory that grows by itself.
const UNCOUNTED: u64 = (libc::MAP_ANONYMOUS | libc::MAP_GROWSDOWN) as u64;
/// The same and whose it is.
const KIND: u64 = UNCOUNTED | libc::MAP_TYPE as u64;
/// Flag of mremap: wherever the system likes.
const MOVING: u64 = libc::MREMAP_MAYMOVE as u64;
/// Memory that the limit of data counts, which neither shared memory nor a stack's is.
const PRIVATE: u64 = (libc::MAP_ANONYMOUS | libc::MAP_PRIVATE) as u64;

/// What the kernel leaves free below a stack, and more.
const BELOW_STACK: u64 = 16 * 1024 * 1024;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Built<T> = Result<T, seccompiler::BackendError>;

/// Restricts this thread, and every one that it will start. `limited`: there is a limit of memory.
///
/// # Errors
/// Why nothing was restricted.
pub fn restrict(limited: bool) -> Result<(), String> {
    let arch = arch()?;
    // Where the stack is not known nothing may be moved: the C library copies instead.
    let below = limited.then(|| below_stack().unwrap_or(0));
    let programs = first_filters(arch, below).map_err(|error| error.to_string())?;
    programs.iter().try_for_each(|program| apply_filter(program)).map_err(|error| reason(&error))
}

/// Refuses every thread of this process memory that can be run, and further filters. `before`: how many filters there
/// were before the plugin was loaded, where the kernel counts them.
///
/// # Errors
/// Why that cannot be.
pub fn refuse_new_code(before: Option<u32>) -> Result<(), String> {
    let program = second_filter(arch()?).map_err(|error| error.to_string())?;
    // A filter that the plugin put in before may answer in the kernel's place, and nothing is done.
    let are = |count: u32| before.is_none_or(|before| filters() == before.checked_add(count));
    let untouched = are(0);
    apply_filter_all_threads(&program).map_err(|error| reason(&error))?;
    let holds = untouched && are(1) && !can_map_code();
    holds.then_some(()).ok_or_else(|| "the plugin put in a filter of its own while it was loaded".to_owned())
}

/// How many filters the main thread has, where the kernel says so: since Linux 5.9.
pub fn filters() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:"))?.trim().parse().ok()
}

/// Whether memory that can be run is to be had.
fn can_map_code() -> bool {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
    const PAGE: usize = 4096;
    let access = ProtFlags::READ | ProtFlags::EXEC;
    // SAFETY: a new mapping, wherever the system likes; nobody uses it.
    let mapped = unsafe { mmap_anonymous(std::ptr::null_mut(), PAGE, access, MapFlags::PRIVATE) };
    // SAFETY: mapped above with this size.
    mapped.map(|page| unsafe { munmap(page, PAGE) }).is_ok()
}

/// An address below which the first thread's stack never reaches, and above which nothing but it lies that may be moved.
fn below_stack() -> Option<u64> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let (range, _) = maps.lines().find(|line| line.ends_with("[stack]"))?.split_once(' ')?;
    let end = u64::from_str_radix(range.split_once('-')?.1, 16).ok()?;
    end.checked_sub(super::limits::STACK + BELOW_STACK)
}

fn arch() -> Result<TargetArch, String> {
    // The tables above were made for these two.
    match std::env::consts::ARCH {
        name @ ("x86_64" | "aarch64") => TargetArch::try_from(name).map_err(|error| error.to_string()),
        other => Err(format!("Tenon has no list of system calls for {other}")),
    }
}

fn reason(error: &seccompiler::Error) -> String {
    match error {
        seccompiler::Error::Seccomp(error) | seccompiler::Error::Prctl(error) => {
            format!("the kernel does not take the filter, or a container forbids it: {error}")
        }
        other => other.to_string(),
    }
}

fn first_filters(arch: TargetArch, below: Option<u64>) -> Built<[BpfProgram; 2]> {
    // glibc and musl go on with clone only where clone3 does not exist.
    let missing = Rules::from([(libc::SYS_clone3, Vec::new())]);
    let missing = filter(missing, SeccompAction::Allow, errno(libc::ENOSYS), arch)?;
    let allowed = filter(allowed(below)?, errno(libc::EPERM), SeccompAction::Allow, arch)?;
    Ok([missing, allowed])
}

fn second_filter(arch: TargetArch) -> Built<BpfProgram> {
    let run = || bits(2, EXECUTE, EXECUTE);
    let refused = Rules::from([
        (libc::SYS_mmap, vec![rule([run()?])?]),
        (libc::SYS_mprotect, vec![rule([run()?])?]),
        (libc::SYS_seccomp, Vec::new()),
    ]);
    filter(refused, SeccompAction::Allow, errno(libc::EPERM), arch)
}

fn filter(rules: Rules, otherwise: SeccompAction, matched: SeccompAction, arch: TargetArch) -> Built<BpfProgram> {
    SeccompFilter::new(rules, otherwise, matched, arch)?.try_into()
}

fn errno(number: c_int) -> SeccompAction {
    SeccompAction::Errno(number.cast_unsigned())
}

/// `below`: where there is a limit of memory, the end of what may be moved.
fn allowed(below: Option<u64>) -> Built<Rules> {
    let mut rules: Rules = FREE.iter().chain(FREE_HERE).map(|call| (*call, Vec::new())).collect();
    let this_process = u64::from(std::process::id());
    // Writable or executable, never both: arguments of mmap and mprotect agree here.
    let access = || [0, WRITE, EXECUTE].into_iter().map(|some| bits(2, WRITE | EXECUTE, some));
    rules.insert(libc::SYS_mprotect, access().map(|access| rule([access?])).collect::<Built<_>>()?);
    // A file's memory, or what the limit of memory counts.
    let kinds = [(UNCOUNTED, 0), (KIND, PRIVATE)];
    let mappings =
        kinds.into_iter().flat_map(|(mask, flags)| access().map(move |access| rule([access?, bits(3, mask, flags)?])));
    rules.insert(libc::SYS_mmap, mappings.collect::<Built<_>>()?);
    // What is made of a piece of the stack grows as no limit counts. Moved is what lies elsewhere, to where the system
    // likes: to a place of the caller's choice several mappings could be moved at once, the stack among them.
    let moved = match below {
        Some(end) => vec![rule([below_address(0, end)?, bits(3, !MOVING, 0)?])?],
        None => Vec::new(),
    };
    rules.insert(libc::SYS_mremap, moved);
    rules.insert(libc::SYS_openat, vec![rule([bits(2, WRITING as u64, 0)?])?]);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, vec![rule([bits(1, WRITING as u64, 0)?])?]);
    rules.insert(libc::SYS_clone, vec![rule([bits(0, (THREAD | NEW_WORLD) as u64, THREAD as u64)?])?]);
    // abort() and raise(), for its own threads.
    rules.insert(libc::SYS_tgkill, vec![rule([is(0, this_process)?])?]);
    // Asking for limits, not setting them.
    rules.insert(libc::SYS_prlimit64, vec![rule([is(0, 0)?, is(2, 0)?])?]);
    rules.insert(libc::SYS_ioctl, one_of(1, &[libc::TCGETS])?);
    rules.insert(libc::SYS_fcntl, one_of(1, FCNTL)?);
    rules.insert(libc::SYS_prctl, one_of(0, PRCTL)?);
    rules.insert(libc::SYS_seccomp, one_of(0, &[libc::SECCOMP_SET_MODE_FILTER])?);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_arch_prctl, one_of(0, ARCH_PRCTL)?);
    Ok(rules)
}

const FCNTL: &[c_int] = &[
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_GET_SEALS,
];

/// Names of threads and of memory, and what the next filter asks for.
const PRCTL: &[c_int] = &[libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA, libc::PR_SET_NO_NEW_PRIVS];

/// Asking for the matrix registers (AMX): ARCH_GET_XCOMP_SUPP, ARCH_GET_XCOMP_PERM, ARCH_REQ_XCOMP_PERM.
#[cfg(target_arch = "x86_64")]
const ARCH_PRCTL: &[c_int] = &[0x1021, 0x1022, 0x1023];

fn one_of<T: TryInto<u64> + Copy>(argument: u8, values: &[T]) -> Built<Vec<SeccompRule>> {
    values.iter().map(|value| rule([word(argument, (*value).try_into().unwrap_or(u64::MAX))?])).collect()
}

fn rule<const N: usize>(conditions: [SeccompCondition; N]) -> Built<SeccompRule> {
    SeccompRule::new(conditions.into())
}

/// The whole argument is `value`.
fn is(argument: u8, value: u64) -> Built<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, value)
}

/// The whole argument is less than `end`.
fn below_address(argument: u8, end: u64) -> Built<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Lt, end)
}

/// The lower half of the argument, which is what the kernel looks at, is `value`.
fn word(argument: u8, value: u64) -> Built<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

/// Of the bits in `mask` the argument has those of `value`.
fn bits(argument: u8, mask: u64, value: u64) -> Built<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), value)
}
