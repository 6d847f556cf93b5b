//! The cluster this host uses, found when it is first needed.

use std::{error::Error, time::Duration};

use anyhow::anyhow;
use kube::{Client, Config};
use tokio::{
    sync::OnceCell,
    time::{sleep, timeout},
};

use super::{connection, words};

/// How long the cluster may take to answer at the start. Later, it may be gone for as long as it likes.
const FIRST_CONTACT: Duration = Duration::from_secs(10);

/// The time between two tries to reach it, on average: replicas that have started together do not ask together.
const TRIED_EVERY: Duration = Duration::from_secs(2);

/// See the module's documentation.
#[derive(Default)]
pub struct Cluster {
    config: OnceCell<Config>,
    client: OnceCell<Client>,
}

impl Cluster {
    /// A client for the cluster this runs in, else for the one the kubeconfig points at.
    ///
    /// # Errors
    /// There is neither.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn client(&self) -> anyhow::Result<&Client> {
        let made = async || {
            let config = self.config().await?.clone();
            tracing::info!(event = "cluster", "using the cluster at {}", words::without_user_info(&config.cluster_url));
            connection::client(config).map_err(|error| {
                anyhow!("{}", words::in_plain_words(&error))
                    .context("the cluster's configuration does not make a client")
            })
        };
        self.client.get_or_try_init(made).await
    }

    /// Waits until the API server answers anything at all, be it that it does not know who asks; `tell` hears of each
    /// try why it does not.
    ///
    /// # Errors
    /// There is no cluster, or nothing to ask it with.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn answers(&self, mut tell: impl FnMut(&str)) -> anyhow::Result<()> {
        let client = self.client().await?;
        loop {
            match timeout(FIRST_CONTACT, client.apiserver_version()).await {
                Err(_) => tell(&format!("nothing has come for {FIRST_CONTACT:?}")),
                Ok(Err(kube::Error::Api(status))) if status.code == 429 || status.code >= 500 => {
                    tell(&format!("it answers with HTTP {}", status.code));
                }
                Ok(Err(error @ (kube::Error::Service(_) | kube::Error::HyperError(_)))) => {
                    tell(&words::in_plain_words(&error));
                }
                // Whatever else it is, whoever asks for something in earnest is told of it.
                Ok(_) => return Ok(()),
            }
            sleep(TRIED_EVERY.mul_f64(0.5 + fastrand::f64())).await;
        }
    }

    /// Where that cluster is, and this host's credentials for it.
    ///
    /// # Errors
    /// There is none.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn config(&self) -> anyhow::Result<&Config> {
        self.config.get_or_try_init(infer).await
    }
}

/// `asked`'s answer, unless it takes longer than a cluster may take at the start.
///
/// # Errors
/// What was asked failed, or was not answered.
pub async fn first_contact<T>(asked: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    timeout(FIRST_CONTACT, asked).await.map_err(|_| {
        anyhow!("the cluster has not answered for {FIRST_CONTACT:?}: is its address right, and is it up?")
    })?
}

async fn infer() -> anyhow::Result<Config> {
    let mut config = Config::infer().await.map_err(|error| {
        // Of the two ways, the kubeconfig is the one that a person can have meant.
        let why = error.source().map_or_else(|| error.to_string(), words::of_causes);
        anyhow!(
            "found no cluster: this is not a Pod with a service account, and no kubeconfig works ({why}). Set \
             KUBECONFIG, or try it without a cluster: --lease-store file:/tmp/leases"
        )
    })?;
    // The election itself decides when a request is tried again.
    config.default_retry = false;
    Ok(config)
}
