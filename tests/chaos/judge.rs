//! Listens to the hosts, their guests and what is done to them, line by line in the order in which
//! the lines were written, and says what must not have been.
//!
//! That order is the kernel's: all write into one pipe, a line at once. Whatever is judged by it
//! needs no clock. (Times are read to tell how long nobody led, and whether a write was due when its
//! host was stopped.)

use std::{collections::BTreeMap, time::Duration};

use leasehold_tests::{
    event_log::Event,
    register::{Refused, Register, Write},
};

use crate::history::{Note, Wanted, host_of};

/// How long the guest pauses between two writes.
const PAUSE_MICROS: i64 = 20_000;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    register: Register,
    hosts: BTreeMap<String, Host>,
    /// Whose term each token is.
    owners: BTreeMap<u64, String>,
    /// What a guest was started with.
    highest_token: u64,
    /// The latest time that anybody has named, in microseconds since the Unix epoch.
    clock: i64,
    /// Since when nobody leads.
    leaderless: Option<i64>,
    calm: Option<i64>,
    /// How long nobody leads is counted no more.
    over: bool,
    pub(crate) violations: Vec<String>,
    pub(crate) found: Found,
}

/// What is told of a run that went well.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) terms: usize,
    /// Processes that have ended before they competed.
    pub(crate) not_started: usize,
    /// Terms whose leader was not the one before.
    pub(crate) handovers: usize,
    pub(crate) guests: usize,
    pub(crate) writes: usize,
    /// Writes of a host stopped between its gate and its system call, which the register refused.
    pub(crate) in_flight: usize,
    /// How often a process was stopped while its guest ran.
    pub(crate) leaders_stopped: usize,
    pub(crate) without_leader: Vec<Duration>,
    /// From the beginning of each calm to the first write in it.
    pub(crate) calms: Vec<Duration>,
}

#[derive(Debug, Default)]
struct Host {
    state: State,
    /// It has said so.
    competes: bool,
    guest: Option<Guest>,
}

/// One run of a component, until its host has told that it has stopped.
#[derive(Debug)]
struct Guest {
    token: u64,
    /// Of its last write.
    seq: u64,
    /// The time of that, and before the first there is none.
    wrote_at: Option<i64>,
}

#[derive(Debug, Default, PartialEq)]
enum State {
    #[default]
    Runs,
    /// By SIGSTOP.
    Stopped {
        at: i64,
    },
    /// After that, and what it has said since may be from before.
    GoesOn {
        stopped_at: i64,
        in_flight: bool,
    },
    Gone,
}

impl Judge {
    /// The next line.
    pub(crate) fn hears(&mut self, event: &Event) {
        self.clock = self.clock.max(event.at_micros);
        if let Some((note, host)) = Note::of(event) {
            self.hears_note(note, host);
            if let Some((wanted, code)) = Wanted::of(event) {
                self.ended(host, wanted, code);
            }
        } else if let Some(host) = host_of(event) {
            self.hears_host(host, event);
        }
        self.count_leaders();
    }

    fn hears_note(&mut self, note: Note, name: &str) {
        match note {
            Note::Calm => self.calm = Some(self.clock),
            Note::Over => {
                self.over = true;
                self.leaderless = None;
            }
            Note::Did => {}
            Note::Stopped | Note::GoesOn | Note::Gone => self.hears_of_process(note, name),
        }
    }

    fn hears_of_process(&mut self, note: Note, name: &str) {
        let host = self.hosts.entry(name.to_owned()).or_default();
        match note {
            Note::Stopped => {
                host.state = State::Stopped { at: self.clock };
                self.found.leaders_stopped += usize::from(host.guest.is_some());
            }
            Note::GoesOn => {
                if let State::Stopped { at } = host.state {
                    host.state = State::GoesOn { stopped_at: at, in_flight: false };
                }
            }
            _ => {
                host.state = State::Gone;
                host.guest = None;
            }
        }
    }

    fn ended(&mut self, name: &str, wanted: Wanted, code: Option<i64>) {
        let host = self.hosts.entry(name.to_owned()).or_default();
        let fine = match (wanted, host.competes, code) {
            (Wanted::Killed, ..) | (Wanted::Asked, true, Some(0)) => true,
            // Where the cluster does not answer, or the module is broken just then, it does not even start.
            (Wanted::Asked | Wanted::Nothing, false, Some(0..=2) | None) => {
                self.found.not_started += 1;
                true
            }
            _ => false,
        };
        if !fine {
            self.violated(format!("{name} has ended with exit code {code:?}, and what was wanted: {wanted:?}"));
        }
    }

    fn hears_host(&mut self, name: &str, event: &Event) {
        let host = self.hosts.entry(name.to_owned()).or_default();
        if matches!(host.state, State::Stopped { .. } | State::Gone) {
            let violation = format!("{name} is {:?}, and has written {}", host.state, event.line);
            return self.violated(violation);
        }
        match event.name() {
            "candidate" => host.competes = true,
            "guest-started" => self.started(name, event.token()),
            "guest-output" => {
                if let Some(write) = Write::of(event) {
                    self.written(name, write, event.at_micros);
                }
            }
            "guest-stopped" => match host.guest.take_if(|guest| guest.token == event.token()) {
                Some(_) => host.state = State::Runs,
                None => self.violated(format!("{name} has stopped a guest that it has not started: {}", event.line)),
            },
            "released" if host.guest.is_some() => {
                self.violated(format!("{name} has released the lease while its guest runs: {}", event.line));
            }
            _ => {}
        }
    }

    fn started(&mut self, name: &str, token: u64) {
        self.owned(name, token);
        let host = self.hosts.entry(name.to_owned()).or_default();
        let stale = matches!(host.state, State::GoesOn { .. });
        if let Some(before) = host.guest.replace(Guest { token, seq: 0, wrote_at: None }) {
            self.violated(format!("{name} starts a guest beside the one of token {}", before.token));
        }
        if token < self.highest_token {
            // Decided before it was stopped, and told after. Nothing that it writes is excused.
            if !stale {
                let highest = self.highest_token;
                self.violated(format!("{name} starts a guest with token {token}, after one with {highest}"));
            }
            return;
        }
        let others = self.hosts.iter().filter(|(other, host)| *other != name && host.guest.is_some());
        // Who goes on from a stop past its bound has yet to find that out; until then it must not write.
        let running: Vec<_> = others.filter(|(_, host)| host.state == State::Runs).map(|(name, _)| name).collect();
        if !running.is_empty() {
            let violation = format!("{name} starts a guest with token {token} beside those of {running:?}");
            self.violated(violation);
        }
        self.found.guests += 1;
        if token > self.highest_token {
            self.found.terms += 1;
            let before = self.owners.range(..token).next_back();
            self.found.handovers += usize::from(before.is_some_and(|(_, owner)| owner != name));
            self.highest_token = token;
        }
    }

    fn written(&mut self, name: &str, write: Write, at: i64) {
        let Write { token, seq } = write;
        self.owned(name, token);
        self.found.writes += 1;
        let refused = self.register.write(write).err();
        let host = self.hosts.entry(name.to_owned()).or_default();
        let mut wrote_at = None;
        let follows = match &mut host.guest {
            Some(guest) if (guest.token, guest.seq + 1) == (token, seq) => {
                guest.seq = seq;
                wrote_at = guest.wrote_at.replace(at);
                true
            }
            _ => false,
        };
        let violation = (!follows).then(|| format!("{name} has written {write:?}, when {:?} runs there", host.guest));
        match (refused, &mut host.state) {
            (None, state) => {
                *state = State::Runs;
                if let Some(calm) = self.calm.take() {
                    self.found.calms.push(micros(self.clock - calm));
                }
            }
            // The one call that a process stopped right behind its gate finishes when it goes on. One
            // that was stopped before its guest wanted to write again had not been at the gate.
            (Some(_), State::GoesOn { stopped_at, in_flight: before @ false })
                if wrote_at.is_none_or(|at| *stopped_at >= at + PAUSE_MICROS) =>
            {
                *before = true;
                self.found.in_flight += 1;
            }
            (Some(Refused { highest }), _) => {
                self.violated(format!("{name} has written {write:?} after {highest}, and was refused"));
            }
        }
        self.violations.extend(violation);
    }

    fn owned(&mut self, name: &str, token: u64) {
        let owner = self.owners.entry(token).or_insert_with(|| name.to_owned());
        if owner != name {
            let violation = format!("{name} has the token {token} of {owner}");
            self.violated(violation);
        }
    }

    fn count_leaders(&mut self) {
        match (self.leader().is_some(), self.leaderless) {
            (true, Some(since)) => {
                self.found.without_leader.push(micros(self.clock - since));
                self.leaderless = None;
            }
            (false, None) if self.found.guests > 0 && !self.over => self.leaderless = Some(self.clock),
            _ => {}
        }
    }

    /// Whose guest runs, by its own word.
    pub(crate) fn leader(&self) -> Option<&str> {
        let leading = self.hosts.iter().find(|(_, host)| host.guest.is_some() && host.state == State::Runs);
        leading.map(|(name, _)| name.as_str())
    }

    /// Whether it takes part in the election, by its own word.
    pub(crate) fn competes(&self, name: &str) -> bool {
        self.hosts.get(name).is_some_and(|host| host.competes && host.state != State::Gone)
    }

    fn violated(&mut self, what: String) {
        self.violations.push(what);
    }
}

fn micros(count: i64) -> Duration {
    Duration::from_micros(count.try_into().expect("the clock of the judge does not go back"))
}
