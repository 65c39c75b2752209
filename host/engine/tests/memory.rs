//! Estimates of memory, and loads that are refused because what is there is not enough.

use std::sync::mpsc::channel;
use tenon::{CancelToken, Engine, ErrorKind, Load, LoadProgress, MemoryCheck, Options};
use tenon_testkit::{Home, c_example, cpp_example};

const MB: u64 = 1_000_000;

/// A home with a model of 7 bytes that says that it needs so many megabytes more.
fn home(needs: u64) -> Home {
    let home = Home::with_echo();
    let file = home.add_file("model", "weights.bin", b"weights");
    home.add_manifest("big", "generate", "echo", &format!("{file}[load]\nmemory_mb = {needs}\n"));
    home
}

fn pretending(home: &Home, available: u64) -> Engine {
    home.builder().pretend_memory(available).build().unwrap()
}

fn options(json: &str) -> Options {
    Options::from_json(json).unwrap()
}

#[test]
fn an_estimate_has_weights_once_and_the_rest_for_each_session() {
    let home = home(3);
    let estimate = pretending(&home, 500 * MB).estimate("big", &Load::new()).unwrap();
    assert_eq!((estimate.model.as_str(), estimate.backend.as_str()), ("big", "echo"));
    assert_eq!([0, 1, 3].map(|sessions| estimate.total(sessions)), [3_000_007, 3_012_295, 3_036_871]);
    let [device] = estimate.devices.as_slice() else { panic!("{estimate:?}") };
    assert_eq!((device.need.device.as_str(), device.available, device.reserve), ("cpu", Some(500 * MB), 32 << 20));
    assert!(estimate.fits(1) && !estimate.fits(100_000));
    let asked = Load::new().options(options(r#"{"memory_mb": 490}"#));
    let estimate = pretending(&home, 500 * MB).estimate("big", &asked).unwrap();
    assert_eq!((estimate.total(0), estimate.fits(1)), (490 * MB + 7, false));
}

#[test]
fn without_pretending_it_is_the_machine_that_counts() {
    let (small, huge) = (home(0), home(1_000_000_000));
    let engine = small.engine();
    let device = engine.estimate("big", &Load::new()).unwrap().devices.remove(0);
    let memory = engine.memory();
    assert_eq!(device.reserve, memory.reserve);
    assert!(device.available.is_none_or(|available| available > 0 && available <= memory.total));
    let error = huge.engine().load("big", Load::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "no machine has as much");
}

#[test]
fn a_model_that_does_not_fit_is_refused_with_the_numbers_before_it_is_opened() {
    let home = home(400);
    let error = pretending(&home, 300 * MB).load("big", Load::new()).unwrap_err();
    assert_eq!((error.kind(), error.kind().exit_code()), (ErrorKind::OutOfMemory, 6));
    assert_eq!(
        error.message(),
        "model \"big\" needs 400 MB of memory on cpu (weights 0 kB, cache 4 kB, compute 8 kB, other 400 MB), \
         and 300 MB are available, 33 MB of them reserved: load it with a smaller context, take smaller weights, \
         close other programs, or ignore the check (--ignore-memory)"
    );
    let number = |key: &str| error.detail(key).unwrap().parse::<u64>().unwrap();
    assert_eq!((number("needed"), number("available"), number("reserve")), (400 * MB + 12_295, 300 * MB, 32 << 20));
    assert_eq!((number("weights"), number("other")), (7, 400 * MB));
    // The reserve is what decides here.
    let just = 400 * MB + 12_295 + (32 << 20);
    assert!(pretending(&home, just - 1).load("big", Load::new()).is_err());
    pretending(&home, just).load("big", Load::new()).unwrap();
}

#[test]
fn two_loads_at_once_are_not_promised_the_same_memory() {
    let home = home(400);
    let engine = pretending(&home, 600 * MB);
    let (under_way, loading) = channel();
    let (go_on, waits) = channel::<()>();
    let first = {
        let engine = engine.clone();
        let progress = move |progress| {
            if matches!(progress, LoadProgress::Open(_)) && under_way.send(()).is_ok() {
                let _ = waits.recv();
            }
        };
        std::thread::spawn(move || engine.load("big", Load::new().progress(progress)))
    };
    loading.recv().unwrap();
    let error = engine.load("big", Load::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert!(error.message().contains("and 199 MB are available"), "{}", error.message());
    drop((loading, go_on));
    first.join().unwrap().unwrap();
    // What a loaded model has taken shows in what is available, which here it only pretends.
    engine.load("big", Load::new()).unwrap();
}

#[test]
fn whoever_says_so_gets_a_model_that_does_not_fit() {
    let home = home(400);
    pretending(&home, MB).load("big", Load::new().memory(MemoryCheck::Ignore)).unwrap();
    let careless = home.builder().pretend_memory(MB).memory(MemoryCheck::Ignore).build().unwrap();
    careless.load("big", Load::new()).unwrap();
    let error = careless.load("big", Load::new().memory(MemoryCheck::Refuse)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
}

#[test]
fn a_backend_that_estimates_nothing_is_loaded_without_asking() {
    let home = Home::with_faulty();
    for (built, id) in [(c_example(), "c-example"), (cpp_example(), "cpp-example")] {
        let Some(built) = built else { return };
        home.add_plugin(&built);
        home.add_manifest(id, "generate", id, "");
    }
    let engine = pretending(&home, 100 * MB);
    for (name, says) in [("c-example", "does not estimate memory"), ("faulty", "nobody knows what a fault needs")] {
        let error = engine.estimate(name, &Load::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.message().contains(says), "{error}");
        engine.load(name, Load::new()).unwrap();
    }
    assert_eq!(engine.estimate("cpp-example", &Load::new()).unwrap().total(1), 0, "it has no files");
}

#[test]
fn an_estimate_that_goes_wrong_is_an_error_and_does_not_stop_a_load() {
    let home = Home::with_faulty();
    let engine = pretending(&home, 100 * MB);
    for (fault, kind, says) in [
        ("estimate-panic", ErrorKind::Panic, "the estimate was asked to panic"),
        ("estimate-nothing", ErrorKind::Plugin, "estimates a model's memory 0 times"),
        ("estimate-no-json", ErrorKind::Plugin, "gives an estimate that cannot be read"),
    ] {
        let load = || Load::new().options(options(&format!(r#"{{"fault": "{fault}"}}"#)));
        let error = engine.estimate("faulty", &load()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(says), "{error}");
        engine.load("faulty", load()).unwrap();
    }
    let huge = Load::new().options(options(r#"{"fault": "estimate-huge"}"#));
    assert_eq!(engine.estimate("faulty", &huge).unwrap().total(2), u64::MAX);
    assert_eq!(engine.load("faulty", huge).unwrap_err().kind(), ErrorKind::OutOfMemory);
}

#[test]
fn an_estimate_is_asked_for_like_a_load() {
    let home = home(1);
    let engine = home.engine();
    let kind = |name: &str, load: Load| engine.estimate(name, &load).unwrap_err().kind();
    assert_eq!(kind("bigger", Load::new()), ErrorKind::NotFound);
    assert_eq!(kind("big", Load::new().options(options(r#"{"memory_gb": 1}"#))), ErrorKind::Options);
    let token = CancelToken::new();
    token.cancel();
    assert_eq!(kind("big", Load::new().cancel(token)), ErrorKind::Cancelled);
    std::fs::write(home.path().join("models/weights.bin"), b"weighty").unwrap();
    assert_eq!(kind("big", Load::new()), ErrorKind::HashMismatch);
}
