//! One module per command.

pub mod bench;
pub mod bundle;
pub mod chat;
pub mod completions;
pub mod demo;
pub mod devices;
pub mod doctor;
pub mod embed;
pub mod estimate;
pub mod gc;
pub mod import;
pub mod list;
pub mod lock;
pub mod man;
pub mod manifest;
pub mod plugin;
pub mod pull;
pub mod rm;
pub mod run;
pub mod search;
pub mod show;
pub mod transcribe;
pub mod verify;
pub mod version;

use crate::args::Command;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::flags::{Asked, Flags};
use clap::ArgMatches;

/// Runs the command. `flags` are there for commands that take options of a backend and name a model.
pub fn run(context: &Context, command: Command, matches: &ArgMatches, flags: Option<Flags>) -> Outcome {
    let matches = matches.subcommand().map(|(_, matches)| matches);
    match command {
        Command::Transcribe(args) => {
            // Without any argument no model was looked for.
            transcribe::inputs(&args)?;
            let chosen = Chosen::new(flags, matches, &args.asking.option)?;
            transcribe::run(context, &args, chosen)
        }
        Command::Run(args) => {
            let chosen = Chosen::new(flags, matches, &args.asking.option)?.named(context, &args.model)?;
            run::run(context, &args, chosen)
        }
        Command::Embed(args) => {
            let chosen = Chosen::new(flags, matches, &args.asking.option)?.named(context, &args.model)?;
            embed::run(context, &args, chosen)
        }
        Command::List(args) => list::run(context, &args),
        Command::Show(args) => show::run(context, &args),
        Command::Search(args) => search::run(context, &args),
        Command::Pull(args) => pull::run(context, &args),
        Command::Estimate(args) => estimate::run(context, &args),
        Command::Verify(args) => verify::run(context, &args),
        Command::Import(args) => import::run(context, &args),
        Command::Rm(args) => rm::run(context, &args),
        Command::Gc(args) => gc::run(context, &args),
        Command::Bundle(command) => bundle::run(context, &command),
        Command::Lock(args) => lock::run(context, &args),
        Command::Plugin(command) => plugin::run(context, &command),
        Command::Manifest(command) => manifest::run(context, &command),
        Command::Devices => devices::run(context),
        Command::Doctor => doctor::run(context),
        Command::Bench(args) => bench::run(context, &args),
        Command::Demo(args) => demo::run(context, &args),
        Command::Completions(args) => completions::run(context, &args),
        Command::Man(args) => man::run(context, &args),
        Command::Version => version::run(context),
    }
}

/// The model that was chosen, and what was asked of it.
pub struct Chosen {
    /// The flags of its backend.
    pub flags: Flags,
    /// The options that were given.
    pub asked: Asked,
}

impl Chosen {
    fn new(flags: Option<Flags>, matches: Option<&ArgMatches>, pairs: &[String]) -> Outcome<Self> {
        let (Some(flags), Some(matches)) = (flags, matches) else {
            return Err(Failure::usage("no model is named; `tenon list` shows which there are"));
        };
        let asked = flags.asked(matches, pairs)?;
        Ok(Self { flags, asked })
    }

    /// The command line was read with the flags of one model: it must be the one that it names.
    fn named(self, context: &Context, name: &str) -> Outcome<Self> {
        if self.flags.model == name {
            return Ok(self);
        }
        context.entry(name)?;
        let message =
            format!("\"{name}\" and \"{}\" may both be the model: name it before all flags", self.flags.model);
        Err(Failure::usage(message))
    }
}
