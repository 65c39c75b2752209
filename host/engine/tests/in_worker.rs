//! The tests of requests, streams and faults once more, with every model in a worker: nobody can tell the difference.
//!
//! The name of this program is what makes `tenon_testkit::Home` write `isolation = "worker"` into its manifests.
#![cfg(unix)]

#[path = "faults.rs"]
mod faults;
#[path = "run.rs"]
mod run;
#[path = "stream.rs"]
mod stream;
