//! Work whose time it prints, for the benchmark: built natively, run by wasmtime as it comes, and as a task by Leasehold,
//! it is the same program.
//!
//! `measures ROUNDS WORK [ARG]` does the work so often, and prints for each round how many nanoseconds it took.
//!
//! | WORK | |
//! |---|---|
//! | `primes` | integers, and a table of a megabyte |
//! | `words` | strings in a map, with allocations |
//! | `sort` | half a million numbers |
//! | `bodies` | floating-point numbers |
//! | `loop` | a loop of a few instructions: the worst case of what watches each turn of one |
//! | `clock` | 10,000 calls of the system that have next to nothing to do |
//! | `echo ADDRESS` | 1,000 times a byte over TCP, and one back |

mod work;

use std::{
    env,
    hint::black_box,
    io::{Read, Write},
    net::TcpStream,
    process::ExitCode,
    time::Instant,
};

const CLOCK_CALLS: u32 = 10_000;
const ECHOES: u32 = 1_000;

fn main() -> ExitCode {
    let args: Vec<_> = env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let [rounds, work @ ..] = &args[..] else { return usage() };
    let Ok(rounds) = rounds.parse::<u32>() else { return usage() };
    let done = match work {
        ["primes"] => timed(rounds, || u64::from(work::primes())),
        ["words"] => timed(rounds, work::words),
        ["sort"] => timed(rounds, work::sort),
        ["bodies"] => timed(rounds, || work::bodies().to_bits()),
        ["loop"] => timed(rounds, work::short_loop),
        ["clock"] => {
            timed(rounds, || (0..CLOCK_CALLS).map(|_| u64::from(Instant::now().elapsed().subsec_nanos())).sum())
        }
        ["echo", address] => echo(rounds, address),
        _ => return usage(),
    };
    if let Err(error) = done {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: measures ROUNDS primes|words|sort|bodies|loop|clock|echo ADDRESS");
    ExitCode::from(2)
}

fn timed(rounds: u32, work: impl Fn() -> u64) -> std::io::Result<()> {
    tell(rounds, || {
        black_box(work());
        Ok(())
    })
}

fn tell(rounds: u32, mut work: impl FnMut() -> std::io::Result<()>) -> std::io::Result<()> {
    for _ in 0..rounds {
        let begun = Instant::now();
        work()?;
        println!("{}", begun.elapsed().as_nanos());
    }
    Ok(())
}

fn echo(rounds: u32, address: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    tell(rounds, || {
        for _ in 0..ECHOES {
            stream.write_all(b"x")?;
            stream.read_exact(&mut [0])?;
        }
        Ok(())
    })
}
