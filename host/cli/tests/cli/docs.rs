//! The pages of docs/ about the program show only commands that work.

use crate::support::Tenon;
use tenon_testkit::{Server, echo, workspace};

/// A line of the page that begins with `$`.
struct Shown {
    line: String,
    /// The exit code that it says, 0 when it says none.
    code: i32,
    /// Needs a native plugin: only the command line is looked at.
    native: bool,
    /// Needs the network, which it may not use here.
    network: bool,
}

fn shown(page: &str) -> Vec<Shown> {
    let (mut inside, mut native, mut network, mut shown) = (false, false, false, Vec::new());
    for line in page.lines() {
        if let Some(fence) = line.strip_prefix("```") {
            inside = !inside && fence.starts_with("console");
            (native, network) = (fence.contains("native"), fence.contains("network"));
        } else if let (true, Some(line)) = (inside, line.strip_prefix("$ ")) {
            let (line, code) = line.split_once(" # exit ").unwrap_or((line, "0"));
            shown.push(Shown { line: line.to_owned(), code: code.parse().expect("an exit code"), native, network });
        }
    }
    shown
}

/// Words of a command line; quotes hold spaces.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words
}

/// A home where the models and recordings of the pages are.
fn home() -> Tenon {
    let tenon = Tenon::new();
    let presets = "[preset.fast]\nlanguage = \"en\"";
    tenon.home.add_manifest("commands-en", "transcribe", "echo", presets);
    tenon.home.add_manifest("intents-en", "chat", "echo", "");
    for (copy, of) in [("order.wav", "a.wav"), ("second.wav", "b.wav")] {
        std::fs::copy(tenon.home.path().join(of), tenon.home.path().join(copy)).unwrap();
    }
    std::fs::copy(echo().template, tenon.home.path().join("echo.plugin.toml")).unwrap();
    tenon
}

/// Runs the commands of a page, of which there are so many at least.
#[track_caller]
fn check(tenon: &Tenon, page: &str, least: usize) {
    let text = std::fs::read_to_string(workspace().join(page)).unwrap();
    let shown = shown(&text);
    assert!(shown.len() >= least, "{page}: {}", shown.len());
    for Shown { line, code, native, network } in shown {
        let (input, command) = match line.split_once(" | ") {
            Some((echo, command)) => (echo.trim_start_matches("echo ").trim_matches('"').to_owned() + "\n", command),
            None => (String::new(), line.as_str()),
        };
        let words = words(command);
        assert_eq!(words[0], "tenon", "{line}");
        let args: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        let ran = match network {
            true => tenon.run_env(&args, &[("TENON_OFFLINE", "1")]),
            false => tenon.run_with(&args, input.as_bytes()),
        };
        match native {
            true => assert_ne!(ran.code, 2, "{line}: {}", ran.err),
            false => assert_eq!(ran.code, code, "{line}: {}{}", ran.out, ran.err),
        }
    }
}

#[test]
fn every_command_of_the_page_runs_and_ends_as_it_says() {
    check(&home(), "docs/cli.md", 41);
}

#[test]
fn every_command_of_the_page_about_the_store_runs_and_ends_as_it_says() {
    let tenon = home();
    tenon.write("my-model.gguf", b"GGUF weights of my own");
    tenon.write("weights.gguf", b"GGUF weights that stay where they are");
    check(&tenon, "docs/store.md", 12);
}

#[test]
fn every_command_of_the_pages_about_bundles_and_trust_runs_and_ends_as_it_says() {
    check(&home(), "docs/bundles.md", 8);
    check(&home(), "docs/trust.md", 5);
}

#[test]
fn every_command_of_the_page_about_workers_runs_and_ends_as_it_says() {
    check(&home(), "docs/workers.md", 7);
}

#[test]
fn every_command_of_the_page_about_pulls_runs_and_ends_as_it_says() {
    let (tenon, server) = (home(), Server::new());
    let file = server.file("model", "ggml-base.bin", b"weights");
    tenon.home.add_manifest("whisper-base", "transcribe", "echo", &file);
    // `--all-missing` would ask example.org for it.
    std::fs::remove_file(tenon.home.path().join("manifests/away.toml")).unwrap();
    check(&tenon, "docs/pull.md", 12);
    assert!(server.asked().iter().any(|line| line.contains("ggml-base.bin")));
}
