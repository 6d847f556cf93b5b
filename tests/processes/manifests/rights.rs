//! The Roles: enough, and nothing in them for nothing.

use std::collections::BTreeSet;

use k8s_openapi::api::{
    authorization::v1::SubjectAccessReview,
    events::v1::Event as KubeEvent,
    rbac::v1::{PolicyRule, Role},
};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use leasehold_tests::build;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    Cluster, WAYS, alone, cluster,
    pod::{ByHand, is_complaint, user},
    text, wait_until,
};

impl Cluster {
    fn role(&self, namespace: &str) -> Role {
        self.runtime.block_on(self.api(namespace).get("leasehold")).expect("the role is there")
    }

    fn set_rules(&self, namespace: &str, rules: &[PolicyRule]) {
        let role = Role { rules: Some(rules.to_vec()), ..self.role(namespace) };
        let replaced = self.runtime.block_on(self.api(namespace).replace("leasehold", &PostParams::default(), &role));
        replaced.expect("replaced");
    }

    /// Waits until the API server goes by the Role as it is now, which it hears of by a watch.
    fn wait_until_allowed(&self, namespace: &str, right: &Right, allowed: bool) {
        let review = json!({"spec": {"user": user(namespace), "resourceAttributes": {
            "group": right.group, "resource": right.resource, "verb": right.verb,
            "namespace": namespace, "name": right.name,
        }}});
        let review: SubjectAccessReview = serde_json::from_value(review).expect("a review");
        let reviews: Api<SubjectAccessReview> = {
            let _inside = self.runtime.enter();
            Api::all(self.plane.client())
        };
        wait_until(&format!("{right} is {allowed}"), || {
            let review = self.runtime.block_on(reviews.create(&PostParams::default(), &review)).expect("an answer");
            (review.status.expect("a status").allowed == allowed).then_some(())
        });
    }

    /// By the API server's own record: each verb of each rule was asked for, and nothing was denied.
    fn assert_used_and_nothing_else(&self, namespace: &str) {
        let requests = self.plane.requests_of(&user(namespace)).expect("a record");
        let denied = requests.iter().find(|request| !request.allowed);
        assert!(denied.is_none(), "{denied:?}");
        // What everybody may: asking what one may.
        let used = requests.iter().filter(|request| request.resource != "selfsubjectaccessreviews");
        let used: BTreeSet<_> = used.map(|request| [&*request.verb, &*request.group, &*request.resource]).collect();
        let granted = rights(&self.role(namespace).rules.expect("rules"));
        let granted: BTreeSet<_> =
            granted.iter().map(|right| [&*right.verb, &*right.group, &*right.resource]).collect();
        assert_eq!(used, granted, "{namespace}");
    }

    fn holder(&self, namespace: &str, lease: &str) -> String {
        let spec = self.lease(namespace, lease).spec.unwrap_or_default();
        spec.holder_identity.unwrap_or_default()
    }

    fn wait_for_kubernetes_event(&self, namespace: &str, lease: &str, reason: &str) {
        wait_until(&format!("there is an event {reason} on lease {lease}"), || {
            let events = self.runtime.block_on(self.api::<KubeEvent>(namespace).list(&ListParams::default()));
            let events = events.expect("events").items;
            let is_it = |event: &KubeEvent| {
                let about = event.regarding.as_ref();
                event.reason.as_deref() == Some(reason)
                    && about.is_some_and(|about| {
                        about.kind.as_deref() == Some("Lease") && about.name.as_deref() == Some(lease)
                    })
            };
            events.iter().any(is_it).then_some(())
        });
    }
}

/// One verb of one rule.
#[derive(Debug)]
struct Right {
    rule: usize,
    group: String,
    resource: String,
    name: Option<String>,
    verb: String,
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let group = if self.group.is_empty() { "core" } else { &self.group };
        write!(f, "{} {group}/{}", self.verb, self.resource)
    }
}

fn rights(rules: &[PolicyRule]) -> Vec<Right> {
    let of_rule = |(index, rule): (usize, &PolicyRule)| {
        let single = |list: &Option<Vec<String>>| match list.as_deref() {
            Some([single]) => single.clone(),
            other => panic!("a rule is for one resource, and not for {other:?}"),
        };
        let (group, resource) = (single(&rule.api_groups), single(&rule.resources));
        let name = rule.resource_names.as_ref().and_then(|names| names.first().cloned());
        let right = move |verb: &String| {
            let (group, resource, name) = (group.clone(), resource.clone(), name.clone());
            Right { rule: index, group, resource, name, verb: verb.clone() }
        };
        rule.verbs.iter().map(right).collect::<Vec<_>>()
    };
    rules.iter().enumerate().flat_map(of_rule).collect()
}

fn without(rules: &[PolicyRule], right: &Right) -> Vec<PolicyRule> {
    let mut rules = rules.to_vec();
    rules[right.rule].verbs.retain(|verb| *verb != right.verb);
    // A rule without a verb is none.
    rules.retain(|rule| !rule.verbs.is_empty());
    rules
}

#[test]
fn with_the_role_of_each_the_host_does_all_its_work_and_applying_again_does_not_disturb_it() {
    let cluster = cluster();
    for name in alone() {
        let namespace = format!("enough-{}", name.replace('/', "-"));
        let folder = cluster.kustomization_in(name, &namespace, "");
        cluster.apply(&folder, WAYS[1]);
        let leases = cluster.leases(&namespace);
        for right in rights(&cluster.role(&namespace).rules.expect("rules")) {
            cluster.wait_until_allowed(&namespace, &right, true);
        }

        let mut pod = ByHand::start(cluster, &namespace);
        pod.host.wait_for_event("guest-started", leases.len());
        for lease in &leases {
            cluster.wait_for_kubernetes_event(&namespace, lease, "StartedLeading");
            assert!(cluster.holder(&namespace, lease).starts_with(&pod.name), "{lease}");
        }
        // It follows the leader's Pod, beside the Lease.
        let mut standby = ByHand::start_as("leasehold-standby", cluster, &namespace);
        standby.host.wait_for_event("new-leader", leases.len());
        for way in WAYS {
            cluster.apply_over(&folder, way);
        }
        if name == "overlays/configmap-api" {
            swaps_the_module_that_a_person_applies(cluster, &namespace, &pod);
        }
        pod.host.signal(Signal::TERM);
        assert_eq!(pod.host.wait().code(), Some(0));

        standby.host.wait_for_event("leading", leases.len());
        standby.host.signal(Signal::TERM);
        assert_eq!(standby.host.wait().code(), Some(0));

        cluster.assert_used_and_nothing_else(&namespace);
        for lease in &leases {
            assert_eq!(cluster.holder(&namespace, lease), "", "{lease} is released");
        }
        let told = [pod.host.events(), standby.host.events()].concat();
        let trouble = told.iter().find(|event| is_complaint(event) || event.name() == "lost");
        assert!(trouble.is_none(), "{name}: {trouble:?}");
        assert_eq!(pod.host.events_named("leading").len(), leases.len(), "each lease was won once");
    }
}

/// By the command that deploy/README.md has.
fn swaps_the_module_that_a_person_applies(cluster: &Cluster, namespace: &str, pod: &ByHand) {
    let module = format!("--from-file=task.wasm={}", build::guest("parked").display());
    let create = ["create", "configmap", "leasehold-task", "-n", namespace, &module, "--dry-run=client", "-o", "yaml"];
    let file = cluster.folder.path().join(format!("{namespace}.yaml"));
    std::fs::write(&file, cluster.kubectl_says(&create)).expect("written");
    cluster.kubectl_says(&["apply", "--server-side", "-f", text(&file)]);
    pod.host.wait_for_event("module-swapped", 1);
    pod.host.wait_for("line of the new guest", |event| event.message().starts_with("parked"));
}

#[test]
fn without_any_single_verb_of_a_role_the_host_says_which_one_it_lacks() {
    let cluster = cluster();
    let mut tried: Vec<Value> = Vec::new();
    for name in alone() {
        let namespace = format!("less-{}", name.replace('/', "-"));
        cluster.apply(&cluster.kustomization_in(name, &namespace, ""), WAYS[1]);
        let rules = cluster.role(&namespace).rules.expect("rules");
        if tried.contains(&json!(rules)) {
            println!("{name}: the same rules as before");
            continue;
        }
        tried.push(json!(rules));
        for right in rights(&rules) {
            cluster.set_rules(&namespace, &without(&rules, &right));
            cluster.wait_until_allowed(&namespace, &right, false);
            let mut pod = ByHand::start(cluster, &namespace);
            let complaint = pod.complaint();
            println!("{name} without {right}:\n  {}", complaint.trim_end());
            for word in [&right.verb, &right.resource] {
                assert!(complaint.contains(word), "{name} without {right}: no {word} in {complaint:?}");
            }
            // Where it got as far as leading, the next one need not wait for its lease to run out.
            if pod.host.is_running() {
                pod.host.signal(Signal::TERM);
                pod.host.wait();
            }
            cluster.set_rules(&namespace, &rules);
            cluster.wait_until_allowed(&namespace, &right, true);
        }
    }
}
