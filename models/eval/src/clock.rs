//! The one file here that reads clocks: what a training costs, how long a prediction takes, when a release was made.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

/// Wall time in microseconds UTC, for what people will read.
pub fn wall() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "this is the one module that reads a clock")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).ok().and_then(|d| i64::try_from(d.as_micros()).ok()).unwrap_or(0)
}
