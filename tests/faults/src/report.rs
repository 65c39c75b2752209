//! What the campaign counted, and its last line.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Broken promises that are printed one by one; the others only count.
const SHOWN: usize = 40;

/// Counts from all threads.
#[derive(Default)]
pub struct Report(Mutex<Counts>);

/// What was counted.
#[derive(Default)]
pub struct Counts {
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// Requests that were begun.
    pub requests: u64,
    /// Requests with the exact answer that was expected.
    pub served: u64,
    /// Requests that ended because they were asked to: cancel, deadline, shutdown, a stream that was dropped.
    pub stopped: u64,
    /// Requests that failed in a worker that was hit, with an error that names the cause.
    pub hit: u64,
    /// Requests that failed because the campaign had taken the descriptors away, with an error that says so.
    pub wanting: u64,
    /// Requests that were refused because workers of the model had died too often, and told when to try again.
    pub refused: u64,
    /// Requests that failed although nothing had hit their worker, or that never ended.
    pub lost: u64,
    /// Requests with another answer than their own.
    pub mixed_up: u64,
    /// From a fault to the end of the next request that was begun after it and served, by model.
    pub recoveries: BTreeMap<&'static str, Vec<Duration>>,
    /// The same with nothing beside it, by model.
    pub recoveries_alone: BTreeMap<&'static str, Vec<Duration>>,
    /// How long the same requests took that were served while nothing was done to their workers, by model.
    pub undisturbed: BTreeMap<&'static str, Vec<Duration>>,
    /// From the end of a worker that hung to the end of the next request that was served.
    pub after_hangs: Vec<Duration>,
    /// Promises that were broken.
    pub broken: u64,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With the answer.
    Served,
    /// As it was asked to.
    Stopped,
    /// In a worker that was hit.
    Hit,
    /// For want of descriptors.
    Wanting,
    /// Because workers died too often.
    Refused,
    /// Otherwise.
    Lost,
    /// With another answer.
    MixedUp,
}

impl Report {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a fault.
    pub fn fault(&self, kind: impl Into<String>) {
        *self.lock().faults.entry(kind.into()).or_insert(0) += 1;
    }

    /// How many faults there were.
    pub fn faults(&self) -> u64 {
        self.lock().faults.values().sum()
    }

    /// Counts a request that has ended.
    pub fn request(&self, end: End) {
        let mut counts = self.lock();
        counts.requests += 1;
        *match end {
            End::Served => &mut counts.served,
            End::Stopped => &mut counts.stopped,
            End::Hit => &mut counts.hit,
            End::Wanting => &mut counts.wanting,
            End::Refused => &mut counts.refused,
            End::Lost => &mut counts.lost,
            End::MixedUp => &mut counts.mixed_up,
        } += 1;
    }

    /// Notes how long a model was gone.
    pub fn recovered(&self, model: &'static str, after: Duration) {
        self.lock().recoveries.entry(model).or_default().push(after);
    }

    /// Notes how long a model was gone with nothing beside it.
    pub fn recovered_alone(&self, model: &'static str, after: Duration) {
        self.lock().recoveries_alone.entry(model).or_default().push(after);
    }

    /// Notes how long a request took that nothing disturbed.
    pub fn undisturbed(&self, model: &'static str, took: Duration) {
        self.lock().undisturbed.entry(model).or_default().push(took);
    }

    /// Notes how long a model was gone after a worker that hung had ended.
    pub fn recovered_from_hang(&self, after: Duration) {
        self.lock().after_hangs.push(after);
    }

    /// Says that a promise was broken.
    pub fn broken(&self, what: impl AsRef<str>) {
        let mut counts = self.lock();
        counts.broken += 1;
        if counts.broken <= SHOWN as u64 {
            eprintln!("BROKEN: {}", what.as_ref());
        }
    }

    /// Prints everything, the summary last, and says whether every promise was kept.
    pub fn close(&self, leaks: &Leaks, seed: u64) -> bool {
        let counts = self.lock();
        let kinds: Vec<String> = counts.faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        println!("faults by kind: {}", kinds.join(", "));
        for (model, times) in &counts.recoveries {
            let usual = counts.undisturbed.get(model).map_or(&[][..], |usual| usual);
            println!("recovery of {model}: {}; an undisturbed request: {}", spread(times), spread(usual));
        }
        println!("recovery after the end of a worker that hung: {}", spread(&counts.after_hangs));
        for (model, times) in &counts.recoveries_alone {
            println!("recovery of {model} with nothing beside it: {}", spread(times));
        }
        println!("{}", summary(&counts, leaks, seed));
        counts.broken == 0 && counts.lost == 0 && counts.mixed_up == 0 && leaks.is_none()
    }
}

/// What was left at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leaks {
    /// Descriptors.
    pub descriptors: usize,
    /// Mappings of memory files.
    pub mappings: usize,
    /// Threads.
    pub threads: usize,
    /// Children that run.
    pub children: usize,
    /// Children that were not reaped.
    pub zombies: usize,
}

impl Leaks {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

fn summary(counts: &Counts, leaks: &Leaks, seed: u64) -> String {
    let all = |times: &BTreeMap<_, Vec<Duration>>| spread(&times.values().flatten().copied().collect::<Vec<_>>());
    let (recovery, alone) = (all(&counts.recoveries), all(&counts.recoveries_alone));
    let faults: u64 = counts.faults.values().sum();
    let Counts { requests, served, stopped, hit, wanting, refused, lost, mixed_up, broken, .. } = counts;
    let Leaks { descriptors, mappings, threads, children, zombies } = leaks;
    format!(
        "{faults} faults, {requests} requests: {served} served, {stopped} stopped as asked, {hit} failed in the worker \
         that was hit, {wanting} failed for want of descriptors, {refused} refused after too many deaths, {lost} lost, {mixed_up} mixed up; recovery among the others {recovery}, with nothing beside it {alone}; leaked {descriptors} \
         descriptors, {mappings} mappings, {threads} threads, {children} workers, {zombies} zombies; {broken} broken \
         promises; seed {seed}"
    )
}

/// Median, 95th percentile and most.
fn spread(times: &[Duration]) -> String {
    if times.is_empty() {
        return "not measured".to_owned();
    }
    let mut sorted = times.to_vec();
    sorted.sort();
    let at = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100).clamp(1, sorted.len()) - 1].as_millis();
    format!("p50 {} ms, p95 {} ms, max {} ms ({} times)", at(50), at(95), at(100), sorted.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_noted() {
        let times: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(spread(&times), "p50 50 ms, p95 95 ms, max 100 ms (100 times)");
        assert_eq!(spread(&times[..1]), "p50 100 ms, p95 100 ms, max 100 ms (1 times)");
    }

    #[test]
    fn a_lost_request_a_leak_or_a_broken_promise_fails_the_campaign() {
        let report = Report::default();
        report.request(End::Served);
        report.request(End::Hit);
        assert!(report.close(&Leaks::default(), 1));
        assert!(!report.close(&Leaks { zombies: 1, ..Leaks::default() }, 1));
        report.request(End::Lost);
        assert!(!report.close(&Leaks::default(), 1));
        let report = Report::default();
        report.broken("for the test");
        assert!(!report.close(&Leaks::default(), 1));
    }
}
