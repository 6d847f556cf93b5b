//! Never two guests, judged by what all Pods have logged: they share this machine's clock.

use super::{containers::Kill, pod_logs::PodEvent};

/// From a guest's start to its end.
#[derive(Debug)]
pub struct GuestRun {
    /// Its term's token.
    pub token: u64,
    /// Its Pod.
    pub pod: String,
    /// Its Pod's uid, and the container's restarts: the process.
    process: (String, u32),
    /// When the host said that it starts.
    pub started: i64,
    /// When the host said that it has stopped, or when the host had certainly been killed.
    pub ended: Option<i64>,
    last_output: Option<i64>,
}

/// The guests under a Lease (`namespace/name`), in the order of their starts; and what of it cannot be: lines of no
/// guest, say.
pub fn guest_runs(lease: &str, events: &[PodEvent], kills: &[Kill]) -> (Vec<GuestRun>, Vec<String>) {
    let (mut runs, mut wrong) = (Vec::<GuestRun>::new(), Vec::new());
    for PodEvent { run, event } in events.iter().filter(|event| event.event.line["lease"] == lease) {
        let process = (run.uid.clone(), run.restarts);
        let current = runs.iter_mut().rev().find(|run| run.process == process && run.ended.is_none());
        match (event.name(), current) {
            ("guest-started", None) => runs.push(GuestRun {
                token: event.token(),
                pod: run.pod.clone(),
                process,
                started: event.at_micros,
                ended: None,
                last_output: None,
            }),
            ("guest-output", Some(guest)) if guest.token == event.token() => guest.last_output = Some(event.at_micros),
            ("guest-stopped", Some(guest)) if guest.token == event.token() => guest.ended = Some(event.at_micros),
            ("guest-started" | "guest-output" | "guest-stopped", current) => {
                wrong.push(format!("{} says {event}, and its guest was {current:?}", run.pod));
            }
            _ => {}
        }
    }
    for guest in runs.iter_mut().filter(|guest| guest.ended.is_none()) {
        let of_process = kills.iter().filter(|kill| kill.uid == guest.process.0 && kill.at_micros >= guest.started);
        guest.ended = of_process.map(|kill| kill.at_micros).min();
    }
    runs.sort_by_key(|guest| guest.started);
    (runs, wrong)
}

/// All that speaks against there having been one guest at a time, each with a greater token than those of
/// other hosts before it.
pub fn violations(lease: &str, events: &[PodEvent], kills: &[Kill]) -> Vec<String> {
    let (runs, mut wrong) = guest_runs(lease, events, kills);
    if runs.is_empty() {
        wrong.push(format!("no guest ran under {lease}"));
    }
    for (index, later) in runs.iter().enumerate() {
        if later.last_output > later.ended && later.ended.is_some() {
            wrong.push(format!("it has printed after its end: {later:?}"));
        }
        for earlier in &runs[..index] {
            if earlier.ended.is_none_or(|ended| ended > later.started) {
                wrong.push(format!("two at once: {earlier:?} and {later:?}"));
            }
            let same_process = earlier.process == later.process;
            if later.token < earlier.token || (later.token == earlier.token && !same_process) {
                wrong.push(format!("the token has not grown: {earlier:?} and {later:?}"));
            }
        }
    }
    wrong
}
