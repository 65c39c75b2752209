//! How a worker comes to be: hello, the order to start, the sandbox, the library, the description.

use crate::call::outcome;
use crate::desk::{Desk, broken, send};
use crate::log::Lines;
use crate::{crash, sandbox};
use rustix::fs::{Mode, OFlags};
use rustix::net::SocketType;
use rustix::process::{Pid, getppid};
use std::fs::File;
use std::io::stdin;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::time::Duration;
use tenon::inside::Backend;
use tenon::{Error, ErrorKind};
use tenon_wire::{
    Hello, Library, Link, Order, PROTOCOL, Received, Receiver, Reply, Sender, Start, Started, VERSION, limits,
};

/// Exit code: this machine lacks something that every worker needs.
pub const NO_SYSTEM: i32 = 71;

/// The connection to the engine: standard input, where that is one. It moves away from there, so that nothing in a
/// plugin that reads standard input eats what the engine says.
pub fn connection() -> Option<OwnedFd> {
    let stdin = stdin();
    rustix::net::sockopt::socket_type(&stdin).ok().filter(|kind| *kind == SocketType::STREAM)?;
    let socket = rustix::io::fcntl_dupfd_cloexec(&stdin, 3).ok()?;
    let nothing = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    rustix::stdio::dup2_stdin(&nothing).ok()?;
    Some(socket)
}

/// The process that started this one. The end of the connection tells of its end, but not while a copy of that process
/// lives which has the engine's end of the connection too: a fork that does not run another program.
#[derive(Clone, Copy)]
pub struct Parent(Option<Pid>);

impl Parent {
    /// How often it is looked for.
    pub const LOOK: Duration = Duration::from_secs(1);

    /// To be asked first of all: who has lost its parent has another.
    pub fn now() -> Self {
        Self(getppid())
    }

    /// Ends this process when the other has ended.
    pub fn end_without(self) {
        if getppid() != self.0 {
            crash::exit(0);
        }
    }
}

/// Serves the engine until it says that this shall end, or is gone.
pub fn serve(socket: OwnedFd, parent: Parent) -> ! {
    let number = socket.as_raw_fd();
    crash::install(number);
    let (replies, mut orders) = Link::<Reply, Order>::from(socket).split();
    let replies = Arc::new(replies);
    send(&replies, &Reply::Hello(Hello { protocol: PROTOCOL, version: VERSION.to_owned(), pid: std::process::id() }));
    let mut start = first(&mut orders, parent);
    reopen(&mut start.plugin.file);
    start.files.iter_mut().for_each(|entry| reopen(&mut entry.file));
    let mut shut = match shut_in(&start, number) {
        Ok(shut) => shut,
        Err(sentence) => refuse(&replies, Error::new(ErrorKind::Unsupported, sentence)),
    };
    let desk = Desk::new(Arc::clone(&replies), log_to(&replies, start.log_level), start.files);
    read_orders(&desk, orders, parent);
    let opened = open(start.plugin).and_then(|(backend, description)| {
        let no_code = |sentence| Error::new(ErrorKind::Unsupported, sentence);
        shut.refuse_new_code(start.sandbox).map_err(no_code)?;
        Ok((backend, description))
    });
    match opened {
        Ok((backend, description)) => {
            let started = started(&backend, description, &shut);
            desk.open(backend);
            send(&replies, &Reply::Started(Box::new(started)));
            desk.work()
        }
        Err(error) => refuse(&replies, error),
    }
}

/// Has the log go to the engine, from this level on; gives the level, which may be changed.
fn log_to(replies: &Arc<Sender<Reply>>, level: u8) -> Arc<AtomicU8> {
    let level = Arc::new(AtomicU8::new(level));
    let lines = tracing::Dispatch::new(Lines::new(Arc::clone(replies), Arc::clone(&level)));
    // Nobody else has set one.
    _ = tracing::dispatcher::set_global_default(lines);
    level
}

fn read_orders(desk: &Arc<Desk>, orders: Receiver<Order>, parent: Parent) {
    let reader = Arc::clone(desk);
    let thread = std::thread::Builder::new().name("tenon-orders".to_owned());
    if let Err(error) = thread.spawn(move || reader.read(orders, parent)) {
        eprintln!("tenon-worker: cannot start a thread: {error}");
        crash::exit(NO_SYSTEM);
    }
}

fn open(plugin: Library) -> Result<(Arc<Backend>, String), Error> {
    let backend = Backend::open(plugin.file, &plugin.name)?;
    let description = backend.describe()?;
    if description.len() > limits::DESCRIPTION {
        let (bytes, most) = (description.len(), limits::DESCRIPTION);
        let message = format!("its description has {bytes} bytes; a worker hands on {most} at most");
        return Err(Error::new(ErrorKind::Plugin, message));
    }
    Ok((backend, description))
}

fn refuse(replies: &Sender<Reply>, error: Error) -> ! {
    send(replies, &Reply::Refused(outcome(Err(error))));
    crash::exit(0)
}

fn first(orders: &mut Receiver<Order>, parent: Parent) -> Box<Start> {
    loop {
        match orders.receive(Some(Parent::LOOK)) {
            Ok(Received::Message(Order::Start(start))) => return start,
            Ok(Received::Message(_)) => broken("the first order is not the one to start"),
            Ok(Received::Timeout) => parent.end_without(),
            Ok(Received::Closed) => crash::exit(0),
            Err(error) => broken(&error.to_string()),
        }
    }
}

/// Opens a file anew, for reading: what came shares its position with the engine and with other workers. Where the user
/// may no longer open it, what came has to do.
fn reopen(file: &mut File) {
    #[cfg(target_os = "linux")]
    if let Ok(own) = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())) {
        *file = own;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

fn shut_in(start: &Start, socket: i32) -> Result<sandbox::Shut, String> {
    let files = start.files.iter().map(|file| file.file.as_fd());
    let files: Vec<BorrowedFd<'_>> = std::iter::once(start.plugin.file.as_fd()).chain(files).collect();
    let given = sandbox::Given { socket, files: &files, memory_limit: start.memory_limit };
    let shut = sandbox::enter(start.sandbox, &given)?;
    start.memory_limit.into_iter().for_each(crash::limited);
    Ok(shut)
}

fn started(backend: &Backend, description: String, shut: &sandbox::Shut) -> Started {
    Started {
        id: backend.id().to_owned(),
        version: backend.version().to_owned(),
        abi: backend.abi(),
        build_info: backend.build_info().to_owned(),
        caps: backend.caps(),
        description,
        has_estimate: backend.has_estimate(),
        sandbox: shut.report().clone(),
    }
}
