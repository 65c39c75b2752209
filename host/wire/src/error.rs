//! What can go wrong on the way between engine and worker.

use std::fmt;
use std::io;
use std::time::Duration;

/// What went wrong, for whoever has to say it: a text in lower case without a full stop.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// What came is no frame that may come. The peer is broken or hostile.
    Garbage(String),
    /// What was to be sent is more than a frame holds. Nothing was sent, and the link is as good as before.
    TooLarge(String),
    /// The system refused to send a frame. Nothing of it was sent, and the link is as good as before.
    Unsent(io::Error),
    /// The peer did not take a whole frame in this time. The link is of no more use.
    Stalled(Duration),
    /// The peer closed its end before or while this was sent.
    Closed,
    /// The connection ended inside of a frame.
    Cut,
    /// The system refused.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Garbage(what) | Self::TooLarge(what) => f.write_str(what),
            Self::Stalled(time) => write!(f, "the other side did not read for {} s", time.as_secs_f32()),
            Self::Closed => f.write_str("the other side closed the connection"),
            Self::Cut => f.write_str("the connection ended inside of a frame"),
            Self::Unsent(error) | Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unsent(error) | Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
