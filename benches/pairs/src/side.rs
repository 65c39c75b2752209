//! Tenon's side of a pair: the same work as the direct sides, through the engine's Rust API and the plugins.

use crate::{Outcome, root};
use std::sync::Arc;
use tenon::{AudioSource, Engine, Load, Options, Request, Session};
use tenon_bench_meter::{Report, measure, wav_samples};

/// `MODEL WAV THREADS BEAM REPEAT`
pub fn transcribe(arguments: &[&str]) -> Outcome<()> {
    let [model, wav, threads, beam, repeat] = arguments else { return Err("side transcribe takes five words".into()) };
    let samples: Arc<[f32]> = wav_samples(wav)?.into();
    let mut options = Options::new();
    options.set("threads", number(threads)?).set("beam_size", number(beam)?).set("best_of", 5).set("language", "en");
    let request = Request::transcribe(AudioSource::mono(samples, 16_000)).preset("bare").options(options);
    let (mut session, mut report) = load(model, "whisper", Options::new())?;
    for _ in 0..number(repeat)? {
        let (answer, cost) = measure(|| session.run(&request));
        let answer = answer?;
        report.runs.push(cost);
        report.units = answer.segments.len() as u64;
        report.text = answer.segments.iter().map(|segment| segment.text.as_str()).collect();
    }
    report.look_at_memory();
    report.print();
    Ok(())
}

/// `MODEL PROMPT_FILE GENERATE THREADS REPEAT`
pub fn generate(arguments: &[&str]) -> Outcome<()> {
    let [model, prompt, generate, threads, repeat] = arguments else {
        return Err("side generate takes five words".into());
    };
    let mut options = Options::new();
    options.set("max_tokens", number(generate)?).set("threads", number(threads)?);
    options.set("temperature", 0).set("ignore_eos", true);
    let mut load_options = Options::new();
    // Nothing of an earlier repetition is used again, as on the direct side.
    load_options.set("prefix_reuse", "off").set("context_size", 512).set("batch_size", 512).set("ubatch_size", 512);
    let (mut session, mut report) = load(model, "llama", load_options)?;
    let request = Request::generate(std::fs::read_to_string(prompt)?).options(options.clone());
    for _ in 0..number(repeat)? {
        let (answer, cost) = measure(|| session.run(&request));
        report.units = answer?.usage.generated_tokens;
        report.runs.push(cost);
    }
    report.look_at_memory();
    if report.runs.is_empty() {
        report.print();
        return Ok(());
    }
    // What came out, asked for apart from the timed runs because the direct side does not make probabilities.
    options.set("tokens", true);
    let answer = session.run(&request.options(options))?;
    report.text = answer.tokens.iter().map(|token| token.id.to_string()).collect::<Vec<_>>().join(" ");
    report.print();
    Ok(())
}

fn number(text: &str) -> Outcome<i64> {
    text.parse().map_err(|_| format!("{text} is no number").into())
}

/// Loads a model file by a manifest made for it, so that any file can be measured.
fn load(model: &str, backend: &str, options: Options) -> Outcome<(Session, Report)> {
    let (home, prepared) = measure(|| Home::new(model, backend));
    let home = home?;
    let engine = Engine::builder()
        .manifest_dir(home.folder.path())
        .models_dir(home.models.clone())
        .plugin_dir(crate::release_folder()?)
        .state_dir(root().join("target/bench"))
        .build()?;
    // The ledger knows the file after this, as it does at every start but the first.
    engine.verify("bench", tenon::VerifyMode::Cached, &mut |_, _| std::ops::ControlFlow::Continue(()))?;
    engine.backend(backend)?;
    let (loaded, cost) = measure(|| {
        let model = engine.load("bench", Load::new().options(options))?;
        model.session()
    });
    Ok((loaded?, Report::loaded(cost, prepared.cpu_ms)))
}

/// A manifest for one model file.
struct Home {
    folder: tempfile::TempDir,
    models: std::path::PathBuf,
}

impl Home {
    fn new(model: &str, backend: &str) -> Outcome<Self> {
        let path = std::fs::canonicalize(model)?;
        let digest = tenon_store::hash_file(&path)?.digest;
        let task = if backend == "whisper" { "transcribe" } else { "generate" };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let manifest = format!(
            "name = \"bench\"\ntask = \"{task}\"\nbackend = \"{backend}\"\nlicense = \"unknown\"\n\n[[file]]\nrole = \"model\"\n\
             name = \"{name}\"\nsha256 = \"{digest}\"\nsize = {}\n\n[preset.bare]\n",
            std::fs::metadata(&path)?.len()
        );
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("bench.toml"), manifest)?;
        Ok(Self { folder, models: path.parent().map(Into::into).unwrap_or_default() })
    }
}
