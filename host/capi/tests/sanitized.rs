//! The programs of `hardness.rs` and `lives.rs` once more, under AddressSanitizer, UndefinedBehaviorSanitizer,
//! ThreadSanitizer and valgrind.
//!
//! The programs in C are instrumented, the library is not: sanitizers see its allocations and frees, and what it
//! does to memory of the program. Instrumenting it as well takes a standard library built anew (`-Zbuild-std`), for
//! which the toolchain of this workspace has no sources. ThreadSanitizer needs suppressions for that reason:
//! `c/thread_sanitizer.txt` gives them, and a program with a race of its own proves that it still sees one. Helgrind
//! and drd know locks by their pthread functions; Rust's are futexes, so they would report every one of them.

#![cfg(target_os = "linux")]

mod common;

use common::{Compile, STRICT, scratch, succeed, test_source, within};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use tenon_testkit::{Home, installed, skip};

const ALL: [&str; 8] =
    ["every_function", "free_orders", "struct_sizes", "callbacks", "threads", "fork", "requests", "leaks"];

/// A program built with a sanitizer; `None`, said loudly, where the compiler has none.
fn instrumented(name: &str, sanitizers: &str) -> Option<PathBuf> {
    let flag = format!("-fsanitize={sanitizers}");
    if !installed("gcc", name) {
        return None;
    }
    let trial = scratch("bin").join(format!("trial-{sanitizers}-{}", std::process::id()));
    fs::write(trial.with_extension("c"), "int main(void) { return 0; }\n").expect("a file");
    let mut command = Command::new("gcc");
    let compiled = command.args(STRICT).arg(&flag).arg(trial.with_extension("c")).arg("-o").arg(&trial).output();
    if !compiled.is_ok_and(|output| output.status.success()) {
        skip(name, &format!("gcc cannot link with {flag}"));
        return None;
    }
    let flags = ["-std=c11", "-D_GNU_SOURCE", "-O1", &flag, "-fno-sanitize-recover=all"];
    let (sources, name) = ([test_source(&format!("{name}.c"))], format!("{name}-{sanitizers}"));
    Compile { compiler: "gcc", flags: &flags, sources: &sources, name: &name }.program()
}

/// The test programs take the number of their rounds; under a tool that slows them down fewer will do.
fn rounds(name: &str) -> &'static [&'static str] {
    match name {
        "free_orders" => &["24"],
        "threads" => &["6"],
        "leaks" => &["12"],
        _ => &[],
    }
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn no_program_touches_memory_that_it_may_not_or_leaks_any() {
    for name in ALL {
        let Some(program) = instrumented(name, "address,undefined") else { return };
        let home = Home::with_echo();
        let mut command = within(&home, &program);
        command.args(rounds(name));
        // A forked child cannot join the threads that its parent started, so what belongs to them is a leak there.
        let leaks = if name == "fork" { "detect_leaks=0" } else { "detect_leaks=1" };
        succeed(command.env("ASAN_OPTIONS", leaks).env("UBSAN_OPTIONS", "print_stacktrace=1"));
    }
}

#[test]
fn threads_share_nothing_without_order() {
    for name in ["every_function", "callbacks", "threads", "requests"] {
        let Some(program) = instrumented(name, "thread") else { return };
        let home = Home::with_echo();
        let mut command = within(&home, &program);
        command.args(rounds(name)).env("TSAN_OPTIONS", suppressions());
        let output = command.output().expect("the program runs");
        assert!(output.status.success(), "{name}: {}", said(&output));
    }
}

#[test]
fn a_race_of_the_program_itself_is_still_seen() {
    let Some(program) = instrumented("a_race", "thread") else { return };
    let home = Home::with_echo();
    let output = within(&home, &program).env("TSAN_OPTIONS", suppressions()).output().expect("the program runs");
    assert!(!output.status.success() && said(&output).contains("data race"), "{}", said(&output));
}

fn suppressions() -> String {
    // Without names of functions: to look them up takes a minute, and only `a_race` has anything to name.
    format!("suppressions={} symbolize=0", test_source("thread_sanitizer.txt").display())
}

#[track_caller]
fn under_valgrind(names: &[&str]) {
    if !installed("valgrind", "programs under valgrind") {
        return;
    }
    for name in names {
        let Some(program) = common::c_program(name) else { return };
        let home = Home::with_echo();
        let mut command = within(&home, "valgrind".as_ref());
        command.args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite"]);
        let output = command.arg(program).args(rounds(name)).output().expect("valgrind runs");
        assert!(output.status.success(), "{name}: {}", said(&output));
    }
}

// Two tests, so that they run side by side. Without `fork`, whose child leaks what its parent's threads own.
#[test]
fn valgrind_finds_no_error_and_no_leak_in_single_calls() {
    under_valgrind(&["every_function", "struct_sizes", "requests"]);
}

#[test]
fn valgrind_finds_no_error_and_no_leak_in_whole_lives() {
    under_valgrind(&["callbacks", "free_orders", "threads", "leaks"]);
}
