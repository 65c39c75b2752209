//! Several processes at once, and processes that are killed.

use crate::child::{self, Running};
use std::ops::ControlFlow;
use std::time::Duration;
use tenon_pull_tests::{Answer, Gate, Home, Seeded, Server, manifest, noise};
use tenon_store::{Digest, Receive};

#[test]
fn two_and_ten_processes_at_once_make_one_transfer() {
    for count in [2, 10] {
        let (server, home, bytes, gate) = (Server::start(), Home::new(), noise(11, 400_000), Gate::shut());
        let url = server.blob("/blob.bin", &bytes);
        server.script("/blob.bin", [Answer::good().gate(200_000, &gate)]);
        let manifest = child::write(&home, &manifest("many", &[("blob.bin", &[url], &bytes)]));
        let mut first = child::start(&home, &manifest, &[]);
        first.wait_for("progress 200000");
        let mut others: Vec<Running> = (1..count).map(|_| child::start(&home, &manifest, &[])).collect();
        others.iter_mut().for_each(|other| other.wait_for("waiting"));
        gate.open();
        for running in others.into_iter().chain([first]) {
            running.end().unwrap();
        }
        home.assert_sound("many");
        assert!(home.holds(&bytes));
        assert_eq!(home.parts(), [] as [std::path::PathBuf; 0]);
        let gets = server.gets("/blob.bin");
        assert_eq!((gets.len(), gets[0].sent), (1, 400_000), "{count} processes: {gets:#?}");
    }
}

#[test]
fn processes_that_start_in_the_same_moment_make_one_transfer() {
    let (server, home, bytes) = (Server::start(), Home::new(), noise(12, 300_000));
    let url = server.blob("/blob.bin", &bytes);
    let manifest = child::write(&home, &manifest("same", &[("blob.bin", &[url], &bytes)]));
    let running: Vec<Running> = (0..8).map(|_| child::start(&home, &manifest, &[])).collect();
    running.into_iter().for_each(|running| running.end().unwrap());
    home.assert_sound("same");
    assert_eq!(server.log().sent("/blob.bin"), 300_000);
}

#[test]
fn whoever_waits_goes_on_where_a_killed_process_stopped() {
    let (server, home, bytes, gate) = (Server::start(), Home::new(), noise(13, 400_000), Gate::shut());
    let url = server.blob("/blob.bin", &bytes);
    server.script("/blob.bin", [Answer::good().gate(200_000, &gate)]);
    let manifest = child::write(&home, &manifest("heir", &[("blob.bin", &[url], &bytes)]));
    let mut first = child::start(&home, &manifest, &[]);
    first.wait_for("progress 200000");
    let mut heir = child::start(&home, &manifest, &[]);
    heir.wait_for("waiting");
    first.kill();
    heir.end().unwrap();
    home.assert_sound("heir");
    let starts: Vec<u64> = server.gets("/blob.bin").iter().map(|seen| seen.start()).collect();
    assert_eq!(starts, [0, 200_000]);
}

/// Kills that are tried.
const KILLS: u64 = 200;

#[test]
fn a_pull_killed_at_any_moment_leaves_no_wrong_name_and_goes_on_where_it_stopped() {
    let (server, bytes) = (Server::start(), noise(14, 1 << 20));
    let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
    let url = server.blob("/blob.bin", &bytes);
    server.always("/blob.bin", Answer::good().drip(8 << 10, Duration::from_micros(100)));
    let manifest = manifest("killed", &[("blob.bin", &[url], &bytes)]);
    let mut numbers = Seeded::new(2026);
    let (mut home, mut kills, mut whole, mut lost) = (Home::new(), 0, 0, 0);
    while kills < KILLS {
        let (before, held_before) = (server.gets("/blob.bin").len(), held(&home, digest, size));
        let mut running = child::start(&home, &child::write(&home, &manifest), &[]);
        let moment = numbers.below(size / 4).min(size - held_before);
        if moment > 0 {
            server.log().wait("bytes before the kill", |seen| seen[before..].iter().any(|get| get.sent >= moment));
        }
        std::thread::sleep(Duration::from_micros(numbers.below(4000)));
        kills += u64::from(running.kill());
        home.assert_sound("killed");
        let gets = server.gets("/blob.bin").split_off(before);
        assert!(gets.iter().all(|get| get.start() == held_before), "kill {kills}: {held_before} held, {gets:#?}");
        let sent: u64 = gets.iter().map(|get| get.sent).sum();
        lost += (held_before + sent).saturating_sub(held(&home, digest, size));
        if home.holds(&bytes) {
            whole += 1;
            home = Home::new();
        }
    }
    eprintln!("{kills} kills, {whole} blobs whole, {lost} bytes sent in vain");
    assert!(whole > 0, "no blob was ever whole");
}

/// Bytes of a blob that the next process finds.
fn held(home: &Home, digest: Digest, size: u64) -> u64 {
    match home.store().receive(digest, size, &mut || ControlFlow::Break(())).expect("nobody holds the blob") {
        Receive::Present(_) => size,
        Receive::Part(part) => part.held(),
    }
}
