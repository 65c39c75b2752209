//! Several processes on one store, and processes that are killed in it.

use crate::support::*;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tenon_store::{Catalog, Collect, ErrorKind, Import, Locations, Placing, Store};

/// Tells a process of this test program what to do, and where.
const ROLE: &str = "TENON_TEST_ROLE";
const ROOT: &str = "TENON_TEST_ROOT";

/// How many times a process does its work, if it is not killed.
const ROUNDS: usize = 25;

/// Not a test of its own: what the other processes run.
#[test]
fn child() {
    let (Ok(role), Some(root)) = (std::env::var(ROLE), std::env::var_os(ROOT)) else { return };
    let root = Path::new(&root);
    let locations = Locations { store: root.join("store"), state: root.join("state"), ..Locations::default() };
    let store = Store::at(&locations);
    for round in 0..ROUNDS {
        match role.as_str() {
            "pull" => pull_and_look(&store, &format!("pulled-by-{}-{round}", std::process::id())),
            "import" => import_and_remove(&store, &root.join("m.gguf")),
            "collect" => drop(store.collect(&Collect { all_parts: round % 2 == 0, dry_run: false }).unwrap()),
            other => panic!("no role {other}"),
        }
    }
}

/// Brings a model of this process's own, whose files must all be there once it is referred to, and removes it.
fn pull_and_look(store: &Store, name: &str) {
    let manifest = pulled(store, name, &[name, "common to all"]);
    assert_eq!(verify(store, &manifest).unwrap().len(), 2);
    store.remove(&[name]).unwrap();
}

fn import_and_remove(store: &Store, path: &Path) {
    let asked = Import {
        placing: Placing::Copy,
        task: Some("chat".to_owned()),
        license: Some("MIT".to_owned()),
        ..Import::default()
    };
    store.import(path, &Catalog::default(), &asked, &mut go_on).unwrap();
    // Another process imports and removes the same one.
    if let Err(error) = store.remove(&["m"]) {
        assert!(matches!(error.kind(), ErrorKind::NoReference { .. }), "{error}");
    }
}

fn spawn(home: &Home, role: &str) -> Child {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command.args(["--exact", "processes::child", "--test-threads=1"]).env(ROLE, role).env(ROOT, &home.root);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A home with a model that nothing may take anything from.
fn home_with_a_model() -> Home {
    let home = Home::new();
    pulled(&home.store(), "kept", &["kept", "shared"]);
    home.write("m.gguf", &[b"GGUF".to_vec(), vec![7; 10_000]].concat());
    home
}

fn is_whole(home: &Home) {
    let store = home.store();
    for entry in store.references().unwrap() {
        assert!(entry.manifest.is_ok(), "{:?}", entry.manifest);
    }
    assert_eq!(verify(&store, &model("kept", &["kept", "shared"])).unwrap().len(), 2);
    for name in home.names("blobs") {
        let hashed = tenon_store::hash_file(&home.root.join("store/blobs").join(&name)).unwrap();
        assert_eq!(name, format!("sha256-{}", hashed.digest));
    }
}

#[test]
fn processes_that_pull_import_remove_and_collect_at_once_take_nothing_from_one_another() {
    let home = home_with_a_model();
    let children = ["pull", "import", "collect", "pull", "import"].map(|role| spawn(&home, role));
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    is_whole(&home);
    let store = home.store();
    let left: Vec<String> = store.references().unwrap().into_iter().map(|entry| entry.name).collect();
    store.remove(&left.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    store.collect(&Collect { all_parts: true, dry_run: false }).unwrap();
    assert!(home.names("blobs").is_empty() && home.names("parts").is_empty() && home.names("models").is_empty());
}

#[test]
fn a_process_that_is_killed_at_any_moment_leaves_the_store_whole() {
    let home = home_with_a_model();
    for moment in 0..24 {
        let role = ["pull", "import", "collect"][moment % 3];
        home.store().collect(&Collect::default()).unwrap();
        bring(&home.store(), format!("garbage {moment}").as_bytes());
        let mut child = spawn(&home, role);
        std::thread::sleep(Duration::from_micros(2_000 + 977 * moment as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        is_whole(&home);
    }
    home.store().collect(&Collect { all_parts: true, dry_run: false }).unwrap();
    is_whole(&home);
    assert!(home.names("parts").is_empty());
}
