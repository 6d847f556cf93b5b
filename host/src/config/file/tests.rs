use std::time::Duration;

use leasehold_core::task::SwapPolicy;

use super::*;
use crate::config::{CosignKey, PodEnv, Poll};

fn refused(text: &str) -> String {
    parse("host.yaml", text, LogFormat::Text, &Environment::default()).expect_err("it has a mistake").to_string()
}

#[test]
fn a_whole_task_is_taken_as_written() {
    let config = parse(
        "host.yaml",
        "leaseStore: file:/tmp/leases\n\
         tasks:\n\
         - name: nightly\n  module: nightly.wasm\n  \
         lease: {name: night, namespace: jobs, duration: 30s, renewDeadline: 20s, retryPeriod: 1s, \
         earlyTakeover: false}\n  \
         args: [--all]\n  env: {REGION: eu}\n  \
         limits: {memory: 16Mi, output: 1Mi, cpu: 0.5, stopGrace: 1s, progressDeadline: 30s, \
         callbackTime: 2s}\n  onReturn: release\n  swap: {policy: nextTerm, probation: 1m}\n",
        LogFormat::Text,
        &Environment::default(),
    )
    .expect("it is right");
    let task = &config.tasks[0];
    assert_eq!(config.store, StoreChoice::Folder("/tmp/leases".into()));
    assert_eq!((task.lease.as_str(), task.name.as_str()), ("night", "nightly"));
    assert_eq!(task.timing.lease(), Duration::from_secs(30));
    assert!(!task.early_takeover);
    assert_eq!(task.guest.memory, ByteSize::mib(16));
    assert_eq!(task.guest.output, ByteSize::mib(1));
    assert_eq!(task.guest.cpu, "500m".parse().ok());
    assert_eq!(task.policy.stop_grace, Duration::from_secs(1));
    assert_eq!((task.policy.swap, task.policy.probation), (SwapPolicy::NextTerm, Duration::from_secs(60)));
    assert_eq!(task.guest.callback_time, Duration::from_secs(2));
    assert_eq!(task.policy.progress_deadline, Some(Duration::from_secs(30)));
}

#[test]
fn a_coordinated_lease_has_versions_and_a_cluster() {
    let with = |store: &str, lease: &str| {
        let text = format!("leaseStore: {store}\ntasks:\n- name: a\n  module: a.wasm\n  lease: {{{lease}}}\n");
        parse("host.yaml", &text, LogFormat::Text, &Environment::default()).map_err(|error| error.to_string())
    };
    let config = with("kubernetes", "coordinated: true, binaryVersion: 2.1.0, emulationVersion: 2.0.0");
    let versions = config.expect("it is right").tasks[0].coordinated.clone().expect("it is coordinated");
    assert_eq!((versions.binary.to_string(), versions.emulation.to_string()), ("2.1.0".into(), "2.0.0".into()));
    let wrong = [
        ("file:/tmp/l", "coordinated: true", "needs a Lease in Kubernetes"),
        ("kubernetes", "binaryVersion: 2.1.0", "coordinated: true"),
        ("kubernetes", "coordinated: true, binaryVersion: v2", "\"v2\""),
        ("kubernetes", "coordinated: true, emulationVersion: 99.0.0", "must not be above"),
    ];
    for (store, lease, said) in wrong {
        let message = with(store, lease).expect_err("it has a mistake");
        assert!(message.contains(said) && message.contains("line "), "{message}");
    }
}

#[test]
fn a_lease_is_named_after_its_task() {
    let text = "tasks: [{name: a, module: a.wasm}]";
    let config = parse("host.yaml", text, LogFormat::Text, &Environment::default()).expect("it is right");
    assert_eq!((config.tasks[0].lease.as_str(), config.tasks[0].early_takeover), ("a", true));
    assert_eq!(config.tasks[0].policy.progress_deadline, None);
    let policy = &config.tasks[0].policy;
    assert_eq!((policy.swap, policy.probation), (SwapPolicy::Now, Duration::from_secs(30)));
    assert_eq!(config.tasks[0].guest.callback_time, Duration::from_secs(5));
}

#[test]
fn a_cache_has_a_folder_and_a_size_that_goes_with_it() {
    let with = |cache: &str| {
        let text = format!("{cache}\ntasks: [{{name: a, module: a.wasm}}]");
        parse("host.yaml", &text, LogFormat::Text, &Environment::default()).map(|config| config.cache)
    };
    let folder = PathBuf::from("/cache/modules");
    assert_eq!(with(""), Ok(None), "nothing is kept that nobody has asked for");
    let size = CACHE_BYTES_DEFAULT;
    assert_eq!(with("cache: /cache/modules"), Ok(Some(CacheConfig { folder: folder.clone(), size })));
    let size = ByteSize::mib(100);
    assert_eq!(with("cache: /cache/modules\ncacheSize: 100Mi"), Ok(Some(CacheConfig { folder, size })));
    assert!(with("cacheSize: 100Mi").is_err_and(|error| error.0.contains("cache: FOLDER")));
    assert!(with("cache: /c\ncacheSize: many").is_err_and(|error| error.0.contains("line 2")));
}

#[test]
fn the_pods_name_and_namespace_are_taken_where_the_file_has_none() {
    let of_pod = |name: &str| match name {
        "POD_NAME" => Some("pod-1".to_owned()),
        "POD_NAMESPACE" => Some("jobs".to_owned()),
        _ => None,
    };
    let text = "tasks: [{name: a, module: a.wasm}, {name: b, module: b.wasm, lease: {namespace: own}}]";
    let config = parse("host.yaml", text, LogFormat::Text, &Environment::from(of_pod)).expect("it is right");
    assert_eq!(config.identity.as_deref(), Some("pod-1"));
    let namespaces: Vec<_> = config.tasks.iter().map(|task| task.namespace.as_ref().map(Name::as_str)).collect();
    assert_eq!(namespaces, [Some("jobs"), Some("own")]);
}

#[test]
fn a_leaders_label_is_for_one_task_in_a_pod() {
    let in_pod = |name: &str| match name {
        "POD_NAME" | "POD_UID" => Some(format!("of {name}")),
        _ => None,
    };
    let with = |text: &str| {
        let environment = Environment::from(in_pod);
        parse("host.yaml", text, LogFormat::Text, &environment).map_err(|error| error.to_string())
    };
    let config = with("tasks: [{name: a, module: a.wasm, leaderLabel: leader.example.com/a}]").expect("it is right");
    let label = LeaderLabel { key: "leader.example.com/a".into(), value: "true".into() };
    assert_eq!(config.tasks[0].leader_label, Some(label));
    let pod = PodEnv { name: "of POD_NAME".into(), uid: Some("of POD_UID".into()), namespace: None };
    assert_eq!(config.pod, Some(pod));
    let outside = refused("tasks:\n- {name: a, module: a.wasm, leaderLabel: leader}");
    assert!(outside.contains("line 2") && outside.contains("$POD_NAME"), "{outside}");
    let folder = with("leaseStore: file:/tmp/l\ntasks: [{name: a, module: a.wasm, leaderLabel: leader}]");
    assert!(folder.is_err_and(|error| error.contains("not in a folder")));
    let both = "tasks:\n- {name: a, module: a.wasm, leaderLabel: l=1}\n- {name: b, module: b.wasm, leaderLabel: l=2}";
    let both = with(both).expect_err("they would take it off each other");
    assert!(both.contains("line 3") && both.contains("task \"a\" has l as well"), "{both}");
    let key = refused("tasks:\n- {name: a, module: a.wasm, leaderLabel: app.kubernetes.io/name}");
    assert!(key.contains("line 2") && key.contains("Kubernetes' own"), "{key}");
}

#[test]
fn an_unknown_field_is_named_with_its_line() {
    let message = refused("tasks:\n- name: a\n  module: a.wasm\n  replicas: 3\n");
    assert!(message.starts_with("host.yaml: ") && message.contains("replicas") && message.contains('4'), "{message}");
}

#[test]
fn a_lease_not_longer_than_the_renew_deadline_is_told_with_its_line() {
    let message = refused("tasks:\n- name: a\n  module: a.wasm\n  lease:\n    duration: 10s\n");
    assert!(message.contains("line 5") || message.contains("line 4"), "{message}");
    assert!(message.contains("longer than the renew deadline"), "{message}");
}

#[test]
fn two_tasks_do_not_share_a_name_or_a_lease() {
    let message = refused("tasks:\n- {name: a, module: a.wasm}\n- {name: b, module: b.wasm, lease: {name: a}}\n");
    assert!(message.contains("line 3") && message.contains("\"b\"") && message.contains("\"a\""), "{message}");
}

#[test]
fn a_registry_and_a_key_are_taken_as_written() {
    let text = "tasks:\n- name: a\n  module: oci:r/a\n  \
                registry: {plainHttp: true, caFile: ca.pem, pullSecret: pull, poll: 30s}\n  \
                verify:\n    cosignKey: |\n      -----BEGIN PUBLIC KEY-----\n      AAAA\n";
    let config = parse("host.yaml", text, LogFormat::Text, &Environment::default()).expect("it is right");
    let origin = Origin {
        plain_http: true,
        ca_file: Some("ca.pem".into()),
        pull_secret: Some("pull".parse().expect("a name")),
        poll: Poll(Duration::from_secs(30)),
        cosign_key: Some(CosignKey::Pem("-----BEGIN PUBLIC KEY-----\nAAAA".into())),
    };
    assert_eq!(config.tasks[0].origin, origin);
}

#[test]
fn values_that_do_not_parse_say_what_would() {
    assert!(refused("tasks: [{name: A, module: a.wasm}]").contains("lower-case"));
    assert!(refused("tasks: [{name: a, module: 'https://r/a'}]").contains("path of a file"));
    assert!(refused("tasks: [{name: a, module: 'oci:r'}]").contains("which repository"));
    let file = refused("tasks:\n- {name: a, module: a.wasm, verify: {cosignKey: cosign.pub}}");
    assert!(file.contains("line 2") && file.contains("a cosign key is for a module in a registry"), "{file}");
    assert!(refused("tasks: [{name: a, module: a.wasm, digest: abc}]").contains("sha256:"));
    assert!(refused("tasks: [{name: a, module: a.wasm, onReturn: maybe}]").contains("hold"));
    assert!(refused("tasks: [{name: a, module: a.wasm, swap: {policy: later}}]").contains("nextTerm"));
    assert!(refused("leaseStore: etcd\ntasks: []").contains("file:FOLDER"));
    let hasty = refused("tasks: [{name: a, module: a.wasm, limits: {progressDeadline: 1ms}}]");
    assert!(hasty.contains("line 1") && hasty.contains("at least 100ms"), "{hasty}");
    assert!(refused("tasks: []").contains("at least one"));
}
