//! Commands about plugins, and what happens when one is refused.

use crate::support::Tenon;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

fn library(tenon: &Tenon, id: &str) -> PathBuf {
    let name = format!("{}tenon_{id}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    tenon.home.path().join("plugins").join(name)
}

/// Changes one byte near the end.
fn spoil(path: &PathBuf) {
    let mut bytes = fs::read(path).unwrap();
    let place = bytes.len() - 100;
    bytes[place] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn plugins_are_listed_with_what_they_offer() {
    let tenon = Tenon::new();
    let listed = tenon.run(&["plugin", "list"]).ok();
    assert!(listed.starts_with("ID"), "{listed}");
    assert!(listed.contains("transcribe,translate,detect-language,generate,chat,embed"), "{listed}");
    let json = tenon.run(&["plugin", "list", "--json"]).json();
    assert_eq!(json[0]["id"], "echo");
    assert_eq!(json[0]["abi"], "1.1");
    assert_eq!(json[0]["problem"], Value::Null);
}

#[test]
fn info_shows_options_by_id_version_and_file() {
    let tenon = Tenon::new();
    let by_id = tenon.run(&["plugin", "info", "echo"]).ok();
    assert!(by_id.starts_with("echo 0.1.0: repeats what it is given\n"), "{by_id}");
    assert!(by_id.contains("Options of chat"), "{by_id}");
    assert!(by_id.contains("temperature: a number from 0 to 2, by default 0.8"), "{by_id}");
    let file = library(&tenon, "echo");
    assert_eq!(tenon.run(&["plugin", "info", file.to_str().unwrap()]).ok(), by_id);
    assert_eq!(tenon.run(&["plugin", "info", "echo@0.1.0"]).ok(), by_id);
    let json = tenon.run(&["plugin", "info", "echo", "--json"]).json();
    assert_eq!(json["description"]["audio"]["rate"], 16_000);
    let ran = tenon.run(&["plugin", "info", "eco"]);
    assert!([3, 5].contains(&ran.code), "{}: {}", ran.code, ran.err);
}

#[test]
fn a_plugin_with_one_changed_byte_is_refused_before_it_runs() {
    let tenon = Tenon::new();
    spoil(&library(&tenon, "echo"));
    let ran = tenon.run(&["run", "talk", "hi"]);
    assert_eq!((ran.code, ran.out.as_str()), (4, ""), "{}", ran.err);
    let ran = tenon.run(&["doctor"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("REFUSED  echo"), "{}", ran.out);
}

#[test]
fn a_plugin_for_another_contract_or_none_at_all_is_exit_code_5() {
    let tenon = Tenon::new();
    tenon.home.replace(&tenon.home.sidecar("echo"), "abi = \"1.1\"", "abi = \"2.0\"");
    let ran = tenon.run(&["run", "talk", "hi"]);
    assert_eq!(ran.code, 5, "{}", ran.err);
    tenon.home.add_manifest("orphan", "chat", "nosuch", "");
    let ran = tenon.run(&["run", "orphan", "hi"]);
    assert_eq!(ran.code, 5, "{}", ran.err);
    assert!(ran.err.contains("nosuch"), "{}", ran.err);
}

#[test]
fn sealing_writes_a_sidecar_that_loads() {
    let tenon = Tenon::new();
    let template = "id = \"echo\"\nversion = \"0.1.0\"\nabi = \"1.1\"\ntasks = [\"chat\"]\ncpu = \"any\"\n\
                    license = \"MIT\"\ndescription = \"Repeats\"\n";
    tenon.write("work/echo.plugin.toml", template.as_bytes());
    let file = tenon.home.path().join("work/other.so");
    fs::copy(library(&tenon, "echo"), &file).unwrap();
    let ran = tenon.run(&["plugin", "seal", "work/other.so", "--template", "work/echo.plugin.toml"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "work/echo.plugin.toml\n"), "{}", ran.err);
    assert!(tenon.read("work/echo.plugin.toml").contains("file = \"other.so\"\nsha256 = \""));
    assert!(tenon.run(&["plugin", "info", "work/other.so"]).ok().starts_with("echo 0.1.0"));
    spoil(&file);
    assert_eq!(tenon.run(&["plugin", "info", "work/other.so"]).code, 4);
    // Sealed again after a build, with what was sealed before.
    fs::copy(library(&tenon, "echo"), &file).unwrap();
    fs::copy(tenon.home.path().join("work/echo.plugin.toml"), tenon.home.path().join("echo.plugin.toml")).unwrap();
    for _ in 0..2 {
        assert_eq!(tenon.run(&["plugin", "seal", "work/other.so"]).ok(), "work/echo.plugin.toml\n");
        assert!(tenon.run(&["plugin", "info", "work/other.so"]).ok().starts_with("echo 0.1.0"));
    }
    fs::remove_file(tenon.home.path().join("echo.plugin.toml")).unwrap();
    tenon.write("work/echo.plugin.toml", b"id = 5");
    let ran = tenon.run(&["plugin", "info", "work/other.so"]);
    assert!(ran.code == 5 && ran.err.contains("echo.plugin.toml:1:1: key \"file\" is missing"), "{}", ran.err);
    let ran = tenon.run(&["plugin", "seal", "work/other.so"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(ran.err.contains("--template"), "{}", ran.err);
}

#[cfg(unix)]
#[test]
fn a_pipe_in_the_place_of_a_sidecar_library_or_manifest_stops_nobody() {
    let tenon = Tenon::new();
    for name in ["plugins/pipe.plugin.toml", "pipe.so", "pipe.toml"] {
        let made = std::process::Command::new("mkfifo").arg(tenon.home.path().join(name)).status();
        assert!(made.expect("mkfifo runs").success());
    }
    let run = |args: &[&str]| {
        let mut command = assert_cmd::Command::from_std(tenon.command(args));
        command.timeout(std::time::Duration::from_secs(120)).output().expect("the program ends").status.code()
    };
    assert_eq!(run(&["run", "talk", "hi"]), Some(0));
    assert_eq!(run(&["plugin", "seal", "pipe.so", "--template", "plugins/pipe.plugin.toml"]), Some(5));
    assert_eq!(run(&["plugin", "check", "pipe.so"]), Some(2));
    assert_eq!(run(&["manifest", "check", "pipe.toml"]), Some(1));
    fs::remove_file(library(&tenon, "echo")).unwrap();
    fs::rename(tenon.home.path().join("pipe.so"), library(&tenon, "echo")).unwrap();
    assert_eq!(run(&["run", "talk", "hi"]), Some(1));
}

#[test]
fn the_backend_word_of_a_manifest_and_the_plugin_folder_change_the_engine() {
    let tenon = Tenon::new();
    let ran = tenon.run_env(&["run", "talk", "hi"], &[("TENON_PLUGIN_PATH", "nowhere")]);
    assert_eq!(ran.code, 5);
    let args = ["run", "talk", "hi", "--plugins", "plugins"];
    assert_eq!(tenon.run_env(&args, &[("TENON_PLUGIN_PATH", "nowhere")]).ok(), "hi\n");
    let Some(example) = tenon_testkit::c_example() else { return };
    let library = tenon.home.add_plugin(&example);
    let info = tenon.run(&["plugin", "info", library.to_str().unwrap(), "--json"]).json();
    let task = info["description"]["tasks"][0]["task"].as_str().unwrap().to_owned();
    if ["chat", "generate"].contains(&task.as_str()) {
        tenon.home.add_manifest("plain-c", &task, "c-example", "");
        assert_ne!(tenon.run(&["run", "plain-c", "hi"]).ok(), "");
    }
}

#[test]
fn devices_lists_what_plugins_report() {
    let tenon = Tenon::new();
    assert!(tenon.run(&["devices"]).ok().starts_with("BACKEND  DEVICE  DESCRIPTION  MEMORY  FREE\n"));
    assert!(tenon.run(&["devices", "--json"]).json().is_array());
}

#[test]
fn doctor_describes_machine_places_plugins_and_models() {
    let tenon = Tenon::new();
    let ran = tenon.run(&["doctor"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    for part in ["physical cores", "[HOME]/manifests", "ok       echo 0.1.0", "present  speech", "Nothing is wrong."] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let json = tenon.run(&["doctor", "--json"]).json();
    assert_eq!(json["ok"], true);
    assert_eq!(json["models"]["missing"], 1);
    assert!(json["machine"]["threads"].as_u64().unwrap() >= 1);
    tenon.home.add_manifest("odd", "chat", "echo", "colour = \"blue\"");
    let ran = tenon.run(&["doctor"]);
    assert_eq!((ran.code, ran.err.as_str()), (1, "error: 1 problem was found\n"));
    assert!(ran.out.contains("colour"), "{}", ran.out);
}

#[test]
fn check_passes_a_plugin_that_keeps_the_contract() {
    let tenon = Tenon::new();
    let file = library(&tenon, "echo");
    let ran = tenon.run(&["plugin", "check", file.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("keeps the contract ("), "{}", ran.out);
    let json = tenon.run(&["plugin", "check", file.to_str().unwrap(), "--without-running", "--json"]).json();
    assert_eq!(json["passed"], true);
    assert!(json["findings"].as_array().unwrap().iter().any(|finding| finding["level"] == "note"), "{json}");
}

#[test]
fn check_refuses_a_changed_plugin_and_what_is_none() {
    let tenon = Tenon::new();
    let file = library(&tenon, "echo");
    spoil(&file);
    let ran = tenon.run(&["plugin", "check", file.to_str().unwrap()]);
    assert_eq!(ran.code, 4, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("error: "), "{}", ran.out);
    assert!(ran.err.contains("is not the library that its sidecar names"), "{}", ran.err);
    assert_eq!(tenon.run(&["plugin", "check", "a.wav"]).code, 5);
    assert_eq!(tenon.run(&["plugin", "check", "nosuch.so"]).code, 3);
}

#[test]
fn a_plugin_that_ends_the_process_does_not_end_the_command_that_checks_it() {
    let tenon = Tenon::new();
    let file = library(&tenon, "faulty");
    let ran = tenon.run_env(&["plugin", "check", file.to_str().unwrap()], &[("TENON_FAULTY", "entry-panic")]);
    assert_eq!(ran.code, 5, "{}{}", ran.out, ran.err);
}

#[test]
fn new_projects_hold_a_sidecar_template_and_the_headers() {
    let tenon = Tenon::new();
    for (lang, source) in [("c", "plugin.c"), ("cpp", "plugin.cpp")] {
        let name = format!("my-{lang}");
        let ran = tenon.run(&["plugin", "new", "--lang", lang, &name]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(ran.err.starts_with(&format!("next: cd {name}; make; tenon plugin seal lib{name}.so")), "{}", ran.err);
        assert!(tenon.read(&format!("{name}/{name}.plugin.toml")).contains(&format!("id = \"{name}\"")));
        assert!(!tenon.read(&format!("{name}/{source}")).contains("{{"));
        assert!(tenon.read(&format!("{name}/include/tenon_plugin.h")).contains("tenon_plugin_entry_v1"));
    }
    let ran = tenon.run(&["plugin", "new", "my-c"]);
    assert_eq!((ran.code, ran.err.as_str()), (2, "error: my-c: the folder is not empty\n"));
    assert_eq!(tenon.run(&["plugin", "new", "My_Plugin"]).code, 2);
    assert_eq!(tenon.run(&["plugin", "new", "lonely"]).code, 3, "outside of a checkout there is no crate to depend on");
    let sdk = tenon_testkit::workspace().join("plugins/sdk");
    let args = ["plugin", "new", "in-rust", "elsewhere", "--sdk", sdk.to_str().unwrap(), "--json"];
    assert_eq!(tenon.run(&args).json()["id"], "in-rust");
    assert!(tenon.read("elsewhere/Cargo.toml").contains("name = \"in-rust\""));
}

#[cfg(target_os = "linux")]
#[test]
fn a_new_project_in_c_builds_seals_checks_and_answers() {
    let tenon = Tenon::new();
    tenon.run(&["plugin", "new", "--lang", "c", "mine", "-q"]).ok();
    let folder = tenon.home.path().join("mine");
    match std::process::Command::new("make").current_dir(&folder).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => return eprintln!("SKIPPED: the C project is not built, because make cannot be run: {error}"),
    }
    tenon.run(&["plugin", "seal", "mine/libmine.so", "--template", "mine/mine.plugin.toml"]).ok();
    let ran = tenon.run(&["plugin", "check", "mine/libmine.so"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    tenon.home.add_manifest("fresh", "generate", "mine", "");
    assert!(!tenon.run(&["run", "fresh", "hello", "--plugins", "mine"]).ok().is_empty());
    let ran = tenon.run(&["embed", "fresh", "x", "--plugins", "mine"]);
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (1, "error: model \"fresh\" is for generate, not for embed; use `tenon run fresh PROMPT`\n")
    );
}
