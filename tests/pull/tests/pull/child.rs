//! Pulls in processes of their own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tenon_pull_tests::Home;
use tenon_store::Manifest;

/// Writes a manifest into a home. Gives its path.
pub fn write(home: &Home, manifest: &Manifest) -> PathBuf {
    let path = home.path().join(format!("{}.toml", manifest.name));
    std::fs::write(&path, manifest.to_toml()).expect("the manifest can be written");
    path
}

/// The program that pulls one manifest.
pub fn program() -> &'static str {
    env!("CARGO_BIN_EXE_pull-one")
}

/// The command that pulls a manifest into a home.
pub fn command(home: &Path, manifest: &Path, settings: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg(home).arg(manifest).args(settings).stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub fn run(home: &Home, manifest: &Path, settings: &[&str]) -> Output {
    command(home.path(), manifest, settings).output().expect("the program runs")
}

/// Standard error of a run that had to go wrong.
#[cfg(target_os = "linux")]
pub fn complaint(output: &Output, case: &str) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{case}: it went well");
    let line = text.strip_prefix("error: ").unwrap_or_else(|| panic!("{case}: {text:?}")).trim_end();
    crate::support::assert_is_a_sentence(case, line);
    line.to_owned()
}

/// Starts it, to be read line by line.
pub fn start(home: &Home, manifest: &Path, settings: &[&str]) -> Running {
    let mut command = command(home.path(), manifest, settings);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs");
    let lines = BufReader::new(child.stdout.take().expect("a pipe"));
    Running { child, lines }
}

/// A pull in another process; killed when dropped.
pub struct Running {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Running {
    /// Reads until it says this; panics where it ends before.
    pub fn wait_for(&mut self, words: &str) {
        let mut heard = String::new();
        loop {
            let start = heard.len();
            let read = self.lines.read_line(&mut heard).expect("its output can be read");
            assert_ne!(read, 0, "ended before it said {words:?}: {heard}");
            if heard[start..].trim_end() == words {
                return;
            }
        }
    }

    /// Ends it at once, with SIGKILL where there are signals. Whether it had not ended before.
    pub fn kill(&mut self) -> bool {
        // It may have ended in this moment.
        let _ = self.child.kill();
        !self.child.wait().expect("it has ended").success()
    }

    /// Whether it came to its end and well; what it complained of otherwise.
    pub fn end(mut self) -> Result<(), String> {
        let mut complaint = String::new();
        // Nobody else reads the pipes, and a full one would stop it.
        std::io::copy(&mut self.lines, &mut std::io::sink()).expect("its output can be read");
        if let Some(stderr) = self.child.stderr.as_mut() {
            std::io::Read::read_to_string(stderr, &mut complaint).expect("its output can be read");
        }
        let status = self.child.wait().expect("it ends");
        if status.success() { Ok(()) } else { Err(format!("{status}: {complaint}")) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
