//! What a worker costs beside the same backend in the engine's process: the echo backend does nothing but emit.

use crate::pairs::{middle, sorted};
use crate::{Outcome, flag, release_folder, root};
use std::sync::Arc;
use std::time::Instant;
use tenon::{AudioSource, Engine, Event, Isolation, Load, Options, Request, Session};

/// Tokens of a measured run.
const TOKENS: usize = 20_000;
/// Calls of which a measured one is the mean.
const CALLS: usize = 200;
/// Samples at the rate of the backend: 11 seconds.
const SAMPLES: usize = 11 * 16_000;

/// A piece of work, and what one unit of it took, in microseconds.
type Work = (&'static str, fn(&mut Side) -> Outcome<f64>);

const WORK: [Work; 6] = [
    ("token, run", |side| side.run()),
    ("token, stream", |side| side.stream()),
    ("token each millisecond", |side| side.paced()),
    ("call of one word", |side| side.calls()),
    ("call with 11 s of audio", |side| side.audio()),
    ("load and open a session", |side| side.open()),
];

/// `[--pairs N] [--only WORD]`: both sides in turn, and what the worker adds.
pub fn run(flags: &[&str]) -> Outcome<()> {
    let pairs: usize = flag(flags, "--pairs").map_or(Ok(5), str::parse)?;
    let only = flag(flags, "--only").unwrap_or_default();
    let folder = tempfile::tempdir()?;
    for task in ["generate", "transcribe"] {
        let manifest = format!("name = \"{task}\"\ntask = \"{task}\"\nbackend = \"echo\"\nlicense = \"unknown\"\n");
        std::fs::write(folder.path().join(format!("{task}.toml")), manifest)?;
    }
    let engine = Engine::builder()
        .manifest_dir(folder.path())
        .plugin_dir(release_folder()?)
        .state_dir(root().join("target/bench"))
        .build()?;
    let mut process = Side::new(&engine, Isolation::Process)?;
    let mut worker = Side::new(&engine, Isolation::Worker)?;
    println!("{:<26}{:>12}{:>12}{:>12}{:>10}{:>10}", "microseconds", "process", "worker", "added", "least", "most");
    for (what, work) in WORK.iter().filter(|(what, _)| what.contains(only)) {
        let mut pair = || Ok::<_, Box<dyn std::error::Error>>((work(&mut process)?, work(&mut worker)?));
        pair()?;
        print(what, &(0..pairs.max(1)).map(|_| pair()).collect::<Outcome<Vec<_>>>()?);
    }
    Ok(())
}

/// The median of each side, and of what the worker adds with its least and most.
fn print(what: &str, pairs: &[(f64, f64)]) {
    let added = sorted(pairs.iter().map(|(process, worker)| worker - process).collect());
    let (least, most) = (added[0], added[added.len() - 1]);
    let process = middle(sorted(pairs.iter().map(|pair| pair.0).collect()));
    let worker = middle(sorted(pairs.iter().map(|pair| pair.1).collect()));
    println!("{what:<26}{process:>12.2}{worker:>12.2}{:>12.2}{least:>10.2}{most:>10.2}", middle(added));
}

/// One of the two places where the backend runs.
struct Side {
    engine: Engine,
    isolation: Isolation,
    generate: Session,
    transcribe: Session,
}

impl Side {
    fn new(engine: &Engine, isolation: Isolation) -> Outcome<Self> {
        let session = |model| engine.load(model, Load::new().isolation(isolation))?.session();
        let (generate, transcribe) = (session("generate")?, session("transcribe")?);
        Ok(Self { engine: engine.clone(), isolation, generate, transcribe })
    }

    fn run(&mut self) -> Outcome<f64> {
        let request = tokens(TOKENS, 0);
        let start = Instant::now();
        let came = self.generate.run(&request)?.tokens.len();
        each(start, came, TOKENS)
    }

    fn stream(&mut self) -> Outcome<f64> {
        stream(&mut self.generate, TOKENS, 0)
    }

    /// Tokens as a model of a thousand a second makes them: the two sides of the socket sleep in between.
    fn paced(&mut self) -> Outcome<f64> {
        stream(&mut self.generate, CALLS, 1)
    }

    fn calls(&mut self) -> Outcome<f64> {
        let request = tokens(1, 0);
        let start = Instant::now();
        for _ in 0..CALLS {
            self.generate.run(&request)?;
        }
        each(start, CALLS, CALLS)
    }

    fn audio(&mut self) -> Outcome<f64> {
        let samples: Arc<[f32]> = vec![0.25; SAMPLES].into();
        let start = Instant::now();
        for _ in 0..CALLS / 10 {
            self.transcribe.run(&Request::transcribe(AudioSource::mono(Arc::clone(&samples), 16_000)))?;
        }
        each(start, CALLS / 10, CALLS / 10)
    }

    fn open(&mut self) -> Outcome<f64> {
        let start = Instant::now();
        let session = self.engine.load("generate", Load::new().isolation(self.isolation))?.session()?;
        let took = each(start, 1, 1);
        drop(session);
        took
    }
}

/// A request that is answered with this many tokens, each after a wait.
fn tokens(count: usize, delay_ms: i64) -> Request {
    let mut options = Options::new();
    options.set("tokens", true).set("max_tokens", count as i64).set("delay_ms", delay_ms);
    Request::generate("word ".repeat(count)).options(options)
}

fn stream(session: &mut Session, count: usize, delay_ms: i64) -> Outcome<f64> {
    let request = tokens(count, delay_ms);
    let start = Instant::now();
    let mut came = 0;
    for event in session.stream(request)? {
        came += usize::from(matches!(event?, Event::Token(_)));
    }
    each(start, came, count)
}

/// Microseconds for each of what came, which must be all.
fn each(start: Instant, came: usize, wanted: usize) -> Outcome<f64> {
    match came == wanted {
        true => Ok(start.elapsed().as_secs_f64() * 1e6 / wanted as f64),
        false => Err(format!("{came} came and not {wanted}").into()),
    }
}
