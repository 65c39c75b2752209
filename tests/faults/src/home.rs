//! Where the campaign finds things: the shipped models, the built plugins, and a folder of its own for the rest.

use crate::Outcome;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tenon::{Engine, EngineBuilder, Manifest, MemoryCheck, WorkerSettings};

/// How long a worker may take to end a call that was asked to end, before it is killed.
pub const GRACE: Duration = Duration::from_millis(500);

/// What was built for the campaign.
#[derive(Clone, Debug)]
pub struct Places {
    /// The folder of the sealed plugins.
    pub plugins: PathBuf,
    /// The plugin that misbehaves on request, which is sealed by the campaign.
    pub faulty: PathBuf,
    /// The program `tenon-worker`.
    pub worker: PathBuf,
}

/// The places, and a folder for the rest.
pub struct Home {
    places: Places,
    folder: PathBuf,
    /// Removes the folder at the end, unless it is another's.
    _own: Option<TempDir>,
}

/// The checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_path_buf).unwrap_or_default()
}

/// The program that answers garbage, which is built along with this one.
fn garbage() -> Outcome<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("tenon-garbage"))
}

impl Home {
    /// Prepares the folder.
    pub fn new(places: Places) -> Outcome<Self> {
        for path in [&places.faulty, &places.worker, &garbage()?] {
            if !path.is_file() {
                return Err(format!("{} is missing: cargo xtask faults builds it", path.display()).into());
            }
        }
        // Beside the programs, because a file's second name must be on the same file system.
        let own = TempDir::with_prefix_in("faults-", places.worker.parent().unwrap_or(Path::new(".")))?;
        let folder = own.path();
        for name in ["plugins", "programs", "models", "state", "store"] {
            fs::create_dir(folder.join(name))?;
        }
        let file = places.faulty.file_name().ok_or("the plugin has no file name")?;
        let library = folder.join("plugins").join(file);
        fs::copy(&places.faulty, &library)?;
        let template = root().join("plugins/faulty/faulty.plugin.toml");
        tenon::seal(&library, &template)?;
        add_garbage(folder, &fs::read_to_string(&template)?)?;
        Ok(Self { places, folder: folder.to_owned(), _own: Some(own) })
    }

    /// One over the folder of another process.
    pub fn borrowed(places: Places, folder: &Path) -> Self {
        Self { places, folder: folder.to_owned(), _own: None }
    }

    /// What it was made of.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// A folder below that of the campaign.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// An engine whose workers run under a name of their own, so that they can be told from those of other engines.
    pub fn engine(&self, program: &str) -> Outcome<Engine> {
        self.engine_on(&self.link(&self.places.worker, program)?)
    }

    /// An engine whose workers are the program of garbage; its name says which kind.
    pub fn engine_of_garbage(&self, kind: &str) -> Outcome<Engine> {
        self.engine_on(&self.link(&garbage()?, kind)?)
    }

    fn engine_on(&self, program: &Path) -> Outcome<Engine> {
        Ok(self.builder(program, &self.path("state")).build()?)
    }

    /// What every engine of the campaign is made with.
    pub fn builder(&self, program: &Path, state: &Path) -> EngineBuilder {
        Engine::builder()
            .plugin_dir(self.path("plugins"))
            .plugin_dir(&self.places.plugins)
            .models_dir(self.path("models"))
            .models_dir(root().join("models"))
            .store_dir(self.path("store"))
            .state_dir(state)
            .memory(MemoryCheck::Ignore)
            .worker(WorkerSettings::default().program(program).grace(GRACE))
    }

    /// A program under another name: a second link to the file, because the engine looks behind symbolic ones.
    fn link(&self, program: &Path, name: &str) -> Outcome<PathBuf> {
        let link = self.path("programs").join(name);
        if !link.exists() {
            fs::hard_link(program, &link)?;
        }
        Ok(link)
    }

    /// The manifest of a model of the campaign: `speech` and `text`, which ship, or a backend's name, for a model
    /// without files. `more` is what its table `[worker]` says.
    pub fn manifest(&self, model: &str, isolation: &str, more: &str) -> Outcome<Manifest> {
        let text = match model {
            "speech" => self.shipped("commands-en")?,
            "text" => self.shipped("intents-en")?,
            backend => {
                format!("name = \"{model}\"\ntask = \"generate\"\nbackend = \"{backend}\"\nlicense = \"unknown\"\n")
            }
        };
        parse(&with_isolation(&text, isolation, more))
    }

    /// A manifest for one model file of the campaign's own.
    pub fn manifest_of_file(&self, backend: &str, file: &Path) -> Outcome<Manifest> {
        let task = if backend == "whisper" { "transcribe" } else { "chat" };
        let bytes = fs::read(file)?;
        let (digest, size) = (tenon::Digest::of(&bytes), bytes.len());
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let text = format!(
            "name = \"hostile\"\ntask = \"{task}\"\nbackend = \"{backend}\"\nlicense = \"unknown\"\n\n[[file]]\n\
             role = \"model\"\nname = \"{name}\"\nsha256 = \"{digest}\"\nsize = {size}\n"
        );
        parse(&with_isolation(&text, "worker", ""))
    }

    /// A model file that ships.
    pub fn shipped_file(&self, name: &str) -> PathBuf {
        root().join("models").join(name)
    }

    fn shipped(&self, name: &str) -> Outcome<String> {
        let path = root().join(format!("manifests/{name}.toml"));
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    /// The samples of a shipped recording: 16 bits, mono, 16 kHz.
    pub fn recording(&self, name: &str) -> Outcome<Vec<f32>> {
        let bytes = fs::read(root().join(format!("models/recordings/{name}.wav")))?;
        let data = bytes.windows(4).position(|chunk| chunk == b"data").ok_or("a recording without samples")? + 8;
        let samples = bytes[data..].chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
        Ok(samples.map(|sample| f32::from(sample) / 32_768.0).collect())
    }
}

/// A plugin that only the program of garbage ever gets. It is not even a library.
fn add_garbage(folder: &Path, template: &str) -> Outcome<()> {
    let library = folder.join("plugins/libgarbage.so");
    fs::write(&library, "nobody opens this")?;
    let garbage = folder.join("garbage.template.toml");
    fs::write(&garbage, template.replace("\"faulty\"", "\"garbage\""))?;
    tenon::seal(&library, &garbage)?;
    Ok(())
}

fn with_isolation(text: &str, isolation: &str, more: &str) -> String {
    let text = text.replacen("\ntask = ", &format!("\nisolation = \"{isolation}\"\ntask = "), 1);
    match isolation {
        "worker" => format!("{text}\n[worker]\n{more}\n"),
        _ => text,
    }
}

fn parse(text: &str) -> Outcome<Manifest> {
    Manifest::parse_text(text, Path::new("the campaign")).map_err(|problems| {
        let sentences: Vec<String> = problems.iter().map(ToString::to_string).collect();
        format!("{}\n{text}", sentences.join("; ")).into()
    })
}
