//! Where a request goes, read once into the one form that is compared with the rules, resolved, and sent.
//!
//! What two parsers could read in two ways is refused, not repaired: user-info, a trailing dot, IPv4 in odd forms,
//! zone ids, `.` and `..` in any encoding. Only upper case in the host, and a port that is the scheme's own, are
//! brought into one form.

use std::fmt;

use http::Uri;
use percent_encoding::percent_decode;
use url::Host;

/// `http` or `https`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub(super) scheme: Scheme,
    pub(super) host: Host<String>,
    pub(super) port: u16,
    /// Begins with `/`. As it was given: no `.` or `..` hides in it, whoever decodes it.
    pub(super) path: String,
    pub(super) query: Option<String>,
}

/// Why a URL is refused, whatever the rules say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub(super) String);

impl Malformed {
    fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// So many times a path is decoded to see whether a dot segment comes out; then it is refused.
const DECODINGS_MAX: usize = 8;

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// What in it could be read in two ways.
    pub fn of(uri: &Uri) -> Result<Self, Malformed> {
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            _ => return Err(Malformed::new("it has to begin with https:// or http://")),
        };
        let authority = uri.authority().ok_or_else(|| Malformed::new("it names no host"))?.as_str();
        if authority.contains('@') {
            return Err(Malformed::new("it has user-info before an `@`"));
        }
        let (host, port) = split_port(authority)?;
        let port = match port {
            None => scheme.port(),
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => digits
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| Malformed::new(format!("`{digits}` is not a port (1 to 65535)")))?,
            Some(other) => return Err(Malformed::new(format!("`{other}` is not a port (1 to 65535)"))),
        };
        let host = parse_host(host)?;
        let path = if uri.path().is_empty() { "/" } else { uri.path() };
        check_path(path)?;
        Ok(Self { scheme, host, port, path: path.to_owned(), query: uri.query().map(str::to_owned) })
    }

    /// The URL to send to: what was read, and nothing else.
    ///
    /// # Errors
    /// The parts do not make a URL, which [`Self::of`] has excluded.
    pub fn uri(&self) -> Result<Uri, http::Error> {
        let path_and_query = match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        };
        Uri::builder().scheme(self.scheme.as_str()).authority(self.authority()).path_and_query(path_and_query).build()
    }

    fn authority(&self) -> String {
        let port = if self.port == self.scheme.port() { String::new() } else { format!(":{}", self.port) };
        format!("{}{port}", self.host)
    }

    /// The rule that would allow it and its neighbours.
    pub fn rule(&self) -> String {
        let folder = &self.path[..=self.path.rfind('/').unwrap_or_default()];
        format!("{}://{}{folder}", self.scheme.as_str(), self.authority())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.as_str(), self.authority(), self.path)
    }
}

/// `host` or `host:port`; an IPv6 address keeps its brackets.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), Malformed> {
    let host_end = match authority.rfind(']') {
        Some(end) => end + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    match authority.split_at(host_end) {
        (host, "") => Ok((host, None)),
        (host, rest) => match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None => Err(Malformed::new(format!("`{authority}` is not a host and a port"))),
        },
    }
}

/// One host, written in the one way it is written.
pub(in crate::guest::imports) fn parse_host(text: &str) -> Result<Host<String>, Malformed> {
    let lower = text.to_ascii_lowercase();
    if lower.is_empty() {
        return Err(Malformed::new("it names no host"));
    }
    if lower.ends_with('.') {
        return Err(Malformed::new(format!("`{lower}` ends with a dot: leave it away")));
    }
    let parsed = Host::parse(&lower).map_err(|error| Malformed::new(format!("`{lower}` is not a host: {error}")))?;
    match &parsed {
        Host::Domain(name) if is_dns_name(name) && *name == lower => {}
        // However it was written, its one form is what is compared and sent.
        Host::Ipv6(_) => {}
        Host::Ipv4(_) if parsed.to_string() == lower => {}
        Host::Ipv4(address) => return Err(Malformed::new(format!("`{lower}` is another way to write {address}"))),
        Host::Domain(_) => {
            return Err(Malformed::new(format!("`{lower}` is not a host name (letters, digits, `-` and `_`)")));
        }
    }
    Ok(parsed)
}

/// RFC 1123, and `_`, which names of services have.
fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Refuses what some server could take for a way up, or for another separator.
fn check_path(path: &str) -> Result<(), Malformed> {
    if !path.starts_with('/') {
        return Err(Malformed::new("its path does not begin with `/`"));
    }
    if path.bytes().any(|byte| matches!(byte, b'\\' | b'#' | 0x7f) || !byte.is_ascii() || byte <= b' ') {
        return Err(Malformed::new("its path has a backslash, or bytes that have to be percent-encoded"));
    }
    check_escapes(path)?;
    let mut decoded = path.as_bytes().to_vec();
    for _ in 0..DECODINGS_MAX {
        if decoded.split(|byte| matches!(byte, b'/' | b'\\')).any(is_dot_segment) {
            return Err(Malformed::new("its path has `.` or `..` as a segment, perhaps encoded"));
        }
        if decoded.contains(&0) {
            return Err(Malformed::new("its path has an encoded NUL"));
        }
        let again: Vec<u8> = percent_decode(&decoded).collect();
        if again == decoded {
            return Ok(());
        }
        decoded = again;
    }
    Err(Malformed::new("its path is percent-encoded over and over"))
}

/// Each `%` begins an escape, and none is of the two bytes that only overlong UTF-8 has (a `/` or `.` in disguise).
fn check_escapes(path: &str) -> Result<(), Malformed> {
    for escape in path.split('%').skip(1) {
        let digits = escape.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match digits.map(str::to_ascii_lowercase).as_deref() {
            None => return Err(Malformed::new("its path has a `%` without two hexadecimal digits")),
            Some("c0" | "c1") => return Err(Malformed::new("its path has overlong UTF-8")),
            Some(_) => {}
        }
    }
    Ok(())
}

/// `.` or `..`, also with parameters (`..;x`), which some servers cut off before they look.
fn is_dot_segment(segment: &[u8]) -> bool {
    let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
    matches!(name, b"." | b"..")
}
