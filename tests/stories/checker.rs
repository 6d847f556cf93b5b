//! Whether the checker of every story's end sees what must not be: without a cluster, on logs that are made up.

use std::sync::Arc;

use leasehold_tests::{
    cluster::{
        containers::Kill,
        invariants::violations,
        pod_logs::{ContainerRun, PodEvent},
    },
    event_log::Event,
};
use libtest_mimic::Trial;
use serde_json::json;

const LEASE: &str = "here/task";

/// `POD EVENT TOKEN TIME`, a line each.
fn log(lines: &[(&str, &str, u64, i64)]) -> Vec<PodEvent> {
    let event = |&(pod, name, token, at_micros): &(&str, &str, u64, i64)| PodEvent {
        run: Arc::new(ContainerRun {
            namespace: "here".into(),
            pod: pod.into(),
            uid: pod.into(),
            container: "elector".into(),
            restarts: 0,
        }),
        event: Event { line: json!({"event": name, "lease": LEASE, "token": token}), at_micros },
    };
    lines.iter().map(event).collect()
}

/// What `violations` says, and of what it must be: nothing, or one thing with these words.
fn expect(lines: &[(&str, &str, u64, i64)], kills: &[Kill], words: Option<&str>) {
    let wrong = violations(LEASE, &log(lines), kills);
    match words {
        None => assert!(wrong.is_empty(), "{wrong:?}"),
        Some(words) => assert!(wrong.iter().any(|wrong| wrong.contains(words)), "{words:?} is not in {wrong:?}"),
    }
}

pub(crate) fn trials() -> Vec<Trial> {
    let good = [
        ("a", "guest-started", 5, 10),
        ("a", "guest-output", 5, 11),
        ("a", "guest-stopped", 5, 20),
        ("b", "guest-started", 6, 20),
        ("b", "guest-output", 6, 30),
    ];
    let trial = |name: &str, check: Box<dyn FnOnce() + Send>| {
        Trial::test(format!("checker::{name}"), move || {
            check();
            Ok(())
        })
    };
    vec![
        trial("one_after_the_other_is_fine", Box::new(move || expect(&good, &[], None))),
        trial(
            "two_at_once",
            Box::new(move || {
                let mut lines = good;
                lines[3].3 = 19;
                expect(&lines, &[], Some("two at once"));
            }),
        ),
        trial(
            "one_that_was_never_seen_to_stop",
            Box::new(move || {
                let unended = [good[0], good[1], good[3]];
                expect(&unended, &[], Some("two at once"));
                expect(&unended, &[Kill { uid: "a".into(), at_micros: 15 }], None);
                expect(&unended, &[Kill { uid: "a".into(), at_micros: 21 }], Some("two at once"));
            }),
        ),
        trial(
            "a_line_after_the_end",
            Box::new(move || {
                let mut lines = good.to_vec();
                lines.insert(3, ("a", "guest-output", 5, 20));
                expect(&lines, &[], Some("and its guest was None"));
            }),
        ),
        trial(
            "a_token_that_has_not_grown",
            Box::new(move || {
                let mut lines = good;
                lines[3].2 = 5;
                lines[4].2 = 5;
                expect(&lines, &[], Some("has not grown"));
            }),
        ),
        trial("a_lease_under_which_nothing_ran", Box::new(move || expect(&[], &[], Some("no guest ran")))),
    ]
}
