//! A module in an OCI registry: an artifact with one layer `application/wasm`, as `wkg oci push` and `leasehold push`
//! write it (CNCF TAG Runtime, Wasm OCI Artifact layout). A tag is followed by polling: one `HEAD` a poll, and the
//! rest only where the manifest is another than before.
//!
//! Everything is checked on the way: the manifest and the layer against their digests, the sizes before and while they
//! are read, and the signature, where a key is given, before the module is fetched at all.

pub mod client;
pub mod credentials;
mod error;
pub mod manifest;
pub mod push;
mod transport;
pub mod verify;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use leasehold_core::task::Digest;
use tokio::time::{sleep, timeout};

use self::{
    client::Registry,
    manifest::{Fetched, wasm_layer},
    verify::PublicKey,
};
use super::MODULE_BYTES_MAX;
use crate::{config::OciReference, guest::module::digest};

pub use error::OciError;

/// How long all of an artifact may take, its signatures too.
const FETCH_MAX: Duration = Duration::from_secs(5 * 60);

/// The first wait after a failure, on average; each next one is twice as long.
const RETRY_FIRST: Duration = Duration::from_secs(2);
/// What the waits grow to, on average, where polls are not further apart anyway.
const RETRY_LAST: Duration = Duration::from_secs(5 * 60);
/// A registry may ask for a longer wait, and is believed up to this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(15 * 60);

/// See the module's documentation.
#[derive(Clone)]
pub struct OciModule(Arc<Inner>);

struct Inner {
    registry: Registry,
    artifact: OciReference,
    key: Option<PublicKey>,
    poll: Duration,
    /// The manifest of which all is known.
    done_with: Mutex<Option<Digest>>,
}

impl OciModule {
    /// What `artifact` names in its registry, signed with `key` where there is one. A tag is looked at each `poll`.
    pub fn new(registry: Registry, artifact: &OciReference, key: Option<PublicKey>, poll: Duration) -> Self {
        let artifact = artifact.clone();
        Self(Arc::new(Inner { registry, artifact, key, poll, done_with: Mutex::default() }))
    }

    /// The artifact, and the key it has to be signed with.
    pub(super) fn name(&self) -> String {
        let Inner { artifact, key, .. } = &*self.0;
        let key = key.as_ref().map_or_else(String::new, |key| format!(" signed with {}", key.fingerprint()));
        format!("oci:{artifact}{key}")
    }

    /// The layer's bytes as they are now.
    ///
    /// # Errors
    /// The registry does not give them, or they are not to be run.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub(super) async fn read(&self) -> Result<Vec<u8>, OciError> {
        self.0.in_time(async { self.0.module_of(self.0.manifest().await?).await }).await
    }

    /// The bytes again, each time the tag names another manifest; and what went wrong. With a digest, only until it is
    /// had once: nothing can change then.
    pub(super) fn changes(&self) -> BoxStream<'static, Result<Vec<u8>, OciError>> {
        let polling = Polling { module: self.clone(), wait: None, failures: 0 };
        stream::unfold(polling, |mut polling| async move { Some((polling.next().await, polling)) }).boxed()
    }
}

/// When the registry is asked next.
struct Polling {
    module: OciModule,
    /// `None`: nothing was asked yet but by [`OciModule::read`].
    wait: Option<Duration>,
    failures: u32,
}

impl Polling {
    async fn next(&mut self) -> Result<Vec<u8>, OciError> {
        let module = self.module.0.clone();
        loop {
            if module.artifact.digest.is_some() && module.done_with().is_some() {
                return std::future::pending().await;
            }
            // Where the first read has brought nothing, somebody waits for this one.
            let first =
                || if module.done_with().is_some() { around(module.poll, 0.1) } else { around(RETRY_FIRST, 0.5) };
            sleep(self.wait.unwrap_or_else(first)).await;
            match module.in_time(module.fetch_if_changed()).await {
                Ok(found) => {
                    self.failures = 0;
                    self.wait = Some(around(module.poll, 0.1));
                    if let Some(bytes) = found {
                        return Ok(bytes);
                    }
                }
                Err(error) => {
                    // One that has answered, with what is not to be run, is well: a signature may come at any time.
                    let last = if error.is_of_the_registry() { RETRY_LAST.max(module.poll) } else { module.poll };
                    self.wait = Some(wait_after(self.failures, last, error.retry_after()));
                    self.failures = self.failures.saturating_add(1);
                    return Err(error);
                }
            }
        }
    }
}

/// After so many failures before this one: up to around `last`, and as long as the registry says it is to be left alone.
fn wait_after(failures: u32, last: Duration, retry_after: Option<Duration>) -> Duration {
    let growing = RETRY_FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(last);
    let asked_for = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
    // Never sooner than asked for; all replicas were told the same.
    around(growing, 0.5).max(asked_for.mul_f64(1.0 + 0.2 * fastrand::f64()))
}

/// Never in step with others: so much of it more or less.
fn around(time: Duration, part: f64) -> Duration {
    time.mul_f64(1.0 - part + 2.0 * part * fastrand::f64())
}

impl Inner {
    async fn in_time<T>(&self, asked: impl Future<Output = Result<T, OciError>>) -> Result<T, OciError> {
        timeout(FETCH_MAX, asked).await.unwrap_or_else(|_| {
            let why = format!("all of it has not come within {FETCH_MAX:?}");
            Err(OciError::Unreachable { what: format!("fetching {}", self.artifact), why })
        })
    }

    fn done_with(&self) -> Option<Digest> {
        self.done_with.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A manifest that is what it was needs no second look, unless it had no signature, which may come after it.
    async fn fetch_if_changed(&self) -> Result<Option<Vec<u8>>, OciError> {
        let known = self.done_with();
        if known.is_some()
            && self.artifact.digest.is_none()
            && self.registry.digest_of(self.artifact.tag()).await? == known
        {
            return Ok(None);
        }
        let fetched = self.manifest().await?;
        if known.as_ref() == Some(&fetched.digest) {
            return Ok(None);
        }
        self.module_of(fetched).await.map(Some)
    }

    async fn manifest(&self) -> Result<Fetched, OciError> {
        let Self { registry, artifact, .. } = self;
        let named = artifact.digest.as_deref().unwrap_or_else(|| artifact.tag());
        registry.manifest(named).await?.ok_or_else(|| {
            OciError::Missing(format!("there is no {artifact}: {} knows no such artifact", artifact.registry))
        })
    }

    async fn module_of(&self, fetched: Fetched) -> Result<Vec<u8>, OciError> {
        let Self { registry, artifact, .. } = self;
        let Fetched { manifest, digest: of_manifest } = fetched;
        if let Some(key) = &self.key {
            verify::check(registry, key, &of_manifest).await?;
        }
        let layer = wasm_layer(&manifest).map_err(|why| OciError::NotAModule(format!("{artifact} {why}")));
        // From here on it cannot become another: what is wrong with it stays wrong.
        let layer = match layer {
            Ok(layer) if layer.size <= MODULE_BYTES_MAX.as_u64() => layer,
            refused => {
                self.set_done_with(of_manifest);
                return Err(match refused {
                    Ok(layer) => OciError::too_large(&format!("the module of {artifact}"), layer.size),
                    Err(error) => error,
                });
            }
        };
        let bytes = registry.blob(&layer.digest, layer.size).await?;
        let expected = layer.digest.clone();
        // Not hashed here: this is the control thread, and a large module takes its time.
        let hashed = tokio::task::spawn_blocking(move || (digest(&bytes) == expected, bytes)).await;
        let (right, bytes) = hashed.map_err(|panicked| OciError::Unreachable {
            what: format!("hashing the module of {artifact}"),
            why: panicked.to_string(),
        })?;
        if !right {
            return Err(OciError::WrongBytes {
                what: format!("the module of {artifact}"),
                expected: layer.digest.clone(),
            });
        }
        self.set_done_with(of_manifest);
        Ok(bytes)
    }

    fn set_done_with(&self, digest: Digest) {
        *self.done_with.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_with_each_failure_and_are_no_shorter_than_the_registry_asks_for() {
        for failures in [0, 1, 5, 20, u32::MAX] {
            let around = RETRY_FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(RETRY_LAST);
            let wait = wait_after(failures, RETRY_LAST, None);
            assert!((around / 2..=around * 3 / 2).contains(&wait), "{failures}: {wait:?}");
            assert!(wait_after(failures, RETRY_LAST, Some(Duration::from_secs(600))) >= Duration::from_secs(600));
            assert!(wait_after(failures, RETRY_LAST, Some(Duration::MAX)) <= RETRY_AFTER_MAX * 6 / 5);
        }
    }
}
