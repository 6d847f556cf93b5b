//! A permission that ends when a part of a batch is sent, and is renewed before the commit of that part is answered: the
//! application has to come back to the rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use leasehold_tests::{host_process::PATIENCE, network::Weather};

use crate::{
    history::{Entry, What},
    replica::{Fault, silence},
    world::World,
};

/// What the application takes at a time (`ActiveConsumer.BATCH`), where there is as much.
const BATCH: usize = 50;
/// So long before its permission ends, an application is cut off from the broker: what it commits then is answered later.
const AHEAD: Duration = Duration::from_millis(40);

impl World {
    /// Does it to whoever is active, until it has come out like this. Returns who that was.
    pub(crate) fn permission_lapses(&mut self, mut index: usize) -> usize {
        let history = self.common.history.clone();
        let process = self.replicas[index].process();
        history.note(What::Fault { name: Fault::PermissionLapses.to_string(), process });
        history.is_slow(true);
        let begun = Instant::now();
        loop {
            let process = self.replicas[index].process();
            self.wait_for("there are some batches to consume", |_| {
                (history.look(not_consumed) > 6 * BATCH).then_some(())
            });
            self.replicas[index].does(Fault::PermissionLapses, &self.common);
            let ways = &self.replicas[index].ways;
            let end = self.wait_for("its permission is about to end", |_| {
                let end = history.look(|entries| permitted_until(entries, &process))?;
                (history.now() + AHEAD >= end).then_some(end)
            });
            let before = history.look(<[Entry]>::len);
            silence(&[&ways.to_broker]);
            self.wait_for("its permission is over", |_| (history.now() > end).then_some(()));
            ways.to_application.set(Weather::default());
            self.wait_for("somebody is permitted again", |_| {
                history.look(|entries| is_permitted_after(entries, end)).then_some(())
            });
            ways.to_broker.set(Weather::default());
            let caught = self.wait_for("the commit is answered", |_| {
                history.look(|entries| is_caught(&entries[before..], end, &process))
            });
            if caught {
                let commit = history.look(<[Entry]>::len);
                self.wait_for("the rest comes", |_| {
                    let begun = |entry: &Entry| matches!(entry.what, What::Begun(_));
                    history.look(|entries| entries[commit..].iter().any(begun)).then_some(())
                });
                history.is_slow(false);
                return index;
            }
            assert!(begun.elapsed() < PATIENCE, "no permission has ended in mid-batch:\n{}", self.last_lines());
            index = self.wait_for("somebody is active", Self::active);
        }
    }
}

/// How many records there are that were not sent yet.
fn not_consumed(entries: &[Entry]) -> usize {
    let mut there = 0;
    let mut sent = BTreeSet::new();
    for entry in entries {
        match &entry.what {
            What::Acked { .. } => there += 1,
            What::Begun(record) => drop(sent.insert((record.partition, record.offset))),
            _ => {}
        }
    }
    // What the producer does not know of yet may be sent already.
    usize::saturating_sub(there, sent.len())
}

fn permitted_until(entries: &[Entry], of: &str) -> Option<Duration> {
    entries.iter().rev().find_map(|entry| match &entry.what {
        What::Granted { process, until, .. } if process == of => Some(*until),
        _ => None,
    })
}

fn is_permitted_after(entries: &[Entry], end: Duration) -> bool {
    entries.iter().rev().any(|entry| matches!(entry.what, What::Granted { at, until, .. } if at > end && until > at))
}

/// Whether a rest was left, the permission renewed, and only then the commit answered; or whether a record is left out.
/// None while that is not known.
fn is_caught(entries: &[Entry], end: Duration, of: &str) -> Option<bool> {
    let (mut left, mut renewed, mut records) = (false, false, 0);
    let mut next = BTreeMap::new();
    for entry in entries {
        match &entry.what {
            What::Left { process } if process == of => left = true,
            What::Granted { process, at, until, .. } if process == of && left && *at > end && until > at => {
                renewed = true
            }
            What::Committed { process, .. } if process == of && left => return Some(renewed),
            What::Begun(sent) => {
                records += 1;
                let last = next.insert(sent.partition, sent.offset + 1);
                if last.is_some_and(|next| sent.offset > next) {
                    return Some(true);
                }
            }
            _ => {}
        }
    }
    (records > 2 * BATCH).then_some(false)
}
