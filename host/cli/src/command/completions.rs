//! `tenon completions`: generated from the command line itself.

use crate::args::{Cli, Completions, Shell};
use crate::context::Context;
use crate::failure::Outcome;
use clap::{Command, CommandFactory};
use clap_complete::Generator;
use serde_json::json;

/// Runs the command.
pub fn run(context: &Context, args: &Completions) -> Outcome {
    let script = script(args.shell);
    if !context.out.json {
        return context.out.text(&script);
    }
    let shell = format!("{:?}", args.shell).to_lowercase();
    context.out.json(&json!({"shell": shell, "script": script}))
}

fn script(shell: Shell) -> String {
    use clap_complete::Shell as Known;
    match shell {
        Shell::Bash => generate(Known::Bash),
        Shell::Zsh => generate(Known::Zsh),
        Shell::Fish => generate(Known::Fish),
        Shell::Powershell => generate(Known::PowerShell),
        Shell::Elvish => generate(Known::Elvish),
        Shell::Nushell => generate(clap_complete_nushell::Nushell),
    }
}

fn generate(generator: impl Generator) -> String {
    let mut bytes = Vec::new();
    let mut command: Command = Cli::command();
    clap_complete::generate(generator, &mut command, "tenon", &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
