//! The C side of the contract: headers in every standard, the examples, the templates, and neighbours frozen at 1.0.
//!
//! A compiler that is not installed is skipped and named on stderr. Linux only, because the flags are those of ELF.

#![cfg(target_os = "linux")]
#![allow(unsafe_code)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::Plugin;
use tenon_abi::status;

const C_STANDARDS: [&str; 4] = ["c99", "c11", "c17", "c2x"];
const CPP_STANDARDS: [&str; 4] = ["c++11", "c++14", "c++17", "c++20"];
const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-pedantic", "-Werror"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c_side").join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Those of the compilers that are installed; the others are named.
fn installed(compilers: &[&'static str]) -> Vec<&'static str> {
    let there = |name: &&&'static str| {
        let found = Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
        if !found {
            eprintln!("SKIPPED: {name} is not installed, so nothing was compiled with it");
        }
        found
    };
    compilers.iter().filter(there).copied().collect()
}

#[track_caller]
fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn check_syntax(compiler: &str, standard: &str, language: &str, include: &Path, source: &Path) {
    succeed(
        Command::new(compiler)
            .arg(format!("-std={standard}"))
            .args(STRICT)
            .arg("-I")
            .arg(include)
            .args(["-x", language, "-fsyntax-only"])
            .arg(source),
    );
}

/// Runs make, unless it is not installed.
fn make(folder: &Path, variables: &[(&str, &str)], out: &Path) -> bool {
    if installed(&["make"]).is_empty() {
        return false;
    }
    let mut command = Command::new("make");
    command.arg("-C").arg(folder).arg("-B").arg(format!("OUT={}", out.display()));
    succeed(command.args(variables.iter().map(|(name, value)| format!("{name}={value}"))));
    true
}

/// The names that a library exports, by `nm`.
fn exports(library: &Path) -> Option<Vec<String>> {
    if installed(&["nm"]).is_empty() {
        return None;
    }
    let output = succeed(Command::new("nm").args(["-D", "--defined-only"]).arg(library));
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().filter_map(|line| line.split_whitespace().last()).map(str::to_owned).collect())
}

#[track_caller]
fn assert_exports_only(library: &Path, names: &[&str]) {
    if let Some(mut exported) = exports(library) {
        exported.sort();
        assert_eq!(exported, names, "{}", library.display());
    }
}

#[test]
fn each_header_compiles_alone_in_every_standard() {
    let (folder, include) = (scratch("headers"), root().join("include"));
    for header in ["tenon_base.h", "tenon_plugin.h"] {
        let source = folder.join(format!("{header}.c"));
        fs::write(&source, format!("#include \"{header}\"\n")).unwrap();
        for compiler in installed(&["gcc", "clang"]) {
            C_STANDARDS.iter().for_each(|standard| check_syntax(compiler, standard, "c", &include, &source));
        }
        for compiler in installed(&["g++", "clang++"]) {
            CPP_STANDARDS.iter().for_each(|standard| check_syntax(compiler, standard, "c++", &include, &source));
        }
    }
    let source = folder.join("wrapper.cpp");
    fs::write(&source, "#include \"tenon_plugin.hpp\"\n").unwrap();
    for compiler in installed(&["g++", "clang++"]) {
        ["c++17", "c++20"].iter().for_each(|standard| check_syntax(compiler, standard, "c++", &include, &source));
    }
}

#[test]
fn the_layout_in_c_is_the_frozen_one() {
    let frozen = |path: &str| root().join("host/abi/frozen").join(path);
    let today = root().join("include");
    let layouts = [
        (frozen("1.0/layout.c"), today.clone()),
        (frozen("1.0/layout.c"), frozen("1.0/include")),
        (frozen("1.1/layout.c"), today),
    ];
    for (layout, include) in layouts {
        for compiler in installed(&["gcc", "clang"]) {
            C_STANDARDS[1..].iter().for_each(|standard| check_syntax(compiler, standard, "c", &include, &layout));
        }
        for compiler in installed(&["g++", "clang++"]) {
            CPP_STANDARDS.iter().for_each(|standard| check_syntax(compiler, standard, "c++", &include, &layout));
        }
    }
}

#[test]
fn every_offset_that_rust_asserts_stands_in_the_c_file_too() {
    let rust = fs::read_to_string(root().join("host/abi/src/layout.rs")).unwrap();
    let versions = ["1.0", "1.1"].map(|version| root().join("host/abi/frozen").join(version).join("layout.c"));
    let c = versions.map(|layout| fs::read_to_string(layout).unwrap()).concat();
    let (_, list) = rust.split_once("mod lp64").unwrap();
    let numbers = list.matches(": ").count();
    assert!(numbers > 80, "layout.rs was read wrongly: {numbers}");
    assert_eq!(c.matches("HOLDS(offsetof(").count(), numbers);
    assert_eq!(c.matches("HOLDS(sizeof(").count(), list.matches("frozen!(").count());
}

/// The declarations of a header without comments, one per line.
fn declarations(header: &Path) -> Vec<String> {
    let mut text = fs::read_to_string(header).unwrap();
    while let Some(start) = text.find("/*") {
        let end = text[start..].find("*/").unwrap() + start + 2;
        text.replace_range(start..end, " ");
    }
    let squeeze = |part: &str| part.split_whitespace().collect::<Vec<_>>().join(" ");
    let defines = text.lines().filter(|line| line.starts_with("#define")).map(squeeze);
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with(['#', '/'])).collect::<Vec<_>>().join("\n");
    defines.chain(code.split("typedef ").map(squeeze)).filter(|part| !part.is_empty()).collect()
}

#[test]
fn the_headers_still_hold_every_declaration_of_version_1_0() {
    let mut declared = Vec::new();
    for header in ["tenon_base.h", "tenon_plugin.h"] {
        declared.extend(declarations(&root().join("include").join(header)));
    }
    for header in ["tenon_base.h", "tenon_plugin.h"] {
        // The minor version goes on, which is how a plugin knows what the host has learned.
        let frozen = declarations(&root().join("host/abi/frozen/1.0/include").join(header));
        for declaration in frozen.into_iter().filter(|text| !text.starts_with("#define TENON_ABI_MINOR")) {
            assert!(declared.contains(&declaration), "{header} of 1.0 has: {declaration}");
        }
    }
}

#[test]
fn the_c_example_answers_and_exports_one_symbol() {
    for compiler in installed(&["gcc", "clang"]) {
        let out = scratch(&format!("example-{compiler}"));
        if !make(&root().join("examples/plugin-c"), &[("CC", compiler)], &out) {
            continue;
        }
        let library = out.join("libc_example.so");
        assert_exports_only(&library, &["tenon_plugin_entry_v1"]);
        let plugin = Plugin::load(&library);
        let (status, call) = plugin.ask("generate", "one two  three", r#"{"max_tokens": 2, "greet": false}"#);
        assert_eq!((status, call.texts().as_str()), (status::OK, "three two"));
        assert_eq!(call.document("finish").unwrap()["reason"], "length");
        let (status, call) = plugin.ask("generate", "b a", "{}");
        assert_eq!((status, call.texts().as_str()), (status::OK, "Hello! a b"));
        let (status, call) = plugin.ask("generate", "x", r#"{"max_tokens": "many"}"#);
        assert_eq!(status, status::E_OPTIONS);
        assert!(call.message.borrow().contains("max_tokens"));
        assert_eq!(plugin.ask("dance", "x", "{}").0, status::E_UNSUPPORTED);
        assert_eq!(plugin.estimate(&support::Call::default(), "{}"), None, "no plugin needs to estimate");
    }
}

#[test]
fn the_cpp_example_answers_and_turns_exceptions_into_errors() {
    for compiler in installed(&["g++", "clang++"]) {
        let out = scratch(&format!("example-{compiler}"));
        if !make(&root().join("examples/plugin-cpp"), &[("CXX", compiler)], &out) {
            continue;
        }
        let library = out.join("libcpp_example.so");
        assert_exports_only(&library, &["tenon_plugin_entry_v1"]);
        let plugin = Plugin::load(&library);
        let mut samples = vec![0.25; 24_000];
        samples[0] = -0.5;
        let (status, call) = plugin.hear("transcribe", &samples, "{}");
        assert_eq!(status, status::OK);
        let texts: Vec<_> = call.segments().into_iter().map(|segment| format!("{segment:?}")).collect();
        assert!(texts.len() == 2 && texts[0].contains(" level 50") && texts[1].contains(" level 25"), "{texts:?}");
        let (status, call) = plugin.ask("dance", "x", "{}");
        assert_eq!((status, call.message.borrow().as_str()), (status::E_UNSUPPORTED, "no task `dance`"));
        let call = support::Call::default();
        assert_eq!(plugin.once(&call, "generate", &[], "{}"), status::E_BACKEND, "a std::invalid_argument");
        assert_eq!(plugin.estimate(&call, "{}"), Some(status::OK));
        assert_eq!(call.document("estimate").unwrap()["devices"][0]["device"], "cpu");
        let stop = support::Call { most: Some(1), ..support::Call::default() };
        assert_eq!(plugin.ask_in(&stop, "generate", "x", "{}"), status::E_END, "the host's status goes back");
    }
}

#[test]
fn plugins_frozen_at_1_0_answer_to_the_host_of_today() {
    let frozen = root().join("host/abi/frozen/1.0");
    let include = frozen.join("include");
    for (compiler, standard, source, name) in
        [("gcc", "c99", "plugin.c", "frozen-c"), ("g++", "c++17", "plugin.cpp", "frozen-cpp")]
    {
        if installed(&[compiler]).is_empty() {
            continue;
        }
        let library = scratch("frozen").join(format!("{name}.so"));
        succeed(
            Command::new(compiler)
                .args([&format!("-std={standard}"), "-shared", "-fPIC", "-fvisibility=hidden", "-I"])
                .arg(&include)
                .arg(frozen.join(source))
                .arg("-o")
                .arg(&library),
        );
        assert_eq!(Plugin::load(&library).ask("generate", "one two", "{}").0, status::OK, "{name}");
    }
    let library = build_crate(&frozen.join("rust"), "frozen_rust");
    let (status, call) = Plugin::load(&library).ask("generate", "one two", "{}");
    assert_eq!((status, call.texts().as_str()), (status::OK, "one twoone two"));
}

#[test]
fn plugins_of_today_answer_to_the_host_frozen_at_1_0() {
    if installed(&["gcc"]).is_empty() {
        return;
    }
    let frozen = root().join("host/abi/frozen/1.0");
    let host = scratch("frozen").join("host");
    succeed(
        Command::new("gcc")
            .args(["-std=c99", "-D_GNU_SOURCE", "-I"])
            .arg(frozen.join("include"))
            .arg(frozen.join("host.c"))
            .arg("-o")
            .arg(&host)
            .arg("-ldl"),
    );
    let out = scratch("new-plugin");
    if make(&root().join("examples/plugin-c"), &[("CC", "gcc")], &out) {
        let output = succeed(Command::new(&host).arg(out.join("libc_example.so")));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "Hello! two one");
    }
    let output = succeed(Command::new(&host).arg(echo()));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "one two");
}

/// The echo plugin: as `cargo xtask test` has built it together with the tests, or built now in the profile and target
/// folder of this test.
fn echo() -> PathBuf {
    if let Some(built) = std::env::var_os("TENON_TEST_LIBRARIES") {
        return PathBuf::from(built).join(library_name("tenon_echo"));
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    succeed(
        Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--offline", "--package", "tenon-echo"])
            .args(["--target-dir"])
            .arg(target)
            .current_dir(root()),
    );
    target.join("debug").join(library_name("tenon_echo"))
}

fn library_name(stem: &str) -> String {
    format!("{}{stem}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
}

/// Builds a crate that is no member of this workspace and returns its library.
fn build_crate(folder: &Path, stem: &str) -> PathBuf {
    // Shared with the tests of tenon-witness, so that what both need is built once.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside");
    succeed(
        Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--offline", "--target-dir"])
            .arg(&target)
            .current_dir(folder)
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env_remove("RUSTFLAGS"),
    );
    target.join("debug").join(library_name(stem))
}

/// Copies a template with its placeholders filled in.
fn instantiate(language: &str, id: &str) -> PathBuf {
    let from = root().join("plugins/sdk/templates").join(language);
    let to = scratch(&format!("template-{language}"));
    copy(&from, &to, &|text| {
        text.replace("{{id}}", id).replace("{{sdk}}", root().join("plugins/sdk").to_str().unwrap())
    });
    to
}

fn copy(from: &Path, to: &Path, fill: &dyn Fn(&str) -> String) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (source, target) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if source.is_dir() {
            copy(&source, &target, fill);
        } else {
            let text = fill(&fs::read_to_string(&source).unwrap());
            assert!(!text.contains("{{"), "{} has a placeholder left", source.display());
            fs::write(target, text).unwrap();
        }
    }
}

#[test]
fn the_templates_in_c_and_cpp_build_and_answer() {
    for (language, compiler, variable) in [("c", "gcc", "CC"), ("cpp", "g++", "CXX")] {
        if installed(&[compiler]).is_empty() {
            continue;
        }
        let folder = instantiate(language, "my-plugin");
        let include = root().join("include");
        if make(&folder, &[(variable, compiler), ("INCLUDE", include.to_str().unwrap())], &folder) {
            let (status, call) = Plugin::load(&folder.join("libmy-plugin.so")).ask("generate", "one two", "{}");
            assert_eq!(status, status::OK);
            assert!(!call.texts().is_empty());
        }
    }
}

#[test]
fn the_template_in_rust_builds_and_answers() {
    let folder = instantiate("rust", "my-plugin");
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let library = build_crate(&folder, "my_plugin");
    let (status, call) = Plugin::load(&library).ask("generate", "one two", r#"{"loud": true, "max_tokens": 1}"#);
    assert_eq!((status, call.texts().as_str()), (status::OK, "ONE "));
    assert_eq!(call.document("finish").unwrap()["reason"], "length");
}

#[test]
fn echo_does_every_task_and_exports_its_entry_and_its_witness() {
    let library = echo();
    assert_exports_only(&library, &[tenon_witness::SYMBOL, "tenon_plugin_entry_v1"]);
    let echo = Plugin::load(&library);
    let (status, call) = echo.ask("chat", "one two STOP three", r#"{"stop": ["STOP"], "tokens": true}"#);
    assert_eq!((status, call.texts().as_str()), (status::OK, "one two "));
    assert_eq!(call.document("finish").unwrap(), serde_json::json!({"reason": "stop", "stop": "STOP"}));
    let (_, call) = echo.ask("generate", "one two three", r#"{"max_tokens": 2}"#);
    assert_eq!(
        (call.texts().as_str(), call.document("finish").unwrap()["reason"].as_str()),
        ("one two ", Some("length"))
    );
    let (status, call) = echo.hear("translate", &[0.42; 20_000], r#"{"words": true}"#);
    assert_eq!(status, status::OK);
    let words = ["SECOND", "2", "PEAK", "42"].map(str::to_owned).to_vec();
    let (text, tokens) = (" SECOND 2 PEAK 42".to_owned(), 0);
    let last = support::Emitted::Segment { start_us: 1_000_000, end_us: 1_250_000, text, words, tokens };
    assert_eq!(call.segments()[1], last);
    let (_, call) = echo.hear("detect-language", &[0.1; 100], "{}");
    assert_eq!(call.document("language").unwrap()["code"], "en");
    let (_, call) = echo.ask("embed", "abc", "{}");
    let emitted = call.emitted.borrow();
    let Some(support::Emitted::Embedding { index: 0, values }) = emitted.first() else { panic!("{emitted:?}") };
    let length: f32 = values.iter().map(|value| value * value).sum();
    assert!((length - 1.0).abs() < 1e-6, "{values:?}");
}

#[test]
fn the_sdk_does_not_compile_where_a_panic_aborts() {
    let compile = |strategy: &str| {
        let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        rustc.args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "-C", strategy, "-o"]);
        rustc.arg(scratch("abort").join("sdk.rmeta")).arg(root().join("plugins/sdk/src/lib.rs"));
        String::from_utf8_lossy(&rustc.output().unwrap().stderr).into_owned()
    };
    // Its dependencies are not given, so it compiles in neither case; what counts is whether this is a reason.
    let reason = "a plugin must be built with panic = \"unwind\"";
    assert!(compile("panic=abort").contains(reason));
    assert!(!compile("panic=unwind").contains(reason));
}
