//! `tenon transcribe`: speech to text, to standard output or into files.

use crate::args::{Foreign, Transcribe};
use crate::command::Chosen;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::progress::Step;
use crate::transcript::{Format, Transcript};
use anstyle::AnsiColor;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use tenon::{Answer, AudioSource, ErrorKind, Event, Request, Segment, Session, task};

/// Runs the command.
pub fn run(context: &Context, args: &Transcribe, chosen: Chosen) -> Outcome {
    refuse(&args.foreign)?;
    let plans = plans(args, context.out.json)?;
    let mut job = Job { context, args, task: chosen.flags.task.clone(), options: chosen.asked.request.clone() };
    job.add_implied(&chosen);
    let model = context.load(&chosen.flags.model, &chosen.asked)?;
    let mut session = model.session()?;
    let out = Output { json: context.out.json || args.jsonl, ..context.out };

    let (mut documents, mut failures) = (Vec::new(), Vec::new());
    for plan in &plans {
        match job.transcribe(&mut session, plan) {
            Ok(document) => documents.push(document),
            Err(failure) if stops(&failure) => return Err(failure),
            Err(failure) => {
                documents.push(json!({"file": plan.name(), "error": failure.to_json()["error"]}));
                failures.push(failure);
            }
        }
        // One input's error is the command's own, and is said at its end.
        if let (Some(failure), true) = (failures.last(), plans.len() > 1)
            && documents.last().is_some_and(|document| document.get("error").is_some())
        {
            out.failure(failure);
        }
    }
    print_json(context, &plans, documents, &failures)?;
    verdict(failures, plans.len())
}

/// JSON on standard output is one value for all inputs whose transcripts go there.
fn print_json(context: &Context, plans: &[Plan], documents: Vec<Value>, failures: &[Failure]) -> Outcome {
    let printed = plans.iter().zip(documents).filter(|(plan, _)| context.out.json || plan.prints(Format::Json));
    let mut printed: Vec<Value> = printed.map(|(_, document)| document).collect();
    match printed.len() {
        0 => Ok(()),
        1 if plans.len() == 1 && !failures.is_empty() => Ok(()),
        1 => context.out.json(&printed.remove(0)),
        _ => context.out.json(&Value::Array(printed)),
    }
}

/// Cancelled, or nobody reads the results: no use in going on with the next input.
fn stops(failure: &Failure) -> bool {
    failure.kind == ErrorKind::Cancelled.name() || failure.is_broken_pipe()
}

fn verdict(mut failures: Vec<Failure>, inputs: usize) -> Outcome {
    match failures.len() {
        0 => Ok(()),
        1 if inputs == 1 => Err(failures.remove(0)),
        failed => Err(Failure::some(failed, inputs, "inputs")),
    }
}

/// What whisper-cli offers and Tenon does not do is refused, never ignored.
fn refuse(foreign: &Foreign) -> Outcome {
    let unsupported = |message: &str| Err(Failure::new(ErrorKind::Unsupported, message));
    match foreign {
        Foreign { processors: Some(2..), .. } => {
            unsupported("--processors above 1 is not supported: words at the cuts would be lost; use --threads")
        }
        Foreign { vad_model: Some(_), .. } => unsupported(
            "--vad-model is not supported: name the VAD model in the manifest, as a [[file]] with role = \"vad\"",
        ),
        Foreign { diarize: true, .. } | Foreign { tinydiarize: true, .. } => {
            unsupported("telling speakers apart is not supported")
        }
        _ => Ok(()),
    }
}

/// One input and where its transcript goes.
struct Plan {
    input: PathBuf,
    targets: Vec<Target>,
}

struct Target {
    format: Format,
    /// `None` is standard output.
    file: Option<PathBuf>,
}

impl Plan {
    fn is_stdin(&self) -> bool {
        self.input == Path::new("-")
    }

    fn name(&self) -> String {
        if self.is_stdin() { "standard input".to_owned() } else { self.input.display().to_string() }
    }

    fn audio(&self) -> Outcome<AudioSource> {
        if self.is_stdin() {
            return Ok(AudioSource::reader(std::io::stdin()));
        }
        // A name that does not exist is a mistake of another kind than a file that cannot be read.
        match std::fs::metadata(&self.input) {
            Ok(metadata) if metadata.is_dir() => {
                Err(Failure::usage(format!("{}: a folder; name the audio files in it", self.name())))
            }
            Ok(_) => Ok(AudioSource::path(&self.input)),
            Err(error) => Err(Failure::io(self.name(), "cannot be opened", &error)),
        }
    }

    fn prints(&self, format: Format) -> bool {
        self.targets.iter().any(|target| target.file.is_none() && target.format == format)
    }
}

/// The audio files that are named.
pub fn inputs(args: &Transcribe) -> Outcome<Vec<&PathBuf>> {
    let inputs: Vec<&PathBuf> = args.files.iter().chain(&args.file).collect();
    match inputs.is_empty() {
        true => Err(Failure::usage("no input: name audio files, or - for standard input")),
        false => Ok(inputs),
    }
}

fn plans(args: &Transcribe, json: bool) -> Outcome<Vec<Plan>> {
    let inputs = inputs(args)?;
    if inputs.iter().filter(|input| input.as_os_str() == "-").count() > 1 {
        return Err(Failure::usage("standard input can be read only once"));
    }
    if args.output_file.len() > inputs.len() {
        return Err(Failure::usage("--output-file is given more often than there are inputs"));
    }
    let formats = formats(args, json)?;
    let plans: Vec<Plan> = inputs
        .into_iter()
        .enumerate()
        .map(|(index, input)| plan(args, input, args.output_file.get(index), &formats))
        .collect();
    for plan in &plans {
        let printed: Vec<Format> =
            plan.targets.iter().filter(|target| target.file.is_none()).map(|t| t.format).collect();
        if printed.len() > 1 {
            return Err(Failure::usage("standard output takes one format; write the others into files"));
        }
        if json && printed.iter().any(|format| *format != Format::Json) {
            return Err(Failure::usage("--json prints JSON; leave --output-format out, or --json"));
        }
    }
    check_files(&plans)?;
    Ok(plans)
}

/// No file is written twice, and none takes the place of a recording.
fn check_files(plans: &[Plan]) -> Outcome {
    let mut recordings = HashSet::new();
    for plan in plans.iter().filter(|plan| !plan.is_stdin()) {
        recordings.insert(place(&plan.input));
        recordings.extend(std::fs::canonicalize(&plan.input).ok());
    }
    let mut written = HashSet::new();
    for file in plans.iter().flat_map(|plan| &plan.targets).filter_map(|target| target.file.as_ref()) {
        if recordings.contains(&place(file)) || std::fs::canonicalize(file).is_ok_and(|it| recordings.contains(&it)) {
            let message = format!("{} is a recording and would be overwritten; use --output-file", file.display());
            return Err(Failure::usage(message));
        }
        if !written.insert(place(file)) {
            return Err(Failure::usage(format!("{} would be written twice; use --output-file", file.display())));
        }
    }
    Ok(())
}

/// Where a file lies or will lie, by a name that is the same for every spelling of it. A link is what it is itself.
fn place(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = std::fs::canonicalize(folder).or_else(|_| std::path::absolute(folder));
    folder.unwrap_or_default().join(file.file_name().unwrap_or_default())
}

/// The formats that were asked for; `true` for those that go into a file by themselves, as whisper-cli's flags say.
fn formats(args: &Transcribe, json: bool) -> Outcome<Vec<(Format, bool)>> {
    let flags = [
        (args.output_txt, Format::Txt),
        (args.output_srt, Format::Srt),
        (args.output_vtt, Format::Vtt),
        (args.output_lrc, Format::Lrc),
        (args.output_csv, Format::Csv),
        (args.output_tsv, Format::Tsv),
        (args.output_json && !args.output_json_full, Format::WhisperJson),
        (args.output_json_full, Format::WhisperJsonFull),
    ];
    let into_files = flags.into_iter().filter(|(wanted, _)| *wanted).map(|(_, format)| (format, true));
    let mut formats: Vec<(Format, bool)> = args.output_format.map(|format| (format, false)).into_iter().collect();
    formats.extend(into_files);
    let named = args.output_dir.is_some() || !args.output_file.is_empty();
    if json && named && formats.is_empty() {
        return Err(Failure::usage(
            "--json prints JSON; say what the files hold with --output-format, or leave --json out",
        ));
    }
    if args.detect_language && formats.iter().any(|(format, _)| !matches!(format, Format::Txt | Format::Json)) {
        return Err(Failure::usage("--detect-language gives no transcript to write as subtitles or tables"));
    }
    if formats.is_empty() && !args.jsonl && !json {
        formats.push((Format::Txt, false));
    }
    Ok(formats)
}

fn plan(args: &Transcribe, input: &Path, name: Option<&PathBuf>, formats: &[(Format, bool)]) -> Plan {
    let target =
        |&(format, into_file): &(Format, bool)| Target { format, file: file(args, input, name, format, into_file) };
    Plan { input: input.to_owned(), targets: formats.iter().map(target).collect() }
}

/// `--output-file` names the file, `--output-dir` keeps the input's stem as openai-whisper does, and whisper-cli's
/// flags alone append the extension to the input's whole name.
fn file(args: &Transcribe, input: &Path, name: Option<&PathBuf>, format: Format, into_file: bool) -> Option<PathBuf> {
    let input = if input == Path::new("-") { Path::new("stdin") } else { input };
    let with_extension = |path: &Path| {
        let mut path: OsString = path.into();
        path.push(".");
        path.push(format.extension());
        PathBuf::from(path)
    };
    match (name, &args.output_dir) {
        (Some(name), _) if name == Path::new("-") => None,
        (Some(name), _) => Some(with_extension(name)),
        (None, Some(folder)) => Some(with_extension(&folder.join(input.file_stem().unwrap_or(input.as_os_str())))),
        (None, None) if into_file => Some(with_extension(input)),
        (None, None) => None,
    }
}

/// What is the same for every input.
struct Job<'a> {
    context: &'a Context,
    args: &'a Transcribe,
    task: String,
    options: tenon::Options,
}

impl Job<'_> {
    /// Tokens are needed to write them and to colour them.
    fn add_implied(&mut self, chosen: &Chosen) {
        let wanted = self.args.output_json_full
            || self.args.output_format == Some(Format::WhisperJsonFull)
            || (self.args.print_colors && self.context.out.colour);
        if wanted && chosen.flags.request.field("tokens").is_some() && self.options.get("tokens").is_none() {
            self.options.set("tokens", true);
        }
    }

    /// Transcribes one input, writes what is to be written, and gives its document.
    fn transcribe(&self, session: &mut Session, plan: &Plan) -> Outcome<Value> {
        let guard = self.context.interrupt.guard();
        let input = tenon::Input::Audio(plan.audio()?);
        let mut request = Request::new(self.task.clone(), input).options(self.options.clone()).cancel(guard.token());
        if let Some(preset) = &self.args.asking.preset {
            request = request.preset(preset);
        }
        if let Some(deadline) = self.args.asking.deadline {
            request = request.deadline(deadline);
        }
        let name = plan.name();
        let mut step = self.context.step(format!("transcribing {name}"));
        let mut answer = None;
        for event in session.stream(request)? {
            match event.map_err(|error| about(&name, error))? {
                Event::End(end) => answer = Some(*end),
                event => self.hear(plan, &mut step, event)?,
            }
        }
        drop(step);
        let answer = answer.ok_or_else(|| Failure::new(ErrorKind::Internal, format!("{name}: no answer came")))?;
        self.finish(plan, &answer)
    }

    fn hear(&self, plan: &Plan, step: &mut Step, event: Event) -> Outcome {
        if self.args.jsonl {
            if let Some(line) = event_line(&plan.name(), &event) {
                step.aside(|| self.context.out.json_line(&line))?;
            }
            return Ok(());
        }
        match event {
            Event::Progress(fraction) => step.fraction(fraction),
            Event::Segment(segment) if plan.prints(Format::Txt) => step.aside(|| self.print(&segment))?,
            _ => {}
        }
        Ok(())
    }

    /// A line of text as soon as it is known.
    fn print(&self, segment: &Segment) -> Outcome {
        let line = crate::transcript::cues(std::slice::from_ref(segment));
        let Some(cue) = line.first() else { return Ok(()) };
        if self.args.print_colors && self.context.out.colour {
            return self.context.out.line(&coloured(&self.context.out, cue.text.trim(), segment));
        }
        self.context.out.line(cue.text.trim())
    }

    fn finish(&self, plan: &Plan, answer: &Answer) -> Outcome<Value> {
        let (name, out) = (plan.name(), &self.context.out);
        for note in &answer.notes {
            out.warn(&format!("{name}: {}", note.message));
        }
        for damage in &answer.damage {
            out.warn(&format!("{name}: {}", damage.message));
        }
        let document = document(&name, answer);
        if self.args.jsonl {
            out.json_line(&json!({"type": "end", "answer": document}))?;
        }
        let language = answer.language.as_ref().map(|language| language.code.as_str());
        let transcript = Transcript {
            segments: &answer.segments,
            language,
            model: &answer.provenance.model,
            translated: self.task == task::TRANSLATE,
            document: &document,
        };
        for target in &plan.targets {
            self.write(target, &transcript)?;
        }
        Ok(document)
    }

    fn write(&self, target: &Target, transcript: &Transcript) -> Outcome {
        let detects = self.task == task::DETECT_LANGUAGE && target.format == Format::Txt;
        let text = match detects {
            true => format!("{}\n", transcript.language.unwrap_or("unknown")),
            false => transcript.write(target.format),
        };
        match &target.file {
            Some(file) => {
                replace(file, &text)?;
                self.context.out.remark(&format!("wrote {}", file.display()));
                Ok(())
            }
            // These have been printed already, or will be with those of the other inputs.
            None if (target.format == Format::Txt && !detects) || target.format == Format::Json => Ok(()),
            None => self.context.out.text(&text),
        }
    }
}

/// Writes a file beside its place first, so that nobody ever sees half of it.
fn replace(file: &Path, text: &str) -> Outcome {
    let io = |error: &std::io::Error| Failure::io(file.display(), "cannot be written", error);
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(|error| io(&error))?;
    }
    let mut part: OsString = file.into();
    part.push(format!(".{}.part", std::process::id()));
    std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, file)).map_err(|error| {
        let _ = std::fs::remove_file(&part);
        io(&error)
    })
}

fn about(name: &str, error: tenon::Error) -> Failure {
    let mut failure = Failure::from(error);
    if failure.kind != ErrorKind::Cancelled.name() && !failure.message.contains(name) {
        failure.message = format!("{name}: {}", failure.message);
    }
    failure.details.push(("input".to_owned(), name.to_owned()));
    failure
}

/// Red for what the model doubted, green for what it was sure of. Of the segment's tokens only those count that `text`
/// is made of: a model has others, for times and tasks, which nobody said.
fn coloured(out: &Output, text: &str, segment: &Segment) -> String {
    let shade = |probability: f32| match probability {
        p if p < 0.33 => AnsiColor::Red,
        p if p < 0.66 => AnsiColor::Yellow,
        _ => AnsiColor::Green,
    };
    let (mut rest, mut line) = (text, String::new());
    for token in &segment.tokens {
        // Blanks at the ends of the text are trimmed.
        let said = if line.is_empty() { token.text.trim_start() } else { &token.text };
        let said = if said.trim_end() == rest { rest } else { said };
        if let Some(after) = rest.strip_prefix(said).filter(|_| !said.is_empty()) {
            line += &out.paint(said, shade(token.logprob.unwrap_or(0.0).exp()));
            rest = after;
        }
    }
    if !rest.is_empty() {
        line += &out.paint(rest, shade(segment.confidence.unwrap_or(1.0)));
    }
    line
}

/// An event with the name of its file, and a segment as it stands in the document.
fn event_line(file: &str, event: &Event) -> Option<Value> {
    let mut line = event.to_value();
    match event {
        Event::Segment(segment) => line["segment"] = segment_json(segment),
        Event::Language(_) | Event::Progress(_) | Event::Note(_) => {}
        _ => return None,
    }
    line["file"] = file.into();
    Some(line)
}

/// Tenon's own JSON of a transcript. Times are seconds.
pub fn document(file: &str, answer: &Answer) -> Value {
    let segments: Vec<Value> = answer.segments.iter().map(segment_json).collect();
    let language = answer.language.as_ref();
    json!({
        "file": file,
        "task": answer.task,
        "model": answer.provenance.model,
        "language": language.map(|language| &language.code),
        "language_probability": language.and_then(|language| language.probability),
        "duration": seconds(answer.usage.audio_us),
        "text": answer.text.trim(),
        "segments": segments,
        "notes": answer.notes,
        "damage": answer.damage,
        "usage": answer.usage,
        "timings": answer.timings,
        "provenance": answer.provenance,
    })
}

fn segment_json(segment: &Segment) -> Value {
    let mut entry = json!({
        "start": seconds(segment.start_us),
        "end": seconds(segment.end_us),
        "text": segment.text.trim(),
    });
    let words: Vec<Value> = segment
        .words
        .iter()
        .map(|word| {
            json!({"start": seconds(word.start_us), "end": seconds(word.end_us), "text": word.text,
                   "confidence": word.confidence})
        })
        .collect();
    let optional = [
        ("confidence", json!(segment.confidence)),
        ("no_speech", json!(segment.no_speech)),
        ("words", if words.is_empty() { Value::Null } else { json!(words) }),
        ("tokens", if segment.tokens.is_empty() { Value::Null } else { json!(segment.tokens) }),
    ];
    if let Value::Object(entry) = &mut entry {
        entry.extend(
            optional.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.to_owned(), value)),
        );
    }
    entry
}

fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenon::Token;

    #[test]
    fn coloured_text_is_the_text_without_tokens_that_nobody_said() {
        let token = |text: &str, probability: f32| Token {
            id: 0,
            text: text.to_owned(),
            logprob: Some(probability.ln()),
            start_us: None,
            end_us: None,
        };
        let segment = |texts: &[&str]| Segment {
            text: " set a timer".to_owned(),
            tokens: texts.iter().map(|text| token(text, 0.9)).collect(),
            start_us: 0,
            end_us: 1,
            confidence: None,
            no_speech: None,
            words: Vec::new(),
        };
        let plain = Output { json: false, quiet: false, colour: false, colour_remarks: false };
        let whole = ["[_BEG_]", " set", " a", "", " tim", "er", "[_TT_100]"];
        for texts in [&whole[..], &[], &[" set", " other"], &["set a timer "]] {
            assert_eq!(coloured(&plain, "set a timer", &segment(texts)), "set a timer", "{texts:?}");
        }
        let shown = coloured(&Output { colour: true, ..plain }, "set a timer", &segment(&whole));
        assert!(shown.contains("set\u{1b}") && shown.contains(" tim\u{1b}") && !shown.contains("[_"), "{shown:?}");
    }
}
