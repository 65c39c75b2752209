//! Pulls the files of one manifest into one home, in a process of its own that a test can kill, trace and run twice.
//!
//! `pull-one HOME MANIFEST [NAME=VALUE]…`: events go to standard output, one line each; an error to standard error.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tenon_pull::{Event, Network, Puller};
use tenon_pull_tests::Home;
use tenon_store::{Environment, Manifest, Os};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Outcome<()> {
    let [home, manifest, settings @ ..] = arguments else {
        return Err("usage: pull-one HOME MANIFEST [NAME=VALUE]…".into());
    };
    let path = Path::new(manifest);
    let manifest = Manifest::parse(&std::fs::read_to_string(path)?, path).map_err(|wrong| format!("{wrong:?}"))?;
    let network = settings.iter().try_fold(quick()?, |network, setting| set(network, setting))?;
    let store = Home::at(Path::new(home)).store();
    Puller::new(&store, &network).pull(&manifest, &mut |event| {
        say(event);
        ControlFlow::Continue(())
    })?;
    Ok(())
}

/// Little patience, and nothing of this process's environment.
fn quick() -> Outcome<Network> {
    let environment = Environment {
        os: Os::here(),
        variables: BTreeMap::new(),
        executable: None,
        library: None,
        is_folder: |_| false,
    };
    Ok(Network::of(&environment)?.back_off(Duration::from_millis(1)))
}

fn set(network: Network, setting: &str) -> Outcome<Network> {
    let (name, value) = setting.split_once('=').ok_or("a setting is NAME=VALUE")?;
    Ok(match name {
        "offline" => network.offline(value == "1"),
        "stall" => network.stall(Duration::from_millis(value.parse()?)),
        "tries" => network.tries(value.parse()?),
        "connections" => network.connections(value.parse()?),
        "parallel_from" => network.parallel_from(value.parse()?),
        _ => return Err(format!("no setting is called {name}").into()),
    })
}

/// Whoever reads may be gone: that is no reason to stop.
fn say(event: &Event) {
    let mut out = std::io::stdout();
    let _ = match event {
        Event::Waiting { .. } => writeln!(out, "waiting"),
        Event::Resuming { done, .. } => writeln!(out, "resuming {done}"),
        Event::Progress { done, .. } => writeln!(out, "progress {done}"),
        Event::Verifying { .. } => writeln!(out, "verifying"),
        Event::Done { .. } => writeln!(out, "done"),
        other => writeln!(out, "{other:?}"),
    };
}
