//! Whom a pull tells what, and whom it believes: tokens, redirects, certificates, proxies.

use crate::support::{Try, network, network_in, pull};
use tenon_pull::{ErrorKind, Network};
use tenon_pull_tests::{Answer, Authority, Home, Proxy, Seen, Server, manifest, noise};

const TOKEN: &str = "hf_ThisIsForTheHubAlone";

/// Two https servers with made-up names, and a proxy that knows them.
struct Abroad {
    home: Home,
    proxy: Proxy,
    ca: String,
    hub: Server,
    other: Server,
    bytes: Vec<u8>,
}

impl Abroad {
    fn new() -> Self {
        let (home, authority, proxy) = (Home::new(), Authority::new(), Proxy::start());
        let server = |name: &str| {
            let server = Server::tls(&authority.identity(&[name]), name);
            proxy.knows(&format!("{name}:{}", server.address().port()), &server);
            server
        };
        let (hub, other) = (server("hub.test"), server("other.test"));
        let ca = authority.write(home.path()).display().to_string();
        Self { home, ca, hub, other, bytes: noise(31, 40_000), proxy }
    }

    /// The network of somebody with a token for the hub.
    fn network(&self) -> Network {
        let (proxy, hub) = (self.proxy.url(), self.hub.origin());
        network_in(&[("HTTPS_PROXY", &proxy), ("SSL_CERT_FILE", &self.ca), ("HF_ENDPOINT", &hub), ("HF_TOKEN", TOKEN)])
    }

    fn pull(&self, url: &str) -> Try {
        pull(&self.home, &self.network(), &manifest("case", &[("blob.bin", &[url.to_owned()], &self.bytes)]))
    }

    fn assert_came(&self) {
        assert!(self.home.holds(&self.bytes));
    }
}

/// Whether the token stands anywhere in a request.
fn tells(seen: &Seen) -> bool {
    format!("{seen:?}").contains(TOKEN)
}

fn refused(tried: &Try, case: &str, words: &str) {
    let error = tried.error(case);
    assert!(matches!(error.kind(), ErrorKind::Network | ErrorKind::InvalidArgument), "{case}: {error:?}");
    assert!(error.to_string().contains(words), "{case}: {error}");
    assert!(!error.to_string().contains(TOKEN), "{case}: {error}");
}

#[test]
fn the_token_goes_to_the_hub_and_is_dropped_on_the_way_to_anybody_else() {
    let abroad = Abroad::new();
    let there = abroad.other.blob("/blobs/x", &abroad.bytes);
    abroad.hub.always("/o/r/resolve/c/blob.bin", Answer::redirect(302, there));
    abroad.other.script("/blobs/x", [Answer::good().cut(10_000), Answer::status(401)]);
    refused(&abroad.pull("https://huggingface.co/o/r/resolve/c/blob.bin"), "401 there", "401");
    abroad.pull("https://huggingface.co/o/r/resolve/c/blob.bin").pulled("token");
    abroad.assert_came();
    let hub = abroad.hub.log().requests();
    assert!(hub.iter().all(|seen| seen.header("authorization") == Some(&format!("Bearer {TOKEN}"))), "{hub:#?}");
    let other = abroad.other.log().requests();
    assert!(other.len() == 3 && !other.iter().any(tells), "{other:#?}");
    assert!(!abroad.proxy.log().requests().iter().any(tells));
    assert!(abroad.proxy.log().requests().iter().all(|seen| seen.method == "CONNECT"));
}

#[test]
fn the_token_is_not_for_other_hosts_nor_other_ports_of_the_hubs() {
    let abroad = Abroad::new();
    let elsewhere = abroad.other.blob("/blob.bin", &abroad.bytes);
    abroad.pull(&elsewhere).pulled("another host");
    assert!(!abroad.other.log().requests().iter().any(tells));
    // The same on this very machine, where only the port tells two servers apart.
    let (hub, other, home, bytes) = (Server::start(), Server::start(), Home::new(), noise(32, 10_000));
    let there = other.blob("/blob.bin", &bytes);
    hub.always("/o/r/resolve/c/blob.bin", Answer::redirect(307, there));
    let network = network_in(&[("HF_ENDPOINT", &hub.origin()), ("HF_TOKEN", TOKEN)]);
    let urls = ["https://huggingface.co/o/r/resolve/c/blob.bin".to_owned()];
    pull(&home, &network, &manifest("case", &[("blob.bin", &urls, &bytes)])).pulled("another port");
    assert!(hub.log().requests().iter().all(tells) && !other.log().requests().iter().any(tells));
    // And on another address of it.
    let (third, home) = (Server::at("127.0.0.2"), Home::new());
    let there = third.blob("/blob.bin", &bytes);
    hub.always("/o/r/resolve/c/blob.bin", Answer::redirect(308, there));
    pull(&home, &network, &manifest("case", &[("blob.bin", &urls, &bytes)])).pulled("another address");
    assert!(!third.log().requests().iter().any(tells));
}

#[test]
fn a_token_once_dropped_stays_dropped_though_the_way_leads_back_to_the_hub() {
    let abroad = Abroad::new();
    let back = abroad.hub.blob("/back", &abroad.bytes);
    abroad.other.always("/via", Answer::redirect(302, back));
    abroad.hub.always("/o/r/resolve/c/blob.bin", Answer::redirect(302, "/o/r/again"));
    abroad.hub.always("/o/r/again", Answer::redirect(302, abroad.other.url("/via")));
    abroad.pull("https://huggingface.co/o/r/resolve/c/blob.bin").pulled("back");
    let told: Vec<(String, bool)> = abroad.hub.log().requests().iter().map(|s| (s.target.clone(), tells(s))).collect();
    let expected = [("/o/r/resolve/c/blob.bin", true), ("/o/r/again", true), ("/back", false)];
    assert_eq!(told, expected.map(|(path, told)| (path.to_owned(), told)));
    assert!(!abroad.other.log().requests().iter().any(tells));
}

#[test]
fn redirects_are_followed_in_each_form_but_only_so_often() {
    let (server, bytes) = (Server::start(), noise(33, 20_000));
    let url = server.blob("/d/blob.bin", &bytes);
    let manifest = |path: &str| manifest("case", &[("blob.bin", &[server.url(path)], &bytes)]);
    for (status, to) in
        [(301, url.as_str()), (302, "/d/blob.bin"), (303, "blob.bin"), (307, "../d/./blob.bin"), (308, "?query")]
    {
        let home = Home::new();
        server.always("/d/from", Answer::redirect(status, to));
        if to.starts_with('?') {
            server.answer_with("/d/from", |_| unreachable!("it is always answered"));
            server.script("/d/from", [Answer::redirect(status, "?query"), Answer::redirect(302, "blob.bin")]);
        }
        let tried = pull(&home, &network(), &manifest("/d/from"));
        assert_eq!(tried.pulled(to).len(), 1, "{to}");
    }
    for hop in 1..=6 {
        server.always(&format!("/hop/{hop}"), Answer::redirect(302, format!("/hop/{}", hop - 1)));
    }
    server.always("/hop/0", Answer::redirect(302, &url));
    pull(&Home::new(), &network(), &manifest("/hop/4")).pulled("five redirects");
    refused(&pull(&Home::new(), &network(), &manifest("/hop/5")), "six redirects", "redirects");
    server.always("/round", Answer::redirect(302, "/round"));
    refused(&pull(&Home::new(), &network(), &manifest("/round")), "a loop", "redirects");
    assert!(server.gets("/round").len() <= 6, "{}", server.gets("/round").len());
}

#[test]
fn redirects_to_where_no_server_may_send_anybody_are_refused() {
    let (server, bytes) = (Server::start(), noise(34, 20_000));
    let url = server.url("/from");
    for (to, words) in [
        ("http://169.254.169.254/latest/meta-data/", "169.254.169.254"),
        ("https://169.254.169.254/", "link-local"),
        ("https://10.0.0.1/", "private"),
        ("https://[fe80::1]/", "link-local"),
        ("https://0.0.0.0/", "private"),
        ("http://example.org/blob.bin", "http"),
        ("file:///etc/passwd", "file"),
        ("ftp://127.0.0.1/blob.bin", "ftp"),
        ("data:text/plain,x", "data"),
        ("http://user:password@127.0.0.1/", "user name"),
        ("http://", ""),
        ("//", ""),
        ("http://127.0.0.1:99999/", ""),
        ("", ""),
        ("http://127.0.0.1\\@example.org/", ""),
    ] {
        server.always("/from", Answer::redirect(302, to));
        let home = Home::new();
        let tried = pull(&home, &network(), &manifest("case", &[("blob.bin", std::slice::from_ref(&url), &bytes)]));
        refused(&tried, to, words);
    }
    server.always("/from", Answer::status(302));
    let tried = pull(&Home::new(), &network(), &manifest("case", &[("blob.bin", &[url], &bytes)]));
    refused(&tried, "no place", "302");
}

#[test]
fn a_server_far_away_sends_nobody_to_plain_http_nor_into_this_machine() {
    let (abroad, inside) = (Abroad::new(), Server::start());
    let secret = inside.blob("/blob.bin", &abroad.bytes);
    abroad.other.always("/from", Answer::redirect(302, &secret));
    refused(&abroad.pull(&abroad.other.url("/from")), "to http", "https to http");
    let port = inside.address().port();
    for host in ["127.0.0.1", "[::1]", "localhost", "127.1", "0x7f000001", "2130706433", "[::ffff:127.0.0.1]"] {
        abroad.other.always("/from", Answer::redirect(302, format!("https://{host}:{port}/blob.bin")));
        refused(&abroad.pull(&abroad.other.url("/from")), host, "");
    }
    assert_eq!(inside.log().connections(), 0);
}

#[test]
fn certificates_that_do_not_fit_are_refused_in_words_and_at_once() {
    let abroad = Abroad::new();
    let stranger = Authority::new();
    let authority = Authority::new();
    let ca = authority.write(abroad.home.path()).display().to_string();
    for (case, identity, words) in [
        ("an unknown authority", stranger.identity(&["models.test"]), "SSL_CERT_FILE"),
        ("another name", authority.identity(&["models.test.example.org"]), "models.test"),
        ("an expired one", authority.expired(&["models.test"]), "expired"),
    ] {
        let server = Server::tls(&identity, "models.test");
        let (url, proxy) = (server.blob("/blob.bin", &abroad.bytes), Proxy::start());
        proxy.knows(&format!("models.test:{}", server.address().port()), &server);
        let network = network_in(&[("https_proxy", &proxy.url()), ("SSL_CERT_FILE", &ca)]);
        let tried = pull(&abroad.home, &network, &manifest("case", &[("blob.bin", &[url], &abroad.bytes)]));
        refused(&tried, case, words);
        assert_eq!((server.log().requests().len(), proxy.log().requests().len()), (0, 1), "{case}");
    }
}

#[test]
fn a_secure_connection_that_was_cut_is_not_taken_for_the_end_of_the_blob() {
    let abroad = Abroad::new();
    let url = abroad.other.blob("/blob.bin", &abroad.bytes);
    let torn = || Answer::good().without_length().cut(39_999).abrupt();
    abroad.other.script("/blob.bin", [torn(), Answer::good()]);
    abroad.pull(&url).pulled("cut once");
    abroad.assert_came();
    // With all bytes there the digest decides, however the connection ends.
    let (whole, home) = (Answer::good().without_length().cut(40_000).abrupt(), Home::new());
    abroad.other.always("/blob.bin", whole);
    let tried = pull(&home, &abroad.network(), &manifest("case", &[("blob.bin", &[url], &abroad.bytes)]));
    tried.pulled("all bytes, no end");
}

#[test]
fn a_server_that_speaks_no_tls_and_one_that_speaks_nothing_else_are_told_apart() {
    let (abroad, plain) = (Abroad::new(), Server::start());
    plain.blob("/blob.bin", &abroad.bytes);
    let host = format!("plain.test:{}", plain.address().port());
    abroad.proxy.knows(&host, &plain);
    refused(&abroad.pull(&format!("https://{host}/blob.bin")), "no TLS", "plain.test");
    let url = format!("http://127.0.0.1:{}/blob.bin", abroad.hub.address().port());
    refused(&abroad.pull(&url), "only TLS", "127.0.0.1");
}

#[test]
fn trust_that_cannot_be_read_is_an_error_not_a_guess() {
    let abroad = Abroad::new();
    let garbage = abroad.home.path().join("garbage.pem");
    std::fs::write(&garbage, "-----BEGIN NONSENSE").unwrap();
    let url = abroad.other.blob("/blob.bin", &abroad.bytes);
    for file in [garbage.display().to_string(), abroad.home.path().join("nowhere.pem").display().to_string()] {
        let network = network_in(&[("HTTPS_PROXY", &abroad.proxy.url()), ("SSL_CERT_FILE", &file)]);
        let tried =
            pull(&abroad.home, &network, &manifest("case", &[("blob.bin", std::slice::from_ref(&url), &abroad.bytes)]));
        refused(&tried, &file, &file);
    }
    assert_eq!(abroad.other.log().requests().len(), 0);
}

#[test]
fn the_proxy_is_asked_or_gone_around_as_the_environment_says_and_its_refusal_is_told() {
    let abroad = Abroad::new();
    let url = abroad.other.blob("/blob.bin", &abroad.bytes);
    let manifest = manifest("case", &[("blob.bin", &[url], &abroad.bytes)]);
    abroad.proxy.refuse();
    let tried = pull(&abroad.home, &abroad.network(), &manifest);
    refused(&tried, "407", "proxy");
    let nobody = { Proxy::start().url() };
    let network = network_in(&[("ALL_PROXY", &nobody), ("SSL_CERT_FILE", &abroad.ca)]);
    refused(&pull(&abroad.home, &network, &manifest), "no proxy there", "");
    // What is on this machine is asked directly, whatever the proxy.
    let (near, bytes, home) = (Server::start(), noise(35, 10_000), Home::new());
    let url = near.blob("/blob.bin", &bytes);
    let network = network_in(&[("HTTPS_PROXY", &abroad.proxy.url()), ("HTTP_PROXY", &abroad.proxy.url())]);
    let before = abroad.proxy.log().connections();
    pull(&home, &network, &tenon_pull_tests::manifest("near", &[("blob.bin", &[url], &bytes)])).pulled("near");
    assert_eq!(abroad.proxy.log().connections(), before);
}
