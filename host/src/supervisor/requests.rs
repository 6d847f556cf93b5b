//! The one request to the store that is under way, and what is counted of requests.

use std::time::Instant;

use futures_util::{FutureExt, future::BoxFuture};
use leasehold_core::{
    election::{Contest, Reply, Request, RequestId},
    ports::{LeaseStore, StoreError, StoreFailure},
    replica::Input,
};

use super::Supervisor;
use crate::report::{
    Chain,
    metrics::{Began, RequestKind, RequestResult},
};

/// A store's answer.
pub(super) type Answer = (RequestId, Result<Reply, StoreError>);

/// What the store was asked, and has not answered. Dropped, and with it its connection, when the core gives up on it or
/// sends another.
pub(super) struct UnderWay {
    kind: RequestKind,
    since: Instant,
    pub(super) answer: BoxFuture<'static, Answer>,
}

/// What people hear of requests, beside the one that is under way.
#[derive(Default)]
pub(super) struct Told {
    /// That was sent last.
    last: Option<RequestKind>,
    /// What the Lease was when this replica asked for it.
    pub(super) acquired: Began,
    /// The last holder that was proven to have ended.
    pub(super) ended: Option<String>,
}

/// How a request has failed, for people. `error` is the last one that was told; `given_up`: this one was under way, and is
/// not waited for any more.
pub(super) fn why_failed(failure: StoreFailure, error: Option<StoreError>, given_up: bool) -> String {
    match error.filter(|error| error.failure == failure) {
        _ if failure == StoreFailure::Unavailable && given_up => "no answer in time".to_owned(),
        Some(error) => Chain(&error).to_string(),
        None => format!("{failure:?}"),
    }
}

fn kind_of(request: &Request) -> RequestKind {
    match request {
        Request::Read => RequestKind::Read,
        Request::Write { record, .. } if record.holder.is_none() => RequestKind::Release,
        // Only a write within a term has its token.
        Request::Write { record, .. } if record.token.is_none() => RequestKind::Acquire,
        Request::Write { .. } => RequestKind::Renew,
    }
}

impl<S: LeaseStore> Supervisor<S> {
    /// The core gives up on it by itself, whatever the store does.
    pub(super) fn send(&mut self, id: RequestId, request: Request) {
        let kind = kind_of(&request);
        match kind {
            RequestKind::Acquire => self.requests.acquired = self.about_to_begin(&request),
            RequestKind::Renew if self.requests.last == Some(RequestKind::Read) => self.report.slow_path(),
            RequestKind::Renew | RequestKind::Read | RequestKind::Release => {}
        }
        self.requests.last = Some(kind);
        self.report.request_sent(kind);
        let store = self.store.clone();
        let answer = async move {
            let result = match request {
                Request::Read => store.read().await.map(Reply::Read),
                Request::Write { based_on, record } => store.write(based_on, &record).await.map(Reply::Written),
            };
            (id, result)
        }
        .boxed();
        self.request = Some(UnderWay { kind, since: Instant::now(), answer });
    }

    /// How a term begins that this request makes.
    fn about_to_begin(&self, request: &Request) -> Began {
        if let Request::Write { based_on: None, .. } = request {
            return Began::Created;
        }
        match self.holder.borrow().as_deref() {
            None => Began::Free,
            Some(holder) if *holder == *self.report.subject.identity => match self.contest {
                Contest::Coordinated => Began::Picked,
                Contest::Open => Began::Own,
            },
            Some(holder) if self.requests.ended.as_deref() == Some(holder) => Began::Proof,
            Some(_) => Began::Expired,
        }
    }

    pub(super) fn answered(&mut self, id: RequestId, result: Result<Reply, StoreError>) -> Input {
        self.request_ended(match &result {
            Ok(_) => RequestResult::Ok,
            Err(error) => match error.failure {
                StoreFailure::Conflict | StoreFailure::Missing => RequestResult::Conflict,
                StoreFailure::Denied | StoreFailure::Rejected | StoreFailure::Unavailable => RequestResult::Failed,
            },
        });
        let result = result.map_err(|error| {
            let failure = error.failure;
            self.request_error = Some(error);
            failure
        });
        Input::Answered(id, result)
    }

    /// Whether there was one under way.
    pub(super) fn request_ended(&mut self, result: RequestResult) -> bool {
        let Some(UnderWay { kind, since, .. }) = self.request.take() else { return false };
        self.report.request_ended(kind, since.elapsed(), result);
        true
    }
}
