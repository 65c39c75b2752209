//! The commands that the README shows are run as they stand there; those that pull without the network, which they ask for.

use std::process::Command;
use tenon_native_tests::{plugin_folder, root};

#[test]
fn every_command_of_the_readme_works() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let lines: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("target/release/tenon ")).collect();
    assert!(lines.len() >= 5, "{lines:?}");
    for line in lines {
        // The only quotes of the README are those round the last word.
        let (plain, quoted) = line.split_once(" \"").map_or((line, None), |(plain, rest)| (plain, Some(rest)));
        let mut command = Command::new(plugin_folder().join("tenon"));
        command.current_dir(root()).args(plain.split(' ')).args(quoted.map(|text| text.trim_end_matches('"')));
        if line.starts_with("pull ") {
            assert_offline(line, &mut command);
            continue;
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "tenon {line}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!output.stdout.is_empty(), "tenon {line} printed nothing");
    }
}

/// A pull is understood, and ends where it would open the first connection.
#[track_caller]
fn assert_offline(line: &str, command: &mut Command) {
    let store = tempfile::tempdir().unwrap();
    let output = command.env("TENON_OFFLINE", "1").env("TENON_STORE", store.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "tenon {line}: {}", String::from_utf8_lossy(&output.stderr));
}
