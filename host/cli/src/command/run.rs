//! `tenon run`: one question, its answer printed as it comes, or a chat.

use crate::args::Run;
use crate::command::{Chosen, chat};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::output::{Output, say};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::Path;
use std::time::Duration;
use tenon::{Answer, CancelToken, ErrorKind, Event, FinishReason, Input, Message, Model, Options, Request, Role, task};

/// Runs the command.
pub fn run(context: &Context, args: &Run, chosen: Chosen) -> Outcome {
    let mut options = constraints(args)?;
    options = chosen.asked.request.over(&options);
    let prompt = prompt(args)?;
    let model = context.load(&chosen.flags.model, &chosen.asked)?;
    let talk = Talk { context, args, model: &model, task: &chosen.flags.task };
    match prompt {
        Some(prompt) => talk.once(prompt, options),
        None if std::io::stdin().is_terminal() && !context.out.json && !args.jsonl => {
            chat::run(&talk, &chosen.flags, options)
        }
        None => Err(Failure::usage("no prompt: name one, or pipe one in")),
    }
}

/// The grammar or schema of `--format` and its relatives.
fn constraints(args: &Run) -> Outcome<Options> {
    let mut options = Options::new();
    let schema_file = args.json_schema_file.as_deref().or_else(|| args.format.as_deref().map(Path::new));
    match schema_file {
        Some(word) if args.json_schema_file.is_none() && word == Path::new("json") => {
            options.set("json_schema", json!({"type": "object"}));
        }
        Some(file) => {
            let text = read(file)?;
            let schema: Value = serde_json::from_str(&text)
                .map_err(|error| Failure::usage(format!("{}: not a JSON Schema: {error}", file.display())))?;
            options.set("json_schema", schema);
        }
        None => {}
    }
    if let Some(file) = &args.grammar_file {
        options.set("grammar", read(file)?);
    }
    Ok(options)
}

fn read(file: &Path) -> Outcome<String> {
    std::fs::read_to_string(file).map_err(|error| Failure::io(file.display(), "cannot be read", &error))
}

/// The prompt of the command line or file, and after it what is piped in.
fn prompt(args: &Run) -> Outcome<Option<String>> {
    let mut parts = Vec::new();
    match (&args.text, &args.file) {
        (Some(text), _) => parts.push(text.clone()),
        (None, _) if !args.prompt.is_empty() => parts.push(args.prompt.join(" ")),
        _ => {}
    }
    if let Some(file) = &args.file {
        parts.push(read(file)?);
    }
    if let Some(piped) = piped(parts.is_empty())? {
        parts.push(piped);
    }
    let prompt = parts.join("\n\n");
    Ok(if prompt.trim().is_empty() { None } else { Some(prompt) })
}

/// What is piped in. With a prompt on the command line only a pipe, file or socket is read: a device that never ends
/// is not a continuation of the prompt.
pub fn piped(needed: bool) -> Outcome<Option<String>> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() || !(needed || is_pipe_or_file(&stdin)) {
        return Ok(None);
    }
    let mut text = String::new();
    stdin.lock().read_to_string(&mut text).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => Failure::usage("standard input: the prompt is not UTF-8 text"),
        _ => Failure::io("standard input", "cannot be read", &error),
    })?;
    let text = text.trim_end_matches(['\n', '\r']);
    Ok(if text.is_empty() { None } else { Some(text.to_owned()) })
}

#[cfg(unix)]
fn is_pipe_or_file(stdin: &std::io::Stdin) -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileTypeExt;
    let Ok(handle) = stdin.as_fd().try_clone_to_owned() else { return false };
    File::from(handle).metadata().is_ok_and(|metadata| {
        let kind = metadata.file_type();
        kind.is_fifo() || kind.is_file() || kind.is_socket()
    })
}

#[cfg(windows)]
fn is_pipe_or_file(stdin: &std::io::Stdin) -> bool {
    use std::os::windows::io::AsHandle;
    // The null device has no metadata to speak of.
    stdin.as_handle().try_clone_to_owned().is_ok_and(|handle| File::from(handle).metadata().is_ok())
}

/// A model and how it is talked to.
pub struct Talk<'a> {
    /// What every command needs.
    pub context: &'a Context,
    /// The arguments of the command.
    pub args: &'a Run,
    /// The model.
    pub model: &'a Model,
    /// `chat` or `generate`.
    pub task: &'a str,
}

impl Talk<'_> {
    fn once(&self, prompt: String, options: Options) -> Outcome {
        let mut messages: Vec<Message> = self.args.system.iter().map(|text| message(Role::System, text)).collect();
        messages.push(message(Role::User, &prompt));
        let mut session = self.model.session()?;
        let answer = self.ask(&mut session, &messages, &options)?;
        let out = &self.context.out;
        if out.json {
            return out.json(&json!(answer));
        }
        Ok(())
    }

    /// Asks, prints the answer as it comes, and says what the user should know about it.
    pub fn ask(&self, session: &mut tenon::Session, messages: &[Message], options: &Options) -> Outcome<Answer> {
        let guard = self.context.interrupt.guard();
        let request = self.request(messages, options, guard.token())?;
        let out = &self.context.out;
        let mut answer = None;
        let mut ends_line = true;
        for event in session.stream(request)? {
            let event = event.inspect_err(|_| end_line(out, ends_line))?;
            if self.args.jsonl {
                out.json_line(&event.to_value())?;
            }
            match event {
                Event::End(end) => answer = Some(*end),
                Event::Text(text) if !out.json && !self.args.jsonl => {
                    ends_line = text.ends_with('\n');
                    out.text(&text)?;
                }
                _ => {}
            }
        }
        let answer = answer.ok_or_else(|| Failure::new(ErrorKind::Internal, "no answer came"))?;
        if !out.json && !self.args.jsonl && (!ends_line || answer.text.is_empty()) {
            out.line("")?;
        }
        self.remarks(&answer);
        Ok(answer)
    }

    fn request(&self, messages: &[Message], options: &Options, token: CancelToken) -> Outcome<Request> {
        let input = match self.task {
            task::CHAT => Input::Messages(messages.to_vec()),
            _ => Input::Prompt(plain(messages)?),
        };
        let mut request = Request::new(self.task, input).options(options.clone()).cancel(token);
        if let Some(preset) = &self.args.asking.preset {
            request = request.preset(preset);
        }
        if let Some(deadline) = self.args.asking.deadline {
            request = request.deadline(deadline);
        }
        Ok(request)
    }

    fn remarks(&self, answer: &Answer) {
        let out = &self.context.out;
        for note in &answer.notes {
            out.warn(&note.message);
        }
        if answer.finish.as_ref().is_some_and(|finish| finish.reason == FinishReason::Length) {
            out.warn("the answer was cut: max_tokens or the end of the context was reached");
        }
        if self.args.verbose {
            say(&counts(answer, self.model));
        }
    }
}

/// A model that only continues text has no roles.
fn plain(messages: &[Message]) -> Outcome<String> {
    match messages {
        [message] => Ok(message.content.clone()),
        _ => Err(Failure::new(
            ErrorKind::Unsupported,
            "this model continues text and knows no roles; put everything into the prompt instead of --system",
        )),
    }
}

/// An error should not stand behind half an answer.
fn end_line(out: &Output, ends_line: bool) {
    if !out.json && !ends_line {
        let _ = out.line("");
    }
}

/// A message of a conversation.
pub fn message(role: Role, content: &str) -> Message {
    Message { role, content: content.to_owned() }
}

/// The lines of `ollama run --verbose`.
fn counts(answer: &Answer, model: &Model) -> String {
    let usage = &answer.usage;
    let micros = |us: i64| Duration::from_micros(us.max(0).unsigned_abs());
    let rate = |tokens: u64, us: i64| if us > 0 { tokens as f64 * 1e6 / us as f64 } else { 0.0 };
    let (verify, open) = model.load_times();
    [
        format!("total duration:       {}", crate::output::span(answer.timings.total)),
        format!("load duration:        {}", crate::output::span(verify + open)),
        format!("prompt eval count:    {} token(s)", usage.prompt_tokens),
        format!("prompt eval duration: {}", crate::output::span(micros(usage.prompt_us))),
        format!("prompt eval rate:     {:.2} tokens/s", rate(usage.prompt_tokens, usage.prompt_us)),
        format!("eval count:           {} token(s)", usage.generated_tokens),
        format!("eval duration:        {}", crate::output::span(micros(usage.generate_us))),
        format!("eval rate:            {:.2} tokens/s", rate(usage.generated_tokens, usage.generate_us)),
    ]
    .join("\n")
}
