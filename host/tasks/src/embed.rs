//! Options of embedding.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How to turn texts into vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EmbedOptions {
    /// Scale each vector to length 1.
    pub normalize: bool,
    /// Threads to compute with; by default what the host's thread budget grants.
    #[schemars(range(min = 1, max = 256))]
    pub threads: Option<u32>,
}

impl Default for EmbedOptions {
    fn default() -> Self {
        Self { normalize: true, threads: None }
    }
}
