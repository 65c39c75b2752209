//! Bundles: there and back, and everything that is refused. The hostile ones are built here by hand.

use std::fs;
use std::io::Cursor;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tenon_store::bundle::{Bundle, BundledPlugin, Import, Imported, Index, PluginSource, Stage, export, export_file};
use tenon_store::{Digest, ErrorKind, Manifest, ManifestFile, Progress, Require, State, Store, Trust, VerifyMode};

/// A machine: a folder with model files, plugins and a store.
struct Machine {
    folder: TempDir,
    store: Store,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("files")).unwrap();
        let store = Store::new(vec![at("files")], at("store"), at("state"));
        Self { folder, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A model with these files, which lie in the folder of models.
    fn model(&self, name: &str, files: &[(&str, &[u8])]) -> Manifest {
        let mut manifest = Manifest::new(name, "chat", "echo", "MIT");
        for (file, bytes) in files {
            fs::write(self.path("files").join(file), bytes).unwrap();
            manifest.files.push(ManifestFile::new("model", *file, Digest::of(bytes), bytes.len() as u64));
        }
        let path = self.path(&format!("{name}.toml"));
        Manifest::parse(&format!("# a note\n{}", manifest.to_toml()), &path).unwrap()
    }

    fn plugin(&self, id: &str, library: &[u8]) -> PluginSource {
        let (sidecar, file) = (self.path(&format!("{id}.plugin.toml")), format!("lib{id}.so"));
        fs::write(self.path(&file), library).unwrap();
        let sha256 = Digest::of(library);
        fs::write(&sidecar, format!("id = \"{id}\"\nfile = \"{file}\"\nsha256 = \"{sha256}\"\n")).unwrap();
        PluginSource {
            id: id.into(),
            version: "0.1.0".into(),
            abi: "1.0".into(),
            cpu: "any".into(),
            library: self.path(&file),
            sha256,
            sidecar,
        }
    }

    fn import(&self, bundle: &[u8], how: Import) -> tenon_store::Result<Imported> {
        self.import_vouched(bundle, how, &mut |_, _| Ok(()))
    }

    fn import_vouched(
        &self,
        bundle: &[u8],
        how: Import,
        vouch: &mut dyn FnMut(&BundledPlugin, &str) -> Result<(), String>,
    ) -> tenon_store::Result<Imported> {
        let mut from = Cursor::new(bundle);
        Bundle::open(&mut from, Path::new("x.tenon"), &self.store, &Trust::default())?.import(
            &self.store,
            how,
            vouch,
            &mut go_on,
        )
    }

    /// What anybody can see in the store, sorted: no parts, no locks.
    fn visible(&self) -> Vec<String> {
        let mut names = Vec::new();
        for folder in ["blobs", "models", "plugins"] {
            let listed = fs::read_dir(self.path("store").join(folder)).into_iter().flatten().flatten();
            let listed = listed.map(|entry| entry.file_name().into_string().unwrap());
            names.extend(listed.filter(|name| name != ".lock").map(|name| format!("{folder}/{name}")));
        }
        names.sort();
        names
    }

    /// What is on its way.
    fn parts(&self) -> Vec<String> {
        let listed = fs::read_dir(self.path("store/parts")).into_iter().flatten().flatten();
        let listed = listed.map(|entry| entry.file_name().into_string().unwrap());
        listed.filter(|name| name != "references.lock").collect()
    }
}

fn go_on(_: Stage, _: &Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

const A: &[u8] = b"weights of a, not a whole block of them";
const SHARED: &[u8] = &[7; 1500];

/// A machine with two models that share a file, and a plugin; and the bundle of it.
fn exported() -> (Machine, Vec<u8>) {
    let machine = Machine::new();
    let (a, b) = (machine.model("a", &[("a.bin", A), ("s.bin", SHARED)]), machine.model("b", &[("s.bin", SHARED)]));
    let plugin = machine.plugin("echo", b"library of echo");
    let mut out = Vec::new();
    export(&machine.store, &[&b, &a], &[plugin], &mut out, Path::new("x.tenon"), &mut go_on).unwrap();
    (machine, out)
}

/// Refused with a sentence that holds these words, and nothing of it to be seen.
#[track_caller]
fn refused(bundle: &[u8], words: &str) {
    let machine = Machine::new();
    let error = machine.import(bundle, Import::default()).unwrap_err();
    let said = error.to_string();
    assert!(said.contains(words), "{said:?} does not say {words:?}");
    assert!(!said.contains('\n'), "{said:?} is more than a sentence");
    assert_eq!((machine.visible(), machine.parts()), (vec![], vec![]), "after {said:?}");
}

#[test]
fn a_bundle_brings_models_and_plugins_to_another_machine() {
    let (_, bundle) = exported();
    let machine = Machine::new();
    let done = machine.import(&bundle, Import::default()).unwrap();
    let wanted = Imported {
        models: vec!["a".into(), "b".into()],
        new_bytes: (A.len() + SHARED.len()) as u64,
        known_bytes: 0,
        new_plugins: vec!["echo".into()],
        known_plugins: vec![],
    };
    assert_eq!(done, wanted);
    for entry in machine.store.references().unwrap() {
        let manifest = entry.manifest.unwrap();
        assert!(manifest.text().unwrap().starts_with("# a note"), "byte for byte");
        assert_eq!(machine.store.state(&manifest), State::Present);
        machine.store.verify(&manifest, VerifyMode::Always, &mut |_| ControlFlow::Continue(())).unwrap();
    }
    assert_eq!(machine.visible().len(), 6);
    assert_eq!(machine.parts(), Vec::<String>::new());
    let library = machine.path("store/plugins/libecho.so");
    assert_eq!(fs::read(&library).unwrap(), b"library of echo");
    #[cfg(unix)]
    assert!(fs::metadata(library).unwrap().permissions().readonly());
    let again = machine.import(&bundle, Import::default()).unwrap();
    assert_eq!((again.new_bytes, again.known_bytes), (0, wanted.new_bytes));
    assert_eq!((again.new_plugins.len(), again.known_plugins.len()), (0, 1));
}

#[test]
fn equal_models_make_equal_bundles_that_any_tar_can_list() {
    let ((_, first), (_, second)) = (exported(), exported());
    assert_eq!(first, second);
    let mut archive = tar::Archive::new(first.as_slice());
    let entries = archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string());
    let names: Vec<String> = entries.collect();
    assert_eq!(names[..4], ["bundle.toml", "bundle.sha256", "models/a.toml", "models/b.toml"]);
    assert_eq!(names[6..], ["plugins/echo.plugin.toml", "plugins/libecho.so"]);
    assert!(names[4..6].iter().all(|name| name.starts_with("blobs/sha256-")), "{names:?}");
}

#[test]
fn the_index_and_the_manifests_can_be_looked_at_before_anything_is_written() {
    let (_, bundle) = exported();
    let machine = Machine::new();
    let mut from = Cursor::new(&bundle);
    let open = Bundle::open(&mut from, Path::new("x.tenon"), &machine.store, &Trust::default()).unwrap();
    assert_eq!(open.index().target, tenon_store::bundle::TARGET);
    assert_eq!(open.index().models.len(), 2);
    assert_eq!(open.manifests()[0].files[0].size, A.len() as u64);
    assert!(!machine.path("store").exists());
}

#[test]
fn export_refuses_files_that_are_missing_or_corrupt_and_leaves_none_behind() {
    let machine = Machine::new();
    let model = machine.model("a", &[("a.bin", A)]);
    let out = machine.path("x.tenon");
    let go = |file: &[u8]| {
        fs::write(machine.path("files/a.bin"), file).unwrap();
        export_file(&machine.store, &[&model], &[], &out, &mut go_on).unwrap_err()
    };
    let corrupt = A.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>();
    assert!(matches!(go(&corrupt).kind(), ErrorKind::HashMismatch { .. }));
    assert!(go(&corrupt).to_string().ends_with(": put the right file there"));
    assert!(matches!(go(b"short").kind(), ErrorKind::SizeMismatch { .. }));
    fs::remove_file(machine.path("files/a.bin")).unwrap();
    let missing = export_file(&machine.store, &[&model], &[], &out, &mut go_on).unwrap_err();
    assert!(matches!(missing.kind(), ErrorKind::NotFound { .. }), "{missing}");
    let mut plugin = machine.plugin("echo", b"library");
    plugin.sha256 = Digest::of(b"another");
    fs::write(machine.path("files/a.bin"), A).unwrap();
    let error = export_file(&machine.store, &[&model], &[plugin], &out, &mut go_on).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::HashMismatch { .. }), "{error}");
    let left = fs::read_dir(machine.folder.path()).unwrap().flatten();
    assert!(left.into_iter().all(|entry| !entry.file_name().to_string_lossy().contains("tenon")));
    fs::write(&out, "mine").unwrap();
    let error = export_file(&machine.store, &[&model], &[], &out, &mut go_on).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Exists { .. }), "{error}");
    assert_eq!(fs::read(&out).unwrap(), b"mine");
}

#[test]
fn an_optional_file_that_is_not_here_stays_away() {
    let machine = Machine::new();
    let mut model = machine.model("a", &[("a.bin", A)]);
    let mut away = ManifestFile::new("vad", "away.bin", Digest::of(b"away"), 4);
    away.optional = true;
    model.files.push(away);
    let mut out = Vec::new();
    let index = export(&machine.store, &[&model], &[], &mut out, Path::new("x.tenon"), &mut go_on).unwrap();
    assert_eq!(index.blobs.len(), 1);
    let other = Machine::new();
    other.import(&out, Import::default()).unwrap();
    let manifest = other.store.references().unwrap().remove(0).manifest.unwrap();
    assert_eq!(other.store.state(&manifest), State::Present);
}

#[test]
fn cancelling_stops_an_import_and_leaves_nothing() {
    let (_, bundle) = exported();
    let machine = Machine::new();
    let mut from = Cursor::new(&bundle);
    let open = Bundle::open(&mut from, Path::new("x.tenon"), &machine.store, &Trust::default()).unwrap();
    let mut stop = |_: Stage, how_far: &Progress| match how_far.done {
        0 => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    };
    let error = open.import(&machine.store, Import::default(), &mut |_, _| Ok(()), &mut stop).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Cancelled));
    assert_eq!((machine.visible(), machine.parts()), (vec![], vec![]));
}

#[test]
fn a_bundle_that_was_cut_anywhere_is_refused() {
    let (_, bundle) = exported();
    for end in (0..bundle.len()).step_by(509).chain([bundle.len() - 1, bundle.len() - 512, bundle.len() - 1024]) {
        refused(&bundle[..end], "it was cut, get it again");
    }
}

#[test]
fn a_bundle_with_one_changed_bit_is_refused_wherever_it_is() {
    let (_, bundle) = exported();
    for (round, at) in (0..bundle.len()).step_by(61).enumerate() {
        let mut changed = bundle.clone();
        changed[at] ^= 1 << (round % 8);
        let machine = Machine::new();
        let outcome = machine.import(&changed, Import::default());
        assert!(outcome.is_err(), "a change at {at} passes");
        assert_eq!((machine.visible(), machine.parts()), (vec![], vec![]), "a change at {at}: {outcome:?}");
    }
}

#[test]
fn a_bundle_that_goes_on_behind_its_end_is_refused() {
    let (_, bundle) = exported();
    refused(&[bundle.as_slice(), &[0]].concat(), "goes on behind its end");
    refused(&[bundle.as_slice(), &bundle].concat(), "goes on behind its end");
}

#[test]
fn what_is_no_bundle_is_refused_at_once() {
    for bytes in [&b"\x1f\x8b\x08 gzip"[..], b"", &[0; 1024], b"PK\x03\x04", &[b'x'; 5000]] {
        let machine = Machine::new();
        let said = machine.import(bytes, Import::default()).unwrap_err().to_string();
        assert!(said.contains("is no bundle") || said.contains("was cut"), "{said}");
    }
}

#[test]
fn a_pipe_is_as_good_as_a_file() {
    /// Gives a byte or two at a time.
    struct Drops<'b>(&'b [u8]);
    impl std::io::Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = buffer.len().min(7).min(self.0.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }
    let (_, bundle) = exported();
    let machine = Machine::new();
    let mut from = Drops(&bundle);
    let open = Bundle::open(&mut from, Path::new("-"), &machine.store, &Trust::default()).unwrap();
    open.import(&machine.store, Import::default(), &mut |_, _| Ok(()), &mut go_on).unwrap();
    assert_eq!(machine.visible().len(), 6);
}

// Replacing.

#[test]
fn another_plugin_of_the_same_id_is_replaced_only_when_that_is_wanted() {
    let (_, bundle) = exported();
    let machine = Machine::new();
    fs::create_dir_all(machine.path("store/plugins")).unwrap();
    let there = machine.path("store/plugins/echo.plugin.toml");
    fs::write(&there, "id = \"echo\"\nfile = \"other.so\"").unwrap();
    let error = machine.import(&bundle, Import::default()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Exists { path, .. } if *path == there), "{error}");
    assert!(error.to_string().contains("--replace-plugins"), "{error}");
    assert_eq!(machine.visible(), ["plugins/echo.plugin.toml"]);
    let left_out = Import { without_plugins: true, ..Import::default() };
    assert!(machine.import(&bundle, left_out).unwrap().new_plugins.is_empty());
    let replacing = Import { replace_plugins: true, ..Import::default() };
    assert_eq!(machine.import(&bundle, replacing).unwrap().new_plugins, ["echo"]);
    assert!(fs::read_to_string(there).unwrap().contains("libecho.so"));
}

#[test]
fn a_library_of_another_plugin_is_never_replaced() {
    let (_, bundle) = exported();
    let machine = Machine::new();
    fs::create_dir_all(machine.path("store/plugins")).unwrap();
    fs::write(machine.path("store/plugins/owl.plugin.toml"), "id = \"owl\"\nfile = \"LibEcho.so\"").unwrap();
    let replacing = Import { replace_plugins: true, ..Import::default() };
    let said = machine.import(&bundle, replacing).unwrap_err().to_string();
    assert!(said.contains("belongs to the plugin \"owl\""), "{said}");
    assert_eq!(machine.visible(), ["plugins/owl.plugin.toml"]);
}

#[test]
fn another_manifest_of_the_same_name_is_replaced_only_when_that_is_wanted() {
    let (_, bundle) = exported();
    let machine = Machine::new();
    machine.store.refer(&Manifest::new("a", "chat", "echo", "BSD-3-Clause")).unwrap();
    let error = machine.import(&bundle, Import::default()).unwrap_err();
    assert!(error.to_string().contains("--replace-models"), "{error}");
    assert_eq!(machine.visible(), ["models/a.toml"]);
    machine.import(&bundle, Import { replace_models: true, ..Import::default() }).unwrap();
    assert_eq!(machine.store.references().unwrap()[0].manifest.as_ref().unwrap().license, "MIT");
}

#[test]
fn what_a_killed_import_left_is_cleared_away_by_the_next() {
    let (_, bundle) = exported();
    let machine = Machine::new();
    fs::create_dir_all(machine.path("store/plugins")).unwrap();
    fs::write(machine.path("store/plugins/.incoming-1-0"), "half").unwrap();
    machine.import(&bundle, Import::default()).unwrap();
    assert_eq!(machine.visible().len(), 6);
}

#[test]
fn a_sidecar_that_nobody_vouches_for_is_refused() {
    let (_, bundle) = exported();
    let machine = Machine::new();
    let outcome = machine.import_vouched(&bundle, Import::default(), &mut |plugin, text| {
        assert!(text.contains(&plugin.file));
        Err("no such thing".to_owned())
    });
    let said = outcome.unwrap_err().to_string();
    assert_eq!(said, "x.tenon holds a plugins/echo.plugin.toml that cannot be: no such thing");
    assert_eq!((machine.visible(), machine.parts()), (vec![], vec![]));
}

// Bundles by hand.

/// One file of an archive that no exporter would write.
enum Piece {
    File(String, Vec<u8>),
    Header(Box<tar::Header>),
}

fn file(name: &str, bytes: &[u8]) -> Piece {
    Piece::File(name.to_owned(), bytes.to_vec())
}

fn bare(header: tar::Header) -> Piece {
    Piece::Header(Box::new(header))
}

/// Writes a name into a header whatever it is, as tools do that mean no good.
fn header(name: &str, kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    header
}

fn put(out: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    out.extend_from_slice(header(name, tar::EntryType::Regular, bytes.len() as u64).as_bytes());
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(512), 0);
}

/// An archive of these, with the right check behind its index.
fn archive(pieces: &[Piece]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Header(header) => out.extend_from_slice(header.as_bytes()),
            Piece::File(name, bytes) => {
                put(&mut out, name, bytes);
                if name == "bundle.toml" {
                    put(&mut out, "bundle.sha256", format!("{}  bundle.toml\n", Digest::of(bytes)).as_bytes());
                }
            }
        }
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn manifest(name: &str, blob: &[u8]) -> String {
    format!(
        "name = \"{name}\"\ntask = \"chat\"\nbackend = \"echo\"\nlicense = \"MIT\"\n[[file]]\nrole = \"model\"\n\
         name = \"a.bin\"\nsha256 = \"{}\"\nsize = {}\n",
        Digest::of(blob),
        blob.len()
    )
}

fn content(bytes: &[u8]) -> String {
    format!("{{ sha256 = \"{}\", size = {} }}", Digest::of(bytes), bytes.len())
}

fn index_of(models: &[(&str, &[u8])], blobs: &[&[u8]], more: &str) -> String {
    let mut text = format!("format = 1\ntarget = \"{}\"\n", tenon_store::bundle::TARGET);
    for (name, bytes) in models {
        text += &format!("[[model]]\nname = \"{name}\"\nmanifest = {}\n", content(bytes));
    }
    for blob in blobs {
        text += &format!("[[blob]]\nsha256 = \"{}\"\nsize = {}\n", Digest::of(blob), blob.len());
    }
    text + more
}

fn plugin_of(id: &str, file: &str, library: &[u8]) -> String {
    format!(
        "[[plugin]]\nid = \"{id}\"\nversion = \"1\"\nabi = \"1.0\"\ncpu = \"any\"\nfile = \"{file}\"\nlibrary = {}\n\
         sidecar = {}\n",
        content(library),
        content(b"sidecar")
    )
}

fn blob(bytes: &[u8]) -> String {
    format!("blobs/sha256-{}", Digest::of(bytes))
}

/// The pieces of a good bundle of one model, to be spoiled.
fn good(more: &str) -> Vec<Piece> {
    let manifest = manifest("a", A);
    let index = index_of(&[("a", manifest.as_bytes())], &[A], more);
    vec![file("bundle.toml", index.as_bytes()), file("models/a.toml", manifest.as_bytes()), file(&blob(A), A)]
}

/// A good bundle of one model and one plugin.
fn good_with_plugin(id: &str, name: &str) -> Vec<Piece> {
    let mut pieces = good(&plugin_of(id, name, b"lib"));
    pieces.push(file(&format!("plugins/{id}.plugin.toml"), b"sidecar"));
    pieces.push(file(&format!("plugins/{name}"), b"lib"));
    pieces
}

#[test]
fn a_bundle_by_hand_is_taken_when_nothing_is_wrong_with_it() {
    Machine::new().import(&archive(&good("")), Import::default()).unwrap();
    Machine::new().import(&archive(&good_with_plugin("owl", "libowl.so")), Import::default()).unwrap();
}

#[test]
fn names_that_lead_out_of_the_store_are_refused() {
    for name in ["../../evil", "/etc/evil", "blobs/../../evil", "C:\\evil", "models/b.toml", "blobs/sha256-00"] {
        let mut pieces = good("");
        pieces[2] = file(name, A);
        refused(&archive(&pieces), "where its index says blobs/sha256-");
        let mut pieces = good("");
        pieces.push(file(name, A));
        refused(&archive(&pieces), "which its index does not name");
    }
}

#[test]
fn links_folders_and_devices_are_refused() {
    use tar::EntryType;
    let kinds = [
        (EntryType::Symlink, "holds the link"),
        (EntryType::Link, "holds the link"),
        (EntryType::Directory, "holds the folder"),
        (EntryType::Char, "no plain file"),
        (EntryType::Fifo, "no plain file"),
        (EntryType::GNUSparse, "no plain file"),
        (EntryType::Continuous, "no plain file"),
    ];
    for (kind, words) in kinds {
        let mut pieces = good("");
        let mut link = header(&blob(A), kind, A.len() as u64);
        link.set_link_name_literal("/etc/passwd").unwrap();
        link.set_cksum();
        pieces.insert(2, bare(link));
        refused(&archive(&pieces), words);
    }
}

#[test]
fn long_names_and_extensions_of_tar_are_refused() {
    for kind in [tar::EntryType::GNULongName, tar::EntryType::XHeader, tar::EntryType::XGlobalHeader] {
        let mut pieces = good("");
        pieces.insert(1, bare(header("././@LongLink", kind, 0)));
        refused(&archive(&pieces), "no plain file");
        let mut pieces = good("");
        pieces.insert(0, bare(header("././@LongLink", kind, 0)));
        refused(&archive(&pieces), "its first file must be a plain bundle.toml");
    }
}

#[test]
fn another_owner_time_or_mode_is_refused() {
    let changes: [fn(&mut tar::Header); 3] =
        [|header| header.set_uid(1), |header| header.set_mtime(1), |header| header.set_mode(0o4755)];
    for change in changes {
        let mut changed = header(&blob(A), tar::EntryType::Regular, A.len() as u64);
        change(&mut changed);
        changed.set_cksum();
        let mut pieces = good("");
        pieces.insert(2, bare(changed));
        refused(&archive(&pieces), "it was changed, get it again");
    }
}

#[test]
fn files_in_another_order_or_twice_are_refused() {
    let mut pieces = good("");
    pieces.swap(1, 2);
    refused(&archive(&pieces), "where its index says models/a.toml");
    let mut pieces = good("");
    pieces.push(file(&blob(A), A));
    refused(&archive(&pieces), "which its index does not name");
    let mut pieces = good("");
    pieces.swap(0, 1);
    refused(&archive(&pieces), "its first file must be a plain bundle.toml");
}

#[test]
fn lies_about_sizes_are_refused() {
    for size in [0, A.len() as u64 - 1, A.len() as u64 + 1, 1 << 33, u64::MAX / 2] {
        let mut pieces = good("");
        pieces.insert(2, bare(header(&blob(A), tar::EntryType::Regular, size)));
        refused(&archive(&pieces), "where its index says blobs/");
    }
    let huge = header("bundle.toml", tar::EntryType::Regular, u64::MAX / 2);
    refused(&archive(&[bare(huge)]), "more than 1048576");
    let manifest = manifest("a", A).replace(&format!("size = {}", A.len()), "size = 17");
    let index = index_of(&[("a", manifest.as_bytes())], &[A], "");
    let pieces = [file("bundle.toml", index.as_bytes()), file("models/a.toml", manifest.as_bytes()), file(&blob(A), A)];
    refused(&archive(&pieces), "whose manifest says 17");
}

#[test]
fn an_index_that_cannot_be_is_refused() {
    let index = |text: String| archive(&[file("bundle.toml", text.as_bytes())]);
    let good = index_of(&[("a", b"")], &[], "");
    let of = |text: &str| index(text.to_owned());
    refused(&of(&good.replace("format = 1", "format = 2")), "it has the format 2; this program knows 1");
    refused(&of(&good.replace("target", "colour = 1\ntarget")), "unknown field `colour`");
    refused(&of("no toml"), "bundle.toml is wrong");
    refused(&of(""), "bundle.toml is wrong");
    // Nothing that a stranger calls a key steers the terminal.
    refused(&of(&format!("\"\\u001b[2J\" = 1\n{good}")), "unknown field `\u{fffd}[2J`");
    refused(&archive(&[file("bundle.toml", &[0xff, 0xfe])]), "not UTF-8");
    refused(&of(&index_of(&[], &[A], "")), "missing field `model`");
    refused(&of(&good.replace("\"a\"", "\"../a\"")), "model \"../a\" holds '/'");
    refused(&of(&good.replace("\"a\"", "\"nul\"")), "device on Windows");
    refused(&of(&index_of(&[("a", b""), ("a", b"")], &[], "")), "\"a\" stands twice");
    refused(&of(&index_of(&[("b", b""), ("a", b"")], &[], "")), "\"a\" stands behind \"b\"");
    refused(&of(&index_of(&[("a", b"")], &[A, A], "")), "stands twice");
    refused(&of(&index_of(&[("a", b"")], &[b""], "")), "an empty blob");
    refused(&of(&good.replace("size = 0", "size = 400000")), "too long");
    refused(&of(&good.replace("size = 0", "size = -1")), "bundle.toml is wrong");
    let blobs: Vec<Vec<u8>> = (0..300_u32).map(|number| number.to_le_bytes().to_vec()).collect();
    let blobs: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
    refused(&of(&index_of(&[("a", b"")], &blobs, "")), "300 blobs, more than 256");
    let many: String = (0..9000).map(|number| format!("[[model]]\nname = \"m{number}\"\n")).collect();
    refused(&of(&format!("{good}{many}")), "bundle.toml is wrong");
    let nested = format!("format = 1\ntarget = {}1{}", "[".repeat(5000), "]".repeat(5000));
    refused(&of(&nested), "bundle.toml is wrong");
    let mut two: [&[u8]; 2] = [b"a", b"b"];
    two.sort_by_key(|bytes| Digest::of(bytes));
    let endless = index_of(&[("a", b"")], &two, &plugin_of("owl", "x.so", b"lib"));
    let endless = endless.replace("size = 1\n", &format!("size = {}\n", i64::MAX)).replace("size = 3", "size = 9");
    refused(&of(&endless), "its sizes cannot be");
}

#[test]
fn an_index_with_another_check_is_refused() {
    let mut pieces = good("");
    let Piece::File(_, index) = &pieces[0] else { unreachable!() };
    let mut out = Vec::new();
    put(&mut out, "bundle.toml", &[index.as_slice(), b"# changed\n"].concat());
    put(&mut out, "bundle.sha256", format!("{}  bundle.toml\n", Digest::of(index)).as_bytes());
    pieces.remove(0);
    out.extend(archive(&pieces));
    refused(&out, "holds bundle.sha256 with the SHA-256");
}

#[test]
fn an_index_that_disagrees_with_its_manifests_is_refused() {
    let text = manifest("a", A);
    let with = |name: &str, blobs: &[&[u8]], text: &str| {
        let index = index_of(&[(name, text.as_bytes())], blobs, "");
        let mut pieces =
            vec![file("bundle.toml", index.as_bytes()), file(&format!("models/{name}.toml"), text.as_bytes())];
        pieces.extend(blobs.iter().map(|bytes| file(&blob(bytes), bytes)));
        archive(&pieces)
    };
    refused(&with("a", &[], &text), "it lacks the file \"a.bin\" of model \"a\"");
    let mut two: [&[u8]; 2] = [A, b"unnamed"];
    two.sort_by_key(|bytes| Digest::of(bytes));
    refused(&with("a", &two, &text), "which no manifest names");
    refused(&with("b", &[A], &text), "name \"a\" is not that of the file, \"b\"");
    refused(&with("a", &[A], &text.replace("license", "licence")), "unknown key \"licence\"");
}

#[test]
fn libraries_with_names_that_do_harm_are_refused() {
    for name in ["../evil.so", "/evil.so", ".hidden", "x.plugin.toml", "X.PLUGIN.TOML", "a\\\\b", "con.so", "é.so", ""]
    {
        let index = index_of(&[("a", manifest("a", A).as_bytes())], &[A], &plugin_of("owl", name, b"lib"));
        refused(&archive(&[file("bundle.toml", index.as_bytes())]), "has a library whose name");
    }
    for id in ["../owl", "Owl", "owl.", ""] {
        let index = index_of(&[("a", b"")], &[], &plugin_of(id, "x.so", b"lib"));
        refused(&archive(&[file("bundle.toml", index.as_bytes())]), "plugin \"");
    }
    let two = plugin_of("a", "x.so", b"lib") + &plugin_of("b", "X.so", b"lib");
    let index = index_of(&[("a", b"")], &[], &two);
    refused(&archive(&[file("bundle.toml", index.as_bytes())]), "a library of the same name as another");
}

#[test]
fn a_plugin_that_is_not_what_the_index_says_is_refused() {
    let mut pieces = good_with_plugin("owl", "libowl.so");
    pieces[4] = file("plugins/libowl.so", b"bil");
    refused(&archive(&pieces), "holds plugins/libowl.so with the SHA-256");
    let mut pieces = good_with_plugin("owl", "libowl.so");
    pieces[3] = file("plugins/owl.plugin.toml", b"SIDECAR");
    refused(&archive(&pieces), "holds plugins/owl.plugin.toml with the SHA-256");
    let mut pieces = good_with_plugin("owl", "libowl.so");
    pieces.swap(3, 4);
    refused(&archive(&pieces), "where its index says plugins/owl.plugin.toml");
}

#[test]
fn a_blob_that_the_store_has_does_not_hide_a_lie() {
    let machine = Machine::new();
    machine.import(&archive(&good("")), Import::default()).unwrap();
    let mut pieces = good("");
    pieces[2] = file(&blob(A), &A.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>());
    let error = machine.import(&archive(&pieces), Import::default()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Bundle { .. }), "{error}");
    assert_eq!(machine.visible().len(), 2);
}

// Signatures.

const SIGNED: &str = include_str!("signed/parrot.toml");
const SIGNATURE: &str = include_str!("signed/parrot.toml.minisig");
const KEY: &str = include_str!("signed/trusted.pub");

fn trust(require: Require) -> Trust {
    Trust::new([KEY.lines().nth(1).unwrap()], require).unwrap()
}

fn open_signed(bundle: &[u8], machine: &Machine) -> tenon_store::Result<Option<String>> {
    let rule = trust(Require::Folders(vec![machine.path("store")]));
    let mut from = Cursor::new(bundle);
    let open = Bundle::open(&mut from, Path::new("x.tenon"), &machine.store, &rule)?;
    let key = open.manifests()[0].signature().map(|signature| signature.key().to_owned());
    open.import(&machine.store, Import::default(), &mut |_, _| Ok(()), &mut go_on)?;
    Ok(key)
}

#[test]
fn signatures_travel_in_a_bundle_and_hold_where_they_are_required() {
    let machine = Machine::new();
    fs::write(machine.path("parrot.toml"), SIGNED).unwrap();
    fs::write(machine.path("parrot.toml.minisig"), SIGNATURE).unwrap();
    let entry = tenon_store::Entry::read_with(&machine.path("parrot.toml"), &trust(Require::All));
    let mut out = Vec::new();
    let signed = entry.manifest.unwrap();
    export(&machine.store, &[&signed], &[], &mut out, Path::new("x.tenon"), &mut go_on).unwrap();
    let other = Machine::new();
    assert_eq!(open_signed(&out, &other).unwrap().as_deref(), Some("8D6F47A519751C03"));
    assert_eq!(other.visible(), ["models/parrot.toml", "models/parrot.toml.minisig"]);
    let kept = tenon_store::Entry::read_with(&other.path("store/models/parrot.toml"), &trust(Require::All));
    assert!(kept.manifest.unwrap().signature().unwrap().is_good());
}

#[test]
fn an_unsigned_or_forged_manifest_in_a_bundle_is_refused_where_signatures_are_required() {
    let machine = Machine::new();
    let error = open_signed(&archive(&good("")), &machine).unwrap_err();
    assert!(error.to_string().starts_with("x.tenon/models/a.toml is not signed"), "{error}");
    let forged = SIGNED.replace("MIT", "BSD");
    let mut index = index_of(&[("parrot", forged.as_bytes())], &[], "");
    index += &format!("signature = {}\n", content(SIGNATURE.as_bytes()));
    let pieces = [
        file("bundle.toml", index.as_bytes()),
        file("models/parrot.toml", forged.as_bytes()),
        file("models/parrot.toml.minisig", SIGNATURE.as_bytes()),
    ];
    let error = open_signed(&archive(&pieces), &machine).unwrap_err();
    assert!(error.to_string().contains("is not what the key 8D6F47A519751C03 signed"), "{error}");
    assert_eq!(machine.visible(), Vec::<String>::new());
}

/// The index is public, so that others can show it.
#[test]
fn an_index_says_how_large_its_bundle_is() {
    let (_, bundle) = exported();
    let mut from = Cursor::new(&bundle);
    let machine = Machine::new();
    let open = Bundle::open(&mut from, Path::new("x.tenon"), &machine.store, &Trust::default()).unwrap();
    let index: &Index = open.index();
    assert_eq!(index.size(), (A.len() + SHARED.len() + b"library of echo".len()) as u64);
}
