//! Limits of the process: what it may take, and what it leaves behind when it dies.

use rustix::process::{Resource, Rlimit, setrlimit};
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::BorrowedFd;

/// How much sooner than others a worker is ended when memory runs out, of a thousand.
#[cfg(target_os = "linux")]
const VICTIM: i32 = 500;
/// Descriptors beside the model's files: standard ones, the socket, memory files with samples, what a backend opens.
#[cfg(target_os = "linux")]
const DESCRIPTORS: u64 = 128;

/// Most bytes of the first thread's stack beside the memory limit.
pub const STACK: u64 = 64 * 1024 * 1024;
/// Addresses beside the memory limit and the worker's own files: stacks of threads, what the C library reserves for each
/// of them, libraries, memory files with samples. So many that nothing sensible needs more, and few enough that the
/// kernel's own tables of them, which no limit counts, stay small: at most a five hundredth.
#[cfg(target_os = "linux")]
const ADDRESSES: u64 = 128 * 1024 * 1024 * 1024;

/// What holds with and without a sandbox: no core dumps, which take seconds and write prompts to the disk, the memory
/// limit of the manifest, and that the system ends this process before the one that it works for.
pub fn always(memory: Option<u64>) -> io::Result<()> {
    // Fails without harm: where /proc is not there, and where somebody has made it a better victim already.
    #[cfg(target_os = "linux")]
    become_victim();
    limit(Resource::Core, 0)?;
    memory.map_or(Ok(()), |bytes| {
        limit(Resource::Data, bytes)?;
        // The stack of the first thread is not counted there.
        if cfg!(target_os = "linux") { limit(Resource::Stack, STACK) } else { Ok(()) }
    })
}

/// What holds in a sandbox: no privileges by what it runs, no growing files, few descriptors, with a memory limit no
/// endless addresses, and no other process of the same user may look into it.
#[cfg(target_os = "linux")]
pub fn in_sandbox(files: &[BorrowedFd<'_>], memory: Option<u64>) -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    rustix::thread::set_no_new_privs(true)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Nofile, DESCRIPTORS + files.len() as u64)?;
    if let Some(bytes) = memory {
        let size = |file: &BorrowedFd<'_>| rustix::fs::fstat(file).map_or(0, |stat| stat.st_size.cast_unsigned());
        // A file may be mapped twice: once to look into it, and once to use it.
        let mapped = files.iter().map(size).fold(0, u64::saturating_add).saturating_mul(2);
        limit(Resource::As, bytes.saturating_add(mapped).saturating_add(ADDRESSES))?;
    }
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    // Nobody may ask for more than the limit that is there.
    let most = rustix::process::getrlimit(resource).maximum.map_or(most, |there| there.min(most));
    Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
}

#[cfg(target_os = "linux")]
fn become_victim() {
    const PATH: &str = "/proc/self/oom_score_adj";
    let now = std::fs::read_to_string(PATH).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if now.is_some_and(|now| now < VICTIM) {
        _ = std::fs::write(PATH, VICTIM.to_string());
    }
}
