//! What a component asks of the Kubernetes API, at `http://kubernetes.default.svc`, on a real API server.

use std::process::Command;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, PostParams};
use leasehold_tests::{
    build::{self, guest},
    host_process::HostProcess,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::cluster::Cluster;

const CONFIG_MAPS: &str = "http://kubernetes.default.svc/api/v1/namespaces/default/configmaps";
const SECRETS: &str = "http://kubernetes.default.svc/api/v1/namespaces/default/secrets";

/// What a host needs for its own election.
fn own_rules() -> Value {
    json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "list", "watch", "update", "create"]})
}

fn read(resources: &[&str]) -> Value {
    json!({"apiGroups": [""], "resources": resources, "verbs": ["get", "list", "watch"]})
}

impl Cluster {
    fn make_config_map(&self, name: &str) {
        let metadata = ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() };
        let config_map = ConfigMap { metadata, ..ConfigMap::default() };
        self.runtime.block_on(self.api().create(&PostParams::default(), &config_map)).expect("made");
    }
}

/// A host with one task, `http-requests`, that goes through `steps`.
fn host(folder: &TempDir, kubeconfig: &str, task: &str, allow: &Value, steps: &[&str]) -> HostProcess {
    let path = folder.path().join(format!("{task}.yaml"));
    // JSON is YAML.
    let config = json!({"tasks": [{"name": task, "module": guest("http-requests"), "allow": allow, "args": steps}]});
    std::fs::write(&path, config.to_string()).expect("written");
    let mut command = Command::new(build::leasehold());
    command.env("KUBECONFIG", kubeconfig).args(["run", "--log-format", "json", "--config"]).arg(path);
    HostProcess::spawn(task, command)
}

/// The line that tells of this step.
fn line(host: &HostProcess, begin: &str) -> String {
    let of_guest = host.wait_for(begin, |event| event.name() == "guest-output" && event.message().starts_with(begin));
    of_guest.message().to_owned()
}

#[test]
fn a_guest_reads_writes_and_watches_with_the_hosts_credentials_and_sees_none_of_them() {
    let cluster = Cluster::start();
    let folder = TempDir::new().expect("a folder");
    let admin = cluster.plane.kubeconfig().to_str().expect("UTF-8").to_owned();
    let made = r#"{"metadata":{"name":"made-by-guest"},"data":{"a":"b"}}"#;
    let watch = format!("lines {CONFIG_MAPS}?watch=1");
    let identities = [
        "Authorization:Bearer",
        "Impersonate-User:system:admin",
        "impersonate_group:system:masters",
        "X-Remote-User:a",
    ];
    let identities = identities.map(|header| format!("GET {CONFIG_MAPS} {header}"));
    let mut steps: Vec<&str> = identities.iter().map(String::as_str).collect();
    let create = format!("POST {CONFIG_MAPS} Content-Type:application/json body={made}");
    let get = format!("GET {CONFIG_MAPS}/made-by-guest");
    steps.extend([
        "GET http://kubernetes.default.svc:8001/version",
        "GET http://kubernetes.default.svc/api/v1/namespaces/default/../../nodes",
        "GET http://kubernetes.default.svc/version",
        "POST http://kubernetes.default.svc/apis/authentication.k8s.io/v1/selfsubjectreviews \
         Content-Type:application/json body={}",
        &create,
        &get,
        &watch,
    ]);
    let host = host(&folder, &admin, "api", &json!({"kubernetes": true}), &steps);
    for step in &identities {
        let said = line(&host, &format!("GET {CONFIG_MAPS} -> "));
        assert!(said.contains("error ErrorCode::HttpRequestDenied"), "{step}: {said}");
    }
    for refused in
        ["GET http://kubernetes.default.svc:8001/", "GET http://kubernetes.default.svc/api/v1/namespaces/default/.."]
    {
        assert!(line(&host, refused).contains("error ErrorCode::HttpRequestDenied"));
    }
    assert!(line(&host, "GET http://kubernetes.default.svc/version").contains("-> 200"));
    assert!(
        line(&host, "POST http://kubernetes.default.svc/apis/").contains("leasehold-test-admin"),
        "who the host is"
    );
    assert!(line(&host, &format!("POST {CONFIG_MAPS}")).contains("-> 201"));
    assert!(line(&host, &format!("GET {CONFIG_MAPS}/made-by-guest")).contains("\"a\":\"b\""));
    // A watch is told of what happens while it lasts, as it happens.
    line(&host, &format!("lines of {CONFIG_MAPS}?watch=1: 200"));
    cluster.make_config_map("made-while-watching");
    host.wait_for("the watch's event", |event| {
        let message = event.message();
        message.starts_with("line {\"type\":\"ADDED\"") && message.contains("made-while-watching")
    });
    let refusals = host.events_named("http-refused");
    assert!(refusals.iter().any(|event| event.message().contains("the header authorization")), "{refusals:?}");
}

#[test]
fn without_a_grant_and_beyond_a_narrowed_one_the_api_server_is_not_asked() {
    let cluster = Cluster::start();
    let folder = TempDir::new().expect("a folder");
    let role = || json!({"rules": [own_rules(), read(&["configmaps", "secrets"])]});
    let steps = [
        format!("GET {CONFIG_MAPS}"),
        format!("GET {CONFIG_MAPS}?watch=1"),
        format!("GET {SECRETS}"),
        "GET http://kubernetes.default.svc/api/v1/namespaces/kube-system/configmaps".to_owned(),
        format!("DELETE {CONFIG_MAPS}"),
        "stay".to_owned(),
    ];
    let steps: Vec<_> = steps.iter().map(String::as_str).collect();

    let user = cluster.user_with_role("ungranted", role());
    let ungranted = host(&folder, &user, "ungranted", &json!({}), &steps);
    line(&ungranted, "staying");
    let refused = ungranted.wait_for_event("http-refused", 1);
    assert!(refused.message().contains("add `kubernetes: true` to allow"), "{refused}");
    // Never more than the host asks for itself.
    let asked_for = |user| {
        let requests = cluster.plane.requests_of(user).expect("the audit log");
        let of_guest = |resource: &str| matches!(resource, "configmaps" | "secrets");
        let mut asked: Vec<_> = requests.into_iter().filter(|asked| of_guest(&asked.resource)).collect();
        asked.sort();
        asked.dedup();
        asked.into_iter().map(|asked| format!("{} {}", asked.verb, asked.resource)).collect::<Vec<_>>()
    };
    assert_eq!(asked_for("ungranted"), [""; 0]);

    let user = cluster.user_with_role("narrowed", role());
    let rule = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"], "namespaces": ["default"]});
    let narrowed = host(&folder, &user, "narrowed", &json!({"kubernetes": {"rules": [rule]}}), &steps);
    line(&narrowed, "staying");
    assert_eq!(asked_for("narrowed"), ["list configmaps"]);
    assert!(line(&narrowed, &format!("GET {CONFIG_MAPS} ->")).contains("-> 200 {\"kind\":\"ConfigMapList\""));
    let refused: Vec<_> =
        narrowed.events_named("http-refused").iter().map(|event| event.message().to_owned()).collect();
    let wanted = "add {apiGroups: [\"\"], resources: [secrets], verbs: [list], namespaces: [default]} to \
                  allow.kubernetes.rules";
    assert!(refused.len() == 4 && refused[1].contains(wanted), "{refused:#?}");
}

#[test]
fn a_task_acts_as_its_service_account_where_the_host_may_impersonate_it() {
    let cluster = Cluster::start();
    let folder = TempDir::new().expect("a folder");
    let steps = [format!("GET {CONFIG_MAPS}"), format!("GET {SECRETS}"), "stay".to_owned()];
    let steps: Vec<_> = steps.iter().map(String::as_str).collect();
    let allow = json!({"kubernetes": {"serviceAccount": "reader"}});
    cluster.user_with_role("system:serviceaccount:default:reader", json!({"rules": [read(&["configmaps"])]}));
    // The host itself may read secrets, and no ConfigMaps.
    let impersonate = json!({
        "apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": ["reader"], "verbs": ["impersonate"],
    });

    let user = cluster.user_with_role("may", json!({"rules": [own_rules(), read(&["secrets"]), impersonate]}));
    let may = host(&folder, &user, "may", &allow, &steps);
    line(&may, "staying");
    assert!(line(&may, &format!("GET {CONFIG_MAPS}")).contains("-> 200"), "the account's right");
    let secrets = line(&may, &format!("GET {SECRETS}"));
    assert!(secrets.contains("-> 403") && secrets.contains("system:serviceaccount:default:reader"), "{secrets}");
    assert!(may.events_named("impersonation-denied").is_empty());

    let user = cluster.user_with_role("may-not", json!({"rules": [own_rules(), read(&["secrets"])]}));
    let may_not = host(&folder, &user, "may-not", &allow, &steps);
    line(&may_not, "staying");
    let warning = may_not.wait_for_event("impersonation-denied", 1);
    let rule = "{apiGroups: [\"\"], resources: [serviceaccounts], verbs: [impersonate]}";
    assert!(warning.message().contains(rule), "{warning}");
    for url in [CONFIG_MAPS, SECRETS] {
        let said = line(&may_not, &format!("GET {url}"));
        assert!(said.contains("-> 403") && said.contains("cannot impersonate"), "and not with the host's own: {said}");
    }
}
