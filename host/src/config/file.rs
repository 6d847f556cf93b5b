//! The config file: YAML, camelCase, the same task shape that a custom resource would carry.

use std::{fmt, path::PathBuf};

use bytesize::ByteSize;
use leasehold_core::{
    task::{Digest, TaskConfig},
    timing::Timing,
};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{
    AdminAddress, Allow, AtStart, CallbackTime, CandidateVersions, Collector, Config, ConfigError, Environment,
    LeaderAddress, LeaderLabel, Name, OnReturnArg, ProgressDeadline, Reference, StoreChoice, SwapArg, TaskSpec,
    TracesConfig,
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
    admin: Option<Parsed<AdminAddress>>,
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
mod tests;
