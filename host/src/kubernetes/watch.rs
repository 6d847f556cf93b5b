//! Objects, followed for as long as the process lives: one, or all of a namespace.
//!
//! They are listed, then watched from there on. A watch that the server ends, as it was asked
//! to, is taken up where it was; after an error they are listed again. It is one request that
//! stays open: while nothing changes, nothing is sent.

use std::{fmt::Debug, time::Duration};

use futures_core::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, WatchParams},
    core::WatchEvent,
};
use leasehold_core::backoff::Backoff;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

/// The server is asked to end a watch after this long at the most, and after four fifths of it at the least,
/// so that watches that began together do not end together.
const WATCH_SECONDS_MAX: u32 = 290;
/// After this long without a word, not even the end that was asked for, the connection is dead.
const SILENCE_MAX: Duration = Duration::from_secs(WATCH_SECONDS_MAX as u64 + 30);
/// The same for a list, and for the beginning of a watch.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// A watch that has ended sooner than this, and told nothing, has not worked.
const TOO_SHORT: Duration = Duration::from_secs(1);

/// What is to be seen of one object.
#[derive(Clone, Debug)]
pub enum Seen<K> {
    /// It is like this.
    Present(K),
    /// There is none, as of this resourceVersion.
    Missing(String),
}

/// What is to be seen of all objects.
#[derive(Debug)]
pub enum Told<K> {
    /// These are there and no others, as of this resourceVersion.
    Listed(Vec<K>, String),
    /// This one was made, or has changed.
    Changed(K),
    /// This one is gone; its resourceVersion is that of its deletion.
    Deleted(K),
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
    /// The watch has been silent for longer than a watch lives, or a list has not been answered.
    #[error("nothing was heard for {0:?}")]
    Silent(Duration),
}

impl WatchError {
    /// What was asked of the cluster.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Failed { verb, .. } => verb,
            Self::Silent(_) => "watch",
        }
    }
}

/// The object as it is, and each time it changes. After an error it goes on by itself; it never ends.
///
/// # Cancel safety
/// May be dropped at any time.
pub fn watch_one<K>(api: Api<K>, name: String) -> BoxStream<'static, Result<Seen<K>, WatchError>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let told = follow(Watched { api, only: Only::Fields(format!("metadata.name={name}")) });
    told.map(|told| {
        Ok(match told? {
            Told::Listed(objects, from) => objects.into_iter().next().map_or(Seen::Missing(from), Seen::Present),
            Told::Changed(object) => Seen::Present(object),
            Told::Deleted(object) => Seen::Missing(object.resource_version().unwrap_or_default()),
        })
    })
    .boxed()
}

/// All objects of the API's namespace as they are, and each change. After an error it goes on by itself,
/// beginning with a list; it never ends.
///
/// # Cancel safety
/// May be dropped at any time.
pub fn watch_all<K>(api: Api<K>) -> BoxStream<'static, Result<Told<K>, WatchError>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    follow(Watched { api, only: Only::All })
}

/// The same, of those that this selector takes (`KEY=VALUE`). One that it takes no longer is told as deleted.
///
/// # Cancel safety
/// May be dropped at any time.
pub fn watch_labelled<K>(api: Api<K>, selector: String) -> BoxStream<'static, Result<Told<K>, WatchError>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    follow(Watched { api, only: Only::Labels(selector) })
}

/// What is followed.
struct Watched<K> {
    api: Api<K>,
    only: Only,
}

/// Which of the objects.
enum Only {
    All,
    /// A field selector.
    Fields(String),
    /// A label selector.
    Labels(String),
}

/// Where a watch stands between two of its updates.
enum Watching<K> {
    Listing,
    Opening(String),
    Open {
        from: String,
        since: Instant,
        events: BoxStream<'static, kube::Result<WatchEvent<K>>>,
    },
    /// A moment before it is opened again.
    Ended(String),
    /// A moment before it begins anew.
    Broken,
}

fn follow<K>(watched: Watched<K>) -> BoxStream<'static, Result<Told<K>, WatchError>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let backoff = Backoff::new(fastrand::u64(..));
    stream::unfold((watched, backoff, Watching::Listing), |(watched, mut backoff, mut watching)| async move {
        loop {
            let (update, next) = watched.next(watching, &mut backoff).await;
            watching = next;
            if let Some(update) = update {
                return Some((update, (watched, backoff, watching)));
            }
        }
    })
    .boxed()
}

impl<K> Watched<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    async fn next(
        &self,
        watching: Watching<K>,
        backoff: &mut Backoff,
    ) -> (Option<Result<Told<K>, WatchError>>, Watching<K>) {
        let failed = |verb, error| (Some(Err(WatchError::Failed { verb, error })), Watching::Broken);
        let silent = |time| (Some(Err(WatchError::Silent(time))), Watching::Broken);
        match watching {
            Watching::Broken => {
                tokio::time::sleep(backoff.wait()).await;
                (None, Watching::Listing)
            }
            Watching::Ended(from) => {
                tokio::time::sleep(backoff.wait()).await;
                (None, Watching::Opening(from))
            }
            Watching::Listing => match timeout(ANSWERED_WITHIN, self.api.list(&self.of_list())).await {
                Err(_) => silent(ANSWERED_WITHIN),
                Ok(Ok(list)) => {
                    let from = list.metadata.resource_version.unwrap_or_default();
                    (Some(Ok(Told::Listed(list.items, from.clone()))), Watching::Opening(from))
                }
                Ok(Err(error)) => failed("list", error),
            },
            Watching::Opening(from) => match timeout(ANSWERED_WITHIN, self.api.watch(&self.of_watch(), &from)).await {
                Err(_) => silent(ANSWERED_WITHIN),
                Ok(Ok(events)) => (None, Watching::Open { from, since: Instant::now(), events: events.boxed() }),
                Ok(Err(error)) => failed("watch", error),
            },
            Watching::Open { from, since, mut events } => {
                let Ok(event) = timeout(SILENCE_MAX, events.try_next()).await else { return silent(SILENCE_MAX) };
                let (told, object): (fn(K) -> Told<K>, K) = match event {
                    // "The watch is too old" comes like this; what helps is to list again.
                    Ok(Some(WatchEvent::Error(status))) => return failed("watch", kube::Error::Api(status)),
                    Err(error) => return failed("watch", error),
                    Ok(None) if since.elapsed() < TOO_SHORT => return (None, Watching::Ended(from)),
                    Ok(None) => {
                        backoff.reset();
                        return (None, Watching::Opening(from));
                    }
                    Ok(Some(WatchEvent::Bookmark(bookmark))) => {
                        backoff.reset();
                        let from = bookmark.metadata.resource_version;
                        return (None, Watching::Open { from, since, events });
                    }
                    Ok(Some(WatchEvent::Added(object) | WatchEvent::Modified(object))) => (Told::Changed, object),
                    Ok(Some(WatchEvent::Deleted(object))) => (Told::Deleted, object),
                };
                backoff.reset();
                let from = object.resource_version().unwrap_or(from);
                (Some(Ok(told(object))), Watching::Open { from, since, events })
            }
        }
    }

    fn of_list(&self) -> ListParams {
        let params = ListParams::default();
        match &self.only {
            Only::All => params,
            Only::Fields(selector) => params.fields(selector),
            Only::Labels(selector) => params.labels(selector),
        }
    }

    fn of_watch(&self) -> WatchParams {
        let seconds = fastrand::u32(WATCH_SECONDS_MAX / 5 * 4..=WATCH_SECONDS_MAX);
        let params = WatchParams::default().timeout(seconds);
        match &self.only {
            Only::All => params,
            Only::Fields(selector) => params.fields(selector),
            Only::Labels(selector) => params.labels(selector),
        }
    }
}
