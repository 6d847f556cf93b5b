//! What a person asked for, parsed once into types that cannot be wrong. No I/O in here.

mod allow;
mod candidate;
mod env;
mod file;
mod leader_label;
mod oci;
mod reference;
mod traces;
mod values;

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use leasehold_core::{
    task::{Digest, TaskConfig},
    timing::Timing,
};

use crate::{
    args::RunArgs,
    guest::{cache::CacheConfig, runtime::GuestConfig},
    log::LogFormat,
};

pub use allow::{Allow, AllowKubernetes, ServiceAccount};
pub use candidate::{CandidateVersions, check_identity};
pub use env::{EnvName, EnvRef, KeyRef, ValueFrom};
pub use file::parse as parse_file;
pub use leader_label::LeaderLabel;
pub use oci::{CosignKey, OciReference, Origin, Poll};
pub use reference::Reference;
pub use traces::{Collector, TracesConfig, TracesEnvironment};
pub use values::{
    AdminAddress, CallbackTime, EnvVar, LeaderAddress, Name, OnReturnArg, ProgressDeadline, SwapArg, parse_digest,
    parse_size,
};

/// A host's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the Leases are kept.
    pub store: StoreChoice,
    /// Before the nonce in the identity; `None` takes the host's name.
    pub identity: Option<String>,
    /// The Pod that this host runs in, if it is told of one.
    pub pod: Option<PodEnv>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Where health and metrics are served, if anywhere.
    pub admin: Option<AdminAddress>,
    /// Where applications are told who leads, if anywhere.
    pub leader_address: Option<LeaderAddress>,
    /// How long the host takes at most to end when it is asked to.
    pub shutdown_timeout: Duration,
    /// Where spans go, if anywhere.
    pub traces: Option<TracesConfig>,
    /// Where compiled modules are kept, if anywhere.
    pub cache: Option<CacheConfig>,
    /// What becomes of a task without a module that can be run.
    pub at_start: AtStart,
    /// At least one; names and Leases differ.
    pub tasks: Vec<TaskSpec>,
}

/// Whether a task has to have a module that can be run when the host starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtStart {
    /// The host ends without one, and says why: for who has started it by hand, and sees it.
    Required,
    /// The task waits for one and is not ready, and the others run: where the host is one of several replicas, or has
    /// several tasks, and would be started over and over.
    Awaited,
}

/// The Pod that a host runs in, as its environment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEnv {
    /// `POD_NAME`: the identity's beginning, as well.
    pub name: String,
    /// `POD_UID`
    pub uid: Option<String>,
    /// `POD_NAMESPACE`; `None` takes that of the service account. (`NAMESPACE` is where the Leases are.)
    pub namespace: Option<String>,
}

impl PodEnv {
    /// What `set` has of one.
    fn from(set: impl Fn(&str) -> Option<String>) -> Option<Self> {
        set("POD_NAME").map(|name| Self { name, uid: set("POD_UID"), namespace: set("POD_NAMESPACE") })
    }

    /// Where it is; `of_account` is the service account's namespace.
    pub fn namespace_or<'a>(&'a self, of_account: &'a str) -> &'a str {
        self.namespace.as_deref().unwrap_or(of_account)
    }
}

/// What the environment of the process says; a flag or the config file wins over it.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `POD_NAME`, `POD_UID` and `POD_NAMESPACE`
    pub pod: Option<PodEnv>,
    /// `NAMESPACE`, else `POD_NAMESPACE`: where the Leases are.
    pub namespace: Option<String>,
    /// `LEASE_NAME`: the Lease of a task that is given by flags.
    pub lease_name: Option<String>,
    /// `ELECTOR_PATH`: where applications ask who leads, in the words of earlier elector sidecars.
    pub elector_path: Option<String>,
    /// `KUBERNETES_SERVICE_HOST`, which each container of a Pod has, or `POD_NAME`.
    pub in_pod: bool,
    /// `OTEL_...`
    pub traces: TracesEnvironment,
}

impl Environment {
    /// From a look-up by name; empty counts as not set.
    pub fn from(look_up: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| look_up(name).filter(|value: &String| !value.is_empty());
        Self {
            pod: PodEnv::from(set),
            namespace: set("NAMESPACE").or_else(|| set("POD_NAMESPACE")),
            lease_name: set("LEASE_NAME"),
            elector_path: set("ELECTOR_PATH"),
            in_pod: set("KUBERNETES_SERVICE_HOST").or_else(|| set("POD_NAME")).is_some(),
            traces: TracesEnvironment::from(set),
        }
    }

    fn name(variable: &str, value: Option<&String>) -> Result<Option<Name>, ConfigError> {
        let parsed = value.map(|value| value.parse().map_err(|error| ConfigError(format!("${variable}: {error}"))));
        parsed.transpose()
    }

    pub(crate) fn namespace(&self) -> Result<Option<Name>, ConfigError> {
        Self::name("NAMESPACE or $POD_NAMESPACE", self.namespace.as_ref())
    }

    fn leader_address(&self) -> Result<Option<LeaderAddress>, ConfigError> {
        let parsed = self.elector_path.as_ref().map(|text| {
            text.parse().map_err(|error| {
                ConfigError(format!("$ELECTOR_PATH {text:?}, where the leader endpoint is to listen: {error}"))
            })
        });
        parsed.transpose()
    }

    /// The identity's beginning, where nothing else is given.
    fn pod_name(&self) -> Option<String> {
        self.pod.as_ref().map(|pod| pod.name.clone())
    }

    fn lease_name(&self) -> Result<Option<Name>, ConfigError> {
        Self::name("LEASE_NAME", self.lease_name.as_ref())
    }
}

/// One task.
#[derive(Clone, Debug)]
pub struct TaskSpec {
    /// For logs, and on the Lease (one Lease, one task).
    pub name: Name,
    /// Where the component is.
    pub module: Reference,
    /// How it is had from a registry, and whose signature it needs.
    pub origin: Origin,
    /// Only a module with this digest is run.
    pub digest: Option<Digest>,
    /// `None` takes the host's own namespace.
    pub namespace: Option<Name>,
    /// The Lease's name.
    pub lease: Name,
    /// Take a Lease that is marked as another task's.
    pub adopt: bool,
    /// The election's durations.
    pub timing: Timing,
    /// The Lease of a holder is taken as soon as it is proven that it has ended, and not waited out.
    pub early_takeover: bool,
    /// It stands as a candidate, and the API server picks the leader.
    pub coordinated: Option<CandidateVersions>,
    /// When the guest is started again, and what becomes of the Lease.
    pub policy: TaskConfig,
    /// What the guest may do beyond computing.
    pub allow: Allow,
    /// What the Pod of the replica that leads carries, if anything.
    pub leader_label: Option<LeaderLabel>,
    /// Where those values of its environment are that [`GuestConfig::env`] does not have.
    pub env_from: Vec<EnvRef>,
    /// What the guest gets.
    pub guest: GuestConfig,
}

/// Where Leases are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StoreChoice {
    /// The cluster this runs in, else the one the kubeconfig points at.
    #[default]
    Kubernetes,
    /// A folder on this machine.
    Folder(PathBuf),
}

impl FromStr for StoreChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "kubernetes" => Ok(Self::Kubernetes),
            Some(("file", folder)) if !folder.is_empty() => Ok(Self::Folder(folder.into())),
            _ => Err("expected `kubernetes` or `file:FOLDER`".into()),
        }
    }
}

/// A mistake in the flags or in the config file: exit code 2, before any lease is touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// One task, from flags. (`--config` is read by the caller: see [`parse_file`].)
    ///
    /// # Errors
    /// Names the flag, or the variable, and what was expected.
    pub fn from_flags(args: RunArgs, environment: &Environment) -> Result<Self, ConfigError> {
        let RunArgs {
            module,
            config: _,
            name,
            lease,
            namespace,
            lease_store,
            lease_duration,
            renew_deadline,
            retry_period,
            no_early_takeover,
            coordinated,
            binary_version,
            emulation_version,
            identity,
            adopt,
            digest,
            registry,
            poll,
            guest_args,
            env,
            memory,
            allow,
            stop_grace,
            progress_deadline,
            callback_time,
            on_return,
            swap,
            probation,
            leader_label,
            admin,
            leader_address,
            shutdown_timeout,
            traces,
            cache,
            cache_size,
            log_format,
            log_level: _,
        } = args;
        let module = module.ok_or_else(|| ConfigError("give a module, or --config with a file of tasks".into()))?;
        let origin = Origin { poll: poll.unwrap_or_default(), ..registry.into() }.of(&module)?;
        let timing = Timing::new(lease_duration.into(), renew_deadline.into(), retry_period.into())
            .map_err(|error| ConfigError(format!("--lease-duration, --renew-deadline, --retry-period: {error}")))?;
        let coordinated = match coordinated {
            true => Some(coordinated_in(&lease_store, CandidateVersions::new(binary_version, emulation_version)?)?),
            false => None,
        };
        if let Some(label) = &leader_label {
            label.check(&lease_store, environment)?;
        }
        let lease = lease.map_or_else(|| environment.lease_name(), |lease| Ok(Some(lease)))?;
        let namespace = namespace.map_or_else(|| environment.namespace(), |namespace| Ok(Some(namespace)))?;
        let identity = identity.or_else(|| environment.pod_name());
        let name = match name.or_else(|| lease.clone()) {
            Some(name) => name,
            None => {
                let stem = module.stem().replace('_', "-");
                stem.parse().map_err(|error| {
                    ConfigError(format!("no name can be made of the file's name ({error}): give one with --name"))
                })?
            }
        };
        let task = TaskSpec {
            lease: lease.unwrap_or_else(|| name.clone()),
            name,
            module,
            origin,
            digest,
            namespace,
            adopt,
            timing,
            early_takeover: !no_early_takeover,
            coordinated,
            policy: TaskConfig {
                stop_grace: stop_grace.into(),
                progress_deadline: progress_deadline.map(|deadline| deadline.0),
                on_return: on_return.into(),
                swap: swap.into(),
                probation: probation.into(),
                ..TaskConfig::default()
            },
            allow: allow.into(),
            leader_label,
            env_from: Vec::new(),
            guest: GuestConfig {
                args: guest_args,
                env: env.into_iter().map(|EnvVar(name, value)| (name, value)).collect(),
                memory,
                callback_time: callback_time.0,
                ..GuestConfig::default()
            },
        };
        let pod = environment.pod.clone();
        let cache = cache.map(|folder| CacheConfig { folder, size: cache_size });
        let at_start = if environment.in_pod { AtStart::Awaited } else { AtStart::Required };
        let traces = TracesConfig::new(traces, &environment.traces)?;
        let leader_address =
            leader_address.map_or_else(|| environment.leader_address(), |address| Ok(Some(address)))?;
        let tasks = vec![task];
        let shutdown_timeout = shutdown_time(shutdown_timeout.map(Into::into), &tasks)
            .map_err(|error| ConfigError(format!("--shutdown-timeout: {error}")))?;
        Ok(Self {
            store: lease_store,
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
}

/// What a Pod has to end, with five seconds less for a slow node: `terminationGracePeriodSeconds` is 30 by default, and in
/// `deploy/`.
const SHUTDOWN_TIMEOUT_MIN: Duration = Duration::from_secs(25);
const SHUTDOWN_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// How long the host may take to end: what was asked for, else as long as these tasks may need.
///
/// # Errors
/// It is less than a component may take to stop.
pub(crate) fn shutdown_time(asked: Option<Duration>, tasks: &[TaskSpec]) -> Result<Duration, String> {
    let longest_grace = tasks.iter().map(|task| task.policy.stop_grace).max().unwrap_or_default();
    // The component, its callback, and the end of its term, where the Lease cannot be released.
    let needs = |task: &TaskSpec| task.policy.stop_grace + task.guest.callback_time + task.timing.lease();
    match asked {
        None => Ok(tasks.iter().map(needs).fold(SHUTDOWN_TIMEOUT_MIN, Duration::max)),
        Some(asked) if asked > SHUTDOWN_TIMEOUT_MAX => {
            Err(format!("{asked:?} is longer than {SHUTDOWN_TIMEOUT_MAX:?}"))
        }
        Some(asked) if asked > longest_grace => Ok(asked),
        Some(asked) => Err(format!(
            "{asked:?} is no longer than a component may take to stop ({longest_grace:?}, stopGrace): raise it, or lower that"
        )),
    }
}

/// The API server picks among the candidates for a Lease that it keeps itself.
fn coordinated_in(store: &StoreChoice, versions: CandidateVersions) -> Result<CandidateVersions, ConfigError> {
    match store {
        StoreChoice::Kubernetes => Ok(versions),
        StoreChoice::Folder(_) => {
            Err(ConfigError("a coordinated election needs a Lease in Kubernetes, not in a folder".into()))
        }
    }
}
