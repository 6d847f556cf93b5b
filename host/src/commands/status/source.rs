//! Where the Leases are that a person asks about.

use std::fmt;

use futures_core::stream::BoxStream;

use super::{clock::Clock, cluster::ClusterLeases, folder::FolderLeases, lease::SeenLease};
use crate::{
    config::{Environment, Name, StoreChoice},
    kubernetes::cluster::Cluster,
};

/// Which Leases are asked about.
#[derive(Clone, Debug)]
pub(super) enum Which {
    All,
    Named(Vec<Name>),
}

impl Which {
    /// The names that `is_there` knows nothing of.
    pub(super) fn missing(&self, is_there: impl Fn(&str) -> bool) -> Vec<String> {
        let Self::Named(names) = self else { return Vec::new() };
        names.iter().map(Name::as_str).filter(|name| !is_there(name)).map(str::to_owned).collect()
    }
}

/// In which namespace.
#[derive(Clone, Debug)]
pub(super) enum In {
    /// `None`: the one of the environment, or of the kubeconfig.
    Namespace(Option<Name>),
    AllNamespaces,
}

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) leases: Vec<SeenLease>,
    /// The names for which there is no Lease.
    pub(super) missing: Vec<String>,
}

/// What a watch tells.
#[derive(Debug)]
pub(super) enum Update {
    /// These are there and no others.
    All(Vec<SeenLease>),
    /// This one is like this.
    One(Box<SeenLease>),
    /// There is none: its namespace and name.
    Gone(String, String),
    /// Nothing is seen for now; it goes on by itself.
    Broken(String),
    /// Nothing will be seen.
    Denied(anyhow::Error),
}

/// See the module's documentation.
pub(super) struct Source {
    leases: Leases,
    /// By what time.
    pub(super) clock: Clock,
    /// For people.
    pub(super) place: Place,
}

enum Leases {
    Cluster(ClusterLeases),
    Folder(FolderLeases),
}

/// Where it was looked for Leases.
#[derive(Clone, Debug)]
pub(super) struct Place {
    namespace: Option<String>,
    folder: Option<String>,
}

#[cfg(test)]
impl Place {
    pub(super) fn namespace(name: &str) -> Self {
        Self { namespace: Some(name.to_owned()), folder: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "in namespace {namespace}")?,
            None => f.write_str("in any namespace")?,
        }
        self.folder.iter().try_for_each(|folder| write!(f, " of {folder}"))
    }
}

impl Source {
    /// # Errors
    /// There is no cluster, or it does not answer.
    pub(super) async fn open(store: StoreChoice, place: In, which: Which) -> anyhow::Result<Self> {
        let environment = Environment::from(|name| std::env::var(name).ok());
        let given = match place {
            In::AllNamespaces => None,
            In::Namespace(Some(name)) => Some(Some(name)),
            In::Namespace(None) => Some(environment.namespace()?),
        };
        let or = |default: &str| given.map(|name| name.map_or_else(|| default.to_owned(), |name| name.to_string()));
        match store {
            StoreChoice::Folder(folder) => {
                let namespace = or("default");
                let place = Place { namespace: namespace.clone(), folder: Some(folder.display().to_string()) };
                let leases = Leases::Folder(FolderLeases::new(folder, namespace, which));
                Ok(Self { leases, clock: Clock::of_the_machine(), place })
            }
            StoreChoice::Kubernetes => {
                let cluster = Cluster::default();
                let client = cluster.client().await?;
                let clock = Clock::of_the_api_server(client).await?;
                let namespace = or(client.default_namespace());
                let place = Place { namespace: namespace.clone(), folder: None };
                let leases = Leases::Cluster(ClusterLeases::new(client.clone(), namespace, which));
                Ok(Self { leases, clock, place })
            }
        }
    }

    /// All there are.
    ///
    /// # Errors
    /// They may not, or cannot, be read.
    pub(super) async fn read(&self) -> anyhow::Result<Read> {
        match &self.leases {
            Leases::Cluster(leases) => leases.read().await,
            Leases::Folder(leases) => leases.read(),
        }
    }

    /// As they are, and each change.
    pub(super) fn follow(self) -> BoxStream<'static, Update> {
        match self.leases {
            Leases::Cluster(leases) => leases.follow(),
            Leases::Folder(leases) => leases.follow(),
        }
    }
}
