//! What can go wrong between a model's name and its verified files.

use crate::{Diagnostic, Digest};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What went wrong, where, and what to do about it.
#[derive(Clone, Debug)]
pub struct Error {
    kind: Box<ErrorKind>,
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
    /// The manifest of this name is broken.
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
    /// A path leads out of its folder or to something that is not a plain file.
    UnsafePath {
        /// The path.
        path: PathBuf,
        /// What is wrong with it: a clause after the path.
        reason: String,
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

    pub(crate) fn io(path: &Path, doing: &'static str, source: io::Error) -> Self {
        ErrorKind::Io { path: path.to_owned(), doing, source: Arc::new(source) }.into()
    }

    pub(crate) fn unsafe_path(path: &Path, reason: impl Into<String>) -> Self {
        ErrorKind::UnsafePath { path: path.to_owned(), reason: reason.into() }.into()
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self { kind: Box::new(kind) }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.kind() {
            ErrorKind::Io { source, .. } => Some(source.as_ref()),
            _ => None,
        }
    }
}

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
                    Some(url) => write!(f, "get it from {url} and put it at {}", place.display()),
                    None => write!(f, "put it at {}", place.display()),
                }
            }
            ErrorKind::SizeMismatch { path, expected, actual } => {
                let path = path.display();
                write!(f, "{path} has {actual} bytes, not the {expected} of its manifest: get the file again")
            }
            ErrorKind::HashMismatch { path, expected, actual } => {
                let path = path.display();
                write!(f, "{path} has the SHA-256 {actual}, not the {expected} of its manifest: get the file again")
            }
            ErrorKind::Changed { path } => {
                write!(f, "{} was written to while it was being verified: try again when nobody does", path.display())
            }
            ErrorKind::UnsafePath { path, reason } => write!(f, "{} {reason}", path.display()),
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
