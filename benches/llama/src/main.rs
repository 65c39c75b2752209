//! llama.cpp through llama-cpp-2 and nothing else: `tenon-bench-llama MODEL PROMPT_FILE GENERATE THREADS REPEAT`.
//!
//! Greedy, tokens that end a generation never taken, so that every run generates exactly GENERATE tokens.

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;
use std::num::NonZeroU32;
use std::process::ExitCode;
use tenon_bench_meter::{Report, measure};

/// As in the llama backend of Tenon.
const BATCH: usize = 512;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, prompt, generate, threads, repeat] = arguments.as_slice() else {
        eprintln!("usage: tenon-bench-llama MODEL PROMPT_FILE GENERATE THREADS REPEAT");
        return ExitCode::from(2);
    };
    let numbers = [generate, threads, repeat].map(|text| text.parse::<i32>().unwrap_or(1));
    match bench(model, prompt, numbers) {
        Ok(report) => {
            report.print();
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(model: &str, prompt: &str, [generate, threads, repeat]: [i32; 3]) -> Outcome<Report> {
    let mut backend = LlamaBackend::init()?;
    backend.void_logs();
    let prompt = std::fs::read_to_string(prompt)?;
    let (model, cost) = measure(|| LlamaModel::load_from_file(&backend, model, &LlamaModelParams::default()));
    let model = model?;
    let mut report = Report::loaded(cost, 0.0);
    if repeat == 0 {
        report.look_at_memory();
        return Ok(report);
    }
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(512))
        .with_n_batch(BATCH as u32)
        .with_n_ubatch(BATCH as u32)
        .with_n_threads(threads)
        .with_n_threads_batch(threads);
    let mut context = model.new_context(&backend, params)?;
    let tokens = model.vocab().tokenize(prompt.as_bytes(), true, false);
    let all = (0..model.n_vocab()).map(LlamaToken);
    let ends: Vec<usize> = all.filter(|token| model.vocab().is_eog(*token)).map(|token| token.0 as usize).collect();
    for _ in 0..repeat {
        context.clear_kv_cache();
        let (generated, cost) = measure(|| run(&mut context, &tokens, generate, &ends));
        let generated = generated?;
        report.runs.push(cost);
        report.units = generated.len() as u64;
        report.text = generated.iter().map(|token| token.0.to_string()).collect::<Vec<_>>().join(" ");
    }
    report.look_at_memory();
    Ok(report)
}

/// Prefills the prompt and generates greedily.
fn run(
    context: &mut LlamaContext<'_>,
    prompt: &[LlamaToken],
    generate: i32,
    ends: &[usize],
) -> Outcome<Vec<LlamaToken>> {
    let mut batch = LlamaBatch::new(BATCH, 1);
    let mut position = 0;
    let chunks = prompt.chunks(BATCH).count();
    for (index, chunk) in prompt.chunks(BATCH).enumerate() {
        batch.clear();
        for (offset, token) in chunk.iter().enumerate() {
            let last = index + 1 == chunks && offset + 1 == chunk.len();
            batch.add(*token, position, &[0], last)?;
            position += 1;
        }
        context.decode(&mut batch)?;
    }
    let mut generated = Vec::new();
    for _ in 0..generate {
        let token = likeliest(context.get_logits_ith(batch.n_tokens() - 1), ends);
        generated.push(token);
        batch.clear();
        batch.add(token, position, &[0], true)?;
        position += 1;
        context.decode(&mut batch)?;
    }
    Ok(generated)
}

fn likeliest(logits: &[f32], ends: &[usize]) -> LlamaToken {
    let best = logits
        .iter()
        .enumerate()
        .filter(|(index, _)| !ends.contains(index))
        .max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
    LlamaToken(best.map_or(0, |(index, _)| index as i32))
}
