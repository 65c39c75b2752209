//! What the tests of packages share: the packages in `target/dist`, and the surroundings of somebody who has unpacked
//! one and has no Rust.
//!
//! `cargo xtask dist` makes the packages; a test that misses one fails and says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;
use tenon_testkit::workspace;

/// The version that the packages bear.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The archive for this machine.
pub fn archive() -> PathBuf {
    package(&format!("tenon-{VERSION}-{}", std::env::consts::ARCH), ".tar.gz")
}

/// The Debian package.
pub fn debian_package() -> PathBuf {
    package(&format!("tenon_{VERSION}_"), ".deb")
}

fn package(start: &str, end: &str) -> PathBuf {
    let folder = workspace().join("target/dist");
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let named = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with(start) && name.ends_with(end)
    };
    let mut found: Vec<PathBuf> = entries.filter(named).collect();
    found.pop().unwrap_or_else(|| panic!("{} has no {start}*{end}: cargo xtask dist", folder.display()))
}

/// The archive, unpacked once for all tests of this process.
fn unpacked() -> &'static Path {
    static UNPACKED: OnceLock<PathBuf> = OnceLock::new();
    UNPACKED.get_or_init(|| {
        // Outlives the process, so it has a name that the next one knows.
        let folder = workspace().join("target/dist/unpacked-for-tests");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        succeed(Command::new("tar").arg("-xzf").arg(archive()).arg("-C").arg(&folder));
        let found: Vec<PathBuf> = fs::read_dir(&folder).expect("the folder").flatten().map(|at| at.path()).collect();
        assert_eq!(found.len(), 1, "the archive is one folder: {found:?}");
        found.into_iter().next().unwrap_or_default()
    })
}

/// A folder of somebody without Rust: a home, and a place for what is built.
pub struct Place {
    folder: TempDir,
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// An empty one, with spaces and letters of several alphabets in its path.
    pub fn new() -> Self {
        Self::named("tenon päckage Ω ")
    }

    /// One whose path has a plain name.
    pub fn plain() -> Self {
        Self::named("tenon-package-")
    }

    fn named(prefix: &str) -> Self {
        let folder = tempfile::Builder::new().prefix(prefix).tempdir().expect("a folder");
        for name in ["home", "no-rust"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let place = Self { folder };
        for tool in ["cargo", "rustc", "rustup"] {
            place.refuse(tool);
        }
        place
    }

    /// Puts a program of this name before all others that only says that it must not be used.
    fn refuse(&self, tool: &str) {
        let path = self.path().join("no-rust").join(tool);
        fs::write(&path, format!("#!/bin/sh\necho '{tool} must not be needed' >&2\nexit 97\n")).expect("a file");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can be run");
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The unpacked archive, in this place: a copy, which takes an eighth of the time. Links would not do: a link to a
    /// model's file changes its times, and whoever verifies it then takes it for written to.
    pub fn unpack(&self) -> PathBuf {
        let shared = unpacked();
        let here = self.path().join(shared.file_name().unwrap_or_default());
        succeed(self.command("cp").arg("-R").arg("-p").arg(shared).arg(&here));
        here
    }

    /// A command here, whose environment knows neither Rust nor this checkout nor any Tenon.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut path = vec![self.path().join("no-rust")];
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let mut command = Command::new(program);
        command.current_dir(self.path()).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::join_paths(path).expect("a search path")).env("HOME", self.path().join("home"));
        command
    }

    /// Configures and builds a folder with a CMakeLists.txt against an unpacked package. Gives the build's folder.
    pub fn cmake(&self, source: &Path, prefix: &Path, arguments: &[&str]) -> PathBuf {
        let name = source.file_name().unwrap_or_default().to_string_lossy();
        let build = self.path().join(format!("build {name}"));
        let mut command = self.command("cmake");
        command.arg("-S").arg(source).arg("-B").arg(&build).args(arguments);
        succeed(command.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display())).arg("-DCMAKE_BUILD_TYPE=Release"));
        self.rebuild(&build);
        build
    }

    /// Builds what has changed.
    pub fn rebuild(&self, build: &Path) {
        succeed(self.command("cmake").arg("--build").arg(build).args(["--parallel", "2"]));
    }
}

/// Runs a command, which must end well; shows what it said where it does not.
#[track_caller]
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}\n{}{}", output.status, said(&output), complaint(&output));
    output
}

/// The standard output of a command that ended.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The standard error of a command that ended.
pub fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A recording that is packed.
pub fn recording(package: &Path, name: &str) -> PathBuf {
    package.join("share/tenon/models/recordings").join(name)
}

/// The examples that are packed.
pub fn examples(package: &Path) -> PathBuf {
    package.join("share/doc/tenon/examples")
}

/// The text of the first fence of a language in docs/embedding.md as it is packed.
pub fn shown(package: &Path, language: &str) -> String {
    let text = fs::read_to_string(package.join("share/doc/tenon/docs/embedding.md")).expect("the guide is packed");
    let fence = text.split(&format!("```{language}\n")).nth(1).and_then(|rest| rest.split("```").next());
    fence.map(str::to_owned).unwrap_or_else(|| panic!("the guide shows no {language}"))
}
