//! Measures what starting an engine costs: `starting [MANIFESTS]` makes so many manifests (100) in a folder of its own,
//! each with two files that are there, and times building an engine on them and listing its models. Build it with
//! `--release`.

use std::fmt::Write;
use std::time::{Duration, Instant};
use tenon::{Digest, Engine};

const ROUNDS: usize = 21;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manifests: usize = std::env::args().nth(1).map_or(Ok(100), |count| count.parse())?;
    let home = std::env::temp_dir().join(format!("tenon-starting-{}", std::process::id()));
    let folders = ["manifests", "models", "state"].map(|name| home.join(name));
    folders.iter().try_for_each(std::fs::create_dir_all)?;
    for number in 0..manifests {
        write(&home, number)?;
    }
    let (mut build, mut list) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let [manifests, models, state] = &folders;
        let engine = Engine::builder().manifest_dir(manifests).models_dir(models).state_dir(state).build()?;
        build.push(began.elapsed());
        let began = Instant::now();
        assert!(engine.models().iter().all(|model| model.state == tenon::State::Present));
        list.push(began.elapsed());
    }
    println!("{manifests} manifests: {} to build an engine, {} to list its models", said(build), said(list));
    Ok(std::fs::remove_dir_all(home)?)
}

/// A manifest of the length that real ones have.
fn write(home: &std::path::Path, number: usize) -> std::io::Result<()> {
    let mut text = format!("name = \"model-{number}\"\ntask = \"generate\"\nbackend = \"echo\"\nlicense = \"MIT\"\n");
    let _ = writeln!(text, "description = \"One of many\"\nlanguages = [\"en\", \"de\", \"fr\"]");
    for role in ["model", "tokenizer"] {
        let name = format!("{role}-{number}.bin");
        std::fs::write(home.join("models").join(&name), &name)?;
        let (digest, size) = (Digest::of(name.as_bytes()), name.len());
        let _ = writeln!(text, "[[file]]\nrole = \"{role}\"\nname = \"{name}\"");
        let _ = writeln!(text, "url = [\"https://example.org/{name}\"]\nsha256 = \"{digest}\"\nsize = {size}");
    }
    let _ =
        writeln!(text, "[load]\nthreads = 4\n[preset.default]\ntemperature = 0\n[preset.creative]\ntemperature = 1");
    std::fs::write(home.join("manifests").join(format!("model-{number}.toml")), text)
}

/// The median, and the slowest.
fn said(mut times: Vec<Duration>) -> String {
    times.sort();
    format!("{:?} (at most {:?})", times[times.len() / 2], times[times.len() - 1])
}
