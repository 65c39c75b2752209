//! Which files a worker may open: Landlock, with rules for the system's libraries, for what backends ask the system
//! about, and for each file that it was given. All for reading; nothing may be written, made, or removed.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The newest version whose rights are asked for. What an older kernel does not have, the filter of system calls
/// refuses: sockets, signals to others, truncating.
const NEWEST: ABI = ABI::V10;

/// Where systems keep libraries, those of each architecture beneath them.
const LIBRARIES: &[&str] = &["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"];

/// What tells of the machine, beneath /sys.
const MACHINE: &[&str] = &["/sys/devices/system/cpu", "/sys/devices/system/node"];

/// Single files: where libraries are, and what tells of the machine and of this process.
const FILES: &[&str] = &[
    "/etc/ld.so.cache",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/self/cgroup",
    "/proc/self/maps",
    "/proc/self/mountinfo",
    "/proc/self/stat",
    "/proc/self/statm",
    "/proc/self/status",
];

/// Restricts this thread, and every one that it will start, to reading `given` and what stands above. Says which
/// version of Landlock does so.
///
/// # Errors
/// Why nothing was restricted.
pub fn restrict(given: &[BorrowedFd<'_>]) -> Result<u32, String> {
    let status = build(given).and_then(RulesetCreated::restrict_self).map_err(|error| error.to_string())?;
    version_of(&status)
}

fn build(given: &[BorrowedFd<'_>]) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for folder in folders() {
        ruleset = allow_path(ruleset, &folder, AccessFs::ReadFile | AccessFs::ReadDir);
    }
    for file in FILES.iter().map(PathBuf::from).chain(quotas()) {
        ruleset = allow_path(ruleset, &file, AccessFs::ReadFile.into());
    }
    Ok(given.iter().fold(ruleset, |ruleset, file| allow(ruleset, file, AccessFs::ReadFile.into())))
}

fn folders() -> BTreeSet<PathBuf> {
    LIBRARIES.iter().chain(MACHINE).map(PathBuf::from).chain(own_libraries()).collect()
}

/// Folders of the libraries that this program runs on, for systems that keep them elsewhere.
fn own_libraries() -> impl Iterator<Item = PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let paths: BTreeSet<PathBuf> = maps
        .lines()
        .filter_map(|line| line.split_once('/').map(|(_, path)| PathBuf::from(format!("/{path}"))))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(".so")))
        .filter_map(|path| path.parent().map(Path::to_owned))
        .collect();
    paths.into_iter()
}

/// The files in which the quota of processors of this process's control groups stands: a backend that counts
/// processors shall find as many as in the engine's process.
fn quotas() -> impl Iterator<Item = PathBuf> {
    const NAMES: [&str; 3] = ["cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"];
    const MOUNTS: [&str; 3] = ["", "cpu", "cpu,cpuacct"];
    let membership = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let groups: BTreeSet<PathBuf> = membership
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .flat_map(|group| Path::new(group.trim_start_matches('/')).ancestors().map(Path::to_owned).collect::<Vec<_>>())
        .collect();
    let folders =
        groups.into_iter().flat_map(|group| MOUNTS.map(|mount| Path::new("/sys/fs/cgroup").join(mount).join(&group)));
    folders.flat_map(|folder| NAMES.map(|name| folder.join(name)))
}

/// Allows what lies at a path. What is not there, or may not be opened, needs no rule.
fn allow_path(ruleset: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> RulesetCreated {
    let Ok(place) = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else { return ruleset };
    let ruleset = allow(ruleset, &place, access);
    if path.starts_with("/proc") {
        hold(place);
    }
    ruleset
}

/// A rule belongs to an inode. Those of /proc are made anew when nobody holds them, and the rule would then be lost.
fn hold(place: OwnedFd) {
    std::mem::forget(place);
}

/// Allows a file or folder. A file that lies in no folder, such as a sealed memory file, needs no rule and gets none.
fn allow(mut ruleset: RulesetCreated, place: impl AsFd, access: BitFlags<AccessFs>) -> RulesetCreated {
    // Whatever is wrong with a rule, without it less is allowed.
    _ = (&mut ruleset).add_rule(PathBeneath::new(place, access));
    ruleset
}

fn version_of(status: &RestrictionStatus) -> Result<u32, String> {
    match (&status.ruleset, &status.landlock) {
        (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => {
            Err("this kernel was started without it: add it to the boot parameter lsm=".to_owned())
        }
        (RulesetStatus::NotEnforced, _) => Err("this kernel does not have it, or a container forbids it".to_owned()),
        (_, LandlockStatus::Available { effective_abi, .. }) => Ok(*effective_abi as u32),
        (_, _) => Err("the kernel says that it is in force and not there".to_owned()),
    }
}
