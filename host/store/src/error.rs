//! What can go wrong between a model's name and its verified files.

use crate::names::quoted;
use crate::{Diagnostic, Digest, Manifest, ManifestFile};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What went wrong, where, and what to do about it.
#[derive(Clone, Debug)]
pub struct Error {
    kind: Box<ErrorKind>,
    /// What to do about it, where the kind alone does not tell.
    advice: Option<Box<str>>,
}

/// The kinds of [`Error`], with what belongs to each.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No manifest has this name.
    NoManifest {
        /// The name asked for.
        name: String,
        /// A name that it may be a typo of.
        nearest: Option<String>,
        /// The folders that were searched.
        searched: Vec<PathBuf>,
    },
    /// The manifest of this name is broken, or the lock file or configuration.
    Manifest {
        /// Everything that is wrong with it, in the order of the file.
        diagnostics: Vec<Diagnostic>,
    },
    /// A file of a model is nowhere to be found.
    NotFound {
        /// Name of the model.
        model: String,
        /// Name of the file.
        file: String,
        /// Where it can be had.
        urls: Vec<String>,
        /// Where to put it.
        place: PathBuf,
    },
    /// A file has another size than its manifest says.
    SizeMismatch {
        /// The file.
        path: PathBuf,
        /// Bytes by the manifest.
        expected: u64,
        /// Bytes of the file.
        actual: u64,
    },
    /// A file has another SHA-256 than its manifest says.
    HashMismatch {
        /// The file.
        path: PathBuf,
        /// Digest by the manifest.
        expected: Digest,
        /// Digest of the file.
        actual: Digest,
    },
    /// A file was written to while it was being verified.
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// What was given as the name of a model cannot be one.
    Name {
        /// The name.
        name: String,
        /// What is wrong with it: a clause after the name.
        problem: String,
    },
    /// The store holds no model of this name.
    NoReference {
        /// The name asked for.
        name: String,
        /// A name that it may be a typo of.
        nearest: Option<String>,
        /// The store.
        store: PathBuf,
    },
    /// A reference cannot be read, so that nobody knows which blobs it needs.
    BrokenReference {
        /// The reference.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file cannot be imported as it was asked for.
    Import {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do: a clause after the path.
        problem: String,
    },
    /// The licence of a model restricts its use, and nobody accepted it.
    Restricted {
        /// Name of the model.
        model: String,
        /// Its licence.
        license: String,
        /// A page to read about it.
        homepage: Option<String>,
    },
    /// A manifest has no good signature although it needs one, or one that is bad.
    Signature {
        /// The manifest.
        path: PathBuf,
        /// What is wrong: a clause after the path.
        problem: String,
    },
    /// A model or plugin is not what the lock file pins.
    NotPinned {
        /// The lock file.
        lock: PathBuf,
        /// Which: `model "x"`, `plugin "y"`.
        what: String,
        /// What is wrong: a clause after it.
        problem: String,
        /// What is pinned and what was found instead, where both are known.
        differs: Option<(String, String)>,
    },
    /// A bundle is not what its index says, or cannot be what a bundle may be.
    Bundle {
        /// The bundle, as it was named.
        path: PathBuf,
        /// What is wrong: a clause after it.
        problem: String,
    },
    /// Something else has the name already, and was not to be replaced.
    Exists {
        /// What was there first.
        path: PathBuf,
        /// What is wrong, and what to do: a clause after the path.
        problem: String,
    },
    /// A path leads out of its folder or to something that is not a plain file.
    UnsafePath {
        /// The path.
        path: PathBuf,
        /// What is wrong with it: a clause after the path.
        reason: String,
    },
    /// The disk has not enough room.
    NoSpace {
        /// The folder that was to be written to.
        path: PathBuf,
        /// Bytes that are still needed.
        need: u64,
        /// Bytes that are free.
        have: u64,
    },
    /// The store, or a part of it, may not be written to.
    NotWritable {
        /// The file or folder.
        path: PathBuf,
        /// What was tried: `make`, `write`, `remove`.
        doing: &'static str,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// The system refused.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried: `open`, `read`, `list`.
        doing: &'static str,
        /// Its answer.
        source: Arc<io::Error>,
    },
    /// The caller asked to stop.
    Cancelled,
}

impl Error {
    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The file that is not what it should be, or is unsafe to open.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self.kind() {
            ErrorKind::SizeMismatch { path, .. } | ErrorKind::UnsafePath { path, .. } => Some(path),
            _ => None,
        }
    }

    pub(crate) fn io(path: &Path, doing: &'static str, source: io::Error) -> Self {
        ErrorKind::Io { path: path.to_owned(), doing, source: Arc::new(source) }.into()
    }

    /// As [`Error::io`], for what changes the store.
    pub(crate) fn writing(path: &Path, doing: &'static str, source: io::Error) -> Self {
        let (path, kind, source) = (path.to_owned(), source.kind(), Arc::new(source));
        match kind {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                ErrorKind::NotWritable { path, doing, source }.into()
            }
            _ => ErrorKind::Io { path, doing, source }.into(),
        }
    }

    /// With what to do about it in this case.
    pub(crate) fn advising(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into().into_boxed_str()), ..self }
    }

    /// The error of this file of a model: one of another size or digest than the manifest says can be had again where
    /// the manifest says from where.
    pub(crate) fn of_file(self, manifest: &Manifest, file: &ManifestFile) -> Self {
        match self.kind() {
            ErrorKind::SizeMismatch { .. } | ErrorKind::HashMismatch { .. } if !file.urls.is_empty() => {
                self.advising(format!("`tenon verify --repair {}` gets it again", manifest.name))
            }
            _ => self,
        }
    }

    pub(crate) fn unsafe_path(path: &Path, reason: impl Into<String>) -> Self {
        ErrorKind::UnsafePath { path: path.to_owned(), reason: reason.into() }.into()
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self { kind: Box::new(kind), advice: None }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.kind() {
            ErrorKind::Io { source, .. } | ErrorKind::NotWritable { source, .. } => Some(source.as_ref()),
            _ => None,
        }
    }
}

/// What to do about a file that is not what its manifest says, where nothing else helps.
const REPLACE: &str = "put the right file there";
/// What to do about a store that cannot be written to.
const ANOTHER_STORE: &str = "name a store that may be written to";

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            ErrorKind::NoManifest { name, nearest, searched } => no_manifest(f, name, nearest.as_deref(), searched),
            ErrorKind::Manifest { diagnostics } => {
                let lines: Vec<String> = diagnostics.iter().map(Diagnostic::one_line).collect();
                f.write_str(&lines.join("\n"))
            }
            ErrorKind::NotFound { model, file, urls, place } => {
                write!(f, "file {file:?} of model {model:?} is missing: ")?;
                match urls.first() {
                    Some(url) => {
                        write!(f, "get it with `tenon pull {model}`, or from {url} and put it at {}", place.display())
                    }
                    None => write!(f, "put it at {}", place.display()),
                }
            }
            ErrorKind::SizeMismatch { path, expected, actual } => {
                let (path, advice) = (path.display(), self.advice.as_deref().unwrap_or(REPLACE));
                write!(f, "{path} has {actual} bytes, not the {expected} of its manifest: {advice}")
            }
            ErrorKind::HashMismatch { path, expected, actual } => {
                let (path, advice) = (path.display(), self.advice.as_deref().unwrap_or(REPLACE));
                write!(f, "{path} has the SHA-256 {actual}, not the {expected} of its manifest: {advice}")
            }
            ErrorKind::Changed { path } => {
                write!(f, "{} was written to while it was being verified: try again when nobody does", path.display())
            }
            ErrorKind::Name { name, problem } => write!(f, "{} is no name of a model: it {problem}", quoted(name)),
            ErrorKind::NoReference { name, nearest, store } => match nearest {
                Some(near) => write!(f, "the store holds no model {} (did you mean {near:?}?)", quoted(name)),
                None => write!(f, "the store {} holds no model {}", store.display(), quoted(name)),
            },
            ErrorKind::BrokenReference { path, problem } => write!(
                f,
                "{} is a broken reference, so that nobody knows which blobs it needs, and none is removed: mend it, or \
                 remove it with `tenon rm`; {problem}",
                path.display()
            ),
            ErrorKind::Import { path, problem } => write!(f, "{} {problem}", path.display()),
            ErrorKind::Restricted { model, license, homepage } => {
                write!(f, "model {model:?} has the license {license}, which restricts what it may be used for: ")?;
                match homepage {
                    Some(homepage) => write!(f, "read {homepage}, and accept it with --accept-license"),
                    None => f.write_str("read it, and accept it with --accept-license"),
                }
            }
            ErrorKind::NotPinned { lock, what, problem, .. } => write!(f, "{}: {what} {problem}", lock.display()),
            ErrorKind::Signature { path, problem }
            | ErrorKind::Bundle { path, problem }
            | ErrorKind::Exists { path, problem } => write!(f, "{} {problem}", path.display()),
            ErrorKind::UnsafePath { path, reason } => write!(f, "{} {reason}", path.display()),
            ErrorKind::NoSpace { path, need, have } => write!(
                f,
                "the disk of {} has {have} bytes free, and {need} more are needed: make room, or name a store on \
                 another disk",
                path.display()
            ),
            ErrorKind::NotWritable { path, doing, source } => {
                let advice = self.advice.as_deref().unwrap_or(ANOTHER_STORE);
                write!(f, "cannot {doing} {}: {source}; {advice}", path.display())
            }
            ErrorKind::Io { path, doing, source } => write!(f, "cannot {doing} {}: {source}", path.display()),
            ErrorKind::Cancelled => f.write_str("cancelled"),
        }
    }
}

fn no_manifest(f: &mut fmt::Formatter<'_>, name: &str, nearest: Option<&str>, searched: &[PathBuf]) -> fmt::Result {
    write!(f, "no model is called {name:?}")?;
    if let Some(near) = nearest {
        return write!(f, " (did you mean {near:?}?)");
    }
    match searched {
        [] => f.write_str(": no manifest folder exists"),
        folders => {
            let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
            write!(f, ": no manifest of that name in {}", folders.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_says_what_to_name_instead() {
        let refused = || Error::writing(Path::new("x"), "make", io::ErrorKind::PermissionDenied.into());
        assert_eq!(refused().to_string(), "cannot make x: permission denied; name a store that may be written to");
        let file = refused().advising("name a file in a folder that may be written to");
        assert_eq!(
            file.to_string(),
            "cannot make x: permission denied; name a file in a folder that may be written to"
        );
    }
}
