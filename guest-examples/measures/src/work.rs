//! What computes. Each takes some tens of milliseconds, natively.

use std::{collections::HashMap, hint::black_box};

/// How many primes there are below 2^23.
pub fn primes() -> u32 {
    const BELOW: usize = 1 << 23;
    let mut composite = vec![0_u8; BELOW / 8];
    let mut count = 0;
    for number in 2..BELOW {
        if composite[number / 8] & (1 << (number % 8)) != 0 {
            continue;
        }
        count += 1;
        let mut multiple = number * number;
        while multiple < BELOW {
            composite[multiple / 8] |= 1 << (multiple % 8);
            multiple += number;
        }
    }
    count
}

/// Counts words, and adds up how often the more frequent ones are there.
pub fn words() -> u64 {
    let mut counts = HashMap::<String, u64>::new();
    for number in random().take(200_000) {
        // The product makes some of them frequent.
        let frequent = (number >> 48) * ((number >> 32) & 0xffff);
        let word = format!("word-{}", frequent >> 20);
        *counts.entry(word).or_default() += 1;
    }
    counts.values().filter(|count| **count > 4).sum()
}

/// The median of many numbers.
pub fn sort() -> u64 {
    let mut numbers: Vec<_> = random().take(500_000).collect();
    numbers.sort_unstable();
    numbers[numbers.len() / 2]
}

/// Five bodies that attract each other, a hundred thousand steps: the energy at the end.
pub fn bodies() -> f64 {
    const STEP: f64 = 0.001;
    let mut bodies: [([f64; 3], [f64; 3], f64); 5] = [
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0], 39.478),
        ([4.84, -1.16, -0.1], [0.6, 2.81, -0.02], 0.0377),
        ([8.34, 4.12, -0.4], [-1.01, 1.82, 0.008], 0.0113),
        ([12.89, -15.11, -0.22], [1.08, 0.87, -0.01], 0.0017),
        ([15.37, -25.9, 0.18], [0.98, 0.59, -0.035], 0.002),
    ];
    for _ in 0..100_000 {
        for a in 0..bodies.len() {
            for b in a + 1..bodies.len() {
                let [first, second] = bodies.get_disjoint_mut([a, b]).expect("two of them");
                let between: [f64; 3] = std::array::from_fn(|axis| first.0[axis] - second.0[axis]);
                let squared: f64 = between.iter().map(|part| part * part).sum();
                let pull = STEP / (squared * squared.sqrt());
                let (mass_first, mass_second) = (first.2, second.2);
                for ((first, second), between) in first.1.iter_mut().zip(&mut second.1).zip(between) {
                    *first -= between * mass_second * pull;
                    *second += between * mass_first * pull;
                }
            }
        }
        for (place, speed, _) in &mut bodies {
            for (place, speed) in place.iter_mut().zip(speed) {
                *place += STEP * *speed;
            }
        }
    }
    bodies.iter().map(|(_, speed, mass)| mass * speed.iter().map(|part| part * part).sum::<f64>() / 2.0).sum()
}

/// Fifty million turns that the compiler may neither unroll into a formula nor leave out.
pub fn short_loop() -> u64 {
    let mut sum = 0;
    for turn in 0..50_000_000_u64 {
        sum ^= black_box(turn);
    }
    sum
}

/// The same numbers each time (xorshift64, Marsaglia 2003).
fn random() -> impl Iterator<Item = u64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
}
