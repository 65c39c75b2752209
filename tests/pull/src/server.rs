//! The server: a listener, a thread for each connection, and what its paths hold.

use crate::record::{Log, Seen};
use crate::tls::Identity;
use crate::wire::{Held, Next, Reply, Request, Socket, Stream, read_request};
use crate::{Answer, Blob};
use rustls::{ServerConnection, StreamOwned};
use std::collections::{HashMap, VecDeque};
use std::io::{self, BufReader};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;

/// A server on a port of its own. It ends when it is dropped, in the middle of whatever it says.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    scheme: &'static str,
    /// The host in its addresses.
    host: String,
    listening: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    log: Log,
    stopping: AtomicBool,
    pages: Mutex<HashMap<String, Page>>,
    identity: Option<Identity>,
    sockets: Mutex<Vec<Weak<TcpStream>>>,
}

type Handler = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

/// What a path holds and what is said to those who ask for it.
#[derive(Clone, Default)]
struct Page {
    blob: Option<Blob>,
    etag: Option<String>,
    script: VecDeque<Answer>,
    always: Option<Answer>,
    handler: Option<Handler>,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Page").field("etag", &self.etag).field("script", &self.script).finish_non_exhaustive()
    }
}

impl Server {
    /// HTTP on 127.0.0.1.
    pub fn start() -> Self {
        Self::listen("127.0.0.1", "127.0.0.1", None)
    }

    /// HTTP on another address of this machine, such as `127.0.0.2`.
    pub fn at(host: &str) -> Self {
        Self::listen(host, host, None)
    }

    /// HTTPS on 127.0.0.1 with this certificate; `host` is the name in its addresses.
    pub fn tls(identity: &Identity, host: &str) -> Self {
        Self::listen("127.0.0.1", host, Some(identity.clone()))
    }

    fn listen(address: &str, host: &str, identity: Option<Identity>) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap_or_else(|error| panic!("{address}: {error}"));
        let address = listener.local_addr().expect("a listener has an address");
        let scheme = if identity.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared {
            log: Log::default(),
            stopping: AtomicBool::new(false),
            pages: Mutex::default(),
            identity,
            sockets: Mutex::default(),
        });
        let listening = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { shared, address, scheme, host: host.to_owned(), listening: Some(listening) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address without a path, such as `http://127.0.0.1:40001`.
    pub fn origin(&self) -> String {
        format!("{}://{}:{}", self.scheme, self.host, self.address.port())
    }

    /// The address of a path, which starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }

    /// Serves a blob with a strong entity tag. Gives its address.
    pub fn blob(&self, path: &str, blob: impl Into<Blob>) -> String {
        let blob = blob.into();
        self.page(path, |page| {
            page.blob = Some(blob);
            page.etag = Some("\"first\"".to_owned());
        });
        self.url(path)
    }

    /// The next GETs of a path get these answers in turn; after them what it holds is served well.
    pub fn script(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        let answers: VecDeque<Answer> = answers.into_iter().collect();
        self.page(path, |page| page.script = answers);
    }

    /// Every request for a path that is not scripted gets this answer.
    pub fn always(&self, path: &str, answer: Answer) {
        self.page(path, |page| page.always = Some(answer));
    }

    /// A function answers what is asked of a path.
    pub fn answer_with(&self, path: &str, handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        self.page(path, |page| page.handler = Some(Arc::new(handler)));
    }

    /// What it has seen.
    pub fn log(&self) -> &Log {
        &self.shared.log
    }

    /// The GETs of a path so far.
    pub fn gets(&self, path: &str) -> Vec<Seen> {
        let requests = self.log().requests().into_iter();
        requests.filter(|seen| seen.method == "GET" && seen.path() == path).collect()
    }

    fn page(&self, path: &str, change: impl FnOnce(&mut Page)) {
        let mut pages = self.shared.pages.lock().unwrap_or_else(PoisonError::into_inner);
        change(pages.entry(path.to_owned()).or_default());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the listener up.
        let _ = TcpStream::connect(self.address);
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
        let sockets = self.shared.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        for socket in sockets.iter().filter_map(Weak::upgrade) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for socket in listener.incoming().flatten() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let socket = Arc::new(socket);
        shared.sockets.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&socket));
        let connection = shared.log.connected();
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // A client that goes away in the middle is nothing to report: the log says what was sent.
            let _ = converse(Socket(socket), &shared, connection);
        });
    }
}

/// Answers the requests of one connection.
fn converse(socket: Socket, shared: &Shared, connection: usize) -> io::Result<()> {
    socket.0.set_nodelay(true)?;
    let stream = match &shared.identity {
        None => Stream::Plain(socket),
        Some(identity) => {
            let tls = ServerConnection::new(identity.config()).map_err(io::Error::other)?;
            Stream::Tls(Box::new(StreamOwned::new(tls, socket)))
        }
    };
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream)? {
        let number = shared.log.add(request.seen(connection));
        let (held, answer) = shared.answer(&request);
        let mut reply = Reply { stream: stream.get_mut(), log: &shared.log, number, stopping: &shared.stopping };
        match reply.write(&request, held, &answer)? {
            Next::Keep if request.header("connection").is_none_or(|value| value != "close") => {}
            Next::Gone => return Ok(()),
            Next::Keep | Next::Close => {
                stream.get_mut().close(answer.abrupt);
                return Ok(());
            }
        }
    }
    Ok(())
}

impl Shared {
    /// What a path holds, and what to say about it now.
    fn answer(&self, request: &Request) -> (Held, Answer) {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(page) = pages.get_mut(request.path()) else {
            return (Held { blob: None, etag: None }, Answer::status(404));
        };
        let scripted = if request.method == "GET" { page.script.pop_front() } else { None };
        let held = Held { blob: page.blob.clone(), etag: page.etag.clone() };
        let (always, handler) = (page.always.clone(), page.handler.clone());
        // A handler may ask the server for something.
        drop(pages);
        let answer = scripted.or(always).or_else(|| handler.map(|handler| handler(request)));
        (held, answer.unwrap_or_default())
    }
}
