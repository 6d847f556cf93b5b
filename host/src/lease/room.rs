//! Room for requests: a host with many tasks has a bounded number of them under way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// How many requests of all tasks together are under way. Each has a connection of its own; what comes in a burst
/// (a thousand tasks that end) waits here, and not in the API server, which turns away what is too much.
const REQUESTS_AT_ONCE_MAX: usize = 32;

/// Shared by all Leases of a host.
///
/// Whoever came last goes first. A request is given up by its election after a time that waiting here counts
/// towards: where the API server is too slow for all of them, the first in line would be sent when they are about to
/// be given up, all of them, and none would succeed. This way, those that are sent have their time.
#[derive(Clone)]
pub struct Room(Arc<Mutex<Lanes>>);

struct Lanes {
    free: usize,
    waiting: Vec<oneshot::Sender<Lane>>,
}

/// A request may be under way for as long as this lives.
pub(super) struct Lane {
    /// `None` in one that could not be handed on.
    of: Option<Room>,
}

impl Default for Room {
    fn default() -> Self {
        Self::for_requests(REQUESTS_AT_ONCE_MAX)
    }
}

impl Room {
    fn for_requests(free: usize) -> Self {
        Self(Arc::new(Mutex::new(Lanes { free, waiting: Vec::new() })))
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room.
    ///
    /// # Cancel safety
    /// May be dropped at any time; whoever waits next gets the room then.
    pub(super) async fn enter(&self) -> Lane {
        let turn = {
            let mut lanes = self.lanes();
            if lanes.free > 0 {
                lanes.free -= 1;
                return Lane { of: Some(self.clone()) };
            }
            // Those that were given up meanwhile.
            lanes.waiting.retain(|waiting| !waiting.is_closed());
            let (turn, waiting) = oneshot::channel();
            lanes.waiting.push(turn);
            waiting
        };
        // It is always told: the lanes live as long as this room does.
        turn.await.unwrap_or(Lane { of: None })
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let Some(room) = self.of.take() else { return };
        loop {
            let next = {
                let mut lanes = room.lanes();
                let Some(next) = lanes.waiting.pop() else {
                    lanes.free += 1;
                    return;
                };
                next
            };
            match next.send(Lane { of: Some(room.clone()) }) {
                Ok(()) => return,
                // It was given up; this one is not to be handed on a second time.
                Err(mut lane) => lane.of = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn no_more_than_there_is_room_for_are_under_way_and_who_came_last_goes_first() {
        let room = Room::for_requests(2);
        let (one, two) = (room.enter().await, room.enter().await);
        let (mut third, mut fourth) = (Box::pin(room.enter()), Box::pin(room.enter()));
        assert!(third.as_mut().now_or_never().is_none() && fourth.as_mut().now_or_never().is_none());
        drop(one);
        assert!(third.as_mut().now_or_never().is_none());
        let fourth = fourth.now_or_never().expect("it came last");
        drop(two);
        let third = third.now_or_never().expect("nobody else waits");
        assert!(room.enter().now_or_never().is_none());
        drop((third, fourth));
        let lanes = [room.enter().now_or_never(), room.enter().now_or_never()];
        assert!(lanes.iter().all(Option::is_some));
    }

    #[tokio::test]
    async fn who_gives_up_while_it_waits_or_when_its_turn_has_come_takes_no_room() {
        let room = Room::for_requests(1);
        let one = room.enter().await;
        let (mut second, mut third) = (Box::pin(room.enter()), Box::pin(room.enter()));
        assert!(second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        drop(third);
        drop(one);
        drop(second); // It was its turn, and it has not heard of it.
        assert!(room.enter().now_or_never().is_some());
        assert_eq!(room.lanes().free, 1);
    }
}
