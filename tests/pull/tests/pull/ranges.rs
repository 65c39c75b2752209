//! Big blobs over several connections at once.

use crate::child;
use crate::support::{network, pull};
use std::time::Duration;
use tenon_pull::Network;
use tenon_pull_tests::{Answer, Gate, Home, Seeded, Server, manifest, noise};

const SIZE: usize = 1_200_000;

fn parallel() -> Network {
    network().connections(4).parallel_from(0)
}

#[test]
fn a_big_blob_comes_in_pieces_and_each_byte_once() {
    let (server, home, bytes) = (Server::start(), Home::new(), noise(41, SIZE));
    let (url, gate) = (server.blob("/blob.bin", &bytes), Gate::shut());
    let manifest = manifest("big", &[("blob.bin", &[url], &bytes)]);
    // The first piece waits until all others have been asked for.
    server.script("/blob.bin", [Answer::good().gate(1000, &gate)]);
    std::thread::scope(|scope| {
        let pulling = scope.spawn(|| pull(&home, &network().connections(4).parallel_from(0), &manifest));
        server.log().wait("all pieces", |seen| seen.len() == 4);
        gate.open();
        pulling.join().unwrap().pulled("big");
    });
    assert!(home.holds(&bytes));
    let mut starts: Vec<u64> = server.gets("/blob.bin").iter().map(|get| get.start()).collect();
    starts.sort_unstable();
    assert_eq!((starts, server.log().connections() > 1), (vec![0, 300_000, 600_000, 900_000], true));
    assert_eq!(server.log().sent("/blob.bin"), SIZE as u64);
}

#[test]
fn pieces_that_break_are_the_only_ones_that_are_fetched_again() {
    for seed in 0..8 {
        let (server, home, bytes, mut numbers) = (Server::start(), Home::new(), noise(42, SIZE), Seeded::new(seed));
        let url = server.blob("/blob.bin", &bytes);
        let mut fault = || {
            let at = numbers.below(SIZE as u64 / 4);
            match numbers.below(5) {
                0 => Answer::good().cut(at),
                1 => Answer::good().stall(at),
                2 => Answer::status(503).header("Retry-After", "0"),
                3 => Answer::hang_up(),
                _ => Answer::good(),
            }
        };
        server.script("/blob.bin", [Answer::good(), fault(), fault(), fault()]);
        let name = format!("seed {seed}");
        pull(&home, &parallel().tries(6), &manifest("big", &[("blob.bin", &[url], &bytes)])).pulled(&name);
        assert!(home.holds(&bytes), "{name}");
        // What was under way on a connection that another one's trouble ended may come twice.
        let sent = server.log().sent("/blob.bin");
        assert!(sent < 2 * SIZE as u64, "{name}: {sent} bytes sent");
    }
}

#[test]
fn a_server_without_ranges_is_asked_for_the_whole_by_one_connection() {
    let (server, home, bytes) = (Server::start(), Home::new(), noise(43, SIZE));
    let url = server.blob("/blob.bin", &bytes);
    server.always("/blob.bin", Answer::good().whole().without("Accept-Ranges"));
    pull(&home, &parallel(), &manifest("big", &[("blob.bin", &[url], &bytes)])).pulled("no ranges");
    assert!(home.holds(&bytes));
}

#[test]
fn a_blob_that_changes_between_two_pieces_gets_no_name() {
    let (server, home, bytes) = (Server::start(), Home::new(), noise(44, SIZE));
    let url = server.blob("/blob.bin", &bytes);
    let other = Answer::good().body(noise(45, SIZE)).etag("\"second\"").deaf_to_if_range();
    server.script("/blob.bin", [Answer::good(), other.clone(), other.clone(), other.clone()]);
    let manifest = manifest("big", &[("blob.bin", &[url], &bytes)]);
    if pull(&home, &parallel(), &manifest).outcome.is_err() {
        assert!(!home.holds(&bytes));
        server.script("/blob.bin", []);
        pull(&home, &parallel(), &manifest).pulled("the next try");
    }
    assert!(home.holds(&bytes));
}

#[test]
fn a_pull_over_many_connections_that_is_killed_goes_on_with_what_is_missing() {
    let (server, home, bytes) = (Server::start(), Home::new(), noise(46, SIZE));
    let url = server.blob("/blob.bin", &bytes);
    server.always("/blob.bin", Answer::good().drip(16 << 10, Duration::from_micros(300)));
    let manifest = child::write(&home, &manifest("big", &[("blob.bin", &[url], &bytes)]));
    let mut numbers = Seeded::new(46);
    for _ in 0..20 {
        let before = server.log().sent("/blob.bin");
        let mut running = child::start(&home, &manifest, &["connections=4", "parallel_from=0"]);
        let moment = before + numbers.below(SIZE as u64 / 10);
        server.log().wait("bytes before the kill", |seen| {
            seen.iter().map(|get| get.sent).sum::<u64>() >= moment.min(SIZE as u64)
        });
        running.kill();
        home.assert_sound("killed");
        if home.holds(&bytes) {
            break;
        }
    }
    assert!(child::run(&home, &manifest, &["connections=4", "parallel_from=0"]).status.success());
    assert!(home.holds(&bytes));
}
