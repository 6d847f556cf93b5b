//! Keeps a task's module ready: every change of its bytes is compiled, linked and checked beside
//! the running one. A bad module is told of, and changes nothing else (invariant 10).

use std::sync::Arc;

use futures_util::StreamExt;
use leasehold_core::task::Digest;
use tokio::sync::watch;

use crate::{
    guest::{
        module::{ModuleError, ReadyModule, digest},
        runtime::GuestRuntime,
    },
    module::{Changes, ReadError},
    report::Report,
};

/// Why a module is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// Its bytes cannot be had.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It cannot be a task.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// It is not the pinned one.
    #[error(
        "its digest is {found}, but the task is pinned to {pinned}: change the pin, or give the file that it names"
    )]
    Pinned {
        /// Of the bytes.
        found: Digest,
        /// Of the config.
        pinned: Digest,
    },
}

/// Compiles, links and checks `bytes`. Blocks for as long as that takes.
///
/// # Errors
/// Why it is not taken.
pub fn prepare(guests: &GuestRuntime, bytes: &[u8], pinned: Option<&Digest>) -> Result<ReadyModule, Rejected> {
    if let Some(pinned) = pinned {
        let found = digest(bytes);
        if found != *pinned {
            return Err(Rejected::Pinned { found, pinned: pinned.clone() });
        }
    }
    Ok(guests.prepare(bytes)?)
}

/// Makes each change ready and hands it to `current`, until there are no more changes.
///
/// # Cancel safety
/// May be dropped at any time.
pub async fn keep_ready(
    guests: Arc<GuestRuntime>,
    report: Arc<Report>,
    pinned: Option<Digest>,
    mut changes: Changes,
    current: watch::Sender<Arc<ReadyModule>>,
) {
    // A source tells of many changes, and a watch that is broken of it each second; the same is told once.
    let mut last_told = None;
    while let Some(change) = changes.next().await {
        let change = match change {
            Err(error) if error.is_of_the_source() => {
                let why = error.to_string();
                if last_told.as_ref() != Some(&why) {
                    report.module_source_unavailable(&why);
                }
                last_told = Some(why);
                continue;
            }
            change => change,
        };
        // Not here: this is the control thread, and a large module takes its time to hash as well.
        let hashed = tokio::task::spawn_blocking(move || (change.as_ref().ok().map(|bytes| digest(bytes)), change));
        // Only where the runtime is ending; if ever otherwise, the caller says that this has ended.
        let Ok((found, change)) = hashed.await else { return };
        if found.as_ref() == Some(&current.borrow().digest) {
            last_told = None;
            continue;
        }
        let (runtime, pin) = (guests.clone(), pinned.clone());
        let prepared = tokio::task::spawn_blocking(move || {
            change.map_err(Rejected::from).and_then(|bytes| prepare(&runtime, &bytes, pin.as_ref()))
        });
        match prepared.await {
            Ok(Ok(module)) => {
                last_told = None;
                report.module_loaded(&module);
                current.send_replace(Arc::new(module));
            }
            Ok(Err(rejected)) => {
                let what = found.as_deref().map_or_else(|| rejected.to_string(), str::to_owned);
                if last_told.as_ref() != Some(&what) {
                    report.module_rejected(found.as_deref(), &rejected);
                }
                last_told = Some(what);
            }
            Err(panicked) => {
                report.module_rejected(found.as_deref(), &format_args!("compiling it failed: {panicked}"));
            }
        }
    }
}
