//! The judge on made-up histories: what it has to find, and what it must not.

use leasehold_tests::event_log::Event;
use serde_json::{Value, json};

use crate::{
    history::{Note, Wanted},
    judge::Judge,
};

/// A history that is written down line by line.
#[derive(Default)]
struct Told {
    judge: Judge,
    micros: i64,
}

impl Told {
    fn hears(mut self, line: Value) -> Self {
        self.micros += 1_000;
        self.judge.hears(&Event { line, at_micros: self.micros });
        self
    }

    fn waits(mut self, micros: i64) -> Self {
        self.micros += micros;
        self
    }

    fn says(self, host: &str, event: &str, token: u64, message: &str) -> Self {
        self.hears(json!({"event": event, "identity": format!("{host}_0badcafe"), "token": token, "message": message}))
    }

    fn starts(self, host: &str, token: u64) -> Self {
        self.says(host, "candidate", 0, "").says(host, "guest-started", token, "")
    }

    fn writes(self, host: &str, token: u64, seq: u64) -> Self {
        self.says(host, "guest-output", token, &format!("write token={token} seq={seq}"))
    }

    fn stops(self, host: &str, token: u64) -> Self {
        self.says(host, "guest-stopped", token, "")
    }

    fn note(self, note: Note, host: &str) -> Self {
        self.hears(note.line(host))
    }

    fn ends(self, host: &str, wanted: Wanted, code: Option<i32>) -> Self {
        self.hears(Wanted::line(host, wanted, code))
    }

    fn passes(self) -> Judge {
        assert!(self.judge.violations.is_empty(), "{:?}", self.judge.violations);
        self.judge
    }

    fn violates(self, words: &str) {
        let violations = &self.judge.violations;
        assert!(violations.len() == 1 && violations[0].contains(words), "{violations:?}");
    }
}

/// `a` leads with token 5 and has written twice.
fn a_leads() -> Told {
    Told::default().starts("a-1", 5).writes("a-1", 5, 1).writes("a-1", 5, 2)
}

/// `a` is stopped when it may be just about to write, and meanwhile `b` takes over.
fn a_is_stopped_past_its_term() -> Told {
    a_leads().waits(20_000).note(Note::Stopped, "a-1").starts("b-1", 7).writes("b-1", 7, 1)
}

#[test]
fn one_after_the_other_passes_and_what_is_between_them_is_counted() {
    let judge = a_leads()
        .stops("a-1", 5)
        .says("a-1", "released", 5, "")
        .starts("b-1", 7)
        .writes("b-1", 7, 1)
        .stops("b-1", 7)
        .says("b-1", "guest-started", 7, "")
        .writes("b-1", 7, 1)
        .passes();
    let found = judge.found;
    assert_eq!((found.terms, found.handovers, found.guests, found.writes), (2, 1, 3, 4));
    let without: Vec<_> = found.without_leader.iter().map(std::time::Duration::as_millis).collect();
    assert_eq!(without, [3, 1]);
}

#[test]
fn two_guests_at_once_are_found_though_the_first_writes_no_more() {
    a_leads().starts("b-1", 7).violates("b-1 starts a guest with token 7 beside those of [\"a-1\"]");
}

#[test]
fn a_write_with_a_lower_token_is_found_though_its_host_has_said_that_it_stopped() {
    a_leads()
        .stops("a-1", 5)
        .starts("b-1", 7)
        .writes("b-1", 7, 1)
        .writes("a-1", 5, 3)
        .judge
        .violations
        .iter()
        .for_each(|violation| {
            assert!(violation.contains("when None runs there") || violation.contains("was refused"), "{violation}")
        });
    let judge = a_leads().stops("a-1", 5).starts("b-1", 7).writes("b-1", 7, 1).writes("a-1", 5, 3).judge;
    assert_eq!(judge.violations.len(), 2);
}

#[test]
fn two_hosts_with_one_token_are_found() {
    a_leads().stops("a-1", 5).starts("b-1", 5).violates("b-1 has the token 5 of a-1");
}

#[test]
fn a_term_that_begins_after_a_later_one_is_found() {
    a_leads().stops("a-1", 5).starts("b-1", 4).violates("token 4, after one with 5");
}

#[test]
fn a_lost_and_a_doubled_write_are_found() {
    a_leads().writes("a-1", 5, 4).violates("when Some(Guest { token: 5, seq: 2,");
    a_leads().writes("a-1", 5, 2).violates("when Some(Guest { token: 5, seq: 2,");
}

#[test]
fn two_guests_of_one_host_are_found() {
    a_leads().starts("a-1", 5).violates("a-1 starts a guest beside the one of token 5");
}

#[test]
fn a_release_under_a_running_guest_is_found() {
    a_leads().says("a-1", "released", 5, "").violates("a-1 has released the lease while its guest runs");
}

#[test]
fn whoever_is_stopped_may_be_followed_and_has_to_say_that_it_stopped_when_it_goes_on() {
    let judge = a_is_stopped_past_its_term().note(Note::GoesOn, "a-1").stops("a-1", 5).writes("b-1", 7, 2).passes();
    assert_eq!((judge.found.in_flight, judge.leader()), (0, Some("b-1")));
}

#[test]
fn one_write_may_be_under_way_when_a_host_is_stopped_and_a_second_is_found() {
    let one = || a_is_stopped_past_its_term().note(Note::GoesOn, "a-1").writes("a-1", 5, 3);
    assert_eq!(one().stops("a-1", 5).passes().found.in_flight, 1);
    one().writes("a-1", 5, 4).violates("was refused");
}

#[test]
fn a_write_that_was_not_yet_due_when_its_host_was_stopped_was_not_under_way() {
    let stopped = a_leads().waits(10_000).note(Note::Stopped, "a-1").starts("b-1", 7).writes("b-1", 7, 1);
    stopped.waits(1_000_000).note(Note::GoesOn, "a-1").writes("a-1", 5, 3).violates("was refused");
}

#[test]
fn a_leader_stopped_for_a_moment_is_no_excuse_for_what_it_does_after_its_next_write() {
    let leads_on = || a_leads().note(Note::Stopped, "a-1").note(Note::GoesOn, "a-1").writes("a-1", 5, 3);
    leads_on().passes();
    leads_on().starts("b-1", 7).violates("beside those of [\"a-1\"]");
}

#[test]
fn a_stopped_process_that_writes_is_found() {
    a_is_stopped_past_its_term().writes("a-1", 5, 3).violates("a-1 is Stopped {");
}

#[test]
fn a_killed_leader_is_followed_and_another_that_ends_has_to_end_well() {
    let killed = a_leads().ends("a-1", Wanted::Killed, None).starts("b-1", 7);
    killed.ends("b-1", Wanted::Asked, Some(0)).passes();
    a_leads().ends("a-1", Wanted::Asked, Some(1)).violates("a-1 has ended with exit code Some(1)");
    a_leads().ends("a-1", Wanted::Nothing, Some(0)).violates("a-1 has ended with exit code Some(0)");
    let judge = Told::default().ends("c-1", Wanted::Nothing, Some(1)).passes();
    assert_eq!(judge.found.not_started, 1);
    Told::default().ends("c-1", Wanted::Nothing, Some(101)).violates("c-1 has ended with exit code Some(101)");
}

#[test]
fn calm_is_over_with_the_next_write() {
    let judge = a_leads().note(Note::Calm, "").stops("a-1", 5).starts("b-1", 7).writes("b-1", 7, 1).passes();
    let calms: Vec<_> = judge.found.calms.iter().map(std::time::Duration::as_millis).collect();
    assert_eq!(calms, [4]);
}
