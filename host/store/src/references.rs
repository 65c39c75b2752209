//! References: the manifests of the models that were pulled, imported or unbundled into the store.
//!
//! A reference is a manifest in `<store>/models`. It is what keeps the blobs of its files: [`crate::collect`] removes
//! those that none names. A [`Claim`] keeps them while they are on their way and there is no reference yet.

use crate::catalog::manifests_in;
use crate::folder::{Folder, is_absent};
use crate::ledger;
use crate::names::model_name_problem;
use crate::part::knows_no_locks;
use crate::{Digest, Entry, Error, ErrorKind, Manifest, Record, Result, Store, signature};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The folder of references in the store.
pub(crate) const MODELS: &str = "models";

/// The folder of what is on its way.
pub(crate) const PARTS: &str = "parts";

/// What the name of a claim's file ends with.
pub(crate) const CLAIM: &str = ".claim";

/// What the name of a file ends with while it is being written.
pub(crate) const UNFINISHED: &str = ".part";

impl Store {
    /// Writes the reference of a model: from now on the blobs of its files stay. One of that name is replaced, in one
    /// step; the text of the manifest is kept as it was read.
    ///
    /// # Errors
    /// [`ErrorKind::Name`] and [`ErrorKind::Manifest`] when it would not read back, [`ErrorKind::Io`] when the store
    /// cannot be written to.
    pub fn refer(&self, manifest: &Manifest) -> Result<PathBuf> {
        let name = good_name(&manifest.name)?;
        let path = self.folder().join(MODELS).join(format!("{name}.toml"));
        let Record { text, signature } = manifest.record();
        if let Err(diagnostics) = Manifest::parse(&text, &path) {
            return Err(ErrorKind::Manifest { diagnostics }.into());
        }
        let _turn = self.turn()?;
        make_folder(self.folder(), MODELS)?;
        // First, so that no text ever stands beside a signature that is not its own: that would count as forged.
        match (signature, signature::path_beside(&path)) {
            (Some(signature), beside) => write_whole(&beside, signature.as_bytes())?,
            (None, beside) => remove_if_there(&beside)?,
        }
        write_whole(&path, text.as_bytes())?;
        Ok(path)
    }

    /// All references, good and broken, sorted by name.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn references(&self) -> Result<Vec<Entry>> {
        match self.folder().as_os_str().is_empty() {
            true => Ok(Vec::new()),
            false => Ok(manifests_in(&self.folder().join(MODELS))?.iter().map(|path| Entry::read(path)).collect()),
        }
    }

    /// Removes the reference of this name, broken ones too; whether there was one. Its blobs are left to
    /// [`Store::collect`].
    pub fn unrefer(&self, name: &str) -> Result<bool> {
        let _turn = self.turn()?;
        self.remove_reference(name)
    }

    /// As [`Store::unrefer`], for one whose turn it is.
    pub(crate) fn remove_reference(&self, name: &str) -> Result<bool> {
        let name = good_name(name)?;
        let Some(folder) = Folder::open(self.folder(), MODELS)? else { return Ok(false) };
        let removed = folder.remove(&format!("{name}.toml"))?;
        folder.remove(&format!("{name}.toml{}", signature::SUFFIX))?;
        folder.sync()?;
        Ok(removed)
    }

    /// Keeps the blobs of a manifest's files from being collected until the claim ends: for whoever brings them, since
    /// the reference comes last. It ends when it is dropped, and with the process.
    ///
    /// # Errors
    /// As [`Store::refer`].
    pub fn claim(&self, manifest: &Manifest) -> Result<Claim<'_>> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = good_name(&manifest.name)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let _turn = self.turn()?;
        make_folder(self.folder(), PARTS)?;
        let path =
            self.folder().join(PARTS).join(format!("{name}.{}-{}-{number}{CLAIM}", std::process::id(), ledger::now()));
        let digests: String = manifest.files.iter().map(|file| format!("{}\n", file.sha256)).collect();
        let lock = locked_file(&path, &digests).map_err(|error| Error::writing(&path, "write", error))?;
        Ok(Claim { store: self, manifest: manifest.clone(), path, _lock: lock })
    }

    /// Waits until nobody else changes what references and claims say: no blob may be collected between a look at them
    /// and its removal. Nobody takes long.
    pub(crate) fn turn(&self) -> Result<Turn> {
        let folder = make_folder(self.folder(), PARTS)?;
        let path = folder.join("references.lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|error| Error::writing(&path, "write", error))?;
        lock(&file).map_err(|error| Error::writing(&path, "lock", error))?;
        Ok(Turn(file))
    }

    /// The digests of everything that a reference names.
    ///
    /// # Errors
    /// [`ErrorKind::BrokenReference`]: nobody knows which blobs that one needs.
    pub(crate) fn referenced(&self) -> Result<BTreeSet<Digest>> {
        let mut digests = BTreeSet::new();
        for path in manifests_in(&self.folder().join(MODELS))? {
            match Manifest::read(&path) {
                Ok(manifest) => digests.extend(manifest.files.iter().map(|file| file.sha256)),
                Err(error) => return Err(broken_reference(path, &error)),
            }
        }
        Ok(digests)
    }

    /// The digests that the claims of living processes name. With a turn, the claims of others are removed.
    pub(crate) fn claimed(&self, turn: Option<&Turn>) -> Result<BTreeSet<Digest>> {
        let mut claimed = BTreeSet::new();
        let Some(folder) = Folder::open(self.folder(), PARTS)? else { return Ok(claimed) };
        for item in folder.items()?.iter().filter(|item| item.is_file && item.name.ends_with(CLAIM)) {
            let path = folder.path_of(&item.name);
            match File::open(&path) {
                Ok(file) if file.try_lock().is_ok() => drop(turn.map(|_| folder.remove(&item.name)).transpose()?),
                Err(error) if is_absent(&error) => {}
                _ => {
                    let text = fs::read_to_string(&path).map_err(|error| Error::io(&path, "read", error))?;
                    claimed.extend(text.lines().filter_map(|line| line.parse::<Digest>().ok()));
                }
            }
        }
        Ok(claimed)
    }
}

/// The reference at `path` cannot be read; `error` is why.
pub(crate) fn broken_reference(path: PathBuf, error: &Error) -> Error {
    let problem = error.to_string().lines().next().unwrap_or_default().to_owned();
    ErrorKind::BrokenReference { path, problem }.into()
}

/// The right to change what references and claims say, or to act on it.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "holds the lock until it is dropped")] File);

/// Keeps the blobs of a model from being collected while they are brought: see [`Store::claim`].
#[derive(Debug)]
pub struct Claim<'s> {
    store: &'s Store,
    manifest: Manifest,
    path: PathBuf,
    _lock: File,
}

impl Claim<'_> {
    /// Writes the reference, and ends the claim.
    ///
    /// # Errors
    /// As [`Store::refer`].
    pub fn refer(self) -> Result<PathBuf> {
        self.store.refer(&self.manifest)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        // What stays is removed by whoever collects next.
        let _ = fs::remove_file(&self.path);
    }
}

/// A name that may be that of a model, and so of a file in the folder of references.
pub(crate) fn good_name(name: &str) -> Result<&str> {
    match model_name_problem(name) {
        Some(problem) => Err(ErrorKind::Name { name: name.to_owned(), problem }.into()),
        None => Ok(name),
    }
}

/// A folder of the store, made when it is not there.
pub(crate) fn make_folder(store: &Path, name: &str) -> Result<PathBuf> {
    let path = store.join(name);
    if store.as_os_str().is_empty() {
        return Err(Error::unsafe_path(&path, "is no place for a store: name one with --store or TENON_STORE"));
    }
    fs::create_dir_all(&path).map_err(|error| Error::writing(&path, "make", error))?;
    Ok(path)
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if !is_absent(&error) => Err(Error::writing(path, "remove", error)),
        _ => Ok(()),
    }
}

/// Locks a file where the file system knows locks. Where it does not, a claim counts until it ends by itself, and
/// whoever collects has to be alone.
fn lock(file: &File) -> io::Result<()> {
    file.lock().or_else(|error| if knows_no_locks(&error) { Ok(()) } else { Err(error) })
}

/// A file with this text that is locked from before anybody can find it empty.
fn locked_file(path: &Path, text: &str) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    lock(&file)?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

/// Writes a file beside its place, and puts it there in one step: readers see the old one or the new one, also when the
/// machine loses power. For one whose turn it is.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = folder.join(format!(".{name}.{}{UNFINISHED}", std::process::id()));
    let write = || {
        let _ = fs::remove_file(&unfinished);
        let mut file = OpenOptions::new().write(true).create_new(true).open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&unfinished);
        Error::writing(path, "write", error)
    })?;
    #[cfg(unix)]
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| Error::writing(folder, "sync", error))?;
    Ok(())
}
