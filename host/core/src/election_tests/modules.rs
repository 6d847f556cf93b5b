//! What the Lease says about the task's modules. The bench's term has token 10, and began at 0 ms.

use super::bench::{Bench, ME, free, held_by, present, record, saved};
use crate::{
    checkpoint::Answer::Saved,
    election::{Input, StayOut},
    lease::{LeaseModules, LeaseRecord, Observation},
    ports::StoreFailure,
};

fn modules(module: &str, good: &str, refused: &str) -> LeaseModules {
    let of = |name: &str| (!name.is_empty()).then(|| name.into());
    LeaseModules { module: of(module), waiting: None, good: of(good), refused: of(refused) }
}

fn saying(modules: LeaseModules, seen: Observation) -> Observation {
    match seen {
        Observation::Present { version, record } => {
            present(version.0, LeaseRecord { modules: modules.into(), ..record })
        }
        Observation::Missing { .. } => panic!("this stands on a lease"),
    }
}

impl Bench {
    fn has(&mut self, ms: u64, modules: LeaseModules) {
        self.run_until(ms);
        self.election.set_modules(modules);
        self.step(ms, Input::Tick);
    }

    fn writes_modules(&self) -> LeaseModules {
        (*self.writes().expect("a write is under way").1.modules).clone()
    }
}

#[test]
fn the_write_that_acquires_says_what_will_run_and_keeps_what_was_refused() {
    let mut bench = Bench::new();
    bench.election.set_modules(modules("b", "b", ""));
    bench.watch(0, saying(modules("a", "a", "b"), free(9)));
    assert_eq!(bench.writes_modules(), modules("b", "a", "b"), "what is refused is yet to be heard of");
}

#[test]
fn the_first_on_a_lease_says_all_it_knows() {
    let mut bench = Bench::new();
    bench.election.set_modules(modules("a", "a", "b"));
    bench.watch(0, free(9));
    assert_eq!(bench.writes_modules(), modules("a", "a", "b"));
}

#[test]
fn what_runs_waits_for_the_next_renewal_and_stays_there() {
    let mut bench = Bench::leading();
    bench.has(1_000, modules("a", "", ""));
    assert!(bench.idle());
    assert_eq!(bench.run_until_sent(), 5_000);
    assert_eq!(bench.writes_modules(), modules("a", "", ""));
    bench.written(5_010, 11);
    assert_eq!(bench.run_until_sent(), 10_000);
    assert_eq!(bench.writes_modules(), modules("a", "", ""));
}

#[test]
fn a_refusal_is_written_at_once_by_a_renewal_and_not_more_often_than_each_second() {
    let mut bench = Bench::leading();
    bench.has(1_000, modules("a", "a", "b"));
    assert_eq!((bench.takes(), bench.sent_at()), (Some(Some(10)), 1_000));
    bench.written(1_010, 11);
    bench.has(1_100, modules("a", "a", "c"));
    assert!(bench.idle());
    assert_eq!(bench.run_until_sent(), 2_000);
    assert_eq!(bench.writes_modules(), modules("a", "a", "c"));
    bench.written(2_010, 12);
    bench.has(2_100, modules("a", "a", ""));
    assert_eq!(bench.run_until_sent(), 7_000, "that nothing is refused any more can wait");
}

#[test]
fn a_refusal_that_conflicts_with_an_edit_is_written_onto_what_is_read() {
    let mut bench = Bench::leading();
    bench.has(1_000, modules("a", "a", "b"));
    bench.fail(1_010, StoreFailure::Conflict);
    assert!(bench.reads());
    bench.read(1_020, saying(modules("x", "y", "z"), held_by(ME, 12)));
    assert_eq!((bench.takes(), bench.writes_modules()), (Some(Some(12)), modules("a", "a", "b")));
}

#[test]
fn a_refusal_whose_answer_is_lost_is_written_again() {
    let mut bench = Bench::leading();
    bench.has(1_000, modules("a", "a", "b"));
    bench.fail(1_500, StoreFailure::Unavailable);
    bench.run_until_sent();
    assert_eq!(bench.writes_modules(), modules("a", "a", "b"));
}

#[test]
fn a_save_and_a_refusal_go_by_one_write() {
    let mut bench = Bench::leading();
    bench.run_until(5_000);
    bench.has(5_001, modules("a", "a", "b"));
    let save = bench.save(5_002, "s");
    bench.written(5_010, 11);
    assert_eq!((bench.writes_checkpoint(), bench.writes_modules()), (Some(&saved("s")), modules("a", "a", "b")));
    bench.written(5_020, 12);
    assert_eq!(bench.answers(), [(save, Saved)]);
    assert!(bench.idle());
}

#[test]
fn a_release_says_what_was_refused_last() {
    let mut bench = Bench::leading();
    bench.run_until(5_000);
    bench.has(5_001, modules("a", "a", "b"));
    bench.step_down(5_002, StayOut::Forever);
    bench.written(5_010, 11);
    assert_eq!((bench.releases(), bench.writes_modules()), (Some(Some(11)), modules("a", "a", "b")));
}

#[test]
fn what_is_edited_by_hand_is_no_renewal_and_costs_no_write() {
    let mut bench = Bench::leading();
    bench.has(0, modules("a", "a", ""));
    bench.watch(1_000, saying(modules("x", "y", "z"), present(11, record(Some(ME), 10))));
    assert!(bench.idle());
    let mut standby = Bench::standing_by();
    standby.watch(14_000, saying(modules("x", "", ""), present(10, record(Some("other"), 9))));
    assert_eq!(standby.run_until_sent(), 15_000, "the holder has not renewed by that");
}
