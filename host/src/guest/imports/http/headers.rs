//! Headers that are not the guest's to send.
//!
//! Some servers and proxies read `_` as `-` (CGI has the same name for both), so a name is compared with its `_` as `-`.

use std::{str::FromStr, sync::Arc};

use http::{HeaderMap, HeaderName, header};
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, ForbiddenHeaderFilter};

/// Beyond those of one connection that wasmtime forbids (`Host`, `Connection`, `Transfer-Encoding`, `Upgrade` and so
/// on): what says how the message ends or goes on.
const ALSO_FORBIDDEN: [HeaderName; 3] = [header::TE, header::TRAILER, header::EXPECT];

/// What carries an identity for the API server, whose caller is the host: `Authorization`, impersonation, and the
/// headers of an authenticating proxy.
const IDENTITY_PREFIXES: [&str; 4] = ["authorization", "impersonate-", "x-remote-", "cookie"];

/// A name for the header that carries the fencing token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenHeader(HeaderName);

impl TokenHeader {
    /// The name.
    pub fn name(&self) -> &HeaderName {
        &self.0
    }
}

impl FromStr for TokenHeader {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name: HeaderName =
            text.parse().map_err(|_| "expected the name of a header, such as Leasehold-Token".to_owned())?;
        let taken =
            [header::CONTENT_LENGTH, header::CONTENT_TYPE, header::ACCEPT, header::AUTHORIZATION, header::COOKIE];
        if forbidden(None)(&name) || taken.contains(&name) {
            return Err("has a meaning of its own in HTTP: take another name, such as Leasehold-Token".into());
        }
        Ok(Self(name))
    }
}

/// Those no request of a guest may have. The token's header is the host's.
pub(super) fn forbidden(token_header: Option<HeaderName>) -> ForbiddenHeaderFilter {
    Arc::new(move |name| {
        let name = dashed(name);
        let is = |other: &HeaderName| other.as_str() == name;
        DEFAULT_FORBIDDEN_HEADERS.iter().chain(&ALSO_FORBIDDEN).any(is)
            || token_header.as_ref().is_some_and(|token| dashed(token) == name)
    })
}

/// The first that would say who asks the API server.
pub(super) fn identity(headers: &HeaderMap) -> Option<&HeaderName> {
    headers.keys().find(|name| {
        let name = dashed(name);
        IDENTITY_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    })
}

fn dashed(name: &HeaderName) -> String {
    name.as_str().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_frames_a_message_or_carries_the_token_is_forbidden_in_every_spelling() {
        let filter = forbidden(Some(HeaderName::from_static("leasehold-token")));
        let names = [
            "Host",
            "connection",
            "keep-alive",
            "proxy-connection",
            "Transfer-Encoding",
            "transfer_encoding",
            "Upgrade",
            "HTTP2-Settings",
            "te",
            "trailer",
            "expect",
            "Leasehold-Token",
            "leasehold_token",
        ];
        for name in names {
            assert!(filter(&name.parse().expect("a name")), "{name}");
        }
        for name in ["authorization", "content-type", "accept", "x-token", "content-length"] {
            assert!(!filter(&name.parse().expect("a name")), "{name}");
        }
    }

    #[test]
    fn the_tokens_header_is_no_other_headers() {
        assert!("Leasehold-Token".parse::<TokenHeader>().is_ok());
        for name in ["Host", "Content-Length", "Authorization", "transfer_encoding", "a b", ""] {
            assert!(name.parse::<TokenHeader>().is_err(), "{name}");
        }
    }

    #[test]
    fn an_identity_for_the_api_server_is_found_in_every_spelling() {
        for name in ["Authorization", "Impersonate-User", "impersonate_group", "X-Remote-User", "Cookie"] {
            let headers = HeaderMap::from_iter([(name.parse().expect("a name"), "x".parse().expect("a value"))]);
            assert!(identity(&headers).is_some(), "{name}");
        }
        assert_eq!(identity(&HeaderMap::new()), None);
    }
}
