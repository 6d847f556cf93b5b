//! Clusters that are not there, do not answer, or do not let the host do its work.

use std::{net::TcpListener, sync::OnceLock};

use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::ConfigMap,
    rbac::v1::{Role, RoleBinding},
};
use kube::api::{Patch, PatchParams, PostParams};
use leasehold_tests::host_process::{HostProcess, PATIENCE, Said, leasehold};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{super::cluster::Cluster, Desk, FAILED, MISTAKE, good, refused};

/// One for all tests of this file, which change nothing but objects of their own name.
pub(super) fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start)
}

impl Cluster {
    /// As a person makes it beforehand. Returns it as it is then.
    pub(crate) fn make_lease(&self, name: &str) -> Lease {
        let lease = json!({"metadata": {"name": name}, "spec": {}});
        let lease: Lease = serde_json::from_value(lease).expect("a lease");
        self.runtime.block_on(self.api().create(&PostParams::default(), &lease)).expect("made")
    }

    fn change_lease(&self, name: &str, patch: &Value) -> Lease {
        let patched = async { self.api().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await };
        self.runtime.block_on(patched).expect("patched")
    }

    pub(super) fn lease_named(&self, name: &str) -> Option<Lease> {
        self.runtime.block_on(self.api().get_opt(name)).expect("the API server answers")
    }

    /// The kubeconfig of a user who may do this to the lease of this name, and no more.
    fn user_with(&self, lease: &str, verbs: &[&str]) -> String {
        let rule = json!({
            "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": [lease], "verbs": verbs,
        });
        let rules = if verbs.is_empty() { json!([]) } else { json!([rule]) };
        self.user_with_role(&format!("{lease}-user"), json!({"rules": rules}))
    }

    /// The kubeconfig of a user who has this role, and is known to have it.
    pub(crate) fn user_with_role(&self, user: &str, role: Value) -> String {
        let mut role: Role = serde_json::from_value(role).expect("a role");
        role.metadata.name = Some(user.to_owned());
        let binding = json!({
            "metadata": {"name": user},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user},
        });
        let binding: RoleBinding = serde_json::from_value(binding).expect("a binding");
        let params = PostParams::default();
        self.runtime.block_on(self.api().create(&params, &role)).expect("made");
        self.runtime.block_on(self.api().create(&params, &binding)).expect("made");
        let rules = role.rules.unwrap_or_default();
        self.runtime.block_on(self.plane.wait_until_allowed(user, "default", &rules)).expect("it may");
        let path = self.plane.kubeconfig_for(user).expect("a kubeconfig");
        path.to_str().expect("a temporary folder's path is UTF-8").to_owned()
    }
}

pub(super) fn refused_by(kubeconfig: &str, lease: &str, more: &[&str], says: &[&str]) {
    refused(&[&["run", good(), "--lease", lease], more].concat(), &[("KUBECONFIG", kubeconfig)], FAILED, says);
}

fn kubeconfig_for_port(port: u16) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": format!("https://127.0.0.1:{port}")}}],
        "users": [{"name": "test", "user": {"token": "test"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    })
    .to_string()
}

#[test]
fn without_a_cluster_it_says_how_to_name_one_and_how_to_go_without() {
    let without = ["found no cluster", "KUBECONFIG", "--lease-store file:"];
    refused(&["run", good()], &[], FAILED, &without);
    let desk = Desk::new();
    let missing = desk.text("missing.kubeconfig");
    refused_by(&missing, "task", &[], &[&without[..], &[&missing]].concat());
    let other = kubeconfig_for_port(1).replace(r#""current-context":"test""#, r#""current-context":"prod""#);
    refused_by(&desk.write("context", other), "task", &[], &["found no cluster", "prod"]);
}

#[test]
fn an_address_where_nothing_listens_is_told_as_that() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it listens").port();
    drop(listener);
    let desk = Desk::new();
    let kubeconfig = desk.write("kubeconfig", kubeconfig_for_port(port));
    refused_by(&kubeconfig, "task", &[], &["cannot reach the cluster", "lease default/task", "Connection refused"]);
}

#[test]
fn a_cluster_that_never_answers_is_given_up_after_a_while() {
    // The system accepts connections for it, and that is all that happens to them.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it listens").port();
    let desk = Desk::new();
    let kubeconfig = desk.write("kubeconfig", kubeconfig_for_port(port));
    refused_by(&kubeconfig, "task", &[], &["has not answered for 10s", "is it up?"]);
}

#[test]
fn a_right_that_is_missing_is_named_with_the_rule_that_gives_it() {
    let cluster = cluster();
    let rule = "{apiGroups: [coordination.k8s.io], resources: [leases], verbs: ";

    let before = cluster.make_lease("no-right");
    let nobody = cluster.user_with("no-right", &[]);
    let needs = format!("{rule}[get, list, watch, update]}}");
    refused_by(&nobody, "no-right", &[], &["not allowed to read the lease", "default/no-right", &needs]);
    assert_eq!(cluster.lease_named("no-right"), Some(before));

    let before = cluster.make_lease("read-only");
    let reader = cluster.user_with("read-only", &["get"]);
    let needs = format!("{rule}[list, watch, update]}}");
    refused_by(&reader, "read-only", &[], &["may not list, watch, update lease default/read-only", &needs]);
    assert_eq!(cluster.lease_named("read-only"), Some(before));

    let editor = cluster.user_with("not-there", &["get", "list", "watch", "update"]);
    let needs = format!("{rule}[create]}}");
    let says = ["lease default/not-there does not exist", "may not be created", "make it beforehand", &needs];
    refused_by(&editor, "not-there", &[], &says);
    assert_eq!(cluster.lease_named("not-there"), None);
}

#[test]
fn to_ask_for_a_step_down_get_and_update_are_enough_and_less_is_named() {
    let cluster = cluster();
    let rule = "{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, update]}";
    let asks = |kubeconfig: &str, lease: &str, says: &[&str]| {
        refused(&["step-down", lease], &[("KUBECONFIG", kubeconfig)], FAILED, says);
    };
    let held = |name: &str| {
        cluster.change_lease(name, &json!({
            "metadata": {"annotations": {"leasehold.dev/task": "nightly"}}, "spec": {"holderIdentity": "pod-0_1a2b3c4d"},
        }))
    };
    let admin = cluster.plane.kubeconfig().to_str().expect("UTF-8");
    asks(admin, "no-such-lease", &["there is no lease default/no-such-lease"]);

    cluster.make_lease("ask-nobody");
    let nobody = cluster.user_with("ask-nobody", &[]);
    asks(&nobody, "ask-nobody", &["not allowed", rule, "cannot get resource"]);
    asks(admin, "ask-nobody", &["nobody holds lease default/ask-nobody"]);

    cluster.make_lease("ask-reader");
    let before = held("ask-reader");
    let reader = cluster.user_with("ask-reader", &["get"]);
    asks(&reader, "ask-reader", &["not allowed", rule, "cannot update resource"]);
    assert_eq!(cluster.lease_named("ask-reader"), Some(before));

    // client-go, say.
    cluster.make_lease("ask-foreign");
    let before = cluster.change_lease("ask-foreign", &json!({"spec": {"holderIdentity": "controller-7"}}));
    asks(admin, "ask-foreign", &["controller-7", "is no Leasehold host", "nothing was changed"]);
    assert_eq!(cluster.lease_named("ask-foreign"), Some(before));

    cluster.make_lease("ask");
    let before = held("ask");
    let operator = cluster.user_with("ask", &["get", "update"]);
    let args = ["step-down", "ask", "-n", "default", "--timeout", "0s"];
    let Said { code, stdout, stderr } = leasehold(&args, &[("KUBECONFIG", &operator)]);
    assert_eq!((code, &*stderr), (Some(0), ""), "{stdout}");
    let after = cluster.lease_named("ask").expect("it is there");
    let annotations = after.metadata.annotations.expect("it has some");
    assert_eq!(annotations["leasehold.dev/step-down"], "pod-0_1a2b3c4d");
    assert_eq!(annotations["leasehold.dev/task"], "nightly");
    assert_eq!(after.spec.and_then(|spec| spec.holder_identity), before.spec.and_then(|spec| spec.holder_identity));
    // Nobody answers here.
    let args = ["step-down", "ask", "--timeout", "300ms"];
    refused(&args, &[("KUBECONFIG", &operator)], FAILED, &["pod-0_1a2b3c4d", "within 300ms", "The request stands"]);
}

#[test]
fn a_namespace_that_does_not_exist_is_told_and_not_waited_for() {
    let cluster = cluster();
    let kubeconfig = cluster.plane.kubeconfig().to_str().expect("UTF-8");
    refused_by(
        kubeconfig,
        "task",
        &["-n", "no-such-place"],
        &["namespace no-such-place does not exist", "--namespace"],
    );
}

#[test]
fn a_module_in_a_config_map_that_cannot_be_had_says_which_and_why() {
    let cluster = cluster();
    let kubeconfig = cluster.plane.kubeconfig().to_str().expect("UTF-8");
    let empty = json!({"metadata": {"name": "texts"}, "data": {"a.txt": "a", "b.txt": "b"}});
    let empty: ConfigMap = serde_json::from_value(empty).expect("a config map");
    cluster.runtime.block_on(cluster.api().create(&PostParams::default(), &empty)).expect("made");
    let refused_with = |module: &str, code: i32, kubeconfig: &str, says: &[&str]| {
        refused(&["run", module, "--lease", "unmade"], &[("KUBECONFIG", kubeconfig)], code, says);
        assert_eq!(cluster.lease_named("unmade"), None);
    };
    refused_with(
        "configmap:gone/a.wasm",
        MISTAKE,
        kubeconfig,
        &["configmap:gone/a.wasm", "there is no configmap default/gone"],
    );
    let says = ["configmap default/texts has no key \"a.wasm\"", "it has a.txt, b.txt"];
    refused_with("configmap:texts/a.wasm", MISTAKE, kubeconfig, &says);
    refused_with("configmap:texts/a.txt", MISTAKE, kubeconfig, &["it is not WebAssembly"]);
    refused_with("configmap:texts", MISTAKE, kubeconfig, &["configmap:[NAMESPACE/]NAME/KEY"]);
    let nobody = cluster.user_with("unmade", &["get", "list", "watch", "update"]);
    let rule = "{apiGroups: [\"\"], resources: [configmaps], verbs: [get, list, watch]}";
    refused_with(
        "configmap:texts/a.wasm",
        FAILED,
        &nobody,
        &["may not get, list, watch configmap default/texts", rule],
    );
}

#[test]
fn an_admin_address_that_is_taken_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it listens").to_string();
    let desk = Desk::new();
    desk.refuses_to_run(
        &[good(), "--admin", &address],
        FAILED,
        &["cannot listen at the admin address", &address, "--admin"],
    );
    desk.refuses_to_run(&[good(), "--admin", "everywhere"], MISTAKE, &["--admin", "everywhere"]);
}

/// Design, invariant 9: a Role with these four on one Lease that was made beforehand is enough.
#[test]
fn get_list_watch_and_update_of_one_lease_are_enough_to_lead_and_to_release() {
    let cluster = cluster();
    cluster.make_lease("enough");
    let kubeconfig = cluster.user_with("enough", &["get", "list", "watch", "update"]);
    let mut host = HostProcess::run_in_cluster("least", good().as_ref(), kubeconfig.as_ref(), &["--lease", "enough"]);
    host.wait_for_event("guest-started", 1);
    let holder = || cluster.lease_named("enough").and_then(|lease| lease.spec).and_then(|spec| spec.holder_identity);
    assert!(holder().is_some_and(|holder| holder.starts_with("least_")));
    let begun = std::time::Instant::now();
    let is_renewed = || {
        let spec = cluster.lease_named("enough").and_then(|lease| lease.spec).expect("a spec");
        spec.renew_time.map(|time| time.0) > spec.acquire_time.map(|time| time.0)
    };
    while !is_renewed() {
        assert!(begun.elapsed() < PATIENCE, "it does not renew");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0));
    assert_eq!(holder().as_deref(), Some(""));
    let told = host.events();
    let trouble = told.iter().filter(|event| event.line["level"] == "WARN" || event.line["level"] == "ERROR");
    // What is missing costs its feature, and one line that names the rule.
    let expected = [
        ("events-off", "{apiGroups: [events.k8s.io], resources: [events], verbs: [create]}"),
        ("early-takeover-off", "{apiGroups: [\"\"], resources: [pods], verbs: [list, watch]}"),
    ];
    let lines: Vec<_> = trouble.collect();
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, (name, rule)) in lines.into_iter().zip(expected) {
        assert!(line.name() == name && line.message().contains(rule), "{}", line.line);
    }
}

#[test]
fn with_create_as_well_the_lease_is_made_where_it_is_missing() {
    let cluster = cluster();
    let named = json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["made"],
        "verbs": ["get", "list", "watch", "update"]});
    let create = json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]});
    let kubeconfig = cluster.user_with_role("maker", json!({"rules": [named, create]}));
    let args = ["--lease", "made"];
    let mut host = HostProcess::run_in_cluster("maker", good().as_ref(), kubeconfig.as_ref(), &args);
    host.wait_for_event("guest-started", 1);
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0));
    assert!(cluster.lease_named("made").is_some());
}
