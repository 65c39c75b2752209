//! `tenon estimate`, and loads that do not fit into memory. Echo's load option `memory_mb` says what a model needs.

use crate::support::Tenon;

/// No machine has as much.
const GREEDY: &str = "memory_mb=1000000000";

#[test]
fn estimate_shows_each_device_with_its_parts_and_whether_it_fits() {
    let tenon = Tenon::new();
    let ran = tenon.run(&["estimate", "speech", "-o", "memory_mb=5", "--sessions", "2"]);
    let lines: Vec<Vec<&str>> = ran.out.lines().map(|line| line.split_whitespace().collect()).collect();
    let columns = ["DEVICE", "WEIGHTS", "CACHE", "COMPUTE", "OTHER", "TOTAL", "AVAILABLE", "RESERVE", "FITS"];
    assert_eq!(lines[0], columns);
    assert_eq!(lines[1][..11], ["cpu", "17", "B", "8.2", "KB", "16", "KB", "5.0", "MB", "5.0", "MB"], "{}", ran.out);
    assert_eq!(lines[1].last(), Some(&"yes"));
    assert_eq!(ran.err, "5.0 MB for the model, 12 KB for each session; 2 sessions\n");
}

#[test]
fn estimate_in_json_has_the_model_and_a_session_apart() {
    let json = Tenon::new().run(&["estimate", "speech", "-o", "memory_mb=5", "--sessions", "3", "--json"]).json();
    assert_eq!((json["model"].as_str(), json["backend"].as_str()), (Some("speech"), Some("echo")));
    assert_eq!((json["total"].as_u64(), json["fits"].as_bool()), (Some(5_000_017 + 3 * 12_288), Some(true)));
    assert_eq!(json["load_options"]["memory_mb"], 5);
    let device = &json["devices"][0];
    assert_eq!((device["device"].as_str(), device["model"]["weights"].as_u64()), (Some("cpu"), Some(17)));
    assert_eq!((device["session"]["cache"].as_u64(), device["model"]["cache"].as_u64()), (Some(4096), Some(0)));
    assert!(device["available"].as_u64() > device["reserve"].as_u64());
}

#[test]
fn what_does_not_fit_is_an_answer_of_estimate_and_an_error_of_a_load() {
    let tenon = Tenon::new();
    let estimate = tenon.run(&["estimate", "text", "-o", GREEDY]);
    assert_eq!(estimate.code, 0);
    assert!(estimate.out.ends_with("no\n"), "{}", estimate.out);
    assert!(estimate.err.contains("it does not fit: loading it is refused, unless with --ignore-memory"));
    let run = ["run", "text", "hello", "-o", GREEDY];
    let refused = tenon.run(&run);
    assert_eq!((refused.code, refused.out.as_str()), (6, ""));
    assert!(refused.err.contains("model \"text\" needs 1000000.0 GB of memory on cpu"), "{}", refused.err);
    let error = tenon.run(&["--json", "run", "text", "hello", "-o", GREEDY]).json_error();
    assert_eq!(error["kind"], "out-of-memory");
    assert_eq!(error["details"]["needed"], "1000000000012288");
    assert_eq!(tenon.run(&[&["--ignore-memory"], &run[..]].concat()).ok(), "hello\n");
    assert_eq!(tenon.run_env(&run, &[("TENON_IGNORE_MEMORY", "1")]).ok(), "hello\n");
    assert_eq!(tenon.run_env(&run, &[("TENON_IGNORE_MEMORY", "0")]).code, 6);
}

#[test]
fn estimate_says_what_is_wrong_with_what_it_is_asked() {
    let tenon = Tenon::new();
    for (arguments, code, says) in [
        (&["nobody"][..], 3, "nobody"),
        (&["away"], 3, "away.bin"),
        (&["broken-backend"], 1, "nobody knows what a fault needs"),
        (&["text", "-o", "memory_gb=1"], 2, "memory_gb"),
        (&["text", "-o", "memory_mb=much"], 2, "memory_mb"),
        (&["text", "-o", "memory_mb"], 2, "is no option"),
        (&["text", "--sessions", "0"], 2, "--sessions"),
    ] {
        let ran = tenon.run(&[&["estimate"], arguments].concat());
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(says), "{arguments:?}: {}", ran.err);
    }
}
