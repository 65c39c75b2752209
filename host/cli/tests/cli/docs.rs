//! docs/cli.md shows only commands that work.

use crate::support::Tenon;
use tenon_testkit::{echo, workspace};

/// A line of the page that begins with `$`.
struct Shown {
    line: String,
    /// The exit code that it says, 0 when it says none.
    code: i32,
    /// Needs a native plugin: only the command line is looked at.
    native: bool,
}

fn shown(page: &str) -> Vec<Shown> {
    let (mut inside, mut native, mut shown) = (false, false, Vec::new());
    for line in page.lines() {
        if let Some(fence) = line.strip_prefix("```") {
            inside = !inside && fence.starts_with("console");
            native = fence.contains("native");
        } else if let (true, Some(line)) = (inside, line.strip_prefix("$ ")) {
            let (line, code) = line.split_once(" # exit ").unwrap_or((line, "0"));
            shown.push(Shown { line: line.to_owned(), code: code.parse().expect("an exit code"), native });
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

#[cfg(target_os = "linux")]
#[test]
fn every_command_of_the_page_runs_and_ends_as_it_says() {
    let tenon = Tenon::new();
    let presets = "[preset.fast]\nlanguage = \"en\"";
    tenon.home.add_manifest("commands-en", "transcribe", "echo", presets);
    tenon.home.add_manifest("intents-en", "chat", "echo", "");
    for (copy, of) in [("order.wav", "a.wav"), ("second.wav", "b.wav")] {
        std::fs::copy(tenon.home.path().join(of), tenon.home.path().join(copy)).unwrap();
    }
    std::fs::copy(echo().template, tenon.home.path().join("echo.plugin.toml")).unwrap();
    let page = std::fs::read_to_string(workspace().join("docs/cli.md")).unwrap();
    let shown = shown(&page);
    assert!(shown.len() > 40, "{}", shown.len());
    for Shown { line, code, native } in shown {
        let (input, command) = match line.split_once(" | ") {
            Some((echo, command)) => (echo.trim_start_matches("echo ").trim_matches('"').to_owned() + "\n", command),
            None => (String::new(), line.as_str()),
        };
        let words = words(command);
        assert_eq!(words[0], "tenon", "{line}");
        let args: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        let ran = tenon.run_with(&args, input.as_bytes());
        match native {
            true => assert_ne!(ran.code, 2, "{line}: {}", ran.err),
            false => assert_eq!(ran.code, code, "{line}: {}{}", ran.out, ran.err),
        }
    }
}
