//! A server for tests: each connection carries one request, and a closure decides on the answer.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

type Script = dyn Fn(&str, usize) -> Answer + Send + Sync;

pub struct Server {
    port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    script: Box<Script>,
    requests: Mutex<Vec<String>>,
    connections: AtomicUsize,
    ends: AtomicBool,
}

impl Server {
    /// Answers each request, in lower case and with its number from 0, as the closure says.
    pub fn start(script: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            requests: Mutex::default(),
            connections: AtomicUsize::new(0),
            ends: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.ends.load(Ordering::SeqCst) {
                    return;
                }
                serving.connections.fetch_add(1, Ordering::SeqCst);
                let serving = Arc::clone(&serving);
                std::thread::spawn(move || serving.serve(stream.unwrap()));
            }
        });
        Self { port, shared, thread: Some(thread) }
    }

    /// Has one file under every path, with ranges and an entity tag.
    pub fn files(content: Vec<u8>) -> Self {
        Self::start(move |request, _| Answer::file(&content, request))
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.thread.take().unwrap().join();
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => request.push(byte[0]),
                _ => return,
            }
        }
        let request = String::from_utf8(request).unwrap().to_lowercase();
        let at = {
            let mut requests = self.requests.lock().unwrap();
            requests.push(request.clone());
            requests.len() - 1
        };
        let answer = (self.script)(&request, at);
        let _ = answer.send(&mut stream, &self.ends, request.starts_with("head "));
        let _ = stream.shutdown(Shutdown::Both);
    }
}

pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    cut: usize,
    chunked: bool,
    drip: Option<Duration>,
    silent: bool,
}

impl Answer {
    pub fn status(status: u16) -> Self {
        let (headers, body) = (Vec::new(), Vec::new());
        Self { status, headers, body, cut: usize::MAX, chunked: false, drip: None, silent: false }
    }

    pub fn whole(content: &[u8]) -> Self {
        Self { body: content.to_vec(), ..Self::status(200) }
    }

    /// All of the file, or the range that is asked for.
    pub fn file(content: &[u8], request: &str) -> Self {
        let whole = Self::whole(content).header("ETag", "\"1\"");
        let Some(range) = request.lines().find_map(|line| line.strip_prefix("range: bytes=")) else { return whole };
        let (first, last) = range.split_once('-').unwrap();
        let first: usize = first.parse().unwrap();
        let last = last.parse().unwrap_or(content.len() - 1);
        let said = format!("bytes {first}-{last}/{}", content.len());
        Self { status: 206, body: content[first..=last].to_vec(), ..whole }.header("Content-Range", &said)
    }

    pub fn silence() -> Self {
        Self { silent: true, ..Self::status(200) }
    }

    /// Sets a header; an empty value takes it away.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        if !value.is_empty() {
            self.headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Sends so many bytes of the body and then nothing.
    pub fn cut_after(self, bytes: usize) -> Self {
        Self { cut: bytes, ..self }
    }

    pub fn chunked(self) -> Self {
        Self { chunked: true, ..self }
    }

    /// Sends a byte at a time.
    pub fn drip(self, pause: Duration) -> Self {
        Self { drip: Some(pause), ..self }
    }

    fn send(&self, stream: &mut TcpStream, ends: &AtomicBool, head_only: bool) -> std::io::Result<()> {
        while self.silent && !ends.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut head = format!("HTTP/1.1 {} Some\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        match self.chunked {
            true => head += "Transfer-Encoding: chunked\r\n",
            false => head += &format!("Content-Length: {}\r\n", self.body.len()),
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        if head_only {
            return Ok(());
        }
        let body = &self.body[..self.cut.min(self.body.len())];
        match (self.drip, self.chunked) {
            (Some(pause), _) => body.iter().filter(|_| !ends.load(Ordering::SeqCst)).try_for_each(|byte| {
                std::thread::sleep(pause);
                stream.write_all(&[*byte])
            }),
            (None, true) => {
                for chunk in body.chunks(1000) {
                    write!(stream, "{:x}\r\n", chunk.len())?;
                    stream.write_all(chunk)?;
                    stream.write_all(b"\r\n")?;
                }
                stream.write_all(b"0\r\n\r\n")
            }
            (None, false) => stream.write_all(body),
        }
    }
}
