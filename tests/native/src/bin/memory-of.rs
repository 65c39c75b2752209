//! Compares what models are estimated to need of memory with what they take.
//!
//! * `memory-of BACKEND FILE [LOAD-OPTIONS]` loads one model file, runs one request that fills its working memory, and
//!   prints one line of JSON. A process of its own, because memory that was once taken is not always given back. What
//!   counts is what the process holds at most (`VmHWM`) after less what it held before the load (`VmRSS`), but for the
//!   pages of programs and libraries: how many of those come in at once is up to the system.
//! * `memory-of --table FOLDER` writes models of real shapes with random weights into the folder, some 8 GB, runs the
//!   above on each and on the shipped ones, and prints the rows of `docs/performance.md`.

use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use tenon::{AudioSource, Engine, Load, MemoryCheck, Options, Request, Session};
use tenon_native_tests::random::{F16, Q4_K, Q5_0, Q8_0, SpeechShape, Store, TextShape};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (backend, file, options) = match arguments.as_slice() {
        [flag, folder] if flag == "--table" => return table(Path::new(folder)),
        [backend, file] => (backend, file, Options::new()),
        [backend, file, options] => (backend, file, Options::from_json(options)?),
        _ => return Err("usage: memory-of BACKEND FILE [LOAD-OPTIONS] | memory-of --table FOLDER".into()),
    };
    println!("{}", measure(backend, Path::new(file), &options)?);
    Ok(())
}

/// A row of the table: its name, backend, file and load options.
type Row = (String, &'static str, PathBuf, &'static str);

fn table(folder: &Path) -> Outcome<()> {
    let models = tenon_native_tests::root().join("models");
    let mut rows: Vec<Row> = vec![
        ("intents-en (shipped)".to_owned(), "llama", models.join("intents-en-q8_0.gguf"), "{}"),
        ("commands-en (shipped)".to_owned(), "whisper", models.join("commands-en-q5_0.bin"), "{}"),
    ];
    rows.extend(texts(folder)?);
    rows.extend(speech(folder)?);
    println!("| model | load options | estimate | measured | estimate / measured | estimated in |");
    println!("|---|---|---:|---:|---:|---:|");
    for (name, backend, file, options) in rows {
        let output = Command::new(std::env::current_exe()?).args([backend]).arg(&file).arg(options).output()?;
        if !output.status.success() {
            return Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let told: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let number = |key: &str| told[key].as_f64().unwrap_or(f64::NAN);
        let (estimate, measured) = (number("estimate") + number("reclaimable"), number("measured"));
        let (mega, ratio, time) = (1e6, estimate / measured, number("estimate_us") / 1e3);
        println!(
            "| {name} | `{options}` | {:.1} MB | {:.1} MB | {ratio:.3} | {time:.1} ms |",
            estimate / mega,
            measured / mega
        );
    }
    Ok(())
}

/// The shapes of Qwen 2.5 0.5B and 1.5B, of Llama 3.2 1B with an output of its own, and a tiny one.
fn texts(folder: &Path) -> Outcome<Vec<Row>> {
    let shape = |architecture, layers, width, heads, key_heads, hidden, tokens, output| TextShape {
        architecture,
        layers,
        width,
        heads,
        key_heads,
        hidden,
        tokens,
        output,
    };
    let half = shape("qwen2", 24, 896, 14, 2, 4864, 151_936, false);
    let models: [(&str, TextShape, Store, &'static str); 8] = [
        ("text-tiny q8_0", shape("llama", 6, 256, 8, 4, 768, 4096, true), Q8_0, r#"{"context_size":2048}"#),
        ("text-tiny q8_0", shape("llama", 6, 256, 8, 4, 768, 4096, true), Q8_0, r#"{"flash_attn":"off"}"#),
        ("text-tiny q8_0", shape("llama", 6, 256, 8, 4, 768, 4096, true), Q8_0, r#"{"mmap":false,"kv_type":"f32"}"#),
        ("text-0.5b q8_0", half, Q8_0, r#"{"context_size":2048}"#),
        ("text-0.5b f16", half, F16, r#"{"context_size":2048}"#),
        ("text-0.5b q8_0", half, Q8_0, r#"{"context_size":1024,"ubatch_size":128}"#),
        ("text-1b q4_k", shape("llama", 16, 2048, 32, 8, 8192, 128_256, true), Q4_K, r#"{"context_size":2048}"#),
        ("text-1.5b q8_0", shape("qwen2", 28, 1536, 12, 2, 8960, 151_936, false), Q8_0, r#"{"context_size":1024}"#),
    ];
    let write = |(name, shape, store, options): (&str, TextShape, Store, &'static str)| {
        let file = folder.join(format!("{}.gguf", name.replace(' ', "-")));
        shape.write(&file, store)?;
        Ok((name.to_owned(), "llama", file, options))
    };
    models.into_iter().map(write).collect()
}

/// The shapes of whisper tiny, base, small and medium.
fn speech(folder: &Path) -> Outcome<Vec<Row>> {
    let shapes = [("tiny", 384, 6, 4), ("base", 512, 8, 6), ("small", 768, 12, 12), ("medium", 1024, 16, 24)];
    let mut rows = Vec::new();
    for (name, width, heads, layers) in shapes {
        for (format, store) in [("f16", F16), ("q5_0", Q5_0)] {
            let file = folder.join(format!("speech-{name}-{format}.bin"));
            SpeechShape { width, heads, layers: [layers, layers] }.write(&file, store)?;
            rows.push((format!("speech-{name} {format}"), "whisper", file, "{}"));
        }
    }
    let without = (rows[0].0.clone(), "whisper", rows[0].2.clone(), r#"{"flash_attn":false}"#);
    rows.insert(1, without);
    Ok(rows)
}

fn measure(backend: &str, file: &Path, options: &Options) -> Outcome<serde_json::Value> {
    let home = tenon_native_tests::home(backend, file)?;
    let engine = Engine::builder()
        .manifest_dir(home.path())
        .models_dir(file.parent().unwrap_or(file))
        .plugin_dir(tenon_native_tests::plugin_folder())
        .state_dir(home.path())
        .build()?;
    let load = || Load::new().options(options.clone()).memory(MemoryCheck::Ignore);
    // Once, so that plugin and ledger are there before what counts.
    let estimate = engine.estimate("case", &load())?;
    // The highest figure starts anew from what is held now.
    std::fs::write("/proc/self/clear_refs", "5")?;
    let (before, code_before) = (status("VmRSS")?, code(file)?);
    let began = std::time::Instant::now();
    let model = engine.load("case", load())?;
    let loaded_in = began.elapsed();
    let loaded = status("VmRSS")?;
    let context = options.get("context_size").and_then(serde_json::Value::as_u64).unwrap_or(4096);
    fill(&mut model.session()?, backend, context)?;
    let peak = status("VmHWM")?;
    let code = code(file)? - code_before;
    // The load has used up what the first estimate found out: this one reads the head of the file again.
    let began = std::time::Instant::now();
    engine.estimate("case", &load())?;
    let estimated_in = began.elapsed();
    let parts = &estimate.devices.first().ok_or("no device")?.need;
    Ok(json!({
        "estimate": estimate.total(1),
        "reclaimable": parts.reclaimable,
        "measured": peak - before - code,
        "code": code,
        "loaded": loaded - before,
        "model": parts.model,
        "session": parts.session,
        "estimate_us": estimated_in.as_micros() as u64,
        "load_us": loaded_in.as_micros() as u64,
    }))
}

/// Fills the context, or a window of 30 seconds with the default number of decoders and as much earlier text as fits.
fn fill(session: &mut Session, backend: &str, context: u64) -> Outcome<()> {
    let mut words = usize::try_from(context)?;
    loop {
        let text = "turn on the light ".repeat(words.div_ceil(4));
        let error = match session.run(&request(backend, text)) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        // Too long by so much: each backend says how many tokens it was and how many there may be.
        let number = |key: &str| error.detail(key).and_then(|text| text.parse::<usize>().ok());
        let (needed, most) = match (number("prompt_tokens"), number("limit").or(number("context_size"))) {
            (Some(needed), Some(most)) if most > 8 && words > 8 => (needed, most),
            _ => return Err(error.into()),
        };
        words = (words * (most - 8) / needed).min(words - 4);
    }
}

fn request(backend: &str, text: String) -> Request {
    let mut options = Options::new();
    if backend == "whisper" {
        options.set("language", "en").set("no_fallback", true).set("prompt", text);
        let noise = |at: u32| ((at.wrapping_mul(2_654_435_761) >> 16) as f32 / 32_768.0 - 1.0) * 0.1;
        let samples: Vec<f32> = (0..30 * 16_000).map(noise).collect();
        return Request::transcribe(AudioSource::mono(samples, 16_000)).options(options);
    }
    options.set("max_tokens", 4).set("add_bos", false);
    Request::generate(text).options(options)
}

/// Resident bytes of the files that this process has mapped, but for the model: programs and libraries.
fn code(model: &Path) -> Outcome<u64> {
    let model = std::fs::canonicalize(model)?;
    let text = std::fs::read_to_string("/proc/self/smaps")?;
    let (mut counts, mut sum) = (false, 0);
    for line in text.lines() {
        if let Some(resident) = line.strip_prefix("Rss:") {
            let kilobytes = resident.trim().trim_end_matches(" kB").parse::<u64>()?;
            sum += if counts { kilobytes * 1024 } else { 0 };
        } else if !line.split(' ').next().unwrap_or_default().ends_with(':') {
            counts = line.find('/').is_some_and(|at| Path::new(&line[at..]) != model);
        }
    }
    Ok(sum)
}

/// A figure of this process in bytes.
fn status(name: &str) -> Outcome<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.ok_or("no such figure")?.trim().trim_end_matches(" kB").parse::<u64>()?;
    Ok(number * 1024)
}
