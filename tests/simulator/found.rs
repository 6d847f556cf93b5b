//! A simulator that finds nothing may be blind: every planted mistake has to be found, and as what it is.

use crate::{
    defect::Defect,
    invariants::Rule::{self, *},
    plan, run,
    shrink::Failure,
    smallest,
    trace::Trace,
};

/// How many histories a planted defect may stay undetected.
const SEEDS_TO_FIND_A_DEFECT: u64 = 2_000;

/// The first violation that a defect leads to.
fn found(defect: Defect) -> Failure {
    (0..SEEDS_TO_FIND_A_DEFECT)
        .find_map(|seed| {
            let plan = plan(seed, Some(defect));
            let violation = run(seed, plan.clone(), Trace::Off).0.err()?;
            Some(Failure { seed, plan, violation })
        })
        .unwrap_or_else(|| panic!("{defect:?} was not found in {SEEDS_TO_FIND_A_DEFECT} histories"))
}

#[track_caller]
fn assert_found(defect: Defect, as_one_of: &[Rule]) {
    let Failure { seed, violation, .. } = found(defect);
    println!("{defect:?}: seed {seed}: {:?}: {}", violation.rule, violation.text);
    assert!(as_one_of.contains(&violation.rule), "found, but as something else: {violation:?}");
}

/// Each planted defect, and the rules that it may be found to break.
macro_rules! finds {
    ($($name:ident: $defect:ident, as $($rule:ident)|+;)+) => {
        $(
            #[test]
            fn $name() {
                assert_found(Defect::$defect, &[$($rule),+]);
            }
        )+
    };
}

finds! {
    a_term_counted_from_the_answer: TermCountedFromAnswer, as OneLeader | NoneBesideForeign | ReleasedUnderPermission;
    a_missing_margin: NoMargin, as OneLeader | NoneBesideForeign;
    clocks_that_differ_by_more_than_the_margin: ClocksFarApart, as OneLeader | NoneBesideForeign;
    a_clock_that_stops_in_suspend: ClockStopsInSuspend, as OneLeader | NoneBesideForeign;
    a_gate_that_trusts_the_control_loop: GateTrustsControlLoop, as GuestInTerm | OneGuest;
    a_belief_that_outlasts_its_term: BeliefOutlastsTerm, as OneLeader | NoneBesideForeign | OneGuest | ReleasedUnderPermission;
    a_store_without_compare_and_swap: NoCompareAndSwap, as OneLeader | NoneBesideForeign;
    an_identity_that_is_shared: SharedIdentity, as OneLeader | NoneBesideForeign;
    versions_that_begin_anew: VersionsRestart, as TokensGrow | TakenTooEarly | NobodyLeads;
    transitions_taken_for_tokens: TransitionsAsToken, as TokensGrow;
    a_guest_declared_gone_while_it_runs: GuestDeclaredGone, as ReleasedUnderGuest | SecondGuest | EndsTooEarly;
    a_release_on_request_before_the_guest_has_stopped: ReleasesOnRequest, as ReleasedUnderGuest | SecondGuest | ReleasedUnderPermission;
    an_operator_who_empties_the_holder: OperatorClears, as OneLeader | NoneBesideForeign;
    requests_to_step_down_that_are_forgotten: RequestsForgotten, as LeadsOn;
    silence_that_is_taken_for_proof: SilenceTakenForProof, as OneLeader;
    a_leader_that_leads_on_beside_another: LeadsOnBesideAnother, as ToldOfAnother;
    a_host_that_ends_when_it_has_lost: ExitsOnLoss, as EndsUnasked;
    one_that_never_competes_again: NeverCompetesAgain, as NobodyLeads | LeadsOn;
    a_huge_duration_that_is_believed: HugeDurationBelieved, as NobodyLeads;
    requests_that_are_not_sent_any_more: SendingDies, as NobodyLeads;
    requests_that_wait_for_every_answer: WaitsForEveryAnswer, as NobodyLeads;
    a_null_holder_that_is_an_error: NullHolderIsAnError, as NobodyLeads;
    expiry_by_the_wall_clock: ExpiryByWallClock, as TakenTooEarly | OneLeader;
    a_missing_duration_that_has_expired: MissingDurationHasExpired, as TakenTooEarly;
    foreign_electors_that_go_by_the_wall_clock: ForeignExpiryByWallClock, as NoneBesideForeign;
    silence_that_nobody_notices: SilenceUnnoticed, as SilentGuest;
    reports_that_are_heard_too_late: ReportsHeardLate, as StoppedThoughReporting;
    misses_that_are_forgotten: MissesForgotten, as SilentLeadsOn;
    a_callback_declared_gone_while_it_runs: CallbackDeclaredGone, as ReleasedUnderCallback | StartedUnderCallback | EndsTooEarly | ReleasedUnderPermission;
    a_callback_that_fails_unheard: FailedCallbackUnheard, as ReleasedUnderPermission;
    a_callback_that_nobody_ends: CallbackNotEnded, as NobodyLeads | LeadsOn;
    one_that_leads_when_it_is_picked: LeadsWhenPicked, as OneLeader | TokensGrow;
    one_that_trusts_the_pick: TrustsThePick, as OneLeader;
    a_receiver_that_ignores_tokens: ReceiverIgnoresTokens, as EffectOrder;
    renewals_that_write_an_old_checkpoint: RenewalsWriteOldCheckpoint, as CheckpointLost;
    saves_that_are_answered_unwritten: SavesAnsweredUnwritten, as SavedUnwritten;
    a_release_that_drops_the_checkpoint: ReleaseDropsCheckpoint, as CheckpointLost;
    saves_that_are_patches: SavesArePatches, as LateSave | CheckpointLost;
    loads_of_what_was_acquired: LoadsWhatItAcquired, as SaveLost;
    loads_that_do_not_wait: LoadsDoNotWait, as LateSave;
    refusals_that_nobody_is_told_of: RefusalsUntold, as NotTheSame;
    refusals_that_nobody_hears_of: RefusalsUnheard, as RefusedStarted | NotTheSame;
    what_is_offered_is_started_though_refused: StartsWhatIsOffered, as RefusedStarted;
    bad_modules_that_stay: BadModulesStay, as NotTheSame;
    a_label_declared_off_while_it_is_on: LabelDeclaredOff, as ReleasedUnderLabel | LabelAfterRelease | EndsTooEarly;
    pods_that_are_patched_whatever_they_are: LabelPatchesBlind, as LabelAfterRelease | ReleasedUnderLabel | EndsTooEarly;
    a_pod_without_the_label_that_is_believed: LabelLooksTrusted, as LabelAfterRelease | ReleasedUnderLabel | LabelAstray;
    a_label_that_is_left_on_others: LabelLeftOnOthers, as LabelAstray;
    that_nobody_leads_any_more: NeverHeals, as NobodyLeads;
}

#[test]
fn what_is_found_is_made_small_and_is_found_again() {
    let whole = found(Defect::NoCompareAndSwap);
    let small = smallest(whole.clone());
    assert_eq!(small.violation.rule, whole.violation.rule);
    assert_eq!((small.plan.replicas, small.plan.foreigners.len(), small.plan.lull), (2, 0, None));
    assert!(small.plan.faults.len() <= 1, "two that start at once are enough: {:?}", small.plan.faults);
    let again = run(small.seed, small.plan, Trace::Off).0.expect_err("it was found");
    assert_eq!(again.text, small.violation.text);
}

/// In most histories it is found as something else, since a step-down for each swap is a lot of them.
#[test]
fn swaps_that_give_the_lease_up_are_shown_to_end_the_term() {
    let shows = |seed| {
        let violation = run(seed, plan(seed, Some(Defect::SwapsStepDown)), Trace::Off).0.err();
        violation.is_some_and(|violation| violation.rule == SwapEndsTerm)
    };
    assert!((0..SEEDS_TO_FIND_A_DEFECT).any(shows));
}

#[test]
fn lulls_of_either_kind_show_that_nobody_leads() {
    for kind in ["all outages are so short", "answers the larger part of the time"] {
        let shows = |seed| {
            let violation = run(seed, plan(seed, Some(Defect::SendingDies)), Trace::Off).0.err();
            violation.is_some_and(|violation| violation.text.contains(kind))
        };
        assert!((0..SEEDS_TO_FIND_A_DEFECT).any(shows), "no lull said that {kind}");
    }
}
