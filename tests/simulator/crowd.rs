//! Many standbys of one Lease, and a store that answers: how many requests a handover costs, and what comes
//! when the store is back after an outage.
//!
//! Apart from the histories, which are about what goes wrong among a few: here nothing does, and there are up
//! to a hundred elections. Requests take a millisecond or so, one after the other in the store, and a change
//! reaches each watch some milliseconds later, as with the API server.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use leasehold_core::{
    backoff::Backoff,
    election::{Action, Contest, Election, ElectionConfig, Input, Leadership, Reply, Request, RequestId, StayOut},
    lease::{LeaseRecord, Observation, Version},
    ports::{StoreFailure, WatchEvent},
    time::{BootTime, Now, WallTime},
    timing::Timing,
};

/// In nanoseconds.
type Time = u64;
const MICROSECOND: Time = 1_000;
const MILLISECOND: Time = 1_000 * MICROSECOND;
const SECOND: Time = 1_000 * MILLISECOND;

/// What a request keeps the store for.
const SERVICE: Time = 300 * MICROSECOND;

#[derive(Clone, Debug)]
enum Event {
    /// A deadline of the election, if it still is the one.
    Wake(usize, u64),
    Arrive(usize, RequestId, Request),
    Deliver(usize, Input),
    /// The watch is to be opened.
    List(usize),
    Tell(usize, Observation),
}

/// What the store was asked since this was last taken.
#[derive(Debug, Default)]
struct Asked {
    reads: usize,
    writes: usize,
    conflicts: usize,
    lists: usize,
    /// The same in each tenth of a second, to find the busiest.
    by_tenth: BTreeMap<Time, usize>,
}

impl Asked {
    fn all(&self) -> usize {
        self.reads + self.writes + self.lists
    }
}

struct Standby {
    election: Election,
    wake: u64,
    watches: bool,
    backoff: Backoff,
    alive: bool,
}

struct Crowd {
    now: Time,
    /// When, and which of the events.
    queue: BinaryHeap<Reverse<(Time, u64)>>,
    events: BTreeMap<u64, Event>,
    queued: u64,
    rng: fastrand::Rng,
    /// Everything takes this many times as long as usual.
    slowness: Time,
    members: Vec<Standby>,
    version: u64,
    record: Option<LeaseRecord>,
    up: bool,
    busy_until: Time,
    asked: Asked,
}

impl Crowd {
    /// One of these leads, the others stand by with a watch.
    fn new(count: usize, slowness: Time, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let member = |index: usize| Standby {
            election: Election::new(
                ElectionConfig {
                    identity: format!("member-{index}"),
                    task: "task".to_owned(),
                    adopt: false,
                    contest: Contest::Open,
                    timing: Timing::default(),
                },
                rng.u64(..),
            ),
            wake: 0,
            watches: false,
            backoff: Backoff::new(rng.u64(..)),
            alive: true,
        };
        let members = (0..count).map(member).collect();
        let mut crowd = Self {
            now: 1_000 * SECOND,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            queued: 0,
            rng,
            slowness,
            members,
            version: 1,
            record: None,
            up: true,
            busy_until: 0,
            asked: Asked::default(),
        };
        for index in 0..count {
            let begins = crowd.rng.u64(0..SECOND);
            crowd.after(begins, Event::Wake(index, 0));
            crowd.after(begins, Event::List(index));
        }
        crowd.run_for(60 * SECOND);
        crowd.leader().expect("somebody leads after a minute");
        crowd
    }

    fn after(&mut self, delay: Time, event: Event) {
        let id = self.queued;
        self.queued += 1;
        self.queue.push(Reverse((self.now + delay, id)));
        self.events.insert(id, event);
    }

    fn on_the_wire(&mut self) -> Time {
        self.slowness * self.rng.u64(200 * MICROSECOND..MILLISECOND)
    }

    fn leader(&self) -> Option<usize> {
        let now = BootTime::from_nanos(self.now);
        let leads =
            |member: &Standby| member.alive && matches!(member.election.leadership(now), Leadership::Leading { .. });
        self.members.iter().position(leads)
    }

    fn run_for(&mut self, time: Time) {
        let end = self.now + time;
        self.run_until(end, |_| false);
    }

    fn run_until(&mut self, end: Time, done: impl Fn(&Self) -> bool) {
        while let Some(Reverse((at, id))) = self.queue.peek().copied()
            && at <= end
            && !done(self)
        {
            self.queue.pop();
            self.now = at;
            let event = self.events.remove(&id).expect("each is queued once");
            self.happen(event);
        }
        if !done(self) {
            self.now = end;
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wake(index, wake) if self.members[index].wake != wake => {}
            Event::Wake(index, _) => self.step(index, Input::Tick),
            Event::Deliver(index, input) => self.step(index, input),
            Event::Arrive(index, id, request) => self.arrive(index, id, request),
            Event::List(index) => self.list(index),
            Event::Tell(index, seen) => {
                if self.up && self.members[index].watches {
                    self.step(index, Input::Watched(WatchEvent::Seen(seen)));
                }
            }
        }
    }

    fn step(&mut self, index: usize, input: Input) {
        if !self.members[index].alive {
            return;
        }
        let wall = WallTime::from_micros(i64::try_from(self.now / MICROSECOND).expect("not centuries"));
        let now = Now { boot: BootTime::from_nanos(self.now), wall };
        for action in self.members[index].election.step(now, input) {
            if let Action::Send { id, request } = action {
                let wire = self.on_the_wire();
                self.after(wire, Event::Arrive(index, id, request));
            }
        }
        let member = &mut self.members[index];
        member.wake += 1;
        let wake = member.wake;
        if let Some(next) = member.election.next_deadline(now.boot) {
            // A timer has a millisecond of its own.
            let late = self.rng.u64(0..MILLISECOND);
            self.after(next.as_nanos().saturating_sub(self.now) + late, Event::Wake(index, wake));
        }
    }

    fn count(&mut self) {
        *self.asked.by_tenth.entry(self.now / (100 * MILLISECOND)).or_default() += 1;
        self.busy_until = self.busy_until.max(self.now) + self.slowness * SERVICE;
    }

    fn arrive(&mut self, index: usize, id: RequestId, request: Request) {
        self.count();
        let wire = self.on_the_wire();
        let result = match request {
            _ if !self.up => Err(StoreFailure::Unavailable),
            Request::Read => Ok(Reply::Read(self.state())),
            Request::Write { based_on, record } => {
                let current = self.record.as_ref().map(|_| Version(self.version));
                if based_on == current { Ok(Reply::Written(self.put(record))) } else { Err(StoreFailure::Conflict) }
            }
        };
        match &result {
            Ok(Reply::Written(_)) => self.asked.writes += 1,
            Err(StoreFailure::Conflict) => {
                self.asked.writes += 1;
                self.asked.conflicts += 1;
            }
            _ => self.asked.reads += 1,
        }
        let answered = self.busy_until - self.now + wire;
        self.after(answered, Event::Deliver(index, Input::Answered(id, result)));
    }

    fn put(&mut self, record: LeaseRecord) -> Version {
        self.version += 1;
        self.record = Some(record);
        let state = self.state();
        for index in 0..self.members.len() {
            // One after the other, and then over the network.
            let told = self.busy_until - self.now
                + 20 * MICROSECOND * index as Time
                + self.slowness * self.rng.u64(MILLISECOND..4 * MILLISECOND);
            self.after(told, Event::Tell(index, state.clone()));
        }
        Version(self.version)
    }

    fn state(&self) -> Observation {
        match &self.record {
            Some(record) => Observation::Present { version: Version(self.version), record: record.clone() },
            None => Observation::Missing { deleted_at: None },
        }
    }

    fn list(&mut self, index: usize) {
        if !self.members[index].alive {
            return;
        }
        self.count();
        self.asked.lists += 1;
        if self.up {
            self.members[index].watches = true;
            self.members[index].backoff.reset();
            let state = self.state();
            let wire = self.on_the_wire();
            self.after(wire, Event::Tell(index, state));
        } else {
            self.watch_breaks(index);
        }
    }

    fn watch_breaks(&mut self, index: usize) {
        self.members[index].watches = false;
        let wait = self.members[index].backoff.wait();
        self.after(u64::try_from(wait.as_nanos()).expect("seconds"), Event::List(index));
        self.step(index, Input::Watched(WatchEvent::Broken));
    }

    fn store_goes_away(&mut self) {
        self.up = false;
        for index in 0..self.members.len() {
            self.watch_breaks(index);
        }
    }

    /// Until another leads, and the others have heard of it: how long it took, and what was asked.
    fn handover(&mut self, end: impl FnOnce(&mut Self, usize)) -> (Time, Asked) {
        // A renewal at the same moment would be counted along.
        let before = self.leader().expect("somebody leads");
        self.asked = Asked::default();
        let begun = self.now;
        end(self, before);
        let patience = self.now + 60 * SECOND;
        self.run_until(patience, |crowd| crowd.leader().is_some_and(|leader| leader != before));
        let took = self.now - begun;
        self.run_for(200 * MILLISECOND);
        let asked = std::mem::take(&mut self.asked);
        assert!(self.leader().is_some_and(|leader| leader != before), "nobody else leads");
        self.run_for(60 * SECOND);
        (took, asked)
    }
}

const ROUNDS: usize = 50;

fn median(mut of: Vec<Time>) -> Time {
    of.sort_unstable();
    of[of.len() / 2]
}

fn steps_down(crowd: &mut Crowd, leader: usize) {
    crowd.step(leader, Input::StepDown(StayOut::For(std::time::Duration::from_secs(30))));
}

#[test]
fn however_many_stand_by_a_handover_costs_a_few_requests() {
    println!("standbys | requests at a handover (most) | conflicts (most) | to the successor, p50 (most) ms");
    for standbys in [2, 3, 10, 30, 100] {
        let mut crowd = Crowd::new(standbys + 1, 1, standbys as u64);
        let (mut took, mut requests, mut conflicts) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (time, asked) = crowd.handover(steps_down);
            took.push(time);
            requests.push(asked.all());
            conflicts.push(asked.conflicts);
            assert_eq!((asked.reads, asked.lists), (0, 0), "the watch tells who has it");
            assert_eq!(asked.writes, 2 + asked.conflicts, "a release and an acquisition");
        }
        let most = |of: &[usize]| of.iter().max().copied().unwrap_or_default();
        let mean = |of: &[usize]| of.iter().sum::<usize>() as f64 / of.len() as f64;
        let slowest = took.iter().max().copied().unwrap_or_default();
        let p50 = median(took);
        println!(
            "{standbys:>8} | {:>5.1} ({:>2}) | {:>5.1} ({:>2}) | {:>5.1} ({:.1})",
            mean(&requests),
            most(&requests),
            mean(&conflicts),
            most(&conflicts),
            p50 as f64 / 1e6,
            slowest as f64 / 1e6
        );
        // Without the moment that each waits, all of them would write, and then read.
        assert!(mean(&conflicts) <= 12.0, "{standbys} standbys: {conflicts:?}");
        assert!(p50 <= 30 * MILLISECOND, "{standbys} standbys: {p50} ns");
    }
}

#[test]
fn a_lease_that_runs_out_under_many_standbys_costs_a_few_requests() {
    let mut crowd = Crowd::new(41, 1, 5);
    for _ in 0..10 {
        let (_, asked) = crowd.handover(|crowd, leader| crowd.members[leader].alive = false);
        assert!(asked.conflicts <= 15, "{asked:?}");
        assert_eq!((asked.reads, asked.lists), (0, 0), "{asked:?}");
    }
}

/// As on a machine that has all of them, and other things to do.
#[test]
fn where_all_is_slow_many_standbys_learn_to_wait_longer_and_few_do_not() {
    for (standbys, conflicts_max, p50_max) in [(2, 1.0, 80 * MILLISECOND), (30, 9.0, 120 * MILLISECOND)] {
        let mut crowd = Crowd::new(standbys + 1, 5, 3);
        let (times, conflicts): (Vec<_>, Vec<_>) =
            (0..2 * ROUNDS).map(|_| crowd.handover(steps_down)).map(|(took, asked)| (took, asked.conflicts)).unzip();
        let mean = |of: &[usize]| of.iter().sum::<usize>() as f64 / of.len() as f64;
        let (first, later, p50) = (mean(&conflicts[..3]), mean(&conflicts[ROUNDS..]), median(times[ROUNDS..].to_vec()));
        println!(
            "{standbys} standbys, all slow: {first:.1} conflicts at first, {later:.1} later; p50 {} ms",
            p50 / MILLISECOND
        );
        assert!(later <= conflicts_max, "{conflicts:?}");
        assert!(p50 <= p50_max, "{p50} ns");
    }
}

#[test]
fn a_store_that_comes_back_is_not_asked_by_all_standbys_at_once() {
    let standbys = 100;
    let mut crowd = Crowd::new(standbys + 1, 1, 9);
    crowd.store_goes_away();
    // Short enough that the leader still is one.
    crowd.run_for(5 * SECOND);
    crowd.up = true;
    crowd.asked = Asked::default();
    crowd.run_for(10 * SECOND);
    assert!(crowd.members.iter().all(|member| member.watches), "every watch is back");
    let busiest = crowd.asked.by_tenth.values().max().copied().unwrap_or_default();
    println!(
        "{standbys} standbys, in 10 s after an outage of 5 s: {} requests, at most {busiest} in 0.1 s",
        crowd.asked.all()
    );
    // A list each; reads until then; the leader's renewals.
    assert!(crowd.asked.all() <= 5 * standbys, "{:?}", crowd.asked);
    assert!(busiest <= standbys / 5, "{busiest} requests in a tenth of a second");
}
