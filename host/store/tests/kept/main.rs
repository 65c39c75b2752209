//! What the store keeps, for whom, and how it gets there other than over the network.

mod collect;
mod import;
mod places;
mod processes;
mod references;
mod repair;
mod support;
