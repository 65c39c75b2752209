//! The examples in C on the models that ship: the same answers through `libtenon` as everywhere else.

#![cfg(target_os = "linux")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;
use tenon_native_tests::{plugin_folder, root};
use tenon_testkit::{installed, libtenon, soname};

/// An example built against the library; `None`, said loudly, without a C compiler.
fn example(name: &str) -> Option<PathBuf> {
    if !installed("cc", &format!("the example {name} in C")) {
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-programs");
    std::fs::create_dir_all(&folder).unwrap();
    let staged = tempfile::tempdir_in(&folder).unwrap();
    let (library, program) = (staged.path().join(soname()), staged.path().join(name));
    std::os::unix::fs::symlink(libtenon(), &library).unwrap();
    let mut command = Command::new("cc");
    command.args(["-std=c99", "-O1", "-I"]).arg(root().join("include"));
    command.arg(root().join(format!("examples/c/{name}.c"))).arg(&library).arg("-lpthread");
    let compiled = command.arg("-Wl,-rpath,$ORIGIN").arg("-o").arg(&program).output().unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    // Each under the name that the next run takes again.
    for file in [&library, &program] {
        std::fs::rename(file, folder.join(file.file_name().unwrap())).unwrap();
    }
    Some(folder.join(name))
}

/// A run over the plugins and models of the checkout.
fn command(program: &Path, state: &TempDir) -> Command {
    let mut command = Command::new(program);
    command.env("TENON_MANIFESTS", root().join("manifests")).env("TENON_PLUGIN_PATH", plugin_folder());
    command.env("TENON_MODELS", root().join("models")).env("XDG_STATE_HOME", state.path()).stdin(Stdio::null());
    command
}

#[track_caller]
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The recordings that ship with what is said in them, the first so many.
fn recordings(count: usize) -> Vec<(PathBuf, String)> {
    let text = std::fs::read_to_string(root().join("models/recordings/recordings.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let all = table["recording"].as_array().unwrap().iter().take(count);
    let recording = |entry: &toml::Value| {
        let path = root().join("models/recordings").join(entry["file"].as_str().unwrap());
        (path, entry["text"].as_str().unwrap().to_owned())
    };
    all.map(recording).collect()
}

#[test]
fn transcribe_hears_what_is_said_in_the_recordings() {
    let Some(program) = example("transcribe") else { return };
    let (state, recordings) = (tempfile::tempdir().unwrap(), recordings(3));
    let paths = recordings.iter().map(|(path, _)| path);
    let said = said(&command(&program, &state).arg("commands-en").args(paths).output().unwrap());
    let heard: Vec<&str> = said.lines().filter_map(|line| Some(line.split_once("] ")?.1)).collect();
    let spoken: Vec<&str> = recordings.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(heard, spoken, "{said}");
}

#[test]
fn live_sound_and_many_threads_hear_the_same() {
    let (Some(live), Some(many)) = (example("live_microphone_file"), example("many_threads")) else { return };
    let state = tempfile::tempdir().unwrap();
    let (path, text) = recordings(1).remove(0);
    let heard = said(&command(&live, &state).env("IN_HASTE", "1").arg("commands-en").arg(&path).output().unwrap());
    assert!(heard.trim_end().ends_with(&text), "{heard}");
    let heard = said(&command(&many, &state).arg("commands-en").arg(&path).arg("3").output().unwrap());
    assert_eq!(heard, format!("3 threads heard: {text}\n"));
}

#[test]
fn event_loop_reads_several_recordings_at_once() {
    let Some(program) = example("event_loop") else { return };
    let (state, recordings) = (tempfile::tempdir().unwrap(), recordings(2));
    let paths = recordings.iter().map(|(path, _)| path);
    let said = said(&command(&program, &state).arg("commands-en").args(paths).output().unwrap());
    for (path, text) in &recordings {
        assert!(said.contains(&format!("{}: {text}\n", path.display())), "{said}");
    }
}

#[test]
fn chat_answers_each_line_of_a_conversation() {
    let Some(program) = example("chat") else { return };
    let state = tempfile::tempdir().unwrap();
    let mut command = command(&program, &state);
    let mut child = command.arg("intents-en").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"turn the basement lamps off\nstop\n").unwrap();
    let said = said(&child.wait_with_output().unwrap());
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert_eq!(lines[0], r#"{"intent":"light.off","room":"basement"}"#);
    assert!(lines[1].starts_with("{\"intent\":"), "{said}");
}
