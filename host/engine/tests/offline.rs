//! Bundles, the lock file and signatures as an engine has them: what runs, and what is refused before it does.

use std::fs;
use std::io::Cursor;
use std::ops::ControlFlow;
use std::path::Path;
use tenon::bundle::{Stage, TARGET};
use tenon::{
    BundleImport, BundleReport, Digest, Engine, Error, ErrorKind, Load, LockFile, Request, Require, Trust, VerifyMode,
};
use tenon_testkit::{Home, echo, faulty};

fn go_on(_: Stage, _: &tenon_store::Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A home with the echo plugin and a model that has a file.
fn home() -> Home {
    let home = Home::with_echo();
    let file = home.add_file("model", "weights.bin", b"weights");
    home.add_manifest("talk", "chat", "echo", &file);
    home
}

fn bundle_of(home: &Home, names: &[&str], plugins: bool) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut out = Vec::new();
    home.engine().export_bundle_to(&names, plugins, &mut out, &mut go_on).unwrap();
    out
}

fn import(engine: &Engine, bundle: &[u8], how: BundleImport) -> tenon::Result<BundleReport> {
    let mut from = Cursor::new(bundle);
    let bundle = engine.open_bundle(&mut from, Path::new("x.tenon"))?;
    engine.import_bundle(bundle, how, &mut go_on)
}

/// An engine that knows nothing but a store of its own.
fn offline(home: &Home) -> Engine {
    let at = |name: &str| home.path().join(name);
    Engine::builder().store_dir(at("store")).state_dir(at("state")).build().unwrap()
}

/// What can be seen in the store of a home.
fn visible(home: &Home) -> usize {
    let count = |name: &str| {
        let listed = fs::read_dir(home.path().join("store").join(name)).into_iter().flatten().flatten();
        listed.filter(|entry| entry.file_name() != ".lock").count()
    };
    ["blobs", "models", "plugins"].into_iter().map(count).sum()
}

fn kind(outcome: tenon::Result<impl Sized>) -> (ErrorKind, String) {
    let error = outcome.err().expect("an error");
    (error.kind(), error.message().to_owned())
}

#[test]
fn a_bundle_makes_a_model_run_where_there_was_nothing() {
    let bundle = bundle_of(&home(), &["talk"], true);
    let home = Home::new();
    let engine = offline(&home);
    assert_eq!(engine.models().len() + engine.plugins().len(), 0);
    let report = import(&engine, &bundle, BundleImport::default()).unwrap();
    assert_eq!((report.imported.models, report.imported.new_plugins), (vec!["talk".into()], vec!["echo".into()]));
    assert_eq!(report.hidden, Vec::<String>::new());
    let model = engine.load("talk", Load::new()).unwrap();
    assert_eq!(model.backend().path().parent(), Some(home.path().join("store/plugins").as_path()));
    model.session().unwrap().run(&Request::generate("hello")).unwrap();
    let again = offline(&home);
    assert_eq!((again.models().len(), again.plugins().len()), (1, 1));
}

#[test]
fn a_bundle_for_another_target_is_refused_unless_its_plugins_are_left_out() {
    let bundle = bundle_of(&home(), &["talk"], true);
    let elsewhere = respoken(&bundle, |index| index.replace(TARGET, "riscv64-unknown-none"));
    let home = Home::new();
    let (kind, said) = kind(import(&offline(&home), &elsewhere, BundleImport::default()));
    assert_eq!(kind, ErrorKind::Plugin);
    assert!(said.contains("is built for riscv64-unknown-none, and this program for"), "{said}");
    assert!(said.ends_with("--no-plugins imports the models alone"), "{said}");
    assert_eq!(visible(&home), 0);
    let how = BundleImport { without_plugins: true, ..Default::default() };
    import(&offline(&home), &elsewhere, how).unwrap();
    assert_eq!(visible(&home), 2);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_bundle_for_another_cpu_or_contract_is_refused_before_anything_is_written() {
    let bundle = bundle_of(&home(), &["talk"], true);
    let home = Home::new();
    let cpu = respoken(&bundle, |index| index.replace("cpu = \"any\"", "cpu = \"native:nosuchfeature\""));
    let (refusal, said) = kind(import(&offline(&home), &cpu, BundleImport::default()));
    assert_eq!(refusal, ErrorKind::Plugin);
    assert!(said.contains("lacks nosuchfeature") && said.contains("--no-plugins"), "{said}");
    let abi = respoken(&bundle, |index| index.replace("abi = \"1.", "abi = \"9."));
    let (refusal, said) = kind(import(&offline(&home), &abi, BundleImport::default()));
    assert_eq!(refusal, ErrorKind::AbiMismatch, "{said}");
    assert_eq!(visible(&home), 0);
}

#[test]
fn an_index_that_says_something_else_than_a_sidecar_is_refused() {
    let bundle = bundle_of(&home(), &["talk"], true);
    let home = Home::new();
    let lying = respoken(&bundle, |index| index.replace("version = \"", "version = \"9"));
    let (refusal, said) = kind(import(&offline(&home), &lying, BundleImport::default()));
    assert_eq!(refusal, ErrorKind::HashMismatch);
    assert!(said.contains("it says something else than the index"), "{said}");
    assert_eq!(visible(&home), 0);
}

#[test]
fn a_restricted_licence_has_to_be_accepted_before_a_bundle_is_imported() {
    let source = Home::with_echo();
    source.add_manifest("talk", "chat", "echo", "restricted = true\nhomepage = \"https://example.org/\"");
    let bundle = bundle_of(&source, &["talk"], false);
    let home = Home::new();
    let (refusal, said) = kind(import(&offline(&home), &bundle, BundleImport::default()));
    assert_eq!(refusal, ErrorKind::InvalidArgument);
    assert!(said.contains("--accept-license"), "{said}");
    assert_eq!(visible(&home), 0);
    import(&offline(&home), &bundle, BundleImport { accept_license: true, ..Default::default() }).unwrap();
}

#[test]
fn what_something_else_hides_is_said() {
    let bundle = bundle_of(&home(), &["talk"], true);
    let home = Home::with_echo();
    home.add_manifest("talk", "generate", "echo", "");
    let report = import(&home.engine(), &bundle, BundleImport::default()).unwrap();
    assert_eq!(report.hidden.len(), 2, "{:?}", report.hidden);
    assert!(report.hidden[0].starts_with("model \"talk\" of the bundle is hidden by "));
    assert!(report.hidden[1].starts_with("plugin \"echo\" of the bundle is hidden by "));
}

#[test]
fn a_bundle_of_something_that_is_not_there_is_an_error() {
    let home = home();
    let export = |name: &str| home.engine().export_bundle_to(&[name.to_owned()], true, &mut Vec::new(), &mut go_on);
    assert_eq!(kind(export("tlak")).0, ErrorKind::NotFound);
    home.add_manifest("lost", "chat", "nosuch", "");
    assert_eq!(kind(export("lost")).0, ErrorKind::Plugin);
    let path = home.path().join("x.tenon");
    fs::write(home.path().join("models/weights.bin"), b"wEights").unwrap();
    let outcome = home.engine().export_bundle(&["talk".to_owned()], true, &path, &mut go_on);
    assert_eq!(kind(outcome).0, ErrorKind::HashMismatch);
    assert!(!path.exists());
}

/// A bundle whose index says something else, with the check that fits.
fn respoken(bundle: &[u8], change: impl Fn(&str) -> String) -> Vec<u8> {
    let mut archive = tar::Archive::new(bundle);
    let mut out = tar::Builder::new(Vec::new());
    let mut index = String::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut header = entry.header().clone();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        match &*entry.path_bytes() {
            b"bundle.toml" => {
                index = change(std::str::from_utf8(&bytes).unwrap());
                assert_ne!(index.as_bytes(), bytes, "nothing was changed");
                bytes = index.clone().into_bytes();
            }
            b"bundle.sha256" => bytes = format!("{}  bundle.toml\n", Digest::of(index.as_bytes())).into_bytes(),
            _ => {}
        }
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        out.append(&header, bytes.as_slice()).unwrap();
    }
    out.into_inner().unwrap()
}

// The lock file.

fn locked(home: &Home, names: &[&str]) -> LockFile {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let path = home.path().join("tenon.lock");
    home.engine().lock(&names).unwrap().write(&path).unwrap();
    LockFile::read(&path).unwrap()
}

#[test]
fn a_locked_engine_runs_what_is_pinned_and_refuses_everything_else() {
    let home = home();
    let lock = locked(&home, &["talk"]);
    let engine = home.builder().locked(lock.clone()).build().unwrap();
    engine.load("talk", Load::new()).unwrap();
    let (refusal, said) = kind(engine.load("echo", Load::new()));
    assert_eq!(refusal, ErrorKind::HashMismatch);
    assert!(said.contains("tenon.lock: model \"echo\" is not pinned: `tenon lock` pins it"), "{said}");
    assert!(engine.compare(&lock).is_empty());
}

#[test]
fn a_changed_manifest_is_refused_with_both_digests() {
    let home = home();
    let lock = locked(&home, &["talk"]);
    home.replace(&home.path().join("manifests/talk.toml"), "license = \"MIT\"", "license = \"ISC\"");
    let engine = home.builder().locked(lock.clone()).build().unwrap();
    let error = engine.load("talk", Load::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HashMismatch);
    assert_eq!(error.detail("expected"), Some(lock.models[0].manifest.to_string().as_str()));
    assert!(error.detail("actual").is_some_and(|actual| error.message().contains(actual)), "{error}");
    let differences = engine.compare(&lock);
    assert_eq!(differences.iter().map(Error::message).collect::<Vec<_>>(), [error.message()]);
    assert_eq!(kind(engine.check_pinned(&engine.manifest("talk").unwrap())).0, ErrorKind::HashMismatch);
}

#[test]
fn a_changed_file_of_a_model_is_refused_by_name() {
    let home = home();
    let lock = locked(&home, &["talk"]);
    let other = home.add_file("model", "weights.bin", b"WEIGHTS");
    home.add_manifest("talk", "chat", "echo", &other);
    let (_, said) = kind(home.builder().locked(lock).build().unwrap().load("talk", Load::new()));
    assert!(said.contains("model \"talk\" has the file \"weights.bin\" with the SHA-256"), "{said}");
}

#[test]
fn a_plugin_that_is_not_pinned_never_runs() {
    let home = home();
    let lock = locked(&home, &["talk"]);
    let library = home.add_plugin(&faulty());
    home.add_manifest("odd", "generate", "faulty", "");
    let engine = home.builder().locked(lock).build().unwrap();
    let refusals = [
        kind(engine.backend("faulty").map(drop)),
        kind(engine.backend_at(&library).map(drop)),
        kind(engine.add_plugin_file(&library, None).map(drop)),
    ];
    for (refusal, said) in refusals {
        assert_eq!(refusal, ErrorKind::HashMismatch);
        assert!(said.contains("plugin \"faulty\" is not pinned"), "{said}");
    }
    let bare = home.path().join("bare.so");
    fs::copy(&library, &bare).unwrap();
    let digest = Digest::of(&fs::read(&bare).unwrap());
    let (refusal, said) = kind(engine.add_plugin_file(&bare, Some(digest)).map(drop));
    assert_eq!(refusal, ErrorKind::HashMismatch);
    assert!(said.contains("is not pinned"), "{said}");
}

#[test]
fn a_plugin_that_was_built_again_is_refused_until_it_is_pinned_again() {
    let home = home();
    let mut lock = locked(&home, &["talk"]);
    lock.plugins[0].sha256 = Digest::of(b"what was pinned once");
    let engine = home.builder().locked(lock.clone()).build().unwrap();
    let (refusal, said) = kind(engine.load("talk", Load::new()));
    assert_eq!(refusal, ErrorKind::HashMismatch);
    assert!(said.contains(&Digest::of(b"what was pinned once").to_string()), "{said}");
    assert!(said.contains("run `tenon lock` again"), "{said}");
    assert_eq!(engine.compare(&lock).len(), 1);
    let lock = locked(&home, &["talk"]);
    home.builder().locked(lock).build().unwrap().load("talk", Load::new()).unwrap();
}

#[test]
fn a_library_that_is_not_its_sidecars_is_not_pinned() {
    let home = home();
    let library = home.add_plugin(&echo());
    let mut bytes = fs::read(&library).unwrap();
    bytes.push(0);
    fs::write(&library, bytes).unwrap();
    assert_eq!(kind(home.engine().lock(&["talk".to_owned()])).0, ErrorKind::HashMismatch);
}

#[test]
fn locking_everything_pins_what_is_here_and_nothing_that_is_away() {
    let home = home();
    let away = "[[file]]\nrole = \"model\"\nname = \"away.bin\"\nsize = 5\nsha256 = \
                \"0000000000000000000000000000000000000000000000000000000000000000\"\n";
    home.add_manifest("away", "chat", "echo", away);
    let lock = locked(&home, &[]);
    assert_eq!(lock.models.iter().map(|model| &*model.name).collect::<Vec<_>>(), ["echo", "talk"]);
    assert_eq!(lock.plugins.len(), 1);
    assert_eq!(locked(&home, &["away"]).models.len(), 1);
    home.add_manifest("odd", "chat", "echo", "colour = 1");
    assert_eq!(kind(home.engine().lock(&[])).0, ErrorKind::Manifest);
}

#[test]
fn a_lock_file_and_never_to_verify_contradict_each_other() {
    let home = home();
    let lock = locked(&home, &["talk"]);
    let never = home.builder().verify(VerifyMode::Never).locked(lock.clone()).build();
    assert_eq!(kind(never.map(drop)).0, ErrorKind::InvalidArgument);
    let engine = home.builder().locked(lock).build().unwrap();
    let outcome = engine.load("talk", Load::new().verify(VerifyMode::Never));
    assert_eq!(kind(outcome).0, ErrorKind::InvalidArgument);
}

#[test]
fn a_locked_engine_imports_only_what_is_pinned() {
    let source = home();
    let bundle = bundle_of(&source, &["talk"], true);
    let lock = locked(&source, &["echo"]);
    let home = Home::new();
    let at = |name: &str| home.path().join(name);
    let engine = |lock| Engine::builder().store_dir(at("store")).state_dir(at("state")).locked(lock).build().unwrap();
    assert_eq!(kind(import(&engine(lock), &bundle, BundleImport::default())).0, ErrorKind::HashMismatch);
    assert_eq!(visible(&home), 0);
    import(&engine(locked(&source, &["talk"])), &bundle, BundleImport::default()).unwrap();
}

// Signatures.

const SIGNED: &str = include_str!("../../store/tests/signed/parrot.toml");
const SIGNATURE: &str = include_str!("../../store/tests/signed/parrot.toml.minisig");
const KEY: &str = include_str!("../../store/tests/signed/trusted.pub");

fn signed_home() -> Home {
    let home = Home::with_echo();
    fs::write(home.path().join("manifests/parrot.toml"), SIGNED).unwrap();
    fs::write(home.path().join("manifests/parrot.toml.minisig"), SIGNATURE).unwrap();
    home
}

fn trust() -> Trust {
    Trust::new([KEY.lines().nth(1).unwrap()], Require::All).unwrap()
}

#[test]
fn where_signatures_are_required_an_unsigned_model_is_an_entry_with_its_problem_and_hides_no_other() {
    let home = signed_home();
    let engine = home.builder().trust(trust()).build().unwrap();
    engine.load("parrot", Load::new()).unwrap();
    let (refusal, said) = kind(engine.load("echo", Load::new()));
    assert_eq!(refusal, ErrorKind::HashMismatch);
    assert!(said.contains("echo.toml is not signed"), "{said}");
    let entries = engine.models();
    let problem = |name: &str| entries.iter().find(|entry| entry.name == name).unwrap().problem.clone();
    assert!(problem("parrot").is_none());
    assert_eq!(problem("echo").unwrap().kind(), ErrorKind::HashMismatch);
    assert_eq!(kind(engine.add_manifest_file(home.path().join("manifests/echo.toml"))).0, ErrorKind::HashMismatch);
    // The program's own word needs no signature.
    engine.add_manifest_text("name = \"own\"\ntask = \"chat\"\nbackend = \"echo\"\nlicense = \"MIT\"", "here").unwrap();
    engine.load("own", Load::new()).unwrap();
    // But it may not come into the store, where nobody knows whose word it was.
    assert_eq!(kind(engine.check_pinned(&engine.manifest("own").unwrap())).0, ErrorKind::HashMismatch);
}

#[test]
fn the_configuration_of_the_standard_places_says_what_must_be_signed() {
    let home = signed_home();
    let config = home.path().join("config");
    fs::create_dir(&config).unwrap();
    let key = KEY.lines().nth(1).unwrap();
    fs::write(config.join("config.toml"), format!("[trust]\nkeys = [\"{key}\"]\nrequire = \"all\"\n")).unwrap();
    let places = || tenon::Locations { config: config.clone(), ..Default::default() };
    let engine = home.builder().places(places()).build().unwrap();
    assert_eq!(kind(engine.manifest("echo")).0, ErrorKind::HashMismatch);
    assert!(engine.manifest("parrot").unwrap().signature().unwrap().is_good());
    fs::write(config.join("config.toml"), "[trust]\nkyes = []\n").unwrap();
    let (refusal, said) = kind(home.builder().places(places()).build().map(drop));
    assert_eq!(refusal, ErrorKind::Manifest);
    assert!(said.contains("config.toml:2:1: unknown key \"kyes\" (did you mean \"keys\"?)"), "{said}");
}

#[test]
fn an_unsigned_bundle_is_refused_where_references_must_be_signed() {
    let bundle = bundle_of(&home(), &["talk"], false);
    let home = Home::new();
    let at = |name: &str| home.path().join(name);
    let engine = Engine::builder().store_dir(at("store")).state_dir(at("state")).trust(trust()).build().unwrap();
    let (refusal, said) = kind(import(&engine, &bundle, BundleImport::default()));
    assert_eq!(refusal, ErrorKind::HashMismatch);
    assert!(said.contains("x.tenon/models/talk.toml is not signed"), "{said}");
    let signed = bundle_of(&signed_home(), &["parrot"], true);
    import(&engine, &signed, BundleImport::default()).unwrap();
    engine.load("parrot", Load::new()).unwrap();
}
