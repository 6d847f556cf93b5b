//! Has Leasehold kept its promise? What the processes said, held against what stood on the Lease.
//!
//! Two things are never allowed:
//! - that Leasehold takes the Lease from somebody whose record has not run out, counted from before
//!   the holder's last write was sent to when ours was;
//! - that a guest's term overlaps the leadership of anybody else, by their own word.
//!
//! Electors that lead on after they have given the Lease up, lost it to a third one, or not renewed
//! it for its whole duration, overlap with whoever leads then (`anchors` of the others, in
//! tests/peers/README.md). That is theirs: told, counted, and shown by the Lease itself, version by version.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{
    history::{Version, is_of},
    lives::{Life, Micros, Span},
    peers::Kind,
};

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Leasehold's failures.
    pub(crate) violations: Vec<String>,
    /// Other electors' failures, each beside a Leasehold that did right.
    pub(crate) theirs: Vec<String>,
    /// Two that led at once, neither of them Leasehold.
    pub(crate) among_others: BTreeMap<(Kind, Kind), usize>,
    /// From whom to whom the lead went, however it did.
    pub(crate) handovers: BTreeMap<(Kind, Kind), usize>,
    /// How often and how long each kind led.
    pub(crate) led: BTreeMap<Kind, (usize, Duration)>,
}

/// Versions of the Lease in a row with the same holder.
#[derive(Clone, Debug)]
struct Run<'a> {
    /// The index of each in the history.
    first: usize,
    last: usize,
    holder: &'a str,
}

pub(crate) fn judge(lives: &[Life], history: &[Version], lease: Duration) -> Verdict {
    let case = Case { lives, history, runs: runs(history), lease };
    let mut verdict = Verdict::default();
    case.judge_takeovers(&mut verdict);
    case.judge_overlaps(&mut verdict);
    case.count(&mut verdict);
    verdict
}

struct Case<'a> {
    lives: &'a [Life],
    history: &'a [Version],
    runs: Vec<Run<'a>>,
    /// What a record without a duration is worth.
    lease: Duration,
}

fn runs(history: &[Version]) -> Vec<Run<'_>> {
    let mut runs: Vec<Run<'_>> = Vec::new();
    for (index, version) in history.iter().enumerate() {
        let Some(holder) = version.holder.as_deref() else { continue };
        match runs.last_mut() {
            Some(run) if run.holder == holder && run.last + 1 == index => run.last = index,
            _ => runs.push(Run { first: index, last: index, holder }),
        }
    }
    runs
}

impl Case<'_> {
    fn life_of(&self, identity: &str) -> Option<&Life> {
        self.lives.iter().find(|life| is_of(identity, &life.name))
    }

    fn judge_takeovers(&self, verdict: &mut Verdict) {
        for run in &self.runs {
            let Some(taker) = self.life_of(run.holder) else {
                verdict.violations.push(format!("nobody knows the holder {}", run.holder));
                continue;
            };
            if let Some(early) = self.taken_early(run)
                && taker.kind == Kind::Leasehold
            {
                verdict.violations.push(early);
            }
        }
    }

    /// Says so where the run began before the record of the holder before it had run out.
    fn taken_early(&self, run: &Run<'_>) -> Option<String> {
        let previous = &self.history[run.first.checked_sub(1)?];
        let holder = previous.holder.as_deref()?;
        let taken = &self.history[run.first];
        let taken_at = taken.acquired.or_else(|| self.began_to_acquire(run.holder, Micros::MAX))?;
        let written_at = self.written_at(previous, holder, taken_at)?;
        let duration = previous.duration.unwrap_or(self.lease);
        let left = written_at + micros(duration) - taken_at;
        (left > 0).then(|| {
            let (number, by) = (taken.number, run.holder);
            format!("{by} took the Lease from {holder} in version {number}, {left} us before it had run out")
        })
    }

    /// When the holder sent its last write, or a little before.
    fn written_at(&self, version: &Version, holder: &str, before: Micros) -> Option<Micros> {
        match self.life_of(holder)?.kind {
            // What stands there may be of whoever held it before.
            Kind::Naive => self.began_to_acquire(holder, before),
            _ => version.renewed,
        }
    }

    fn began_to_acquire(&self, identity: &str, before: Micros) -> Option<Micros> {
        let events = &self.life_of(identity)?.events;
        let began = events.iter().filter(|event| event.name() == "acquiring" && event.at_micros <= before);
        began.map(|event| event.at_micros).max()
    }

    fn judge_overlaps(&self, verdict: &mut Verdict) {
        let spans: Vec<_> = self.lives.iter().flat_map(Life::spans).collect();
        for (index, one) in spans.iter().enumerate() {
            for other in &spans[..index] {
                let by = one.overlap(other);
                if by <= 0 || one.name == other.name {
                    continue;
                }
                match (one.kind, other.kind) {
                    (Kind::Leasehold, Kind::Leasehold) => {
                        verdict.violations.push(format!("{one} and {other} overlap by {by} us"));
                    }
                    (Kind::Leasehold, _) => self.judge_overlap(one, other, by, verdict),
                    (_, Kind::Leasehold) => self.judge_overlap(other, one, by, verdict),
                    (one, other) => {
                        *verdict.among_others.entry((one.min(other), one.max(other))).or_default() += 1;
                    }
                }
            }
        }
    }

    fn judge_overlap(&self, ours: &Span, theirs: &Span, by: Micros, verdict: &mut Verdict) {
        let what = format!("{theirs} led for {by} us beside {ours}");
        match self.fault_of(ours, theirs) {
            Ok(fault) => verdict.theirs.push(format!("{what}: it {fault}")),
            Err(fault) => verdict.violations.push(format!("{what}: {fault}")),
        }
    }

    /// What the other did wrong, or what Leasehold did.
    fn fault_of(&self, ours: &Span, theirs: &Span) -> Result<String, String> {
        let runs = self.runs.iter().enumerate().filter(|(_, run)| is_of(run.holder, &theirs.name));
        let (index, run) = runs.clone().nth(theirs.term).ok_or("it never stood on the Lease")?;
        let token = ours.token.ok_or("Leasehold led without a token")?;
        if self.history[run.first].number > token {
            // They came after us.
            return match self.taken_early(run) {
                Some(early) => Ok(format!("did not wait: {early}")),
                None => Err("Leasehold led on when its term was over".to_owned()),
            };
        }
        let next = self.history.get(run.last + 1).filter(|next| next.number <= token);
        let next = next.ok_or("it held the Lease all the time")?;
        let Some(taker) = next.holder.as_deref() else {
            return Ok(format!("had given the Lease up in version {}", next.number));
        };
        if self.life_of(taker).is_some_and(|life| life.kind != Kind::Leasehold) {
            return Ok(format!("had lost it to {taker} in version {}", next.number));
        }
        match self.taken_early(&self.runs[index + 1]) {
            Some(early) => Err(early),
            None => Ok(format!("had not renewed it for a whole duration when {taker} took it")),
        }
    }

    fn count(&self, verdict: &mut Verdict) {
        for span in self.lives.iter().flat_map(Life::spans) {
            let (times, time) = verdict.led.entry(span.kind).or_default();
            *times += 1;
            *time += Duration::from_micros(u64::try_from(span.to - span.from).unwrap_or(0));
        }
        for pair in self.runs.windows(2) {
            if let (Some(from), Some(to)) = (self.life_of(pair[0].holder), self.life_of(pair[1].holder)) {
                *verdict.handovers.entry((from.kind, to.kind)).or_default() += 1;
            }
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.map_or(String::new(), |token| format!(" (token {token})"));
        write!(f, "{}{token}", self.name)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "led (times, seconds in all); below, from each to each (how often the lead went so)")?;
        for kind in Kind::ALL {
            let (times, time) = self.led.get(&kind).copied().unwrap_or_default();
            write!(f, "  {kind:<9} {times:>4} {:>7.1} |", time.as_secs_f64())?;
            for to in Kind::ALL {
                write!(f, " {:>4} to {to}", self.handovers.get(&(kind, to)).copied().unwrap_or(0))?;
            }
            writeln!(f)?;
        }
        for ((one, other), times) in &self.among_others {
            writeln!(f, "  among the others, {one} and {other} led at once {times} times")?;
        }
        self.theirs.iter().try_for_each(|theirs| writeln!(f, "  theirs: {theirs}"))?;
        self.violations.iter().try_for_each(|violation| writeln!(f, "  VIOLATED: {violation}"))
    }
}

pub(crate) fn micros(duration: Duration) -> Micros {
    i64::try_from(duration.as_micros()).expect("not centuries")
}
