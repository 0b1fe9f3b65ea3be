//! What the system says about a process and the machine, from /proc.
//!
//! Processor time is the scheduler's own count in nanoseconds (`schedstat`), summed over threads: time spent waiting for a
//! processor, which on a busy machine is most of it, is not in it. Threads that have ended are lost from the sum; ours live
//! as long as their process.

use std::fs;
use std::time::Duration;

/// Processor time that the live threads of a process have spent.
pub(crate) fn cpu(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap_or_else(|e| panic!("process {pid}: {e}"));
    let spent = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
    let spent = spent.filter_map(|text| text.split(' ').next().and_then(|number| number.parse::<u64>().ok()));
    Duration::from_nanos(spent.sum())
}

/// Bytes that a process has caused to be written to the disk.
pub(crate) fn written(pid: u32) -> u64 {
    number(&read(pid, "io"), "write_bytes:")
}

/// Resident memory in KiB: (not backed by a file, all).
pub(crate) fn resident(pid: u32) -> (u64, u64) {
    let status = read(pid, "status");
    (number(&status, "RssAnon:"), number(&status, "VmRSS:"))
}

fn read(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_else(|e| panic!("/proc/{pid}/{file}: {e}"))
}

fn number(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let value = line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok());
    value.unwrap_or_else(|| panic!("the system does not tell {key}"))
}

/// The machine's load averages.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Processors, their model, kernel and memory.
pub(crate) fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{cores} x {}, Linux {}, {} GiB",
        model.trim_start_matches(['\t', ' ', ':']),
        kernel.trim(),
        number(&memory, "MemTotal:") >> 20
    )
}
