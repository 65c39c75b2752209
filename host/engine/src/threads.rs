//! One thread budget for the process, so that models that run side by side share the cores and never oversubscribe.
//!
//! The budget is the number of physical cores, less where the process may use fewer (affinity, cgroup quota). Running
//! requests lease threads from it, first come, first served; a request that waits for its caller (live audio, a slow
//! reader) gives its threads back meanwhile.

use crate::cancel::StopSigns;
use crate::cgroup;
use crate::error::Result;
use crate::memory::Memory;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use sysinfo::System;

/// How often a waiting request looks at its stop signs.
const LOOK: Duration = Duration::from_millis(20);

/// What the machine has and what of it this process may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Machine {
    /// Physical cores of the machine.
    pub physical_cores: usize,
    /// Logical cores that this process may run on.
    pub logical_cores: usize,
    /// CPU quota of the process's cgroup in thousandths of a core, if it has one.
    pub quota_millicores: Option<u64>,
    /// The thread budget of the process.
    pub threads: usize,
    /// Bytes of memory; the cgroup's limit where that is less.
    pub memory_total: u64,
    /// Bytes of memory that can be had without swapping.
    pub memory_available: u64,
}

impl Machine {
    /// Looks at the machine.
    pub fn look() -> Self {
        let logical_cores = std::thread::available_parallelism().map_or(1, usize::from);
        let physical_cores = System::physical_core_count().unwrap_or(logical_cores).max(1);
        let quota_millicores = cgroup_quota(Path::new("/"));
        let Memory { total: memory_total, available, .. } = Memory::look();
        let memory_available = available.unwrap_or(0);
        let threads = budget_of(physical_cores, logical_cores, quota_millicores);
        Self { physical_cores, logical_cores, quota_millicores, threads, memory_total, memory_available }
    }
}

/// The machine as it was when first asked for; only the memory figures of [`Machine::look`] change later.
pub(crate) fn machine() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(Machine::look)
}

/// A quota of 1.5 cores allows one thread without waiting for the next period, and half a core still needs one.
fn budget_of(physical: usize, logical: usize, quota_millicores: Option<u64>) -> usize {
    let quota = quota_millicores.map_or(usize::MAX, |quota| usize::try_from(quota / 1000).unwrap_or(usize::MAX));
    physical.min(logical).min(quota).max(1)
}

/// The least CPU quota of this process's cgroups and those above them, in thousandths of a core. `root` is `/` but for
/// tests.
fn cgroup_quota(root: &Path) -> Option<u64> {
    cgroup::folders(root, "cpu").iter().filter_map(|folder| group_quota(folder)).min()
}

fn group_quota(folder: &Path) -> Option<u64> {
    if let Ok(text) = std::fs::read_to_string(folder.join("cpu.max")) {
        let (quota, period) = text.trim().split_once(' ')?;
        return millicores(quota, period);
    }
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    millicores(read("cpu.cfs_quota_us")?.trim(), read("cpu.cfs_period_us")?.trim())
}

/// `max` and −1 mean no quota.
fn millicores(quota: &str, period: &str) -> Option<u64> {
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0).then(|| quota.saturating_mul(1000) / period)
}

/// How many threads a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// What can be had, up to this many.
    UpTo(usize),
    /// This many, or the whole budget where that is less.
    Exactly(usize),
}

/// A number of threads that requests share.
#[derive(Debug)]
pub(crate) struct Budget {
    total: usize,
    state: Mutex<Shares>,
    changed: Condvar,
}

#[derive(Debug)]
struct Shares {
    free: usize,
    /// Tickets of those who wait, first come first.
    waiting: VecDeque<u64>,
    next_ticket: u64,
}

/// The budget of this process.
pub(crate) fn budget() -> &'static Arc<Budget> {
    static BUDGET: OnceLock<Arc<Budget>> = OnceLock::new();
    BUDGET.get_or_init(|| Budget::new(machine().threads))
}

impl Budget {
    pub(crate) fn new(total: usize) -> Arc<Self> {
        let state = Shares { free: total, waiting: VecDeque::new(), next_ticket: 0 };
        Arc::new(Self { total, state: Mutex::new(state), changed: Condvar::new() })
    }

    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// Waits for threads. Who waits for as many as can be had shares what is free with those who wait behind.
    pub(crate) fn lease(self: &Arc<Self>, want: Want, stop: &StopSigns) -> Result<Lease> {
        self.lease_while(want, || stop.check())
    }

    /// As [`lease`](Self::lease); the wait is over when `goes_on` gives an error, which should be quick to tell.
    pub(crate) fn lease_while(self: &Arc<Self>, want: Want, goes_on: impl Fn() -> Result<()>) -> Result<Lease> {
        self.take(want, goes_on).map(|count| self.leased(count))
    }

    /// One thread, before those who wait, if one is free.
    pub(crate) fn try_lease(self: &Arc<Self>) -> Option<Lease> {
        let mut shares = self.lock();
        shares.free = shares.free.checked_sub(1)?;
        drop(shares);
        Some(self.leased(1))
    }

    fn leased(self: &Arc<Self>, count: usize) -> Lease {
        Lease { budget: Arc::clone(self), count, lent: Mutex::default() }
    }

    fn take(&self, want: Want, goes_on: impl Fn() -> Result<()>) -> Result<usize> {
        let mut shares = self.lock();
        let ticket = shares.next_ticket;
        shares.next_ticket += 1;
        shares.waiting.push_back(ticket);
        let count = loop {
            if let Err(error) = goes_on() {
                shares.waiting.retain(|other| *other != ticket);
                self.changed.notify_all();
                return Err(error);
            }
            match self.grant(&shares, ticket, want) {
                Some(count) => break count,
                None => shares = self.changed.wait_timeout(shares, LOOK).unwrap_or_else(PoisonError::into_inner).0,
            }
        };
        shares.waiting.pop_front();
        shares.free -= count;
        self.changed.notify_all();
        Ok(count)
    }

    fn grant(&self, shares: &Shares, ticket: u64, want: Want) -> Option<usize> {
        if shares.waiting.front() != Some(&ticket) {
            return None;
        }
        match want {
            Want::UpTo(most) => {
                let share = (shares.free / shares.waiting.len()).max(1);
                (shares.free > 0).then(|| share.min(most.max(1)))
            }
            Want::Exactly(count) => {
                let count = count.clamp(1, self.total);
                (shares.free >= count).then_some(count)
            }
        }
    }

    fn give_back(&self, count: usize) {
        self.lock().free += count;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Shares> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Threads that a request may use until this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    budget: Arc<Budget>,
    count: usize,
    lent: Mutex<Lent>,
}

#[derive(Debug, Default)]
struct Lent {
    /// How many of the plugin's threads wait for the host right now. The threads are given back while one does.
    parked: usize,
    /// They were given back for good.
    forfeited: bool,
}

impl Lent {
    /// Whether the lease has its threads.
    fn holds(&self) -> bool {
        self.parked == 0 && !self.forfeited
    }
}

impl Lease {
    /// How many threads.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Gives the threads back while `wait` waits for the caller, and waits for as many again afterwards.
    pub(crate) fn while_idle<T>(&self, stop: &StopSigns, wait: impl FnOnce() -> T) -> Result<T> {
        self.lend();
        let result = wait();
        self.take_back(stop)?;
        Ok(result)
    }

    /// Gives the threads back until [`take_back`](Self::take_back).
    pub(crate) fn lend(&self) {
        let mut lent = self.lock();
        if lent.holds() {
            self.budget.give_back(self.count);
        }
        lent.parked += 1;
    }

    /// Waits for as many threads as were lent. When that fails they stay lent.
    pub(crate) fn take_back(&self, stop: &StopSigns) -> Result<()> {
        let mut lent = self.lock();
        if lent.parked == 1 && !lent.forfeited {
            self.budget.take(Want::Exactly(self.count), || stop.check())?;
        }
        lent.parked -= 1;
        Ok(())
    }

    /// Gives the threads back for good, although whoever leased them may go on for ever: nobody waits for it any more.
    pub(crate) fn forfeit(&self) {
        let mut lent = self.lock();
        if lent.holds() {
            self.budget.give_back(self.count);
        }
        lent.forfeited = true;
    }

    fn lock(&self) -> MutexGuard<'_, Lent> {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.lock().holds() {
            self.budget.give_back(self.count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::CancelToken;
    use crate::cgroup::tree;
    use crate::error::{Error, ErrorKind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    #[test]
    fn reads_the_least_quota_of_version_2_on_the_way_up() {
        let root = tree(&[
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/a/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/a/b/cpu.max", "400000 100000\n"),
        ]);
        assert_eq!(cgroup_quota(root.path()), Some(1500));
    }

    #[test]
    fn reads_the_quota_of_version_1_under_either_name_of_the_mount() {
        for mount in ["cpu", "cpu,cpuacct"] {
            let root = tree(&[
                ("proc/self/cgroup", "5:memory:/m\n4:cpu,cpuacct:/docker/x\n0::/\n"),
                (&format!("sys/fs/cgroup/{mount}/docker/x/cpu.cfs_quota_us"), "200000\n"),
                (&format!("sys/fs/cgroup/{mount}/docker/x/cpu.cfs_period_us"), "100000\n"),
                (&format!("sys/fs/cgroup/{mount}/cpu.cfs_quota_us"), "-1\n"),
                (&format!("sys/fs/cgroup/{mount}/cpu.cfs_period_us"), "100000\n"),
            ]);
            assert_eq!(cgroup_quota(root.path()), Some(2000), "{mount}");
        }
    }

    #[test]
    fn a_container_that_sees_only_its_own_group_has_its_quota_at_the_mount() {
        let root =
            tree(&[("proc/self/cgroup", "0::/../../kubepods/pod1\n"), ("sys/fs/cgroup/cpu.max", "50000 100000\n")]);
        assert_eq!(cgroup_quota(root.path()), Some(500));
    }

    #[test]
    fn without_a_quota_or_with_nonsense_there_is_none() {
        assert_eq!(cgroup_quota(tree(&[]).path()), None);
        for text in ["max 100000", "", "100000", "1 0", "x y"] {
            let root = tree(&[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/cpu.max", text)]);
            assert_eq!(cgroup_quota(root.path()), None, "{text}");
        }
    }

    #[test]
    fn the_budget_is_the_least_of_cores_affinity_and_quota_and_never_zero() {
        assert_eq!(budget_of(8, 16, None), 8);
        assert_eq!(budget_of(8, 4, None), 4);
        assert_eq!(budget_of(8, 16, Some(2500)), 2);
        assert_eq!(budget_of(8, 16, Some(300)), 1);
    }

    #[test]
    fn requests_side_by_side_never_use_more_than_the_budget() {
        let budget = Budget::new(3);
        let (used, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for wanted in [Want::UpTo(3), Want::Exactly(2), Want::UpTo(8), Want::Exactly(9), Want::UpTo(1)] {
                let (budget, used, most) = (&budget, &used, &most);
                scope.spawn(move || {
                    for _ in 0..50 {
                        let lease = budget.lease(wanted, &StopSigns::default()).unwrap();
                        let now = used.fetch_add(lease.count(), Ordering::SeqCst) + lease.count();
                        most.fetch_max(now, Ordering::SeqCst);
                        std::thread::yield_now();
                        used.fetch_sub(lease.count(), Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 3);
        assert_eq!(budget.lock().free, 3);
    }

    #[test]
    fn those_who_wait_together_share() {
        let budget = Budget::new(4);
        let first = budget.lease(Want::UpTo(4), &StopSigns::default()).unwrap();
        assert_eq!(first.count(), 4);
        let counts = std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let lease = budget.lease(Want::UpTo(4), &StopSigns::default()).unwrap();
                        std::thread::sleep(Duration::from_millis(100));
                        lease.count()
                    })
                })
                .collect();
            while budget.lock().waiting.len() < 2 {
                std::thread::yield_now();
            }
            drop(first);
            waiting.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(counts, [2, 2]);
    }

    #[test]
    fn waiting_ends_by_cancel_and_leaves_the_queue() {
        let budget = Budget::new(1);
        let held = budget.lease(Want::UpTo(1), &StopSigns::default()).unwrap();
        let token = CancelToken::new();
        let stop = StopSigns { tokens: vec![token.clone()], ..StopSigns::default() };
        let error = std::thread::scope(|scope| {
            let waits = scope.spawn(|| budget.lease(Want::UpTo(1), &stop).unwrap_err());
            token.cancel();
            waits.join().unwrap()
        });
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert!(budget.lock().waiting.is_empty());
        drop(held);
        assert_eq!(budget.lock().free, 1);
    }

    #[test]
    fn an_idle_request_lends_its_threads() {
        let budget = Budget::new(2);
        let live = budget.lease(Want::UpTo(2), &StopSigns::default()).unwrap();
        live.while_idle(&StopSigns::default(), || {
            let other = budget.lease(Want::UpTo(2), &StopSigns::default()).unwrap();
            assert_eq!(other.count(), 2);
        })
        .unwrap();
        assert_eq!(budget.lock().free, 0);
        drop(live);
        assert_eq!(budget.lock().free, 2);
    }

    #[test]
    fn an_idle_request_that_is_cancelled_holds_nothing() {
        let budget = Budget::new(2);
        let live = budget.lease(Want::UpTo(2), &StopSigns::default()).unwrap();
        let past = StopSigns { deadline: Some(Instant::now()), ..StopSigns::default() };
        assert_eq!(live.while_idle(&past, || ()).unwrap_err().kind(), ErrorKind::Deadline);
        drop(live);
        assert_eq!(budget.lock().free, 2);
    }

    #[test]
    fn what_was_forfeited_comes_back_once_whatever_its_request_does_later() {
        let (budget, stop) = (Budget::new(2), StopSigns::default());
        let free = |wanted: usize| assert_eq!(budget.lock().free, wanted);
        for parks in [0, 1, 2] {
            let lost = budget.lease(Want::UpTo(2), &stop).unwrap();
            (0..parks).for_each(|_| lost.lend());
            lost.forfeit();
            free(2);
            lost.forfeit();
            (0..parks).for_each(|_| lost.take_back(&stop).unwrap());
            lost.while_idle(&stop, || free(2)).unwrap();
            drop(lost);
            free(2);
        }
    }

    #[test]
    fn what_waits_ends_when_there_is_nothing_to_wait_for_any_more() {
        let budget = Budget::new(1);
        let held = budget.try_lease().unwrap();
        assert!(budget.try_lease().is_none());
        let error = || Err(Error::new(ErrorKind::Busy, "it never comes"));
        assert_eq!(budget.lease_while(Want::UpTo(1), error).unwrap_err().kind(), ErrorKind::Busy);
        assert!(budget.lock().waiting.is_empty());
        drop(held);
        assert_eq!(budget.lock().free, 1);
    }

    #[test]
    fn this_machine_has_cores_and_memory() {
        let machine = Machine::look();
        assert!(machine.threads >= 1 && machine.threads <= machine.logical_cores);
        assert!(machine.memory_total > 0 && machine.memory_available <= machine.memory_total);
    }
}
