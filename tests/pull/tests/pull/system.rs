//! What the system refuses: room, writing, and one call after the other.

use crate::child;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tenon_pull_tests::{Answer, Home, Server, manifest, noise};
use tenon_store::Manifest;
use tenon_testkit::{installed, skip};

/// A file system of its own on a folder, for as long as this lives.
struct Mount {
    folder: PathBuf,
}

impl Mount {
    /// A tmpfs of this size; `None`, loudly, where mounting is not allowed.
    fn of_size(test: &str, folder: &Path, size: &str) -> Option<Self> {
        let options = format!("size={size}");
        Self::new(test, folder, &["-t", "tmpfs", "-o", &options, "none"])
    }

    fn new(test: &str, folder: &Path, arguments: &[&str]) -> Option<Self> {
        let mut command = Command::new("mount");
        let status = command.args(arguments).arg(folder).stdin(Stdio::null()).stderr(Stdio::null()).status();
        if status.is_ok_and(|status| status.success()) {
            return Some(Self { folder: folder.to_owned() });
        }
        skip(test, "file systems cannot be mounted by this user");
        None
    }

    fn read_only(&self) {
        let status = Command::new("mount").args(["-o", "remount,ro"]).arg(&self.folder).status();
        assert!(status.expect("mount runs").success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.folder).status();
    }
}

/// A manifest in a home for one blob of a server.
fn one(server: &Server, home: &Home, bytes: &[u8]) -> (Manifest, PathBuf) {
    let url = server.blob("/blob.bin", bytes);
    let manifest = manifest("one", &[("blob.bin", &[url], bytes)]);
    let path = child::write(home, &manifest);
    (manifest, path)
}

#[test]
fn a_full_disk_is_told_before_the_first_byte() {
    let (server, home, bytes) = (Server::start(), Home::new(), noise(21, 3 << 20));
    std::fs::create_dir(home.store_folder()).unwrap();
    let Some(_mount) = Mount::of_size("a_full_disk_is_told_before_the_first_byte", &home.store_folder(), "2m") else {
        return;
    };
    let (_, manifest) = one(&server, &home, &bytes);
    let complaint = child::complaint(&child::run(&home, &manifest, &[]), "full");
    assert!(complaint.contains("store") && complaint.contains("room"), "{complaint}");
    assert_eq!(server.log().sent("/blob.bin"), 0);
    home.assert_sound("full");
}

#[test]
fn a_disk_that_fills_up_meanwhile_is_told_and_nothing_half_done_gets_a_name() {
    let test = "a_disk_that_fills_up_meanwhile_is_told_and_nothing_half_done_gets_a_name";
    let (server, home, bytes) = (Server::start(), Home::new(), noise(22, 1 << 20));
    std::fs::create_dir(home.store_folder()).unwrap();
    let Some(_mount) = Mount::of_size(test, &home.store_folder(), "2m") else { return };
    let gate = tenon_pull_tests::Gate::shut();
    let (_, manifest) = one(&server, &home, &bytes);
    server.script("/blob.bin", [Answer::good().gate(100_000, &gate)]);
    let mut running = child::start(&home, &manifest, &[]);
    running.wait_for("progress 100000");
    // Everything that is left, and a little more than that.
    let filler = home.store_folder().join("models");
    std::fs::create_dir_all(&filler).unwrap();
    let _ = std::fs::write(filler.join("filler"), vec![1; 2 << 20]);
    gate.open();
    // Room that was taken before the first byte is enough; else the error says what is full.
    match running.end() {
        Ok(()) => assert!(home.holds(&bytes)),
        Err(complaint) => assert!(complaint.contains("room") || complaint.contains("space"), "{complaint}"),
    }
    home.assert_sound("filled");
    std::fs::remove_dir_all(&filler).unwrap();
    assert!(child::run(&home, &manifest, &[]).status.success());
    assert!(home.holds(&bytes));
}

#[test]
fn a_store_that_cannot_be_written_is_named() {
    let (server, home, bytes) = (Server::start(), Home::new(), noise(23, 10_000));
    std::fs::create_dir(home.store_folder()).unwrap();
    let Some(mount) = Mount::of_size("a_store_that_cannot_be_written_is_named", &home.store_folder(), "1m") else {
        return;
    };
    mount.read_only();
    let (_, manifest) = one(&server, &home, &bytes);
    let complaint = child::complaint(&child::run(&home, &manifest, &[]), "read-only");
    assert!(complaint.contains(&*home.store_folder().to_string_lossy()), "{complaint}");
    assert_eq!(server.log().requests().len(), 0, "asked for what it could not keep");
}

#[test]
fn a_store_of_another_user_is_named() {
    let test = "a_store_of_another_user_is_named";
    let (server, home, bytes) = (Server::start(), Home::new(), noise(24, 10_000));
    let (_, manifest) = one(&server, &home, &bytes);
    std::fs::create_dir_all(home.store_folder().join("blobs")).unwrap();
    open_to_all(&home);
    let Some(output) = as_nobody(test, &home, &manifest) else { return };
    let complaint = child::complaint(&output, "another user");
    assert!(complaint.contains(&*home.store_folder().to_string_lossy()), "{complaint}");
    assert_eq!(server.log().requests().len(), 0);
}

#[test]
fn a_part_that_was_made_read_only_before_its_process_died_goes_on_also_without_the_rights_of_root() {
    let test = "a_part_that_was_made_read_only_before_its_process_died_goes_on_also_without_the_rights_of_root";
    let (server, home, bytes) = (Server::start(), Home::new(), noise(28, 50_000));
    let (_, manifest) = one(&server, &home, &bytes);
    open_to_all(&home);
    if !rustix::process::geteuid().is_root() {
        return skip(test, "this user cannot give a folder to another one");
    }
    std::os::unix::fs::chown(home.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    server.script("/blob.bin", [Answer::good().cut(20_000), Answer::status(404)]);
    let Some(broken) = as_nobody(test, &home, &manifest) else { return };
    assert!(!broken.status.success());
    let part = home.part_path(tenon_store::Digest::of(&bytes));
    std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o444)).unwrap();
    let Some(output) = as_nobody(test, &home, &manifest) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(home.holds(&bytes));
    assert_eq!(server.gets("/blob.bin").last().map(tenon_pull_tests::Seen::start), Some(20_000));
}

/// The user nobody.
const NOBODY: u32 = 65534;

/// Everybody may look into a home.
fn open_to_all(home: &Home) {
    for folder in home.path().ancestors().take(2) {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// Pulls as the user nobody; `None`, loudly, where that cannot be done.
fn as_nobody(test: &str, home: &Home, manifest: &Path) -> Option<Output> {
    use std::os::unix::process::CommandExt;
    if !rustix::process::geteuid().is_root() {
        skip(test, "programs cannot be run as another user by this one");
        return None;
    }
    let folder = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    // The checkout may lie where nobody may look.
    let copy = folder.path().join("program");
    tenon_testkit::copy(child::program().as_ref(), &copy);
    let mut command = Command::new(&copy);
    command.arg(home.path()).arg(manifest).uid(NOBODY).gid(NOBODY).stdin(Stdio::null());
    Some(command.output().expect("the program runs"))
}

#[test]
fn a_folder_of_spaces_and_letters_from_elsewhere_is_as_good_as_any() {
    for name in ["with spaces and 'quotes'", "größe-模型-🦙", "a\u{301}\u{200d}b", "%2e%2e", "-rf"] {
        let (server, home, bytes) = (Server::start(), Home::named(name), noise(25, 50_000));
        let (_, manifest) = one(&server, &home, &bytes);
        server.script("/blob.bin", [Answer::good().cut(20_000)]);
        let output = child::run(&home, &manifest, &[]);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        home.assert_sound(name);
        assert!(home.holds(&bytes), "{name}");
    }
}

#[test]
fn offline_opens_no_socket() {
    let test = "offline_opens_no_socket";
    let (server, home, bytes) = (Server::start(), Home::new(), noise(26, 10_000));
    let (_, manifest) = one(&server, &home, &bytes);
    let complaint = child::complaint(&child::run(&home, &manifest, &["offline=1"]), "offline");
    assert!(complaint.contains("offline"), "{complaint}");
    assert_eq!(server.log().connections(), 0);
    let trace = home.path().join("trace");
    if let Some(output) = strace(test, &["-e", "trace=socket,connect"], &trace, &home, &manifest, &["offline=1"]) {
        assert!(!output.status.success());
        let calls = std::fs::read_to_string(&trace).unwrap();
        assert!(!calls.contains("socket(") && !calls.contains("connect("), "{calls}");
    }
}

/// Runs the program under strace; `None`, loudly, where that cannot be done.
fn strace(test: &str, flags: &[&str], trace: &Path, home: &Home, manifest: &Path, settings: &[&str]) -> Option<Output> {
    if !installed("strace", test) {
        return None;
    }
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o"]).arg(trace).args(flags).arg(child::program());
    command.arg(home.path()).arg(manifest).args(settings).stdin(Stdio::null());
    let output = command.output().expect("strace runs");
    if String::from_utf8_lossy(&output.stderr).contains("strace: ") {
        skip(test, "processes cannot be traced here");
        return None;
    }
    Some(output)
}

/// Calls of the system that store a blob, and what each is made to answer.
const CALLS: &[(&str, &[&str])] = &[
    ("write", &["error=ENOSPC", "error=EIO", "error=EINTR", "signal=KILL"]),
    ("pwrite64", &["error=ENOSPC", "error=EIO", "error=EINTR", "signal=KILL"]),
    ("openat", &["error=EMFILE", "error=EIO", "signal=KILL"]),
    ("mkdir", &["error=ENOSPC", "signal=KILL"]),
    ("fallocate", &["error=ENOSPC", "error=EOPNOTSUPP", "signal=KILL"]),
    ("ftruncate", &["error=EIO", "signal=KILL"]),
    ("fsync", &["error=EIO", "error=ENOSPC", "signal=KILL"]),
    ("fdatasync", &["error=EIO", "signal=KILL"]),
    ("fchmod", &["error=EPERM", "signal=KILL"]),
    ("rename", &["error=EIO", "error=ENOSPC", "signal=KILL"]),
    ("renameat", &["error=EIO", "signal=KILL"]),
    ("renameat2", &["error=EIO", "error=EINVAL", "signal=KILL"]),
    ("link", &["error=EPERM", "signal=KILL"]),
    ("linkat", &["error=EPERM", "signal=KILL"]),
    ("unlink", &["error=EIO", "signal=KILL"]),
    ("unlinkat", &["error=EIO", "signal=KILL"]),
    ("flock", &["error=ENOLCK", "error=EINTR", "signal=KILL"]),
    ("fcntl", &["error=ENOLCK", "signal=KILL"]),
    ("lseek", &["error=EIO"]),
    ("statx", &["error=EIO"]),
];

/// No call is made more often than this while one small blob is pulled; what would be is not tried further.
const MOST: usize = 400;

/// So many of a call that is made often are made to fail, one in each run.
const TRIED: usize = 3;

/// Which of this many calls are made to fail.
fn which(count: usize) -> impl Iterator<Item = usize> {
    (1..=count).step_by(count.div_ceil(TRIED).max(1))
}

#[test]
fn whichever_call_of_the_system_fails_the_store_is_sound_and_the_next_pull_succeeds() {
    let test = "whichever_call_of_the_system_fails_the_store_is_sound_and_the_next_pull_succeeds";
    let (server, bytes) = (Server::start(), noise(27, 150_000));
    let (mut tried, mut failed) = (0, 0);
    for (call, answers) in CALLS {
        let Some(count) = calls(test, &server, call, &bytes) else { return };
        for (nth, answer) in which(count).flat_map(|nth| answers.iter().map(move |answer| (nth, *answer))) {
            let home = Home::new();
            let (_, manifest) = one(&server, &home, &bytes);
            let name = format!("{call} {nth} {answer}");
            let inject = format!("inject={call}:{answer}:when={nth}");
            let trace = home.path().join("trace");
            let Some(output) = strace(test, &["-e", &inject], &trace, &home, &manifest, &[]) else { return };
            (tried, failed) = (tried + 1, failed + usize::from(!output.status.success()));
            home.assert_sound(&name);
            if output.status.success() {
                assert!(home.holds(&bytes), "{name}: said it was there");
            }
            let again = child::run(&home, &manifest, &[]);
            assert!(again.status.success(), "{name}: {}", String::from_utf8_lossy(&again.stderr));
            home.assert_sound(&name);
            assert!(home.holds(&bytes), "{name}");
        }
    }
    eprintln!("{tried} calls made to fail, {failed} pulls failed");
    assert!(failed > 0, "nothing was made to fail");
}

/// How often a call is made while the blob is pulled once.
fn calls(test: &str, server: &Server, call: &str, bytes: &[u8]) -> Option<usize> {
    let home = Home::new();
    let (_, manifest) = one(server, &home, bytes);
    let trace = home.path().join("trace");
    let filter = format!("trace={call}");
    strace(test, &["-e", &filter], &trace, &home, &manifest, &[])?;
    let lines = std::fs::read_to_string(&trace).unwrap_or_default();
    Some(lines.lines().filter(|line| line.contains(&format!(" {call}("))).count().min(MOST))
}
