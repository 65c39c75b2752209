//! The program that runs one plugin outside of the engine's process. The engine starts it, and talks to it over the
//! socket that is its standard input; `host/engine/src/plugin/worker` is the other side, `tenon-wire` what they say.
//!
//! `start` comes to be: sandbox, library, description. `desk` takes the engine's orders, `call` is one running call,
//! `log` and `crash` tell the engine what else happens.

#[cfg(unix)]
mod call;
#[cfg(unix)]
mod crash;
#[cfg(unix)]
mod desk;
#[cfg(unix)]
mod log;
#[cfg(unix)]
mod sandbox;
#[cfg(unix)]
mod start;

use std::process::ExitCode;

/// Exit code: this program is not for people.
const BY_HAND: u8 = 64;

fn main() -> ExitCode {
    let asked = std::env::args_os().nth(1);
    match asked.as_deref().and_then(|word| word.to_str()) {
        Some("--version" | "-V") => {
            println!("tenon-worker {} (protocol {})", tenon_wire::VERSION, tenon_wire::PROTOCOL);
            ExitCode::SUCCESS
        }
        _ if asked.is_none() => serve(),
        _ => by_hand(),
    }
}

#[cfg(unix)]
fn serve() -> ExitCode {
    let parent = start::Parent::now();
    match start::connection() {
        Some(socket) => start::serve(socket, parent),
        None => by_hand(),
    }
}

#[cfg(not(unix))]
fn serve() -> ExitCode {
    eprintln!("tenon-worker: workers do not exist on this system yet: use isolation = \"process\"");
    ExitCode::from(BY_HAND)
}

fn by_hand() -> ExitCode {
    eprintln!(
        "tenon-worker runs a plugin for Tenon, in a process of its own. Tenon starts it for models whose manifest says \
         isolation = \"worker\"; there is nothing to do with it by hand."
    );
    ExitCode::from(BY_HAND)
}
