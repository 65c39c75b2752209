//! The program `tenon` in a home of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use tenon_pull_tests::Home;
use tenon_store::Manifest;
use tenon_testkit::{copied_out, workspace};

/// The program, copied out of the checkout, whose models it would find.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| copied_out(&built()))
}

/// Where `cargo xtask build` puts the program.
fn built() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let program = target.join("release").join(format!("tenon{}", std::env::consts::EXE_SUFFIX));
    assert!(program.is_file(), "{} is missing: run cargo xtask build", program.display());
    program
}

/// Writes a manifest into the folder of manifests.
pub fn add(home: &Home, manifest: &Manifest) {
    let folder = home.path().join("manifests");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join(format!("{}.toml", manifest.name)), manifest.to_toml()).expect("a file");
}

/// The variables under which the program finds the home and nothing else.
pub fn variables(home: &Home) -> Vec<(String, String)> {
    let folder = |name: &str| home.path().join(name).display().to_string();
    let mut variables: Vec<(String, String)> = [
        ("HOME", "user"),
        ("LOCALAPPDATA", "user"),
        ("XDG_STATE_HOME", "state"),
        ("TENON_MANIFESTS", "manifests"),
        ("TENON_PLUGIN_PATH", "plugins"),
        ("TENON_MODELS", "models"),
        ("TENON_STORE", "store"),
    ]
    .map(|(name, place)| (name.to_owned(), folder(place)))
    .to_vec();
    let kept = ["PATH", "SystemRoot", "TEMP", "TMP"];
    variables.extend(kept.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))));
    variables
}

/// The program with nothing of the tests' environment.
pub fn command(home: &Home, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).current_dir(home.path()).env_clear().envs(variables(home)).stdin(Stdio::null());
    command
}

/// What a run gave.
pub struct Ran {
    /// −1 when a signal ended it.
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("output is UTF-8");
        Self { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

impl Ran {
    /// The error on the last line; it ended with this code.
    pub fn fails(&self, code: i32, case: &str) -> &str {
        assert_eq!(self.code, code, "{case}: {}{}", self.out, self.err);
        let line = self.err.lines().last().unwrap_or_default();
        let sentence = line.strip_prefix("error: ").unwrap_or_else(|| panic!("{case}: {}", self.err));
        assert_eq!(self.err.matches("error: ").count(), 1, "{case}: {}", self.err);
        crate::support::assert_is_a_sentence(case, sentence);
        sentence
    }

    /// It went well.
    pub fn ok(self, case: &str) -> Self {
        assert_eq!(self.code, 0, "{case}: {}{}", self.out, self.err);
        self
    }
}

/// Runs it to its end.
pub fn run(home: &Home, arguments: &[&str]) -> Ran {
    command(home, arguments).output().expect("the program runs").into()
}
