//! For tests of the host: builds the test plugins, once per process, and makes home folders with sealed copies of
//! them, manifests and model files.
//!
//! Echo, faulty and prober are built with the cargo that runs the test. The examples in C and C++ are built with `cc` and
//! `c++`, and skipped loudly where there is no compiler.

#![forbid(unsafe_code)]

mod files;
mod lines;
mod server;
mod tools;
mod worker;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use tempfile::TempDir;
use tenon::{Digest, Engine, EngineBuilder, Load, Model, Session};

pub use files::{copied_out, copy, shared_file, shared_folder};
pub use lines::Lines;
pub use server::Server;
pub use tools::{installed, skip};
pub use worker::{in_workers, worker, workers};

/// A plugin that was built and is not sealed yet.
#[derive(Clone, Debug)]
pub struct Built {
    /// The library.
    pub library: PathBuf,
    /// The template of its sidecar.
    pub template: PathBuf,
}

/// The folder of the workspace.
pub fn workspace() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace"))
}

/// The echo plugin.
pub fn echo() -> Built {
    cargo_plugin("echo")
}

/// The plugin that misbehaves on request.
pub fn faulty() -> Built {
    cargo_plugin("faulty")
}

/// The plugin that tries to get out of the sandbox.
pub fn prober() -> Built {
    cargo_plugin("prober")
}

/// The example in C; `None`, with a line on standard error, where there is no C compiler.
pub fn c_example() -> Option<Built> {
    compiled("cc", "plugin-c", "c_example.c", "c-example", &["-std=c99"])
}

/// The example in C++17; `None`, with a line on standard error, where there is no C++ compiler.
pub fn cpp_example() -> Option<Built> {
    compiled("c++", "plugin-cpp", "cpp_example.cpp", "cpp-example", &["-std=c++17"])
}

/// The C library, whose name for the dynamic linker is another: see [`soname`].
pub fn libtenon() -> PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| libraries(&["tenon-capi"], &["tenon"])["tenon"].clone()).clone()
}

/// The file name that programs linked with [`libtenon`] look for.
pub fn soname() -> String {
    let (major, minor) = (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    if major == "0" { format!("libtenon.so.0.{minor}") } else { format!("libtenon.so.{major}") }
}

fn cargo_plugin(id: &str) -> Built {
    static LIBRARIES: OnceLock<HashMap<String, PathBuf>> = OnceLock::new();
    let libraries = LIBRARIES.get_or_init(|| {
        libraries(&["tenon-echo", "tenon-faulty", "tenon-prober"], &["tenon_echo", "tenon_faulty", "tenon_prober"])
    });
    let library = libraries[&format!("tenon_{id}")].clone();
    Built { library, template: workspace().join(format!("plugins/{id}/{id}.plugin.toml")) }
}

/// The libraries of packages, by the names of their targets: from the folder where `cargo xtask test` has built them
/// together with the tests, or built now.
fn libraries(packages: &[&str], targets: &[&str]) -> HashMap<String, PathBuf> {
    let Some(folder) = std::env::var_os("TENON_TEST_LIBRARIES").map(PathBuf::from) else {
        return cargo_build(packages);
    };
    let file = |target: &str| {
        let name = format!("{}{target}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        folder.join(name)
    };
    let found = targets.iter().map(|target| (target.to_string(), file(target)));
    found
        .inspect(|(_, path)| assert!(path.is_file(), "{} is missing: cargo xtask test builds it", path.display()))
        .collect()
}

/// Builds packages and gives the library of each `cdylib` by the name of its target.
fn cargo_build(packages: &[&str]) -> HashMap<String, PathBuf> {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(workspace()).args(["build", "--quiet", "--message-format=json"]);
    for package in packages {
        command.args(["--package", package]);
    }
    let output = command.output().expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "building the test plugins: {}\n{text}", String::from_utf8_lossy(&output.stderr));
    let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    messages.filter_map(|message| cdylib(&message)).collect()
}

fn cdylib(message: &serde_json::Value) -> Option<(String, PathBuf)> {
    let target = message.get("target")?;
    target.get("crate_types")?.as_array()?.iter().find(|kind| *kind == "cdylib")?;
    let files = message.get("filenames")?.as_array()?.iter().filter_map(serde_json::Value::as_str);
    let library = files
        .map(PathBuf::from)
        .find(|file| file.extension().is_some_and(|end| end == std::env::consts::DLL_EXTENSION))?;
    Some((target.get("name")?.as_str()?.replace('-', "_"), library))
}

/// Compiles one file of `examples/` to a plugin.
fn compiled(compiler: &str, folder: &str, source: &str, id: &str, flags: &[&str]) -> Option<Built> {
    static MADE: Mutex<Option<HashMap<String, Option<Built>>>> = Mutex::new(None);
    let mut made = MADE.lock().expect("no other test panicked here");
    let made = made.get_or_insert_with(HashMap::new);
    if let Some(known) = made.get(id) {
        return known.clone();
    }
    let folder = workspace().join("examples").join(folder);
    let built = installed(compiler, &format!("the example {id}")).then(|| {
        let name = format!("{}{}{}", std::env::consts::DLL_PREFIX, id, std::env::consts::DLL_SUFFIX);
        let library = shared_file(&name, |library| {
            let mut command = Command::new(compiler);
            command.args(flags).args(["-Wall", "-Wextra", "-Werror", "-O1", "-fPIC", "-shared", "-fvisibility=hidden"]);
            command.arg("-I").arg(workspace().join("include")).arg(folder.join(source)).arg("-o").arg(library);
            let output = command.output().expect("the compiler runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        });
        Built { library, template: folder.join(format!("{id}.plugin.toml")) }
    });
    made.insert(id.to_owned(), built.clone());
    built
}

/// A folder with plugins, manifests and models, removed when dropped.
#[derive(Debug)]
pub struct Home {
    folder: TempDir,
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// An empty one.
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        for name in ["plugins", "manifests", "models", "store", "state"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        Self { folder }
    }

    /// One with the echo plugin and a model `echo` without files, which does every task.
    pub fn with_echo() -> Self {
        let home = Self::new();
        home.add_plugin(&echo());
        home.add_manifest("echo", "generate", "echo", "");
        home
    }

    /// One with the faulty plugin and a model `faulty`.
    pub fn with_faulty() -> Self {
        let home = Self::new();
        home.add_plugin(&faulty());
        home.add_manifest("faulty", "generate", "faulty", "");
        home
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Copies a plugin here and seals it. Gives the library's path.
    pub fn add_plugin(&self, plugin: &Built) -> PathBuf {
        let name = plugin.library.file_name().expect("a library has a name");
        let library = self.path().join("plugins").join(name);
        fs::copy(&plugin.library, &library).expect("the plugin can be copied");
        tenon::seal(&library, &plugin.template).expect("the plugin can be sealed");
        library
    }

    /// The sidecar of a plugin that is here.
    pub fn sidecar(&self, id: &str) -> PathBuf {
        self.path().join("plugins").join(format!("{id}.plugin.toml"))
    }

    /// Replaces text in a file, which must be there.
    pub fn replace(&self, path: &Path, from: &str, to: &str) {
        let text = fs::read_to_string(path).expect("the file can be read");
        assert!(text.contains(from), "{} does not hold {from:?}", path.display());
        fs::write(path, text.replace(from, to)).expect("the file can be written");
    }

    /// Writes a manifest; `more` follows its first keys. In a test program whose name begins with `in_worker` the model
    /// runs in workers, unless `more` says where it does.
    pub fn add_manifest(&self, name: &str, task: &str, backend: &str, more: &str) -> PathBuf {
        let path = self.path().join("manifests").join(format!("{name}.toml"));
        let here = in_workers() && !more.contains("isolation");
        let isolation = if here { "isolation = \"worker\"\n" } else { "" };
        let text = format!(
            "name = \"{name}\"\ntask = \"{task}\"\nbackend = \"{backend}\"\nlicense = \"MIT\"\n{isolation}{more}\n"
        );
        fs::write(&path, text).expect("the manifest can be written");
        path
    }

    /// Writes a model file and gives the `[[file]]` of a manifest that names it.
    pub fn add_file(&self, role: &str, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path().join("models").join(name), bytes).expect("the file can be written");
        let (digest, size) = (Digest::of(bytes), bytes.len());
        format!("[[file]]\nrole = \"{role}\"\nname = \"{name}\"\nsha256 = \"{digest}\"\nsize = {size}\n")
    }

    /// Where an engine finds all of it.
    pub fn builder(&self) -> EngineBuilder {
        let builder = Engine::builder();
        let builder = if in_workers() { builder.worker(workers()) } else { builder };
        builder
            .manifest_dir(self.path().join("manifests"))
            .plugin_dir(self.path().join("plugins"))
            .models_dir(self.path().join("models"))
            .store_dir(self.path().join("store"))
            .state_dir(self.path().join("state"))
    }

    /// An engine on it.
    pub fn engine(&self) -> Engine {
        self.builder().build().expect("an engine")
    }

    /// A loaded model.
    pub fn model(&self, name: &str) -> Model {
        self.engine().load(name, Load::new()).expect("the model loads")
    }

    /// A session on a loaded model.
    pub fn session(&self, name: &str) -> Session {
        self.model(name).session().expect("a session")
    }
}

/// The path of an example program of the crate under test, which cargo builds along with its tests.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let folder = test.parent().and_then(Path::parent).expect("tests lie in deps/");
    folder.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// A wav file of 16-bit samples, one channel.
pub fn wav(samples: &[f32], rate: u32) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|sample| ((sample * 32767.0) as i16).to_le_bytes()).collect();
    let size = data.len() as u32;
    let mut file = Vec::with_capacity(44 + data.len());
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(36 + size).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt ");
    file.extend_from_slice(&16_u32.to_le_bytes());
    file.extend_from_slice(&1_u16.to_le_bytes());
    file.extend_from_slice(&1_u16.to_le_bytes());
    file.extend_from_slice(&rate.to_le_bytes());
    file.extend_from_slice(&(rate * 2).to_le_bytes());
    file.extend_from_slice(&2_u16.to_le_bytes());
    file.extend_from_slice(&16_u16.to_le_bytes());
    file.extend_from_slice(b"data");
    file.extend_from_slice(&size.to_le_bytes());
    file.extend_from_slice(&data);
    file
}
