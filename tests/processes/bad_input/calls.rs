//! Flags, the config file, and folders for leases.

use leasehold_tests::host_process::{Said, leasehold};

use super::{Desk, FAILED, MISTAKE, good, refused};

#[test]
fn a_flag_that_is_wrong_is_named_with_what_would_be_right() {
    let cases: [(&[&str], &[&str]); 27] = [
        (&["--no-such-flag"], &["'--no-such-flag'", "--help"]),
        (&["--lease-duration", "10s"], &["--lease-duration", "renew deadline (10s)", "raise the first"]),
        (&["--lease-duration", "9s"], &["lease duration (9s)", "renew deadline (10s)"]),
        (&["--renew-deadline", "20s"], &["--renew-deadline", "lease duration (15s)", "lower the second"]),
        (&["--renew-deadline", "4s"], &["renew deadline (4s)", "a third of the lease duration (5s)"]),
        (&["--retry-period", "10s"], &["--retry-period", "renew deadline (10s)", "retry period (10s)"]),
        (&["--lease-duration", "15500ms"], &["whole seconds", "15.5s"]),
        (&["--lease-duration", "15"], &["--lease-duration", "time unit needed"]),
        (&["--lease", "Bad_Name"], &["--lease", "\"Bad_Name\"", "lower-case letters"]),
        (&["--name", "a/b"], &["--name", "\"a/b\"", "lower-case letters"]),
        (&["--memory", "lots"], &["--memory", "'lots'", "such as 64Mi"]),
        (&["--env", "REGION"], &["--env", "NAME=VALUE"]),
        (&["--env", "LEASEHOLD_TOKEN=1"], &["--env", "LEASEHOLD_TOKEN", "the host's own"]),
        (&["--allow-tcp", "kafka"], &["--allow-tcp", "no port", "kafka:9092"]),
        (&["--allow-tcp", "*:9092"], &["--allow-tcp", "`*` is not a host"]),
        (&["--allow-files", "data"], &["--allow-files", "\"data\" is not an absolute path"]),
        (
            &["--allow-files", "/nowhere/to/be:/found"],
            &["allow.files", "the folder /nowhere/to/be cannot be used", "No such file"],
        ),
        (&["--allow-files", "/etc/passwd"], &["allow.files", "/etc/passwd is not a folder"]),
        (&["--allow-files", "/:/a", "--allow-files", "/tmp:/a"], &["allow.files", "/ and /tmp are both at /a"]),
        (&["--digest", "abc"], &["--digest", "sha256: and 64 hexadecimal digits", "leasehold check"]),
        (&["--cosign-key", "cosign.pub"], &["a cosign key is for a module in a registry", "`digest`"]),
        (&["--poll", "0s"], &["--poll", "between 1s and 24h"]),
        (&["--leader-label", "app.kubernetes.io/name"], &["--leader-label", "Kubernetes' own"]),
        (&["--leader-label", "leader="], &["--leader-label", "no value for a label"]),
        (&["--leader-label", "leader"], &["the label leader=true", "not in a folder"]),
        (&["--on-return", "maybe"], &["--on-return", "hold, release, restart"]),
        (&["--config", "host.yaml"], &["--config", "cannot be used with"]),
    ];
    let desk = Desk::new();
    for (flags, says) in cases {
        desk.refuses_to_run(&[&[good()], flags].concat(), MISTAKE, says);
    }
    refused(
        &["run", good(), "--lease-store", "etcd"],
        &[],
        MISTAKE,
        &["--lease-store", "`kubernetes` or `file:FOLDER`"],
    );
    refused(&["run"], &[], MISTAKE, &["<MODULE>", "--help"]);
    refused(&["run", "https://registry/task"], &[], MISTAKE, &["`https:`", "path of a file", "oci:REGISTRY"]);
    refused(&["run", "oci:task:1"], &[], MISTAKE, &["which registry", "oci:REGISTRY/REPOSITORY"]);
    refused(
        &["run", good()],
        &[("RUST_LOG", "leasehold=loud"), ("HOME", "/")],
        FAILED,
        &["RUST_LOG", "leasehold=loud"],
    );
}

#[test]
fn a_variable_that_is_wrong_is_named() {
    let desk = Desk::new();
    let store = desk.lease_store();
    for variable in ["LEASE_NAME", "NAMESPACE", "POD_NAMESPACE"] {
        let says = [&*format!("${variable}"), "\"Bad_Name\"", "lower-case letters"];
        refused(&["run", good(), "--lease-store", &store], &[(variable, "Bad_Name")], MISTAKE, &says);
        desk.has_no_lease();
    }
}

#[test]
fn a_file_name_that_makes_no_name_asks_for_one() {
    let desk = Desk::new();
    let module = desk.write("Report (1).wasm", std::fs::read(good()).expect("a guest"));
    desk.refuses_to_run(&[&module], MISTAKE, &["\"Report (1)\"", "--name"]);
}

#[test]
fn a_mistake_in_the_config_is_told_with_its_line_and_field() {
    let head = "leaseStore: file:{leases}\ntasks:\n- name: a\n  module: {good}\n";
    let cases: [(&str, &[&str]); 22] = [
        ("  replicas: 3\n", &["line 5", "unknown field `replicas`", "onReturn"]),
        ("  limits: {disk: 1}\n", &["line 5", "unknown field `disk`", "memory"]),
        ("  limits: {cpu: 2}\n", &["line 5", "\"2\"", "a part of one core, such as 500m"]),
        ("  limits: {output: fast}\n", &["line 5", "\"fast\"", "such as 64Mi"]),
        ("  args: all\n", &["line 5", "expected a list", "`args: all`"]),
        ("  env: [A]\n", &["line 5", "expected fields (`name: value`)", "`env: [A]`"]),
        ("  env: {'A=B': x}\n", &["line 5", "A=B", "no `=`"]),
        ("  env: {LEASEHOLD_TOKEN: '1'}\n", &["line 5", "LEASEHOLD_TOKEN", "the host's own"]),
        ("  env: {A: {valueFrom: {fieldRef: {name: a}}}}\n", &["line 5", "fieldRef", "secretKeyRef"]),
        ("  allow: {tcp: [kafka]}\n", &["line 5", "\"kafka\"", "no port", "kafka:9092"]),
        ("  allow:\n    tcp:\n    - 10.0.0.7:5432\n    - 0.0.0.0:1\n", &["line 8", "0.0.0.0", "connect to"]),
        ("  allow: {files: [{host: /tmp, guest: tmp}]}\n", &["line 5", "\"tmp\"", "absolute path"]),
        ("  limits: {tcp: {sockets: 0}}\n", &["line 5", "0 sockets", "1 to 10000"]),
        ("  adopt: perhaps\n", &["line 5", "`adopt: perhaps`"]),
        ("  limits: {memory: lots}\n", &["line 5", "\"lots\"", "such as 64Mi"]),
        ("  lease: {duration: 15}\n", &["line 5", "time unit needed"]),
        ("  lease:\n    duration: 10s\n", &["line 6", "task \"a\"", "longer than the renew deadline (10s)"]),
        ("  lease: {name: Bad_Name}\n", &["line 5", "\"Bad_Name\"", "lower-case letters"]),
        ("  digest: abc\n", &["line 5", "sha256: and 64"]),
        ("  onReturn: maybe\n", &["line 5", "`maybe`", "hold, release, restart"]),
        ("- name: b\n", &["line 5", "missing field `module`"]),
        (
            "- {name: b, module: {good}, lease: {name: a}}\n",
            &["line 5", "task \"b\"", "the lease of task \"a\"", "each needs its own"],
        ),
    ];
    let desk = Desk::new();
    for (rest, says) in cases {
        desk.refuses_config(&format!("{head}{rest}"), says);
    }
    desk.refuses_config("", &["unexpected end of input"]);
    desk.refuses_config("leaseStore: file:{leases}\ntasks: []\n", &["`tasks` is empty", "name at least one"]);
    desk.refuses_config("leaseStore: etcd\ntasks: []\n", &["line 1", "`kubernetes` or `file:FOLDER`"]);
    desk.refuses_config("tasks: {\n", &["line"]);
    let missing = desk.text("missing.yaml");
    refused(&["run", "--config", &missing], &[], MISTAKE, &["cannot read the config file", &missing]);
}

#[test]
fn a_mistake_in_what_a_task_is_allowed_is_told_with_its_line_and_what_would_be_right() {
    let head = "leaseStore: file:{leases}\ntasks:\n- name: a\n  module: {good}\n";
    let cases: [(&str, &[&str]); 13] = [
        ("  allow: [http]\n", &["line 5", "`allow: [http]`"]),
        ("  allow: {https: []}\n", &["line 5", "unknown field `https`", "kubernetes"]),
        ("  allow:\n    http: [api.example.com]\n", &["line 6", "\"api.example.com\"", "https://api.example.com/v1/"]),
        ("  allow: {http: [\"https://*/\"]}\n", &["line 5", "\"https://*/\"", "not a host name"]),
        ("  allow: {http: [\"https://a@b.test/\"]}\n", &["line 5", "user-info"]),
        ("  allow: {http: [\"https://b.test/a/../b\"]}\n", &["line 5", "`..`"]),
        ("  allow: {http: [\"http://kubernetes.default.svc/\"]}\n", &["line 5", "kubernetes: true"]),
        ("  allow: {tokenHeader: Host}\n", &["line 5", "\"Host\"", "Leasehold-Token"]),
        ("  allow: {kubernetes: perhaps}\n", &["line 5", "perhaps", "serviceAccount", "rules"]),
        ("  allow: {kubernetes: {serviceAccount: A}}\n", &["line 5", "\"A\"", "lower-case letters"]),
        (
            "  allow: {kubernetes: {rules: [{apiGroups: [''], resources: [pods], verbs: [read]}]}}\n",
            &["line 5", "\"read\" is not a verb", "get, list, watch"],
        ),
        ("  limits: {http: {inFlight: 0}}\n", &["line 5", "1 to 10000"]),
        ("  limits: {http: {total: 5}}\n", &["line 5", "time unit needed"]),
    ];
    let desk = Desk::new();
    for (rest, says) in cases {
        desk.refuses_config(&format!("{head}{rest}"), says);
    }
    desk.refuses_to_run(&[good(), "--allow-http", "h.test"], MISTAKE, &["--allow-http", "https://api.example.com/v1/"]);
    for (file, wanted) in [("/nonexistent.pem", "No such file"), (good(), "BEGIN CERTIFICATE")] {
        let allow = format!("  allow: {{caFile: '{file}'}}\n");
        let config = desk.write(
            "host.yaml",
            format!("{head}{allow}").replace("{leases}", &desk.text("leases")).replace("{good}", good()),
        );
        refused(&["run", "--config", &config], &[], MISTAKE, &["task a", file, wanted]);
        desk.has_no_lease();
    }
    // An image from scratch has no certificate authorities.
    let config = desk.write(
        "scratch.yaml",
        format!(
            "leaseStore: {}\ntasks:\n- name: a\n  module: {}\n  allow: {{http: [\"https://h.test/\"]}}\n",
            desk.lease_store(),
            good()
        ),
    );
    let nowhere = [("SSL_CERT_FILE", "/nonexistent"), ("SSL_CERT_DIR", "/nonexistent")];
    refused(
        &["run", "--config", &config],
        &nowhere,
        MISTAKE,
        &["task a", "no certificate authorities", "SSL_CERT_FILE", "caFile"],
    );
    // Kubernetes is allowed, and there is none.
    desk.refuses_to_run(&[good(), "--allow-kubernetes"], FAILED, &["allow.kubernetes", "found no cluster"]);
}

#[test]
fn a_folder_that_cannot_hold_leases_is_named() {
    let desk = Desk::new();
    let file = desk.write("file", "");
    // Nobody can make files in /sys, root neither.
    for folder in [file.clone(), format!("{file}/below"), "/sys".to_owned()] {
        let store = format!("file:{folder}");
        let says = ["cannot keep leases", &*folder, "give a folder that can be written"];
        refused(&["run", good(), "--lease-store", &store], &[], FAILED, &says);
    }
}

#[test]
fn dev_says_what_folder_it_needs() {
    let desk = Desk::new();
    let empty = desk.text("empty");
    std::fs::create_dir(&empty).expect("a folder");
    refused(&["dev", &empty], &[], MISTAKE, &[&empty, "no Cargo.toml", "guest-examples/heartbeat"]);
    refused(&["dev", &desk.text("missing")], &[], MISTAKE, &["no Cargo.toml"]);
}

#[test]
fn every_command_explains_itself() {
    for command in ["run", "dev", "check", "step-down", "wit"] {
        let Said { code, stdout, .. } = leasehold(&[command, "--help"], &[]);
        assert_eq!(code, Some(0));
        assert!(stdout.contains("Example") && stdout.contains(&format!("leasehold {command}")), "{stdout}");
    }
    let Said { code, stdout, .. } = leasehold(&["run", "--help"], &[]);
    assert_eq!(code, Some(0));
    for wanted in ["[default: 15s]", "[default: 64Mi]", "Exit codes: 0", "--lease-store file:"] {
        assert!(stdout.contains(wanted), "no {wanted:?} in:\n{stdout}");
    }
}

#[test]
fn wit_prints_the_world_to_build_for() {
    let Said { code, stdout, .. } = leasehold(&["wit"], &[]);
    assert_eq!(code, Some(0));
    for wanted in ["package leasehold:task@", "world leader-task", "export on-start-leading", "interface leadership"] {
        assert!(stdout.contains(wanted), "no {wanted:?} in:\n{stdout}");
    }
}

#[test]
fn step_down_says_why_nobody_was_asked() {
    let desk = Desk::new();
    let store = desk.lease_store();
    let asks = |args: &[&str], code: i32, says: &[&str]| {
        refused(&[&["step-down", "--lease-store", &store], args].concat(), &[], code, says);
    };
    asks(&[], MISTAKE, &["<LEASE>", "--help"]);
    asks(&["Bad_Name"], MISTAKE, &["\"Bad_Name\"", "lower-case letters"]);
    asks(&["nightly", "--timeout", "30"], MISTAKE, &["--timeout", "time unit needed"]);
    asks(&["nightly", "-n", "jobs"], FAILED, &["there is no lease jobs/nightly", &desk.text("leases")]);
    desk.has_no_lease();
    refused(
        &["step-down", "nightly", "--lease-store", &store],
        &[("NAMESPACE", "Bad_Name")],
        MISTAKE,
        &["$NAMESPACE", "\"Bad_Name\""],
    );

    std::fs::create_dir(desk.leases()).expect("a folder");
    let lease_is = |text: &str| desk.write("leases/default.nightly.json", text);
    let free = r#"{"version": 4, "holderIdentity": null, "leaseTransitions": 0, "task": "nightly"}"#;
    let foreign = r#"{"version": 4, "holderIdentity": "somebody", "leaseTransitions": 0}"#;
    for (text, says) in [
        (free, "nobody holds lease default/nightly"),
        (foreign, "somebody, who holds lease default/nightly"),
        ("{}", "it does not hold a lease"),
    ] {
        let path = lease_is(text);
        asks(&["nightly"], FAILED, &[says]);
        assert_eq!(std::fs::read_to_string(path).expect("it is there"), text, "nothing was changed");
    }
}
