//! The benchmark's clock: the one place that reads it, and the pauses of paced feeding.

use std::time::{Duration, Instant};

/// Now.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits; only for feeding at a rate and for looking again.
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Waits until `at`, if that is still to come.
pub(crate) fn pause_until(at: Instant) {
    pause(at.saturating_duration_since(now()));
}
