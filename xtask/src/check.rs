//! What a change must satisfy beside its tests: form, lints, documentation, generated files, arrows, licences.

use crate::process::{cargo, find, output, run as run_command};
use crate::test::{NATIVE, leave_out};
use crate::{artifacts, dist};
use std::collections::{BTreeMap, BTreeSet};

/// A check: the error says what is wrong.
type Check = fn() -> Result<(), String>;

/// Which workspace crates each crate may depend on (docs/ARCHITECTURE.md), dev-dependencies aside.
const ARROWS: &[(&str, &[&str])] = &[
    ("tenon-abi", &[]),
    ("tenon-tasks", &[]),
    ("tenon-audio", &[]),
    ("tenon-witness", &["tenon-abi"]),
    ("tenon-store", &["tenon-tasks"]),
    ("tenon-pull", &["tenon-store", "tenon-tasks"]),
    ("tenon-wire", &["tenon-tasks"]),
    ("tenon", &["tenon-abi", "tenon-tasks", "tenon-audio", "tenon-pull", "tenon-store", "tenon-wire", "tenon-witness"]),
    ("tenon-worker", &["tenon", "tenon-abi", "tenon-wire"]),
    ("tenon-conformance", &["tenon", "tenon-abi"]),
    ("tenon-cli", &["tenon", "tenon-abi", "tenon-conformance", "tenon-store", "tenon-tasks"]),
    ("tenon-capi", &["tenon", "tenon-abi"]),
    ("tenon-plugin", &["tenon-abi", "tenon-tasks", "tenon-witness"]),
    ("tenon-precheck", &[]),
    ("tenon-echo", &["tenon-plugin", "tenon-tasks"]),
    ("tenon-faulty", &["tenon-plugin", "tenon-tasks", "tenon-abi"]),
    ("tenon-prober", &["tenon-plugin", "tenon-tasks"]),
    ("tenon-whisper", &["tenon-plugin", "tenon-tasks", "tenon-precheck"]),
    ("tenon-llama", &["tenon-plugin", "tenon-tasks", "tenon-precheck", "tenon-llama-text"]),
    ("tenon-llama-text", &[]),
];

/// Crates that nothing of the product depends on.
const OUTSIDE: &[&str] = &[
    "xtask",
    "tenon-gen",
    "tenon-testkit",
    "tenon-native-tests",
    "tenon-package-tests",
    "tenon-pull-tests",
    "tenon-fault-tests",
    "tenon-fuzz-capi",
    "tenon-fuzz-echo",
    "tenon-fuzz-targets",
    "tenon-bench",
    "tenon-bench-capi",
    "tenon-bench-meter",
    "tenon-bench-whisper",
    "tenon-bench-llama",
];

/// Runs every check and reports all that fail, not just the first.
pub fn run() -> Result<(), String> {
    // The documents on options are made from the plugins' own schemas, so these must be built.
    artifacts::build()?;
    let checks: &[(&str, Check)] = &[
        ("form", || run_command(&mut cargo(&["fmt", "--all", "--check"]))),
        ("arrows", arrows),
        ("generated files", || generate(true)),
        ("lints", lints),
        ("documentation", documentation),
        ("licences", licences),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        if let Err(error) = check() {
            eprintln!("error: {name}: {error}");
            failed.push(*name);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed checks: {}", failed.join(", "))) }
}

/// Writes the generated files, or with `check` fails where one is out of date.
pub fn generate(check: bool) -> Result<(), String> {
    let mut command = cargo(&["run", "--quiet", "--locked", "-p", "tenon-gen", "--"]);
    if check {
        command.arg("--check");
    }
    run_command(&mut command)
}

fn lints() -> Result<(), String> {
    let mut command = cargo(&["clippy", "--locked", "--workspace", "--all-targets"]);
    leave_out(&mut command);
    run_command(command.args(["--", "-D", "warnings"]))?;
    // In the release profile, so that the engines that were built for it are used again.
    run_command(&mut cargo(&[
        "clippy",
        "--locked",
        "--release",
        "-p",
        "tenon-echo",
        "-p",
        "tenon-whisper",
        "-p",
        "tenon-llama",
        "--",
        "-D",
        "warnings",
    ]))
}

fn documentation() -> Result<(), String> {
    let mut command = cargo(&["doc", "--locked", "--workspace", "--no-deps"]);
    leave_out(&mut command);
    run_command(command.env("RUSTDOCFLAGS", "-D warnings"))
}

fn licences() -> Result<(), String> {
    dist::licences::check()?;
    if find("cargo-deny").is_none() {
        eprintln!("skipped: cargo-deny is not installed (cargo install --locked cargo-deny); hosted CI runs it");
        return Ok(());
    }
    run_command(&mut cargo(&["deny", "check"]))
}

/// Asserts the list of arrows, that the host holds no `*-sys` engine, and that the two engines never meet.
fn arrows() -> Result<(), String> {
    let members = members()?;
    let mut wrong = Vec::new();
    for (package, dependencies) in &members {
        if OUTSIDE.contains(&package.as_str()) {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| name == package) else {
            wrong.push(format!("{package} is in no list of xtask/src/check.rs"));
            continue;
        };
        let over = dependencies.iter().filter(|name| !allowed.contains(&name.as_str()));
        wrong.extend(over.map(|name| format!("{package} must not depend on {name}")));
    }
    for package in members.keys() {
        let tree = external(package)?;
        let holds = |name: &str| tree.contains(name);
        if holds("whisper-rs-sys") && holds("llama-cpp-sys-2") {
            wrong.push(format!("{package} links both engines, whose ggml clash"));
        }
        let native = NATIVE.contains(&package.as_str());
        if !native
            && let Some(name) = tree
                .iter()
                .find(|name| ["whisper-rs-sys", "llama-cpp-sys-2", "cmake", "bindgen"].contains(&name.as_str()))
        {
            wrong.push(format!("{package} needs {name}: only the native plugins may need a C++ toolchain"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

/// Workspace crates with the workspace crates that each depends on directly.
fn members() -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let tree = output(&mut cargo(&[
        "tree",
        "--locked",
        "--workspace",
        "--depth",
        "1",
        "--edges",
        "normal,build",
        "--prefix",
        "depth",
        "--format",
        "|{p}",
    ]))?;
    let mut members: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut current = String::new();
    for line in tree.lines() {
        let Some((depth, package)) = line.split_once('|') else { continue };
        let name = package.split(' ').next().unwrap_or_default().to_owned();
        // A package of this workspace is shown with its folder.
        let local = package.contains(" (/") || package.contains(":\\");
        match depth {
            "0" => {
                current.clone_from(&name);
                members.entry(name).or_default();
            }
            _ if local && !package.contains("(proc-macro)") => {
                members.entry(current.clone()).or_default().insert(name);
            }
            _ => {}
        }
    }
    Ok(members)
}

/// Names of all packages that a crate is built from.
fn external(package: &str) -> Result<BTreeSet<String>, String> {
    let tree = output(&mut cargo(&[
        "tree",
        "--locked",
        "-p",
        package,
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]))?;
    Ok(tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}
