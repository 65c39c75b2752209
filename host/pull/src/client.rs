//! Asks servers: one request and the redirects that follow from it, with what may be said to whom.

use crate::network::Network;
use crate::reach::Reach;
use crate::url::{Url, shown};
use crate::watch::Watch;
use crate::wire::{Chain, Names, Refusal, Sockets};
use crate::{Error, ErrorKind};
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use ureq::http::{Request, Response, header};
use ureq::tls::TlsConfig;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, RustlsConnector};
use ureq::{Agent, Body};

/// Redirects that are followed.
const MOST_HOPS: u32 = 5;

/// Longest wait that a server may ask for before its address counts as failed.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Bytes of a connection's buffer for what comes in.
const INPUT: usize = 256 << 10;

/// Longest head of an answer. All that is in the buffer counts, what follows the head as well.
const LONGEST_HEAD: usize = INPUT + (64 << 10);

/// Why a request gave nothing.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Asking again would bring the same.
    Final(Error),
    /// It may work later, after what the server asks to wait.
    Again(Error, Option<Duration>),
}

impl Trouble {
    pub(crate) fn final_network(message: impl Into<String>) -> Self {
        Self::Final(Error::network(message))
    }

    pub(crate) fn again(message: impl Into<String>) -> Self {
        Self::Again(Error::network(message), None)
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) url: &'a Url,
    pub(crate) method: &'static str,
    /// First byte, and last byte where it is not the file's.
    pub(crate) range: Option<(u64, Option<u64>)>,
    /// The strong entity tag that the range must be of.
    pub(crate) if_range: Option<&'a str>,
}

impl<'a> Ask<'a> {
    pub(crate) fn get(url: &'a Url) -> Self {
        Self { url, method: "GET", range: None, if_range: None }
    }

    pub(crate) fn head(url: &'a Url) -> Self {
        Self { method: "HEAD", ..Self::get(url) }
    }
}

/// What a server answered.
pub(crate) struct Answer {
    /// Who answered, after redirects.
    pub(crate) url: Url,
    response: Response<Body>,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// A header, if it is there once and plain.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok().map(str::trim)
    }

    /// Bytes of the body, as far as the server says.
    pub(crate) fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// The strong entity tag, with its quotes.
    pub(crate) fn strong_etag(&self) -> Option<&str> {
        self.header("etag").filter(|tag| tag.len() > 2 && tag.len() < 256 && tag.starts_with('"') && tag.ends_with('"'))
    }

    /// The body, as it comes over the wire.
    pub(crate) fn into_reader(self) -> impl Read {
        self.response.into_body().into_reader()
    }
}

/// Asks servers. One for each thread: connections are kept open between requests.
pub(crate) struct Client<'n> {
    network: &'n Network,
    watch: Arc<Watch>,
    chain: Arc<Mutex<Chain>>,
    agents: Vec<((bool, bool), Agent)>,
}

impl<'n> Client<'n> {
    pub(crate) fn new(network: &'n Network, watch: Arc<Watch>) -> Self {
        Self { network, watch, chain: Arc::default(), agents: Vec::new() }
    }

    /// Asks, and follows redirects. An answer that is no success is an error.
    pub(crate) fn ask(&mut self, ask: &Ask<'_>) -> Result<Answer, Trouble> {
        self.ask_until(ask, |_| false)
    }

    /// Asks, and follows redirects up to one that is `enough` by itself.
    pub(crate) fn ask_until(&mut self, ask: &Ask<'_>, enough: impl Fn(&Answer) -> bool) -> Result<Answer, Trouble> {
        *self.chain() = Chain::default();
        let mut url = ask.url.clone();
        let mut token = self.network.token_for(&url).map(str::to_owned);
        loop {
            let answer = self.once(&Ask { url: &url, ..ask.clone() }, token.as_deref())?;
            if !matches!(answer.status(), 301 | 302 | 303 | 307 | 308) || enough(&answer) {
                return checked(answer, token.is_some());
            }
            let next = self.next_hop(&answer)?;
            // Once dropped it stays so, even when the way leads back.
            token = token.filter(|_| next.origin() == url.origin());
            url = next;
        }
    }

    /// Where a redirect leads, if it may be followed.
    fn next_hop(&self, answer: &Answer) -> Result<Url, Trouble> {
        let from = answer.url.without_query();
        let mut chain = self.chain();
        chain.hops += 1;
        if chain.hops > MOST_HOPS {
            return Err(Trouble::final_network(format!("{from} is the end of more than {MOST_HOPS} redirects")));
        }
        let Some(location) = answer.header("location") else {
            let status = answer.status();
            let said = format!("{from} answered {status}{}, but not where to go", reason(status));
            return Err(Trouble::final_network(said));
        };
        let refused =
            |problem: String| Trouble::final_network(format!("{from} sends on to {}: {problem}", shown(location)));
        let next = answer.url.join(location).map_err(|error| refused(error.to_string()))?;
        if answer.url.secure && !next.secure {
            return Err(refused("from https to http is not followed".to_owned()));
        }
        // By a proxy no name is looked up here; what is written out is checked all the same.
        let reach = if next.is_this_machine() { Some(Reach::Loopback) } else { next.ip().map(Reach::of) };
        if let Some(reach) = reach {
            chain.check(reach).map_err(|_| refused(format!("that is {}", reach.name())))?;
        }
        Ok(next)
    }

    /// One request, without redirects.
    fn once(&mut self, ask: &Ask<'_>, token: Option<&str>) -> Result<Answer, Trouble> {
        if self.network.offline {
            let url = ask.url.without_query();
            return Err(Trouble::final_network(format!(
                "the network may not be used (offline), so {url} is not asked"
            )));
        }
        let request = request(ask, token)?;
        let agent = self.agent(ask.url).map_err(Trouble::Final)?;
        let response = agent.run(request).map_err(|error| self.trouble(ask.url, error))?;
        let answer = Answer { url: ask.url.clone(), response };
        match answer.header("content-encoding") {
            Some(encoding) if !encoding.eq_ignore_ascii_case("identity") => {
                let (url, encoding) = (ask.url.without_query(), shown(encoding));
                Err(Trouble::final_network(format!(
                    "{url} sends the file in the encoding {encoding}, which was not asked for"
                )))
            }
            _ => Ok(answer),
        }
    }

    /// One agent for https, which knows whom to trust, one for http, and each with and without a proxy.
    fn agent(&mut self, url: &Url) -> Result<Agent, Error> {
        let proxy = self.network.proxy_for(url);
        let kind = (url.secure, proxy.is_some());
        if let Some((_, agent)) = self.agents.iter().find(|(of, _)| *of == kind) {
            return Ok(agent.clone());
        }
        let agent = self.new_agent(url.secure, proxy)?;
        self.agents.push((kind, agent.clone()));
        Ok(agent)
    }

    fn new_agent(&self, secure: bool, proxy: Option<&str>) -> Result<Agent, Error> {
        let roots = if secure { self.network.roots()? } else { ureq::tls::RootCerts::Specific(Arc::default()) };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(provider).build();
        let proxy = proxy.map(ureq::Proxy::new).transpose();
        let proxy = proxy.map_err(|_| Error::invalid("the address of the proxy cannot be read"))?;
        let stall = Some(self.network.stall);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .tls_config(tls)
            .proxy(proxy)
            .user_agent(concat!("tenon/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .input_buffer_size(INPUT)
            .max_response_header_size(LONGEST_HEAD)
            .output_buffer_size(16 << 10)
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .timeout_resolve(stall)
            .timeout_connect(stall)
            .timeout_send_request(stall)
            .timeout_recv_response(stall)
            .build();
        let names = Names { watch: Arc::clone(&self.watch), chain: Arc::clone(&self.chain) };
        let sockets = Sockets { watch: Arc::clone(&self.watch), stall: self.network.stall };
        let connector = ().chain(ConnectProxyConnector::default()).chain(sockets).chain(RustlsConnector::default());
        Ok(Agent::with_parts(config, connector, names))
    }

    fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an error of the connection means.
    fn trouble(&self, url: &Url, error: ureq::Error) -> Trouble {
        if self.watch.is_stopped() {
            return Trouble::Final(Error::cancelled());
        }
        let at = url.without_query();
        let host = &url.host;
        match &error {
            ureq::Error::Other(other) => match other.downcast_ref::<Refusal>() {
                Some(Refusal::Stopped) => Trouble::Final(Error::cancelled()),
                Some(refusal @ Refusal::Inside(_)) => Trouble::final_network(format!("{at} is not asked: {refusal}")),
                Some(refusal) => Trouble::again(format!("cannot reach {host}: {refusal}")),
                None => Trouble::again(format!("cannot reach {host}: {other}")),
            },
            ureq::Error::Timeout(_) => {
                let stall = self.network.stall.as_secs_f64();
                Trouble::again(format!("{host} did not answer within {stall} s"))
            }
            ureq::Error::Io(error) => io_trouble(url, error),
            ureq::Error::Rustls(error) => tls_trouble(url, error),
            ureq::Error::Tls(problem) => Trouble::final_network(format!("no secure connection to {host}: {problem}")),
            ureq::Error::ConnectProxyFailed(problem) => {
                Trouble::again(format!("the proxy does not connect to {host}: {problem}"))
            }
            ureq::Error::BadUri(problem) => {
                Trouble::Final(Error::invalid(format!("the address {at} cannot be asked: {problem}")))
            }
            other => Trouble::again(format!("{host} did not answer as a server should: {other}")),
        }
    }
}

fn request(ask: &Ask<'_>, token: Option<&str>) -> Result<Request<()>, Trouble> {
    let mut request = Request::builder().method(ask.method).uri(ask.url.to_string());
    if let Some((first, last)) = ask.range {
        let last = last.map(|last| last.to_string()).unwrap_or_default();
        request = request.header(header::RANGE, format!("bytes={first}-{last}"));
    }
    if let Some(tag) = ask.if_range {
        request = request.header(header::IF_RANGE, tag);
    }
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let problem = |error| Trouble::Final(Error::invalid(format!("the address {} cannot be asked: {error}", ask.url)));
    request.body(()).map_err(problem)
}

fn io_trouble(url: &Url, error: &std::io::Error) -> Trouble {
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return tls_trouble(url, error);
    }
    Trouble::again(format!("cannot reach {}: {error}", url.origin()))
}

/// What is wrong with a certificate stays wrong; what is wrong with bytes on the way may not.
fn tls_trouble(url: &Url, error: &rustls::Error) -> Trouble {
    let message = format!("no secure connection to {}: {error}", url.host);
    match error {
        rustls::Error::InvalidCertificate(_) => {
            let help = "SSL_CERT_FILE names the certificates to trust";
            Trouble::final_network(format!("{message}; {help}"))
        }
        _ => Trouble::again(message),
    }
}

/// Passes success on, and says what any other status means.
fn checked(answer: Answer, had_token: bool) -> Result<Answer, Trouble> {
    let status = answer.status();
    if matches!(status, 200..=299 | 416) || status < 400 && answer.header("location").is_some() {
        return Ok(answer);
    }
    let url = answer.url.without_query();
    let said = format!("{url} answered {status}{}", reason(status));
    match status {
        408 | 425 | 429 | 500..=599 => {
            let wait = answer.header("retry-after").and_then(wait_of);
            match wait {
                Some(wait) if wait > LONGEST_WAIT => {
                    let wait = wait.as_secs();
                    Err(Trouble::final_network(format!("{said} and asks to come back after {wait} s")))
                }
                _ => Err(Trouble::Again(Error::network(said), wait)),
            }
        }
        401 | 403 if had_token => Err(Trouble::final_network(format!(
            "{said}: the token of HF_TOKEN may not read it, or its licence is not accepted yet"
        ))),
        401 | 403 => Err(Trouble::final_network(format!("{said}: where it needs a token, set HF_TOKEN"))),
        404 | 410 => Err(Trouble::Final(Error::new(ErrorKind::NotFound, said))),
        _ => Err(Trouble::final_network(said)),
    }
}

fn reason(status: u16) -> String {
    let known = ureq::http::StatusCode::from_u16(status).ok();
    known.and_then(|status| status.canonical_reason()).map(|reason| format!(" ({reason})")).unwrap_or_default()
}

/// What `Retry-After` asks for: seconds, or a date.
fn wait_of(text: &str) -> Option<Duration> {
    match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let at = crate::date::seconds_of(text)?;
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            Some(Duration::from_secs(at).saturating_sub(now))
        }
    }
}
