//! Faults that need an engine of their own or that hit the whole process, one at a time.

use crate::home::Home;
use crate::stage::{Campaign, Stage};
use crate::strike::PAUSE;
use crate::{Outcome, life, misdeeds, scarce};
use std::time::Duration;
use tenon::{ErrorKind, Load, Request};
use tenon_fault_tests::random::Random;

/// What a worker that lies does; `garbage.rs` knows each. Nearly all must end in an error.
const GARBAGE: &[&str] = &[
    "hello-never",
    "hello-noise",
    "hello-huge",
    "hello-version",
    "hello-protocol",
    "hello-twice",
    "started-noise",
    "started-text",
    "started-other",
    "started-never",
    "started-cut",
    "open-exit",
    "open-other",
    "run-noise",
    "run-huge",
    "run-short",
    "run-type",
    "run-cut",
    "run-other",
    "run-other-done",
    "run-credit",
    "run-pull",
    "run-hello",
    "run-started",
    "run-pong",
    "run-hang-up",
    "mutated",
];

/// Kinds of faults.
#[derive(Clone, Copy, Debug)]
enum Odd {
    Garbage,
    Mutated,
    Shutdown,
    Drops,
    Descriptors,
    Disk,
    Leak,
}

/// Makes faults until the campaign is over; those of descriptors hit the workers of `stage`.
pub fn run(campaign: &Campaign, home: &Home, stage: &Stage) -> Outcome<()> {
    let mut random = Random::new(campaign.seed, "odds");
    let mut number = 0;
    while !campaign.is_over() {
        number += 1;
        std::thread::sleep(random.time_below(PAUSE));
        let odd = random.weighted(&[
            (34, Odd::Garbage),
            (16, Odd::Mutated),
            (16, Odd::Shutdown),
            (20, Odd::Drops),
            (10, Odd::Descriptors),
            (2, Odd::Disk),
            (2, Odd::Leak),
        ]);
        one(campaign, home, stage, odd, number, &mut random)?;
    }
    Ok(())
}

fn one(campaign: &Campaign, home: &Home, stage: &Stage, odd: Odd, number: u64, random: &mut Random) -> Outcome<()> {
    let program = format!("w-odd-{number}");
    if let Odd::Descriptors = odd {
        campaign.report.fault("descriptors");
        let (spare, time) = (random.below(8), random.time_below(60));
        scarce::descriptors(campaign, stage, spare, time);
        return Ok(());
    }
    let _works = campaign.scarcity.works.read();
    match odd {
        Odd::Garbage => garbage(campaign, home, number, random.pick::<&str>(GARBAGE)),
        Odd::Mutated => garbage(campaign, home, number, "mutated"),
        Odd::Shutdown => {
            campaign.report.fault("shutdown in the middle");
            life::shutdown(campaign, home, &program, random)
        }
        Odd::Drops => {
            campaign.report.fault("odd order of drops");
            life::odd_order(campaign, home, &program, random)
        }
        Odd::Disk => {
            campaign.report.fault("disk full");
            scarce::disk(campaign, home, number)
        }
        Odd::Leak => {
            campaign.report.fault("leak");
            misdeeds::leak(campaign, home, &program)
        }
        Odd::Descriptors => Ok(()),
    }
}

/// A worker that answers garbage: an error, soon, and nothing is left of it.
fn garbage(campaign: &Campaign, home: &Home, number: u64, kind: &str) -> Outcome<()> {
    campaign.report.fault(format!("garbage {kind}"));
    let name = format!("g{number}-{kind}");
    let engine = home.engine_of_garbage(&name)?;
    let manifest = home.manifest("garbage", "worker", "")?;
    // A frame that never comes must not be waited for.
    let request = Request::generate("lie").deadline(Duration::from_secs(2));
    let session = engine.load_manifest(manifest, Load::new()).and_then(|model| model.session());
    match session.and_then(|mut session| session.run(&request)) {
        // Only the first worker of a plugin is asked what the plugin is.
        Ok(_) if ["mutated", "started-text"].contains(&kind) => {}
        Ok(answer) => campaign.report.broken(format!("garbage {kind} was believed: {:?}", answer.text)),
        Err(error) if kind == "mutated" && error.kind() != ErrorKind::Internal => {}
        Err(error) if kind == "run-pong" && error.kind() == ErrorKind::Deadline => {}
        Err(error) => {
            let fits = [ErrorKind::WorkerDied, ErrorKind::Plugin, ErrorKind::AbiMismatch, ErrorKind::Unsupported];
            if !fits.contains(&error.kind()) {
                campaign.report.broken(format!("garbage {kind} came to {error:?}"));
            }
        }
    }
    life::close(campaign, &engine, &name);
    Ok(())
}
