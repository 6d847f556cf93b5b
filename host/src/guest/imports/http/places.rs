//! Places among the requests in flight, had in the order in which the guest asked.
//!
//! Not in the order in which the requests' futures are first polled, which is anybody's: a guest that reads its answers
//! one after the other would wait for a request that waits for a place, while later ones have all places and
//! are not read.

use std::{pin::Pin, sync::Arc};

use futures_util::FutureExt;
use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
    task::unconstrained,
    time::{Instant, timeout_at},
};

/// Of one run.
pub(super) struct Places(Arc<Semaphore>);

impl Places {
    pub(super) fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }

    /// Stands in line from here on.
    pub(super) fn ask(&self) -> Place {
        let mut waiting: Waiting = Box::pin(self.0.clone().acquire_owned());
        // It is in the line when it has been polled. Unconstrained: a caller that has used up its share of the runtime
        // would be turned away at once, and not be in the line.
        match unconstrained(&mut waiting).now_or_never() {
            Some(had) => Place::Had(had),
            None => Place::Waiting(waiting),
        }
    }
}

type Had = Result<OwnedSemaphorePermit, AcquireError>;
type Waiting = Pin<Box<dyn Future<Output = Had> + Send>>;

/// One that was asked for. Dropped, it is given up.
pub(super) enum Place {
    Had(Had),
    Waiting(Waiting),
}

impl Place {
    /// `None`: it was not had in time.
    pub(super) async fn had(self, by: Instant) -> Option<OwnedSemaphorePermit> {
        let had = match self {
            Self::Had(had) => had,
            Self::Waiting(waiting) => timeout_at(by, waiting).await.ok()?,
        };
        // It fails where the semaphore is closed, and nobody closes it.
        had.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn places_are_had_in_the_order_asked_whoever_is_polled_first() {
        let places = Places::new(1);
        let by = Instant::now() + Duration::from_secs(3600);
        let first = places.ask().had(by).await.expect("it is free");
        let (second, third) = (places.ask(), places.ask());
        let mut third = Box::pin(third.had(by));
        assert!(third.as_mut().now_or_never().is_none(), "it is taken");
        let mut second = Box::pin(second.had(by));
        assert!(second.as_mut().now_or_never().is_none(), "it is taken");
        drop(first);
        assert!(third.as_mut().now_or_never().is_none(), "another asked before");
        drop(second.as_mut().now_or_never().expect("its turn has come").expect("in time"));
        assert!(third.now_or_never().expect("its turn has come").is_some());
    }

    #[tokio::test]
    async fn a_place_that_is_not_had_in_time_is_given_up() {
        let places = Places::new(1);
        let had = places.ask().had(Instant::now()).await;
        assert!(had.is_some());
        assert!(places.ask().had(Instant::now()).await.is_none());
        drop(had);
        assert!(places.ask().had(Instant::now()).await.is_some(), "who gave up is not in the line");
    }
}
