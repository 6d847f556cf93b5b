//! What goes to and fro about this replica's LeaseCandidate.

use std::{future::pending, sync::Arc};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use leasehold_core::{
    candidate::{CandidateInput, CandidateRequest, CandidateSeen},
    election::RequestId,
    lease::Version,
    ports::{StoreError, StoreFailure},
};

use super::requests::why_failed;
use crate::{
    lease::candidate::CandidateStore,
    report::{Chain, Report},
};

/// See the module's documentation. Where there is no candidate, nothing ever happens to it.
pub(super) struct Candidacy {
    standing: Option<Standing>,
    report: Arc<Report>,
}

struct Standing {
    store: CandidateStore,
    watch: BoxStream<'static, Result<CandidateSeen, StoreError>>,
    /// Dropped, and with it its connection, when the core gives up on it or sends another.
    request: Option<BoxFuture<'static, (RequestId, Result<Version, StoreError>)>>,
    error: Option<StoreError>,
}

impl Candidacy {
    pub(super) fn new(store: Option<CandidateStore>, report: Arc<Report>) -> Self {
        let standing = store.map(|store| Standing { watch: store.watch(), store, request: None, error: None });
        Self { standing, report }
    }

    /// The answer to the request under way, or what the watch tells.
    ///
    /// # Cancel safety
    /// May be dropped at any time; nothing is lost.
    pub(super) async fn next(&mut self) -> CandidateInput {
        let Some(Standing { watch, request, error, .. }) = &mut self.standing else { return pending().await };
        loop {
            let answer = async {
                match request {
                    Some(request) => request.await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                (id, result) = answer => {
                    *request = None;
                    return CandidateInput::Answered(id, result.map_err(|failed| {
                        let failure = failed.failure;
                        *error = Some(failed);
                        failure
                    }));
                }
                seen = watch.next() => match seen.expect("a watch never ends") {
                    Ok(seen) => return CandidateInput::Seen(seen),
                    Err(broken) => self.report.candidacy_watch_broken(&Chain(&broken).to_string()),
                },
            }
        }
    }

    pub(super) fn send(&mut self, id: RequestId, request: CandidateRequest) {
        if let Some(standing) = &mut self.standing {
            let store = standing.store.clone();
            standing.request = Some(async move { (id, store.send(request).await) }.boxed());
        }
    }

    pub(super) fn tell_failed(&mut self, what: &str, failure: StoreFailure) {
        let Some(Standing { request, error, .. }) = &mut self.standing else { return };
        let given_up = failure == StoreFailure::Unavailable && request.take().is_some();
        self.report.request_failed(what, &why_failed(failure, error.take(), given_up));
    }
}
