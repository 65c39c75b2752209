//! A chat in the terminal. What a line means is decided by [`Line`], apart from asking and printing.

use crate::command::run::{Talk, message};
use crate::failure::{Failure, Outcome};
use crate::flags::Flags;
use crate::output::say;
use std::io::{BufRead, Write};
use tenon::{ErrorKind, Message, Options, Role, Session};

const HELP: &str = "\
/bye                 end the chat
/clear               forget what was said
/set NAME VALUE      set an option, such as /set temperature 0
/set system TEXT     set the scene, and forget what was said
/show                show the model, the scene and the options that are set
/help                show this
\"\"\"                  open and close a message of several lines";

/// What a line of the user means.
#[derive(Debug, PartialEq)]
enum Line {
    Say(String),
    Open(String),
    Bye,
    Clear,
    Set(String, String),
    Show,
    Help,
    Nothing,
    Unknown(String),
}

impl Line {
    fn read(line: &str) -> Self {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("\"\"\"") {
            return match rest.split_once("\"\"\"") {
                Some((whole, _)) => Self::Say(whole.to_owned()),
                None => Self::Open(rest.to_owned()),
            };
        }
        let mut words = line.splitn(2, char::is_whitespace);
        let (word, rest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default().trim());
        match word {
            "" => Self::Nothing,
            "/bye" | "/exit" | "/quit" => Self::Bye,
            "/clear" => Self::Clear,
            "/set" => Self::set(rest),
            "/show" => Self::Show,
            "/help" | "/?" => Self::Help,
            word if word.starts_with('/') => Self::Unknown(word.to_owned()),
            _ => Self::Say(line.to_owned()),
        }
    }

    /// `NAME VALUE`, and ollama's `parameter NAME VALUE`.
    fn set(rest: &str) -> Self {
        let rest = rest.strip_prefix("parameter ").unwrap_or(rest).trim();
        match rest.split_once(char::is_whitespace) {
            Some((name, value)) => Self::Set(name.to_owned(), value.trim().to_owned()),
            None => Self::Unknown("/set".to_owned()),
        }
    }
}

/// Runs a chat until the user ends it.
pub fn run(talk: &Talk, flags: &Flags, options: Options) -> Outcome {
    let session = talk.model.session()?;
    let system = talk.args.system.clone();
    let mut chat = Chat { talk, flags, session, options, messages: Vec::new(), system };
    chat.start();
    talk.context.out.remark(&format!("{}: /bye ends the chat, /help shows more", talk.model.name()));
    let mut lines = std::io::stdin().lock();
    while let Some(line) = read_line(">>> ", &mut lines)? {
        if chat.hear(Line::read(&line), &mut lines)? {
            return Ok(());
        }
    }
    say("");
    Ok(())
}

/// The next line, without its end; `None` when there is no more.
fn read_line(prompt: &str, lines: &mut dyn BufRead) -> Outcome<Option<String>> {
    let mut stderr = std::io::stderr();
    let _ = stderr.write_all(prompt.as_bytes()).and_then(|()| stderr.flush());
    let mut line = String::new();
    let count = lines.read_line(&mut line).map_err(|error| Failure::io("standard input", "cannot be read", &error))?;
    Ok(if count == 0 { None } else { Some(line.trim_end_matches(['\n', '\r']).to_owned()) })
}

/// The lines up to the closing `"""`, after the rest of the opening one.
fn read_block(first: String, lines: &mut dyn BufRead) -> Outcome<String> {
    let mut block = first;
    while let Some(line) = read_line("... ", lines)? {
        if !block.is_empty() {
            block.push('\n');
        }
        match line.split_once("\"\"\"") {
            Some((last, _)) => {
                block.push_str(last);
                break;
            }
            None => block.push_str(&line),
        }
    }
    Ok(block.trim_end().to_owned())
}

struct Chat<'a> {
    talk: &'a Talk<'a>,
    flags: &'a Flags,
    session: Session,
    options: Options,
    messages: Vec<Message>,
    system: Option<String>,
}

impl Chat<'_> {
    fn start(&mut self) {
        self.messages = self.system.iter().map(|text| message(Role::System, text)).collect();
    }

    /// Does what a line asks for; `true` when it ends the chat.
    fn hear(&mut self, line: Line, lines: &mut dyn BufRead) -> Outcome<bool> {
        match line {
            Line::Bye => return Ok(true),
            Line::Say(text) => self.ask(&text)?,
            Line::Open(first) => {
                let text = read_block(first, lines)?;
                self.ask(&text)?;
            }
            Line::Clear => {
                self.session.reset()?;
                self.start();
                say("forgot what was said");
            }
            Line::Set(name, value) if name == "system" => {
                self.system = Some(value);
                self.session.reset()?;
                self.start();
                say("set the scene");
            }
            Line::Set(name, value) => match self.flags.set_request(&mut self.options, &format!("{name}={value}")) {
                Ok(()) => say(&format!("set {name}")),
                Err(failure) => self.talk.context.out.failure(&failure),
            },
            Line::Show => self.show(),
            Line::Help => say(HELP),
            Line::Unknown(word) => say(&format!("{word} is no command, or lacks something; /help shows them")),
            Line::Nothing => {}
        }
        Ok(false)
    }

    /// A turn that fails or is interrupted leaves the conversation as it was before it.
    fn ask(&mut self, text: &str) -> Outcome {
        let length = self.messages.len();
        self.messages.push(message(Role::User, text));
        match self.talk.ask(&mut self.session, &self.messages, &self.options) {
            Ok(answer) => {
                self.messages.push(message(Role::Assistant, &answer.text));
                Ok(())
            }
            Err(failure) => {
                self.messages.truncate(length);
                let interrupted = failure.kind == ErrorKind::Cancelled.name();
                if failure.is_broken_pipe() || (interrupted && !self.talk.context.interrupt.forgive()) {
                    return Err(failure);
                }
                self.talk.context.out.failure(&failure);
                Ok(())
            }
        }
    }

    fn show(&self) {
        say(&format!("model    {} ({})", self.flags.model, self.flags.backend));
        say(&format!("scene    {}", self.system.as_deref().unwrap_or("-")));
        say(&format!("options  {}", self.options.to_json()));
        say(&format!("turns    {}", self.messages.iter().filter(|message| message.role == Role::User).count()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_begin_with_a_slash_are_commands() {
        assert_eq!(Line::read(" /bye "), Line::Bye);
        assert_eq!(Line::read("/set temperature 0"), Line::Set("temperature".into(), "0".into()));
        assert_eq!(Line::read("/set parameter seed 7"), Line::Set("seed".into(), "7".into()));
        assert_eq!(Line::read("/set system Be brief."), Line::Set("system".into(), "Be brief.".into()));
        assert_eq!(Line::read("/set seed"), Line::Unknown("/set".into()));
        assert_eq!(Line::read("/nonsense x"), Line::Unknown("/nonsense".into()));
        assert_eq!(Line::read("  "), Line::Nothing);
    }

    #[test]
    fn everything_else_is_said() {
        assert_eq!(Line::read("what is 1/2?"), Line::Say("what is 1/2?".into()));
        assert_eq!(Line::read("\"\"\"in one line\"\"\""), Line::Say("in one line".into()));
    }

    #[test]
    fn three_quotes_hold_several_lines() {
        let Line::Open(first) = Line::read("\"\"\"one") else { panic!("not opened") };
        let mut lines = "  two\nthree\"\"\" and this is not part of it\nnext".as_bytes();
        assert_eq!(read_block(first, &mut lines).unwrap(), "one\n  two\nthree");
        assert_eq!(lines, b"next");
    }

    #[test]
    fn a_block_that_is_never_closed_ends_with_the_input() {
        assert_eq!(read_block(String::new(), &mut "a\nb".as_bytes()).unwrap(), "a\nb");
    }
}
