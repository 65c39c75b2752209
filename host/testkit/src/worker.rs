//! The program `tenon-worker`, and test programs whose models run in workers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tenon::WorkerSettings;

/// How the file of a test program begins whose models run in workers unless their manifests say where.
const IN_WORKERS: &str = "in_worker";

/// The program that runs plugins outside of the engine's process: from the folder where `cargo xtask test` has built it
/// together with the tests, or built now.
pub fn worker() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM
        .get_or_init(|| match std::env::var_os("TENON_TEST_LIBRARIES") {
            Some(folder) => {
                let path = Path::new(&folder).join(format!("tenon-worker{}", std::env::consts::EXE_SUFFIX));
                assert!(path.is_file(), "{} is missing: cargo xtask test builds it", path.display());
                path
            }
            None => built(),
        })
        .clone()
}

/// Settings with that program.
pub fn workers() -> WorkerSettings {
    WorkerSettings::new().program(worker())
}

/// Whether the models of this test program run in workers: where its name begins with `in_worker`.
pub fn in_workers() -> bool {
    static IS: OnceLock<bool> = OnceLock::new();
    *IS.get_or_init(|| {
        let program = std::env::current_exe().expect("the test's own path");
        program.file_name().is_some_and(|name| name.to_string_lossy().starts_with(IN_WORKERS))
    })
}

fn built() -> PathBuf {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(super::workspace()).args(["build", "--quiet", "--message-format=json"]);
    let output = command.args(["--package", "tenon-worker"]).output().expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "building the worker: {}\n{text}", String::from_utf8_lossy(&output.stderr));
    let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut programs = messages.filter_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)));
    programs.next_back().expect("tenon-worker is a program")
}
