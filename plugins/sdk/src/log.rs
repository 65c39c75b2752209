//! Messages for the host's log. A plugin never prints.
//!
//! Levels that the host does not record cost one call and no formatting:
//! ```
//! tenon_plugin::log::debug(format_args!("{} tensors", 42));
//! ```

use crate::host::Host;
use crate::item::borrow;
use std::fmt::Display;

/// How severe a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something went wrong.
    Error = 1,
    /// Something is odd.
    Warning = 2,
    /// Something that a person wants to know now and then.
    Info = 3,
    /// For finding faults.
    Debug = 4,
    /// Everything.
    Trace = 5,
}

/// Logs an error.
pub fn error(message: impl Display) {
    write(Level::Error, message);
}

/// Logs a warning.
pub fn warning(message: impl Display) {
    write(Level::Warning, message);
}

/// Logs what a person wants to know now and then.
pub fn info(message: impl Display) {
    write(Level::Info, message);
}

/// Logs what helps to find faults.
pub fn debug(message: impl Display) {
    write(Level::Debug, message);
}

/// Logs everything.
pub fn trace(message: impl Display) {
    write(Level::Trace, message);
}

/// The host records messages of this level.
pub fn enabled(level: Level) -> bool {
    Host::installed().is_some_and(|host| host.log_level() >= level as i32)
}

/// Logs a message at a level, under the backend's id.
pub fn write(level: Level, message: impl Display) {
    if enabled(level) {
        write_bytes(level, message.to_string().as_bytes());
    }
}

/// Logs bytes that an engine in C gave, which may be no UTF-8; the host mends them.
pub fn write_bytes(level: Level, message: &[u8]) {
    if let Some(host) = Host::installed() {
        host.log(level as i32, borrow(host.target().as_bytes()), borrow(message));
    }
}
