//! The server says what the tests believe that it says: asked by hand, and by curl.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use tenon_pull_tests::{Answer, Authority, Gate, Proxy, Server, noise};
use tenon_testkit::installed;

/// What the server answers to a GET with these headers on a connection of its own: head, body, and how it ended.
fn get(server: &Server, path: &str, headers: &str) -> (String, Vec<u8>, std::io::Result<()>) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).map(drop);
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    (String::from_utf8_lossy(&bytes[..head]).into_owned(), bytes[head..].to_vec(), end)
}

#[test]
fn a_good_server_serves_wholes_ranges_and_what_lies_beyond() {
    let (server, bytes) = (Server::start(), noise(1, 1000));
    server.blob("/b", &bytes);
    let (head, body, _) = get(&server, "/b", "");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("ETag: \"first\"\r\n"), "{head}");
    assert!(body == bytes);
    let (head, body, _) = get(&server, "/b", "Range: bytes=990-\r\nIf-Range: \"first\"\r\n");
    assert!(head.contains("206 ") && head.contains("Content-Range: bytes 990-999/1000\r\n"), "{head}");
    assert!(body == bytes[990..]);
    let (head, body, _) = get(&server, "/b", "Range: bytes=10-19\r\n");
    assert!(head.contains("Content-Range: bytes 10-19/1000\r\nETag"), "{head}");
    assert!(body == bytes[10..20]);
    let (head, body, _) = get(&server, "/b", "Range: bytes=990-\r\nIf-Range: \"second\"\r\n");
    assert!(head.contains("200 OK") && body == bytes, "{head}");
    let (head, body, _) = get(&server, "/b", "Range: bytes=1000-\r\n");
    assert!(head.contains("416 ") && head.contains("Content-Range: bytes */1000") && body.is_empty(), "{head}");
    assert!(get(&server, "/c", "").0.starts_with("HTTP/1.1 404 "));
    let seen = server.gets("/b");
    assert_eq!(seen.iter().map(|seen| seen.start()).collect::<Vec<_>>(), [0, 990, 10, 990, 1000]);
    assert_eq!(seen.iter().map(|seen| seen.sent).collect::<Vec<_>>(), [1000, 10, 10, 1000, 0]);
    assert_eq!((seen[0].status, seen[1].status, server.log().connections()), (200, 206, 6));
}

#[test]
fn each_answer_is_wrong_in_its_own_way() {
    let (server, bytes) = (Server::start(), noise(2, 1000));
    server.blob("/b", &bytes);
    let good = Answer::good;
    server.script(
        "/b",
        [
            good().cut(10),
            good().whole(),
            good().shifted(5),
            good().total(77),
            good().length(5000),
            good().chunked(300),
            good().gzipped(),
            good().drip(400, Duration::ZERO).without_length(),
            good().body(&bytes[..10]).etag("W/\"weak\""),
            Answer::raw("nonsense"),
            Answer::redirect(302, "http://elsewhere/"),
        ],
    );
    let ask = || get(&server, "/b", "Range: bytes=100-\r\n");
    let (head, body, _) = ask();
    assert!(head.contains("Content-Length: 900\r\n") && body == bytes[100..110], "{head}");
    assert!(ask().1 == bytes);
    let (head, body, _) = ask();
    assert!(head.contains("bytes 105-999/1000") && body == bytes[105..], "{head}");
    assert!(ask().0.contains("bytes 100-999/77"));
    assert!(ask().0.contains("Content-Length: 5000"));
    let (head, body, _) = ask();
    assert!(!head.contains("Content-Length") && body.starts_with(b"12c\r\n") && body.ends_with(b"0\r\n\r\n"));
    let (head, body, _) = ask();
    assert!(head.contains("Content-Encoding: gzip") && body.starts_with(&[0x1f, 0x8b]), "{head}");
    let (head, body, _) = ask();
    assert!(!head.contains("Content-Length") && body == bytes[100..], "{head}");
    let (head, _, _) = ask();
    assert!(head.contains("416 ") && !head.contains("weak"), "{head}");
    assert_eq!(ask().0, "nonsense");
    assert!(ask().0.contains("Location: http://elsewhere/"));
    assert!(ask().1 == bytes[100..]);
}

#[test]
fn a_reset_is_a_reset_and_a_gate_holds_until_it_is_opened() {
    let (server, bytes, gate) = (Server::start(), noise(3, 1000), Gate::shut());
    server.blob("/b", &bytes);
    server.script("/b", [Answer::good().reset_after(10), Answer::good().gate(500, &gate), Answer::silence()]);
    let (_, _, end) = get(&server, "/b", "");
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    std::thread::scope(|scope| {
        let whole = scope.spawn(|| get(&server, "/b", "").1);
        server.log().wait("half of it", |seen| seen.last().is_some_and(|last| last.sent == 500));
        gate.open();
        assert!(whole.join().unwrap() == bytes);
    });
    // A server that ends takes whoever waits for it along.
    let mut silent = TcpStream::connect(server.address()).unwrap();
    silent.write_all(b"GET /b HTTP/1.1\r\n\r\n").unwrap();
    server.log().wait("the request", |seen| seen.len() == 3);
    drop(server);
    assert_eq!(silent.read(&mut [0; 8]).unwrap_or(0), 0);
}

#[test]
fn curl_agrees_with_the_server_over_tls_gzip_chunks_and_a_proxy() {
    let test = "curl_agrees_with_the_server_over_tls_gzip_chunks_and_a_proxy";
    if !installed("curl", test) {
        return;
    }
    let (folder, authority, bytes) = (TempDir::new().unwrap(), Authority::new(), noise(4, 200_000));
    let server = Server::tls(&authority.identity(&["models.test"]), "models.test");
    let (proxy, authority) = (Proxy::start(), authority.write(folder.path()));
    let url = server.blob("/b", &bytes);
    let host = format!("models.test:{}", server.address().port());
    proxy.knows(&host, &server);
    let curl = |arguments: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-sS", "--proxy", &proxy.url(), "--cacert"]).arg(&authority).args(arguments).arg(&url);
        let output = command.output().unwrap();
        (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    server.script("/b", [Answer::good().gzipped().chunked(70_000)]);
    let (out, complaint) = curl(&["--compressed"]);
    assert!(out == bytes, "{complaint}");
    let (out, complaint) = curl(&["-r", "1000-1999"]);
    assert!(out == bytes[1000..2000], "{complaint}");
    assert_eq!(proxy.log().requests()[0].target, host);
}
