//! All kinds at once on one Lease, started, terminated, killed, and ours stopped past its term as
//! well, at random.

use std::time::{Duration, Instant};

use crate::{
    peers::{Durations, Kind, Naive},
    scene::{Cluster, Player, Scene},
};

const DURATIONS: Durations = Durations { lease_s: 3, renew_deadline_s: 2, retry_period_s: 1 };

/// Two of ours, and two naive ones, since these lead as often as not beside each other's records.
const PLAYERS: [Kind; 7] =
    [Kind::Leasehold, Kind::Leasehold, Kind::ClientGo, Kind::Java, Kind::Python, Kind::Naive, Kind::Naive];

#[test]
fn ended_and_started_at_random_no_guest_ever_runs_beside_another_leader() {
    let seed = number_from_environment("LEASEHOLD_INTEROP_SEED").unwrap_or_else(|| fastrand::u64(..));
    let time = Duration::from_secs(number_from_environment("LEASEHOLD_INTEROP_SECONDS").unwrap_or(60));
    println!("LEASEHOLD_INTEROP_SEED={seed}, for {time:?}");
    let cluster = Cluster::start();
    let mut chaos = Chaos {
        rng: fastrand::Rng::with_seed(seed),
        scene: cluster.scene("chaos", DURATIONS),
        players: PLAYERS.map(|_| None).into(),
    };
    let begun = Instant::now();
    while begun.elapsed() < time {
        chaos.one_thing_happens();
        let until_the_next = chaos.rng.u64(100..2_000);
        std::thread::sleep(Duration::from_millis(until_the_next));
    }
    chaos.end_all();
    // Whatever has been left behind, it runs out.
    let last = chaos.begin(Kind::Leasehold);
    last.wait_until_it_leads();
    chaos.scene.end(last, true);

    let verdict = chaos.scene.verdict();
    println!("LEASEHOLD_INTEROP_SEED={seed}\n{verdict}");
    assert!(verdict.violations.is_empty(), "seed {seed}: {verdict}\n{:#?}", chaos.scene.versions());
    let (led, _) = verdict.led[&Kind::Leasehold];
    assert!(led > 1, "Leasehold has not led before all was quiet: {verdict}");
    assert!(verdict.led.len() > 1, "nobody else has led: {verdict}");
}

struct Chaos {
    rng: fastrand::Rng,
    scene: Scene,
    players: Vec<Option<Player>>,
}

impl Chaos {
    fn one_thing_happens(&mut self) {
        let leader = self.players.iter().flatten().position(|player| self.scene.is_held_by(player));
        let leader = leader.and_then(|nth| self.players.iter().enumerate().filter(|(_, p)| p.is_some()).nth(nth));
        let chosen = match leader {
            // As often as not it is the leader, or else nearly nothing would change hands.
            Some((index, _)) if self.rng.bool() => index,
            _ => self.rng.usize(..PLAYERS.len()),
        };
        let Some(mut player) = self.players[chosen].take() else {
            self.players[chosen] = Some(self.begin(PLAYERS[chosen]));
            return;
        };
        let what = self.rng.u8(..3);
        // The others promise nothing there.
        if what == 0 && player.kind == Kind::Leasehold && player.is_running() {
            let lease_ms = u64::from(DURATIONS.lease_s) * 1000;
            player.pause(Duration::from_millis(self.rng.u64(lease_ms / 4..lease_ms * 2)));
            self.players[chosen] = Some(player);
        } else {
            self.scene.end(player, what == 1);
        }
    }

    fn begin(&mut self, kind: Kind) -> Player {
        let naive = Naive { bare: self.rng.bool(), clears: self.rng.bool() };
        self.scene.begin(kind, naive)
    }

    fn end_all(&mut self) {
        for player in std::mem::take(&mut self.players).into_iter().flatten() {
            let gracefully = self.rng.bool();
            self.scene.end(player, gracefully);
        }
    }
}

fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}
