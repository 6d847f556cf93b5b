//! The API server picks the holder: this replica stands as a candidate, and leads when it was named and has written.

use std::time::Duration;

use super::bench::{Bench, ME, config, free, held_by, missing, present, record};
use crate::{
    candidate::{CandidateInput, CandidateRecord, CandidateRequest, CandidateSeen},
    election::{Contest, ElectionConfig, Input, LossReason, Notice, StayOut, Term},
    lease::{Coordination, LeaseRecord, Observation, Version},
    ports::StoreFailure,
    time::WallTime,
    timing::Timing,
};

const A_WHILE: StayOut = StayOut::For(Duration::from_secs(30));

fn coordinated() -> Bench {
    Bench::with(ElectionConfig { contest: Contest::Coordinated, ..config(Timing::default()) })
}

fn by_the_api_server(preferred: Option<&str>) -> Option<Box<Coordination>> {
    let strategy = "OldestEmulationVersion".into();
    Some(Box::new(Coordination { strategy, preferred_holder: preferred.map(str::to_owned) }))
}

/// As the API server's controller writes it, onto a Lease that the others have written.
fn named(whom: &str, version: u64) -> Observation {
    let of_controller = LeaseRecord {
        duration: Some(Duration::from_secs(5)),
        acquired: None,
        coordination: by_the_api_server(None),
        ..record(Some(whom), i64::try_from(version).expect("small"))
    };
    present(version, of_controller)
}

/// `seen`, with this holder preferred.
fn preferring(whom: &str, seen: Observation) -> Observation {
    let Observation::Present { version, record } = seen else { panic!("it is held") };
    present(version.0, LeaseRecord { coordination: by_the_api_server(Some(whom)), ..record })
}

/// By the API server's clock, which is not ours.
const CREATED: i64 = 7_000_000_000;

/// Made, and not standing yet.
fn made(version: u64) -> CandidateSeen {
    let record = CandidateRecord { created: WallTime::from_micros(CREATED), pinged: None, renewed: None };
    CandidateSeen::Present { version: Version(version), record }
}

fn candidate(version: u64, pinged: Option<i64>, renewed: i64) -> CandidateSeen {
    let record = CandidateRecord {
        created: WallTime::from_micros(CREATED),
        pinged: pinged.map(WallTime::from_micros),
        renewed: Some(WallTime::from_micros(renewed)),
    };
    CandidateSeen::Present { version: Version(version), record }
}

impl Bench {
    fn candidate_seen(&mut self, ms: u64, seen: CandidateSeen) -> &mut Self {
        self.run_until(ms);
        self.step(ms, Input::Candidate(CandidateInput::Seen(seen)));
        self
    }

    fn candidate_answered(&mut self, ms: u64, result: Result<u64, StoreFailure>) -> &mut Self {
        self.run_until(ms);
        let (id, _) = self.candidate.take().expect("something is asked about the candidate");
        self.step(ms, Input::Candidate(CandidateInput::Answered(id, result.map(Version))));
        self
    }

    fn asks(&self) -> Option<CandidateRequest> {
        self.candidate.map(|(_, request)| request)
    }

    /// A candidate from 0 ms on, with a watch that works and a Lease that is free.
    fn standing() -> Self {
        let mut bench = coordinated();
        bench.watch(0, free(9)).candidate_seen(0, CandidateSeen::Missing { at: Version(9) });
        bench.candidate_answered(0, Ok(10)).candidate_seen(0, made(10)).candidate_answered(0, Ok(11));
        bench
    }

    fn picked() -> Self {
        let mut bench = Self::standing();
        bench.watch(1_000, named(ME, 11)).written(1_010, 12);
        assert_eq!(bench.token(), Some(12), "the bench's own start");
        bench.told();
        bench
    }
}

#[test]
fn a_candidate_is_made_when_the_lease_was_seen_and_what_is_free_is_not_taken() {
    let mut bench = coordinated();
    bench.wake_at(0).candidate_seen(0, CandidateSeen::Missing { at: Version(3) });
    assert!(bench.reads() && bench.asks().is_none(), "whoever is picked has to know whom it follows");
    bench.read(10, missing());
    assert_eq!(bench.asks(), Some(CandidateRequest::Create));
    bench.candidate_answered(15, Ok(4)).run_until(16);
    assert_eq!(bench.asks(), None, "when it was made, only the watch tells");
    bench.candidate_seen(17, made(4));
    let stands = CandidateRequest::Renew { based_on: Version(4), renewed: WallTime::from_micros(CREATED) };
    assert_eq!(bench.asks(), Some(stands));
    bench.watch(20, free(9)).run_until(60_000);
    assert!(bench.takes().is_none() && bench.writes().is_none());
}

#[test]
fn one_that_is_named_leads_when_its_own_write_has_succeeded_and_not_before() {
    let mut bench = Bench::standing();
    bench.watch(1_000, named(ME, 11));
    assert!(!bench.leads());
    assert_eq!(bench.told(), [Notice::Named(Duration::ZERO)]);
    assert_eq!(bench.takes(), Some(Some(11)), "onto the very version that names it");
    let (_, written) = bench.writes().expect("it takes");
    assert_eq!(written.duration, Some(Duration::from_secs(15)), "its own, and not the API server's");
    assert_eq!(written.coordination, by_the_api_server(None), "kept");
    assert!(written.acquired.is_some());
    bench.written(3_000, 12);
    assert_eq!(bench.token(), Some(12));
    assert_eq!(bench.valid_until(), super::bench::boot(1_000 + 14_845), "counted from when that was sent");
}

#[test]
fn a_read_from_before_the_pick_that_is_answered_after_it_does_not_hide_it() {
    let mut bench = coordinated();
    bench.wake_at(0).candidate_seen(0, CandidateSeen::Missing { at: Version(3) });
    assert!(bench.reads());
    bench.watch(500, named(ME, 11)).read(800, missing());
    // Whom it follows is not known.
    bench.run_until(15_500);
    assert_eq!(bench.takes(), Some(Some(11)), "nothing would tell of it again");
}

#[test]
fn a_renewal_that_found_nothing_and_is_answered_after_the_pick_does_not_hide_it() {
    let mut bench = Bench::picked();
    bench.run_until(6_100);
    assert!(bench.writes().is_some(), "it renews");
    bench.watch(6_110, Observation::Missing { deleted_at: Some(Version(13)) });
    assert!(!bench.leads());
    bench.watch(6_120, named(ME, 14)).fail(6_130, StoreFailure::Missing).run_until(8_000);
    assert_eq!(bench.takes(), Some(Some(14)), "nothing would tell of it again");
}

#[test]
fn one_that_was_named_over_a_holder_waits_until_that_has_run_out_as_it_saw_it_itself() {
    let mut bench = Bench::standing();
    bench.watch(1_000, held_by("other", 11)).watch(6_000, held_by("other", 12));
    // By the API server's clock it ran out long ago.
    bench.watch(7_000, named(ME, 13)).run_until(20_999);
    assert!(bench.idle() && !bench.leads());
    assert!(bench.told().contains(&Notice::Named(Duration::from_secs(14))));
    bench.run_until(21_000);
    assert_eq!(bench.takes(), Some(Some(13)));
}

#[test]
fn one_that_is_named_after_another_was_named_over_the_holder_waits_for_that_holder() {
    let mut bench = Bench::standing();
    bench.watch(1_000, held_by("other", 11)).watch(6_000, held_by("other", 12));
    bench.watch(7_000, named("third", 13)).watch(12_500, named(ME, 14)).run_until(20_999);
    assert!(bench.idle());
    bench.run_until(21_000);
    assert_eq!(bench.takes(), Some(Some(14)));
}

#[test]
fn who_released_is_not_waited_for() {
    let mut bench = Bench::standing();
    bench.watch(1_000, held_by("other", 11)).watch(2_000, free(12)).watch(2_010, named(ME, 13));
    assert_eq!(bench.takes(), Some(Some(13)));
}

#[test]
fn what_happened_while_the_watch_was_broken_is_waited_for_as_if_it_was_just_now() {
    let mut bench = Bench::standing();
    bench.watch(1_000, held_by("other", 11)).watch(2_000, free(12)).watch_breaks(3_000);
    bench.watch(4_000, named(ME, 15)).run_until(18_999);
    assert!(bench.takes().is_none(), "somebody may have renewed in between");
    bench.run_until(19_000);
    assert_eq!(bench.takes(), Some(Some(15)));
}

#[test]
fn an_open_contender_waits_for_whom_the_api_server_has_displaced_as_well() {
    let mut bench = Bench::new();
    bench.watch(0, held_by("other", 8)).watch(1_000, held_by("other", 9)).watch(2_000, named("third", 10));
    bench.run_until(15_999);
    assert!(bench.idle());
    bench.run_until(16_000);
    assert_eq!(bench.takes(), Some(Some(10)));
}

#[test]
fn a_ping_is_answered_at_once_and_renewals_go_by_the_api_servers_clock() {
    let mut bench = Bench::standing();
    let stamped = |based_on, micros| {
        let renewed = WallTime::from_micros(micros);
        Some(CandidateRequest::Renew { based_on: Version(based_on), renewed })
    };
    let ping = CREATED + 60_000_000;
    bench.candidate_seen(1_000, candidate(20, Some(ping), CREATED));
    assert_eq!(bench.asks(), stamped(20, ping + 1));
    bench.candidate_answered(1_010, Ok(21)).run_until(60_000);
    assert_eq!(bench.asks(), None, "one answer is enough");
    bench.run_until(301_000);
    assert_eq!(bench.asks(), stamped(21, ping + 300_000_000), "five minutes after what it last said");
}

#[test]
fn a_candidate_that_somebody_deleted_is_made_again() {
    let mut bench = Bench::standing();
    bench.candidate_seen(1_000, CandidateSeen::Missing { at: Version(30) });
    assert!(matches!(bench.asks(), Some(CandidateRequest::Create)));
    bench.candidate_answered(1_010, Err(StoreFailure::Unavailable)).run_until(3_500);
    assert!(matches!(bench.asks(), Some(CandidateRequest::Create)), "and tried again");
    assert!(bench.told().contains(&Notice::CandidacyFailed("create the candidate", StoreFailure::Unavailable)));
}

#[test]
fn a_candidate_that_cannot_be_told_apart_from_another_is_made_again_after_a_while() {
    let mut bench = coordinated();
    bench.watch(0, free(9)).candidate_seen(0, CandidateSeen::Missing { at: Version(9) });
    bench.candidate_answered(0, Ok(10)).candidate_seen(0, made(10));
    bench.candidate_answered(10, Err(StoreFailure::Missing)).run_until(2_000);
    assert_eq!(bench.asks(), None);
    bench.run_until(2_500);
    assert_eq!(bench.asks(), Some(CandidateRequest::Create));
}

#[test]
fn a_request_about_the_candidate_that_nobody_answers_is_given_up_and_tried_again() {
    let mut bench = Bench::standing();
    bench.candidate_seen(1_000, candidate(20, Some(CREATED + 60_000_000), CREATED));
    let (first, _) = bench.candidate.take().expect("it answers the ping");
    bench.run_until(10_000);
    assert!(bench.candidate.is_some_and(|(id, _)| id > first));
}

#[test]
fn a_leader_stops_its_guest_when_another_is_preferred_then_releases_and_stays_a_candidate() {
    let mut bench = Bench::picked();
    bench.watch(2_000, preferring("older", held_by(ME, 13)));
    assert!(bench.leads() && bench.asked(), "until its guest is gone");
    assert_eq!(bench.told(), [Notice::AnotherPreferred(Term { token: 12 }, "older".into())]);
    bench.run_until(6_010);
    assert_eq!(bench.takes(), Some(Some(13)), "renewed until then");
    bench.written(6_020, 14).step_down(7_000, A_WHILE);
    assert_eq!(bench.releases(), Some(Some(14)));
    bench.written(7_010, 15);
    assert!(!bench.leads() && bench.asks().is_none());
    // And if it is picked all the same, it leads again.
    bench.watch(8_000, named(ME, 16));
    assert_eq!(bench.takes(), Some(Some(16)));
}

/// The API server leaves the preference there when the preferred one has died, and this one is its choice again.
#[test]
fn a_holder_whose_term_ran_out_while_another_was_preferred_takes_the_lease_to_release_it() {
    let mut bench = Bench::picked();
    // A process that nobody let run: its term is over.
    bench.wake_at(20_000).watch(20_000, preferring("dead", held_by(ME, 13)));
    bench.fail(20_010, StoreFailure::Conflict);
    if bench.reads() {
        bench.read(20_020, preferring("dead", held_by(ME, 13)));
    }
    assert_eq!(bench.takes(), Some(Some(13)));
    assert!(!bench.leads());
    bench.written(20_030, 14);
    assert!(bench.leads() && bench.asked(), "so that no guest is started");
    bench.step_down(20_031, A_WHILE);
    assert_eq!(bench.releases(), Some(Some(14)));
}

#[test]
fn a_preference_for_itself_or_in_an_open_contest_means_nothing() {
    let mut bench = Bench::picked();
    bench.watch(2_000, preferring(ME, held_by(ME, 13)));
    assert!(!bench.asked());
    let mut open = Bench::leading();
    open.watch(1_000, preferring("older", held_by(ME, 11)));
    assert!(!open.asked());
}

#[test]
fn that_another_is_preferred_is_no_sign_of_life_of_the_holder() {
    let mut bench = Bench::standing();
    bench.watch(1_000, held_by("other", 11)).watch(6_000, held_by("other", 12));
    let Observation::Present { record, .. } = held_by("other", 12) else { panic!("it is held") };
    bench.watch(15_000, preferring("older", present(13, record))).watch(20_000, named(ME, 14)).run_until(21_000);
    assert_eq!(bench.takes(), Some(Some(14)));
}

#[test]
fn who_steps_down_is_no_candidate_before_it_releases_and_stands_again_behind_the_others() {
    let mut bench = Bench::picked();
    bench.step_down(2_000, A_WHILE);
    assert_eq!(bench.asks(), Some(CandidateRequest::Delete));
    assert_eq!(bench.releases(), None, "or it might be picked for what it has given up");
    bench.candidate_answered(2_010, Ok(13));
    assert_eq!(bench.releases(), Some(Some(12)));
    bench.written(2_020, 14).run_until(31_999);
    assert!(bench.asks().is_none());
    bench.run_until(32_000);
    assert!(matches!(bench.asks(), Some(CandidateRequest::Create)));
}

#[test]
fn a_candidate_that_cannot_be_deleted_holds_the_release_up_for_one_request_only() {
    let mut bench = Bench::picked();
    bench.step_down(2_000, A_WHILE);
    assert_eq!(bench.asks(), Some(CandidateRequest::Delete));
    bench.run_until(2_000 + 2_499);
    assert_eq!(bench.releases(), None);
    bench.run_until(2_000 + 2_500);
    assert_eq!(bench.releases(), Some(Some(12)));
}

#[test]
fn one_that_is_named_though_it_has_stepped_down_gives_the_lease_back_unused() {
    let mut bench = Bench::picked();
    bench.step_down(2_000, A_WHILE).candidate_answered(2_010, Ok(13)).written(2_020, 14);
    bench.watch(3_000, named(ME, 15));
    assert_eq!(bench.releases(), Some(Some(15)));
    assert!(!bench.leads());
}

#[test]
fn one_that_is_ending_deletes_its_candidate_releases_and_withdraws() {
    let mut bench = Bench::picked();
    bench.step_down(2_000, StayOut::Forever);
    assert_eq!((bench.asks(), bench.releases()), (Some(CandidateRequest::Delete), None));
    bench.candidate_answered(2_010, Ok(13)).written(2_020, 14);
    assert!(bench.withdrawn);

    let mut standby = Bench::standing();
    standby.step_down(2_000, StayOut::Forever);
    assert!(!standby.withdrawn);
    standby.candidate_answered(2_010, Ok(13));
    assert!(standby.withdrawn);
}

#[test]
fn a_leader_that_was_named_anew_has_lost_its_term_meanwhile() {
    let mut bench = Bench::picked();
    bench.watch(2_000, named(ME, 15));
    assert!(bench.told().contains(&Notice::Lost(Term { token: 12 }, LossReason::Cleared)));
    assert_eq!(bench.takes(), Some(Some(15)));
    bench.written(2_010, 16);
    assert_eq!(bench.token(), Some(16));
}

#[test]
fn an_answer_to_the_first_write_that_the_watch_has_overtaken_with_a_new_pick_begins_no_term() {
    let mut bench = Bench::standing();
    bench.watch(1_000, named(ME, 11)).watch(1_500, named("third", 13)).watch(1_600, named(ME, 14));
    bench.written(1_700, 12);
    assert!(!bench.leads());
}

#[test]
fn a_lease_of_another_task_is_not_stood_for() {
    let mut bench = coordinated();
    bench.watch(0, present(9, LeaseRecord { task: Some("another".into()), ..record(None, 0) }));
    bench.candidate_seen(0, CandidateSeen::Missing { at: Version(9) }).run_until(60_000);
    assert!(bench.asks().is_none() && bench.writes().is_none());
}
