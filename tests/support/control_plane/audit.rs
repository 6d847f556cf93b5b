//! Who has asked the API server for what, and whether it was allowed: its audit log.

use std::{collections::HashSet, fs, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// In the control plane's folder.
pub(super) const POLICY: &str = "audit-policy.json";
/// In the control plane's folder.
pub(super) const LOG: &str = "audit.log";

/// One request, for an object or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// The API group; empty for the core.
    pub group: String,
    /// In the plural.
    pub resource: String,
    /// As in a Role.
    pub verb: String,
    /// Whether the user had the right to it.
    pub allowed: bool,
    /// The HTTP status of the answer; 0 where it is not known.
    pub code: u16,
}

/// All but what the administrator (a test, mostly) and the API server itself do.
pub(super) fn write_policy(folder: &Path, admin: &str) -> Result<()> {
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        // The same request is told of when it arrives, and again with its answer.
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "None", "users": [admin, "system:apiserver"]}, {"level": "Metadata"}],
    });
    fs::write(folder.join(POLICY), policy.to_string()).with_context(|| format!("cannot write {POLICY}"))
}

pub(super) fn requests_of(folder: &Path, user: &str) -> Result<Vec<Request>> {
    let log = fs::read_to_string(folder.join(LOG)).with_context(|| format!("cannot read {LOG}"))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut requests = Vec::new();
    let mut told = HashSet::new();
    // A line that is still being written has no end.
    for line in log.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let event: Value = serde_json::from_str(line).with_context(|| format!("{LOG} is not what is expected"))?;
        let object = &event["objectRef"];
        let code = event["responseStatus"]["code"].as_u64().and_then(|code| code.try_into().ok()).unwrap_or(0);
        // The same request is told of when it arrives, when its answer begins (where that takes long), and when it
        // is over. Whether it was allowed is known from the second on.
        let mut is_known = || event["stage"] != "RequestReceived" && told.insert(text(&event["auditID"]));
        if event["user"]["username"] == user && object.is_object() && is_known() {
            requests.push(Request {
                group: text(&object["apiGroup"]),
                resource: text(&object["resource"]),
                verb: text(&event["verb"]),
                allowed: event["annotations"]["authorization.k8s.io/decision"] == "allow",
                code,
            });
        }
    }
    Ok(requests)
}
