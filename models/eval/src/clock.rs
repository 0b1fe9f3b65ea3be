//! The one file here that reads clocks: what a training costs and how long a prediction takes.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Processor time of the calling thread so far: what its work costs on one core, whoever else uses the machine.
pub fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Wall time now, for differences.
#[expect(clippy::disallowed_methods, reason = "this is the one module that reads a clock")]
pub fn now() -> Instant {
    Instant::now()
}
