//! Signed manifests against real signatures of minisign, in `tests/signed/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use tenon_store::{Catalog, Entry, ErrorKind, Require, Trust};

const MANIFEST: &str = include_str!("signed/parrot.toml");
const SIGNATURE: &str = include_str!("signed/parrot.toml.minisig");
const BY_ANOTHER: &str = include_str!("signed/parrot.other-key.minisig");
const OLD_FORMAT: &str = include_str!("signed/parrot.legacy.minisig");
const TRUSTED: &str = include_str!("signed/trusted.pub");
const KEY_ID: &str = "8D6F47A519751C03";

/// The second line of a public key file.
fn key(file: &str) -> &str {
    file.lines().nth(1).unwrap()
}

fn trust(require: Require) -> Trust {
    Trust::new([key(TRUSTED)], require).unwrap()
}

/// A folder with the manifest and, beside it, a signature.
fn folder(manifest: &str, signature: Option<&str>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("parrot.toml"), manifest).unwrap();
    if let Some(signature) = signature {
        fs::write(folder.path().join("parrot.toml.minisig"), signature).unwrap();
    }
    folder
}

fn read(folder: &TempDir, trust: &Trust) -> Entry {
    Entry::read_with(&folder.path().join("parrot.toml"), trust)
}

/// The sentence that refuses it, behind the path.
fn refusal(folder: &TempDir, trust: &Trust) -> String {
    let error = read(folder, trust).manifest.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Signature { .. }), "{error}");
    error.to_string().replace(&folder.path().display().to_string(), "F")
}

#[test]
fn a_good_signature_is_kept_with_the_manifest() {
    let folder = folder(MANIFEST, Some(SIGNATURE));
    let manifest = read(&folder, &trust(Require::All)).manifest.unwrap();
    let signature = manifest.signature().unwrap();
    assert!(signature.is_good());
    assert_eq!((signature.key(), signature.comment()), (KEY_ID, "parrot, for tests"));
    let record = manifest.record();
    assert_eq!((record.text.as_str(), record.signature.as_deref()), (MANIFEST, Some(SIGNATURE)));
}

#[test]
fn a_manifest_that_was_changed_after_it_was_read_is_recorded_without_its_signature() {
    let folder = folder(MANIFEST, Some(SIGNATURE));
    let mut manifest = read(&folder, &trust(Require::All)).manifest.unwrap();
    manifest.license = "BSD-3-Clause".to_owned();
    let record = manifest.record();
    assert!(record.text.contains("BSD-3-Clause"));
    assert_eq!(record.signature, None);
}

#[test]
fn an_unsigned_manifest_is_refused_where_signatures_are_required_and_only_there() {
    let folder = folder(MANIFEST, None);
    let said = refusal(&folder, &trust(Require::All));
    assert_eq!(
        said,
        "F/parrot.toml is not signed, and manifests in F must be: sign it with `minisign -Sm`, or change `require` in \
         the configuration"
    );
    let here = Require::Folders(vec![folder.path().to_owned()]);
    assert!(refusal(&folder, &trust(here)).contains("is not signed"));
    let elsewhere = Require::Folders(vec![PathBuf::from("/somewhere/else")]);
    assert!(read(&folder, &trust(elsewhere)).manifest.is_ok());
    assert!(read(&folder, &trust(Require::Nothing)).manifest.is_ok());
}

#[test]
fn one_changed_byte_is_refused_even_where_no_signature_is_required() {
    let changed = MANIFEST.replace("Signed: every", "Signed: eVery");
    assert_ne!(changed, MANIFEST);
    let folder = folder(&changed, Some(SIGNATURE));
    for require in [Require::All, Require::Nothing] {
        let said = refusal(&folder, &trust(require));
        assert_eq!(
            said,
            format!(
                "F/parrot.toml is not what the key {KEY_ID} signed: it was changed, or another file was signed: get both again"
            )
        );
    }
}

#[test]
fn a_changed_comment_is_refused() {
    let signature = SIGNATURE.replace("parrot, for tests", "parrot, for everybody");
    assert!(refusal(&folder(MANIFEST, Some(&signature)), &trust(Require::Nothing)).contains("is not what the key"));
}

#[test]
fn a_signature_by_an_unknown_key_is_none_where_one_is_required() {
    let folder = folder(MANIFEST, Some(BY_ANOTHER));
    let said = refusal(&folder, &trust(Require::All));
    assert!(said.contains("which the configuration does not trust"), "{said}");
    let manifest = read(&folder, &trust(Require::Nothing)).manifest.unwrap();
    assert!(!manifest.signature().unwrap().is_good());
}

#[test]
fn without_keys_a_signature_is_carried_and_believed_by_nobody() {
    let manifest = read(&folder(MANIFEST, Some(SIGNATURE)), &Trust::default()).manifest.unwrap();
    let signature = manifest.signature().unwrap();
    assert_eq!((signature.is_good(), signature.key()), (false, KEY_ID));
}

#[test]
fn the_old_format_is_refused() {
    let said = refusal(&folder(MANIFEST, Some(OLD_FORMAT)), &trust(Require::Nothing));
    assert!(said.ends_with("in minisign's old format: sign it again"), "{said}");
}

#[test]
fn what_is_no_signature_is_refused() {
    let long = "x".repeat(30_000);
    for text in ["", "untrusted comment: a\nRUQ=\ntrusted comment: b\nZ3FH\n", "\u{0}\n\u{0}", &long] {
        let said = refusal(&folder(MANIFEST, Some(text)), &trust(Require::Nothing));
        assert!(said.contains("none of minisign's") || said.contains("is no signature of minisign's"), "{said}");
    }
    let with_folder = folder(MANIFEST, None);
    fs::create_dir(with_folder.path().join("parrot.toml.minisig")).unwrap();
    assert!(refusal(&with_folder, &trust(Require::Nothing)).contains("is no signature"));
}

#[cfg(unix)]
#[test]
fn a_rule_on_a_folder_holds_through_a_link_to_it() {
    let real = folder(MANIFEST, None);
    let outside = tempfile::tempdir().unwrap();
    let link = outside.path().join("link");
    std::os::unix::fs::symlink(real.path(), &link).unwrap();
    let rule = trust(Require::Folders(vec![real.path().to_owned()]));
    assert!(Entry::read_with(&link.join("parrot.toml"), &rule).manifest.is_err());
    let rule = trust(Require::Folders(vec![link]));
    assert!(Entry::read_with(&real.path().join("parrot.toml"), &rule).manifest.is_err());
}

/// Tells a process of this test program which folder needs signatures.
const RULE: &str = "TENON_TEST_RULE";

/// Not a test of its own: what a process in the folder of a manifest runs.
#[test]
fn child_in_the_folder() {
    let Some(rule) = std::env::var_os(RULE) else { return };
    let rule = trust(Require::Folders(vec![PathBuf::from(rule)]));
    assert!(rule.requires(Path::new("")) && rule.requires(Path::new(".")));
    for path in ["parrot.toml", "./parrot.toml"] {
        let error = Entry::read_with(Path::new(path), &rule).manifest.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Signature { .. }), "{path}: {error}");
    }
}

#[test]
fn a_rule_on_a_folder_holds_for_a_bare_file_name_in_it() {
    let folder = folder(MANIFEST, None);
    let run = |rule: &Path| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "child_in_the_folder"]).env(RULE, rule).current_dir(folder.path());
        child.output().unwrap()
    };
    let ran = run(folder.path());
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    assert!(!run(Path::new("/somewhere/else")).status.success(), "the child looked at nothing");
}

#[test]
fn a_rule_on_a_folder_holds_for_what_is_not_there_yet() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().canonicalize().unwrap();
    let rule = trust(Require::Folders(vec![real.join("store")]));
    assert!(rule.requires(&real.join("store/models")));
    assert!(rule.requires(&real.join("store")));
    assert!(!rule.requires(&real.join("stored/models")));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&real, real.join("link")).unwrap();
        assert!(rule.requires(&real.join("link/store/models")));
    }
}

#[test]
fn a_refused_manifest_hides_no_other_model() {
    let folder = folder(MANIFEST, Some(SIGNATURE));
    fs::write(folder.path().join("owl.toml"), MANIFEST.replace("parrot", "owl")).unwrap();
    let catalog = Catalog::read_with(&[folder.path().to_owned()], &trust(Require::All));
    assert!(catalog.get("parrot").is_ok());
    assert!(matches!(catalog.get("owl").unwrap_err().kind(), ErrorKind::Signature { .. }));
    assert_eq!(catalog.entries().len(), 2);
}

#[test]
fn keys_are_read_from_the_line_that_begins_with_rw_and_nothing_else() {
    for wrong in ["", "RW", TRUSTED, "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO", "!!!!"] {
        assert!(Trust::new([wrong], Require::Nothing).is_err(), "{wrong}");
    }
    assert!(trust(Require::All).requires(Path::new("anywhere")));
}

proptest::proptest! {
    /// What a stranger signs is text like any other: no text makes the reader panic.
    #[test]
    fn no_text_of_a_signature_does_harm(
        first in "[A-Za-z0-9+/=]{0,120}", comment in ".{0,40}", second in "[A-Za-z0-9+/=]{0,120}", line in 0_usize..4,
    ) {
        let mut lines: Vec<&str> = SIGNATURE.lines().collect();
        let comment = format!("trusted comment: {comment}");
        lines[line] = [first.as_str(), &first, &comment, &second][line];
        let folder = folder(MANIFEST, Some(&lines.join("\n")));
        let outcome = read(&folder, &trust(Require::All)).manifest;
        // The first line is signed by nobody.
        proptest::prop_assert!(line == 0 || lines.join("\n") == SIGNATURE.trim_end() || outcome.is_err());
    }
}
