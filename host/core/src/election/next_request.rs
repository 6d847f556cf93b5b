//! What is to be asked of the store next, and when.

use crate::{
    lease::{LeaseRecord, Observation},
    time::{BootTime, WallTime},
};

use super::{Election, Leading, Request};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Read,
    Acquire,
    Renew,
    Release,
}

impl Election {
    /// The earliest time at which this replica may write itself as the holder.
    fn may_take_at(&self) -> Option<BootTime> {
        let known = self.known.as_ref()?;
        if !self.may_be_taken_by_me(&known.observation) {
            return None;
        }
        if known.observation.record().is_some_and(|record| self.other_task(record).is_some()) {
            return None;
        }
        Some(known.take_at().max(self.displaced_until).max(self.out_until.unwrap_or(BootTime::ZERO)))
    }

    /// What is to be asked next, and when, provided nothing is under way.
    pub(super) fn next_request(&self) -> Option<(BootTime, Want)> {
        let write = |at: BootTime, want| (at.max(self.contended_until.unwrap_or(BootTime::ZERO)), want);
        let (at, want) = match self.leading() {
            _ if let Some(at) = self.must_read_at => (at, Want::Read),
            Some(Leading { releasing: true, .. }) if !self.may_release() => return None,
            Some(Leading { releasing: true, .. }) => write(BootTime::ZERO, Want::Release),
            Some(leading) => {
                let renewal = leading.written_at + leading.renew_after;
                let asked_for = [leading.calls.due(), leading.refusal.due(&self.modules)];
                write(asked_for.into_iter().flatten().fold(renewal, BootTime::min), Want::Renew)
            }
            None if self.withdraw_by.is_some() => match self.holder() == Some(&self.config.identity) {
                true => write(self.displaced_until, Want::Release),
                false => return None,
            },
            // Picked for what it has left.
            None if self.was_named_in_vain() => write(self.displaced_until, Want::Release),
            None => {
                let take = self.may_take_at().map(|at| write(at, Want::Acquire));
                let poll = self.poll_at.map(|at| (at, Want::Read));
                [take, poll].into_iter().flatten().min_by_key(|(at, _)| *at)?
            }
        };
        Some((at.max(self.quiet_until), want))
    }

    pub(super) fn request(&self, want: Want, stamp: WallTime) -> Request {
        let known = self.known.as_ref().map(|known| &known.observation);
        let (based_on, previous) = match known {
            Some(Observation::Present { version, record }) => (Some(*version), record.clone()),
            Some(Observation::Missing { .. }) | None => (None, LeaseRecord::default()),
        };
        let mine = previous.holder.as_deref() == Some(&*self.config.identity);
        let written = LeaseRecord {
            holder: Some(self.config.identity.clone()),
            duration: Some(self.config.timing.lease()),
            task: Some(self.config.task.clone()),
            renewed: Some(stamp),
            ..previous.clone()
        };
        let record = match want {
            Want::Read => return Request::Read,
            Want::Acquire => LeaseRecord {
                acquired: Some(stamp),
                token: None,
                // To this process, which has not stepped down since: then it still is to.
                step_down: previous
                    .step_down
                    .clone()
                    .filter(|asked| mine && self.out_until.is_none() && *asked == self.config.identity),
                // As client-go counts: only a change of the holder, and not the first.
                transitions: previous.transitions.saturating_add(u32::from(!mine && based_on.is_some())),
                modules: self.modules_to_begin_with(*previous.modules).into(),
                ..written
            },
            Want::Renew => LeaseRecord {
                token: self.leading().map(|leading| leading.term.token),
                checkpoint: self.to_be_saved().or(previous.checkpoint),
                modules: self.modules.clone().into(),
                ..written
            },
            Want::Release => LeaseRecord {
                holder: None,
                step_down: None,
                modules: if self.leading().is_some() { self.modules.clone().into() } else { previous.modules },
                ..written
            },
        };
        Request::Write { based_on, record }
    }

    pub(super) fn other_task<'a>(&self, record: &'a LeaseRecord) -> Option<&'a str> {
        record.task.as_deref().filter(|task| !self.config.adopt && *task != self.config.task)
    }
}

/// `wall`, or later, where the clock stands still or was set back a little: standbys tell a renewal
/// by its differing from all that they may have seen of this process before. A clock that was set
/// back further is followed, because other electors compare what was written with their own clocks.
pub(super) fn differing_from(last: Option<WallTime>, wall: WallTime) -> WallTime {
    const FOLLOWED_FROM_MICROS: i64 = 1_000_000;
    match last.map(|last| last.as_micros()) {
        Some(last) if (0..FOLLOWED_FROM_MICROS).contains(&last.saturating_sub(wall.as_micros())) => {
            WallTime::from_micros(last.saturating_add(1))
        }
        _ => wall,
    }
}
