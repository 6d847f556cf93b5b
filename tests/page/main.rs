//! The status page in a real browser: headless Chromium, hosts with Leases in a folder. [`chromium`] drives it, [`scene`] has
//! the hosts.

mod boxes;
mod chromium;
mod hostile;
mod label;
mod live;
mod looks;
mod scene;
mod stale;
mod times;

use serde_json::json;

use crate::chromium::Chromium;

/// Nobody else was asked, nothing went wrong, and the browser had nothing to forbid.
#[track_caller]
fn assert_at_peace(chromium: &Chromium, origin: &str) {
    for sent in chromium.events("Network.requestWillBeSent") {
        let url = sent["request"]["url"].as_str().unwrap_or_default();
        assert!(url.starts_with(origin) || url == "about:blank", "it asks for {url}");
    }
    for told in ["Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"] {
        assert_eq!(chromium.events(told), [json!(null); 0], "{told}");
    }
    // That a script, and nobody's hand, has moved to another task is one of them.
    let issues = chromium.events("Audits.issueAdded");
    let of_policy: Vec<_> = issues.iter().filter(|issue| issue["issue"]["code"] != "GenericIssue").collect();
    assert!(of_policy.is_empty(), "{of_policy:?}");
}

/// The row of this task in the list, as JavaScript.
fn row(task: &str) -> String {
    format!("document.querySelector('#list a[href=\"#/{task}\"]')")
}

/// Whether its words have this in them, as JavaScript.
fn row_says(task: &str, words: &str) -> String {
    format!("{}?.innerText.includes({})", row(task), json!(words))
}

/// Whether what this selector finds has this in its text, as JavaScript.
fn says(selector: &str, words: &str) -> String {
    format!("document.querySelector({})?.innerText.includes({})", json!(selector), json!(words))
}
