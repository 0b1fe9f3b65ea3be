//! The one file of this daemon that reads a clock. Everything else is handed the time.
//!
//! The intake's decisions need no clock at all (records carry their time); wall time serves commands and display,
//! monotonic time serves batch intervals and back-off.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fettle_wire::Micros;

/// Wall time, microseconds UTC. A clock set before 1970 reads as 0, one beyond the year 294,000 as the largest value.
#[expect(clippy::disallowed_methods, reason = "the one place where wall time enters")]
pub fn wall() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX)
}

/// Monotonic time.
#[expect(clippy::disallowed_methods, reason = "the one place where monotonic time enters")]
pub fn monotonic() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    #[test]
    fn wall_time_is_after_2000() {
        assert!(super::wall() > fettle_wire::time::EARLIEST);
    }
}
