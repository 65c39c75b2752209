//! Sets of byte ranges: which bytes of a part are there, and which are missing.

use std::ops::Range;

/// Ranges in order, none empty, none touching another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// The union of these ranges, each cut at `end`.
    pub(super) fn of(ranges: impl IntoIterator<Item = Range<u64>>, end: u64) -> Self {
        let mut all = Self::default();
        ranges.into_iter().for_each(|range| all.add(range.start..range.end.min(end)));
        all
    }

    /// Adds a range, merging it with those that it touches.
    pub(super) fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.0.partition_point(|one| one.end < range.start);
        let after = self.0.partition_point(|one| one.start <= range.end);
        let merged = match self.0.get(first..after) {
            Some([one, ..]) if after > first => {
                let last = &self.0[after - 1];
                one.start.min(range.start)..last.end.max(range.end)
            }
            _ => range,
        };
        self.0.splice(first..after, [merged]);
    }

    /// Bytes in all of them.
    pub(super) fn total(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// Where the first byte is missing.
    pub(super) fn prefix(&self) -> u64 {
        self.0.first().filter(|range| range.start == 0).map_or(0, |range| range.end)
    }

    /// What is missing of the bytes from 0 to `size`, in order.
    pub(super) fn missing(&self, size: u64) -> Vec<Range<u64>> {
        let mut at = 0;
        let mut missing = Vec::new();
        for range in &self.0 {
            missing.push(at..range.start.min(size));
            at = range.end;
        }
        missing.push(at..size);
        missing.retain(|range| !range.is_empty());
        missing
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_set_of_ranges_is_the_set_of_their_bytes(added in prop::collection::vec((0_u64..64, 0_u64..16), 0..20)) {
            let mut bytes = [false; 96];
            let mut ranges = Ranges::default();
            for (start, length) in added {
                ranges.add(start..start + length);
                bytes[start as usize..(start + length) as usize].fill(true);
            }
            let told: Vec<Range<u64>> = ranges.iter().cloned().collect();
            for pair in told.windows(2) {
                prop_assert!(pair[0].end < pair[1].start);
            }
            let mut from_ranges = [false; 96];
            told.iter().for_each(|range| from_ranges[range.start as usize..range.end as usize].fill(true));
            prop_assert_eq!(bytes, from_ranges);
            let mut whole = ranges.clone();
            ranges.missing(96).into_iter().for_each(|range| whole.add(range));
            prop_assert_eq!(whole.prefix(), 96);
            let missing: u64 = ranges.missing(96).iter().map(|range| range.end - range.start).sum();
            prop_assert_eq!(ranges.total() + missing, 96);
        }
    }
}
