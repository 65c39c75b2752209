//! Closing what a worker was not given: descriptors that the program around the engine left open for its children.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::RawFd;

/// Closes every descriptor that is not in `keep`.
pub fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut keep = keep.to_vec();
    keep.sort_unstable();
    keep.dedup();
    gaps(&keep).try_for_each(|(first, last)| close_range(first, last)).or_else(|_| close_listed(&keep))
}

/// First and last number of each run of numbers that are not in `keep`, which is sorted.
fn gaps(keep: &[RawFd]) -> impl Iterator<Item = (u32, u32)> {
    let starts = std::iter::once(0).chain(keep.iter().map(|number| number.cast_unsigned() + 1));
    let ends = keep.iter().map(|number| number.cast_unsigned().checked_sub(1)).chain([Some(u32::MAX)]);
    starts.zip(ends).filter_map(|(first, last)| last.filter(|last| first <= *last).map(|last| (first, last)))
}

#[cfg(target_os = "linux")]
fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: nothing in this process owns a descriptor but those that are kept: the main thread is alone, and has
    // opened no other.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0_u32) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(not(target_os = "linux"))]
fn close_range(_: u32, _: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// For systems that cannot close a range: Linux before 5.9, containers that forbid it, other Unix.
fn close_listed(keep: &[RawFd]) -> io::Result<()> {
    let listed: Vec<RawFd> = std::fs::read_dir("/dev/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| keep.binary_search(number).is_err())
        .collect();
    for number in listed {
        // SAFETY: as above. The list holds the descriptor that it was read with, which is closed already.
        unsafe { libc::close(number) };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_lies_between_the_gaps() {
        assert_eq!(gaps(&[0, 1, 2, 5, 9]).collect::<Vec<_>>(), [(3, 4), (6, 8), (10, u32::MAX)]);
        assert_eq!(gaps(&[3]).collect::<Vec<_>>(), [(0, 2), (4, u32::MAX)]);
        assert_eq!(gaps(&[]).collect::<Vec<_>>(), [(0, u32::MAX)]);
    }
}
