//! `leasehold dev`: two terminals, and a guest that is edited while it runs.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command, time::Duration};

use leasehold_tests::{build, event_log::Event, host_process::HostProcess};
use rustix::process::Signal;
use tempfile::TempDir;

/// A copy of a guest's folder, at the same distance from `wit`.
fn copy_of_heartbeat(place: &Path) -> std::path::PathBuf {
    let example = build::root().join("guest-examples/heartbeat");
    let folder = place.join("guests/heartbeat");
    fs::create_dir_all(folder.join("src")).expect("a folder");
    for file in ["Cargo.toml", "src/lib.rs"] {
        fs::copy(example.join(file), folder.join(file)).expect("a copy");
    }
    fs::copy(build::root().join("guest-examples/Cargo.lock"), folder.join("Cargo.lock")).expect("a copy");
    symlink(build::root().join("wit"), place.join("wit")).expect("a link");
    folder
}

/// For what is compiled at first, which is more than the guest.
const FIRST_BUILD: Duration = Duration::from_secs(600);
/// Renewed every twenty seconds, so that forty are left of it at least when it is released.
const AT_ONCE: i64 = 30_000_000;

/// Its lease outlives that compilers take the cores.
fn dev(name: &str, folder: &Path) -> HostProcess {
    let mut command = Command::new(build::leasehold());
    command.arg("dev").arg(folder).args(["--log-format", "json", "--lease-duration", "60s"]);
    // Not the target folder of the tests: the leases in it are this test's own.
    command.env("CARGO_TARGET_DIR", folder.join("target"));
    HostProcess::spawn(name, command)
}

#[test]
fn the_second_terminal_is_the_standby_and_saving_the_guest_swaps_it() {
    let place = TempDir::new().expect("a folder");
    let folder = copy_of_heartbeat(place.path());
    let mut first = dev("first terminal", &folder);
    let started = |events: &[Event]| events.iter().find(|event| event.name() == "guest-started").map(Event::token);
    let token = first.wait_within(FIRST_BUILD, "guest", started);
    // By another name of the folder, which is the same task.
    let other_name = place.path().join("other-name");
    symlink(&folder, &other_name).expect("a link");
    let mut second = dev("second terminal", &other_name);
    second.wait_for_event("new-leader", 1);

    let source = folder.join("src/lib.rs");
    let good = fs::read_to_string(&source).expect("the source");
    fs::write(&source, "this does not compile").expect("saved");
    first.wait_for_event("module-rejected", 1);
    fs::write(&source, good.replace("beat {beat}, token", "boom {beat}, token")).expect("saved");
    assert_eq!(first.wait_for_event("module-swapped", 1).token(), token);
    first.wait_for("line of the new guest", |event| event.message().starts_with("boom 1,"));
    // The standby has the new one ready, too.
    second.wait_for_event("module-loaded", 2);

    first.signal(Signal::INT);
    assert_eq!(first.wait().code(), Some(0));
    second.wait_for("line of the new guest", |event| event.message().starts_with("boom 1,"));
    let released = &first.events_named("released")[0];
    let taken = &second.events_named("leading")[0];
    assert!(taken.at_micros - released.at_micros < AT_ONCE, "it waited for the record to run out");
    assert!(taken.token() > token);

    second.signal(Signal::KILL);
    second.wait();
}
