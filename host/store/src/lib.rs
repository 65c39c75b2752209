//! Manifests, and the verified files that they name.
//!
//! A [`Manifest`] says which files, by SHA-256, make a model and which backend runs it. A [`Catalog`] is what the
//! manifest folders hold, good and broken. The [`Store`] finds the files of a manifest and hands them out as
//! [`VerifiedFile`]s: open, and known to be what the manifest says. [`Locations`] says which folders those are.
//!
//! Nothing in here runs a backend or touches the network.

#![forbid(unsafe_code)]

mod beneath;
pub mod bundle;
mod catalog;
mod chunks;
mod collect;
mod config;
mod diagnostic;
mod digest;
mod error;
mod folder;
mod hub_cache;
mod identity;
mod import;
mod ledger;
mod license;
mod links;
mod locations;
mod lock_file;
mod manifest;
mod names;
mod part;
mod references;
mod repair;
mod signature;
mod store;
mod verify;

pub use catalog::{Catalog, Entry, Shadowed};
pub use chunks::Chunks;
pub use collect::{Collect, Collected, Removed};
pub use config::Config;
pub use diagnostic::Diagnostic;
pub use digest::{BadDigest, Digest, Hashed, hash_file, hash_reader};
pub use error::{Error, ErrorKind};
pub use import::{Import, Imported, ImportedFile, Placing};
pub use license::is_research_only;
pub use locations::{Environment, Locations, Os};
pub use lock_file::{LockFile, LockedFile, LockedModel, LockedPlugin};
pub use manifest::{Isolation, Manifest, ManifestFile, Record, WorkerOptions, manifest_schema};
pub use part::{BlobLock, Part, PartWriter, Receive, Source};
pub use references::Claim;
pub use repair::Demoted;
pub use signature::{Require, Signature, Trust};
pub use store::{State, Store};
pub use tenon_tasks::Sandbox;
pub use verify::{How, Progress, VerifiedFile, VerifyMode};

/// What the fallible functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;
