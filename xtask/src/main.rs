//! Tasks of the workspace: `cargo xtask setup [--tests] | build | demo | test | faults | check | gen [--check] |
//! dist`.
//!
//! Needs nothing but cargo and has no dependency, so that it runs within seconds on a fresh machine. What a task needs
//! beyond cargo (a C++ compiler, cmake, libclang) it finds or installs by [`tools`].

mod artifacts;
mod check;
mod disk;
mod dist;
mod faults;
mod process;
mod test;
mod tools;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask TASK

  setup [--tests]  find or install what the native plugins need to build, or with --tests what tests use too
  build            set up, then build the program, libtenon and the plugins into target/release
  demo             build, then run the shipped models: speech -> text -> JSON answer
  test             set up what tests use, build, pack, then run every test
  faults [--seed N] [--seconds S] [--faults N]
                   build, then do everything to workers that must not matter to anybody else
  check            formatting, lints, documentation, generated files, arrows, licences
  gen [--check]    write the generated files, or fail where one is out of date
  dist             pack a relocatable archive, a Debian package and a Python wheel into target/dist";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["setup"] => tools::set_up(),
        ["setup", "--tests"] => tools::set_up().map(|()| tools::set_up_tests()),
        ["build"] => artifacts::build(),
        ["demo", rest @ ..] => demo(rest),
        ["test"] => test::run(),
        ["faults", wishes @ ..] => faults::run(wishes),
        ["check"] => check::run(),
        ["gen"] => check::generate(false),
        ["gen", "--check"] => check::generate(true),
        ["dist"] => dist::run(),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the main job on the shipped models, end to end.
fn demo(arguments: &[&str]) -> Result<(), String> {
    disk::warn_below(disk::FOR_BUILD);
    artifacts::build()?;
    process::run(process::command(artifacts::program()).arg("demo").args(arguments))
}
