//! Backends that are linked into the program: no library, no hash, and only the caller's word for them.

use super::Plugin;
use crate::engine::{Backend, Engine};
use crate::error::Result;
use tenon_abi as abi;

impl Engine {
    /// Adds the backend of an entry function that is part of this program, before all other plugins. The entry is
    /// called once in a process. [`Backend::path`] is empty, and an answer's provenance names no SHA-256.
    ///
    /// # Errors
    /// `Plugin`, `AbiMismatch` and the other kinds of a plugin that breaks its contract.
    ///
    /// # Safety
    /// The entry, and every function and all memory that it hands out, keeps the plugin contract of `tenon-abi` until
    /// the process ends. For a library, whoever seals it vouches for that; here it is the caller.
    pub unsafe fn register_plugin(&self, entry: abi::PluginEntry) -> Result<Backend> {
        // SAFETY: promised by the caller.
        self.adopt(|| unsafe { Plugin::linked(entry) })
    }
}
