//! Watches that several tasks of a host share: a connection each would be a thousand of them for a thousand tasks.

use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::{sync::watch, task::JoinHandle};

use super::watch::{Seen, Told, WatchError, watch_all, watch_one};

/// One object as it was last seen, or why it is not seen for now.
pub type Update<K> = Result<Seen<K>, Arc<WatchError>>;

/// Ends the task that drives a watch when nobody follows any more.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Newest<K> = watch::Receiver<Option<Update<K>>>;

/// The newest of `updates`, beginning with what is known already. `driver` lives as long as this does. It
/// ends only where what drives the watch has panicked.
fn following<K, D>(mut updates: Newest<K>, driver: Arc<D>) -> BoxStream<'static, Update<K>>
where
    K: Clone + Send + Sync + 'static,
    D: Send + Sync + 'static,
{
    updates.mark_changed();
    stream::unfold((updates, driver), |(mut updates, driver)| async move {
        loop {
            updates.changed().await.ok()?;
            let update = updates.borrow_and_update().clone();
            if let Some(update) = update {
                return Some((update, (updates, driver)));
            }
        }
    })
    .boxed()
}

/// One watch of all objects of a namespace, for those who follow some of them by their names.
pub struct OneForAll<K> {
    newest: HashMap<String, Newest<K>>,
    _driver: Driver,
}

impl<K> OneForAll<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    /// Begins to watch. Only objects of these names can be followed.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn begin(api: Api<K>, names: impl IntoIterator<Item = String>) -> Arc<Self> {
        let (senders, newest): (HashMap<_, _>, _) = names
            .into_iter()
            .map(|name| {
                let (sender, receiver) = watch::channel(None);
                ((name.clone(), sender), (name, receiver))
            })
            .unzip();
        Arc::new(Self { newest, _driver: Driver(tokio::spawn(tell_all(watch_all(api), senders))) })
    }

    /// The object of this name; `None` where it is not one of those that are followed.
    pub fn follow(self: &Arc<Self>, name: &str) -> Option<BoxStream<'static, Update<K>>> {
        Some(following(self.newest.get(name)?.clone(), self.clone()))
    }
}

async fn tell_all<K: Resource>(
    mut watch: BoxStream<'static, Result<Told<K>, WatchError>>,
    senders: HashMap<String, watch::Sender<Option<Update<K>>>>,
) {
    let tell = |name: &str, update| {
        if let Some(sender) = senders.get(name) {
            sender.send_replace(Some(update));
        }
    };
    while let Some(told) = watch.next().await {
        match told {
            Ok(Told::Listed(objects, from)) => {
                let mut present: HashMap<_, _> =
                    objects.into_iter().map(|object| (object.name_any(), object)).collect();
                for name in senders.keys() {
                    let seen = present.remove(name).map_or_else(|| Seen::Missing(from.clone()), Seen::Present);
                    tell(name, Ok(seen));
                }
            }
            Ok(Told::Changed(object)) => tell(&object.name_any(), Ok(Seen::Present(object))),
            Ok(Told::Deleted(object)) => {
                let at = object.resource_version().unwrap_or_default();
                tell(&object.name_any(), Ok(Seen::Missing(at)));
            }
            Err(error) => {
                let error = Arc::new(error);
                senders.keys().for_each(|name| tell(name, Err(error.clone())));
            }
        }
    }
}

/// One watch of each object that is followed, by however many.
pub struct OneEach<K> {
    api: Api<K>,
    followed: Mutex<HashMap<String, Weak<Followed<K>>>>,
}

struct Followed<K> {
    newest: Newest<K>,
    _driver: Driver,
}

impl<K> OneEach<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    /// Follows nothing yet.
    pub fn new(api: Api<K>) -> Self {
        Self { api, followed: Mutex::default() }
    }

    /// The object of this name.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn follow(&self, name: &str) -> BoxStream<'static, Update<K>> {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let this = followed.get(name).and_then(Weak::upgrade).unwrap_or_else(|| {
            followed.retain(|_, followed| followed.strong_count() > 0);
            let this = Arc::new(self.begin(name));
            followed.insert(name.to_owned(), Arc::downgrade(&this));
            this
        });
        following(this.newest.clone(), this)
    }

    fn begin(&self, name: &str) -> Followed<K> {
        let mut watch = watch_one(self.api.clone(), name.to_owned());
        let (sender, newest) = watch::channel(None);
        let driver = tokio::spawn(async move {
            while let Some(seen) = watch.next().await {
                sender.send_replace(Some(seen.map_err(Arc::new)));
            }
        });
        Followed { newest, _driver: Driver(driver) }
    }
}
