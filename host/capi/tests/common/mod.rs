//! Programs in C and C++ against the library: how they are compiled, and in which surroundings they run.
//!
//! A program finds its models by the environment, so that the examples run as they stand. What `tenon_engine_new(NULL,
//! ...)` finds first is the [`Home`]; the checkout around the test comes after it.

#![allow(dead_code, reason = "each test file uses a part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use tenon_testkit::{Home, installed, libtenon, soname, workspace};

/// What every program must compile with.
pub const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// A folder with the library under the names that the compiler and the dynamic linker look for.
pub fn library_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = scratch("lib");
        let library = libtenon();
        for name in ["libtenon.so".to_owned(), soname()] {
            // Each test program makes the folder anew; a link to the same file does no harm to the others.
            let (temporary, place) = (folder.join(format!("{name}.{}", std::process::id())), folder.join(&name));
            let _ = fs::remove_file(&temporary);
            std::os::unix::fs::symlink(&library, &temporary).expect("a link to the library");
            fs::rename(&temporary, &place).expect("the link gets its name");
        }
        folder
    })
}

/// A folder for what tests make; kept for those who look for a fault.
pub fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("capi").join(name);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// The headers.
pub fn include() -> PathBuf {
    workspace().join("include")
}

/// An installation as far as pkg-config and a compiler care.
pub fn prefix() -> PathBuf {
    let prefix = scratch("prefix");
    let folder = prefix.join("lib/pkgconfig");
    fs::create_dir_all(&folder).expect("a folder");
    let (library, headers) = (library_folder().display(), include());
    let description = format!(
        "libdir={library}\nName: tenon\nDescription: for tests\nVersion: {}\nLibs: -L{library} -ltenon\nCflags: -I{}\n",
        env!("CARGO_PKG_VERSION"),
        headers.display()
    );
    fs::write(folder.join("tenon.pc"), description).expect("a file");
    prefix
}

/// A program of `host/capi/tests/c/`.
pub fn test_source(name: &str) -> PathBuf {
    workspace().join("host/capi/tests/c").join(name)
}

/// A program to compile.
pub struct Compile<'a> {
    /// The compiler, such as `cc`, `gcc`, `clang` or `c++`.
    pub compiler: &'a str,
    /// Standard, sanitizers and the like; [`STRICT`] and the paths are added.
    pub flags: &'a [&'a str],
    /// The files to compile.
    pub sources: &'a [PathBuf],
    /// What the program shall be called; different for different flags.
    pub name: &'a str,
}

impl Compile<'_> {
    /// Compiles and links it with the library. `None`, said loudly, where there is no such compiler.
    #[track_caller]
    pub fn program(&self) -> Option<PathBuf> {
        if !installed(self.compiler, self.name) {
            return None;
        }
        // Two test files may have programs of one name.
        let (program, library) = (scratch(concat!("bin/", env!("CARGO_CRATE_NAME"))).join(self.name), library_folder());
        let mut command = Command::new(self.compiler);
        command.args(self.flags).args(STRICT).arg("-g").arg("-I").arg(include()).args(self.sources);
        command.arg("-L").arg(library).args(["-ltenon", "-lpthread", "-lm"]);
        command.arg(format!("-Wl,-rpath,{}", library.display())).arg("-o").arg(&program);
        succeed(&mut command);
        Some(program)
    }
}

/// A program of `host/capi/tests/c/` in C11, by its name without `.c`. `None`, said loudly, without a C compiler.
#[track_caller]
pub fn c_program(name: &str) -> Option<PathBuf> {
    let sources = [test_source(&format!("{name}.c"))];
    Compile { compiler: "cc", flags: &["-std=c11", "-D_GNU_SOURCE"], sources: &sources, name }.program()
}

/// A command whose engine finds this home first, and no state of the user who runs the test.
pub fn within(home: &Home, program: &Path) -> Command {
    let mut command = Command::new(program);
    for (variable, folder) in [
        ("TENON_MANIFESTS", "manifests"),
        ("TENON_PLUGIN_PATH", "plugins"),
        ("TENON_MODELS", "models"),
        ("XDG_STATE_HOME", "state"),
        ("XDG_DATA_HOME", "store"),
        ("HOME", ""),
    ] {
        command.env(variable, home.path().join(folder));
    }
    command.stdin(Stdio::null());
    command
}

/// Runs a command, which must end well; shows what it said where it does not.
#[track_caller]
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The standard output of a command, which must end well.
#[track_caller]
pub fn said(command: &mut Command) -> String {
    String::from_utf8(succeed(command).stdout).expect("UTF-8")
}
