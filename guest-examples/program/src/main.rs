//! An ordinary program, with nothing of Leasehold in it. It runs as a leader-only task all the same: its
//! environment has the term (`LEASEHOLD_TOKEN` and others), and its exit status says how its work ended.
//!
//! `program [LINES [STATUS]]` prints a line every 100 ms, LINES of them or without end, and exits with STATUS.

use std::{env, process::ExitCode, thread, time::Duration};

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let mut number = |otherwise: u64| args.next().map_or(Ok(otherwise), |text| text.parse::<u64>());
    let (Ok(lines), Ok(status)) = (number(u64::MAX), number(0)) else {
        eprintln!("usage: program [LINES [STATUS]], both of them numbers");
        return ExitCode::from(2);
    };
    let term = |name: &str| env::var(format!("LEASEHOLD_{name}")).unwrap_or_else(|_| "none".into());
    for line in 1..=lines {
        println!("line {line}, lease {}/{}, token {}", term("NAMESPACE"), term("LEASE"), term("TOKEN"));
        thread::sleep(Duration::from_millis(100));
    }
    ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX))
}
