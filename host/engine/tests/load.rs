//! Plugins and models that are refused, before anything of them runs where that can be, and those that are not.

use std::fs;
use std::process::Command;
use tenon::{Digest, Engine, Error, ErrorKind, Isolation, Load, Options, Request, VerifyMode, WorkerSettings};
use tenon_testkit::{Home, c_example, cpp_example, echo, example, faulty};

fn refused(home: &Home, name: &str) -> Error {
    home.engine().load(name, Load::new()).unwrap_err()
}

#[test]
fn a_plugin_with_one_changed_byte_is_refused_before_it_runs() {
    let home = Home::with_echo();
    let library = home.path().join("plugins").join(echo().library.file_name().unwrap());
    let mut bytes = fs::read(&library).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&library, bytes).unwrap();
    let error = refused(&home, "echo");
    assert_eq!((error.kind(), error.kind().exit_code()), (ErrorKind::HashMismatch, 4));
    assert!(error.message().contains("of its sidecar: get the plugin again"), "{error}");
    assert_ne!(error.detail("expected"), error.detail("actual"));
}

#[test]
fn a_model_with_one_changed_byte_is_refused_before_the_backend_sees_it() {
    let home = Home::with_echo();
    let file = home.add_file("model", "weights.bin", b"weights");
    home.add_manifest("filed", "generate", "echo", &file);
    home.model("filed");
    fs::write(home.path().join("models/weights.bin"), b"weighty").unwrap();
    let error = refused(&home, "filed");
    assert_eq!((error.kind(), error.kind().exit_code()), (ErrorKind::HashMismatch, 4));
    let report =
        home.engine().verify("filed", VerifyMode::Always, &mut |_, _| std::ops::ControlFlow::Continue(())).unwrap();
    assert_eq!(report.error().unwrap().kind(), ErrorKind::HashMismatch);
    fs::remove_file(home.path().join("models/weights.bin")).unwrap();
    let error = refused(&home, "filed");
    assert_eq!((error.kind(), error.kind().exit_code()), (ErrorKind::NotFound, 3));
}

#[test]
fn a_library_without_a_sidecar_is_no_plugin() {
    let home = Home::with_echo();
    fs::remove_file(home.sidecar("echo")).unwrap();
    assert_eq!(refused(&home, "echo").kind(), ErrorKind::Plugin);
    let library = home.path().join("plugins").join(echo().library.file_name().unwrap());
    let error = home.engine().backend_at(&library).unwrap_err();
    assert_eq!((error.kind(), error.kind().exit_code()), (ErrorKind::Plugin, 5));
    assert!(error.message().contains("has no sidecar: write its <id>.plugin.toml beside it"), "{error}");
}

#[test]
fn a_sidecar_that_cannot_be_true_is_refused_before_the_library_is_opened() {
    let wrong = [
        (
            "abi = \"1.1\"",
            "abi = \"2.0\"",
            ErrorKind::AbiMismatch,
            "was built for plugin contract 2.0, and this host speaks 1.1",
        ),
        ("cpu = \"any\"", "cpu = \"native:hyperspace\"", ErrorKind::Plugin, "and this one lacks hyperspace"),
        (
            "id = \"echo\"",
            "id = \"eccho\"",
            ErrorKind::Plugin,
            "no plugin provides the backend \"echo\": there are eccho@",
        ),
        ("license = ", "licence = ", ErrorKind::Plugin, "unknown key \"licence\" (did you mean \"license\"?)"),
        ("version = \"0.1.0\"", "version = \"9.9.9\"", ErrorKind::Plugin, "its sidecar"),
    ];
    for (from, to, kind, says) in wrong {
        let home = Home::with_echo();
        // Another digest, so that the verdict on the good one does not count.
        let library = home.path().join("plugins").join(echo().library.file_name().unwrap());
        let mut bytes = fs::read(&library).unwrap();
        bytes.extend_from_slice(to.as_bytes());
        fs::write(&library, bytes).unwrap();
        tenon::seal(&library, &echo().template).unwrap();
        home.replace(&home.sidecar("echo"), from, to);
        let error = refused(&home, "echo");
        assert_eq!(error.kind(), kind, "{to}: {error}");
        assert!(error.message().contains(says), "{to}: {error}");
        let entry = home.engine().plugins().remove(0);
        assert!(entry.problem.is_some() || to.contains("eccho"), "{to}");
    }
}

#[test]
fn what_one_sidecar_says_falsely_is_not_held_against_the_library_and_is_never_believed() {
    let home = Home::with_echo();
    let library = home.path().join("plugins").join(echo().library.file_name().unwrap());
    // A digest that no other test loads.
    let mut bytes = fs::read(&library).unwrap();
    bytes.extend_from_slice(b"what one sidecar says");
    fs::write(&library, bytes).unwrap();
    tenon::seal(&library, &echo().template).unwrap();
    let (truth, lies) = ("version = \"0.1.0\"", "version = \"9.9.9\"");
    for _ in 0..2 {
        home.replace(&home.sidecar("echo"), truth, lies);
        let error = refused(&home, "echo");
        assert!(error.message().contains("says that it is version 0.1.0, and its sidecar"), "{error}");
        assert!(home.engine().plugins().remove(0).problem.is_some());
        home.replace(&home.sidecar("echo"), lies, truth);
        home.model("echo");
        assert!(home.engine().plugins().remove(0).problem.is_none());
    }
}

#[test]
fn a_file_that_is_no_library_is_refused_with_the_systems_words() {
    let home = Home::with_echo();
    let library = home.path().join("plugins").join(echo().library.file_name().unwrap());
    fs::write(&library, "not a library").unwrap();
    tenon::seal(&library, &echo().template).unwrap();
    let error = refused(&home, "echo");
    assert_eq!(error.kind(), ErrorKind::Plugin);
    assert!(error.message().starts_with("the system cannot load"), "{error}");
    assert!(error.detail("native").is_some());
}

#[test]
fn what_a_plugin_does_wrong_at_load_is_an_error_and_not_the_end() {
    let faults = [
        ("entry-error", "backend", ""),
        ("entry-panic", "panic", ""),
        ("entry-unknown-status", "plugin", "status 4711"),
        ("entry-null-out", "plugin", "hands out a root that is NULL"),
        ("wrong-major", "abi-mismatch", "contract 2.1"),
        ("short-plugin", "plugin", "hands out a root of 8 bytes"),
        ("long-plugin", "plugin", "hands out a root of 4096 bytes"),
        ("null-id", "plugin", "and it is \"\""),
        ("broken-id", "plugin", "and it is \"f\u{fffd}ulty\""),
        ("other-id", "plugin", "and it is \"innocent\""),
        ("null-get-interface", "plugin", "lacks the function get_interface"),
        ("no-backend", "plugin", "does not provide tenon.backend/1"),
        ("short-backend", "plugin", "has a tenon.backend/1 of 16 bytes"),
        ("null-slot", "plugin", "lacks the function session_reset"),
        ("describe-nothing", "plugin", "describes itself 0 times"),
        ("describe-no-json", "plugin", "a description that cannot be read"),
        ("describe-panic", "panic", ""),
        ("short-memory", "plugin", "has a tenon.memory/1 of 8 bytes"),
        ("null-estimate", "plugin", "lacks the function estimate of tenon.memory/1"),
    ];
    let home = Home::with_faulty();
    for (fault, kind, says) in faults {
        let mut command = Command::new(example("ask"));
        command.arg(home.path()).args(["faulty", "generate", "text"]).env("TENON_FAULTY", fault);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let (said, message) = text.split_once(": ").unwrap_or_else(|| panic!("{fault}: {output:?}"));
        assert_eq!(said, kind, "{fault}: {text}");
        assert!(message.contains(says), "{fault}: {text}");
    }
}

#[test]
fn a_library_without_the_entry_says_what_it_lacks() {
    for (source, kind, says) in [
        ("int something_else;", ErrorKind::Plugin, "is no plugin: it exports no tenon_plugin_entry_v1"),
        ("int tenon_plugin_entry_v2(void) { return 0; }", ErrorKind::AbiMismatch, "was built for plugin contract 2.x"),
    ] {
        let home = Home::new();
        let (code, library) = (home.path().join("x.c"), home.path().join("plugins/libx.so"));
        fs::write(&code, source).unwrap();
        let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&code).status();
        match compiled {
            Err(error) => eprintln!("SKIPPED: a library without the entry, because cc cannot be run: {error}"),
            Ok(status) => {
                assert!(status.success());
                tenon::seal(&library, &echo().template).unwrap();
                let error = home.engine().backend("echo").unwrap_err();
                assert_eq!(error.kind(), kind, "{error}");
                assert!(error.message().contains(says), "{error}");
            }
        }
    }
}

#[test]
fn the_backend_word_of_a_manifest_changes_the_engine() {
    let home = Home::with_echo();
    home.add_plugin(&faulty());
    let text = |home: &Home| home.session("echo").run(&Request::generate("hello")).unwrap().text;
    assert_eq!(text(&home), "hello");
    home.replace(&home.path().join("manifests/echo.toml"), "backend = \"echo\"", "backend = \"faulty\"");
    assert_eq!(text(&home), "all is well");
}

#[test]
fn backends_in_c_and_cpp_answer_through_the_same_engine() {
    let home = Home::new();
    if let Some(plugin) = c_example() {
        home.add_plugin(&plugin);
        home.add_manifest("c", "generate", "c-example", "");
        let mut session = home.session("c");
        let text = session.run(&Request::generate("one two three")).unwrap().text;
        assert!(text.ends_with("three two one"), "{text}");
    }
    if let Some(plugin) = cpp_example() {
        home.add_plugin(&plugin);
        home.add_manifest("cpp", "transcribe", "cpp-example", "");
        let request = Request::transcribe(tenon::AudioSource::mono(vec![0.5; 16_000], 16_000));
        let answer = home.session("cpp").run(&request).unwrap();
        assert!(!answer.segments.is_empty());
    }
}

#[test]
fn one_library_is_one_plugin_however_many_engines_and_copies_there_are() {
    let (one, other) = (Home::with_echo(), Home::with_echo());
    let (first, second) = (one.engine().backend("echo").unwrap(), other.engine().backend("echo").unwrap());
    assert_eq!(first.path(), second.path());
    assert_eq!(first.digest(), second.digest());
    let entry = other.engine().plugins().remove(0);
    assert!(entry.loaded && entry.problem.is_none());
}

#[test]
fn a_version_can_be_chosen_and_the_first_folder_wins() {
    let home = Home::with_echo();
    let engine = home.engine();
    let exact = format!("echo@{}", engine.backend("echo").unwrap().version());
    assert_eq!(engine.backend(&exact).unwrap().id(), "echo");
    let error = engine.backend("echo@9.9.9").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Plugin);
    assert!(error.message().contains(&exact), "{error}");
    let broken = Home::new();
    fs::write(broken.sidecar("echo"), "id = 5").unwrap();
    let both = Engine::builder().plugin_dir(broken.path().join("plugins")).plugin_dir(home.path().join("plugins"));
    assert_eq!(both.build().unwrap().backend("echo").unwrap().id(), "echo");
    assert_eq!(broken.engine().backend("echo").unwrap_err().kind(), ErrorKind::Plugin);
}

#[test]
fn a_plugin_can_be_named_by_its_file() {
    let home = Home::with_echo();
    let library = home.path().join("plugins").join(echo().library.file_name().unwrap());
    for path in [library, home.sidecar("echo")] {
        let engine = Engine::builder().plugin_file(path).build().unwrap();
        assert_eq!(engine.backend("echo").unwrap().id(), "echo");
    }
}

#[test]
fn what_a_manifest_gets_wrong_is_told_with_its_place_when_it_is_loaded() {
    let home = Home::with_echo();
    home.add_manifest("wrong", "generate", "echo", "[load]\ndelay = 5\n[preset.fast]\nmax_tokns = 1\ntop_p = 7");
    let error = refused(&home, "wrong");
    assert_eq!((error.kind(), error.kind().exit_code()), (ErrorKind::Manifest, 2));
    let lines: Vec<u32> = error.diagnostics().iter().map(|diagnostic| diagnostic.line).collect();
    assert_eq!(lines, [6, 8, 9], "{error}");
    assert!(error.message().contains("did you mean \"delay_ms\"?"), "{error}");
    assert_eq!(error.detail("line"), Some("6"));
    home.add_manifest("task", "paint", "echo", "");
    assert_eq!(refused(&home, "task").kind(), ErrorKind::Manifest);
    assert_eq!(refused(&home, "ecko").kind(), ErrorKind::NotFound);
}

#[test]
fn load_options_lie_over_those_of_the_manifest_and_are_checked() {
    let home = Home::with_echo();
    home.add_manifest("slow", "generate", "echo", "[load]\ndelay_ms = 60000");
    let mut options = Options::new();
    options.set("delay_ms", 0);
    let model = home.engine().load("slow", Load::new().options(options)).unwrap();
    assert_eq!(model.provenance().load_options.get("delay_ms"), Some(&0.into()));
    let mut options = Options::new();
    options.set("delay", 0);
    let error = home.engine().load("slow", Load::new().options(options)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Options);
    assert!(error.message().contains("did you mean \"delay_ms\"?"), "{error}");
}

#[test]
fn a_worker_that_is_asked_for_is_not_silently_left_out() {
    let home = Home::with_echo();
    home.add_manifest("apart", "generate", "echo", "isolation = \"worker\"");
    let nowhere = home.path().join("no-such-worker");
    let engine = home.builder().worker(WorkerSettings::default().program(&nowhere)).build().unwrap();
    let error = engine.load("apart", Load::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("no-such-worker"), "{error}");
    let error = engine.load("apart", Load::new().isolation(Isolation::Process)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("never run less isolated"), "{error}");
}

#[test]
fn models_and_plugins_are_listed_with_their_problems() {
    let home = Home::with_echo();
    let file = home.add_file("model", "weights.bin", b"weights");
    home.add_manifest("filed", "generate", "echo", &file);
    home.add_manifest("broken", "generate", "echo", "nonsense = 1");
    fs::write(home.sidecar("other"), "id = ").unwrap();
    let engine = home.engine();
    let models = engine.models();
    let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["broken", "echo", "filed"]);
    assert!(models[0].problem.as_ref().unwrap().message().contains("nonsense"));
    assert_eq!((models[2].state, models[2].size), (tenon::State::Present, 7));
    let plugins = engine.plugins();
    assert_eq!(plugins.iter().map(|plugin| plugin.id.as_str()).collect::<Vec<_>>(), ["echo", "other"]);
    assert_eq!(plugins[0].sha256, Some(Digest::of(&fs::read(&plugins[0].path).unwrap())));
    assert!(plugins[1].problem.is_some());
    fs::remove_file(&plugins[0].path).unwrap();
    assert_eq!(home.engine().plugins()[0].problem.as_ref().unwrap().kind(), ErrorKind::NotFound);
}

#[test]
fn a_sealed_library_is_named_by_its_sidecar() {
    let home = Home::new();
    let library = home.add_plugin(&echo());
    let text = fs::read_to_string(home.sidecar("echo")).unwrap();
    assert!(text.contains(&Digest::of(&fs::read(&library).unwrap()).to_string()));
    // It is a template too.
    assert_eq!(tenon::seal(&library, &home.sidecar("echo")).unwrap(), home.sidecar("echo"));
    assert_eq!(fs::read_to_string(home.sidecar("echo")).unwrap(), text);
}

#[test]
fn bytes_written_over_a_loaded_library_are_not_taken_for_it() {
    let home = Home::with_echo();
    let library = home.path().join("plugins").join(echo().library.file_name().unwrap());
    let mut bytes = fs::read(&library).unwrap();
    // Beyond the end of what the loader maps, so that the loaded library stays whole.
    bytes.extend_from_slice(b"this very file");
    fs::write(&library, &bytes).unwrap();
    tenon::seal(&library, &echo().template).unwrap();
    home.model("echo");
    bytes.extend_from_slice(b"once more");
    fs::OpenOptions::new()
        .append(true)
        .open(&library)
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"once more"))
        .unwrap();
    tenon::seal(&library, &echo().template).unwrap();
    let error = refused(&home, "echo");
    assert!(error.message().contains("was written over after this process had loaded it"), "{error}");
    // The same bytes in a new file, put in place by renaming, are another library.
    fs::write(library.with_extension("new"), &bytes).unwrap();
    fs::rename(library.with_extension("new"), &library).unwrap();
    home.model("echo");
}
