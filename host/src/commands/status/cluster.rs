//! The Leases of a cluster: read, or followed by a watch.

use anyhow::{anyhow, bail};
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
};
use leasehold_core::lease::LeaseRecord;

use super::{
    kind::Kind,
    lease::SeenLease,
    source::{Read, Update, Which},
};
use crate::{
    kubernetes::{
        cluster::first_contact,
        in_plain_words,
        watch::{Seen, Told, WatchError, watch_all, watch_one},
    },
    lease::{access, kubernetes::record},
};

/// How many single Leases are read at a time.
const READ_AT_ONCE_MAX: usize = 16;

/// See the module's documentation.
pub(super) struct ClusterLeases {
    client: Client,
    /// `None`: all namespaces.
    namespace: Option<String>,
    which: Which,
}

impl ClusterLeases {
    pub(super) fn new(client: Client, namespace: Option<String>, which: Which) -> Self {
        Self { client, namespace, which }
    }

    fn api(&self) -> Api<DynamicObject> {
        let leases = ApiResource::erase::<Lease>(&());
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &leases),
            None => Api::all_with(self.client.clone(), &leases),
        }
    }

    fn failed(&self, verb: &str, error: &kube::Error) -> anyhow::Error {
        let words = anyhow!("{}", in_plain_words(error));
        match error {
            kube::Error::Api(status) if matches!(status.code, 401 | 403) => words.context(self.needs(verb)),
            _ => words.context(format!("cannot {verb} leases")),
        }
    }

    /// What a Role has to have for this.
    fn needs(&self, verb: &str) -> String {
        let rule = |verbs: &[&str]| access::target("", "").rule(verbs);
        match (&self.namespace, &self.which) {
            (None, _) => format!(
                "may not {verb} the leases of all namespaces: it needs a ClusterRole with {}; or give one namespace with -n",
                rule(&["list", "watch"])
            ),
            (Some(namespace), Which::All) => format!(
                "may not {verb} the leases of namespace {namespace}: it needs a Role there with {} (without --watch, `list` \
                 is enough); or name the leases that you may read",
                rule(&["list", "watch"])
            ),
            (Some(namespace), Which::Named(_)) if verb == "get" => {
                format!(
                    "may not {verb} a lease in namespace {namespace}: it needs a Role there with {}",
                    rule(&["get"])
                )
            }
            (Some(namespace), Which::Named(_)) => format!(
                "may not {verb} a lease in namespace {namespace}: to follow it, it needs a Role there with {}; without \
                 --watch, `get` is enough",
                rule(&["get", "list", "watch"])
            ),
        }
    }

    /// All there are.
    ///
    /// # Errors
    /// They may not be read, and by which rule they could be; or the cluster does not answer.
    pub(super) async fn read(&self) -> anyhow::Result<Read> {
        first_contact(async {
            match &self.which {
                Which::All => {
                    let listed = self.api().list(&ListParams::default()).await;
                    let listed = listed.map_err(|error| self.failed("list", &error))?;
                    if listed.items.is_empty() {
                        self.ensure_there_is_the_namespace().await?;
                    }
                    Ok(Read { leases: listed.items.into_iter().map(seen).collect(), missing: Vec::new() })
                }
                Which::Named(names) => {
                    let api = self.api();
                    let gets = names.iter().map(async |name| (name, api.get_opt(name.as_str()).await));
                    let mut got = stream::iter(gets).buffered(READ_AT_ONCE_MAX);
                    let mut read = Read::default();
                    while let Some((name, object)) = got.next().await {
                        match object.map_err(|error| self.failed("get", &error))? {
                            Some(object) => read.leases.push(seen(object)),
                            None => read.missing.push(name.to_string()),
                        }
                    }
                    Ok(read)
                }
            }
        })
        .await
    }

    /// The API server lists nothing in a namespace that is not there, too. Whoever may not ask is not told.
    async fn ensure_there_is_the_namespace(&self) -> anyhow::Result<()> {
        use k8s_openapi::api::core::v1::Namespace;
        let Some(namespace) = &self.namespace else { return Ok(()) };
        match Api::<Namespace>::all(self.client.clone()).get_opt(namespace).await {
            Ok(None) => bail!("namespace {namespace} does not exist: give another with -n, or -A for all"),
            Ok(Some(_)) | Err(_) => Ok(()),
        }
    }

    /// As they are, and each change. It never ends by itself.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub(super) fn follow(&self) -> BoxStream<'static, Update> {
        let needs = [self.needs("list"), self.needs("watch")];
        let broken = move |error: WatchError| match &error {
            WatchError::Failed { verb, error: kube::Error::Api(status) } if matches!(status.code, 401 | 403) => {
                let needs = &needs[usize::from(*verb == "watch")];
                Update::Denied(anyhow!("{}", status.message).context(needs.clone()))
            }
            _ => Update::Broken(error.to_string()),
        };
        match &self.which {
            Which::All => {
                let told = watch_all(self.api()).map(move |told| match told {
                    Ok(Told::Listed(objects, _)) => Update::All(objects.into_iter().map(seen).collect()),
                    Ok(Told::Changed(object)) => Update::One(Box::new(seen(object))),
                    Ok(Told::Deleted(object)) => {
                        Update::Gone(object.namespace().unwrap_or_default(), object.name_any())
                    }
                    Err(error) => broken(error),
                });
                told.boxed()
            }
            Which::Named(names) => {
                let namespace = self.namespace.clone().unwrap_or_default();
                let each = names.iter().map(|name| {
                    let (name, namespace, broken) = (name.to_string(), namespace.clone(), broken.clone());
                    let told = watch_one(self.api(), name.clone()).map(move |told| match told {
                        Ok(Seen::Present(object)) => Update::One(Box::new(seen(object))),
                        Ok(Seen::Missing(_)) => Update::Gone(namespace.clone(), name.clone()),
                        Err(error) => broken(error),
                    });
                    told.boxed()
                });
                stream::select_all(each).boxed()
            }
        }
    }
}

/// A Lease as the API server shows it.
pub(in crate::commands) fn seen(object: DynamicObject) -> SeenLease {
    let (record, problem) = match record(&object) {
        Ok(record) => (record, None),
        Err(error) => (LeaseRecord::default(), Some(error.to_string())),
    };
    SeenLease {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        kind: Kind::of(&object.metadata),
        record,
        taken_at: renewal_taken_at(&object),
        problem,
    }
}

/// When the API server last took a write that changed `spec.renewTime`, by its own clock: managedFields have, for each
/// writer, the second of its last change.
/// <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>
fn renewal_taken_at(object: &DynamicObject) -> Option<Timestamp> {
    let renews = |fields: &serde_json::Value| !fields["f:spec"]["f:renewTime"].is_null();
    let times = object.managed_fields().iter().filter(|entry| {
        entry.fields_v1.as_ref().is_some_and(|fields| renews(&fields.0)) && entry.subresource.is_none()
    });
    times.filter_map(|entry| entry.time.as_ref().map(|time| time.0)).max()
}
