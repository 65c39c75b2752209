//! The command line as clap sees it. What depends on a backend is added by [`crate::flags`].

use crate::progress::Mode;
use crate::transcript::Format;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;
use tenon::{Isolation, VerifyMode};

/// Speech to text and text generation through plugins, on verified models
#[derive(Debug, Parser)]
#[command(name = "tenon", version = crate::command::version::LINE, max_term_width = 120)]
#[command(after_help = "Results go to standard output, everything else to standard error.\n\
    `tenon COMMAND --help` explains a command; with a model it lists the options of the model's backend too.")]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global flags")]
pub struct Globals {
    /// Folder of manifests, searched before the standard ones; may be repeated
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub manifests: Vec<PathBuf>,
    /// Folder of plugins, or one plugin file, searched before the standard ones; may be repeated
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::AnyPath)]
    pub plugins: Vec<PathBuf>,
    /// Folder of model files, searched before the standard ones; may be repeated
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub models: Vec<PathBuf>,
    /// Folder of the store, instead of $TENON_STORE or the standard one
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub store: Option<PathBuf>,
    /// When model files are hashed
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        env = "TENON_VERIFY",
        hide_env_values = true,
        default_value = "cached"
    )]
    pub verify: Verify,
    /// Load nothing but what this lock file pins [default: tenon.lock in the current folder]
    #[arg(long, global = true, value_name = "FILE", env = "TENON_LOCKED", hide_env_values = true,
          num_args = 0..=1, require_equals = true, default_missing_value = LOCK_FILE, value_hint = ValueHint::FilePath)]
    pub locked: Option<PathBuf>,
    /// Most threads that a request computes with [default: physical cores, within the limits of the cgroup]
    #[arg(short, long, global = true, value_name = "N", env = "TENON_THREADS", hide_env_values = true,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Load models that do not fit into memory, too
    #[arg(long, global = true, env = "TENON_IGNORE_MEMORY", hide_env_values = true,
          value_parser = clap::builder::FalseyValueParser::new())]
    pub ignore_memory: bool,
    /// Where backends run: more isolated than the manifest says, never less [default: as the manifest says]
    #[arg(long, global = true, value_name = "WHERE", env = "TENON_ISOLATION", hide_env_values = true)]
    pub isolation: Option<Isolate>,
    /// What to log on standard error: error, warn, info, debug, trace, or a filter such as `tenon=debug`
    #[arg(long, global = true, value_name = "LEVEL", env = "TENON_LOG", hide_env_values = true)]
    pub log: Option<String>,
    /// Log more: -v info, -vv debug, -vvv trace
    #[arg(short, global = true, action = clap::ArgAction::Count)]
    pub verbosity: u8,
    /// Print the result as one JSON object or array, and errors as JSON on standard error
    #[arg(long, global = true, env = "TENON_JSON", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub json: bool,
    /// Print nothing but results and errors
    #[arg(short, long, global = true, env = "TENON_QUIET", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub quiet: bool,
    /// How to show progress on standard error
    #[arg(
        long,
        global = true,
        value_name = "HOW",
        env = "TENON_PROGRESS",
        hide_env_values = true,
        default_value = "auto"
    )]
    pub progress: Mode,
}

/// Where a lock file lies unless something else is said.
pub const LOCK_FILE: &str = "tenon.lock";

/// When model files are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Verify {
    /// Each time
    Always,
    /// Unless this very file was hashed before
    Cached,
    /// Never; only sizes are checked
    Never,
}

impl From<Verify> for VerifyMode {
    fn from(verify: Verify) -> Self {
        match verify {
            Verify::Always => Self::Always,
            Verify::Cached => Self::Cached,
            Verify::Never => Self::Never,
        }
    }
}

/// Where backends run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Isolate {
    /// In this process; refused for a model whose manifest says `worker`
    Process,
    /// In a process of its own, shut in, whose death is an error and no more
    Worker,
}

impl From<Isolate> for Isolation {
    fn from(isolate: Isolate) -> Self {
        match isolate {
            Isolate::Process => Self::Process,
            Isolate::Worker => Self::Worker,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Turn speech into text
    Transcribe(Transcribe),
    /// Ask a language model, or chat with it in the terminal
    Run(Run),
    /// Turn texts into vectors
    Embed(Embed),
    /// List models
    #[command(alias = "ls")]
    List(List),
    /// Show what is known about a model
    Show(Show),
    /// Find models in the catalogue, by name, task, licence, language
    Search(Search),
    /// Fetch models into the store, every byte verified
    Pull(Pull),
    /// Say how much memory a model needs, and whether it fits now
    Estimate(EstimateArgs),
    /// Check the files of models against their digests, and repair them
    Verify(VerifyArgs),
    /// Make a model of a file that is here already
    Import(Import),
    /// Remove models from the store, with the files that only they need
    Rm(Rm),
    /// Remove from the store what no model needs
    Gc(Gc),
    /// Carry models and plugins to machines that are never online
    #[command(subcommand)]
    Bundle(BundleCommand),
    /// Pin models and plugins by their digests, or check what is pinned
    Lock(Lock),
    /// Look at, check, make and seal plugins
    #[command(subcommand)]
    Plugin(Plugin),
    /// Check and make manifests
    #[command(subcommand)]
    Manifest(ManifestCommand),
    /// List the devices that the plugins can compute on
    Devices,
    /// Look for what is wrong with this installation
    Doctor,
    /// Measure how fast a model is on this machine
    Bench(Bench),
    /// Play the shipped recordings through speech, text and answer, and check every step
    Demo(Demo),
    /// Print the completions of a shell
    Completions(Completions),
    /// Print the manual page, or write all pages into a folder
    Man(Man),
    /// Print the version of the program and of its plugin contract
    Version,
}

/// How a request is asked, for every task.
#[derive(Debug, Args)]
pub struct Asking {
    /// Preset of the model's manifest
    #[arg(long, value_name = "NAME", env = "TENON_PRESET", hide_env_values = true)]
    pub preset: Option<String>,
    /// Option of the backend, by its name; may be repeated
    #[arg(short, long = "option", value_name = "KEY=VALUE")]
    pub option: Vec<String>,
    /// Give up when a request takes longer than this
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub deadline: Option<std::time::Duration>,
}

fn seconds(text: &str) -> Result<std::time::Duration, String> {
    let wanted = || "this must be a number of seconds above 0".to_owned();
    let seconds: f64 = text.parse().map_err(|_| wanted())?;
    if seconds > 0.0 { std::time::Duration::try_from_secs_f64(seconds).map_err(|_| wanted()) } else { Err(wanted()) }
}

/// Arguments of `tenon transcribe`.
#[derive(Debug, Args)]
#[command(after_help = "The flags of whisper-cli work too, single-dash ones included: -osrt -of out -ml 40 -l de.")]
pub struct Transcribe {
    /// Model to use [default: the only model for speech that is present]
    #[arg(short, long, value_name = "NAME", env = "TENON_MODEL", hide_env_values = true)]
    pub model: Option<String>,
    /// Audio files of any common kind; `-` is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
    /// One more audio file; may be repeated
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Vec<PathBuf>,
    /// How to write the transcript
    #[arg(long, value_name = "FORMAT")]
    pub output_format: Option<Format>,
    /// Write FILE.txt
    #[arg(long)]
    pub output_txt: bool,
    /// Write FILE.srt
    #[arg(long)]
    pub output_srt: bool,
    /// Write FILE.vtt
    #[arg(long)]
    pub output_vtt: bool,
    /// Write FILE.lrc
    #[arg(long)]
    pub output_lrc: bool,
    /// Write FILE.csv
    #[arg(long)]
    pub output_csv: bool,
    /// Write FILE.tsv
    #[arg(long)]
    pub output_tsv: bool,
    /// Write FILE.json in whisper-cli's layout
    #[arg(long)]
    pub output_json: bool,
    /// Write FILE.json in whisper-cli's layout, with tokens
    #[arg(long)]
    pub output_json_full: bool,
    /// Name of the written file without its extension; `-` is standard output; once for each input
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub output_file: Vec<PathBuf>,
    /// Write into this folder (short: `-o DIR`)
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub output_dir: Option<PathBuf>,
    /// Translate into English
    #[arg(long, conflicts_with = "detect_language")]
    pub translate: bool,
    /// Only find out which language is spoken
    #[arg(long)]
    pub detect_language: bool,
    /// Print events as they come, one JSON object per line
    #[arg(long, conflicts_with_all = ["json", "output_format", "output_dir", "output_file"])]
    pub jsonl: bool,
    /// Colour the text by how sure the model is, from red to green
    #[arg(long)]
    pub print_colors: bool,
    /// How the backend is asked.
    #[command(flatten)]
    pub asking: Asking,
    /// Flags of whisper-cli that only say something here.
    #[command(flatten)]
    pub foreign: Foreign,
}

/// Flags of whisper-cli that Tenon takes where they change nothing, and otherwise refuses with a reason.
#[derive(Debug, Args)]
pub struct Foreign {
    /// Only 1: splitting a recording loses words at the cuts
    #[arg(long, hide = true, value_name = "N")]
    pub processors: Option<u16>,
    /// The manifest names the VAD model
    #[arg(long, hide = true, value_name = "FILE")]
    pub vad_model: Option<String>,
    /// No plugin that ships computes on a GPU
    #[arg(long, hide = true)]
    pub no_gpu: bool,
    /// Needs two channels; Tenon mixes them
    #[arg(long, hide = true)]
    pub diarize: bool,
    /// Needs a model that no backend here reads
    #[arg(long, hide = true)]
    pub tinydiarize: bool,
}

/// Arguments of `tenon run`.
#[derive(Debug, Args)]
#[command(after_help = "What is piped in is appended to the prompt. Without a prompt, in a terminal, it is a chat:\n\
    /bye ends it, /clear forgets it, /set and /show change and show options, \"\"\" opens and closes several lines.\n\
    The flags of llama-cli work too: -n 64 --temp 0 -sys TEXT -c 4096 -jf SCHEMA.json.")]
pub struct Run {
    /// Model to use
    #[arg(value_name = "NAME")]
    pub model: String,
    /// What to ask
    #[arg(value_name = "PROMPT")]
    pub prompt: Vec<String>,
    /// What to ask, as a flag
    #[arg(short = 'p', long = "prompt", value_name = "TEXT", conflicts_with = "prompt")]
    pub text: Option<String>,
    /// File that holds what to ask
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// What sets the scene for the model
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// `json`, or a file with the JSON Schema that the answer must follow
    #[arg(long, value_name = "json|SCHEMA.json", value_hint = ValueHint::FilePath)]
    pub format: Option<String>,
    /// File with the JSON Schema that the answer must follow
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "format")]
    pub json_schema_file: Option<PathBuf>,
    /// File with the GBNF grammar that the answer must follow
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["format", "json_schema_file"])]
    pub grammar_file: Option<PathBuf>,
    /// Print counts, times and rates on standard error
    #[arg(long)]
    pub verbose: bool,
    /// Print events as they come, one JSON object per line
    #[arg(long, conflicts_with = "json")]
    pub jsonl: bool,
    /// How the backend is asked.
    #[command(flatten)]
    pub asking: Asking,
}

/// Arguments of `tenon embed`.
#[derive(Debug, Args)]
#[command(after_help = "Without texts, each line of standard input is one.")]
pub struct Embed {
    /// Model to use
    #[arg(value_name = "NAME")]
    pub model: String,
    /// Texts to turn into vectors
    #[arg(value_name = "TEXT")]
    pub texts: Vec<String>,
    /// How the backend is asked.
    #[command(flatten)]
    pub asking: Asking,
}

/// Arguments of `tenon list`.
#[derive(Debug, Args)]
pub struct List {
    /// Also models whose files are not here
    #[arg(short, long)]
    pub all: bool,
}

/// Arguments of `tenon show`.
#[derive(Debug, Args)]
pub struct Show {
    /// Model to show
    #[arg(value_name = "NAME")]
    pub model: String,
}

/// Arguments of `tenon estimate`.
#[derive(Debug, Args)]
#[command(
    after_help = "The model is not loaded: its backend reads the heads of its files. WEIGHTS and parts of OTHER are there once,\n\
    the rest for each session. RESERVE is what is left to other programs."
)]
pub struct EstimateArgs {
    /// Model to estimate
    #[arg(value_name = "NAME")]
    pub model: String,
    /// Option of loading it, by its name, such as context_size=8192; may be repeated
    #[arg(short, long = "option", value_name = "KEY=VALUE")]
    pub option: Vec<String>,
    /// Sessions that run on it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub sessions: u64,
}

/// Arguments of `tenon search`.
#[derive(Debug, Args)]
#[command(after_help = "MEMORY is a rough figure from sizes alone; `tenon estimate NAME` asks the backend.\n\
    Nothing here uses the network.")]
pub struct Search {
    /// Words that must all be in name, description, task, licence or languages [default: every model]
    #[arg(value_name = "WORD")]
    pub words: Vec<String>,
    /// Only models for this task
    #[arg(long, value_name = "TASK")]
    pub task: Option<String>,
    /// Only models that fit into this machine's memory as it is now
    #[arg(long)]
    pub fits: bool,
}

/// Arguments of `tenon pull`.
#[derive(Debug, Args)]
#[command(after_help = "WHAT is the name of a model that `tenon search` finds; a manifest file (./NAME.toml); \
    hf:ORG/REPO[@REVISION][:FILE or QUANT]; or an address with --sha256.\n\
    A pull that ends early is no loss: the next one goes on at the byte where it stopped.")]
pub struct Pull {
    /// What to fetch
    #[arg(value_name = "WHAT", required_unless_present = "all_missing")]
    pub what: Vec<String>,
    /// Every model of yours whose files are not all here: those that were pulled before or whose pull broke off, and
    /// those of the manifest folders that you named
    #[arg(long, conflicts_with = "what")]
    pub all_missing: bool,
    /// Do not ask before fetching a lot
    #[arg(short, long)]
    pub yes: bool,
    /// Accept licences for research or non-commercial use only
    #[arg(long)]
    pub accept_license: bool,
    /// Leave out files that the model loads without
    #[arg(long)]
    pub no_optional: bool,
    /// Open no connection: what is not here is an error
    #[arg(long, env = "TENON_OFFLINE", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub offline: bool,
    /// Most bytes per second, such as 10M
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub rate_limit: Option<u64>,
    /// Connections for one large file, where the server allows several
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub connections: Option<u8>,
    /// Take files of huggingface.co from this mirror
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Name of the model, for hf: and addresses [default: that of the file]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// SHA-256 of the file at the address
    #[arg(long, value_name = "HEX")]
    pub sha256: Option<tenon::Digest>,
    /// What the model does, for hf: and addresses
    #[arg(long, value_name = "TASK")]
    pub task: Option<String>,
    /// Backend that runs it, for hf: and addresses
    #[arg(long, value_name = "ID")]
    pub backend: Option<String>,
    /// Licence of the weights, for hf: and addresses
    #[arg(long, value_name = "SPDX")]
    pub license: Option<String>,
}

/// `10M`: bytes per second, in decimal units.
fn rate(text: &str) -> Result<u64, String> {
    let wanted = || "this must be a number of bytes per second above 0, such as 500K, 10M or 1.5G".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 1.0,
        "K" | "KB" => 1e3,
        "M" | "MB" => 1e6,
        "G" | "GB" => 1e9,
        _ => return Err(wanted()),
    };
    let bytes = digits.parse::<f64>().map_err(|_| wanted())? * factor;
    if (1.0..=1e15).contains(&bytes) { Ok(bytes as u64) } else { Err(wanted()) }
}

/// Arguments of `tenon verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Models to verify
    #[arg(value_name = "NAME", required_unless_present = "all")]
    pub names: Vec<String>,
    /// Every model whose files are here
    #[arg(short, long, conflicts_with = "names")]
    pub all: bool,
    /// Fetch what is corrupt or missing; of a file whose manifest names its chunks, only the broken ones
    #[arg(long)]
    pub repair: bool,
    /// Open no connection: what is corrupt is taken out of use and not fetched
    #[arg(long, env = "TENON_OFFLINE", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub offline: bool,
}

/// Arguments of `tenon import`.
#[derive(Debug, Args)]
#[command(
    after_help = "A file that a manifest of the catalogue names by its SHA-256 belongs to that model, and nothing \
    else need be said.\nOf a split GGUF (…-00001-of-00003.gguf) the first part brings the others.\n\
    Without a flag the file is cloned, which takes no space; where that cannot be, say what you want instead."
)]
pub struct Import {
    /// The file
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Name of the model [default: that of the file]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// What the model does: transcribe, chat, generate, embed
    #[arg(long, value_name = "TASK")]
    pub task: Option<String>,
    /// Backend that runs it [default: the one for files of this format]
    #[arg(long, value_name = "ID")]
    pub backend: Option<String>,
    /// Licence of the weights
    #[arg(long, value_name = "SPDX")]
    pub license: Option<String>,
    /// Copy it into the store where it cannot be cloned
    #[arg(long, conflicts_with_all = ["hard_link", "link"])]
    pub copy: bool,
    /// Give it another name in the store: no copy, and who writes to one writes to both
    #[arg(long, conflicts_with = "link")]
    pub hard_link: bool,
    /// Leave it where it is, and remember where
    #[arg(long)]
    pub link: bool,
}

/// Arguments of `tenon rm`.
#[derive(Debug, Args)]
pub struct Rm {
    /// Models to remove
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
}

/// Arguments of `tenon gc`.
#[derive(Debug, Args)]
#[command(after_help = "What a running pull or import works on stays.")]
pub struct Gc {
    /// Only say what would be removed
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Also what pulls that broke off would go on with [default: only if nobody has for two weeks]
    #[arg(long)]
    pub parts: bool,
}

/// Commands of `tenon bundle`.
#[derive(Debug, Subcommand)]
pub enum BundleCommand {
    /// Write models, and the plugins that run them, into one file
    Export(BundleExport),
    /// Take models and plugins of a bundle into the store
    Import(BundleImport),
    /// Show what a bundle holds, and under which licences
    Show {
        /// The bundle; `-` is standard input
        #[arg(value_name = "BUNDLE", value_hint = ValueHint::FilePath)]
        bundle: PathBuf,
    },
}

/// Arguments of `tenon bundle export`.
#[derive(Debug, Args)]
pub struct BundleExport {
    /// Models to carry
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
    /// File to write; `-` is standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    /// Models alone: for machines that have the plugins, or need others
    #[arg(long)]
    pub no_plugins: bool,
}

/// Arguments of `tenon bundle import`.
#[derive(Debug, Args)]
#[command(
    after_help = "A bundle that is not whole, or whose plugins cannot run here, is refused before anything of it \
    can be seen."
)]
pub struct BundleImport {
    /// The bundle; `-` is standard input
    #[arg(value_name = "BUNDLE", value_hint = ValueHint::FilePath)]
    pub bundle: PathBuf,
    /// Models alone
    #[arg(long)]
    pub no_plugins: bool,
    /// Accept licences for research or non-commercial use only
    #[arg(long)]
    pub accept_license: bool,
    /// Put its plugins in the place of others of the same id in the store
    #[arg(long)]
    pub replace_plugins: bool,
    /// Put its manifests in the place of others of the same name in the store
    #[arg(long)]
    pub replace_models: bool,
}

/// Arguments of `tenon lock`.
#[derive(Debug, Args)]
#[command(after_help = "`tenon --locked COMMAND` then refuses every model and plugin that is not pinned.")]
pub struct Lock {
    /// Models to pin, with the plugins that run them [default: every model whose files are here]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// The lock file
    #[arg(short, long, value_name = "FILE", default_value = LOCK_FILE, value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    /// Write nothing; say what differs from the lock file
    #[arg(long, conflicts_with = "names")]
    pub check: bool,
}

/// Commands of `tenon plugin`.
#[derive(Debug, Subcommand)]
pub enum Plugin {
    /// List the plugins that were found
    #[command(alias = "ls")]
    List,
    /// Show what a plugin is and can do, with all its options
    Info {
        /// Id of the plugin, `ID@VERSION`, or a file
        #[arg(value_name = "ID|FILE", value_hint = ValueHint::FilePath)]
        plugin: String,
    },
    /// Check a plugin against the contract, in a process of its own
    Check(PluginCheck),
    /// Write a new plugin project
    New(PluginNew),
    /// Write the sidecar beside a library: what it is, and its SHA-256
    Seal {
        /// The library
        #[arg(value_name = "LIB", value_hint = ValueHint::FilePath)]
        library: PathBuf,
        /// The sidecar without `file` and `sha256` [default: the only *.plugin.toml in the current folder]
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        template: Option<PathBuf>,
    },
}

/// Arguments of `tenon plugin check`.
#[derive(Debug, Args)]
pub struct PluginCheck {
    /// The library or its sidecar
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Manifest of a model that the plugin can open, for backends that need model files
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub manifest: Option<PathBuf>,
    /// How long one request may take before it counts as hanging
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub patience: std::time::Duration,
    /// Only look at the library; run none of it
    #[arg(long)]
    pub without_running: bool,
    /// Check in this very process
    #[arg(long, hide = true)]
    pub here: bool,
}

/// Arguments of `tenon plugin new`.
#[derive(Debug, Args)]
pub struct PluginNew {
    /// Id of the plugin: lower-case letters, digits and hyphens
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Folder to make [default: NAME in the current folder]
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: Option<PathBuf>,
    /// Language to write it in
    #[arg(long, value_name = "LANG", default_value = "rust")]
    pub lang: Language,
    /// Folder of the crate tenon-plugin, for Rust [default: the checkout that this program was built in]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub sdk: Option<PathBuf>,
}

/// Languages that a plugin can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// With the safe traits of tenon-plugin
    Rust,
    /// With tenon_plugin.h
    C,
    /// With tenon_plugin.hpp
    Cpp,
}

/// Commands of `tenon manifest`.
#[derive(Debug, Subcommand)]
pub enum ManifestCommand {
    /// Check a manifest, or every manifest of a folder
    Check {
        /// File or folder
        #[arg(value_name = "PATH", required = true, value_hint = ValueHint::AnyPath)]
        paths: Vec<PathBuf>,
    },
    /// Print the JSON Schema of manifests, for editors
    Schema,
    /// Print a manifest for model files, with their digests
    New(ManifestNew),
}

/// Arguments of `tenon manifest new`.
#[derive(Debug, Args)]
pub struct ManifestNew {
    /// Name of the model: lower-case letters, digits and hyphens
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Files of the model, as PATH or ROLE=PATH; the first without a role is the `model`
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub files: Vec<String>,
    /// Backend that runs it
    #[arg(long, value_name = "ID")]
    pub backend: String,
    /// What it does: transcribe, chat, generate, embed
    #[arg(long, value_name = "TASK")]
    pub task: String,
    /// Licence of the weights
    #[arg(long, value_name = "SPDX")]
    pub license: String,
    /// Page where the file can be had; once for each file, in their order
    #[arg(long, value_name = "URL")]
    pub url: Vec<String>,
    /// Digests of the chunks of each file too: then a repair fetches only what is broken
    #[arg(long)]
    pub chunks: bool,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
}

/// Arguments of `tenon bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// Model to measure
    #[arg(value_name = "NAME")]
    pub model: String,
    /// Runs of each measurement; the median counts
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// Recording to transcribe [default: the longest that ships]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub audio: Option<PathBuf>,
    /// About how many tokens the prompt has
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub prompt_tokens: u32,
    /// Most tokens to generate
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub generate_tokens: u32,
}

/// Arguments of `tenon demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// List of recordings with their transcripts and answers [default: the one that ships]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub recordings: Option<PathBuf>,
    /// Model for speech
    #[arg(long, value_name = "NAME", default_value = "commands-en")]
    pub speech_model: String,
    /// Model for answers
    #[arg(long, value_name = "NAME", default_value = "intents-en")]
    pub answer_model: String,
    /// JSON Schema of the answers [default: NAME.schema.json beside the recordings' folder]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub schema: Option<PathBuf>,
}

/// Arguments of `tenon completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Shells that completions exist for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
    /// PowerShell
    Powershell,
    /// Elvish
    Elvish,
    /// Nushell
    Nushell,
}

/// Arguments of `tenon man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Folder to write all pages into
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_free_of_contradictions() {
        Cli::command().debug_assert();
    }

    /// clap would take the value of one for the other, and panic where their types differ.
    #[test]
    fn no_argument_of_a_command_has_the_id_of_a_global_flag() {
        fn visit(command: &clap::Command, globals: &[String]) {
            for arg in command.get_arguments() {
                let clash = !arg.is_global_set() && globals.iter().any(|id| arg.get_id() == id.as_str());
                assert!(!clash, "{} {}", command.get_name(), arg.get_id());
            }
            command.get_subcommands().for_each(|command| visit(command, globals));
        }
        let cli = Cli::command();
        let globals = cli.get_arguments().filter(|arg| arg.is_global_set()).map(|arg| arg.get_id().to_string());
        visit(&cli, &globals.collect::<Vec<_>>());
    }

    #[test]
    fn rates_are_bytes_in_decimal_units() {
        assert_eq!(rate("500"), Ok(500));
        assert_eq!(rate("1.5k"), Ok(1500));
        assert_eq!((rate("10M"), rate("2GB")), (Ok(10_000_000), Ok(2_000_000_000)));
        for bad in ["", "0", "-1", "M", "10Q", "inf", "NaN", "1e99"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_are_positive_numbers_of_seconds() {
        assert_eq!(seconds("1.5").unwrap().as_millis(), 1500);
        for bad in ["0", "-1", "NaN", "inf", "1e300", "soon"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
