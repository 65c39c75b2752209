//! What `tenon plugin check` says of good and of bad plugins.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tenon_conformance::{CheckOptions, Level, Report, check};
use tenon_testkit::{Built, Home, c_example, cpp_example, echo, faulty};

fn errors(report: &Report) -> Vec<String> {
    report.findings.iter().filter(|finding| finding.level == Level::Error).map(ToString::to_string).collect()
}

fn check_built(plugin: &Built) -> Report {
    let home = Home::new();
    check(&home.add_plugin(plugin), &CheckOptions::default())
}

#[test]
fn echo_keeps_the_contract() {
    let report = check_built(&echo());
    assert_eq!(errors(&report), Vec::<String>::new());
    for step in ["exports", "load the plugin", "chat, cancelled during", "transcribe, several sessions", "embed, reset"]
    {
        assert!(report.steps.iter().any(|taken| taken == step), "{step} is not in {:?}", report.steps);
    }
}

#[test]
fn the_examples_in_c_and_cpp_keep_the_contract() {
    for plugin in [c_example(), cpp_example()].into_iter().flatten() {
        let mut report = check_built(&plugin);
        // The testkit links without the version script, so the C++ example shows its library's templates.
        report.findings.retain(|finding| finding.place != "exports");
        assert_eq!(errors(&report), Vec::<String>::new(), "{}", plugin.library.display());
    }
}

/// Checks the faulty plugin with a fault in its manifest.
fn check_faulty(fault: &str) -> Vec<String> {
    let home = Home::new();
    let library = home.add_plugin(&faulty());
    let manifest = home.add_manifest("faulty", "generate", "faulty", fault);
    let patience = Duration::from_secs(5);
    errors(&check(&library, &CheckOptions { manifest: Some(manifest), patience, ..CheckOptions::default() }))
}

#[test]
fn faulty_without_a_fault_keeps_the_contract() {
    assert_eq!(check_faulty(""), Vec::<String>::new());
}

#[test]
fn a_panic_in_a_request_is_found() {
    let errors = check_faulty("[preset.default]\nfault = \"panic\"");
    assert!(errors.iter().any(|error| error.contains("the run was asked to panic")), "{errors:?}");
}

#[test]
fn a_model_that_does_not_open_is_found() {
    let errors = check_faulty("[load]\nfault = \"open-panic\"");
    assert!(errors.iter().any(|error| error.contains("opening was asked to panic")), "{errors:?}");
}

#[test]
fn sessions_that_do_not_open_are_found() {
    let errors = check_faulty("[load]\nfault = \"session-open-null\"");
    assert!(errors.iter().any(|error| error.contains("no session opens")), "{errors:?}");
}

#[test]
fn what_is_no_library_is_an_error() {
    let folder = std::env::temp_dir();
    let report = check(&folder.join("there-is-no-such-plugin.so"), &CheckOptions::default());
    assert!(!report.passed());
}

#[test]
fn a_library_without_a_sidecar_is_not_run() {
    let home = Home::new();
    let library = home.add_plugin(&echo());
    std::fs::remove_file(home.sidecar("echo")).unwrap();
    let errors = errors(&check(&library, &CheckOptions::default()));
    assert!(errors.iter().any(|error| error.contains("sidecar")), "{errors:?}");
}

/// A library in C, or nothing where there is no compiler.
fn compiled(home: &Home, source: &str, flags: &[&str]) -> Option<PathBuf> {
    let (input, library) = (home.path().join("bad.c"), home.path().join("libbad.so"));
    std::fs::write(&input, source).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC"]).arg(&input).args(flags).arg("-o").arg(&library).output();
    let built = built.is_ok_and(|output| output.status.success());
    if !built {
        eprintln!("SKIPPED: cc cannot build a bad library here, so that it is found was not tested");
    }
    built.then_some(library)
}

fn look_at(library: &Path) -> Vec<String> {
    errors(&check(library, &CheckOptions { without_running: true, ..CheckOptions::default() }))
}

#[test]
fn a_library_that_exports_more_than_its_entry_is_found() {
    let home = Home::new();
    let source = "int tenon_plugin_entry_v1(void) { return 0; }\nint ggml_init(void) { return 1; }\n";
    let Some(library) = compiled(&home, source, &[]) else { return };
    assert_eq!(look_at(&library).len(), 1);
    assert!(look_at(&library)[0].contains("`ggml_init`"), "{:?}", look_at(&library));
}

#[test]
fn a_library_without_an_entry_is_found() {
    let home = Home::new();
    let Some(library) = compiled(&home, "static int nothing; int *f(void);\n", &[]) else { return };
    assert!(look_at(&library)[0].contains("does not export tenon_plugin_entry_v1"), "{:?}", look_at(&library));
}

#[test]
fn a_library_that_needs_an_engine_of_the_machine_is_found() {
    let home = Home::new();
    let Some(engine) = compiled(&home, "int f(void) { return 0; }\n", &["-Wl,-soname,libggml.so.0"]) else { return };
    let engine = {
        let path = home.path().join("libggml.so");
        std::fs::rename(engine, &path).unwrap();
        path
    };
    let source = "int f(void);\nint tenon_plugin_entry_v1(void) { return f(); }\n";
    let Some(library) = compiled(&home, source, &[engine.to_str().unwrap()]) else { return };
    assert!(look_at(&library).iter().any(|error| error.contains("libggml.so.0")), "{:?}", look_at(&library));
}
