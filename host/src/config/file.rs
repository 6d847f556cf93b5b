//! The config file: YAML, camelCase, the same task shape that a custom resource would carry.

use std::{fmt, net::SocketAddr, path::PathBuf};

use bytesize::ByteSize;
use leasehold_core::{
    task::{Digest, TaskConfig},
    timing::Timing,
};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{
    Allow, AtStart, CallbackTime, CandidateVersions, Collector, Config, ConfigError, Environment, LeaderAddress,
    LeaderLabel, Name, OnReturnArg, ProgressDeadline, Reference, StoreChoice, SwapArg, TaskSpec, TracesConfig,
    allow::{AllowFile, HttpLimitsFile, TcpLimitsFile},
    coordinated_in,
    env::EnvFile,
    oci::{Origin, RegistryFile, VerifyFile},
    parse_digest, parse_size, shutdown_time,
};
use crate::{
    guest::{
        cache::{CACHE_BYTES_DEFAULT, CacheConfig},
        cpu::CpuShare,
        runtime::GuestConfig,
    },
    log::LogFormat,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(default)]
    lease_store: Parsed<StoreChoice>,
    #[serde(default)]
    identity: Option<String>,
    #[serde(default)]
    admin: Option<Parsed<SocketAddr>>,
    #[serde(default)]
    leader_address: Option<Parsed<LeaderAddress>>,
    #[serde(default)]
    shutdown_timeout: Option<Spanned<Parsed<humantime::Duration>>>,
    #[serde(default)]
    traces: Option<Parsed<Collector>>,
    #[serde(default)]
    cache: Option<PathBuf>,
    #[serde(default)]
    cache_size: Option<Size>,
    tasks: Vec<Spanned<Task>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Task {
    name: Name,
    module: Parsed<Reference>,
    #[serde(default)]
    digest: Option<Pin>,
    #[serde(default)]
    registry: RegistryFile,
    #[serde(default)]
    verify: Option<VerifyFile>,
    #[serde(default)]
    lease: Option<Spanned<Lease>>,
    #[serde(default)]
    adopt: bool,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: EnvFile,
    #[serde(default)]
    allow: AllowFile,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    on_return: OnReturnArg,
    #[serde(default)]
    swap: Swap,
    #[serde(default)]
    leader_label: Option<Parsed<LeaderLabel>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Swap {
    #[serde(default)]
    policy: SwapArg,
    probation: Option<Parsed<humantime::Duration>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Lease {
    name: Option<Name>,
    namespace: Option<Name>,
    duration: Option<Parsed<humantime::Duration>>,
    renew_deadline: Option<Parsed<humantime::Duration>>,
    retry_period: Option<Parsed<humantime::Duration>>,
    early_takeover: Option<bool>,
    #[serde(default)]
    coordinated: bool,
    binary_version: Option<Parsed<semver::Version>>,
    emulation_version: Option<Parsed<semver::Version>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Limits {
    memory: Option<Size>,
    output: Option<Size>,
    cpu: Option<Parsed<CpuShare>>,
    stop_grace: Option<Parsed<humantime::Duration>>,
    progress_deadline: Option<Parsed<ProgressDeadline>>,
    callback_time: Option<Parsed<CallbackTime>>,
    #[serde(default)]
    http: HttpLimitsFile,
    #[serde(default)]
    tcp: TcpLimitsFile,
}

/// Anything that is parsed from text, with the parser's own words for a mistake.
#[derive(Clone, Debug, Default)]
pub(super) struct Parsed<T>(pub(super) T);

impl<'de, T> Deserialize<'de> for Parsed<T>
where
    T: std::str::FromStr<Err: fmt::Display>,
{
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}")))
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Size(pub(super) ByteSize);

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_size(&text).map(Self).map_err(|error| format!("{text:?}: {error}"))
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Pin(Digest);

impl TryFrom<String> for Pin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_digest(&text).map(Self)
    }
}

/// Parses a config file's text; `name` is the file's, for messages.
///
/// # Errors
/// Names the file, the line, and what was expected.
pub fn parse(name: &str, text: &str, log_format: LogFormat, environment: &Environment) -> Result<Config, ConfigError> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| explained(name, text, &error))?;
    let namespace = environment.namespace()?;
    let mut tasks: Vec<TaskSpec> = Vec::new();
    for task in file.tasks {
        let line = task.referenced.line();
        let mut task = task_spec(task.value, &file.lease_store.0)
            .map_err(|(at, error)| ConfigError(format!("{name}: line {}: {error}", at.unwrap_or(line))))?;
        task.namespace = task.namespace.or_else(|| namespace.clone());
        let taken = |other: &TaskSpec| {
            other.name == task.name || (&other.lease, &other.namespace) == (&task.lease, &task.namespace)
        };
        if let Some(other) = tasks.iter().find(|other| taken(other)) {
            return Err(ConfigError(format!(
                "{name}: line {line}: task {:?} has the name or the lease of task {:?}; each needs its own",
                task.name.as_str(),
                other.name.as_str()
            )));
        }
        if let Some(label) = &task.leader_label {
            let mistake = |error: &dyn fmt::Display| {
                ConfigError(format!("{name}: line {line}: task {:?}: leaderLabel: {error}", task.name.as_str()))
            };
            label.check(&file.lease_store.0, environment).map_err(|error| mistake(&error))?;
            if let Some(other) = label.taken(&tasks) {
                let other = other.name.as_str();
                return Err(mistake(&format_args!("task {other:?} has {} as well; each needs its own", label.key)));
            }
        }
        tasks.push(task);
    }
    if tasks.is_empty() {
        return Err(ConfigError(format!("{name}: `tasks` is empty: name at least one")));
    }
    let identity = file.identity.or_else(|| environment.pod_name());
    let admin = file.admin.map(|admin| admin.0);
    let leader_address = match file.leader_address {
        Some(Parsed(address)) => Some(address),
        None => environment.leader_address()?,
    };
    let cache = match (file.cache, file.cache_size) {
        (Some(folder), size) => Some(CacheConfig { folder, size: size.map_or(CACHE_BYTES_DEFAULT, |size| size.0) }),
        (None, None) => None,
        (None, Some(_)) => {
            return Err(ConfigError(format!(
                "{name}: cacheSize says how large the cache may be: give `cache: FOLDER` too"
            )));
        }
    };
    let pod = environment.pod.clone();
    let traces = TracesConfig::new(file.traces.map(|traces| traces.0), &environment.traces)?;
    let asked = file.shutdown_timeout.as_ref();
    let shutdown_timeout = shutdown_time(asked.map(|asked| asked.value.0.into()), &tasks).map_err(|error| {
        let line = asked.map_or(1, |asked| asked.referenced.line());
        ConfigError(format!("{name}: line {line}: shutdownTimeout: {error}"))
    })?;
    let (store, at_start) = (file.lease_store.0, AtStart::Awaited);
    Ok(Config {
        store,
        identity,
        pod,
        log_format,
        admin,
        traces,
        leader_address,
        shutdown_timeout,
        cache,
        at_start,
        tasks,
    })
}

/// The parser's words, without its terms, and with the line they are about.
fn explained(name: &str, text: &str, error: &serde_saphyr::Error) -> ConfigError {
    let words = error.without_snippet().to_string();
    let words = words.split(" at line ").next().unwrap_or_default();
    let words = words.replace("sequence start", "a list").replace("mapping start", "fields (`name: value`)");
    let words = words
        .replace("externally tagged enum expected scalar or mapping", "expected a text, or fields (`name: value`)");
    let line = error.location().map(|location| location.line());
    let content = line.and_then(|line| text.lines().nth(usize::try_from(line).ok()?.checked_sub(1)?));
    ConfigError(match (line, content.map(str::trim)) {
        (Some(line), Some(content)) => format!("{name}: line {line}: {words}: `{content}`"),
        _ => format!("{name}: {words}"),
    })
}

fn task_spec(task: Task, store: &StoreChoice) -> Result<TaskSpec, (Option<u64>, String)> {
    let lease_line = task.lease.as_ref().map(|lease| lease.referenced.line());
    let Task {
        name,
        module,
        digest,
        registry,
        verify,
        lease,
        adopt,
        args,
        env,
        allow,
        limits,
        on_return,
        swap,
        leader_label,
    } = task;
    let origin = Origin::written(registry, verify)
        .of(&module.0)
        .map_err(|error| (None, format!("task {:?}: {error}", name.as_str())))?;
    let lease = lease.map(|lease| lease.value).unwrap_or_default();
    let or = |given: Option<Parsed<humantime::Duration>>, default| given.map_or(default, |given| given.0.into());
    let default = Timing::default();
    let timing = Timing::new(
        or(lease.duration, default.lease()),
        or(lease.renew_deadline, default.renew_deadline()),
        or(lease.retry_period, default.retry_period()),
    )
    .map_err(|error| (lease_line, format!("task {:?}: {error}", name.as_str())))?;
    let coordinated = match (lease.coordinated, lease.binary_version, lease.emulation_version) {
        (true, binary, emulation) => {
            CandidateVersions::new(binary.map(|given| given.0), emulation.map(|given| given.0))
                .and_then(|versions| coordinated_in(store, versions))
                .map(Some)
        }
        (false, None, None) => Ok(None),
        (false, ..) => Err(ConfigError("a version is for a candidate: set `coordinated: true` as well".into())),
    }
    .map_err(|error| (lease_line, format!("task {:?}: {error}", name.as_str())))?;
    let policy = TaskConfig::default();
    let (env, env_from) = env.split();
    Ok(TaskSpec {
        lease: lease.name.unwrap_or_else(|| name.clone()),
        name,
        module: module.0,
        origin,
        digest: digest.map(|digest| digest.0),
        namespace: lease.namespace,
        adopt,
        timing,
        early_takeover: lease.early_takeover.unwrap_or(true),
        coordinated,
        policy: TaskConfig {
            stop_grace: or(limits.stop_grace, policy.stop_grace),
            progress_deadline: limits.progress_deadline.map(|deadline| deadline.0.0),
            on_return: on_return.into(),
            swap: swap.policy.into(),
            probation: or(swap.probation, policy.probation),
            ..policy
        },
        allow: Allow::of(allow, limits.http, limits.tcp),
        leader_label: leader_label.map(|label| label.0),
        env_from,
        guest: GuestConfig {
            args,
            env,
            memory: limits.memory.map_or(GuestConfig::MEMORY_DEFAULT, |size| size.0),
            output: limits.output.map_or(GuestConfig::OUTPUT_DEFAULT, |size| size.0),
            cpu: limits.cpu.map(|share| share.0),
            callback_time: limits.callback_time.map_or(GuestConfig::CALLBACK_TIME_DEFAULT, |time| time.0.0),
            ..GuestConfig::default()
        },
    })
}

#[cfg(test)]
mod tests {
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
        let config =
            with("tasks: [{name: a, module: a.wasm, leaderLabel: leader.example.com/a}]").expect("it is right");
        let label = LeaderLabel { key: "leader.example.com/a".into(), value: "true".into() };
        assert_eq!(config.tasks[0].leader_label, Some(label));
        let pod = PodEnv { name: "of POD_NAME".into(), uid: Some("of POD_UID".into()), namespace: None };
        assert_eq!(config.pod, Some(pod));
        let outside = refused("tasks:\n- {name: a, module: a.wasm, leaderLabel: leader}");
        assert!(outside.contains("line 2") && outside.contains("$POD_NAME"), "{outside}");
        let folder = with("leaseStore: file:/tmp/l\ntasks: [{name: a, module: a.wasm, leaderLabel: leader}]");
        assert!(folder.is_err_and(|error| error.contains("not in a folder")));
        let both =
            "tasks:\n- {name: a, module: a.wasm, leaderLabel: l=1}\n- {name: b, module: b.wasm, leaderLabel: l=2}";
        let both = with(both).expect_err("they would take it off each other");
        assert!(both.contains("line 3") && both.contains("task \"a\" has l as well"), "{both}");
        let key = refused("tasks:\n- {name: a, module: a.wasm, leaderLabel: app.kubernetes.io/name}");
        assert!(key.contains("line 2") && key.contains("Kubernetes' own"), "{key}");
    }

    #[test]
    fn an_unknown_field_is_named_with_its_line() {
        let message = refused("tasks:\n- name: a\n  module: a.wasm\n  replicas: 3\n");
        assert!(
            message.starts_with("host.yaml: ") && message.contains("replicas") && message.contains('4'),
            "{message}"
        );
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
}
