//! Measures what crossing the plugin boundary costs: `crossing FOLDER [MODEL]`. The folder has plugins/, manifests/,
//! models/ and state/ with a model `echo` of the echo backend. With a model it also loads that one twice and tells
//! what verifying its files took each time. Build it with `--release`.

use std::time::{Duration, Instant};
use tenon::{Engine, Event, Load, Request};

const WORDS: usize = 200_000;

fn main() -> tenon::Result<()> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().unwrap_or_else(|| ".".to_owned());
    let engine = Engine::builder()
        .manifest_dir(format!("{folder}/manifests"))
        .plugin_dir(format!("{folder}/plugins"))
        .models_dir(format!("{folder}/models"))
        .state_dir(format!("{folder}/state"))
        .build()?;
    let mut session = engine.load("echo", Load::new())?.session()?;
    let prompt = "word ".repeat(WORDS);
    for _ in 0..5 {
        let answer = session.run(&Request::generate(&prompt))?;
        println!("run:    {:?} for each piece of text", each(answer.timings.run));
        let began = Instant::now();
        let events = session.stream(Request::generate(&prompt))?.filter(|event| matches!(event, Ok(Event::Text(_))));
        assert_eq!(events.count(), WORDS);
        println!("stream: {:?} for each piece of text", each(began.elapsed()));
        let began = Instant::now();
        session.run(&Request::generate("word"))?;
        println!("a request of one word: {:?}", began.elapsed());
    }
    if let Some(model) = args.next() {
        for start in ["first", "second", "third"] {
            let (verify, open) = engine.load(&model, Load::new())?.load_times();
            println!("{start} start: verified in {verify:?}, opened in {open:?}");
        }
    }
    Ok(())
}

fn each(time: Duration) -> Duration {
    time / WORDS as u32
}
