//! From the text of a manifest to a [`Manifest`], or to everything that is wrong with it.
//!
//! The document is walked by hand rather than by serde, because serde stops at the first error.

use super::keys::{Check, Fault, Key, Kind, MANIFEST, MOST_FILES, WORKER, preset_name_problem, sha256};
use super::{Isolation, Manifest, ManifestFile, Origin, Place, WorkerOptions};
use crate::chunks::CHUNK_SIZES;
use crate::diagnostic::{Problem, Source};
use crate::names::{nearest, quoted};
use crate::{Chunks, Diagnostic, Digest};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;
use tenon_tasks::{Options, Sandbox};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Longest manifest, in bytes.
pub(super) const LONGEST_MANIFEST: usize = 256 * 1024;

/// What a model may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// As its file.
    ByFile,
    /// As it likes: it lies in no file.
    Free,
}

/// Reads the bytes of a manifest.
pub(super) fn manifest_of_bytes(bytes: &[u8], path: &Path, naming: Naming) -> Result<Manifest, Vec<Diagnostic>> {
    if bytes.len() > LONGEST_MANIFEST {
        let message = format!("the manifest is longer than {} KiB", LONGEST_MANIFEST / 1024);
        return Err(vec![Source::new(path, "").diagnostic(0..0, message, None)]);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => manifest_of_text(text, path, naming),
        Err(error) => {
            let at = error.valid_up_to();
            let readable = String::from_utf8_lossy(bytes);
            let message = "the manifest is not UTF-8 text".to_owned();
            Err(vec![Source::new(path, &readable).diagnostic(at..at + 1, message, None)])
        }
    }
}

/// Reads the text of a manifest.
fn manifest_of_text(text: &str, path: &Path, naming: Naming) -> Result<Manifest, Vec<Diagnostic>> {
    let source = Source::new(path, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut walk = Walk::new(&source, naming);
    walk.syntax(&errors);
    let manifest = walk.manifest(document.get_ref());
    let Walk { found, places, .. } = walk;
    if found.is_empty() {
        return Ok(Manifest { origin: Origin::new(source, places), ..manifest });
    }
    Err(source.diagnostics(found))
}

/// One pass over a document: collects problems and the places of everything.
struct Walk<'s> {
    source: &'s Source,
    naming: Naming,
    found: Vec<Problem>,
    places: BTreeMap<String, Place>,
    /// Lines that are no TOML. What follows from them is not reported again.
    broken_lines: HashSet<usize>,
    /// From this line on nothing was understood.
    broken_from: Option<usize>,
}

/// The values of a table that passed their checks, by key.
type Checked<'d> = HashMap<&'static str, &'d Spanned<DeValue<'d>>>;

impl<'s> Walk<'s> {
    fn new(source: &'s Source, naming: Naming) -> Self {
        let (found, places, broken_lines) = Default::default();
        Self { source, naming, found, places, broken_lines, broken_from: None }
    }

    /// Reports what is no TOML: one error a line, and only the first where a bracket is not closed, since the parser
    /// stumbles over all that follows.
    fn syntax(&mut self, errors: &[toml::de::Error]) {
        let mut errors: Vec<&toml::de::Error> = errors.iter().collect();
        errors.sort_by_key(|error| error.span().map(|span| span.start));
        let unclosed = errors.iter().map(|error| error.message()).find(|message| message.starts_with("unclosed"));
        for error in errors {
            let range = error.span().unwrap_or_default();
            let nothing = self.source.text().get(range.clone()).is_none_or(|text| text.trim().is_empty());
            let message = match (unclosed, error.message()) {
                (Some(unclosed), _) => unclosed,
                (None, message) if nothing && message.starts_with("string values must be quoted") => "value is missing",
                (None, message) => message,
            };
            let help = (message == "duplicate key").then(|| "a key may be given once in its table".to_owned());
            let line = self.source.line(range.start);
            if self.broken_lines.insert(line) {
                self.found.push(Problem { place: range, message: message.to_owned(), help });
            }
            if unclosed.is_some() {
                self.broken_from = Some(line);
                return;
            }
        }
    }

    /// Whether a place is in a line that is no TOML, or behind one that the parser did not recover from.
    fn is_broken(&self, at: usize) -> bool {
        if self.broken_lines.is_empty() {
            return false;
        }
        let line = self.source.line(at);
        self.broken_lines.contains(&line) || self.broken_from.is_some_and(|first| line >= first)
    }

    fn report(&mut self, place: Range<usize>, message: impl Into<String>, help: Option<String>) {
        if !self.is_broken(place.start) {
            self.found.push(Problem { place, message: message.into(), help });
        }
    }

    fn manifest(&mut self, document: &DeTable<'_>) -> Manifest {
        let checked = self.table(document, MANIFEST, "", 0..0);
        self.name_is_the_files_own(&checked);
        Manifest {
            name: text(&checked, "name"),
            task: text(&checked, "task"),
            backend: text(&checked, "backend"),
            license: text(&checked, "license"),
            restricted: flag(&checked, "restricted"),
            description: optional_text(&checked, "description"),
            languages: texts(&checked, "languages"),
            parameters: checked.get("parameters").and_then(|value| positive(value.get_ref())),
            homepage: optional_text(&checked, "homepage"),
            isolation: match optional_text(&checked, "isolation").as_deref() {
                Some("worker") => Isolation::Worker,
                _ => Isolation::Process,
            },
            worker: self.worker(&checked),
            files: self.files(&checked),
            load: checked.get("load").map(|load| self.options(load, "load")).unwrap_or_default(),
            presets: checked.get("preset").map(|presets| self.presets(presets)).unwrap_or_default(),
            origin: Origin::default(),
        }
    }

    /// Checks a table: unknown keys, missing keys, the kind of each value and what a text must look like.
    fn table<'d>(
        &mut self,
        table: &'d DeTable<'d>,
        keys: &'static [Key],
        prefix: &str,
        place: Range<usize>,
    ) -> Checked<'d> {
        let mut checked = Checked::new();
        let mut meant = Vec::new();
        for (name, value) in table.iter() {
            let Some(key) = keys.iter().find(|key| key.name == name.get_ref()) else {
                meant.extend(self.unknown_key(name, keys));
                continue;
            };
            self.places.insert(format!("{prefix}{}", key.name), Place { key: name.span(), value: value.span() });
            if self.value(key, value) {
                checked.insert(key.name, value);
            }
        }
        for key in keys.iter().filter(|key| key.required && !meant.contains(&key.name)) {
            // A key on a line that is no TOML is not missing.
            if self.broken_lines.is_empty() && !table.iter().any(|(name, _)| name.get_ref() == key.name) {
                let message = format!("key \"{}\" is missing", key.name);
                self.report(place.clone(), message, Some(key.help.to_owned()));
            }
        }
        checked
    }

    /// Reports an unknown key; returns the one that was probably meant.
    fn unknown_key(&mut self, name: &Spanned<Cow<'_, str>>, keys: &[Key]) -> Option<&'static str> {
        let shown = quoted(name.get_ref());
        let names: Vec<&'static str> = keys.iter().map(|key| key.name).collect();
        let near = nearest(name.get_ref(), names.iter().copied());
        match near {
            Some(near) => self.report(name.span(), format!("unknown key {shown} (did you mean \"{near}\"?)"), None),
            None => {
                self.report(
                    name.span(),
                    format!("unknown key {shown}"),
                    Some(format!("keys are {}", names.join(", "))),
                );
            }
        }
        near
    }

    /// Whether a value is what its key takes; reports it if not.
    fn value(&mut self, key: &Key, value: &Spanned<DeValue<'_>>) -> bool {
        match (&key.kind, value.get_ref()) {
            (Kind::Text(rule), DeValue::String(text)) => self.accept((rule.check)(key.name, text), value.span()),
            (Kind::Texts(rule), DeValue::Array(items)) => self.texts(key, rule.check, items.iter()),
            (Kind::Digests, DeValue::Array(items)) => self.digests(key, items.iter()),
            (Kind::Positive, number @ DeValue::Integer(_)) if positive(number).is_some() => true,
            (Kind::Within(least, most), number) if whole(number).is_some_and(|n| (*least..=*most).contains(&n)) => true,
            (Kind::Flag, DeValue::Boolean(_)) => true,
            (Kind::Options | Kind::Presets | Kind::Table(_), DeValue::Table(_)) => true,
            (Kind::Files(_), DeValue::Array(_)) => true,
            (Kind::Files(_), DeValue::Table(_)) => {
                let help = format!("write [[{}]], with two brackets on each side", key.name);
                self.report(value.span(), format!("\"{}\" must be a list of tables", key.name), Some(help));
                false
            }
            (kind, other) => {
                let message = format!("\"{}\" must be {}, not {}", key.name, kind.wanted(), shown(other));
                let help = match (kind, other) {
                    (Kind::Texts(_), DeValue::String(text)) => Some(format!("write {} = [{text:?}]", key.name)),
                    _ => None,
                };
                self.report(value.span(), message, help);
                false
            }
        }
    }

    fn accept(&mut self, outcome: Result<(), Fault>, place: Range<usize>) -> bool {
        match outcome {
            Ok(()) => true,
            Err(fault) => {
                self.report(place, fault.message, fault.help);
                false
            }
        }
    }

    fn texts<'d>(&mut self, key: &Key, check: Check, items: impl Iterator<Item = &'d Spanned<DeValue<'d>>>) -> bool {
        let mut seen = HashSet::new();
        let mut good = true;
        for item in items {
            match item.get_ref() {
                DeValue::String(text) if !seen.insert(text) => {
                    self.report(item.span(), format!("{} stands twice in \"{}\"", quoted(text), key.name), None);
                    good = false;
                }
                DeValue::String(text) => {
                    good &= self.accept(check(key.name, text), item.span());
                }
                other => {
                    let message = format!("\"{}\" must be a list of texts, not of {}", key.name, shown(other));
                    self.report(item.span(), message, None);
                    good = false;
                }
            }
        }
        good
    }

    fn digests<'d>(&mut self, key: &Key, items: impl Iterator<Item = &'d Spanned<DeValue<'d>>>) -> bool {
        let mut good = true;
        for item in items {
            good &= match item.get_ref() {
                DeValue::String(text) => self.accept(sha256(key.name, text), item.span()),
                other => {
                    let message = format!("\"{}\" must be {}, not of {}", key.name, key.kind.wanted(), shown(other));
                    self.report(item.span(), message, None);
                    false
                }
            };
        }
        good
    }

    fn name_is_the_files_own(&mut self, checked: &Checked<'_>) {
        let Some(value) = checked.get("name") else { return };
        let name = text(checked, "name");
        let stem = self.source.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if name != stem && self.naming == Naming::ByFile {
            let message = format!("name {} is not that of the file, {}", quoted(&name), quoted(&stem));
            let help = format!("call the file {name}.toml, or change the name");
            self.report(value.span(), message, Some(help));
        }
    }

    fn worker(&mut self, checked: &Checked<'_>) -> WorkerOptions {
        let otherwise = WorkerOptions::default();
        let Some((value, table)) = checked.get("worker").and_then(|value| Some((value, value.get_ref().as_table()?)))
        else {
            return otherwise;
        };
        if optional_text(checked, "isolation").as_deref() != Some(Isolation::Worker.name()) {
            let message = "\"worker\" says how workers run the model, and no worker does".to_owned();
            self.report(self.header(value.span()), message, Some("write isolation = \"worker\" above it".to_owned()));
        }
        let checked = self.table(table, WORKER, "worker.", self.header(value.span()));
        let number = |key: &str| checked.get(key).and_then(|value| whole(value.get_ref()));
        let seconds = |key: &str, otherwise: Option<Duration>| match number(key) {
            Some(seconds) => Some(Duration::from_secs(seconds)).filter(|time| !time.is_zero()),
            None => otherwise,
        };
        let asked = optional_text(&checked, "sandbox");
        WorkerOptions {
            sandbox: Sandbox::ALL.into_iter().find(|way| asked.as_deref() == Some(way.name())).unwrap_or_default(),
            count: number("count").and_then(|count| usize::try_from(count).ok()).unwrap_or(otherwise.count),
            memory_limit: number("memory_limit"),
            idle_timeout: seconds("idle_timeout", otherwise.idle_timeout),
            stall_timeout: seconds("stall_timeout", otherwise.stall_timeout),
        }
    }

    fn files(&mut self, checked: &Checked<'_>) -> Vec<ManifestFile> {
        let Some((value, list)) = checked.get("file").and_then(|value| Some((value, value.get_ref().as_array()?)))
        else {
            return Vec::new();
        };
        let keys = match MANIFEST.iter().find(|key| key.name == "file").map(|key| &key.kind) {
            Some(Kind::Files(keys)) => *keys,
            _ => return Vec::new(),
        };
        if list.len() > MOST_FILES {
            let message = format!("the model has {} files, more than {MOST_FILES}", list.len());
            self.report(value.span(), message, None);
            return Vec::new();
        }
        let mut files: Vec<ManifestFile> = Vec::new();
        for (index, item) in list.iter().enumerate() {
            let DeValue::Table(table) = item.get_ref() else {
                self.report(
                    item.span(),
                    format!("\"file\" must be a list of tables, not of {}", shown(item.get_ref())),
                    None,
                );
                continue;
            };
            let place = self.header(item.span());
            self.places.insert(format!("file[{index}]"), Place { key: place.clone(), value: place.clone() });
            let checked = self.table(table, keys, &format!("file[{index}]."), place);
            if let Some(file) = self.file(table, &checked, &files) {
                files.push(file);
            }
        }
        files
    }

    /// The place of a table's header: its first line, for a table that has no text of its own.
    fn header(&self, span: Range<usize>) -> Range<usize> {
        // No further than the table: very many may stand in one line.
        let text = self.source.text().get(span.clone()).unwrap_or_default();
        let line = text.split(['\n', '\r']).next().unwrap_or_default();
        span.start..span.start + line.trim_end().len()
    }

    fn file(&mut self, table: &DeTable<'_>, checked: &Checked<'_>, before: &[ManifestFile]) -> Option<ManifestFile> {
        let name = text(checked, "name");
        if let Some(value) = checked.get("name") {
            // Two names that differ in case only are one file on Windows and macOS.
            if before.iter().any(|other| other.name.to_lowercase() == name.to_lowercase()) {
                self.report(value.span(), format!("another file is called {} already", quoted(&name)), None);
            }
        }
        let size = positive(checked.get("size")?.get_ref())?;
        Some(ManifestFile {
            role: text(checked, "role"),
            name,
            urls: texts(checked, "url"),
            sha256: text(checked, "sha256").parse().ok()?,
            size,
            optional: flag(checked, "optional"),
            chunks: self.chunks(table, checked, size),
        })
    }

    /// The digests of the chunks of a file of `of` bytes.
    fn chunks(&mut self, table: &DeTable<'_>, checked: &Checked<'_>, of: u64) -> Option<Chunks> {
        let (size, chunks) = match (checked.get("chunk_size"), checked.get("chunks")) {
            (Some(size), Some(chunks)) => (size, chunks),
            // What is wrong with a value has been said.
            (Some(_), None) | (None, Some(_)) if table.contains_key("chunk_size") && table.contains_key("chunks") => {
                return None;
            }
            (Some(one), None) | (None, Some(one)) => {
                self.report(one.span(), "\"chunk_size\" and \"chunks\" belong together: give both, or neither", None);
                return None;
            }
            (None, None) => return None,
        };
        let digests: Option<Vec<Digest>> = texts(checked, "chunks").iter().map(|text| text.parse().ok()).collect();
        let bytes = positive(size.get_ref())?;
        match Chunks::new(bytes, digests?, of) {
            Ok(chunks) => Some(chunks),
            Err(problem) => {
                let place = if CHUNK_SIZES.contains(&bytes) { chunks.span() } else { size.span() };
                self.report(place, problem, Some("`tenon manifest new --chunks` writes them".to_owned()));
                None
            }
        }
    }

    fn presets(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<(String, Options)> {
        let mut presets = Vec::new();
        for (name, value) in in_order(value) {
            let problem = preset_name_problem(name.get_ref());
            // The places of its options need no name of any length: nobody will ask for them.
            let path = format!("preset.{}", if problem.is_none() { name.get_ref().as_ref() } else { "" });
            if let Some(problem) = problem {
                self.report(name.span(), format!("preset name {} {problem}", quoted(name.get_ref())), None);
            }
            if !value.get_ref().is_table() {
                let message = format!(
                    "preset {} must be a table of options, not {}",
                    quoted(name.get_ref()),
                    shown(value.get_ref())
                );
                self.report(value.span(), message, Some(format!("write [preset.{}]", name.get_ref())));
                continue;
            }
            let place = Place { key: name.span(), value: self.header(value.span()) };
            self.places.insert(path.clone(), place);
            presets.push((name.get_ref().to_string(), self.options(value, &path)));
        }
        presets
    }

    /// A table as an options document.
    fn options(&mut self, table: &Spanned<DeValue<'_>>, path: &str) -> Options {
        let mut options = Options::new();
        for (name, value) in in_order(table) {
            let place = Place { key: name.span(), value: value.span() };
            self.places.insert(format!("{path}.{}", name.get_ref()), place);
            if let Some(json) = self.json(value) {
                options.set(name.get_ref().to_string(), json);
            }
        }
        options
    }

    /// A value as JSON. Reports what JSON cannot hold.
    fn json(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Value> {
        match value.get_ref() {
            DeValue::String(text) => Some(Value::from(text.as_ref())),
            DeValue::Boolean(flag) => Some(Value::from(*flag)),
            DeValue::Integer(_) => match integer(value.get_ref()) {
                Some(number) => Some(Value::from(number)),
                None => self.refuse(value, "the number is too large for 64 bits"),
            },
            DeValue::Float(number) => match number.as_str().parse::<f64>().ok().map(serde_json::Number::from_f64) {
                Some(Some(number)) => Some(Value::Number(number)),
                _ => self.refuse(value, "the number is not finite"),
            },
            DeValue::Datetime(_) => self.refuse(value, "an option cannot be a date or a time; write it as text"),
            DeValue::Array(items) => items.iter().map(|item| self.json(item)).collect(),
            DeValue::Table(_) => {
                let all: Vec<(String, Option<Value>)> = in_order(value)
                    .into_iter()
                    .map(|(name, value)| (name.get_ref().to_string(), self.json(value)))
                    .collect();
                let map: Option<Map<String, Value>> =
                    all.into_iter().map(|(name, value)| value.map(|value| (name, value))).collect();
                map.map(Value::Object)
            }
        }
    }

    fn refuse(&mut self, value: &Spanned<DeValue<'_>>, message: &str) -> Option<Value> {
        self.report(value.span(), message, None);
        None
    }
}

/// Keys and values of a table in the order of the text; nothing if it is no table.
fn in_order<'d>(table: &'d Spanned<DeValue<'d>>) -> Vec<(&'d Spanned<Cow<'d, str>>, &'d Spanned<DeValue<'d>>)> {
    let DeValue::Table(table) = table.get_ref() else { return Vec::new() };
    let mut all: Vec<_> = table.iter().collect();
    all.sort_by_key(|(name, _)| name.span().start);
    all
}

fn text(checked: &Checked<'_>, key: &str) -> String {
    optional_text(checked, key).unwrap_or_default()
}

fn optional_text(checked: &Checked<'_>, key: &str) -> Option<String> {
    checked.get(key)?.get_ref().as_str().map(str::to_owned)
}

fn texts(checked: &Checked<'_>, key: &str) -> Vec<String> {
    let list = checked.get(key).and_then(|value| value.get_ref().as_array());
    list.map(|items| items.iter().filter_map(|item| item.get_ref().as_str()).map(str::to_owned).collect())
        .unwrap_or_default()
}

fn flag(checked: &Checked<'_>, key: &str) -> bool {
    matches!(checked.get(key).map(|value| value.get_ref()), Some(DeValue::Boolean(true)))
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn whole(value: &DeValue<'_>) -> Option<u64> {
    integer(value).and_then(|number| u64::try_from(number).ok())
}

fn positive(value: &DeValue<'_>) -> Option<u64> {
    whole(value).filter(|number| *number > 0)
}

/// A value for a message: what it is, and itself where that is short.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("text {}", quoted(text)),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
