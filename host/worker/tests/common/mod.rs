//! A worker that a test drives by hand, in the place of an engine.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tenon_abi::status;
use tenon_wire::{
    FileEntry, Library, Link, Order, Outcome, Output, Received, Receiver, Reply, RunOrder, Sandbox, Sender, Start,
    Started,
};

/// Long enough for the slowest machine; nothing here waits so long unless something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// A worker, and the connection to it.
pub struct Worker {
    pub child: Child,
    pub orders: Sender<Order>,
    pub replies: Receiver<Reply>,
    /// The same connection, for what is no order.
    raw: UnixStream,
}

/// What became of a worker that ended.
pub struct Ended {
    pub status: ExitStatus,
    pub stderr: String,
}

impl Ended {
    /// Exit code, or the signal below 0.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| -self.status.signal().expect("a code or a signal"))
    }
}

impl Worker {
    /// One that has said hello.
    pub fn spawn() -> Self {
        Self::spawn_by(Command::new(env!("CARGO_BIN_EXE_tenon-worker")))
    }

    /// The same, by a command that was prepared.
    pub fn spawn_by(mut command: Command) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        // The command holds the other end, too.
        drop(command);
        let raw = ours.try_clone().unwrap();
        let (orders, replies) = Link::<Order, Reply>::from(OwnedFd::from(ours)).split();
        let mut worker = Self { child, orders, replies, raw };
        let Reply::Hello(hello) = worker.reply() else { panic!("no hello") };
        assert_eq!(hello.protocol, tenon_wire::PROTOCOL);
        assert_eq!(hello.pid, worker.child.id());
        worker
    }

    /// One in which this plugin is open.
    pub fn started(library: &Path) -> Self {
        Self::spawn().start(start(library))
    }

    /// One with a plugin, its model and session 1.
    pub fn ready(library: &Path) -> Self {
        Self::started(library).with_session()
    }

    /// Has it start, which must succeed.
    pub fn start(mut self, start: Start) -> Self {
        self.send(Order::Start(Box::new(start)));
        self.await_started();
        self
    }

    /// What it says of itself.
    pub fn await_started(&mut self) -> Started {
        match self.reply() {
            Reply::Started(started) => *started,
            other => panic!("{other:?}"),
        }
    }

    /// Opens the model, and session 1 in it.
    pub fn with_session(mut self) -> Self {
        let options = || "{}".to_owned();
        self.send(Order::OpenModel { call: 1, options: options() });
        assert_eq!(self.done(1).status, status::OK);
        self.send(Order::OpenSession { call: 2, session: 1, options: options() });
        assert_eq!(self.done(2).status, status::OK);
        self
    }

    pub fn send(&self, order: Order) {
        self.orders.send(&order).unwrap();
    }

    /// Sends bytes that are no order.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.raw.write_all(bytes).unwrap();
    }

    /// Closes the connection, as the end of the engine's process does.
    pub fn hang_up(&self) {
        self.orders.shutdown();
    }

    /// The next reply.
    pub fn reply(&mut self) -> Reply {
        match self.replies.receive(Some(PATIENCE)) {
            Ok(Received::Message(reply)) => reply,
            other => {
                let mut stderr = String::new();
                let closed = matches!(other, Ok(Received::Closed));
                if closed && let Some(mut pipe) = self.child.stderr.take() {
                    _ = pipe.read_to_string(&mut stderr);
                }
                panic!("no reply: {other:?}\n{stderr}")
            }
        }
    }

    /// How a call ends; what comes before that, apart.
    pub fn until_done(&mut self, call: u32) -> (Vec<Reply>, Outcome) {
        let mut before = Vec::new();
        loop {
            match self.reply() {
                Reply::Done { call: over, outcome } if over == call => return (before, outcome),
                reply => before.push(reply),
            }
        }
    }

    pub fn done(&mut self, call: u32) -> Outcome {
        self.until_done(call).1
    }

    /// The text that a run of session 1 emits, and how the run ends.
    pub fn generate(&mut self, prompt: &str, options: &str) -> (String, Outcome) {
        self.send(run(7, "generate", prompt, options));
        let (replies, outcome) = self.until_done(7);
        let text = replies.iter().filter_map(|reply| match reply {
            Reply::Output { output: Output::Text(bytes), .. } => Some(String::from_utf8_lossy(bytes)),
            _ => None,
        });
        (text.collect(), outcome)
    }

    /// Waits for the end of the process.
    pub fn ended(mut self) -> Ended {
        let mut stderr = String::new();
        let mut pipe = self.child.stderr.take().expect("a pipe");
        // Ends with the process: nobody else has the pipe.
        pipe.read_to_string(&mut stderr).unwrap();
        Ended { status: self.child.wait().unwrap(), stderr }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// An order to start with this plugin and no files.
pub fn start(library: &Path) -> Start {
    let name = library.file_stem().unwrap().to_string_lossy().into_owned();
    Start {
        plugin: Library { name, file: File::open(library).unwrap() },
        files: Vec::new(),
        sandbox: Sandbox::On,
        memory_limit: None,
        log_level: 0,
    }
}

/// A file of the model.
pub fn model_file(path: &Path) -> FileEntry {
    let file = File::open(path).unwrap();
    let size = file.metadata().unwrap().len();
    FileEntry { role: "model".to_owned(), name: "model.bin".to_owned(), size, sha256: [0; 32], file }
}

/// A run in session 1 on a text, with all credit.
pub fn run(call: u32, task: &str, prompt: &str, options: &str) -> Order {
    Order::Run(Box::new(RunOrder {
        call,
        session: 1,
        task: task.to_owned(),
        options: options.to_owned(),
        deadline_us: None,
        credit: tenon_wire::limits::CREDIT,
        live_rate: None,
        items: vec![tenon_wire::Item::Text { role: String::new(), text: prompt.to_owned() }],
    }))
}
