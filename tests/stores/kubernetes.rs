//! A Lease on a real API server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::{
    coordination::v1::Lease,
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Client, Config,
    api::{ApiResource, DeleteParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use leasehold::{
    kubernetes::shared::OneForAll,
    lease::{kubernetes::KubernetesStore, room::Room},
};
use leasehold_core::{
    lease::{LeaseRecord, Observation, Version},
    ports::{LeaseStore, StoreFailure},
};
use leasehold_tests::{build, control_plane::ControlPlane};
use serde_json::{Value, json};
use tokio::sync::{OnceCell, OwnedRwLockReadGuard, RwLock};

use crate::{
    place::{Place, Watched, create, failure, held_by, read_present, renewed, words},
    scripted::{self, Scripted, bookmark, listed, modified, too_old},
};

/// One for all tests. Who stops it has it to itself: a test takes it once, or waits for itself.
async fn plane() -> Arc<RwLock<ControlPlane>> {
    static PLANE: OnceCell<Arc<RwLock<ControlPlane>>> = OnceCell::const_new();
    let start = || async {
        let plane = ControlPlane::start(build::control_plane_binaries()).await.expect("a control plane");
        Arc::new(RwLock::new(plane))
    };
    PLANE.get_or_init(start).await.clone()
}

fn new_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("task-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) struct InCluster {
    plane: OwnedRwLockReadGuard<ControlPlane>,
    name: String,
}

impl InCluster {
    fn leases(&self) -> Api<Lease> {
        Api::default_namespaced(self.plane.client())
    }

    async fn patch(&self, patch: Value) {
        self.leases().patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
    }

    /// The store of a user who may do this to leases, and no more.
    async fn store_of_user_with(&self, verbs: &[&str]) -> KubernetesStore {
        let user = format!("{}-user", self.name);
        let role = json!({
            "metadata": {"name": user},
            "rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs}],
        });
        let binding = json!({
            "metadata": {"name": user},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user},
        });
        let role: Role = serde_json::from_value(role).expect("a role");
        let binding: RoleBinding = serde_json::from_value(binding).expect("a binding");
        // There are no roles without verbs.
        if !verbs.is_empty() {
            let params = PostParams::default();
            Api::default_namespaced(self.plane.client()).create(&params, &role).await.expect("made");
            Api::default_namespaced(self.plane.client()).create(&params, &binding).await.expect("made");
            let rules = role.rules.expect("it has rules");
            self.plane.wait_until_allowed(&user, "default", &rules).await.expect("it may");
        }
        let kubeconfig = self.plane.kubeconfig_for(&user).expect("a kubeconfig");
        let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("it was just written");
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let client = Client::try_from(config.expect("a configuration")).expect("a client");
        KubernetesStore::new(client, "default", &self.name)
    }
}

impl Place for InCluster {
    type Store = KubernetesStore;

    async fn fresh() -> Self {
        Self { plane: plane().await.read_owned().await, name: new_name() }
    }

    fn store(&self) -> KubernetesStore {
        KubernetesStore::new(self.plane.client(), "default", &self.name)
    }

    async fn delete(&self) {
        self.leases().delete(&self.name, &DeleteParams::default()).await.expect("deleted");
    }

    async fn set(&self, field: &str, value: Value) {
        self.patch(json!({"spec": {field: value}})).await;
    }

    async fn set_checkpoint(&self, text: Option<&str>) {
        self.patch(json!({"metadata": {"annotations": {"leasehold.dev/checkpoint": text}}})).await;
    }

    async fn write_beside(&self) {
        self.patch(json!({
            "metadata": {
                "labels": {"team": "reports"},
                "annotations": {"example.com/note": "not for electors"},
                "finalizers": ["example.com/last-wish"],
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "owner", "uid": "0"}],
            },
        }))
        .await;
    }

    async fn beside(&self) -> Value {
        let lease = self.leases().get(&self.name).await.expect("it is there");
        let mut metadata = lease.metadata;
        let mut annotations = metadata.annotations.take().unwrap_or_default();
        annotations.retain(|name, _| !name.starts_with("leasehold.dev/"));
        json!([metadata.labels, annotations, metadata.finalizers, metadata.owner_references, metadata.uid])
    }
}

/// The same, with one watch of all Leases of the namespace, as a host with many tasks has it.
pub(crate) struct AmongMany(InCluster);

impl Place for AmongMany {
    type Store = KubernetesStore;

    async fn fresh() -> Self {
        Self(InCluster::fresh().await)
    }

    fn store(&self) -> KubernetesStore {
        let leases = Api::default_namespaced_with(self.0.plane.client(), &ApiResource::erase::<Lease>(&()));
        let names = ["another", &self.0.name].map(str::to_owned);
        self.0.store().sharing(Room::default(), Some(OneForAll::begin(leases, names)))
    }

    async fn delete(&self) {
        self.0.delete().await;
    }

    async fn set(&self, field: &str, value: Value) {
        self.0.set(field, value).await;
    }

    async fn set_checkpoint(&self, text: Option<&str>) {
        self.0.set_checkpoint(text).await;
    }

    async fn write_beside(&self) {
        self.0.write_beside().await;
    }

    async fn beside(&self) -> Value {
        self.0.beside().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_read_is_denied_a_write() {
    let place = InCluster::fresh().await;
    create(&place.store(), &held_by("one")).await;
    let reader = place.store_of_user_with(&["get", "list", "watch"]).await;
    let (version, _) = read_present(&reader).await;
    let error = reader.write(Some(version), &held_by("two")).await.expect_err("it may not");
    assert_eq!(error.failure, StoreFailure::Denied);
    let words = words(error);
    assert!(words.contains("update") && words.contains(&place.name) && words.contains("forbidden"), "{words}");
    assert_eq!(read_present(&reader).await, (version, held_by("one")));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_nothing_is_denied_reads_writes_and_the_watch() {
    let place = InCluster::fresh().await;
    let nobody = place.store_of_user_with(&[]).await;
    assert_eq!(failure(nobody.read().await), StoreFailure::Denied);
    assert_eq!(failure(nobody.write(None, &held_by("two")).await), StoreFailure::Denied);
    assert_eq!(Watched::begin(&nobody).until_broken().await.failure, StoreFailure::Denied);
}

/// What `README.md` and the design promise to be enough on a Lease that was made beforehand.
#[tokio::test(flavor = "multi_thread")]
async fn get_list_watch_and_update_are_enough_for_a_lease_made_beforehand() {
    let place = InCluster::fresh().await;
    create(&place.store(), &LeaseRecord::default()).await;
    let store = place.store_of_user_with(&["get", "list", "watch", "update"]).await;
    let mut watched = Watched::begin(&store);
    watched.seen().await;
    let (version, _) = read_present(&store).await;
    let taken = store.write(Some(version), &held_by("one")).await.expect("it may");
    watched.until(|seen| seen.version() == Some(taken)).await;
    let renewal = LeaseRecord { token: Some(taken.0), ..renewed(&held_by("one"), 1) };
    let kept = store.write(Some(taken), &renewal).await.expect("it may");
    store.write(Some(kept), &LeaseRecord { holder: None, ..renewal }).await.expect("it may");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_does_not_take_is_rejected() {
    let place = InCluster::fresh().await;
    let store = place.store();
    let version = create(&store, &held_by("one")).await;
    let too_long = LeaseRecord { duration: Some(Duration::from_secs(1 << 31)), ..held_by("one") };
    assert_eq!(failure(store.write(Some(version), &too_long).await), StoreFailure::Rejected);
    assert_eq!(read_present(&store).await, (version, held_by("one")));

    // Not `Missing`: an election would make a Lease that is missing, again and again, and tell nobody.
    let nowhere = KubernetesStore::new(place.plane.client(), "no-such-namespace", &place.name);
    let error = nowhere.write(None, &held_by("one")).await.expect_err("there is no such namespace");
    assert_eq!(error.failure, StoreFailure::Rejected);
    let words = words(error);
    assert!(words.contains("no-such-namespace"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_server_all_is_unavailable_and_the_watch_goes_on_when_it_is_back() {
    let mut plane = plane().await.write_owned().await;
    let name = new_name();
    let new_store = |plane: &ControlPlane| KubernetesStore::new(plane.client(), "default", &name);
    let store = new_store(&plane);
    let version = create(&store, &held_by("one")).await;
    let mut watched = Watched::begin(&store);
    watched.until(|seen| seen.version() == Some(version)).await;

    plane.stop_api_server().expect("stopped");
    assert_eq!(watched.until_broken().await.failure, StoreFailure::Unavailable);
    assert_eq!(failure(store.read().await), StoreFailure::Unavailable);
    let renewal = renewed(&held_by("one"), 1);
    assert_eq!(failure(store.write(Some(version), &renewal).await), StoreFailure::Unavailable);

    plane.start_api_server().await.expect("started again");
    let again = watched.until_again(|seen| seen.record().is_some()).await;
    assert_eq!(again, Observation::Present { version, record: held_by("one") });
    let version = store.write(Some(version), &renewal).await.expect("nobody else has written");
    watched.until_again(|seen| seen.version() == Some(version)).await;
    let other = new_store(&plane);
    read_present(&other).await;
    let taken = other.write(Some(version), &held_by("two")).await.expect("nobody else has written");
    watched.until_again(|seen| seen.version() == Some(taken)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_the_server_ends_goes_on_where_it_was() {
    let answers = vec![
        listed(5, "one"),
        scripted::watched(&[modified(7, "one"), bookmark(20)]),
        scripted::watched(&[modified(22, "two")]),
    ];
    let mut server = Scripted::start(answers).await;
    let mut watched = Watched::begin(&KubernetesStore::new(server.client(), "default", "task"));
    for (version, holder) in [(5, "one"), (7, "one"), (22, "two")] {
        let seen = watched.seen().await;
        assert_eq!((seen.version(), seen.holder()), (Some(Version(version)), Some(holder)));
    }
    tokio::select! {
        update = watched.next() => panic!("{update:?}, but nothing more was told"),
        () = async {
            assert!(!server.request().await.contains("watch="), "it begins with a list");
            for from in ["resourceVersion=5", "resourceVersion=20", "resourceVersion=22"] {
                let request = server.request().await;
                assert!(request.contains("watch=true") && request.contains(from), "{request}");
                assert!(request.contains("metadata.name%3Dtask"), "of this lease alone: {request}");
            }
        } => {}
    }
}

/// After the API server has compacted its history, or was restarted.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_whose_version_is_too_old_begins_with_a_list_again() {
    let gone = (410, too_old().to_string());
    for too_late in [scripted::watched(&[("ERROR", too_old())]), gone] {
        let server = Scripted::start(vec![listed(5, "one"), too_late, listed(9, "two")]).await;
        let mut watched = Watched::begin(&KubernetesStore::new(server.client(), "default", "task"));
        assert_eq!(watched.seen().await.version(), Some(Version(5)));
        let error = words(watched.until_broken().await);
        assert!(error.contains("too old"), "{error}");
        assert_eq!(watched.seen().await.version(), Some(Version(9)));
    }
}

/// API Priority and Fairness says so, and `--max-requests-inflight`: not as a `Status`, but in plain words.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_too_much_to_do_is_unavailable_and_is_asked_once() {
    let answer = || (429, "Too many requests, please try again later.".to_owned());
    let server = Scripted::start(vec![answer(), listed(5, "one")]).await;
    let store = KubernetesStore::new(server.client(), "default", "task");
    let error = store.read().await.expect_err("it is turned away");
    assert_eq!(error.failure, StoreFailure::Unavailable);
    let words = words(error);
    assert!(words.contains("too much to do"), "{words}");
    // The watch is as patient.
    let server = Scripted::start(vec![answer(), listed(5, "one")]).await;
    let mut watched = Watched::begin(&KubernetesStore::new(server.client(), "default", "task"));
    assert_eq!(watched.until_broken().await.failure, StoreFailure::Unavailable);
    assert_eq!(watched.seen().await.version(), Some(Version(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_no_number_is_rejected_since_it_cannot_be_a_token() {
    let (status, body) = listed(5, "one");
    let server = Scripted::start(vec![(status, body.replace(r#""resourceVersion":"5""#, r#""resourceVersion":"5a""#))]);
    let server = server.await;
    let mut watched = Watched::begin(&KubernetesStore::new(server.client(), "default", "task"));
    let error = watched.until_broken().await;
    assert_eq!(error.failure, StoreFailure::Rejected);
    let words = words(error);
    assert!(words.contains("5a") && words.contains("fencing token"), "{words}");
}
