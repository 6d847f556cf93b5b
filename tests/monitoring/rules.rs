//! promtool's judgement of the alerts, and that all of them are tried.

use std::{collections::BTreeSet, fs, process::Command};

use leasehold_tests::build::root;
use serde_json::Value;

use super::{alerts, prometheus, rules, text};

const TESTS: &str = "tests/monitoring/alerts_test.yaml";

fn promtool(args: &[&str]) {
    let output =
        Command::new(prometheus::program("promtool")).args(args).current_dir(root()).output().expect("promtool starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {args:?}: {said}");
}

#[test]
fn promtool_takes_the_rules() {
    promtool(&["check", "rules", "--lint=all", "--lint-fatal", alerts().to_str().expect("UTF-8")]);
}

#[test]
fn each_alert_fires_when_it_should_and_does_not_when_it_should_not() {
    promtool(&["test", "rules", TESTS]);
}

#[test]
fn no_alert_is_left_untried() {
    let tests: Value =
        serde_saphyr::from_str(&fs::read_to_string(root().join(TESTS)).expect("the tests")).expect("YAML");
    let (mut fires, mut stays) = (BTreeSet::new(), BTreeSet::new());
    for test in tests["tests"].as_array().expect("tests") {
        for tried in test["alert_rule_test"].as_array().expect("what is tried") {
            let expected = tried["exp_alerts"].as_array().expect("what is expected");
            if expected.is_empty() { &mut stays } else { &mut fires }.insert(text(tried, "alertname").to_owned());
        }
    }
    let rules: BTreeSet<_> = rules().iter().map(|rule| text(rule, "alert").to_owned()).collect();
    assert_eq!((&fires, &stays), (&rules, &rules), "left: the tests; right: the rules");
}
