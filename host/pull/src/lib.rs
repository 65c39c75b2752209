//! Fetches what manifests name: resumed, checked, from mirrors and from model hubs. All network code is here.
//!
//! [`Network`] says what may be asked and how; it comes from the environment. A [`Puller`] brings the files of a manifest
//! into a [`Store`](tenon_store::Store), and nothing else: bytes that are not what the manifest says get no name.
//! [`hub::resolve`] makes a manifest from what a hub says of a repository, and [`manifest_of_url`] from an address and a
//! digest.

#![forbid(unsafe_code)]

mod client;
mod date;
mod error;
mod event;
pub mod hub;
mod network;
mod puller;
mod reach;
mod recipe;
mod retry;
mod transfer;
mod url;
mod watch;
mod wire;

pub use error::{Error, ErrorKind};
pub use event::{Event, Pulled};
pub use network::Network;
pub use puller::{Events, Puller};
pub use recipe::manifest_of_url;

/// What the fallible functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;
