//! A line of `allow.http`: what URLs it allows.
//!
//! `https://api.example.com/v1/`: that scheme, that host, the scheme's port (or the one that is given), and what is
//! below `/v1/`. `/v1` without the last slash allows `/v1` itself as well, and never `/v10`. `*.example.com` is one label
//! or more before `.example.com`, and not `example.com` itself. The query is not looked at.

use std::{fmt, str::FromStr};

use http::Uri;
use url::Host;

use super::target::{Malformed, Target};

/// The host that means the API server (see [`super::kubernetes`]).
pub(super) const KUBERNETES_HOST: &str = "kubernetes.default.svc";

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRule {
    hosts: Hosts,
    /// Scheme, port and path prefix; and the host, for those that are [`Hosts::One`].
    prefix: Target,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    /// The prefix's.
    One,
    /// Those that end with `.` and the prefix's.
    Below,
}

impl HttpRule {
    /// Whether it allows this.
    pub fn allows(&self, target: &Target) -> bool {
        let Target { scheme, host, port, path, query: _ } = &self.prefix;
        let host_fits = match (&self.hosts, host, &target.host) {
            (Hosts::One, host, asked) => host == asked,
            (Hosts::Below, Host::Domain(parent), Host::Domain(asked)) => {
                asked.strip_suffix(parent.as_str()).is_some_and(|child| child.len() > 1 && child.ends_with('.'))
            }
            (Hosts::Below, ..) => false,
        };
        host_fits && (*scheme, *port) == (target.scheme, target.port) && is_prefix(path, &target.path)
    }

    /// Whether requests that it allows use TLS.
    pub fn needs_tls(&self) -> bool {
        self.prefix.scheme == super::target::Scheme::Https
    }
}

/// On a segment's boundary.
fn is_prefix(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'))
}

impl FromStr for HttpRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected a URL such as https://api.example.com/v1/, or https://*.example.com/";
        if !text.is_ascii() {
            // Such a name has one form that is sent, and that is what should stand here.
            let ascii = url::Url::parse(text).ok().and_then(|url| url.host_str().map(str::to_owned));
            let instead = ascii.map_or(String::new(), |host| format!(" (the host's is {host})"));
            return Err(format!("write it in ASCII{instead}"));
        }
        if text.contains(['?', '#']) {
            return Err(format!("a rule has no `?` or `#`: {expected}"));
        }
        let wildcard = ["https://*.", "http://*."].iter().find(|begin| text.starts_with(**begin));
        let (hosts, plain) = match wildcard {
            Some(begin) => (Hosts::Below, text.replacen(begin, begin.trim_end_matches("*."), 1)),
            None => (Hosts::One, text.to_owned()),
        };
        let uri: Uri = plain.parse().map_err(|_| expected.to_owned())?;
        let prefix = Target::of(&uri).map_err(|Malformed(why)| format!("{why}: {expected}"))?;
        if hosts == Hosts::Below && !matches!(prefix.host, Host::Domain(_)) {
            return Err(format!("`*.` stands before a name, not before an address: {expected}"));
        }
        if prefix.host == Host::Domain(KUBERNETES_HOST.to_owned()) {
            return Err("the API server is allowed by `allow: {kubernetes: true}`, not by a rule for HTTP".into());
        }
        Ok(Self { hosts, prefix })
    }
}

impl fmt::Display for HttpRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = self.prefix.to_string();
        match self.hosts {
            Hosts::One => f.write_str(&plain),
            Hosts::Below => f.write_str(&plain.replacen("://", "://*.", 1)),
        }
    }
}
