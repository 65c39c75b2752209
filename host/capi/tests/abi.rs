//! The binary interface: what the library exports and needs, how its headers compile, and that what was built with
//! version 0.1 still works.

#![cfg(target_os = "linux")]

mod common;

use common::{Compile, STRICT, include, library_folder, said, scratch, succeed, within};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tenon_testkit::{Home, installed, libtenon, soname, workspace};

const C_STANDARDS: [&str; 4] = ["c99", "c11", "c17", "c2x"];
const CPP_STANDARDS: [&str; 4] = ["c++11", "c++14", "c++17", "c++20"];
const HEADERS: [&str; 3] = ["tenon.h", "tenon_plugin.h", "tenon_base.h"];

fn frozen() -> PathBuf {
    workspace().join("host/capi/frozen/0.1")
}

/// The lines of a tool's output about the library.
fn told(tool: &str, arguments: &[&str]) -> Option<Vec<String>> {
    installed(tool, "what the library exports and needs").then(|| {
        let text = said(Command::new(tool).args(arguments).arg(libtenon()));
        text.lines().map(str::to_owned).collect()
    })
}

#[test]
fn the_library_exports_the_functions_of_the_header_and_nothing_else() {
    let Some(lines) = told("nm", &["-D", "--defined-only"]) else { return };
    let mut names: Vec<&str> = lines.iter().filter_map(|line| line.split_whitespace().last()).collect();
    names.sort_unstable();
    let list = fs::read_to_string(workspace().join("host/capi/exports.txt")).expect("the list of exports");
    assert_eq!(names, list.lines().collect::<Vec<_>>());
    let header = fs::read_to_string(include().join("tenon.h")).expect("the header");
    let declared = declarations(&header).into_iter().filter(|text| text.starts_with("TENON_API")).count();
    assert_eq!(names.len(), declared, "every export is declared, and every declared function is exported");
}

#[test]
fn the_library_needs_the_c_library_alone_and_has_a_name_for_the_linker() {
    let Some(lines) = told("readelf", &["--dynamic", "--wide"]) else { return };
    let named = |tag: &str| -> Vec<&str> {
        let lines = lines.iter().filter(|line| line.contains(tag));
        lines.filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0)).collect()
    };
    for needed in named("(NEEDED)") {
        // The last two by every program in Rust: unwinding, and the dynamic linker itself.
        let allowed = ["libc.so", "libm.so", "libgcc_s.so", "ld-linux"];
        assert!(allowed.iter().any(|name| needed.starts_with(name)), "the library needs {needed}");
    }
    assert_eq!(named("(SONAME)"), [soname()]);
    assert!(named("(RPATH)").is_empty() && named("(RUNPATH)").is_empty());
    assert!(!lines.iter().any(|line| line.contains("(TEXTREL)")), "its code is the same wherever it is loaded");
    let flags: String = lines.iter().filter(|line| line.contains("(FLAGS")).cloned().collect();
    assert!(flags.contains("NODELETE"), "it is never unmapped: {flags}");
}

/// Compiles a source without linking it.
#[track_caller]
fn check_syntax(compiler: &str, language: &str, standard: &str, folder: &Path, source: &Path) {
    let mut command = Command::new(compiler);
    command.args(STRICT).arg(format!("-std={standard}")).arg("-I").arg(folder);
    succeed(command.args(["-fsyntax-only", "-x", language]).arg(source));
}

/// Compiles a source in every standard by every compiler that is there; C from `first` on.
#[track_caller]
fn check_everywhere(folder: &Path, source: &Path, first: usize) {
    let test = "headers in every standard";
    for compiler in ["gcc", "clang"].into_iter().filter(|compiler| installed(compiler, test)) {
        C_STANDARDS[first..].iter().for_each(|standard| check_syntax(compiler, "c", standard, folder, source));
    }
    for compiler in ["g++", "clang++"].into_iter().filter(|compiler| installed(compiler, test)) {
        CPP_STANDARDS.iter().for_each(|standard| check_syntax(compiler, "c++", standard, folder, source));
    }
}

#[test]
fn the_headers_compile_alone_and_together_in_every_standard() {
    let folder = scratch("headers");
    let write = |name: &str, headers: &[&str]| {
        let source = folder.join(name);
        let lines: String = headers.iter().map(|header| format!("#include \"{header}\"\n")).collect();
        fs::write(&source, lines).expect("a file");
        source
    };
    for header in HEADERS {
        check_everywhere(&include(), &write(&format!("{header}.c"), &[header, header]), 0);
    }
    check_everywhere(&include(), &write("all.c", &HEADERS), 0);
    let [first, second, third] = HEADERS;
    check_everywhere(&include(), &write("turned.c", &[third, second, first]), 0);
}

#[test]
fn structs_constants_and_functions_are_as_they_were() {
    let layout = frozen().join("layout.c");
    // Assertions came with C11.
    check_everywhere(&include(), &layout, 1);
    check_everywhere(&frozen().join("include"), &layout, 1);
}

#[test]
fn the_frozen_layout_holds_every_struct_constant_and_function() {
    let layout = fs::read_to_string(frozen().join("layout.c")).expect("the layout");
    let header = fs::read_to_string(frozen().join("include/tenon.h")).expect("the header");
    let base = fs::read_to_string(frozen().join("include/tenon_base.h")).expect("the header");
    let mut fields = 0;
    for declaration in declarations(&header) {
        if let Some((_, body)) = declaration.split_once('{')
            && declaration.starts_with("typedef struct")
        {
            let (body, name) = body.split_once('}').expect("a struct ends");
            let name = name.trim_matches([' ', ';']);
            assert!(layout.contains(&format!("HOLDS(sizeof({name}) >= ")), "{name}");
            fields += body.matches(';').count();
        }
        if let Some(function) = declaration.strip_prefix("TENON_API ") {
            let name = function.split('(').next().and_then(|head| head.split([' ', '*']).next_back()).expect("a name");
            assert!(layout.contains(&format!("{name}(")), "{name} is not declared again");
        }
    }
    assert_eq!(layout.matches("HOLDS(offsetof(").count(), fields);
    let constants = |text: &str| -> Vec<String> {
        let words = text.lines().filter_map(|line| line.strip_prefix("#define "));
        let pairs = words.filter_map(|line| line.split_once(' ')).map(|(name, value)| (name.to_owned(), value.trim()));
        let numbers = pairs.filter(|(name, value)| !name.contains("VERSION") && value.parse::<i64>().is_ok());
        numbers.map(|(name, _)| name).collect()
    };
    let all = [constants(&base), constants(&header)].concat();
    assert!(all.len() > 40, "{all:?}");
    for name in all {
        assert!(layout.contains(&format!("HOLDS({name} == ")), "{name} is not in the layout");
    }
}

/// The declarations of a header, without comments, each in one line.
fn declarations(header: &str) -> Vec<String> {
    let mut text = header.to_owned();
    while let Some(start) = text.find("/*") {
        let end = text[start..].find("*/").map_or(text.len(), |end| start + end + 2);
        text.replace_range(start..end, " ");
    }
    let defines: Vec<String> = text.lines().filter(|line| line.starts_with("#define")).map(str::to_owned).collect();
    // What is for C++ alone are braces round all of it.
    let mut plain = true;
    let code = text.lines().filter(|line| {
        plain = if plain { *line != "#ifdef __cplusplus" } else { *line == "#endif" };
        plain && !line.starts_with('#')
    });
    let code: String = code.map(|line| format!("{line}\n")).collect();
    let mut all = defines;
    let (mut declaration, mut depth) = (String::new(), 0);
    for character in code.chars() {
        declaration.push(character);
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        // A function with a body ends with its brace, everything else with a semicolon.
        let body_ends = character == '}' && depth == 0 && declaration.contains("static inline");
        if depth == 0 && (character == ';' || body_ends) {
            all.push(declaration.split_whitespace().collect::<Vec<_>>().join(" "));
            declaration.clear();
        }
    }
    all
}

#[test]
fn the_headers_hold_every_declaration_of_version_0_1() {
    let read = |folder: &Path, name: &str| fs::read_to_string(folder.join(name)).expect("a header");
    for name in HEADERS {
        let today = declarations(&read(&include(), name));
        let frozen = declarations(&read(&frozen().join("include"), name));
        // Structs may grow, which the layout and abidiff watch, and the version goes on.
        let grows = |text: &str| text.starts_with("typedef struct") && text.contains('{');
        let stays = |text: &&String| !grows(text) && !text.contains("VERSION");
        for declaration in frozen.iter().filter(stays) {
            assert!(today.contains(declaration), "{name} of version 0.1 has: {declaration}");
        }
    }
}

/// A library of the functions that a header declares, with empty bodies and all types in its debug information.
fn stub(headers: &Path, name: &str) -> PathBuf {
    let header = fs::read_to_string(headers.join("tenon.h")).expect("the header");
    let functions = declarations(&header).into_iter().filter_map(|text| {
        let function = text.strip_prefix("TENON_API ")?.strip_suffix(';')?.to_owned();
        Some(format!("{function} {{ for (;;) {{}} }}\n"))
    });
    let source = format!("#include \"tenon.h\"\n{}", functions.collect::<String>());
    let (file, library) = (scratch("stub").join(format!("{name}.c")), scratch("stub").join(format!("{name}.so")));
    fs::write(&file, source).expect("a file");
    let mut command = Command::new("gcc");
    command.args(["-std=c11", "-g", "-shared", "-fPIC", "-I"]).arg(headers).arg(&file).arg("-o").arg(&library);
    succeed(&mut command);
    library
}

#[test]
fn abidiff_finds_no_incompatible_change_since_version_0_1() {
    let test = "abidiff with version 0.1";
    if !(installed("abidiff", test) && installed("gcc", test)) {
        return;
    }
    let (before, now) = (stub(&frozen().join("include"), "frozen"), stub(&include(), "now"));
    let mut command = Command::new("abidiff");
    command.arg("--no-added-syms").arg("--suppressions").arg(frozen().join("grown.abignore"));
    // It ends well only when nothing differs but what was added.
    succeed(command.arg(before).arg(now));
}

/// The program of version 0.1, built with the headers of version 0.1.
fn old_program() -> Option<PathBuf> {
    let headers = frozen().join("include").display().to_string();
    Compile {
        compiler: "gcc",
        flags: &["-std=c99", "-D_POSIX_C_SOURCE=200809L", "-I", &headers],
        sources: &[frozen().join("host.c")],
        name: "frozen-host-0.1",
    }
    .program()
}

#[test]
fn a_program_of_version_0_1_runs_with_the_library_of_today() {
    let Some(program) = old_program() else { return };
    let home = Home::with_echo();
    let expected = "2 segments, the second second 2 peak 0 from 1000000 to 1500000, 4 words, a word 2, 1500000 us, \
                    language en\n1000000: second 1 peak 50 (1.00)\n1500000: second 2 peak 0 (1.00)\nTENON_E_END\n";
    assert_eq!(said(within(&home, &program).args(["sound", "echo"])), expected);
}

#[test]
fn plugins_of_contract_1_0_run_in_a_program_of_version_0_1() {
    let Some(program) = old_program() else { return };
    let sources = workspace().join("host/abi/frozen/1.0");
    let compiled = [("gcc", "c99", "plugin.c", "frozen-c"), ("g++", "c++17", "plugin.cpp", "frozen-cpp")];
    let mut plugins = Vec::new();
    for (compiler, standard, source, id) in compiled {
        if !installed(compiler, "plugins of contract 1.0") {
            continue;
        }
        let library = scratch("plugins").join(format!("{id}.so"));
        let mut command = Command::new(compiler);
        command.args([&format!("-std={standard}"), "-shared", "-fPIC", "-fvisibility=hidden", "-I"]);
        command.arg(sources.join("include")).arg(sources.join(source)).arg("-o").arg(&library);
        succeed(&mut command);
        plugins.push((library, id));
    }
    plugins.push((rust_plugin(&sources.join("rust")), "frozen-rust"));
    for (library, id) in plugins {
        let digest = tenon_digest(&library);
        let home = Home::new();
        let answer = said(within(&home, &program).arg("words").arg(&library).args([&digest, id]));
        let expected = match id {
            "frozen-c" => "Hello! two one\n",
            "frozen-cpp" => "7 bytes\n",
            _ => "one twoone two\n",
        };
        assert_eq!(answer, expected, "{id}");
    }
}

fn tenon_digest(library: &Path) -> String {
    let said = said(Command::new("sha256sum").arg(library));
    said.split_whitespace().next().unwrap_or_default().to_owned()
}

/// The plugin in Rust, which is no member of this workspace.
fn rust_plugin(folder: &Path) -> PathBuf {
    let target = scratch("frozen-rust");
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--offline", "--target-dir"]).arg(&target).current_dir(folder);
    succeed(command.env("CARGO_PROFILE_DEV_DEBUG", "0").env_remove("RUSTFLAGS"));
    target.join("debug/libfrozen_rust.so")
}

#[test]
fn the_library_that_programs_are_linked_with_is_found_by_its_soname() {
    let Some(program) = old_program() else { return };
    if !installed("readelf", "what a program needs") {
        return;
    }
    let needed = said(Command::new("readelf").arg("--dynamic").arg(&program));
    assert!(needed.contains(&format!("[{}]", soname())), "{needed}");
    assert!(library_folder().join(soname()).exists());
}
