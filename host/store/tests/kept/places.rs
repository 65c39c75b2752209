//! Stores of others, and the cache of the Hugging Face tools: read, never written to.

use crate::support::*;
use std::fs;
use tenon_store::{Catalog, Collect, Digest, ErrorKind, How, State, VerifyMode};

const COMMIT: &str = "5359861c739e955e79d9a303bcbc70fb988958b1";

/// A model whose file comes from the hub.
fn of_the_hub(bytes: &[u8]) -> tenon_store::Manifest {
    let mut manifest = model("a", &[]);
    manifest.files.push(file("m.bin", bytes));
    manifest.files[0].urls = vec![format!("https://huggingface.co/org/name.x/resolve/{COMMIT}/sub/m.bin")];
    manifest
}

fn tree(home: &Home, folder: &str) -> Vec<(std::path::PathBuf, std::time::SystemTime)> {
    let mut all = Vec::new();
    let mut folders = vec![home.root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                folders.push(path.clone());
            }
            all.push((path, metadata.modified().unwrap()));
        }
    }
    all.sort();
    all
}

#[test]
fn a_model_of_a_shared_store_is_listed_and_used_and_nothing_is_written_there() {
    let home = Home::new();
    let manifest = model("a", &["one", "two"]);
    home.write("shared/models/a.toml", manifest.to_toml().as_bytes());
    home.write(&format!("shared/blobs/sha256-{}", Digest::of(b"one")), b"one");
    let two = home.write("shared/elsewhere/two.bin", b"two");
    home.write(&format!("shared/links/sha256-{}", Digest::of(b"two")), format!("{}\n", two.display()).as_bytes());
    let before = tree(&home, "shared");
    let store = home.store();
    assert_eq!(Catalog::read(&home.locations().manifest_folders()).get("a").unwrap(), &manifest);
    assert_eq!(store.state(&manifest), State::Present);
    let found = verify(&store, &manifest).unwrap();
    assert_eq!(found[1].path(), two);
    store.collect(&Collect { all_parts: true, ..Collect::default() }).unwrap();
    let error = store.remove(&["a"]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NoReference { .. }), "{error}");
    assert_eq!(tree(&home, "shared"), before);
    assert!(!home.root.join("store").exists());
}

#[test]
fn the_own_store_comes_before_a_shared_one_and_both_before_the_folders_of_models() {
    let home = Home::new();
    let manifest = model("a", &["one"]);
    let path = || verify(&home.store(), &manifest).unwrap()[0].path().to_owned();
    let common = home.write("models/one.bin", b"one");
    assert_eq!(path(), common);
    let shared = home.write(&format!("shared/blobs/sha256-{}", Digest::of(b"one")), b"one");
    assert_eq!(path(), shared);
    assert_eq!(path(), shared);
    assert_eq!(bring(&home.store(), b"one"), path());
}

#[test]
fn what_is_amiss_in_places_of_others_is_as_if_it_were_not_there() {
    let home = Home::new();
    let manifest = of_the_hub(b"one");
    home.write(&format!("shared/blobs/sha256-{}", Digest::of(b"one")), b"another size");
    fs::create_dir_all(home.root.join("hub/models--org--name.x/blobs").join(Digest::of(b"one").to_string())).unwrap();
    assert_eq!(home.store().state(&manifest), State::Missing);
    let here = home.write("models/m.bin", b"one");
    assert_eq!(verify(&home.store(), &manifest).unwrap()[0].path(), here);
}

#[test]
fn a_file_of_the_hubs_cache_is_used_where_it_lies_once_it_is_hashed() {
    let home = Home::new();
    let manifest = of_the_hub(b"one");
    let blob = home.write(&format!("hub/models--org--name.x/blobs/{}", Digest::of(b"one")), b"one");
    let before = tree(&home, "hub");
    assert_eq!(home.store().state(&manifest), State::Present);
    let found = home.store().verify(&manifest, VerifyMode::Cached, &mut go_on).unwrap();
    assert_eq!((found[0].path(), found[0].how()), (&*blob, How::Hashed));
    assert_eq!(tree(&home, "hub"), before);
    fs::write(&blob, b"onE").unwrap();
    let error = verify(&home.store(), &manifest).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::HashMismatch { .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn a_snapshot_may_link_into_its_own_cache_and_nowhere_else() {
    let home = Home::new();
    let manifest = of_the_hub(b"one");
    let snapshot = home.write(&format!("hub/models--org--name.x/snapshots/{COMMIT}/sub/m.bin"), b"");
    // The blob of a small file is not named by its SHA-256.
    let blob = home.write("hub/models--org--name.x/blobs/5bc3dd14", b"one");
    let outside = home.write("outside", b"one");
    for (target, state) in [("../../../blobs/5bc3dd14", State::Present), (outside.to_str().unwrap(), State::Missing)] {
        fs::remove_file(&snapshot).unwrap();
        std::os::unix::fs::symlink(target, &snapshot).unwrap();
        assert_eq!(home.store().state(&manifest), state, "{target}");
    }
    assert!(blob.exists());
}

#[test]
fn a_file_that_is_not_of_the_hub_is_not_looked_for_in_its_cache() {
    let home = Home::new();
    home.write(&format!("hub/models--org--name.x/blobs/{}", Digest::of(b"one")), b"one");
    assert_eq!(home.store().state(&model("a", &["one"])), State::Missing);
}
