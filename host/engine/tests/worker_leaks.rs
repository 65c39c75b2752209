//! What is left of workers when they are over: nothing, whatever became of them. One test, because it counts what the
//! whole process has.

#![cfg(target_os = "linux")]

use std::time::Duration;
use tenon::{AudioSource, CancelToken, Engine, ErrorKind, Load, Options, Request, Session, WorkerSettings};
use tenon_testkit::{Home, example, workers};

const LONG: Duration = Duration::from_secs(60);

/// Open descriptors, children that run or wait to be buried, and threads.
fn present() -> (usize, Vec<u32>, usize) {
    let entries = |folder: &str| std::fs::read_dir(folder).unwrap().count();
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    let children =
        children.flat_map(|text| text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>());
    (entries("/proc/self/fd"), children.collect(), entries("/proc/self/task"))
}

fn home() -> Home {
    let home = Home::with_faulty();
    let file = home.add_file("model", "weights.bin", &[1; 100]);
    home.add_manifest("faulty", "generate", "faulty", &format!("isolation = \"worker\"\n{file}[worker]\ncount = 2"));
    home
}

fn asks(fault: &str) -> Request {
    let options = Options::from_json(&format!(r#"{{"fault": "{fault}", "seconds": 60}}"#)).unwrap();
    Request::generate("text").options(options)
}

fn engine(home: &Home, settings: WorkerSettings) -> Engine {
    home.builder().worker(settings.grace(Duration::from_millis(50))).build().unwrap()
}

fn is_well(session: &mut Session) {
    assert_eq!(session.run(&Request::generate("text")).unwrap().text, "all is well");
}

/// Requests of all sorts on two workers, some of which die.
fn use_workers(home: &Home) {
    let engine = engine(home, workers());
    let model = engine.load("faulty", Load::new()).unwrap();
    let (mut one, mut other) = (model.session().unwrap(), model.session().unwrap());
    for fault in ["abort", "exit", "panic"] {
        one.run(&asks(fault)).unwrap_err();
        is_well(&mut one);
        is_well(&mut other);
    }
    let samples = AudioSource::mono(vec![0.5; 50_000], 16_000);
    assert_eq!(other.run(&Request::transcribe(samples)).unwrap().segments.len(), 1);
    assert_eq!(other.run(&asks("hang").deadline(LONG / 1000)).unwrap_err().kind(), ErrorKind::WorkerDied);
    let mut stream = one.stream(asks("flood")).unwrap();
    stream.next().unwrap().unwrap();
    drop(stream);
    engine.shutdown_within(LONG).unwrap();
    // What is dropped after the shutdown is as good as what is dropped before.
    drop((one, model));
    drop((other, engine));
}

/// Sessions that nobody uses, each of a worker that died.
fn leave_idle_sessions(home: &Home) {
    const SESSIONS: usize = 12;
    let engine = engine(home, workers());
    let model = engine.load("faulty", Load::new()).unwrap();
    let mut idle = Vec::new();
    let before = present().0;
    for _ in 0..SESSIONS {
        let mut session = model.session().unwrap();
        is_well(&mut session);
        session.run(&asks("abort")).unwrap_err();
        idle.push(session);
    }
    // What two workers have that live, and less than a descriptor for each of the others.
    let began = std::time::Instant::now();
    while present().0 >= before + SESSIONS {
        assert!(began.elapsed() < LONG, "{} descriptors, and {before} before", present().0);
        std::thread::sleep(Duration::from_millis(5));
    }
    idle.iter_mut().for_each(is_well);
    drop((idle, model));
    engine.shutdown_within(LONG).unwrap();
}

/// Loads that come to nothing.
fn fail_to_load(home: &Home) {
    let fakes = ["exit", "noise", "silence", "never-ready", "refuses", "half-a-frame"];
    for fault in fakes {
        let fake = WorkerSettings::new().program(example("fake_worker")).env("FAKE_WORKER", fault);
        let engine = engine(home, fake.start_timeout(Duration::from_millis(50)));
        engine.load("faulty", Load::new()).unwrap_err();
        engine.shutdown_within(LONG).unwrap();
    }
    let engine = engine(home, workers());
    let cancel = CancelToken::new();
    cancel.cancel();
    engine.load("faulty", Load::new().cancel(cancel)).unwrap_err();
    let hang = Options::from_json(r#"{"fault": "open-hang", "seconds": 60}"#).unwrap();
    engine.load("faulty", Load::new().options(hang).deadline(Duration::from_millis(50))).unwrap_err();
    engine.shutdown_within(LONG).unwrap();
}

#[test]
fn nothing_is_left_of_workers_whatever_became_of_them() {
    let home = home();
    use_workers(&home);
    leave_idle_sessions(&home);
    let before = present();
    assert_eq!(before.1, [] as [u32; 0]);
    for _ in 0..3 {
        use_workers(&home);
        fail_to_load(&home);
    }
    assert_eq!(present(), before);
}
