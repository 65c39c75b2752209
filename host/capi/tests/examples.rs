//! The examples in C are built as a user builds them, by their Makefile and pkg-config, and run on the echo backend.

#![cfg(target_os = "linux")]

mod common;

use common::{prefix, said, scratch, succeed, within};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use tenon_testkit::{Home, Server, installed, wav, workspace};

/// The folder of the built examples; `None`, said loudly, where a tool is missing. Built once, with both compilers.
fn examples() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let test = "the examples in C";
            if !(installed("make", test) && installed("pkg-config", test)) {
                return None;
            }
            let compilers = ["clang", "gcc"].into_iter().filter(|compiler| installed(compiler, test));
            // Both have to compile them; one build is run.
            compilers.map(build).collect::<Vec<_>>().pop()
        })
        .as_deref()
}

fn build(compiler: &str) -> PathBuf {
    let (prefix, out) = (prefix(), scratch("examples").join(compiler));
    let mut command = Command::new("make");
    command.arg("--directory").arg(workspace().join("examples/c")).arg("--always-make");
    command.arg(format!("PREFIX={}", prefix.display())).arg(format!("OUT={}", out.display()));
    succeed(command.arg(format!("CC={compiler}")).arg("CFLAGS=-O1 -Werror"));
    out
}

/// A home with the echo model and recordings of so many seconds each, one peak in each second.
fn home() -> (Home, PathBuf, PathBuf) {
    let home = Home::with_echo();
    let recording = |name: &str, seconds: usize, peak: f32| {
        let samples: Vec<f32> = (0..seconds * 16_000).map(|at| if at % 16_000 == 0 { peak } else { 0.0 }).collect();
        let path = home.path().join(name);
        fs::write(&path, wav(&samples, 16_000)).expect("a file");
        path
    };
    let (loud, soft) = (recording("loud.wav", 3, 0.9), recording("soft.wav", 2, 0.25));
    (home, loud, soft)
}

#[test]
fn transcribe_prints_segments_with_times() {
    let (Some(examples), (home, loud, soft)) = (examples(), home()) else { return };
    let program = examples.join("transcribe");
    let said = said(within(&home, &program).arg("echo").arg(loud).arg(soft));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 5, "{said}");
    assert_eq!(lines[2], "[2.00 - 3.00] second 3 peak 90");
    assert_eq!(lines[3], "[0.00 - 1.00] second 1 peak 25");
    let output = within(&home, &program).args(["missing", "x.wav"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("missing"), "{output:?}");
}

#[test]
fn chat_repeats_each_line_until_the_end_of_the_input() {
    let (Some(examples), (home, ..)) = (examples(), home()) else { return };
    let mut command = within(&home, &examples.join("chat"));
    command.args(["echo", "Be brief."]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    child.stdin.take().expect("its input").write_all(b"hello there\n\nand now?\n").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello there\nand now?\n");
}

#[test]
fn stream_prints_segments_and_progress() {
    let (Some(examples), (home, loud, _)) = (examples(), home()) else { return };
    let output = succeed(within(&home, &examples.join("stream")).arg("echo").arg(loud));
    let expected = "language en\n[0.00 - 1.00] second 1 peak 90\n[1.00 - 2.00] second 2 peak 90\n\
                    [2.00 - 3.00] second 3 peak 90\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    assert!(String::from_utf8_lossy(&output.stderr).contains("3.0 s of audio"), "{output:?}");
}

#[test]
fn live_microphone_file_hears_what_is_pushed() {
    let (Some(examples), (home, loud, _)) = (examples(), home()) else { return };
    let mut command = within(&home, &examples.join("live_microphone_file"));
    let said = said(command.env("IN_HASTE", "1").arg("echo").arg(&loud));
    assert_eq!(said.lines().last(), Some("[2.00 - 3.00] second 3 peak 90"), "{said}");
    let output = within(&home, &examples.join("live_microphone_file")).args(["echo", "no.wav"]).output();
    assert_eq!(output.expect("it runs").status.code(), Some(2));
}

#[test]
fn event_loop_reads_all_streams_to_their_ends() {
    let (Some(examples), (home, loud, soft)) = (examples(), home()) else { return };
    let said = said(within(&home, &examples.join("event_loop")).arg("echo").arg(&loud).arg(&soft).arg(&loud));
    let count = |path: &Path| said.lines().filter(|line| line.starts_with(path.to_str().unwrap_or("?"))).count();
    assert_eq!((count(&loud), count(&soft)), (6, 2), "{said}");
}

#[test]
fn many_threads_hear_the_same() {
    let (Some(examples), (home, loud, _)) = (examples(), home()) else { return };
    let said = said(within(&home, &examples.join("many_threads")).arg("echo").arg(loud).arg("8"));
    assert_eq!(said, "8 threads heard: second 1 peak 90 second 2 peak 90 second 3 peak 90\n");
}

#[test]
fn pull_gets_a_model_and_loads_it() {
    let (Some(examples), (home, ..), server) = (examples(), home(), Server::new()) else { return };
    let file = server.file("model", "far.bin", &[7; 300_000]);
    home.add_manifest("far", "generate", "echo", &format!("restricted = true\n{file}"));
    let program = examples.join("pull");
    let output = within(&home, &program).arg("far").output().expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--accept-license"), "{output:?}");
    let output = succeed(within(&home, &program).args(["far", "--accept-license"]));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "far is here: MIT, 300000 bytes\n");
    assert!(String::from_utf8_lossy(&output.stderr).ends_with("pulling 100%\n"), "{output:?}");
}

#[test]
fn list_models_prints_both_tables_and_what_is_wrong() {
    let (Some(examples), (home, ..)) = (examples(), home()) else { return };
    fs::write(home.path().join("manifests/broken.toml"), "name = 5\n").expect("a file");
    let said = said(&mut within(&home, &examples.join("list_models")));
    let line = |start: &str| said.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
    assert!(line("  echo  generate  echo  present").contains("MIT"), "{said}");
    assert!(said.contains("plugins: ") && said.contains("broken.toml"), "{said}");
    assert!(said.lines().any(|line| line.contains("problem: ")), "{said}");
}

#[test]
fn each_example_is_short_and_has_its_test_here() {
    let here = include_str!("examples.rs");
    for entry in fs::read_dir(workspace().join("examples/c")).expect("the examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "c") {
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
            let lines = fs::read_to_string(&path).expect("a text").lines().count();
            assert!(lines <= 120, "{name} has {lines} lines");
            assert!(here.contains(&format!("join(\"{name}\")")), "{name} is run by no test");
        }
    }
}
