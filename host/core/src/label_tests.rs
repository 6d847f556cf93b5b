//! Tests of the leader's label, each a script: what is wanted, what the API server says, what it is asked.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    election::RequestId,
    label::{
        LabelAction, LabelInput, LabelNotice, LabelReply, LabelRequest, Labelled, LeaderLabel, Mark, OwnPod, PodId,
        REMOVAL_MAX, REQUEST_TIMEOUT,
    },
    lease::Version,
    ports::StoreFailure,
    time::BootTime,
};

/// The Pod of the replica, as the API server has it, and who else carries the label.
struct Bench {
    label: LeaderLabel,
    pod: OwnPod,
    others: BTreeMap<PodId, Version>,
    now: BootTime,
    /// What was asked last, and has not been answered.
    asked: Option<(RequestId, LabelRequest)>,
    told: Vec<LabelNotice>,
}

fn second(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn mark(token: u64) -> Mark {
    Mark { token, attempt: 1 }
}

fn other(name: &str) -> PodId {
    PodId { name: name.into(), uid: format!("uid-of-{name}") }
}

impl Bench {
    /// Looked at the Pod, which does not carry the label, and found nothing to do.
    fn settled() -> Self {
        let mut bench = Self::new(OwnPod { version: Version(10), labelled: false, mark: None });
        bench.advance();
        bench.answers();
        bench
    }

    fn new(pod: OwnPod) -> Self {
        let now = BootTime::ZERO + second(1.0);
        let (label, others) = (LeaderLabel::default(), BTreeMap::new());
        Self { label, pod, others, now, asked: None, told: Vec::new() }
    }

    /// Carries the label, with token 7.
    fn on() -> Self {
        let mut bench = Self::settled();
        bench.want(Some(7));
        bench.seen();
        bench.answers_all();
        assert_eq!(bench.told(), [LabelNotice::On(7)]);
        assert!(bench.pod.labelled && bench.pod.mark == Some(mark(7)));
        bench
    }

    fn after(&mut self, time: Duration) -> &mut Self {
        self.now = self.now + time;
        self.advance();
        self
    }

    fn want(&mut self, wanted: Option<u64>) {
        self.label.want(self.now, wanted);
        self.advance();
    }

    fn act(&mut self, actions: Vec<LabelAction>) {
        for action in actions {
            match action {
                LabelAction::Send { id, request } => self.asked = Some((id, request)),
                LabelAction::Tell(notice) => self.told.push(notice),
            }
        }
        let next = self.label.next_deadline();
        assert!(next.is_none_or(|next| next > self.now), "the caller would spin");
    }

    fn advance(&mut self) {
        let mut actions = Vec::new();
        self.label.advance(self.now, &mut actions);
        self.act(actions);
    }

    fn hears(&mut self, input: LabelInput) {
        let mut actions = Vec::new();
        self.label.hear(self.now, input, &mut actions);
        self.label.advance(self.now, &mut actions);
        self.act(actions);
    }

    /// The watch tells who carries the label.
    fn seen(&mut self) {
        let own = self.pod.labelled.then_some(self.pod);
        self.hears(LabelInput::Seen(Labelled { own, others: self.others.clone() }));
    }

    /// What is under way, and not answered.
    fn asked(&self) -> Option<&LabelRequest> {
        self.asked.as_ref().map(|(_, request)| request)
    }

    /// What the API server makes of this request, whenever it comes.
    fn serve(&mut self, request: &LabelRequest) -> Result<LabelReply, StoreFailure> {
        let (based_on, after) = match request {
            LabelRequest::Look => return Ok(LabelReply::Looked(self.pod)),
            LabelRequest::TakeOffOther { pod, based_on } => {
                let version = self.others.get(pod).copied().ok_or(StoreFailure::Missing)?;
                return match version == *based_on {
                    true => {
                        self.others.remove(pod);
                        Ok(LabelReply::Written(Version(version.0 + 1)))
                    }
                    false => Err(StoreFailure::Conflict),
                };
            }
            LabelRequest::PutOn { based_on, mark } => {
                (based_on, OwnPod { labelled: true, mark: Some(*mark), ..self.pod })
            }
            LabelRequest::TakeOff { based_on, mark } => {
                (based_on, OwnPod { labelled: false, mark: mark.or(self.pod.mark), ..self.pod })
            }
        };
        if *based_on != self.pod.version {
            return Err(StoreFailure::Conflict);
        }
        // What changes nothing makes no new version.
        if after != self.pod {
            self.pod = OwnPod { version: Version(self.pod.version.0 + 1), ..after };
        }
        Ok(LabelReply::Written(self.pod.version))
    }

    /// What was asked arrives, and is answered.
    fn answers(&mut self) -> LabelRequest {
        let (id, request) = self.asked.take().expect("something was asked");
        let result = self.serve(&request);
        self.hears(LabelInput::Answered(id, result));
        request
    }

    fn answers_all(&mut self) -> Vec<LabelRequest> {
        let mut asked = Vec::new();
        while self.asked.is_some() {
            asked.push(self.answers());
        }
        asked
    }

    fn fails(&mut self, failure: StoreFailure) -> LabelRequest {
        let (id, request) = self.asked.take().expect("something was asked");
        self.hears(LabelInput::Answered(id, Err(failure)));
        request
    }

    /// What was asked is under way, and nobody waits for it any more.
    fn overdue(&mut self) -> LabelRequest {
        let (_, request) = self.asked.take().expect("something was asked");
        self.after(REQUEST_TIMEOUT);
        request
    }

    fn told(&mut self) -> Vec<LabelNotice> {
        std::mem::take(&mut self.told)
    }

    fn may_be_on(&self) -> bool {
        self.label.waits_until(false).is_some()
    }
}

#[test]
fn a_standby_looks_once_and_asks_no_more() {
    let mut bench = Bench::new(OwnPod { version: Version(3), labelled: false, mark: None });
    bench.advance();
    assert_eq!(bench.answers(), LabelRequest::Look);
    assert_eq!((bench.asked(), bench.label.next_deadline()), (None, None));
    assert!(!bench.may_be_on() && !bench.label.watches());
}

#[test]
fn a_label_that_an_earlier_boot_has_left_is_taken_off_at_the_start() {
    let mut bench = Bench::new(OwnPod { version: Version(3), labelled: true, mark: Some(mark(5)) });
    bench.advance();
    bench.answers_all();
    assert_eq!(bench.pod, OwnPod { version: Version(4), labelled: false, mark: Some(mark(5)) });
    assert!(!bench.may_be_on());
}

#[test]
fn a_leader_takes_it_off_all_others_and_only_then_puts_it_on() {
    let mut bench = Bench::settled();
    bench.others = BTreeMap::from([(other("a"), Version(4)), (other("b"), Version(5))]);
    bench.want(Some(7));
    assert!(bench.label.watches());
    assert_eq!(bench.answers(), LabelRequest::Look);
    assert_eq!(bench.asked(), None, "who else carries it is not known yet");
    bench.seen();
    let off = |name, version| LabelRequest::TakeOffOther { pod: other(name), based_on: Version(version) };
    let on = LabelRequest::PutOn { based_on: Version(10), mark: mark(7) };
    assert_eq!(bench.answers_all(), [off("a", 4), off("b", 5), on]);
    let taken = |name| LabelNotice::TakenFrom(other(name));
    assert_eq!(bench.told(), [taken("a"), taken("b"), LabelNotice::On(7)]);
}

#[test]
fn one_that_comes_on_late_on_another_pod_is_taken_off_as_soon_as_it_is_seen() {
    let mut bench = Bench::on();
    bench.others.insert(other("a"), Version(9));
    bench.seen();
    assert_eq!(bench.answers_all(), [LabelRequest::TakeOffOther { pod: other("a"), based_on: Version(9) }]);
    assert!(bench.others.is_empty());
}

#[test]
fn it_is_off_when_that_was_answered_and_not_before() {
    let mut bench = Bench::on();
    bench.want(None);
    assert!(bench.may_be_on() && !bench.label.watches());
    assert_eq!(bench.answers(), LabelRequest::TakeOff { based_on: Version(11), mark: Some(mark(7)) });
    assert!(!bench.may_be_on());
    assert_eq!(bench.told(), [LabelNotice::Off]);
}

#[test]
fn a_request_that_nobody_answered_puts_nothing_on_when_it_arrives_later() {
    let mut bench = Bench::settled();
    bench.want(Some(7));
    bench.seen();
    bench.answers();
    let late = bench.overdue();
    bench.want(None);
    // It looks, and sees no label: that alone proves nothing.
    bench.after(second(1.0));
    assert!(bench.may_be_on());
    assert_eq!(bench.answers(), LabelRequest::Look);
    assert!(bench.may_be_on());
    assert_eq!(bench.answers(), LabelRequest::TakeOff { based_on: Version(10), mark: Some(mark(7)) });
    assert!(!bench.may_be_on());
    assert_eq!(bench.serve(&late), Err(StoreFailure::Conflict));
    assert!(!bench.pod.labelled);
}

#[test]
fn nor_does_a_second_one_of_the_same_term() {
    let mut bench = Bench::on();
    // The term is in doubt, and certain again.
    bench.want(None);
    bench.answers();
    bench.want(Some(7));
    bench.seen();
    bench.answers();
    let late = bench.overdue();
    bench.want(None);
    bench.after(second(1.0));
    bench.answers();
    assert!(bench.may_be_on(), "the Pod has the mark of the first one");
    bench.answers_all();
    assert!(!bench.may_be_on());
    assert_eq!(bench.serve(&late), Err(StoreFailure::Conflict));
}

#[test]
fn a_removal_that_nobody_answered_takes_nothing_off_in_the_next_term() {
    let mut bench = Bench::on();
    bench.want(None);
    let late = bench.overdue();
    bench.want(Some(8));
    bench.seen();
    bench.answers_all();
    assert!(bench.pod.labelled, "it was never off");
    assert_eq!(bench.serve(&late), Err(StoreFailure::Conflict), "it carries the new term's token");
}

#[test]
fn what_changes_the_pod_meanwhile_is_read_anew_at_once() {
    let mut bench = Bench::on();
    // The kubelet writes into its status.
    bench.pod.version = Version(50);
    bench.want(None);
    let off = |version| LabelRequest::TakeOff { based_on: Version(version), mark: Some(mark(7)) };
    assert_eq!(bench.answers_all(), [off(11), LabelRequest::Look, off(50)]);
    assert!(!bench.may_be_on());
}

#[test]
fn a_pod_that_changes_all_the_time_is_not_asked_without_pause() {
    let mut bench = Bench::on();
    bench.want(None);
    let mut asked = 0;
    while bench.asked().is_some() {
        bench.pod.version = Version(bench.pod.version.0 + 1);
        let look = bench.asked() == Some(&LabelRequest::Look);
        if look {
            bench.answers()
        } else {
            bench.fails(StoreFailure::Conflict)
        };
        asked += 1;
        assert!(asked < 20, "it goes on and on");
    }
    assert!(bench.label.next_deadline().is_some(), "it does later");
}

#[test]
fn what_it_knows_of_its_own_pod_from_the_watch_spares_it_a_read() {
    let mut bench = Bench::on();
    bench.pod.version = Version(50);
    bench.seen();
    bench.want(None);
    assert_eq!(bench.answers_all(), [LabelRequest::TakeOff { based_on: Version(50), mark: Some(mark(7)) }]);
}

#[test]
fn one_that_somebody_has_taken_off_is_put_on_again_each_time_later() {
    let mut bench = Bench::on();
    let mut waits = Vec::new();
    for _ in 0..6 {
        bench.pod = OwnPod { version: Version(bench.pod.version.0 + 1), labelled: false, ..bench.pod };
        bench.seen();
        let before = bench.now;
        while !bench.pod.labelled {
            match bench.asked() {
                Some(_) => drop(bench.answers()),
                None => {
                    let next = bench.label.next_deadline().expect("it puts it on again");
                    bench.after(next.since(bench.now));
                }
            }
        }
        waits.push(bench.now.since(before));
    }
    assert_eq!(waits[0], Duration::ZERO);
    assert!(waits.is_sorted() && waits[5] >= second(4.0), "{waits:?}");
}

#[test]
fn a_lease_waits_for_it_so_long_and_no_longer() {
    let mut bench = Bench::on();
    bench.want(None);
    let until = bench.now + REMOVAL_MAX;
    bench.fails(StoreFailure::Unavailable);
    assert_eq!(bench.label.waits_until(true), Some(until));
    // Where it was already to be off, for want of a renewal, the time has begun then.
    bench.after(second(3.0));
    bench.want(None);
    assert_eq!(bench.label.waits_until(true), Some(until));
}

#[test]
fn where_it_may_not_be_taken_off_nothing_waits() {
    let mut bench = Bench::on();
    bench.want(None);
    let since = bench.now;
    bench.fails(StoreFailure::Denied);
    assert_eq!(bench.label.waits_until(true), Some(since));
    assert!(matches!(bench.told()[..], [LabelNotice::Failed(_, StoreFailure::Denied)]));
    // It goes on trying, ever more rarely.
    for _ in 0..12 {
        let next = bench.label.next_deadline().expect("another try");
        bench.after(next.since(bench.now));
        assert_eq!(bench.answers(), LabelRequest::Look);
        bench.fails(StoreFailure::Denied);
    }
    let next = bench.label.next_deadline().expect("another try");
    assert_eq!(next.since(bench.now), second(30.0));
}

#[test]
fn a_pod_that_is_gone_carries_nothing_and_is_not_asked_about_again() {
    let mut bench = Bench::on();
    bench.want(None);
    bench.fails(StoreFailure::Missing);
    assert!(!bench.may_be_on());
    bench.want(Some(8));
    bench.seen();
    assert_eq!((bench.asked(), bench.label.next_deadline()), (None, None));
}

#[test]
fn another_pod_that_is_gone_needs_nothing_taken_off() {
    let mut bench = Bench::settled();
    bench.others.insert(other("a"), Version(4));
    bench.want(Some(7));
    bench.answers();
    bench.seen();
    bench.others.clear();
    bench.answers_all();
    assert!(bench.pod.labelled);
}

#[test]
fn another_pod_that_has_changed_is_asked_for_again_with_what_the_watch_tells() {
    let mut bench = Bench::settled();
    bench.others.insert(other("a"), Version(4));
    bench.want(Some(7));
    bench.answers();
    bench.seen();
    bench.others.insert(other("a"), Version(6));
    assert!(matches!(bench.answers(), LabelRequest::TakeOffOther { based_on: Version(4), .. }));
    assert_eq!(bench.asked(), None, "not at once: the watch may need a moment");
    bench.seen();
    bench.after(second(1.0));
    assert!(matches!(bench.answers(), LabelRequest::TakeOffOther { based_on: Version(6), .. }));
    bench.answers_all();
    assert!(bench.pod.labelled && bench.others.is_empty());
}

#[test]
fn the_answer_to_a_request_that_was_given_up_is_not_believed() {
    let mut bench = Bench::on();
    bench.want(None);
    let (id, _) = bench.asked.clone().expect("it is to be off");
    bench.overdue();
    bench.hears(LabelInput::Answered(id, Ok(LabelReply::Written(Version(12)))));
    assert!(bench.may_be_on());
}

/// A removal that was given up arrives between a look and its answer, and the watch is quicker than that.
#[test]
fn what_the_watch_has_told_is_not_forgotten_for_an_older_answer() {
    let mut bench = Bench::on();
    bench.want(None);
    let (_, removal) = bench.asked.take().expect("it is to be taken off");
    bench.want(Some(7));
    bench.seen();
    bench.after(REQUEST_TIMEOUT);
    bench.after(second(1.0));
    assert_eq!(bench.asked(), Some(&LabelRequest::Look));
    let (id, looked) = bench.asked.take().expect("it looks");
    let before = bench.serve(&looked);
    bench.serve(&removal).expect("its version is still the Pod's");
    bench.seen();
    bench.hears(LabelInput::Answered(id, before));
    bench.answers_all();
    assert!(bench.pod.labelled, "nothing else would tell it");
}

/// The same where the answer is that it was put on.
#[test]
fn nor_for_that_to_a_request_to_put_it_on() {
    let mut bench = Bench::settled();
    bench.want(Some(7));
    bench.seen();
    assert_eq!(bench.answers(), LabelRequest::Look);
    let (id, put_on) = bench.asked.take().expect("it is to be put on");
    assert!(matches!(put_on, LabelRequest::PutOn { .. }), "{put_on:?}");
    let written = bench.serve(&put_on);
    bench.pod = OwnPod { version: Version(bench.pod.version.0 + 1), labelled: false, ..bench.pod };
    bench.seen();
    bench.hears(LabelInput::Answered(id, written));
    bench.answers_all();
    assert!(bench.pod.labelled, "nothing else would tell it");
}
