//! Pulls through the engine: what is fetched, what is refused before a connection is opened, and how one ends.

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;
use tenon::fetch::{Event, Network};
use tenon::{CancelToken, Digest, Engine, Environment, ErrorKind, Load, Manifest, Pull, PullEvent, Request, State};
use tenon_testkit::{Home, Server};

/// The network as nobody's environment has it, without pauses.
fn network() -> Network {
    let environment = Environment { variables: Default::default(), ..Environment::of_this_process() };
    Network::of(&environment).unwrap().back_off(Duration::from_millis(1)).tries(2)
}

fn pull<'a>() -> Pull<'a> {
    Pull::new().network(network())
}

/// A model `far` of 300 kB whose file only a server has.
fn far(home: &Home, server: &Server) -> Vec<u8> {
    let bytes: Vec<u8> = (0..300_000u32).flat_map(|number| number.to_le_bytes().into_iter().take(1)).collect();
    home.add_manifest("far", "generate", "echo", &server.file("model", "far.bin", &bytes));
    bytes
}

fn state(engine: &Engine, name: &str) -> State {
    engine.models().into_iter().find(|entry| entry.name == name).unwrap().state
}

fn blobs(home: &Home) -> Vec<PathBuf> {
    let listed = fs::read_dir(home.path().join("store/blobs")).map(|entries| entries.collect::<Vec<_>>());
    listed.unwrap_or_default().into_iter().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_pulled_model_loads_at_once_and_from_then_on_without_its_manifest_folder() {
    let (home, server) = (Home::with_echo(), Server::new());
    let bytes = far(&home, &server);
    let engine = home.engine();
    let error = engine.load("far", Load::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("`tenon pull far`"), "{error}");
    let report = engine.pull("far", pull()).unwrap();
    assert_eq!((report.fetched(), report.files.len()), (bytes.len() as u64, 1));
    assert_eq!(fs::read(report.files[0].path.as_ref().unwrap()).unwrap(), bytes);
    assert_eq!(report.reference.as_deref(), Some(home.path().join("store/models/far.toml").as_path()));
    let model = engine.load("far", Load::new()).unwrap();
    assert_eq!(model.session().unwrap().run(&Request::generate("hi")).unwrap().text, "hi");
    fs::remove_file(home.path().join("manifests/far.toml")).unwrap();
    assert!(engine.manifest("far").is_ok());
    engine.refresh();
    assert_eq!(state(&engine, "far"), State::Present);
    home.engine().load("far", Load::new()).unwrap();
}

#[test]
fn what_is_here_is_not_fetched_and_a_model_outside_the_store_needs_no_reference() {
    let (home, server) = (Home::with_echo(), Server::new());
    far(&home, &server);
    let engine = home.engine();
    engine.pull("far", pull()).unwrap();
    let asked = server.asked().len();
    let again = engine.pull("far", pull()).unwrap();
    assert_eq!((again.fetched(), server.asked().len()), (0, asked));
    assert!(again.reference.is_some());
    home.add_manifest("near", "generate", "echo", &home.add_file("model", "near.bin", b"weights"));
    let report = home.engine().pull("near", pull()).unwrap();
    assert_eq!((report.fetched(), report.reference), (0, None));
    assert_eq!(report.files[0].path, fs::canonicalize(home.path().join("models/near.bin")).ok());
}

#[test]
fn optional_files_come_along_unless_they_are_left_out() {
    let (home, server) = (Home::with_echo(), Server::new());
    let optional = format!("{}optional = true\n", server.file("vad", "vad.bin", b"voice"));
    home.add_manifest("two", "generate", "echo", &(server.file("model", "two.bin", b"weights") + &optional));
    let engine = home.engine();
    let report = engine.pull("two", pull().without_optional()).unwrap();
    assert_eq!((report.fetched(), report.files[1].path.as_ref()), (7, None));
    let report = engine.pull("two", pull()).unwrap();
    assert_eq!((report.fetched(), report.files[0].fetched, blobs(&home).len()), (5, 0, 2));
}

#[test]
fn a_restricted_license_is_refused_before_a_connection_is_opened() {
    let (home, server) = (Home::with_echo(), Server::new());
    let file = server.file("model", "own.bin", b"weights");
    home.add_manifest(
        "own",
        "generate",
        "echo",
        &format!("restricted = true\nhomepage = \"https://example.org\"\n{file}"),
    );
    let engine = home.engine();
    let error = engine.pull("own", pull()).unwrap_err();
    assert_eq!((error.kind(), error.kind().exit_code()), (ErrorKind::InvalidArgument, 2));
    for said in ["own", "MIT", "https://example.org", "--accept-license"] {
        assert!(error.message().contains(said), "{error}");
    }
    assert_eq!(server.asked(), [""; 0]);
    assert_eq!(engine.pull("own", pull().accept_license(true)).unwrap().fetched(), 7);
}

#[test]
fn a_pull_that_was_cancelled_goes_on_where_it_stopped() {
    let (home, server) = (Home::with_echo(), Server::new());
    let bytes = far(&home, &server);
    let engine = home.engine();
    server.hold("far.bin", 100_000);
    let token = CancelToken::new();
    let cancel = token.clone();
    let events = move |event: &PullEvent<'_>| {
        if matches!(event, PullEvent::Fetch(Event::Progress { done: 100_000.., .. })) {
            cancel.cancel();
        }
    };
    let error = engine.pull("far", pull().cancel(token).events(events)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(error.message().contains("`tenon pull far` goes on where this pull stopped"), "{error}");
    assert_eq!((state(&engine, "far"), blobs(&home).len()), (State::Missing, 0));
    server.release();
    let report = engine.pull("far", pull()).unwrap();
    assert_eq!(report.fetched(), bytes.len() as u64 - 100_000);
    assert_eq!(server.asked().last().unwrap(), "GET /far.bin bytes=100000-");
    engine.load("far", Load::new()).unwrap();
}

#[test]
fn a_deadline_and_a_shutdown_end_a_pull_that_brings_nothing() {
    let (home, server) = (Home::with_echo(), Server::new());
    far(&home, &server);
    server.hold("far.bin", 10);
    let error = home.engine().pull("far", pull().deadline(Duration::from_millis(50))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline, "{error}");
    let engine = home.engine();
    let (begun, begins) = channel();
    let events = move |event: &PullEvent<'_>| {
        if matches!(event, PullEvent::Fetch(_)) {
            let _ = begun.send(());
        }
    };
    let puller = engine.clone();
    let running = thread::spawn(move || puller.pull("far", pull().events(events)).unwrap_err());
    begins.recv().unwrap();
    engine.shutdown_within(Duration::from_secs(20)).unwrap();
    assert_eq!(running.join().unwrap().kind(), ErrorKind::Shutdown);
}

#[test]
fn wrong_bytes_never_get_a_name() {
    let (home, server) = (Home::with_echo(), Server::new());
    let bytes = far(&home, &server);
    let evil: Vec<u8> = bytes.iter().map(|byte| byte ^ 1).collect();
    server.put("far.bin", &evil);
    let engine = home.engine();
    let error = engine.pull("far", pull()).unwrap_err();
    assert_eq!((error.kind(), error.kind().exit_code()), (ErrorKind::HashMismatch, 4));
    assert!(error.message().contains(&Digest::of(&evil).to_string()), "{error}");
    assert_eq!((state(&engine, "far"), blobs(&home).len()), (State::Missing, 0));
    assert!(!home.path().join("store/models/far.toml").exists());
}

#[test]
fn a_corrupt_file_is_mended_by_a_pull() {
    let (home, server) = (Home::with_echo(), Server::new());
    let bytes = far(&home, &server);
    let engine = home.engine();
    fs::write(home.path().join("models/far.bin"), vec![0; bytes.len()]).unwrap();
    assert_eq!(engine.load("far", Load::new()).unwrap_err().kind(), ErrorKind::HashMismatch);
    assert_eq!(state(&engine, "far"), State::Corrupt);
    engine.pull("far", pull()).unwrap();
    assert_eq!(state(&engine, "far"), State::Present);
    engine.load("far", Load::new()).unwrap();
}

#[test]
fn every_failure_has_its_kind() {
    let (home, server) = (Home::with_echo(), Server::new());
    far(&home, &server);
    let gone = server.file("model", "gone.bin", b"gone").replace("/gone.bin", "/nowhere.bin");
    home.add_manifest("gone", "generate", "echo", &gone);
    let closed = server.file("model", "closed.bin", b"closed");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let open = server.url("").rsplit_once(':').unwrap().1.trim_end_matches('/').to_owned();
    home.add_manifest("closed", "generate", "echo", &closed.replace(&open, &port.to_string()));
    let placed = "[[file]]\nrole = \"model\"\nname = \"none.bin\"\nsize = 1\nsha256 = \"".to_owned();
    home.add_manifest("placed", "generate", "echo", &format!("{placed}{}\"\n", Digest::of(b"?")));
    let engine = home.engine();
    let kind = |name: &str, pull: Pull<'_>| engine.pull(name, pull).unwrap_err().kind();
    assert_eq!(kind("gone", pull()), ErrorKind::NotFound);
    assert_eq!(kind("closed", pull()), ErrorKind::Network);
    assert_eq!(kind("placed", pull()), ErrorKind::NotFound);
    assert_eq!(kind("fa", pull()), ErrorKind::NotFound);
    let asked = server.asked().len();
    assert_eq!(kind("far", Pull::new().network(network().offline(true))), ErrorKind::Network);
    assert_eq!(server.asked().len(), asked);
}

#[test]
fn a_manifest_of_a_name_that_another_has_is_refused_and_a_reference_is_replaced() {
    let (home, server) = (Home::with_echo(), Server::new());
    far(&home, &server);
    let engine = home.engine();
    let text = |name: &str, bytes: &[u8]| {
        let file = server.file("model", &format!("{name}.bin"), bytes);
        let text = format!("name = \"{name}\"\ntask = \"chat\"\nbackend = \"echo\"\nlicense = \"MIT\"\n{file}");
        Manifest::parse_text(&text, "the hub".as_ref()).unwrap()
    };
    let error = engine.pull_manifest(&text("far", b"another"), pull()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("far.toml: choose another name"), "{error}");
    engine.pull_manifest(&text("new", b"first"), pull()).unwrap();
    engine.pull_manifest(&text("new", b"second"), pull()).unwrap();
    assert_eq!(engine.manifest("new").unwrap().files[0].sha256, Digest::of(b"second"));
    engine.load("new", Load::new()).unwrap();
}

#[test]
fn an_engine_without_a_store_has_no_place_for_a_model() {
    let (home, server) = (Home::with_echo(), Server::new());
    far(&home, &server);
    let engine = Engine::builder().manifest_dir(home.path().join("manifests")).build().unwrap();
    let error = engine.pull("far", pull()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("name the folder of the store"), "{error}");
}
