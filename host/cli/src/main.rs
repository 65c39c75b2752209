//! The program `tenon`: names the command, runs it, turns its end into an exit code.
//!
//! [`argv`] rewrites foreign flags, [`args`] describes the command line, [`flags`] adds the options of the chosen
//! model's backend, [`command`] holds one module per command. Everything else is in the engine.

#![forbid(unsafe_code)]

mod args;
mod argv;
mod ask;
mod command;
mod context;
mod failure;
mod flags;
mod interrupt;
mod output;
mod progress;
mod transcript;

use crate::args::Cli;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::output::Output;
use clap::FromArgMatches;
use std::ffi::OsString;
use std::process::ExitCode;
use tenon::ErrorKind;
use tracing_subscriber::filter::LevelFilter;

fn main() -> ExitCode {
    let args = argv::rewrite(std::env::args_os().collect());
    let interrupt = match Interrupt::install() {
        Ok(interrupt) => interrupt,
        Err(error) => {
            output::say(&format!("error: signals cannot be handled: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match run(args.clone(), &interrupt) {
        Ok(()) => {
            // What a plugin has to say about its end comes too late for anybody.
            let _ = tenon::shutdown_plugins();
            ExitCode::SUCCESS
        }
        Err(failure) => end(&args, &failure, &interrupt),
    }
}

/// What follows from a command line: help, which is printed, or matches.
fn run(args: Vec<OsString>, interrupt: &Interrupt) -> Outcome {
    let globals = match ask::globals(&args) {
        Ok(globals) => globals,
        Err(error) => return clap_end(&args, &error),
    };
    log(&globals)?;
    if let Some(message) = argv::refused(&args) {
        return Err(Failure::new(ErrorKind::Unsupported, message));
    }
    let context = Context::new(globals, interrupt.clone());
    let flags = ask::flags(&context, &args)?;
    let command = ask::command_line(&args, flags.as_ref());
    let matches = match command.try_get_matches_from(&args) {
        Ok(matches) => matches,
        Err(error) => return clap_end(&args, &error),
    };
    let cli = Cli::from_arg_matches(&matches).map_err(|error| Failure::usage(error.to_string()))?;
    command::run(&context, cli.command, &matches, flags)
}

/// Help and version go to standard output and end well; everything else is bad usage.
fn clap_end(args: &[OsString], error: &clap::Error) -> Outcome {
    if !error.use_stderr() {
        return Ok(error.print()?);
    }
    let text = error.render().to_string();
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        if wants_json(args) {
            return Err(Failure::usage("a command is missing; --help shows which there are"));
        }
        output::say(text.trim_end());
        return Err(Failure::usage(""));
    }
    let sentence = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
    Err(Failure::usage(sentence))
}

/// Says why, and turns it into an exit code. A signal that cancelled the command decides on the code.
fn end(args: &[OsString], failure: &Failure, interrupt: &Interrupt) -> ExitCode {
    if failure.is_broken_pipe() {
        // As every program of a pipeline ends when nobody reads on: killed by SIGPIPE, without a word.
        #[cfg(unix)]
        let _ = signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGPIPE);
        return ExitCode::from(failure.code);
    }
    let failure = Failure { code: interrupt.exit_code().unwrap_or(failure.code), ..failure.clone() };
    Output::new(wants_json(args), false).failure(&failure);
    ExitCode::from(failure.code)
}

/// Whether errors are JSON. Also asked where the command line could not be read.
fn wants_json(args: &[OsString]) -> bool {
    let flagged = args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json" || arg == "--jsonl");
    flagged || std::env::var("TENON_JSON").is_ok_and(|value| is_truthy(&value))
}

/// As clap reads the variables of flags.
fn is_truthy(value: &str) -> bool {
    !matches!(&*value.to_lowercase(), "" | "n" | "no" | "f" | "false" | "off" | "0")
}

/// Logs go to standard error: `--log` or `TENON_LOG`, else errors with `-q`, else `-v`, else `RUST_LOG`, else warnings.
fn log(globals: &args::Globals) -> Outcome {
    let level = match (&globals.log, globals.verbosity) {
        (Some(filter), _) => checked_filter(filter)?,
        (None, _) if globals.quiet => "error".to_owned(),
        (None, 0) => std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned()),
        (None, 1) => "info".to_owned(),
        (None, 2) => "debug".to_owned(),
        (None, _) => "trace".to_owned(),
    };
    let filter = tracing_subscriber::EnvFilter::try_new(&level)
        .map_err(|error| Failure::usage(format!("\"{level}\" is no log level: {error}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(Output::new(false, false).colour_remarks)
        .init();
    Ok(())
}

/// The filter, if each word of it is one that logs something: any other would be taken for the name of a module, and
/// switch off the logs of all others.
fn checked_filter(filter: &str) -> Outcome<String> {
    let is_level = |word: &str| word.is_empty() || word.parse::<LevelFilter>().is_ok();
    let known = |word: &str| is_level(word) || word.contains(['=', '[', '{', '}', ']']) || word.starts_with("tenon");
    match filter.split(',').map(str::trim).find(|word| !known(word)) {
        None => Ok(filter.to_owned()),
        Some(word) => {
            let levels = "error, warn, info, debug, trace, off";
            let message = format!("\"{word}\" is no log level: name {levels}, or a filter such as tenon=debug");
            Err(Failure::usage(message))
        }
    }
}
