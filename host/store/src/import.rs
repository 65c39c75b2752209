//! Importing: a file that somebody has already becomes the file of a model, without a byte from the network.
//!
//! The file is hashed first. If a manifest of the catalogue names that digest, the model is that one; else a manifest is
//! written, from what the file's first bytes tell and what was said. Either way the result is a reference and what it
//! needs in the store: a clone or a copy of the file, another name for it, or a link to where it lies. Never a copy
//! that nobody asked for.

use crate::collect::BLOBS;
use crate::folder::{Folder, is_absent};
use crate::identity::Identity;
use crate::links::{self, LINKS};
use crate::names::{file_name_problem, model_name_problem, quoted};
use crate::part::Place;
use crate::references::{PARTS, good_name, make_folder};
use crate::{
    BlobLock, Catalog, Digest, Error, ErrorKind, Manifest, ManifestFile, Part, Progress, Result, Store, hash_reader,
    is_research_only,
};
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// How a file gets into the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placing {
    /// As a clone, which shares its bytes on the disk until one of the two is written to. Few file systems can.
    #[default]
    Clone,
    /// As a clone where that can be, else as a copy.
    Copy,
    /// As another name of the same file: who writes to the one changes the other.
    HardLink,
    /// Not at all: the store remembers where it lies.
    Link,
}

/// What is said of a file that is imported. What its bytes or a manifest of the catalogue tell need not be said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Import {
    /// How it gets into the store.
    pub placing: Placing,
    /// Name of the model.
    pub name: Option<String>,
    /// What it does.
    pub task: Option<String>,
    /// Backend that runs it.
    pub backend: Option<String>,
    /// Licence of the weights.
    pub license: Option<String>,
}

/// What an import made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Imported {
    /// The model.
    pub manifest: Manifest,
    /// Whether the catalogue knew it already.
    pub known: bool,
    /// Its reference.
    pub reference: PathBuf,
    /// Each file that was imported, in the order of the parts of a split model.
    pub files: Vec<ImportedFile>,
    /// The names of files that the model needs and that are still missing.
    pub missing: Vec<String>,
}

/// A file that was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportedFile {
    /// Where it lay, and lies.
    pub from: PathBuf,
    /// What the store has of it: a blob or a link.
    pub place: PathBuf,
    /// Its digest.
    pub sha256: Digest,
    /// Its bytes.
    pub size: u64,
    /// Whether the store had it before.
    pub was_there: bool,
}

/// A file to import: open, hashed.
struct Source {
    path: PathBuf,
    file: File,
    name: String,
    identity: Identity,
    sha256: Digest,
}

impl Store {
    /// Imports a file, with the other parts when it is the first of a split GGUF. `progress` tells how far hashing and
    /// copying are, and cancels by breaking.
    ///
    /// # Errors
    /// [`ErrorKind::Import`] with what to say or do; [`ErrorKind::Exists`] when another model has the name.
    pub fn import(
        &self,
        path: &Path,
        catalog: &Catalog,
        asked: &Import,
        progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Imported> {
        asked.name.as_deref().map(good_name).transpose()?;
        let paths = parts_of(path)?;
        let opened = paths.iter().map(|path| open(path)).collect::<Result<Vec<_>>>()?;
        let total = opened.iter().map(|(_, _, identity)| identity.size).sum();
        let mut done = 0;
        let mut sources = Vec::new();
        for (path, file, identity) in opened {
            sources.push(hash(path, file, identity, &mut |count| {
                done += count;
                progress(&Progress { done, total })
            })?);
        }
        let known = self.known(&sources, catalog, asked)?;
        let manifest = match &known {
            Some(manifest) => manifest.clone(),
            None => self.described(&sources, catalog, asked)?,
        };
        let claim = self.claim(&manifest)?;
        let mut files = Vec::new();
        for source in &sources {
            files.push(self.place(source, asked.placing, progress)?);
        }
        let reference = claim.refer()?;
        let missing = self.missing(&manifest);
        Ok(Imported { manifest, known: known.is_some(), reference, files, missing })
    }

    /// The manifest of the catalogue that names these very files.
    fn known(&self, sources: &[Source], catalog: &Catalog, asked: &Import) -> Result<Option<Manifest>> {
        let names = |manifest: &Manifest, optional_too: bool| {
            let fits = |file: &ManifestFile, source: &Source| {
                file.sha256 == source.sha256 && file.size == source.identity.size && (optional_too || !file.optional)
            };
            sources.iter().all(|source| manifest.files.iter().any(|file| fits(file, source)))
        };
        let named = |manifest: &&Manifest| asked.name.as_ref().is_none_or(|name| *name == manifest.name);
        let fits = |optional_too| catalog.manifests().filter(named).filter(move |one| names(one, optional_too));
        // A file that a model can do without is rather that of the model that cannot.
        let all: Vec<&Manifest> = fits(false).collect();
        let all = if all.is_empty() { fits(true).collect() } else { all };
        match all.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some((*one).clone())),
            several => {
                let names: Vec<&str> = several.iter().map(|manifest| manifest.name.as_str()).collect();
                Err(sources[0]
                    .problem(format!("belongs to several models: say which with --name: {}", names.join(", "))))
            }
        }
    }

    /// A manifest for files that no manifest of the catalogue names.
    fn described(&self, sources: &[Source], catalog: &Catalog, asked: &Import) -> Result<Manifest> {
        let first = &sources[0];
        let format = Format::of(first)?;
        let name = asked.name.clone().or_else(|| name_from(&first.name));
        let backend = asked.backend.clone().or_else(|| format.map(|format| format.backend().to_owned()));
        let task = asked.task.clone().or_else(|| format.and_then(Format::task).map(str::to_owned));
        let wanted = [
            (name.is_none(), "--name"),
            (backend.is_none(), "--backend"),
            (task.is_none(), "--task (chat, generate, embed …)"),
            (asked.license.is_none(), "--license"),
        ];
        let wanted: Vec<&str> = wanted.iter().filter(|(lacks, _)| *lacks).map(|(_, flag)| *flag).collect();
        let (Some(name), Some(backend), Some(task), Some(license), []) =
            (name, backend, task, asked.license.clone(), wanted.as_slice())
        else {
            let problem =
                format!("is in no manifest of the catalogue, and does not tell all: say {}", wanted.join(", "));
            return Err(first.problem(problem));
        };
        self.is_free(&name, sources, catalog)?;
        let restricted = is_research_only(&license);
        let mut manifest = Manifest::new(name, task, backend, license);
        manifest.restricted = restricted;
        manifest.files = sources.iter().map(Source::described).collect();
        Ok(manifest)
    }

    /// Whether no other model has a name, or only this one before it was imported again.
    fn is_free(&self, name: &str, sources: &[Source], catalog: &Catalog) -> Result<()> {
        let Some(entry) = catalog.entries().iter().find(|entry| entry.name == name) else { return Ok(()) };
        let digests = |manifest: &Manifest| manifest.files.iter().map(|file| file.sha256).collect::<Vec<_>>();
        let same = sources.iter().map(|source| source.sha256).collect::<Vec<_>>();
        match &entry.manifest {
            Ok(manifest) if digests(manifest) == same => Ok(()),
            _ => {
                let problem = format!("is a model called {} already: say another name with --name", quoted(name));
                Err(ErrorKind::Exists { path: entry.path.clone(), problem }.into())
            }
        }
    }

    /// The files that a model needs and that are nowhere.
    fn missing(&self, manifest: &Manifest) -> Vec<String> {
        let needed = manifest.files.iter().filter(|file| !file.optional);
        needed.filter(|file| !matches!(self.find(manifest, file), Ok(Some(_)))).map(|file| file.name.clone()).collect()
    }

    fn place(
        &self,
        source: &Source,
        placing: Placing,
        progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<ImportedFile> {
        let (sha256, size) = (source.sha256, source.identity.size);
        let file = |place, was_there| ImportedFile { from: source.path.clone(), place, sha256, size, was_there };
        if placing == Placing::Link {
            return self.place_link(source).map(|(place, was_there)| file(place, was_there));
        }
        let waits = &mut || progress(&Progress { done: 0, total: size });
        let lock = match self.lock_to_receive(sha256, size, waits)? {
            Place::Present(blob) => return Ok(file(blob, true)),
            Place::Free(lock) => lock,
        };
        let place = match placing {
            Placing::HardLink => self.place_name(source, lock)?,
            _ => self.place_bytes(source, lock, placing, progress)?,
        };
        Ok(file(place, false))
    }

    fn place_link(&self, source: &Source) -> Result<(PathBuf, bool)> {
        let link = self.folder().join(LINKS).join(format!("sha256-{}", source.sha256));
        if links::target(self.folder(), source.sha256)?.is_some_and(|target| target == source.path) {
            return Ok((link, true));
        }
        let turn = self.turn()?;
        Ok((self.link(source.sha256, &source.path, &turn)?, false))
    }

    /// A clone or a copy, which is hashed once more: what is verified is what lies in the store.
    fn place_bytes(
        &self,
        source: &Source,
        lock: BlobLock,
        placing: Placing,
        progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<PathBuf> {
        let blob = (source.sha256, source.identity.size);
        // Beside the part, so that a clone that fails leaves what a pull has put there.
        let path = self.folder().join(PARTS).join(format!("sha256-{}.clone", source.sha256));
        let cloned = remove_if_there(&path).and_then(|()| clone(&source.file, &path));
        let part = match cloned {
            Ok(()) => {
                let part = Part::adopt(self, lock, blob, &path, std::slice::from_ref(&(0..blob.1)))?;
                part.fill()?;
                part
            }
            Err(error) => {
                let _ = fs::remove_file(&path);
                if placing == Placing::Clone {
                    return Err(source.cannot_be_cloned(&error));
                }
                let mut part = Part::open(self, lock, blob.0, blob.1)?;
                part.restart()?;
                copy(source, &mut part, progress)?;
                part
            }
        };
        part.commit(progress)
    }

    /// Another name for the file. It can be written to by its first name, so that the ledger is told nothing: it is
    /// hashed again when it is used.
    fn place_name(&self, source: &Source, _lock: BlobLock) -> Result<PathBuf> {
        let blob = self.blob_path(source.sha256);
        // Under a name that nobody opens for writing: it is the user's own file.
        let path = make_folder(self.folder(), PARTS)?.join(format!("sha256-{}.name", source.sha256));
        let link = || {
            remove_if_there(&path)?;
            fs::hard_link(&source.path, &path)?;
            let linked = Identity::of(&File::open(&path)?)?;
            // Making the link has moved the change time.
            let changed = source.identity.changed;
            if (Identity { changed, ..linked }) == source.identity {
                fs::rename(&path, &blob)?
            } else {
                fs::remove_file(&path)?
            }
            Ok::<_, io::Error>(blob.exists())
        };
        match link() {
            Ok(true) => sync_blobs(self.folder()).map(|()| blob),
            Ok(false) => Err(ErrorKind::Changed { path: source.path.clone() }.into()),
            Err(error) => {
                let size = source.identity.size;
                let problem = format!(
                    "cannot get another name in the store {}: {error}; --copy takes {size} bytes, --link none",
                    self.folder().display()
                );
                Err(source.problem(problem))
            }
        }
    }
}

impl Source {
    fn problem(&self, problem: String) -> Error {
        ErrorKind::Import { path: self.path.clone(), problem }.into()
    }

    fn cannot_be_cloned(&self, error: &io::Error) -> Error {
        let size = self.identity.size;
        self.problem(format!(
            "cannot be cloned into the store ({error}): --copy takes {size} bytes; --hard-link takes none but must stay \
             on one disk, and --link leaves the file where it is"
        ))
    }

    /// The file as a manifest says it.
    fn described(&self) -> ManifestFile {
        ManifestFile::new("model", self.name.clone(), self.sha256, self.identity.size)
    }
}

/// Opens a plain file by its real path.
fn open(path: &Path) -> Result<(PathBuf, File, Identity)> {
    let path = fs::canonicalize(path).map_err(|error| Error::io(path, "open", error))?;
    // A pipe or a device would make reading wait for ever.
    if !fs::metadata(&path).map_err(|error| Error::io(&path, "open", error))?.is_file() {
        return Err(Error::unsafe_path(&path, "is not a plain file"));
    }
    let file = File::open(&path).map_err(|error| Error::io(&path, "open", error))?;
    let identity = Identity::of(&file).map_err(|error| Error::io(&path, "look at", error))?;
    Ok((path, file, identity))
}

fn hash(path: PathBuf, file: File, identity: Identity, hook: &mut dyn FnMut(u64) -> ControlFlow<()>) -> Result<Source> {
    let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let problem = match &name {
        Some(name) if identity.size > 0 => file_name_problem(name).map(|problem| format!("{problem}: rename it first")),
        Some(_) => Some("is empty".to_owned()),
        None => Some("has a name that is no text: rename it first".to_owned()),
    };
    if let Some(problem) = problem {
        return Err(ErrorKind::Import { path, problem }.into());
    }
    let hashed = hash_reader(&mut &file, hook).map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted => ErrorKind::Cancelled.into(),
        _ => Error::io(&path, "read", error),
    })?;
    let after = Identity::of(&file).map_err(|error| Error::io(&path, "look at", error))?;
    if after != identity || hashed.size != identity.size {
        return Err(ErrorKind::Changed { path }.into());
    }
    Ok(Source { path, file, name: name.unwrap_or_default(), identity, sha256: hashed.digest })
}

/// The parts of the model that a file is the first part of; the file alone when it is not split.
fn parts_of(path: &Path) -> Result<Vec<PathBuf>> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some((stem, number, count)) = split_name(name) else { return Ok(vec![path.to_owned()]) };
    let part = |number: usize| path.with_file_name(format!("{stem}-{number:05}-of-{count:05}.gguf"));
    if number != 1 {
        let problem = format!("is part {number} of {count}: import the first one, {}", part(1).display());
        return Err(ErrorKind::Import { path: path.to_owned(), problem }.into());
    }
    let parts: Vec<PathBuf> = (1..=count).map(part).collect();
    match parts.iter().find(|part| !part.exists()) {
        Some(absent) => {
            let problem = format!("is part 1 of {count}, and {} is not beside it", absent.display());
            Err(ErrorKind::Import { path: path.to_owned(), problem }.into())
        }
        None => Ok(parts),
    }
}

/// The stem, the number and the count of `STEM-00001-of-00003.gguf`, by which llama.cpp finds the parts of a model.
fn split_name(name: &str) -> Option<(&str, usize, usize)> {
    let rest = name.strip_suffix(".gguf")?;
    let (rest, count) = rest.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (number, count) = (digits(number).then(|| number.parse().ok())??, digits(count).then(|| count.parse().ok())??);
    (1..=count).contains(&number).then_some((stem, number, count))
}

/// A name for the model in a file of this name, if that gives a good one.
fn name_from(file: &str) -> Option<String> {
    let stem = split_name(file).map_or_else(|| file.rsplit_once('.').map_or(file, |(stem, _)| stem), |(stem, ..)| stem);
    let plain = |c: char| if matches!(c, 'a'..='z' | '0'..='9' | '.' | '_') { c } else { '-' };
    let name: String = stem.to_lowercase().chars().map(plain).collect();
    let name = name.trim_matches(['-', '.', '_']).to_owned();
    model_name_problem(&name).is_none().then_some(name)
}

/// What a file is by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Gguf,
    Whisper,
}

impl Format {
    fn of(source: &Source) -> Result<Option<Self>> {
        let mut file = &source.file;
        let mut head = Vec::new();
        let read = file.rewind().and_then(|()| file.take(8).read_to_end(&mut head));
        read.and_then(|_| file.rewind()).map_err(|error| Error::io(&source.path, "read", error))?;
        Ok(match head.as_slice() {
            [b'G', b'G', b'U', b'F', ..] => Some(Self::Gguf),
            // Models for voice activity begin like whisper's, but with the length of a name instead of a vocabulary.
            [b'l', b'm', b'g', b'g', vocabulary @ ..] if is_vocabulary(vocabulary) => Some(Self::Whisper),
            _ => None,
        })
    }

    fn backend(self) -> &'static str {
        match self {
            Self::Gguf => "llama",
            Self::Whisper => "whisper",
        }
    }

    /// What such a file is for, where it can be one thing only.
    fn task(self) -> Option<&'static str> {
        match self {
            Self::Gguf => None,
            Self::Whisper => Some(tenon_tasks::task::TRANSCRIBE),
        }
    }
}

/// Whether four bytes can be the number of tokens that a whisper model knows.
fn is_vocabulary(bytes: &[u8]) -> bool {
    let number = bytes.try_into().map(i32::from_le_bytes);
    number.is_ok_and(|number| (256..1_000_000).contains(&number))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    fs::remove_file(path).or_else(|error| if is_absent(&error) { Ok(()) } else { Err(error) })
}

/// Makes a new name of a blob stay when the machine loses power.
fn sync_blobs(store: &Path) -> Result<()> {
    Folder::open(store, BLOBS)?.map_or(Ok(()), |folder| folder.sync())
}

/// Makes a file at `to` that shares its bytes on the disk with `from`.
#[cfg(target_os = "linux")]
fn clone(from: &File, to: &Path) -> io::Result<()> {
    rustix::fs::ioctl_ficlone(File::create_new(to)?, from).map_err(io::Error::from)
}

/// Written for Linux only: elsewhere a copy has to be asked for.
#[cfg(not(target_os = "linux"))]
fn clone(_: &File, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn copy(source: &Source, part: &mut Part, progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>) -> Result<()> {
    let total = source.identity.size;
    let mut buffer = vec![0; 1 << 20];
    let mut file = &source.file;
    file.rewind().map_err(|error| Error::io(&source.path, "read", error))?;
    let mut writer = part.writer(0..total)?;
    while writer.remaining() > 0 {
        let count = match file.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::Changed { path: source.path.clone() }.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::io(&source.path, "read", error)),
        };
        writer.write(&buffer[..count])?;
        if progress(&Progress { done: writer.at(), total }).is_break() {
            return Err(ErrorKind::Cancelled.into());
        }
    }
    Ok(())
}
