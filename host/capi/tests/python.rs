//! The Python package on this library: runs its own tests, in place and installed from a wheel.
//!
//! python/tests says what is tested. Where there is no Python with pytest and numpy, that is said loudly.

#![cfg(unix)]

use std::process::Command;
use tenon_testkit::{echo, libtenon, shared_folder, skip, worker, workspace};

/// An interpreter that has what the tests import. The system's own may be hidden by another one in PATH.
fn python(test: &str) -> Option<&'static str> {
    let complete = |python: &&str| {
        let output = Command::new(python).args(["-c", "import ensurepip, numpy, pytest, venv"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let found = ["python3", "/usr/bin/python3"].into_iter().find(complete);
    if found.is_none() {
        skip(test, "there is no python3 with pytest, numpy and venv");
    }
    found
}

/// Runs pytest with these arguments and shows what it says when something is wrong.
fn pytest(test: &str, arguments: &[&str]) {
    let Some(python) = python(test) else { return };
    let folder = workspace().join("python");
    let mut command = Command::new(python);
    // Compiled modules do not belong into the checkout.
    command.current_dir(&folder).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONPATH", folder.join("src"));
    command.env("TENON_LIBRARY", libtenon()).env("TENON_TEST_ECHO", echo().library);
    command.env("TENON_TEST_WORKER", worker());
    // By itself pytest keeps the folders of three runs.
    let kept = shared_folder().join(test.replace(' ', "-"));
    command.args(["-m", "pytest", "-rs", "--basetemp"]).arg(kept).args(arguments);
    let output = command.output().expect("python3 runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let closing = said.lines().last().unwrap_or_default();
    println!("{test}: {closing}");
    assert!(
        output.status.success() && closing.contains(" passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_python_package_passes_its_tests_in_place() {
    pytest("python in place", &["--ignore", "tests/test_wheel.py", "tests"]);
}

#[test]
fn the_python_package_passes_its_tests_when_installed_from_a_wheel() {
    pytest("python wheel", &["tests/test_wheel.py"]);
}
