//! Switches the application beside it on while this replica leads, and off again. The application needs no elector: it
//! answers a few HTTP calls, and works while it has a permission that runs out by itself. `README.md` says what it has to do,
//! and what is left of that, and of what is promised, for one that knows of no permissions (`PERMISSION=none`).
//!
//! Invariants, where there are permissions:
//!
//! - No permission outlasts the term, whatever is lost, late or frozen: see [`application`].
//! - The Lease is released under no permission: `on-stop-leading` runs when no instance is left that could give one, and
//!   before the release. It has the application's word that it is off, or has waited until the last permission is over; where
//!   it has neither, it does not return, and the host keeps the Lease.

mod application;
mod config;
mod http;

wit_bindgen::generate!({ path: "../../wit", world: "observing-leader-task", generate_all });

use std::time::Duration;

use leasehold::task::{leadership, progress, types::StopReason as Reason};
use wasi::{
    clocks::monotonic_clock,
    io::poll::{self, Pollable},
};

use self::{
    application::{Application, NotActivated},
    config::Config,
};

/// The first wait before a call is made again; each is twice the one before, up to the longest.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

struct SidecarSwitch;

/// Why the application is not to be active any more.
enum End {
    /// The host asks this instance to stop.
    Asked,
    /// Another replica is to be tried.
    GivenUp(String),
}

impl Guest for SidecarSwitch {
    fn on_start_leading(term: Term) -> Result<(), String> {
        let config = Config::from_env()?;
        let stop = leadership::subscribe_stop();
        let mut application = Application::new(&config, &term);
        let End::GivenUp(why) = keep_active(&config, &mut application, &stop) else {
            // `on-stop-leading` switches it off, in the very next moment; but where the Lease could not be renewed, only at
            // the end of the term. After a swap the next instance goes on in the same term, and so does the application.
            if leadership::stop_requested() == Some(Reason::LeadershipLost) {
                match application.deactivate() {
                    Ok(()) => println!("deactivated, token {}: the Lease is not renewed", term.token),
                    Err(error) => eprintln!("not deactivated: {error}"),
                }
            }
            return Ok(());
        };
        leadership::step_down();
        stop.block();
        Err(why)
    }

    fn on_stop_leading(term: Term, reason: Reason) {
        let config = match Config::from_env() {
            Ok(config) => config,
            Err(error) => {
                // It was another config that activated the application, if one did. Nothing is known of that, so all
                // the time that a callback may take is waited, until it is ended.
                eprintln!("not deactivated: {error}");
                return monotonic_clock::subscribe_duration(u64::MAX).block();
            }
        };
        match off_or_over(&config, &Application::new(&config, &term)) {
            Ok(()) => println!("off, token {}: {reason:?}", term.token),
            Err(error) => println!(
                "off, token {}: {reason:?}; it does not say so ({error}), but its last permission is over",
                term.token
            ),
        }
    }

    /// Another leads, so the application beside this one is off: also where the instance that had switched it on is gone with
    /// its host, and this is the next one. A permission does not need that.
    fn on_new_leader(_: String) {
        let (config, term) = (Config::from_env(), leadership::current());
        if term.token > 0 {
            return;
        }
        // What is wrong with the config, whoever leads says.
        let Ok(config @ Config { permission: None, .. }) = config else { return };
        match off_or_over(&config, &Application::new(&config, &term)) {
            Ok(()) => println!("off: another replica leads"),
            Err(error) => eprintln!("not deactivated: {error}"),
        }
    }
}

/// Activates the application, and renews its permission until it is to end.
fn keep_active(config: &Config, application: &mut Application, stop: &Pollable) -> End {
    if let Err(end) = activate(config, application, stop) {
        return end;
    }
    let (mut refused, mut unhealthy) = (0, 0);
    loop {
        if wait(config.every, stop) {
            return End::Asked;
        }
        match application.activate(stop) {
            Ok(()) => refused = 0,
            Err(NotActivated::Asked) => return End::Asked,
            Err(NotActivated::Ending) => return ending(),
            Err(NotActivated::Failed(error)) => {
                refused += 1;
                eprintln!("permission not renewed, {refused} of {}: {error}", config.failures);
                if refused >= config.failures {
                    return End::GivenUp(format!("the permission was not renewed {refused} times in a row: {error}"));
                }
            }
        }
        match application.health(stop) {
            Ok(()) => unhealthy = 0,
            Err(_) if leadership::stop_requested().is_some() => return End::Asked,
            Err(error) => {
                unhealthy += 1;
                eprintln!("not healthy, {unhealthy} of {}: {error}", config.failures);
                if unhealthy >= config.failures {
                    return End::GivenUp(format!(
                        "the application was not healthy {unhealthy} times in a row: {error}"
                    ));
                }
            }
        }
        progress::report(if refused + unhealthy == 0 { "active" } else { "in trouble" });
    }
}

/// Again and again until it works, or has not for too long.
fn activate(config: &Config, application: &mut Application, stop: &Pollable) -> Result<(), End> {
    let begun = monotonic_clock::now();
    let mut pause = PAUSE;
    loop {
        let error = match application.activate(stop) {
            Ok(()) => return Ok(()),
            Err(NotActivated::Asked) => return Err(End::Asked),
            Err(NotActivated::Ending) => return Err(ending()),
            Err(NotActivated::Failed(error)) => error,
        };
        eprintln!("not activated: {error}");
        let gone = Duration::from_nanos(monotonic_clock::now() - begun);
        if gone + pause >= config.activate_deadline {
            let deadline = humantime::format_duration(config.activate_deadline);
            return Err(End::GivenUp(format!("not activated within {deadline}: {error}")));
        }
        progress::report("activating");
        if wait(pause, stop) {
            return Err(End::Asked);
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn ending() -> End {
    End::GivenUp("the application is ending (410)".to_owned())
}

/// Returns when the application has said that it is off; or, with why it does not, when whatever permission an instance
/// that is gone has given is over, and what was begun under it. Where there are none, only the time that a callback may take
/// ends this.
fn off_or_over(config: &Config, application: &Application) -> Result<(), String> {
    let begun = monotonic_clock::now();
    let mut pause = PAUSE;
    loop {
        let error = match application.deactivate() {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let gone = Duration::from_nanos(monotonic_clock::now() - begun);
        let left = match config.permission {
            Some(permission) => (permission + config.margin).saturating_sub(gone),
            None => PAUSE_MAX,
        };
        if left.is_zero() {
            return Err(error);
        }
        eprintln!("not deactivated: {error}");
        monotonic_clock::subscribe_duration(nanos(pause.min(left))).block();
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Waits; says whether the instance was asked to stop.
fn wait(time: Duration, stop: &Pollable) -> bool {
    poll::poll(&[stop, &monotonic_clock::subscribe_duration(nanos(time))]);
    leadership::stop_requested().is_some()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

export!(SidecarSwitch);
