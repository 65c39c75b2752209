//! Sidecars of plugins: what an engine says of a plugin that it has not loaded, and what it seals.

use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tenon::{Digest, Engine, PluginEntry, seal};

/// What stands for a library: nothing of it is run.
const LIBRARY: &[u8] = b"no library";

/// A folder of plugins with one library and whatever sidecars an input makes.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).expect("a folder for a plugin");
        fs::write(folder.path().join("lib.so"), LIBRARY).expect("the library is written");
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn library(&self) -> PathBuf {
        self.path().join("lib.so")
    }

    /// The plugins that an engine finds here.
    fn plugins(&self) -> Vec<PluginEntry> {
        let builder = Engine::builder().plugin_dir(self.path()).state_dir(self.path()).store_dir(self.path());
        builder.build().expect("an engine is built whatever a sidecar says").plugins()
    }
}

/// A sidecar as it lies beside a library, and the same text as a template.
pub fn sidecar(input: &[u8]) {
    let folder = Folder::new();
    let file = folder.path().join("fuzzed.plugin.toml");
    fs::write(&file, input).expect("the sidecar is written");
    let plugins = folder.plugins();
    assert_eq!(plugins.len(), 1, "one sidecar, one entry");
    holds(&plugins[0], folder.path());
    fs::remove_file(&file).expect("the sidecar is removed");
    sealed(&folder, input);
}

/// What is told of a plugin that can be used.
fn holds(plugin: &PluginEntry, folder: &Path) {
    if let Some(problem) = &plugin.problem {
        assert!(!problem.message().is_empty() && !problem.message().ends_with('.'), "{problem}");
    }
    if plugin.sha256.is_none() {
        assert!(plugin.problem.is_some(), "a sidecar without a digest and without a problem");
        return;
    }
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    assert!((1..=64).contains(&plugin.id.len()) && plugin.id.bytes().all(plain), "{:?}", plugin.id);
    assert_eq!(plugin.path.parent(), Some(folder), "the library lies beside its sidecar");
    assert!(!plugin.tasks.is_empty() && !plugin.version.is_empty() && !plugin.cpu.is_empty(), "{plugin:?}");
    let (major, minor) = plugin.abi.split_once('.').expect("a version has two numbers");
    assert!(major.parse::<u16>().is_ok() && minor.parse::<u16>().is_ok(), "{:?}", plugin.abi);
}

/// A template that can be sealed makes a sidecar of exactly this library.
fn sealed(folder: &Folder, template: &[u8]) {
    let file = folder.path().join("template");
    fs::write(&file, template).expect("the template is written");
    let Ok(sidecar) = seal(&folder.library(), &file) else {
        assert!(folder.plugins().is_empty(), "a template that was refused left a sidecar");
        return;
    };
    assert_eq!(sidecar.parent(), Some(folder.path()));
    let plugins = folder.plugins();
    assert_eq!(plugins.len(), 1, "one sidecar, one entry");
    holds(&plugins[0], folder.path());
    assert_eq!((plugins[0].sha256, &plugins[0].path), (Some(Digest::of(LIBRARY)), &folder.library()));
}
