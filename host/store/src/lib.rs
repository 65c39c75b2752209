//! Manifests, and the verified files that they name.
//!
//! A [`Manifest`] says which files, by SHA-256, make a model and which backend runs it. A [`Catalog`] is what the
//! manifest folders hold, good and broken. The [`Store`] finds the files of a manifest and hands them out as
//! [`VerifiedFile`]s: open, and known to be what the manifest says. [`Locations`] says which folders those are.
//!
//! Nothing in here runs a backend or touches the network.

#![forbid(unsafe_code)]

mod beneath;
mod catalog;
mod diagnostic;
mod digest;
mod error;
mod identity;
mod ledger;
mod locations;
mod manifest;
mod names;
mod store;
mod verify;

pub use catalog::{Catalog, Entry, Shadowed};
pub use diagnostic::Diagnostic;
pub use digest::{BadDigest, Digest, Hashed, hash_file, hash_reader};
pub use error::{Error, ErrorKind};
pub use locations::{Environment, Locations, Os};
pub use manifest::{Isolation, Manifest, ManifestFile, manifest_schema};
pub use store::{State, Store};
pub use verify::{How, Progress, VerifiedFile, VerifyMode};

/// What the fallible functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;
