//! A worker beside the engine's process on the models that ship: time, memory, and what becomes of a crash.

use crate::pairs::{middle, output, recording, sorted};
use crate::{Outcome, flag, release_folder, root};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tenon::{AudioSource, CancelToken, Engine, Isolation, Load, Model, Options, Request};
use tenon_bench_meter::wav_samples;

/// Kills of a worker that one process measures.
const KILLS: usize = 10;
/// Blocks of runs in turn for each pair of processes.
const BLOCKS: usize = 4;

/// What is measured: its key in a side's report, its unit, and whether the ratio or the difference is of interest.
const FIGURES: [(&str, &str, bool); 4] =
    [("load", "ms", false), ("run", "ms", true), ("memory", "MiB", false), ("memory_idle", "MiB", false)];

/// `[--pairs N]`: both sides in turn, each a process of its own.
pub fn run(flags: &[&str]) -> Outcome<()> {
    let pairs: usize = flag(flags, "--pairs").unwrap_or("5").parse()?;
    let scratch = tempfile::tempdir()?;
    let wav = recording(scratch.path(), 11)?;
    println!("load average {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    println!("{:<22}{:>12}{:>12}{:>22}{:>10}{:>10}", "", "process", "worker", "ratio / more", "least", "most");
    for case in ["speech", "text"] {
        let mut sides: Vec<(Value, Value)> = Vec::new();
        for pair in 0..=pairs {
            let both = (side_of(case, &wav, "process")?, side_of(case, &wav, "worker")?);
            if both.0["answer"] != both.1["answer"] {
                return Err(format!("{case}: the sides differ, so the figures are void: {both:?}").into());
            }
            // The first pair warms the caches.
            if pair > 0 {
                sides.push(both);
            }
        }
        FIGURES.iter().for_each(|figure| print_figure(case, *figure, &sides));
        print_blocks(case, &wav, pairs * BLOCKS)?;
        print_times(case, "detected", &sides);
        print_times(case, "recovered", &sides);
    }
    Ok(())
}

fn side_of(case: &str, wav: &Path, isolation: &str) -> Outcome<Value> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["side", "isolated", case]).arg(wav).arg(isolation);
    Ok(serde_json::from_slice(&output(&mut command)?.stdout)?)
}

fn print_figure(case: &str, (key, unit, as_ratio): (&str, &str, bool), sides: &[(Value, Value)]) {
    let number = |side: &Value| side[key].as_f64().unwrap_or(f64::NAN);
    let compare = |(process, worker): &(Value, Value)| match as_ratio {
        true => number(worker) / number(process),
        false => number(worker) - number(process),
    };
    let compared = sorted(sides.iter().map(compare).collect());
    let (least, most) = (compared[0], compared[compared.len() - 1]);
    let process = middle(sorted(sides.iter().map(|side| number(&side.0)).collect()));
    let worker = middle(sorted(sides.iter().map(|side| number(&side.1)).collect()));
    let (what, median) = (format!("{case} {key}, {unit}"), middle(compared));
    println!("{what:<22}{process:>12.2}{worker:>12.2}{median:>22.3}{least:>10.3}{most:>10.3}");
}

/// Runs in turn in one process, which what the machine does meanwhile meets alike.
fn print_blocks(case: &str, wav: &Path, blocks: usize) -> Outcome<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["side", "isolated", case]).arg(wav).arg("both").arg(blocks.to_string());
    let ratios: Vec<f64> = serde_json::from_slice(&output(&mut command)?.stdout)?;
    let ratios = sorted(ratios);
    let at = |part: usize| ratios[ratios.len() * part / 100];
    println!(
        "{case} run in turn, worker to process: median {:.4}, half of them from {:.4} to {:.4}, all from {:.4} to {:.4} \
         ({blocks} blocks)",
        at(50),
        at(25),
        at(75),
        ratios[0],
        ratios[ratios.len() - 1],
    );
    Ok(())
}

/// Process, worker, worker, process: the ratio of the times of each such block.
fn in_turn(case: &str, wav: &str, blocks: &str) -> Outcome<()> {
    let (name, _, work) = requests(case, wav)?;
    let engine = engine()?;
    let mut process = engine.load(name, Load::new())?.session()?;
    let mut worker = engine.load(name, Load::new().isolation(Isolation::Worker))?.session()?;
    let mut time = |in_worker: bool| -> Outcome<f64> {
        let began = Instant::now();
        if in_worker {
            worker.run(&work)?
        } else {
            process.run(&work)?
        };
        Ok(milliseconds(began))
    };
    time(false)?;
    time(true)?;
    let mut ratios = Vec::new();
    for _ in 0..blocks.parse()? {
        let (first, one, two, last) = (time(false)?, time(true)?, time(true)?, time(false)?);
        ratios.push((one + two) / (first + last));
    }
    println!("{}", json!(ratios));
    Ok(())
}

/// Times of the worker side alone, of all pairs together.
fn print_times(case: &str, key: &str, sides: &[(Value, Value)]) {
    let times = sides.iter().flat_map(|side| side.1[key].as_array().into_iter().flatten());
    let times = sorted(times.filter_map(Value::as_f64).collect());
    let at = |percent: usize| times[(times.len() * percent).div_ceil(100).max(1) - 1];
    println!(
        "{case} {key}: p50 {:.1} ms, p95 {:.1} ms, most {:.1} ms ({} kills)",
        at(50),
        at(95),
        at(100),
        times.len()
    );
}

fn engine() -> Outcome<Engine> {
    let builder = Engine::builder().manifest_dir(root().join("manifests")).models_dir(root().join("models"));
    Ok(builder.plugin_dir(release_folder()?).state_dir(root().join("target/bench")).build()?)
}

/// One side: `speech|text WAV process|worker`, or `both BLOCKS`. Prints one line of JSON.
pub fn side(arguments: &[&str]) -> Outcome<()> {
    let (case, wav, isolation) = match arguments {
        [case, wav, "both", blocks] => return in_turn(case, wav, blocks),
        [case, wav, isolation] => (*case, *wav, *isolation),
        _ => return Err("side isolated takes three words".into()),
    };
    let (name, short, work) = requests(case, wav)?;
    let isolation = if isolation == "worker" { Isolation::Worker } else { Isolation::Process };
    let engine = engine()?;
    // Ledger and description are there after this, as they are for every load but the first.
    drop(engine.load(name, Load::new().isolation(isolation))?);
    let began = Instant::now();
    let model = engine.load(name, Load::new().isolation(isolation))?;
    let mut session = model.session()?;
    let load = milliseconds(began);
    let memory_idle = memory()?;
    let mut run = f64::INFINITY;
    let mut answer = String::new();
    for _ in 0..5 {
        let began = Instant::now();
        answer = session.run(&work)?.text;
        run = run.min(milliseconds(began));
    }
    let memory = memory()?;
    let (detected, recovered) = match isolation {
        Isolation::Worker => kills(&model, &short, &work)?,
        Isolation::Process => (Vec::new(), Vec::new()),
    };
    let report = json!({
        "load": load, "run": run, "memory": memory, "memory_idle": memory_idle, "answer": answer,
        "detected": detected, "recovered": recovered,
    });
    println!("{report}");
    Ok(())
}

/// Model, a short request, and the work.
fn requests(case: &str, wav: &str) -> Outcome<(&'static str, Request, Request)> {
    let mut options = Options::new();
    options.set("threads", 1);
    if case == "speech" {
        let samples: Arc<[f32]> = wav_samples(wav)?.into();
        let short: Arc<[f32]> = samples[..2 * 16_000].into();
        let mut greedy = options.clone();
        greedy.set("beam_size", 1).set("best_of", 1);
        let work = Request::transcribe(AudioSource::mono(samples, 16_000)).options(greedy);
        let short = Request::transcribe(AudioSource::mono(short, 16_000)).preset("fast").options(options);
        return Ok(("commands-en", short, work));
    }
    options.set("temperature", 0).set("max_tokens", 4);
    let short = Request::generate("set a timer").options(options.clone());
    options.set("max_tokens", 256).set("ignore_eos", true);
    Ok(("intents-en", short, Request::generate("set").options(options)))
}

/// Kills the worker in the middle of the work, again and again: milliseconds from the signal to the error of the request
/// that was in it, and to the end of a short request that was begun after that.
fn kills(model: &Model, short: &Request, work: &Request) -> Outcome<(Vec<f64>, Vec<f64>)> {
    let (mut detected, mut recovered) = (Vec::new(), Vec::new());
    for kill in 0..KILLS {
        let mut session = model.session()?;
        session.run(short)?;
        let token = CancelToken::new();
        let long = work.clone().cancel(token.clone());
        let (killed, failed) = std::thread::scope(|scope| {
            let run = scope.spawn(|| session.run(&long).map(|_| Instant::now()));
            std::thread::sleep(Duration::from_millis(10 + 3 * kill as u64));
            let killed = Instant::now();
            children()?.into_iter().try_for_each(|child| kill_process(child, Signal::KILL))?;
            let failed = run.join().map_err(|_| "the request panicked")?;
            Ok::<_, Box<dyn std::error::Error>>((killed, failed))
        })?;
        if failed.is_ok() {
            // One that was faster than the signal says nothing about it, and the next must not meet the dying worker.
            while !children()?.is_empty() {
                std::thread::sleep(Duration::from_millis(1));
            }
            continue;
        }
        detected.push(milliseconds(killed));
        session.run(short)?;
        recovered.push(milliseconds(killed));
    }
    Ok((detected, recovered))
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// The processes that this one has started.
fn children() -> Outcome<Vec<Pid>> {
    let mut children = Vec::new();
    for task in std::fs::read_dir("/proc/self/task")? {
        // A thread that has ended meanwhile has none.
        let Ok(list) = std::fs::read_to_string(task?.path().join("children")) else { continue };
        children.extend(list.split_whitespace().filter_map(|word| Pid::from_raw(word.parse().ok()?)));
    }
    Ok(children)
}

/// What this process and its workers hold, in MiB: pages that several processes share count in parts.
fn memory() -> Outcome<f64> {
    let of = |process: String| -> Outcome<f64> {
        let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).ok_or("no Pss")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    };
    let workers = children()?.into_iter().map(|child| of(child.as_raw_nonzero().to_string()));
    workers.chain([of("self".to_owned())]).sum()
}
