//! The command line, as it is typed.

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::{Parser, Subcommand};
use humantime::Duration;
use leasehold_core::task::Digest;

use crate::{
    commands::{Language, Output},
    config::{
        AdminAddress, Allow, AllowKubernetes, CallbackTime, Collector, CosignKey, EnvVar, LeaderAddress, LeaderLabel,
        Name, OnReturnArg, Origin, Poll, ProgressDeadline, Reference, StoreChoice, SwapArg, parse_digest, parse_size,
    },
    guest::{
        files::Folder,
        imports::{http::rule::HttpRule, sockets::rule::TcpRule},
    },
    log::{LogFormat, LogLevel},
};

/// Runs WebAssembly components on one replica at a time: on the one that holds a Kubernetes Lease
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 100)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compete for a Lease, and run a component while holding it
    ///
    /// Start as many of these as you like, anywhere: one runs the component, the others stand by.
    /// Ctrl-C or SIGTERM stops the component, then releases the Lease, then ends, in --shutdown-timeout at most; a
    /// second one ends at once. Whoever is ended before the Lease was released leaves it to run out.
    #[command(after_help = "\
Examples:
  leasehold run task.wasm                              the Lease is named after the file
  leasehold run task.wasm --lease nightly -n jobs      a Lease that was made beforehand
  leasehold run configmap:jobs/nightly/task.wasm       the component in a ConfigMap, followed as it changes
  leasehold run oci:ghcr.io/org/task:1 --lease nightly in a registry, the tag followed
  leasehold run task.wasm --lease-store file:/tmp/l    without a cluster
  leasehold run --config host.yaml                     several tasks, one Lease each

Exit codes: 0 ended when asked to; 2 a mistake in the call, the config or the module; 1 otherwise, also where it was asked
to end a second time or did not end in time
In a Pod, and with --config, a task without a good module waits for one instead, and is not ready.")]
    Run(Box<RunArgs>),
    /// Build a guest, run it under a Lease on this machine, and swap it whenever it is saved
    ///
    /// Start the same command in a second terminal: it stands by, and takes over when the first ends.
    #[command(after_help = "\
Example:
  leasehold dev guest-examples/heartbeat")]
    Dev(DevArgs),
    /// Make a folder with a task that builds, in a language of your choice
    #[command(after_help = "\
Examples:
  leasehold new my-task
  leasehold new my-task --lang go

Exit codes: 0 it is made, 2 a mistake in the call, 1 otherwise")]
    New(NewArgs),
    /// Say what a component is, what it needs, and whether this host can run it
    #[command(after_help = "\
Example:
  leasehold check task.wasm
  leasehold check oci:ghcr.io/org/task:1 --cosign-key cosign.pub

Exit codes: 0 this host can run it, 2 it cannot")]
    Check {
        /// The component's file, `configmap:[NAMESPACE/]NAME/KEY`, or `oci:REGISTRY/REPOSITORY[:TAG][@sha256:...]`
        module: Reference,
        /// How it is had from a registry.
        #[command(flatten)]
        registry: RegistryArgs,
    },
    /// Show who has which Lease, since when, and whether it is still renewed
    ///
    /// Of a namespace, or of all. The cluster's own (node heartbeats, API server identities, the components of its control
    /// plane) are counted only, unless they are asked for. Ages are by the API server's clock; it only reads.
    #[command(after_help = "\
Examples:
  leasehold status -A                              all Leases of tasks and applications
  leasehold status -n jobs --watch                 drawn again as it changes; in a pipe, a line for each change
  leasehold status nightly -n jobs -o json         for scripts
  leasehold status --lease-store file:/tmp/l       Leases on this machine

Exit codes: 0 shown, and those that were named are held and renewed in time; 1 one of those is not, or nothing could be
read; 2 a mistake in the call")]
    Status(StatusArgs),
    /// Say what has happened to a Lease lately, what state it is in, and what may be done about that
    ///
    /// From its Events, from who wrote which of its fields when, from what it says now, and from its holder's Pod. What
    /// may not be read is named, with the rule that allows it. It only reads.
    #[command(after_help = "\
Examples:
  leasehold explain nightly -n jobs
  leasehold explain nightly --lease-store file:/tmp/l   a Lease on this machine

Exit codes: 0 it was explained, 2 a mistake in the call, 1 otherwise")]
    Explain(ExplainArgs),
    /// Put a component where hosts find it: into a ConfigMap, or into an OCI registry
    ///
    /// What this host could not run is not pushed. Prints what to write into a task's config.
    #[command(after_help = "\
Examples:
  leasehold push task.wasm configmap:jobs/nightly/task.wasm    1 MiB at most; compressed when needed
  leasehold push task.wasm oci:ghcr.io/org/nightly:1.0         as `wkg oci push` does

Exit codes: 0 it is there, 2 a mistake in the call or the module, 1 otherwise")]
    Push(PushArgs),
    /// Ask the replica that holds a Lease to give it up, for another to take
    ///
    /// Asked through the Lease itself, so from anywhere with the rights to get and update it. The leader stops
    /// its component, releases the Lease, and stays out of the race for half a minute; a standby takes over at once.
    /// If there is none, the same replica leads again after that.
    #[command(after_help = "\
Examples:
  leasehold step-down nightly -n jobs                     ask, and wait until it is done
  leasehold step-down nightly -n jobs --timeout 0s        ask, and do not wait
  leasehold step-down nightly --lease-store file:/tmp/l   a Lease on this machine

Exit codes: 0 it was given up (or, with --timeout 0s, asked for), 2 a mistake in the call, 1 otherwise")]
    StepDown(StepDownArgs),
    /// Print the WIT package that this host speaks
    #[command(after_help = "\
Example:
  leasehold wit > task.wit")]
    Wit,
}

/// `leasehold run`
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The component: a file, `configmap:[NAMESPACE/]NAME/KEY`, or `oci:REGISTRY/REPOSITORY[:TAG][@sha256:...]`; when
    /// it is replaced, the new one is swapped in
    #[arg(required_unless_present = "config")]
    pub module: Option<Reference>,
    /// Several tasks, from a YAML file, instead of one by flags
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "module", "name", "lease", "namespace", "lease_store", "lease_duration", "renew_deadline", "retry_period",
        "no_early_takeover", "coordinated", "binary_version", "emulation_version", "identity", "adopt", "digest", "plain_http",
        "registry_ca_file", "pull_secret", "cosign_key", "poll", "guest_args", "env", "memory",
        "stop_grace", "progress_deadline", "callback_time", "on_return", "swap", "probation", "allow_http", "allow_kubernetes", "allow_tcp",
        "allow_files",
        "leader_label", "admin", "traces", "leader_address", "shutdown_timeout", "cache", "cache_size",
    ])]
    pub config: Option<PathBuf>,
    /// The task's name, for logs and on the Lease [default: the Lease's name, else the file's]
    #[arg(long)]
    pub name: Option<Name>,
    /// The Lease's name [default: $LEASE_NAME, else the task's name]
    #[arg(long)]
    pub lease: Option<Name>,
    /// The Lease's namespace [default: $NAMESPACE, $POD_NAMESPACE, the kubeconfig's, `default`]
    #[arg(long, short)]
    pub namespace: Option<Name>,
    /// Where the Lease is kept: `kubernetes`, or `file:FOLDER` on this machine
    #[arg(long, default_value = "kubernetes")]
    pub lease_store: StoreChoice,
    /// How long after the leader's last sign of life another takes over
    #[arg(long, default_value = "15s")]
    pub lease_duration: Duration,
    /// How long after the last renewal the component is asked to stop
    #[arg(long, default_value = "10s")]
    pub renew_deadline: Duration,
    /// How long until a failed renewal is tried again
    #[arg(long, default_value = "2s")]
    pub retry_period: Duration,
    /// Wait the lease of a crashed leader out, also where the kubelet reports its container ended: for who drives an
    /// application in another container
    #[arg(long)]
    pub no_early_takeover: bool,
    /// Stand as a candidate and let the API server pick the leader (coordinated leader election; the cluster has to
    /// serve LeaseCandidate)
    #[arg(long)]
    pub coordinated: bool,
    /// What this replica is, as a candidate [default: this host's version]
    #[arg(long, value_name = "X.Y.Z", requires = "coordinated")]
    pub binary_version: Option<semver::Version>,
    /// What it behaves as: the oldest leads [default: the binary version]
    #[arg(long, value_name = "X.Y.Z", requires = "coordinated")]
    pub emulation_version: Option<semver::Version>,
    /// What this replica calls itself; a nonce is added [default: $POD_NAME, else the host's name]
    #[arg(long)]
    pub identity: Option<String>,
    /// Take the Lease even if it is marked as another task's
    #[arg(long)]
    pub adopt: bool,
    /// Run only a module with this digest (sha256:...)
    #[arg(long, value_parser = parse_digest)]
    pub digest: Option<Digest>,
    /// How it is had from a registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// How often the tag of a module in a registry is looked at [default: 1m]
    #[arg(long, value_name = "TIME")]
    pub poll: Option<Poll>,
    /// An argument for the component; may be repeated
    #[arg(long = "arg", value_name = "ARG")]
    pub guest_args: Vec<String>,
    /// An environment variable for the component (NAME=VALUE); may be repeated
    #[arg(long)]
    pub env: Vec<EnvVar>,
    /// The most memory the component may have
    #[arg(long, default_value = "64Mi", value_parser = parse_size)]
    pub memory: ByteSize,
    /// What the component may do.
    #[command(flatten)]
    pub allow: AllowArgs,
    /// How long the component may take to stop when it is asked to
    #[arg(long, default_value = "5s")]
    pub stop_grace: Duration,
    /// How long the component may go without reporting progress before it is stopped [default: for ever]
    #[arg(long)]
    pub progress_deadline: Option<ProgressDeadline>,
    /// How long `on-stop-leading` and `on-new-leader` may take, each time
    #[arg(long, default_value = "5s")]
    pub callback_time: CallbackTime,
    /// What becomes of the Lease when `on-start-leading` returns ok
    #[arg(long, value_enum, default_value_t)]
    pub on_return: OnReturnArg,
    /// When a new module takes over from the one that runs
    #[arg(long, value_enum, default_value_t)]
    pub swap: SwapArg,
    /// How long a new module has to run to count as one that works; if it fails before, the last one that worked runs
    /// again; 0s switches that off
    #[arg(long, default_value = "30s")]
    pub probation: Duration,
    /// Label this replica's Pod while it leads, for a Service to select; without a value it is `true`
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub leader_label: Option<LeaderLabel>,
    /// Serve /livez, /readyz, /metrics and /tasks over HTTP at this address; :8080, say, is on all addresses, of IPv4 and
    /// IPv6
    #[arg(long, value_name = "[ADDRESS]:PORT")]
    pub admin: Option<AdminAddress>,
    /// Tell applications in the same Pod who leads, over HTTP at this address; a port alone is on 127.0.0.1 and [::1]
    /// [default: $ELECTOR_PATH, else nowhere]
    #[arg(long, value_name = "[ADDRESS:]PORT")]
    pub leader_address: Option<LeaderAddress>,
    /// How long the host may take to end when it is asked to; a Pod's terminationGracePeriodSeconds has to be longer
    /// [default: 25s, or what the component may take to stop and its lease to run out, where that is longer]
    #[arg(long, value_name = "TIME")]
    pub shutdown_timeout: Option<Duration>,
    /// Send traces to this collector, over OTLP/HTTP (http://collector:4318, say) [default: $OTEL_EXPORTER_OTLP_ENDPOINT]
    #[arg(long, value_name = "URL")]
    pub traces: Option<Collector>,
    /// Keep compiled modules in this folder, so that a restart does not compile them again [default: nowhere]
    #[arg(long, value_name = "FOLDER")]
    pub cache: Option<PathBuf>,
    /// What the compiled modules may have together; those used least lately go first
    #[arg(long, value_name = "SIZE", default_value = "1Gi", value_parser = parse_size)]
    pub cache_size: ByteSize,
    /// How log lines look
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// How much the log tells [default: $RUST_LOG, else info]
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
}

/// How a module is had from an OCI registry, and whose signature it needs
#[derive(Debug, clap::Args)]
pub struct RegistryArgs {
    /// How the registry is reached.
    #[command(flatten)]
    pub reach: ReachArgs,
    /// Take only what is signed with this key of cosign's
    #[arg(long, value_name = "FILE")]
    pub cosign_key: Option<CosignKey>,
}

/// How an OCI registry is reached, and as whom
#[derive(Debug, clap::Args)]
pub struct ReachArgs {
    /// Speak with the registry without TLS
    #[arg(long)]
    pub plain_http: bool,
    /// Certificate authorities to trust for the registry beside the system's, in PEM
    #[arg(long, value_name = "FILE")]
    pub registry_ca_file: Option<PathBuf>,
    /// A Secret with credentials for the registry, of the task's namespace (kubernetes.io/dockerconfigjson) [default:
    /// docker's own config]
    #[arg(long, value_name = "NAME")]
    pub pull_secret: Option<Name>,
}

impl From<ReachArgs> for Origin {
    fn from(args: ReachArgs) -> Self {
        let ReachArgs { plain_http, registry_ca_file, pull_secret } = args;
        Self { plain_http, ca_file: registry_ca_file, pull_secret, ..Self::default() }
    }
}

impl From<RegistryArgs> for Origin {
    fn from(args: RegistryArgs) -> Self {
        let RegistryArgs { reach, cosign_key } = args;
        Self { cosign_key, ..reach.into() }
    }
}

/// What a component may do beyond computing; the config file has more of it
#[derive(Debug, clap::Args)]
pub struct AllowArgs {
    /// URLs that the component may send requests to, such as https://api.example.com/v1/; may be repeated
    #[arg(long, value_name = "URL")]
    pub allow_http: Vec<HttpRule>,
    /// Let the component use the Kubernetes API, at http://kubernetes.default.svc, with this host's credentials
    #[arg(long)]
    pub allow_kubernetes: bool,
    /// A host and a port that the component may connect to, such as kafka:9092; may be repeated
    #[arg(long, value_name = "HOST:PORT")]
    pub allow_tcp: Vec<TcpRule>,
    /// A folder that the component may read, and with `:rw` write; may be repeated
    #[arg(long, value_name = "FOLDER[:PATH_FOR_THE_GUEST][:rw]")]
    pub allow_files: Vec<Folder>,
}

impl From<AllowArgs> for Allow {
    fn from(args: AllowArgs) -> Self {
        let AllowArgs { allow_http, allow_kubernetes, allow_tcp, allow_files } = args;
        Self {
            http: allow_http,
            kubernetes: allow_kubernetes.then(AllowKubernetes::default),
            tcp: allow_tcp,
            files: allow_files,
            ..Self::default()
        }
    }
}

/// `leasehold status`
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// The names of Leases [default: all]
    #[arg(value_name = "LEASE")]
    pub leases: Vec<Name>,
    /// The Leases' namespace [default: $NAMESPACE, $POD_NAMESPACE, the kubeconfig's, `default`]
    #[arg(long, short)]
    pub namespace: Option<Name>,
    /// The Leases of all namespaces
    #[arg(long, short = 'A', conflicts_with_all = ["namespace", "leases"])]
    pub all_namespaces: bool,
    /// Those of the cluster itself as well: of nodes, API servers and control plane components
    #[arg(long)]
    pub all_kinds: bool,
    /// Where the Leases are kept: `kubernetes`, or `file:FOLDER` on this machine
    #[arg(long, default_value = "kubernetes")]
    pub lease_store: StoreChoice,
    /// Go on, until Ctrl-C: told of changes by a watch
    #[arg(long, short)]
    pub watch: bool,
    /// How they are shown
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Output,
}

/// `leasehold explain`
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// The Lease's name
    pub lease: Name,
    /// The Lease's namespace [default: $NAMESPACE, $POD_NAMESPACE, the kubeconfig's, `default`]
    #[arg(long, short)]
    pub namespace: Option<Name>,
    /// Where the Lease is kept: `kubernetes`, or `file:FOLDER` on this machine
    #[arg(long, default_value = "kubernetes")]
    pub lease_store: StoreChoice,
}

/// `leasehold push`
#[derive(Debug, clap::Args)]
pub struct PushArgs {
    /// The component's file
    pub file: PathBuf,
    /// `configmap:[NAMESPACE/]NAME/KEY`, or `oci:REGISTRY/REPOSITORY[:TAG]`
    pub to: Reference,
    /// The namespace of a ConfigMap, or of the pull secret, that is named without one [default: $NAMESPACE,
    /// $POD_NAMESPACE, the kubeconfig's, `default`]
    #[arg(long, short)]
    pub namespace: Option<Name>,
    /// How the registry is reached.
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// `leasehold step-down`
#[derive(Debug, clap::Args)]
pub struct StepDownArgs {
    /// The Lease's name
    pub lease: Name,
    /// The Lease's namespace [default: $NAMESPACE, $POD_NAMESPACE, the kubeconfig's, `default`]
    #[arg(long, short)]
    pub namespace: Option<Name>,
    /// Where the Lease is kept: `kubernetes`, or `file:FOLDER` on this machine
    #[arg(long, default_value = "kubernetes")]
    pub lease_store: StoreChoice,
    /// How long to wait until the Lease has been given up; 0s does not wait
    #[arg(long, default_value = "30s")]
    pub timeout: Duration,
}

/// `leasehold new`
#[derive(Debug, clap::Args)]
pub struct NewArgs {
    /// The folder to make; its last part is the task's name
    pub folder: PathBuf,
    /// What the task is written in
    #[arg(long, value_enum, default_value_t)]
    pub lang: Language,
}

/// `leasehold dev`
#[derive(Debug, clap::Args)]
pub struct DevArgs {
    /// A folder with a Cargo.toml that builds a component
    pub folder: PathBuf,
    /// How long after the leader's last sign of life another takes over
    #[arg(long, default_value = "3s")]
    pub lease_duration: Duration,
    /// An environment variable for the component (NAME=VALUE); may be repeated
    #[arg(long)]
    pub env: Vec<EnvVar>,
    /// What the component may do.
    #[command(flatten)]
    pub allow: AllowArgs,
    /// How log lines look
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// How much the log tells [default: $RUST_LOG, else info]
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
}
