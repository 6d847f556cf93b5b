//! One guest in this process: how long it takes to start and to end.

use std::{
    thread,
    time::{Duration, Instant},
};

use leasehold_core::{task::StopReason, timing::EPOCH_TICK};
use leasehold_tests::{
    captured_log::captured_log,
    guest_bench::GuestBench,
    table::{Percentiles, Samples},
};

const ROUNDS: usize = 200;
const LONG: Duration = Duration::from_secs(3600);

fn micros(since: Instant) -> i64 {
    i64::try_from(since.elapsed().as_micros()).unwrap_or(i64::MAX)
}

/// From the order to start, which the won lease's answer gives, to the guest's first line. Beside
/// it, what only handing something to another thread and back costs.
pub(crate) fn start() {
    let (log, bench) = (captured_log(), GuestBench::default());
    let module = bench.module("parked");
    let (mut started, mut thread_there_and_back) = (Samples::new(), Samples::new());
    for _ in 0..ROUNDS {
        let begun = jiff::Timestamp::now().as_microsecond();
        let mut guest = bench.start(&module, LONG);
        let first = log.wait_for_guest_line(guest.token, "parked");
        started.add_micros(first.at_micros - begun);
        guest.guest.end(StopReason::Shutdown);
        guest.outcome();

        let begun = Instant::now();
        thread::spawn(|| {}).join().expect("an empty thread");
        thread_there_and_back.add_micros(micros(begun));
    }
    let mut table = Percentiles::new("Lease won to the guest's first line (instantiate, call, print)");
    table.row("an empty thread, spawned and joined", &thread_there_and_back, None);
    table.row("guest", &started, Some(&thread_there_and_back));
    table.print();
}

/// From the decision to end a guest to its future and its store being dropped. Beside it, the tick
/// that would be waited for without bumping the epoch.
pub(crate) fn stop() {
    let (log, bench) = (captured_log(), GuestBench::default());
    let mut table = Percentiles::new("Stop decided to guest gone (the limit: one epoch tick, waited for)");
    let mut tick = Samples::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        thread::sleep(EPOCH_TICK);
        tick.add_micros(micros(begun));
    }
    table.row("one epoch tick", &tick, None);
    for name in ["busy-loop", "bulk-memory", "parked", "slow-stop", "heartbeat"] {
        let module = bench.module(name);
        let mut stopped = Samples::new();
        for _ in 0..ROUNDS {
            let mut guest = bench.start(&module, LONG);
            log.wait_for_guest_line(guest.token, "");
            // Anywhere in its work, not only just after its first line.
            thread::sleep(Duration::from_micros(fastrand::u64(0..10_000)));
            let begun = Instant::now();
            guest.guest.end(StopReason::Shutdown);
            guest.outcome();
            stopped.add_micros(micros(begun));
        }
        table.row(name, &stopped, Some(&tick));
    }
    table.print();
}
