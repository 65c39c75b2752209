//! What holds for the program as a whole: streams, signals, help, pages, completions.

use crate::support::Tenon;
use std::process::Stdio;

#[test]
fn the_version_names_the_program_and_the_contract() {
    let tenon = Tenon::new();
    let line = tenon.run(&["--version"]).ok();
    assert_eq!(line, tenon.run(&["version"]).ok());
    assert_eq!(line, "tenon 0.1.0 (plugin ABI 1.1)\n");
    assert_eq!(tenon.run(&["version", "--json"]).json()["abi"], "1.1");
}

#[test]
fn no_command_shows_help_on_standard_error_and_unknown_ones_the_nearest() {
    let tenon = Tenon::new();
    let ran = tenon.run(&[]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("Commands:"), "{}", ran.err);
    for command in ["plugin", "manifest", "bundle"] {
        let ran = tenon.run(&[command]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{}", ran.err);
        assert!(!ran.err.starts_with("error: ") && ran.err.contains("Commands:"), "{}", ran.err);
        assert_eq!(tenon.run(&[command, "--json"]).json_error()["kind"], "usage");
    }
    let ran = tenon.run(&["trascribe", "a.wav"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("'transcribe'"), "{}", ran.err);
    let error = tenon.run(&["list", "--nonsense", "--json"]).json_error();
    assert_eq!((error["kind"].as_str(), error["exit_code"].as_u64()), (Some("usage"), Some(2)));
    assert!(!error["message"].as_str().unwrap().contains("Usage:"), "{error}");
}

#[test]
fn every_command_has_help() {
    let tenon = Tenon::new();
    let help = tenon.run(&["--help"]).ok();
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.len() >= 15, "{commands:?}");
    for command in commands {
        assert!(tenon.run(&[command, "--help"]).ok().contains("Usage"), "{command}");
    }
}

#[test]
fn bad_global_flags_are_bad_usage() {
    let tenon = Tenon::new();
    for args in [["list", "--threads=0"], ["list", "--verify=x"], ["list", "--progress=x"], ["list", "--log=a=b=c"]] {
        assert_eq!(tenon.run(&args).code, 2, "{args:?}");
    }
    let ran = tenon.run(&["list", "--log", "warn,nonsense"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("\"nonsense\" is no log level: name error, warn"), "{}", ran.err);
    assert_eq!(tenon.run(&["list", "--log", "warn,tenon=debug,hyper=info"]).code, 0);
}

#[test]
fn folders_that_flags_name_must_be_there() {
    let tenon = Tenon::new();
    for flag in ["--manifests", "--models", "--plugins"] {
        let ran = tenon.run(&["list", flag, "nowhere"]);
        assert_eq!(ran.code, 3, "{flag}: {}", ran.err);
        assert!(ran.err.starts_with(&format!("error: {flag} nowhere: cannot be opened: ")), "{}", ran.err);
    }
    for flag in ["--manifests", "--models", "--store"] {
        let ran = tenon.run(&["gc", flag, "a.wav"]);
        assert_eq!((ran.code, ran.err), (2, format!("error: {flag} a.wav: this is no folder\n")), "{flag}");
    }
    assert_eq!(tenon.run(&["list", "--store", "not-yet"]).code, 0);
    assert_eq!(tenon.run_env(&["list"], &[("TENON_MODELS", "nowhere")]).code, 0);
}

#[test]
fn logs_go_to_standard_error_when_asked_for() {
    let tenon = Tenon::new();
    for (args, variables) in [
        (&["run", "talk", "hi", "--log", "debug"][..], &[][..]),
        (&["-vv", "run", "talk", "hi"], &[]),
        (&["run", "talk", "hi"], &[("TENON_LOG", "tenon=debug")]),
        (&["run", "talk", "hi"], &[("RUST_LOG", "debug")]),
    ] {
        let ran = tenon.run_env(args, variables);
        assert_eq!(ran.out, "hi\n");
        assert!(ran.err.contains("tenon"), "{args:?} {variables:?}: {}", ran.err);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn quiet_leaves_errors_alone_of_the_logs() {
    let tenon = Tenon::new();
    // The ledger cannot be written into a file.
    let file = tenon.home.path().join("a.wav");
    let run = |args: &[&str]| tenon.run_env(args, &[("XDG_STATE_HOME", file.to_str().unwrap())]);
    assert!(run(&["run", "talk", "hi"]).err.contains("cannot write the ledger"));
    for args in [&["run", "talk", "hi", "-q"][..], &["-v", "--quiet", "run", "talk", "hi"]] {
        let ran = run(args);
        assert_eq!((ran.out.as_str(), ran.err.as_str()), ("hi\n", ""), "{args:?}");
    }
    assert!(run(&["run", "talk", "hi", "-q", "--log", "warn"]).err.contains("cannot write the ledger"));
}

#[test]
fn variables_stand_in_for_flags() {
    let tenon = Tenon::new();
    assert!(tenon.run_env(&["version"], &[("TENON_JSON", "1")]).json().is_object());
    assert_eq!(tenon.run_env(&["version"], &[("TENON_JSON", "0")]).ok(), "tenon 0.1.0 (plugin ABI 1.1)\n");
    let ran = tenon.run_env(&["show", "nosuch"], &[("TENON_JSON", "1")]);
    assert_eq!((ran.code, ran.json_error()["exit_code"].as_u64()), (3, Some(3)));
    assert!(tenon.run_env(&["show", "nosuch"], &[("TENON_JSON", "off")]).err.starts_with("error: "));
    assert!(tenon.run(&["run", "nosuch", "--", "--json"]).err.starts_with("error: "));
    let ran = tenon.run_env(&["transcribe", "-m", "speech", "-osrt", "a.wav"], &[("TENON_QUIET", "1")]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(tenon.run_env(&["list"], &[("TENON_VERIFY", "sometimes")]).code, 2);
}

#[test]
fn errors_are_coloured_only_where_colour_is_wanted() {
    let tenon = Tenon::new();
    let ran = tenon.run_env(&["show", "nosuch"], &[("CLICOLOR_FORCE", "1")]);
    assert!(ran.err.starts_with("\u{1b}["), "{:?}", ran.err);
    for variables in [[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], [("TERM", "dumb"), ("LANG", "C")]] {
        assert!(tenon.run_env(&["show", "nosuch"], &variables).err.starts_with("error: "));
    }
}

#[test]
fn completions_exist_for_every_shell() {
    let tenon = Tenon::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish", "nushell"] {
        let script = tenon.run(&["completions", shell]).ok();
        assert!(script.contains("transcribe") && script.contains("output-format"), "{shell}");
    }
    assert_eq!(tenon.run(&["completions", "bash", "--json"]).json()["shell"], "bash");
    assert_eq!(tenon.run(&["completions", "tcsh"]).code, 2);
}

#[cfg(unix)]
#[test]
fn bash_sources_its_completions_and_completes_with_them() {
    let tenon = Tenon::new();
    tenon.write("tenon.bash", tenon.run(&["completions", "bash"]).ok().as_bytes());
    let script = "set -eu; source ./tenon.bash; COMP_WORDS=(tenon trans); COMP_CWORD=1; \
                  _tenon tenon trans tenon; echo \"${COMPREPLY[*]}\"";
    let Ok(output) = std::process::Command::new("bash").args(["-c", script]).current_dir(tenon.home.path()).output()
    else {
        eprintln!("SKIPPED: bash cannot be run");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "transcribe");
}

#[test]
fn manual_pages_are_written_for_every_command_and_render_without_warnings() {
    let tenon = Tenon::new();
    let written = tenon.run(&["man", "pages"]).ok();
    for page in ["tenon.1", "tenon-transcribe.1", "tenon-plugin-check.1", "tenon-manifest.5"] {
        assert!(written.lines().any(|line| line.ends_with(page)), "{page}: {written}");
    }
    assert_eq!(tenon.run(&["man"]).ok(), tenon.read("pages/tenon.1"));
    for line in written.lines() {
        let mut man = std::process::Command::new("man");
        man.args(["--warnings", "-E", "UTF-8", "-l", line]).current_dir(tenon.home.path()).env("MANWIDTH", "100");
        let Ok(output) = man.stdin(Stdio::null()).output() else {
            eprintln!("SKIPPED: man cannot be run");
            return;
        };
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[cfg(unix)]
mod signals {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command};
    use std::time::{Duration, Instant};

    fn signal(child: &Child, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Whether a program does not end by SIGINT any more.
    fn hears_interrupts(child: &Child) -> bool {
        const SIGINT: u64 = 1 << 1;
        let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", child.id())) else {
            // A system without such files.
            std::thread::sleep(Duration::from_secs(1));
            return true;
        };
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let ended = status.contains("State:\tZ");
        ended || caught.is_none_or(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & SIGINT != 0))
    }

    /// A request that would take minutes, once it has begun.
    fn begin(tenon: &Tenon, args: &[&str]) -> Child {
        let child = tenon.command(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.expect("the program runs");
        while !hears_interrupts(&child) {
            std::thread::sleep(Duration::from_millis(5));
        }
        // It asks its model by now, or is about to.
        std::thread::sleep(Duration::from_millis(500));
        child
    }

    #[test]
    fn interrupt_and_termination_cancel_and_set_the_exit_code() {
        let tenon = Tenon::new();
        for (name, code) in [("INT", 130), ("TERM", 143)] {
            let child = begin(&tenon, &["run", "talk", "a b", "--delay-ms", "60000"]);
            let start = Instant::now();
            signal(&child, name);
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(String::from_utf8_lossy(&output.stderr), "error: cancelled\n");
            assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
        }
    }

    #[test]
    fn an_error_in_json_has_the_exit_code_of_the_signal() {
        let tenon = Tenon::new();
        let child = begin(&tenon, &["run", "talk", "a b", "--delay-ms", "60000", "--json"]);
        signal(&child, "TERM");
        let ran = crate::support::Ran::new(child.wait_with_output().unwrap(), tenon.home.path());
        assert_eq!((ran.code, ran.json_error()["exit_code"].as_i64()), (143, Some(143)), "{}", ran.err);
    }

    #[test]
    fn a_second_interrupt_ends_what_does_not_listen() {
        let tenon = Tenon::new();
        let child = begin(&tenon, &["run", "broken-backend", "--fault", "hang", "--seconds", "60", "hi"]);
        signal(&child, "INT");
        std::thread::sleep(Duration::from_millis(300));
        let start = Instant::now();
        signal(&child, "INT");
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    }

    #[test]
    fn a_reader_who_leaves_ends_the_program_without_a_word() {
        let tenon = Tenon::new();
        let mut child = begin(&tenon, &["run", "talk", "a b c d e f g h", "--delay-ms", "300"]);
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.signal(), output.stderr.as_slice()), (Some(13), &b""[..]));
    }
}
