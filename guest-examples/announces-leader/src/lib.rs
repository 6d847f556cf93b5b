//! Works as the leader, and says on every replica who leads. What it says would go to a service registry, a chat, a
//! load balancer; here it is a line each.

wit_bindgen::generate!({ path: "../../wit", world: "observing-leader-task", generate_all });

use leasehold::task::leadership;

struct AnnouncesLeader;

impl Guest for AnnouncesLeader {
    fn on_start_leading(term: Term) -> Result<(), String> {
        println!("working, token {}", term.token);
        leadership::subscribe_stop().block();
        println!("asked to stop: {:?}", leadership::stop_requested());
        Ok(())
    }

    /// The instance that worked is gone. Where the Lease is still held, it is until this returns; where it was lost,
    /// another replica may lead already: tell that this one has stopped, and do nothing that only a leader may.
    fn on_stop_leading(term: Term, reason: StopReason) {
        let remaining_ms = leadership::remaining() / 1_000_000;
        println!("stopped leading, token {}: {reason:?}, {remaining_ms} ms left", term.token);
    }

    /// On each replica: this one's own identity is `term.identity`, and `leadership::current()` has it here.
    fn on_new_leader(identity: String) {
        let me = leadership::current();
        let who = if identity == me.identity { "this replica".to_owned() } else { identity };
        println!("{who} leads {}/{}", me.namespace, me.lease);
    }
}

export!(AnnouncesLeader);
