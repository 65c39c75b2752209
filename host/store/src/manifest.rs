//! Manifests: which files make a model, which backend runs it, and how.
//!
//! [`Manifest::parse`] is strict and reports everything that is wrong at once, at its place. The places of a good
//! manifest are kept, so that what only the backend knows (its options, its roles) can be reported there too.

mod keys;
mod read;
mod write;

use crate::diagnostic::{Problem, Source};
use crate::names::{nearest, quoted};
use crate::{Chunks, Diagnostic, Digest, Error, ErrorKind, Result, Signature};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tenon_tasks::{FileRole, Options, Sandbox, Schema};

use read::Naming;

pub use keys::manifest_schema;

/// Which files make a model, which backend runs it, and how.
///
/// ```
/// use std::path::Path;
/// use tenon_store::Manifest;
///
/// let text = r#"
/// name = "parrot"
/// task = "chat"
/// backend = "echo"
/// license = "MIT"
/// [preset.default]
/// temperature = 0
/// "#;
/// let manifest = Manifest::parse(text, Path::new("parrot.toml")).unwrap();
/// assert_eq!(manifest.preset("default").unwrap().to_json(), r#"{"temperature":0}"#);
/// let again = Manifest::parse(&manifest.to_toml(), Path::new("parrot.toml")).unwrap();
/// assert_eq!(again, manifest);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Manifest {
    /// Name of the model.
    pub name: String,
    /// What it does: one of [`tenon_tasks::task::ALL`], or a task of the backend's own.
    pub task: String,
    /// Id of the backend that runs it.
    pub backend: String,
    /// Licence of the weights.
    pub license: String,
    /// Whether its licence is research-only, non-commercial or must be accepted: see [`Manifest::check_license`].
    pub restricted: bool,
    /// One line for people.
    pub description: Option<String>,
    /// Languages that it knows, as ISO 639 codes; empty when the manifest does not say.
    pub languages: Vec<String>,
    /// How many parameters it has.
    pub parameters: Option<u64>,
    /// A page to read about it.
    pub homepage: Option<String>,
    /// Where its backend runs.
    pub isolation: Isolation,
    /// How workers run it, where they do.
    pub worker: WorkerOptions,
    /// Its files, in the order of the manifest.
    pub files: Vec<ManifestFile>,
    /// Options of loading it.
    pub load: Options,
    /// Its named options, in the order of the manifest.
    pub presets: Vec<(String, Options)>,
    origin: Origin,
}

/// Where the backend of a model runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// In the engine's process.
    #[default]
    Process,
    /// In a worker: a process of its own.
    Worker,
}

impl Isolation {
    /// Both, the default first.
    pub const ALL: [Self; 2] = [Self::Process, Self::Worker];

    /// The word in manifests and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Worker => "worker",
        }
    }
}

/// How workers run a model: the table `[worker]` of its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerOptions {
    /// How each is shut in.
    pub sandbox: Sandbox,
    /// Most workers side by side, 1 to 16; each has the whole model.
    pub count: usize,
    /// Most bytes that one worker may allocate.
    pub memory_limit: Option<u64>,
    /// How long a worker without a request stays; for ever without it.
    pub idle_timeout: Option<Duration>,
    /// How long a running request may give no sign of life before its worker is killed; for ever without it.
    pub stall_timeout: Option<Duration>,
}

/// How long a worker without a request stays when the manifest does not say.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

impl Default for WorkerOptions {
    fn default() -> Self {
        let idle_timeout = Some(IDLE_TIMEOUT);
        Self { sandbox: Sandbox::On, count: 1, memory_limit: None, idle_timeout, stall_timeout: None }
    }
}

/// A file of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFile {
    /// What it is to the backend: `model`, `vad`, `tokenizer`.
    pub role: String,
    /// Its name: one path component.
    pub name: String,
    /// Where it can be had; the first that answers.
    pub urls: Vec<String>,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// How many bytes it has.
    pub size: u64,
    /// The model loads without it; what needs it is refused until it is there.
    pub optional: bool,
    /// Digests of its chunks, by which a repair gets only what is broken.
    pub chunks: Option<Chunks>,
}

impl ManifestFile {
    /// A file that no model must be without, with no address and no chunks.
    pub fn new(role: impl Into<String>, name: impl Into<String>, sha256: Digest, size: u64) -> Self {
        let (role, name) = (role.into(), name.into());
        Self { role, name, urls: Vec::new(), sha256, size, optional: false, chunks: None }
    }
}

/// Where a key and its value stand in the text, in bytes.
#[derive(Clone, Debug)]
struct Place {
    key: Range<usize>,
    value: Range<usize>,
}

/// The text that a manifest was read from, and the places in it; and the signature of that text.
#[derive(Clone, Debug, Default)]
struct Origin(Option<Arc<(Source, BTreeMap<String, Place>)>>, Option<Arc<Signature>>);

/// What a file says that holds a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The manifest, as TOML.
    pub text: String,
    /// What its `.minisig` file says, when it has one.
    pub signature: Option<String>,
}

impl Origin {
    fn new(source: Source, places: BTreeMap<String, Place>) -> Self {
        Self(Some(Arc::new((source, places))), None)
    }
}

/// Two manifests that say the same are equal, wherever they come from.
impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Manifest {
    /// A manifest without files, options or text of its own, to be filled in and written with [`Manifest::to_toml`].
    pub fn new(
        name: impl Into<String>,
        task: impl Into<String>,
        backend: impl Into<String>,
        license: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            task: task.into(),
            backend: backend.into(),
            license: license.into(),
            restricted: false,
            description: None,
            languages: Vec::new(),
            parameters: None,
            homepage: None,
            isolation: Isolation::Process,
            worker: WorkerOptions::default(),
            files: Vec::new(),
            load: Options::new(),
            presets: Vec::new(),
            origin: Origin::default(),
        }
    }

    /// Reads a manifest file. What is wrong with its text is an [`ErrorKind::Manifest`].
    pub fn read(path: &Path) -> Result<Self> {
        // A pipe or a device would make reading wait for ever.
        let kind = std::fs::metadata(path).map_err(|error| Error::io(path, "open", error))?;
        if !kind.is_file() {
            return Err(Error::unsafe_path(path, "is not a plain file"));
        }
        let mut bytes = Vec::new();
        let limit = read::LONGEST_MANIFEST as u64 + 1;
        let file = File::open(path).map_err(|error| Error::io(path, "open", error))?;
        file.take(limit).read_to_end(&mut bytes).map_err(|error| Error::io(path, "read", error))?;
        read::manifest_of_bytes(&bytes, path, Naming::ByFile)
            .map_err(|diagnostics| ErrorKind::Manifest { diagnostics }.into())
    }

    /// Reads the text of a manifest, or says everything that is wrong with it, in the order of the text; of more than
    /// 100 problems the first, and how many more there are.
    ///
    /// `path` stands in the messages, and the stem of its file must be the manifest's name.
    pub fn parse(text: &str, path: &Path) -> std::result::Result<Self, Vec<Diagnostic>> {
        read::manifest_of_bytes(text.as_bytes(), path, Naming::ByFile)
    }

    /// As [`Manifest::parse`], for a text that lies in no file: `origin` only stands in the messages.
    pub fn parse_text(text: &str, origin: &Path) -> std::result::Result<Self, Vec<Diagnostic>> {
        read::manifest_of_bytes(text.as_bytes(), origin, Naming::Free)
    }

    /// The options of a preset.
    pub fn preset(&self, name: &str) -> Option<&Options> {
        self.presets.iter().find(|(preset, _)| preset == name).map(|(_, options)| options)
    }

    /// The preset whose name is closest to `name`, if one is close enough to be what was meant.
    pub fn nearest_preset(&self, name: &str) -> Option<&str> {
        nearest(name, self.presets.iter().map(|(preset, _)| preset.as_str()))
    }

    /// The file that it was read from; empty for a manifest made with [`Manifest::new`].
    pub fn path(&self) -> &Path {
        match &self.origin.0 {
            Some(origin) => origin.0.path(),
            None => Path::new(""),
        }
    }

    /// Refuses a model whose licence is restricted until somebody accepts it. What gets files of a model asks this
    /// before the first byte: a pull, the import of a bundle.
    pub fn check_license(&self, accepted: bool) -> Result<()> {
        if accepted || !self.restricted {
            return Ok(());
        }
        let (model, license, homepage) = (self.name.clone(), self.license.clone(), self.homepage.clone());
        Err(ErrorKind::Restricted { model, license, homepage }.into())
    }

    /// Bytes of all files that the model cannot load without.
    pub fn size(&self) -> u64 {
        self.files.iter().filter(|file| !file.optional).map(|file| file.size).fold(0, u64::saturating_add)
    }

    /// The text that it was read from, whatever was changed since; `None` for one made with [`Manifest::new`].
    pub fn text(&self) -> Option<&str> {
        self.origin.0.as_ref().map(|origin| origin.0.text())
    }

    /// The signature that lay beside it when a catalogue or a bundle was read.
    pub fn signature(&self) -> Option<&Signature> {
        self.origin.1.as_deref()
    }

    pub(crate) fn sign(&mut self, signature: Signature) {
        self.origin.1 = Some(Arc::new(signature));
    }

    /// What to write where the manifest is kept: byte for byte what it was read from, with its signature, as long as
    /// it still says that; else its TOML, which nobody signed.
    pub fn record(&self) -> Record {
        let unchanged = |text: &&str| Self::parse_text(text, self.path()).is_ok_and(|again| again == *self);
        match self.text().filter(unchanged) {
            Some(text) => {
                let signature = self.signature().map(|signature| signature.text().to_owned());
                Record { text: text.to_owned(), signature }
            }
            None => Record { text: self.to_toml(), signature: None },
        }
    }

    /// The manifest as TOML. Reading it back gives an equal manifest.
    pub fn to_toml(&self) -> String {
        write::toml_of(self)
    }

    /// Checks the load options and every preset against the schemas that the backend exports.
    ///
    /// `requests` are the tasks that the model serves, each with its schema. An option of a preset must be known to
    /// one of them, and fit each that knows it. Without a schema there is nothing to check against.
    pub fn check_options(&self, load: Option<&Schema>, requests: &[(&str, &Schema)]) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        if let Some(schema) = load {
            self.check_table("load", &self.load, &[schema], &mut found);
        }
        let schemas: Vec<&Schema> = requests.iter().map(|(_, schema)| *schema).collect();
        if !schemas.is_empty() {
            for (name, options) in &self.presets {
                self.check_table(&format!("preset.{name}"), options, &schemas, &mut found);
            }
        }
        self.diagnostics(found)
    }

    fn check_table(&self, path: &str, options: &Options, schemas: &[&Schema], found: &mut Vec<Problem>) {
        for (name, value) in options.iter() {
            let mut one = Options::new();
            one.set(name, value.clone());
            let knowing: Vec<&&Schema> = schemas.iter().filter(|schema| schema.field(name).is_some()).collect();
            let known = !knowing.is_empty();
            let asked = if known { knowing } else { schemas.iter().take(1).collect() };
            let problem = asked.iter().find_map(|schema| schema.check(&one).err()?.into_iter().next());
            if let Some(problem) = problem {
                let place = self.place(&format!("{path}.{name}"), known);
                found.push(Problem { place, message: problem.message, help: None });
            }
        }
    }

    /// Checks the roles of the files against those that the backend wants: known, all there, none twice.
    pub fn check_files(&self, roles: &[FileRole]) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for (index, file) in self.files.iter().enumerate() {
            let place = self.place(&format!("file[{index}].role"), true);
            let Some(role) = roles.iter().find(|role| role.role == file.role) else {
                found.push(self.unknown_role(place, &file.role, roles));
                continue;
            };
            let again = self.files[..index].iter().any(|other| other.role == file.role);
            if again && !role.many {
                let message = format!("backend \"{}\" takes one file of role \"{}\"", self.backend, role.role);
                found.push(self.diagnose(place, message, None));
            }
        }
        for role in roles.iter().filter(|role| role.required) {
            if !self.files.iter().any(|file| file.role == role.role && !file.optional) {
                let message = format!("backend \"{}\" needs a file of role \"{}\"", self.backend, role.role);
                found.push(self.diagnose(self.place("backend", true), message, None));
            }
        }
        found.sort_by_key(|problem| (problem.line, problem.column));
        found
    }

    fn unknown_role(&self, place: Range<usize>, role: &str, roles: &[FileRole]) -> Diagnostic {
        let names: Vec<&str> = roles.iter().map(|role| role.role.as_str()).collect();
        let message = format!("backend \"{}\" has no role {}", self.backend, quoted(role));
        match nearest(role, names.iter().copied()) {
            Some(near) => self.diagnose(place, format!("{message} (did you mean \"{near}\"?)"), None),
            None if names.is_empty() => self.diagnose(place, message, Some("it takes no files".to_owned())),
            None => self.diagnose(place, message, Some(format!("its roles are {}", names.join(", ")))),
        }
    }

    /// A problem with the value of a key: `task`, `file[0].role`, `load.threads`, `preset.fast.beam_size`.
    /// A key that the manifest does not have puts it at the start.
    pub fn diagnostic(&self, key: &str, message: impl Into<String>, help: Option<String>) -> Diagnostic {
        self.diagnose(self.place(key, true), message.into(), help)
    }

    fn place(&self, key: &str, of_value: bool) -> Range<usize> {
        let place = self.origin.0.as_ref().and_then(|origin| origin.1.get(key));
        place.map(|place| if of_value { place.value.clone() } else { place.key.clone() }).unwrap_or_default()
    }

    fn diagnose(&self, place: Range<usize>, message: String, help: Option<String>) -> Diagnostic {
        match &self.origin.0 {
            Some(origin) => origin.0.diagnostic(place, message, help),
            None => self.without_text().diagnostic(0..0, message, help),
        }
    }

    fn diagnostics(&self, found: Vec<Problem>) -> Vec<Diagnostic> {
        match &self.origin.0 {
            Some(origin) => origin.0.diagnostics(found),
            None => self.without_text().diagnostics(found),
        }
    }

    /// What problems are reported in for a manifest that was read from nowhere.
    fn without_text(&self) -> Source {
        Source::new(Path::new(&format!("{}.toml", self.name)), "")
    }
}
