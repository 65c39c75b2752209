//! The sidecar of a plugin, `<id>.plugin.toml` beside the library: what it is, by whose word, and its SHA-256.
//!
//! Read and checked before the library is touched. [`seal`] writes one from a template.

use super::cpu::CpuNeed;
use crate::error::{Error, ErrorKind, Result};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use tenon_store::Digest;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// How the name of every sidecar ends.
pub(crate) const SUFFIX: &str = ".plugin.toml";
const LARGEST: u64 = 64 * 1024;
const KEYS: &[&str] = &["id", "version", "abi", "file", "sha256", "tasks", "cpu", "license", "description"];

/// What a sidecar says.
#[derive(Clone, Debug)]
pub(crate) struct Sidecar {
    /// The sidecar itself.
    pub path: PathBuf,
    /// Id of the backend, `[a-z0-9-]`.
    pub id: String,
    /// Version of the plugin.
    pub version: String,
    /// Contract that it was built for: major and minor.
    pub abi: (u16, u16),
    /// The library: in the sidecar's folder.
    pub library: PathBuf,
    /// SHA-256 of the library.
    pub sha256: Digest,
    /// Tasks that it says it offers.
    pub tasks: Vec<String>,
    /// What it needs of the CPU.
    pub cpu: CpuNeed,
    /// Licence of the plugin.
    pub license: String,
    /// One line on what it is.
    pub description: String,
}

impl Sidecar {
    /// Reads a sidecar.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        Self::parse(&read_text(path)?, path)
    }

    /// The contract that it was built for, as it says it.
    pub(crate) fn abi_text(&self) -> String {
        format!("{}.{}", self.abi.0, self.abi.1)
    }

    /// Reads the text of a sidecar that lies at `path`.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self> {
        let table = Table::parse(text, path, KEYS)?;
        let file = table.checked("file", |name| match is_plain_name(name) {
            true => Ok(name.to_owned()),
            false => Err(format!("\"{name}\" is no name of a file in the sidecar's folder")),
        })?;
        Ok(Self {
            path: path.to_owned(),
            id: table.id()?,
            version: table.text("version")?,
            abi: table.checked("abi", parse_abi)?,
            library: path.with_file_name(file),
            sha256: table.checked("sha256", |text| text.parse().map_err(|error| format!("{error}")))?,
            tasks: table.texts("tasks")?,
            cpu: table.checked("cpu", CpuNeed::parse)?,
            license: table.text("license")?,
            description: table.text("description")?,
        })
    }

    /// The sidecar that belongs to a library or is itself named: by its own name, or by the `file` of a sidecar in
    /// the library's folder.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        if let Some(sidecar) = Self::beside(path)? {
            return Ok(sidecar);
        }
        // One that cannot be read may be the one: what is wrong with it says more than that there is none.
        let broken = all_in(folder_of(path)).into_iter().find_map(|sidecar| Self::read(&sidecar).err());
        Err(broken.unwrap_or_else(|| {
            let message =
                format!("{} has no sidecar: write its <id>{SUFFIX} beside it with `tenon plugin seal`", path.display());
            Error::new(ErrorKind::Plugin, message).with_detail("file", path.display().to_string())
        }))
    }

    /// As [`Sidecar::of`]; `None` for a library without one.
    pub(crate) fn beside(path: &Path) -> Result<Option<Self>> {
        if path.to_string_lossy().ends_with(SUFFIX) {
            return Self::read(path).map(Some);
        }
        let mut sidecars = all_in(folder_of(path)).into_iter().filter_map(|sidecar| Self::read(&sidecar).ok());
        Ok(sidecars.find(|sidecar| sidecar.library.file_name() == path.file_name()))
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Every sidecar of a folder, sorted by name; none when the folder cannot be read.
pub(crate) fn all_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(SUFFIX)))
        .collect();
    paths.sort();
    paths
}

/// Writes the sidecar of a library beside it: the keys of `template` (everything but `file` and `sha256`) with the
/// library's name and SHA-256. Gives the sidecar's path. The file appears whole or not at all. A sidecar that was
/// sealed before is a template too: its `file` and `sha256` make room for the new ones.
///
/// # Errors
/// `Plugin` when the template is wrong, with its line; `Io` when reading or writing fails.
pub fn seal(library: &Path, template: &Path) -> Result<PathBuf> {
    let text = read_text(template)?;
    let table = Table::parse(&text, template, KEYS)?;
    let (id, text) = (table.id()?, table.without(&["file", "sha256"]));
    let name = library
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, format!("{} has no name in UTF-8", library.display())))?;
    check_plain(library)?;
    let hashed = tenon_store::hash_file(library).map_err(|error| io_error("read", library, error))?;
    let mut sealed = text.trim_end().to_owned();
    let _ = write!(sealed, "\nfile = {}\nsha256 = \"{}\"\n", toml::Value::from(name), hashed.digest);
    let path = library.with_file_name(format!("{id}{SUFFIX}"));
    Sidecar::parse(&sealed, &path)?;
    replace(&path, sealed.as_bytes()).map_err(|error| io_error("write", &path, error))?;
    Ok(path)
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let part = path.with_extension(format!("part-{}", std::process::id()));
    File::create(&part)?.write_all(bytes)?;
    std::fs::rename(&part, path).inspect_err(|_| drop(std::fs::remove_file(&part)))
}

fn read_text(path: &Path) -> Result<String> {
    let mut text = String::new();
    check_plain(path)?;
    let file = File::open(path).map_err(|error| io_error("open", path, error))?;
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(|error| io_error("read", path, error))?;
    if text.len() as u64 > LARGEST {
        let message = format!("{} is larger than {LARGEST} bytes: that is no sidecar", path.display());
        return Err(Error::new(ErrorKind::Plugin, message));
    }
    Ok(text)
}

/// A pipe or a device would make reading wait for ever.
fn check_plain(path: &Path) -> Result<()> {
    let metadata = std::fs::metadata(path).map_err(|error| io_error("open", path, error))?;
    match metadata.is_file() {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Plugin, format!("{} is not a plain file", path.display()))
            .with_detail("file", path.display().to_string())),
    }
}

pub(crate) fn io_error(doing: &str, path: &Path, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        std::io::ErrorKind::InvalidData => ErrorKind::Plugin,
        _ => ErrorKind::Io,
    };
    Error::new(kind, format!("cannot {doing} {}: {error}", path.display())).with_source(error)
}

/// Whether a backend may have this id.
pub(crate) fn check_id(id: &str) -> std::result::Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match (1..=64).contains(&id.len()) && id.bytes().all(fits) {
        true => Ok(()),
        false => Err(format!("\"{id}\" must be 1 to 64 of a-z, 0-9 and -")),
    }
}

fn is_plain_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let plain = matches!(components.next(), Some(Component::Normal(_))) && components.next().is_none();
    plain && !name.contains(['/', '\\', ':', '\0'])
}

/// Reads `1.0`.
pub(crate) fn parse_abi(text: &str) -> std::result::Result<(u16, u16), String> {
    let (major, minor) = text.split_once('.').ok_or_else(|| format!("\"{text}\" must be like \"1.0\""))?;
    let number = |digits: &str| digits.parse::<u16>().map_err(|_| format!("\"{text}\" must be like \"1.0\""));
    Ok((number(major)?, number(minor)?))
}

/// A parsed sidecar with the places of its keys.
struct Table<'a> {
    text: &'a str,
    path: &'a Path,
    table: DeTable<'a>,
}

impl<'a> Table<'a> {
    fn parse(text: &'a str, path: &'a Path, keys: &[&str]) -> Result<Self> {
        let table = DeTable::parse(text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            at(text, path, &span, error.message())
        })?;
        let table = Self { text, path, table: table.into_inner() };
        for (key, _) in table.table.iter() {
            if !keys.contains(&key.get_ref().as_ref()) {
                return Err(table.wrong(key.span(), &unknown_key(key.get_ref(), keys)));
            }
        }
        Ok(table)
    }

    fn value(&self, key: &str) -> Result<&Spanned<DeValue<'a>>> {
        self.table.get(key).ok_or_else(|| self.wrong(0..0, &format!("key \"{key}\" is missing")))
    }

    fn checked<T>(&self, key: &str, parse: impl Fn(&str) -> std::result::Result<T, String>) -> Result<T> {
        let value = self.value(key)?;
        let text =
            value.get_ref().as_str().ok_or_else(|| self.wrong(value.span(), &format!("\"{key}\" must be text")))?;
        parse(text).map_err(|problem| self.wrong(value.span(), &format!("key \"{key}\": {problem}")))
    }

    fn text(&self, key: &str) -> Result<String> {
        self.checked(key, |text| match text.trim().is_empty() {
            true => Err("must not be empty".to_owned()),
            false => Ok(text.to_owned()),
        })
    }

    fn id(&self) -> Result<String> {
        self.checked("id", |id| check_id(id).map(|()| id.to_owned()))
    }

    fn texts(&self, key: &str) -> Result<Vec<String>> {
        let value = self.value(key)?;
        let list = value.get_ref().as_array().filter(|list| !list.is_empty());
        let texts = list.and_then(|list| {
            list.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        texts.ok_or_else(|| self.wrong(value.span(), &format!("key \"{key}\" must be a list of texts, not empty")))
    }

    /// The text without the lines of these keys.
    fn without(&self, keys: &[&str]) -> String {
        let mut spans: Vec<Range<usize>> = self
            .table
            .iter()
            .filter(|(key, _)| keys.contains(&key.get_ref().as_ref()))
            .map(|(key, value)| key.span().start..value.span().end)
            .collect();
        spans.sort_by_key(|span| span.start);
        let (mut kept, mut end) = (String::new(), 0);
        for span in spans {
            let first = self.text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
            kept += &self.text[end..first];
            end = self.text[span.end..].find('\n').map_or(self.text.len(), |newline| span.end + newline + 1);
        }
        kept + &self.text[end..]
    }

    fn wrong(&self, span: Range<usize>, message: &str) -> Error {
        at(self.text, self.path, &span, message)
    }
}

fn unknown_key(key: &str, keys: &[&str]) -> String {
    let nearest = keys
        .iter()
        .map(|known| (strsim::jaro_winkler(key, known), known))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, known)) => format!("unknown key \"{key}\" (did you mean \"{known}\"?)"),
        None => format!("unknown key \"{key}\": the keys are {}", keys.join(", ")),
    }
}

/// An error at a place of a sidecar.
fn at(text: &str, path: &Path, span: &Range<usize>, message: &str) -> Error {
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Error::new(ErrorKind::Plugin, format!("{}:{line}:{column}: {message}", path.display()))
        .with_detail("file", path.display().to_string())
        .with_detail("line", line.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"id = "echo"
version = "0.1.0"
abi = "1.0"
file = "libtenon_echo.so"
sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
tasks = ["generate"]
cpu = "any"
license = "MIT"
description = "Says again what it is told"
"#;

    fn problem(text: &str) -> String {
        Sidecar::parse(text, Path::new("p/echo.plugin.toml")).unwrap_err().message().to_owned()
    }

    #[test]
    fn reads_a_good_one() {
        let sidecar = Sidecar::parse(GOOD, Path::new("p/echo.plugin.toml")).unwrap();
        assert_eq!(sidecar.library, Path::new("p/libtenon_echo.so"));
        assert_eq!(sidecar.abi, (1, 0));
        assert_eq!(sidecar.cpu, CpuNeed::Any);
        assert_eq!((&*sidecar.id, &*sidecar.version), ("echo", "0.1.0"));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place_and_the_nearest_name() {
        let text = GOOD.replace("sha256", "sha265");
        assert_eq!(problem(&text), "p/echo.plugin.toml:5:1: unknown key \"sha265\" (did you mean \"sha256\"?)");
    }

    #[test]
    fn every_key_is_required() {
        for key in KEYS {
            let text: String = GOOD
                .lines()
                .filter(|line| !line.starts_with(&format!("{key} ")))
                .map(|line| format!("{line}\n"))
                .collect();
            assert_eq!(problem(&text), format!("p/echo.plugin.toml:1:1: key \"{key}\" is missing"));
        }
    }

    #[test]
    fn values_are_checked_where_they_stand() {
        let wrong = |from: &str, to: &str| problem(&GOOD.replace(from, to));
        assert!(wrong("\"1.0\"", "\"one\"").starts_with("p/echo.plugin.toml:3:7: key \"abi\""));
        assert!(wrong("\"any\"", "\"fast\"").contains(":7:7: key \"cpu\": \"fast\" is no CPU level"));
        assert!(wrong("[\"generate\"]", "[]").contains(":6:9: key \"tasks\""));
        assert!(wrong("\"echo\"", "\"../echo\"").contains(":1:6: key \"id\""));
        assert!(wrong("e3b0", "E3B0").contains("lower-case"));
        assert!(wrong("\"MIT\"", "5").contains("\"license\" must be text"));
        assert!(wrong("\"MIT\"", "").contains(":8:"));
    }

    #[test]
    fn a_sealed_sidecar_is_a_template_without_its_file_and_digest() {
        let folder = tempfile::tempdir().unwrap();
        let (library, sidecar) = (folder.path().join("new.so"), folder.path().join("echo.plugin.toml"));
        std::fs::write(&sidecar, GOOD).unwrap();
        std::fs::write(&library, "first").unwrap();
        assert_eq!(seal(&library, &sidecar).unwrap(), sidecar);
        let first = std::fs::read_to_string(&sidecar).unwrap();
        std::fs::write(&library, "second").unwrap();
        seal(&library, &sidecar).unwrap();
        let second = std::fs::read_to_string(&sidecar).unwrap();
        let lines = |text: &str| text.lines().map(|line| line[..4].to_owned()).collect::<Vec<_>>();
        assert_eq!(lines(&first), ["id =", "vers", "abi ", "task", "cpu ", "lice", "desc", "file", "sha2"]);
        assert_eq!(lines(&second), lines(&first));
        assert_ne!(second, first);
        assert_eq!(Sidecar::read(&sidecar).unwrap().library, library);
    }

    #[test]
    fn a_library_beside_a_broken_sidecar_hears_what_is_wrong_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let (library, sidecar) = (folder.path().join("lib.so"), folder.path().join("echo.plugin.toml"));
        std::fs::write(&library, "code").unwrap();
        let problem = || Sidecar::of(&library).unwrap_err().message().to_owned();
        assert!(problem().contains("has no sidecar"));
        std::fs::write(&sidecar, GOOD.replace("cpu", "cup")).unwrap();
        assert!(problem().contains("echo.plugin.toml:7:1: unknown key \"cup\""), "{}", problem());
        assert!(Sidecar::beside(&library).unwrap().is_none());
    }

    #[test]
    fn the_library_lies_in_the_sidecars_folder() {
        for name in ["../x.so", "/lib/x.so", "a/b.so", "..", "", "c:x.dll", "a\\b.dll"] {
            let text = GOOD.replace("libtenon_echo.so", &name.replace('\\', "\\\\"));
            assert!(problem(&text).contains("key \"file\""), "{name}");
        }
    }
}
