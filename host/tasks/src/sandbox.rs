//! How a worker is shut in.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How a worker is shut in: what a manifest asks for, and what the worker is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sandbox {
    /// As far as the system can; what it cannot do is reported.
    #[default]
    On,
    /// Wholly, or the worker does not start.
    Require,
    /// Not at all: it may do what the user may.
    Off,
}

impl Sandbox {
    /// Every way, the default first.
    pub const ALL: [Self; 3] = [Self::On, Self::Require, Self::Off];

    /// The word in manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Require => "require",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
