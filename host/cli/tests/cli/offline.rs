//! Bundles, the lock file and signatures, as people use them.

use crate::support::{Ran, Tenon};
use std::fs;
#[cfg(unix)]
use std::io::{BufRead, BufReader, Write};
#[cfg(unix)]
use std::process::Stdio;

/// A machine that has nothing but a store, in the same home.
const BARE: [(&str, &str); 4] =
    [("TENON_MANIFESTS", "none"), ("TENON_PLUGIN_PATH", "none"), ("TENON_MODELS", "none"), ("TENON_STORE", "bare")];

fn bare(tenon: &Tenon, args: &[&str]) -> Ran {
    tenon.run_env(args, &BARE)
}

/// What can be seen in the store of the bare machine.
fn visible(tenon: &Tenon) -> Vec<String> {
    let listed = |name: &str| fs::read_dir(tenon.home.path().join("bare").join(name)).into_iter().flatten().flatten();
    let all = ["blobs", "models", "plugins"].into_iter().flat_map(listed);
    all.map(|entry| entry.file_name().into_string().unwrap()).filter(|name| !name.starts_with('.')).collect()
}

fn exported(args: &[&str]) -> Tenon {
    let tenon = Tenon::new();
    tenon.run(&[&["bundle", "export"], args, &["-o", "x.tenon"]].concat()).ok();
    tenon
}

#[test]
fn a_bundle_takes_a_model_and_its_plugin_to_a_machine_that_has_neither() {
    let tenon = Tenon::new();
    let ran = tenon.run(&["bundle", "export", "speech", "talk", "-o", "x.tenon"]);
    assert!(ran.out.starts_with("models   speech, talk\nplugins  echo\nwritten to x.tenon, "), "{}", ran.out);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(bare(&tenon, &["list"]).out, "NAME  ID  SIZE  MODIFIED\n");
    let ran = bare(&tenon, &["bundle", "import", "x.tenon"]);
    assert_eq!(ran.out, "models   speech, talk\nplugins  echo\nimported 17 B\n", "{}", ran.err);
    assert!(ran.err.contains("speech: license MIT, 17 B\n") && !ran.err.contains("hidden"), "{}", ran.err);
    assert_eq!(bare(&tenon, &["verify", "--all"]).code, 0);
    assert_eq!(bare(&tenon, &["run", "talk", "hello"]).ok(), "hello\n");
    bare(&tenon, &["transcribe", "-m", "speech", "a.wav"]).ok();
    let again = bare(&tenon, &["bundle", "import", "x.tenon"]).ok();
    assert_eq!(again, "models   speech, talk\nplugins that were there  echo\nimported 0 B, 17 B were there\n");
}

#[test]
fn a_bundle_goes_through_a_pipe_and_shows_what_it_holds() {
    let tenon = Tenon::new();
    let output = tenon.command(&["bundle", "export", "speech", "-o", "-"]).output().unwrap();
    assert!(output.status.success());
    tenon.write("piped.tenon", &output.stdout);
    tenon.run(&["bundle", "export", "speech", "-o", "x.tenon"]).ok();
    assert_eq!(fs::read(tenon.home.path().join("x.tenon")).unwrap(), output.stdout);
    let shown = tenon.run_with(&["bundle", "show", "-"], &output.stdout).ok();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[0], "MODEL   TASK        BACKEND  SIZE  LICENSE  SIGNED BY");
    assert_eq!(lines[1], "speech  transcribe  echo     17 B  MIT");
    assert!(lines[3].starts_with("PLUGIN  VERSION  ABI  TARGET"), "{shown}");
    let json = tenon.run(&["bundle", "show", "x.tenon", "--json"]).json();
    assert_eq!(json["models"][0]["license"], "MIT");
    assert_eq!(json["plugins"][0]["id"], "echo");
    let mut command = tenon.command(&["bundle", "import", "-", "--json"]);
    command.envs(BARE);
    let output = assert_cmd::Command::from_std(command).write_stdin(output.stdout).output().unwrap();
    let json = Ran::new(output, tenon.home.path()).json();
    assert_eq!((&json["models"][0], &json["new_bytes"]), (&"speech".into(), &17.into()));
}

#[test]
fn progress_of_a_bundle_comes_as_json_when_asked_for() {
    let tenon = exported(&["speech"]);
    let ran = bare(&tenon, &["bundle", "import", "x.tenon", "--progress", "json"]);
    for status in ["reading x.tenon", "verifying x.tenon"] {
        assert!(ran.err.contains(&format!("\"status\":\"{status}\"")), "{}", ran.err);
    }
}

#[test]
fn a_bad_bundle_is_one_sentence_and_exit_code_4() {
    let tenon = exported(&["speech"]);
    let good = fs::read(tenon.home.path().join("x.tenon")).unwrap();
    let changed = {
        let mut bytes = good.clone();
        let at = bytes.windows(17).position(|window| window == b"weights of speech").unwrap();
        bytes[at] ^= 1;
        bytes
    };
    for (bytes, words) in [
        (good[..good.len() - 700].to_vec(), "x.tenon ends too early: it was cut, get it again"),
        (changed, "it was changed, get it again"),
        ([good.as_slice(), b"more"].concat(), "x.tenon goes on behind its end"),
        (b"#!/bin/sh".to_vec(), "x.tenon ends too early"),
    ] {
        tenon.write("x.tenon", &bytes);
        let ran = bare(&tenon, &["bundle", "import", "x.tenon", "-q"]);
        assert_eq!(ran.code, 4, "{}", ran.err);
        assert!(ran.err.contains(words) && ran.err.lines().count() == 1, "{}", ran.err);
        assert_eq!(visible(&tenon), Vec::<String>::new());
    }
    assert_eq!(bare(&tenon, &["bundle", "import", "nosuch.tenon"]).code, 3);
    assert_eq!(tenon.run(&["bundle", "export", "nosuch", "-o", "y.tenon"]).code, 3);
    assert_eq!(tenon.run(&["bundle", "export", "speech", "-o", "x.tenon"]).code, 2);
    fs::write(tenon.home.path().join("models/speech.bin"), "Weights of speech").unwrap();
    assert_eq!(tenon.run(&["bundle", "export", "speech", "-o", "y.tenon"]).code, 4);
    assert!(!tenon.home.path().join("y.tenon").exists());
}

#[test]
fn a_restricted_licence_is_shown_and_has_to_be_accepted() {
    let tenon = Tenon::new();
    tenon.home.add_manifest("study", "chat", "echo", "restricted = true");
    tenon.run(&["bundle", "export", "study", "-o", "x.tenon", "--no-plugins"]).ok();
    assert!(bare(&tenon, &["bundle", "show", "x.tenon"]).ok().contains("MIT (restricted)"));
    let ran = bare(&tenon, &["bundle", "import", "x.tenon"]);
    assert!(ran.err.contains("study: license MIT") && ran.err.contains("--accept-license"), "{}", ran.err);
    assert_eq!((ran.code, visible(&tenon)), (2, vec![]));
    bare(&tenon, &["bundle", "import", "x.tenon", "--accept-license"]).ok();
}

#[test]
fn another_plugin_or_manifest_in_the_store_is_replaced_only_with_a_flag() {
    let tenon = exported(&["talk"]);
    tenon.write("bare/plugins/echo.plugin.toml", b"id = \"echo\"");
    let ran = bare(&tenon, &["bundle", "import", "x.tenon"]);
    assert!(ran.err.contains("--replace-plugins"), "{}", ran.err);
    assert_eq!(ran.code, 2);
    bare(&tenon, &["bundle", "import", "x.tenon", "--replace-plugins"]).ok();
    tenon.home.add_manifest("talk", "chat", "echo", "description = \"another\"");
    fs::remove_file(tenon.home.path().join("x.tenon")).unwrap();
    tenon.run(&["bundle", "export", "talk", "-o", "x.tenon"]).ok();
    let ran = bare(&tenon, &["bundle", "import", "x.tenon"]);
    assert!(ran.code == 2 && ran.err.contains("--replace-models"), "{}", ran.err);
    bare(&tenon, &["bundle", "import", "x.tenon", "--replace-models"]).ok();
    assert!(bare(&tenon, &["show", "talk"]).ok().contains("another"));
}

/// Killed with half of the bundle read, whatever half: nothing is there, and the next import brings everything.
#[cfg(unix)]
#[test]
fn an_import_that_is_killed_leaves_nothing_that_can_be_seen() {
    let tenon = Tenon::new();
    let large: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let file = tenon.home.add_file("model", "large.bin", &large);
    tenon.home.add_manifest("large", "chat", "echo", &file);
    tenon.run(&["bundle", "export", "large", "-o", "x.tenon"]).ok();
    let bundle = fs::read(tenon.home.path().join("x.tenon")).unwrap();
    for end in [bundle.len() / 3, 3_100_000, bundle.len() - 1] {
        let mut command = tenon.command(&["bundle", "import", "-", "-q"]);
        let mut child = command.envs(BARE).stdin(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        // Once the pipe takes the last byte, all but what fits into the pipe has been read.
        input.write_all(&bundle[..end]).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(visible(&tenon), Vec::<String>::new(), "killed after {end} of {}", bundle.len());
    }
    bare(&tenon, &["bundle", "import", "x.tenon"]).ok();
    assert_eq!(visible(&tenon).len(), 4);
    assert_eq!(bare(&tenon, &["run", "large", "hello"]).ok(), "hello\n");
    let left = fs::read_dir(tenon.home.path().join("bare/plugins")).unwrap().flatten();
    assert!(left.into_iter().all(|entry| !entry.file_name().to_string_lossy().contains("incoming")));
}

/// Killed wherever it says how far it is: what can be seen is good, and a model only ever comes last.
#[cfg(unix)]
#[test]
fn an_import_that_is_killed_at_any_step_never_shows_a_model_before_all_of_it_is_there() {
    let tenon = Tenon::new();
    let large: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 249) as u8).collect();
    let file = tenon.home.add_file("model", "large.bin", &large);
    tenon.home.add_manifest("large", "chat", "echo", &file);
    tenon.run(&["bundle", "export", "large", "-o", "x.tenon"]).ok();
    let blob = tenon.home.path().join(format!("bare/blobs/sha256-{}", tenon::Digest::of(&large)));
    for lines in (1..60).step_by(5) {
        let mut command = tenon.command(&["bundle", "import", "x.tenon", "--progress", "json"]);
        let mut child = command.envs(BARE).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let steps = BufReader::new(child.stderr.take().unwrap()).lines().take(lines);
        steps.for_each(|line| drop(line.unwrap()));
        child.kill().unwrap();
        child.wait().unwrap();
        let visible = visible(&tenon);
        assert!(!blob.exists() || fs::read(&blob).unwrap() == large, "after {lines} steps");
        let plugins = visible.iter().filter(|name| name.contains("echo")).count();
        let whole = blob.exists() && plugins == 2;
        assert!(whole || !visible.contains(&"large.toml".to_owned()), "after {lines} steps: {visible:?}");
    }
    bare(&tenon, &["bundle", "import", "x.tenon"]).ok();
    assert_eq!(bare(&tenon, &["run", "large", "hello"]).ok(), "hello\n");
}

// The lock file.

#[test]
fn lock_pins_what_is_here_and_locked_refuses_everything_else() {
    let tenon = Tenon::new();
    assert_eq!(tenon.run(&["lock", "talk"]).ok(), "models   talk\nplugins  echo 0.1.0\npinned in tenon.lock\n");
    assert_eq!(tenon.run(&["--locked", "run", "talk", "hello"]).ok(), "hello\n");
    assert_eq!(tenon.run(&["run", "talk", "--locked=tenon.lock", "hello"]).ok(), "hello\n");
    let ran = tenon.run(&["--locked", "run", "text", "hello"]);
    assert_eq!(ran.code, 4, "{}", ran.err);
    assert!(ran.err.contains("tenon.lock: model \"text\" is not pinned"), "{}", ran.err);
    let ran = tenon.run_env(&["run", "broken-backend", "hello"], &[("TENON_LOCKED", "tenon.lock")]);
    assert_eq!(ran.code, 4, "{}", ran.err);
    let ran = tenon.run(&["--locked=nosuch.lock", "list"]);
    assert!(ran.code == 3 && ran.err.contains("`tenon lock` writes one"), "{}", ran.err);
    assert_eq!(tenon.run(&["--locked", "--verify", "never", "run", "talk", "hello"]).code, 2);
    let error = tenon.run(&["--locked", "run", "text", "hello", "--json"]).json_error();
    assert_eq!(error["kind"], "hash-mismatch");
}

#[test]
fn lock_check_says_every_difference() {
    let tenon = Tenon::new();
    let all = tenon.run(&["lock", "--json", "-o", "all.lock"]).json();
    assert_eq!((all["models"].as_array().unwrap().len(), all["plugins"].as_array().unwrap().len()), (5, 2));
    assert_eq!(tenon.run(&["lock", "--check", "-o", "all.lock"]).ok(), "all.lock: ok, 7 pinned\n");
    tenon.home.add_manifest("text", "generate", "echo", "description = \"changed\"");
    fs::remove_file(tenon.home.path().join("manifests/vectors.toml")).unwrap();
    let ran = tenon.run(&["lock", "--check", "-o", "all.lock"]);
    assert_eq!(ran.code, 4);
    assert_eq!(ran.err.lines().count(), 3, "{}", ran.err);
    assert!(ran.err.contains("all.lock: model \"text\" has a manifest with the SHA-256"), "{}", ran.err);
    assert!(ran.err.contains("no model is called \"vectors\""), "{}", ran.err);
    assert!(ran.err.contains("2 of 7 that all.lock pins are not as it says"), "{}", ran.err);
    let ran = tenon.run(&["lock", "--check", "-o", "all.lock", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((json["ok"].clone(), json["differences"].as_array().unwrap().len()), (false.into(), 2));
    tenon.write("bad.lock", b"version = 1\ncolour = 1\n");
    let ran = tenon.run(&["lock", "--check", "-o", "bad.lock"]);
    assert!(ran.code == 2 && ran.err.contains("bad.lock:2:1: unknown field `colour`"), "{}", ran.err);
}

// Signatures.

const SIGNED: &str = include_str!("../../../store/tests/signed/parrot.toml");
const SIGNATURE: &str = include_str!("../../../store/tests/signed/parrot.toml.minisig");
const KEY: &str = include_str!("../../../store/tests/signed/trusted.pub");

#[test]
fn show_names_the_key_that_signed_and_unsigned_models_are_refused_where_that_is_required() {
    let tenon = Tenon::new();
    tenon.write("manifests/parrot.toml", SIGNED.as_bytes());
    tenon.write("manifests/parrot.toml.minisig", SIGNATURE.as_bytes());
    let shown = tenon.run(&["show", "parrot"]).ok();
    assert!(shown.contains("signed by  8D6F47A519751C03, a key that is not trusted here"), "{shown}");
    let key = KEY.lines().nth(1).unwrap();
    let config = |require: &str| {
        let text = format!("[trust]\nkeys = [\"{key}\"]\n{require}\n");
        tenon.write("user/.config/tenon/config.toml", text.as_bytes());
        // Windows has one folder for everything.
        tenon.write("user/tenon/config.toml", text.as_bytes());
    };
    config("");
    let shown = tenon.run(&["show", "parrot"]).ok();
    assert!(shown.contains("signed by  8D6F47A519751C03\n"), "{shown}");
    let json = tenon.run(&["show", "parrot", "--json"]).json();
    assert_eq!(
        (&json["signature"]["good"], &json["signature"]["comment"]),
        (&true.into(), &"parrot, for tests".into())
    );
    assert!(tenon.run(&["show", "talk", "--json"]).json()["signature"].is_null());
    config("require = \"all\"");
    assert_eq!(tenon.run(&["run", "parrot", "hello"]).ok(), "hello\n");
    let ran = tenon.run(&["run", "talk", "hello"]);
    assert_eq!(ran.code, 4, "{}", ran.err);
    assert!(ran.err.contains("manifests/talk.toml is not signed"), "{}", ran.err);
    assert!(tenon.run(&["list", "--all"]).ok().contains("parrot"));
    config("");
    tenon.write("manifests/parrot.toml", SIGNED.replace("MIT", "ISC").as_bytes());
    let ran = tenon.run(&["show", "parrot"]);
    assert!(ran.code == 4 && ran.err.contains("is not what the key 8D6F47A519751C03 signed"), "{}", ran.err);
    config("require = \"some\"");
    let ran = tenon.run(&["list"]);
    assert!(
        ran.code == 2 && ran.err.contains("config.toml:3:11: \"require\" must be \"all\" or a list"),
        "{}",
        ran.err
    );
}
