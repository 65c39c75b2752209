#![expect(clippy::single_range_in_vec_init, reason = "one missing range, and not its bytes")]

use crate::support::*;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use tenon_store::{Demoted, Manifest, ManifestFile, Receive, State, Store, VerifyMode};

const CHUNK: u64 = 65_536;

/// A model of one file of five chunks, pulled.
fn pulled_in_chunks(home: &Home) -> (Manifest, Vec<u8>) {
    let (bytes, chunks) = chunked(5);
    let mut manifest = model("big", &[]);
    manifest.files.push(ManifestFile { chunks: Some(chunks), ..file("big.bin", &bytes) });
    let store = home.store();
    let claim = store.claim(&manifest).unwrap();
    bring(&store, &bytes);
    claim.refer().unwrap();
    (manifest, bytes)
}

/// Overwrites a file although it is read-only.
fn damage(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn demote(store: &Store, manifest: &Manifest) -> Demoted {
    store.examine(manifest, VerifyMode::Always, &mut go_on);
    store.demote(manifest, &manifest.files[0], &mut |_| ControlFlow::Continue(())).unwrap()
}

/// What a pull would still have to fetch.
fn missing(store: &Store, wanted: &ManifestFile) -> Vec<std::ops::Range<u64>> {
    match store.receive(wanted.sha256, wanted.size, &mut || ControlFlow::Continue(())).unwrap() {
        Receive::Part(part) => part.missing(),
        Receive::Present(_) => Vec::new(),
    }
}

#[test]
fn of_a_broken_blob_only_the_broken_chunks_are_fetched_again() {
    let home = Home::new();
    let store = home.store();
    let (manifest, bytes) = pulled_in_chunks(&home);
    let wanted = &manifest.files[0];
    let blob = home.blob(&bytes);
    let mut broken = bytes.clone();
    broken[CHUNK as usize + 7] ^= 1;
    damage(&blob, &broken);
    let Demoted::Corrupt { path, kept } = demote(&store, &manifest) else { panic!("not corrupt") };
    assert_eq!((path.as_path(), kept), (blob.as_path(), wanted.size - CHUNK));
    assert!(!exists(&blob));
    assert_eq!(store.state(&manifest), State::Missing);
    assert_eq!(missing(&store, wanted), [CHUNK..2 * CHUNK]);
    let Ok(Receive::Part(part)) = store.receive(wanted.sha256, wanted.size, &mut || ControlFlow::Continue(())) else {
        panic!("no part")
    };
    part.writer(CHUNK..2 * CHUNK).unwrap().write(&bytes[CHUNK as usize..2 * CHUNK as usize]).unwrap();
    part.commit(&mut go_on).unwrap();
    assert_eq!(fs::read(&blob).unwrap(), bytes);
    assert_eq!(verify(&store, &manifest).unwrap().len(), 1);
}

#[test]
fn a_blob_that_was_cut_or_has_grown_keeps_its_whole_chunks() {
    let home = Home::new();
    let store = home.store();
    let (manifest, bytes) = pulled_in_chunks(&home);
    let wanted = &manifest.files[0];
    damage(&home.blob(&bytes), &bytes[..3 * CHUNK as usize + 10]);
    assert!(matches!(demote(&store, &manifest), Demoted::Corrupt { kept, .. } if kept == 3 * CHUNK));
    assert_eq!(missing(&store, wanted), [3 * CHUNK..wanted.size]);
    let grown = [&bytes[..CHUNK as usize], &[0; 10], &bytes[CHUNK as usize..], b"more"].concat();
    fs::write(home.blob(&bytes), grown).unwrap();
    assert!(matches!(demote(&store, &manifest), Demoted::Corrupt { kept: CHUNK, .. }));
    assert_eq!(missing(&store, wanted), [CHUNK..wanted.size]);
}

#[test]
fn without_chunks_a_broken_blob_is_removed() {
    let home = Home::new();
    let store = home.store();
    let manifest = pulled(&store, "a", &["one"]);
    damage(&home.blob(b"one"), b"onE");
    assert!(matches!(demote(&store, &manifest), Demoted::Corrupt { kept: 0, .. }));
    assert!(home.names("blobs").is_empty() && home.names("parts").is_empty());
}

#[test]
fn chunks_that_do_not_make_the_file_are_worth_nothing() {
    let home = Home::new();
    let store = home.store();
    let (mut manifest, bytes) = pulled_in_chunks(&home);
    manifest.files[0].sha256 = tenon_store::Digest::of(b"another");
    let blob = store.blob_path(manifest.files[0].sha256);
    fs::write(&blob, &bytes).unwrap();
    assert!(matches!(demote(&store, &manifest), Demoted::Corrupt { kept: 0, .. }));
    assert!(!exists(&blob));
}

#[test]
fn a_good_blob_stays_and_a_missing_one_is_missing() {
    let home = Home::new();
    let store = home.store();
    let (manifest, bytes) = pulled_in_chunks(&home);
    assert_eq!(demote(&store, &manifest), Demoted::Good);
    assert_eq!(fs::read(home.blob(&bytes)).unwrap(), bytes);
    fs::remove_file(home.blob(&bytes)).unwrap();
    assert_eq!(demote(&store, &manifest), Demoted::Missing);
}

#[test]
fn a_blob_that_another_writes_is_left_to_that_one() {
    let home = Home::new();
    let store = home.store();
    let (manifest, bytes) = pulled_in_chunks(&home);
    let _lock = store.try_lock_blob(manifest.files[0].sha256).unwrap().unwrap();
    damage(&home.blob(&bytes), b"broken");
    assert_eq!(demote(&home.store(), &manifest), Demoted::Busy);
}

#[test]
fn a_file_outside_the_store_stays_and_what_is_good_of_it_is_taken_over() {
    for place in ["models/big.bin", "models/big/big.bin"] {
        let home = Home::new();
        let store = home.store();
        let (manifest, bytes) = pulled_in_chunks(&home);
        fs::remove_file(home.blob(&bytes)).unwrap();
        let mut broken = bytes.clone();
        broken[0] ^= 1;
        let path = home.write(place, &broken);
        let Demoted::Corrupt { path: said, kept } = demote(&store, &manifest) else { panic!("not corrupt") };
        assert_eq!((said, kept), (path.clone(), manifest.files[0].size - CHUNK));
        assert_eq!(missing(&store, &manifest.files[0]), vec![0..CHUNK]);
        assert_eq!(fs::read(path).unwrap(), broken);
    }
}

#[test]
fn a_file_of_another_size_outside_the_store_stays_too() {
    let home = Home::new();
    let manifest = model("a", &["one"]);
    let path = home.write("models/one.bin", b"another");
    assert_eq!(demote(&home.store(), &manifest), Demoted::Corrupt { path: path.clone(), kept: 0 });
    assert_eq!(fs::read(path).unwrap(), b"another");
}

#[test]
fn a_cancelled_repair_has_changed_nothing() {
    let home = Home::new();
    let store = home.store();
    let (manifest, bytes) = pulled_in_chunks(&home);
    let mut broken = bytes.clone();
    broken[9] ^= 1;
    damage(&home.blob(&bytes), &broken);
    let outcome = store.demote(&manifest, &manifest.files[0], &mut |_| ControlFlow::Break(()));
    assert!(matches!(outcome.unwrap_err().kind(), tenon_store::ErrorKind::Cancelled));
    assert_eq!(fs::read(home.blob(&bytes)).unwrap(), broken);
    assert!(home.names("parts").is_empty());
}

#[cfg(unix)]
#[test]
fn a_link_in_a_blobs_place_goes_and_what_it_leads_to_stays() {
    let home = Home::new();
    let store = home.store();
    let manifest = pulled(&store, "a", &["one"]);
    let outside = home.write("outside", b"onE");
    let blob = home.blob(b"one");
    fs::remove_file(&blob).unwrap();
    std::os::unix::fs::symlink(&outside, &blob).unwrap();
    assert!(matches!(demote(&store, &manifest), Demoted::Corrupt { kept: 0, .. }));
    assert!(!exists(&blob));
    assert_eq!(fs::read(outside).unwrap(), b"onE");
}
