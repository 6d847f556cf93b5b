//! All kinds at once on one Lease, started, terminated, killed, and ours stopped past its term as
//! well, at random.

use std::time::{Duration, Instant};

use leasehold_tests::{from_env, host_process::PATIENCE};

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
    let seed = from_env("LEASEHOLD_INTEROP_SEED").unwrap_or_else(|| fastrand::u64(..));
    let time = Duration::from_secs(from_env("LEASEHOLD_INTEROP_SECONDS").unwrap_or(60));
    println!("LEASEHOLD_INTEROP_SEED={seed}, for {time:?}");
    let cluster = Cluster::start();
    let mut chaos = Chaos {
        rng: fastrand::Rng::with_seed(seed),
        scene: cluster.scene("chaos", DURATIONS),
        players: PLAYERS.map(|_| None).into(),
    };
    // On a slow machine chance alone would leave some kinds out.
    let mut turns: Vec<_> = (0..PLAYERS.len()).collect();
    chaos.rng.shuffle(&mut turns);
    let turn_every = time / u32::try_from(PLAYERS.len() + 1).expect("few");
    let (begun, mut next_turn) = (Instant::now(), turn_every);
    while begun.elapsed() < time || !turns.is_empty() {
        match turns.pop_if(|_| begun.elapsed() >= next_turn) {
            Some(chosen) => {
                next_turn += turn_every;
                chaos.one_has_its_turn(chosen);
            }
            None => chaos.one_thing_happens(),
        }
        let until_the_next = chaos.rng.u64(50..1_500);
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
    /// In the order of [`PLAYERS`].
    players: Vec<Option<Player>>,
}

impl Chaos {
    fn one_thing_happens(&mut self) {
        let leader =
            self.players.iter().position(|player| player.as_ref().is_some_and(|player| self.scene.is_held_by(player)));
        let chosen = match leader {
            // Now and then it is the leader, or else too little would change hands.
            Some(leader) if self.rng.u8(..4) == 0 => leader,
            _ => self.rng.usize(..PLAYERS.len()),
        };
        if self.rng.u8(..10) == 0 {
            self.one_has_its_turn(chosen);
            return;
        }
        let kind = PLAYERS[chosen];
        let Some(mut player) = self.players[chosen].take() else {
            // The watch makes ours the first to take what is free: often enough there is none.
            if kind != Kind::Leasehold || self.rng.bool() {
                self.players[chosen] = Some(self.begin(kind));
            }
            return;
        };
        match self.rng.u8(..4) {
            0 => self.scene.end(player, true),
            1 => self.scene.end(player, false),
            // The others promise nothing there. How long it lasts is up to what happens next.
            2 if kind == Kind::Leasehold => {
                player.stop();
                self.players[chosen] = Some(player);
            }
            _ => {
                player.go_on();
                self.players[chosen] = Some(player);
            }
        }
    }

    /// All others go, and nobody comes until this one leads: who asks only now and then is seldom the
    /// first otherwise.
    fn one_has_its_turn(&mut self, chosen: usize) {
        self.end_all();
        let player = self.begin(PLAYERS[chosen]);
        let begun = Instant::now();
        // What is on the Lease may change yet: a write may have been under way when its sender was killed.
        while !player.has_led() && self.scene.can_be_taken_by(player.kind) {
            assert!(begun.elapsed() < PATIENCE, "{} is alone and does not come to lead", player.kind);
            std::thread::sleep(Duration::from_millis(20));
        }
        self.players[chosen] = Some(player);
    }

    fn begin(&mut self, kind: Kind) -> Player {
        // The Java client takes nothing after a bare one, until another one has led.
        let naive = Naive { bare: self.rng.u8(..4) == 0, clears: self.rng.bool() };
        self.scene.begin(kind, naive)
    }

    fn end_all(&mut self) {
        for player in self.players.iter_mut().filter_map(Option::take).collect::<Vec<_>>() {
            let gracefully = self.rng.bool();
            self.scene.end(player, gracefully);
        }
    }
}
