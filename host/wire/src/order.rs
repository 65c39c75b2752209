//! What the engine tells a worker to do.

use crate::code::{Coded, Reader, Writer};
use crate::{Error, Result, Samples, Sandbox, limits};
use std::fs::File;

/// What the engine sends. `call` is chosen by the engine, is not 0, and names the call in every reply to it.
#[derive(Debug)]
pub enum Order {
    /// Come to be: the first order, once.
    Start(Box<Start>),
    /// How much memory would the model take? Answered by a document and `Done`.
    Estimate {
        /// The call.
        call: u32,
        /// The load options, a JSON document.
        options: String,
    },
    /// Open the model, once.
    OpenModel {
        /// The call.
        call: u32,
        /// The load options, a JSON document.
        options: String,
    },
    /// Open a session of the model.
    OpenSession {
        /// The call.
        call: u32,
        /// The session, as the engine numbers it; free until now.
        session: u32,
        /// The options, a JSON document.
        options: String,
    },
    /// Make a session as good as new.
    ResetSession {
        /// The call.
        call: u32,
        /// The session.
        session: u32,
    },
    /// Close a session. Not answered.
    CloseSession {
        /// The session.
        session: u32,
    },
    /// Run a task in a session.
    Run(Box<RunOrder>),
    /// End the call soon; `Done` still comes.
    Cancel {
        /// The call.
        call: u32,
        /// Why: the status of cancelled, deadline or shutdown.
        status: i32,
    },
    /// The worker may send this many more items of output of the call.
    Credit {
        /// The call.
        call: u32,
        /// How many, at least one.
        count: u32,
    },
    /// Live audio that was pulled: mono, at the rate that the run named.
    Block {
        /// The call.
        call: u32,
        /// At least one.
        samples: Samples,
    },
    /// No audio: the end, nothing in time, or why.
    NoBlock {
        /// The call.
        call: u32,
        /// The status that the plugin gets.
        status: i32,
    },
    /// From which level on lines of the log are wanted.
    LogLevel {
        /// 0 (off) to 5 (trace).
        level: u8,
    },
    /// Are you there? Answered by `Pong`.
    Ping {
        /// Comes back.
        serial: u32,
    },
    /// Close everything and end.
    Quit,
}

/// What a worker is to be.
#[derive(Debug)]
pub struct Start {
    /// The plugin.
    pub plugin: Library,
    /// The model's files, in the order in which the plugin gets them. None for a worker that only describes.
    pub files: Vec<FileEntry>,
    /// Whether the worker locks itself up.
    pub sandbox: Sandbox,
    /// Most memory that it may take for data, bytes.
    pub memory_limit: Option<u64>,
    /// From which level on lines of the log are wanted: 0 (off) to 5 (trace).
    pub log_level: u8,
}

/// The plugin's library.
#[derive(Debug)]
pub struct Library {
    /// The plugin's id, for messages.
    pub name: String,
    /// The verified file.
    pub file: File,
}

/// A verified file of the model.
#[derive(Debug)]
pub struct FileEntry {
    /// What it is to the backend: `model`, `vad`, `tokenizer`.
    pub role: String,
    /// Its name in the manifest.
    pub name: String,
    /// Its size, bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// The file, open for reading.
    pub file: File,
}

/// A run of a task.
#[derive(Debug)]
pub struct RunOrder {
    /// The call.
    pub call: u32,
    /// The session.
    pub session: u32,
    /// The task's name.
    pub task: String,
    /// The options, a JSON document.
    pub options: String,
    /// Time left until the deadline, microseconds.
    pub deadline_us: Option<u64>,
    /// How many items of output may be sent before more credit comes.
    pub credit: u32,
    /// Rate of the audio that the plugin may pull, Hz; `None` when there is none.
    pub live_rate: Option<u32>,
    /// The input.
    pub items: Vec<Item>,
}

/// Input of a run.
#[derive(Debug)]
pub enum Item {
    /// A text with its role.
    Text {
        /// Who says it; may be empty.
        role: String,
        /// What is said.
        text: String,
    },
    /// Mono audio.
    Audio {
        /// Samples per second.
        rate: u32,
        /// The samples.
        samples: Samples,
    },
}

mod kind {
    pub const START: u8 = 1;
    pub const ESTIMATE: u8 = 2;
    pub const OPEN_MODEL: u8 = 3;
    pub const OPEN_SESSION: u8 = 4;
    pub const RESET_SESSION: u8 = 5;
    pub const CLOSE_SESSION: u8 = 6;
    pub const RUN: u8 = 7;
    pub const CANCEL: u8 = 8;
    pub const CREDIT: u8 = 9;
    pub const BLOCK: u8 = 10;
    pub const NO_BLOCK: u8 = 11;
    pub const LOG_LEVEL: u8 = 12;
    pub const PING: u8 = 13;
    pub const QUIT: u8 = 14;
}

impl Order {
    /// The frame without its length; descriptors apart.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for what no frame holds.
    pub fn encode(&self) -> Result<Vec<u8>> {
        crate::code::encode(self)
    }

    /// Reads a frame without its length. `files`: the descriptors that came with it, in their order.
    ///
    /// # Errors
    /// [`Error::Garbage`] for what is no order, and for a descriptor too few or too many.
    pub fn decode(frame: &[u8], files: Vec<File>) -> Result<Self> {
        crate::code::decode(frame, files)
    }
}

impl Coded for Order {
    const DESCRIPTORS: bool = true;

    fn put<'a>(&'a self, to: &mut Writer<'a, '_>) {
        match self {
            Self::Start(start) => {
                to.head(kind::START, 0);
                start.put(to);
            }
            Self::Estimate { call, options } => {
                to.call_head(kind::ESTIMATE, *call);
                to.text("options", options, limits::TEXT);
            }
            Self::OpenModel { call, options } => {
                to.call_head(kind::OPEN_MODEL, *call);
                to.text("options", options, limits::TEXT);
            }
            Self::OpenSession { call, session, options } => {
                to.call_head(kind::OPEN_SESSION, *call);
                to.u32(*session);
                to.text("options", options, limits::TEXT);
            }
            Self::ResetSession { call, session } => {
                to.call_head(kind::RESET_SESSION, *call);
                to.u32(*session);
            }
            Self::CloseSession { session } => {
                to.head(kind::CLOSE_SESSION, 0);
                to.u32(*session);
            }
            Self::Run(run) => run.put(to),
            Self::Cancel { call, status } => {
                to.call_head(kind::CANCEL, *call);
                to.i32(*status);
            }
            Self::Credit { call, count } => {
                to.call_head(kind::CREDIT, *call);
                to.u32(*count);
            }
            Self::Block { call, samples } => {
                to.call_head(kind::BLOCK, *call);
                samples.put(to);
            }
            Self::NoBlock { call, status } => {
                to.call_head(kind::NO_BLOCK, *call);
                to.i32(*status);
            }
            Self::LogLevel { level } => {
                to.head(kind::LOG_LEVEL, 0);
                to.u8(*level);
            }
            Self::Ping { serial } => {
                to.head(kind::PING, 0);
                to.u32(*serial);
            }
            Self::Quit => to.head(kind::QUIT, 0),
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self> {
        let (kind, call) = from.head()?;
        let order = match kind {
            kind::START => Self::Start(Box::new(Start::take(from)?)),
            kind::ESTIMATE => Self::Estimate { call, options: from.text("options", limits::TEXT)? },
            kind::OPEN_MODEL => Self::OpenModel { call, options: from.text("options", limits::TEXT)? },
            kind::OPEN_SESSION => {
                Self::OpenSession { call, session: from.u32()?, options: from.text("options", limits::TEXT)? }
            }
            kind::RESET_SESSION => Self::ResetSession { call, session: from.u32()? },
            kind::CLOSE_SESSION => Self::CloseSession { session: from.u32()? },
            kind::RUN => Self::Run(Box::new(RunOrder::take(call, from)?)),
            kind::CANCEL => Self::Cancel { call, status: from.i32()? },
            kind::CREDIT => Self::Credit { call, count: from.u32_of("credit", 1..=limits::CREDIT)? },
            kind::BLOCK => Self::Block { call, samples: block(from)? },
            kind::NO_BLOCK => Self::NoBlock { call, status: from.i32()? },
            kind::LOG_LEVEL => Self::LogLevel { level: from.log_level(0)? },
            kind::PING => Self::Ping { serial: from.u32()? },
            kind::QUIT => Self::Quit,
            unknown => return Err(Error::Garbage(format!("an order of the unknown type {unknown}"))),
        };
        let outside = matches!(kind, kind::START | kind::CLOSE_SESSION | kind::LOG_LEVEL | kind::PING | kind::QUIT);
        from.check_call(kind, call, !outside)?;
        Ok(order)
    }
}

fn block(from: &mut Reader<'_>) -> Result<Samples> {
    let samples = Samples::take(from)?;
    match samples.is_empty() {
        true => Err(Error::Garbage("a block of no samples".to_owned())),
        false => Ok(samples),
    }
}

impl Start {
    fn put<'a>(&'a self, to: &mut Writer<'a, '_>) {
        to.text("a plugin's id", &self.plugin.name, limits::NAME);
        to.file(&self.plugin.file);
        to.u8(match self.sandbox {
            Sandbox::On => 0,
            Sandbox::Require => 1,
            Sandbox::Off => 2,
        });
        to.optional_u64(self.memory_limit);
        to.u8(self.log_level);
        to.count("files", self.files.len(), limits::DESCRIPTORS - 1);
        for file in &self.files {
            to.text("a file's role", &file.role, limits::NAME);
            to.text("a file's name", &file.name, limits::NAME);
            to.u64(file.size);
            to.raw(&file.sha256);
            to.file(&file.file);
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self> {
        let plugin = Library { name: from.text("a plugin's id", limits::NAME)?, file: from.file()? };
        let sandbox = match from.u8()? {
            0 => Sandbox::On,
            1 => Sandbox::Require,
            2 => Sandbox::Off,
            other => return Err(Error::Garbage(format!("a sandbox of the unknown kind {other}"))),
        };
        let (memory_limit, log_level) = (from.optional_u64()?, from.log_level(0)?);
        let files = from.list("files", limits::DESCRIPTORS - 1, 48, |from| {
            Ok(FileEntry {
                role: from.text("a file's role", limits::NAME)?,
                name: from.text("a file's name", limits::NAME)?,
                size: from.u64()?,
                sha256: from.array()?,
                file: from.file()?,
            })
        })?;
        Ok(Self { plugin, files, sandbox, memory_limit, log_level })
    }
}

impl RunOrder {
    fn put<'a>(&'a self, to: &mut Writer<'a, '_>) {
        to.call_head(kind::RUN, self.call);
        to.u32(self.session);
        to.text("a task's name", &self.task, limits::NAME);
        to.text("options", &self.options, limits::TEXT);
        to.optional_u64(self.deadline_us);
        to.u32(self.credit);
        // A rate of 0 says that there is no live audio.
        to.u32(self.live_rate.unwrap_or(0));
        to.count("items", self.items.len(), limits::ITEMS);
        for item in &self.items {
            match item {
                Item::Text { role, text } => {
                    to.u8(0);
                    to.text("a role", role, limits::NAME);
                    to.text("a text", text, limits::TEXT);
                }
                Item::Audio { rate, samples } => {
                    to.u8(1);
                    to.u32(*rate);
                    samples.put(to);
                }
            }
        }
    }

    fn take(call: u32, from: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            call,
            session: from.u32()?,
            task: from.text("a task's name", limits::NAME)?,
            options: from.text("options", limits::TEXT)?,
            deadline_us: from.optional_u64()?,
            credit: from.u32_of("credit", 1..=limits::CREDIT)?,
            live_rate: Some(from.u32()?).filter(|rate| *rate > 0),
            items: from.list("items", limits::ITEMS, 9, Item::take)?,
        })
    }
}

impl Item {
    fn take(from: &mut Reader<'_>) -> Result<Self> {
        match from.u8()? {
            0 => Ok(Self::Text { role: from.text("a role", limits::NAME)?, text: from.text("a text", limits::TEXT)? }),
            1 => Ok(Self::Audio { rate: from.u32_of("a rate", 1..=u32::MAX)?, samples: Samples::take(from)? }),
            other => Err(Error::Garbage(format!("an item of the unknown kind {other}"))),
        }
    }
}
