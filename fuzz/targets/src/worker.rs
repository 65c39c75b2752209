//! A worker that does what an input says: the engine's side of the protocol as a whole, with its states.
//!
//! The engine starts a program for each input, and that program is [`be_a_worker`]: it greets and starts as it should,
//! so that the engine believes it, and from then on answers by the script that it finds in its environment. Whatever it
//! does, each request of the engine ends with an answer or with an error that says what happened, and the engine shuts
//! down with nothing left.

use crate::bytes::Bytes;
use crate::signals;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::exit;
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;
use tenon::{AudioSource, Engine, ErrorKind, Load, Request, WorkerSettings, seal};
use tenon_tasks::{Segment, Token, Usage, Word};
use tenon_wire::{
    Hello, Link, Order, Outcome, Output, PROTOCOL, Received, Reply, SandboxReport, Sender, Started, VERSION,
};

/// Where the program finds its script.
const SCRIPT: &str = "TENON_FUZZ_SCRIPT";
/// Longest script, so that it fits an environment.
const LONGEST: usize = 2048;
const MANIFEST: &str = "name = \"echo\"\ntask = \"generate\"\nbackend = \"echo\"\nlicense = \"MIT\"\nisolation = \"worker\"\n\
    [worker]\nsandbox = \"off\"\n";
const TEMPLATE: &str = "id = \"echo\"\nversion = \"0.1.0\"\nabi = \"1.1\"\ntasks = [\"generate\"]\ncpu = \"any\"\n\
    license = \"MIT\"\ndescription = \"a worker's script\"\n";
const DESCRIPTION: &str = r#"{"summary":"a script","engine":"none","tasks":[
    {"task":"generate","schema":{"type":"object","properties":{}}},
    {"task":"embed","schema":{"type":"object","properties":{}}},
    {"task":"transcribe","schema":{"type":"object","properties":{}}}],
    "load_schema":{"type":"object","properties":{}},"files":[],"audio":{"rate":16000},"devices":[]}"#;

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Says which program calls [`be_a_worker`] first of all; without, it is the running one.
pub fn set_worker_program(path: impl Into<PathBuf>) {
    PROGRAM.get_or_init(|| path.into());
}

/// An engine runs requests in a worker that follows a script.
pub fn worker(input: &[u8]) {
    static KNOWN: OnceLock<()> = OnceLock::new();
    signals::as_in_c();
    let program = PROGRAM.get_or_init(|| std::env::current_exe().expect("the running program has a path"));
    // The plugin's description is asked for once in a process, and not by the fuzzers.
    KNOWN.get_or_init(|| drop(engine(program, &[]).0.load("echo", Load::new()).expect("a worker without a script")));
    let mut input = Bytes(&input[..input.len().min(LONGEST)]);
    let knobs = input.u8();
    let (engine, _home) = engine(program, input.rest());
    match engine.load("echo", Load::new()) {
        Err(error) => holds(&error),
        Ok(model) => {
            let requests = (0..1 + (knobs & 1)).map(|_| request(knobs));
            match model.session() {
                Err(error) => holds(&error),
                Ok(mut session) => requests.for_each(|request| {
                    if let Err(error) = session.run(&request) {
                        holds(&error);
                    }
                }),
            }
        }
    }
    engine.shutdown_within(Duration::from_secs(8)).expect("nothing is left of a worker");
}

fn request(knobs: u8) -> Request {
    let request = match knobs >> 1 & 3 {
        0 | 1 => Request::generate("say it"),
        2 => Request::embed(vec!["one".to_owned(), "two".to_owned()]),
        _ => Request::transcribe(AudioSource::mono(vec![0.25; 40_000], 8_000)),
    };
    request.deadline(Duration::from_millis(40))
}

/// What is told of a request that failed.
fn holds(error: &tenon::Error) {
    assert!(!matches!(error.kind(), ErrorKind::Panic), "{error}");
    assert!(!error.message().is_empty(), "{:?} without a word", error.kind());
    if error.kind() == ErrorKind::WorkerDied {
        assert!(error.details().any(|(key, _)| key == "worker_pid" || key == "failures"), "which worker? {error}");
    }
}

/// An engine whose workers follow a script, and its home.
fn engine(program: &std::path::Path, script: &[u8]) -> (Engine, TempDir) {
    let home = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).expect("a folder for an engine");
    let at = |name: &str| home.path().join(name);
    fs::write(at("lib.so"), b"a script")
        .and_then(|()| fs::write(at("template"), TEMPLATE))
        .expect("a plugin is written");
    seal(&at("lib.so"), &at("template")).expect("a plugin is sealed");
    let hex = script.iter().fold(String::from("_"), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let settings = WorkerSettings::new().program(program).env(SCRIPT, hex).grace(Duration::from_millis(20));
    let settings = settings.start_timeout(Duration::from_secs(8)).silence(Duration::from_millis(200));
    let engine = Engine::builder().plugin_dir(home.path()).store_dir(at("store")).state_dir(at("state"));
    let engine = engine.worker(settings).build().expect("an engine");
    engine.add_manifest_text(MANIFEST, "fuzzed").expect("a manifest");
    (engine, home)
}

/// Does what a script says and ends the process, where an engine started this program as a worker; else does nothing.
pub fn be_a_worker() {
    let Ok(hex) = std::env::var(SCRIPT) else { return };
    let digits = hex.as_bytes().get(1..).unwrap_or_default();
    let byte = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let script: Vec<u8> = digits.chunks(2).filter_map(byte).collect();
    let socket = std::io::stdin().as_fd().try_clone_to_owned().expect("the engine's socket");
    let raw = File::from(socket.try_clone().expect("another descriptor"));
    let (replies, orders) = Link::<Reply, Order>::from(socket).split();
    let mut player = Player { script: Bytes(&script), replies, orders, raw, call: 0, serial: 0 };
    player.greet();
    while !player.script.is_empty() {
        player.step();
    }
    loop {
        player.wait(None);
        player.done(0);
    }
}

/// Who follows a script.
struct Player<'a> {
    script: Bytes<'a>,
    replies: Sender<Reply>,
    orders: tenon_wire::Receiver<Order>,
    raw: File,
    /// The call that was last heard of.
    call: u32,
    /// The question that was last heard.
    serial: u32,
}

impl Player<'_> {
    fn greet(&mut self) {
        self.send(&Reply::Hello(Hello { protocol: PROTOCOL, version: VERSION.to_owned(), pid: std::process::id() }));
        self.wait(None);
        self.send(&started());
    }

    fn send(&self, reply: &Reply) {
        // The engine may have had enough.
        if self.replies.send(reply).is_err() {
            exit(0);
        }
    }

    /// Waits for an order and remembers whom it is about.
    fn wait(&mut self, time: Option<Duration>) {
        match self.orders.receive(time) {
            Ok(Received::Message(order)) => match order {
                Order::Estimate { call, .. }
                | Order::OpenModel { call, .. }
                | Order::OpenSession { call, .. }
                | Order::ResetSession { call, .. } => self.call = call,
                Order::Run(run) => self.call = run.call,
                Order::Ping { serial } => {
                    self.serial = serial;
                    self.send(&Reply::Pong { serial, activity: u64::from(serial) });
                }
                Order::Quit => exit(0),
                _ => {}
            },
            Ok(Received::Timeout) => {}
            _ => exit(0),
        }
    }

    fn done(&mut self, status: i32) {
        if self.call != 0 {
            let call = std::mem::take(&mut self.call);
            self.send(&Reply::Done { call, outcome: Outcome { status, ..Outcome::default() } });
        }
    }

    /// The call that a reply is about: mostly the right one.
    fn about(&mut self, op: u8) -> u32 {
        if op >= 240 { u32::from(self.script.u8()) } else { self.call }
    }

    fn step(&mut self) {
        let op = self.script.u8();
        match op % 16 {
            0..=2 => self.wait(Some(Duration::from_millis(30))),
            3 | 4 => self.done(0),
            5 => {
                let (call, status) = (self.about(op), i32::from(self.script.u8().cast_signed()));
                let message = (op & 16 != 0).then(|| self.text());
                let details = if op & 32 != 0 { vec![(self.text(), self.text())] } else { Vec::new() };
                self.send(&Reply::Done { call, outcome: Outcome { status, message, details } });
            }
            6..=9 => {
                let (call, output) = (self.about(op), self.output(op));
                let times = if op & 64 != 0 { u16::from(self.script.u8()) * 2 } else { 1 };
                (0..times).for_each(|_| self.send(&Reply::Output { call, output: output.clone() }));
            }
            10 => {
                let fraction = f32::from(self.script.u8()) / 255.0;
                let call = self.about(op);
                self.send(&Reply::Progress { call, fraction });
            }
            11 => {
                let timeout_us = i64::from(self.script.u8()) * 100 - 100;
                let call = self.about(op);
                self.send(&Reply::Pull { call, timeout_us });
            }
            12 => {
                let (backend, message) = (self.text(), self.text());
                self.send(&Reply::Log { level: 1 + op / 16 % 5, backend, message });
            }
            13 => self.send(&Reply::Pong { serial: self.serial, activity: u64::from(op) }),
            14 => match op / 16 {
                0 => self.send(&started()),
                1 => self.send(&Reply::Hello(Hello { protocol: PROTOCOL, version: VERSION.to_owned(), pid: 1 })),
                2 => exit(i32::from(self.script.u8())),
                3 => {
                    eprintln!("{}", self.text());
                    std::process::abort();
                }
                4 => self.replies.shutdown(),
                5 => std::thread::sleep(Duration::from_millis(self.script.u8().into())),
                6 => self.send(&Reply::Refused(Outcome::default())),
                _ => eprintln!("{}", self.text()),
            },
            _ => {
                let count = usize::from(self.script.u8());
                let bytes = self.script.take(count);
                if self.raw.write_all(bytes).is_err() {
                    exit(0);
                }
            }
        }
    }

    fn text(&mut self) -> String {
        let count = usize::from(self.script.u8() % 32);
        String::from_utf8_lossy(self.script.take(count)).into_owned()
    }

    fn time(&mut self) -> i64 {
        i64::from(self.script.u8().cast_signed()) * 1000
    }

    fn output(&mut self, op: u8) -> Output {
        match op / 16 % 6 {
            0 => Output::Text(self.text().into_bytes()),
            1 => {
                let count = usize::from(self.script.u8() % 8);
                Output::Text(self.script.take(count).to_vec())
            }
            2 => {
                let (text, id) = (self.text(), i32::from(self.script.u8().cast_signed()));
                Output::Token(Token { id, text, logprob: Some(-0.5), start_us: None, end_us: None })
            }
            3 => {
                let (start_us, end_us, text) = (self.time(), self.time(), self.text());
                let word = Word { start_us: self.time(), end_us, text: text.clone(), confidence: Some(0.5) };
                let (words, tokens) = (vec![word], Vec::new());
                Output::Segment(Segment {
                    start_us,
                    end_us,
                    text,
                    confidence: None,
                    no_speech: Some(0.5),
                    words,
                    tokens,
                })
            }
            4 => {
                let (index, count) = (u32::from(self.script.u8() % 4), usize::from(self.script.u8() % 8));
                let values = (0..count).map(|_| f32::from_bits(self.script.u32())).collect();
                Output::Embedding { index, values }
            }
            _ if op & 1 == 0 => Output::Usage(Usage { generated_tokens: self.script.u8().into(), ..Usage::default() }),
            _ => Output::Document { name: self.text(), text: self.text() },
        }
    }
}

fn started() -> Reply {
    Reply::Started(Box::new(Started {
        id: "echo".to_owned(),
        version: "0.1.0".to_owned(),
        abi: (1, 1),
        build_info: "a script".to_owned(),
        caps: tenon_abi::CAP_LIVE_INPUT,
        description: DESCRIPTION.to_owned(),
        has_estimate: false,
        sandbox: SandboxReport::default(),
    }))
}
