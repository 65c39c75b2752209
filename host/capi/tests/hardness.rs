//! What C may do wrong is a status and never a crash: programs in C that do all of it, run on the echo backend.
//!
//! Each runs as it is; `sanitized.rs` runs them once more under sanitizers and valgrind.

#![cfg(target_os = "linux")]

mod common;

use common::{c_program, said, succeed, within};
use std::fs;
use tenon_testkit::{Home, worker, workspace};

#[track_caller]
fn runs_well(name: &str) {
    let home = Home::with_echo();
    if let Some(program) = c_program(name) {
        assert_eq!(said(&mut within(&home, &program)), format!("{name}: all is well\n"));
    }
}

#[test]
fn every_exported_function_refuses_everything_that_is_wrong() {
    let home = Home::with_echo();
    let Some(program) = c_program("every_function") else { return };
    let said = said(&mut within(&home, &program));
    let mut tried: Vec<&str> = said.lines().collect();
    tried.sort_unstable();
    let exports = fs::read_to_string(workspace().join("host/capi/exports.txt")).expect("the list of exports");
    assert_eq!(tried, exports.lines().collect::<Vec<_>>(), "the table of every_function.c is the list of exports");
}

#[test]
fn objects_may_be_freed_in_any_order() {
    runs_well("free_orders");
}

#[test]
fn structs_of_another_size_are_read_and_written_as_far_as_both_sides_know_them() {
    runs_well("struct_sizes");
}

#[test]
fn callbacks_may_cancel_free_and_get_and_nothing_else() {
    runs_well("callbacks");
}

#[test]
fn threads_that_get_in_each_others_way_hear_of_it() {
    runs_well("threads");
}

#[test]
fn a_forked_child_is_told_to_call_exec() {
    runs_well("fork");
}

#[test]
fn texts_cross_whole_and_deadlines_shutdown_and_cancel_end_requests() {
    runs_well("requests");
}

#[test]
fn a_lock_file_lets_only_what_it_pins_run() {
    let home = Home::with_echo();
    let Some(program) = c_program("locked") else { return };
    let at = |name: &str| home.path().join(name);
    home.engine().lock(&[]).expect("a lock file").write(&at("echo.lock")).expect("it can be written");
    fs::write(at("empty.lock"), "version = 1\n").expect("it can be written");
    fs::write(at("broken.lock"), "version = 1\ncolour = 1\n").expect("it can be written");
    let mut command = within(&home, &program);
    command.args([at("echo.lock"), at("empty.lock")]).env("BROKEN_LOCK", at("broken.lock"));
    assert_eq!(said(&mut command), "locked: all is well\n");
}

#[test]
fn a_backend_that_panics_or_hangs_is_a_status_and_says_nothing_on_the_standard_error() {
    let home = Home::with_faulty();
    let Some(program) = c_program("faults") else { return };
    let output = succeed(&mut within(&home, &program));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_worker_that_crashes_ends_its_request_and_the_next_one_starts_another() {
    let home = Home::with_faulty();
    let Some(program) = c_program("workers") else { return };
    assert_eq!(said(within(&home, &program).arg(worker())), "workers: all is well\n");
}
