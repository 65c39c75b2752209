//! Loads one model file through the engine, asks it once, and says how it went: `load-one BACKEND FILE`.
//!
//! A process of its own, so that a test sees whether a hostile file kills or hangs the loader. Exit code 0 when the file
//! was loaded or refused with an error; anything else is a death.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tenon::{AudioSource, Engine, Load, Options, Request};

/// Of a request; what a damaged model says may be endless.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [backend, file] = arguments.as_slice() else {
        eprintln!("usage: load-one BACKEND FILE");
        return ExitCode::from(2);
    };
    match load(backend, Path::new(file)) {
        Ok(()) => println!("loaded"),
        Err(error) => println!("refused: {error}"),
    }
    ExitCode::SUCCESS
}

/// Loads the file and runs a request: whisper.cpp and llama.cpp allocate what the file asks for only then.
fn load(backend: &str, file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let home = tenon_native_tests::home(backend, file)?;
    let engine = Engine::builder()
        .manifest_dir(home.path())
        .models_dir(file.parent().unwrap_or(file))
        .plugin_dir(tenon_native_tests::plugin_folder())
        .state_dir(home.path())
        .build()?;
    engine.load("case", Load::new())?.session()?.run(&question(backend))?;
    Ok(())
}

/// The shortest request that makes the backend compute; some files only show there what is wrong with them.
fn question(backend: &str) -> Request {
    let mut options = Options::new();
    if backend == "whisper" {
        options.set("language", "en").set("audio_ctx", 512);
        return Request::transcribe(AudioSource::mono(vec![0.0; 16_000], 16_000)).options(options).deadline(PATIENCE);
    }
    options.set("max_tokens", 2);
    Request::generate("turn the light on").options(options).deadline(PATIENCE)
}
