//! Room on the disk. A build that runs out of it ends in a linker's crash that says nothing of the cause.

use crate::process::{command, root};

/// What checks, builds and tests leave in target/ and in the folder for temporary files, from nothing.
pub const FOR_TESTS: u64 = 7 << 30;
/// What the program and the plugins take in target/, from nothing.
pub const FOR_BUILD: u64 = 2 << 30;

/// Warns where less is free than a task takes from nothing. No refusal: what is built already takes none of it again.
pub fn warn_below(needed: u64) {
    if let Some(free) = free().filter(|free| *free < needed) {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        eprintln!(
            "set-up: {:.1} GiB are free on the disk of {}, and this takes up to {:.0} GiB from nothing: make room if it \
             ends with \"No space left on device\" or a linker that crashes",
            gib(free),
            root().display(),
            gib(needed)
        );
    }
}

/// What is free on the checkout's disk, in bytes, where the system has `df`.
fn free() -> Option<u64> {
    let output = command("df").args(["-P", "-k"]).arg(root()).output().ok()?;
    free_of(&String::from_utf8_lossy(&output.stdout))
}

/// The fourth column of what `df -P -k` says of one file system, in bytes.
fn free_of(said: &str) -> Option<u64> {
    let kibibytes: u64 = said.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::free_of;

    #[test]
    fn what_is_free_is_read_from_the_portable_format_of_df() {
        let said = "Filesystem     1024-blocks     Used Available Capacity Mounted on\n\
                    /dev/vda         263174212 28819384  67318020      30% /\n";
        assert_eq!(free_of(said), Some(67_318_020 * 1024));
        assert_eq!(free_of("Filesystem 1024-blocks\n"), None);
        assert_eq!(free_of(""), None);
    }
}
