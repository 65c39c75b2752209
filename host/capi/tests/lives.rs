//! What the library leaves behind in a process: nothing.

#![cfg(target_os = "linux")]

mod common;

use common::{c_program, said, succeed, within};
use tenon_testkit::Home;

#[test]
fn two_hundred_lives_leave_no_thread_descriptor_or_memory() {
    let home = Home::with_echo();
    let Some(program) = c_program("leaks") else { return };
    assert_eq!(said(&mut within(&home, &program)), "leaks: all is well\n");
}

#[test]
fn nothing_is_printed_and_no_signal_locale_or_environment_is_changed() {
    let home = Home::with_echo();
    let Some(program) = c_program("quiet") else { return };
    for arguments in [&[][..], &["closed"]] {
        let output = succeed(within(&home, &program).args(arguments));
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    }
}
