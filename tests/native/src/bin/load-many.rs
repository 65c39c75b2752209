//! Loads model files through one engine, asks each once, and says how it went: `load-many BACKEND process|worker`.
//!
//! Reads the path of a file per line, and writes a line for each: `loaded`, `refused KIND: WHY`. A process of its own,
//! so that a test sees whether a hostile file kills or hangs the loader: where no line comes, the file did.

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tenon::{AudioSource, Engine, Error, Load, Options, Request};
use tenon_native_tests::{isolated, plugin_folder, worker};

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
    let manifest = isolated(backend, file, isolation)?;
    let session = engine.load_manifest(manifest, Load::new()).and_then(|model| model.session());
    Ok(session.and_then(|mut session| session.run(&question(backend))).map(drop))
}

/// The shortest request that makes the backend compute; some files only show there what is wrong with them.
fn question(backend: &str) -> Request {
    let mut options = Options::new();
    if backend == "whisper" {
        // Silence makes a model doubt itself: without this it would try again and again.
        options.set("language", "en").set("audio_ctx", 512).set("no_fallback", true).set("max_tokens", 4);
        return Request::transcribe(AudioSource::mono(vec![0.0; 16_000], 16_000)).options(options).deadline(PATIENCE);
    }
    options.set("max_tokens", 2);
    Request::generate("turn the light on").options(options).deadline(PATIENCE)
}
