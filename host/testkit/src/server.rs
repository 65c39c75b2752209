//! A small HTTP server on the loopback address, for tests of pulls: files with ranges, and connections that hang.
//!
//! It is well-behaved but for that; what servers do wrong is the matter of the tests of `tenon-pull` themselves.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use tenon::Digest;

/// A server that ends with its last clone.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<String, Served>,
    asked: Vec<String>,
    /// Files of which only so many bytes are sent before the connection hangs.
    held: HashMap<String, usize>,
    ended: bool,
}

/// A file, and the headers that it comes with.
#[derive(Clone, Debug)]
struct Served {
    bytes: Arc<Vec<u8>>,
    headers: String,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// A server without files.
    #[allow(clippy::new_without_default, reason = "it opens a port")]
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the loopback address");
        let address = listener.local_addr().expect("the address of the port");
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.state().ended {
                    return;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&serving)) else { continue };
                // A client that leaves early is nobody's failure.
                thread::spawn(move || drop(answer(stream, &shared)));
            }
        });
        Self { address, shared }
    }

    /// Serves a file and gives its address.
    pub fn put(&self, name: &str, bytes: &[u8]) -> String {
        self.put_with(name, bytes, &[])
    }

    /// Serves a file with headers of its own.
    pub fn put_with(&self, name: &str, bytes: &[u8], headers: &[(&str, &str)]) -> String {
        let headers = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self.shared.state().files.insert(format!("/{name}"), Served { bytes: Arc::new(bytes.to_vec()), headers });
        self.url(name)
    }

    /// Serves a file and gives the `[[file]]` of a manifest that names it.
    pub fn file(&self, role: &str, name: &str, bytes: &[u8]) -> String {
        let (url, digest, size) = (self.put(name, bytes), Digest::of(bytes), bytes.len());
        format!(
            "[[file]]\nrole = \"{role}\"\nname = \"{name}\"\nurl = [\"{url}\"]\nsha256 = \"{digest}\"\nsize = {size}\n"
        )
    }

    /// The address of a file.
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// From now on connections hang after so many bytes of this file.
    pub fn hold(&self, name: &str, after: usize) {
        self.shared.state().held.insert(format!("/{name}"), after);
    }

    /// No connection hangs any longer; those that do are cut.
    pub fn release(&self) {
        self.shared.state().held.clear();
        self.shared.changed.notify_all();
    }

    /// The requests until now: method, path, range.
    pub fn asked(&self) -> Vec<String> {
        self.shared.state().asked.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.changed.notify_all();
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

/// Answers the one request of a connection.
fn answer(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut headers = HashMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split('?').next().unwrap_or_default();
    let range = headers.get("range").cloned().unwrap_or_default();
    let (file, held) = {
        let mut state = shared.state();
        state.asked.push(format!("{method} {path} {range}").trim_end().to_owned());
        (state.files.get(path).cloned(), state.held.get(path).copied())
    };
    let Some(Served { bytes: file, headers: own }) = file else {
        return (&stream).write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let tag = format!("\"{}-{path}\"", file.len());
    let fresh = headers.get("if-range").is_none_or(|known| *known == tag);
    let (status, body, of) = part(&file, if fresh { &range } else { "" });
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{of}{own}Accept-Ranges: bytes\r\nETag: {tag}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    (&stream).write_all(head.as_bytes())?;
    if method == "HEAD" {
        return Ok(());
    }
    let sent = held.map_or(body.len(), |held| held.min(body.len()));
    (&stream).write_all(&body[..sent])?;
    if sent < body.len() {
        let hangs = |state: &mut State| !state.ended && state.held.contains_key(path);
        drop(shared.changed.wait_while(shared.state(), hangs));
    }
    Ok(())
}

/// Status, body and `Content-Range` of `bytes=FROM-[TO]`; the whole file for anything else.
fn part<'f>(file: &'f [u8], range: &str) -> (&'static str, &'f [u8], String) {
    let bounds = range.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let Some((Ok(from), to)) = bounds.map(|(from, to)| (from.parse::<usize>(), to)) else {
        return ("200 OK", file, String::new());
    };
    if from >= file.len() {
        return ("416 Range Not Satisfiable", &[], format!("Content-Range: bytes */{}\r\n", file.len()));
    }
    let last = to.parse::<usize>().unwrap_or(usize::MAX).min(file.len() - 1);
    let of = format!("Content-Range: bytes {from}-{last}/{}\r\n", file.len());
    ("206 Partial Content", &file[from..=last.max(from)], of)
}
