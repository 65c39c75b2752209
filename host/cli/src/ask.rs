//! What must be known before clap can parse: the global flags, and which model's options become flags.

use crate::args::{Cli, Globals};
use crate::argv::{command_index, value_of};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::flags::Flags;
use clap::{Arg, ArgAction, Args, Command, CommandFactory, FromArgMatches};
use std::ffi::{OsStr, OsString};
use tenon::{Backend, ErrorKind, ModelEntry, task};

/// The global flags, wherever they stand on the command line.
pub fn globals(args: &[OsString]) -> Result<Globals, clap::Error> {
    let parser = Globals::augment_args(Command::new("tenon").no_binary_name(true).disable_help_flag(true));
    let own = own_tokens(&parser, args);
    Globals::from_arg_matches(&parser.try_get_matches_from(own)?)
}

/// The tokens of `args` that belong to flags of `parser`. A value that looks like one of them is taken for one.
fn own_tokens(parser: &Command, args: &[OsString]) -> Vec<OsString> {
    let mut own = Vec::new();
    let mut rest = args.iter().skip(1).take_while(|arg| *arg != "--");
    while let Some(arg) = rest.next() {
        let text = arg.to_string_lossy();
        let name = text.split('=').next().unwrap_or_default();
        let spelled = |flag: &Arg| {
            flag.get_long().is_some_and(|long| name.strip_prefix("--") == Some(long))
                || flag.get_short().is_some_and(|short| is_short(name, short, flag.get_action().takes_values()))
        };
        let Some(flag) = parser.get_arguments().find(|flag| spelled(flag)) else { continue };
        own.push(arg.clone());
        let in_the_next = flag.get_action().takes_values() && !flag.is_require_equals_set();
        if in_the_next && !text.contains('=') && is_whole(&text) {
            own.extend(rest.next().cloned());
        }
    }
    own
}

/// `-t`, `-t4`, `-q`, `-vv`; not `-top`, which would be somebody else's.
fn is_short(name: &str, short: char, takes_value: bool) -> bool {
    let Some(rest) = name.strip_prefix('-').and_then(|name| name.strip_prefix(short)) else { return false };
    rest.chars().all(|c| if takes_value { c.is_ascii_digit() } else { c == short })
}

/// Whether the value of this flag stands in the next argument.
fn is_whole(flag: &str) -> bool {
    flag.starts_with("--") || flag.len() == 2
}

/// The command, as it stands on the command line.
pub fn command(args: &[OsString]) -> Option<&str> {
    args.get(command_index(args)?)?.to_str()
}

/// The whole command line, with the flags of the backend.
pub fn command_line(args: &[OsString], flags: Option<&Flags>) -> Command {
    match (flags, command(args)) {
        (Some(flags), Some(name)) => Cli::command().mut_subcommand(name, |command| flags.add_to(command)),
        _ => Cli::command(),
    }
}

/// The flags of the model that the command line names, for commands that take options of a backend.
/// When only help is asked for, a model that is not usable means help without its options.
pub fn flags(context: &Context, args: &[OsString]) -> Outcome<Option<Flags>> {
    let (Some(name), Some(index)) = (command(args), command_index(args)) else { return Ok(None) };
    let rest = &args[index + 1..];
    let help = rest.iter().any(|arg| arg == "--help" || arg == "-h");
    let flags = match name {
        "transcribe" if !rest.is_empty() => speech_flags(context, rest),
        "run" => text_flags(context, name, rest, &[task::CHAT, task::GENERATE]),
        "embed" => text_flags(context, name, rest, &[task::EMBED]),
        _ => Ok(None),
    };
    if help { Ok(flags.unwrap_or_default()) } else { flags }
}

fn speech_flags(context: &Context, rest: &[OsString]) -> Outcome<Option<Flags>> {
    let named = value_of(rest, &["-m", "--model"]).map(OsStr::to_owned).or_else(|| std::env::var_os("TENON_MODEL"));
    let model = match named {
        Some(name) => name.to_string_lossy().into_owned(),
        None => context.only_model(&[task::TRANSCRIBE, task::TRANSLATE])?,
    };
    let has = |flag: &str| rest.iter().any(|arg| arg == flag);
    let task = match () {
        () if has("--translate") => task::TRANSLATE,
        () if has("--detect-language") => task::DETECT_LANGUAGE,
        () => task::TRANSCRIBE,
    };
    backend_flags(context, &context.entry(&model)?, &[task]).map(Some)
}

/// The flags of the model that is the first argument of the command. Which argument that is depends on the backend's
/// flags, of which some take a value: a word counts if it still may be the first with the flags of its own backend.
fn text_flags(context: &Context, command: &str, rest: &[OsString], tasks: &[&str]) -> Outcome<Option<Flags>> {
    let models = context.engine()?.models();
    let plain = words_for_a_model(&subcommand(command, None), rest);
    let mut unfit = None;
    for entry in plain.iter().filter_map(|word| models.iter().find(|entry| entry.name == *word)) {
        match backend_flags(context, entry, tasks) {
            Ok(flags) if words_for_a_model(&subcommand(command, Some(&flags)), rest).contains(&&*entry.name) => {
                return Ok(Some(flags));
            }
            Ok(_) => {}
            Err(failure) => unfit = unfit.or(Some(failure)),
        }
    }
    match (unfit, plain.last()) {
        (Some(failure), _) => Err(failure),
        (None, Some(word)) => context.entry(word).map(|_| None),
        (None, None) => Ok(None),
    }
}

/// A command with every flag that it takes, those of the backend too where there are some.
fn subcommand(name: &str, flags: Option<&Flags>) -> Command {
    let cli = Cli::command();
    let command = cli.find_subcommand(name).cloned().unwrap_or_else(|| Command::new("none"));
    let command = flags.map_or(command.clone(), |flags| flags.add_to(command));
    // clap adds its own only when it parses.
    let help = Arg::new("help").long("help").short('h').action(ArgAction::SetTrue);
    Globals::augment_args(command).disable_help_flag(true).arg(help)
}

/// The words that may be the first argument of the command, in their order: those after a flag that the command does
/// not know, which may be its values, and the first word that is certainly no value.
fn words_for_a_model<'a>(command: &Command, rest: &'a [OsString]) -> Vec<&'a str> {
    let mut words = Vec::new();
    let mut rest = rest.iter().map(|arg| arg.to_str().unwrap_or_default());
    let mut after = After::Nothing;
    while let Some(arg) = rest.next() {
        match after {
            After::TakesValue => after = After::Nothing,
            _ if arg == "--" => {
                words.extend(rest.next());
                break;
            }
            _ if arg.starts_with('-') && arg != "-" => after = after_flag(command, arg),
            After::Unknown => {
                words.push(arg);
                after = After::Nothing;
            }
            After::Nothing => {
                words.push(arg);
                break;
            }
        }
    }
    words
}

/// What the next argument may be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum After {
    /// No value of a flag.
    Nothing,
    /// The value of a flag.
    TakesValue,
    /// Perhaps the value of a flag.
    Unknown,
}

fn after_flag(command: &Command, flag: &str) -> After {
    let of = |arg: Option<&Arg>, ends: bool| match arg {
        None if ends => After::Unknown,
        Some(arg) if ends && takes_next(arg) => After::TakesValue,
        _ => After::Nothing,
    };
    if let Some(long) = flag.strip_prefix("--") {
        return of(command.get_arguments().find(|arg| arg.get_long() == Some(long)), !long.contains('='));
    }
    // `-vvq`, `-t4`, `-o key=value`: the first letter that takes a value has the rest for it.
    let mut letters = flag.chars().skip(1).peekable();
    while let Some(letter) = letters.next() {
        let arg = command.get_arguments().find(|arg| arg.get_short() == Some(letter));
        if letters.peek().is_none() || arg.is_none_or(takes_next) {
            return of(arg, letters.peek().is_none() || arg.is_none() && !flag.contains('='));
        }
    }
    After::Nothing
}

fn takes_next(arg: &Arg) -> bool {
    arg.get_action().takes_values() && !arg.is_require_equals_set()
}

fn backend_flags(context: &Context, entry: &ModelEntry, tasks: &[&str]) -> Outcome<Flags> {
    if let Some(problem) = &entry.problem {
        return Err(problem.clone().into());
    }
    let engine = context.engine()?;
    let backend = engine.backend_for(&*engine.manifest(&entry.name)?, context.isolation())?;
    let task = offered(&backend, entry, tasks)?;
    Ok(Flags {
        model: entry.name.clone(),
        backend: format!("{} {}", backend.id(), backend.version()),
        request: backend.schema(&task)?.clone(),
        load: backend.load_schema().clone(),
        task,
    })
}

/// The task of the manifest if it is among `tasks`, else the first of them that the backend offers.
fn offered(backend: &Backend, entry: &ModelEntry, tasks: &[&str]) -> Outcome<String> {
    let offers = |task: &&&str| backend.description().tasks.iter().any(|offer| offer.task == **task);
    let own = tasks.iter().find(|task| **task == entry.task);
    own.or_else(|| tasks.iter().find(offers)).map(|task| (*task).to_owned()).ok_or_else(|| {
        let instead = match entry.task.as_str() {
            task::TRANSCRIBE | task::TRANSLATE => format!("; use `tenon transcribe -m {} FILE`", entry.name),
            task::CHAT | task::GENERATE => format!("; use `tenon run {} PROMPT`", entry.name),
            task::EMBED => format!("; use `tenon embed {} TEXT`", entry.name),
            _ => String::new(),
        };
        let message = format!("model \"{}\" is for {}, not for {}{instead}", entry.name, entry.task, tasks[0]);
        Failure::new(ErrorKind::Unsupported, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn global_flags_are_found_before_and_after_the_command() {
        let globals =
            globals(&args("tenon -vv run m --temp 0 --manifests a -t4 --json --verify=never hi --manifests b"))
                .unwrap();
        assert_eq!(globals.verbosity, 2);
        assert_eq!(globals.threads, Some(4));
        assert!(globals.json && !globals.quiet);
        assert_eq!(globals.verify, crate::args::Verify::Never);
        assert_eq!(globals.manifests, [std::path::Path::new("a"), std::path::Path::new("b")]);
    }

    #[test]
    fn the_lock_file_is_named_behind_an_equals_sign_and_nowhere_else() {
        let locked = |line: &str| globals(&args(line)).unwrap().locked;
        assert_eq!(locked("tenon --locked list").unwrap(), std::path::Path::new("tenon.lock"));
        assert_eq!(locked("tenon run m --locked=a.lock hi").unwrap(), std::path::Path::new("a.lock"));
        assert_eq!(locked("tenon list"), None);
    }

    #[test]
    fn bad_global_flags_are_bad_usage() {
        for line in ["tenon list --threads 0", "tenon list --verify sometimes", "tenon list --progress"] {
            assert!(globals(&args(line)).is_err(), "{line}");
        }
    }

    #[test]
    fn the_word_that_names_a_model_is_not_the_value_of_a_flag() {
        let words = |line: &str| {
            let rest = args(line);
            words_for_a_model(&subcommand("run", None), &rest).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        for line in ["m hi", "--quiet m", "-vvq m", "--system a m", "-o a=b m", "-oa=b m", "-t 4 m", "-t4 m", "-- m hi"]
        {
            assert_eq!(words(line), ["m"], "{line}");
        }
        for line in ["--locked m", "--threads=2 m", "--top-k=5 m hi", "--help m", "-f m m n"] {
            assert_eq!(words(line), ["m"], "{line}");
        }
        assert_eq!(words("--temperature 0 m hi"), ["0", "m"]);
        assert_eq!(words("--temperature -1 m hi there"), ["m", "hi"]);
        assert_eq!(words("--quiet"), [""; 0]);
    }
}
