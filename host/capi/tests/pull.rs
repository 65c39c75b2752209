//! Pulls through the door of C, against a server on the loopback address.

#![cfg(target_os = "linux")]

mod common;

use common::{c_program, said, within};
use tenon_testkit::{Home, Server};

/// A home with a model `far` and a restricted one `own`, of which only a server has the files.
fn home() -> (Home, Server) {
    let (home, server) = (Home::with_echo(), Server::new());
    home.add_manifest("far", "generate", "echo", &server.file("model", "far.bin", &[7; 300_000]));
    let optional = format!("{}optional = true\n", server.file("vad", "vad.bin", b"voice"));
    let own = format!("restricted = true\n{}{optional}", server.file("model", "own.bin", b"weights"));
    home.add_manifest("own", "generate", "echo", &own);
    (home, server)
}

#[test]
fn a_program_in_c_pulls_cancels_and_goes_on() {
    let (Some(program), (home, server)) = (c_program("pull"), home()) else { return };
    assert_eq!(said(within(&home, &program).env("NO_PROXY", "*")), "pull: all is well\n");
    let asked = server.asked();
    assert!(asked.iter().any(|line| line.starts_with("GET /own.bin")), "{asked:?}");
    assert!(!asked.iter().any(|line| line.contains("/vad.bin")), "an optional file was left out: {asked:?}");
}
