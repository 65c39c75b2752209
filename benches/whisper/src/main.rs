//! whisper.cpp through whisper-rs and nothing else: `tenon-bench-whisper MODEL WAV THREADS BEAM REPEAT`.

use std::process::ExitCode;
use tenon_bench_meter::{Report, measure, wav_samples};
use whisper_rs::{FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperState};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, wav, threads, beam, repeat] = arguments.as_slice() else {
        eprintln!("usage: tenon-bench-whisper MODEL WAV THREADS BEAM REPEAT");
        return ExitCode::from(2);
    };
    let numbers = [threads, beam, repeat].map(|text| text.parse::<i32>().unwrap_or(1));
    match bench(model, wav, numbers) {
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

fn bench(model: &str, wav: &str, [threads, beam, repeat]: [i32; 3]) -> Result<Report, String> {
    whisper_rs::install_logging_hooks();
    let samples = wav_samples(wav)?;
    let (loaded, cost) = measure(|| {
        // As whisper-cli and the backend: whisper-rs alone leaves flash attention off.
        let mut parameters = WhisperContextParameters::default();
        parameters.flash_attn(true);
        let context = WhisperContext::new_with_params(model, parameters)?;
        let state = context.create_state()?;
        Ok::<_, whisper_rs::WhisperError>((context, state))
    });
    let (_context, mut state) = loaded.map_err(|error| error.to_string())?;
    let mut report = Report::loaded(cost, 0.0);
    for _ in 0..repeat {
        let (outcome, cost) = measure(|| state.full(params(threads, beam), &samples));
        outcome.map_err(|error| error.to_string())?;
        report.runs.push(cost);
    }
    report.look_at_memory();
    (report.text, report.units) = text(&state)?;
    Ok(report)
}

/// whisper-cli's own settings.
fn params(threads: i32, beam: i32) -> FullParams<'static, 'static> {
    let strategy = if beam > 1 {
        SamplingStrategy::BeamSearch { beam_size: beam, patience: -1.0 }
    } else {
        SamplingStrategy::Greedy { best_of: 5 }
    };
    let mut params = FullParams::new(strategy);
    params.set_language(Some("en"));
    params.set_n_threads(threads);
    params.set_print_special(false);
    params.set_print_progress(false);
    params.set_print_realtime(false);
    params.set_print_timestamps(false);
    params
}

fn text(state: &WhisperState) -> Result<(String, u64), String> {
    let mut text = String::new();
    let mut count = 0;
    for segment in state.as_iter() {
        text.push_str(&segment.to_str_lossy().map_err(|error| error.to_string())?);
        count += 1;
    }
    Ok((text, count))
}
