//! A chat in a terminal, which `script` plays.

use crate::support::{Ran, Tenon, program};
use std::io::Write;
use std::process::{Command, Stdio};

/// What a terminal shows when this is typed; `None`, said loudly, where there is no `script` that can play one.
fn typed(tenon: &Tenon, lines: &str) -> Option<String> {
    let line = format!("'{}' run talk", program().display());
    let mut command = Command::new("script");
    command
        .args(["-qec", &line, "/dev/null"])
        .current_dir(tenon.home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    for (name, value) in tenon.command(&[]).get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    let Ok(mut child) = command.env("TERM", "dumb").env("SHELL", "/bin/sh").spawn() else {
        eprintln!("SKIPPED: the chat is not tested, because `script` cannot be run");
        return None;
    };
    // A terminal that is fed too early drops what its line discipline has not been set up for.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(lines.as_bytes()).expect("the terminal takes it");
    let ran = Ran::new(child.wait_with_output().expect("script ends"), tenon.home.path());
    assert_eq!(ran.code, 0, "{}", ran.out);
    Some(ran.out.replace('\r', ""))
}

#[test]
fn a_chat_answers_sets_options_and_ends() {
    let tenon = Tenon::new();
    let lines = "hello you\n/set max_tokens 1\nhello you\n/set max_tokens x\n\"\"\"two\nlines\"\"\"\n/show\n/clear\n/nonsense\n/bye\n";
    let Some(shown) = typed(&tenon, lines) else { return };
    assert!(shown.contains("/bye ends the chat"), "{shown}");
    assert!(shown.contains("hello you\nhello you\n") || shown.matches("hello you").count() >= 3, "{shown}");
    assert!(shown.contains("set max_tokens"), "{shown}");
    assert!(shown.contains("the answer was cut"), "{shown}");
    assert!(shown.contains("option \"max_tokens\" must be a whole number"), "{shown}");
    assert!(shown.contains("options  {\"max_tokens\":1}"), "{shown}");
    assert!(shown.contains("turns    3"), "{shown}");
    assert!(shown.contains("forgot what was said"), "{shown}");
    assert!(shown.contains("/nonsense is no command"), "{shown}");
}
