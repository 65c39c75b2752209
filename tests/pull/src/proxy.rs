//! A proxy that records what passes and that knows where made-up hosts are.

use crate::Server;
use crate::record::Log;
use crate::wire::read_request;
use std::collections::HashMap;
use std::io::{self, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// An HTTP proxy on 127.0.0.1 for `CONNECT`. It reaches only the hosts that it was told of.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
}

#[derive(Debug, Default)]
struct Shared {
    log: Log,
    hosts: Mutex<HashMap<String, SocketAddr>>,
    refuses: AtomicBool,
    stopping: AtomicBool,
}

impl Proxy {
    /// A proxy that knows no host yet.
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared::default());
        std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { shared, address }
    }

    /// What `HTTPS_PROXY` is set to.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `host`, with its port, is this server.
    pub fn knows(&self, host: &str, server: &Server) {
        self.hosts().insert(host.to_owned(), server.address());
    }

    /// From now on it wants to know who asks: 407 to everybody.
    pub fn refuse(&self) {
        self.shared.refuses.store(true, Ordering::SeqCst);
    }

    /// What has passed: the target of each is a host with its port.
    pub fn log(&self) -> &Log {
        &self.shared.log
    }

    fn hosts(&self) -> std::sync::MutexGuard<'_, HashMap<String, SocketAddr>> {
        self.shared.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the listener up.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming().flatten() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let shared = Arc::clone(shared);
        // What either side breaks off is theirs to report.
        std::thread::spawn(move || pass(client, &shared));
    }
}

fn pass(client: TcpStream, shared: &Shared) -> io::Result<()> {
    let connection = shared.log.connected();
    let mut reader = BufReader::new(client);
    let Some(request) = read_request(&mut reader)? else { return Ok(()) };
    let number = shared.log.add(request.seen(connection));
    let mut client = reader.into_inner();
    if shared.refuses.load(Ordering::SeqCst) {
        shared.log.answered(number, 407);
        return client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
    }
    let address = shared.hosts.lock().unwrap_or_else(PoisonError::into_inner).get(&request.target).copied();
    let Some(address) = address else {
        shared.log.answered(number, 502);
        return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
    };
    let server = TcpStream::connect(address)?;
    shared.log.answered(number, 200);
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    tunnel(client, server)
}

fn tunnel(client: TcpStream, server: TcpStream) -> io::Result<()> {
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    let up = std::thread::spawn(move || copy(&from_client, &to_server));
    copy(&server, &client);
    let _ = up.join();
    Ok(())
}

/// Passes everything on, and then the end of it.
fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
