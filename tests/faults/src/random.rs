//! Numbers that are the same on every machine for the same seed and the same name.

use std::time::Duration;

/// A small generator (SplitMix64). Each part of the campaign has its own, so that none depends on what the others draw.
pub struct Random(u64);

impl Random {
    /// The generator of one part.
    pub fn new(seed: u64, part: &str) -> Self {
        let mix = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Self(part.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, mix))
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// One of these by its weight.
    pub fn weighted<T: Copy>(&mut self, of: &[(u64, T)]) -> T {
        let mut at = self.below(of.iter().map(|(weight, _)| weight).sum());
        for (weight, value) in of {
            if at < *weight {
                return *value;
            }
            at -= weight;
        }
        of[0].1
    }

    /// A time below so many milliseconds, in steps of 10 microseconds.
    pub fn time_below(&mut self, milliseconds: u64) -> Duration {
        Duration::from_micros(10 * self.below(milliseconds * 100))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_parts_differ() {
        let draw = |seed, part| {
            let mut random = Random::new(seed, part);
            (0..4).map(|_| random.number()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, "speech"), draw(1, "speech"));
        assert_ne!(draw(1, "speech"), draw(2, "speech"));
        assert_ne!(draw(1, "speech"), draw(1, "text"));
    }

    #[test]
    fn weights_decide_how_often_something_comes() {
        let mut random = Random::new(1, "weights");
        let often = (0..1000).filter(|_| random.weighted(&[(9, true), (1, false)])).count();
        assert!((850..950).contains(&often), "{often}");
    }
}
