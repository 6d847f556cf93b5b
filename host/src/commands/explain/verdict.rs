//! What state a Lease is in, and what a person may do about it. It says what follows from the facts, and where something
//! does not follow, that.

use jiff::Timestamp;

use super::facts::{Asked, Candidate, Event, Facts, HolderPod, PodSeen};
use crate::commands::status::{
    lease::{LeaseStatus, State},
    table::{age, printable},
};

/// Whoever competes tries again within seconds (`retryPeriod`); after so long, in seconds, nobody has.
const TAKEN_WITHIN: f64 = 10.0;
/// For how long, in seconds, a replica that has stepped down lets others go first.
const STAYS_OUT: f64 = 30.0;
/// A duration that is longer is not believed by Leasehold (invariant 8).
const BELIEVED_SECONDS_MAX: u64 = 300;

/// In words.
pub(super) fn of(facts: &Facts, now: Timestamp) -> String {
    let Some(lease) = &facts.lease else {
        return "there is no such Lease now, only Events of one that was deleted. Whoever competes for it waits until the \
                deleted one would have run out, and makes it again, where its Role allows `create`; or make it yourself (a \
                Lease without a holder is enough)."
            .to_owned();
    };
    let status = lease.at(now);
    let case = Case { facts, status: &status, runs_out: lease.runs_out(), now };
    let mut sentences = match status.state {
        _ if status.problem.is_some() => vec![
            "it does not say what a Lease says, and nobody can compete for it. Put right what is named above, or delete it."
                .to_owned(),
        ],
        State::Free => case.free(),
        State::Held => case.held(),
        State::Expired => case.expired(),
        State::Unknown => case.unknown(),
    };
    sentences.extend(case.beside());
    sentences.join(" ")
}

struct Case<'a> {
    facts: &'a Facts,
    status: &'a LeaseStatus,
    runs_out: Option<Timestamp>,
    now: Timestamp,
}

impl Case<'_> {
    fn holder(&self) -> String {
        self.status.holder.as_deref().map_or_else(|| "nobody".to_owned(), printable)
    }

    fn is_leaseholds(&self) -> bool {
        self.status.task.is_some()
    }

    fn name(&self) -> String {
        format!("{} -n {}", self.facts.name, self.facts.namespace)
    }

    fn free(&self) -> Vec<String> {
        let since = self.status.renewed_seconds_ago;
        let mut sentences = vec![match since {
            Some(since) => format!("nobody holds it, since {} ago.", age(since)),
            None => "nobody has held it since it was made.".to_owned(),
        }];
        if let Some(candidates) = &self.facts.candidates {
            sentences.push(of_candidates(candidates));
            return sentences;
        }
        let stepped_down = self.last_event("StoppedLeading").filter(|event| event.message.contains("stepped-down"));
        let out =
            stepped_down.map(|event| self.now.duration_since(event.at).as_secs_f64()).filter(|out| *out < STAYS_OUT);
        match out {
            Some(out) => sentences.push(format!(
                "The last holder has stepped down and lets others go first for {} more: no other replica has taken it yet.",
                age(STAYS_OUT - out)
            )),
            None if since.is_some_and(|since| since < TAKEN_WITHIN) => {
                sentences.push("A standby, if there is one, takes it within seconds.".to_owned());
            }
            None => sentences.push(self.nobody_takes_it()),
        }
        sentences
    }

    fn held(&self) -> Vec<String> {
        let mut sentences = vec![match self.status.renewed_seconds_ago {
            Some(renewed) => format!("{} holds it and has renewed it {} ago.", self.holder(), age(renewed)),
            None => format!("{} holds it.", self.holder()),
        }];
        let left = self.runs_out.map_or(0.0, |runs_out| runs_out.duration_since(self.now).as_secs_f64());
        match self.pod() {
            Some(pod) if pod.holder_has_ended => sentences.push(format!(
                "But that process has ended, the kubelet says: a standby that may follow Pods takes the Lease at once, others when \
                 it has run out, in {}.",
                age(left)
            )),
            Some(pod) if pod.is_deleted => {
                sentences.push("Its Pod is being deleted: it stops its component, and then releases the Lease.".to_owned());
            }
            _ => {}
        }
        if self.status.step_down.is_some() && self.status.step_down == self.status.holder {
            sentences.push(
                "It was asked to step down, and does so when its component has stopped. To take the request back, remove the \
                 annotation leasehold.dev/step-down."
                    .to_owned(),
            );
        }
        if let Some(preferred) = self.status.preferred_holder.as_deref()
            && self.status.preferred_holder != self.status.holder
        {
            sentences.push(format!(
                "The API server would rather have {} lead, for whom it is to give the Lease up.",
                printable(preferred)
            ));
        }
        if let Some(seconds) = self.status.lease_duration_seconds.filter(|seconds| *seconds > BELIEVED_SECONDS_MAX) {
            sentences.push(format!(
                "If it falls silent, Leasehold hosts wait for {}, or for as long as their own Leases last where that is longer, \
                 and not for the {} that this one says.",
                age(BELIEVED_SECONDS_MAX as f64),
                age(seconds as f64)
            ));
        }
        if sentences.len() == 1 {
            sentences.push(match self.is_leaseholds() {
                true => format!(
                    "All is as it should be. `leasehold step-down {}` gives the lead to another replica.",
                    self.name()
                ),
                false => {
                    "All is as it should be. (It is no Leasehold host: what its work does, the Lease does not tell.)"
                        .to_owned()
                }
            });
        }
        sentences
    }

    fn expired(&self) -> Vec<String> {
        let ago = self.runs_out.map_or(0.0, |runs_out| self.now.duration_since(runs_out).as_secs_f64());
        let mut sentences =
            vec![format!("it has run out {} ago: {} does not renew it any more.", age(ago), self.holder())];
        sentences.push(self.of_the_holder());
        if ago < TAKEN_WITHIN {
            sentences.push("A standby, if there is one, takes it within seconds.".to_owned());
        } else if let Some(candidates) = &self.facts.candidates {
            sentences.push(of_candidates(candidates));
        } else {
            sentences.push(self.nobody_takes_it());
        }
        sentences
    }

    fn unknown(&self) -> Vec<String> {
        if let Some(lease) = &self.facts.lease
            && lease.record.is_picked()
        {
            return vec![format!(
                "the API server has picked {}, who has yet to write that it leads; a Leasehold host does so when whoever held it \
                 before has surely stopped (its log says `named`, and for how long it waits).",
                self.holder()
            )];
        }
        let missing = match self.status.renew_time {
            None => "when it was renewed",
            Some(_) => "for how long it is valid",
        };
        vec![format!(
            "{} stands on it, but the Lease does not say {missing}, so that it cannot be told whether it is still held. \
             Leasehold hosts wait for a time of their own and take it if nothing changes meanwhile; other electors may never.",
            self.holder()
        )]
    }

    /// What else a person should know.
    fn beside(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        if let Some(waiting) = &self.status.waiting_module {
            sentences.push(format!(
                "Module {} is ready, and takes over when the one that runs has come to its end, or with the next term.",
                printable(waiting)
            ));
        }
        if let Some(refused) = &self.status.refused_module {
            sentences.push(format!(
                "Module {} failed soon after it was started: give another one. Until then a replica that has an older one runs \
                 that, and one that has none tries this one once in each of its terms.",
                printable(refused)
            ));
        }
        if let Some(rejected) = self.last_event("ModuleRejected").filter(|rejected| !self.is_outdated(rejected)) {
            sentences.push(format!(
                "A new module was not taken {} ago; the Event above says why.",
                age(self.now.duration_since(rejected.at).as_secs_f64())
            ));
        }
        if let Some(ahead) = self.status.holder_clock_ahead_seconds {
            let way = if ahead < 0.0 { "behind" } else { "ahead of" };
            sentences.push(format!(
                "The clock of who wrote it last is {} {way} the API server's: Leasehold does not mind, electors that compare \
                 wall clocks do.",
                age(ahead.abs())
            ));
        }
        sentences
    }

    /// Whether what runs has come since a module was not taken. It may also have waited since before that, or run then and
    /// been gone back to: that says nothing of what the source has now.
    fn is_outdated(&self, rejected: &Event) -> bool {
        let (Some(runs), Some(events)) = (&self.status.module, self.facts.events.known()) else { return false };
        let takes_over = format!(" runs {runs} instead of ");
        let (instead, again) = (format!(" instead of {runs}"), format!(" runs {runs} again"));
        let is_older = |event: &Event| {
            let is_before = event.at <= rejected.at && event.message.contains(runs);
            is_before || event.message.ends_with(&instead) || event.message.contains(&again)
        };
        let has_taken_over = |event: &Event| {
            event.reason == "ModuleSwapped" && event.at > rejected.at && event.message.contains(&takes_over)
        };
        self.status.refused_module.as_ref() != Some(runs)
            && events.iter().any(has_taken_over)
            && !events.iter().any(is_older)
    }

    fn last_event(&self, reason: &str) -> Option<&Event> {
        self.facts.events.known()?.iter().filter(|event| event.reason == reason).max_by_key(|event| event.at)
    }

    fn pod(&self) -> Option<&PodSeen> {
        self.facts.pod.as_ref()?.seen.known()?.as_ref()
    }

    /// What is known of a holder that has fallen silent.
    fn of_the_holder(&self) -> String {
        let stopped = match self.is_leaseholds() {
            true => "if it still runs, it has stopped its component by itself before the Lease ran out",
            false => "whether its work goes on nevertheless is not known: it is no Leasehold host",
        };
        let Some(HolderPod { name, seen }) = &self.facts.pod else {
            return format!("What became of it is not known; {stopped}.");
        };
        let name = printable(name);
        let pod = match seen {
            Asked::NotKnown(_) => return format!("What became of it is not known (see above); {stopped}."),
            Asked::Known(None) => {
                return format!(
                    "There is no Pod {name} in the namespace: it was deleted, or the holder never ran in one. That proves nothing \
                     about its process; {stopped}."
                );
            }
            Asked::Known(Some(pod)) => pod,
        };
        if pod.holder_has_ended {
            return "Its process has ended, the kubelet says.".to_owned();
        }
        let containers = match &pod.containers[..] {
            [] => String::new(),
            words => format!(" ({})", printable(&words.join("; "))),
        };
        let node = pod.node.as_ref();
        match node.map(|node| (&node.name, node.is_ready.known())) {
            Some((node, Some(false))) => {
                format!(
                    "Its Pod {name} is on node {node}, which is not ready: whether it runs there, nobody can say; {stopped}."
                )
            }
            Some((node, ready)) => {
                let ready = if ready.is_some() { "which is ready" } else { "of which no more is known" };
                format!(
                    "Its Pod {name} is {}{containers} on node {node}, {ready}: it hangs, or cannot reach the API server, or was \
                     started anew since; {stopped}. Its log says more: kubectl logs {name} -n {}.",
                    printable(&pod.phase),
                    self.facts.namespace
                )
            }
            None => format!("Its Pod {name} is {}{containers}; {stopped}.", printable(&pod.phase)),
        }
    }

    fn nobody_takes_it(&self) -> String {
        let namespace = &self.facts.namespace;
        match &self.status.task {
            Some(task) => format!(
                "Nobody takes it. Either no replica of task {task} runs (one that does not run logs nothing: look at its Pods), or \
                 none may write the Lease or reach the API server (their logs say `request-failed`), or they stay out after \
                 failures (`guest-stopped` says why), or the hosts that run are another task's and leave it alone (`other-task`; \
                 --adopt takes it over).",
                task = printable(task)
            ),
            None => format!(
                "Nobody takes it: no candidate runs, or none may write it or reach the API server. Which of these, its Pods in \
                 namespace {namespace} and their logs tell. A Leasehold host that competes for it marks it as its task's."
            ),
        }
    }
}

fn of_candidates(candidates: &Asked<Vec<Candidate>>) -> String {
    match candidates {
        Asked::NotKnown(_) => "The API server picks among the LeaseCandidates, which may not be read here.".to_owned(),
        Asked::Known(none) if none.is_empty() => {
            "The API server picks among the LeaseCandidates, and there is none: no replica runs with --coordinated."
                .to_owned()
        }
        Asked::Known(some) => {
            format!(
                "The API server picks among these: {}. It takes the Lease's duration and some ten seconds.",
                named(some)
            )
        }
    }
}

/// Each by its name, with what the API server compares.
pub(super) fn named(candidates: &[Candidate]) -> String {
    let each = candidates.iter().map(|candidate| {
        let emulates = candidate.emulation_version.as_deref().unwrap_or(&candidate.binary_version);
        let answered = if candidate.renewed.is_some() { "" } else { ", has not answered yet" };
        format!("{} (version {}{answered})", printable(&candidate.name), printable(emulates))
    });
    each.collect::<Vec<_>>().join(", ")
}
