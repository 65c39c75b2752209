//! What the native plugins need beyond cargo: a C++ compiler, cmake and libclang. Found, or installed with the
//! system's package manager where that is allowed, or named exactly with the commands that install it. What only tests
//! use is found or installed likewise, but nothing fails without it: those tests are skipped loudly.

use crate::process::{self, find};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tool that a build or a test needs, and what packages bring it.
struct Tool {
    name: &'static str,
    reason: &'static str,
    present: fn() -> bool,
    apt: &'static str,
    brew: &'static str,
    winget: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        name: "C++ compiler",
        reason: "whisper.cpp and llama.cpp are C++",
        present: has_compiler,
        apt: "g++",
        brew: "gcc",
        winget: "Microsoft.VisualStudio.2022.BuildTools",
    },
    Tool {
        name: "make",
        reason: "cmake drives it",
        present: || cfg!(windows) || find("make").is_some() || find("ninja").is_some(),
        apt: "make",
        brew: "make",
        winget: "Ninja-build.Ninja",
    },
    Tool {
        name: "cmake",
        reason: "both engines build with it",
        present: || find("cmake").is_some(),
        apt: "cmake",
        brew: "cmake",
        winget: "Kitware.CMake",
    },
    Tool {
        name: "libclang",
        reason: "llama-cpp-sys-2 generates its bindings with it",
        present: || libclang().is_some(),
        apt: "libclang-dev",
        brew: "llvm",
        winget: "LLVM.LLVM",
    },
];

/// What only tests use. Each is looked for on Linux alone: elsewhere nobody has run those tests yet.
const TEST_TOOLS: &[Tool] = &[
    Tool {
        name: "clang",
        reason: "headers and programs in C and C++ are tried with a second compiler and its sanitizers",
        present: || find("clang").is_some() && find("clang++").is_some(),
        apt: "clang",
        brew: "llvm",
        winget: "LLVM.LLVM",
    },
    Tool {
        name: "valgrind",
        reason: "programs in C run under it",
        present: || find("valgrind").is_some(),
        apt: "valgrind libc6-dbg",
        brew: "",
        winget: "",
    },
    Tool {
        name: "abidiff",
        reason: "the library is compared with its frozen interface",
        present: || find("abidiff").is_some(),
        apt: "abigail-tools",
        brew: "",
        winget: "",
    },
    Tool {
        name: "pkg-config",
        reason: "programs are built against the packages by it",
        present: || find("pkg-config").is_some(),
        apt: "pkg-config",
        brew: "pkgconf",
        winget: "",
    },
    Tool {
        name: "curl",
        reason: "the server of the tests of pulling is tried with it",
        present: || find("curl").is_some(),
        apt: "curl",
        brew: "curl",
        winget: "cURL.cURL",
    },
    Tool {
        name: "strace",
        reason: "calls of the system fail one by one while a blob is received",
        present: || find("strace").is_some(),
        apt: "strace",
        brew: "",
        winget: "",
    },
    Tool {
        name: "tmux",
        reason: "progress is read from a terminal",
        present: || find("tmux").is_some(),
        apt: "tmux",
        brew: "tmux",
        winget: "",
    },
    Tool {
        name: "Python with numpy, pytest and venv",
        reason: "the Python package is tried with them",
        present: has_python,
        apt: "python3 python3-numpy python3-pytest python3-venv python3-pip",
        brew: "python",
        winget: "Python.Python.3.13",
    },
];

/// Makes sure that everything is there, or says exactly what is missing and how to get it.
pub fn set_up() -> Result<(), String> {
    let missing = missing();
    if missing.is_empty() {
        eprintln!("set-up: everything that the native plugins need is here");
        return Ok(());
    }
    for tool in &missing {
        eprintln!("set-up: {} is missing ({})", tool.name, tool.reason);
    }
    install(&missing)?;
    let left: Vec<&str> = self::missing().iter().map(|tool| tool.name).collect();
    if left.is_empty() { Ok(()) } else { Err(format!("still missing after the installation: {}", left.join(", "))) }
}

/// Finds or installs what tests use, as far as it can: a test whose tool stays missing says so and is skipped.
pub fn set_up_tests() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let missing: Vec<&Tool> = TEST_TOOLS.iter().filter(|tool| !(tool.present)()).collect();
    if missing.is_empty() {
        eprintln!("set-up: everything that the tests use is here");
        return;
    }
    for tool in &missing {
        eprintln!("set-up: {} is missing ({})", tool.name, tool.reason);
    }
    let (commands, runnable) = install_commands(&missing);
    if runnable && run_all(&commands).is_err() {
        // One package that this system does not have must not keep the others out.
        for tool in &missing {
            run_all(&install_commands(&[tool]).0[1..]).unwrap_or_else(|error| eprintln!("set-up: {error}"));
        }
    }
    for tool in missing.iter().filter(|tool| !(tool.present)()) {
        eprintln!("set-up: tests that need {} are skipped (apt-get install {})", tool.name, tool.apt);
    }
}

/// `LIBCLANG_PATH` for the builds, where bindgen would not find the library by itself.
pub fn libclang_folder() -> Option<PathBuf> {
    if std::env::var_os("LIBCLANG_PATH").is_some() {
        return None;
    }
    let bundled = bundled_libclang();
    if system_libclang().is_none() && has_libclang(&bundled) {
        return Some(bundled);
    }
    let brewed = PathBuf::from("/opt/homebrew/opt/llvm/lib");
    (cfg!(target_os = "macos") && has_libclang(&brewed)).then_some(brewed)
}

fn missing() -> Vec<&'static Tool> {
    TOOLS.iter().filter(|tool| !(tool.present)()).collect()
}

fn install(missing: &[&Tool]) -> Result<(), String> {
    let (commands, runnable) = install_commands(missing);
    if !runnable {
        return Err(instructions(missing, &commands));
    }
    run_all(&commands).or_else(|error| {
        libclang_from_pypi(missing).map_err(|_| format!("{error}\n{}", instructions(missing, &commands)))
    })
}

/// Runs commands until one fails.
fn run_all(commands: &[Vec<String>]) -> Result<(), String> {
    commands.iter().try_for_each(|words| {
        let mut command = process::command(&words[0]);
        process::run(command.args(&words[1..]).env("DEBIAN_FRONTEND", "noninteractive"))
    })
}

/// The commands that install what is missing, and whether this process may run them.
fn install_commands(missing: &[&Tool]) -> (Vec<Vec<String>>, bool) {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<String>>();
    if cfg!(windows) {
        let line = |tool: &&Tool| words(&format!("winget install --exact --silent --id {}", tool.winget));
        return (missing.iter().map(line).collect(), find("winget").is_some());
    }
    if cfg!(target_os = "macos") {
        let packages: Vec<&str> = missing.iter().map(|tool| tool.brew).collect();
        return (vec![words(&format!("brew install {}", packages.join(" ")))], find("brew").is_some());
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.apt).collect();
    let sudo = if is_root() { "" } else { "sudo -n " };
    let commands = vec![
        words(&format!("{sudo}apt-get update")),
        words(&format!("{sudo}apt-get install -y --no-install-recommends {}", packages.join(" "))),
    ];
    (commands, find("apt-get").is_some() && (is_root() || sudo_works()))
}

fn instructions(missing: &[&Tool], commands: &[Vec<String>]) -> String {
    let names: Vec<&str> = missing.iter().map(|tool| tool.name).collect();
    let lines: Vec<String> =
        commands.iter().map(|words| format!("  {}", words.join(" ").replace(" -n ", " "))).collect();
    format!(
        "the native plugins need {}, and this process cannot install it; run\n{}\n(or your system's equivalent), then \
         try again. The program itself builds without any of it: cargo build --release -p tenon-cli",
        names.join(", "),
        lines.join("\n")
    )
}

/// The way around a missing libclang package: the PyPI package of the same library, kept inside target/.
fn libclang_from_pypi(missing: &[&Tool]) -> Result<(), String> {
    let only_libclang = missing.iter().all(|tool| tool.name == "libclang");
    if !only_libclang || find("python3").is_none() {
        return Err("no way around".to_owned());
    }
    let mut pip = process::command("python3");
    let target = process::root().join("target/tools/libclang");
    process::run(pip.args(["-m", "pip", "install", "--quiet", "--target"]).arg(target).arg("libclang==18.1.1"))
}

fn bundled_libclang() -> PathBuf {
    process::root().join("target/tools/libclang/clang/native")
}

/// Whether an interpreter has what the tests import. The system's own may be hidden by another one in PATH.
fn has_python() -> bool {
    let imports = |python: &str| {
        let output = Command::new(python).args(["-c", "import ensurepip, numpy, pytest, venv"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    ["python3", "/usr/bin/python3"].iter().any(|python| imports(python))
}

fn has_compiler() -> bool {
    if cfg!(windows) {
        return find("cl").is_some() || Path::new(r"C:\Program Files\Microsoft Visual Studio\2022").is_dir();
    }
    (find("c++").is_some() || find("g++").is_some() || find("clang++").is_some())
        && (find("cc").is_some() || find("gcc").is_some() || find("clang").is_some())
}

fn libclang() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("LIBCLANG_PATH") {
        return Some(PathBuf::from(path));
    }
    system_libclang().or_else(|| Some(bundled_libclang()).filter(|folder| has_libclang(folder)))
}

/// The folders in which bindgen looks for libclang.
fn system_libclang() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = [
        "/usr/lib",
        "/usr/lib64",
        "/usr/local/lib",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/opt/homebrew/opt/llvm/lib",
        "/usr/local/opt/llvm/lib",
        "/Library/Developer/CommandLineTools/usr/lib",
        "/Applications/Xcode.app/Contents/Developer/Toolchains/XcodeDefault.xctoolchain/usr/lib",
        r"C:\Program Files\LLVM\bin",
    ]
    .iter()
    .map(PathBuf::from)
    .collect();
    if let Ok(entries) = std::fs::read_dir("/usr/lib") {
        let versions = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("llvm-")));
        folders.extend(versions.map(|path| path.join("lib")));
    }
    folders.into_iter().find(|folder| has_libclang(folder))
}

fn has_libclang(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name == "libclang.so"
            || name.starts_with("libclang.so.")
            || (name.starts_with("libclang-") && name.contains(".so"))
            || name == "libclang.dylib"
            || name == "libclang.dll"
    })
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn sudo_works() -> bool {
    find("sudo").is_some() && Command::new("sudo").args(["-n", "true"]).status().is_ok_and(|status| status.success())
}
