//! Who leads, as an application is told: pure, from a task's state and what is left of two times.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::report::tasks::{Role, TaskState, TermState};

/// Who leads, as far as this replica can say at one time. Two that are equal are the same news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leader {
    /// This replica, and work may be done.
    Own(Term),
    /// This replica, until its term's bound; but it is about to end, for this reason, and so is the work.
    Ending(Term, String),
    /// Another one, of this identity.
    Other(String),
    /// It is not certain that anybody does, and why.
    Uncertain(String),
}

/// This replica's term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Term {
    token: u64,
    since: Timestamp,
}

impl Leader {
    /// `certain`: how long this replica's term is; `believed`: how long another holder may lead without being seen to
    /// renew.
    pub(super) fn of(state: &TaskState, certain: Duration, believed: Duration) -> Self {
        if let Some(TermState { token, since, ending, .. }) = &state.term {
            let term = Term { token: *token, since: *since };
            return match ending {
                _ if certain.is_zero() => Self::Uncertain("this replica's term is over".to_owned()),
                Some(reason) => Self::Ending(term, reason.clone()),
                None => Self::Own(term),
            };
        }
        let unsure = state.holder_unsure.as_deref();
        match (&state.holder, state.role) {
            (_, Role::OtherTask) => Self::Uncertain("the Lease is marked as another task's".to_owned()),
            // An earlier term of this very process.
            (Some(holder), _) if Some(holder) == state.identity.as_ref() => {
                Self::Uncertain("this replica's term is over".to_owned())
            }
            (Some(holder), _) if believed.is_zero() => Self::Uncertain(match unsure {
                None => format!("{holder} holds the Lease, and has not renewed it in time"),
                Some(why) => format!("{holder} held the Lease when it was last seen, which is too long ago: {why}"),
            }),
            (Some(holder), _) => Self::Other(holder.clone()),
            (None, Role::Starting) => Self::Uncertain("this replica does not compete yet".to_owned()),
            (None, _) => Self::Uncertain(match unsure {
                None => "nobody holds the Lease".to_owned(),
                Some(why) => format!("nobody is known to hold the Lease: {why}"),
            }),
        }
    }
}

/// [`Leader`], as it is answered.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// Names the news: it grows with each, over restarts of this process as well.
    pub(super) version: u64,
    pub(super) leader: Leader,
    /// When it became so.
    pub(super) since: Timestamp,
    pub(super) task: String,
    pub(super) lease: String,
    pub(super) namespace: Option<String>,
    /// This replica's.
    pub(super) identity: Option<String>,
    /// What is left of the own term.
    pub(super) certain: Duration,
}

/// What the sidecars before had.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Name<'a> {
    name: &'a str,
    last_update: Timestamp,
}

/// All there is. Every field is always there. Fields may be added.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Whole<'a> {
    version: u64,
    task: &'a str,
    lease: &'a str,
    namespace: Option<&'a str>,
    identity: Option<&'a str>,
    /// Whether work may be done here.
    leading: bool,
    leader: Option<&'a str>,
    /// As `/` has it, but null where that is empty.
    name: Option<&'a str>,
    token: Option<u64>,
    since: Option<Timestamp>,
    certain_for_ms: Option<u64>,
    ending: Option<&'a str>,
    why: Option<&'a str>,
}

impl Answer {
    pub(super) fn is_leader(&self) -> bool {
        matches!(self.leader, Leader::Own(_))
    }

    pub(super) fn name(&self) -> Name<'_> {
        // Whole seconds, as those before had: what parses it may take nothing else.
        let last_update = Timestamp::from_second(self.since.as_second()).unwrap_or(self.since);
        Name { name: self.leaders_name().unwrap_or_default(), last_update }
    }

    pub(super) fn whole(&self) -> Whole<'_> {
        let term = match &self.leader {
            Leader::Own(term) | Leader::Ending(term, _) => Some(term),
            Leader::Other(_) | Leader::Uncertain(_) => None,
        };
        Whole {
            version: self.version,
            task: &self.task,
            lease: &self.lease,
            namespace: self.namespace.as_deref(),
            identity: self.identity.as_deref(),
            leading: self.is_leader(),
            leader: self.leaders_identity(),
            name: self.leaders_name(),
            token: term.map(|term| term.token),
            since: term.map(|term| term.since),
            certain_for_ms: term.map(|_| u64::try_from(self.certain.as_millis()).unwrap_or(u64::MAX)),
            ending: match &self.leader {
                Leader::Ending(_, reason) => Some(reason),
                _ => None,
            },
            why: match &self.leader {
                Leader::Uncertain(why) => Some(why),
                _ => None,
            },
        }
    }

    fn leaders_identity(&self) -> Option<&str> {
        match &self.leader {
            Leader::Own(_) => self.identity.as_deref(),
            Leader::Other(identity) => Some(identity),
            Leader::Ending(..) | Leader::Uncertain(_) => None,
        }
    }

    /// What an application compares with its hostname: the Pod's name.
    ///
    /// Another holder that has this replica's own name is an earlier boot of its container: to give it would tell this
    /// Pod's application that it leads.
    fn leaders_name(&self) -> Option<&str> {
        let name = pod_name(self.leaders_identity()?);
        let own = self.identity.as_deref().map(pod_name);
        (self.is_leader() || own != Some(name)).then_some(name)
    }
}

/// An identity is the Pod's name, `_` and a nonce; no Pod's name has a `_` in it.
fn pod_name(identity: &str) -> &str {
    identity.rsplit_once('_').map_or(identity, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn state(change: impl FnOnce(&mut TaskState)) -> TaskState {
        let mut state = TaskState::starting("nightly", "night");
        (state.role, state.identity) = (Role::Standby, Some("pod-1_0a".to_owned()));
        change(&mut state);
        state
    }

    fn leading(ending: Option<&str>) -> TaskState {
        let ending = ending.map(str::to_owned);
        state(|state| {
            (state.role, state.holder) = (Role::Leading, state.identity.clone());
            state.term = Some(TermState { token: 7, since: Timestamp::UNIX_EPOCH, step_down_requested: false, ending });
        })
    }

    fn held_by(holder: &str) -> TaskState {
        state(|state| state.holder = Some(holder.to_owned()))
    }

    fn answer(state: &TaskState, certain: Duration, believed: Duration) -> Answer {
        Answer {
            version: 1,
            leader: Leader::of(state, certain, believed),
            since: Timestamp::UNIX_EPOCH,
            task: state.name.clone(),
            lease: state.lease.clone(),
            namespace: state.namespace.clone(),
            identity: state.identity.clone(),
            certain,
        }
    }

    #[test]
    fn a_leader_is_named_by_its_pod_while_its_term_is_certain_and_not_at_its_bound() {
        let leads = answer(&leading(None), SECOND, Duration::ZERO);
        assert_eq!((leads.is_leader(), leads.name().name), (true, "pod-1"));
        let whole = leads.whole();
        assert_eq!((whole.leader, whole.token, whole.certain_for_ms), (Some("pod-1_0a"), Some(7), Some(1000)));
        let over = answer(&leading(None), Duration::ZERO, Duration::ZERO);
        assert_eq!((over.is_leader(), over.name().name, over.whole().token), (false, "", None));
        assert!(over.whole().why.is_some_and(|why| why.contains("over")));
    }

    #[test]
    fn a_term_that_is_to_end_is_no_leadership_but_says_how_long_there_is_to_finish() {
        let ends = answer(&leading(Some("shutdown")), SECOND, Duration::ZERO);
        let whole = ends.whole();
        assert_eq!((whole.leading, whole.name, whole.leader), (false, None, None));
        assert_eq!((whole.ending, whole.token, whole.certain_for_ms), (Some("shutdown"), Some(7), Some(1000)));
    }

    #[test]
    fn another_leader_is_named_until_its_record_has_run_out() {
        let stands = answer(&held_by("pod-2_0b"), Duration::ZERO, SECOND);
        assert_eq!((stands.is_leader(), stands.name().name), (false, "pod-2"));
        assert_eq!(stands.whole().leader, Some("pod-2_0b"));
        let silent = answer(&held_by("pod-2_0b"), Duration::ZERO, Duration::ZERO);
        assert_eq!(silent.name().name, "");
        assert!(silent.whole().why.is_some_and(|why| why.contains("pod-2_0b") && why.contains("not renewed")));
        let blind = TaskState { holder_unsure: Some("no route".to_owned()), ..held_by("pod-2_0b") };
        assert!(answer(&blind, Duration::ZERO, Duration::ZERO).whole().why.is_some_and(|why| why.contains("no route")));
    }

    /// Otherwise the application of a Pod whose container was started again would take itself for the leader.
    #[test]
    fn an_earlier_boot_of_this_pod_is_told_of_by_its_identity_and_never_by_its_name() {
        let earlier = answer(&held_by("pod-1_ff"), Duration::ZERO, SECOND);
        assert_eq!((earlier.name().name, earlier.whole().name), ("", None));
        assert_eq!((earlier.is_leader(), earlier.whole().leader), (false, Some("pod-1_ff")));
        let own = answer(&held_by("pod-1_0a"), Duration::ZERO, SECOND);
        assert_eq!((own.name().name, own.whole().leader), ("", None));
    }

    #[test]
    fn what_is_not_known_is_said() {
        for (state, why) in [
            (state(|_| {}), "nobody holds"),
            (state(|state| state.role = Role::Starting), "not compete yet"),
            (state(|state| state.role = Role::OtherTask), "another task's"),
            (state(|state| state.holder_unsure = Some("no route".to_owned())), "no route"),
        ] {
            let answer = answer(&state, Duration::ZERO, SECOND);
            assert_eq!(answer.name().name, "");
            assert!(answer.whole().why.is_some_and(|said| said.contains(why)), "{answer:?}");
        }
    }

    #[test]
    fn the_old_form_has_two_fields_and_whole_seconds() {
        let answer = Answer {
            since: "2026-11-21T10:59:58.4Z".parse().expect("a time"),
            ..answer(&leading(None), SECOND, Duration::ZERO)
        };
        let text = serde_json::to_string(&answer.name()).expect("JSON");
        assert_eq!(text, r#"{"name":"pod-1","last_update":"2026-11-21T10:59:58Z"}"#);
    }

    #[test]
    fn another_electors_identity_is_taken_as_it_is() {
        assert_eq!(pod_name("some-controller"), "some-controller");
        assert_eq!(pod_name("pod-1_1f0c7a52-7c3d-4f6e-9a54-0e4b1b0c9a11"), "pod-1");
    }
}
