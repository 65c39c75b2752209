use crate::support::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fs::File;
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};
use tenon_store::{Collect, Collected, Digest, ErrorKind, Receive, Store};

const GC: Collect = Collect { dry_run: false, all_parts: false };

fn removed(collected: &Collected) -> Vec<String> {
    let name = |path: &std::path::Path| path.file_name().unwrap().to_string_lossy().into_owned();
    collected.removed.iter().map(|removed| name(&removed.path)).collect()
}

fn name_of(text: &str) -> String {
    format!("sha256-{}", Digest::of(text.as_bytes()))
}

#[test]
fn blobs_that_no_reference_names_go_and_others_stay() {
    let home = Home::new();
    let store = home.store();
    pulled(&store, "a", &["one", "two"]);
    bring(&store, b"garbage");
    let dry = store.collect(&Collect { dry_run: true, ..GC }).unwrap();
    assert_eq!((removed(&dry), dry.bytes()), (vec![name_of("garbage")], 7));
    assert_eq!(home.names("blobs").len(), 3);
    let collected = store.collect(&GC).unwrap();
    assert_eq!((removed(&collected), collected.bytes()), (vec![name_of("garbage")], 7));
    assert_eq!(home.names("blobs").len(), 2);
    assert!(store.collect(&GC).unwrap().removed.is_empty());
    assert_eq!(verify(&store, &model("a", &["one", "two"])).unwrap().len(), 2);
}

#[test]
fn a_removed_model_takes_only_what_no_other_needs() {
    let home = Home::new();
    let store = home.store();
    pulled(&store, "a", &["one", "shared"]);
    pulled(&store, "b", &["two", "shared"]);
    bring(&store, b"garbage");
    let collected = store.remove(&["a"]).unwrap();
    assert_eq!(removed(&collected), [name_of("one")]);
    assert_eq!(home.names("models"), ["b.toml"]);
    assert_eq!(verify(&store, &model("b", &["two", "shared"])).unwrap().len(), 2);
    assert!(home.blob(b"garbage").exists(), "rm is no gc");
    store.remove(&["b"]).unwrap();
    assert_eq!(home.names("blobs"), [name_of("garbage")]);
}

#[test]
fn a_model_that_the_store_does_not_hold_is_not_removed_and_nothing_with_it() {
    let home = Home::new();
    let store = home.store();
    let error = store.remove(&["a"]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NoReference { .. }), "{error}");
    pulled(&store, "whisper", &["one"]);
    let error = store.remove(&["whisper", "whispr"]).unwrap_err();
    assert_eq!(error.to_string(), "the store holds no model \"whispr\" (did you mean \"whisper\"?)");
    assert_eq!(home.names("models"), ["whisper.toml"]);
    assert!(home.blob(b"one").exists());
}

#[test]
fn a_broken_reference_keeps_everything_until_it_is_mended_or_removed() {
    let home = Home::new();
    let store = home.store();
    pulled(&store, "a", &["one"]);
    bring(&store, b"garbage");
    for broken in ["name = \"broken\"\nfuture = 1\n", "", "\u{0}"] {
        let path = home.write("store/models/broken.toml", broken.as_bytes());
        for error in [store.collect(&GC).unwrap_err(), store.remove(&["a"]).unwrap_err()] {
            assert!(matches!(error.kind(), ErrorKind::BrokenReference { .. }), "{error}");
            assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
            assert!(is_one_sentence(&error), "{error}");
        }
    }
    assert_eq!((home.names("blobs").len(), home.names("models").len()), (2, 2));
    let collected = store.remove(&["broken"]).unwrap();
    assert_eq!((collected.unread.len(), collected.removed.len()), (1, 0));
    assert_eq!(removed(&store.collect(&GC).unwrap()), [name_of("garbage")]);
}

#[test]
fn what_is_claimed_stays_until_the_claim_ends() {
    let home = Home::new();
    let store = home.store();
    let claim = store.claim(&model("a", &["one", "two"])).unwrap();
    bring(&store, b"one");
    assert!(home.store().collect(&GC).unwrap().removed.is_empty());
    pulled(&store, "b", &["one"]);
    assert!(home.store().remove(&["b"]).unwrap().removed.is_empty());
    drop(claim);
    assert_eq!(removed(&home.store().collect(&GC).unwrap()), [name_of("one")]);
    assert!(home.names("parts").is_empty());
}

#[test]
fn a_claim_of_a_process_that_is_gone_keeps_nothing() {
    let home = Home::new();
    let store = home.store();
    bring(&store, b"one");
    home.write("store/parts/a.1-2-3.claim", format!("{}\n", Digest::of(b"one")).as_bytes());
    assert_eq!(removed(&store.collect(&Collect { dry_run: true, ..GC }).unwrap()), [name_of("one")]);
    assert_eq!(home.names("parts").len(), 1);
    assert_eq!(removed(&store.collect(&GC).unwrap()), [name_of("one")]);
    assert!(home.names("parts").is_empty());
}

/// Begins a part and leaves it.
fn begin(store: &Store, bytes: &[u8]) -> tenon_store::Part {
    match store.receive(Digest::of(bytes), bytes.len() as u64, &mut || ControlFlow::Continue(())).unwrap() {
        Receive::Part(part) => {
            part.writer(0..2).unwrap().write(&bytes[..2]).unwrap();
            part
        }
        Receive::Present(_) => panic!("it was there"),
    }
}

#[test]
fn a_part_goes_when_it_is_old_or_when_all_are_to_go_but_never_while_somebody_writes_it() {
    let home = Home::new();
    let store = home.store();
    let part = begin(&store, b"held by this test");
    drop(begin(&store, b"young"));
    drop(begin(&store, b"old"));
    for file in home.names("parts").iter().filter(|name| name.starts_with(&name_of("old"))) {
        let file = File::options().write(true).open(home.root.join("store/parts").join(file)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(15 * 24 * 3600)).unwrap();
    }
    let collected = store.collect(&GC).unwrap();
    assert!(!collected.removed.is_empty());
    assert!(removed(&collected).iter().all(|name| name.starts_with(&name_of("old"))), "{collected:?}");
    let collected = store.collect(&Collect { all_parts: true, ..GC }).unwrap();
    assert!(removed(&collected).iter().all(|name| name.starts_with(&name_of("young"))), "{collected:?}");
    assert!(!collected.busy.is_empty());
    let left = home.names("parts");
    assert!(!left.is_empty() && left.iter().all(|name| name.starts_with(&name_of("held by this test"))), "{left:?}");
    drop(part);
    store.collect(&Collect { all_parts: true, ..GC }).unwrap();
    assert!(home.names("parts").is_empty());
}

#[test]
fn the_parts_of_a_removed_model_go_with_it() {
    let home = Home::new();
    let store = home.store();
    pulled(&store, "a", &["one"]);
    store.refer(&model("a", &["one", "two"])).unwrap();
    drop(begin(&store, b"two"));
    store.remove(&["a"]).unwrap();
    assert!(home.names("parts").is_empty() && home.names("blobs").is_empty());
}

#[test]
fn what_the_store_did_not_make_is_left_alone() {
    let home = Home::new();
    let store = home.store();
    bring(&store, b"garbage");
    let own = [
        home.write("store/blobs/notes.txt", b"mine"),
        home.write("store/blobs/sha256-", b"mine"),
        home.write(&format!("store/blobs/{}/inside", name_of("a folder")), b"mine"),
        home.write("store/models/file-of-a-model.bin", b"mine"),
        home.write("store/other/file", b"mine"),
    ];
    assert_eq!(removed(&store.collect(&Collect { all_parts: true, ..GC }).unwrap()), [name_of("garbage")]);
    for path in own {
        assert!(path.exists(), "{}", path.display());
    }
}

#[test]
fn what_a_killed_process_left_half_written_goes() {
    let home = Home::new();
    let store = home.store();
    pulled(&store, "a", &["one"]);
    home.write("store/models/.b.toml.123.part", b"name = ");
    store.collect(&GC).unwrap();
    assert_eq!(home.names("models"), ["a.toml"]);
}

#[cfg(unix)]
#[test]
fn no_link_leads_the_collector_out_of_the_store() {
    use std::fs;
    use std::os::unix::fs::symlink;
    let home = Home::new();
    let store = home.store();
    let outside = home.write("outside/kept.bin", b"kept");
    let also = home.write(&format!("outside/{}", name_of("kept")), b"kept");
    bring(&store, b"garbage");
    let link = home.root.join("store/blobs").join(name_of("x"));
    symlink(&outside, &link).unwrap();
    assert_eq!(store.collect(&GC).unwrap().removed.len(), 2);
    assert!(!exists(&link) && outside.exists());
    fs::remove_dir_all(home.root.join("store/blobs")).unwrap();
    symlink(home.root.join("outside"), home.root.join("store/blobs")).unwrap();
    let error = store.collect(&GC).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::UnsafePath { .. }) && is_one_sentence(&error), "{error}");
    assert!(also.exists());
}

#[test]
fn a_store_that_is_not_there_has_nothing_to_remove_and_is_not_made() {
    let home = Home::new();
    assert!(home.store().collect(&GC).unwrap().removed.is_empty());
    assert!(!home.root.join("store").exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_is_brought_and_removed_the_blobs_are_those_that_references_name(
        steps in proptest::collection::vec((0usize..3, 0usize..4, 0usize..4), 1..12),
    ) {
        let (models, texts) = (["a", "b", "c"], ["one", "two", "three", "four"]);
        let home = Home::new();
        let store = home.store();
        for (which, first, second) in steps {
            let (name, texts) = (models[which], [texts[first], texts[second.max(first + 1).min(3)]]);
            match first == second {
                true => drop(store.remove(&[name])),
                false if texts[0] == texts[1] => drop(store.collect(&GC).unwrap()),
                false => drop(pulled(&store, name, &texts)),
            }
        }
        store.collect(&GC).unwrap();
        let references = store.references().unwrap();
        let manifests = references.iter().map(|entry| entry.manifest.as_ref().unwrap());
        let needed: BTreeSet<String> =
            manifests.flat_map(|manifest| &manifest.files).map(|file| format!("sha256-{}", file.sha256)).collect();
        prop_assert_eq!(home.names("blobs"), needed.into_iter().collect::<Vec<_>>());
    }
}
