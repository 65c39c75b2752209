//! Addresses: https, and http to this machine. No user names, no fragments, nothing that two readers read differently.

use crate::{Error, Result};
use std::fmt;
use std::net::IpAddr;

/// Longest address.
const LONGEST: usize = 8192;

/// An address that may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) secure: bool,
    /// In lower case; an IPv6 address without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query; starts with a slash.
    pub(crate) rest: String,
}

impl Url {
    /// Reads an address, or says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        Self::read(text).map_err(|problem| Error::invalid(format!("the address {} {problem}", shown(text))))
    }

    fn read(text: &str) -> std::result::Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("has {} bytes, more than {LONGEST}", text.len()));
        }
        if let Some(bad) =
            text.chars().find(|c| c.is_control() || c.is_whitespace() || matches!(c, '\\' | '"' | '<' | '>'))
        {
            return Err(format!("holds {bad:?}"));
        }
        let (scheme, after) = text.split_once("://").ok_or("is no address: write it as https://HOST/PATH")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(format!("has the scheme {scheme:?}; files come by https")),
        };
        let after = after.split('#').next().unwrap_or_default();
        let end = after.find(['/', '?']).unwrap_or(after.len());
        let (authority, rest) = after.split_at(end);
        if authority.contains('@') {
            return Err("holds a user name".to_owned());
        }
        let (host, port) = host_and_port(authority).ok_or("names no host that can be asked")?;
        let url = Self {
            secure,
            host,
            port: port.unwrap_or(if secure { 443 } else { 80 }),
            rest: if rest.starts_with('/') { encoded(rest) } else { format!("/{}", encoded(rest)) },
        };
        match secure || url.is_this_machine() {
            true => Ok(url),
            false => Err("is http, which is for this machine only: use https".to_owned()),
        }
    }

    /// Where a `Location` of this address's answer leads.
    pub(crate) fn join(&self, location: &str) -> Result<Self> {
        let location = without_spaces(location.trim());
        let scheme = if self.secure { "https" } else { "http" };
        if has_scheme(&location) {
            return Self::parse(&location);
        }
        if let Some(after) = location.strip_prefix("//") {
            return Self::parse(&format!("{scheme}://{after}"));
        }
        let path = self.rest.split('?').next().unwrap_or_default();
        let rest = match location.chars().next() {
            Some('/') => location,
            Some('?') => format!("{path}{location}"),
            Some('#') | None => return Ok(self.clone()),
            Some(_) => format!("{}/{location}", path.rsplit_once('/').map_or("", |(folder, _)| folder)),
        };
        Self::parse(&format!("{}{}", self.origin(), without_dots(&rest)))
    }

    /// Scheme, host and port: to whom a secret may be told.
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.secure, self.port) {
            (true, 443) | (false, 80) => format!("{scheme}://{host}"),
            (_, port) => format!("{scheme}://{host}:{port}"),
        }
    }

    /// The host, where it is written as a number.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Whether the host is this machine, by its name.
    pub(crate) fn is_this_machine(&self) -> bool {
        self.host == "localhost" || self.ip().is_some_and(|ip| ip.is_loopback())
    }

    /// Without the query, which may hold a signature that is nobody's business.
    pub(crate) fn without_query(&self) -> String {
        let path = self.rest.split('?').next().unwrap_or_default();
        format!("{}{path}", self.origin())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.rest)
    }
}

/// Host and port of `HOST`, `HOST:PORT` or `[IPV6]:PORT`.
fn host_and_port(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok().filter(|port| *port > 0)?)),
        _ => (authority, None),
    };
    if let Some(inner) = host.strip_prefix('[') {
        let ip: std::net::Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
        return Some((ip.to_string(), port));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.is_empty() || !host.chars().all(plain) || host.starts_with('.') {
        return None;
    }
    // `127.1` and `0x7f000001` mean addresses to some and names to others.
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let number =
        last.starts_with(|c: char| c.is_ascii_digit()) && last.chars().all(|c| c.is_ascii_hexdigit() || c == 'x');
    if number && host.parse::<std::net::Ipv4Addr>().is_err() {
        return None;
    }
    Some((host.trim_end_matches('.').to_ascii_lowercase(), port))
}

/// Whether a reference begins with a scheme: what comes before its first `:` holds no other mark.
fn has_scheme(location: &str) -> bool {
    let end = location.find([':', '/', '?', '#']);
    end.is_some_and(|end| location[end..].starts_with(':') && location.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// A path with its `.` and `..` resolved; its query stays.
fn without_dots(rest: &str) -> String {
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (path, query) = rest.split_at(end);
    let mut kept: Vec<&str> = Vec::new();
    let mut components = path.split('/').skip(1).peekable();
    while let Some(component) = components.next() {
        let is_last = components.peek().is_none();
        match component {
            "." | ".." => {
                if component == ".." {
                    kept.pop();
                }
                // A folder ends with a slash.
                kept.extend(is_last.then_some(""));
            }
            other => kept.push(other),
        }
    }
    format!("/{}{query}", kept.join("/"))
}

/// Some servers write spaces into a `Location` as they are.
fn without_spaces(text: &str) -> String {
    text.replace(' ', "%20")
}

/// Path and query with what is not ASCII percent-encoded.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// One component of a path, or several, with everything but unreserved characters percent-encoded.
pub(crate) fn encoded_path(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// A text for a message: quoted, and cut when it is long.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn an_address_is_read_as_everybody_reads_it() {
        let found = url("HTTPS://Models.Example:8443/a%20b/ü.gguf?x=1#y");
        assert_eq!((found.host.as_str(), found.port), ("models.example", 8443));
        assert_eq!(found.to_string(), "https://models.example:8443/a%20b/%C3%BC.gguf?x=1");
        assert_eq!(url("https://a.b").to_string(), "https://a.b/");
        assert_eq!(url("https://a.b?x").to_string(), "https://a.b/?x");
        assert_eq!(url("http://[::1]:80/x").to_string(), "http://[::1]/x");
        assert_eq!(url("https://a.b/x?secret").without_query(), "https://a.b/x");
    }

    #[test]
    fn what_is_no_safe_address_is_refused() {
        for bad in [
            "http://a.b/c",
            "ftp://a.b/c",
            "a.b/c",
            "https://",
            "https:///x",
            "https://u:p@a.b/",
            "https://a.b:0/",
            "https://a.b:99999/",
            "https://127.1/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://a b/",
            "https://a.b\\c",
            "https://[::g]/",
            "https://ü.example/",
            "http://localhost.evil.example/",
            "https://a.b/\0",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_location_is_read_from_where_it_was_said() {
        let at = url("https://a.b/org/repo/file?q=1");
        for (location, to) in [
            ("https://c.d/x y?z", "https://c.d/x%20y?z"),
            ("//c.d/x", "https://c.d/x"),
            ("/x?u=https://e.f", "https://a.b/x?u=https://e.f"),
            ("x", "https://a.b/org/repo/x"),
            ("?q=2", "https://a.b/org/repo/file?q=2"),
            ("../d/./blob.bin?u=../x", "https://a.b/org/d/blob.bin?u=../x"),
            ("/../../x/..", "https://a.b/"),
            ("./", "https://a.b/org/repo/"),
            ("http://127.0.0.1/x", "http://127.0.0.1/x"),
        ] {
            assert_eq!(at.join(location).unwrap().to_string(), to, "{location}");
        }
        for bad in ["http://c.d/", "file:///etc/passwd", "data:text/plain,x", "a:b", "//"] {
            assert!(at.join(bad).is_err(), "{bad}");
        }
    }
}
