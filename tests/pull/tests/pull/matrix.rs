//! The table: what a server does wrong, and what must come of it.

use crate::support::{Try, network, pull, pull_until};
use std::time::Duration;
use tenon_pull::{ErrorKind, Event};
use tenon_pull_tests::{Answer, Blob, Home, Seeded, Seen, Server, manifest, noise};
use tenon_store::Digest;

/// Bytes of the blob in every case.
const SIZE: usize = 100_000;

/// A place in the middle of it.
const CUT: u64 = 30_000;

/// What must come of a case.
enum Must {
    /// The right bytes.
    Come,
    /// The right bytes, the second GET asking for the rest from exactly this byte on.
    GoOnAt(u64),
    /// The right bytes, the second GET asking for everything once more.
    StartAgain,
    /// An error of the network whose sentence holds these words.
    Fail(&'static str),
    /// The same after one GET: asking again would not help.
    FailAtOnce(&'static str),
    /// Nothing is there, as is known after one GET.
    Lack(&'static str),
    /// No address had the right bytes.
    Differ,
}
use Must::{Come, Differ, Fail, FailAtOnce, GoOnAt, Lack, StartAgain};

/// A case: its name, what the first GETs get, what all later ones get, and what must come of it.
type Case = (&'static str, Vec<Answer>, Answer, Must);

fn good() -> Answer {
    Answer::good()
}

fn status(status: u16) -> Answer {
    Answer::status(status)
}

fn other() -> Vec<u8> {
    noise(99, SIZE)
}

fn connections() -> Vec<Case> {
    vec![
        ("a good server", vec![], good(), Come),
        ("cut before the first byte", vec![good().cut(0)], good(), StartAgain),
        ("cut after a byte", vec![good().cut(1)], good(), GoOnAt(1)),
        ("cut in the middle", vec![good().cut(CUT)], good(), GoOnAt(CUT)),
        ("cut before the last byte", vec![good().cut(SIZE as u64 - 1)], good(), GoOnAt(SIZE as u64 - 1)),
        ("cut twice", vec![good().cut(CUT), good().cut(10)], good(), GoOnAt(CUT)),
        (
            "cut again and again, further each time",
            (1..7).map(|_| good().cut(13_000)).collect(),
            good(),
            GoOnAt(13_000),
        ),
        ("reset in the middle", vec![good().reset_after(CUT)], good(), Come),
        ("hung up before an answer", vec![Answer::hang_up()], good(), StartAgain),
        ("reset before an answer", vec![Answer::reset()], good(), StartAgain),
        ("hung up for ever", vec![], Answer::hang_up(), Fail("")),
        ("stalled in the middle", vec![good().stall(CUT)], good(), GoOnAt(CUT)),
        ("silent before an answer", vec![Answer::silence()], good(), StartAgain),
        ("silent for ever", vec![], Answer::silence(), Fail("")),
        ("a slow drip", vec![good().cut(SIZE as u64 - 40)], good().drip(1, Duration::from_millis(5)), Come),
    ]
}

fn ranges() -> Vec<Case> {
    let cut = || good().cut(CUT);
    vec![
        ("200 for a range", vec![cut(), good().whole()], good(), GoOnAt(CUT)),
        ("206 with a later start", vec![cut(), good().shifted(5)], good(), GoOnAt(CUT)),
        ("206 with an earlier start", vec![cut(), good().shifted(-5)], good(), GoOnAt(CUT)),
        ("206 with another total", vec![cut(), good().total(77)], good(), Fail("77 bytes")),
        ("206 with a larger total", vec![cut(), good().total(SIZE as u64 + 1)], good(), Fail("100001 bytes")),
        ("206 without a content range", vec![cut(), good().without("Content-Range")], good(), GoOnAt(CUT)),
        ("206 with nonsense", vec![cut(), good().header("Content-Range", "bytes x-y/z")], good(), GoOnAt(CUT)),
        (
            "206 in other units",
            vec![cut(), good().header("Content-Range", "lines 30000-99999/100000")],
            good(),
            GoOnAt(CUT),
        ),
        (
            "206 of unknown total",
            vec![cut(), good().header("Content-Range", "bytes 30000-99999/*")],
            good(),
            GoOnAt(CUT),
        ),
        ("206 that nobody asked for", vec![good().header("Content-Range", "bytes 0-9/10")], good(), Come),
        ("416 inside the blob", vec![cut(), status(416)], good(), GoOnAt(CUT)),
        ("416 for ever", vec![cut()], status(416), Fail("refuses a range")),
        (
            "a range in many parts",
            vec![cut(), good().header("Content-Type", "multipart/byteranges; boundary=x").without("Content-Range")],
            good(),
            GoOnAt(CUT),
        ),
        ("no ranges at all", vec![cut()], good().whole().without("Accept-Ranges").without("ETag"), Come),
    ]
}

fn tags() -> Vec<Case> {
    let cut = || good().cut(CUT);
    vec![
        ("another tag", vec![cut()], good().etag("\"second\""), GoOnAt(CUT)),
        ("another tag on the range", vec![cut(), good().etag("\"second\"").deaf_to_if_range()], good(), GoOnAt(CUT)),
        ("a weak tag", vec![cut().etag("W/\"first\"")], good().etag("W/\"first\""), Come),
        ("no tag", vec![cut().without("ETag")], good().without("ETag"), Come),
        ("a blob that was replaced", vec![cut().body(other())], good().etag("\"second\""), GoOnAt(CUT)),
        ("a blob that was replaced under the same tag", vec![cut().body(other())], good(), GoOnAt(CUT)),
        ("a tag of many lines", vec![cut().etag("\"a b\tc\"")], good().etag("\"a b\tc\""), Come),
    ]
}

fn bodies() -> Vec<Case> {
    let short = || good().body(noise(7, SIZE)[..SIZE - 100].to_vec());
    let long = || good().body([noise(7, SIZE), vec![0; 100]].concat());
    let short_total = || good().length(SIZE as u64);
    let flipped = || good().body(noise(7, SIZE).iter().map(|byte| byte ^ 1).collect::<Vec<u8>>());
    vec![
        ("a shorter blob", vec![], short(), FailAtOnce("99900 bytes")),
        (
            "a shorter body under the right length",
            vec![short_total().body(noise(7, SIZE)[..CUT as usize].to_vec())],
            good(),
            Come,
        ),
        ("a longer blob", vec![], long(), FailAtOnce("100100 bytes")),
        ("a longer blob of unknown length", vec![], long().without_length(), Fail("")),
        ("a shorter blob of unknown length", vec![], short().without_length(), Fail("")),
        ("a body without end", vec![], good().body(vec![0; 4 << 20]).chunked(1 << 16), Fail("")),
        ("an empty body", vec![], good().body(vec![]), Fail("")),
        ("no length", vec![], good().without_length(), Come),
        ("no length, cut", vec![good().without_length().cut(CUT)], good(), Come),
        ("chunks", vec![], good().chunked(777), Come),
        ("chunks, cut", vec![good().chunked(1000).cut(CUT)], good(), Come),
        (
            "chunks of nonsense",
            vec![],
            Answer::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n"),
            Fail(""),
        ),
        ("gzip on top", vec![], good().gzipped(), FailAtOnce("gzip")),
        ("gzip on top of a range", vec![good().cut(CUT), good().gzipped()], good(), Fail("gzip")),
        ("wrong bytes of the right size", vec![], flipped(), Differ),
        ("wrong bytes in chunks", vec![], flipped().chunked(5000), Differ),
        (
            "a page instead of the blob",
            vec![],
            good().body(b"<html>please log in</html>".to_vec()).header("Content-Type", "text/html"),
            Fail(""),
        ),
    ]
}

fn statuses() -> Vec<Case> {
    let later = |status, after: &str| Answer::status(status).header("Retry-After", after);
    vec![
        ("401", vec![], status(401), FailAtOnce("401")),
        ("403", vec![], status(403), FailAtOnce("403")),
        ("404", vec![], status(404), Lack("404")),
        ("410", vec![], status(410), Lack("410")),
        ("451", vec![], status(451), FailAtOnce("451")),
        ("408 once", vec![status(408)], good(), Come),
        ("429 with seconds", vec![later(429, "0")], good(), Come),
        ("429 with a date", vec![later(429, "Sun, 06 Nov 1994 08:49:37 GMT")], good(), Come),
        ("429 with nonsense", vec![later(429, "soon")], good(), Come),
        ("429 for ever", vec![], later(429, "0"), Fail("429")),
        ("429 for a year", vec![], later(429, "31536000"), Fail("429")),
        ("503 with seconds", vec![later(503, "0"), later(503, "0")], good(), Come),
        ("503 with a date far away", vec![], later(503, "Fri, 31 Dec 2999 23:59:59 GMT"), Fail("503")),
        ("500 once", vec![status(500)], good(), Come),
        ("500 for ever", vec![], status(500), Fail("500")),
        ("502, then cut, then good", vec![status(502), good().cut(CUT)], good(), Come),
        ("204", vec![], status(204).body(vec![]).without("Content-Length"), Fail("204")),
        ("304", vec![], status(304).body(vec![]).without("Content-Length"), Fail("304")),
        ("a status that does not exist", vec![], status(799), Fail("799")),
    ]
}

fn heads() -> Vec<Case> {
    let many = || (0..2000).fold(good(), |answer, n| answer.header(&format!("X-Many-{n}"), "x".repeat(500)));
    vec![
        ("nonsense", vec![], Answer::raw("SSH-2.0-OpenSSH_9.2\r\n"), Fail("")),
        ("a head that ends early", vec![Answer::raw("HTTP/1.1 200 OK\r\nContent-Le")], good(), StartAgain),
        ("a head without end", vec![], many(), Fail("")),
        ("two lengths", vec![], good().header("Content-Length", "100000").header("Content-Length", "5"), Fail("")),
        ("a negative length", vec![], good().header("Content-Length", "-1"), Fail("")),
        (
            "a name for the file",
            vec![],
            good().header("Content-Disposition", "attachment; filename=\"../../evil\""),
            Come,
        ),
    ]
}

/// Runs the cases on one server, each at a path and in a home of its own.
fn run(cases: Vec<Case>) {
    let (server, bytes) = (Server::start(), noise(7, SIZE));
    let mut wrong = Vec::new();
    for (number, (name, script, always, must)) in cases.into_iter().enumerate() {
        let (home, path) = (Home::new(), format!("/{number}/blob.bin"));
        let url = server.blob(&path, &bytes);
        server.script(&path, script);
        server.always(&path, always);
        let manifest = manifest("case", &[("blob.bin", &[url], &bytes)]);
        let tried = pull(&home, &network(), &manifest);
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            judge(name, &must, &tried, &server.gets(&path));
            settle(name, &home, &bytes, &tried);
        }));
        if judged.is_err() {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "wrong: {wrong:#?}");
}

/// Asserts what must come of a case.
fn judge(name: &str, must: &Must, tried: &Try, gets: &[Seen]) {
    let fails = |is_kind: fn(&ErrorKind) -> bool, words: &str| {
        let error = tried.error(name);
        assert!(is_kind(error.kind()) && error.to_string().contains(words), "{name}: {error:?}");
    };
    let (network, nothing) =
        (|kind: &_| matches!(kind, ErrorKind::Network), |kind: &_| matches!(kind, ErrorKind::NotFound));
    match must {
        Come => drop(tried.pulled(name)),
        GoOnAt(at) => {
            tried.pulled(name);
            assert_eq!(gets[1].start(), *at, "{name}: {gets:#?}");
        }
        StartAgain => {
            tried.pulled(name);
            assert_eq!((gets.len(), gets[1].start()), (2, 0), "{name}: {gets:#?}");
        }
        Fail(words) => fails(network, words),
        FailAtOnce(words) => {
            fails(network, words);
            assert_eq!(gets.len(), 1, "{name}: {gets:#?}");
        }
        Lack(words) => {
            fails(nothing, words);
            assert_eq!(gets.len(), 1, "{name}: {gets:#?}");
        }
        Differ => fails(|kind| matches!(kind, ErrorKind::HashMismatch), "SHA-256"),
    }
    for seen in gets {
        assert_eq!(seen.header("accept-encoding"), Some("identity"), "{name}");
        assert!(seen.header("if-range").is_none_or(|tag| !tag.starts_with("W/")), "{name}: {seen:?}");
        assert!(seen.header("user-agent").is_some_and(|agent| agent.starts_with("tenon/")), "{name}: {seen:?}");
    }
}

/// Asserts that the store holds the right blob and nothing half-done, or no blob at all.
fn settle(name: &str, home: &Home, bytes: &[u8], tried: &Try) {
    let digest = Digest::of(bytes);
    match &tried.outcome {
        Ok(pulled) => {
            assert!(home.holds(bytes), "{name}");
            assert_eq!(home.parts(), [] as [std::path::PathBuf; 0], "{name}");
            assert_eq!((pulled.len(), pulled[0].digest, pulled[0].size), (1, digest, SIZE as u64), "{name}");
            assert_eq!(pulled[0].path, home.blob_path(digest), "{name}");
        }
        Err(_) => assert!(!home.holds(bytes), "{name}"),
    }
}

#[test]
fn connections_that_break_stall_or_drip_are_resumed_at_the_byte_where_they_stopped() {
    run(connections());
}

#[test]
fn ranges_that_are_not_the_ones_asked_for_are_never_used() {
    run(ranges());
}

#[test]
fn parts_of_two_blobs_are_never_joined() {
    run(tags());
}

#[test]
fn bodies_of_another_size_packing_or_content_get_no_name() {
    run(bodies());
}

#[test]
fn statuses_are_tried_again_where_that_helps_and_only_there() {
    run(statuses());
}

#[test]
fn heads_of_any_shape_are_survived() {
    run(heads());
}

#[test]
fn whatever_a_server_strings_together_the_right_bytes_come_or_an_error() {
    let (server, bytes) = (Server::start(), noise(7, SIZE));
    for seed in 0..80 {
        let (home, path, mut numbers) = (Home::new(), format!("/{seed}/blob.bin"), Seeded::new(seed));
        let url = server.blob(&path, &bytes);
        let count = 1 + numbers.below(5);
        server.script(&path, (0..count).map(|_| fault(&mut numbers, &bytes)));
        let manifest = manifest("case", &[("blob.bin", &[url], &bytes)]);
        let name = format!("seed {seed}");
        let first = pull(&home, &network(), &manifest);
        settle(&name, &home, &bytes, &first);
        if first.outcome.is_err() {
            server.script(&path, []);
            let second = pull(&home, &network(), &manifest);
            second.pulled(&name);
            settle(&name, &home, &bytes, &second);
        }
    }
}

/// A fault, and how bad it is.
fn fault(numbers: &mut Seeded, bytes: &[u8]) -> Answer {
    let at = numbers.below(SIZE as u64 + 1);
    let base = match numbers.below(12) {
        0 => good().body(noise(numbers.below(1000), SIZE)),
        1 => good().body(bytes[..at as usize].to_vec()),
        2 => good().body([bytes, &bytes[..at as usize]].concat()),
        3 => good().etag("\"other\""),
        4 => good().etag("W/\"weak\"").deaf_to_if_range(),
        5 => good().shifted(at as i64 - SIZE as i64 / 2),
        6 => good().total(at),
        7 => good().whole(),
        8 => good().gzipped(),
        9 => status([301, 400, 408, 416, 429, 500, 503][numbers.below(7) as usize]),
        _ => good(),
    };
    let framed = match numbers.below(5) {
        0 => base.chunked(1 + numbers.below(30_000) as usize),
        1 => base.without_length(),
        2 => base.length(at),
        _ => base,
    };
    match numbers.below(4) {
        0 => framed.cut(numbers.below(SIZE as u64)),
        1 => framed.reset_after(numbers.below(SIZE as u64)),
        _ => framed,
    }
}

#[test]
fn a_mirror_is_asked_when_the_address_before_it_cannot_give_the_blob() {
    let (server, bytes) = (Server::start(), noise(7, SIZE));
    let closed = {
        let gone = Server::start();
        gone.url("/gone.bin")
    };
    let page = |name: &str, answer: Answer| {
        let path = format!("/{name}/blob.bin");
        let url = server.blob(&path, &bytes);
        server.always(&path, answer);
        url
    };
    let flipped: Blob = other().into();
    let first = [
        ("nobody there", closed),
        ("not found", page("404", status(404))),
        ("busy for a year", page("429", status(429).header("Retry-After", "31536000"))),
        ("wrong bytes", page("wrong", good().body(flipped))),
        ("another size", page("size", good().body(vec![0; 10]))),
        ("cut each time", page("cut", good().cut(100))),
        ("packed", page("gzip", good().gzipped())),
        ("round and round", page("loop", Answer::redirect(302, server.url("/loop/blob.bin")))),
    ];
    let good_url = server.blob("/good/blob.bin", &bytes);
    for (name, bad) in first {
        let home = Home::new();
        let manifest = manifest("case", &[("blob.bin", &[bad, good_url.clone()], &bytes)]);
        let tried = pull(&home, &network(), &manifest);
        tried.pulled(name);
        settle(name, &home, &bytes, &tried);
        let told = |event: &Event| matches!(event, Event::Mirror { url, .. } if *url == good_url);
        assert!(tried.events.iter().any(told), "{name}: {:#?}", tried.events);
    }
}

#[test]
fn an_error_after_several_mirrors_names_what_is_wrong_with_each() {
    let (server, bytes, home) = (Server::start(), noise(7, SIZE), Home::new());
    let missing = server.url("/missing.bin");
    let wrong = server.blob("/wrong.bin", other());
    let manifest = manifest("case", &[("blob.bin", &[missing, wrong], &bytes)]);
    let tried = pull(&home, &network(), &manifest);
    let error = tried.error("mirrors");
    assert!(matches!(error.kind(), ErrorKind::HashMismatch), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains(&Digest::of(&bytes).to_string()) && text.contains(&Digest::of(&other()).to_string()),
        "{text}"
    );
}

#[test]
fn a_pull_stops_when_it_is_told_to_wherever_it_is_and_keeps_what_it_has() {
    let (server, bytes) = (Server::start(), noise(7, SIZE));
    type Moment = fn(&Event) -> bool;
    let cases: [(&str, Answer, Moment); 6] = [
        ("asking a server", good(), |event| matches!(event, Event::Connecting { .. })),
        ("asking a silent server", Answer::silence(), |event| matches!(event, Event::Connecting { .. })),
        ("receiving", good(), |event| matches!(event, Event::Progress { .. })),
        ("waiting for a stalled server", good().stall(CUT), |event| matches!(event, Event::Progress { .. })),
        ("hashing", good(), |event| matches!(event, Event::Verifying { .. })),
        ("waiting for the next try", status(503).header("Retry-After", "100"), |event| {
            matches!(event, Event::Retrying { .. })
        }),
    ];
    for (number, (name, answer, is_last)) in cases.into_iter().enumerate() {
        let (home, path) = (Home::new(), format!("/{number}/blob.bin"));
        let url = server.blob(&path, &bytes);
        server.script(&path, [answer]);
        let manifest = manifest("case", &[("blob.bin", &[url], &bytes)]);
        let patient = network().stall(Duration::from_secs(600));
        let tried = pull_until(&home, &patient, &manifest, is_last);
        assert!(matches!(tried.error(name).kind(), ErrorKind::Cancelled), "{name}");
        assert!(!home.holds(&bytes), "{name}");
        pull(&home, &network(), &manifest).pulled(name);
        settle(name, &home, &bytes, &pull(&home, &network(), &manifest));
    }
}
