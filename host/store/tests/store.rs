//! From a manifest to verified files: what is found, what is refused, what is hashed and what is remembered.

use proptest::prelude::*;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;
use tenon_store::{
    Catalog, Digest, Entry, Error, ErrorKind, How, Locations, Manifest, ManifestFile, Progress, State, Store,
    VerifiedFile, VerifyMode,
};

/// A home with folders for models, the store and the ledger, whose path has a space and letters beyond ASCII.
struct Home {
    _folder: TempDir,
    root: PathBuf,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("Zoë Ω home");
        fs::create_dir_all(root.join("models")).unwrap();
        fs::create_dir_all(root.join("store/blobs")).unwrap();
        Self { _folder: folder, root }
    }

    fn models(&self) -> PathBuf {
        self.root.join("models")
    }

    fn store(&self) -> Store {
        Store::new(vec![self.models()], self.root.join("store"), self.root.join("state"))
    }

    /// Writes a file that has been at rest for a while by the time it is verified.
    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.models().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn ledger(&self) -> PathBuf {
        self.root.join("state/verified.ledger")
    }

    /// Makes the rows of the ledger older or younger, in seconds.
    fn shift_ledger(&self, seconds: i128) {
        let text = fs::read_to_string(self.ledger()).unwrap();
        let shifted = text.lines().map(|line| {
            let mut fields: Vec<String> = line.split(' ').map(str::to_owned).collect();
            if fields.len() == 7 {
                fields[5] = (fields[5].parse::<i128>().unwrap() + seconds * 1_000_000_000).to_string();
            }
            fields.join(" ") + "\n"
        });
        let text: String = shifted.collect();
        OpenOptions::new().write(true).truncate(true).open(self.ledger()).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Files that were just written are not at rest yet. Waiting would take two seconds a test.
    fn let_it_rest(&self) {
        self.shift_ledger(2);
    }
}

fn file(name: &str, bytes: &[u8]) -> ManifestFile {
    let urls = vec![format!("https://example.org/{name}")];
    ManifestFile { urls, ..ManifestFile::new("model", name, Digest::of(bytes), bytes.len() as u64) }
}

fn model(files: Vec<ManifestFile>) -> Manifest {
    let mut manifest = Manifest::new("tiny", "chat", "echo", "MIT");
    manifest.files = files;
    manifest
}

fn go_on(_: &Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn verify(store: &Store, manifest: &Manifest, mode: VerifyMode) -> Result<Vec<VerifiedFile>, Error> {
    store.verify(manifest, mode, &mut go_on)
}

fn how(store: &Store, manifest: &Manifest) -> How {
    verify(store, manifest, VerifyMode::Cached).unwrap()[0].how()
}

fn text_of(file: &VerifiedFile) -> String {
    let mut text = String::new();
    file.file().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn finds_a_blob_then_the_models_own_folder_then_the_common_one() {
    let home = Home::new();
    let manifest = model(vec![file("a b é.bin", b"abc")]);
    let path = |store: &Store| verify(store, &manifest, VerifyMode::Always).unwrap().remove(0).path().to_owned();
    let common = home.put("a b é.bin", b"abc");
    assert_eq!(path(&home.store()), common);
    let own = home.put("tiny/a b é.bin", b"abc");
    assert_eq!(path(&home.store()), own);
    let blob = home.root.join(format!("store/blobs/sha256-{}", Digest::of(b"abc")));
    fs::write(&blob, b"abc").unwrap();
    assert_eq!(path(&home.store()), blob);
}

#[test]
fn a_verified_file_is_open_at_its_start_and_knows_what_it_is() {
    let home = Home::new();
    home.put("a.bin", b"abc");
    let manifest = model(vec![file("a.bin", b"abc")]);
    let found = verify(&home.store(), &manifest, VerifyMode::Always).unwrap().remove(0);
    assert_eq!((found.role(), found.name(), found.size(), found.how()), ("model", "a.bin", 3, How::Hashed));
    assert_eq!(found.digest(), Digest::of(b"abc"));
    assert_eq!(text_of(&found), "abc");
    assert_eq!(fs::read(found.open_path()).unwrap(), b"abc");
    assert!(found.is_unchanged());
    assert_eq!(found.into_file().metadata().unwrap().len(), 3);
}

#[cfg(target_os = "linux")]
#[test]
fn what_was_hashed_is_what_is_opened_even_when_another_file_takes_its_place() {
    let home = Home::new();
    let path = home.put("a.bin", b"abc");
    let manifest = model(vec![file("a.bin", b"abc")]);
    let found = verify(&home.store(), &manifest, VerifyMode::Always).unwrap().remove(0);
    fs::write(home.models().join("evil"), b"xyz").unwrap();
    fs::rename(home.models().join("evil"), &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"xyz");
    assert_eq!(fs::read(found.open_path()).unwrap(), b"abc");
    assert_eq!(text_of(&found), "abc");
}

#[test]
fn refuses_a_file_of_another_size_or_another_digest() {
    let home = Home::new();
    let manifest = model(vec![file("a.bin", b"abcdefgh")]);
    home.put("a.bin", b"abcdefg");
    let error = verify(&home.store(), &manifest, VerifyMode::Never).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::SizeMismatch { expected: 8, actual: 7, .. }), "{error}");
    home.put("a.bin", b"abcdefgX");
    let error = verify(&home.store(), &manifest, VerifyMode::Cached).unwrap_err();
    let ErrorKind::HashMismatch { expected, actual, path } = error.kind() else { panic!("{error}") };
    assert_eq!((*expected, *actual), (Digest::of(b"abcdefgh"), Digest::of(b"abcdefgX")));
    assert!(error.to_string().contains(&path.display().to_string()));
    let unchecked = verify(&home.store(), &manifest, VerifyMode::Never).unwrap();
    assert_eq!(unchecked[0].how(), How::NotChecked);
}

#[test]
fn what_is_not_what_its_manifest_says_is_got_again_where_there_is_an_address_and_else_replaced() {
    let home = Home::new();
    let far = file("a.bin", b"abcdefgh");
    let near = ManifestFile { urls: Vec::new(), ..far.clone() };
    for bytes in [&b"abcdefg"[..], b"abcdefgX"] {
        home.put("a.bin", bytes);
        let said = |file: &ManifestFile| {
            let manifest = model(vec![file.clone()]);
            let examined = home.store().examine(&manifest, VerifyMode::Always, &mut go_on).remove(0).unwrap();
            let error = verify(&home.store(), &manifest, VerifyMode::Always).unwrap_err().to_string();
            assert_eq!(error, examined.unwrap_err().to_string());
            error
        };
        assert!(said(&far).ends_with(" of its manifest: `tenon verify --repair tiny` gets it again"), "{}", said(&far));
        assert!(said(&near).ends_with(" of its manifest: put the right file there"), "{}", said(&near));
    }
}

/// Hears how often a ledger cannot be written.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn event(&self, event: &tracing::Event<'_>) {
        assert!(event.metadata().fields().field("path").is_some(), "{event:?}");
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::Id {
        tracing::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::Id, _: &tracing::Id) {}

    fn enter(&self, _: &tracing::Id) {}

    fn exit(&self, _: &tracing::Id) {}
}

#[test]
fn a_ledger_that_cannot_be_written_is_warned_of_once_with_its_path() {
    let home = Home::new();
    fs::write(home.root.join("state"), "no folder").unwrap();
    home.put("a.bin", b"abc");
    let manifest = model(vec![file("a.bin", b"abc")]);
    let store = home.store();
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), || {
        for _ in 0..3 {
            assert_eq!(how(&store, &manifest), How::Hashed);
        }
    });
    assert_eq!(warnings.0.load(Ordering::Relaxed), 1);
}

#[test]
fn every_flipped_bit_of_a_file_is_found() {
    let home = Home::new();
    let bytes: Vec<u8> = (0..64).collect();
    let manifest = model(vec![file("a.bin", &bytes)]);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        home.put("a.bin", &flipped);
        let error = verify(&home.store(), &manifest, VerifyMode::Always).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::HashMismatch { .. }), "bit {bit}: {error}");
    }
}

#[test]
fn a_missing_file_says_where_to_get_it_and_where_to_put_it() {
    let home = Home::new();
    let manifest = model(vec![file("a.bin", b"abc")]);
    let error = verify(&home.store(), &manifest, VerifyMode::Cached).unwrap_err();
    let place = home.models().join("a.bin");
    assert_eq!(
        error.to_string(),
        format!(
            "file \"a.bin\" of model \"tiny\" is missing: get it with `tenon pull tiny`, or from \
             https://example.org/a.bin and put it at {}",
            place.display()
        )
    );
}

#[test]
fn an_optional_file_may_be_missing_but_not_wrong() {
    let home = Home::new();
    home.put("a.bin", b"abc");
    let optional = ManifestFile { optional: true, role: "vad".to_owned(), ..file("vad.bin", b"vad") };
    let manifest = model(vec![file("a.bin", b"abc"), optional]);
    assert_eq!(home.store().state(&manifest), State::Present);
    assert_eq!(verify(&home.store(), &manifest, VerifyMode::Always).unwrap().len(), 1);
    let each = home.store().examine(&manifest, VerifyMode::Always, &mut go_on);
    assert!(matches!(each[..], [Some(Ok(_)), None]));
    home.put("vad.bin", b"bad");
    assert!(verify(&home.store(), &manifest, VerifyMode::Always).is_err());
    home.put("vad.bin", b"vad");
    let both = verify(&home.store(), &manifest, VerifyMode::Always).unwrap();
    assert_eq!(both.iter().map(VerifiedFile::role).collect::<Vec<_>>(), ["model", "vad"]);
}

#[test]
fn a_file_of_the_right_size_further_on_is_taken_rather_than_one_of_another_model_before() {
    let home = Home::new();
    let second = home.root.join("more models");
    fs::create_dir(&second).unwrap();
    home.put("a.bin", b"another model's");
    fs::write(second.join("a.bin"), b"abc").unwrap();
    let store = Store::new(vec![home.models(), second], home.root.join("store"), home.root.join("state"));
    assert_eq!(verify(&store, &model(vec![file("a.bin", b"abc")]), VerifyMode::Always).unwrap().len(), 1);
}

#[test]
fn the_second_start_hashes_nothing_until_the_file_changes() {
    let home = Home::new();
    let path = home.put("a.bin", b"abc");
    let manifest = model(vec![file("a.bin", b"abc")]);
    assert_eq!(how(&home.store(), &manifest), How::Hashed);
    home.let_it_rest();
    assert_eq!(how(&home.store(), &manifest), How::Ledger);
    assert_eq!(verify(&home.store(), &manifest, VerifyMode::Always).unwrap()[0].how(), How::Hashed);
    home.let_it_rest();
    fs::rename(&path, home.models().join("other")).unwrap();
    fs::copy(home.models().join("other"), &path).unwrap();
    assert_eq!(how(&home.store(), &manifest), How::Hashed);
}

#[test]
fn a_file_that_changed_just_before_it_was_hashed_is_hashed_again() {
    let home = Home::new();
    home.put("a.bin", b"abc");
    let manifest = model(vec![file("a.bin", b"abc")]);
    assert_eq!(how(&home.store(), &manifest), How::Hashed);
    assert_eq!(how(&home.store(), &manifest), How::Hashed);
}

#[test]
fn a_month_after_it_was_hashed_a_file_is_hashed_again() {
    let home = Home::new();
    home.put("a.bin", b"abc");
    let manifest = model(vec![file("a.bin", b"abc")]);
    how(&home.store(), &manifest);
    home.shift_ledger(-31 * 24 * 3600);
    assert_eq!(how(&home.store(), &manifest), How::Hashed);
}

/// As after the clock was set back.
#[test]
fn a_file_that_was_hashed_in_the_future_is_hashed_again() {
    let home = Home::new();
    home.put("a.bin", b"abc");
    let manifest = model(vec![file("a.bin", b"abc")]);
    how(&home.store(), &manifest);
    home.shift_ledger(3600);
    assert_eq!(how(&home.store(), &manifest), How::Hashed);
    assert_eq!(home.store().state(&manifest), State::Present);
}

#[cfg(unix)]
#[test]
fn a_blob_that_changed_under_a_valid_ledger_is_found() {
    let home = Home::new();
    let blob = home.root.join(format!("store/blobs/sha256-{}", Digest::of(b"abc")));
    fs::write(&blob, b"abc").unwrap();
    let manifest = model(vec![file("a.bin", b"abc")]);
    how(&home.store(), &manifest);
    home.let_it_rest();
    assert_eq!(how(&home.store(), &manifest), How::Ledger);
    let before = fs::metadata(&blob).unwrap().modified().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let mut open = OpenOptions::new().write(true).open(&blob).unwrap();
    open.write_all(b"abd").unwrap();
    open.set_modified(before).unwrap();
    let error = verify(&home.store(), &manifest, VerifyMode::Cached).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::HashMismatch { .. }), "{error}");
    assert_eq!(home.store().state(&manifest), State::Corrupt);
}

#[cfg(unix)]
#[test]
fn a_change_is_found_even_when_the_modification_time_is_put_back() {
    let home = Home::new();
    let path = home.put("a.bin", b"abc");
    let manifest = model(vec![file("a.bin", b"abc")]);
    how(&home.store(), &manifest);
    home.let_it_rest();
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let mut open = OpenOptions::new().write(true).open(&path).unwrap();
    open.write_all(b"abd").unwrap();
    open.set_modified(before).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
    assert!(verify(&home.store(), &manifest, VerifyMode::Cached).is_err());
}

#[test]
fn a_corrupt_file_stays_known_as_corrupt_until_it_changes() {
    let home = Home::new();
    let manifest = model(vec![file("a.bin", b"abc")]);
    assert_eq!(home.store().state(&manifest), State::Missing);
    home.put("a.bin", b"abX");
    assert_eq!(home.store().state(&manifest), State::Present);
    let each = home.store().examine(&manifest, VerifyMode::Always, &mut go_on);
    assert!(matches!(&each[0], Some(Err(error)) if matches!(error.kind(), ErrorKind::HashMismatch { .. })));
    assert_eq!(home.store().state(&manifest), State::Corrupt);
    std::thread::sleep(Duration::from_millis(20));
    home.put("a.bin", b"abc");
    assert_eq!(home.store().state(&manifest), State::Present);
    home.put("a.bin", b"ab");
    assert_eq!(home.store().state(&manifest), State::Corrupt);
}

#[test]
fn one_corrupt_file_of_several_is_named_and_the_others_are_still_checked() {
    let home = Home::new();
    let files: Vec<ManifestFile> = (0..9).map(|n| file(&format!("{n}.bin"), format!("part {n}").as_bytes())).collect();
    for (n, part) in files.iter().enumerate() {
        let text = if n == 4 { "pXrt 4".to_owned() } else { format!("part {n}") };
        home.put(&part.name, text.as_bytes());
    }
    let manifest = model(files);
    let each = home.store().with_threads(4).examine(&manifest, VerifyMode::Always, &mut go_on);
    let good: Vec<bool> = each.iter().map(|one| matches!(one, Some(Ok(_)))).collect();
    assert_eq!(good, [true, true, true, true, false, true, true, true, true]);
    for (n, one) in each.iter().enumerate().filter(|(n, _)| *n != 4) {
        assert_eq!(one.as_ref().unwrap().as_ref().unwrap().name(), format!("{n}.bin"));
    }
}

#[test]
fn a_missing_file_is_the_error_before_anything_is_hashed() {
    let home = Home::new();
    home.put("a.bin", b"abc");
    let manifest = model(vec![file("a.bin", b"abc"), file("b.bin", b"b")]);
    let mut calls = 0;
    let outcome = home.store().verify(&manifest, VerifyMode::Always, &mut |_| {
        calls += 1;
        ControlFlow::Continue(())
    });
    assert!(matches!(outcome.unwrap_err().kind(), ErrorKind::NotFound { .. }));
    assert_eq!(calls, 0);
}

/// A big file of zeros that takes no space.
fn sparse(path: &Path, size: u64) {
    File::create(path).unwrap().set_len(size).unwrap();
}

#[test]
fn progress_is_told_and_hashing_can_be_cancelled() {
    let home = Home::new();
    let size = 256 << 20;
    sparse(&home.models().join("big.bin"), size);
    let digest = Digest::of(b"whatever");
    let manifest = model(vec![ManifestFile { size, sha256: digest, ..file("big.bin", b"") }]);
    let mut last = 0;
    let started = Instant::now();
    let outcome = home.store().verify(&manifest, VerifyMode::Always, &mut |progress| {
        assert!(progress.total == size && progress.done >= last && progress.done <= size);
        last = progress.done;
        if progress.done > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let error = outcome.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Cancelled), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(!home.ledger().exists());
}

#[test]
fn a_file_that_is_written_to_while_it_is_hashed_is_refused() {
    let home = Home::new();
    let size = 64 << 20;
    let path = home.models().join("big.bin");
    sparse(&path, size);
    let manifest = model(vec![ManifestFile { size, sha256: Digest::of(b""), ..file("big.bin", b"") }]);
    let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
    let outcome = home.store().verify(&manifest, VerifyMode::Always, &mut |_| {
        writer.seek(SeekFrom::Start(size - 1)).unwrap();
        writer.write_all(b"x").unwrap();
        ControlFlow::Continue(())
    });
    let error = outcome.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Changed { .. }), "{error}");
}

#[test]
fn a_file_that_is_cut_while_it_is_hashed_is_refused() {
    let home = Home::new();
    let size = 64 << 20;
    let path = home.models().join("big.bin");
    sparse(&path, size);
    let manifest = model(vec![ManifestFile { size, sha256: Digest::of(b""), ..file("big.bin", b"") }]);
    let outcome = home.store().verify(&manifest, VerifyMode::Always, &mut |_| {
        OpenOptions::new().write(true).open(&path).unwrap().set_len(10).unwrap();
        ControlFlow::Continue(())
    });
    assert!(matches!(outcome.unwrap_err().kind(), ErrorKind::Changed { .. }));
}

#[test]
fn a_change_after_the_verification_can_be_seen() {
    let home = Home::new();
    let path = home.put("a.bin", b"abc");
    let found = verify(&home.store(), &model(vec![file("a.bin", b"abc")]), VerifyMode::Always).unwrap().remove(0);
    std::thread::sleep(Duration::from_millis(20));
    fs::write(path, b"xyz").unwrap();
    assert!(!found.is_unchanged());
}

/// Names that try to leave the folder of models, in a manifest that no parser has seen.
#[test]
fn names_that_try_to_leave_the_folder_are_refused() {
    let home = Home::new();
    fs::write(home.root.join("secret"), b"abc").unwrap();
    let names = traversal_names();
    assert!(names.len() >= 100, "only {}", names.len());
    for name in names {
        let manifest = model(vec![file(&name, b"abc")]);
        let error = verify(&home.store(), &manifest, VerifyMode::Never).expect_err(&name);
        assert!(matches!(error.kind(), ErrorKind::UnsafePath { .. }), "{name:?}: {error}");
        assert_eq!(home.store().state(&manifest), State::Corrupt, "{name:?}");
        let text = model(vec![file(&name, b"abc")]).to_toml();
        assert!(Manifest::parse(&text, Path::new("tiny.toml")).is_err(), "{name:?}");
    }
}

#[test]
fn a_model_name_that_tries_to_leave_the_folder_is_refused() {
    let home = Home::new();
    for name in ["..", ".", "a/b", "/etc", "..\\x", "C:", "a\0b", "%2e%2e"] {
        let mut manifest = model(vec![file("secret", b"abc")]);
        manifest.name = name.to_owned();
        let error = verify(&home.store(), &manifest, VerifyMode::Never).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::UnsafePath { .. }), "{name:?}: {error}");
    }
}

fn traversal_names() -> Vec<String> {
    let ups =
        ["..", "../", "../../", "./..", "..//", "..\\", "..\\..\\", "%2e%2e/", "%2e%2e%2f", "..%2f", "..%5c", ".%2e/"];
    let goals = ["secret", "etc/passwd", "models/../secret", "Windows\\win.ini", "a\0", "..", "con", "%00"];
    let mut names: Vec<String> =
        ups.iter().flat_map(|up| goals.iter().map(move |goal| format!("{up}{goal}"))).collect();
    let others = [
        "",
        ".",
        "..",
        "/",
        "//",
        "/etc/passwd",
        "/proc/self/environ",
        "C:",
        "C:\\x",
        "C:x",
        "c:/x",
        "\\\\server\\share\\x",
        "//server/share/x",
        "\\\\?\\C:\\x",
        "\\\\.\\PhysicalDrive0",
        "file:///etc/passwd",
        "a/../../secret",
        "a/./b",
        "a//b",
        "secret\0.bin",
        "\u{202e}nib.exe",
        "a\nb",
        "a\tb",
        "a\u{7f}b",
        "a ",
        " a",
        "a.",
        "a...",
        "nul",
        "NUL.bin",
        "con.txt",
        "Aux",
        "prn.gguf",
        "com1",
        "COM9.bin",
        "lpt1.x",
        "com¹",
        "a:b",
        "a.bin::$DATA",
        "a|b",
        "a*b",
        "a?b",
        "a<b",
        "a\"b",
        "%c0%ae%c0%ae%c0%afsecret",
        "a\u{feff}b",
    ];
    names.extend(others.map(str::to_owned));
    names.push("a".repeat(256));
    names
}

#[cfg(unix)]
#[test]
fn links_that_stay_inside_are_followed_and_links_that_lead_out_are_refused() {
    use std::os::unix::fs::symlink;
    let home = Home::new();
    home.put("real.bin", b"abc");
    symlink("real.bin", home.models().join("inside.bin")).unwrap();
    let found = verify(&home.store(), &model(vec![file("inside.bin", b"abc")]), VerifyMode::Always).unwrap();
    assert_eq!(found[0].path(), home.models().join("real.bin"));
    fs::write(home.root.join("outside.bin"), b"abc").unwrap();
    symlink(home.root.join("outside.bin"), home.models().join("absolute.bin")).unwrap();
    symlink("../outside.bin", home.models().join("relative.bin")).unwrap();
    symlink(&home.root, home.models().join("tiny")).unwrap();
    for name in ["absolute.bin", "relative.bin", "outside.bin"] {
        let error = verify(&home.store(), &model(vec![file(name, b"abc")]), VerifyMode::Always).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::UnsafePath { .. }), "{name}: {error}");
    }
}

#[cfg(unix)]
#[test]
fn a_linked_blob_folder_that_leads_out_is_refused() {
    use std::os::unix::fs::symlink;
    let home = Home::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join(format!("sha256-{}", Digest::of(b"abc"))), b"abc").unwrap();
    fs::remove_dir(home.root.join("store/blobs")).unwrap();
    symlink(outside.path(), home.root.join("store/blobs")).unwrap();
    let error = verify(&home.store(), &model(vec![file("a.bin", b"abc")]), VerifyMode::Always).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::UnsafePath { .. }), "{error}");
}

#[test]
fn a_folder_in_the_place_of_a_file_is_refused() {
    let home = Home::new();
    fs::create_dir(home.models().join("a.bin")).unwrap();
    let error = verify(&home.store(), &model(vec![file("a.bin", b"abc")]), VerifyMode::Always).unwrap_err();
    assert!(error.to_string().ends_with("is a folder, not a file"), "{error}");
}

#[test]
fn folders_that_do_not_exist_hold_nothing() {
    let home = Home::new();
    let store = Store::new(vec!["/none/such".into()], "/none/store".into(), home.root.join("state"));
    assert_eq!(store.state(&model(vec![file("a.bin", b"abc")])), State::Missing);
    assert_eq!(store.state(&model(vec![])), State::Present);
    assert!(verify(&store, &model(vec![]), VerifyMode::Always).unwrap().is_empty());
    assert!(!home.root.join("state").exists());
}

#[cfg(unix)]
#[test]
fn a_ledger_that_cannot_be_written_costs_time_but_no_error() {
    let home = Home::new();
    home.put("a.bin", b"abc");
    // A file where the folder should be: nobody, not even root, can write below it.
    fs::write(home.root.join("state"), b"").unwrap();
    let manifest = model(vec![file("a.bin", b"abc")]);
    assert_eq!(how(&home.store(), &manifest), How::Hashed);
    assert_eq!(how(&home.store(), &manifest), How::Hashed);
}

#[test]
fn a_broken_ledger_costs_time_but_no_error() {
    let home = Home::new();
    home.put("a.bin", b"abc");
    let manifest = model(vec![file("a.bin", b"abc")]);
    how(&home.store(), &manifest);
    let length = fs::metadata(home.ledger()).unwrap().len();
    for broken in [Vec::new(), vec![0xff; 300], b"tenon-ledger 1\n1 2 3".to_vec(), vec![b'\n'; length as usize]] {
        let mut ledger = OpenOptions::new().write(true).truncate(true).open(home.ledger()).unwrap();
        ledger.write_all(&broken).unwrap();
        assert_eq!(how(&home.store(), &manifest), How::Hashed);
    }
    home.let_it_rest();
    assert_eq!(how(&home.store(), &manifest), How::Ledger);
}

/// Which part of the suite a child process plays.
const ROLE: &str = "TENON_STORE_TEST_HOME";

/// Run as a child by the next test; by itself it does nothing.
#[test]
fn child_verifies_its_files() {
    let Some(root) = std::env::var_os(ROLE).map(PathBuf::from) else { return };
    let number: u32 = std::env::var("TENON_STORE_TEST_NUMBER").unwrap().parse().unwrap();
    let store = Store::new(vec![root.join("models")], root.join("store"), root.join("state"));
    for n in 0..10 {
        let name = format!("{number}-{n}.bin");
        verify(&store, &model(vec![file(&name, name.as_bytes())]), VerifyMode::Always).unwrap();
    }
}

#[test]
fn processes_that_verify_at_once_all_find_their_way_into_the_ledger() {
    let home = Home::new();
    let mut children = Vec::new();
    for number in 0..3 {
        for n in 0..10 {
            let name = format!("{number}-{n}.bin");
            home.put(&name, name.as_bytes());
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child_verifies_its_files"]).env(ROLE, &home.root);
        children.push(command.env("TENON_STORE_TEST_NUMBER", number.to_string()).spawn().unwrap());
    }
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(fs::read_to_string(home.ledger()).unwrap().lines().count(), 1 + 30);
}

#[test]
fn a_start_that_hashes_nothing_takes_no_time_to_speak_of() {
    let home = Home::new();
    let size = 64 << 20;
    sparse(&home.models().join("big.bin"), size);
    let digest = tenon_store::hash_file(&home.models().join("big.bin")).unwrap();
    assert_eq!(digest.size, size);
    let manifest = model(vec![ManifestFile { size, sha256: digest.digest, ..file("big.bin", b"") }]);
    how(&home.store(), &manifest);
    home.let_it_rest();
    let times = (0..5).map(|_| {
        let started = Instant::now();
        assert_eq!(how(&home.store(), &manifest), How::Ledger);
        started.elapsed()
    });
    // The bound is 5 ms; a busy machine may take its time on some.
    let best = times.min().unwrap();
    assert!(best < Duration::from_millis(5), "{best:?}");
}

#[test]
fn the_first_folder_wins_on_a_name_and_broken_manifests_hide_no_others() {
    let home = Home::new();
    let (first, second) = (home.root.join("first"), home.root.join("second"));
    for (folder, name, text) in [
        (&first, "b.toml", "broken ="),
        (&first, "a.toml", "name = \"a\"\ntask = \"chat\"\nbackend = \"echo\"\nlicense = \"first\"\n"),
        (&first, "notes.txt", "no manifest"),
        (&first, ".hidden.toml", "no manifest"),
        (&second, "a.toml", "name = \"a\"\ntask = \"chat\"\nbackend = \"echo\"\nlicense = \"second\"\n"),
        (&second, "c.toml", "name = \"c\"\ntask = \"chat\"\nbackend = \"echo\"\nlicense = \"MIT\"\n"),
    ] {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(name), text).unwrap();
    }
    fs::create_dir(second.join("d.toml")).unwrap();
    let mut catalog = Catalog::read(&[first.clone(), second.clone(), home.root.join("none")]);
    let names: Vec<&str> = catalog.entries().iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    assert_eq!(catalog.get("a").unwrap().license, "first");
    assert_eq!((catalog.shadowed()[0].path.as_path(), catalog.shadowed().len()), (second.join("a.toml").as_path(), 1));
    assert_eq!(catalog.entries()[1].diagnostics().len(), 1);
    assert!(matches!(catalog.get("b").unwrap_err().kind(), ErrorKind::Manifest { .. }));
    assert!(matches!(catalog.get("d").unwrap_err().kind(), ErrorKind::UnsafePath { .. }));
    let error = catalog.get("whisper").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NoManifest { nearest: None, .. }));
    assert_eq!(catalog.manifests().count(), 2);
    catalog.put_first(Entry::read(&second.join("a.toml")));
    assert_eq!(catalog.get("a").unwrap().license, "second");
    assert_eq!(catalog.shadowed().len(), 2);
}

#[test]
fn an_unknown_name_is_answered_with_the_nearest() {
    let catalog = Catalog::read(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests")]);
    let error = catalog.get("whisper-bsae").unwrap_err();
    assert_eq!(error.to_string(), "no model is called \"whisper-bsae\" (did you mean \"whisper-base\"?)");
}

#[test]
fn a_hundred_manifests_are_listed_quickly() {
    let home = Home::new();
    let folder = home.root.join("manifests");
    fs::create_dir(&folder).unwrap();
    for n in 0..100 {
        let mut manifest = model((0..3).map(|part| file(&format!("{n}-{part}.bin"), b"abc")).collect());
        manifest.name = format!("model-{n}");
        fs::write(folder.join(format!("model-{n}.toml")), manifest.to_toml()).unwrap();
    }
    let times = (0..5).map(|_| {
        let started = Instant::now();
        let catalog = Catalog::read(std::slice::from_ref(&folder));
        let store = home.store();
        assert_eq!(catalog.manifests().filter(|manifest| store.state(manifest) == State::Missing).count(), 100);
        started.elapsed()
    });
    // The bound is 50 ms for a release build; this is an unoptimised one.
    let best = times.min().unwrap();
    assert!(best < Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 50 }), "{best:?}");
}

#[test]
fn the_models_that_ship_are_what_their_manifests_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let catalog = Catalog::read(&[root.join("manifests")]);
    let state = tempfile::tempdir().unwrap();
    let store = Store::new(vec![root.join("models")], state.path().join("none"), state.path().join("state"));
    for name in ["commands-en", "intents-en"] {
        let manifest = catalog.get(name).unwrap();
        let files = verify(&store, manifest, VerifyMode::Always).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(files.len(), 1);
    }
}

#[test]
fn the_store_of_locations_looks_in_their_folders() {
    let home = Home::new();
    let locations = Locations {
        models: vec![home.models()],
        downloads: home.root.join("downloads"),
        store: home.root.join("store"),
        state: home.root.join("state"),
        ..Locations::default()
    };
    let error = verify(&Store::at(&locations), &model(vec![file("a.bin", b"abc")]), VerifyMode::Always).unwrap_err();
    let ErrorKind::NotFound { place, .. } = error.kind() else { panic!("{error}") };
    assert_eq!(*place, home.root.join("downloads/a.bin"));
}

#[test]
fn files_from_before_1970_are_verified_like_others() {
    let home = Home::new();
    let path = home.put("a.bin", b"abc");
    let old = SystemTime::UNIX_EPOCH - Duration::from_secs(1000);
    if OpenOptions::new().write(true).open(&path).unwrap().set_modified(old).is_ok() {
        let manifest = model(vec![file("a.bin", b"abc")]);
        how(&home.store(), &manifest);
        home.let_it_rest();
        assert_eq!(how(&home.store(), &manifest), How::Ledger);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_name_at_all_opens_a_file_outside(name in "([./\\\\%:a-e0-9é ]|\\.\\.|2e|2f|secret|NUL){0,12}") {
        let home = Home::new();
        fs::write(home.root.join("secret"), b"abc").unwrap();
        let manifest = model(vec![file(&name, b"abc")]);
        // Nothing lies in the folder of models, so that whatever is found lies outside.
        prop_assert!(verify(&home.store(), &manifest, VerifyMode::Never).is_err(), "{:?}", name);
    }

    #[test]
    fn the_digest_is_the_same_however_the_bytes_come(bytes: Vec<u8>) {
        let whole = tenon_store::hash_reader(&mut bytes.as_slice(), &mut |_| ControlFlow::Continue(())).unwrap();
        prop_assert_eq!(whole.digest, Digest::of(&bytes));
        prop_assert_eq!(whole.size, bytes.len() as u64);
        prop_assert_eq!(whole.digest.to_string().parse::<Digest>(), Ok(whole.digest));
    }
}
