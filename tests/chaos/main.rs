//! Five hosts as processes on a real API server, and everything done to them at random: stopped,
//! killed, terminated, cut off; the API server frozen and restarted; modules swapped; the leader asked
//! to step down. A register checks what their guests write, and a judge what the hosts say.
//!
//! `LEASEHOLD_CHAOS_SECONDS=n` takes so long, `LEASEHOLD_CHAOS_SEED=x` does what was done with that seed.

mod api_server;
mod history;
mod hosts;
mod judge;
#[cfg(test)]
mod judge_tests;
mod plan;
mod world;

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use history::Told;
use leasehold_tests::from_env;
use plan::Plan;
use world::World;

/// After so much of it there is a calm, in which somebody has to lead.
const ROUND: Duration = Duration::from_secs(20);
/// How much of the history a failure shows.
const LINES: usize = 60;

#[test]
fn whatever_is_done_to_five_hosts_their_guests_never_overlap_and_in_calm_one_leads() {
    let seed = from_env("LEASEHOLD_CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let time = Duration::from_secs(from_env("LEASEHOLD_CHAOS_SECONDS").unwrap_or(60));
    println!("LEASEHOLD_CHAOS_SEED={seed}, for {time:?}");
    let mut world = World::new().expect("a control plane, and hosts");
    let mut plan = Plan::new(seed);
    let begun = Instant::now();
    let mut rounds = 0;
    let mut outcome = world.calm();
    while outcome.is_ok() && begun.elapsed() < time {
        rounds += 1;
        let left = time.saturating_sub(begun.elapsed());
        // Who has stepped down stays out for a while, and all are wanted at the end.
        let step_downs_until = begun + time.saturating_sub(ROUND);
        outcome = world.rage(&mut plan, left.min(ROUND), step_downs_until).and_then(|()| world.calm());
    }
    let outcome = outcome.and_then(|()| world.end());
    let (done, failed) = (std::mem::take(&mut world.done), std::mem::take(&mut world.failed));
    let (told, stderr, ended) = world.close();

    let mut violations = told.judge.violations.clone();
    violations.extend([outcome, ended].into_iter().filter_map(Result::err).map(|error| format!("{error:#}")));
    if stderr.contains("panicked") {
        violations.push(format!("a host has panicked:\n{stderr}"));
    }
    let summary = summary(&told, begun.elapsed());
    println!(
        "seed {seed}, {rounds} rounds, done {done:?}, of which failed {failed:?}\n{summary}\nall of it: {}",
        keep(&told)
    );
    assert!(violations.is_empty(), "{}", report(seed, time, &violations, &told));
    let found = &told.judge.found;
    assert!(found.handovers > rounds, "too little has happened");
    // A matter of microseconds, where it is not a gate that lets through what it should not.
    assert!(
        found.in_flight <= 1 + found.leaders_stopped / 10,
        "too many writes were under way when their host stopped"
    );
}

fn summary(told: &Told, time: Duration) -> String {
    let found = &told.judge.found;
    let seconds = |times: &[Duration]| {
        let total = times.iter().sum::<Duration>().as_secs_f64();
        let longest = times.iter().max().copied().unwrap_or_default().as_secs_f64();
        format!("{total:.1} s in {} times, the longest {longest:.1} s", times.len())
    };
    format!(
        "{} terms, {} of them another host's than the one before; {} guests, {} writes, {} of them late and refused\n\
         without a leader: {} (of {:.0} s)\n\
         from calm to a leader's write: {}; {} processes could not start",
        found.terms,
        found.handovers,
        found.guests,
        found.writes,
        found.in_flight,
        seconds(&found.without_leader),
        time.as_secs_f64(),
        seconds(&found.calms),
        found.not_started,
    )
}

/// Keeps all that was told, where cargo keeps what tests leave; says where.
fn keep(told: &Told) -> String {
    let history = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos.jsonl");
    match fs::write(&history, told.lines.join("\n")) {
        Ok(()) => history.display().to_string(),
        Err(error) => error.to_string(),
    }
}

fn report(seed: u64, time: Duration, violations: &[String], told: &Told) -> String {
    let mut report = format!(
        "{}\nthe same again: LEASEHOLD_CHAOS_SEED={seed} LEASEHOLD_CHAOS_SECONDS={} cargo test -p leasehold-tests \
         --test chaos -- --nocapture\n",
        violations.join("\n"),
        time.as_secs()
    );
    let mut last: Vec<_> = told.lines.iter().rev().filter(|line| !line.contains("guest-output")).take(LINES).collect();
    last.reverse();
    for line in last {
        let _ = writeln!(report, "  {line}");
    }
    report
}
