//! Blobs and parts that changed on disk behind the store's back, and clocks that run backwards.

use crate::support::{network, pull};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tenon_pull_tests::{Answer, Home, Server, manifest, noise};
use tenon_store::{Digest, Manifest};

const SIZE: usize = 60_000;

struct Scene {
    server: Server,
    home: Home,
    bytes: Vec<u8>,
    manifest: Manifest,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let (server, home, bytes) = (Server::start(), Home::new(), noise(seed, SIZE));
        let url = server.blob("/blob.bin", &bytes);
        let manifest = manifest("case", &[("blob.bin", &[url], &bytes)]);
        Self { server, home, bytes, manifest }
    }

    /// Pulls until the first 20000 bytes are there.
    fn begun(seed: u64) -> Self {
        let scene = Self::new(seed);
        scene.server.script("/blob.bin", [Answer::good().cut(20_000)]);
        let tried = pull(&scene.home, &network().tries(1), &scene.manifest);
        tried.error("cut");
        scene
    }

    fn blob(&self) -> PathBuf {
        self.home.blob_path(Digest::of(&self.bytes))
    }

    fn part(&self) -> PathBuf {
        self.home.part_path(Digest::of(&self.bytes))
    }

    fn comes(&self, case: &str) {
        pull(&self.home, &network(), &self.manifest).pulled(case);
        assert!(self.home.holds(&self.bytes), "{case}");
    }
}

/// Opens a file for writing whatever its mode, which stays as it is.
fn force(path: &Path) -> File {
    let mode = std::fs::metadata(path).unwrap().permissions();
    let mut writable = mode.clone();
    #[allow(clippy::permissions_set_readonly_false)]
    writable.set_readonly(false);
    std::fs::set_permissions(path, writable).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    std::fs::set_permissions(path, mode).unwrap();
    file
}

/// Changes a byte of a file.
fn flip(path: &Path, at: u64) {
    let byte = std::fs::read(path).unwrap()[at as usize];
    let mut file = force(path);
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[!byte]).unwrap();
}

fn set_time(path: &Path, time: SystemTime) {
    force(path).set_modified(time).unwrap();
}

fn tomorrow() -> SystemTime {
    SystemTime::now() + Duration::from_secs(24 * 3600)
}

#[test]
fn a_blob_that_is_there_is_not_fetched_again() {
    let scene = Scene::new(51);
    scene.comes("first");
    scene.comes("second");
    assert_eq!(scene.server.gets("/blob.bin").len(), 1);
}

#[test]
fn a_blob_that_changed_on_disk_is_never_called_there_though_the_ledger_knew_it() {
    let scene = Scene::new(52);
    scene.comes("first");
    scene.comes("by the ledger");
    let modified = std::fs::metadata(scene.blob()).unwrap().modified().unwrap();
    flip(&scene.blob(), 30_000);
    set_time(&scene.blob(), modified);
    scene.comes("changed");
}

#[test]
fn a_blob_that_was_cut_or_emptied_on_disk_is_fetched_again() {
    for size in [0, 1, SIZE as u64 - 1, SIZE as u64 + 1] {
        let scene = Scene::new(53);
        scene.comes("first");
        force(&scene.blob()).set_len(size).unwrap();
        scene.comes(&format!("{size} bytes"));
    }
}

#[test]
fn times_from_the_future_change_nothing_for_parts_nor_for_blobs() {
    let scene = Scene::begun(54);
    for part in scene.home.parts() {
        set_time(&part, tomorrow());
    }
    scene.comes("a part from tomorrow");
    assert_eq!(scene.server.gets("/blob.bin")[1].start(), 20_000);
    set_time(&scene.blob(), tomorrow());
    set_time(&scene.home.state_folder().join("verified.ledger"), tomorrow());
    scene.comes("a blob from tomorrow");
    flip(&scene.blob(), 7);
    set_time(&scene.blob(), tomorrow());
    scene.comes("a blob from tomorrow that changed");
}

#[test]
fn a_part_that_changed_on_disk_never_becomes_a_blob_and_the_next_pull_heals_it() {
    let scene = Scene::begun(55);
    flip(&scene.part(), 100);
    let tried = pull(&scene.home, &network(), &scene.manifest);
    if tried.outcome.is_err() {
        assert!(!scene.home.holds(&scene.bytes));
        scene.comes("the next pull");
    }
    assert!(scene.home.holds(&scene.bytes));
}

#[test]
fn a_part_whose_sidecar_is_broken_gone_or_a_lie_is_begun_again_or_healed() {
    for (case, text) in [
        ("empty", ""),
        ("nonsense", "{\"version\":"),
        ("another shape", "[1, 2, 3]"),
        ("zeros", "\0\0\0\0\0\0\0\0"),
        ("deep", &"[".repeat(100_000)),
    ] {
        let scene = Scene::begun(56);
        let sidecar = sidecar(&scene);
        std::fs::write(&sidecar, text).unwrap();
        let first = pull(&scene.home, &network(), &scene.manifest);
        if first.outcome.is_err() {
            scene.comes(case);
        }
        assert!(scene.home.holds(&scene.bytes), "{case}");
    }
    let scene = Scene::begun(57);
    std::fs::remove_file(sidecar(&scene)).unwrap();
    scene.comes("no sidecar");
    let scene = Scene::begun(58);
    std::fs::remove_file(scene.part()).unwrap();
    scene.comes("a sidecar without its part");
    let scene = Scene::begun(59);
    force(&scene.part()).set_len(5).unwrap();
    if pull(&scene.home, &network(), &scene.manifest).outcome.is_err() {
        scene.comes("a part that was cut");
    }
    assert!(scene.home.holds(&scene.bytes));
}

fn sidecar(scene: &Scene) -> PathBuf {
    let path = scene.part().with_extension("part.json");
    assert!(path.exists(), "{:?}", scene.home.parts());
    path
}

#[cfg(unix)]
#[test]
fn links_in_the_place_of_parts_and_folders_lead_nothing_out_of_the_store() {
    let (scene, outside) = (Scene::new(60), tempfile::tempdir().unwrap());
    let victim = outside.path().join("victim");
    std::fs::write(&victim, b"mine").unwrap();
    std::fs::create_dir_all(scene.part().parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(&victim, scene.part()).unwrap();
    let tried = pull(&scene.home, &network(), &scene.manifest);
    assert_eq!(std::fs::read(&victim).unwrap(), b"mine", "{:?}", tried.outcome);
    // The name of a blob that leads elsewhere is not followed either.
    let (scene, elsewhere) = (Scene::new(61), outside.path().join("elsewhere"));
    std::fs::create_dir_all(scene.blob().parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(&elsewhere, scene.blob()).unwrap();
    let mut go_on = |_: &_| std::ops::ControlFlow::Continue(());
    let outcome = tenon_pull::Puller::new(&scene.home.store(), &network()).pull(&scene.manifest, &mut go_on);
    assert!(!elsewhere.exists() && (outcome.is_err() || scene.home.holds(&scene.bytes)), "{outcome:?}");
}
