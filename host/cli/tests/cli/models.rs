//! Commands about models and manifests.

use crate::support::Tenon;
use serde_json::Value;
use std::fs;

#[test]
fn list_shows_what_is_present_and_all_shows_everything() {
    let tenon = Tenon::new();
    let listed = tenon.run(&["list"]).ok();
    assert!(listed.starts_with("NAME            ID            SIZE  MODIFIED\n"), "{listed}");
    assert!(listed.contains("\nspeech          "), "{listed}");
    assert!(!listed.contains("away"), "{listed}");
    assert_eq!(tenon.run(&["ls"]).ok(), tenon.run(&["list"]).ok());
    insta::assert_snapshot!("list_all", tenon.run(&["list", "--all"]).page());
}

#[test]
fn list_in_json_is_an_array_with_the_promised_keys() {
    let tenon = Tenon::new();
    let json = tenon.run(&["list", "--json", "--all"]).json();
    let models = json.as_array().unwrap();
    assert_eq!(models.len(), 6);
    for model in models {
        for key in ["name", "task", "backend", "state"] {
            assert!(model[key].is_string(), "{key}: {model}");
        }
        assert!(model["size"].is_u64(), "{model}");
    }
    let state = |name: &str| models.iter().find(|model| model["name"] == name).unwrap()["state"].clone();
    assert_eq!(state("speech"), "present");
    assert_eq!(state("away"), "missing");
    fs::write(tenon.home.path().join("models/speech.bin"), "shorter").unwrap();
    let json = tenon.run(&["list", "--json"]).json();
    assert!(json.as_array().unwrap().iter().any(|model| model["state"] == "corrupt"), "{json}");
}

#[test]
fn list_warns_of_corrupt_models_and_broken_manifests() {
    let tenon = Tenon::new();
    fs::write(tenon.home.path().join("models/speech.bin"), "shorter").unwrap();
    tenon.home.add_manifest("odd", "chat", "echo", "colour = \"blue\"");
    let ran = tenon.run(&["list", "--all"]);
    assert!(ran.err.contains("warning: speech is corrupt; `tenon verify speech` says what is wrong"), "{}", ran.err);
    assert!(ran.err.contains("unknown key \"colour\""), "{}", ran.err);
    assert!(ran.out.contains("broken"), "{}", ran.out);
}

#[test]
fn a_broken_manifest_is_listed_and_stops_neither_verify_nor_lock() {
    let tenon = Tenon::new();
    tenon.home.add_manifest("odd", "chat", "echo", "colour = \"blue\"");
    let ran = tenon.run(&["list"]);
    assert!(ran.out.contains("\nodd             broken "), "{}", ran.out);
    assert!(ran.err.contains("unknown key \"colour\""), "{}", ran.err);
    let ran = tenon.run(&["verify", "--all"]);
    assert_eq!(ran.code, 9, "{}", ran.err);
    assert!(ran.out.contains("speech  speech.bin  17 B"), "{}", ran.out);
    assert!(ran.err.contains("unknown key \"colour\""), "{}", ran.err);
    assert!(ran.err.ends_with("error: 1 of 6 models failed\n"), "{}", ran.err);
    let ran = tenon.run(&["verify", "--all", "--json"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&json[5]["name"], &json[5]["error"]["exit_code"]), (&"odd".into(), &2.into()), "{json}");
    let ran = tenon.run(&["lock"]);
    assert_eq!(ran.code, 9, "{}", ran.err);
    assert!(ran.err.contains("unknown key \"colour\""), "{}", ran.err);
    assert!(tenon.read("tenon.lock").contains("\"speech\""));
    assert_eq!(tenon.run(&["--locked", "run", "talk", "hi"]).ok(), "hi\n");
}

#[test]
fn what_no_manifest_says_where_to_get_is_not_to_be_pulled() {
    let tenon = Tenon::new();
    fs::write(tenon.home.path().join("models/speech.bin"), "shorter").unwrap();
    let ran = tenon.run(&["list"]);
    assert!(ran.err.contains("speech is corrupt; `tenon verify speech`"), "{}", ran.err);
    assert!(!ran.err.contains("tenon pull speech"), "{}", ran.err);
}

#[test]
fn an_empty_home_lists_nothing_and_says_so_beside_the_result() {
    let tenon = Tenon::new();
    let ran = tenon.run_env(&["list"], &[("TENON_MANIFESTS", "nowhere")]);
    assert_eq!(ran.out, "NAME  ID  SIZE  MODIFIED\n");
    assert_eq!(ran.err, "no model is present; `tenon search` shows what can be had, `tenon pull NAME` gets it\n");
    assert_eq!(tenon.run_env(&["list", "--json"], &[("TENON_MANIFESTS", "nowhere")]).json(), Value::Array(vec![]));
}

#[test]
fn show_tells_what_a_manifest_says() {
    let tenon = Tenon::new();
    insta::assert_snapshot!("show", tenon.run(&["show", "speech"]).page());
    let json = tenon.run(&["show", "speech", "--json"]).json();
    assert_eq!(json["presets"]["german"]["language"], "de");
    assert_eq!(json["files"][0]["name"], "speech.bin");
}

#[test]
fn a_mistyped_model_gets_the_nearest_name_and_exit_code_3() {
    let tenon = Tenon::new();
    for args in
        [&["show", "speach"][..], &["verify", "speach"], &["transcribe", "-m", "speach", "a.wav"], &["bench", "speach"]]
    {
        let ran = tenon.run(args);
        assert_eq!(ran.code, 3, "{args:?}: {}", ran.err);
        assert!(ran.err.contains("did you mean \"speech\"?"), "{}", ran.err);
    }
    let error = tenon.run(&["run", "tolk", "hi", "--json"]).json_error();
    assert_eq!(error["kind"], "not-found");
}

#[test]
fn verify_reads_the_bytes_and_finds_a_changed_one() {
    let tenon = Tenon::new();
    let ran = tenon.run(&["verify", "speech"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("speech  speech.bin  17 B"), "{}", ran.out);
    assert!(ran.out.contains("  ok\n"), "{}", ran.out);
    fs::write(tenon.home.path().join("models/speech.bin"), b"weights of speecH").unwrap();
    let ran = tenon.run(&["verify", "--all"]);
    assert_eq!(ran.code, 4, "{}", ran.err);
    insta::assert_snapshot!("verify_changed", ran.page());
    let ran = tenon.run(&["verify", "--all", "--json"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    let report = json.as_array().unwrap().iter().find(|report| report["name"] == "speech").unwrap();
    assert_eq!(report["ok"], false);
    assert_eq!(report["files"][0]["error"]["kind"], "hash-mismatch");
}

#[test]
fn a_changed_model_is_refused_before_it_runs() {
    let tenon = Tenon::new();
    fs::write(tenon.home.path().join("models/speech.bin"), b"weights of speecH").unwrap();
    let ran = tenon.run(&["transcribe", "-m", "speech", "a.wav"]);
    assert_eq!((ran.code, ran.out.as_str()), (4, ""), "{}", ran.err);
    assert_eq!(tenon.run(&["transcribe", "-m", "speech", "--verify", "never", "a.wav"]).code, 0);
}

#[test]
fn verify_all_leaves_out_what_is_not_here_and_verify_by_name_does_not() {
    let tenon = Tenon::new();
    let ran = tenon.run(&["verify", "--all"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.starts_with("not here, and left out: 1;"), "{}", ran.err);
    let ran = tenon.run(&["verify", "away"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(ran.err.contains("https://example.org/away.bin"), "{}", ran.err);
    assert_eq!(tenon.run(&["verify"]).code, 2);
}

#[test]
fn progress_comes_as_json_when_asked_for() {
    let tenon = Tenon::new();
    let ran = tenon.run(&["verify", "speech", "--progress", "json"]);
    let last: Value = serde_json::from_str(ran.err.lines().last().unwrap()).unwrap();
    assert_eq!(last["status"], "verifying speech");
    assert_eq!((last["completed"].as_u64(), last["total"].as_u64()), (Some(17), Some(17)));
    assert_eq!(tenon.run(&["verify", "speech", "--progress", "json", "-q"]).err, "");
}

#[test]
fn manifest_check_shows_every_mistake_of_a_file_with_its_place() {
    let tenon = Tenon::new();
    let bad = "name = \"bad\"\ntask = \"chat\"\nbackend = \"echo\"\nlicence = \"MIT\"\n\n[[file]]\nrole = \"model\"\n\
               name = \"../up.bin\"\nsha265 = \"12\"\nsize = -1\n\n[preset.default]\ntemperatur = 1\n";
    tenon.write("check/bad.toml", bad.as_bytes());
    let ran = tenon.run(&["manifest", "check", "check/bad.toml"]);
    assert_eq!(ran.code, 2);
    insta::assert_snapshot!("manifest_check", ran.page());
    let ran = tenon.run(&["manifest", "check", "check", "--json"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json[0]["ok"], false);
    assert!(json[0]["problems"][0]["line"].is_u64());
}

#[test]
fn manifest_check_asks_the_backend_about_options() {
    let tenon = Tenon::new();
    let path = tenon.home.add_manifest("odd", "chat", "echo", "[preset.default]\ntemperatur = 1");
    let ran = tenon.run(&["manifest", "check", path.to_str().unwrap()]);
    assert_eq!(ran.code, 2, "{}", ran.out);
    assert!(ran.out.contains("temperature"), "{}", ran.out);
    let path = tenon.home.add_manifest("odd", "segment", "echo", "");
    let ran = tenon.run(&["manifest", "check", path.to_str().unwrap()]);
    assert_eq!(ran.code, 2, "{}", ran.out);
    assert!(ran.out.contains("odd.toml:2:8: backend \"echo\" does not offer the task \"segment\""), "{}", ran.out);
    fs::remove_file(path).unwrap();
    assert_eq!(tenon.run(&["manifest", "check", "manifests"]).ok().lines().count(), 6);
    let path = tenon.home.add_manifest("odd", "chat", "nosuch", "");
    let ran = tenon.run(&["manifest", "check", path.to_str().unwrap()]);
    assert_eq!(ran.code, 0);
    assert!(ran.out.contains("ok, but its options are unchecked"), "{}", ran.out);
    assert_eq!(tenon.run(&["manifest", "check", "nosuch.toml"]).code, 3);
    assert_eq!(tenon.run(&["manifest", "check", "user-has-none"]).code, 3);
}

#[test]
fn manifest_check_goes_on_after_what_it_cannot_read() {
    let tenon = Tenon::new();
    let ran = tenon.run(&["manifest", "check", "nosuch.toml", "manifests/talk.toml", "user"]);
    assert_eq!((ran.code, ran.out.as_str()), (9, "manifests/talk.toml: ok\n"), "{}", ran.err);
    assert!(ran.err.starts_with("error: nosuch.toml: cannot be read: "), "{}", ran.err);
    assert!(ran.err.ends_with("error: 2 of 3 manifests failed\n"), "{}", ran.err);
    let ran = tenon.run(&["manifest", "check", "nosuch.toml", "manifests/talk.toml", "--json"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&json[0]["ok"], &json[0]["error"]["kind"]), (&false.into(), &"not-found".into()), "{json}");
    assert_eq!((&json[1]["ok"], &json[1]["error"]), (&true.into(), &Value::Null), "{json}");
    tenon.write("bad.toml", b"name = 5");
    assert_eq!(tenon.run(&["manifest", "check", "nosuch.toml", "bad.toml"]).code, 2);
}

#[test]
fn a_new_manifest_is_one_that_checks_and_runs() {
    let tenon = Tenon::new();
    tenon.write("models/fresh.bin", b"fresh weights");
    let args =
        ["manifest", "new", "fresh", "models/fresh.bin", "--backend", "echo", "--task", "chat", "--license", "MIT"];
    insta::assert_snapshot!("manifest_new", tenon.run(&args).ok());
    let with_file =
        [&args[..], &["--output", "manifests/fresh.toml", "--url", "https://example.org/fresh.bin"]].concat();
    assert_eq!(tenon.run(&with_file).ok(), "manifests/fresh.toml\n");
    assert_eq!(tenon.run(&["run", "fresh", "hi"]).ok(), "hi\n");
    let ran = tenon.run(&with_file);
    assert_eq!(ran.code, 1, "an existing manifest is not overwritten: {}", ran.err);
    assert_eq!(
        tenon
            .run(&[
                "manifest",
                "new",
                "Fresh!",
                "models/fresh.bin",
                "--backend",
                "echo",
                "--task",
                "chat",
                "--license",
                "MIT"
            ])
            .code,
        2
    );
}

#[test]
fn the_schema_of_manifests_is_json_schema() {
    let schema = Tenon::new().run(&["manifest", "schema"]).json();
    assert!(schema["properties"]["backend"].is_object(), "{schema}");
}

#[test]
fn bench_gives_medians_of_every_measurement() {
    let tenon = Tenon::new();
    let json = tenon.run(&["bench", "speech", "--runs", "3", "--audio", "a.wav", "--json"]).json();
    assert!(json["measured"]["load"]["median"].as_f64().unwrap() > 0.0);
    assert!(json["measured"]["transcribe"]["median"].as_f64().unwrap() > 0.0);
    assert_eq!(json["measured"]["transcribe"]["input"]["seconds"], 2.5);
    let prompt = |tokens: &str| {
        let json = tenon.run(&["bench", "talk", "--runs", "1", "--prompt-tokens", tokens, "--json"]).json();
        json["measured"]["prompt"]["input"]["tokens"].as_u64()
    };
    assert_eq!((prompt("10"), prompt("100")), (Some(10), Some(100)));
    assert_eq!(tenon.run(&["bench", "talk", "--prompt-tokens", "4294967295"]).code, 2);
    let text = tenon.run(&["bench", "talk", "--runs", "2", "--prompt-tokens", "10", "--generate-tokens", "3"]).ok();
    assert!(text.starts_with("WHAT      MEDIAN"), "{text}");
    assert!(text.contains("generate"), "{text}");
    let ran = tenon.run(&["bench", "speech"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("--audio FILE"), "{}", ran.err);
    assert_eq!(tenon.run(&["bench", "vectors"]).code, 1);
}

#[test]
fn the_demo_compares_transcripts_and_says_which_is_wrong() {
    let tenon = Tenon::new();
    tenon.write("talk.schema.json", br#"{"type": "object"}"#);
    tenon.write("played/recordings.toml", b"[[recording]]\nfile = \"../b.wav\"\ntext = \"Second 1, peak 50.\"\n");
    let demo = |extra: &[&str]| {
        let args =
            ["demo", "--recordings", "played/recordings.toml", "--speech-model", "speech", "--answer-model", "talk"];
        tenon.run(&[&args[..], extra].concat())
    };
    let shown = demo(&[]).ok();
    assert!(shown.contains("text    second 1 peak 50"), "{shown}");
    assert!(shown.ends_with("1 of 1 recordings came out right\n"), "{shown}");
    assert_eq!(demo(&["--json"]).json()["recordings"][0]["transcript"]["ok"], true);
    tenon.write("played/recordings.toml", b"[[recording]]\nfile = \"../b.wav\"\ntext = \"something else\"\n");
    let ran = demo(&[]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("wanted  something else"), "{}", ran.out);
    assert_eq!(ran.err, "error: 1 of 1 recordings came out wrong\n");
    tenon.write("played/recordings.toml", b"");
    assert_eq!(demo(&[]).code, 2);
    let ran = tenon.run(&["demo"]);
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("recordings.toml"), "{}", ran.err);
}
