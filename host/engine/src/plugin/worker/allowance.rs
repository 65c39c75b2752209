//! How much a worker may log: what it may not write to the disk itself, it must not make others write.

use std::time::Instant;

/// Bytes that may be logged at once.
const AT_ONCE: u64 = 4 * 1024 * 1024;
/// Bytes that may be logged in a second in the long run.
const A_SECOND: u64 = 64 * 1024;
/// Bytes that a line takes beside its text.
const LINE: u64 = 128;

/// What is left to log, and how many lines found too little.
pub(super) struct Allowance {
    left: u64,
    since: Instant,
    missed: u64,
}

impl Allowance {
    /// All of it.
    pub fn new(now: Instant) -> Self {
        Self { left: AT_ONCE, since: now, missed: 0 }
    }

    /// Takes a line of so many bytes: gives how many were left out before it, or nothing when it is left out itself.
    pub fn take(&mut self, bytes: usize, now: Instant) -> Option<u64> {
        let earned = now.saturating_duration_since(self.since).as_millis() as u64 * A_SECOND / 1000;
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(AT_ONCE);
            self.since = now;
        }
        // After a line that was left out a second's worth has to be there, so that a flood is one note a second.
        let enough = self.missed == 0 || self.left >= A_SECOND;
        match self.left.checked_sub(bytes as u64 + LINE).filter(|_| enough) {
            Some(left) => {
                self.left = left;
                Some(std::mem::take(&mut self.missed))
            }
            None => {
                self.missed += 1;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_flood_is_cut_and_counted_and_time_brings_lines_back() {
        let now = Instant::now();
        let mut allowance = Allowance::new(now);
        let line = 1024 - LINE as usize;
        let logged = (0..10_000).filter(|_| allowance.take(line, now).is_some()).count();
        assert_eq!(logged as u64, AT_ONCE / 1024);
        let later = now + Duration::from_secs(1);
        assert_eq!(allowance.take(line, later), Some(10_000 - AT_ONCE / 1024));
        let logged = (0..10_000).filter(|_| allowance.take(line, later).is_some()).count();
        assert_eq!(logged as u64, A_SECOND / 1024 - 1);
        // Not more than the first time, however long nothing came.
        let much_later = later + Duration::from_secs(1 << 30);
        let logged = (0..10_000).filter(|_| allowance.take(line, much_later).is_some()).count();
        assert_eq!(logged as u64, AT_ONCE / 1024);
    }
}
