//! Signatures of manifests, made with the program minisign: `x.toml.minisig` beside `x.toml`.
//!
//! [`Trust`] holds the public keys that somebody trusts and the folders whose manifests must be signed by one of them;
//! it comes from the configuration ([`crate::Config`]). A [`Signature`] stays with its manifest, so that a reference in
//! the store and a bundle can carry it on.

use crate::{Error, ErrorKind, Manifest, Result};
use minisign_verify::PublicKey;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What is added to the name of a file for the name of its signature.
pub(crate) const SUFFIX: &str = ".minisig";

/// Longest signature file, in bytes; minisign's own comments may have 8 KiB each.
pub(crate) const LONGEST: u64 = 20 * 1024;

/// The signature of a manifest's bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature {
    text: String,
    key: String,
    comment: String,
    good: bool,
}

impl Signature {
    /// What the `.minisig` file says.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The id of the key that it names, as minisign prints it: 16 hexadecimal digits.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The comment that is signed too.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// Whether a trusted key made it. Without, nobody here knows the key, and neither comment nor id means anything.
    pub fn is_good(&self) -> bool {
        self.good
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signature").field("key", &self.key).field("good", &self.good).finish_non_exhaustive()
    }
}

/// A public key of minisign.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    id: String,
    public: PublicKey,
}

/// Which manifests must be signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Require {
    /// None; a signature by a trusted key must be good all the same.
    #[default]
    Nothing,
    /// Those of every folder.
    All,
    /// Those in these folders and beneath them.
    Folders(Vec<PathBuf>),
}

/// Whose signatures are trusted, and where one is needed. Without keys and rules every manifest is taken as it is.
///
/// ```
/// use tenon_store::{Require, Trust};
///
/// let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
/// let trust = Trust::new([key], Require::All).unwrap();
/// assert_eq!(trust.keys().collect::<Vec<_>>(), ["E7620F1842B4E81F"]);
/// assert!(Trust::new(["no key"], Require::All).is_err());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    keys: Vec<Key>,
    require: Require,
}

impl Trust {
    /// Trusts these public keys: the second line of a `minisign.pub` file each. What is no key is the error.
    pub fn new<'k>(keys: impl IntoIterator<Item = &'k str>, require: Require) -> std::result::Result<Self, String> {
        let keys: std::result::Result<Vec<Key>, String> = keys.into_iter().map(key).collect();
        Ok(Self { keys: keys?, require })
    }

    /// The ids of the trusted keys, as minisign prints them.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    /// Whether a manifest that lies in this folder must be signed.
    pub fn requires(&self, folder: &Path) -> bool {
        let beneath = |rule: &PathBuf| folder.starts_with(rule) || real(folder).starts_with(real(rule));
        match &self.require {
            Require::Nothing => false,
            Require::All => true,
            Require::Folders(folders) => folders.iter().any(beneath),
        }
    }

    /// Refuses a manifest without a good signature, where one that lies in `folder` needs it.
    pub fn check(&self, manifest: &Manifest, folder: &Path) -> Result<()> {
        match manifest.signature() {
            Some(signature) if signature.is_good() => Ok(()),
            _ if !self.requires(folder) => Ok(()),
            Some(signature) => Err(refused(manifest.path(), unknown_key(signature.key()))),
            None => {
                let problem = format!("is not signed, and manifests in {} must be: {HOW}", folder.display());
                Err(refused(manifest.path(), problem))
            }
        }
    }

    /// Reads a signature of these bytes, which lie at `path`. One that a trusted key should have made and did not is an
    /// error; one by an unknown key is merely not good.
    pub(crate) fn signature(&self, bytes: &[u8], text: String, path: &Path) -> Result<Signature> {
        let no_signature = || refused(path, "has a signature that is none of minisign's".to_owned());
        let parsed = minisign_verify::Signature::decode(&text).map_err(|_| no_signature())?;
        let id = text.lines().nth(1).and_then(key_id).ok_or_else(no_signature)?;
        let mut signature = Signature { comment: parsed.trusted_comment().to_owned(), text, key: id, good: false };
        for key in self.keys.iter().filter(|key| key.id == signature.key) {
            key.public.verify(bytes, &parsed, false).map_err(|error| {
                let why = match error {
                    minisign_verify::Error::UnexpectedAlgorithm => "in minisign's old format: sign it again",
                    _ => "it was changed, or another file was signed: get both again",
                };
                refused(path, format!("is not what the key {} signed: {why}", signature.key))
            })?;
            signature.good = true;
        }
        Ok(signature)
    }

    /// The manifest with the signature that lies beside it, where one does; refused where it needs one that is good.
    pub(crate) fn admit(&self, mut manifest: Manifest) -> Result<Manifest> {
        let path = manifest.path().to_owned();
        if let (Some(text), Some(bytes)) = (beside(&path)?, manifest.text()) {
            let signature = self.signature(bytes.as_bytes(), text, &path)?;
            manifest.sign(signature);
        }
        // A file that is named without its folder lies in the current one.
        let lies = std::path::absolute(&path).unwrap_or(path);
        self.check(&manifest, lies.parent().unwrap_or(Path::new("")))?;
        Ok(manifest)
    }
}

/// The real path of a folder. Of one that does not exist, or not yet, as much is real as there is; an empty path is that
/// of the current folder.
fn real(folder: &Path) -> PathBuf {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let known = whole.ancestors().find_map(|part| {
        let rest = whole.strip_prefix(part).ok()?;
        Some(std::fs::canonicalize(part).ok()?.join(rest))
    });
    // What `join` of nothing leaves is no difference: paths are compared by their parts.
    known.unwrap_or(whole)
}

const HOW: &str = "sign it with `minisign -Sm`, or change `require` in the configuration";

fn unknown_key(id: &str) -> String {
    format!("is signed by the key {id}, which the configuration does not trust: add it to `keys`, or get another")
}

fn refused(path: &Path, problem: String) -> Error {
    ErrorKind::Signature { path: path.to_owned(), problem }.into()
}

/// Where the signature of a file lies.
pub(crate) fn path_beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(SUFFIX);
    name.into()
}

/// The text of the signature beside a file; `None` when there is none.
fn beside(path: &Path) -> Result<Option<String>> {
    let path = path_beside(path);
    let kind = match std::fs::metadata(&path) {
        Ok(kind) => kind,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(&path, "open", error)),
    };
    if !kind.is_file() || kind.len() > LONGEST {
        return Err(refused(&path, "is no signature of minisign's".to_owned()));
    }
    let mut text = String::new();
    let file = std::fs::File::open(&path).map_err(|error| Error::io(&path, "open", error))?;
    match file.take(LONGEST).read_to_string(&mut text) {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(refused(&path, "is no signature of minisign's".to_owned()))
        }
        Err(error) => Err(Error::io(&path, "read", error)),
    }
}

fn key(text: &str) -> std::result::Result<Key, String> {
    let problem = || format!("{} is no public key of minisign: take the line that begins with RW", quoted(text));
    let public = PublicKey::from_base64(text).map_err(|_| problem())?;
    Ok(Key { id: key_id(text).ok_or_else(problem)?, public })
}

fn quoted(text: &str) -> String {
    crate::names::quoted(text)
}

/// The id of a key or of the key of a signature: bytes 2 to 9 of what its base64 text says, last byte first.
fn key_id(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut bits = 0_u32;
    for (index, digit) in text.bytes().take(16).enumerate() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        if index % 4 == 3 {
            bytes.extend_from_slice(&bits.to_be_bytes()[1..]);
            bits = 0;
        }
    }
    let id = bytes.get(2..10)?;
    Some(id.iter().rev().map(|byte| format!("{byte:02X}")).collect())
}
