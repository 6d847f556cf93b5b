//! What holds whatever happens, in whatever order.

use std::time::Duration;

use proptest::prelude::*;

use super::bench::{asked, boot, digest, leading_until, standby};
use crate::{
    election::{Leadership, RequestId, StayOut},
    label::{LabelInput, LabelNotice, LabelReply, LabelRequest, Labelled, OwnPod},
    lease::Version,
    ports::StoreFailure,
    task::{Callback, Command, GuestEvent, Input, Module, OnReturn, Outcome, RunId, StopReason, Task, TaskConfig},
    time::BootTime,
};

#[derive(Clone, Debug)]
enum Op {
    Sleep(u64),
    Deadline,
    /// A term begins, with a new token.
    Lead,
    Certain(bool),
    Lose,
    /// A person asks for a step-down, through the Lease.
    Ask,
    Module(u8),
    /// The guest of the newest run but this many does something.
    Guest(u64, GuestEvent),
    /// The guest reports progress, and is heard now.
    Report,
    /// The callback of this kind, if there is one, has ended, well or not.
    CallEnds(bool, bool),
    NewLeader(u8),
    /// What was asked about the label arrives, and is answered, or is not heard of.
    Label(bool),
    /// The watch tells who carries it.
    LabelSeen,
    Shutdown,
}

fn op() -> impl Strategy<Value = Op> {
    let event = prop_oneof![
        1 => Just(GuestEvent::SteppedDown),
        4 => prop::sample::select(vec![
            Outcome::Returned,
            Outcome::Error("no".into()),
            Outcome::NotStarted("no".into()),
            Outcome::Ended(StopReason::LeadershipLost),
        ])
        .prop_map(GuestEvent::Ended),
    ];
    prop_oneof![
        4 => (0u64..20_000).prop_map(Op::Sleep),
        6 => Just(Op::Deadline),
        4 => Just(Op::Lead),
        2 => any::<bool>().prop_map(Op::Certain),
        2 => Just(Op::Lose),
        1 => Just(Op::Ask),
        2 => (0u8..3).prop_map(Op::Module),
        8 => (prop_oneof![9 => Just(0u64), 1 => 1u64..3], event).prop_map(|(back, event)| Op::Guest(back, event)),
        3 => Just(Op::Report),
        6 => (any::<bool>(), any::<bool>()).prop_map(|(of_leader, well)| Op::CallEnds(of_leader, well)),
        2 => (0u8..3).prop_map(Op::NewLeader),
        6 => prop::bool::weighted(0.8).prop_map(Op::Label),
        3 => Just(Op::LabelSeen),
        1 => Just(Op::Shutdown),
    ]
}

struct World {
    task: Task,
    leadership: Leadership,
    now_ms: u64,
    terms: u64,
    runs: u64,
    /// The run whose guest exists, its term, and whether it was asked to stop, and ended.
    guest: Option<(RunId, u64, bool, bool)>,
    shut_down: bool,
    progress_deadline_ms: Option<u64>,
    /// When the guest started, or reported last.
    reported_ms: u64,
    /// `on-stop-leading` runs, and `on-new-leader`.
    calls: [Option<RunId>; 2],
    /// The term in which a guest of a module ran that is to hear of the term's end.
    owed: Option<u64>,
    /// The term that `on-stop-leading` was called for last.
    told: Option<u64>,
    /// The guest's last term was to last until then when `on-stop-leading` failed in it.
    permitted_until: Option<BootTime>,
    /// The Pod as the API server has it, and what is asked about it.
    pod: OwnPod,
    label: Option<(RequestId, LabelRequest)>,
}

impl World {
    fn apply(&mut self, op: Op) {
        let input = match op {
            Op::Sleep(ms) => {
                self.now_ms += ms;
                Input::Tick
            }
            Op::Deadline => {
                if let Some(at) = self.task.next_deadline() {
                    self.now_ms = at.as_nanos().div_ceil(1_000_000);
                }
                Input::Tick
            }
            Op::Lead => {
                self.terms += 1;
                self.leadership = leading_until(self.terms, self.now_ms + 15_000);
                Input::Tick
            }
            Op::Certain(certain) => {
                if let Leadership::Leading { certain: before, .. } = &mut self.leadership {
                    *before = certain;
                }
                Input::Tick
            }
            Op::Ask => {
                self.leadership = asked(self.leadership.clone());
                Input::Tick
            }
            Op::Lose => {
                self.leadership = standby();
                Input::Tick
            }
            Op::Module(name) => Input::Module(Module { digest: digest(&name.to_string()), observes: name > 0 }),
            Op::CallEnds(of_leader, well) => match self.calls[usize::from(of_leader)].take() {
                Some(run) => {
                    let outcome = if well { Outcome::Returned } else { Outcome::TimedOut };
                    if let Leadership::Leading { term, valid_until, .. } = self.leadership
                        && (of_leader, well) == (false, false)
                        && self.told == Some(term.token)
                    {
                        self.permitted_until = Some(valid_until);
                    }
                    Input::Guest(run, GuestEvent::Ended(outcome))
                }
                None => Input::Tick,
            },
            Op::NewLeader(name) => Input::NewLeader(name.to_string()),
            Op::Guest(back, event) => {
                let run = match back {
                    0 => self.guest.map_or(RunId(0), |(run, ..)| run),
                    back => RunId(self.runs.saturating_sub(back)),
                };
                if self.calls.contains(&Some(run)) {
                    return;
                }
                let exists = self.guest.is_some_and(|(guest, ..)| guest == run);
                if exists && matches!(event, GuestEvent::Ended(_)) {
                    self.guest = None;
                } else if !exists {
                    // Nobody speaks for a run that is over, but a machine must not rely on that.
                    let before = self.task.run();
                    self.step(Input::Guest(run, event));
                    assert_eq!(self.task.run().is_some(), before.is_some() || self.guest.is_some());
                    return;
                }
                Input::Guest(run, event)
            }
            Op::Report => {
                self.reported_ms = self.now_ms;
                Input::Guest(self.guest.map_or(RunId(0), |(run, ..)| run), GuestEvent::Reported(boot(self.now_ms)))
            }
            Op::Label(heard) => {
                let Some((id, request)) = self.label.take() else { return };
                let result = self.serve_label(&request);
                let result = if heard { result } else { Err(StoreFailure::Unavailable) };
                Input::Label(LabelInput::Answered(id, result))
            }
            Op::LabelSeen => {
                let own = self.pod.labelled.then_some(self.pod);
                Input::Label(LabelInput::Seen(Labelled { own, ..Labelled::default() }))
            }
            Op::Shutdown => Input::Shutdown,
        };
        self.step(input);
    }

    fn certain_in(&self, token: u64) -> bool {
        matches!(self.leadership, Leadership::Leading { term, certain: true, step_down: false, .. } if term.token == token)
    }

    fn serve_label(&mut self, request: &LabelRequest) -> Result<LabelReply, StoreFailure> {
        let (labelled, mark) = match request {
            LabelRequest::Look => return Ok(LabelReply::Looked(self.pod)),
            LabelRequest::PutOn { mark, .. } => (true, Some(*mark)),
            LabelRequest::TakeOff { mark, .. } => (false, *mark),
            LabelRequest::TakeOffOther { .. } => unreachable!("no other carries it"),
        };
        self.pod = OwnPod { version: Version(self.pod.version.0 + 1), labelled, mark };
        Ok(LabelReply::Written(self.pod.version))
    }

    fn step(&mut self, input: Input) {
        let now = boot(self.now_ms);
        let mut left_on = false;
        for command in self.task.step(now, &self.leadership, input) {
            let of_label = matches!(command, Command::SendLabel { .. } | Command::TellLabel(_));
            assert!(!self.shut_down || of_label, "what is finished commands nothing: {command:?}");
            match command {
                Command::Call { run, callback, .. } => {
                    let call = &mut self.calls[usize::from(matches!(callback, Callback::NewLeader { .. }))];
                    assert!(call.is_none(), "of each kind, one is called at a time");
                    *call = Some(run);
                    self.runs = run.0;
                    if let Callback::StopLeading { term, reason } = callback {
                        assert!(self.guest.is_none(), "the guest is gone before it is told that it is");
                        assert_eq!(self.owed.take(), Some(term.token), "once for each term with a guest that observes");
                        self.told = Some(term.token);
                        let led = matches!(self.leadership, Leadership::Leading { term: now, .. } if now == term);
                        assert_eq!(led, reason != StopReason::LeadershipLost, "before the lease is given up, or after");
                    }
                }
                Command::TellSkipped(_) => assert!(self.calls[1].is_some(), "nobody is left out for nothing"),
                Command::Start { run, term, module } => {
                    assert!(self.guest.is_none(), "at most one guest exists");
                    assert!(self.calls[0].is_none(), "the end of a term is told before the next one's work begins");
                    assert!(self.owed.is_none_or(|token| token == term.token), "and is told at all");
                    self.owed = (&*module != "0").then_some(term.token);
                    assert!(self.certain_in(term.token), "a guest starts in a term that is certain");
                    self.permitted_until = None;
                    assert!(run.0 > self.runs, "runs are told apart");
                    self.runs = run.0;
                    self.guest = Some((run, term.token, false, false));
                    self.reported_ms = self.now_ms;
                }
                Command::AskToStop(run, _) => {
                    let (guest, _, asked, ended) = self.guest.as_mut().expect("a guest is asked");
                    assert!(*guest == run && !*asked && !*ended, "once, before it is ended");
                    *asked = true;
                }
                Command::End(run, _) => {
                    let (guest, _, _, ended) = self.guest.as_mut().expect("a guest is ended");
                    assert!(*guest == run && !*ended, "once");
                    *ended = true;
                }
                Command::StepDown(stay_out) => {
                    assert!(self.guest.is_none(), "the lease is kept as long as a guest exists");
                    assert!(self.calls[0].is_none(), "or is told that it is to go");
                    assert_eq!(self.owed, None, "which it is");
                    let leads = matches!(self.leadership, Leadership::Leading { .. });
                    assert!(!self.pod.labelled || left_on || !leads, "the label is off by then");
                    let permitted = self.permitted_until.take().is_some_and(|until| now < until);
                    assert!(!permitted || !leads, "what it has permitted is over, or ended");
                    self.leadership = standby();
                    self.shut_down = stay_out == StayOut::Forever;
                }
                Command::SendLabel { id, request } => {
                    if let LabelRequest::PutOn { mark, .. } = request {
                        assert!(self.certain_in(mark.token), "it is put on in a term that is certain");
                    }
                    self.label = Some((id, request));
                }
                Command::TellLabel(notice) => left_on |= notice == LabelNotice::LeftOn,
                Command::TellKept { until } => assert_eq!(self.permitted_until, Some(until)),
                Command::TellRestart(_) => assert!(self.guest.is_none()),
                Command::TellModules(_) => {}
            }
        }
        assert_eq!(self.task.run(), self.guest.map(|(run, ..)| run));
        assert!(self.task.next_deadline().is_none_or(|next| next > now), "the caller would spin");
        if let Some((_, token, asked, ended)) = self.guest {
            let led = matches!(self.leadership, Leadership::Leading { term, .. } if term.token == token);
            assert!(led || ended, "a guest whose term is over is ended in the same step");
            assert!(asked || ended || self.certain_in(token), "a term in doubt is asked to stop");
            let silent = self.progress_deadline_ms.is_some_and(|ms| self.now_ms - self.reported_ms >= ms);
            assert!(asked || ended || !silent, "a guest that does not report in time is asked to stop");
        } else {
            let ignored = matches!(self.leadership, Leadership::Leading { step_down: true, .. });
            assert!(
                !ignored || self.shut_down || self.calls[0].is_some() || self.task.giving_up().is_some(),
                "who is asked to step down and runs nothing has stepped down in the same step"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_hold_for_any_sequence_of_inputs(
        ops in prop::collection::vec(op(), 1..100),
        stop_grace_s in 0u64..10,
        on_return in prop::sample::select(vec![OnReturn::Hold, OnReturn::Release, OnReturn::Restart]),
        progress_deadline_ms in prop::option::of(1u64..40_000),
        leader_label in any::<bool>(),
    ) {
        let progress_deadline = progress_deadline_ms.map(Duration::from_millis);
        let stop_grace = Duration::from_secs(stop_grace_s);
        let config = TaskConfig { stop_grace, progress_deadline, on_return, leader_label, ..TaskConfig::default() };
        let (task, leadership) = (Task::new(config), standby());
        let mut world = World {
            task, leadership, now_ms: 0, terms: 0, runs: 0, guest: None, shut_down: false, progress_deadline_ms,
            reported_ms: 0, calls: [None, None], owed: None, told: None, permitted_until: None, label: None,
            pod: OwnPod { version: Version(1), labelled: false, mark: None },
        };
        world.apply(Op::Module(0));
        for op in ops {
            world.apply(op);
        }
    }
}
