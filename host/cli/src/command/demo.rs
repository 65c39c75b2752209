//! `tenon demo`: the shipped recordings through speech, text and answer, each step checked.

use crate::args::Demo;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::flags::Asked;
use crate::output::span;
use anstyle::AnsiColor;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tenon::{AudioSource, ErrorKind, Message, Options, Request, Role, Session};

/// A recording, and what should come of it.
pub struct Recording {
    /// The audio file.
    pub path: PathBuf,
    name: String,
    text: String,
    answer: Option<Value>,
}

/// The list as it is written.
#[derive(Deserialize)]
struct List {
    #[serde(default)]
    recording: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    file: PathBuf,
    text: String,
    answer: Option<toml::Value>,
}

/// Runs the command.
pub fn run(context: &Context, args: &Demo) -> Outcome {
    let list = match &args.recordings {
        Some(list) => list.clone(),
        None => find(context)?,
    };
    let recordings = read(&list)?;
    let mut stage = Stage::open(context, args, &list)?;
    let mut played = Vec::new();
    for recording in &recordings {
        let result = stage.play(recording)?;
        if !context.out.json {
            show(context, recording, &result)?;
        }
        played.push(result);
    }
    verdict(context, &recordings, &played)
}

/// The list of recordings that ships.
pub fn find(context: &Context) -> Outcome<PathBuf> {
    let folders = &context.engine()?.locations().models;
    let lists = folders.iter().map(|folder| folder.join("recordings").join("recordings.toml"));
    lists.into_iter().find(|list| list.is_file()).ok_or_else(|| {
        let searched: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        let message = format!("no recordings/recordings.toml in {}; name one with --recordings", searched.join(", "));
        Failure::new(ErrorKind::NotFound, message)
    })
}

/// Reads a list of recordings. Files are beside it.
pub fn read(list: &Path) -> Outcome<Vec<Recording>> {
    let text = std::fs::read_to_string(list).map_err(|error| Failure::io(list.display(), "cannot be read", &error))?;
    let bad = |message: String| Failure::new(ErrorKind::InvalidArgument, format!("{}: {message}", list.display()));
    let rows: List = toml::from_str(&text).map_err(|error| bad(error.to_string()))?;
    if rows.recording.is_empty() {
        return Err(bad("there is no recording in it".to_owned()));
    }
    let folder = folder_of(list);
    let recording = |row: Row| {
        let name = row.file.display().to_string();
        let answer = row.answer.map(|answer| answer_json(answer).map_err(|error| bad(format!("{name}: {error}"))));
        Ok(Recording { path: folder.join(&row.file), name, text: row.text, answer: answer.transpose()? })
    };
    rows.recording.into_iter().map(recording).collect()
}

/// An answer stands there as a table, or as JSON in a text.
fn answer_json(answer: toml::Value) -> Result<Value, serde_json::Error> {
    match answer {
        toml::Value::String(text) => serde_json::from_str(&text),
        table => serde_json::to_value(table),
    }
}

/// The two models, ready.
struct Stage<'a> {
    context: &'a Context,
    speech: Session,
    answers: Session,
    options: Options,
}

/// What came of a recording.
struct Played {
    text: String,
    text_time: Duration,
    text_ok: bool,
    answer: Option<(String, Duration, bool)>,
}

impl Played {
    fn ok(&self) -> bool {
        self.text_ok && self.answer.as_ref().is_none_or(|(_, _, ok)| *ok)
    }
}

impl<'a> Stage<'a> {
    fn open(context: &'a Context, args: &Demo, list: &Path) -> Outcome<Self> {
        let load = |name: &str| -> Outcome<Session> {
            let start = Instant::now();
            let model = context.load(name, &Asked::default())?;
            let backend = model.backend();
            let line = format!("{name} on {} {}: {}", backend.id(), backend.version(), span(start.elapsed()));
            if !context.out.json {
                context.out.line(&line)?;
            }
            Ok(model.session()?)
        };
        let (speech, answers) = (load(&args.speech_model)?, load(&args.answer_model)?);
        let mut options = Options::new();
        options.set("temperature", 0).set("json_schema", schema(args, list)?);
        Ok(Self { context, speech, answers, options })
    }

    fn play(&mut self, recording: &Recording) -> Outcome<Played> {
        let guard = self.context.interrupt.guard();
        let start = Instant::now();
        let request = Request::transcribe(AudioSource::path(&recording.path)).cancel(guard.token());
        let text = self.speech.run(&request)?.text.trim().to_owned();
        let text_time = start.elapsed();
        let text_ok = words(&text) == words(&recording.text);
        let Some(expected) = &recording.answer else { return Ok(Played { text, text_time, text_ok, answer: None }) };

        let start = Instant::now();
        let question = Message { role: Role::User, content: text.clone() };
        let request = Request::chat(vec![question]).options(self.options.clone()).cancel(guard.token());
        let answer = self.answers.run(&request)?.text.trim().to_owned();
        let ok = serde_json::from_str::<Value>(&answer).is_ok_and(|answer| same(&answer, expected));
        Ok(Played { text, text_time, text_ok, answer: Some((answer, start.elapsed(), ok)) })
    }
}

fn schema(args: &Demo, list: &Path) -> Outcome<Value> {
    let file = match &args.schema {
        Some(file) => file.clone(),
        // models/recordings/recordings.toml, models/intents-en.schema.json
        None => folder_of(&folder_of(list)).join(format!("{}.schema.json", args.answer_model)),
    };
    let text = std::fs::read_to_string(&file).map_err(|error| Failure::io(file.display(), "cannot be read", &error))?;
    let bad = |error| Failure::new(ErrorKind::InvalidArgument, format!("{}: not JSON: {error}", file.display()));
    serde_json::from_str(&text).map_err(bad)
}

/// The folder that something is in, also when it is named from inside.
fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ if path == Path::new(".") => PathBuf::from(".."),
        _ => PathBuf::from("."),
    }
}

/// A transcript as words: without case and punctuation.
fn words(text: &str) -> Vec<String> {
    let kept: String = text.chars().map(|c| if c.is_alphanumeric() || c == '\'' { c } else { ' ' }).collect();
    kept.to_lowercase().split_whitespace().map(str::to_owned).collect()
}

/// Equal as JSON values: the order of keys and 5 against 5.0 do not matter.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

fn show(context: &Context, recording: &Recording, played: &Played) -> Outcome {
    let out = &context.out;
    let mark = |ok| if ok { out.paint("ok", AnsiColor::Green) } else { out.paint("WRONG", AnsiColor::Red) };
    out.line(&format!("\n{}", recording.name))?;
    out.line(&format!("  text    {}  ({}, {})", played.text, span(played.text_time), mark(played.text_ok)))?;
    if !played.text_ok {
        out.line(&format!("  wanted  {}", recording.text))?;
    }
    let (Some((answer, time, ok)), Some(expected)) = (&played.answer, &recording.answer) else { return Ok(()) };
    out.line(&format!("  answer  {answer}  ({}, {})", span(*time), mark(*ok)))?;
    if !ok {
        out.line(&format!("  wanted  {expected}"))?;
    }
    Ok(())
}

fn verdict(context: &Context, recordings: &[Recording], played: &[Played]) -> Outcome {
    let wrong = played.iter().filter(|played| !played.ok()).count();
    if context.out.json {
        let rows: Vec<Value> =
            recordings.iter().zip(played).map(|(recording, played)| to_json(recording, played)).collect();
        context.out.json(&json!({"ok": wrong == 0, "recordings": rows}))?;
    } else {
        context.out.line(&format!("\n{} of {} recordings came out right", played.len() - wrong, played.len()))?;
    }
    match wrong {
        0 => Ok(()),
        _ => Err(Failure::check(format!("{wrong} of {} recordings came out wrong", played.len()))),
    }
}

fn to_json(recording: &Recording, played: &Played) -> Value {
    let answer = played.answer.as_ref().map(|(answer, time, ok)| {
        json!({"text": answer, "expected": recording.answer, "seconds": time.as_secs_f64(), "ok": ok})
    });
    json!({
        "file": recording.path,
        "transcript": {
            "text": played.text,
            "expected": recording.text,
            "seconds": played.text_time.as_secs_f64(),
            "ok": played.text_ok,
        },
        "answer": answer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transcripts_are_compared_without_case_and_punctuation() {
        assert_eq!(words(" Set a timer, please!"), words("set a timer please"));
        assert_eq!(words("what's up"), ["what's", "up"]);
        assert_ne!(words("set a timer"), words("set the timer"));
    }

    #[test]
    fn the_schema_lies_beside_the_folder_of_the_recordings() {
        let folder = |list: &str| folder_of(&folder_of(Path::new(list)));
        assert_eq!(folder("models/recordings/recordings.toml"), Path::new("models"));
        assert_eq!(folder("recordings/recordings.toml"), Path::new("."));
        assert_eq!(folder("recordings.toml"), Path::new(".."));
    }

    #[test]
    fn answers_are_compared_as_values() {
        assert!(same(&json!({"a": 5, "b": [1]}), &json!({"b": [1.0], "a": 5.0})));
        assert!(!same(&json!({"a": 5}), &json!({"a": 5, "b": null})));
        assert!(!same(&json!("5"), &json!(5)));
    }

    #[test]
    fn answers_stand_in_the_list_as_tables_or_as_json() {
        let table: toml::Value = toml::from_str("intent = \"timer.set\"\nminutes = 5").unwrap();
        let text = toml::Value::String(r#"{"intent":"timer.set","minutes":5}"#.into());
        assert_eq!(answer_json(table).unwrap(), answer_json(text).unwrap());
    }
}
