//! Proof that the holder of a Lease has ended, so that its Lease need not be waited out.
//!
//! Each host writes its identity, which no other boot has, into its container's termination message
//! ([`crate::termination`]). When the kubelet finds that very container instance ended, it puts
//! the message into the Pod's status; so a `terminated` state that carries an identity says that
//! the process of this identity runs no more, whatever else became of the Pod and its containers.
//!
//! Nothing else is proof: not a Pod that is gone (a forced deletion removes the object while the
//! container may run on), not `ContainerStatusUnknown` nor a node that is not ready (nobody has
//! looked), and not another instance of the container.

use std::sync::Arc;

use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodStatus};
use tokio::sync::watch;

use super::{pods::Pods, shared::Update, watch::Seen};
use crate::termination;

/// The identities of holders that have ended; it never ends. `holders` is who holds the Lease.
type Ended = BoxStream<'static, String>;

/// Looks for proof about the Pods of holders, of which `pods` has those of the Lease's namespace. Without
/// the right to do that it finds none.
pub fn ended(pods: Option<Arc<Pods>>, holders: watch::Receiver<Option<String>>) -> Ended {
    let Some(pods) = pods else { return stream::pending().boxed() };
    let looking = Looking { pods, holders, followed: None };
    stream::unfold(looking, |mut looking| async { Some((looking.next().await, looking)) }).boxed()
}

struct Looking {
    pods: Arc<Pods>,
    holders: watch::Receiver<Option<String>>,
    followed: Option<Followed>,
}

/// The holder that is looked after, and its Pod.
struct Followed {
    holder: String,
    pod: BoxStream<'static, Update<Pod>>,
}

impl Looking {
    async fn next(&mut self) -> String {
        loop {
            let pod = async {
                match &mut self.followed {
                    Some(followed) => (followed.pod.next().await, &followed.holder),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.holders.changed() => match changed {
                    Ok(()) => self.follow(),
                    // Whoever would hear of it is gone.
                    Err(_) => std::future::pending().await,
                },
                (seen, holder) = pod => match seen {
                    Some(Ok(Seen::Present(pod))) if has_ended(&pod, holder) => return holder.clone(),
                    // It is taken up again by itself; the Lease's own watch has told what is wrong.
                    Some(Err(error)) => tracing::debug!(event = "pod-watch-broken", holder, "{error}"),
                    Some(Ok(_)) => {}
                    // Only where what drives it has failed.
                    None => self.followed = None,
                },
            }
        }
    }

    fn follow(&mut self) {
        let holder = self.holders.borrow_and_update().clone();
        // An identity is the Pod's name, `_` and a nonce. Of another elector's, no Pod will carry the message.
        self.followed = holder.and_then(|holder| {
            let (pod, _nonce) = holder.rsplit_once('_')?;
            let pod = self.pods.follow(pod);
            Some(Followed { holder, pod })
        });
    }
}

/// Whether the kubelet says that the process of this identity has ended.
pub(crate) fn has_ended(pod: &Pod, holder: &str) -> bool {
    let Some(PodStatus { container_statuses, init_container_statuses, .. }) = &pod.status else { return false };
    // A sidecar is an init container that is restarted.
    let containers = [container_statuses, init_container_statuses].into_iter().flatten().flatten();
    let ended = |state: &Option<ContainerState>| {
        let message = state.as_ref()?.terminated.as_ref()?.message.as_ref()?;
        Some(termination::identity_in(message)? == holder)
    };
    containers.into_iter().any(|ContainerStatus { state, last_state, .. }| {
        ended(state).unwrap_or(false) || ended(last_state).unwrap_or(false)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(state: &Value, last_state: &Value) -> Pod {
        let container = json!({
            "name": "leasehold", "image": "i", "imageID": "i", "ready": false, "restartCount": 1,
            "state": state, "lastState": last_state,
        });
        serde_json::from_value(json!({"metadata": {}, "status": {"containerStatuses": [container]}})).expect("a Pod")
    }

    fn terminated(message: &str) -> Value {
        json!({"terminated": {"exitCode": 137, "reason": "Error", "message": message}})
    }

    #[test]
    fn the_very_instance_terminated_is_proof_also_when_another_runs_since() {
        let message = termination::message("pod-1_0a");
        assert!(has_ended(&pod(&terminated(&message), &json!({})), "pod-1_0a"));
        let running = json!({"running": {}});
        assert!(has_ended(&pod(&running, &terminated(&format!("{message}error: it broke\n"))), "pod-1_0a"));
    }

    #[test]
    fn nothing_else_is() {
        let running = json!({"running": {}});
        let another = termination::message("pod-1_0b");
        assert!(!has_ended(&Pod::default(), "pod-1_0a"));
        assert!(!has_ended(&pod(&running, &json!({})), "pod-1_0a"));
        assert!(!has_ended(&pod(&running, &terminated(&another)), "pod-1_0a"));
        let unknown = "The container could not be located when the pod was terminated (pod-1_0a)";
        assert!(!has_ended(&pod(&terminated(unknown), &json!({})), "pod-1_0a"));
    }
}
