//! This process, under the names that every client library of Prometheus has for it. What the system does not tell is left
//! out: on macOS, memory and open files.

use std::{
    fmt, fs,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};
use rustix::{
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

use crate::log;

/// Made when the process begins, as far as anybody can tell.
#[derive(Debug)]
pub(super) struct Process {
    started: f64,
}

impl Default for Process {
    fn default() -> Self {
        Self { started: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = ConstCounter::new(cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9);
        let descriptor = encoder.encode_descriptor(
            "process_cpu_seconds",
            "CPU time of this process, its guests included",
            None,
            cpu.metric_type(),
        )?;
        cpu.encode(descriptor)?;
        let dropped = ConstCounter::new(log::dropped());
        let descriptor = encoder.encode_descriptor(
            "leasehold_log_lines_dropped",
            "Lines of the log that were left out because nobody read it",
            None,
            dropped.metric_type(),
        )?;
        dropped.encode(descriptor)?;
        let gauges = [
            ("process_start_time_seconds", "When this process began, in Unix time", Some(self.started)),
            ("process_resident_memory_bytes", "Memory of this process that is in RAM", resident_bytes()),
            ("process_open_fds", "Open file descriptors", open_files()),
            (
                "process_max_fds",
                "As many file descriptors may be open",
                getrlimit(Resource::Nofile).current.map(|max| max as f64),
            ),
        ];
        for (name, help, value) in gauges {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024.0)
}

fn open_files() -> Option<f64> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}
