//! Models whose backends run in workers.

use crate::support::Tenon;

const APART: &str = "isolation = \"worker\"\n[worker]\ncount = 2\nmemory_limit = 1073741824\n";

#[test]
fn a_worker_answers_as_this_process_does_and_the_result_says_where() {
    let tenon = Tenon::new();
    let (asked, apart) = (["run", "text", "one two"], ["--isolation", "worker"]);
    let here = tenon.run(&asked).ok();
    assert_eq!(tenon.run(&[&apart[..], &asked].concat()).ok(), here);
    let provenance = |more: &[&str]| tenon.run(&[&["--json"], more, &asked].concat()).json()["provenance"].clone();
    assert_eq!((&provenance(&[])["isolation"], &provenance(&[])["sandbox"]), (&"process".into(), &().into()));
    let there = provenance(&apart);
    assert_eq!(there["isolation"], "worker");
    assert!(["full", "partial", "none"].contains(&there["sandbox"].as_str().unwrap()), "{there}");
    let speech = ["transcribe", "-m", "speech", "a.wav"];
    let out = tenon.run_env(&speech, &[("TENON_ISOLATION", "worker")]).ok();
    assert_eq!(out, tenon.run(&speech).ok());
}

#[test]
fn a_worker_that_dies_is_an_error_with_its_signal_and_its_last_lines() {
    let tenon = Tenon::new();
    let asked = ["run", "broken-backend", "-o", "fault=abort", "--isolation", "worker", "hi"];
    let ran = tenon.run(&asked);
    assert_eq!((ran.code, ran.out.as_str()), (8, ""), "{}", ran.err);
    assert!(ran.err.contains("error: the worker of backend \"faulty\" crashed with SIGABRT"), "{}", ran.err);
    let ran = tenon.run(&[&["--json"], &asked[..]].concat());
    let error = ran.json_error();
    assert_eq!((ran.code, &error["kind"], &error["exit_code"]), (8, &"worker-died".into(), &8.into()));
    assert_eq!(error["details"]["signal"], "SIGABRT");
    assert!(error["details"]["worker_pid"].is_string() && error["details"]["log"].is_string(), "{error}");
}

#[test]
fn a_manifest_that_asks_for_a_worker_gets_one_and_nothing_less() {
    let tenon = Tenon::new();
    tenon.home.add_manifest("apart", "generate", "echo", APART);
    let asked = ["run", "apart", "one two"];
    assert_eq!(tenon.run(&[&["--json"], &asked[..]].concat()).json()["provenance"]["isolation"], "worker");
    let ran = tenon.run(&[&["--isolation", "process"], &asked[..]].concat());
    assert_ne!(ran.code, 0);
    assert!(ran.err.contains("a model is never run less isolated than that"), "{}", ran.err);
    let show = tenon.run(&["show", "apart"]).unwrapped();
    assert!(show.contains("isolation worker, sandbox on, up to 2 side by side, 1.1 GB of memory each"), "{show}");
    let json = tenon.run(&["show", "apart", "--json"]).json();
    assert_eq!((&json["isolation"], &json["worker"]["count"]), (&"worker".into(), &2.into()));
    assert_eq!(tenon.run(&["show", "text", "--json"]).json()["worker"], serde_json::Value::Null);
    let list = tenon.run(&["list", "--json"]).json();
    let of =
        |name: &str| list.as_array().unwrap().iter().find(|entry| entry["name"] == name).unwrap()["isolation"].clone();
    assert_eq!((of("apart"), of("text")), ("worker".into(), "process".into()));
}

#[test]
fn manifests_know_the_table_of_workers() {
    let tenon = Tenon::new();
    let made = ["manifest", "new", "--task", "generate", "--backend", "echo", "--license", "MIT", "made", "a.wav"];
    let text = tenon.run(&[&made[..], &["--isolation", "worker"]].concat()).ok();
    assert!(text.contains("isolation = \"worker\"\n"), "{text}");
    let odd = tenon.home.add_manifest("odd", "generate", "echo", "isolation = \"worker\"\n[worker]\ncount = 17\n");
    let ran = tenon.run(&["manifest", "check", odd.to_str().unwrap()]);
    assert!(ran.code != 0 && ran.out.contains("\"count\" must be a whole number from 1 to 16"), "{}", ran.out);
    let schema = tenon.run(&["manifest", "schema"]).json();
    assert!(schema["properties"]["worker"]["properties"]["memory_limit"].is_object(), "{schema}");
}

#[test]
fn doctor_tries_a_worker_and_says_what_shuts_it_in() {
    let tenon = Tenon::new();
    let json = tenon.run(&["doctor", "--json"]).json();
    assert!(["full", "partial", "none"].contains(&json["worker"]["sandbox"].as_str().unwrap()), "{json}");
    assert!(json["worker"]["program"].as_str().unwrap().ends_with("tenon-worker"), "{json}");
    let page = tenon.run(&["doctor"]).ok();
    assert!(page.contains("\nWorkers\n  program    ") && page.contains("\n  sandbox    "), "{page}");
    let ran = tenon.run_env(&["doctor"], &[("TENON_WORKER", "/nowhere/tenon-worker")]);
    assert_eq!(ran.code, 1, "{}", ran.out);
    assert!(ran.out.contains("  workers: ") && ran.out.contains("/nowhere/tenon-worker"), "{}", ran.out);
}

#[test]
fn plugins_are_looked_at_and_checked_in_workers() {
    let tenon = Tenon::new();
    let info = tenon.run(&["plugin", "info", "echo", "--json"]).json();
    assert_eq!(tenon.run(&["plugin", "info", "echo", "--json", "--isolation", "worker"]).json(), info);
    assert!(tenon.run(&["devices", "--json", "--isolation", "worker"]).json().is_array());
    let library = std::fs::read_dir(tenon.home.path().join("plugins")).unwrap().flatten().map(|entry| entry.path());
    let name = |path: &std::path::PathBuf| path.file_name().unwrap().to_string_lossy().contains("tenon_echo");
    let library = library.into_iter().find(name).unwrap();
    let ran = tenon.run(&["plugin", "info", library.to_str().unwrap(), "--isolation", "worker"]);
    assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("plugin check FILE --isolation worker"), "{}", ran.err);
    let ran = tenon.run(&["plugin", "check", library.to_str().unwrap(), "--isolation", "worker"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("keeps the contract ("), "{}", ran.out);
}
