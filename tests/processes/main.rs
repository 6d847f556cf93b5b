//! Hosts as processes of their own, end to end.

mod admin;
mod bad_input;
mod cache;
mod callbacks;
mod checkpoint;
mod cluster;
mod compiling;
mod config_map;
mod coordinated;
mod crash;
mod dev;
mod env;
mod explain;
mod fencing;
mod folder;
mod http;
mod kubernetes_api;
mod leader_endpoint;
mod leader_label;
mod manifests;
mod metrics;
mod one_task;
mod outcomes;
mod progress;
mod ready;
mod scale;
mod secrets;
mod shutdown;
mod sidecar;
mod status;
mod step_down;
mod swaps;
mod task_events;
mod tasks;
mod unread_log;

use std::time::Duration;

use leasehold_tests::{event_log::Event, host_process::HostProcess};

/// Long enough that a handover by expiry cannot be taken for one at once.
const LEASE: [&str; 6] = ["--lease-duration", "6s", "--renew-deadline", "4s", "--retry-period", "1s"];
const LEASE_DURATION: Duration = Duration::from_secs(6);

/// Long enough that it is not lost where a thread waits some seconds for a core, and not so long that it could not be
/// waited out.
const STEADY_LEASE: [&str; 6] = ["--lease-duration", "12s", "--renew-deadline", "10s", "--retry-period", "1s"];

/// For what is not waited out.
const LONG_LEASE: [&str; 6] = ["--lease-duration", "30s", "--renew-deadline", "25s", "--retry-period", "1s"];
/// A handover that takes less than this has not waited for [`LONG_LEASE`] to run out: that is renewed every ten seconds,
/// so that twenty are left of it at least.
const AT_ONCE: Duration = Duration::from_secs(15);

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).expect("not centuries")
}

fn only(events: Vec<Event>) -> Event {
    let [event] = <[Event; 1]>::try_from(events).expect("it happened once");
    event
}

/// Invariants 3 and 4, as the host that was asked to end has told them.
fn assert_stopped_then_released(host: &HostProcess) {
    let order: Vec<_> = host.events().iter().map(|event| event.name().to_owned()).collect();
    let at = |name: &str| order.iter().position(|event| event == name).unwrap_or_else(|| panic!("{name} in {order:?}"));
    assert!(at("stop-requested") < at("guest-stopped") && at("guest-stopped") < at("released"), "{order:?}");
}
