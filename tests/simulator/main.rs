//! A seeded simulator: several replicas, one store, and everything between them that can go wrong.
//!
//! The replicas are the real ones (`leasehold_core::replica`); time, clocks, network, store and
//! guests are made up from one seed. After every step the invariants are checked on true time,
//! which nobody in the simulation can read.
//!
//! `LEASEHOLD_SIM_SEEDS=n` runs so many histories (`LEASEHOLD_SIM_FROM=m`: from that seed on), `LEASEHOLD_SIM_SEED=x` replays one and prints all of it, with
//! `LEASEHOLD_SIM_PLAN=json` that of this plan in place of the seed's own. A history that fails is made as small
//! as it gets (`shrink`), and told with both.

mod callbacks;
mod checkpoints;
mod clock;
mod controller;
mod crowd;
mod defect;
mod effects;
mod faults;
mod foreign;
mod found;
mod guests;
mod invariants;
mod kubelet;
mod labels;
mod lull;
mod modules;
mod network;
mod operator;
mod plan;
mod planted;
mod processes;
mod progress;
mod script;
mod shrink;
mod stepping;
mod store;
mod tally;
mod told;
mod trace;
mod world;

use std::{
    ops::Range,
    panic::{self, AssertUnwindSafe},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use defect::Defect;
use invariants::{Rule, Violation};
use plan::Plan;
use shrink::{Failure, shrink};
use tally::Tally;
use trace::Trace;
use world::World;

/// How many histories are run where nobody says how many: less than a minute of two cores.
const SEEDS: u64 = 20_000;
/// How many lines of its history a failing seed shows.
const TRACE_LINES: usize = 60;
/// How many histories are run to make a failing one smaller.
const SHRINK_RUNS_MAX: usize = 20_000;

fn plan(seed: u64, defect: Option<Defect>) -> Plan {
    Plan::random(&mut fastrand::Rng::with_seed(seed), defect)
}

fn run(seed: u64, plan: Plan, trace: Trace) -> (Result<(), Violation>, World) {
    let mut world = World::new(!seed, plan, trace);
    // A panic of the core is a violation like any other: it needs its seed.
    let result = panic::catch_unwind(AssertUnwindSafe(|| world.run()));
    (result.unwrap_or_else(|_| Err(Violation::new(Rule::Panicked, "a panic (see above)"))), world)
}

fn smallest(failure: Failure) -> Failure {
    shrink(failure, SHRINK_RUNS_MAX, |seed, plan| run(seed, plan.clone(), Trace::Off).0.err())
}

fn report(failure: Failure) -> String {
    let found = format!("seed {}: {:?}: {}", failure.seed, failure.violation.rule, failure.violation.text);
    let Failure { seed, plan, violation } = smallest(failure);
    let (_, world) = run(seed, plan.clone(), Trace::last_lines(TRACE_LINES));
    let plan = serde_json::to_string(&plan).expect("a plan is plain data");
    format!(
        "{found}\nthe smallest history like it: {}\n{}replay it with\n  LEASEHOLD_SIM_SEED={seed} \
         LEASEHOLD_SIM_PLAN='{plan}' cargo test -p leasehold-simulator no_history -- --nocapture",
        violation.text,
        world.trace.text()
    )
}

fn from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name} must be a number, not {text:?}: {error}")))
}

fn plan_from_env() -> Option<Plan> {
    let text = std::env::var("LEASEHOLD_SIM_PLAN").ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("LEASEHOLD_SIM_PLAN is no plan: {error}")))
}

/// Runs these histories, on all cores: what happened in them, or the first that fails.
fn run_all(seeds: Range<u64>) -> Result<Tally, Box<Failure>> {
    let next = AtomicU64::new(seeds.start);
    let failed = Mutex::new(None::<Failure>);
    let one_core = || {
        let mut tally = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return tally;
            }
            let (result, world) = run(seed, plan(seed, None), Trace::Off);
            if let Err(violation) = result {
                next.store(seeds.end, Ordering::Relaxed); // The others need not go on.
                let failure = Failure { seed, plan: plan(seed, None), violation };
                failed.lock().expect("no thread panics").get_or_insert(failure);
                return tally;
            }
            tally.add(&world.tally);
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut sum = Tally::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(one_core)).collect();
        for thread in threads {
            sum.add(&thread.join().expect("no thread panics"));
        }
    });
    match failed.into_inner().expect("no thread panics") {
        Some(failure) => Err(Box::new(failure)),
        None => Ok(sum),
    }
}

#[test]
fn no_history_breaks_an_invariant() {
    if let Some(seed) = from_env("LEASEHOLD_SIM_SEED") {
        let (result, world) = run(seed, plan_from_env().unwrap_or_else(|| plan(seed, None)), Trace::Printed);
        println!("seed {seed}: {}", world.tally.summary());
        return result.unwrap_or_else(|violation| panic!("seed {seed}: {:?}: {}", violation.rule, violation.text));
    }
    let from = from_env("LEASEHOLD_SIM_FROM").unwrap_or(0);
    let tally = run_all(from..from + from_env("LEASEHOLD_SIM_SEEDS").unwrap_or(SEEDS))
        .unwrap_or_else(|failure| panic!("{}", report(*failure)));
    println!("{}", tally.summary());
    assert_eq!(
        tally.never_seen(),
        [],
        "what never happens is not tested; {} histories may be too few",
        tally.histories
    );
}

#[test]
fn a_seed_gives_the_same_history_every_time() {
    let lines = |seed| run(seed, plan(seed, None), Trace::last_lines(1_000)).1.trace.text();
    assert_eq!(lines(7), lines(7));
    assert_ne!(lines(7), lines(8));
}

#[test]
fn a_plan_that_was_written_down_gives_the_same_history() {
    let text = serde_json::to_string(&plan(9, None)).expect("a plan is plain data");
    let read: Plan = serde_json::from_str(&text).expect("it was just written");
    let lines = |plan| run(9, plan, Trace::last_lines(1_000)).1.trace.text();
    assert_eq!(lines(read), lines(plan(9, None)));
}
