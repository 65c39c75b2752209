//! Loads one model file through the engine and says how it went: `load-one BACKEND FILE`.
//!
//! A process of its own, so that a test sees whether a hostile file kills or hangs the loader. Exit code 0 when the file
//! was loaded or refused with an error; anything else is a death.

use std::path::Path;
use std::process::ExitCode;
use tenon::{Engine, Load};

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

/// Loads the file and opens a session, which is when whisper.cpp and llama.cpp allocate what the file asks for.
fn load(backend: &str, file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let home = tenon_native_tests::home(backend, file)?;
    let engine = Engine::builder()
        .manifest_dir(home.path())
        .models_dir(file.parent().unwrap_or(file))
        .plugin_dir(tenon_native_tests::plugin_folder())
        .state_dir(home.path())
        .build()?;
    engine.load("case", Load::new())?.session()?;
    Ok(())
}
