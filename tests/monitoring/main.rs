//! What those who watch over hosts rely on: the alerts, the dashboard and the page for the one on call, held against
//! each other, against the sources, and against a real Prometheus that scrapes real hosts; and traces.

mod expressions;
mod page;
mod prometheus;
mod rules;
mod traces;

use std::{fs, path::Path};

use leasehold_tests::build::root;
use serde_json::Value;

/// What is in `deploy/` under this name.
fn deployed(name: &str) -> String {
    let path = root().join("deploy").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn alerts() -> &'static Path {
    Path::new("deploy/monitoring/alerts.yaml")
}

/// The rules, each with `alert`, `expr` and the rest.
fn rules() -> Vec<Value> {
    let file: Value = serde_saphyr::from_str(&deployed("monitoring/alerts.yaml")).expect("YAML");
    let groups = file["groups"].as_array().expect("groups");
    groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}"))
}
