//! What may be asked over the network, and how. Comes from the environment; the caller may set all of it.

use crate::url::{Url, shown};
use crate::{Error, Result};
use std::ffi::OsString;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tenon_store::{Environment, Os};
use ureq::tls::{Certificate, RootCerts};

/// The hub that manifests name.
pub(crate) const HUB: &str = "https://huggingface.co";

/// Longest token, in bytes.
const LONGEST_TOKEN: usize = 4096;

/// What may be asked over the network, and how.
///
/// [`Network::of`] reads the variables that people know: `TENON_OFFLINE` and `HF_HUB_OFFLINE`; `HF_ENDPOINT`;
/// `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HOME`; `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, in capitals or not; `SSL_CERT_FILE`
/// and `SSL_CERT_DIR`. `HTTP_PROXY` has no part: plain http never leaves this machine.
///
/// ```
/// use tenon_pull::Network;
/// use tenon_store::Environment;
///
/// let mut environment = Environment::of_this_process();
/// environment.variables.insert("TENON_OFFLINE".to_owned(), "1".into());
/// assert!(Network::of(&environment).unwrap().is_offline());
/// ```
#[derive(Clone)]
pub struct Network {
    pub(crate) offline: bool,
    pub(crate) endpoint: Url,
    pub(crate) token: Option<String>,
    pub(crate) proxy: Option<String>,
    pub(crate) no_proxy: Vec<String>,
    pub(crate) rate_limit: Option<NonZeroU64>,
    pub(crate) stall: Duration,
    pub(crate) tries: u32,
    pub(crate) connections: usize,
    pub(crate) parallel_from: u64,
    pub(crate) back_off: Duration,
    ca_file: Option<PathBuf>,
    ca_folder: Option<PathBuf>,
    roots: Arc<OnceLock<Result<RootCerts>>>,
}

/// Without the token.
impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let has_token = self.token.is_some();
        f.debug_struct("Network")
            .field("offline", &self.offline)
            .field("endpoint", &self.endpoint.to_string())
            .field("has_token", &has_token)
            .finish_non_exhaustive()
    }
}

impl Network {
    /// What the environment says. A variable that cannot be understood is an error: ignoring it would do something else
    /// than somebody asked for.
    pub fn of(environment: &Environment) -> Result<Self> {
        let variables = Variables(environment);
        let path = |name| variables.raw(name).map(PathBuf::from);
        let endpoint = variables.text("HF_ENDPOINT")?.unwrap_or_else(|| HUB.to_owned());
        Ok(Self {
            offline: variables.flag("TENON_OFFLINE")? || variables.flag("HF_HUB_OFFLINE")?,
            endpoint: endpoint_of(&endpoint)?,
            token: variables.token()?,
            proxy: variables.proxy()?,
            no_proxy: variables.no_proxy()?,
            rate_limit: None,
            stall: Duration::from_secs(30),
            tries: 6,
            connections: 4,
            parallel_from: 64 << 20,
            back_off: Duration::from_secs(1),
            ca_file: path("SSL_CERT_FILE"),
            ca_folder: path("SSL_CERT_DIR"),
            roots: Arc::default(),
        })
    }

    /// Whether nothing may be asked at all.
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    /// Forbids, or allows, to ask anything at all.
    #[must_use]
    pub fn offline(self, offline: bool) -> Self {
        Self { offline, ..self }
    }

    /// Asks another server for what manifests have from the hub: the address of a mirror.
    pub fn endpoint(self, url: &str) -> Result<Self> {
        Ok(Self { endpoint: endpoint_of(url)?, ..self })
    }

    /// The token for the hub, and for nobody else.
    pub fn token(self, token: Option<&str>) -> Result<Self> {
        let token = token.map(|token| checked_token(token, "the token")).transpose()?.flatten();
        Ok(Self { token, ..self })
    }

    /// Takes at most this many bytes a second, over all connections.
    #[must_use]
    pub fn rate_limit(self, rate_limit: Option<NonZeroU64>) -> Self {
        Self { rate_limit, ..self }
    }

    /// Gives up on a connection that brings next to nothing for this long; 30 s by default.
    #[must_use]
    pub fn stall(self, stall: Duration) -> Self {
        Self { stall: stall.max(Duration::from_millis(1)), ..self }
    }

    /// Tries an address this often before the next one; 6 by default. After a try that brought a MiB, or an eighth of a
    /// smaller file, the count begins anew.
    #[must_use]
    pub fn tries(self, tries: u32) -> Self {
        Self { tries: tries.max(1), ..self }
    }

    /// Fetches a big file over up to this many connections, from 1 to 16; 4 by default.
    #[must_use]
    pub fn connections(self, connections: usize) -> Self {
        Self { connections: connections.clamp(1, 16), ..self }
    }

    /// What a big file is, in bytes; 64 MiB by default.
    #[must_use]
    pub fn parallel_from(self, bytes: u64) -> Self {
        Self { parallel_from: bytes, ..self }
    }

    /// Waits this long before the second try, and twice as long before each further one, up to 32 times; 1 s by
    /// default.
    #[must_use]
    pub fn back_off(self, back_off: Duration) -> Self {
        Self { back_off, ..self }
    }

    /// Trusts the certificates of this file, in the form PEM, and no others.
    #[must_use]
    pub fn ca_file(self, path: PathBuf) -> Self {
        Self { ca_file: Some(path), ca_folder: None, roots: Arc::default(), ..self }
    }

    /// The address to ask for one of a manifest: the hub's by way of the endpoint.
    pub(crate) fn address(&self, url: &str) -> Result<Url> {
        let asked = Url::parse(url)?;
        if !asked.secure || asked.port != 443 || !["huggingface.co", "hf.co"].contains(&asked.host.as_str()) {
            return Ok(asked);
        }
        let rest = format!("{}{}", self.endpoint.rest.trim_end_matches('/'), asked.rest);
        Ok(Url { rest, ..self.endpoint.clone() })
    }

    /// The token, if this address is the hub's.
    pub(crate) fn token_for(&self, url: &Url) -> Option<&str> {
        self.token.as_deref().filter(|_| url.origin() == self.endpoint.origin())
    }

    /// The proxy to ask by, if any.
    pub(crate) fn proxy_for(&self, url: &Url) -> Option<&str> {
        let proxy = self.proxy.as_deref()?;
        (url.secure && !url.is_this_machine() && !self.no_proxy.iter().any(|rule| goes_direct(rule, url)))
            .then_some(proxy)
    }

    /// Whom to trust. Read once, when the first server is asked by https.
    pub(crate) fn roots(&self) -> Result<RootCerts> {
        self.roots.get_or_init(|| self.read_roots()).clone()
    }

    fn read_roots(&self) -> Result<RootCerts> {
        let (file, folder) = (self.ca_file.as_deref(), self.ca_folder.as_deref());
        let (found, place) = match file.or(folder) {
            Some(place) => (rustls_native_certs::load_certs_from_paths(file, folder), place),
            None => (rustls_native_certs::load_native_certs(), Path::new("the system's store")),
        };
        if found.certs.is_empty() {
            // In words of its own: those of the reader are for programmers.
            let reason = match found.errors.first().map(|error| &error.kind) {
                Some(rustls_native_certs::ErrorKind::Io { inner, .. }) => format!("cannot be read: {inner}"),
                Some(_) => "is no PEM file".to_owned(),
                None => "holds no certificates to trust".to_owned(),
            };
            tracing::debug!(errors = ?found.errors, "no certificates");
            let place = place.display();
            return Err(Error::network(format!(
                "{place} {reason}: install ca-certificates, or name a file of certificates in PEM with SSL_CERT_FILE"
            )));
        }
        let certs: Vec<_> = found.certs.iter().map(|cert| Certificate::from_der(cert).to_owned()).collect();
        Ok(RootCerts::Specific(Arc::new(certs)))
    }
}

fn endpoint_of(url: &str) -> Result<Url> {
    let url = Url::parse(url)?;
    if url.rest.contains('?') {
        return Err(Error::invalid(format!("the address {} of a hub holds a query", shown(&url.to_string()))));
    }
    Ok(url)
}

/// A token that can stand in a header; `None` when it is empty.
fn checked_token(token: &str, whose: &str) -> Result<Option<String>> {
    let token = token.trim();
    if token.len() > LONGEST_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::invalid(format!("{whose} is not one word of plain characters")));
    }
    Ok(Some(token.to_owned()).filter(|token| !token.is_empty()))
}

/// Whether a rule of `NO_PROXY` is for the host of an address: a name, what ends in a name, an address, a network.
fn goes_direct(rule: &str, url: &Url) -> bool {
    if let (Some((network, bits)), Some(ip)) = (rule.split_once('/'), url.ip()) {
        return network.parse().is_ok_and(|network| bits.parse().is_ok_and(|bits| is_within(ip, network, bits)));
    }
    let (name, port) = match rule.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') => (name, port.parse::<u16>().ok()),
        _ => (rule, None),
    };
    if port.is_some_and(|port| port != url.port) {
        return false;
    }
    let name = name.trim_start_matches("*.").trim_start_matches('.').trim_matches(['[', ']']);
    let is_below = || url.host.strip_suffix(name).is_some_and(|before| before.ends_with('.'));
    rule == "*" || (!name.is_empty() && (url.host == name || url.ip().is_none() && is_below()))
}

/// Whether the first bits of two addresses are the same.
fn is_within(ip: IpAddr, network: IpAddr, bits: u32) -> bool {
    let differ = match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => u128::from(ip.to_bits() ^ network.to_bits()) << 96,
        (IpAddr::V6(ip), IpAddr::V6(network)) => ip.to_bits() ^ network.to_bits(),
        _ => return false,
    };
    differ.leading_zeros() >= bits
}

/// The variables of an environment.
struct Variables<'e>(&'e Environment);

impl Variables<'_> {
    fn raw(&self, name: &str) -> Option<&OsString> {
        self.0.variables.get(name).filter(|value| !value.is_empty())
    }

    fn text(&self, name: &str) -> Result<Option<String>> {
        let Some(value) = self.raw(name) else { return Ok(None) };
        let text = value.to_str().ok_or_else(|| Error::invalid(format!("the variable {name} is not UTF-8 text")))?;
        Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
    }

    fn flag(&self, name: &str) -> Result<bool> {
        let Some(text) = self.text(name)? else { return Ok(false) };
        match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(true),
            "0" | "false" | "no" | "off" => Ok(false),
            _ => Err(Error::invalid(format!("the variable {name} is {}: write 1 or 0", shown(&text)))),
        }
    }

    /// The first of these that is set, in capitals or not.
    fn either(&self, names: &[&str]) -> Result<Option<String>> {
        for name in names {
            for name in [(*name).to_owned(), name.to_ascii_lowercase()] {
                if let Some(text) = self.text(&name)? {
                    return Ok(Some(text));
                }
            }
        }
        Ok(None)
    }

    fn proxy(&self) -> Result<Option<String>> {
        let Some(proxy) = self.either(&["HTTPS_PROXY", "ALL_PROXY"])? else { return Ok(None) };
        let scheme = proxy.split_once("://").map_or("http", |(scheme, _)| scheme).to_ascii_lowercase();
        // The address may hold a password, so it is not shown.
        if !matches!(scheme.as_str(), "http" | "https") {
            let problem = format!("the proxy has the scheme {scheme:?}, and only http and https are known");
            return Err(Error::new(crate::ErrorKind::Unsupported, problem));
        }
        if ureq::Proxy::new(&proxy).is_err() {
            return Err(Error::invalid("the address of the proxy cannot be read: write it as http://HOST:PORT"));
        }
        Ok(Some(proxy))
    }

    fn no_proxy(&self) -> Result<Vec<String>> {
        let text = self.either(&["NO_PROXY"])?.unwrap_or_default().to_ascii_lowercase();
        let rules = text.split([',', ' ']).filter(|rule| !rule.is_empty());
        Ok(rules.map(str::to_owned).collect())
    }

    /// `HF_TOKEN`, or what its file holds.
    fn token(&self) -> Result<Option<String>> {
        if let Some(token) = self.text("HF_TOKEN")? {
            return checked_token(&token, "HF_TOKEN");
        }
        if self.flag("HF_HUB_DISABLE_IMPLICIT_TOKEN")? {
            return Ok(None);
        }
        let Some(path) = self.token_path() else { return Ok(None) };
        match std::fs::read_to_string(&path) {
            Ok(text) => checked_token(&text, &path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "the file of the hub's token cannot be read");
                Ok(None)
            }
        }
    }

    fn token_path(&self) -> Option<PathBuf> {
        let home = || self.raw(if self.0.os == Os::Windows { "USERPROFILE" } else { "HOME" }).map(PathBuf::from);
        let cache = || self.raw("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(home()?.join(".cache")));
        let hub = || self.raw("HF_HOME").map(PathBuf::from).or_else(|| Some(cache()?.join("huggingface")));
        self.raw("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(hub()?.join("token")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(variables: &[(&str, &str)]) -> Result<Network> {
        let variables = variables.iter().map(|(name, value)| (name.to_string(), OsString::from(value)));
        Network::of(&Environment {
            os: Os::Linux,
            variables: variables.collect(),
            executable: None,
            library: None,
            is_folder: |_| false,
        })
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn offline_is_said_by_either_variable() {
        assert!(!network(&[]).unwrap().offline);
        assert!(network(&[("TENON_OFFLINE", "1")]).unwrap().offline);
        assert!(network(&[("HF_HUB_OFFLINE", "TRUE")]).unwrap().offline);
        assert!(!network(&[("TENON_OFFLINE", "0")]).unwrap().offline);
        assert!(network(&[("TENON_OFFLINE", "perhaps")]).is_err());
    }

    #[test]
    fn the_endpoint_stands_in_for_the_hub_and_for_nobody_else() {
        let found = network(&[("HF_ENDPOINT", "https://mirror.example/hub/")]).unwrap();
        let address = |text: &str| found.address(text).unwrap().to_string();
        assert_eq!(address("https://huggingface.co/o/r/resolve/x/f"), "https://mirror.example/hub/o/r/resolve/x/f");
        assert_eq!(address("https://huggingface.co.evil.example/f"), "https://huggingface.co.evil.example/f");
        assert_eq!(address("https://other.example/f"), "https://other.example/f");
        assert!(network(&[("HF_ENDPOINT", "http://mirror.example")]).is_err());
        assert!(network(&[("HF_ENDPOINT", "nonsense")]).is_err());
    }

    #[test]
    fn the_token_is_for_the_hub_alone() {
        let found = network(&[("HF_TOKEN", " hf_x \n")]).unwrap();
        assert_eq!(found.token_for(&url("https://huggingface.co/o/r")), Some("hf_x"));
        for other in ["https://huggingface.co:444/", "https://hf.co/", "https://cdn.huggingface.co/", "https://a.b/"] {
            assert_eq!(found.token_for(&url(other)), None, "{other}");
        }
        let mirrored = network(&[("HF_TOKEN", "hf_x"), ("HF_ENDPOINT", "http://127.0.0.1:9")]).unwrap();
        assert_eq!(mirrored.token_for(&url("https://huggingface.co/")), None);
        assert_eq!(mirrored.token_for(&url("http://127.0.0.1:9/x")), Some("hf_x"));
        assert_eq!(mirrored.token_for(&url("http://127.0.0.1:10/x")), None);
        assert!(network(&[("HF_TOKEN", "a\r\nHost: b")]).is_err());
        assert!(!format!("{found:?}").contains("hf_x"));
    }

    #[test]
    fn the_token_may_lie_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "hf_file\n").unwrap();
        let (home, file) = (folder.path().to_str().unwrap(), path.to_str().unwrap());
        for variables in [vec![("HF_HOME", home)], vec![("HF_TOKEN_PATH", file)]] {
            assert_eq!(network(&variables).unwrap().token.as_deref(), Some("hf_file"));
        }
        let silent = [("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")];
        assert_eq!(network(&silent).unwrap().token, None);
        assert_eq!(network(&[("HF_HOME", "/nowhere")]).unwrap().token, None);
    }

    #[test]
    fn a_proxy_is_for_https_and_not_for_those_who_go_direct() {
        let rules = ".inside.example,10.0.0.1, exact.example:8443,192.168.0.0/16,fd00::/8";
        let found = network(&[("https_proxy", "proxy.example:3128"), ("NO_PROXY", rules)]).unwrap();
        let by_proxy = |text: &str| found.proxy_for(&url(text)).is_some();
        assert!(by_proxy("https://a.b/"));
        assert!(by_proxy("https://notinside.example/"));
        assert!(by_proxy("https://exact.example/"));
        assert!(by_proxy("https://192.169.0.1/") && by_proxy("https://[fe00::1]/"));
        for direct in [
            "https://a.inside.example/",
            "https://inside.example/",
            "https://10.0.0.1/",
            "https://192.168.7.7/",
            "https://[fd12::1]/",
            "https://exact.example:8443/",
            "http://127.0.0.1:1/",
            "https://localhost/",
        ] {
            assert!(!by_proxy(direct), "{direct}");
        }
        assert!(
            network(&[("NO_PROXY", "*"), ("ALL_PROXY", "http://p:1")])
                .unwrap()
                .proxy_for(&url("https://a.b"))
                .is_none()
        );
        assert!(network(&[("ALL_PROXY", "socks5://p:1")]).is_err());
        assert!(network(&[("HTTP_PROXY", "http://p:1")]).unwrap().proxy.is_none());
    }

    #[test]
    fn a_file_without_certificates_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty.pem");
        std::fs::write(&path, "").unwrap();
        let error = network(&[]).unwrap().ca_file(path).roots().unwrap_err();
        assert!(error.to_string().contains("empty.pem holds no certificates"), "{error}");
    }
}
