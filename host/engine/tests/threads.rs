//! After everything was dropped nothing is left: no thread and no open file. In a process of its own, because it counts.

#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};
use tenon::{AudioSource, Load, Options, Request, VerifyMode};
use tenon_testkit::{Home, wav};

fn count(folder: &str) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

/// A thread that was joined may still be listed for a moment.
fn settles(folder: &str, wanted: usize) -> bool {
    let until = Instant::now() + Duration::from_secs(20);
    while count(folder) != wanted && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    count(folder) == wanted
}

fn cycle(home: &Home, file: &[u8]) {
    let engine = home.engine();
    let model = engine.load("filed", Load::new().verify(VerifyMode::Always)).unwrap();
    let mut session = model.session().unwrap();
    session.run(&Request::generate("a b c")).unwrap();
    let sources = [
        AudioSource::path(home.path().join("sound.wav")),
        AudioSource::Bytes(file.into()),
        AudioSource::reader(std::io::Cursor::new(file.to_vec())),
    ];
    for source in sources {
        session.run(&Request::transcribe(source.clone())).unwrap();
        let mut stream = session.stream(Request::transcribe(source)).unwrap();
        drop(stream.next());
    }
    assert!(session.stream(Request::generate("a b c")).unwrap().all(|event| event.is_ok()));
    let slow = Options::from_json(r#"{"delay_ms": 10000}"#).unwrap();
    let stream = session.stream(Request::transcribe(AudioSource::Live).options(slow)).unwrap();
    stream.push_audio(&[0.0; 1600], 16_000, 1).unwrap();
    session.cancel();
}

#[test]
fn two_hundred_cycles_leave_neither_threads_nor_descriptors() {
    let home = Home::with_echo();
    let files = home.add_file("model", "weights.bin", b"weights") + &home.add_file("model", "more.bin", b"more");
    home.add_manifest("filed", "generate", "echo", &files);
    let file = wav(&[0.5; 16_000], 16_000);
    std::fs::write(home.path().join("sound.wav"), &file).unwrap();
    // The plugin's own descriptor stays, and so does what the standard library opens once.
    cycle(&home, &file);
    std::thread::sleep(Duration::from_millis(100));
    let (threads, descriptors) = (count("/proc/self/task"), count("/proc/self/fd"));
    for _ in 0..200 {
        cycle(&home, &file);
    }
    assert!(settles("/proc/self/task", threads), "{} threads, not {threads}", count("/proc/self/task"));
    assert!(settles("/proc/self/fd", descriptors), "{} descriptors, not {descriptors}", count("/proc/self/fd"));
}
