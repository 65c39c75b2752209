//! `tenon pull` against a server that goes wrong: exit codes, sentences, JSON, Ctrl-C and SIGKILL.

use crate::tenon::{Ran, add, command, run};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::process::Stdio;
use std::time::Duration;
use tenon_pull_tests::{Answer, Gate, Home, Seeded, Server, manifest, noise};
use tenon_store::Chunks;

const SIZE: usize = 200_000;

/// A home with a model `far` whose one file a server has.
fn scene(seed: u64) -> (Server, Home, Vec<u8>) {
    let (server, home, bytes) = (Server::start(), Home::new(), noise(seed, SIZE));
    let url = server.blob("/blob.bin", &bytes);
    add(&home, &manifest("far", &[("blob.bin", &[url], &bytes)]));
    (server, home, bytes)
}

#[test]
fn each_failure_has_its_exit_code_and_one_sentence_and_leaves_no_name() {
    let good = Answer::good;
    for (case, answer, code, words) in [
        ("not found", Answer::status(404), 3, "404"),
        ("unauthorised", Answer::status(401), 7, "HF_TOKEN"),
        ("forbidden", Answer::status(403), 7, "403"),
        ("busy for a year", Answer::status(429).header("Retry-After", "31536000"), 7, "429"),
        ("gzip on top", good().gzipped(), 7, "gzip"),
        ("another size", good().body(vec![1; 100]), 7, "100 bytes"),
        ("wrong bytes", good().body(noise(1, SIZE)), 4, "SHA-256"),
        ("a loop", Answer::redirect(302, "/blob.bin"), 7, "redirects"),
        ("to a metadata service", Answer::redirect(302, "http://169.254.169.254/x"), 7, "169.254.169.254"),
    ] {
        let (server, home, bytes) = scene(81);
        server.always("/blob.bin", answer);
        let ran = run(&home, &["pull", "far"]);
        let sentence = ran.fails(code, case);
        assert!(sentence.contains(words) && ran.out.is_empty(), "{case}: {sentence}");
        home.assert_sound(case);
        assert!(!home.holds(&bytes), "{case}");
        assert!(!home.store_folder().join("models").join("far.toml").exists(), "{case}");
    }
}

#[test]
fn what_is_pulled_is_listed_and_pulled_no_second_time() {
    let (server, home, bytes) = scene(82);
    server.script("/blob.bin", [Answer::good().cut(50_000)]);
    let ran = run(&home, &["pull", "far"]).ok("pull");
    assert!(ran.out.is_empty() && ran.err.lines().last() == Some("success"), "{}", ran.err);
    assert!(ran.err.contains("MIT") && ran.err.contains("verifying sha256 digest"), "{}", ran.err);
    assert!(!ran.err.contains(['\r', '\x1b']), "{:?}", ran.err);
    assert!(home.holds(&bytes) && home.store_folder().join("models").join("far.toml").exists());
    let starts: Vec<u64> = server.gets("/blob.bin").iter().map(|get| get.start()).collect();
    assert_eq!(starts, [0, 50_000]);
    run(&home, &["pull", "far", "--offline"]).ok("again");
    assert_eq!(server.gets("/blob.bin").len(), 2);
    let list = run(&home, &["list", "--json"]).ok("list").out;
    assert!(list.contains("\"present\""), "{list}");
}

#[test]
fn offline_and_unknown_names_fail_before_any_socket_is_opened() {
    let (server, home, _) = scene(83);
    let offline = run(&home, &["pull", "far", "--offline"]);
    assert!(offline.fails(7, "offline").contains("offline"));
    for name in
        ["..", "../far", "far/../far", "%2e%2e", "con", "nul.toml", "far ", "a\\b", "C:far", "far.toml:x", "-", "Far\n"]
    {
        let ran = run(&home, &["pull", "--", name]);
        assert!([2, 3].contains(&ran.code) && ran.err.starts_with("error: "), "{name:?}: {} {}", ran.code, ran.err);
    }
    assert_eq!(server.log().connections(), 0);
}

#[test]
fn an_address_needs_its_digest_and_is_held_to_it() {
    let (server, home, bytes) = (Server::start(), Home::new(), [b"GGUF\x03\0\0\0".to_vec(), noise(84, 4000)].concat());
    let url = server.blob("/tiny.gguf", &bytes);
    assert_eq!(run(&home, &["pull", &url]).code, 2);
    let wrong = "0".repeat(64);
    let ran = run(&home, &["pull", &url, "--sha256", &wrong, "--license", "MIT"]);
    assert!(ran.fails(4, "another digest").contains(&wrong));
    home.assert_sound("another digest");
    let digest = tenon_store::Digest::of(&bytes).to_string();
    run(&home, &["pull", &url, "--sha256", &digest, "--license", "MIT"]).ok("the right digest");
    assert!(home.holds(&bytes));
}

/// The JSON objects of standard error.
fn objects(ran: &Ran) -> Vec<Value> {
    ran.err.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn progress_as_json_is_one_object_per_line_that_only_ever_grows() {
    let (server, home, bytes) = scene(85);
    server.script("/blob.bin", [Answer::good().cut(50_000)]);
    server.always("/blob.bin", Answer::good().drip(5_000, Duration::from_millis(5)));
    let ran = run(&home, &["pull", "far", "--progress", "json"]).ok("json");
    let objects = objects(&ran);
    let statuses: Vec<&str> = objects.iter().map(|object| object["status"].as_str().expect("a status")).collect();
    assert!(statuses.contains(&"verifying sha256 digest") && statuses.contains(&"writing manifest"), "{statuses:?}");
    assert_eq!(statuses.last(), Some(&"success"));
    let digest = tenon_store::Digest::of(&bytes);
    let pulling: Vec<&Value> = objects.iter().filter(|object| object.get("digest").is_some()).collect();
    assert!(pulling.len() > 1, "{objects:#?}");
    let mut before = 0;
    for object in pulling {
        assert_eq!(object["status"], format!("pulling {}", &digest.to_string()[..12]));
        assert_eq!(
            (object["digest"].as_str(), object["total"].as_u64()),
            (Some(&*format!("sha256:{digest}")), Some(SIZE as u64))
        );
        let completed = object["completed"].as_u64().expect("a number");
        assert!(completed >= before && completed <= SIZE as u64, "{completed} after {before}");
        before = completed;
    }
    assert_eq!(before, SIZE as u64);
}

#[test]
fn results_as_json_say_what_came_and_errors_which_kind_they_are() {
    let (server, home, _) = scene(86);
    let ran = run(&home, &["pull", "far", "--json", "--quiet"]).ok("json");
    let result: Value = serde_json::from_str(&ran.out).expect("one object");
    assert_eq!((ran.err.as_str(), result["fetched"].as_u64()), ("", Some(SIZE as u64)));
    add(&home, &manifest("gone", &[("gone.bin", &[server.url("/gone.bin")], b"gone")]));
    let ran = run(&home, &["pull", "gone", "--json"]);
    let error: Value = serde_json::from_str(ran.err.lines().last().expect("an error")).expect("one object");
    assert_eq!((ran.code, error["error"]["kind"].as_str()), (3, Some("not-found")));
}

/// A pull that waits at a gate with this many bytes.
#[cfg(unix)]
fn waiting(server: &Server, home: &Home, gate: &Gate, at: u64) -> std::process::Child {
    server.script("/blob.bin", [Answer::good().gate(at, gate)]);
    let mut child =
        command(home, &["pull", "far", "--progress", "json"]).stderr(Stdio::piped()).spawn().expect("it runs");
    let words = format!("\"completed\":{at}");
    let mut lines = BufReader::new(child.stderr.as_mut().expect("a pipe")).lines();
    assert!(lines.any(|line| line.expect("a line").replace(": ", ":").contains(&words)), "never held {at} bytes");
    child
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_pull_at_once_and_the_next_one_goes_on_at_that_byte() {
    let (server, home, bytes) = scene(87);
    let mut child = waiting(&server, &home, &Gate::shut(), 80_000);
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    home.assert_sound("Ctrl-C");
    assert!(!home.holds(&bytes));
    run(&home, &["pull", "far"]).ok("the next one");
    assert!(home.holds(&bytes));
    assert_eq!(server.gets("/blob.bin")[1].start(), 80_000);
}

#[test]
fn a_killed_program_leaves_no_wrong_name_and_the_next_one_goes_on_where_it_stopped() {
    let (mut numbers, mut scene) = (Seeded::new(88), scene(88));
    for kill in 0..10 {
        let (server, home, bytes) = &scene;
        let before = server.gets("/blob.bin").last().map_or(0, |get| get.start() + get.sent);
        let at = 1 + numbers.below(SIZE as u64 / 4);
        if before + at >= SIZE as u64 {
            run(home, &["pull", "far"]).ok("the rest");
            assert!(home.holds(bytes));
            scene = self::scene(88);
            continue;
        }
        let words = before + at;
        server.script("/blob.bin", [Answer::good().gate(at, &Gate::shut())]);
        let mut child = command(home, &["pull", "far", "--progress", "json"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.as_mut().unwrap()).lines();
        assert!(lines.any(|line| {
            serde_json::from_str::<Value>(&line.unwrap()).unwrap()["completed"]
                .as_u64()
                .is_some_and(|done| done * 100 / SIZE as u64 >= words * 100 / SIZE as u64)
        }));
        child.kill().unwrap();
        child.wait().unwrap();
        home.assert_sound("killed");
        let start = server.gets("/blob.bin").last().unwrap().start();
        assert_eq!(start, before, "kill {kill}");
    }
}

/// Puts bytes under the name of a blob, as a disk that rots would.
fn rot(home: &Home, blob: &[u8], bytes: &[u8]) {
    let path = home.blob_path(tenon_store::Digest::of(blob));
    std::fs::remove_file(&path).expect("the blob is there");
    std::fs::write(&path, bytes).expect("it can be written");
}

#[test]
fn a_repair_survives_broken_connections_and_manifests_that_lie_about_chunks() {
    let bytes = noise(89, 400_000);
    let rotten: Vec<u8> = bytes.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == 200_000)).collect();
    let chunks = |of: &[u8]| Chunks::of(&mut &of[..], 64 << 10, &mut |_| ControlFlow::Continue(())).expect("chunks");
    for (case, chunks, fault) in [
        ("true chunks", chunks(&bytes), Answer::good()),
        ("true chunks, cut", chunks(&bytes), Answer::good().cut(10_000)),
        ("chunks of what rotted", chunks(&rotten), Answer::good()),
        ("chunks of something else", chunks(&noise(90, 400_000)), Answer::good()),
    ] {
        let (server, home) = (Server::start(), Home::new());
        let url = server.blob("/blob.bin", &bytes);
        let mut manifest = manifest("far", &[("blob.bin", &[url], &bytes)]);
        let is_true = case.starts_with("true");
        manifest.files[0].chunks = Some(chunks);
        add(&home, &manifest);
        run(&home, &["pull", "far"]).ok(case);
        rot(&home, &bytes, &rotten);
        server.script("/blob.bin", [fault]);
        let before = server.log().sent("/blob.bin");
        run(&home, &["verify", "far", "--repair"]).ok(case);
        assert!(home.holds(&bytes), "{case}");
        home.assert_sound(case);
        let fetched = server.log().sent("/blob.bin") - before;
        assert!(!is_true || fetched == 64 << 10, "{case}: fetched {fetched} bytes");
    }
}
