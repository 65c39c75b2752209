//! The bounds of everything that crosses, for both sides, and of how long a worker that comes back may take.

use std::time::Duration;

/// Longest frame, its length field apart, bytes.
pub const FRAME: usize = 17 * 1024 * 1024;
/// Most descriptors that travel with one frame.
pub const DESCRIPTORS: usize = 64;
/// Most items of output that a worker may send before the engine gives more credit.
pub const CREDIT: u32 = 256;
/// Most bytes of output of one call, all its items together: the engine keeps them until the call is over.
pub const ANSWER: usize = 512 * 1024 * 1024;
/// Longest text, bytes: options, prompts, pieces of output, documents.
pub const TEXT: usize = 16 * 1024 * 1024;
/// Longest description of a plugin, bytes: read as a JSON document, which takes some hundred times as much memory.
pub const DESCRIPTION: usize = 256 * 1024;
/// Longest name, bytes: ids, versions, roles, tasks, files, keys of details.
pub const NAME: usize = 1024;
/// Longest message of an error, value of a detail or line of the log, bytes; longer ones are cut by the sender.
pub const MESSAGE: usize = 32 * 1024;
/// Most details of an error; what is more is left out by the sender.
pub const DETAILS: usize = 128;
/// Longest name of a document, bytes.
pub const DOCUMENT_NAME: usize = 64;
/// Most words or tokens of one segment.
pub const PARTS: usize = 65_536;
/// Most values of one embedding.
pub const VALUES: usize = 1 << 20;
/// Latest time, microseconds: a hundred years.
pub const LATEST_US: i64 = 100 * 366 * 24 * 3600 * 1_000_000;
/// Most samples inside a frame; more travel as a sealed memory file where the system has them.
pub const INLINE_SAMPLES: usize = 16 * 1024;
/// Most samples of one item or block.
pub const SAMPLES: usize = 1 << 32;
/// Most items of input of one run.
pub const ITEMS: usize = 1 << 20;
/// How long a worker that was started again may take to open the model: this, or [`REOPEN_TIMES`] as long as the first
/// one took, whichever is longer.
pub const REOPEN: Duration = Duration::from_secs(60);
/// See [`REOPEN`].
pub const REOPEN_TIMES: u32 = 20;
/// Highest level of the log: 0 off, 1 error, 2 warn, 3 info, 4 debug, 5 trace.
pub const LOG_LEVEL: u8 = 5;
