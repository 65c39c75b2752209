//! What somebody at a terminal sees of `tenon pull`, read from the screen of tmux.

use crate::tenon::{add, program, variables};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tenon_pull_tests::{Answer, Gate, Home, Server, manifest, noise};
use tenon_testkit::skip;

/// A test that waits for something on the screen gives up after this long: it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal that a program runs in.
struct Terminal {
    folder: tempfile::TempDir,
}

impl Terminal {
    /// Runs a shell line in a terminal of so many columns; `None`, loudly, where there is no tmux.
    fn run(test: &str, line: &str, columns: u32) -> Option<Self> {
        if !Command::new("tmux").arg("-V").output().is_ok_and(|output| output.status.success()) {
            skip(test, "tmux is not installed");
            return None;
        }
        let terminal = Self { folder: tempfile::tempdir().expect("a folder") };
        let columns = columns.to_string();
        let output = terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", "20", line]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        // A server of its own, in UTF-8 whatever the locale.
        command.env_remove("TMUX").args(["-u", "-S"]).arg(self.folder.path().join("socket")).args(arguments);
        command.output().expect("tmux runs")
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.tmux(&["capture-pane", "-p", "-t", "0"]).stdout).into_owned()
    }

    /// Waits until a line of the screen satisfies this. Gives the line.
    fn line(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if let Some(line) = screen.lines().find(|line| is_it(line)) {
                return line.trim_end().to_owned();
            }
            assert!(Instant::now() < until, "{what} never came:\n{screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn resize(&self, columns: u32) {
        let output = self.tmux(&["resize-window", "-t", "0", "-x", &columns.to_string(), "-y", "20"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

/// A line that runs the program in a home, says how it ended, and stays on the screen.
fn shell_line(home: &Home, arguments: &str, more: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let variables: Vec<String> =
        variables(home).iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
    let program = quoted(&Path::new(program()).display().to_string());
    let variables = variables.join(" ");
    format!("env -i {variables} TERM=screen {more} {program} {arguments}; echo ended with $?; cat")
}

/// Columns that a line takes. Every character of a bar takes one.
fn width(line: &str) -> usize {
    line.chars().count()
}

#[test]
fn a_bar_grows_survives_another_width_and_gives_way_to_success() {
    let test = "a_bar_grows_survives_another_width_and_gives_way_to_success";
    let (server, home, bytes) = (Server::start(), Home::new(), noise(91, 1_000_000));
    let url = server.blob("/blob.bin", &bytes);
    let (first, second) = (Gate::shut(), Gate::shut());
    server.script("/blob.bin", [Answer::good().gate(450_000, &first).gate(800_000, &second)]);
    add(&home, &manifest("far", &[("blob.bin", &[url], &bytes)]));
    let Some(terminal) = Terminal::run(test, &shell_line(&home, "pull far", ""), 100) else { return };
    let label = format!("pulling {}…", &tenon_store::Digest::of(&bytes).to_string()[..12]);
    let line = terminal.line("45 %", |line| line.starts_with(&format!("{label} 45% ▕")));
    assert!(line.contains("450 KB/1.0 MB") && line.contains("/s") && line.contains("▏"), "{line}");
    assert!(line.contains('█') && width(&line) <= 100, "{line}");
    terminal.resize(60);
    first.open();
    let line = terminal.line("80 %", |line| line.starts_with(&format!("{label} 80% ▕")));
    assert!(width(&line) <= 60, "{line}");
    terminal.resize(120);
    second.open();
    terminal.line("the end", |line| line == "ended with 0");
    let screen = terminal.screen();
    let at = |words: &str| screen.find(words).unwrap_or_else(|| panic!("{words:?} is missing:\n{screen}"));
    assert!(
        at("verifying sha256 digest") < at("writing manifest") && at("writing manifest") < at("success"),
        "{screen}"
    );
    assert!(screen.contains(&format!("{label} 100%")), "{screen}");
    assert!(home.holds(&bytes));
}

#[test]
fn ctrl_c_at_a_terminal_leaves_a_clean_line_and_the_code_of_an_interrupt() {
    let test = "ctrl_c_at_a_terminal_leaves_a_clean_line_and_the_code_of_an_interrupt";
    let (server, home, bytes) = (Server::start(), Home::new(), noise(92, 100_000));
    let url = server.blob("/blob.bin", &bytes);
    server.script("/blob.bin", [Answer::good().stall(50_000)]);
    add(&home, &manifest("far", &[("blob.bin", &[url], &bytes)]));
    let Some(terminal) = Terminal::run(test, &shell_line(&home, "pull far", ""), 90) else { return };
    terminal.line("half of it", |line| line.contains(" 50% ▕"));
    terminal.tmux(&["send-keys", "-t", "0", "C-c"]);
    terminal.line("the end", |line| line == "ended with 130");
    let screen = terminal.screen();
    assert!(!screen.contains("panicked"), "{screen}");
    home.assert_sound("Ctrl-C");
}

#[test]
fn a_dumb_terminal_gets_lines_and_no_control_characters_of_a_bar() {
    let test = "a_dumb_terminal_gets_lines_and_no_control_characters_of_a_bar";
    let (server, home, bytes) = (Server::start(), Home::new(), noise(93, 100_000));
    let url = server.blob("/blob.bin", &bytes);
    add(&home, &manifest("far", &[("blob.bin", &[url], &bytes)]));
    let Some(terminal) = Terminal::run(test, &shell_line(&home, "pull far", "TERM=dumb"), 90) else { return };
    terminal.line("the end", |line| line == "ended with 0");
    let screen = terminal.screen();
    assert!(!screen.contains(['▕', '█']) && screen.contains("success"), "{screen}");
}
