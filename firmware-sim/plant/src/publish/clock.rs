//! The one place where the sim reads a clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fettle_wire::Micros;

/// Wall and monotonic time, both counted on by one monotonic clock: a wall clock set while the sim runs does not make
/// its event time jump.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    wall: Micros,
}

impl Clock {
    /// Reads both clocks once.
    #[expect(clippy::disallowed_methods, reason = "the sim's only reading of the wall clock")]
    pub fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), wall: Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX) }
    }

    /// Microseconds since [`Self::start`].
    pub fn monotonic(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// UTC.
    pub fn wall(&self) -> Micros {
        self.at(self.monotonic())
    }

    /// UTC at a monotonic time.
    pub fn at(&self, monotonic: u64) -> Micros {
        self.wall.saturating_add(Micros::try_from(monotonic).unwrap_or(Micros::MAX))
    }

    /// The moment of a monotonic time, for tokio's timers.
    pub fn instant(&self, monotonic: u64) -> tokio::time::Instant {
        (self.started + std::time::Duration::from_micros(monotonic)).into()
    }
}
