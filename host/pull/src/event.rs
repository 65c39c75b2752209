//! What happens while files are fetched.

use std::path::PathBuf;
use std::time::Duration;
use tenon_store::Digest;

/// Something that happened. While something takes its time, the same event comes some ten times a second, so that
/// whoever gets it can cancel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Another process fetches this file.
    Waiting {
        /// Name of the file.
        file: String,
    },
    /// A server is asked.
    Connecting {
        /// Name of the file, or what a hub is asked for.
        file: String,
        /// The address.
        url: String,
    },
    /// A part of the file is there from an earlier try.
    Resuming {
        /// Name of the file.
        file: String,
        /// Bytes that are there.
        done: u64,
        /// Bytes of the file.
        total: u64,
    },
    /// Bytes arrive.
    Progress {
        /// Name of the file.
        file: String,
        /// What its digest will be.
        digest: Digest,
        /// Bytes that are there.
        done: u64,
        /// Bytes of the file.
        total: u64,
    },
    /// All bytes are there, or were there already, and are being hashed.
    Verifying {
        /// Name of the file; of the model where several are hashed at once.
        file: String,
        /// Bytes hashed.
        done: u64,
        /// Bytes to hash.
        total: u64,
    },
    /// A try failed, and another follows.
    Retrying {
        /// Name of the file.
        file: String,
        /// Why the try failed.
        reason: String,
        /// How long until the next one.
        after: Duration,
        /// The number of the try that failed, from 1.
        attempt: u32,
    },
    /// An address did not give the file; the next one is asked.
    Mirror {
        /// Name of the file.
        file: String,
        /// Why the one before failed.
        reason: String,
        /// The next address.
        url: String,
    },
    /// The file is in the store.
    Done {
        /// Name of the file.
        file: String,
        /// Its digest.
        digest: Digest,
        /// Bytes of the file.
        total: u64,
    },
}

/// A file of a manifest that is there now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pulled {
    /// What it is to the backend.
    pub role: String,
    /// Its name in the manifest.
    pub file: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Where it lies.
    pub path: PathBuf,
    /// Bytes that came over the network for it now; 0 when it was there.
    pub fetched: u64,
}
