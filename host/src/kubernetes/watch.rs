//! One object, followed for as long as the process lives.
//!
//! The object is listed, then watched from there on. A watch that the server ends, as it was asked
//! to, is taken up where it was; after an error the object is listed again. It is one request that
//! stays open: while nothing changes, nothing is sent.

use std::{fmt::Debug, time::Duration};

use futures_core::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, WatchParams},
    core::WatchEvent,
};
use serde::de::DeserializeOwned;

/// How long to wait before a broken watch is tried again.
const REWATCH_DELAY: Duration = Duration::from_secs(1);
/// The server is asked to end a watch after this long.
const WATCH_SECONDS: u32 = 290;
/// After this long without a word, not even the end that was asked for, the connection is dead.
const SILENCE_MAX: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 30);

/// What is to be seen of the object.
#[derive(Clone, Debug)]
pub enum Seen<K> {
    /// It is like this.
    Present(K),
    /// There is none, as of this resourceVersion.
    Missing(String),
}

/// Why nothing is seen for now.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The cluster's answer, or why there is none.
    #[error("{}", super::in_plain_words(error))]
    Failed {
        /// What was asked: `list` or `watch`.
        verb: &'static str,
        /// What the client says.
        error: kube::Error,
    },
    /// The watch has been silent for longer than a watch lives.
    #[error("nothing was heard for {SILENCE_MAX:?}")]
    Silent,
}

impl WatchError {
    /// What was asked of the cluster.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Failed { verb, .. } => verb,
            Self::Silent => "watch",
        }
    }
}

/// Where a watch stands between two of its updates.
enum Watching<K> {
    Listing,
    Opening(String),
    Open(String, BoxStream<'static, kube::Result<WatchEvent<K>>>),
    Broken,
}

/// The object as it is, and each time it changes. After an error it goes on by itself; it never ends.
///
/// # Cancel safety
/// May be dropped at any time.
pub fn watch_one<K>(api: Api<K>, name: String) -> BoxStream<'static, Result<Seen<K>, WatchError>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let object = One { api, name };
    stream::unfold((object, Watching::Listing), |(object, mut watching)| async move {
        loop {
            let (update, next) = object.next(watching).await;
            watching = next;
            if let Some(update) = update {
                return Some((update, (object, watching)));
            }
        }
    })
    .boxed()
}

struct One<K> {
    api: Api<K>,
    name: String,
}

impl<K> One<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    async fn next(&self, watching: Watching<K>) -> (Option<Result<Seen<K>, WatchError>>, Watching<K>) {
        let failed = |verb, error| (Some(Err(WatchError::Failed { verb, error })), Watching::Broken);
        match watching {
            Watching::Broken => {
                tokio::time::sleep(REWATCH_DELAY).await;
                (None, Watching::Listing)
            }
            Watching::Listing => match self.list().await {
                Ok((seen, from)) => (Some(Ok(seen)), Watching::Opening(from)),
                Err(error) => failed("list", error),
            },
            Watching::Opening(from) => {
                let params = WatchParams::default().fields(&self.only_this()).timeout(WATCH_SECONDS);
                match self.api.watch(&params, &from).await {
                    Ok(events) => (None, Watching::Open(from, events.boxed())),
                    Err(error) => failed("watch", error),
                }
            }
            Watching::Open(from, mut events) => {
                let Ok(event) = tokio::time::timeout(SILENCE_MAX, events.try_next()).await else {
                    return (Some(Err(WatchError::Silent)), Watching::Broken);
                };
                match event {
                    Ok(Some(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                        let from = object.resource_version().unwrap_or(from);
                        (Some(Ok(Seen::Present(object))), Watching::Open(from, events))
                    }
                    Ok(Some(WatchEvent::Deleted(object))) => {
                        let from = object.resource_version().unwrap_or(from);
                        (Some(Ok(Seen::Missing(from.clone()))), Watching::Open(from, events))
                    }
                    Ok(Some(WatchEvent::Bookmark(bookmark))) => {
                        (None, Watching::Open(bookmark.metadata.resource_version, events))
                    }
                    // "The watch is too old" comes like this; what helps is to list again.
                    Ok(Some(WatchEvent::Error(status))) => failed("watch", kube::Error::Api(status)),
                    Ok(None) => (None, Watching::Opening(from)),
                    Err(error) => failed("watch", error),
                }
            }
        }
    }

    /// The object, and the version of the list from which a watch goes on.
    async fn list(&self) -> kube::Result<(Seen<K>, String)> {
        let list = self.api.list(&ListParams::default().fields(&self.only_this())).await?;
        let from = list.metadata.resource_version.unwrap_or_default();
        let object = list.items.into_iter().next();
        Ok((object.map_or_else(|| Seen::Missing(from.clone()), Seen::Present), from))
    }

    fn only_this(&self) -> String {
        format!("metadata.name={}", self.name)
    }
}
