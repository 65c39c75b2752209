//! The door for C++: both headers in every standard, with and without exceptions; programs that use all of tenon.hpp,
//! also under sanitizers; and the examples, on the echo backend and on the models that ship.

#![cfg(target_os = "linux")]

mod common;

use common::{Compile, include, prefix, said, scratch, succeed, within};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use tenon_testkit::{Home, installed, skip, wav, workspace};

const STANDARDS: [&str; 2] = ["-std=c++17", "-std=c++20"];

/// Beside what every program must compile with: a header is compiled with the warnings of those who include it.
const STRICTER: [&str; 4] = ["-Wconversion", "-Wsign-conversion", "-Wshadow", "-Wnon-virtual-dtor"];

/// Both ways of having no exceptions.
const NO_EXCEPTIONS: [&str; 2] = ["-DTENON_NO_EXCEPTIONS", "-fno-exceptions"];

/// How the programs of [`runs_well`] are compiled: plain, and with sanitizers.
const BUILT_AS: [(&str, &str); 2] = [("clang++", STANDARDS[1]), ("g++", STANDARDS[0])];

fn compilers(test: &str) -> Vec<&'static str> {
    ["g++", "clang++"].into_iter().filter(|compiler| installed(compiler, test)).collect()
}

/// Compiles a file that includes these headers in this order, and nothing else.
#[track_caller]
fn check_headers(compiler: &str, flags: &[&str], headers: &[&str]) {
    let source = scratch("headers").join(format!("{}.cpp", headers.join("-then-")));
    let text: String = headers.iter().map(|header| format!("#include \"{header}\"\n")).collect();
    fs::write(&source, text).expect("a file");
    let mut command = Command::new(compiler);
    command.args(flags).args(common::STRICT).args(STRICTER).arg("-I").arg(include());
    succeed(command.arg("-fsyntax-only").arg(&source));
}

#[test]
fn the_headers_compile_alone_and_together_in_every_standard_with_and_without_exceptions() {
    for compiler in compilers("the headers in C++") {
        for standard in STANDARDS {
            // The first of two is compiled alone, as far as it goes. That tenon_plugin.hpp is, in both standards, is
            // tested with the sdk, so the other order is of interest once.
            check_headers(compiler, &[standard], &["tenon.hpp", "tenon_plugin.hpp"]);
            if standard == STANDARDS[0] {
                check_headers(compiler, &[standard], &["tenon_plugin.hpp", "tenon.hpp"]);
            }
            // The two other cases are the programs without exceptions.
            if !BUILT_AS.contains(&(compiler, standard)) {
                for without in NO_EXCEPTIONS {
                    check_headers(compiler, &[standard, without], &["tenon.hpp"]);
                }
            }
        }
    }
}

/// A home with what the programs ask for: the models `echo` and `echo-with-file`, and a recording of 1.5 s.
fn home() -> (Home, PathBuf) {
    let home = Home::with_echo();
    let file = home.add_file("model", "weights.bin", &[7; 100_000]);
    home.add_manifest("echo-with-file", "generate", "echo", &file);
    let recording = home.path().join("recording.wav");
    fs::write(&recording, wav(&[0.5; 24_000], 16_000)).expect("a file");
    (home, recording)
}

/// Builds programs of `host/capi/tests/cpp/` from their sources, and runs them.
#[track_caller]
fn run_program(compiler: &str, flags: &[&str], sources: &[&str], variant: &str) {
    let folder = workspace().join("host/capi/tests/cpp");
    let files: Vec<PathBuf> = sources.iter().map(|name| folder.join(format!("{name}.cpp"))).collect();
    let flags = [flags, &STRICTER].concat();
    let name = format!("{}-{variant}", sources[0]);
    let Some(program) = (Compile { compiler, flags: &flags, sources: &files, name: &name }).program() else { return };
    let (home, recording) = home();
    let mut command = within(&home, &program);
    let suppressions = workspace().join("host/capi/tests/c/thread_sanitizer.txt");
    command.env("TSAN_OPTIONS", format!("suppressions={}", suppressions.display()));
    command.env("TENON_TEST_WAV", recording).env("UBSAN_OPTIONS", "print_stacktrace=1");
    assert_eq!(said(&mut command), format!("{}: all is well\n", sources[0]));
}

/// Whether gcc can build with a sanitizer; said loudly where it cannot.
fn sanitizes(sanitizers: &str, test: &str) -> bool {
    if !installed("g++", test) {
        return false;
    }
    let trial = scratch("bin").join(format!("trial-{test}-{sanitizers}"));
    fs::write(trial.with_extension("cpp"), "int main() {}\n").expect("a file");
    let mut command = Command::new("g++");
    command.arg(format!("-fsanitize={sanitizers}")).arg(trial.with_extension("cpp")).arg("-o").arg(&trial);
    let links = command.output().is_ok_and(|output| output.status.success());
    if !links {
        skip(test, &format!("g++ cannot link with -fsanitize={sanitizers}"));
    }
    links
}

/// As it is by clang and in C++20, and by gcc in C++17 with sanitizers, which tell of leaks as well.
#[track_caller]
fn runs_well(flags: &[&str], sources: &[&str], variant: &str) {
    let (compiler, standard) = BUILT_AS[0];
    let plain = [&[standard], flags].concat();
    run_program(compiler, &plain, sources, &format!("plain{variant}"));
    runs_sanitized("address,undefined", flags, sources, variant);
}

#[track_caller]
fn runs_sanitized(sanitizers: &str, flags: &[&str], sources: &[&str], variant: &str) {
    if sanitizes(sanitizers, sources[0]) {
        let sanitize = format!("-fsanitize={sanitizers}");
        let (compiler, standard) = BUILT_AS[1];
        let own = [standard, &sanitize, "-fno-sanitize-recover=all"];
        run_program(compiler, &[&own, flags].concat(), sources, &format!("{sanitizers}{variant}"));
    }
}

#[test]
fn objects_give_what_they_have_and_fail_as_they_say() {
    runs_well(&[], &["objects"], "");
}

#[test]
fn streams_are_read_pushed_cancelled_and_left_early() {
    runs_well(&[], &["streams"], "");
}

#[test]
fn callbacks_may_throw_and_live_as_long_as_they_are_needed() {
    runs_well(&[], &["callbacks"], "");
}

#[test]
fn threads_share_nothing_of_the_header_without_order() {
    for program in ["streams", "callbacks"] {
        runs_sanitized("thread", &[], &[program], "");
    }
}

#[test]
fn without_exceptions_every_error_is_returned() {
    for (index, without) in NO_EXCEPTIONS.iter().enumerate() {
        runs_well(&[without], &["returning"], &format!("-{index}"));
    }
}

#[test]
fn a_program_links_its_own_backend_and_files_of_both_kinds() {
    runs_well(&[], &["linked", "backend"], "");
}

/// The folder of the built examples; `None`, said loudly, where a tool is missing. Built once, with each compiler.
fn examples() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let test = "the examples in C++";
            if !(installed("make", test) && installed("pkg-config", test)) {
                return None;
            }
            compilers(test).into_iter().fold(None, |_, compiler| Some(build(compiler)))
        })
        .as_deref()
}

/// Builds the examples as a user does, by their Makefile and pkg-config.
fn build(compiler: &str) -> PathBuf {
    let (prefix, out) = (prefix(), scratch("examples-cpp").join(compiler));
    let mut command = Command::new("make");
    command.arg("--directory").arg(workspace().join("examples/cpp")).arg("--always-make");
    command.arg(format!("PREFIX={}", prefix.display())).arg(format!("OUT={}", out.display()));
    let flags = format!("CXXFLAGS=-O1 -Werror {}", STRICTER.join(" "));
    succeed(command.arg(format!("CXX={compiler}")).arg(flags));
    out
}

/// A home with the echo model and a recording of so many seconds, with one peak in each.
fn home_with_sound(seconds: usize) -> (Home, PathBuf) {
    let home = Home::with_echo();
    let samples: Vec<f32> = (0..seconds * 16_000).map(|at| if at % 16_000 == 0 { 0.9 } else { 0.0 }).collect();
    let path = home.path().join("sound.wav");
    fs::write(&path, wav(&samples, 16_000)).expect("a file");
    (home, path)
}

/// What a command prints when it is told these lines.
#[track_caller]
fn answers(command: &mut Command, lines: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    child.stdin.take().expect("its input").write_all(lines.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[track_caller]
fn assert_ends_with(code: i32, command: &mut Command) {
    let output = command.output().expect("it runs");
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(!output.stderr.is_empty(), "it says why");
}

#[test]
fn transcribe_prints_segments_with_times() {
    let (Some(examples), (home, sound)) = (examples(), home_with_sound(2)) else { return };
    let program = examples.join("transcribe");
    let said = said(within(&home, &program).arg("echo").arg(&sound).arg(&sound));
    let once = "[0.00 - 1.00] second 1 peak 90\n[1.00 - 2.00] second 2 peak 90\n";
    assert_eq!(said, once.repeat(2));
    assert_ends_with(1, within(&home, &program).args(["missing", "x.wav"]));
    assert_ends_with(2, within(&home, &program).arg("echo"));
}

#[test]
fn chat_repeats_each_line_until_the_end_of_the_input() {
    let (Some(examples), home) = (examples(), Home::with_echo()) else { return };
    let program = examples.join("chat");
    let said = answers(within(&home, &program).args(["echo", "Be brief."]), "hello there\n\nand now?\n");
    assert_eq!(said, "hello there\nand now?\n");
    assert_ends_with(2, &mut within(&home, &program));
}

#[test]
fn stream_prints_segments_and_progress() {
    let (Some(examples), (home, sound)) = (examples(), home_with_sound(2)) else { return };
    let output = succeed(within(&home, &examples.join("stream")).arg("echo").arg(sound));
    let expected = "language en\n[0.00 - 1.00] second 1 peak 90\n[1.00 - 2.00] second 2 peak 90\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    assert!(String::from_utf8_lossy(&output.stderr).contains("2.0 s of audio"), "{output:?}");
    assert_ends_with(1, within(&home, &examples.join("stream")).args(["echo", "missing.wav"]));
}

#[test]
fn captioner_prints_lines_and_writes_subtitles() {
    let (Some(examples), (home, sound)) = (examples(), home_with_sound(2)) else { return };
    let (program, subtitles) = (examples.join("captioner"), home.path().join("captions.srt"));
    let mut command = within(&home, &program);
    let said = said(command.arg("echo").arg(&sound).args(["--speed", "100", "--srt"]).arg(&subtitles));
    assert_eq!(said, "00:00:00.00 second 1 peak 90\n00:00:01.00 second 2 peak 90\n");
    let expected = "1\n00:00:00,000 --> 00:00:01,000\nsecond 1 peak 90\n\n\
                    2\n00:00:01,000 --> 00:00:02,000\nsecond 2 peak 90\n\n";
    assert_eq!(fs::read_to_string(&subtitles).expect("subtitles"), expected);
    assert_ends_with(2, within(&home, &program).arg("echo").arg(&sound).args(["--sped", "2"]));
    assert_ends_with(2, within(&home, &program).arg("echo").arg(&sound).arg("--speed"));
    assert_ends_with(1, within(&home, &program).arg("echo").arg(&program));
}

#[test]
fn captioner_ends_at_an_interrupt_and_keeps_its_subtitles() {
    let (Some(examples), (home, sound)) = (examples(), home_with_sound(600)) else { return };
    let subtitles = home.path().join("captions.srt");
    let mut command = within(&home, &examples.join("captioner"));
    command.arg("echo").arg(sound).args(["--speed", "20", "--srt"]).arg(&subtitles).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let mut output = child.stdout.take().expect("its output");
    output.read_exact(&mut [0; 30]).expect("a caption");
    succeed(Command::new("kill").arg("-INT").arg(child.id().to_string()));
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert!(fs::read_to_string(&subtitles).expect("subtitles").starts_with("1\n00:00:00,000 --> 00:00:01,000\n"));
}

#[test]
fn captioner_updates_one_line_of_a_terminal() {
    let (Some(examples), (home, sound)) = (examples(), home_with_sound(2)) else { return };
    if !installed("script", "the captioner on a terminal") {
        return;
    }
    // `script` gives it a terminal, of no known size.
    let line = format!("{} echo {} --speed 10", examples.join("captioner").display(), sound.display());
    let mut command = within(&home, Path::new("script"));
    let said = said(command.args(["--quiet", "--return", "--command", &line, "/dev/null"]));
    let drawn: Vec<&str> = said.trim_end().split("\r\u{1b}[2K").collect();
    assert!(drawn.len() > 2 && !drawn[1..].iter().any(|line| line.contains('\n')), "{said:?}");
    assert!(drawn.iter().any(|line| line.ends_with("  second 1 peak 90")), "{said:?}");
    assert!(drawn.last().is_some_and(|line| line.ends_with("  second 2 peak 90")), "{said:?}");
}

/// A command over the checkout's models, with the native plugins. `None`, said loudly, where they are not built.
fn on_shipped_models(home: &Home, program: &Path, test: &str) -> Option<Command> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let plugins = target.join("release");
    if ["whisper", "llama"].iter().any(|id| !plugins.join(format!("{id}.plugin.toml")).exists()) {
        skip(test, "the native plugins are not built and sealed: cargo xtask build does it");
        return None;
    }
    let mut command = within(home, program);
    command.env("TENON_PLUGIN_PATH", plugins);
    command.env("TENON_MANIFESTS", workspace().join("manifests")).env("TENON_MODELS", workspace().join("models"));
    Some(command)
}

fn recording(name: &str) -> PathBuf {
    workspace().join("models/recordings").join(name)
}

#[test]
fn the_examples_answer_on_the_models_that_ship() {
    let (Some(examples), home) = (examples(), Home::new()) else { return };
    let on = |program: &str| on_shipped_models(&home, &examples.join(program), "the examples in C++");
    let Some(mut transcribe) = on("transcribe") else { return };
    let text = said(transcribe.arg("commands-en").arg(recording("light.wav")));
    assert!(text.ends_with("] turn the basement lamps off\n"), "{text}");
    let Some(mut stream) = on("stream") else { return };
    let text = said(stream.arg("commands-en").arg(recording("music.wav")));
    assert!(text.contains("] listen to christmas music\n"), "{text}");
    let Some(mut chat) = on("chat") else { return };
    let text = answers(chat.arg("intents-en"), "turn the basement lamps off\n");
    assert_eq!(text, "{\"intent\":\"light.off\",\"room\":\"basement\"}\n");
}

#[test]
fn captioner_hears_live_sound_on_the_model_that_ships() {
    let (Some(examples), home) = (examples(), Home::new()) else { return };
    let program = examples.join("captioner");
    let Some(mut captioner) = on_shipped_models(&home, &program, "the captioner") else { return };
    let text = said(captioner.arg("commands-en").arg(recording("three-commands.wav")).args(["--speed", "100"]));
    let captions: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once(' ')?.1)).collect();
    let expected =
        ["add water to my shopping list", "switch on the light in the balcony", "open the basement curtains"];
    assert_eq!(captions, expected);
}

#[test]
fn each_file_of_the_examples_is_short() {
    for folder in ["examples/cpp", "examples/cpp/captioner"] {
        for entry in fs::read_dir(workspace().join(folder)).expect("the examples") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "cpp" || extension == "hpp") {
                let lines = fs::read_to_string(&path).expect("a text").lines().count();
                assert!(lines <= 120, "{} has {lines} lines", path.display());
            }
        }
    }
}
