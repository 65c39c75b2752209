//! `tenon pull` and `tenon search`, against a server on the loopback address.

use crate::support::{Ran, Tenon};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use tenon::Digest;
use tenon_testkit::Server;

const WEIGHTS: &[u8] = b"weights that only a server has";

/// A home with a model `far` whose file only the server has, and another of two files, `pair`, one of them optional.
fn far() -> (Tenon, Server) {
    let (tenon, server) = (Tenon::new(), Server::new());
    tenon.home.add_manifest("far", "chat", "echo", &server.file("model", "far.bin", WEIGHTS));
    let optional = format!("{}optional = true\n", server.file("vad", "vad.bin", b"voice"));
    tenon.home.add_manifest("pair", "chat", "echo", &(server.file("model", "pair.bin", &[7; 5000]) + &optional));
    (tenon, server)
}

impl Tenon {
    /// What a page of golden output must not hold: the port of the server.
    fn pull(&self, args: &[&str], server: &Server) -> Ran {
        let ran = self.run(&[&["pull"], args].concat());
        let address = server.url("").trim_start_matches("http://").trim_end_matches('/').to_owned();
        Ran { err: ran.err.replace(&address, "[SERVER]"), out: ran.out.replace(&address, "[SERVER]"), ..ran }
    }

    fn restrict(&self, name: &str) {
        let path = self.home.path().join(format!("manifests/{name}.toml"));
        self.home.replace(&path, "license = \"MIT\"", "license = \"qwen-research\"\nrestricted = true");
    }
}

/// Standard error as JSON, line by line.
fn lines(ran: &Ran) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    ran.err.lines().map(parse).collect()
}

#[test]
fn a_pull_says_what_it_does_and_the_model_runs() {
    let (tenon, server) = far();
    let ran = tenon.run(&["run", "far", "hi"]);
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("get it with `tenon pull far`"), "{}", ran.err);
    let ran = tenon.pull(&["far"], &server);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
    // How many lines tell of the bytes, and how fast they were, is up to the machine.
    let (bytes, said): (Vec<&str>, Vec<&str>) = ran.err.lines().partition(|line| line.starts_with("pulling "));
    let plan = "far: licence MIT, 30 B in 1 file from [SERVER]";
    assert_eq!(said, [plan, "verifying sha256 digest", "writing manifest", "success"]);
    let full = format!("pulling {} 100% 30 B/30 B", &Digest::of(WEIGHTS).to_string()[..12]);
    assert_eq!(bytes.iter().filter(|line| line.starts_with(&full)).count(), 1, "{bytes:?}");
    assert_eq!(tenon.run(&["run", "far", "hi"]).ok(), "hi\n");
    let again = tenon.pull(&["far"], &server);
    assert_eq!((again.code, again.out.as_str(), again.err.as_str()), (0, "", "far is here already\nsuccess\n"));
    assert_eq!(tenon.pull(&["far", "--quiet"], &server).err, "");
    assert_eq!(tenon.run(&["list", "--json"]).json().as_array().unwrap().len(), 6);
}

#[test]
fn progress_as_json_is_one_object_a_line_and_nothing_else() {
    let (tenon, server) = far();
    let ran = tenon.pull(&["pair", "--progress", "json"], &server);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
    let lines = lines(&ran);
    assert_eq!(
        (&lines[0]["model"], &lines[0]["license"], &lines[0]["total"]),
        (&"pair".into(), &"MIT".into(), &5005.into())
    );
    let digest = format!("sha256:{}", Digest::of(b"voice"));
    let pulling: Vec<&Value> = lines.iter().filter(|line| line["digest"] == digest).collect();
    let last = pulling.last().expect("a line about the file");
    assert_eq!((last["completed"].as_u64(), last["total"].as_u64()), (Some(5), Some(5)));
    assert_eq!(last["status"], format!("pulling {}", &digest[7..19]));
    let statuses: Vec<&str> = lines.iter().rev().take(3).map(|line| line["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["success", "writing manifest", "verifying sha256 digest"]);
}

#[test]
fn the_result_as_json_tells_of_every_file() {
    let (tenon, server) = far();
    let json = tenon.run(&["pull", "pair", "far", "--no-optional", "--json"]).json();
    assert_eq!(json["fetched"], 5000 + WEIGHTS.len());
    let [pair, other] = json["models"].as_array().unwrap().as_slice() else { panic!("{json}") };
    assert_eq!((&pair["name"], &pair["ok"], &other["name"]), (&"pair".into(), &true.into(), &"far".into()));
    assert_eq!((&pair["files"][0]["fetched"], &pair["files"][1]["path"]), (&5000.into(), &Value::Null));
    assert!(pair["reference"].as_str().unwrap().ends_with("pair.toml"), "{pair}");
    let path = other["files"][0]["path"].as_str().unwrap().replace("[HOME]", &tenon.home.path().to_string_lossy());
    assert!(fs::metadata(path).unwrap().permissions().readonly());
    assert_eq!(server.asked().iter().filter(|line| line.contains("vad.bin")).count(), 0);
}

#[test]
fn names_and_licenses_are_checked_before_anything_is_fetched() {
    let (tenon, server) = far();
    let ran = tenon.pull(&["far", "piar"], &server);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(ran.err.contains("did you mean \"pair\"?"), "{}", ran.err);
    tenon.restrict("pair");
    let ran = tenon.pull(&["far", "pair"], &server);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert_eq!(
        ran.err,
        "error: model \"pair\" has the license qwen-research, which restricts what it may be used for: read it, and \
         accept it with --accept-license\n"
    );
    assert_eq!(server.asked(), [""; 0]);
    assert_eq!(tenon.pull(&["far", "pair", "--accept-license"], &server).code, 0);
}

#[test]
fn offline_opens_no_connection_and_takes_what_is_here() {
    let (tenon, server) = far();
    for (args, variables) in [
        (&["pull", "far", "--offline"][..], &[][..]),
        (&["pull", "far"], &[("TENON_OFFLINE", "1")]),
        (&["pull", "far"], &[("HF_HUB_OFFLINE", "1")]),
        (&["pull", "hf:org/repo", "--offline"], &[]),
    ] {
        let ran = tenon.run_env(args, variables);
        assert_eq!(ran.code, 7, "{args:?}: {}", ran.err);
        assert!(ran.err.contains("offline"), "{}", ran.err);
    }
    assert_eq!(server.asked(), [""; 0]);
    assert_eq!(tenon.run(&["pull", "speech", "--offline"]).code, 0);
}

#[test]
fn one_of_several_that_fails_leaves_the_others_and_exits_with_9() {
    let (tenon, server) = far();
    server.put("far.bin", b"evil bytes of the same length!");
    let ran = tenon.pull(&["far", "pair", "--json"], &server);
    assert_eq!(ran.code, 9, "{}", ran.err);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&json["models"][0]["ok"], &json["models"][1]["ok"]), (&false.into(), &true.into()));
    assert_eq!(json["models"][0]["error"]["kind"], "hash-mismatch");
    let ran = tenon.pull(&["far"], &server);
    assert_eq!(ran.code, 4, "{}", ran.err);
    assert_eq!(tenon.run(&["show", "far", "--json"]).json()["state"], "missing");
}

/// The program as it is installed, in a home whose manifests are those of the installation: nobody named their folder.
fn installed(tenon: &Tenon, args: &[&str]) -> Command {
    let home = tenon.home.path();
    let (program, catalogue) = (home.join("installed/bin/tenon"), home.join("installed/share/tenon/manifests"));
    if !catalogue.exists() {
        for file in [&program, &catalogue] {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
        }
        tenon_testkit::copy(crate::support::program(), &program);
        fs::rename(home.join("manifests"), catalogue).unwrap();
    }
    let usual = tenon.command(args);
    let mut command = Command::new(program);
    command.args(args).current_dir(home).env_clear().stdin(Stdio::null());
    command.envs(usual.get_envs().filter_map(|(name, value)| Some((name, value?)))).env_remove("TENON_MANIFESTS");
    command
}

fn names(json: &Value) -> Vec<&str> {
    json["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap()).collect()
}

#[test]
fn all_missing_is_what_folders_hold_that_somebody_named() {
    let (tenon, _server) = far();
    fs::remove_file(tenon.home.path().join("manifests/away.toml")).unwrap();
    let all = || tenon.run(&["pull", "--all-missing", "--json"]).json();
    assert_eq!(names(&all()), ["far", "pair"]);
    assert_eq!(names(&all()), [""; 0]);
}

#[test]
fn all_missing_leaves_the_catalogue_but_for_what_was_pulled_before_or_broke_off() {
    let (tenon, server) = far();
    let all = || {
        let output = installed(&tenon, &["pull", "--all-missing", "--json"]).output().unwrap();
        Ran::new(output, tenon.home.path()).json()
    };
    assert_eq!(names(&all()), [""; 0]);
    assert!(installed(&tenon, &["pull", "far"]).output().unwrap().status.success());
    let blob = format!("user/.local/share/tenon/blobs/sha256-{}", Digest::of(WEIGHTS));
    fs::remove_file(tenon.home.path().join(blob)).unwrap();
    assert_eq!(names(&all()), ["far"]);
    server.hold("pair.bin", 2000);
    let mut child = installed(&tenon, &["pull", "pair", "--progress", "json"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("\"completed\":2000")), "the bytes that came are shown");
    child.kill().unwrap();
    child.wait().unwrap();
    server.release();
    assert_eq!(names(&all()), ["pair"]);
}

#[test]
fn a_lot_is_fetched_only_when_somebody_says_so() {
    let (tenon, server) = far();
    let large = "[[file]]\nrole = \"model\"\nname = \"large.bin\"\nurl = [\"https://example.org/large.bin\"]\n\
                 sha256 = \"0000000000000000000000000000000000000000000000000000000000000001\"\nsize = 5000000000\n";
    tenon.home.add_manifest("large", "chat", "echo", large);
    let ran = tenon.pull(&["--all-missing"], &server);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert_eq!(ran.err, "to fetch: 5.0 GB for 4 models\nerror: this fetches 5.0 GB: say --yes if it shall\n");
    assert_eq!(server.asked(), [""; 0]);
    assert_eq!(tenon.pull(&["--all-missing", "--yes", "--offline"], &server).code, 9);
    assert_eq!(tenon.pull(&["far", "--all-missing"], &server).code, 2);
    assert_eq!(tenon.pull(&[], &server).code, 2);
}

#[test]
fn an_address_needs_a_digest_and_becomes_a_model_with_a_manifest() {
    let (tenon, server) = far();
    let url = server.put("tiny.gguf", WEIGHTS);
    let (digest, wrong) = (Digest::of(WEIGHTS).to_string(), Digest::of(b"").to_string());
    let ran = tenon.pull(&[&url], &server);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("needs --sha256"), "{}", ran.err);
    assert_eq!(tenon.pull(&[&url, "--sha256", "12"], &server).code, 2);
    assert_eq!(tenon.pull(&[&url, "--sha256", &wrong], &server).code, 4);
    let flags = ["--sha256", &digest, "--name", "tiny", "--backend", "echo", "--license", "CC-BY-NC-4.0"];
    let ran = tenon.pull(&[&[url.as_str()], &flags[..]].concat(), &server);
    assert_eq!(ran.code, 2, "a licence for non-commercial use has to be accepted: {}", ran.err);
    assert!(ran.err.contains("name = \"tiny\"\n"), "{}", ran.err);
    let ran = tenon.pull(&[&[url.as_str(), "--accept-license"], &flags[..]].concat(), &server);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(tenon.run(&["run", "tiny", "hi"]).ok(), "hi\n");
    let shown = tenon.run(&["show", "tiny", "--json"]).json();
    assert_eq!((&shown["license"], &shown["restricted"]), (&"CC-BY-NC-4.0".into(), &true.into()));
    let ran = tenon.pull(&[&url, "--sha256", &digest, "--name", "talk"], &server);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("another model is called \"talk\" already"), "{}", ran.err);
}

#[test]
fn what_a_hub_has_is_shown_before_it_is_fetched_and_pinned_to_a_commit() {
    let (tenon, server) = (Tenon::new(), Server::new());
    let (digest, commit) = (Digest::of(WEIGHTS).to_string(), "5359861c739e955e79d9a303bcbc70fb988958b1");
    let file = json!({
        "rfilename": "tiny-Q8_0.gguf", "size": WEIGHTS.len(),
        "lfs": {"sha256": digest, "size": WEIGHTS.len(), "pointerSize": 135},
    });
    let about = json!({
        "id": "org/tiny-GGUF", "sha": commit, "private": false, "gated": false, "tags": ["license:qwen-research"],
        "cardData": {"license": "qwen-research"}, "siblings": [file],
    });
    server.put("api/models/org/tiny-GGUF/revision/main", about.to_string().as_bytes());
    let (path, tag) = (format!("org/tiny-GGUF/resolve/{commit}/tiny-Q8_0.gguf"), format!("\"{digest}\""));
    let size = WEIGHTS.len().to_string();
    let headers = [("X-Repo-Commit", commit), ("X-Linked-Etag", tag.as_str()), ("X-Linked-Size", &size)];
    server.put_with(&path, WEIGHTS, &headers);
    let hub = server.url("");
    let args =
        ["hf:org/tiny-GGUF:Q8_0", "--endpoint", hub.trim_end_matches('/'), "--name", "tiny", "--backend", "echo"];
    let ran = tenon.pull(&args, &server);
    assert_eq!(ran.code, 2, "{}", ran.err);
    for shown in ["name = \"tiny\"", "license = \"qwen-research\"\nrestricted = true", "size = 30", commit, &digest] {
        assert!(ran.err.contains(shown), "{shown}: {}", ran.err);
    }
    assert!(!server.asked().iter().any(|line| line.starts_with("GET /org/")), "{:?}", server.asked());
    let ran = tenon.pull(&[&args[..], &["--license", "MIT"]].concat(), &server);
    assert_eq!(ran.code, 2, "what the hub says of the licence holds: {}", ran.err);
    let ran = tenon.pull(&[&args[..], &["--accept-license"]].concat(), &server);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(tenon.run(&["run", "tiny", "hi"]).ok(), "hi\n");
    let url = tenon.run(&["show", "tiny", "--json"]).json()["files"][0]["urls"][0].clone();
    assert_eq!(url, format!("https://huggingface.co/{path}"));
}

#[test]
fn flags_that_describe_a_manifest_are_refused_where_one_is_here() {
    let (tenon, server) = far();
    let zeros = "0".repeat(64);
    for args in [
        &["far", "--name", "x"][..],
        &["far", "--sha256", &zeros],
        &["far", "--license", "MIT"],
        &["hf:a/b", "hf:c/d", "--name", "x"],
        &["hf:a/b", "--sha256", &zeros],
        &["far", "--rate-limit", "fast"],
        &["far", "--connections", "0"],
        &["far", "--endpoint", "ftp://mirror"],
    ] {
        assert_eq!(tenon.pull(args, &server).code, 2, "{args:?}");
    }
    assert_eq!(server.asked(), [""; 0]);
}

#[test]
fn a_manifest_file_is_pulled_as_it_stands() {
    let (tenon, server) = far();
    let manifests = tenon.home.path().join("manifests");
    fs::rename(manifests.join("far.toml"), tenon.home.path().join("far.toml")).unwrap();
    assert_eq!(tenon.pull(&["./far.toml"], &server).code, 0);
    assert_eq!(tenon.run(&["run", "far", "hi"]).ok(), "hi\n");
    assert_eq!(tenon.pull(&["./none.toml"], &server).code, 3);
}

#[cfg(unix)]
#[test]
fn an_interrupted_pull_says_that_the_next_one_goes_on_and_it_does() {
    let (tenon, server) = (Tenon::new(), Server::new());
    let bytes: Vec<u8> = (0..3_000_000u32).map(|number| (number / 7) as u8).collect();
    tenon.home.add_manifest("far", "chat", "echo", &server.file("model", "far.bin", &bytes));
    server.hold("far.bin", 2_000_000);
    let mut command = tenon.command(&["pull", "far", "--progress", "json"]);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    // Each percent is told once: the last that comes begins a little below what the server sends.
    let came = |line: &str| {
        let completed = serde_json::from_str::<Value>(line).ok().and_then(|line| line["completed"].as_u64());
        completed.is_some_and(|completed| completed >= 1_980_000)
    };
    assert!(lines.by_ref().any(|line| came(&line)), "the bytes that came are shown");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.unwrap().success());
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(rest.last().unwrap(), "error: cancelled: `tenon pull far` goes on where this pull stopped");
    server.release();
    let json = tenon.run(&["pull", "far", "--json"]).json();
    let asked = server.asked();
    let from = asked.last().and_then(|line| line.strip_prefix("GET /far.bin bytes=")?.strip_suffix('-')?.parse().ok());
    let from: u64 = from.unwrap_or_else(|| panic!("{asked:?}"));
    assert!((1_980_000..=2_000_000).contains(&from), "{from}");
    assert_eq!(json["fetched"], 3_000_000 - from);
}

#[test]
fn search_finds_words_anywhere_and_shows_what_they_cost() {
    let (tenon, _server) = far();
    tenon.restrict("away");
    insta::assert_snapshot!("search", tenon.run(&["search"]).page());
    let found = tenon.run(&["search", "REPEATS", "chat"]).ok();
    assert!(found.lines().nth(1).unwrap().starts_with("talk  "), "{found}");
    assert_eq!(found.lines().count(), 2);
    assert_eq!(tenon.run(&["search", "de"]).ok().lines().count(), 2, "a language");
    assert_eq!(tenon.run(&["search", "--task", "embed"]).ok().lines().count(), 2);
    let json = tenon.run(&["search", "qwen-research", "--json"]).json();
    assert_eq!(
        (&json[0]["name"], &json[0]["restricted"], &json[0]["state"]),
        (&"away".into(), &true.into(), &"missing".into())
    );
    assert!(json[0]["memory_rough"].as_u64().unwrap() > 5_000_000, "{json}");
}

#[test]
fn a_search_that_finds_nothing_names_what_is_near() {
    let tenon = Tenon::new();
    let ran = tenon.run(&["search", "speach"]);
    assert_eq!((ran.code, ran.out.as_str()), (3, ""));
    assert_eq!(ran.err, "error: no model matches \"speach\": the nearest names are speech\n");
    let ran = tenon.run(&["search", "zebra", "--json"]);
    assert_eq!((ran.code, ran.out.as_str()), (3, "[]\n"));
    assert_eq!(ran.json_error()["kind"], "not-found");
    let ran = tenon.run(&["search", "--task", "fly"]);
    assert!(ran.err.contains("there are models for chat, embed, generate, transcribe"), "{}", ran.err);
}
