//! What the programs of the fault campaign share: `tenon-faults` (`main.rs`), which is the campaign, and `tenon-garbage`
//! (`garbage.rs`), the worker that lies in it.

pub mod random;
