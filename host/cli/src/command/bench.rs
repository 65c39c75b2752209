//! `tenon bench`: how fast a model is here. Medians over several runs, by the backend's own clock where it has one.

use crate::args::Bench;
use crate::command::demo;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::flags::Asked;
use crate::output::{Table, span};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tenon::{Answer, AudioSource, ErrorKind, Input, Message, Model, Options, Request, Role, Session, task};

/// Runs the command.
pub fn run(context: &Context, args: &Bench) -> Outcome {
    let entry = context.entry(&args.model)?;
    let mut step = context.step(format!("measuring {}", args.model));
    let mut loads = Vec::new();
    let mut model = None;
    for run in 0..args.runs {
        drop(model.take());
        let start = Instant::now();
        model = Some(context.load(&args.model, &Asked::default())?);
        loads.push(start.elapsed());
        step.fraction((run + 1) as f32 / (2 * args.runs) as f32);
    }
    let Some(model) = model else { return Ok(()) };
    let mut rows = vec![Row { name: "load", unit: "", spread: Spread::of_times(&loads), input: Value::Null }];
    match entry.task.as_str() {
        task::TRANSCRIBE | task::TRANSLATE => rows.push(speech(context, args, &model)?),
        task::CHAT | task::GENERATE => rows.extend(text(context, args, &model, &entry.task)?),
        other => {
            let message = format!("model \"{}\" is for {other}, which has no measurement", args.model);
            return Err(Failure::new(ErrorKind::Unsupported, message));
        }
    }
    step.fraction(1.0);
    drop(step);
    print(context, args, &model, &rows)
}

/// One measurement.
struct Row {
    name: &'static str,
    /// Empty: seconds.
    unit: &'static str,
    spread: Spread,
    input: Value,
}

/// Median and extremes.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        // A run without a rate, in which nothing was generated, says nothing about the others.
        let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len().is_multiple_of(2) { (at(middle.wrapping_sub(1)) + at(middle)) / 2.0 } else { at(middle) };
        Self { median, least: at(0), most: at(sorted.len().wrapping_sub(1)) }
    }

    fn of_times(times: &[Duration]) -> Self {
        Self::of(&times.iter().map(Duration::as_secs_f64).collect::<Vec<_>>())
    }
}

/// Real-time factor: seconds of work for a second of audio.
fn speech(context: &Context, args: &Bench, model: &Model) -> Outcome<Row> {
    let file = recording(context, args)?;
    let mut session = model.session()?;
    let mut factors = Vec::new();
    let mut audio_us = 0;
    // The first run fills caches and is not counted.
    for run in 0..=args.runs {
        let request = Request::transcribe(AudioSource::path(&file));
        let answer = ask(context, &mut session, request)?;
        audio_us = answer.usage.audio_us;
        if audio_us <= 0 {
            return Err(Failure::new(ErrorKind::Audio, format!("{}: there is no audio in it", file.display())));
        }
        if run > 0 {
            factors.push(answer.timings.total.as_secs_f64() / (audio_us as f64 / 1e6));
        }
    }
    let input = json!({"file": file, "seconds": audio_us as f64 / 1e6});
    Ok(Row { name: "transcribe", unit: "x real time", spread: Spread::of(&factors), input })
}

fn recording(context: &Context, args: &Bench) -> Outcome<PathBuf> {
    if let Some(file) = &args.audio {
        return Ok(file.clone());
    }
    let shipped = demo::find(context).and_then(|list| demo::read(&list)).unwrap_or_default();
    let size = |file: &PathBuf| std::fs::metadata(file).map_or(0, |metadata| metadata.len());
    let longest = shipped.into_iter().map(|recording| recording.path).max_by_key(size);
    longest.ok_or_else(|| Failure::usage("there is no recording to transcribe: name one with --audio FILE"))
}

/// Tokens per second, of the prompt and of the answer.
fn text(context: &Context, args: &Bench, model: &Model, task: &str) -> Outcome<Vec<Row>> {
    let mut options = Options::new();
    options.set("max_tokens", args.generate_tokens).set("temperature", 0);
    // A model that has nothing to say to the prompt would end at once, and there would be nothing to measure.
    if model.schema(task)?.fields().iter().any(|field| field.name == "ignore_eos") {
        options.set("ignore_eos", true);
    }
    let (mut prompt, mut generate, mut counts) = (Vec::new(), Vec::new(), (0, 0));
    // A vocabulary has one or two tokens for a word: the first run, which is not counted, tells how many.
    let wanted = args.prompt_tokens as usize;
    let mut words = wanted / 2 + 1;
    for run in 0..=args.runs {
        // A session of its own: what is remembered from the run before must not make the prompt free.
        let mut session = model.session()?;
        let input = match task {
            task::CHAT => Input::Messages(vec![Message { role: Role::User, content: prompt_of(words) }]),
            _ => Input::Prompt(prompt_of(words)),
        };
        let answer = ask(context, &mut session, Request::new(task, input).options(options.clone()))?;
        let usage = answer.usage;
        counts = (usage.prompt_tokens - usage.cached_tokens.min(usage.prompt_tokens), usage.generated_tokens);
        let rate = |tokens: u64, us: i64| if tokens > 0 && us > 0 { tokens as f64 * 1e6 / us as f64 } else { f64::NAN };
        if run == 0 {
            words = words_for(wanted, words, usage.prompt_tokens);
        } else {
            prompt.push(rate(counts.0, usage.prompt_us));
            generate.push(rate(counts.1, usage.generate_us));
        }
    }
    let row = |name, values: &[f64], tokens| Row {
        name,
        unit: "tokens/s",
        spread: Spread::of(values),
        input: json!({"tokens": tokens}),
    };
    Ok(vec![row("prompt", &prompt, counts.0), row("generate", &generate, counts.1)])
}

/// How many words make as many tokens as wanted, when `words` made `tokens`.
fn words_for(wanted: usize, words: usize, tokens: u64) -> usize {
    let share = wanted as f64 / tokens as f64;
    // A backend that does not count its tokens gets a word for each.
    if tokens == 0 { wanted } else { ((words as f64 * share).round() as usize).clamp(1, wanted) }
}

fn prompt_of(words: usize) -> String {
    let phrase = ["turn", "on", "the", "light", "in", "the", "kitchen"];
    let words: Vec<&str> = phrase.into_iter().cycle().take(words).collect();
    words.join(" ")
}

fn ask(context: &Context, session: &mut Session, request: Request) -> Outcome<Answer> {
    let guard = context.interrupt.guard();
    Ok(session.run(&request.cancel(guard.token()))?)
}

fn print(context: &Context, args: &Bench, model: &Model, rows: &[Row]) -> Outcome {
    if context.out.json {
        let measured: Map<String, Value> = rows.iter().map(|row| (row.name.to_owned(), to_json(row))).collect();
        return context.out.json(&json!({
            "model": args.model,
            "runs": args.runs,
            "measured": measured,
            "provenance": model.provenance(),
        }));
    }
    let mut table = Table::new(&["WHAT", "MEDIAN", "LEAST", "MOST", "INPUT"]);
    for row in rows {
        let show = |value: f64| match row.unit {
            _ if value.is_nan() => "-".to_owned(),
            "" => span(Duration::from_secs_f64(value)),
            "x real time" => format!("{value:.3} {}", row.unit),
            unit => format!("{value:.0} {unit}"),
        };
        let spread = &row.spread;
        table.row([row.name.to_owned(), show(spread.median), show(spread.least), show(spread.most), input(&row.input)]);
    }
    context.out.text(&table.to_string())
}

fn input(input: &Value) -> String {
    match (&input["seconds"], &input["tokens"]) {
        (Value::Number(seconds), _) => format!("{seconds} s of audio"),
        (_, Value::Number(tokens)) => format!("{tokens} tokens"),
        _ => String::new(),
    }
}

fn to_json(row: &Row) -> Value {
    let unit = match row.unit {
        "" => "s",
        "x real time" => "s/s",
        unit => unit,
    };
    // Not a number, where a backend does not tell its times, is null.
    json!({
        "median": row.spread.median, "least": row.spread.least, "most": row.spread.most,
        "unit": unit, "input": row.input,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_two() {
        assert_eq!(Spread::of(&[4.0, 1.0, 3.0, 2.0]).median, 2.5);
        let odd = Spread::of(&[9.0, 1.0, 5.0]);
        assert_eq!((odd.median, odd.least, odd.most), (5.0, 1.0, 9.0));
        assert!(Spread::of(&[]).median.is_nan());
        assert_eq!(Spread::of(&[f64::NAN, 2.0]).median, 2.0);
    }

    #[test]
    fn the_words_of_a_prompt_follow_from_what_the_first_run_counted() {
        assert_eq!(words_for(128, 65, 130), 64);
        assert_eq!(words_for(128, 65, 65), 128);
        assert_eq!(words_for(1, 1, 30), 1);
        assert_eq!(words_for(10, 6, 0), 10);
        assert_eq!(prompt_of(9), "turn on the light in the kitchen turn on");
    }
}
