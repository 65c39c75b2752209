//! A plugin built for a changed contract is refused at load, in at most three lines that name the change.
//!
//! Each case copies this crate's own sources, changes one field, builds the copy as a plugin and lets the real crate
//! look at its witness. The copy without a change is accepted, so it is the change that is refused.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tenon_witness::{Witness, check};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

const MANIFEST: &str = r#"
[package]
name = "tenon-witness"
version = "1.0.0"
edition = "2024"

[lib]
name = "mutated"
crate-type = ["cdylib"]

[dependencies]
abi_stable = { version = "=0.11.3", default-features = false }
tenon-abi = { path = "ABI" }

[workspace]
"#;

/// Builds the copy called `name`, in which `from` became `to`, and returns what the real check says of it.
fn verdict(name: &str, from: &str, to: &str) -> Result<Witness, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutated").join(name);
    write_copy(&folder, from, to);
    let library = build(&folder, name);
    // SAFETY: the library is our own; loading it runs no code of ours before the check.
    let library = unsafe { libloading::Library::new(library) }.unwrap();
    // SAFETY: only the address of the symbol is taken.
    let symbol = unsafe { library.get::<*const c_void>(tenon_witness::SYMBOL.as_bytes()) }.unwrap();
    // SAFETY: the address is not used as anything but an address here.
    let address = unsafe { symbol.try_as_raw_ptr() }.unwrap().cast_const();
    // A plugin stays mapped until the process ends.
    std::mem::forget(library);
    // SAFETY: the address of the witness of a library that stays mapped.
    unsafe { check(address) }
}

fn write_copy(folder: &Path, from: &str, to: &str) {
    let source = |file: &str| fs::read_to_string(Path::new(HERE).join("src").join(file)).unwrap();
    let mirror = source("mirror.rs");
    assert_eq!(mirror.matches(from).count(), 1, "the mirror must hold {from:?} once");
    let (head, rest) = mirror.split_once("/// Holds when").unwrap();
    let (_, structs) = rest.split_once("/// A host's call").unwrap();
    // A mutated mirror is no mirror, so the copy does not compare itself with the real contract.
    let mirror = format!("{head}macro_rules! mirrors {{ ($($any:tt)*) => {{}}; }}\n/// A host's call{structs}");
    let abi = Path::new(HERE).join("../abi").canonicalize().unwrap();
    fs::create_dir_all(folder.join("src")).unwrap();
    write(folder, "Cargo.toml", &MANIFEST.replace("ABI", abi.to_str().unwrap()));
    write(folder, "Cargo.lock", &fs::read_to_string(Path::new(HERE).join("../../Cargo.lock")).unwrap());
    write(folder, "src/check.rs", &source("check.rs"));
    write(folder, "src/mirror.rs", &mirror.replace(from, to));
    write(folder, "src/lib.rs", &format!("{}\nexport_witness!();\n", source("lib.rs")));
}

fn write(folder: &Path, file: &str, text: &str) {
    fs::write(folder.join(file), text).unwrap();
}

fn build(folder: &Path, name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline", "--target-dir"])
        .arg(&target)
        .current_dir(folder)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    // All copies share the target folder and so the file name; each is copied away before the next one is built.
    let file = |name: &str| format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let library = folder.join(file(name));
    fs::copy(target.join("debug").join(file("mutated")), &library).unwrap();
    library
}

#[track_caller]
fn assert_refused(verdict: Result<Witness, String>, words: &[&str]) {
    let refusal = verdict.unwrap_err();
    assert!(refusal.lines().count() <= 3, "{refusal}");
    for word in words {
        assert!(refusal.contains(word), "{word:?} is not in: {refusal}");
    }
}

/// One test, because the copies share a target folder.
#[test]
fn a_plugin_built_for_a_changed_contract_is_refused_in_three_lines() {
    assert_eq!(
        verdict(
            "unchanged",
            "opaque: [u8; 0],\n}\n\n/// A plugin's model",
            "opaque: [u8; 0],\n}\n\n/// A plugin's model"
        ),
        Ok(Witness::Agrees)
    );

    let times = "pub struct Segment {\n    start_us: i64,\n    end_us: i64,";
    let swapped = "pub struct Segment {\n    end_us: i64,\n    start_us: i64,";
    assert_refused(verdict("swapped", times, swapped), &["segment:", "start_us", "end_us"]);

    assert_refused(verdict("retyped", "audio_us: i64,", "audio_us: u64,"), &["audio_us", "i64", "u64"]);

    assert_refused(verdict("renamed", "logprob: f32,", "log_probability: f32,"), &["logprob", "log_probability"]);

    let grown = "embedding: *const Embedding,\n}";
    let longer = "embedding: *const Embedding,\n    more: u64,\n}";
    assert_refused(verdict("grown", grown, longer), &["contract:", "bytes"]);

    let argument = "detail: Option<unsafe extern \"C\" fn(*mut Call, Str, Str)>";
    let other = "detail: Option<unsafe extern \"C\" fn(*mut Call, Str, u64)>";
    assert_refused(verdict("argument", argument, other), &["host_error.detail"]);
}
