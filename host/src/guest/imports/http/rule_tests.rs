//! The matcher, by example: what is allowed, what is refused, each trick by its name. And by property, with other
//! readers of URLs beside it: `tests/guests/http/rules.rs`.

use http::Uri;

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
