//! What a worker tells the engine.

use crate::code::{Coded, Reader, Writer};
use crate::{Error, Output, Result, limits};
use std::fmt;

/// What a worker sends. The engine believes nothing of it that it has not checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Who is there: the first reply, before anything was received.
    Hello(Hello),
    /// The plugin is open and described: the answer to `Start`.
    Started(Box<Started>),
    /// The worker cannot start: the answer to `Start`; the worker ends.
    Refused(Outcome),
    /// An item that the call emitted; costs one credit.
    Output {
        /// The call.
        call: u32,
        /// The item.
        output: Output,
    },
    /// How far the call is.
    Progress {
        /// The call.
        call: u32,
        /// From 0 to 1.
        fraction: f32,
    },
    /// The call wants live audio: answered by `Block` or `NoBlock`.
    Pull {
        /// The call.
        call: u32,
        /// Longest wait, microseconds; below 0 without end.
        timeout_us: i64,
    },
    /// The call is over.
    Done {
        /// The call.
        call: u32,
        /// How it ended.
        outcome: Outcome,
    },
    /// A line of the plugin's log.
    Log {
        /// 1 (error) to 5 (trace).
        level: u8,
        /// The backend, as it names itself.
        backend: String,
        /// The line.
        message: String,
    },
    /// The answer to `Ping`.
    Pong {
        /// That of the ping.
        serial: u32,
        /// A number that changes whenever the plugin shows a sign of life.
        activity: u64,
    },
}

/// Who is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// [`PROTOCOL`](crate::PROTOCOL) of the worker.
    pub protocol: u32,
    /// [`VERSION`](crate::VERSION) of the worker.
    pub version: String,
    /// Its process id, as it sees it.
    pub pid: u32,
}

/// What the plugin says about itself, and what holds the worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The plugin's id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Major and minor number of the contract that it was built for.
    pub abi: (u16, u16),
    /// Its build, in its own words.
    pub build_info: String,
    /// What it can, bits of the contract.
    pub caps: u32,
    /// Its description, a JSON document.
    pub description: String,
    /// Whether it can estimate memory.
    pub has_estimate: bool,
    /// What holds the worker.
    pub sandbox: SandboxReport,
}

/// What holds a worker, in fact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxReport {
    /// Version of Landlock that is in force; `None` where it is not.
    pub landlock: Option<u32>,
    /// Whether the filter of system calls is in force.
    pub seccomp: bool,
    /// What is missing and why; `None` when nothing is.
    pub missing: Option<String>,
}

impl SandboxReport {
    /// In one word: `full`, `partial` or `none`.
    pub fn level(&self) -> &'static str {
        match (self.landlock.is_some(), self.seccomp, &self.missing) {
            (true, true, None) => "full",
            (false, false, _) => "none",
            _ => "partial",
        }
    }
}

/// One phrase: `full (Landlock 7, seccomp)`, `none (the manifest says off)`.
impl fmt::Display for SandboxReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let landlock = self.landlock.map(|version| format!("Landlock {version}"));
        let seccomp = self.seccomp.then(|| "seccomp".to_owned());
        let parts: Vec<String> = [landlock, seccomp, self.missing.clone()].into_iter().flatten().collect();
        match parts.is_empty() {
            true => f.write_str(self.level()),
            false => write!(f, "{} ({})", self.level(), parts.join(", ")),
        }
    }
}

/// How a call ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// One of the contract's statuses, or a number that is none.
    pub status: i32,
    /// What the plugin said about it.
    pub message: Option<String>,
    /// Details beside it.
    pub details: Vec<(String, String)>,
}

mod kind {
    pub const HELLO: u8 = 101;
    pub const STARTED: u8 = 102;
    pub const REFUSED: u8 = 103;
    pub const PROGRESS: u8 = 104;
    pub const PULL: u8 = 105;
    pub const DONE: u8 = 106;
    pub const LOG: u8 = 107;
    pub const PONG: u8 = 108;
    /// Output: this and what [`super::Output`] adds.
    pub const OUTPUT: u8 = 120;
}

impl Reply {
    /// The frame without its length.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for what no frame holds.
    pub fn encode(&self) -> Result<Vec<u8>> {
        crate::code::encode(self)
    }

    /// Reads a frame without its length.
    ///
    /// # Errors
    /// [`Error::Garbage`] for what is no reply.
    pub fn decode(frame: &[u8]) -> Result<Self> {
        crate::code::decode(frame, Vec::new())
    }
}

impl Coded for Reply {
    const DESCRIPTORS: bool = false;

    fn put<'a>(&'a self, to: &mut Writer<'a, '_>) {
        match self {
            Self::Hello(hello) => {
                to.head(kind::HELLO, 0);
                to.u32(hello.protocol);
                to.text("a version", &hello.version, limits::NAME);
                to.u32(hello.pid);
            }
            Self::Started(started) => {
                to.head(kind::STARTED, 0);
                started.put(to);
            }
            Self::Refused(outcome) => {
                to.head(kind::REFUSED, 0);
                outcome.put(to);
            }
            Self::Output { call, output } => {
                to.call_head(kind::OUTPUT + output.kind(), *call);
                output.put(to);
            }
            Self::Progress { call, fraction } => {
                to.call_head(kind::PROGRESS, *call);
                to.f32(*fraction);
            }
            Self::Pull { call, timeout_us } => {
                to.call_head(kind::PULL, *call);
                to.i64(*timeout_us);
            }
            Self::Done { call, outcome } => {
                to.call_head(kind::DONE, *call);
                outcome.put(to);
            }
            Self::Log { level, backend, message } => {
                to.head(kind::LOG, 0);
                to.u8(*level);
                to.clipped(backend, limits::NAME);
                to.clipped(message, limits::MESSAGE);
            }
            Self::Pong { serial, activity } => {
                to.head(kind::PONG, 0);
                to.u32(*serial);
                to.u64(*activity);
            }
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self> {
        let (kind, call) = from.head()?;
        let reply = match kind {
            kind::OUTPUT.. => Self::Output { call, output: Output::take(kind - kind::OUTPUT, from)? },
            kind::PROGRESS => Self::Progress { call, fraction: fraction(from.f32()?)? },
            kind::PULL => Self::Pull { call, timeout_us: from.i64()? },
            kind::DONE => Self::Done { call, outcome: Outcome::take(from)? },
            kind::LOG => Self::Log {
                level: from.log_level(1)?,
                backend: from.text("a backend's name", limits::NAME)?,
                message: from.text("a line of the log", limits::MESSAGE)?,
            },
            kind::PONG => Self::Pong { serial: from.u32()?, activity: from.u64()? },
            kind::HELLO => Self::Hello(Hello {
                protocol: from.u32()?,
                version: from.text("a version", limits::NAME)?,
                pid: from.u32()?,
            }),
            kind::STARTED => Self::Started(Box::new(Started::take(from)?)),
            kind::REFUSED => Self::Refused(Outcome::take(from)?),
            unknown => return Err(Error::Garbage(format!("a reply of the unknown type {unknown}"))),
        };
        let inside = matches!(kind, kind::OUTPUT..|kind::PROGRESS| kind::PULL | kind::DONE);
        from.check_call(kind, call, inside)?;
        Ok(reply)
    }
}

fn fraction(value: f32) -> Result<f32> {
    match (0.0..=1.0).contains(&value) {
        true => Ok(value),
        false => Err(Error::Garbage(format!("a progress of {value}"))),
    }
}

impl Started {
    fn put<'a>(&'a self, to: &mut Writer<'a, '_>) {
        to.text("a plugin's id", &self.id, limits::NAME);
        to.text("a version", &self.version, limits::NAME);
        to.u16(self.abi.0);
        to.u16(self.abi.1);
        to.text("a build", &self.build_info, limits::MESSAGE);
        to.u32(self.caps);
        to.text("a description", &self.description, limits::DESCRIPTION);
        to.bool(self.has_estimate);
        // There is no version 0 of Landlock.
        to.u32(self.sandbox.landlock.unwrap_or(0));
        to.bool(self.sandbox.seccomp);
        to.optional_clipped(self.sandbox.missing.as_deref());
    }

    fn take(from: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            id: from.text("a plugin's id", limits::NAME)?,
            version: from.text("a version", limits::NAME)?,
            abi: (from.u16()?, from.u16()?),
            build_info: from.text("a build", limits::MESSAGE)?,
            caps: from.u32()?,
            description: from.text("a description", limits::DESCRIPTION)?,
            has_estimate: from.bool()?,
            sandbox: SandboxReport {
                landlock: Some(from.u32()?).filter(|version| *version > 0),
                seccomp: from.bool()?,
                missing: from.optional_message()?,
            },
        })
    }
}

impl Outcome {
    fn put<'a>(&'a self, to: &mut Writer<'a, '_>) {
        to.i32(self.status);
        to.optional_clipped(self.message.as_deref());
        let details = &self.details[..self.details.len().min(limits::DETAILS)];
        to.count("details", details.len(), limits::DETAILS);
        for (key, value) in details {
            to.clipped(key, limits::NAME);
            to.clipped(value, limits::MESSAGE);
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            status: from.i32()?,
            message: from.optional_message()?,
            details: from.list("details", limits::DETAILS, 8, |from| {
                Ok((from.text("a key", limits::NAME)?, from.text("a detail", limits::MESSAGE)?))
            })?,
        })
    }
}
