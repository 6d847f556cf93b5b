//! Reads a history from its beginning, and says what must not have been.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use crate::{
    history::{Entry, Sent, What},
    permissions::Permissions,
};

/// So many calls an application may have under way into a network that holds them back: one gives up after 400 ms, and the
/// permission is over after 2 s. (Each is sent for as long as it was permitted: that is judged apart.)
const HELD_MAX: usize = 6;

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) violations: Vec<String>,
    pub(crate) found: Found,
    /// In the order in which they were done.
    pub(crate) faults: Vec<FaultTold>,
}

/// What there was.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) acked: usize,
    pub(crate) sent: usize,
    pub(crate) sent_again: usize,
    /// Terms in which something was sent, by another process than in the one before.
    pub(crate) handovers: usize,
    pub(crate) terms: usize,
    pub(crate) stops: usize,
    /// Sent by one that was stopped when it had just looked at its permission, and refused.
    pub(crate) late: usize,
    /// Sent into a network that held it back until another one was active, and refused.
    pub(crate) held: usize,
    /// Permissions given, renewals among them.
    pub(crate) granted: usize,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} numbers produced, {} records sent, {} of them again; {} terms, {} handovers, {} permissions; {} stopped, \
             {} late and refused; {} held back and refused",
            self.acked,
            self.sent,
            self.sent_again,
            self.terms,
            self.handovers,
            self.granted,
            self.stops,
            self.late,
            self.held
        )
    }
}

/// What one fault led to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FaultTold {
    /// The longest time without a record, until another process was active.
    pub(crate) gap: Duration,
    /// Of what was sent since the fault before was over, and until this one was.
    pub(crate) sent_again: usize,
}

#[derive(Default)]
struct Partition {
    /// The one that has to come next.
    next: u64,
    committed: u64,
    /// By their offsets; and during or before which fault each was sent last.
    numbers: BTreeMap<u64, (u64, usize)>,
}

#[derive(Default)]
struct Judge {
    verdict: Verdict,
    partitions: BTreeMap<u32, Partition>,
    /// Whose term each token is: the replica, without the number of its process.
    owners: BTreeMap<u64, String>,
    highest: Option<Sent>,
    at_work: Vec<Sent>,
    /// Those that go on and have sent nothing since.
    gone_on: BTreeSet<String>,
    /// What may still come of what their networks have held back.
    held: BTreeMap<String, usize>,
    permissions: Permissions,
    last_sent: Option<Duration>,
    /// Another process is not active yet.
    at_fault: bool,
}

/// All of it, after the end of everybody.
pub(crate) fn judge(entries: &[Entry]) -> Verdict {
    let mut judge = Judge::default();
    for Entry { at, what } in entries {
        judge.hears(*at, what);
    }
    judge.compares_with_what_was_acked(entries);
    judge.verdict.violations.extend(judge.permissions.violations());
    judge.verdict
}

impl Judge {
    fn hears(&mut self, at: Duration, what: &What) {
        match what {
            What::Begun(sent) => self.begun(at, sent),
            What::Done(sent) => self.at_work.retain(|other| other != sent),
            What::Committed { partition, next, .. } => {
                let committed = &mut self.partitions.entry(*partition).or_default().committed;
                if *next < *committed {
                    let violation = format!("partition {partition}: committed {next} after {committed}");
                    self.verdict.violations.push(violation);
                }
                *committed = (*committed).max(*next);
            }
            What::Acked { .. } => self.verdict.found.acked += 1,
            What::Fault { .. } => {
                self.verdict.faults.push(FaultTold::default());
                self.at_fault = true;
            }
            What::Over => self.at_fault = false,
            What::Stopped { process } => {
                self.gone_on.remove(process);
                self.verdict.found.stops += 1;
            }
            What::GoesOn { process } => {
                self.gone_on.insert(process.clone());
            }
            What::Reconnected { process } => {
                self.held.insert(process.clone(), HELD_MAX);
            }
            What::Killed { process } => self.permissions.ends(process, at),
            What::Withdrawn { process, at } => self.permissions.ends(process, *at),
            What::Left { .. } => {}
            What::Granted { process, token, at, until } => {
                self.verdict.found.granted += 1;
                self.permissions.granted(process, *token, *at, *until);
            }
        }
    }

    fn begun(&mut self, at: Duration, sent: &Sent) {
        self.permissions.used(&sent.process, sent.token);
        let replica = sent.process.split('-').next().unwrap_or_default();
        let owner = self.owners.entry(sent.token).or_insert_with(|| replica.to_owned());
        if owner != replica {
            let violation = format!("{sent:?} has the token of {owner}");
            self.verdict.violations.push(violation);
        }
        let goes_on = self.gone_on.remove(&sent.process);
        let stale = self.highest.as_ref().is_some_and(|highest| sent.token < highest.token);
        if stale == sent.taken {
            self.verdict.violations.push(format!("{sent:?} after {:?}", self.highest));
        }
        if stale {
            // Stopped between its look at the permission and the call behind it. It finishes that one call; the token is
            // what that is for.
            self.verdict.found.late += usize::from(goes_on);
            let held = !goes_on && self.was_held(&sent.process);
            self.verdict.found.held += usize::from(held);
            if !goes_on && !held {
                self.verdict.violations.push(format!("two are active: {sent:?} after {:?}", self.highest));
            }
            return;
        }
        if let Some(other) = self.at_work.iter().find(|other| other.token != sent.token) {
            self.verdict.violations.push(format!("two are active: {sent:?} while {other:?} is not done"));
        }
        self.at_work.push(sent.clone());
        self.counts_terms(sent);
        self.follows(sent);
        if let (true, Some(fault), Some(last)) = (self.at_fault, self.verdict.faults.last_mut(), self.last_sent) {
            fault.gap = fault.gap.max(at.saturating_sub(last));
        }
        self.last_sent = Some(at);
    }

    fn was_held(&mut self, process: &str) -> bool {
        let left = self.held.get_mut(process).filter(|left| **left > 0);
        left.is_some_and(|left| {
            *left -= 1;
            true
        })
    }

    fn counts_terms(&mut self, sent: &Sent) {
        let found = &mut self.verdict.found;
        found.sent += 1;
        let before = self.highest.replace(sent.clone());
        if before.as_ref().is_none_or(|before| before.token < sent.token) {
            found.terms += 1;
            found.handovers += usize::from(before.is_some_and(|before| before.process != sent.process));
        }
    }

    /// In a partition one follows the other; again comes only what no commit is known of.
    fn follows(&mut self, sent: &Sent) {
        let partition = self.partitions.entry(sent.partition).or_default();
        let violations = &mut self.verdict.violations;
        if sent.offset > partition.next {
            violations.push(format!("{sent:?} comes before {}: lost, or out of order", partition.next));
        }
        if sent.offset < partition.committed {
            violations.push(format!("{sent:?} is sent again, though {} was committed", partition.committed));
        }
        partition.next = sent.offset + 1;
        let before = partition.numbers.range(..sent.offset).next_back().map(|(_, (number, _))| *number);
        if before.is_some_and(|before| before >= sent.number) {
            violations.push(format!("{sent:?} comes after the number {before:?}"));
        }
        let faults = &mut self.verdict.faults;
        let fault = faults.len() - usize::from(self.at_fault);
        if let Some((number, fault)) = partition.numbers.insert(sent.offset, (sent.number, fault)) {
            if number != sent.number {
                violations.push(format!("{sent:?} was {number} before"));
            }
            self.verdict.found.sent_again += 1;
            if let Some(told) = faults.get_mut(fault) {
                told.sent_again += 1;
            }
        }
    }

    fn compares_with_what_was_acked(&mut self, entries: &[Entry]) {
        for entry in entries {
            let What::Acked { number, partition, offset } = entry.what else { continue };
            let sent = self.partitions.get(&partition).and_then(|partition| partition.numbers.get(&offset));
            if sent.map(|(number, _)| *number) != Some(number) {
                let violation = format!("{number}, at {offset} of partition {partition}, is lost; there was {sent:?}");
                self.verdict.violations.push(violation);
            }
        }
    }
}
