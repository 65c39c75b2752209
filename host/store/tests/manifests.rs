//! What is said about broken manifests, and that good ones are read and written back.

use proptest::prelude::*;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tenon_store::{
    Catalog, Chunks, Diagnostic, Digest, ErrorKind, Isolation, Manifest, ManifestFile, Sandbox, is_research_only,
    manifest_schema,
};
use tenon_tasks::{FileRole, Options, Schema};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn problems(text: &str) -> Vec<String> {
    match Manifest::parse(text, Path::new("x.toml")) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(Diagnostic::one_line).collect(),
    }
}

const GOOD: &str = r#"name = "x"
task = "transcribe"
backend = "whisper"
license = "qwen-research"
restricted = true
description = "a \"small\" model: é 模型"
languages = ["en", "yue"]
parameters = 39_000_000
homepage = "https://example.org/x"
isolation = "worker"

[worker]
sandbox = "require"
count = 2
memory_limit = 1073741824
idle_timeout = 0
stall_timeout = 60

[[file]]
role = "model"
name = "Größe 1.bin"
url = ["https://example.org/a.bin", "http://127.0.0.1:8000/a.bin"]
sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
size = 3

[[file]]
role = "vad"
name = "vad.bin"
sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
size = 3
optional = true

[load]
zeta = 1
alpha = -2.5
"odd key" = [true, "a\nb", { z = 1, a = {} }]

[preset.default]

[preset.high_quality]
beam_size = 8
best_of = 8
"#;

#[test]
fn the_messages_about_broken_manifests_are_these() {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder("tests/broken")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 60, "only {} broken manifests", paths.len());
    let mut all = String::new();
    for path in paths {
        let error = Manifest::read(&path).expect_err(&format!("{} is not broken", path.display()));
        let ErrorKind::Manifest { diagnostics } = error.kind() else { panic!("{path:?}: {error}") };
        for diagnostic in diagnostics {
            let named = Diagnostic { path: path.file_name().unwrap().into(), ..diagnostic.clone() };
            all.push_str(&format!("{named}\n"));
        }
        all.push('\n');
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_good_manifest_says_what_it_says() {
    let manifest = Manifest::parse(GOOD, Path::new("some/x.toml")).unwrap();
    assert_eq!(manifest.path(), Path::new("some/x.toml"));
    assert_eq!((manifest.parameters, manifest.isolation), (Some(39_000_000), Isolation::Worker));
    let worker = &manifest.worker;
    assert_eq!((worker.sandbox, worker.count, worker.memory_limit), (Sandbox::Require, 2, Some(1 << 30)));
    assert_eq!((worker.idle_timeout, worker.stall_timeout), (None, Some(Duration::from_secs(60))));
    assert_eq!(manifest.languages, ["en", "yue"]);
    assert!(manifest.restricted);
    assert_eq!(manifest.files.len(), 2);
    assert_eq!((manifest.files[0].sha256, manifest.files[0].optional), (Digest::of(b"abc"), false));
    assert_eq!(manifest.files[1].urls, [""; 0]);
    assert_eq!(manifest.size(), 3);
    assert_eq!(manifest.load.to_json(), r#"{"zeta":1,"alpha":-2.5,"odd key":[true,"a\nb",{"z":1,"a":{}}]}"#);
    assert_eq!(manifest.preset("default"), Some(&Options::new()));
    assert_eq!(manifest.nearest_preset("high-quality"), Some("high_quality"));
}

#[test]
fn a_manifest_that_is_written_reads_back_the_same() {
    let manifest = Manifest::parse(GOOD, Path::new("x.toml")).unwrap();
    let written = manifest.to_toml();
    assert_eq!(Manifest::parse(&written, Path::new("x.toml")).unwrap(), manifest);
    assert_eq!(Manifest::parse(&written, Path::new("x.toml")).unwrap().to_toml(), written);
}

#[test]
fn a_model_without_files_is_a_model() {
    let manifest = Manifest::new("x", "chat", "echo", "MIT");
    assert_eq!(Manifest::parse(&manifest.to_toml(), Path::new("x.toml")).unwrap(), manifest);
}

#[test]
fn the_example_of_the_documentation_is_a_good_manifest() {
    let page = fs::read_to_string(folder("../../docs/manifests.md")).unwrap();
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let manifest = Manifest::parse(example, Path::new("whisper-base.toml")).unwrap();
    assert_eq!((manifest.files.len(), manifest.presets.len()), (2, 2));
}

#[test]
fn refuses_a_manifest_that_is_too_long_or_no_plain_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.toml");
    fs::write(&path, format!("{GOOD}#{}", "x".repeat(256 * 1024))).unwrap();
    let error = Manifest::read(&path).unwrap_err();
    assert!(error.to_string().ends_with("the manifest is longer than 256 KiB"), "{error}");
    assert!(matches!(Manifest::read(folder.path()).unwrap_err().kind(), ErrorKind::UnsafePath { .. }));
    assert!(matches!(Manifest::read(&folder.path().join("none")).unwrap_err().kind(), ErrorKind::Io { .. }));
}

#[test]
fn a_broken_manifest_reports_all_its_problems_in_the_order_of_the_file() {
    let text = fs::read_to_string(folder("tests/broken/many-at-once.toml")).unwrap();
    let lines: Vec<String> = problems(&text).iter().map(|line| line.split(':').nth(1).unwrap().to_owned()).collect();
    assert_eq!(lines, ["1", "2", "3", "4", "7", "8", "9", "10"]);
}

/// Text of about as many bytes as a manifest may have, made of what `line` gives for each number.
fn long(head: &str, line: impl Fn(usize) -> String) -> String {
    let mut text = head.to_owned();
    for number in 0.. {
        let line = line(number);
        if text.len() + line.len() > 250_000 {
            break;
        }
        text.push_str(&line);
    }
    text
}

/// What is wrong with each of these fills a manifest. Where the work for one problem grew with the whole file, reading
/// them took minutes, or all memory.
#[test]
fn a_manifest_that_is_wrong_everywhere_is_read_once_and_its_first_problems_are_said() {
    let head = "name = \"x\"\ntask = \"chat\"\nbackend = \"echo\"\nlicense = \"MIT\"\n";
    let nested = "a".repeat(100_000);
    let hostile = [
        long(head, |number| format!("{number} = 0\n")),
        long("", |_| "=\n".to_owned()),
        long(head, |number| format!("{number}=\n")),
        long(head, |_| "a = 1\n".to_owned()),
        long(head, |number| format!("[{number}]\n")),
        long(&format!("{head}languages = ["), |number| format!("\"{number}\",")) + "]\n",
        long(&format!("{head}preset = {{"), |number| format!("A{number}={{}},")) + "}\n",
        long(&format!("{head}preset = {{"), |number| format!("a{number}=1,")) + "}\n",
        long(&format!("{head}[preset.{nested}]\n"), |number| format!("a{number} = nan\n")),
        long(&format!("{head}[load]\n"), |number| format!("a{number} = 1979-05-27\n")),
        long(&format!("{head}[[file]]\nchunks = ["), |_| "1,".to_owned()) + "]\n",
        long(head, |_| "x = [{".to_owned()),
        long(head, |_| "x = \"\"\"".to_owned()),
        long(head, |_| "[".to_owned()),
    ];
    for text in hostile {
        let found = Manifest::parse(&text, Path::new("x.toml")).expect_err(&text[..100]);
        assert!(!found.is_empty() && found.len() <= 101, "{}: {}", &text[..100], found.len());
        let said: usize = found.iter().map(|problem| problem.to_string().len()).sum();
        assert!(said < 400_000, "{}: {said} bytes", &text[..100]);
        let places: Vec<(u32, u32)> = found.iter().map(|problem| (problem.line, problem.column)).collect();
        assert!(places.is_sorted(), "{}: {places:?}", &text[..100]);
    }
}

#[test]
fn the_last_of_very_many_problems_says_how_many_more_there_are() {
    let text: String = (0..150).map(|number| format!("key-{number} = 0\n")).collect();
    let lines = problems(&format!("{GOOD}\n[unknown]\n").replacen("name", &format!("{text}name"), 1));
    assert_eq!(lines.len(), 101);
    assert!(lines[99].starts_with("x.toml:100:1: unknown key \"key-99\""), "{}", lines[99]);
    assert_eq!(lines[100], "x.toml:101:1: and 51 more problems from here on: mend the others first");
}

#[test]
fn options_that_are_wrong_everywhere_are_checked_once_and_the_first_are_said() {
    let text = long(GOOD, |number| format!("a{number} = 1\n"));
    let manifest = Manifest::parse(&text, Path::new("x.toml")).unwrap();
    let known = schema(json!({"properties": {"beam_size": {"type": "integer"}, "best_of": {"type": "integer"}}}));
    assert_eq!(manifest.check_options(None, &[("transcribe", &known)]).len(), 101);
}

#[test]
fn a_byte_order_mark_is_no_column_of_the_first_line() {
    let found = Manifest::parse(&format!("\u{feff}{}", GOOD.replacen("name", "nmae", 1)), Path::new("x.toml"));
    let shown = found.unwrap_err()[0].to_string();
    assert!(shown.starts_with("x.toml:1:1: unknown key \"nmae\""), "{shown}");
    assert!(shown.ends_with("1 | nmae = \"x\"\n  | ^^^^"), "{shown}");
    assert!(Manifest::parse(&format!("\u{feff}{GOOD}"), Path::new("x.toml")).is_ok());
}

#[test]
fn a_diagnostic_as_json_holds_the_place_and_the_line() {
    let found = Manifest::parse(&GOOD.replace("task", "tusk"), Path::new("x.toml")).unwrap_err();
    let json: Value = serde_json::to_value(&found[0]).unwrap();
    assert_eq!((&json["path"], &json["line"], &json["column"]), (&json!("x.toml"), &json!(2), &json!(1)));
    assert_eq!(json["message"], "unknown key \"tusk\" (did you mean \"task\"?)");
    assert_eq!(json["snippet"], "  |\n2 | tusk = \"transcribe\"\n  | ^^^^");
}

fn schema(json: Value) -> Schema {
    Schema::from_json(&json).unwrap()
}

#[test]
fn options_are_checked_against_the_backend_at_their_place() {
    let text = GOOD.replace("[preset.default]", "[preset.default]\nbeam_syze = 1\nbest_of = 99\nlanguage = \"en\"");
    let manifest = Manifest::parse(&text, Path::new("x.toml")).unwrap();
    let load = schema(json!({"properties": {"zeta": {"type": "integer"}, "alpha": {"type": "number", "minimum": 0}}}));
    let integer = json!({"type": "integer", "minimum": 1, "maximum": 8});
    let transcribe = schema(json!({"properties": {"beam_size": integer, "best_of": integer}}));
    let detect = schema(json!({"properties": {"language": {"type": "string"}}}));
    let found = manifest.check_options(Some(&load), &[("transcribe", &transcribe), ("detect-language", &detect)]);
    let lines: Vec<String> = found.iter().map(Diagnostic::one_line).collect();
    assert_eq!(
        lines,
        [
            "x.toml:35:9: option \"alpha\" must be a number of at least 0, not -2.5",
            "x.toml:36:1: unknown option \"odd key\"",
            "x.toml:39:1: unknown option \"beam_syze\" (did you mean \"beam_size\"?)",
            "x.toml:40:11: option \"best_of\" must be a whole number from 1 to 8, not 99",
        ]
    );
    assert_eq!(manifest.check_options(None, &[]), []);
}

#[test]
fn roles_are_checked_against_the_backend_at_their_place() {
    let manifest = Manifest::parse(GOOD, Path::new("x.toml")).unwrap();
    let role = |role: &str, required| FileRole { role: role.to_owned(), required, many: false };
    assert_eq!(manifest.check_files(&[role("model", true), role("vad", false)]), []);
    let lines =
        |roles: &[FileRole]| -> Vec<String> { manifest.check_files(roles).iter().map(Diagnostic::one_line).collect() };
    assert_eq!(
        lines(&[role("models", true), role("vad", true)]),
        [
            "x.toml:3:11: backend \"whisper\" needs a file of role \"models\"",
            "x.toml:3:11: backend \"whisper\" needs a file of role \"vad\"",
            "x.toml:20:8: backend \"whisper\" has no role \"model\" (did you mean \"models\"?)",
        ]
    );
    let twice = Manifest::parse(&GOOD.replace("\"vad\"", "\"model\""), Path::new("x.toml")).unwrap();
    assert_eq!(twice.check_files(&[role("model", true)]).len(), 1);
    assert_eq!(twice.check_files(&[FileRole { many: true, ..role("model", true) }]), []);
}

#[test]
fn a_problem_can_be_put_at_any_key() {
    let manifest = Manifest::parse(GOOD, Path::new("x.toml")).unwrap();
    let line = |key: &str| manifest.diagnostic(key, "wrong", None).one_line();
    assert_eq!(line("isolation"), "x.toml:10:13: wrong");
    assert_eq!(line("preset.high_quality.beam_size"), "x.toml:41:13: wrong");
    assert_eq!(line("file[1].role"), "x.toml:27:8: wrong");
    assert_eq!(line("nothing"), "x.toml:1:1: wrong");
    assert_eq!(
        Manifest::new("y", "chat", "echo", "MIT").diagnostic("task", "wrong", None).one_line(),
        "y.toml:1:1: wrong"
    );
}

#[test]
fn every_shipped_manifest_is_good_and_fits_the_editor_schema() {
    let validator = jsonschema::validator_for(&manifest_schema()).unwrap();
    let catalog = Catalog::read(&[folder("../../manifests")]);
    assert!(catalog.entries().len() >= 72, "only {} manifests", catalog.entries().len());
    for entry in catalog.entries() {
        let manifest = entry.manifest.as_ref().unwrap_or_else(|error| panic!("{error}"));
        let text = fs::read_to_string(&entry.path).unwrap();
        let json: Value = serde_json::to_value(toml::from_str::<toml::Value>(&text).unwrap()).unwrap();
        let wrong: Vec<String> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
        assert_eq!(wrong, [""; 0], "{}", entry.path.display());
        assert!(manifest.description.is_some(), "{} has no description", manifest.name);
        assert_eq!(Manifest::parse(&manifest.to_toml(), &entry.path).as_ref().ok(), Some(manifest));
    }
}

#[test]
fn every_shipped_speech_model_has_its_presets_and_every_file_an_address_or_a_place_in_the_checkout() {
    for manifest in Catalog::read(&[folder("../../manifests")]).manifests() {
        if manifest.task == "transcribe" {
            for preset in ["default", "fast", "high_quality"] {
                assert!(manifest.preset(preset).is_some(), "{} has no preset {preset}", manifest.name);
            }
        }
        for file in &manifest.files {
            let shipped = folder("../../models").join(&file.name).exists();
            assert!(shipped || file.urls.iter().all(|url| url.starts_with("https://")) && !file.urls.is_empty());
        }
    }
}

/// The makers of these files publish them under the name of a branch only, so far as is known. What lies there is what
/// the manifest says or is refused.
const UNPINNED: [&str; 7] = [
    "llama-3.2-1b-instruct-q4_k_m-hugging-quants",
    "llama-3.2-1b-instruct-q8_0",
    "llama-3.2-3b-instruct-q4_k_m",
    "llama-3.2-3b-instruct-q4_k_m-hugging-quants",
    "nomic-embed-text-v1.5-q8_0",
    "qwen1.5-0.5b-chat-q4_k_m",
    "qwen3-reranker-0.6b-q8_0-mradermacher",
];

#[test]
fn the_first_address_of_every_shipped_manifest_is_https_and_names_a_revision() {
    let revision = |url: &str| {
        let revision = url.split_once("/resolve/").and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default();
        revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let mut unpinned = Vec::new();
    for manifest in Catalog::read(&[folder("../../manifests")]).manifests() {
        for url in manifest.files.iter().filter_map(|file| file.urls.first()) {
            assert!(url.starts_with("https://"), "{url}");
            if !revision(url) {
                unpinned.push(manifest.name.clone());
            }
        }
    }
    assert_eq!(unpinned, UNPINNED);
}

#[test]
fn shipped_manifests_of_research_only_licenses_are_restricted_and_no_others() {
    let catalog = Catalog::read(&[folder("../../manifests")]);
    let mut restricted = 0;
    for manifest in catalog.manifests() {
        assert_eq!(manifest.restricted, is_research_only(&manifest.license), "{}: {}", manifest.name, manifest.license);
        restricted += usize::from(manifest.restricted);
    }
    assert_eq!(restricted, 2);
}

#[test]
fn a_restricted_license_is_refused_until_it_is_accepted() {
    let mut manifest = Manifest::new("x", "chat", "echo", "qwen-research");
    assert!(manifest.check_license(false).is_ok());
    manifest.restricted = true;
    assert!(manifest.check_license(true).is_ok());
    assert_eq!(
        manifest.check_license(false).unwrap_err().to_string(),
        "model \"x\" has the license qwen-research, which restricts what it may be used for: \
         read it, and accept it with --accept-license"
    );
    manifest.homepage = Some("https://example.org/x".to_owned());
    let error = manifest.check_license(false).unwrap_err();
    assert!(error.to_string().contains("read https://example.org/x, and accept it"), "{error}");
}

#[test]
fn the_editor_schema_refuses_what_the_reader_refuses_about_keys() {
    let validator = jsonschema::validator_for(&manifest_schema()).unwrap();
    for name in ["unknown-key", "missing-license", "file-single-table", "sha256-short", "size-zero", "name-upper"] {
        let text = fs::read_to_string(folder("tests/broken").join(format!("{name}.toml"))).unwrap();
        let json: Value = serde_json::to_value(toml::from_str::<toml::Value>(&text).unwrap()).unwrap();
        assert!(!validator.is_valid(&json), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_read_without_a_panic(text in "\\PC*") {
        problems(&text);
    }

    #[test]
    fn a_good_manifest_with_any_change_is_read_without_a_panic(at in 0..GOOD.len(), cut in 0usize..40, put in "\\PC{0,8}") {
        let start = GOOD.floor_char_boundary(at);
        let end = GOOD.floor_char_boundary((at + cut).min(GOOD.len())).max(start);
        let text = format!("{}{put}{}", &GOOD[..start], &GOOD[end..]);
        for line in problems(&text) {
            prop_assert!(line.starts_with("x.toml:"));
        }
    }

    #[test]
    fn toml_made_of_its_own_tokens_is_read_without_a_panic(
        tokens in proptest::collection::vec(
            proptest::sample::select(vec![
                "[", "]", "[[", "]]", "{", "}", "=", ".", ",", "\n", "\"", "\"\"\"", "'", "#", " ", "name", "file", "load",
                "preset", "sha256", "1", "-1", "0x", "1e999", "nan", "true", "2024-01-01", "\u{feff}", "\r", "é", "\\u00",
            ]),
            0..40,
        ),
    ) {
        problems(&tokens.concat());
    }

    #[test]
    fn what_is_written_reads_back(
        description in "[^\\x00-\\x1f\\x7f-\\x9f\u{200b}-\u{200f}\u{2028}-\u{202e}\u{2060}-\u{2069}\u{feff}]{1,40}",
        // What comes before its end, so that no name is a device of Windows such as "aux".
        name in "[a-zA-Z0-9_é-][a-zA-Z0-9 _é-]{0,19}_x",
        size in 1u64..=i64::MAX as u64,
        chunks in 0u64..4,
        text in "\\PC*",
        number in proptest::num::f64::NORMAL | proptest::num::f64::ZERO,
    ) {
        prop_assume!(!description.trim().is_empty());
        let mut manifest = Manifest::new("x", "chat", "echo", "MIT");
        manifest.description = Some(description);
        let size = if chunks == 0 { size } else { chunks << 20 };
        let chunks = Chunks::new(1 << 20, vec![Digest::of(b""); chunks as usize], size).ok();
        manifest.files.push(ManifestFile { chunks, ..ManifestFile::new("model", name, Digest::of(b""), size) });
        manifest.load.set(text.clone(), number).set("text", text);
        let again = Manifest::parse(&manifest.to_toml(), Path::new("x.toml"));
        prop_assert_eq!(again, Ok(manifest));
    }
}
