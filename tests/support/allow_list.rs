//! Whether `allow.http` lets out what it should not, by what other readers of URLs make of them.

use http::Uri;
use leasehold::guest::imports::http::{rule::HttpRule, target::Target};
use url::Url;

/// Holds a rule and a URL, whatever they are, against each other.
///
/// # Panics
/// - A rule's own text does not mean the same again, or what is sent would not be read as what was checked.
/// - The rule allows the URL, but another parser (the one of browsers) or a careless server would not see it where the rule
///   says.
pub fn check(rule: &str, url: &str) {
    let parsed = rule.parse::<HttpRule>();
    if let Ok(rule) = &parsed {
        assert_eq!(rule.to_string().parse::<HttpRule>().as_ref(), Ok(rule), "{rule}");
    }
    let Some(Ok(target)) = url.parse::<Uri>().ok().map(|uri| Target::of(&uri)) else { return };
    let sent = target.uri().expect("it was read");
    assert_eq!(Target::of(&sent).as_ref(), Ok(&target), "{url}");
    if parsed.is_ok_and(|rule| rule.allows(&target)) {
        check_allowed(rule, &sent.to_string());
    }
}

fn check_allowed(rule: &str, sent: &str) {
    let place = |url: &str| Url::parse(url).unwrap_or_else(|error| panic!("{url} is for others no URL: {error}"));
    let wildcard = rule.contains("//*.");
    let (wanted, seen) = (place(&rule.replacen("//*.", "//", 1)), place(sent));
    assert_eq!(wanted.scheme(), seen.scheme(), "{rule} {sent}");
    assert_eq!(wanted.port_or_known_default(), seen.port_or_known_default(), "{rule} {sent}");
    assert!(seen.username().is_empty() && seen.password().is_none(), "{rule} {sent}");
    let [parent, host] = [&wanted, &seen].map(|url| url.host_str().expect("it has a host"));
    let fits = if wildcard { host.ends_with(&format!(".{parent}")) } else { host == parent };
    assert!(fits, "{rule} {sent}");
    let below = format!("{}/", wanted.path().trim_end_matches('/'));
    for path in [seen.path().to_owned(), as_a_server_sees(seen.path())] {
        assert!(format!("{}/", path.trim_end_matches('/')).starts_with(&below), "{rule} {sent} {path}");
    }
}

/// How a server that decodes a path once, and then goes up where it is told to, sees it.
fn as_a_server_sees(path: &str) -> String {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy().replace('\\', "/");
    let mut seen: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            ".." => drop(seen.pop()),
            "." | "" => {}
            segment => seen.push(segment),
        }
    }
    format!("/{}", seen.join("/"))
}
