//! The whole campaign: what it is told, its parts side by side, and what is left at the end.

use crate::census::Census;
use crate::home::{Home, Places};
use crate::questions::{self, Bank};
use crate::report::{Leaks, Report};
use crate::stage::{Campaign, PATIENCE, Stage};
use crate::{Outcome, calm, hostile, lane, life, misdeeds, odds, strike};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tenon::{Engine, Load};
use tenon_fault_tests::random::Random;

const USAGE: &str =
    "usage: tenon-faults --plugins DIR --faulty FILE --worker FILE [--seed N] [--seconds S] [--faults N]";

/// How often each shipped model is killed with nothing beside it, in a campaign that is long enough.
const KILLS_ALONE: u64 = 40;

/// What the command line says.
struct Wishes {
    places: Places,
    seed: u64,
    seconds: u64,
    faults: u64,
}

impl Wishes {
    fn of(arguments: &[String]) -> Outcome<Self> {
        let value = |name: &str| {
            let at = arguments.iter().position(|argument| argument == name)?;
            arguments.get(at + 1)
        };
        let path = |name: &str| value(name).map(PathBuf::from).ok_or(USAGE);
        let number = |name: &str, usual: u64| value(name).map_or(Ok(usual), |text| text.parse()).map_err(|_| USAGE);
        Ok(Self {
            places: Places {
                plugins: absolute(&path("--plugins")?)?,
                faulty: absolute(&path("--faulty")?)?,
                worker: absolute(&path("--worker")?)?,
            },
            seed: number("--seed", 1)?,
            seconds: number("--seconds", 600)?,
            faults: number("--faults", u64::MAX)?,
        })
    }
}

fn absolute(path: &std::path::Path) -> Outcome<PathBuf> {
    std::fs::canonicalize(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Runs the campaign and says whether every promise was kept.
pub fn run(arguments: &[String]) -> Outcome<bool> {
    let Wishes { places, seed, seconds, faults } = Wishes::of(arguments)?;
    println!("seed {seed}, {seconds} s of faults");
    let home = Home::new(places)?;
    let speech = questions::speech(&home)?;
    let text = questions::text(&home)?;
    // Everything once, so that what stays for ever is there before the first count.
    serve(&home, speech.clone(), text.clone(), |_| Ok(()))?;
    let before = Census::take();
    let until = Instant::now() + Duration::from_secs(seconds);
    let campaign =
        Campaign { report: Report::default(), scarcity: crate::scarce::Scarcity::default(), seed, until, most: faults };
    let engines = serve(&home, speech, text, |stages| {
        make_faults(&campaign, &home, stages)?;
        // The shipped models.
        stages[..2].iter().for_each(|stage| calm::run(&campaign, stage, seconds.clamp(1, KILLS_ALONE)));
        Ok(())
    })?;
    for (engine, program) in &engines {
        life::close(&campaign, engine, program);
    }
    drop(engines);
    let leaks = leaks(&campaign, &before);
    Ok(campaign.report.close(&leaks, seed))
}

/// Loads the models, asks each once, and hands them over. Gives their engines, which are all that is left.
fn serve(
    home: &Home,
    speech: Vec<questions::Question>,
    text: Vec<questions::Question>,
    body: impl FnOnce(&[Stage]) -> Outcome<()>,
) -> Outcome<Vec<(Engine, &'static str)>> {
    let banks = [
        ("speech", "w-speech", Bank::Known(speech), "", 2),
        ("text", "w-text", Bank::Known(text), "", 2),
        ("echo", "w-echo", Bank::Echo(AtomicU64::new(0)), "count = 2", 2),
        ("faulty", "w-faulty", Bank::Faulty, "count = 2", 2),
    ];
    let (mut stages, mut engines) = (Vec::new(), Vec::new());
    for (name, program, bank, more, lanes) in banks {
        let engine = home.engine(program)?;
        let model = engine.load_manifest(home.manifest(name, "worker", more)?, Load::new())?;
        let question = bank.draw(&mut Random::new(0, name));
        let answer = model.session()?.run(&question.request)?;
        if questions::essence(&answer) != question.wanted {
            return Err(format!("{name}: {} is not what comes in process", questions::essence(&answer)).into());
        }
        stages.push(Stage::new(name, program, model, bank, lanes));
        engines.push((engine, program));
    }
    // The library that no worker opens stays open for ever, as every plugin that was described once.
    let lies = home.engine_of_garbage("g0-nothing")?;
    drop(lies.load_manifest(home.manifest("garbage", "worker", "")?, Load::new())?);
    lies.shutdown_within(PATIENCE)?;
    body(&stages)?;
    Ok(engines)
}

/// The lanes, and what goes wrong beside them.
fn make_faults(campaign: &Campaign, home: &Home, stages: &[Stage]) -> Outcome<()> {
    let [speech, text, echo, faulty] = stages else { return Err("there are four stages".into()) };
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| watch(campaign, stages, &ended));
        for stage in stages {
            (0..stage.lanes()).for_each(|number| _ = scope.spawn(move || lane::run(campaign, stage, number)));
        }
        let makers = [
            scope.spawn(|| {
                strike::run(campaign, speech);
                Ok(())
            }),
            scope.spawn(|| {
                strike::run(campaign, text);
                Ok(())
            }),
            scope.spawn(|| {
                strike::run(campaign, echo);
                Ok(())
            }),
            scope.spawn(|| {
                misdeeds::run(campaign, faulty);
                Ok(())
            }),
            scope.spawn(|| hostile::run(campaign, home).map_err(|error| error.to_string())),
            scope.spawn(|| odds::run(campaign, home, echo).map_err(|error| error.to_string())),
        ];
        for maker in makers {
            match maker.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => campaign.report.broken(format!("the campaign itself: {error}")),
                Err(_) => campaign.report.broken("the campaign itself panicked"),
            }
        }
        stages.iter().for_each(Stage::close);
        ended.store(true, Ordering::Release);
    });
    Ok(())
}

/// Ends the process when a request never ends: nothing else could be said about it, and the campaign would hang, too.
fn watch(campaign: &Campaign, stages: &[Stage], ended: &AtomicBool) {
    let mut since = None;
    loop {
        std::thread::sleep(Duration::from_millis(50));
        let overdue: usize = stages.iter().map(Stage::overdue).sum();
        let over = ended.load(Ordering::Acquire);
        if over && stages.iter().all(Stage::is_idle) {
            return;
        }
        // The lanes end soon after everything else.
        let late = over && since.get_or_insert_with(Instant::now).elapsed() > PATIENCE * 2;
        if overdue > 0 || late {
            (0..overdue.max(1)).for_each(|_| campaign.report.request(crate::report::End::Lost));
            campaign.report.broken("a request has no end");
            campaign.report.close(&Leaks::default(), campaign.seed);
            std::process::exit(1);
        }
    }
}

/// What is more than before, once everything has had time to go.
fn leaks(campaign: &Campaign, before: &Census) -> Leaks {
    let end = Instant::now() + PATIENCE;
    loop {
        let now = Census::take();
        let more = now.more_than(before);
        if more.is_empty() {
            return Leaks::default();
        }
        if Instant::now() > end {
            campaign.report.broken(format!("left behind: {more}"));
            return Leaks {
                descriptors: now.open().saturating_sub(before.open()),
                mappings: now.mappings.saturating_sub(before.mappings),
                threads: now.threads.saturating_sub(before.threads),
                children: now.children.saturating_sub(before.children),
                zombies: now.zombies.saturating_sub(before.zombies),
            };
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
