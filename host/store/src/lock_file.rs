//! The lock file, `tenon.lock`: models pinned by their manifests and files, plugins by their libraries.
//!
//! An engine that has one ([`LockFile::check_model`], [`LockFile::check_plugin`]) loads nothing else. It is written by
//! `tenon lock` and changes by nothing else.

use crate::diagnostic::Source;
use crate::names::{file_name_problem, model_name_problem, quoted};
use crate::{Diagnostic, Digest, Error, ErrorKind, Manifest, Result};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The version of the format.
const VERSION: u32 = 1;
/// Longest lock file, in bytes.
const LONGEST: u64 = 4 * 1024 * 1024;
const HEAD: &str = "# Written by `tenon lock`, and by nothing else: what an engine may load.\n";

/// What an engine may load, and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockFile {
    /// The models, by name.
    pub models: Vec<LockedModel>,
    /// The plugins, by id.
    pub plugins: Vec<LockedPlugin>,
    path: PathBuf,
}

/// A pinned model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedModel {
    /// Its name.
    pub name: String,
    /// SHA-256 of its manifest as [`Manifest::to_toml`] writes it: notes and blanks do not count.
    pub manifest: Digest,
    /// Its files, in the order of the manifest.
    #[serde(default, rename = "file", skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<LockedFile>,
}

/// A file of a pinned model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedFile {
    /// Its name in the manifest.
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// Bytes.
    pub size: u64,
}

/// A pinned plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPlugin {
    /// Id of the backend.
    pub id: String,
    /// Version of the plugin.
    pub version: String,
    /// Contract that it was built for, `1.0`.
    pub abi: String,
    /// What it needs of the CPU, as its sidecar says.
    pub cpu: String,
    /// SHA-256 of the library.
    pub sha256: Digest,
}

/// The document, as TOML has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    #[serde(default, rename = "model", skip_serializing_if = "Vec::is_empty")]
    models: Vec<LockedModel>,
    #[serde(default, rename = "plugin", skip_serializing_if = "Vec::is_empty")]
    plugins: Vec<LockedPlugin>,
}

impl LockedModel {
    /// Pins a model as its manifest is now.
    pub fn of(manifest: &Manifest) -> Self {
        let files = manifest.files.iter();
        let files = files.map(|file| LockedFile { name: file.name.clone(), sha256: file.sha256, size: file.size });
        Self {
            name: manifest.name.clone(),
            manifest: Digest::of(manifest.to_toml().as_bytes()),
            files: files.collect(),
        }
    }

    /// What differs: a clause, and both sides of it. The files come first, since they say most.
    fn difference(&self, found: &Self) -> Option<(String, String, String)> {
        let differing = self.files.iter().find_map(|pinned| {
            let other = found.files.iter().find(|other| other.name == pinned.name)?;
            (other.sha256 != pinned.sha256).then_some((pinned, other))
        });
        match differing {
            Some((pinned, other)) => {
                let what = format!("has the file {} with the SHA-256", quoted(&pinned.name));
                Some((what, pinned.sha256.to_string(), other.sha256.to_string()))
            }
            None if self == found => None,
            None => Some((
                "has a manifest with the SHA-256".to_owned(),
                self.manifest.to_string(),
                found.manifest.to_string(),
            )),
        }
    }
}

impl LockedPlugin {
    fn difference(&self, found: &Self) -> Option<(String, String, String)> {
        let differs = |what: &str, pinned: &dyn ToString, found: &dyn ToString| {
            Some((what.to_owned(), pinned.to_string(), found.to_string()))
        };
        match found {
            _ if self.sha256 != found.sha256 => differs("has the SHA-256", &self.sha256, &found.sha256),
            _ if self.version != found.version => differs("has the version", &self.version, &found.version),
            _ if self.abi != found.abi => differs("has the contract", &self.abi, &found.abi),
            _ if self.cpu != found.cpu => differs("needs the CPU", &self.cpu, &found.cpu),
            _ => None,
        }
    }
}

impl LockFile {
    /// Pins these, sorted by name.
    pub fn new(mut models: Vec<LockedModel>, mut plugins: Vec<LockedPlugin>) -> Self {
        models.sort_by(|a, b| a.name.cmp(&b.name));
        plugins.sort_by(|a, b| a.id.cmp(&b.id));
        Self { models, plugins, path: PathBuf::new() }
    }

    /// Reads a lock file. What is wrong with its text is an [`ErrorKind::Manifest`].
    pub fn read(path: &Path) -> Result<Self> {
        let kind = std::fs::metadata(path).map_err(|error| Error::io(path, "open", error))?;
        if !kind.is_file() {
            return Err(Error::unsafe_path(path, "is not a plain file"));
        }
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(|error| Error::io(path, "open", error))?;
        file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| Error::io(path, "read", error))?;
        let wrong = |message: String| {
            let diagnostics = vec![Source::new(path, "").diagnostic(0..0, message, None)];
            Error::from(ErrorKind::Manifest { diagnostics })
        };
        if bytes.len() as u64 > LONGEST {
            return Err(wrong(format!("the lock file is longer than {} MiB", LONGEST >> 20)));
        }
        let text = String::from_utf8(bytes).map_err(|_| wrong("the lock file is not UTF-8 text".to_owned()))?;
        Self::parse(&text, path).map_err(|problem| ErrorKind::Manifest { diagnostics: vec![problem] }.into())
    }

    /// Reads the text of a lock file. `path` stands in messages.
    ///
    /// ```
    /// use std::path::Path;
    /// use tenon_store::{LockFile, LockedModel, Manifest};
    ///
    /// let manifest = Manifest::new("parrot", "chat", "echo", "MIT");
    /// let text = LockFile::new(vec![LockedModel::of(&manifest)], Vec::new()).to_toml();
    /// let lock = LockFile::parse(&text, Path::new("tenon.lock")).unwrap();
    /// assert!(lock.check_model(&manifest).is_ok());
    /// assert!(lock.check_model(&Manifest::new("parrot", "chat", "echo", "BSD-3-Clause")).is_err());
    /// ```
    pub fn parse(text: &str, path: &Path) -> std::result::Result<Self, Diagnostic> {
        let source = Source::new(path, text);
        let document: Document = toml::from_str(text)
            .map_err(|error| source.diagnostic(error.span().unwrap_or_default(), error.message().to_owned(), None))?;
        let lock = Self { models: document.models, plugins: document.plugins, path: path.to_owned() };
        match lock.problem(document.version) {
            Some(problem) => Err(source.diagnostic(0..0, problem, Some("write it again with `tenon lock`".to_owned()))),
            None => Ok(lock),
        }
    }

    fn problem(&self, version: u32) -> Option<String> {
        if version != VERSION {
            return Some(format!("the lock file has version {version}; this program knows {VERSION}"));
        }
        let mut names: Vec<&str> = self.models.iter().map(|model| model.name.as_str()).collect();
        if let Some((name, problem)) = names.iter().find_map(|name| Some((name, model_name_problem(name)?))) {
            return Some(format!("model name {} {problem}", quoted(name)));
        }
        let files = self.models.iter().flat_map(|model| &model.files);
        if let Some((name, problem)) =
            files.into_iter().find_map(|file| Some((&file.name, file_name_problem(&file.name)?)))
        {
            return Some(format!("file name {} {problem}", quoted(name)));
        }
        let mut ids: Vec<&str> = self.plugins.iter().map(|plugin| plugin.id.as_str()).collect();
        let twice = |list: &mut Vec<&str>| {
            list.sort_unstable();
            list.windows(2).find(|two| two[0] == two[1]).map(|two| two[0].to_owned())
        };
        twice(&mut names).or_else(|| twice(&mut ids)).map(|name| format!("{} is pinned twice", quoted(&name)))
    }

    /// The lock file as TOML. Reading it back gives an equal one.
    pub fn to_toml(&self) -> String {
        let document = Document { version: VERSION, models: self.models.clone(), plugins: self.plugins.clone() };
        let text = toml::to_string(&document).unwrap_or_else(|error| unreachable!("plain tables are TOML: {error}"));
        format!("{HEAD}{text}")
    }

    /// Writes the lock file, in one step: whoever reads sees the old one or the new one.
    pub fn write(&self, path: &Path) -> Result<()> {
        let part = path.with_extension(format!("lock.part-{}", std::process::id()));
        let write = || {
            let mut file = std::fs::File::create(&part)?;
            file.write_all(self.to_toml().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&part, path)
        };
        write().map_err(|error| {
            let _ = std::fs::remove_file(&part);
            Error::io(path, "write", error)
        })
    }

    /// The file that it was read from; empty for one that was made here.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses a model that is not pinned, or differs from what is.
    pub fn check_model(&self, manifest: &Manifest) -> Result<()> {
        let what = format!("model {}", quoted(&manifest.name));
        let Some(pinned) = self.models.iter().find(|model| model.name == manifest.name) else {
            return Err(self.absent(what));
        };
        self.compare(what, pinned.difference(&LockedModel::of(manifest)))
    }

    /// Refuses a plugin that is not pinned, or differs from what is.
    pub fn check_plugin(&self, plugin: &LockedPlugin) -> Result<()> {
        let what = format!("plugin {}", quoted(&plugin.id));
        let Some(pinned) = self.plugins.iter().find(|pinned| pinned.id == plugin.id) else {
            return Err(self.absent(what));
        };
        self.compare(what, pinned.difference(plugin))
    }

    /// Refuses a library of which nothing but its digest is known, unless it is that of a pinned plugin.
    pub fn check_library(&self, path: &Path, sha256: &Digest) -> Result<()> {
        match self.plugins.iter().any(|pinned| pinned.sha256 == *sha256) {
            true => Ok(()),
            false => Err(self.absent(format!("the library {} with the SHA-256 {sha256}", path.display()))),
        }
    }

    fn absent(&self, what: String) -> Error {
        let problem = "is not pinned: `tenon lock` pins it, if that is what you want".to_owned();
        ErrorKind::NotPinned { lock: self.path.clone(), what, problem, differs: None }.into()
    }

    fn compare(&self, what: String, difference: Option<(String, String, String)>) -> Result<()> {
        let Some((clause, pinned, found)) = difference else { return Ok(()) };
        let problem = format!(
            "{clause} {found}, not the {pinned} that is pinned: put back what was pinned, or run `tenon lock` again if the change is wanted"
        );
        Err(ErrorKind::NotPinned { lock: self.path.clone(), what, problem, differs: Some((pinned, found)) }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManifestFile;

    fn manifest() -> Manifest {
        let mut manifest = Manifest::new("parrot", "chat", "echo", "MIT");
        manifest.files.push(ManifestFile::new("model", "a.bin", Digest::of(b"a"), 1));
        manifest
    }

    fn plugin() -> LockedPlugin {
        LockedPlugin {
            id: "echo".into(),
            version: "0.1.0".into(),
            abi: "1.0".into(),
            cpu: "any".into(),
            sha256: Digest::of(b"library"),
        }
    }

    fn lock() -> LockFile {
        let lock = LockFile::new(vec![LockedModel::of(&manifest())], vec![plugin()]);
        LockFile::parse(&lock.to_toml(), Path::new("tenon.lock")).unwrap()
    }

    #[test]
    fn what_was_pinned_passes_and_survives_a_round_trip() {
        lock().check_model(&manifest()).unwrap();
        lock().check_plugin(&plugin()).unwrap();
        lock().check_library(Path::new("x.so"), &plugin().sha256).unwrap();
        let commented = format!("# a note\n\n{}", manifest().to_toml());
        lock().check_model(&Manifest::parse(&commented, Path::new("parrot.toml")).unwrap()).unwrap();
    }

    #[test]
    fn what_is_not_pinned_or_differs_is_refused_with_both_digests_and_what_to_do() {
        let mut other = manifest();
        other.files[0].sha256 = Digest::of(b"b");
        let said = lock().check_model(&other).unwrap_err().to_string();
        let wanted = format!(
            "tenon.lock: model \"parrot\" has the file \"a.bin\" with the SHA-256 {}, not the {} that is pinned: \
             put back what was pinned, or run `tenon lock` again if the change is wanted",
            Digest::of(b"b"),
            Digest::of(b"a")
        );
        assert_eq!(said, wanted);
        let changes: [fn(&mut Manifest); 3] = [
            |manifest| {
                manifest.load.set("threads", 1);
            },
            |manifest| manifest.backend.push('x'),
            |manifest| manifest.files[0].optional = true,
        ];
        for change in changes {
            let mut other = manifest();
            change(&mut other);
            assert!(lock().check_model(&other).unwrap_err().to_string().contains("has a manifest with the SHA-256"));
        }
        let said = lock().check_model(&Manifest::new("owl", "chat", "echo", "MIT")).unwrap_err().to_string();
        assert_eq!(said, "tenon.lock: model \"owl\" is not pinned: `tenon lock` pins it, if that is what you want");
        for (change, word) in [
            (LockedPlugin { sha256: Digest::of(b"x"), ..plugin() }, "SHA-256"),
            (LockedPlugin { version: "9".into(), ..plugin() }, "version 9, not the 0.1.0"),
            (LockedPlugin { abi: "2.0".into(), ..plugin() }, "contract 2.0"),
            (LockedPlugin { cpu: "x86-64-v3".into(), ..plugin() }, "CPU x86-64-v3"),
            (LockedPlugin { id: "owl".into(), ..plugin() }, "is not pinned"),
        ] {
            assert!(lock().check_plugin(&change).unwrap_err().to_string().contains(word), "{word}");
        }
        assert!(lock().check_library(Path::new("x.so"), &Digest::of(b"x")).is_err());
    }

    #[test]
    fn a_key_of_a_stranger_steers_no_terminal() {
        let text = format!("version = 1\n\"\\u001b[2J{}\" = 1\n", "x".repeat(5000));
        let problem = LockFile::parse(&text, Path::new("tenon.lock")).unwrap_err();
        assert!(problem.message.starts_with("unknown field `\u{fffd}[2Jx"), "{}", problem.message);
        assert!(problem.to_string().len() < 2000);
    }

    #[test]
    fn a_lock_file_that_was_tampered_with_is_refused_with_its_place() {
        let good = lock().to_toml();
        let problem = |text: &str| LockFile::parse(text, Path::new("tenon.lock")).unwrap_err().one_line();
        assert!(
            problem(&good.replace("version = 1\n", "version = 2\n")).contains("has version 2; this program knows 1")
        );
        assert!(problem(&good.replace("size = 1", "size = 1\ncolour = 1")).contains("unknown field `colour`"));
        assert!(problem(&good.replace("size = 1", "size = -1")).contains("tenon.lock:"));
        assert!(problem(&good.replace("\"parrot\"", "\"../parrot\"")).contains("model name"));
        assert!(problem(&good.replace("\"a.bin\"", "\"../a.bin\"")).contains("file name"));
        assert!(problem(&good.replace(&Digest::of(b"a").to_string(), "12")).contains("64 lower-case"));
        let plugin = &good[good.find("[[plugin]]").unwrap()..];
        assert!(problem(&format!("{good}\n{plugin}")).contains("\"echo\" is pinned twice"));
        assert!(problem("").contains("missing field `version`"));
    }

    #[test]
    fn writing_replaces_the_file_and_reading_knows_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tenon.lock");
        std::fs::write(&path, "old").unwrap();
        lock().write(&path).unwrap();
        let read = LockFile::read(&path).unwrap();
        assert_eq!((read.models, read.path.as_path()), (lock().models, path.as_path()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(LockFile::read(folder.path()).is_err());
        std::fs::write(&path, [0xff]).unwrap();
        assert!(LockFile::read(&path).unwrap_err().to_string().contains("not UTF-8"));
    }

    proptest::proptest! {
        /// One byte of a good lock file replaced, or cut: an error or a lock file, never a panic.
        #[test]
        fn no_text_does_harm(at in 0_usize..400, with in ".{0,3}", cut in proptest::bool::ANY) {
            let good = lock().to_toml();
            let at = good.floor_char_boundary(at.min(good.len()));
            let rest = if cut { "" } else { good.get(at + 1..).unwrap_or("") };
            let text = format!("{}{with}{rest}", &good[..at]);
            if let Ok(lock) = LockFile::parse(&text, Path::new("tenon.lock")) {
                let again = LockFile::parse(&lock.to_toml(), Path::new("tenon.lock")).unwrap();
                proptest::prop_assert_eq!(again, lock);
            }
        }
    }
}
