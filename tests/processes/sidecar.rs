//! guest-examples/sidecar-switch: applications are switched on and off over HTTP, as their replica leads or not.

pub(super) mod application;

use std::time::{Duration, Instant};

use leasehold_tests::{build::guest, host_process::HostProcess};
use rustix::process::Signal;
use tempfile::TempDir;

use self::application::{Applications, Call, Mood};

/// So that the calls come often, and tests need not wait for long.
const QUICK: [&str; 10] = [
    "--env",
    "EVERY=200ms",
    "--env",
    "CALL_TIMEOUT=500ms",
    "--env",
    "MARGIN=200ms",
    "--env",
    "PERMISSION=2s",
    "--env",
    "ACTIVATE_DEADLINE=2s",
];
const LEASE: [&str; 6] = ["--lease-duration", "4s", "--renew-deadline", "3s", "--retry-period", "500ms"];

/// Two replicas, of which `a` leads: each a host, and the application of the same name beside it.
struct Pair {
    a: HostProcess,
    b: HostProcess,
    applications: Applications,
    _leases: TempDir,
}

fn host(name: &str, applications: &Applications, leases: &TempDir, more: &[&str]) -> HostProcess {
    let url = |path: &str| format!("http://{}/{path}", applications.address(name));
    let [activate, deactivate, health] =
        ["activate", "deactivate", "health"].map(|path| format!("{}_URL={}", path.to_uppercase(), url(path)));
    let allow = url("");
    let urls = ["--env", &activate, "--env", &deactivate, "--env", &health, "--allow-http", &allow];
    let args = [&["--lease", "task"], &LEASE[..], &QUICK, &urls, more].concat();
    HostProcess::run_in_folder(name, &guest("sidecar-switch"), leases.path(), &args)
}

impl Pair {
    fn start(mood_of_a: Mood) -> Self {
        let applications = Applications::start(&["a", "b"]);
        applications.set("a", mood_of_a);
        let leases = TempDir::new().expect("a folder");
        let a = host("a", &applications, &leases, &[]);
        a.wait_for_event("guest-started", 1);
        let b = host("b", &applications, &leases, &[]);
        b.wait_for_event("new-leader", 1);
        Self { a, b, applications, _leases: leases }
    }

    /// Waits until `b` is active, and looks at what had become of `a` by then.
    fn assert_b_is_activated_when_a_is_off(&self) {
        let (at, _) = self.applications.wait_for("b is active", |calls| active(calls, "b"));
        let token = self.b.wait_for_event("leading", 1).token();
        assert!(token > self.a.wait_for_event("leading", 1).token());
        let calls = self.applications.calls();
        let until = calls.iter().filter(|call| call.application == "a").filter_map(|call| call.permitted_until);
        let off = calls.iter().any(|call| call.application == "a" && call.what == "off" && call.at < at);
        assert!(off || until.max().is_none_or(|until| until < at), "both were permitted at once: {calls:#?}");
    }

    fn say_of_a(&self, words: &str) {
        self.a.wait_for(words, |event| event.message().contains(words));
    }
}

/// When an application got its first permission, and for which token.
fn active(calls: &[Call], application: &str) -> Option<(Instant, u64)> {
    let call = calls.iter().find(|call| call.application == application && call.what == "active")?;
    Some((call.at, call.token))
}

fn count(calls: &[Call], application: &str, what: &str) -> usize {
    calls.iter().filter(|call| call.application == application && call.what == what).count()
}

#[test]
fn an_application_is_permitted_again_and_again_with_the_token_and_is_off_before_another_is_on() {
    let mut pair = Pair::start(Mood::Well);
    pair.applications.wait_for("several permissions", |calls| (count(calls, "a", "active") > 5).then_some(()));
    let calls = pair.applications.calls();
    let token = pair.a.wait_for_event("leading", 1).token();
    assert!(calls.iter().all(|call| call.application == "a"), "the standby's is left alone: {calls:#?}");
    assert!(calls.iter().filter(|call| call.what == "active").all(|call| call.token == token));
    // At first the switch knows no clock of the application's, and is sent one.
    assert_eq!(calls[0].what, "refused");
    let identity = calls[0].identity.as_deref().expect("an identity");
    assert!(identity.starts_with("a_") && calls[0].lease.as_deref() == Some("default/task"), "{calls:#?}");

    pair.a.signal(Signal::TERM);
    assert_eq!(pair.a.wait().code(), Some(0));
    pair.assert_b_is_activated_when_a_is_off();
    let calls = pair.applications.calls();
    let at = |is: &dyn Fn(&Call) -> bool| calls.iter().position(is).expect("it happened");
    let off = at(&|call| call.application == "a" && call.what == "off");
    assert!(off < at(&|call| call.application == "b"), "off first: {calls:#?}");
    // Before the release: the host does not say that it has released until it has said this.
    let said = pair.a.all_events();
    let at = |is: &dyn Fn(&leasehold_tests::event_log::Event) -> bool| said.iter().position(is).expect("it was said");
    assert!(
        at(&|event| event.message() == format!("off, token {token}: StopReason::Shutdown"))
            < at(&|event| event.name() == "released")
    );
}

#[test]
fn an_activation_that_fails_is_tried_again() {
    let pair = Pair::start(Mood::RefusesActivation { times: 3 });
    pair.applications.wait_for("a is active", |calls| active(calls, "a"));
    let calls = pair.applications.calls();
    assert_eq!(count(&calls, "a", "not now"), 3, "{calls:#?}");
    let at: Vec<_> = calls.iter().filter(|call| call.what == "not now").map(|call| call.at).collect();
    let pauses = [at[1] - at[0], at[2] - at[1]];
    assert!(
        pauses[0] >= Duration::from_millis(100) && pauses[1] >= Duration::from_millis(200),
        "the waits grow: {calls:#?}"
    );
}

#[test]
fn where_an_application_cannot_be_activated_in_time_another_replica_is_tried() {
    let pair = Pair::start(Mood::RefusesActivation { times: usize::MAX });
    pair.say_of_a("not activated within 2s: POST");
    pair.a.wait_for_event("released", 1);
    pair.assert_b_is_activated_when_a_is_off();
    assert_eq!(count(&pair.applications.calls(), "a", "active"), 0);
}

#[test]
fn an_application_that_is_not_healthy_several_times_in_a_row_loses_the_lead_and_not_for_less() {
    let pair = Pair::start(Mood::Well);
    pair.applications.wait_for("a is active", |calls| active(calls, "a"));
    pair.applications.set("a", Mood::Unhealthy { times: 2 });
    pair.say_of_a("not healthy, 2 of 3: GET");
    let healthy = pair.applications.wait_for("two and no more", |calls| {
        let last = calls.iter().rposition(|call| call.what == "unhealthy")?;
        Some(calls[last..].iter().filter(|call| call.what == "healthy").count()).filter(|healthy| *healthy > 5)
    });
    assert!(healthy > 5 && pair.a.count("released") == 0);

    pair.applications.set("a", Mood::Unhealthy { times: usize::MAX });
    pair.say_of_a("the application was not healthy 3 times in a row");
    pair.assert_b_is_activated_when_a_is_off();
    let order: Vec<_> =
        pair.applications.calls().iter().map(|call| format!("{} {}", call.application, call.what)).collect();
    let at = |what: &str| order.iter().position(|call| call == what).unwrap_or_else(|| panic!("{what} in {order:?}"));
    assert!(at("a off") < at("b refused"), "{order:?}");
}

/// It answers nothing any more, and then everything at once: what it had been sent before is of no use to it.
#[test]
fn another_application_is_on_only_when_the_permission_of_one_that_is_frozen_is_over_and_it_stays_so() {
    let pair = Pair::start(Mood::Well);
    pair.applications.wait_for("a is active", |calls| active(calls, "a"));
    pair.applications.set("a", Mood::Frozen);
    pair.say_of_a("but its last permission is over");
    pair.assert_b_is_activated_when_a_is_off();
    let before = pair.applications.calls().len();
    assert!(!pair.applications.is_permitted("a"));
    pair.applications.set("a", Mood::Well);
    pair.applications.wait_for("what a was sent is read", |calls| {
        calls[before..].iter().any(|call| call.application == "a" && call.what == "off").then_some(())
    });
    assert!(!pair.applications.is_permitted("a"));
    for call in &pair.applications.calls()[before..] {
        let late = call.application == "a" && call.permitted_until.is_some_and(|until| until > call.at);
        assert!(!late, "a call that was read late has given a permission: {call:?}");
    }
}

#[test]
fn nobody_renews_the_permission_where_the_host_is_killed_and_it_is_over_before_another_leads() {
    let mut pair = Pair::start(Mood::Well);
    pair.applications.wait_for("a is active", |calls| active(calls, "a"));
    pair.a.kill();
    pair.assert_b_is_activated_when_a_is_off();
}

#[test]
fn an_application_that_is_ending_says_so_and_is_switched_off_at_once() {
    let pair = Pair::start(Mood::Well);
    pair.applications.wait_for("a is active", |calls| active(calls, "a"));
    pair.applications.set("a", Mood::Ending);
    pair.say_of_a("the application is ending (410)");
    pair.assert_b_is_activated_when_a_is_off();
}

/// Another process answers at the same address: a clock of the one before is not its own.
#[test]
fn an_application_that_was_started_again_is_activated_again() {
    let pair = Pair::start(Mood::Well);
    pair.applications.wait_for("a is active", |calls| active(calls, "a"));
    pair.applications.restart("a");
    let restarted = pair.applications.calls().len();
    pair.applications.wait_for("a is active again", |calls| active(&calls[restarted..], "a"));
    assert_eq!(pair.a.count("released"), 0);
}

#[test]
fn a_mistake_in_the_environment_says_what_would_be_right() {
    let allow = ["--allow-http", "http://127.0.0.1:9/"];
    let good = ["--env", "ACTIVATE_URL=http://127.0.0.1:9/on", "--env", "DEACTIVATE_URL=http://127.0.0.1:9/off"];
    let cases: [(&[&str], &str); 6] = [
        (&[], "ACTIVATE_URL is not set: give the URL that activates the application, such as"),
        (&["--env", "ACTIVATE_URL=localhost/on"], "ACTIVATE_URL: it has no scheme; expected a URL such as"),
        (&good[..2], "DEACTIVATE_URL is not set"),
        (&[&good[..], &["--env", "EVERY=soon"]].concat(), "EVERY=soon: "),
        (&[&good[..], &["--env", "FAILURES=0"]].concat(), "FAILURES=0: expected a whole number from 1"),
        (
            &[&good[..], &["--env", "PERMISSION=2s"]].concat(),
            "PERMISSION=2s is too short: it has to be longer than EVERY and twice CALL_TIMEOUT together, which is 3s",
        ),
    ];
    for (env, wanted) in cases {
        let leases = TempDir::new().expect("a folder");
        let args = [&allow[..], env].concat();
        let host = HostProcess::run_in_folder("only", &guest("sidecar-switch"), leases.path(), &args);
        let stopped = host.wait_for_event("guest-stopped", 1);
        assert!(stopped.message().contains(wanted), "no {wanted:?} in {stopped}");
    }
}

#[test]
fn an_application_that_sends_no_clock_is_told_of_what_it_has_to_send() {
    let pair = Pair::start(Mood::WithoutClock);
    pair.say_of_a("an answer without the header Leasehold-Clock: the application has to send it");
    pair.assert_b_is_activated_when_a_is_off();
}

/// Two replicas whose applications know of no permission.
fn plain(leases: &TempDir, applications: &Applications) -> [HostProcess; 2] {
    for name in ["a", "b"] {
        applications.set(name, Mood::WithoutClock);
    }
    let a = host("a", applications, leases, &PLAIN);
    applications.wait_for("a is on", |calls| calls.iter().any(|call| call.what == "on").then_some(()));
    let b = host("b", applications, leases, &PLAIN);
    b.wait_for("the other's lead", |event| event.message() == "off: another replica leads");
    [a, b]
}

const PLAIN: [&str; 4] = ["--env", "PERMISSION=none", "--callback-time", "2s"];

/// When it was first said to be on, or off, from the `from`th call on.
fn first(calls: &[Call], from: usize, application: &str, what: &str) -> Option<usize> {
    let position = calls[from..].iter().position(|call| call.application == application && call.what == what)?;
    Some(from + position)
}

#[test]
fn an_application_without_permissions_is_told_to_be_on_while_its_replica_leads_and_off_before_another_is() {
    let (leases, applications) = (TempDir::new().expect("a folder"), Applications::start(&["a", "b"]));
    let [mut a, b] = plain(&leases, &applications);
    let calls = applications.calls();
    let token = a.wait_for_event("leading", 1).token();
    let on = first(&calls, 0, "a", "on").expect("it is on");
    assert_eq!((calls[on].token, first(&calls, 0, "b", "on")), (token, None), "{calls:#?}");
    // One that was started again is told again.
    applications.restart("a");
    applications.set("a", Mood::WithoutClock);
    let restarted = calls.len();
    applications.wait_for("a is on again", |calls| first(calls, restarted, "a", "on"));

    a.signal(Signal::TERM);
    assert_eq!(a.wait().code(), Some(0));
    applications.wait_for("b is on", |calls| first(calls, 0, "b", "on"));
    let calls = applications.calls();
    let off = first(&calls, 0, "a", "off").expect("a is off");
    assert!(off < first(&calls, 0, "b", "on").expect("b is on"), "{calls:#?}");
    assert!(first(&calls, off, "a", "on").is_none() && !applications.is_on("a") && b.count("lost") == 0);
}

/// Nobody can tell it to be off while there is nobody beside it; whoever comes next does.
#[test]
fn an_application_without_permissions_that_was_left_on_is_off_when_its_next_host_hears_that_another_leads() {
    let (leases, applications) = (TempDir::new().expect("a folder"), Applications::start(&["a", "b"]));
    let [mut a, _b] = plain(&leases, &applications);
    a.kill();
    applications.wait_for("b is on", |calls| first(calls, 0, "b", "on"));
    assert!(applications.is_on("a"), "nothing is promised of it");
    let again = host("a", &applications, &leases, &PLAIN);
    again.wait_for("the other's lead", |event| event.message() == "off: another replica leads");
    assert!(!applications.is_on("a") && applications.is_on("b"));
}

#[test]
fn where_an_application_does_not_say_that_it_is_off_the_lease_is_kept_until_its_term_is_over() {
    let (leases, applications) = (TempDir::new().expect("a folder"), Applications::start(&["a", "b"]));
    let [mut a, b] = plain(&leases, &applications);
    applications.set("a", Mood::StaysOn);
    a.signal(Signal::TERM);
    let kept = a.wait_for_event("lease-kept", 1);
    assert!(kept.message().contains("on-stop-leading"), "{kept}");
    assert_eq!(a.wait().code(), Some(0));
    let released = a.wait_for_event("released", 1);
    let left = kept.message().split("kept for ").nth(1).and_then(|left| left.split(' ').next()?.parse::<f64>().ok());
    let seconds = left.expect("it says for how long");
    // Told in tenths.
    let at_least = Duration::from_secs_f64((seconds - 0.1).max(0.0));
    assert!(seconds > 0.0 && released.at_micros - kept.at_micros >= super::micros(at_least), "{released}");
    let leads = b.wait_for_event("leading", 1);
    assert!(leads.at_micros > kept.at_micros, "{leads}");
}
