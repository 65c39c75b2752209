//! Plugins: what a sidecar promises, whether this machine can run it, loading, and the two directions of calls; in this
//! process or in a worker.
//!
//! This folder is the only place of the engine with `unsafe`. What leaves it is safe: [`load`] hands out a
//! [`Plugin`] whose vtables were checked and copied, [`face`] runs it wherever it is, and [`host`] is what plugins call
//! back into.

#![allow(unsafe_code)]

pub(crate) mod call;
pub(crate) mod cpu;
pub(crate) mod face;
pub(crate) mod host;
pub mod inside;
pub(crate) mod item;
mod library;
mod linked;
pub(crate) mod load;
mod opened;
pub(crate) mod sidecar;
mod stack;
pub(crate) mod worker;

pub(crate) use face::{OpenModel, OpenSession};
pub(crate) use load::Plugin;
pub(crate) use sidecar::Sidecar;
