//! What the engine and a worker say to each other: frames over a socket, with descriptors beside them.
//!
//! The engine sends an [`Order`], the worker a [`Reply`]. Each is one frame: a length, a type, the id of the call that
//! it belongs to, and a payload, all little-endian. Descriptors travel with the frame that they belong to. Samples that
//! are too many for a frame travel as the descriptor of a sealed memory file ([`Samples`]).
//!
//! Neither side believes the other: a decoder checks every length, count, text, time and number before it allocates or
//! keeps anything, and accepts no byte and no descriptor too many. What it refuses is [`Error::Garbage`].
//!
//! [`Link`] carries frames where there are Unix sockets; the types are there on every system.
//!
//! ```
//! use tenon_wire::{Order, Reply};
//! let order = Order::Credit { call: 7, count: 64 };
//! let frame = order.encode()?;
//! assert!(matches!(Order::decode(&frame, Vec::new())?, Order::Credit { call: 7, count: 64 }));
//! assert!(Reply::decode(&frame).is_err());
//! # Ok::<(), tenon_wire::Error>(())
//! ```

mod code;
mod error;
pub mod limits;
#[cfg(unix)]
mod link;
mod order;
mod output;
mod reply;
mod samples;
#[cfg(target_os = "linux")]
mod sealed;

pub use error::Error;
#[cfg(unix)]
pub use link::{Link, Received, Receiver, Sender};
pub use order::{FileEntry, Item, Library, Order, RunOrder, Start};
pub use output::Output;
pub use reply::{Hello, Outcome, Reply, SandboxReport, Started};
pub use samples::Samples;
#[cfg(target_os = "linux")]
pub use sealed::Sealed;
pub use tenon_tasks::Sandbox;

/// Version of the frames. Changes with every change of theirs, [`Hello`] apart, which stays readable for ever.
pub const PROTOCOL: u32 = 1;

/// Version of this build. An engine works only with a worker of its own.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the fallible functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;

/// An [`Order`] or a [`Reply`]: what a [`Link`] carries one way.
pub trait Message: Sized + code::Coded {}

impl Message for Order {}
impl Message for Reply {}
