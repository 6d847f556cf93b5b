//! What a process takes of the machine, as the kernel counts it (Linux).

use std::{fs, time::Duration};

use anyhow::{Context, Result};

/// What a process has used so far, and has now.
#[derive(Clone, Copy, Debug)]
pub struct ProcessUse {
    /// In user and kernel mode, all threads.
    pub cpu: Duration,
    /// Resident memory.
    pub resident_bytes: u64,
    /// How many threads it has.
    pub threads: u64,
    /// How many files, sockets among them, it has open.
    pub files: usize,
}

impl ProcessUse {
    /// Of the process with this id.
    ///
    /// # Errors
    /// There is none, or this is no Linux.
    pub fn of(pid: u32) -> Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("cannot ask what a process uses")?;
        // The name, in parentheses, may have anything in it.
        let fields: Vec<_> = stat.rsplit_once(')').context("a stat has a name")?.1.split_whitespace().collect();
        let field = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).context("a number");
        // proc_pid_stat(5): 14 and 15 are the times, 20 the threads, 24 the pages; the first two are cut off here.
        let ticks = field(11)? + field(12)?;
        let cpu = Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64);
        let resident_bytes = field(21)? * rustix::param::page_size() as u64;
        let files = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        Ok(Self { cpu, resident_bytes, threads: field(17)?, files })
    }
}
