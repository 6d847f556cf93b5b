//! The whole story on a real Kubernetes of two nodes (tests/cluster): Pods that come and go, a node that is cut off,
//! a control plane that is away, modules that are replaced. One story after the other, on one cluster.
//!
//! `cargo test -p leasehold-tests --test stories [PART OF A NAME]`. At the end there is a table of the times that were
//! measured, which nothing depends on.

mod checker;
mod control_plane;
mod handover;
mod manifests;
mod modules;
mod overlays;
mod partition;
mod replicas;
mod rights;
mod rollout;
mod routing;
mod side_by_side;
mod story;
mod times;
mod told;

use std::{
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::Instant,
};

use leasehold_tests::cluster::{Cluster, NoCluster, image};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::{story::Story, times::Times};

/// Its name, its namespace, whether it breaks what is below the API, and the story itself.
type Told = (&'static str, &'static str, Below, fn(&Story<'_>));

#[derive(Clone, Copy, PartialEq, Eq)]
enum Below {
    /// Nothing but requests to the API server.
    Untouched,
    /// Nodes, containers or the control plane.
    Broken,
}

const STORIES: &[Told] = &[
    ("handover::deleted_pod", "ft-demo", Below::Untouched, handover::deleted_pod),
    ("handover::followed_deletion", "story-deleted", Below::Untouched, handover::followed_deletion),
    ("handover::killed_container", "story-killed", Below::Broken, handover::killed_container),
    ("handover::proven_crash", "story-proven", Below::Broken, handover::proven_crash),
    ("partition::cut_off_node", "story-partition", Below::Broken, partition::cut_off_node),
    ("partition::deleted_by_force", "story-force", Below::Broken, partition::deleted_by_force),
    ("control_plane::api_server_restarted", "story-api-server", Below::Broken, control_plane::api_server_restarted),
    ("control_plane::etcd_stopped", "story-etcd", Below::Broken, control_plane::etcd_stopped),
    ("modules::mounted_module_replaced", "story-module", Below::Untouched, modules::mounted_module_replaced),
    ("modules::watched_module_replaced", "story-watched", Below::Untouched, modules::watched_module_replaced),
    ("rollout::rolling_update", "story-rollout", Below::Untouched, rollout::rolling_update),
    ("routing::leader_service", "story-routing", Below::Broken, routing::leader_service),
    ("overlays::kind", "leasehold", Below::Untouched, overlays::kind),
    ("overlays::configmap_api", "leasehold", Below::Untouched, overlays::configmap_api),
    ("overlays::many_tasks", "leasehold", Below::Untouched, overlays::many_tasks),
    ("overlays::leader_service", "leasehold", Below::Untouched, overlays::leader_service),
    ("rights::role_without_patch", "story-role", Below::Untouched, rights::role_without_patch),
    ("rights::missing_rights", "story-rights", Below::Untouched, rights::missing_rights),
];

/// Told where a number of rounds is asked for.
const SIDE_BY_SIDE: Told =
    ("side_by_side::side_by_side", "story-side-by-side", Below::Broken, side_by_side::side_by_side);

/// What the stories share.
#[derive(Default)]
struct Stage {
    cluster: OnceLock<Result<Cluster, NoCluster>>,
    times: Times,
}

impl Stage {
    /// The cluster, brought up by the first story that is told.
    fn cluster(&self) -> &Result<Cluster, NoCluster> {
        self.cluster.get_or_init(|| {
            let cluster = Cluster::up()?;
            if cluster.hands_off().is_none() {
                cluster.load(&image::leasehold()?)?;
                cluster.load(&image::client_go()?)?;
            }
            Ok(cluster)
        })
    }

    fn tell(&self, (name, namespace, below, tell): Told) -> Result<Completion, Failed> {
        let cluster = match self.cluster() {
            Ok(cluster) => cluster,
            Err(NoCluster::Skipped(_)) => return Ok(Completion::ignored_with("this machine cannot run a cluster")),
            Err(NoCluster::Failed(error)) => return Err(format!("no cluster: {error:#}").into()),
        };
        if let (Below::Broken, Some(why)) = (below, cluster.hands_off()) {
            eprintln!("SKIPPED: {name}: {why}");
            return Ok(Completion::ignored_with(why));
        }
        let begun = Instant::now();
        let story = Story::begin(cluster, namespace, &self.times);
        tell(&story);
        story.end();
        print!("({:.0} s) ", begun.elapsed().as_secs_f64());
        Ok(Completion::Completed)
    }
}

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // One cluster, and two cores.
    args.test_threads = Some(1);
    let stage = Arc::new(Stage::default());
    let mut trials = checker::trials();
    let measured = side_by_side::rounds().map(|_| &SIDE_BY_SIDE);
    trials.extend(STORIES.iter().chain(measured).map(|told| {
        let stage = stage.clone();
        Trial::ignorable_test(told.0, move || stage.tell(*told))
    }));
    let conclusion = libtest_mimic::run(&args, trials);
    let Some(Stage { cluster, times }) = Arc::into_inner(stage) else {
        eprintln!("a story is still being told");
        return ExitCode::FAILURE;
    };
    match cluster.into_inner() {
        None => {}
        Some(Ok(cluster)) => {
            times.print();
            if let Err(error) = cluster.down() {
                eprintln!("{error:#}");
                return ExitCode::FAILURE;
            }
        }
        Some(Err(NoCluster::Skipped(said))) => {
            eprintln!("SKIPPED: the stories were not told, for this machine cannot run a cluster:\n{said}");
        }
        Some(Err(NoCluster::Failed(_))) => return ExitCode::FAILURE,
    }
    conclusion.exit_code()
}
