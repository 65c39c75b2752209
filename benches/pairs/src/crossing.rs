//! What it costs that a token or segment crosses the plugin boundary: the echo backend does nothing but emit.

use crate::{Outcome, release_folder, root};
use std::time::Instant;
use tenon::{Engine, Event, Load, Options, Request};

const PIECES: usize = 200_000;

/// Prints the microseconds per token, once through a blocking run and once through a stream.
pub fn run() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let manifest = "name = \"bench\"\ntask = \"generate\"\nbackend = \"echo\"\nlicense = \"unknown\"\n";
    std::fs::write(folder.path().join("bench.toml"), manifest)?;
    let engine = Engine::builder()
        .manifest_dir(folder.path())
        .plugin_dir(release_folder()?)
        .state_dir(root().join("target/bench"))
        .build()?;
    let mut session = engine.load("bench", Load::new())?.session()?;
    let mut options = Options::new();
    options.set("tokens", true).set("max_tokens", PIECES as i64);
    let request = Request::generate("word ".repeat(PIECES)).options(options);

    let start = Instant::now();
    let pieces = session.run(&request)?.tokens.len();
    print("run", start, pieces);

    let start = Instant::now();
    let mut tokens = 0;
    for event in session.stream(request)? {
        tokens += usize::from(matches!(event?, Event::Token(_)));
    }
    print("stream", start, tokens);
    Ok(())
}

fn print(what: &str, start: Instant, tokens: usize) {
    let each = start.elapsed().as_secs_f64() * 1e6 / tokens.max(1) as f64;
    println!("{what:<8}{tokens:>10} tokens{each:>10.3} microseconds each, text and token");
}
