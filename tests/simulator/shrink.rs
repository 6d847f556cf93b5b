//! A history that fails is made smaller: fewer faults, fewer replicas, less time, a better network, as long as it
//! breaks the same rule. What is left of its plan is short enough to be read.

use leasehold_core::task::OnReturn;

use crate::{
    invariants::Violation,
    plan::{Net, Plan},
};

/// A history that violates something.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) plan: Plan,
    pub(crate) violation: Violation,
}

/// So many other courses of a smaller plan are tried, besides its own: with less in it, everything is timed otherwise.
const OTHER_SEEDS: u64 = 24;

/// The smallest failure that was found in `runs_max` runs. `run` says what a seed and a plan violate.
pub(crate) fn shrink(
    mut failure: Failure,
    mut runs_max: usize,
    run: impl Fn(u64, &Plan) -> Option<Violation>,
) -> Failure {
    'smaller: loop {
        for plan in smaller(&failure.plan) {
            for seed in std::iter::once(failure.seed).chain(0..OTHER_SEEDS) {
                let Some(left) = runs_max.checked_sub(1) else { return failure };
                runs_max = left;
                if let Some(violation) = run(seed, &plan)
                    && violation.rule == failure.violation.rule
                {
                    failure = Failure { seed, plan, violation };
                    continue 'smaller;
                }
            }
        }
        return failure;
    }
}

/// All that is one step smaller, what saves most first.
fn smaller(plan: &Plan) -> Vec<Plan> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Plan)| {
        let mut changed = plan.clone();
        change(&mut changed);
        if changed != *plan {
            all.push(changed);
        }
    };
    let faults = plan.faults.len();
    let mut chunk = faults;
    while chunk > 0 {
        for from in (0..faults).step_by(chunk) {
            with(&|plan| drop(plan.faults.drain(from..(from + chunk).min(faults))));
        }
        chunk /= 2;
    }
    with(&|plan| plan.foreigners.clear());
    with(&|plan| plan.script = false);
    with(&|plan| plan.coordinated = None);
    with(&|plan| plan.labels = false);
    with(&|plan| plan.lull = None);
    with(&|plan| plan.rough_ms = plan.faults.last().map_or(0, |last| last.at_ms + last.lasts_ms).min(plan.rough_ms));
    with(&|plan| cut(plan, plan.rough_ms / 2));
    with(&|plan| cut(plan, plan.rough_ms / 10 * 9));
    with(&|plan| plan.replicas = 2);
    with(&|plan| plan.replicas = (plan.replicas - 1).max(2));
    for index in 0..plan.foreigners.len() {
        with(&|plan| {
            plan.foreigners.remove(index);
        });
    }
    with(&|plan| plan.net = Net::calm());
    let parts: [fn(&mut Net); 6] = [
        |net| (net.slow, net.slow_max_ms) = (0.0, net.slow_max_ms.min(1_000)),
        |net| net.lost = 0.0,
        |net| net.duplicated = 0.0,
        |net| net.coalesced = 0.0,
        |net| net.stale = 0.0,
        |net| net.latency_max_ms = 1,
    ];
    for part in parts {
        with(&|plan| part(&mut plan.net));
    }
    with(&|plan| plan.kubelet_tells = false);
    with(&|plan| plan.sick = None);
    with(&|plan| plan.callbacks_ms = None);
    with(&|plan| plan.progress_deadline_ms = None);
    with(&|plan| plan.rate_ppm_max = 0);
    with(&|plan| plan.on_return = OnReturn::Hold);
    with(&|plan| plan.stop_grace_ms = 0);
    with(&|plan| plan.stay_out_s = 1);
    all
}

/// The history is rough for this long, and has no faults after it.
fn cut(plan: &mut Plan, rough_ms: u64) {
    plan.rough_ms = rough_ms;
    plan.faults.retain(|planned| planned.at_ms < rough_ms);
    plan.lull = plan.lull.filter(|lull| lull.at_ms < rough_ms);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{faults::Fault, invariants::Rule};

    /// A plan with all kinds of things in it.
    fn full_plan() -> Plan {
        (0..)
            .map(|seed| Plan::random(&mut fastrand::Rng::with_seed(seed), None))
            .find(|plan| {
                let has = |fault| plan.faults.iter().any(|planned| planned.fault == fault);
                has(Fault::Kill) && has(Fault::Partition) && plan.faults.len() > 20 && plan.replicas == 4
            })
            .expect("there is one")
    }

    #[test]
    fn what_is_left_is_what_it_takes() {
        let violation = |rule| Violation::new(rule, "made up");
        let run = |_: u64, plan: &Plan| {
            let has = |fault| plan.faults.iter().any(|planned| planned.fault == fault);
            // Less than this breaks another rule, which does not count.
            let all = has(Fault::Kill) && has(Fault::Partition) && plan.replicas >= 3;
            Some(violation(if all { Rule::OneLeader } else { Rule::NobodyLeads }))
        };
        let failure = Failure { seed: 1, plan: full_plan(), violation: violation(Rule::OneLeader) };
        let Plan { replicas, faults, foreigners, lull, net, .. } = shrink(failure, 100_000, run).plan;
        let mut kinds: Vec<_> = faults.iter().map(|planned| format!("{:?}", planned.fault)).collect();
        kinds.sort();
        assert_eq!((replicas, kinds), (3, vec!["Kill".to_owned(), "Partition".to_owned()]));
        assert_eq!((foreigners, lull, net.lost), (vec![], None, 0.0));
    }

    #[test]
    fn a_failure_that_needs_no_more_runs_stays_as_it_is() {
        let plan = full_plan();
        let failure = Failure { seed: 1, plan: plan.clone(), violation: Violation::new(Rule::Spins, "made up") };
        assert_eq!(shrink(failure, 0, |_, _| None).plan, plan);
    }
}
