//! The agent's only clocks. Wall and monotonic time enter the daemon here and nowhere else.
//!
//! Place in the flow: every journal entry is stamped with one [`Arrival`]; from there on time is an argument. The
//! monotonic part continues where the journal's last entry stood (the floor), so that it never goes back within a
//! store's life, whatever restarts lie between; how long the agent was away it does not know and does not guess.
//!
//! The wall clock's quality is what the configuration says, or `Synced` while the mark of systemd-timesyncd exists
//! (it appears with the first synchronisation after boot; a later loss of the server is not seen), else `FreeRunning`.
//! A wall clock before 2025 was never set, whatever anybody says: `Unknown`.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fettle_wire::time::SECOND;
use fettle_wire::{Arrival, ClockQuality, Micros};

use crate::config::ClockConfig;

/// 2025-01-01T00:00:00Z. This build is younger; an earlier wall clock was never set.
const OLDEST_WALL: Micros = 1_735_689_600 * SECOND;
/// Where systemd-timesyncd leaves its mark.
const SYNC_MARK: &str = "/run/systemd/timesync/synchronized";
/// How long one look at the mark is believed, us.
const LOOK_AGAIN: u64 = 1_000_000;

/// The clock of one daemon.
#[derive(Debug)]
pub struct Clock {
    config: ClockConfig,
    mark: PathBuf,
    origin: Instant,
    floor: u64,
    /// Monotonic time of the last look at the mark, with the finding in the lowest bit; 0 before the first.
    looked: AtomicU64,
}

impl Clock {
    /// A clock whose monotonic time begins above `floor`, the last one journaled (0 for a new store).
    pub fn new(config: ClockConfig, floor: u64) -> Self {
        Self::with_mark(config, floor, SYNC_MARK.into())
    }

    fn with_mark(config: ClockConfig, floor: u64, mark: PathBuf) -> Self {
        Self { config, mark, origin: instant(), floor: floor.saturating_add(1), looked: AtomicU64::new(0) }
    }

    /// The present.
    pub fn now(&self) -> Arrival {
        let monotonic = self.monotonic();
        let wall = wall();
        Arrival { wall, monotonic, quality: self.quality(wall, monotonic) }
    }

    /// Monotonic microseconds, continuing the store's.
    pub fn monotonic(&self) -> u64 {
        let elapsed = instant().saturating_duration_since(self.origin).as_micros();
        self.floor.saturating_add(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    fn quality(&self, wall: Micros, monotonic: u64) -> ClockQuality {
        if wall < OLDEST_WALL {
            return ClockQuality::Unknown;
        }
        match self.config {
            ClockConfig::Synced => ClockQuality::Synced,
            ClockConfig::FreeRunning => ClockQuality::FreeRunning,
            ClockConfig::Unknown => ClockQuality::Unknown,
            ClockConfig::Auto if self.marked(monotonic) => ClockQuality::Synced,
            ClockConfig::Auto => ClockQuality::FreeRunning,
        }
    }

    /// Whether the mark exists; asked of the file system once a second, because `now` is asked for every message.
    fn marked(&self, monotonic: u64) -> bool {
        let looked = self.looked.load(Ordering::Relaxed);
        if looked != 0 && monotonic.saturating_sub(looked >> 1) < LOOK_AGAIN {
            return looked & 1 == 1;
        }
        let found = self.mark.exists();
        self.looked.store(monotonic << 1 | u64::from(found), Ordering::Relaxed);
        found
    }
}

/// Microseconds since the process first asked, for who needs differences only: the log's rate limit, a command that says
/// how long it took.
pub fn process_micros() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(instant);
    u64::try_from(instant().saturating_duration_since(start).as_micros()).unwrap_or(u64::MAX)
}

/// Wall time, for log lines and for commands that a person runs; the daemon's flow takes [`Clock::now`].
pub fn wall() -> Micros {
    #[expect(clippy::disallowed_methods, reason = "this is the one module that reads a clock")]
    let now = SystemTime::now();
    match now.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    }
}

/// Takes the time of something short.
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins now.
    pub fn start() -> Self {
        Self(instant())
    }

    /// Nanoseconds since then.
    pub fn nanoseconds(&self) -> u64 {
        u64::try_from(instant().saturating_duration_since(self.0).as_nanos()).unwrap_or(u64::MAX)
    }
}

fn instant() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "this is the one module that reads a clock")]
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_continues_above_the_journals_last() {
        let clock = Clock::new(ClockConfig::Synced, 5_000_000);
        let (first, second) = (clock.now().monotonic, clock.now().monotonic);
        assert!(first > 5_000_000 && second >= first && second < 65_000_000, "{first} {second}");
    }

    #[test]
    fn a_wall_clock_before_2025_was_never_set() {
        let clock = Clock::new(ClockConfig::Synced, 0);
        assert_eq!(clock.quality(0, 1), ClockQuality::Unknown);
        assert_eq!(clock.quality(OLDEST_WALL, 1), ClockQuality::Synced);
    }

    #[test]
    fn the_mark_is_looked_at_once_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("synchronized");
        let clock = Clock::with_mark(ClockConfig::Auto, 0, mark.clone());
        assert_eq!(clock.quality(OLDEST_WALL, 1), ClockQuality::FreeRunning);
        std::fs::write(&mark, "").unwrap();
        assert_eq!(clock.quality(OLDEST_WALL, LOOK_AGAIN), ClockQuality::FreeRunning);
        assert_eq!(clock.quality(OLDEST_WALL, LOOK_AGAIN + 1), ClockQuality::Synced);
    }
}
