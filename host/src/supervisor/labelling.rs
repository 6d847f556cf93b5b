//! What goes to and fro about the leader's label on this replica's Pod.

use std::{future::pending, sync::Arc};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use leasehold_core::{
    election::RequestId,
    label::{LabelInput, LabelNotice, LabelReply, LabelRequest, Labelled},
    ports::StoreError,
};

use super::requests::why_failed;
use crate::{
    lease::leader_label::PodLabels,
    report::{Chain, Report},
};

type Answer = (RequestId, Result<LabelReply, StoreError>);

/// See the module's documentation. Where there is no label, nothing ever happens to it.
pub(super) struct Labelling {
    labels: Option<PodLabels>,
    /// Who carries it, while the core wants to know.
    watch: Option<BoxStream<'static, Result<Labelled, StoreError>>>,
    /// Why that is not told, as people were told.
    watch_error: Option<String>,
    /// Dropped, and with it its connection, when the core gives up on it or sends another.
    request: Option<BoxFuture<'static, Answer>>,
    error: Option<StoreError>,
    report: Arc<Report>,
}

impl Labelling {
    pub(super) fn new(labels: Option<PodLabels>, report: Arc<Report>) -> Self {
        if labels.is_some() {
            report.leader_label_is_asked_for();
        }
        Self { labels, watch: None, watch_error: None, request: None, error: None, report }
    }

    /// The answer to the request under way, or what the watch tells.
    ///
    /// # Cancel safety
    /// May be dropped at any time; nothing is lost.
    pub(super) async fn next(&mut self) -> LabelInput {
        loop {
            let answer = async {
                match &mut self.request {
                    Some(request) => request.await,
                    None => pending().await,
                }
            };
            let seen = async {
                match &mut self.watch {
                    Some(watch) => watch.next().await.expect("a watch never ends"),
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                (id, result) = answer => {
                    self.request = None;
                    return LabelInput::Answered(id, result.map_err(|failed| {
                        let failure = failed.failure;
                        self.error = Some(failed);
                        failure
                    }));
                }
                seen = seen => match seen {
                    Ok(seen) => {
                        self.watch_error = None;
                        return LabelInput::Seen(seen);
                    }
                    Err(broken) => {
                        // Each try to take it up again may fail in the same way.
                        let why = Chain(&broken).to_string();
                        if self.watch_error.as_ref() != Some(&why) {
                            self.report.leader_label_failed(&"see which Pods carry the leader's label", &why);
                        }
                        self.watch_error = Some(why);
                    }
                },
            }
        }
    }

    pub(super) fn send(&mut self, id: RequestId, request: LabelRequest) {
        if let Some(labels) = self.labels.clone() {
            self.request = Some(async move { (id, labels.send(request).await) }.boxed());
        }
    }

    /// Begins to watch, or ends it.
    pub(super) fn watch(&mut self, wanted: bool) {
        if wanted != self.watch.is_some() {
            self.watch = self.labels.as_ref().filter(|_| wanted).map(PodLabels::watch);
            self.watch_error = None;
        }
    }

    pub(super) fn tell(&mut self, notice: &LabelNotice) {
        match notice {
            LabelNotice::On(token) => self.report.leader_label_on(*token),
            LabelNotice::Off => self.report.leader_label_off(),
            LabelNotice::TakenFrom(pod) => self.report.leader_label_taken_from(&pod.name),
            LabelNotice::LeftOn => self.report.leader_label_left_on(),
            LabelNotice::Failed(what, failure) => {
                // Dropped, where it is still under way.
                let given_up = self.request.take().is_some();
                self.report.leader_label_failed(what, &why_failed(*failure, self.error.take(), given_up));
            }
        }
    }
}
