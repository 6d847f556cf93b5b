//! A store that refuses lower fencing tokens, and what arrives there.

use leasehold_tests::{
    host_process::HostProcess,
    register::{Refused, Register, Write},
};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{LEASE, cluster::Cluster, folder::leader_and_standby};

fn writes(host: &HostProcess) -> Vec<Write> {
    host.events().iter().filter_map(Write::of).collect()
}

/// All writes of the host, when there are at least so many.
fn at_least(count: usize, host: &HostProcess) -> Vec<Write> {
    host.wait_until(&format!("{count} writes"), |events| {
        let writes: Vec<_> = events.iter().filter_map(Write::of).collect();
        (writes.len() >= count).then_some(writes)
    })
}

#[test]
fn a_register_takes_equal_and_higher_tokens_and_refuses_lower_ones() {
    let mut register = Register::default();
    for (token, seq) in [(7, 1), (7, 2), (9, 1), (9, 2)] {
        assert_eq!(register.write(Write { token, seq }), Ok(()));
    }
    assert_eq!(register.write(Write { token: 8, seq: 3 }), Err(Refused { highest: 9 }));
    assert_eq!(register.value(), Some(Write { token: 9, seq: 2 }));
}

/// What a host has sent while its term was certain may be delivered when the term is over: only the
/// receiver can refuse it. Here, the way to the register is as long as the test wants it to be.
#[test]
fn writes_that_are_delivered_after_the_next_leaders_first_are_refused() {
    let folder = TempDir::new().expect("a folder");
    let (mut leader, standby) = leader_and_standby("fenced-writer", folder.path(), &[]);
    at_least(6, &leader);
    leader.signal(Signal::TERM);
    assert_eq!(leader.wait().code(), Some(0));
    let sent = writes(&leader);
    let (in_time, late) = sent.split_at(3);

    let mut register = Register::default();
    for write in in_time {
        assert_eq!(register.write(*write), Ok(()));
    }
    let successors = at_least(6, &standby);
    let (before, after) = successors.split_at(3);
    for write in before {
        assert_eq!(register.write(*write), Ok(()), "its token is higher");
    }
    let highest = before[0].token;
    assert!(late.len() >= 3);
    for write in late {
        assert_eq!(register.write(*write), Err(Refused { highest }));
    }
    assert_eq!(register.value(), before.last().copied());
    for write in after {
        assert_eq!(register.write(*write), Ok(()), "the present leader is not kept out by that");
    }
}

#[test]
fn what_a_leader_suspended_past_its_term_sends_when_it_goes_on_does_not_get_into_the_register() {
    let cluster = Cluster::start();
    let (leader, standby) = cluster.leader_and_standby("fenced-writer", &LEASE);
    leader.signal(Signal::STOP);
    let successors = at_least(3, &standby);
    let mut register = Register::default();
    let sent = writes(&leader);
    for write in sent.iter().chain(&successors) {
        assert_eq!(register.write(*write), Ok(()));
    }
    leader.signal(Signal::CONT);
    leader.wait_for_event("guest-stopped", 1);
    let highest = successors[0].token;
    for late in &writes(&leader)[sent.len()..] {
        assert_eq!(register.write(*late), Err(Refused { highest }));
    }
    assert_eq!(register.value(), successors.last().copied());
}
