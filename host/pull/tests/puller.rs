//! The puller against small servers of the test's own.

mod server;

use server::{Answer, Server};
use std::num::NonZeroU64;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tenon_pull::{ErrorKind, Event, Network, Pulled, Puller};
use tenon_store::{Digest, Environment, Manifest, Store};

struct Home {
    folder: tempfile::TempDir,
    network: Network,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("tenon é 模 ").tempdir().unwrap();
        let mut environment = Environment::of_this_process();
        environment.variables.clear();
        let network = Network::of(&environment).unwrap();
        let network = network.back_off(Duration::from_millis(1)).tries(3);
        Self { folder, network }
    }

    fn store(&self) -> Store {
        Store::new(Vec::new(), self.folder.path().join("a store"), self.folder.path().join("state"))
    }

    fn pull(&self, manifest: &Manifest) -> (tenon_pull::Result<Vec<Pulled>>, Vec<Event>) {
        let mut events = Vec::new();
        let pulled = Puller::new(&self.store(), &self.network).pull(manifest, &mut |event| {
            if events.last() != Some(event) {
                events.push(event.clone());
            }
            ControlFlow::Continue(())
        });
        (pulled, events)
    }

    /// Pulls, and checks that the blob is right.
    fn pull_good(&self, manifest: &Manifest, content: &[u8]) -> (Pulled, Vec<Event>) {
        let (pulled, events) = self.pull(manifest);
        let pulled = pulled.unwrap().remove(0);
        assert!(std::fs::read(&pulled.path).unwrap() == content);
        (pulled, events)
    }

    /// Pulls what must fail: the kind and the sentence. Nothing may have got a name.
    fn pull_bad(&self, manifest: &Manifest) -> (ErrorKind, String) {
        let error = self.pull(manifest).0.unwrap_err();
        assert!(!self.store().blob_path(manifest.files[0].sha256).exists());
        (error.kind().clone(), error.to_string())
    }

    fn held(&self, manifest: &Manifest) -> u64 {
        let file = &manifest.files[0];
        match self.store().receive(file.sha256, file.size, &mut || ControlFlow::Break(())).unwrap() {
            tenon_store::Receive::Part(part) => part.held(),
            tenon_store::Receive::Present(_) => file.size,
        }
    }
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at * 31 + at / 253 + at / 65_521) as u8).collect()
}

fn manifest(content: &[u8], urls: &[String]) -> Manifest {
    let urls: Vec<String> = urls.iter().map(|url| format!("{url:?}")).collect();
    let text = format!(
        "name = \"m\"\ntask = \"chat\"\nbackend = \"echo\"\nlicense = \"MIT\"\n[[file]]\nrole = \"model\"\n\
         name = \"m.gguf\"\nurl = [{}]\nsha256 = \"{}\"\nsize = {}\n",
        urls.join(","),
        Digest::of(content),
        content.len()
    );
    Manifest::parse_text(&text, "m.toml".as_ref()).unwrap()
}

#[test]
fn a_file_comes_and_is_not_fetched_again() {
    let content = bytes(300_000);
    let server = Server::files(content.clone());
    let (home, manifest) = (Home::new(), manifest(&content, &[server.url("/m.gguf")]));
    let (pulled, events) = home.pull_good(&manifest, &content);
    assert_eq!((pulled.fetched, pulled.size, pulled.role.as_str()), (300_000, 300_000, "model"));
    assert!(matches!(events.last(), Some(Event::Done { total: 300_000, .. })));
    assert!(events.iter().any(|event| matches!(event, Event::Connecting { .. })));
    let (pulled, events) = home.pull_good(&manifest, &content);
    assert_eq!(pulled.fetched, 0);
    assert!(!events.iter().any(|event| matches!(event, Event::Connecting { .. })));
    assert_eq!(server.requests().len(), 1);
    let asked = &server.requests()[0];
    assert!(asked.contains("accept-encoding: identity") && !asked.contains("range:"), "{asked}");
}

#[test]
fn after_a_cut_it_goes_on_at_the_byte_where_it_stopped() {
    let content = bytes(500_000);
    let whole = content.clone();
    let server = Server::start(move |request, at| {
        let answer = Answer::file(&whole, request);
        if at == 0 { answer.cut_after(200_000) } else { answer }
    });
    let (home, manifest) = (Home::new(), manifest(&content, &[server.url("/m.gguf")]));
    let (pulled, events) = home.pull_good(&manifest, &content);
    assert_eq!(pulled.fetched, 500_000);
    let asked = &server.requests()[1];
    assert!(asked.contains("range: bytes=200000-\r\n") && asked.contains("if-range: \"1\""), "{asked}");
    assert!(events.iter().any(|event| matches!(event, Event::Resuming { done: 200_000, total: 500_000, .. })));
    assert!(events.iter().any(|event| matches!(event, Event::Retrying { attempt: 1, .. })), "{events:?}");
}

#[test]
fn what_came_before_an_error_stays_for_the_next_time() {
    let content = bytes(100_000);
    let whole = content.clone();
    let server = Server::start(move |request, at| match at {
        0 => Answer::file(&whole, request).cut_after(60_000),
        1..=2 => Answer::status(404),
        _ => Answer::file(&whole, request),
    });
    let (home, manifest) = (Home::new(), manifest(&content, &[server.url("/m.gguf")]));
    assert!(matches!(home.pull_bad(&manifest), (ErrorKind::NotFound, _)));
    assert_eq!(home.held(&manifest), 60_000);
    assert!(home.pull(&manifest).0.is_err());
    assert_eq!(home.pull_good(&manifest, &content).0.fetched, 40_000);
}

#[test]
fn big_files_come_over_several_connections_and_go_on_after_a_cut() {
    let content = bytes(4_000_000);
    let whole = content.clone();
    let cuts = AtomicUsize::new(0);
    let server = Server::start(move |request, _| {
        let answer = Answer::file(&whole, request);
        // Each connection but the first is cut once.
        let later = !request.contains("bytes=0-");
        if later && cuts.fetch_add(1, Ordering::Relaxed) < 2 { answer.cut_after(100_000) } else { answer }
    });
    let mut home = Home::new();
    home.network = home.network.parallel_from(1_000_000).connections(4);
    let manifest = manifest(&content, &[server.url("/m.gguf")]);
    let (pulled, _) = home.pull_good(&manifest, &content);
    assert_eq!(pulled.fetched, 4_000_000);
    assert!(server.requests()[0].contains("range: bytes=0-999999\r\n"));
    assert!(server.requests().len() >= 5);
}

#[test]
fn a_server_that_knows_no_ranges_sends_all_once() {
    let content = bytes(2_000_000);
    let whole = content.clone();
    let server = Server::start(move |_, _| Answer::whole(&whole));
    let mut home = Home::new();
    home.network = home.network.parallel_from(0);
    let manifest = manifest(&content, &[server.url("/m.gguf")]);
    assert_eq!(home.pull_good(&manifest, &content).0.fetched, 2_000_000);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn all_of_the_file_instead_of_a_range_begins_anew() {
    let content = bytes(100_000);
    let whole = content.clone();
    let server = Server::start(move |_, at| match at {
        0 => Answer::whole(&whole).cut_after(70_000),
        _ => Answer::whole(&whole),
    });
    let (home, manifest) = (Home::new(), manifest(&content, &[server.url("/m.gguf")]));
    assert_eq!(home.pull_good(&manifest, &content).0.fetched, 170_000);
}

#[test]
fn a_range_other_than_asked_for_is_not_believed() {
    let content = bytes(100_000);
    for wrong in
        ["bytes 0-99999/100000", "bytes 50001-99999/100000", "bytes 50000-99999/*", "bytes 50000-100000/100000", ""]
    {
        let whole = content.clone();
        let server = Server::start(move |request, at| match at {
            0 => Answer::whole(&whole).cut_after(50_000),
            _ if request.contains("range: bytes=") => Answer::file(&whole, request).header("Content-Range", wrong),
            _ => Answer::whole(&whole),
        });
        let (home, manifest) = (Home::new(), manifest(&content, &[server.url("/m.gguf")]));
        home.pull_good(&manifest, &content);
    }
}

#[test]
fn a_file_that_changed_on_the_server_is_fetched_from_its_start() {
    let content = bytes(100_000);
    let whole = content.clone();
    let server = Server::start(move |request, at| match at {
        0 => Answer::file(&vec![7; 100_000], request).cut_after(50_000),
        // One that minds no If-Range.
        _ => Answer::file(&whole, request).header("ETag", "\"2\""),
    });
    let (home, manifest) = (Home::new(), manifest(&content, &[server.url("/m.gguf")]));
    home.pull_good(&manifest, &content);
}

#[test]
fn after_a_change_on_the_server_ranges_are_still_asked_for_unless_it_changes_again() {
    let content = bytes(100_000);
    for tags in [[1, 2, 2, 2, 2], [1, 2, 2, 3, 3]] {
        let whole = content.clone();
        let server = Server::start(move |request, at| {
            let answer = Answer::file(&whole, request).header("ETag", &format!("\"{}\"", tags[at]));
            // The first, and the first from the start again.
            if at == 0 || at == 2 { answer.cut_after(50_000) } else { answer }
        });
        let mut home = Home::new();
        home.network = home.network.tries(6);
        let manifest = manifest(&content, &[server.url("/m.gguf")]);
        home.pull_good(&manifest, &content);
        let requests = server.requests();
        assert!(requests[1].contains("range: bytes=50000-") && !requests[2].contains("range:"), "{requests:?}");
        assert!(requests[3].contains("range: bytes=50000-"), "{requests:?}");
        assert_eq!(requests.len(), if tags[3] == 2 { 4 } else { 5 });
    }
}

#[test]
fn a_refused_range_begins_anew_and_another_size_is_said() {
    let content = bytes(100_000);
    for (said, good) in [("bytes */100000", true), ("bytes */99", false)] {
        let whole = content.clone();
        let server = Server::start(move |request, at| match at {
            0 => Answer::whole(&whole).cut_after(50_000),
            _ if request.contains("range: bytes=") => Answer::status(416).header("Content-Range", said),
            _ => Answer::whole(&whole),
        });
        let (home, manifest) = (Home::new(), manifest(&content, &[server.url("/m.gguf")]));
        if good {
            home.pull_good(&manifest, &content);
        } else {
            let (kind, message) = home.pull_bad(&manifest);
            assert!(
                matches!(kind, ErrorKind::Network) && message.contains("has 99 bytes, not the 100000"),
                "{message}"
            );
        }
    }
}

#[test]
fn a_body_of_another_length_is_refused() {
    let content = bytes(10_000);
    for (length, chunked) in [(9_999, false), (10_001, false), (10_001, true), (9_999, true)] {
        let mut other = content.clone();
        other.resize(length, 0);
        let server = Server::start(move |_, _| {
            let answer = Answer::whole(&other);
            if chunked { answer.chunked() } else { answer }
        });
        let (home, manifest) = (Home::new(), manifest(&content, &[server.url("/m.gguf")]));
        let (kind, message) = home.pull_bad(&manifest);
        assert!(matches!(kind, ErrorKind::Network), "{length} {chunked}: {message}");
        assert!(message.contains("10000"), "{message}");
    }
}

#[test]
fn a_chunked_body_of_the_right_length_is_taken() {
    let content = bytes(10_000);
    let whole = content.clone();
    let server = Server::start(move |_, _| Answer::whole(&whole).chunked());
    let (home, manifest) = (Home::new(), manifest(&content, &[server.url("/m.gguf")]));
    home.pull_good(&manifest, &content);
}

#[test]
fn an_encoding_on_top_is_refused() {
    let content = bytes(10_000);
    let whole = content.clone();
    let server = Server::start(move |_, _| Answer::whole(&whole).header("Content-Encoding", "gzip"));
    let (home, manifest) = (Home::new(), manifest(&content, &[server.url("/m.gguf")]));
    assert!(home.pull_bad(&manifest).1.contains("in the encoding \"gzip\""));
}

#[test]
fn wrong_bytes_go_to_the_next_address_and_then_are_said_with_both_digests() {
    let content = bytes(10_000);
    let (wrong, right) = (Server::files(vec![1; 10_000]), Server::files(content.clone()));
    let home = Home::new();
    let alone = manifest(&content, &[wrong.url("/m.gguf")]);
    let (kind, message) = home.pull_bad(&alone);
    assert!(matches!(kind, ErrorKind::HashMismatch));
    for digest in [Digest::of(&content), Digest::of(&[1; 10_000])] {
        assert!(message.contains(&digest.to_string()), "{message}");
    }
    let (_, events) = home.pull_good(&manifest(&content, &[wrong.url("/a"), right.url("/b")]), &content);
    assert!(events.iter().any(|event| matches!(event, Event::Mirror { .. })));
}

#[test]
fn a_part_with_wrong_bytes_from_before_costs_one_more_try_and_not_the_address() {
    let content = bytes(100_000);
    let whole = content.clone();
    let server = Server::start(move |request, at| match at {
        0 => Answer::file(&vec![7; 100_000], request).cut_after(50_000),
        1 => Answer::status(403),
        _ => Answer::file(&whole, request),
    });
    let (home, manifest) = (Home::new(), manifest(&content, &[server.url("/m.gguf")]));
    assert!(home.pull(&manifest).0.is_err());
    assert_eq!(home.pull_good(&manifest, &content).0.fetched, 150_000);
}

#[test]
fn busy_servers_are_asked_again_when_they_say_and_only_so_often() {
    let content = bytes(1000);
    for status in [429, 503, 500, 408] {
        let whole = content.clone();
        let server = Server::start(move |request, at| match at {
            0..=1 => Answer::status(status).header("Retry-After", "0"),
            _ => Answer::file(&whole, request),
        });
        let (home, manifest) = (Home::new(), manifest(&content, &[server.url("/m.gguf")]));
        home.pull_good(&manifest, &content);
        let busy = Server::start(move |_, _| Answer::status(status));
        let (kind, message) = Home::new().pull_bad(&self::manifest(&content, &[busy.url("/m.gguf")]));
        assert!(matches!(kind, ErrorKind::Network) && message.contains("(after 3 tries)"), "{message}");
        assert_eq!(busy.requests().len(), 3);
    }
    let later = Server::start(|_, _| Answer::status(503).header("Retry-After", "86400"));
    assert!(Home::new().pull_bad(&manifest(&content, &[later.url("/m.gguf")])).1.contains("come back after 86400 s"));
    assert_eq!(later.requests().len(), 1);
}

#[test]
fn a_refusal_is_final() {
    let content = bytes(1000);
    for status in [400, 401, 403, 404, 410, 451] {
        let server = Server::start(move |_, _| Answer::status(status));
        let (_, message) = Home::new().pull_bad(&manifest(&content, &[server.url("/m.gguf?key=secret")]));
        assert!(message.contains(&format!("answered {status}")) && !message.contains("secret"), "{message}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn redirects_are_followed_five_times() {
    let content = bytes(1000);
    for (hops, good) in [(5, true), (6, false), (usize::MAX, false)] {
        let whole = content.clone();
        let server = Server::start(move |request, at| match at < hops {
            true => Answer::status(302).header("Location", "/next"),
            false => Answer::file(&whole, request),
        });
        let (home, manifest) = (Home::new(), manifest(&content, &[server.url("/m.gguf")]));
        if good {
            home.pull_good(&manifest, &content);
        } else {
            assert!(home.pull_bad(&manifest).1.contains("more than 5 redirects"));
            assert_eq!(server.requests().len(), 6);
        }
    }
}

#[test]
fn a_redirect_further_inside_is_not_followed() {
    let content = bytes(1000);
    for place in [
        "http://169.254.169.254/latest",
        "https://169.254.169.254/",
        "https://10.0.0.1/x",
        "https://[fd00::1]/",
        "http://example.com/",
        "file:///etc/passwd",
    ] {
        let server = Server::start(move |_, _| Answer::status(302).header("Location", place));
        let (kind, message) = Home::new().pull_bad(&manifest(&content, &[server.url("/m.gguf")]));
        assert!(matches!(kind, ErrorKind::Network) && message.contains("sends on to"), "{message}");
    }
}

#[test]
fn the_token_is_told_to_the_hub_and_to_nobody_that_it_sends_on_to() {
    let content = bytes(1000);
    let cdn = Server::files(content.clone());
    let location = cdn.url("/blob");
    let hub = Server::start(move |_, _| Answer::status(302).header("Location", &location));
    let mut home = Home::new();
    home.network = home.network.endpoint(&hub.url("")).unwrap().token(Some("hf_secret")).unwrap();
    let manifest = manifest(&content, &["https://huggingface.co/o/r/resolve/main/m.gguf".to_owned()]);
    home.pull_good(&manifest, &content);
    assert!(hub.requests()[0].contains("authorization: bearer hf_secret"));
    assert!(hub.requests()[0].starts_with("get /o/r/resolve/main/m.gguf http/1.1"));
    assert!(!cdn.requests()[0].contains("hf_secret"));
}

#[test]
fn offline_opens_no_connection() {
    let content = bytes(1000);
    let server = Server::files(content.clone());
    let mut home = Home::new();
    home.network = home.network.offline(true);
    let (kind, message) = home.pull_bad(&manifest(&content, &[server.url("/m.gguf")]));
    assert!(matches!(kind, ErrorKind::Network) && message.contains("offline"), "{message}");
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_silent_server_is_given_up_and_can_be_cancelled() {
    let content = bytes(1000);
    let server = Server::start(|_, _| Answer::silence());
    let mut home = Home::new();
    home.network = home.network.tries(1).stall(Duration::from_millis(150));
    let manifest = manifest(&content, &[server.url("/m.gguf")]);
    assert!(home.pull_bad(&manifest).1.contains("did not answer within 0.15 s"));
    home.network = home.network.stall(Duration::from_secs(1000));
    let mut events = 0;
    let store = home.store();
    let cancelled = Puller::new(&store, &home.network).pull(&manifest, &mut |event| {
        events += usize::from(matches!(event, Event::Connecting { .. }));
        if events == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(cancelled.unwrap_err().kind(), ErrorKind::Cancelled));
}

#[test]
fn a_server_that_drips_is_given_up() {
    let content = bytes(1000);
    let whole = content.clone();
    let server = Server::start(move |_, _| Answer::whole(&whole).drip(Duration::from_millis(50)));
    let mut home = Home::new();
    home.network = home.network.tries(1).stall(Duration::from_millis(300));
    let (_, message) = home.pull_bad(&manifest(&content, &[server.url("/m.gguf")]));
    assert!(message.contains("bytes in 0.3 s"), "{message}");
}

#[test]
fn a_rate_limit_is_kept() {
    let content = bytes(40_000);
    let server = Server::files(content.clone());
    let mut home = Home::new();
    home.network = home.network.rate_limit(NonZeroU64::new(200_000));
    let start = Instant::now();
    home.pull_good(&manifest(&content, &[server.url("/m.gguf")]), &content);
    assert!(start.elapsed() >= Duration::from_millis(190));
}

#[test]
fn two_at_once_make_one_transfer() {
    let content = bytes(200_000);
    let whole = content.clone();
    let server = Server::start(move |request, _| {
        std::thread::sleep(Duration::from_millis(50));
        Answer::file(&whole, request)
    });
    let (home, manifest) = (Home::new(), manifest(&content, &[server.url("/m.gguf")]));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| home.pull_good(&manifest, &content));
        }
    });
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn an_optional_file_without_an_address_is_left_out() {
    let content = bytes(1000);
    let server = Server::files(content.clone());
    let mut manifest = manifest(&content, &[server.url("/m.gguf")]);
    let mut extra = tenon_store::ManifestFile::new("vad", "vad.bin", Digest::of(b"other"), 5);
    extra.optional = true;
    manifest.files.push(extra);
    let (pulled, _) = Home::new().pull(&manifest);
    assert_eq!(pulled.unwrap().len(), 1);
    manifest.files[1].optional = false;
    assert!(matches!(Home::new().pull(&manifest).0.unwrap_err().kind(), ErrorKind::NotFound));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_file_without_an_address_and_a_closed_port_are_said() {
    let content = bytes(1000);
    assert!(home_says(&manifest(&content, &[])).contains("names no address"));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let message = home_says(&manifest(&content, &[format!("http://127.0.0.1:{port}/x")]));
    assert!(message.contains("cannot reach http://127.0.0.1"), "{message}");
}

fn home_says(manifest: &Manifest) -> String {
    Home::new().pull_bad(manifest).1
}

#[test]
fn a_proxy_is_asked_to_connect_and_its_refusal_is_said_without_its_password() {
    let content = bytes(1000);
    let proxy = Server::start(|_, _| Answer::status(403));
    let mut environment = Environment::of_this_process();
    environment.variables.clear();
    let address = proxy.url("").replace("http://", "http://user:pass-word@");
    environment.variables.insert("HTTPS_PROXY".to_owned(), address.into());
    let mut home = Home::new();
    home.network = Network::of(&environment).unwrap().tries(1);
    let (kind, message) = home.pull_bad(&manifest(&content, &["https://models.example/m.gguf".to_owned()]));
    assert!(matches!(kind, ErrorKind::Network) && message.contains("models.example"), "{message}");
    assert!(!message.contains("pass-word"), "{message}");
    let asked = &proxy.requests()[0];
    assert!(asked.starts_with("connect models.example:443 http/1.1\r\n"), "{asked}");
    assert!(asked.contains("proxy-authorization: basic "), "{asked}");
}
