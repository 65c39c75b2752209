//! Paired benchmarks of Tenon against the engines that it wraps. The protocol stands in `benches/README.md`.
//!
//! `tenon-bench pairs` runs both sides in turn and prints the ratios; `tenon-bench side …` is Tenon's own side;
//! `tenon-bench crossing` and `tenon-bench verify` measure what only Tenon does, `tenon-bench workers` and
//! `tenon-bench isolation` what a process of its own costs a backend, `tenon-bench pull` fetching beside curl.

mod crossing;
mod isolation;
mod pairs;
mod pull;
mod side;
mod verify;
mod workers;

use std::path::PathBuf;
use std::process::ExitCode;

/// The error is a sentence for the terminal.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const USAGE: &str = "usage: tenon-bench pairs [--pairs N] [--only WORD] [--speech FILE] [--text FILE] [--whisper-cli PATH] [--llama-bench PATH]
       tenon-bench crossing
       tenon-bench workers [--pairs N] [--only WORD]
       tenon-bench isolation [--pairs N]
       tenon-bench verify [--size BYTES]
       tenon-bench pull [--size BYTES] [--pairs N] [--folder DIR]
       tenon-bench serve FILE
       tenon-bench side transcribe MODEL WAV THREADS BEAM REPEAT
       tenon-bench side generate MODEL PROMPT_FILE GENERATE THREADS REPEAT
       tenon-bench side isolated speech|text WAV process|worker";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["pairs", flags @ ..] => pairs::run(flags),
        ["crossing"] => crossing::run(),
        ["verify", flags @ ..] => verify::run(flags),
        ["workers", flags @ ..] => workers::run(flags),
        ["isolation", flags @ ..] => isolation::run(flags),
        ["pull", flags @ ..] => pull::run(flags),
        ["serve", words @ ..] => pull::serve(words),
        ["side", "transcribe", rest @ ..] => side::transcribe(rest),
        ["side", "generate", rest @ ..] => side::generate(rest),
        ["side", "isolated", rest @ ..] => isolation::side(rest),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the checkout.
pub fn root() -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(PathBuf::from).unwrap_or_default()
}

/// Where the release artefacts are: beside this program.
pub fn release_folder() -> Outcome<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().map(PathBuf::from).unwrap_or_default())
}

/// The value after a flag.
pub fn flag<'a>(flags: &[&'a str], name: &str) -> Option<&'a str> {
    flags.iter().position(|flag| *flag == name).and_then(|index| flags.get(index + 1)).copied()
}
