//! Runs a plugin down every path that a host may take, and looks whether it keeps its word.

use crate::{CheckOptions, Report};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tenon::{
    AudioSource, Backend, CancelToken, Engine, Error, ErrorKind, Event, Input, Isolation, Load, Manifest, Message,
    Model, Options, Request, Role, Session, Stream, task,
};

/// How long after its deadline a request may still run.
const GRACE: Duration = Duration::from_secs(10);
/// How long after its cancel a request may still run, unless the backend says that it cannot ask often.
const CANCEL_GRACE: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(20);

/// Loads the plugin and runs it.
pub fn check(path: &Path, options: &CheckOptions, report: &mut Report) {
    let checked = TempDir::new().map_err(|error| Error::new(ErrorKind::Io, error.to_string())).and_then(|folder| {
        let engine = engine(path, folder.path(), options)?;
        report.step("load the plugin");
        let backend = backend(&engine, path, options)?;
        check_description(&engine, &backend, report);
        check_bad_model(&engine, &backend, folder.path(), options, report);
        let Some(manifest) = manifest(&backend, options, report)? else { return Ok(()) };
        check_model(&engine, manifest, options, report);
        Ok(())
    });
    if let Err(error) = checked {
        report.error("load", error.to_string(), "");
    }
}

fn engine(path: &Path, folder: &Path, options: &CheckOptions) -> tenon::Result<Engine> {
    let builder = Engine::builder().plugin_file(path);
    let builder = match &options.models_dir {
        Some(models) => builder.models_dir(models),
        // Where every other command finds the files of the manifest to check with.
        None => builder.standard_places(),
    };
    builder.store_dir(folder.join("store")).state_dir(folder.join("state")).build()
}

/// The backend of the plugin, described where it is to run.
fn backend(engine: &Engine, path: &Path, options: &CheckOptions) -> tenon::Result<Backend> {
    match engine.plugins().first().filter(|found| found.problem.is_none()) {
        Some(found) if options.isolation == Isolation::Worker => {
            engine.backend_for(&Manifest::new("check", "generate", &found.id, "none"), Some(options.isolation))
        }
        _ => engine.backend_at(path),
    }
}

/// A load where the plugin is to run, or more isolated where a manifest says so.
fn load(options: &CheckOptions) -> Load {
    match options.isolation {
        Isolation::Worker => Load::new().isolation(Isolation::Worker),
        _ => Load::new(),
    }
}

fn check_description(engine: &Engine, backend: &Backend, report: &mut Report) {
    report.step("description");
    let offered: Vec<&str> = backend.description().tasks.iter().map(|task| task.task.as_str()).collect();
    if offered.is_empty() {
        report.error("description", "it offers no task", "name its tasks");
    }
    for entry in engine.plugins().iter().filter(|entry| entry.id == backend.id()) {
        for task in entry.tasks.iter().filter(|task| !offered.contains(&task.as_str())) {
            let advice = "sidecar and description have to name the same tasks";
            report.error("sidecar", format!("it promises {task}, which the description does not offer"), advice);
        }
    }
    for task in &offered {
        let fields = backend.schema(task).map(|schema| schema.fields().to_vec()).unwrap_or_default();
        for field in fields.iter().filter(|field| field.help.is_empty()) {
            report.warning(task, format!("option `{}` has no description", field.name), "say what it does");
        }
    }
}

/// A manifest to open a model with, unless there is none.
fn manifest(backend: &Backend, options: &CheckOptions, report: &mut Report) -> tenon::Result<Option<Manifest>> {
    if let Some(path) = &options.manifest {
        return Ok(Some(Manifest::read(path)?));
    }
    if let Some(role) = backend.description().files.iter().find(|file| file.required) {
        let what = format!("no model was opened, because it needs a file of the role `{}`", role.role);
        report.note("model", what, "name a manifest to check with");
        return Ok(None);
    }
    Ok(backend.description().tasks.first().and_then(|task| parse(backend, &task.task, "")))
}

fn parse(backend: &Backend, task: &str, files: &str) -> Option<Manifest> {
    let id = backend.id();
    let text = format!("name = \"check\"\ntask = \"{task}\"\nbackend = \"{id}\"\nlicense = \"none\"\n{files}");
    Manifest::parse(&text, Path::new("check.toml")).ok()
}

/// Opens files that are no model; the backend has to say so, or not to care.
fn check_bad_model(engine: &Engine, backend: &Backend, folder: &Path, options: &CheckOptions, report: &mut Report) {
    report.step("files that are no model");
    let noise: Vec<u8> = (0..4096_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let first = backend.description().tasks.first().map(|task| task.task.clone()).unwrap_or_default();
    for (name, bytes) in [("empty", &[][..]), ("short", &b"GGUF"[..]), ("noise", &noise[..])] {
        if std::fs::write(folder.join(name), bytes).is_err() {
            return report.note("model", "bad files could not be written, so none was tried", "");
        }
        let mut files = String::new();
        for role in &backend.description().files {
            let (digest, size) = (tenon::Digest::of(bytes), bytes.len());
            files += &format!(
                "[[file]]\nrole = \"{}\"\nname = \"{name}\"\nsha256 = \"{digest}\"\nsize = {size}\n",
                role.role
            );
            if !role.required {
                break;
            }
        }
        let Some(manifest) = parse(backend, &first, &files) else { continue };
        if let Err(error) = engine.estimate_manifest(&manifest, &load(options)) {
            judge_error(&format!("an estimate of a file of {name} bytes"), &error, report);
        }
        if let Err(error) = engine.load_manifest(manifest, load(options)) {
            judge_error(&format!("a file of {name} bytes"), &error, report);
        }
    }
}

/// An error is fine; a panic, a broken contract or an empty sentence is not.
fn judge_error(place: &str, error: &Error, report: &mut Report) {
    match error.kind() {
        ErrorKind::Panic => report.error(place, format!("it panics: {error}"), "return an error instead"),
        ErrorKind::Plugin => report.error(place, format!("it breaks the contract: {error}"), ""),
        _ if error.message().trim().is_empty() => {
            report.warning(place, "the error has no message", "say what, where and what to do");
        }
        _ => {}
    }
}

/// A backend need not estimate; what it says has to be an estimate.
fn check_estimate(engine: &Engine, manifest: &Manifest, options: &CheckOptions, report: &mut Report) {
    report.step("estimate a model's memory");
    match engine.estimate_manifest(manifest, &load(options)) {
        Ok(estimate) if estimate.devices.iter().any(|device| device.need.device.is_empty()) => {
            report.error("estimate", "it estimates the memory of a device without a name", "the processor is `cpu`");
        }
        Ok(_) => {}
        Err(error) => judge_error("estimate", &error, report),
    }
}

fn check_model(engine: &Engine, manifest: Manifest, options: &CheckOptions, report: &mut Report) {
    check_estimate(engine, &manifest, options, report);
    report.step("open a model");
    let model = match engine.load_manifest(manifest.clone(), load(options)) {
        Ok(model) => model,
        Err(error) => return report.error("model", error.to_string(), "the model of the manifest has to open"),
    };
    report.step("open a model, cancelled");
    let cancelled = CancelToken::new();
    cancelled.cancel();
    match engine.load_manifest(manifest, load(options).cancel(cancelled)) {
        Err(error) if error.kind() != ErrorKind::Cancelled => judge_error("cancelled load", &error, report),
        _ => {}
    }
    let tasks: Vec<String> = model.backend().description().tasks.iter().map(|task| task.task.clone()).collect();
    for task in tasks {
        let Some(input) = input(&model, &task) else {
            report.note(&task, "no input is known for this task, so it was not run", "");
            continue;
        };
        let trial = Trial { model: &model, task: &task, input, patience: options.patience };
        if trial.all(report).is_none() {
            report.note(&task, "the rest of the task's checks were left out", "");
        }
    }
}

/// Something small that every backend of a task can answer.
fn input(model: &Model, name: &str) -> Option<Input> {
    let rate = model.backend().description().audio.map_or(16_000, |audio| audio.rate);
    Some(match name {
        task::TRANSCRIBE | task::TRANSLATE | task::DETECT_LANGUAGE => Input::Audio(hum(rate, 2.0)),
        task::GENERATE => Input::Prompt("one two three four five six seven eight".to_owned()),
        task::CHAT => Input::Messages(vec![Message { role: Role::User, content: "one two three four".to_owned() }]),
        task::EMBED => Input::Texts(vec!["one".to_owned(), "two three".to_owned()]),
        _ => return None,
    })
}

/// A quiet sawtooth: something to hear, and the same every time.
fn hum(rate: u32, seconds: f32) -> AudioSource {
    let frames = (rate as f32 * seconds) as u32;
    let samples: Vec<f32> = (0..frames).map(|frame| (frame % 80) as f32 / 800.0 - 0.05).collect();
    AudioSource::mono(samples, rate)
}

/// How a request ended.
type Outcome = tenon::Result<()>;

struct Trial<'a> {
    model: &'a Model,
    task: &'a str,
    input: Input,
    patience: Duration,
}

impl Trial<'_> {
    /// All checks of a task; `None` when a request hung or an ordinary one failed.
    fn all(&self, report: &mut Report) -> Option<()> {
        let mut session = match self.model.session() {
            Ok(session) => session,
            Err(error) => {
                report.error(self.task, format!("no session opens: {error}"), "");
                return Some(());
            }
        };
        if !self.plain(&mut session, report)? {
            // What fails an ordinary request would fail every other in the same words.
            return None;
        }
        self.cancelled_before(&mut session, report)?;
        self.cancelled_during(&mut session, report)?;
        self.deadline(&mut session, report)?;
        self.dropped(&mut session, report)?;
        self.reset_twice(&mut session, report)?;
        self.odd_inputs(&mut session, report)?;
        self.several_sessions(report)
    }

    fn request(&self) -> Request {
        Request::new(self.task, self.input.clone()).options(self.few()).deadline(self.patience)
    }

    /// Options that keep a check short, where the backend has them.
    fn few(&self) -> Options {
        let mut options = Options::new();
        if self.model.schema(self.task).is_ok_and(|schema| schema.field("max_tokens").is_some()) {
            options.set("max_tokens", 16);
        }
        options
    }

    fn place(&self, step: &str) -> String {
        format!("{}, {step}", self.task)
    }

    /// Runs a request to its end; `None` when it hung.
    fn run(&self, session: &mut Session, request: Request, place: &str, report: &mut Report) -> Option<Outcome> {
        match session.stream(request) {
            Ok(stream) => self.drain(stream, self.patience + GRACE, place, report),
            Err(error) => Some(Err(error)),
        }
    }

    fn drain(&self, mut stream: Stream, limit: Duration, place: &str, report: &mut Report) -> Option<Outcome> {
        let start = Instant::now();
        loop {
            match stream.next_timeout(STEP) {
                None | Some(Ok(Event::End(_))) => return Some(Ok(())),
                Some(Ok(_)) => {}
                Some(Err(error)) if error.kind() == ErrorKind::Timeout => {}
                Some(Err(error)) => return Some(Err(error)),
            }
            if start.elapsed() > limit {
                report.error(place, format!("it has not ended after {limit:?}"), "ask `cancelled` at every step");
                // Dropping a stream waits for its end, which does not come.
                std::mem::forget(stream);
                return None;
            }
        }
    }

    /// Whether an ordinary request is answered; `None` when it hung.
    fn expect_answer(&self, session: &mut Session, step: &str, report: &mut Report) -> Option<bool> {
        let place = self.place(step);
        let answered = self.run(session, self.request(), &place, report)?;
        match &answered {
            // A backend may offer a task that this very model cannot do, and says so.
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                report.note(&place, error.to_string(), "check with a model that can");
            }
            Err(error) => report.error(&place, error.to_string(), "an ordinary request has to be answered"),
            Ok(_) => {}
        }
        Some(answered.is_ok())
    }

    fn plain(&self, session: &mut Session, report: &mut Report) -> Option<bool> {
        report.step(self.place("a plain request"));
        Some(
            self.expect_answer(session, "a plain request", report)?
                && self.expect_answer(session, "the same again", report)?,
        )
    }

    fn cancelled_before(&self, session: &mut Session, report: &mut Report) -> Option<()> {
        let place = self.place("cancelled before");
        report.step(place.clone());
        let token = CancelToken::new();
        token.cancel();
        match self.run(session, self.request().cancel(token), &place, report)? {
            Err(error) if error.kind() == ErrorKind::Cancelled => {}
            Err(error) => judge_error(&place, &error, report),
            Ok(()) => report.error(&place, "it answers a request that was cancelled", "ask `cancelled` first"),
        }
        self.expect_answer(session, "after a cancel", report).map(drop)
    }

    fn cancelled_during(&self, session: &mut Session, report: &mut Report) -> Option<()> {
        let place = self.place("cancelled during");
        report.step(place.clone());
        let mut stream = match session.stream(self.request()) {
            Ok(stream) => stream,
            Err(error) => {
                judge_error(&place, &error, report);
                return Some(());
            }
        };
        // At the first sign of life, or soon after the start.
        let _ = stream.next_timeout(STEP);
        stream.cancel();
        let began = Instant::now();
        // A request may have ended before the cancel came; that is an answer like any other.
        if let Err(error) = self.drain(stream, self.patience + GRACE, &place, report)?
            && error.kind() != ErrorKind::Cancelled
        {
            judge_error(&place, &error, report);
        }
        let coarse = self.model.backend().caps() & tenon_abi::CAP_CANCEL_COARSE != 0;
        if began.elapsed() > CANCEL_GRACE && !coarse {
            let what = format!("it takes {:.1} s to end after a cancel", began.elapsed().as_secs_f64());
            report.error(&place, what, "ask `cancelled` more often, or say CAP_CANCEL_COARSE");
        }
        self.expect_answer(session, "after a cancel during a request", report).map(drop)
    }

    fn deadline(&self, session: &mut Session, report: &mut Report) -> Option<()> {
        let place = self.place("deadline");
        report.step(place.clone());
        if let Err(error) = self.run(session, self.request().deadline(Duration::from_millis(1)), &place, report)?
            && error.kind() != ErrorKind::Deadline
        {
            judge_error(&place, &error, report);
        }
        self.expect_answer(session, "after a deadline", report).map(drop)
    }

    /// A caller who has had enough after the first event.
    fn dropped(&self, session: &mut Session, report: &mut Report) -> Option<()> {
        let place = self.place("the caller stops");
        report.step(place.clone());
        match session.stream(self.request()) {
            Ok(mut stream) => {
                let _ = stream.next_timeout(self.patience);
                stream.cancel();
                self.drain(stream, self.patience + GRACE, &place, report)?.err();
            }
            Err(error) => judge_error(&place, &error, report),
        }
        self.expect_answer(session, "after a caller who stopped", report).map(drop)
    }

    fn reset_twice(&self, session: &mut Session, report: &mut Report) -> Option<()> {
        let place = self.place("reset");
        report.step(place.clone());
        for _ in 0..2 {
            if let Err(error) = session.reset() {
                report.error(&place, error.to_string(), "a reset has to work, also twice");
            }
        }
        self.expect_answer(session, "after two resets", report).map(drop)
    }

    /// Inputs and options that may well be refused, but must not break anything.
    fn odd_inputs(&self, session: &mut Session, report: &mut Report) -> Option<()> {
        let place = self.place("odd input");
        report.step(place.clone());
        let rate = self.model.backend().description().audio.map_or(16_000, |audio| audio.rate);
        let odd: Vec<Input> = match &self.input {
            Input::Audio(_) => vec![
                Input::Audio(AudioSource::mono(vec![0.0; 1], rate)),
                Input::Audio(AudioSource::mono(vec![0.0; rate as usize], rate)),
                Input::Audio(AudioSource::mono(vec![1.0e30; rate as usize], rate)),
            ],
            Input::Prompt(_) => ["", " ", "\u{0}\u{ffff}", "🙂é́"].map(|text| Input::Prompt(text.to_owned())).to_vec(),
            Input::Messages(_) => vec![Input::Messages(vec![Message { role: Role::User, content: String::new() }])],
            _ => vec![Input::Texts(vec![String::new()])],
        };
        for input in odd {
            let request = Request::new(self.task, input).options(self.few()).deadline(self.patience);
            if let Err(error) = self.run(session, request, &place, report)? {
                judge_error(&place, &error, report);
            }
        }
        let mut unknown = self.few();
        unknown.set("no_such_option", 1);
        match self.run(session, self.request().options(unknown), &place, report)? {
            Err(error) if error.kind() == ErrorKind::Options => {}
            Err(error) => judge_error(&place, &error, report),
            Ok(()) => report.error(&place, "an unknown option is let by", "describe every option in the schema"),
        }
        self.expect_answer(session, "after odd input", report).map(drop)
    }

    fn several_sessions(&self, report: &mut Report) -> Option<()> {
        let place = self.place("several sessions");
        report.step(place.clone());
        let sessions: Result<Vec<Session>, Error> = (0..3).map(|_| self.model.session()).collect();
        let sessions = match sessions {
            Ok(sessions) => sessions,
            Err(error) => {
                report.error(&place, error.to_string(), "one model has to serve several sessions");
                return Some(());
            }
        };
        let failed: Vec<Error> = thread::scope(|scope| {
            let runs = sessions.into_iter().map(|mut session| scope.spawn(move || session.run(&self.request())));
            let runs: Vec<_> = runs.collect();
            runs.into_iter().filter_map(|run| run.join().ok().and_then(Result::err)).collect()
        });
        for error in failed {
            report.error(&place, error.to_string(), "sessions of one model must not disturb one another");
        }
        Some(())
    }
}
