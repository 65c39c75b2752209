//! A worker that does not keep the protocol, for the tests of who supervises it: what it does wrong is the value of the
//! environment variable `FAKE_WORKER`. Without one it keeps the protocol, and answers every request with one text.
//!
//! It has no plugin and opens none.

#[cfg(unix)]
fn main() {
    fake::main();
}

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
mod fake {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::fs::File;
    use std::io::{IoSlice, Write, stdin};
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, OwnedFd};
    use std::process::exit;
    use std::time::Duration;
    use tenon_wire::*;

    type Replies = Sender<Reply>;

    const CAPS: u32 = tenon_abi::CAP_CONCURRENT_SESSIONS | tenon_abi::CAP_PARALLEL_OPEN | tenon_abi::CAP_LIVE_INPUT;

    pub fn main() {
        let fault = std::env::var("FAKE_WORKER").unwrap_or_default();
        let socket = stdin().as_fd().try_clone_to_owned().expect("the engine's socket");
        let raw = File::from(socket.try_clone().expect("another descriptor"));
        before(&fault, &raw);
        let (replies, mut orders) = Link::<Reply, Order>::from(socket).split();
        let version = if fault == "other-version" { "0.0.0" } else { VERSION };
        let protocol = if fault == "other-protocol" { PROTOCOL + 1 } else { PROTOCOL };
        if fault != "no-greeting" {
            send(&replies, Reply::Hello(Hello { protocol, version: version.to_owned(), pid: 1 }));
        }
        if fault == "two-greetings" {
            send(&replies, Reply::Hello(Hello { protocol, version: version.to_owned(), pid: 1 }));
        }
        loop {
            match orders.receive(None) {
                Ok(Received::Message(order)) => obey(&fault, order, &replies, &raw),
                _ => exit(0),
            }
        }
    }

    /// Faults before a word was said.
    fn before(fault: &str, mut raw: &File) {
        let written = match fault {
            "exit" => exit(3),
            "last-words" => {
                eprintln!("the disk is on fire");
                exit(4)
            }
            "silence" => forever(),
            "noise" => raw.write_all(&[0xa5; 4096]),
            "huge-frame" => raw.write_all(&u32::MAX.to_le_bytes()),
            "half-a-frame" => raw.write_all(&[200, 0, 0, 0, 101, 0]).inspect(|()| exit(0)),
            "half-a-frame-and-silence" => raw.write_all(&[200, 0, 0, 0, 101, 0]).inspect(|()| forever()),
            _ => return,
        };
        written.expect("the engine takes it");
        forever();
    }

    fn obey(fault: &str, order: Order, replies: &Replies, raw: &File) {
        match order {
            Order::Start(_) => start(fault, replies),
            Order::OpenModel { call, .. } | Order::OpenSession { call, .. } | Order::ResetSession { call, .. } => {
                done(replies, call);
            }
            Order::Run(run) => answer(fault, &run, replies, raw),
            Order::Ping { .. } if fault == "mute" => {}
            Order::Ping { serial } => send(replies, Reply::Pong { serial, activity: 0 }),
            Order::Quit if fault == "stays" => {}
            Order::Quit => exit(0),
            _ => {}
        }
    }

    fn start(fault: &str, replies: &Replies) {
        let started = Started {
            id: "echo".to_owned(),
            version: VERSION.to_owned(),
            abi: (tenon_abi::ABI_MAJOR, tenon_abi::ABI_MINOR),
            build_info: String::new(),
            // Those of echo, which it takes the place of.
            caps: CAPS,
            description: "{}".to_owned(),
            has_estimate: false,
            sandbox: SandboxReport::default(),
        };
        match fault {
            "never-ready" => forever(),
            "refuses" => {
                let message = Some("out of order".to_owned());
                send(replies, Reply::Refused(Outcome { status: tenon_abi::status::E_MODEL, message, details: vec![] }));
            }
            "refuses-with-success" => send(replies, Reply::Refused(Outcome::default())),
            "output-before-ready" => send(replies, text(1, "early")),
            "ready-twice" => {
                send(replies, Reply::Started(Box::new(started.clone())));
                send(replies, Reply::Started(Box::new(started)));
            }
            _ => send(replies, Reply::Started(Box::new(started))),
        }
    }

    fn answer(fault: &str, run: &RunOrder, replies: &Replies, mut raw: &File) {
        let call = run.call;
        match fault {
            "unknown-call" => send(replies, text(4711, "for whom?")),
            "no-credit" => (0..10_000).for_each(|_| send(replies, text(call, "more "))),
            "done-twice" => {
                done(replies, call);
                done(replies, call);
            }
            "output-after-done" => {
                done(replies, call);
                send(replies, text(call, "late"));
            }
            "two-pulls" => (0..2).for_each(|_| send(replies, Reply::Pull { call, timeout_us: -1 })),
            "pong" => send(replies, Reply::Pong { serial: 99, activity: 1 }),
            "noise-in-a-run" => raw.write_all(&[0xff; 64]).expect("the engine takes it"),
            "descriptor" => send_descriptor(raw),
            "hangs-up" => {
                rustix::net::shutdown(raw, rustix::net::Shutdown::Both).expect("open until now");
                forever();
            }
            "endless-log" => {
                (0..10_000).for_each(|_| send(replies, line(&"x".repeat(900))));
                // Until it has earned a line again.
                std::thread::sleep(Duration::from_millis(1500));
                send(replies, line("the last one"));
                send(replies, text(call, "fine"));
                done(replies, call);
            }
            "mute" | "hangs" => {}
            "unknown-status" => {
                send(replies, Reply::Done { call, outcome: Outcome { status: 4711, ..Outcome::default() } });
            }
            "cancelled-by-itself" => {
                let status = tenon_abi::status::E_CANCELLED;
                send(replies, Reply::Done { call, outcome: Outcome { status, ..Outcome::default() } });
            }
            _ => {
                send(replies, text(call, "fine"));
                done(replies, call);
            }
        }
    }

    fn text(call: u32, text: &str) -> Reply {
        Reply::Output { call, output: Output::Text(text.as_bytes().to_vec()) }
    }

    fn line(message: &str) -> Reply {
        Reply::Log { level: 2, backend: "echo".to_owned(), message: message.to_owned() }
    }

    fn done(replies: &Replies, call: u32) {
        send(replies, Reply::Done { call, outcome: Outcome::default() });
    }

    fn send(replies: &Replies, reply: Reply) {
        // The engine may have had enough of it.
        _ = replies.send(&reply);
    }

    /// A frame that is a line of the log, and a descriptor that nobody asked for.
    fn send_descriptor(raw: &File) {
        let frame = Reply::Log { level: 1, backend: "echo".to_owned(), message: "look".to_owned() }.encode().unwrap();
        let bytes: Vec<u8> = (frame.len() as u32).to_le_bytes().into_iter().chain(frame).collect();
        let null = OwnedFd::from(File::open("/dev/null").expect("there is one"));
        let files = [null.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&files)));
        // No NOSIGNAL, which macOS lacks: Rust programs ignore SIGPIPE.
        sendmsg(raw, &[IoSlice::new(&bytes)], &mut control, SendFlags::empty()).expect("the engine takes it");
    }

    fn forever() -> ! {
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}
