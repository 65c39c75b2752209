//! A file server that goes wrong on request, and what else the tests of pulling share.
//!
//! A [`Server`] serves blobs over HTTP/1.1 as a good server does (ranges, `If-Range`, entity tags), until a test scripts
//! an [`Answer`] that is cut, stalled, mislabelled or somebody else's. It records every request, so that a test can say
//! what crossed the wire: where a pull went on, which host saw a token, how many bytes were sent. A [`Proxy`] stands
//! between, [`Authority`] makes certificates, [`hub`] answers as a model hub does, and [`Home`] is a store with a check
//! that no name in it points to wrong bytes.

#![forbid(unsafe_code)]

mod answer;
mod blob;
mod bytes;
mod home;
pub mod hub;
mod proxy;
mod record;
mod server;
mod tls;
mod wire;

pub use answer::{Answer, Gate};
pub use blob::Blob;
pub use bytes::{Seeded, gzip, noise};
pub use home::{Home, manifest};
pub use proxy::Proxy;
pub use record::{Log, Seen};
pub use server::Server;
pub use tls::{Authority, Identity};
pub use wire::Request;
