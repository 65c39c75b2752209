//! The configuration file `config.toml` in the user's configuration folder. Strict, as manifests are: everything that
//! is wrong with it is reported at once, at its place.
//!
//! ```toml
//! [trust]
//! keys = ["RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"]
//! require = "all"                 # or a list of folders: ["/etc/tenon/models.d"]
//! ```

use crate::diagnostic::{Problem, Source};
use crate::names::{nearest, quoted};
use crate::{Diagnostic, Error, ErrorKind, Require, Result, Trust};
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Name of the file.
const NAME: &str = "config.toml";
/// Longest configuration, in bytes.
const LONGEST: u64 = 64 * 1024;

/// What the configuration file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Whose signatures are trusted, and which manifests need one.
    pub trust: Trust,
}

impl Config {
    /// The configuration of this folder; an empty one where it has no `config.toml`.
    pub fn of_folder(folder: &Path) -> Result<Self> {
        let path = folder.join(NAME);
        match std::fs::metadata(&path) {
            Ok(kind) if !kind.is_file() => Err(Error::unsafe_path(&path, "is not a plain file")),
            Ok(kind) if kind.len() > LONGEST => {
                let message = format!("the configuration is longer than {} KiB", LONGEST / 1024);
                let diagnostics = vec![Source::new(&path, "").diagnostic(0..0, message, None)];
                Err(ErrorKind::Manifest { diagnostics }.into())
            }
            Ok(_) => {
                let text = std::fs::read_to_string(&path).map_err(|error| Error::io(&path, "read", error))?;
                Self::parse(&text, &path).map_err(|diagnostics| ErrorKind::Manifest { diagnostics }.into())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Error::io(&path, "open", error)),
        }
    }

    /// Reads the text of a configuration, or says everything that is wrong with it. `path` stands in the messages.
    pub fn parse(text: &str, path: &Path) -> std::result::Result<Self, Vec<Diagnostic>> {
        let source = Source::new(path, text);
        let document = DeTable::parse(text).map_err(|error| {
            vec![source.diagnostic(error.span().unwrap_or_default(), error.message().to_owned(), None)]
        })?;
        let mut walk = Walk { found: Vec::new() };
        let config = walk.config(document.get_ref());
        if walk.found.is_empty() { Ok(config) } else { Err(source.diagnostics(walk.found)) }
    }
}

/// One pass over a document.
struct Walk {
    found: Vec<Problem>,
}

impl Walk {
    fn report(&mut self, place: Range<usize>, message: impl Into<String>, help: Option<&str>) {
        self.found.push(Problem { place, message: message.into(), help: help.map(str::to_owned) });
    }

    fn config(&mut self, document: &DeTable<'_>) -> Config {
        self.only(document, &["trust"]);
        let Some(value) = document.get("trust") else { return Config::default() };
        match value.get_ref().as_table() {
            Some(table) => Config { trust: self.trust(table) },
            None => {
                self.report(value.span(), "\"trust\" must be a table", Some("write [trust]"));
                Config::default()
            }
        }
    }

    fn only(&mut self, table: &DeTable<'_>, keys: &[&str]) {
        for (name, _) in table.iter().filter(|(name, _)| !keys.contains(&name.get_ref().as_ref())) {
            let shown = quoted(name.get_ref());
            match nearest(name.get_ref(), keys.iter().copied()) {
                Some(near) => self.report(name.span(), format!("unknown key {shown} (did you mean \"{near}\"?)"), None),
                None => {
                    let help = format!("keys are {}", keys.join(", "));
                    self.report(name.span(), format!("unknown key {shown}"), Some(&help));
                }
            }
        }
    }

    fn trust(&mut self, table: &DeTable<'_>) -> Trust {
        self.only(table, &["keys", "require"]);
        let keys = table.get("keys").map(|value| self.texts("keys", value)).unwrap_or_default();
        for (key, place) in &keys {
            if let Err(problem) = Trust::new([key.as_str()], Require::Nothing) {
                self.report(place.clone(), problem, None);
            }
        }
        let require = table.get("require").map(|value| self.require(value)).unwrap_or_default();
        if let (true, Some(value)) = (keys.is_empty() && require != Require::Nothing, table.get("require")) {
            self.report(value.span(), "signatures are required, but no key is trusted", Some("name one in `keys`"));
        }
        Trust::new(keys.iter().map(|(key, _)| key.as_str()), require).unwrap_or_default()
    }

    fn require(&mut self, value: &Spanned<DeValue<'_>>) -> Require {
        if value.get_ref().as_str() == Some("all") {
            return Require::All;
        }
        if !value.get_ref().is_array() {
            self.report(value.span(), "\"require\" must be \"all\" or a list of folders", None);
            return Require::Nothing;
        }
        let mut folders = Vec::new();
        for (folder, place) in self.texts("require", value) {
            let folder = PathBuf::from(folder);
            if !folder.is_absolute() {
                self.report(place, "a folder of \"require\" must be an absolute path", None);
            }
            folders.push(folder);
        }
        if folders.is_empty() { Require::Nothing } else { Require::Folders(folders) }
    }

    fn texts(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Vec<(String, Range<usize>)> {
        let Some(items) = value.get_ref().as_array() else {
            self.report(value.span(), format!("\"{key}\" must be a list of texts"), None);
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in items {
            match item.get_ref().as_str() {
                Some(text) => texts.push((text.to_owned(), item.span())),
                None => self.report(item.span(), format!("\"{key}\" must be a list of texts"), None),
            }
        }
        texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

    fn problems(text: &str) -> Vec<String> {
        let found = Config::parse(text, Path::new("config.toml")).unwrap_err();
        found.iter().map(Diagnostic::one_line).collect()
    }

    #[test]
    fn reads_keys_and_the_folders_that_need_them() {
        let text = format!("[trust]\nkeys = [\"{KEY}\"]\nrequire = [\"/etc/tenon/models.d\"]\n");
        let trust = Config::parse(&text, Path::new("config.toml")).unwrap().trust;
        assert_eq!(trust.keys().count(), 1);
        assert!(trust.requires(Path::new("/etc/tenon/models.d")));
        assert!(trust.requires(Path::new("/etc/tenon/models.d/beneath")));
        assert!(!trust.requires(Path::new("/etc/tenon/models.d-not")));
        assert_eq!(Config::parse("", Path::new("config.toml")).unwrap(), Config::default());
        let all = Config::parse(&format!("[trust]\nkeys = [\"{KEY}\"]\nrequire = \"all\""), Path::new("c")).unwrap();
        assert!(all.trust.requires(Path::new("/anywhere")));
    }

    #[test]
    fn says_everything_that_is_wrong_at_its_place() {
        let found = problems("[trust]\nkey = 1\nkeys = [\"RW\", 5]\nrequire = [\"relative\"]\n[turst]\n");
        assert_eq!(found.len(), 5, "{found:?}");
        assert!(found.iter().any(|line| line.contains(":5:2: unknown key \"turst\" (did you mean \"trust\"?)")));
        assert!(found.iter().any(|line| line.contains(":2:1: unknown key \"key\" (did you mean \"keys\"?)")));
        assert!(found.iter().any(|line| line.contains(":3:9: \"RW\" is no public key")));
        assert!(found.iter().any(|line| line.contains(":4:12: a folder of \"require\" must be an absolute path")));
        assert!(problems("[trust]\nrequire = \"all\"")[0].contains("no key is trusted"));
        assert!(problems("[trust]\nrequire = true")[0].contains("must be \"all\" or a list"));
        assert!(problems("trust = 1")[0].contains("must be a table"));
        assert!(problems("[trust\n")[0].contains("config.toml:1:"));
    }

    #[test]
    fn a_folder_without_a_configuration_has_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Config::of_folder(folder.path()).unwrap(), Config::default());
        std::fs::write(folder.path().join(NAME), "colour = 1").unwrap();
        assert!(Config::of_folder(folder.path()).unwrap_err().to_string().contains("unknown key \"colour\""));
        std::fs::write(folder.path().join(NAME), vec![b'#'; LONGEST as usize + 1]).unwrap();
        assert!(Config::of_folder(folder.path()).unwrap_err().to_string().contains("longer than 64 KiB"));
    }
}
