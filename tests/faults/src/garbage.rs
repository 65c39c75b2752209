//! A worker that lies: it says hello as a worker does, and then garbage. The file name that it is run under says which
//! kind, and a number from which everything random in it is drawn: `g17-run-noise`.
//!
//! It never opens the plugin that it is given.

#[cfg(target_os = "linux")]
mod worker {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;
    use tenon_fault_tests::random::Random;
    use tenon_tasks::{Description, GenerateOptions, TaskDescription, schema_of};
    use tenon_wire::{
        Hello, Link, Order, Outcome, Output, PROTOCOL, Received, Receiver, Reply, RunOrder, Sender, Started, VERSION,
    };

    /// The other side has gone: there is nobody to lie to.
    pub type Gone = Box<dyn std::error::Error>;

    /// A liar and its connection.
    pub struct Liar {
        kind: String,
        random: Random,
        sender: Sender<Reply>,
        receiver: Receiver<Order>,
        raw: UnixStream,
    }

    impl Liar {
        /// The one that the program's file name asks for.
        pub fn of_name(name: &str) -> Result<Self, Gone> {
            let (number, kind) = name.split_once('-').ok_or("the file name says no kind of garbage")?;
            let seed = number.trim_start_matches('g').parse()?;
            let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
            let raw = UnixStream::from(socket.try_clone()?);
            let (sender, receiver) = Link::<Reply, Order>::from(socket).split();
            Ok(Self { kind: kind.to_owned(), random: Random::new(seed, kind), sender, receiver, raw })
        }

        /// Serves until the engine has had enough.
        pub fn serve(mut self) -> Result<(), Gone> {
            self.greet()?;
            loop {
                let Received::Message(order) = self.receiver.receive(None)? else { return Ok(()) };
                match order {
                    Order::Start(_) => self.start()?,
                    Order::OpenModel { call, .. } if self.kind == "open-exit" => {
                        std::process::exit(call as i32 % 5 + 2)
                    }
                    Order::OpenModel { call, .. } if self.kind == "open-other" => self.done(call + 4711)?,
                    Order::OpenModel { call, .. }
                    | Order::OpenSession { call, .. }
                    | Order::ResetSession { call, .. }
                    | Order::Estimate { call, .. } => self.done(call)?,
                    Order::Run(order) => self.run(&order)?,
                    Order::Ping { serial } => self.sender.send(&Reply::Pong { serial, activity: 0 })?,
                    Order::Quit => return Ok(()),
                    _ => {}
                }
            }
        }

        fn greet(&mut self) -> Result<(), Gone> {
            let hello = |protocol, version: &str| {
                Reply::Hello(Hello { protocol, version: version.to_owned(), pid: std::process::id() })
            };
            match self.kind.as_str() {
                "hello-never" => std::process::exit(3),
                "hello-noise" => return self.noise(200),
                "hello-huge" => return Ok(self.raw.write_all(&u32::MAX.to_le_bytes())?),
                "hello-version" => self.sender.send(&hello(PROTOCOL, "0.0.0-other"))?,
                "hello-protocol" => self.sender.send(&hello(PROTOCOL + 999, VERSION))?,
                "hello-twice" => {
                    self.sender.send(&hello(PROTOCOL, VERSION))?;
                    self.sender.send(&hello(PROTOCOL, VERSION))?;
                }
                _ => self.sender.send(&hello(PROTOCOL, VERSION))?,
            }
            Ok(())
        }

        fn start(&mut self) -> Result<(), Gone> {
            let mut started = started()?;
            match self.kind.as_str() {
                "started-noise" => return self.noise(300),
                "started-text" => started.description = "{\"summary\": oops".to_owned(),
                "started-other" => started.id = "innocent".to_owned(),
                "started-never" => return self.done(1),
                "started-cut" => {
                    let frame = framed(&Reply::Started(Box::new(started)))?;
                    self.raw.write_all(&frame[..frame.len() / 2])?;
                    std::process::exit(0);
                }
                _ => {}
            }
            Ok(self.sender.send(&Reply::Started(Box::new(started)))?)
        }

        fn done(&self, call: u32) -> Result<(), Gone> {
            Ok(self.sender.send(&Reply::Done { call, outcome: Outcome::default() })?)
        }

        fn text(&self, call: u32) -> Reply {
            Reply::Output { call, output: Output::Text(b"lies ".to_vec()) }
        }

        fn run(&mut self, order: &RunOrder) -> Result<(), Gone> {
            let call = order.call;
            match self.kind.as_str() {
                "run-noise" => self.noise(4096)?,
                "run-huge" => self.raw.write_all(&[0xff, 0xff, 0xff, 0x7f, 120, 1, 0, 0, 0])?,
                "run-short" => self.raw.write_all(&[1, 0, 0, 0, 106])?,
                "run-type" => self.raw.write_all(&[5, 0, 0, 0, 250, 1, 0, 0, 0])?,
                "run-cut" => {
                    let frame = framed(&self.text(call))?;
                    self.raw.write_all(&frame[..frame.len() - 2])?;
                    std::process::exit(0);
                }
                "run-other" => self.sender.send(&self.text(call + 4711))?,
                "run-other-done" => self.done(call + 4711)?,
                "run-credit" => {
                    for _ in 0..order.credit + 4096 {
                        self.sender.send(&self.text(call))?;
                    }
                }
                "run-after-end" => {
                    self.done(call)?;
                    self.sender.send(&self.text(call))?;
                    // The first lie may be believed; the second call hears the other one.
                    return Ok(());
                }
                "run-pull" => self.sender.send(&Reply::Pull { call, timeout_us: -1 })?,
                "run-hello" => {
                    let hello = Hello { protocol: PROTOCOL, version: VERSION.to_owned(), pid: 1 };
                    self.sender.send(&Reply::Hello(hello))?;
                }
                "run-started" => self.sender.send(&Reply::Started(Box::new(started()?)))?,
                "run-pong" => self.sender.send(&Reply::Pong { serial: u32::MAX, activity: 1 })?,
                "run-hang-up" => {
                    self.raw.shutdown(std::net::Shutdown::Both)?;
                    std::thread::sleep(Duration::from_secs(60));
                }
                _ => self.mutated(call)?,
            }
            // The engine kills for what it has seen; until then the call is not over.
            Ok(())
        }

        /// What a well-behaved worker would say, with some bytes changed.
        fn mutated(&mut self, call: u32) -> Result<(), Gone> {
            let mut bytes = Vec::new();
            for _ in 0..4 {
                bytes.extend(framed(&self.text(call))?);
                bytes.extend(framed(&Reply::Progress { call, fraction: 0.5 })?);
            }
            bytes.extend(framed(&Reply::Done { call, outcome: Outcome::default() })?);
            for _ in 0..1 + self.random.below(6) {
                let at = self.random.below(bytes.len() as u64) as usize;
                bytes[at] = self.random.number() as u8;
            }
            self.raw.write_all(&bytes)?;
            std::thread::sleep(Duration::from_millis(50));
            std::process::exit(0)
        }

        fn noise(&mut self, most: u64) -> Result<(), Gone> {
            let count = 4 + self.random.below(most);
            let bytes: Vec<u8> = (0..count).map(|_| self.random.number() as u8).collect();
            Ok(self.raw.write_all(&bytes)?)
        }
    }

    /// A frame with its length.
    fn framed(reply: &Reply) -> Result<Vec<u8>, Gone> {
        let frame = reply.encode()?;
        let mut bytes = (frame.len() as u32).to_le_bytes().to_vec();
        bytes.extend(frame);
        Ok(bytes)
    }

    /// A plugin that does not exist.
    fn started() -> Result<Started, Gone> {
        let schema = schema_of::<GenerateOptions>();
        let description = Description {
            summary: "lies".to_owned(),
            engine: "garbage 1".to_owned(),
            tasks: vec![TaskDescription { task: "generate".to_owned(), schema }],
            load_schema: serde_json::json!({"type": "object", "properties": {}}),
            files: Vec::new(),
            audio: None,
            devices: Vec::new(),
        };
        Ok(Started {
            id: "garbage".to_owned(),
            version: "0.1.0".to_owned(),
            abi: (1, 1),
            build_info: String::new(),
            caps: 0,
            description: serde_json::to_string(&description)?,
            has_estimate: false,
            sandbox: tenon_wire::SandboxReport::default(),
        })
    }
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    let program = std::env::args_os().next().map(std::path::PathBuf::from).unwrap_or_default();
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match worker::Liar::of_name(&name).and_then(worker::Liar::serve) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {}
