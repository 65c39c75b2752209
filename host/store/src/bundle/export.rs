//! Writing a bundle. What goes into it is hashed while it is copied: a bundle holds nothing that is not what its index
//! says.

use super::archive::Writer;
use super::index::{self, BundledBlob, BundledModel, BundledPlugin, Content, Index};
use super::{Meter, Stage, Watch, refused};
use crate::{Digest, Error, ErrorKind, Manifest, Record, Result, Store, VerifiedFile, VerifyMode};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A plugin that goes into a bundle, by the word of its sidecar.
#[derive(Clone, Debug)]
pub struct PluginSource {
    /// Id of the backend.
    pub id: String,
    /// Version of the plugin.
    pub version: String,
    /// Contract that it was built for.
    pub abi: String,
    /// What it needs of the CPU.
    pub cpu: String,
    /// The library.
    pub library: PathBuf,
    /// SHA-256 of the library.
    pub sha256: Digest,
    /// The sidecar.
    pub sidecar: PathBuf,
}

/// One that is open, with all that the index says of it.
struct OpenPlugin {
    entry: BundledPlugin,
    sidecar: Vec<u8>,
    library: File,
    path: PathBuf,
}

/// A model's place in the index, and its record.
type Recorded = (BundledModel, Record);

/// Writes a bundle of these models, with these plugins, into a new file: it is there when all of it is.
///
/// # Errors
/// As [`export`](fn@export), and [`ErrorKind::Exists`] when the file is there already.
pub fn export_file(
    store: &Store,
    manifests: &[&Manifest],
    plugins: &[PluginSource],
    path: &Path,
    watch: &mut Watch<'_>,
) -> Result<Index> {
    if path.symlink_metadata().is_ok() {
        let problem = "is there already: name another file, or remove it".to_owned();
        return Err(ErrorKind::Exists { path: path.to_owned(), problem }.into());
    }
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".part-{}", std::process::id()));
    let unfinished = PathBuf::from(unfinished);
    // It is the user's own file, and none of the store's.
    let cannot = |error| Error::writing(path, "make", error).advising("name a file in a folder that may be written to");
    let file = File::create_new(&unfinished).map_err(cannot)?;
    let mut write = || {
        let mut out = BufWriter::new(&file);
        let index = export(store, manifests, plugins, &mut out, path, watch)?;
        drop(out);
        file.sync_all().map_err(|error| Error::io(path, "write", error))?;
        std::fs::rename(&unfinished, path).map_err(cannot)?;
        Ok(index)
    };
    write().inspect_err(|_| drop(std::fs::remove_file(&unfinished)))
}

/// Writes a bundle of these models, with these plugins. Equal models and plugins make equal bundles. `path` is what
/// errors call it.
///
/// # Errors
/// [`ErrorKind::NotFound`], [`ErrorKind::SizeMismatch`] and [`ErrorKind::HashMismatch`] for a file that is not what its
/// manifest or sidecar says; what was written until then is no bundle. [`ErrorKind::Cancelled`] when `watch` breaks.
pub fn export(
    store: &Store,
    manifests: &[&Manifest],
    plugins: &[PluginSource],
    out: &mut dyn Write,
    path: &Path,
    watch: &mut Watch<'_>,
) -> Result<Index> {
    let mut models: Vec<Recorded> = manifests.iter().map(|manifest| record(manifest)).collect();
    models.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    models.dedup_by(|(a, _), (b, _)| a.name == b.name);
    let blobs = open_blobs(store, manifests)?;
    let mut plugins: Vec<OpenPlugin> = plugins.iter().map(open_plugin).collect::<Result<_>>()?;
    plugins.sort_by(|a, b| a.entry.id.cmp(&b.entry.id));
    plugins.dedup_by(|a, b| a.entry.id == b.entry.id);
    let index = Index::new(
        models.iter().map(|(model, _)| model.clone()).collect(),
        blobs.iter().map(|(sha256, file)| BundledBlob { sha256: *sha256, size: file.size() }).collect(),
        plugins.iter().map(|plugin| plugin.entry.clone()).collect(),
    );
    match index.problem() {
        None => match write(&index, models, blobs, plugins, Writer::new(out, path), watch) {
            Ok(()) => Ok(index),
            Err(error) => Err(of_its_file(error, manifests)),
        },
        Some(problem) => Err(refused(path, format!("cannot be a bundle: {problem}"))),
    }
}

fn write(
    index: &Index,
    models: Vec<Recorded>,
    blobs: BTreeMap<Digest, VerifiedFile>,
    mut plugins: Vec<OpenPlugin>,
    mut archive: Writer<'_>,
    watch: &mut Watch<'_>,
) -> Result<()> {
    let mut meter = Meter::begin(watch, Stage::Writing, index.size())?;
    let text = index.to_toml();
    archive.small(index::NAME, text.as_bytes())?;
    archive.small(index::CHECK, Index::check_of(text.as_bytes()).as_bytes())?;
    for (model, record) in &models {
        archive.small(&model.path(), record.text.as_bytes())?;
        if let Some(signature) = &record.signature {
            archive.small(&model.signature_path(), signature.as_bytes())?;
        }
    }
    for (blob, (expected, file)) in index.blobs.iter().zip(blobs) {
        let path = file.path().to_owned();
        let step = &mut |bytes| meter.add(bytes);
        let actual = archive.copy(&blob.path(), blob.size, &mut file.into_file(), &path, step)?;
        same(path, expected, actual)?;
    }
    for plugin in &mut plugins {
        let entry = &plugin.entry;
        archive.small(&entry.sidecar_path(), &plugin.sidecar)?;
        let step = &mut |bytes| meter.add(bytes);
        let actual =
            archive.copy(&entry.library_path(), entry.library.size, &mut plugin.library, &plugin.path, step)?;
        same(plugin.path.clone(), entry.library.sha256, actual)?;
    }
    archive.finish()
}

/// The error with what to do about it, where it is that of a file of these models.
fn of_its_file(error: Error, manifests: &[&Manifest]) -> Error {
    let ErrorKind::HashMismatch { expected: sha256, .. } = *error.kind() else { return error };
    let mut files = manifests.iter().flat_map(|manifest| manifest.files.iter().map(move |file| (*manifest, file)));
    match files.find(|(_, file)| file.sha256 == sha256) {
        Some((manifest, file)) => error.of_file(manifest, file),
        None => error,
    }
}

fn same(path: PathBuf, expected: Digest, actual: Digest) -> Result<()> {
    if expected == actual { Ok(()) } else { Err(ErrorKind::HashMismatch { path, expected, actual }.into()) }
}

fn record(manifest: &Manifest) -> Recorded {
    let record = manifest.record();
    let signature = record.signature.as_ref().map(|signature| Content::of(signature.as_bytes()));
    let (name, manifest) = (manifest.name.clone(), Content::of(record.text.as_bytes()));
    (BundledModel { name, manifest, signature }, record)
}

/// The files of the models, each once, open and of the right size. What is optional and not here is left out.
fn open_blobs(store: &Store, manifests: &[&Manifest]) -> Result<BTreeMap<Digest, VerifiedFile>> {
    let mut blobs = BTreeMap::new();
    for manifest in manifests {
        // They are hashed when they are copied.
        let files = store.verify(manifest, VerifyMode::Never, &mut |_| ControlFlow::Continue(()))?;
        blobs.extend(files.into_iter().map(|file| (file.digest(), file)));
    }
    Ok(blobs)
}

fn open_plugin(source: &PluginSource) -> Result<OpenPlugin> {
    let open = |path: &Path| File::open(path).map_err(|error| Error::io(path, "open", error));
    let mut sidecar = Vec::new();
    let reading = open(&source.sidecar)?.take(index::LONGEST).read_to_end(&mut sidecar);
    reading.map_err(|error| Error::io(&source.sidecar, "read", error))?;
    let library = open(&source.library)?;
    let size = library.metadata().map_err(|error| Error::io(&source.library, "look at", error))?.len();
    let entry = BundledPlugin {
        id: source.id.clone(),
        version: source.version.clone(),
        abi: source.abi.clone(),
        cpu: source.cpu.clone(),
        file: source.library.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        library: Content { sha256: source.sha256, size },
        sidecar: Content::of(&sidecar),
    };
    Ok(OpenPlugin { entry, sidecar, library, path: source.library.clone() })
}
