//! Loads model files, asks each once, and says how it went: `load-many BACKEND process|worker`. In a worker, where the same
//! code runs, they are only loaded.
//!
//! Reads the path of a file per line, and writes a line for each: `loaded`, `refused KIND: WHY`. A process of its own,
//! so that a test sees whether a hostile file kills or hangs the loader: where no line comes, the file did.

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tenon::{AudioSource, Engine, Error, ErrorKind, Load, Options, Request};
use tenon_native_tests::{isolated, plugin_folder, root, worker};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Of a request; what a damaged model says may be endless.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [backend, isolation] = arguments.as_slice() else {
        eprintln!("usage: load-many BACKEND process|worker");
        return ExitCode::from(2);
    };
    match serve(backend, isolation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(backend: &str, isolation: &str) -> Outcome<()> {
    let state = tempfile::tempdir()?;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let file = line?;
        match load(backend, isolation, Path::new(&file), state.path())? {
            Ok(()) => writeln!(out, "loaded")?,
            Err(error) => {
                writeln!(out, "refused {}: {}", error.kind(), error.message().replace('\n', " "))?;
            }
        }
        out.flush()?;
    }
    Ok(())
}

/// Loads the file and runs a request: whisper.cpp and llama.cpp allocate what the file asks for only then.
fn load(backend: &str, isolation: &str, file: &Path, state: &Path) -> Outcome<Result<(), Error>> {
    let engine = Engine::builder()
        .models_dir(file.parent().unwrap_or(file))
        .plugin_dir(plugin_folder())
        .state_dir(state)
        .worker(worker())
        .build()?;
    // An empty file: no manifest may name one.
    let manifest = match isolated(backend, file, isolation) {
        Ok(manifest) => manifest,
        Err(error) => return Ok(Err(Error::new(ErrorKind::Manifest, error.to_string()))),
    };
    let session = engine.load_manifest(manifest, Load::new()).and_then(|model| model.session());
    let asked = match isolation {
        "worker" => session.map(drop),
        _ => session.and_then(|mut session| session.run(&question(backend)?).map(drop)),
    };
    // It computes, and ends when it is told to; how far it comes by then is the machine's affair.
    Ok(asked.or_else(|error| if error.kind() == ErrorKind::Deadline { Ok(()) } else { Err(error) }))
}

/// The shortest request that makes the backend compute; some files only show there what is wrong with them.
fn question(backend: &str) -> Result<Request, Error> {
    let mut options = Options::new();
    if backend == "whisper" {
        // A second of speech: of silence a model writes on and on.
        let wav = std::fs::read(root().join("models/recordings/list.wav"));
        let mut wav = wav.map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
        wav.truncate(44 + 2 * 16_000);
        options.set("language", "en").set("audio_ctx", 256).set("no_fallback", true).set("beam_size", 1);
        let request = Request::transcribe(AudioSource::Bytes(wav.into()));
        return Ok(request.options(options).deadline(PATIENCE));
    }
    options.set("max_tokens", 2);
    Ok(Request::generate("turn the light on").options(options).deadline(PATIENCE))
}
