//! `allow.http` by property: whatever is written there and asked for.

use leasehold_tests::allow_list;
use proptest::{collection::vec, prelude::*, sample::select};

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

/// `LEASEHOLD_URLS=1000000` tries more of them.
fn cases() -> u32 {
    std::env::var("LEASEHOLD_URLS").map_or(20_000, |cases| cases.parse().expect("LEASEHOLD_URLS is a number"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_allowed_is_below_the_rule_for_other_readers_too(url in url()) {
        for rule in ["https://h.test/v1/", "http://*.h.test/", "http://127.0.0.1/v1", "http://[::1]:80/", "https://h.test:8080/"] {
            allow_list::check(rule, &url);
        }
    }

    #[test]
    fn no_text_upsets_the_parser(text in ".{0,60}", url in url()) {
        allow_list::check(&text, &url);
        allow_list::check(&url, &text);
    }
}
