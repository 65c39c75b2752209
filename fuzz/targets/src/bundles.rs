//! Bundles, and signatures: what is read from one is what it says, and what is refused leaves nothing behind.
//!
//! The files of a bundle are pinned by SHA-256 in its index, and the index by a file behind it, so that bytes at random
//! never get far. An input is therefore the recipe of an archive; the digests are filled in.

use crate::bytes::Bytes;
use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use tar::{EntryType, Header};
use tempfile::TempDir;
use tenon_store::bundle::{Bundle, Import, Imported, PLUGINS};
use tenon_store::{Catalog, Digest, Require, State, Store, Trust};

/// Most files of an archive.
const MOST_FILES: usize = 10;

/// A key whose secret half nobody here has: minisign's own example.
const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

fn trust(require: Require) -> Trust {
    Trust::new([KEY], require).expect("minisign's example is a key")
}

fn folder() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).expect("a folder for a store")
}

/// A bundle is shown and imported into an empty store.
///
/// The first byte: 0, and the rest is an archive as it is; else bits of how to import it, and the rest is a recipe.
pub fn bundle(input: &[u8]) {
    let mut input = Bytes(input);
    let knobs = input.u8();
    let archive = match knobs {
        0 => Some(input.rest().to_vec()),
        _ => archive(input),
    };
    let Some(archive) = archive else { return };
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let store = Store::new(Vec::new(), at("store"), at("state"));
    let (mut from, path) = (archive.as_slice(), Path::new("fuzzed.tenon"));
    let how =
        Import { without_plugins: knobs & 2 != 0, replace_plugins: knobs & 4 != 0, replace_models: knobs & 8 != 0 };
    let done = Bundle::open(&mut from, path, &store, &trust(Require::Nothing)).and_then(|bundle| {
        shown_holds(&bundle);
        let stop_at = if knobs & 16 == 0 { usize::MAX } else { usize::from(knobs >> 5) };
        let mut told = 0;
        bundle.import(&store, how, &mut |_, _| Ok(()), &mut |_, _| {
            told += 1;
            if told > stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    });
    match done {
        Ok(imported) => imported_holds(&store, &imported),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(store.references().expect("references can be read").is_empty(), "left behind after {error}");
            assert_eq!(entries(&at("store").join(PLUGINS)), 0, "a plugin was left behind after {error}");
        }
    }
}

/// What can be seen before the import.
fn shown_holds(bundle: &Bundle<'_>) {
    let (index, manifests) = (bundle.index(), bundle.manifests());
    assert_eq!(index.models.len(), manifests.len());
    assert!(!manifests.is_empty() && index.size() < u64::MAX);
    for (model, manifest) in index.models.iter().zip(manifests) {
        assert_eq!(model.name, manifest.name);
        assert!(manifest.signature().is_none_or(|signature| !signature.is_good()), "nobody has the key for this");
    }
    for plugin in &index.plugins {
        assert!(!plugin.file.contains(['/', '\\']) && !plugin.id.contains(['/', '\\', '.']), "{plugin:?}");
    }
}

/// What was imported is there, with its bytes.
fn imported_holds(store: &Store, imported: &Imported) {
    let references = store.references().expect("references can be read");
    assert_eq!(references.len(), imported.models.len());
    for entry in references {
        let manifest = entry.manifest.expect("what was imported can be read");
        assert!(imported.models.contains(&manifest.name));
        assert_eq!(store.state(&manifest), State::Present, "{}", manifest.name);
    }
    let plugins = imported.new_plugins.len();
    assert_eq!(entries(&store.folder().join(PLUGINS)), 2 * plugins, "a library and a sidecar for each plugin");
}

/// Visible files in a folder; 0 where there is none.
fn entries(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')).count()
}

/// A file of a recipe.
struct Member {
    name: String,
    bytes: Vec<u8>,
}

/// The archive of a recipe: the index, then files, each with two bytes that say how long it is. A file has a name in
/// front, with a byte that says how long that is.
///
/// In names and texts `@3` is the digest and the size of the third file after the index as a table of TOML, `#3` its
/// digest, `%3` its size. A file can only speak of those behind it.
fn archive(mut input: Bytes<'_>) -> Option<Vec<u8>> {
    let length = input.u16();
    let index = input.take(length.into()).to_vec();
    let mut members = Vec::new();
    while !input.is_empty() && members.len() < MOST_FILES {
        let length = input.u8();
        let name = String::from_utf8_lossy(input.take(length.into())).into_owned();
        let length = input.u16();
        members.push(Member { name, bytes: input.take(length.into()).to_vec() });
    }
    let mut known = BTreeMap::new();
    for (number, member) in members.iter_mut().enumerate().rev() {
        member.bytes = filled(&member.bytes, &known);
        known.insert(number as u8, (Digest::of(&member.bytes), member.bytes.len()));
    }
    let index = filled(&index, &known);
    let check = format!("{}  bundle.toml\n", Digest::of(&index));
    let mut out = Vec::new();
    put(&mut out, "bundle.toml", &index)?;
    put(&mut out, "bundle.sha256", check.as_bytes())?;
    for member in &members {
        let name = filled(member.name.as_bytes(), &known);
        put(&mut out, std::str::from_utf8(&name).ok()?, &member.bytes)?;
    }
    out.resize(out.len() + 1024, 0);
    Some(out)
}

/// A text with digests and sizes in their places.
fn filled(text: &[u8], known: &BTreeMap<u8, (Digest, usize)>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, behind)) = rest.split_first() {
        let file = behind.first().and_then(|number| known.get(&number.wrapping_sub(b'0')));
        rest = match (byte, file) {
            (b'@', Some((digest, size))) => {
                out.extend(format!("{{ sha256 = \"{digest}\", size = {size} }}").bytes());
                &behind[1..]
            }
            (b'#', Some((digest, _))) => {
                out.extend(digest.to_string().bytes());
                &behind[1..]
            }
            (b'%', Some((_, size))) => {
                out.extend(size.to_string().bytes());
                &behind[1..]
            }
            _ => {
                out.push(*byte);
                behind
            }
        };
    }
    out
}

/// Adds a file as a bundle has it; `None` for a name that no archive can hold.
fn put(out: &mut Vec<u8>, name: &str, bytes: &[u8]) -> Option<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_path(name).ok()?;
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    out.extend(header.as_bytes());
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(512), 0);
    Some(())
}

/// A signature beside a manifest: read, never good, and refused where one is needed.
pub fn signature(input: &[u8]) {
    const MANIFEST: &str = "name = \"signed\"\ntask = \"chat\"\nbackend = \"echo\"\nlicense = \"MIT\"\n";
    let folder = folder();
    let file = |name: &str| folder.path().join(name);
    fs::write(file("signed.toml"), MANIFEST).expect("the manifest is written");
    fs::write(file("signed.toml.minisig"), input).expect("the signature is written");
    let folders = [folder.path().to_owned()];
    let catalog = Catalog::read_with(&folders, &trust(Require::Nothing));
    assert_eq!(catalog.entries().len(), 1);
    if let Ok(manifest) = catalog.get("signed") {
        let signature = manifest.signature().expect("a signature lies beside it");
        assert!(!signature.is_good(), "nobody has the key for this");
        assert_eq!(signature.text().as_bytes(), input, "it is kept as it is");
        assert_eq!(signature.key().len(), 16, "{:?}", signature.key());
        assert_eq!(manifest.record().signature.as_deref(), Some(signature.text()));
    }
    let strict = Catalog::read_with(&folders, &trust(Require::All));
    assert!(strict.get("signed").is_err(), "a manifest without a good signature where one is needed");
}
