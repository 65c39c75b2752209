//! How long a model is gone when nothing else takes the processors: one request after another, and a kill in each.

use crate::lane;
use crate::report::End;
use crate::stage::{Campaign, Flight, Manner, PATIENCE, Stage};
use crate::strike::{a_worker, hit};
use rustix::process::Signal;
use std::time::Instant;
use tenon::{CancelToken, Session};
use tenon_fault_tests::random::Random;

/// Kills the worker of a stage whose lanes have ended, so many times, and notes how soon the next request was served.
pub fn run(campaign: &Campaign, stage: &Stage, kills: u64) {
    let mut random = Random::new(campaign.seed, &format!("{} alone", stage.name));
    let mut session = None;
    if ask(campaign, stage, &mut session, &mut random) != End::Served {
        campaign.report.broken(format!("{}: a request that nothing disturbed was not served", stage.name));
    }
    for _ in 0..kills {
        campaign.report.fault("sigkill alone");
        let Some(at) = kill(campaign, stage, &mut session, &mut random) else {
            campaign.report.broken(format!("{}: there is no worker to be hit", stage.name));
            return;
        };
        // One that is sent in the moment of the death fails, too.
        while ask(campaign, stage, &mut session, &mut random) != End::Served {
            if at.elapsed() > PATIENCE {
                campaign.report.broken(format!("{}: nothing was served after SIGKILL", stage.name));
                return;
            }
        }
        campaign.report.recovered_alone(stage.name, at.elapsed());
    }
}

/// Kills the worker in the middle of a request, or just after it; gives when, once the request has ended.
fn kill(campaign: &Campaign, stage: &Stage, session: &mut Option<Session>, random: &mut Random) -> Option<Instant> {
    let delay = random.time_below(40);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| ask(campaign, stage, session, random));
        std::thread::sleep(delay);
        let at = a_worker(stage, 0).map(|pid| hit(stage, pid, (Signal::KILL, "SIGKILL")));
        if asked.join().is_err() {
            campaign.report.broken("the campaign itself panicked");
        }
        at
    })
}

/// One request; it ends in any case.
fn ask(campaign: &Campaign, stage: &Stage, session: &mut Option<Session>, random: &mut Random) -> End {
    let question = stage.bank.draw(random);
    let flight = Flight { began: Instant::now(), token: CancelToken::new(), deadline: true };
    let outcome = lane::ask(campaign, stage, session, &question, &flight, Manner::Deadline(PATIENCE));
    let end = stage.judge(campaign, &flight, &question, outcome);
    campaign.report.request(end);
    end
}
