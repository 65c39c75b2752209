//! What is added to an engine after it was built: manifests in files and in memory, plugins with and without a sidecar.

use std::fs;
use std::path::PathBuf;
use tenon::{Digest, Engine, ErrorKind, Load, Request};
use tenon_testkit::{Home, echo};

const TEXT: &str = "name = \"talk\"\ntask = \"generate\"\nbackend = \"echo\"\nlicense = \"MIT\"\n";

/// A copy of the echo plugin with bytes of its own, hence another library. Without a sidecar.
fn bare(home: &Home, bytes: &str) -> (PathBuf, Digest) {
    let mut library = fs::read(echo().library).unwrap();
    // Beyond the end of what the loader maps.
    library.extend_from_slice(bytes.as_bytes());
    let path = home.path().join("plugins").join(format!("{}{bytes}.so", std::env::consts::DLL_PREFIX));
    fs::write(&path, &library).unwrap();
    (path, Digest::of(&library))
}

fn said(engine: &Engine, model: &str) -> String {
    let mut session = engine.load(model, Load::new()).unwrap().session().unwrap();
    session.run(&Request::generate("hello")).unwrap().text
}

#[test]
fn a_manifest_that_is_added_later_hides_one_of_its_name() {
    let home = Home::with_echo();
    let engine = home.engine();
    let before = engine.manifest("echo").unwrap();
    let path = home.path().join("echo.toml");
    fs::write(&path, TEXT.replace("talk", "echo").replace("MIT", "Zlib")).unwrap();
    assert_eq!(engine.clone().add_manifest_file(&path).unwrap(), "echo");
    assert_eq!((&*before.license, &*engine.manifest("echo").unwrap().license), ("MIT", "Zlib"));
    assert_eq!(engine.models().len(), 1);
    assert_eq!(engine.catalog().shadowed()[0].by, path);
    assert_eq!(said(&engine, "echo"), "hello");
}

#[test]
fn a_manifest_that_is_added_again_leaves_nothing_of_its_past_behind() {
    let engine = Engine::builder().build().unwrap();
    for count in 0..3 {
        let text = TEXT.replace("MIT", &format!("L{count}"));
        assert_eq!(engine.add_manifest_text(&text, &format!("number {count}")).unwrap(), "talk");
    }
    engine.refresh();
    assert_eq!((engine.models().len(), engine.catalog().shadowed().len()), (1, 0));
    assert_eq!(engine.manifest("talk").unwrap().license, "L2");
}

#[test]
fn sizes_that_no_number_holds_together_are_no_more_than_the_largest() {
    let engine = Engine::builder().build().unwrap();
    let file = |number: u32| {
        let sha256 = Digest::of(&number.to_le_bytes());
        format!("[[file]]\nrole = \"model\"\nname = \"{number}\"\nsha256 = \"{sha256}\"\nsize = {}\n", i64::MAX)
    };
    engine.add_manifest_text(&format!("{TEXT}{}{}{}", file(1), file(2), file(3)), "huge").unwrap();
    assert_eq!(engine.models()[0].size, u64::MAX);
}

#[test]
fn a_manifest_in_memory_is_a_manifest_like_any_other() {
    let home = Home::with_echo();
    let engine = home.engine();
    let file = home.add_file("model", "weights.bin", b"weights");
    assert_eq!(engine.add_manifest_text(&format!("{TEXT}{file}"), "the settings").unwrap(), "talk");
    assert_eq!(said(&engine, "talk"), "hello");
    let entry = engine.models().into_iter().find(|entry| entry.name == "talk").unwrap();
    assert_eq!((entry.state, entry.manifest), (tenon::State::Present, PathBuf::from("the settings")));
}

#[test]
fn a_broken_manifest_is_refused_with_all_that_is_wrong_and_changes_nothing() {
    let home = Home::with_echo();
    let engine = home.engine();
    let text = TEXT.replace("license", "licence").replace("task", "tsak");
    let error = engine.add_manifest_text(&text, "the settings").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Manifest);
    assert!(error.diagnostics().len() >= 2, "{error}");
    assert!(error.message().contains("the settings:2:1"), "{error}");
    assert_eq!(error.detail("file"), Some("the settings"));
    fs::write(home.path().join("talk.toml"), text).unwrap();
    assert_eq!(engine.add_manifest_file(home.path().join("talk.toml")).unwrap_err().kind(), ErrorKind::Manifest);
    assert_eq!(engine.add_manifest_file(home.path().join("nothing.toml")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(engine.models().len(), 1);
}

#[test]
fn a_plugin_is_added_by_its_library_or_by_its_sidecar() {
    let home = Home::with_echo();
    let library = home.path().join("plugins").join(echo().library.file_name().unwrap());
    let digest = Digest::of(&fs::read(&library).unwrap());
    for (path, sha256) in [(library, Some(digest)), (home.sidecar("echo"), None)] {
        let engine = Engine::builder().build().unwrap();
        let backend = engine.add_plugin_file(path, sha256).unwrap();
        assert_eq!((backend.id(), backend.digest()), ("echo", Some(digest)));
        engine.add_manifest_text(TEXT, "memory").unwrap();
        assert_eq!(said(&engine, "talk"), "hello");
        assert_eq!(engine.plugins().len(), 1);
    }
}

#[test]
fn the_digest_and_the_sidecar_must_agree() {
    let home = Home::with_echo();
    let engine = Engine::builder().build().unwrap();
    let error = engine.add_plugin_file(home.sidecar("echo"), Some(Digest::of(b"another"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HashMismatch);
    assert_eq!(error.detail("expected"), Some(&*Digest::of(b"another").to_string()));
    assert!(error.message().contains("that was given"), "{error}");
    assert!(engine.plugins().is_empty());
}

#[test]
fn a_library_without_a_sidecar_needs_a_digest_and_says_itself_what_it_is() {
    let home = Home::new();
    let (library, digest) = bare(&home, "alone");
    let engine = home.engine();
    let error = engine.add_plugin_file(&library, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Plugin);
    assert!(error.message().contains("has no sidecar, and no SHA-256 was given"), "{error}");
    let error = engine.add_plugin_file(&library, Some(Digest::of(b"another"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HashMismatch);
    assert!(error.message().contains("that was given: get the plugin again"), "{error}");
    assert_eq!(error.detail("actual"), Some(&*digest.to_string()));
    let error = engine.add_plugin_file(home.path().join("plugins/nothing.so"), Some(digest)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let backend = engine.add_plugin_file(&library, Some(digest)).unwrap();
    assert_eq!((backend.id(), backend.path()), ("echo", &*library));
    let entry = engine.plugins().remove(0);
    assert_eq!((entry.version.as_str(), entry.sha256, entry.loaded), (backend.version(), Some(digest), true));
    assert!(entry.tasks.contains(&"generate".to_owned()) && entry.problem.is_none());
    engine.add_manifest_text(TEXT, "memory").unwrap();
    assert_eq!(said(&engine, "talk"), "hello");
}

#[test]
fn of_two_plugins_with_one_id_the_one_that_was_added_last_is_taken() {
    let home = Home::with_echo();
    let engine = home.engine();
    let elsewhere = Home::new();
    let (first, second) = (bare(&elsewhere, "first"), bare(&elsewhere, "second"));
    for (library, digest) in [&first, &second, &first] {
        engine.add_plugin_file(library, Some(*digest)).unwrap();
        assert_eq!(engine.backend("echo").unwrap().digest(), Some(*digest));
        assert_eq!(engine.plugins()[0].sha256, Some(*digest));
    }
    assert_eq!(engine.plugins().len(), 3);
}
