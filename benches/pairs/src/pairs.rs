//! Both sides in turn, A B A B, and the median of the pairs' ratios.

use crate::{Outcome, flag, release_folder, root};
use std::path::{Path, PathBuf};
use std::process::Command;
use tenon_bench_meter::Report;

/// Work that both sides do.
struct Case {
    name: &'static str,
    /// Words after `side`, and the direct program with the same words after the task.
    task: &'static str,
    direct: &'static str,
    arguments: Vec<String>,
}

/// Figures of one side of one pair, in the order of [`FIGURES`].
type Figures = [f64; 7];

const FIGURES: [&str; 7] = ["load cpu", "load wall", "start cpu", "run cpu", "run wall", "peak memory", "own memory"];

/// `[--pairs N] [--only WORD] [--speech FILE] [--text FILE] [--whisper-cli PATH] [--llama-bench PATH]`
pub fn run(flags: &[&str]) -> Outcome<()> {
    let pairs: usize = flag(flags, "--pairs").unwrap_or("5").parse()?;
    let scratch = tempfile::tempdir()?;
    println!("load average {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    println!(
        "{:<24}{:<12}{:>10}{:>10}{:>10}{:>12}{:>12}",
        "case", "figure", "median", "least", "most", "tenon", "direct"
    );
    let only = flag(flags, "--only").unwrap_or_default();
    let speech = flag(flags, "--speech").map_or_else(|| root().join("models/commands-en-q5_0.bin"), PathBuf::from);
    let text = flag(flags, "--text").map_or_else(|| root().join("models/intents-en-q8_0.gguf"), PathBuf::from);
    for case in cases(scratch.path(), &speech, &text)?.into_iter().filter(|case| case.name.contains(only)) {
        compare(&case, pairs)?;
    }
    if let Some(program) = flag(flags, "--whisper-cli") {
        against_whisper_cli(Path::new(program), scratch.path(), pairs)?;
    }
    if let Some(program) = flag(flags, "--llama-bench") {
        against_llama_bench(Path::new(program), pairs)?;
    }
    Ok(())
}

fn cases(scratch: &Path, speech: &Path, text: &Path) -> Outcome<Vec<Case>> {
    let words = |paths: &[&Path], numbers: &[&str]| -> Vec<String> {
        paths
            .iter()
            .map(|path| path.display().to_string())
            .chain(numbers.iter().map(|word| (*word).to_owned()))
            .collect()
    };
    let (short, long) = (recording(scratch, 11)?, recording(scratch, 300)?);
    let prompt = scratch.join("prompt.txt");
    std::fs::write(&prompt, "set a timer for five minutes and turn on the kitchen light ".repeat(20))?;
    let word = scratch.join("word.txt");
    std::fs::write(&word, "set")?;
    Ok(vec![
        Case {
            name: "load speech",
            task: "transcribe",
            direct: "tenon-bench-whisper",
            arguments: words(&[speech, &short], &["1", "1", "0"]),
        },
        Case {
            name: "load text",
            task: "generate",
            direct: "tenon-bench-llama",
            arguments: words(&[text, &word], &["1", "1", "0"]),
        },
        Case {
            name: "transcribe 11 s",
            task: "transcribe",
            direct: "tenon-bench-whisper",
            arguments: words(&[speech, &short], &["1", "1", "5"]),
        },
        Case {
            name: "transcribe 11 s beam 5",
            task: "transcribe",
            direct: "tenon-bench-whisper",
            arguments: words(&[speech, &short], &["1", "5", "3"]),
        },
        Case {
            name: "transcribe 5 min",
            task: "transcribe",
            direct: "tenon-bench-whisper",
            arguments: words(&[speech, &long], &["1", "1", "1"]),
        },
        Case {
            name: "prompt 481",
            task: "generate",
            direct: "tenon-bench-llama",
            arguments: words(&[text, &prompt], &["1", "1", "5"]),
        },
        Case {
            name: "generate 128",
            task: "generate",
            direct: "tenon-bench-llama",
            arguments: words(&[text, &word], &["128", "1", "5"]),
        },
    ])
}

/// The shipped recordings one after another, as one wav file of so many seconds.
pub fn recording(scratch: &Path, seconds: usize) -> Outcome<PathBuf> {
    let mut samples = Vec::new();
    let mut files: Vec<PathBuf> = std::fs::read_dir(root().join("models/recordings"))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "wav"))
        .collect();
    files.sort();
    for path in files.iter().cycle() {
        samples.extend(tenon_bench_meter::wav_samples(&path.display().to_string())?);
        samples.extend(std::iter::repeat_n(0.0, 8_000));
        if samples.len() >= seconds * 16_000 {
            break;
        }
    }
    samples.truncate(seconds * 16_000);
    let path = scratch.join(format!("{seconds}s.wav"));
    std::fs::write(&path, tenon_bench_meter::wav_file(&samples))?;
    Ok(path)
}

/// Runs the pairs of one case and prints a line per figure.
fn compare(case: &Case, pairs: usize) -> Outcome<()> {
    let mut sides: Vec<(Figures, Figures)> = Vec::new();
    for pair in 0..=pairs {
        let tenon = tenon_side(case)?;
        let direct = report(Command::new(release_folder()?.join(case.direct)).args(&case.arguments))?;
        if tenon.text != direct.text {
            return Err(format!(
                "{}: the sides differ, so the figures are void:\n tenon  {}\n direct {}",
                case.name, tenon.text, direct.text
            )
            .into());
        }
        // The first pair warms the caches.
        if pair > 0 {
            sides.push((figures(&tenon), figures(&direct)));
        }
    }
    for (index, figure) in FIGURES.iter().enumerate() {
        // A case that only loads has no runs.
        let pairs = sides.iter().map(|(ours, theirs)| (ours[index], theirs[index]));
        let pairs: Vec<_> = pairs.filter(|(ours, theirs)| ours.is_finite() && theirs.is_finite()).collect();
        print_pairs(case.name, figure, &pairs);
    }
    Ok(())
}

fn tenon_side(case: &Case) -> Outcome<Report> {
    report(Command::new(std::env::current_exe()?).args(["side", case.task]).args(&case.arguments))
}

fn report(command: &mut Command) -> Outcome<Report> {
    Ok(serde_json::from_slice(&output(command)?.stdout)?)
}

pub fn output(command: &mut Command) -> Outcome<std::process::Output> {
    let program = command.get_program().display().to_string();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(output)
}

fn figures(report: &Report) -> Figures {
    let best = |of: fn(&tenon_bench_meter::Cost) -> f64| report.runs.iter().map(of).fold(f64::INFINITY, f64::min);
    let (load, runs) = (report.load, [best(|cost| cost.cpu_ms), best(|cost| cost.wall_ms)]);
    [load.cpu_ms, load.wall_ms, report.start_cpu_ms, runs[0], runs[1], report.peak_mib, report.own_mib]
}

/// From the least to the most.
pub fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The median of what is sorted and not empty.
pub fn middle(values: Vec<f64>) -> f64 {
    values[values.len() / 2]
}

/// A line for one figure: the pairs' ratios, and the median of each side in milliseconds or MiB.
fn print_pairs(case: &str, figure: &str, pairs: &[(f64, f64)]) {
    let ratios = sorted(pairs.iter().map(|(ours, theirs)| ours / theirs).collect());
    let (Some(least), Some(most)) = (ratios.first(), ratios.last()) else { return };
    let ours = middle(sorted(pairs.iter().map(|pair| pair.0).collect()));
    let theirs = middle(sorted(pairs.iter().map(|pair| pair.1).collect()));
    let median = middle(ratios.clone());
    let verdict = if (most - least) / median > 0.25 { "  too noisy for a verdict" } else { "" };
    println!("{case:<24}{figure:<12}{median:>10.3}{least:>10.3}{most:>10.3}{ours:>12.2}{theirs:>12.2}{verdict}");
}

/// The whole program `tenon transcribe` against the whole program whisper-cli, process start and load included.
fn against_whisper_cli(program: &Path, scratch: &Path, pairs: usize) -> Outcome<()> {
    let wav = recording(scratch, 11)?;
    let model = root().join("models/commands-en-q5_0.bin");
    let ours = release_folder()?.join("tenon");
    let mut sides = Vec::new();
    for pair in 0..=pairs {
        let words = ["transcribe", "-m", "commands-en", "--threads", "1", "--language", "en", "--quiet"];
        let tenon = children_cpu_ms(|| Command::new(&ours).args(words).arg(&wav).output())?;
        let words = ["-t", "1", "-np"];
        let cli =
            children_cpu_ms(|| Command::new(program).arg("-m").arg(&model).arg("-f").arg(&wav).args(words).output())?;
        if pair > 0 {
            sides.push((tenon / RUNS, cli / RUNS));
        }
    }
    print_pairs("whole program, 11 s", "run cpu", &sides);
    Ok(())
}

/// llama.cpp's own figures for the same file and sizes, and Tenon's from the same minute.
fn against_llama_bench(program: &Path, pairs: usize) -> Outcome<()> {
    let model = root().join("models/intents-en-q8_0.gguf");
    for (name, words) in
        [("llama-bench prompt 512", ["-p", "512", "-n", "0"]), ("llama-bench generate 128", ["-p", "0", "-n", "128"])]
    {
        let repeat = pairs.to_string();
        let mut command = Command::new(program);
        command.arg("-m").arg(&model).args(["-t", "1", "-o", "json", "-r", &repeat]).args(words);
        let rows: serde_json::Value = serde_json::from_slice(&output(&mut command)?.stdout)?;
        println!("{name:<34}{:>10.0} tokens/s", rows[0]["avg_ts"].as_f64().unwrap_or(f64::NAN));
    }
    Ok(())
}

/// Runs of a whole program that are measured together, because the kernel counts children in steps of 10 ms.
const RUNS: f64 = 10.0;

/// CPU time of [`RUNS`] runs of a program in milliseconds.
fn children_cpu_ms(mut start: impl FnMut() -> std::io::Result<std::process::Output>) -> Outcome<f64> {
    let before = tenon_bench_meter::children_cpu_ms();
    for _ in 0..RUNS as u32 {
        let output = start()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
    }
    Ok(tenon_bench_meter::children_cpu_ms() - before)
}
