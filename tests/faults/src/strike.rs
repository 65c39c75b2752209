//! Signals to workers, at random moments of their lives.

use crate::stage::{Campaign, Hit, Manner, PATIENCE, Stage, running};
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};
use tenon_fault_tests::random::Random;

/// When a worker is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Whenever: mostly while it runs something.
    Any,
    /// While it runs nothing.
    Idle,
    /// While it starts, opens its plugin or its model.
    Start,
}

/// What hits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weapon {
    /// A signal that ends it, and the signal's name.
    Signal(Signal, &'static str),
    /// It is stopped, and goes on a moment later.
    Pause,
    /// It is stopped for good.
    Hang,
}

/// What a fault on a stage with lanes can be, by weight.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Strike,
    CancelStorm,
    DeadlineStorm,
    SlowReaders,
    DroppedStreams,
}

/// Time between a fault and the next one of the same stage, milliseconds at most.
pub const PAUSE: u64 = 120;

/// Makes faults on a stage until the campaign is over.
pub fn run(campaign: &Campaign, stage: &Stage) {
    let mut random = Random::new(campaign.seed, &format!("{} faults", stage.name));
    while !campaign.is_over() {
        std::thread::sleep(random.time_below(PAUSE));
        match random.weighted(&[
            (70, Fault::Strike),
            (10, Fault::CancelStorm),
            (8, Fault::DeadlineStorm),
            (6, Fault::SlowReaders),
            (6, Fault::DroppedStreams),
        ]) {
            Fault::Strike => strike(campaign, stage, &mut random),
            Fault::CancelStorm => cancel_storm(campaign, stage, &mut random),
            Fault::DeadlineStorm => {
                orders(campaign, stage, "deadline storm", &mut random, |random| {
                    Manner::Deadline(random.time_below(60))
                });
            }
            Fault::SlowReaders => {
                orders(campaign, stage, "slow reader", &mut random, |random| Manner::Slow(random.time_below(6)));
            }
            Fault::DroppedStreams => {
                orders(campaign, stage, "dropped stream", &mut random, |random| Manner::Drop(random.below(12)));
            }
        }
    }
}

/// Every request that runs is cancelled, several times over, and the next ones soon after their beginning.
fn cancel_storm(campaign: &Campaign, stage: &Stage, random: &mut Random) {
    for _ in 0..=random.below(4) {
        stage.cancel_all(Duration::ZERO);
        std::thread::sleep(random.time_below(4));
    }
    orders(campaign, stage, "cancel storm", random, |random| Manner::Cancel(random.time_below(50)));
}

fn orders(
    campaign: &Campaign,
    stage: &Stage,
    kind: &str,
    random: &mut Random,
    mut manner: impl FnMut(&mut Random) -> Manner,
) {
    let manners: Vec<Manner> = (0..2 + random.below(5)).map(|_| manner(random)).collect();
    campaign.report.fault(kind);
    if !stage.order(&manners) {
        campaign.report.broken(format!("{}: the lanes take no more requests", stage.name));
    }
}

fn strike(campaign: &Campaign, stage: &Stage, random: &mut Random) {
    let weapon = random.weighted(&[
        (35, Weapon::Signal(Signal::KILL, "SIGKILL")),
        (18, Weapon::Signal(Signal::SEGV, "SIGSEGV")),
        (12, Weapon::Signal(Signal::ABORT, "SIGABRT")),
        (5, Weapon::Signal(Signal::BUS, "SIGBUS")),
        (4, Weapon::Signal(Signal::ILL, "SIGILL")),
        (10, Weapon::Signal(Signal::TERM, "SIGTERM")),
        (14, Weapon::Pause),
        (2, Weapon::Hang),
    ]);
    let moment = random.weighted(&[(60, Moment::Any), (15, Moment::Idle), (25, Moment::Start)]);
    let (which, delay, pause) = (random.below(16), random.time_below(40), random.time_below(120));
    let _turn = stage.turn.lock();
    match weapon {
        Weapon::Pause => pause_one(campaign, stage, which, delay, pause),
        Weapon::Hang => hang_one(campaign, stage, which, delay),
        Weapon::Signal(signal, name) => kill_one(campaign, stage, (signal, name), moment, which, delay),
    }
}

/// One of the workers of a stage; waits for one where there is none.
pub fn a_worker(stage: &Stage, which: u64) -> Option<u32> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let workers = stage.workers();
        if !workers.is_empty() {
            return Some(workers[(which % workers.len() as u64) as usize].pid);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

/// Sends a signal. A worker that has ended meanwhile gets none.
pub fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        _ = kill_process(pid, signal);
    }
}

/// Notes and sends a signal; gives when.
pub fn hit(stage: &Stage, pid: u32, (signal, name): (Signal, &str)) -> Instant {
    stage.note(Hit { pid, names: vec![name.to_owned()] });
    send(pid, signal);
    Instant::now()
}

fn kill_one(
    campaign: &Campaign,
    stage: &Stage,
    signal: (Signal, &'static str),
    moment: Moment,
    which: u64,
    delay: Duration,
) {
    campaign.report.fault(format!("{} {moment:?}", signal.1).to_lowercase());
    let at = match moment {
        Moment::Any => {
            std::thread::sleep(delay);
            a_worker(stage, which).map(|pid| hit(stage, pid, signal))
        }
        Moment::Idle => stage.while_idle(|| a_worker(stage, which).map(|pid| hit(stage, pid, signal))).flatten(),
        Moment::Start => hit_at_start(stage, signal, which, delay),
    };
    let Some(at) = at else {
        campaign.report.broken(format!("{}: there is no worker to be hit", stage.name));
        return;
    };
    match stage.served_since(at) {
        Some(served) => campaign.report.recovered(stage.name, served - at),
        None => campaign.report.broken(format!("{}: nothing was served after {}", stage.name, signal.1)),
    }
}

/// Kills a worker, waits for the one that comes in its place, and hits that one so soon that it is hardly there.
fn hit_at_start(stage: &Stage, signal: (Signal, &'static str), which: u64, delay: Duration) -> Option<Instant> {
    let old = stage.while_idle(|| {
        let old = a_worker(stage, which)?;
        let before: Vec<u32> = stage.workers().iter().map(|worker| worker.pid).collect();
        hit(stage, old, (Signal::KILL, "SIGKILL"));
        Some(before)
    })??;
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        // Its name is that of the program from `exec` on.
        if let Some(new) = running(stage.program).iter().find(|child| !old.contains(&child.pid)) {
            std::thread::sleep(delay);
            return Some(hit(stage, new.pid, signal));
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    None
}

/// Nothing may fail because a worker got no time for a moment.
fn pause_one(campaign: &Campaign, stage: &Stage, which: u64, delay: Duration, pause: Duration) {
    campaign.report.fault("pause");
    std::thread::sleep(delay);
    if let Some(pid) = a_worker(stage, which) {
        send(pid, Signal::STOP);
        std::thread::sleep(pause);
        send(pid, Signal::CONT);
        stage.disturbed();
    }
}

/// Whether a process has not ended. The lists of children, which [`Stage::workers`] reads, may miss one now and then.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// A worker that is stopped is killed once a request in it was cancelled and the time of grace is over.
fn hang_one(campaign: &Campaign, stage: &Stage, which: u64, delay: Duration) {
    campaign.report.fault("hang");
    std::thread::sleep(delay);
    let Some(pid) = a_worker(stage, which) else { return };
    stage.note(Hit { pid, names: vec!["did not".to_owned(), "no sign of life".to_owned()] });
    send(pid, Signal::STOP);
    let end = Instant::now() + PATIENCE;
    while is_running(pid) {
        if Instant::now() > end {
            campaign.report.broken(format!("{}: a worker that hung was not killed", stage.name));
            send(pid, Signal::KILL);
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
        stage.cancel_all(Duration::from_millis(30));
    }
    let at = Instant::now();
    match stage.served_since(at) {
        Some(served) => campaign.report.recovered_from_hang(served - at),
        None => campaign.report.broken(format!("{}: nothing was served after a hang", stage.name)),
    }
}
