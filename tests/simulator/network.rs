//! What lies between a replica and the store: requests, answers, watches.

use leasehold_core::{
    election::{Reply, Request, RequestId},
    lease::Observation,
    ports::{StoreFailure, WatchEvent},
    replica::Input,
};

use crate::{
    clock::{MILLISECOND, SECOND, TrueTime},
    invariants::Rule,
    tally::{Kind, Seen},
    world::{Event, ProcessId, World},
};

/// A process's watch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// Grows with each connection; what flows on an older one is lost.
    connection: u64,
    connected: bool,
    /// How many of the store's states were told, or skipped.
    told: usize,
    /// The server has ended it; it goes on where it was, where the store still knows that.
    resumes: bool,
    /// Nothing is told before this.
    stalled_until: TrueTime,
}

impl World {
    pub(crate) fn latency(&mut self) -> TrueTime {
        self.rng.u64(MILLISECOND / 10..=self.net.latency_max_ms * MILLISECOND)
    }

    /// How long one message is under way; `None`: it is lost.
    pub(crate) fn travels_for(&mut self, slow: Seen) -> Option<TrueTime> {
        if self.happens(self.net.lost) {
            return None;
        }
        if self.happens(self.net.slow) {
            self.tally.count(slow);
            return Some(self.rng.u64(0..=self.net.slow_max_ms * MILLISECOND));
        }
        Some(self.latency())
    }

    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.f64() < probability
    }

    pub(crate) fn send(&mut self, process: ProcessId, id: RequestId, request: Request) {
        self.processes[process].sent = Some((id, self.now));
        let machine = self.processes[process].machine;
        let travels = self.travels_for(Seen::RequestDelayed).filter(|_| !self.machines[machine].partitioned);
        let Some(delay) = travels else {
            self.tally.count(Seen::RequestLost);
            return self.fail_perhaps(process, id);
        };
        // A client that tries again by itself, a proxy that does: the same write arrives twice,
        // and it is the first of the two or the second that is answered.
        let duplicated = self.happens(self.net.duplicated);
        let first_answered = !duplicated || self.rng.bool();
        if duplicated {
            self.tally.count(Seen::RequestDuplicated);
            let again = self.rng.u64(0..=self.net.slow_max_ms * MILLISECOND);
            let request = request.clone();
            self.after(delay + again, Event::Arrive { process, id, request, answered: !first_answered });
        }
        self.after(delay, Event::Arrive { process, id, request, answered: first_answered });
    }

    /// The connection broke: sometimes the client notices.
    fn fail_perhaps(&mut self, process: ProcessId, id: RequestId) {
        if self.rng.bool() {
            let failure = Input::Answered(id, Err(StoreFailure::Unavailable));
            self.within(2 * SECOND, Event::Deliver(process, failure));
        }
    }

    pub(crate) fn arrive(&mut self, process: ProcessId, id: RequestId, request: &Request, answered: bool) {
        let machine = self.processes[process].machine;
        if self.machines[machine].partitioned || self.store_silent {
            return;
        }
        let writes = matches!(request, Request::Write { .. });
        let result = if self.store_down {
            Err(StoreFailure::Unavailable)
        } else if writes && self.machines[machine].forbidden {
            self.tally.count(Seen::Denied);
            Err(StoreFailure::Denied)
        } else if writes && !self.is_quiet() && self.rng.f64() < 0.002 {
            self.tally.count(Seen::Rejected);
            Err(StoreFailure::Rejected)
        } else {
            self.serve(process, id, request)
        };
        if !answered {
            return;
        }
        let Some(delay) = self.travels_for(Seen::AnswerDelayed) else {
            self.tally.count(Seen::AnswerLost);
            return self.fail_perhaps(process, id);
        };
        self.after(delay, Event::Deliver(process, Input::Answered(id, result)));
    }

    fn serve(&mut self, process: ProcessId, id: RequestId, request: &Request) -> Result<Reply, StoreFailure> {
        let before = self.store.current().record().cloned();
        let result = self.store.serve(request);
        let sender = &self.processes[process];
        self.trace.line(self.now, || format!("store: {} {id:?} {request:?}: {result:?}", sender.identity));
        match (&result, request) {
            (Ok(Reply::Written(version)), Request::Write { record, .. }) => {
                if record.holder.as_deref() == Some(&*sender.identity) {
                    self.tally.count_takeover(&mut self.last_holder, sender.identity.as_str(), Kind::Ours);
                }
                if record.holder.is_none() && sender.guest.is_some() {
                    let who = &sender.identity;
                    self.invariants.violated(Rule::ReleasedUnderGuest, || {
                        format!("{who} releases the lease while its guest exists")
                    });
                }
                if record.holder.is_none() && sender.calls.stopping.is_some() {
                    let who = &sender.identity;
                    self.invariants.violated(Rule::ReleasedUnderCallback, || {
                        format!("{who} releases the lease while its module is told of the term's end")
                    });
                }
                self.check_label_off(process, before.as_ref(), record);
                let sender = &self.processes[process];
                self.tally.count(Seen::WriteApplied);
                if sender.sent.is_none_or(|(sent, _)| sent != id) {
                    self.tally.count(Seen::AppliedAfterTimeout);
                }
                self.check_written(process, before.as_ref(), record, version.0);
                self.store_changed();
            }
            (Err(StoreFailure::Conflict), _) => {
                self.tally.count(Seen::Conflict);
                self.planted_patch(process, request);
            }
            (Err(StoreFailure::Missing), _) => self.tally.count(Seen::Missing),
            _ => {}
        }
        result
    }

    /// Whoever watches is going to hear of it.
    pub(crate) fn store_changed(&mut self) {
        self.controller_soon();
        for process in 0..self.processes.len() {
            if self.processes[process].alive && self.processes[process].watch.connected {
                self.watch_may_flow(process);
            }
        }
    }

    fn watch_may_flow(&mut self, process: ProcessId) {
        let latency = self.latency();
        let watch = &self.processes[process].watch;
        let (at, connection) = ((self.now + latency).max(watch.stalled_until), watch.connection);
        self.at(at, Event::WatchFlows(process, connection));
    }

    fn cut_off(&self, process: ProcessId) -> bool {
        self.store_down || self.store_silent || self.machines[self.processes[process].machine].partitioned
    }

    pub(crate) fn watch_connects(&mut self, process: ProcessId) {
        if !self.processes[process].alive || self.processes[process].watch.connected {
            return;
        }
        if self.cut_off(process) {
            self.processes[process].watch.resumes = false;
            self.within(3 * SECOND, Event::WatchConnects(process));
            return self.deliver(process, Input::Watched(WatchEvent::Broken));
        }
        let first_kept = self.store.first_kept();
        let watch = &mut self.processes[process].watch;
        if std::mem::take(&mut watch.resumes) {
            if watch.told < first_kept {
                self.tally.count(Seen::WatchTooOld);
                self.within(2 * SECOND, Event::WatchConnects(process));
                return self.deliver(process, Input::Watched(WatchEvent::Broken));
            }
            self.tally.count(Seen::WatchResumed);
            watch.connected = true;
            return self.watch_may_flow(process);
        }
        let newest = self.store.len() - 1;
        let mut from = newest;
        if newest > 0 && self.happens(self.net.stale) {
            // The list came from a replica of the store that lags behind.
            self.tally.count(Seen::WatchStale);
            from = (newest - self.rng.usize(0..=newest.min(5))).max(first_kept);
        }
        let watch = &mut self.processes[process].watch;
        watch.connected = true;
        watch.told = from + 1;
        let mut seen = self.store.at(from).clone();
        if let Observation::Missing { deleted_at } = &mut seen
            && self.rng.bool()
        {
            *deleted_at = None; // What is not there has no version, where the store does not add one.
        }
        self.watch_may_flow(process);
        self.deliver(process, Input::Watched(WatchEvent::Seen(seen)));
    }

    pub(crate) fn watch_flows(&mut self, process: ProcessId, connection: u64) {
        let cut_off = self.cut_off(process);
        let newest = self.store.len();
        let coalesced = self.happens(self.net.coalesced);
        let watch = &mut self.processes[process].watch;
        if watch.connection != connection || !watch.connected || cut_off {
            return; // What was cut off flows again when it is healed.
        }
        if self.now < watch.stalled_until {
            let at = watch.stalled_until;
            return self.at(at, Event::WatchFlows(process, connection));
        }
        if watch.told >= newest {
            return;
        }
        if watch.told < self.store.first_kept() {
            self.tally.count(Seen::WatchTooOld);
            return self.watch_breaks(process);
        }
        if coalesced && watch.told + 1 < newest {
            self.tally.count(Seen::WatchCoalesced);
            watch.told = newest - 1;
        }
        let seen = self.store.at(watch.told).clone();
        watch.told += 1;
        if watch.told < newest {
            self.watch_may_flow(process);
        }
        self.deliver(process, Input::Watched(WatchEvent::Seen(seen)));
    }

    pub(crate) fn watch_breaks(&mut self, process: ProcessId) {
        let watch = &mut self.processes[process].watch;
        watch.connection += 1;
        (watch.connected, watch.resumes) = (false, false);
        self.tally.count(Seen::WatchBroken);
        self.deliver(process, Input::Watched(WatchEvent::Broken));
        self.within(5 * SECOND, Event::WatchConnects(process));
    }

    /// As the client has asked for: no error, and nothing is missed unless it takes long.
    pub(crate) fn watch_ends(&mut self, process: ProcessId) {
        let watch = &mut self.processes[process].watch;
        if watch.connected {
            watch.connection += 1;
            (watch.connected, watch.resumes) = (false, true);
            self.tally.count(Seen::WatchEnded);
            self.within(5 * SECOND, Event::WatchConnects(process));
        }
    }

    /// All but the newest of what the store has said is forgotten.
    pub(crate) fn compact(&mut self) {
        self.tally.count(Seen::Compacted);
        self.store.compact();
    }

    pub(crate) fn watch_stalls(&mut self, process: ProcessId, until: TrueTime) {
        self.tally.count(Seen::WatchStalled);
        self.processes[process].watch.stalled_until = until;
    }

    /// What was held back on this process's watch may flow.
    pub(crate) fn watch_heals(&mut self, process: ProcessId) {
        let watch = &mut self.processes[process].watch;
        watch.stalled_until = 0;
        if watch.connected {
            self.watch_may_flow(process);
        }
    }
}
