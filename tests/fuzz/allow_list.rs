//! A rule of `allow.http`, and after a line break a URL.

#![no_main]

use leasehold_tests::allow_list;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some((rule, url)) = text.split_once('\n') {
        allow_list::check(rule, url);
    }
});
