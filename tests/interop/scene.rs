//! A Lease on a real API server, and who comes and goes there.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::PostParams};
use leasehold_tests::{build, control_plane::ControlPlane, event_log::Event, host_process::HostProcess};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    history::{History, Version, is_of},
    judge::{Verdict, judge},
    lives::{Life, Micros},
    peers::{self, Durations, Kind, Naive},
};

/// Control planes that start at the same time get in each other's way on two cores.
static STARTING: Mutex<()> = Mutex::new(());

pub(crate) struct Cluster {
    plane: ControlPlane,
    runtime: tokio::runtime::Runtime,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        peers::build_all();
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let plane = runtime.block_on(ControlPlane::start(build::control_plane_binaries())).expect("a control plane");
        drop(one_at_a_time);
        Self { plane, runtime }
    }

    /// A free Lease of this name, for a race of its own.
    pub(crate) fn scene(&self, lease: &str, durations: Durations) -> Scene {
        let _inside = self.runtime.enter();
        let leases: Api<Lease> = Api::namespaced(self.plane.client(), "default");
        // The Java client's elector takes no Lease where one of these two numbers is missing.
        let first = json!({
            "metadata": {"name": lease},
            "spec": {"leaseDurationSeconds": durations.lease_s, "leaseTransitions": 0},
        });
        let first: Lease = serde_json::from_value(first).expect("a Lease");
        let first = self.runtime.block_on(leases.create(&PostParams::default(), &first)).expect("created");
        Scene {
            lease: lease.to_owned(),
            kubeconfig: self.plane.kubeconfig().to_owned(),
            durations,
            history: History::from(&first, leases.clone(), &self.runtime),
            leases,
            runtime: self.runtime.handle().clone(),
            begun: 0,
            past: Vec::new(),
        }
    }
}

/// A race for one Lease.
pub(crate) struct Scene {
    lease: String,
    kubeconfig: PathBuf,
    durations: Durations,
    history: History,
    leases: Api<Lease>,
    runtime: tokio::runtime::Handle,
    begun: usize,
    past: Vec<Life>,
}

/// A process that takes part.
pub(crate) struct Player {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    process: HostProcess,
    pauses: Vec<(Micros, Micros)>,
    /// Since when it is stopped by SIGSTOP.
    stopped: Option<Micros>,
}

impl Scene {
    pub(crate) fn begin(&mut self, kind: Kind, naive: Naive) -> Player {
        self.begun += 1;
        let name = format!("{}-{kind}-{}", self.lease, self.begun);
        let process = peers::spawn(kind, &name, &self.lease, &self.kubeconfig, self.durations, naive);
        Player { kind, name, process, pauses: Vec::new(), stopped: None }
    }

    /// Terminates it, or kills it, and waits until it is gone.
    pub(crate) fn end(&mut self, mut player: Player, gracefully: bool) {
        if gracefully {
            player.go_on();
            // Where it has ended by itself, that is no less an end.
            if player.process.is_running() {
                player.process.signal(Signal::TERM);
            }
            player.process.wait();
        } else {
            player.process.kill();
        }
        let ended = now();
        let Player { kind, name, process, mut pauses, stopped } = player;
        pauses.extend(stopped.map(|stopped| (stopped, ended)));
        self.past.push(Life { kind, name, events: process.all_events(), ended, pauses });
    }

    /// Whether this one holds the Lease.
    pub(crate) fn is_held_by(&self, player: &Player) -> bool {
        self.history.holder().is_some_and(|holder| is_of(&holder, &player.name))
    }

    /// Whether the one of this name holds the Lease, which the history may not have told yet.
    pub(crate) fn is_still_held_by(&self, name: &str) -> bool {
        let lease = self.runtime.block_on(self.leases.get(&self.lease)).expect("the Lease");
        lease.spec.and_then(|spec| spec.holder_identity).is_some_and(|holder| is_of(&holder, name))
    }

    /// Whether one of this kind, alone, comes to lead sooner or later.
    pub(crate) fn can_be_taken_by(&self, kind: Kind) -> bool {
        let versions = self.history.versions();
        let Some(now) = versions.last() else { return false };
        match kind {
            Kind::Leasehold | Kind::ClientGo | Kind::Python => true,
            Kind::Java => now.duration.is_some() && now.transitions.is_some(),
            Kind::Naive => now.holder.is_none(),
        }
    }

    /// After the end of all.
    pub(crate) fn verdict(&self) -> Verdict {
        judge(&self.past, &self.history.versions(), self.durations.lease())
    }

    /// For those who look into a failure.
    pub(crate) fn versions(&self) -> Vec<Version> {
        self.history.versions()
    }
}

impl Player {
    /// Waits until it leads, by its own word, for the first time.
    pub(crate) fn wait_until_it_leads(&self) -> Event {
        self.process.wait_for_event(self.kind.begins(), 1)
    }

    /// Whether it led at any time, by its own word.
    pub(crate) fn has_led(&self) -> bool {
        !self.process.events_named(self.kind.begins()).is_empty()
    }

    /// Waits until it takes part.
    pub(crate) fn wait_until_it_competes(&self) {
        self.process.wait_for_event("candidate", 1);
    }

    /// SIGSTOP: from now on nothing of it runs.
    pub(crate) fn stop(&mut self) {
        if self.process.is_running() {
            self.stopped.get_or_insert_with(now);
            self.process.signal(Signal::STOP);
        }
    }

    /// SIGCONT, where it is stopped.
    pub(crate) fn go_on(&mut self) {
        if let Some(stopped) = self.stopped.take() {
            self.pauses.push((stopped, now()));
            self.process.signal(Signal::CONT);
        }
    }
}

pub(crate) fn now() -> Micros {
    jiff::Timestamp::now().as_microsecond()
}
