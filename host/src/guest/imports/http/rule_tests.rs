//! The matcher, by example (what is allowed, what is refused, each trick by its name) and by property.

use http::Uri;
use proptest::{collection::vec, prelude::*, sample::select};
use url::Url;

use super::{rule::HttpRule, target::Target};

fn rule(text: &str) -> HttpRule {
    text.parse().unwrap_or_else(|why| panic!("{text}: {why}"))
}

fn allowed(rule: &HttpRule, url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    Target::of(&uri).is_ok_and(|target| rule.allows(&target))
}

#[test]
fn a_rule_allows_what_is_below_it_and_nothing_beside_it() {
    let cases: [(&str, &[&str], &[&str]); 6] = [
        (
            "https://api.example.com/v1/",
            &[
                "https://api.example.com/v1/",
                "https://api.example.com/v1/users?id=7",
                "https://API.Example.COM/v1/x",
                "https://api.example.com:443/v1/x",
                "https://api.example.com/v1/a%2Fb",
                "https://api.example.com/v1//x",
                "https://api.example.com/v1/..x/...",
            ],
            &[
                "http://api.example.com/v1/",
                "https://api.example.com:8443/v1/",
                "https://api.example.com/v1",
                "https://api.example.com/V1/",
                "https://api.example.com/v10/",
                "https://api.example.com/",
                "https://api.example.com//v1/",
                "https://example.com/v1/",
                "https://x.api.example.com/v1/",
                "https://api.example.com.evil.test/v1/",
                "https://evilapi.example.com/v1/",
            ],
        ),
        ("https://h.test/v1", &["https://h.test/v1", "https://h.test/v1/x"], &["https://h.test/v1x"]),
        ("https://h.test", &["https://h.test", "https://h.test/", "https://h.test/any"], &["http://h.test/"]),
        (
            "https://*.internal.example:8443/",
            &["https://a.internal.example:8443/", "https://a.b.internal.example:8443/x"],
            &[
                "https://internal.example:8443/",
                "https://.internal.example:8443/",
                "https://ainternal.example:8443/",
                "https://a.internal.example/",
            ],
        ),
        ("http://127.0.0.1:8080/", &["http://127.0.0.1:8080/x"], &["http://127.0.0.2:8080/", "http://localhost:8080/"]),
        (
            "http://[::1]:8080/",
            &["http://[::1]:8080/", "http://[0:0:0:0:0:0:0:1]:8080/"],
            &["http://[::ffff:127.0.0.1]:8080/", "http://127.0.0.1:8080/"],
        ),
    ];
    for (text, yes, no) in cases {
        let rule = rule(text);
        for url in yes {
            assert!(allowed(&rule, url), "{text} has to allow {url}");
        }
        for url in no {
            assert!(!allowed(&rule, url), "{text} must not allow {url}");
        }
    }
}

#[test]
fn every_trick_with_a_url_is_refused_though_the_whole_host_is_allowed() {
    let rules = [rule("http://127.0.0.1/"), rule("http://[::1]/"), rule("https://h.test/"), rule("http://*.test/")];
    let tricks = [
        // User-info: `h.test` is a password here, and the host another.
        "https://user@h.test/",
        "https://h.test@evil.test/",
        "https://h.test:x@evil.test/",
        // The same host, written in another way.
        "https://h.test./",
        "https://h%2etest/",
        "https://h.test:0/",
        "https://h.test:/",
        "https://h.test:+443/",
        "https://h.test:65979/",
        "https://h..test/",
        "https://xn--h-.test/",
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://017700000001/",
        "http://127.1/",
        "http://127.0.0.1./",
        "http://[::1%25eth0]/",
        "http://[::1%eth0]/",
        "http://[::1",
        "http://::1/",
        // Ways up.
        "https://h.test/a/../b",
        "https://h.test/a/./b",
        "https://h.test/..",
        "https://h.test/%2e%2e/b",
        "https://h.test/%2E./b",
        "https://h.test/a/..%2fb",
        "https://h.test/a%2f..%2fb",
        "https://h.test/a/..%5cb",
        "https://h.test/a\\..\\b",
        "https://h.test/a\\b",
        "https://h.test/%252e%252e/b",
        "https://h.test/%25252e%25252e/b",
        "https://h.test/a/..;x=1/b",
        "https://h.test/a/..%3bx/b",
        "https://h.test/%c0%ae%c0%ae/b",
        "https://h.test/%u002e%u002e/b",
        "https://h.test/a%",
        "https://h.test/a%0",
        "https://h.test/a%00.html",
        "https://h.test/%25252525252525252e",
        // Other schemes.
        "ftp://h.test/",
        "ws://h.test/",
        "file:///etc/passwd",
        "h.test:443",
        "/v1",
        "*",
    ];
    for url in tricks {
        for rule in &rules {
            assert!(!allowed(rule, url), "{rule} must not allow {url}");
        }
    }
}

#[test]
fn what_was_checked_is_what_is_sent() {
    let cases = [
        ("HTTPS://API.Example.com:443/v1/a%2Fb?q=%2e%2e/x", "https://api.example.com/v1/a%2Fb?q=%2e%2e/x"),
        ("http://h.test", "http://h.test/"),
        ("http://h.test?q", "http://h.test/?q"),
        ("http://[0:0::1]:8080/x", "http://[::1]:8080/x"),
    ];
    for (url, sent) in cases {
        let target = Target::of(&url.parse().expect("a URI")).expect("nothing is wrong with it");
        assert_eq!(target.uri().expect("a URI").to_string(), sent);
    }
}

#[test]
fn a_rule_that_is_wrong_says_what_would_be_right() {
    let cases = [
        ("", "expected a URL"),
        ("api.example.com", "https://"),
        ("ftp://h.test/", "begin with https:// or http://"),
        ("https://", "expected a URL"),
        ("https://*/", "not a host name"),
        ("https://a.*.test/", "not a host name"),
        ("https://*.*.test/", "not a host name"),
        ("https://*.10.0.0.1/", "not before an address"),
        ("https://h.test./", "ends with a dot"),
        ("https://user@h.test/", "user-info"),
        ("https://h.test/a/../b", "`..`"),
        ("https://h.test/?q=1", "no `?`"),
        ("https://h.test/#a", "no `?` or `#`"),
        ("https://0x7f.1/", "another way to write 127.0.0.1"),
        ("https://h.test:99999/", "65535"),
        ("https://bücher.test/", "xn--bcher-kva.test"),
        ("http://kubernetes.default.svc/api/", "kubernetes: true"),
    ];
    for (text, wanted) in cases {
        let why = text.parse::<HttpRule>().expect_err(text);
        assert!(why.contains(wanted), "{text}: {why}");
    }
}

#[test]
fn the_rule_that_is_proposed_allows_what_was_refused() {
    for url in ["https://h.test/", "https://h.test/a/b?c", "http://[::1]:8080/x", "http://10.0.0.1/a/"] {
        let target = Target::of(&url.parse().expect("a URI")).expect("nothing is wrong with it");
        assert!(rule(&target.rule()).allows(&target), "{url}: {}", target.rule());
    }
}

#[test]
fn a_rule_is_told_as_it_is_written() {
    for text in ["https://api.example.com/v1/", "https://*.internal.example:8443/", "http://[::1]:8080/x"] {
        assert_eq!(rule(text).to_string(), text);
    }
}

/// Pieces that URLs, and tricks with them, are made of.
const PIECES: [&str; 52] = [
    "/",
    "//",
    ".",
    "..",
    "%2e",
    "%2E",
    "%2f",
    "%5c",
    "\\",
    "%25",
    "%252e",
    "%",
    ";",
    "..;",
    "a",
    "v1",
    "v10",
    "api",
    ":",
    "@",
    "?",
    "#",
    "[",
    "]",
    "::1",
    "127.0.0.1",
    "0x7f",
    "1",
    "2130706433",
    "h.test",
    "H.TEST",
    "x.h.test",
    "evil.test",
    "test",
    "xn--",
    "80",
    "443",
    "8080",
    "*",
    "*.",
    "%00",
    "%c0%ae",
    "+",
    " ",
    "\t",
    "%0d%0a",
    "-",
    "_",
    "~",
    "=",
    "&",
    "\u{e9}",
];

fn url() -> impl Strategy<Value = String> {
    let scheme = select(vec!["http://", "https://", "HTTP://", "https:/", "https:\\\\", ""]);
    let host = select(vec!["h.test", "x.h.test", "127.0.0.1", "[::1]", "", "h.test:8080", "h.test:443"]);
    (scheme, host, vec(select(PIECES.to_vec()), 0..10))
        .prop_map(|(scheme, host, pieces)| format!("{scheme}{host}{}", pieces.concat()))
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

/// `LEASEHOLD_URLS=1000000` tries more of them.
fn cases() -> u32 {
    std::env::var("LEASEHOLD_URLS").map_or(20_000, |cases| cases.parse().expect("LEASEHOLD_URLS is a number"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// Another parser (the one of browsers) and a careless server see an allowed URL where the rule says it is.
    #[test]
    fn what_is_allowed_is_below_the_rule_for_other_readers_too(url in url()) {
        for text in ["https://h.test/v1/", "http://*.h.test/", "http://127.0.0.1/v1", "http://[::1]:80/", "https://h.test:8080/"] {
            let rule = rule(text);
            if !allowed(&rule, &url) {
                continue;
            }
            let target = Target::of(&url.parse().expect("it was allowed")).expect("it was allowed");
            let sent = target.uri().expect("it was allowed").to_string();
            let [wanted, seen] = [text.replace("*.", "any."), sent.clone()].map(|url| Url::parse(&url).expect("a URL"));
            prop_assert_eq!(wanted.scheme(), seen.scheme(), "{} {}", text, sent);
            prop_assert_eq!(wanted.port_or_known_default(), seen.port_or_known_default(), "{} {}", text, sent);
            prop_assert!(seen.username().is_empty() && seen.password().is_none(), "{} {}", text, sent);
            let host = seen.host_str().expect("it has a host");
            prop_assert!(
                if text.contains("*.") { host.ends_with(".h.test") } else { Some(host) == wanted.host_str() },
                "{} {}", text, sent
            );
            for path in [seen.path().to_owned(), as_a_server_sees(seen.path())] {
                prop_assert!(format!("{}/", path.trim_end_matches('/')).starts_with(&format!("{}/", wanted.path().trim_end_matches('/'))), "{} {} {}", text, sent, path);
            }
        }
    }

    /// Whatever is written where, nothing panics, and a rule's own text means the same again.
    #[test]
    fn no_text_upsets_the_parser(text in ".{0,60}", url in url()) {
        for text in [text, url] {
            if let Ok(rule) = text.parse::<HttpRule>() {
                prop_assert_eq!(rule.to_string().parse::<HttpRule>(), Ok(rule));
            }
            if let Some(Ok(target)) = text.parse::<Uri>().ok().map(|uri| Target::of(&uri)) {
                let again = Target::of(&target.uri().expect("it was read")).expect("it was read");
                prop_assert_eq!(again, target);
            }
        }
    }
}
