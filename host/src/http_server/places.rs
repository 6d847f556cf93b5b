//! The places that connections have, and who makes room for a new one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

/// All there are.
pub(super) struct Places {
    free: Arc<Semaphore>,
    idle: Mutex<Idle>,
    /// A connection has become idle.
    becomes_idle: Notify,
}

/// The connections that are idle, in the order in which they have become so.
#[derive(Default)]
struct Idle {
    next: u64,
    /// Each with what ends it.
    wanted: BTreeMap<u64, Arc<Notify>>,
}

impl Places {
    pub(super) fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), idle: Mutex::default(), becomes_idle: Notify::new() }
    }

    /// One of them. Where all are taken, one that is idle is ended for it, as soon as there is one.
    pub(super) async fn take(self: &Arc<Self>) -> Place {
        let free = || self.free.clone().acquire_owned();
        let permit = match self.free.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => loop {
                if self.end_one() {
                    break free().await.expect("nobody closes it");
                }
                tokio::select! {
                    permit = free() => break permit.expect("nobody closes it"),
                    () = self.becomes_idle.notified() => {}
                }
            },
        };
        let place = Place { places: self.clone(), idle: Mutex::new(None), wanted: Arc::default(), _permit: permit };
        place.becomes_idle();
        place
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.free.available_permits()
    }

    /// Returns whether one was idle, which gives its place back when it has ended.
    fn end_one(&self) -> bool {
        let longest = self.idle().wanted.pop_first();
        longest.is_some_and(|(_, wanted)| {
            wanted.notify_one();
            true
        })
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That of one connection. Given back when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    /// While it is idle, its number among those that are, and since when.
    idle: Mutex<Option<(u64, Instant)>>,
    wanted: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// A request is being answered.
    pub(super) fn busy(this: &Arc<Self>) -> Busy {
        this.is_not_idle();
        Busy(this.clone())
    }

    /// Comes when it has been idle for so long.
    pub(super) async fn is_idle_for(&self, longest: Duration) {
        let mut look_at = Instant::now() + longest;
        loop {
            sleep_until(look_at).await;
            let idle = *self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            look_at = idle.map_or_else(Instant::now, |(_, since)| since) + longest;
            if look_at <= Instant::now() {
                return;
            }
        }
    }

    /// Comes when another needs it.
    pub(super) async fn is_wanted(&self) {
        self.wanted.notified().await;
    }

    fn becomes_idle(&self) {
        let mut idle = self.places.idle();
        let number = idle.next;
        idle.next += 1;
        idle.wanted.insert(number, self.wanted.clone());
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some((number, Instant::now()));
        drop(idle);
        self.places.becomes_idle.notify_one();
    }

    fn is_not_idle(&self) {
        let number = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((number, _)) = number {
            self.places.idle().wanted.remove(&number);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.is_not_idle();
    }
}

/// See [`Place::busy`]. Dropped when the answer is written, as far as it is for the server to write it.
pub(super) struct Busy(Arc<Place>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.becomes_idle();
    }
}
