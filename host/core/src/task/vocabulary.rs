//! The words of the task: what goes in, what comes out, what stays the same.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    election::{RequestId, StayOut, Term},
    label::{LabelInput, LabelNotice, LabelRequest},
    time::BootTime,
};

/// Why a guest is to stop: `stop-reason` of the WIT package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The term is over, or could not be renewed by the renew deadline.
    LeadershipLost,
    /// The host is ending.
    Shutdown,
    /// A newer module is ready.
    ModuleReplaced,
    /// The guest, or a person, gave the leadership up; or the guest has failed too often.
    SteppedDown,
    /// The guest did not report progress by its deadline.
    Unresponsive,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LeadershipLost => "leadership-lost",
            Self::Shutdown => "shutdown",
            Self::ModuleReplaced => "module-replaced",
            Self::SteppedDown => "stepped-down",
            Self::Unresponsive => "unresponsive",
        })
    }
}

/// What a replica that was asked to end waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remaining {
    /// The guest, which was asked to stop, and is made to end then.
    Grace {
        /// When its grace time is over.
        until: BootTime,
    },
    /// The guest, which was made to end.
    Ended,
    /// `on-stop-leading`, which has a time limit.
    Callback,
    /// The time of what the component may have permitted others in its term, and `on-stop-leading` has failed to end.
    Permitted {
        /// When it is over.
        until: BootTime,
    },
    /// The leader's label to be off this Pod.
    Label {
        /// When it is not waited for any more.
        until: BootTime,
    },
    /// The store's answer to the release; without one, the end of the term.
    Release {
        /// When the term ends.
        until: BootTime,
    },
    /// The store's answer to what was asked of it last: it may have won the Lease.
    Withdrawal {
        /// When it is not waited for any more.
        until: BootTime,
    },
}

/// How a guest's run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `on-start-leading` returned ok.
    Returned,
    /// `on-start-leading` returned this error.
    Error(String),
    /// It trapped, with this message and backtrace.
    Trap(String),
    /// It reached its memory limit and then trapped or returned an error, with this message.
    OutOfMemory(String),
    /// It was ended from outside, where it stood.
    Ended(StopReason),
    /// It was a callback, and was ended where it stood when its time was over.
    TimedOut,
    /// No instruction of it ran: it could not be instantiated, for this reason.
    NotStarted(String),
}

impl Outcome {
    /// A word for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Returned => "returned",
            Self::Error(_) => "error",
            Self::Trap(_) => "trap",
            Self::OutOfMemory(_) => "out-of-memory",
            Self::Ended(StopReason::Unresponsive) => "unresponsive",
            Self::Ended(_) => "stopped",
            Self::TimedOut => "timed-out",
            Self::NotStarted(_) => "not-started",
        }
    }

    /// What the guest or the runtime said about it.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Error(detail) | Self::Trap(detail) | Self::OutOfMemory(detail) | Self::NotStarted(detail) => {
                Some(detail)
            }
            Self::Returned | Self::Ended(_) | Self::TimedOut => None,
        }
    }
}

/// What becomes of the Lease when `on-start-leading` has returned ok.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnReturn {
    /// It is kept: the term's work is done.
    #[default]
    Hold,
    /// It is released, for another replica's turn.
    Release,
    /// The guest is started again after a delay.
    Restart,
}

/// When a new module takes over from the one that runs. A shutdown, a step-down, or the end of the term comes first
/// in any case, and what starts after that is the new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SwapPolicy {
    /// The one that runs is asked to stop, and has its grace; the new one starts in the same term.
    #[default]
    Now,
    /// When the one that runs has come to its end by itself; in the same term, if that lasts.
    Drain,
    /// With the next term of this replica, or of another.
    NextTerm,
}

/// What stays the same for the life of a [`Task`].
#[derive(Clone, Debug)]
pub struct TaskConfig {
    /// How long a guest that was asked to stop may take.
    pub stop_grace: Duration,
    /// How long after its start, and after each report, a guest has to report progress again. `None`: it need not.
    pub progress_deadline: Option<Duration>,
    /// See [`OnReturn`].
    pub on_return: OnReturn,
    /// The delay before the first restart; doubled with each failure in a row.
    pub restart_delay: Duration,
    /// The longest delay before a restart.
    pub restart_delay_max: Duration,
    /// This many failures in a row release the Lease, so that another replica tries.
    pub failures_max: u32,
    /// A run that lasted this long, and did not end for want of progress, was no failure at start: the count
    /// begins anew.
    pub healthy_after: Duration,
    /// How long to let others go first after the Lease was released because of the task.
    pub stay_out: Duration,
    /// See [`SwapPolicy`].
    pub swap: SwapPolicy,
    /// How long a new module has to run before it counts as one that works. One that fails before that makes room for
    /// the last one that has worked. Zero: each that starts counts as working.
    pub probation: Duration,
    /// The Pod of the replica that leads carries a label: see [`crate::label`].
    pub leader_label: bool,
}

impl Default for TaskConfig {
    fn default() -> Self {
        Self {
            stop_grace: Duration::from_secs(5),
            progress_deadline: None,
            on_return: OnReturn::default(),
            restart_delay: Duration::from_secs(1),
            restart_delay_max: Duration::from_secs(30),
            failures_max: 5,
            healthy_after: Duration::from_secs(60),
            stay_out: Duration::from_secs(30),
            swap: SwapPolicy::default(),
            probation: Duration::from_secs(30),
            leader_label: false,
        }
    }
}

/// One call of `on-start-leading`, or of a callback, from its start to its end. Grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunId(pub u64);

/// A compiled, linked and checked module, by the digest of its bytes (`sha256:...`).
pub type Digest = Arc<str>;

/// What the task is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Which one.
    pub digest: Digest,
    /// It is of the world `observing-leader-task`: it has the [`Callback`]s.
    pub observes: bool,
}

/// What becomes of modules, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwapNotice {
    /// It has come through its probation, or has returned ok.
    Worked(Digest),
    /// It has failed in its probation, and another runs again, that has worked.
    RolledBack {
        /// What has failed.
        refused: Digest,
        /// What runs.
        to: Digest,
    },
    /// The source has this, but it has failed elsewhere, or before.
    Refused {
        /// What has failed.
        refused: Digest,
        /// What is run instead; `None`: there is nothing else, and it is run all the same.
        instead: Option<Digest>,
    },
    /// It is ready, and another one runs.
    Waits {
        /// What is to run.
        digest: Digest,
        /// For what it waits.
        why: Waits,
    },
}

/// For what a module waits that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// The one that runs was asked to stop.
    ForStop,
    /// It is to come to its end by itself.
    ForReturn,
    /// The next term.
    ForTerm,
}

/// Which modules there are on a replica, and what they are to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModulesView {
    /// It runs here, in this replica's term.
    pub runs: Option<Digest>,
    /// It would be run in a new term.
    pub next: Option<Digest>,
    /// It is ready, and another one runs here.
    pub waits: Option<(Digest, Waits)>,
    /// The newest that has worked, here or elsewhere.
    pub good: Option<Digest>,
    /// It has failed in its probation, here or elsewhere.
    pub refused: Option<Digest>,
}

/// An export that is called beside `on-start-leading`, in an instance of its own and for a limited time. Whoever
/// calls it sees to the limit, and tells of its end with [`GuestEvent::Ended`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callback {
    /// `on-stop-leading`: the guest that ran in this term is gone, and none will run in it any more.
    StopLeading {
        /// The term.
        term: Term,
        /// Why.
        reason: StopReason,
    },
    /// `on-new-leader`: this one leads now.
    NewLeader {
        /// The holder's identity; may be this replica's own.
        identity: String,
    },
}

impl Callback {
    /// The export's name.
    pub fn export(&self) -> &'static str {
        match self {
            Self::StopLeading { .. } => "on-stop-leading",
            Self::NewLeader { .. } => "on-new-leader",
        }
    }
}

/// What a guest did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestEvent {
    /// It called `step-down`.
    SteppedDown,
    /// It reported progress, last at this time. Whoever steps the task hands the newest report over first: one
    /// that was made before the deadline counts, however late it is heard of.
    Reported(BootTime),
    /// It is gone: its future and its store are dropped, and nothing of it will run again.
    Ended(Outcome),
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed, or the leadership has changed.
    Tick,
    /// This module is ready to be instantiated; the one before is out of date.
    Module(Module),
    /// This one holds the Lease now; it may be this replica, and it may be the same as before.
    NewLeader(String),
    /// This run's guest did something.
    Guest(RunId, GuestEvent),
    /// Something became of the leader's label.
    Label(LabelInput),
    /// The host was asked to end.
    Shutdown,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Instantiate the module and call `on-start-leading`.
    Start {
        /// To be given back with its events.
        run: RunId,
        /// What to instantiate.
        module: Digest,
        /// The term it runs in.
        term: Term,
    },
    /// Make `subscribe-stop` ready.
    AskToStop(RunId, StopReason),
    /// End it where it stands.
    End(RunId, StopReason),
    /// Instantiate the module beside what else runs, and make this call.
    Call {
        /// To be given back with its end.
        run: RunId,
        /// What to instantiate.
        module: Digest,
        /// What to call.
        callback: Callback,
    },
    /// Tell people: nobody calls `on-new-leader` with this identity, because too many others wait.
    TellSkipped(String),
    /// Send this about the leader's label, and drop the request before. When to give up is told by the next
    /// [`LabelNotice::Failed`].
    SendLabel {
        /// To be given back with the answer.
        id: RequestId,
        /// What to ask.
        request: LabelRequest,
    },
    /// Tell people about the leader's label.
    TellLabel(LabelNotice),
    /// Tell people: `on-stop-leading` has failed, so the Lease is given up no earlier than this.
    TellKept {
        /// When whatever the term has permitted is over.
        until: BootTime,
    },
    /// Give the Lease up; no guest runs.
    StepDown(StayOut),
    /// Tell people: the guest will be started again after this delay.
    TellRestart(Duration),
    /// Tell people.
    TellModules(SwapNotice),
}
