//! The demo's only clock: how long it has been running, and what the wall shows.

use std::time::{Duration, Instant, SystemTime};

/// Started once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
}

#[expect(clippy::disallowed_methods, reason = "the one place of the demo that reads a clock")]
impl Clock {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now() }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// UTC, microseconds since 1970.
    pub(crate) fn wall() -> i64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }
}
