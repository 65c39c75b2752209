//! Every test, after the builds and the packages that the tests load.

use crate::process::{self, cargo, root, run as run_command};
use crate::{artifacts, disk, dist, faults, tools};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Crates that link an engine: they are tested through the host, by `tests/native`, and whisper's also by its own tests.
pub const NATIVE: &[&str] = &["tenon-whisper", "tenon-llama", "tenon-bench-whisper", "tenon-bench-llama"];

/// Crates that measure with clocks and signals that Windows has not.
const WITH_UNIX_CLOCKS: &[&str] = &["tenon-bench", "tenon-bench-meter"];

const FAILED: &str = "some tests failed; their names stand above";
/// Files of tests that mostly wait for one compiler or one packer: they run beside all others.
const BESIDE: &[&str] = &["archive", "c_side", "cpp", "python", "sanitized"];
/// What the tests of properties draw from, so that one commit passes or fails always: `cargo test` by itself, or this
/// variable, has them draw something else.
const SEED_OF_PROPERTIES: (&str, &str) = ("PROPTEST_RNG_SEED", "1");

/// Sums of the test runner's closing lines.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
}

/// Builds and packs everything, runs all tests and the demo, and closes with one line of figures.
pub fn run() -> Result<(), String> {
    disk::warn_below(disk::FOR_TESTS);
    tools::set_up_tests();
    build_all()?;
    let mut tally = Tally::default();
    // Where nothing can be packed the tests of packages fail; all others can still be run.
    let packed = tally.step("dist", dist::pack(dist::Effort::Little).map(drop));
    let skips = skip_log();
    let _ = std::fs::remove_file(&skips);
    // One linker for the better part of a minute, and nothing here waits for it.
    let compiling = of_whisper(&["--no-run", "--quiet"]).spawn();
    let tests = tally.of_all_crates(&skips);
    let compiled = compiling.and_then(|mut child| child.wait()).map_err(|error| format!("cargo test: {error}"));
    let own = compiled.and_then(|_| tally.count(&mut of_whisper(&[])));
    let faults = tally.step("faults", faults::short());
    let demo = tally.step("demo", run_command(process::command(artifacts::program()).arg("demo")));
    let skipped = std::fs::read_to_string(&skips).unwrap_or_default();
    println!();
    for line in skipped.lines() {
        println!("skipped: {line}");
    }
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, skipped.lines().count());
    packed.and(tests).and(own).and(faults).and(demo)
}

/// Builds what the tests load, and beside it the tests themselves: another profile, in a folder of its own, so that
/// its compilers work while the release build is down to one linker. With the tests come the plugins and the library
/// of that profile, which they find by `TENON_TEST_LIBRARIES`: built by themselves, as single tests do, these have
/// other features, and everything that they use would be compiled again.
fn build_all() -> Result<(), String> {
    tools::set_up()?;
    let mut command = of_all_crates("build", &["--quiet", "--lib", "--bins", "--tests", "--examples"]);
    let mut beside = command.spawn().map_err(|error| format!("cargo build: {error}"))?;
    let built = artifacts::build();
    let compiled = beside.wait().map_err(|error| format!("cargo build: {error}"))?;
    built?;
    if compiled.success() { Ok(()) } else { Err("the tests do not compile; the reasons stand above".to_owned()) }
}

/// The tests inside the whisper plugin: in the release profile, whose build of whisper.cpp is there already.
fn of_whisper(more: &[&str]) -> Command {
    let mut command = cargo(&["test", "--locked", "--release", "--lib", "-p", "tenon-whisper"]);
    command.args(more);
    command
}

/// A command of cargo on all crates that can be tested by themselves.
fn of_all_crates(verb: &str, more: &[&str]) -> Command {
    let mut command = cargo(&[verb, "--locked", "--workspace"]);
    leave_out(&mut command);
    command.args(more);
    command
}

/// Has a command on the whole workspace leave out the crates that are not built by themselves on this system.
pub fn leave_out(command: &mut Command) {
    let not_here = if cfg!(windows) { WITH_UNIX_CLOCKS } else { &[] };
    for package in NATIVE.iter().chain(not_here) {
        command.args(["--exclude", package]);
    }
}

/// The names of all files of tests.
fn files_of_tests() -> Result<Vec<String>, String> {
    let output = of_all_crates("test", &["--no-run", "--color", "never"])
        .output()
        .map_err(|error| format!("cargo test: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(format!("the tests do not compile:\n{said}"));
    }
    let files: Vec<String> = said.lines().filter_map(file_of_tests).map(str::to_owned).collect();
    match BESIDE.iter().find(|name| !files.iter().any(|file| file == *name)) {
        Some(name) => Err(format!("cargo test --no-run names no tests/{name}.rs:\n{said}")),
        None => Ok(files),
    }
}

/// The name in `Executable tests/NAME.rs (…)`, or `Executable tests/NAME/main.rs (…)`.
fn file_of_tests(line: &str) -> Option<&str> {
    let path = line.trim().strip_prefix("Executable tests")?.split(" (").next()?;
    let path = path.trim_start_matches(['/', '\\']).strip_suffix(".rs")?;
    path.split(['/', '\\']).next()
}

/// Runs a command to its end; gives what it wrote to standard output, and whether it succeeded.
fn listen(mut command: Command) -> Result<(Vec<String>, bool), String> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| format!("cargo test: {error}"))?;
    let lines = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    Ok((lines, output.status.success()))
}

/// Where a test that cannot run here writes a line that says why, so that nothing is skipped silently.
fn skip_log() -> PathBuf {
    root().join("target/skipped-tests.log")
}

impl Tally {
    /// Counts something that is no test of cargo's as one.
    fn step(&mut self, name: &str, outcome: Result<(), String>) -> Result<(), String> {
        match &outcome {
            Ok(()) => self.passed += 1,
            Err(error) => {
                eprintln!("error: {name}: {error}");
                self.failed += 1;
            }
        }
        outcome
    }

    /// All tests of [`of_all_crates`], those of [`BESIDE`] beside the others.
    fn of_all_crates(&mut self, skips: &Path) -> Result<(), String> {
        let (beside, others): (Vec<_>, Vec<_>) =
            files_of_tests()?.into_iter().partition(|name| BESIDE.contains(&name.as_str()));
        let tests = |kinds: &[&str], names: &[String]| {
            let mut command = of_all_crates("test", &["--no-fail-fast"]);
            command.args(kinds).args(names.iter().flat_map(|name| ["--test", name]));
            command.env("TENON_SKIP_LOG", skips).env("TENON_TEST_LIBRARIES", artifacts::debug_folder());
            if std::env::var_os(SEED_OF_PROPERTIES.0).is_none() {
                command.env(SEED_OF_PROPERTIES.0, SEED_OF_PROPERTIES.1);
            }
            command
        };
        let apart = tests(&[], &beside);
        let apart = std::thread::spawn(move || listen(apart));
        let others = self.count(&mut tests(&["--lib", "--bins"], &others));
        let (lines, succeeded) = apart.join().map_err(|_| "cargo test: its thread panicked")??;
        for line in lines {
            println!("{line}");
            self.add(&line);
        }
        let examples = self.count(&mut tests(&["--doc"], &[]));
        let beside = if succeeded { Ok(()) } else { Err(FAILED.to_owned()) };
        others.and(beside).and(examples)
    }

    /// Runs a test command, passing its output on and adding its `test result:` lines up.
    fn count(&mut self, command: &mut Command) -> Result<(), String> {
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| format!("cargo test: {error}"))?;
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).lines() {
                let line = line.map_err(|error| format!("cargo test: {error}"))?;
                println!("{line}");
                self.add(&line);
            }
        }
        let status = child.wait().map_err(|error| format!("cargo test: {error}"))?;
        if status.success() { Ok(()) } else { Err(FAILED.to_owned()) }
    }

    /// Reads `test result: ok. 6 passed; 1 failed; 0 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some(figures) = line.strip_prefix("test result: ") else { return };
        for part in figures.split([';', '.']) {
            let mut words = part.split_whitespace();
            if let (Some(Ok(count)), Some(what)) = (words.next().map(str::parse::<u64>), words.next()) {
                match what {
                    "passed" => self.passed += count,
                    "failed" => self.failed += count,
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_names_of_tests() {
        let name = |line| file_of_tests(line);
        assert_eq!(name("  Executable tests/cpp.rs (target/debug/deps/cpp-0123)"), Some("cpp"));
        assert_eq!(name("  Executable tests/pull/main.rs (target/debug/deps/pull-0123)"), Some("pull"));
        assert_eq!(name("  Executable unittests src/lib.rs (target/debug/deps/tenon-0123)"), None);
        assert_eq!(name("   Compiling tests v1.0.0"), None);
    }

    #[test]
    fn adds_up_the_closing_lines_of_the_runner() {
        let mut tally = Tally::default();
        tally.add("test result: ok. 6 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.12s");
        tally.add("test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out");
        tally.add("running 5 tests");
        assert_eq!((tally.passed, tally.failed), (8, 3));
    }
}
