//! Plugins: what a sidecar promises, whether this machine can run it, loading, and the two directions of calls.
//!
//! This folder is the only place of the engine with `unsafe`. What leaves it is safe: [`load`] hands out a
//! [`Plugin`] whose vtables were checked and copied, `call` runs them, and [`host`] is what plugins call back into.

#![allow(unsafe_code)]

pub(crate) mod call;
pub(crate) mod cpu;
pub(crate) mod host;
pub(crate) mod item;
mod library;
mod linked;
pub(crate) mod load;
pub(crate) mod sidecar;
mod stack;

pub(crate) use call::{OpenModel, OpenSession};
pub(crate) use load::Plugin;
pub(crate) use sidecar::Sidecar;
