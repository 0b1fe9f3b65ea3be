//! Event time, monotonic time and how far a clock may be trusted.
//!
//! All time is [`Micros`]: i64 microseconds UTC, leap seconds as POSIX counts them (a day has 86,400 s). Local zones
//! exist only in the browser. [`Arrival`] is the only notion of the present that the engine has.
//!
//! Must never read a clock; each daemon has one module that does.

use core::fmt;

use serde::{Deserialize, Serialize};

/// Microseconds UTC since 1970-01-01. All event time and all wall time.
pub type Micros = i64;

/// One second in [`Micros`].
pub const SECOND: Micros = 1_000_000;
/// One minute in [`Micros`].
pub const MINUTE: Micros = 60 * SECOND;
/// One hour in [`Micros`].
pub const HOUR: Micros = 60 * MINUTE;
/// One day in [`Micros`].
pub const DAY: Micros = 24 * HOUR;
/// A month as the false-alarm rate means it: 30 days.
pub const MONTH: Micros = 30 * DAY;

/// 2000-01-01T00:00:00Z. Earlier event times come from a node without a real-time clock.
pub const EARLIEST: Micros = 946_684_800 * SECOND;
/// 2100-01-01T00:00:00Z. Later event times come from a broken clock.
pub const LATEST: Micros = 4_102_444_800 * SECOND;

/// How far a clock may be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockQuality {
    /// Disciplined by NTP, PTP or GNSS at this moment.
    Synced,
    /// Was set once and runs by itself.
    FreeRunning,
    /// Never set; only differences mean anything.
    #[default]
    Unknown,
}

/// When something reached the agent. The engine's only knowledge of the present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Arrival {
    /// Wall time of arrival.
    pub wall: Micros,
    /// Microseconds of the agent's monotonic clock, never going back within an incarnation.
    pub monotonic: u64,
    /// How far `wall` may be trusted.
    pub quality: ClockQuality,
}

/// `2026-11-21T09:45:14.000123Z`: RFC 3339 with microseconds, in UTC. Shows a [`Micros`]. Every value can be shown; years
/// outside 0000..9999 have a sign or more digits, as RFC 3339 does not provide for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rfc3339(pub Micros);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, in_day) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY));
        // Civil date from a day count, after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (hour, minute) = (in_day / HOUR, in_day / MINUTE % 60);
        let (second, micros) = (in_day / SECOND % 60, in_day % SECOND);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn known_instants_are_shown_as_date_says() {
        // date -u -d @SECONDS +%FT%T
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (951_782_400 * SECOND, "2000-02-29T00:00:00.000000Z"),
            (1_078_012_799 * SECOND, "2004-02-28T23:59:59.000000Z"),
            (4_107_542_399 * SECOND + 999_999, "2100-02-28T23:59:59.999999Z"),
            (4_107_542_400 * SECOND, "2100-03-01T00:00:00.000000Z"),
            (EARLIEST, "2000-01-01T00:00:00.000000Z"),
            (LATEST, "2100-01-01T00:00:00.000000Z"),
            (1_795_254_314 * SECOND + 123, "2026-11-21T09:45:14.000123Z"),
            (253_402_300_799 * SECOND, "9999-12-31T23:59:59.000000Z"),
            (-62_167_219_200 * SECOND, "0000-01-01T00:00:00.000000Z"),
        ] {
            assert_eq!(Rfc3339(micros).to_string(), text);
        }
    }

    #[test]
    fn the_ends_of_the_range_are_shown_without_overflow() {
        assert_eq!(Rfc3339(i64::MAX).to_string(), "294247-01-10T04:00:54.775807Z");
        assert_eq!(Rfc3339(i64::MIN).to_string(), "-290308-12-21T19:59:05.224192Z");
    }

    #[test]
    fn each_day_of_four_centuries_follows_the_one_before() {
        let length = |year: i64, month: i64| match month {
            2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for number in 0..146_097 {
            let text = alloc::format!("{year:04}-{month:02}-{day:02}T00:00:00.000000Z");
            assert_eq!(Rfc3339(number * DAY).to_string(), text);
            day += 1;
            if day > length(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!((year, month, day), (2370, 1, 1));
    }
}
