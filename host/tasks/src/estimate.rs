//! How much memory a model is going to need: the document named `estimate` of the plugin interface `tenon.memory/1`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Add;

/// What a model is going to need of memory, told before it is loaded. All numbers are bytes.
///
/// It is what will be in use at most: the weights once, however many sessions there are, and for each session the
/// largest of what its requests need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryEstimate {
    /// Each device that takes part.
    pub devices: Vec<DeviceEstimate>,
}

impl MemoryEstimate {
    /// An estimate for a model that lies on the processor alone.
    pub fn on_cpu(model: MemoryParts, session: MemoryParts) -> Self {
        Self { devices: vec![DeviceEstimate { device: "cpu".to_owned(), model, session, reclaimable: 0 }] }
    }

    /// The model and so many sessions, on all devices together.
    pub fn total(&self, sessions: u64) -> u64 {
        self.devices.iter().fold(0, |sum: u64, device| sum.saturating_add(device.total(sessions)))
    }
}

/// What lies on one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceEstimate {
    /// Name of the device: `cpu`, `cuda0`.
    pub device: String,
    /// Of the model, however many sessions it has.
    pub model: MemoryParts,
    /// Of each session.
    pub session: MemoryParts,
    /// Pages of the model's files that loading maps beside all that and that the system takes back when it wants
    /// memory: part of what tools show for the process, and not of what is needed.
    #[serde(default)]
    pub reclaimable: u64,
}

impl DeviceEstimate {
    /// The parts of the model and of so many sessions, added up.
    pub fn parts(&self, sessions: u64) -> MemoryParts {
        self.model + self.session.times(sessions)
    }

    /// The model and so many sessions.
    pub fn total(&self, sessions: u64) -> u64 {
        self.parts(sessions).total()
    }
}

/// Memory by what it is for, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MemoryParts {
    /// Weights, as they are kept.
    pub weights: u64,
    /// What a session keeps of its past: keys and values of its tokens.
    pub cache: u64,
    /// Buffers of the computation.
    pub compute: u64,
    /// Everything else: vocabulary, tables, samples, output.
    pub other: u64,
}

impl MemoryParts {
    /// All of it.
    pub fn total(&self) -> u64 {
        [self.cache, self.compute, self.other].into_iter().fold(self.weights, u64::saturating_add)
    }

    /// So many times as much.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        let Self { weights, cache, compute, other } = self;
        let times = |bytes: u64| bytes.saturating_mul(count);
        Self { weights: times(weights), cache: times(cache), compute: times(compute), other: times(other) }
    }
}

impl Add for MemoryParts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            weights: self.weights.saturating_add(other.weights),
            cache: self.cache.saturating_add(other.cache),
            compute: self.compute.saturating_add(other.compute),
            other: self.other.saturating_add(other.other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_count_once_and_sessions_as_often_as_there_are() {
        let model = MemoryParts { weights: 100, other: 5, ..MemoryParts::default() };
        let session = MemoryParts { cache: 10, compute: 20, ..MemoryParts::default() };
        let estimate = MemoryEstimate::on_cpu(model, session);
        assert_eq!([0, 1, 3].map(|sessions| estimate.total(sessions)), [105, 135, 195]);
        assert_eq!(estimate.devices[0].parts(2), MemoryParts { weights: 100, cache: 20, compute: 40, other: 5 });
    }

    #[test]
    fn numbers_beyond_all_bounds_stay_there() {
        let parts = MemoryParts { weights: u64::MAX, cache: 1, compute: u64::MAX / 2, other: 0 };
        assert_eq!(parts.times(3).total(), u64::MAX);
        assert_eq!((parts + parts).weights, u64::MAX);
    }

    #[test]
    fn a_part_that_a_backend_does_not_name_is_nothing() {
        let text = r#"{"devices": [{"device": "cpu", "model": {"weights": 7}, "session": {}}]}"#;
        assert_eq!(serde_json::from_str::<MemoryEstimate>(text).unwrap().total(4), 7);
    }
}
