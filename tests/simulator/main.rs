//! A seeded simulator: several replicas, one store, and everything between them that can go wrong.
//!
//! The replicas are the real ones (`leasehold_core::replica`); time, clocks, network, store and
//! guests are made up from one seed. After every step the invariants are checked on true time,
//! which nobody in the simulation can read.
//!
//! `LEASEHOLD_SIM_SEEDS=n` runs so many histories, `LEASEHOLD_SIM_SEED=x` replays one and prints
//! all of it.

mod clock;
mod faults;
mod guests;
mod invariants;
mod kubelet;
mod network;
mod operator;
mod plan;
mod processes;
mod script;
mod store;
mod tally;
mod trace;
mod world;

use std::panic::{self, AssertUnwindSafe};

use plan::Defect;
use tally::Tally;
use trace::Trace;
use world::World;

/// How many histories are run where nobody says how many: about a minute of one core, unoptimised.
const SEEDS: u64 = 8_000;
/// How many histories a planted defect may stay undetected.
const SEEDS_TO_FIND_A_DEFECT: u64 = 500;
/// How many lines of its history a failing seed shows.
const TRACE_LINES: usize = 40;

fn run(seed: u64, defect: Option<Defect>, trace: Trace) -> (Result<(), String>, World) {
    let mut world = World::new(seed, defect, trace);
    // A panic of the core is a violation like any other: it needs its seed.
    let result = panic::catch_unwind(AssertUnwindSafe(|| world.run()));
    (result.unwrap_or_else(|_| Err("the core panicked (see above)".to_owned())), world)
}

fn report(seed: u64, violation: &str) -> String {
    let (_, world) = run(seed, None, Trace::last_lines(TRACE_LINES));
    format!(
        "seed {seed}: {violation}\n{}replay with\n  LEASEHOLD_SIM_SEED={seed} cargo test -p leasehold-simulator \
         no_history -- --nocapture",
        world.trace.text()
    )
}

fn from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name} must be a number, not {text:?}: {error}")))
}

#[test]
fn no_history_breaks_an_invariant() {
    if let Some(seed) = from_env("LEASEHOLD_SIM_SEED") {
        let (result, world) = run(seed, None, Trace::Printed);
        println!("seed {seed}: {}", world.tally.summary());
        return result.unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    }
    let mut tally = Tally::default();
    for seed in 0..from_env("LEASEHOLD_SIM_SEEDS").unwrap_or(SEEDS) {
        let (result, world) = run(seed, None, Trace::Off);
        if let Err(violation) = result {
            panic!("{}", report(seed, &violation));
        }
        tally.add(&world.tally);
    }
    println!("{}", tally.summary());
    assert_eq!(
        tally.never_seen(),
        [],
        "what never happens is not tested; {} histories may be too few",
        tally.histories
    );
}

/// The first violation that a defect leads to.
fn found(defect: Defect) -> String {
    (0..SEEDS_TO_FIND_A_DEFECT)
        .find_map(|seed| {
            run(seed, Some(defect), Trace::Off).0.err().map(|violation| format!("seed {seed}: {violation}"))
        })
        .unwrap_or_else(|| panic!("{defect:?} was not found in {SEEDS_TO_FIND_A_DEFECT} histories"))
}

#[track_caller]
fn assert_found(defect: Defect, as_one_of: &[&str]) {
    let violation = found(defect);
    println!("{defect:?}: {violation}");
    assert!(as_one_of.iter().any(|text| violation.contains(text)), "found, but as something else: {violation}");
}

const TWO_LEADERS: &str = "two leaders at once";

#[test]
fn simulator_finds_a_term_counted_from_the_answer() {
    assert_found(Defect::TermCountedFromAnswer, &[TWO_LEADERS]);
}

#[test]
fn simulator_finds_a_missing_margin() {
    assert_found(Defect::NoMargin, &[TWO_LEADERS]);
}

#[test]
fn simulator_finds_clocks_that_differ_by_more_than_the_margin() {
    assert_found(Defect::ClocksFarApart, &[TWO_LEADERS]);
}

#[test]
fn simulator_finds_a_gate_that_trusts_the_control_loop() {
    assert_found(Defect::GateTrustsControlLoop, &["past the end of its term"]);
}

#[test]
fn simulator_finds_a_store_without_compare_and_swap() {
    assert_found(Defect::NoCompareAndSwap, &[TWO_LEADERS]);
}

#[test]
fn simulator_finds_an_identity_that_is_shared() {
    assert_found(Defect::SharedIdentity, &[TWO_LEADERS]);
}

#[test]
fn simulator_finds_versions_that_begin_anew() {
    assert_found(Defect::VersionsRestart, &["a term with token"]);
}

#[test]
fn simulator_finds_a_guest_declared_gone_while_it_runs() {
    assert_found(Defect::GuestDeclaredGone, &[RELEASED_UNDER_GUEST, "a second guest"]);
}

const RELEASED_UNDER_GUEST: &str = "releases the lease while its guest exists";

#[test]
fn simulator_finds_a_release_on_request_before_the_guest_has_stopped() {
    assert_found(Defect::ReleasesOnRequest, &[RELEASED_UNDER_GUEST, "a second guest"]);
}

#[test]
fn simulator_finds_an_operator_who_empties_the_holder() {
    assert_found(Defect::OperatorClears, &[TWO_LEADERS]);
}

#[test]
fn simulator_finds_requests_to_step_down_that_are_forgotten() {
    assert_found(Defect::RequestsForgotten, &["though it was asked to step down"]);
}

#[test]
fn simulator_finds_silence_that_is_taken_for_proof() {
    assert_found(Defect::SilenceTakenForProof, &[TWO_LEADERS]);
}

#[test]
fn simulator_finds_that_nobody_leads_any_more() {
    assert_found(Defect::NeverHeals, &["nobody leads"]);
}

#[test]
fn a_seed_gives_the_same_history_every_time() {
    let lines = |seed| run(seed, None, Trace::last_lines(1_000)).1.trace.text();
    assert_eq!(lines(7), lines(7));
    assert_ne!(lines(7), lines(8));
}
