//! What this host has written into its own Pod, for any of its tasks: each has a label of its own there, and each write
//! makes another version of the one Pod.
//!
//! A request names the version that it was decided on. Where this host itself has made all the versions since, for other
//! labels, the decision stands as it was, and the request is sent with the newest of them. One is sent after the other.

use std::{collections::BTreeMap, future::Future};

use leasehold_core::lease::Version;
use tokio::sync::Mutex;

/// So many are remembered: a request is decided on a version that is not older than that.
const KEPT_MAX: usize = 256;

/// See the module's documentation. Shared by all tasks of a host.
#[derive(Debug, Default)]
pub struct OwnWrites(Mutex<BTreeMap<Version, Version>>);

impl OwnWrites {
    /// Writes, when it is its turn, with what `based_on` has become by this host's own writes; the version that it makes.
    ///
    /// # Errors
    /// Those of `write`.
    ///
    /// # Cancel safety
    /// As `write`, if it has begun. One that waits for its turn is not made.
    pub async fn write<F, E>(&self, based_on: Version, write: impl FnOnce(Version) -> F) -> Result<Version, E>
    where
        F: Future<Output = Result<Version, E>>,
    {
        let mut became = self.0.lock().await;
        let mut newest = based_on;
        while let Some(next) = became.get(&newest) {
            newest = *next;
        }
        let made = write(newest).await?;
        // What changes nothing makes none.
        if made > newest {
            became.insert(newest, made);
        }
        if became.len() > KEPT_MAX {
            became.pop_first();
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, convert::Infallible};

    use super::*;

    #[tokio::test]
    async fn a_version_that_only_this_host_has_changed_is_as_good_as_the_newest_and_any_other_stays_what_it_is() {
        let (writes, sent) = (OwnWrites::default(), Cell::new(Version(0)));
        let write = async |based_on, made| {
            let send = |version| {
                sent.set(version);
                async move { Ok::<_, Infallible>(Version(made)) }
            };
            writes.write(Version(based_on), send).await.expect("it is written");
            sent.get().0
        };
        assert_eq!(write(10, 12).await, 10);
        assert_eq!(write(10, 13).await, 12);
        assert_eq!(write(12, 20).await, 13);
        // Somebody else has made 21.
        assert_eq!(write(21, 22).await, 21);
        assert_eq!(write(10, 20).await, 20, "which will be refused");
        // Nothing was changed.
        assert_eq!(write(22, 22).await, 22);
        assert_eq!(write(22, 23).await, 22);
        for version in 100..1_000 {
            write(version, version + 1).await;
        }
        assert!(writes.0.lock().await.len() <= KEPT_MAX);
    }
}
