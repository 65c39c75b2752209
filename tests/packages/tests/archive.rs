//! The archive, unpacked by somebody who has a compiler and no Rust: the program runs, and programs and plugins in C
//! and C++ are built with it by pkg-config and by cmake.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tenon_package_tests::{Place, VERSION, complaint, examples, recording, said, shown, succeed};
use tenon_testkit::installed;

/// An example: its name, what it is called with (`@` before a recording), its input, and what it prints.
type Example = (&'static str, &'static [&'static str], &'static str, &'static str);

const C_EXAMPLES: &[Example] = &[
    ("transcribe", &["commands-en", "@timer.wav"], "", "can you set a five hour timer"),
    ("chat", &["intents-en"], "set a timer for five hours\n", "\"hours\":5"),
    ("stream", &["commands-en", "@timer.wav"], "", "can you set a five hour timer"),
    ("live_microphone_file", &["commands-en", "@timer.wav"], "", "can you set a five hour timer"),
    ("event_loop", &["commands-en", "@timer.wav", "@light.wav"], "", "can you set a five hour timer"),
    ("many_threads", &["commands-en", "@timer.wav", "2"], "", "can you set a five hour timer"),
    ("list_models", &[], "", "commands-en"),
];

const CPP_EXAMPLES: &[Example] = &[
    ("transcribe", &["commands-en", "@timer.wav"], "", "can you set a five hour timer"),
    ("chat", &["intents-en"], "set a timer for five hours\n", "\"hours\":5"),
    ("stream", &["commands-en", "@timer.wav"], "", "can you set a five hour timer"),
    ("captioner", &["commands-en", "@timer.wav", "--speed", "20"], "", "can you set a five hour timer"),
];

const TOOLS: [&str; 4] = ["cc", "c++", "pkg-config", "cmake"];

/// Whether all tools are here; says so loudly for `test` where one is not.
fn has(test: &str, tools: &[&str]) -> bool {
    tools.iter().all(|tool| installed(tool, test))
}

/// Runs built examples on the models that ship.
fn run_examples(place: &Place, package: &Path, programs: &Path, examples: &[Example]) {
    for (name, arguments, input, expected) in examples {
        let mut command = place.command(programs.join(name));
        for argument in *arguments {
            match argument.strip_prefix('@') {
                Some(file) => command.arg(recording(package, file)),
                None => command.arg(argument),
            };
        }
        command.env("IN_HASTE", "1");
        let output = with_input(&mut command, input);
        assert!(output.contains(expected), "{name} printed {output:?}");
    }
}

/// What a command prints that reads this input and ends well.
fn with_input(command: &mut Command, input: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // A program that reads nothing may have ended already.
    let _ = child.stdin.take().expect("its input").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{command:?}: {}\n{}{}", output.status, said(&output), complaint(&output));
    said(&output)
}

/// What the program of the package prints.
fn tenon(place: &Place, package: &Path, arguments: &[&str]) -> String {
    said(&succeed(place.command(package.join("bin/tenon")).args(arguments)))
}

#[test]
fn the_program_runs_wherever_its_folder_is_and_moves_with_it() {
    let place = Place::new();
    let first = place.unpack();
    let second = place.path().join("moved away");
    for step in 0..2 {
        let package = [&first, &second][step];
        let timer = recording(package, "timer.wav");
        let text = tenon(&place, package, &["transcribe", "-m", "commands-en", &timer.to_string_lossy()]);
        assert!(text.contains("can you set a five hour timer"), "{text}");
        let answer = tenon(&place, package, &["run", "intents-en", "set a timer for five minutes"]);
        assert!(answer.contains("\"minutes\":5"), "{answer}");
        let apart = ["run", "intents-en", "set a timer for five minutes", "--isolation", "worker"];
        assert_eq!(tenon(&place, package, &apart), answer, "a worker of the package answers the same");
        if step == 0 {
            fs::rename(&first, &second).unwrap();
        }
    }
    let manual = second.join("share/man/man1/tenon.1");
    assert!(fs::read_to_string(manual).unwrap().contains("tenon"));
}

#[test]
fn the_program_of_the_guide_is_built_by_the_lines_of_the_guide() {
    let test = "the program of docs/embedding.md";
    if !has(test, &["cc", "pkg-config"]) {
        return;
    }
    // The guide's lines hold for folders without spaces, as a shell does.
    let place = Place::plain();
    let package = place.unpack();
    fs::write(place.path().join("app.c"), shown(&package, "c")).unwrap();
    fs::copy(recording(&package, "timer.wav"), place.path().join("timer.wav")).unwrap();
    let lines = shown(&package, "sh");
    assert!(lines.contains("cc app.c $(pkg-config --cflags --libs tenon)"), "{lines}");
    check_answer(&said(&succeed(place.command("sh").args(["-euc", &lines]))));

    let moved = place.path().join("moved");
    fs::rename(&package, &moved).unwrap();
    let mut app = place.command(place.path().join("app"));
    app.arg("timer.wav").env("LD_LIBRARY_PATH", moved.join("lib"));
    check_answer(&said(&succeed(&mut app)));

    // The library finds its worker as it finds its plugins.
    let mut apart = place.command(place.path().join("app"));
    apart.arg("timer.wav").env("LD_LIBRARY_PATH", moved.join("lib")).env("TENON_MANIFESTS", in_workers(&place, &moved));
    check_answer(&said(&succeed(&mut apart)));
    let output = apart.env("TENON_WORKER", "/nowhere/tenon-worker").output().unwrap();
    assert!(!output.status.success() && complaint(&output).contains("/nowhere/tenon-worker"), "{output:?}");
}

/// A folder with the manifests of the package's own models, which ask for workers.
fn in_workers(place: &Place, package: &Path) -> PathBuf {
    let folder = place.path().join("in-workers");
    fs::create_dir(&folder).unwrap();
    for name in ["commands-en", "intents-en"] {
        let text = fs::read_to_string(package.join(format!("share/tenon/manifests/{name}.toml"))).unwrap();
        let backend = text.lines().find(|line| line.starts_with("backend")).unwrap();
        let text = text.replace(backend, &format!("{backend}\nisolation = \"worker\""));
        fs::write(folder.join(format!("{name}.toml")), text).unwrap();
    }
    folder
}

/// Two lines: the transcript, and the answer that was streamed.
fn check_answer(text: &str) {
    let (transcript, answer) = text.split_once('\n').unwrap_or_default();
    assert_eq!(transcript.trim(), "can you set a five hour timer", "{text}");
    assert_eq!(answer.trim(), r#"{"intent":"timer.set","hours":5}"#, "{text}");
}

#[test]
fn the_program_of_the_guide_has_at_most_fifteen_statements() {
    let place = Place::plain();
    let program = shown(&place.unpack(), "c");
    let body = program.split("int main").nth(1).unwrap();
    let statements = body.matches(';').count();
    assert!((1..=15).contains(&statements), "{statements} statements in\n{program}");
}

#[test]
fn pkg_config_serves_shared_and_static_programs_from_a_folder_with_spaces() {
    let test = "pkg-config in a folder with spaces";
    if !has(test, &["cc", "pkg-config", "readelf"]) {
        return;
    }
    let place = Place::new();
    let package = place.unpack();
    fs::write(place.path().join("app.c"), shown(&package, "c")).unwrap();
    let shell = |line: &str| {
        let mut command = place.command("sh");
        succeed(command.env("PKG_CONFIG_PATH", package.join("lib/pkgconfig")).args(["-euc", line]))
    };
    let timer = recording(&package, "timer.wav");

    shell("eval \"cc app.c $(pkg-config --cflags --libs tenon) -o shared\"");
    let mut shared = place.command(place.path().join("shared"));
    check_answer(&said(&succeed(shared.arg(&timer).env("LD_LIBRARY_PATH", package.join("lib")))));

    shell("eval \"cc app.c $(pkg-config --cflags --libs tenon-static) -o static\"");
    let needed = said(&succeed(place.command("readelf").args(["-d", "static"])));
    assert!(needed.contains("libc.so.6") && !needed.contains("libtenon"), "{needed}");
    // No library is loaded around which plugins could be looked for.
    let mut alone = place.command(place.path().join("static"));
    for (name, variable) in
        [("TENON_PLUGIN_PATH", "plugindir"), ("TENON_MANIFESTS", "manifestdir"), ("TENON_MODELS", "modeldir")]
    {
        let folder = said(&shell(&format!("pkg-config --variable={variable} tenon"))).trim().replace("\\ ", " ");
        assert!(Path::new(&folder).is_dir(), "{variable} is {folder:?}");
        alone.env(name, folder);
    }
    let worker = said(&shell("pkg-config --variable=worker tenon")).trim().replace("\\ ", " ");
    alone.env("TENON_WORKER", &worker);
    check_answer(&said(&succeed(alone.arg(&timer))));
    let manifests = in_workers(&place, &package);
    check_answer(&said(&succeed(alone.env("TENON_MANIFESTS", manifests))));
    let version = said(&shell("pkg-config --modversion tenon"));
    assert_eq!(version.trim(), VERSION);
}

#[test]
fn the_makefile_builds_the_examples_in_c_by_pkg_config() {
    let test = "the examples in C by pkg-config";
    if !has(test, &["cc", "make", "pkg-config"]) {
        return;
    }
    let place = Place::plain();
    let package = place.unpack();
    let programs = place.path().join("programs");
    let mut make = place.command("make");
    make.arg("--directory").arg(examples(&package).join("c")).arg(format!("PREFIX={}", package.display()));
    succeed(make.arg(format!("OUT={}", programs.display())).args(["CFLAGS=-Werror", "--jobs=2"]));
    run_examples(&place, &package, &programs, C_EXAMPLES);
}

#[test]
fn find_package_builds_the_examples_in_c() {
    if !has("the examples in C by cmake", &TOOLS) {
        return;
    }
    let place = Place::new();
    let package = place.unpack();
    let programs = place.cmake(&examples(&package).join("c"), &package, &["-DCMAKE_C_FLAGS=-Werror"]);
    run_examples(&place, &package, &programs, C_EXAMPLES);
}

#[test]
fn find_package_builds_the_examples_in_cpp() {
    if !has("the examples in C++ by cmake", &TOOLS) {
        return;
    }
    let place = Place::new();
    let package = place.unpack();
    let programs = place.cmake(&examples(&package).join("cpp"), &package, &["-DCMAKE_CXX_FLAGS=-Werror"]);
    run_examples(&place, &package, &programs, CPP_EXAMPLES);
}

#[test]
fn pkg_config_builds_an_example_in_cpp() {
    let test = "an example in C++ by pkg-config";
    if !has(test, &["c++", "pkg-config"]) {
        return;
    }
    let place = Place::new();
    let package = place.unpack();
    let mut shell = place.command("sh");
    shell.env("PKG_CONFIG_PATH", package.join("lib/pkgconfig")).current_dir(examples(&package).join("cpp"));
    let line = "eval \"c++ -std=c++17 transcribe.cpp $(pkg-config --cflags --libs tenon) -o ../transcribe\"";
    succeed(shell.args(["-euc", line]));
    let mut program = place.command(examples(&package).join("transcribe"));
    program.arg("commands-en").arg(recording(&package, "timer.wav")).env("LD_LIBRARY_PATH", package.join("lib"));
    let text = said(&succeed(&mut program));
    assert!(text.contains("can you set a five hour timer"), "{text}");
}

#[test]
fn tenon_add_plugin_makes_a_plugin_in_c_that_keeps_the_contract_and_runs() {
    check_plugin("c", "world hello");
}

#[test]
fn tenon_add_plugin_makes_a_plugin_in_cpp_that_keeps_the_contract_and_runs() {
    check_plugin("cpp", "11 bytes");
}

/// Builds an example of a plugin, has it checked, and runs it through the program.
fn check_plugin(language: &str, expected: &str) {
    if !has(&format!("a plugin in {language} by cmake"), &TOOLS) {
        return;
    }
    let place = Place::new();
    let package = place.unpack();
    let build = place.cmake(&examples(&package).join(format!("plugin-{language}")), &package, &[]);
    let (id, build_text) = (format!("{language}-example"), build.to_string_lossy().into_owned());
    let library = build.join(format!("{id}.so"));
    check_symbols(&place, &library);
    tenon(&place, &package, &["plugin", "check", &library.to_string_lossy()]);
    let manifest =
        format!("name = \"mine\"\ntask = \"generate\"\nbackend = \"{id}\"\nlicense = \"MIT OR Apache-2.0\"\n");
    fs::write(build.join("mine.toml"), manifest).unwrap();
    let manifest = build.join("mine.toml").to_string_lossy().into_owned();
    tenon(&place, &package, &["manifest", "check", &manifest]);
    fs::create_dir(build.join("manifests")).unwrap();
    fs::rename(build.join("mine.toml"), build.join("manifests/mine.toml")).unwrap();
    let manifests = build.join("manifests").to_string_lossy().into_owned();
    let folders = ["--plugins", &build_text, "--manifests", &manifests];
    let answer = tenon(&place, &package, &[&folders[..], &["run", "mine", "hello world"]].concat());
    assert!(answer.contains(expected), "{answer}");
}

/// One symbol is exported, none is unique in the process, and the library is never unmapped.
fn check_symbols(place: &Place, library: &Path) {
    let symbols = said(&succeed(place.command("nm").args(["-D", "--defined-only"]).arg(library)));
    let names: Vec<&str> = symbols.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(names, ["tenon_plugin_entry_v1"], "{symbols}");
    let about = said(&succeed(place.command("readelf").args(["--wide", "-d"]).arg(library)));
    for flag in ["NODELETE", "NOW", "SYMBOLIC"] {
        assert!(about.contains(flag), "{flag} is not in\n{about}");
    }
}

const PROJECT: &str = "
cmake_minimum_required(VERSION 3.16)
project(both LANGUAGES C)
find_package(Tenon 0.1 REQUIRED COMPONENTS tenon_static plugin)
add_executable(app app.c)
target_link_libraries(app PRIVATE Tenon::tenon_static)
tenon_add_plugin(mine VERSION 3.2.1 SIDECAR c-example.plugin.toml c_example.c)
tenon_install_plugin(mine)
tenon_install_plugin(mine DESTINATION plugins)
";

#[test]
fn a_plugin_is_not_built_where_its_sidecar_would_replace_the_template() {
    if !has("a plugin built among its sources", &TOOLS) {
        return;
    }
    let place = Place::new();
    let package = place.unpack();
    let source = examples(&package).join("plugin-c");
    let mut command = place.command("cmake");
    command.arg("-S").arg(&source).arg("-B").arg(&source);
    let output = command.arg(format!("-DCMAKE_PREFIX_PATH={}", package.display())).output().unwrap();
    let complaint = complaint(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(!output.status.success() && complaint.contains("would replace its template"), "{complaint}");
}

#[test]
fn a_project_links_statically_versions_its_plugin_and_seals_it_again_after_a_change() {
    if !has("a project with a plugin", &TOOLS) {
        return;
    }
    let place = Place::new();
    let package = place.unpack();
    let source = place.path().join("both");
    fs::create_dir(&source).unwrap();
    for file in ["c_example.c", "c-example.plugin.toml"] {
        fs::copy(examples(&package).join("plugin-c").join(file), source.join(file)).unwrap();
    }
    fs::write(source.join("app.c"), shown(&package, "c")).unwrap();
    fs::write(source.join("CMakeLists.txt"), PROJECT).unwrap();
    let installed = place.path().join("installed");
    let prefix = format!("-DCMAKE_INSTALL_PREFIX={}", installed.display());
    let build = place.cmake(&source, &package, &[&prefix]);
    let needed = said(&succeed(place.command("readelf").arg("-d").arg(build.join("app"))));
    assert!(!needed.contains("libtenon"), "{needed}");
    let sidecar = build.join("c-example.plugin.toml");
    assert!(fs::read_to_string(&sidecar).unwrap().contains("version = \"3.2.1\""));

    let template = source.join("c-example.plugin.toml");
    let text = fs::read_to_string(&template).unwrap().replace("A backend in plain C", "A backend that changed");
    fs::write(&template, text).unwrap();
    place.rebuild(&build);
    let sealed = fs::read_to_string(&sidecar).unwrap();
    assert!(sealed.contains("A backend that changed") && sealed.contains("sha256"), "{sealed}");

    succeed(place.command("cmake").arg("--install").arg(&build));
    // Installing must not have changed what was sealed.
    for folder in ["plugins", "lib/tenon/plugins"] {
        let plugins = installed.join(folder).to_string_lossy().into_owned();
        let list = tenon(&place, &package, &["--json", "--plugins", &plugins, "plugin", "list"]);
        let mine = list.split('{').find(|entry| entry.contains("3.2.1")).unwrap_or_default();
        assert!(mine.contains("\"problem\": null"), "{list}");
    }
}

#[test]
fn find_package_refuses_what_it_is_not() {
    if !has("versions of the package", &["cmake"]) {
        return;
    }
    let place = Place::new();
    let package = place.unpack();
    let source = place.path().join("asks");
    fs::create_dir(&source).unwrap();
    for (asked, fits) in [
        ("0.2", false),
        ("0.1.99", false),
        ("1.0", false),
        ("0.1...<0.2", true),
        ("0.1 EXACT", true),
        ("0.1.0 EXACT", true),
        ("0.1 COMPONENTS python", false),
    ] {
        let text = format!(
            "cmake_minimum_required(VERSION 3.19)\nproject(asks LANGUAGES NONE)\nfind_package(Tenon {asked})\n\
             message(STATUS \"found: ${{Tenon_FOUND}} ${{Tenon_NOT_FOUND_MESSAGE}}\")\n"
        );
        fs::write(source.join("CMakeLists.txt"), text).unwrap();
        let mut command = place.command("cmake");
        command.arg("-S").arg(&source).arg("-B").arg(place.path().join("asked"));
        let output = succeed(command.arg(format!("-DCMAKE_PREFIX_PATH={}", package.display())));
        let found = said(&output).contains("found: 1") || said(&output).contains("found: TRUE");
        assert_eq!(found, fits, "{asked}: {}{}", said(&output), complaint(&output));
    }
}

#[test]
fn the_library_is_small_and_needs_no_runtime_of_cpp() {
    let place = Place::plain();
    let package = place.unpack();
    let library = package.join("lib").join(format!("libtenon.so.{VERSION}"));
    let size = fs::metadata(&library).unwrap().len();
    assert!(size <= 8 << 20, "{size} bytes");
    if !has("what the library needs", &["readelf"]) {
        return;
    }
    let about = said(&succeed(place.command("readelf").args(["--wide", "-d"]).arg(&library)));
    assert!(about.contains("soname: [libtenon.so.0.1]"), "{about}");
    assert!(!about.contains("stdc++") && !about.contains("libc++"), "{about}");
    for link in ["libtenon.so", "libtenon.so.0.1"] {
        assert_eq!(fs::canonicalize(package.join("lib").join(link)).unwrap(), fs::canonicalize(&library).unwrap());
    }
}

#[test]
fn every_part_is_in_the_archive() {
    let place = Place::plain();
    let package = place.unpack();
    let parts = [
        "bin/tenon",
        "libexec/tenon/tenon-worker",
        "include/tenon.h",
        "include/tenon_base.h",
        "include/tenon_plugin.h",
        "include/tenon.hpp",
        "include/tenon_plugin.hpp",
        "lib/libtenon.a",
        "lib/pkgconfig/tenon.pc",
        "lib/cmake/Tenon/TenonConfig.cmake",
        "lib/tenon/plugins/whisper.plugin.toml",
        "lib/tenon/plugins/llama.plugin.toml",
        "lib/tenon/plugins/echo.plugin.toml",
        "share/tenon/manifests/commands-en.toml",
        "share/tenon/models/README.md",
        "share/bash-completion/completions/tenon",
        "share/man/man1/tenon-transcribe.1",
        "share/doc/tenon/examples/c/transcribe.c",
        "share/doc/tenon/examples/cpp/captioner/captioner.cpp",
        "share/doc/tenon/examples/plugin-c/CMakeLists.txt",
        "share/doc/tenon/licenses/LICENSE-MIT",
    ];
    let missing: Vec<&str> = parts.into_iter().filter(|part| !package.join(part).exists()).collect();
    assert!(missing.is_empty(), "not in the archive: {missing:?}");
}

#[test]
fn every_link_of_a_packed_document_leads_somewhere() {
    let place = Place::plain();
    let package = place.unpack();
    let documents = files(&package).into_iter().filter(|file| file.extension().is_some_and(|end| end == "md"));
    let mut links = 0;
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if target.is_empty() || target.contains("://") || target.contains(char::is_whitespace) {
                continue;
            }
            links += 1;
            assert!(document.parent().unwrap().join(target).exists(), "{}: {target}", document.display());
        }
    }
    assert!(links > 50, "{links} links");
}

#[test]
fn the_licences_of_what_is_bundled_are_packed() {
    let place = Place::plain();
    let list = fs::read_to_string(place.unpack().join("share/doc/tenon/licenses/THIRD-PARTY.txt")).unwrap();
    let bundled = ["whisper.cpp with ggml", "llama.cpp with ggml", "symphonia", "unsafe-libopus", "serde_json"];
    for name in bundled.into_iter().chain(["landlock", "seccompiler"]) {
        assert!(list.lines().any(|line| line.starts_with(&format!("{name} "))), "{name} is not listed");
    }
    let components = list.lines().filter(|line| line.starts_with("  texts ")).count();
    let texts = list.lines().filter(|line| line.starts_with("Text ")).count();
    assert!(list.contains(&format!("{components} components, then the {texts} texts")), "{components}, {texts}");
    // Each number that a component names is that of a text.
    let named = list.lines().filter_map(|line| line.strip_prefix("  texts    "));
    for number in named.flat_map(|numbers| numbers.split(", ")) {
        assert!(number.parse::<usize>().is_ok_and(|number| (1..=texts).contains(&number)), "text {number:?}");
    }
}

#[test]
fn no_text_in_the_archive_names_the_folder_that_it_was_built_in() {
    let place = Place::plain();
    let checkout = tenon_testkit::workspace().to_string_lossy().into_owned();
    let texts: Vec<(PathBuf, String)> = files(&place.unpack())
        .into_iter()
        .filter_map(|file| fs::read_to_string(&file).ok().map(|text| (file, text)))
        .collect();
    assert!(texts.len() > 100, "{} texts", texts.len());
    for (file, text) in texts {
        assert!(!text.contains(&checkout), "{} names {checkout}", file.display());
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
