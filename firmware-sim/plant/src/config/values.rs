//! Values as people write them: durations, sizes, points in time.

use fettle_wire::Micros;
use fettle_wire::time::{DAY, HOUR, MINUTE, SECOND};

/// `250us`, `50ms`, `10s`, `30min`, `2h`, `7d`; a decimal fraction and a leading minus are allowed. Microseconds.
pub(super) fn duration(text: &str) -> Option<Micros> {
    let (number, unit) = split(text)?;
    let unit = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => SECOND,
        "min" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        _ => return None,
    };
    let micros = number * unit as f64;
    (micros.abs() < 9e18).then_some(micros.round() as Micros)
}

/// `4096`, `4096B`, `256KiB`, `1MiB`, `2GiB`. Bytes.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let unit = match unit {
        "" | "B" => 1u64,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    let bytes = number * unit as f64;
    (0.0..9e15).contains(&bytes).then_some(bytes as u64)
}

fn split(text: &str) -> Option<(f64, &str)> {
    let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number = number.trim();
    let plain = number.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-'));
    Some((number.parse::<f64>().ok().filter(|n| plain && n.is_finite())?, unit.trim()))
}

/// `now`, `now-30d`, or RFC 3339 in UTC such as `2026-11-21T09:45:14Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// This long before the moment the run begins.
    Ago(Micros),
    /// That moment.
    At(Micros),
}

impl Start {
    /// Reads one of the three forms.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "now" {
            return Some(Self::Ago(0));
        }
        if let Some(ago) = text.strip_prefix("now-") {
            return duration(ago).filter(|d| *d >= 0).map(Self::Ago);
        }
        rfc3339(text).map(Self::At)
    }

    /// The start as event time, for a run that begins at `now`.
    pub fn resolve(self, now: Micros) -> Micros {
        match self {
            Self::Ago(ago) => now.saturating_sub(ago),
            Self::At(at) => at,
        }
    }
}

/// RFC 3339 with the offset `Z` and up to six digits of a second.
pub(super) fn rfc3339(text: &str) -> Option<Micros> {
    let text = text.strip_suffix('Z')?;
    let (date, time) = text.split_once('T')?;
    let field = |text: Option<&str>, digits: usize| {
        text.filter(|t| t.len() == digits && t.bytes().all(|b| b.is_ascii_digit()))?.parse::<i64>().ok()
    };
    let mut date = date.split('-');
    let (year, month, day) = (field(date.next(), 4)?, field(date.next(), 2)?, field(date.next(), 2)?);
    let (clock, fraction) = time.split_once('.').map_or((time, "0"), |(c, f)| (c, f));
    let mut clock = clock.split(':');
    let (hour, minute, second) = (field(clock.next(), 2)?, field(clock.next(), 2)?, field(clock.next(), 2)?);
    let digits = (1..=6).contains(&fraction.len()) && fraction.bytes().all(|b| b.is_ascii_digit());
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    let valid = (1..=length).contains(&day) && hour < 24 && minute < 60 && second < 60;
    if !(digits && valid) || date.next().is_some() || clock.next().is_some() {
        return None;
    }
    let micros = fraction.parse::<i64>().ok()? * 10_i64.pow(6 - fraction.len() as u32);
    Some(days_from_civil(year, month, day) * DAY + hour * HOUR + minute * MINUTE + second * SECOND + micros)
}

/// Days since 1970-01-01, after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use fettle_wire::time::Rfc3339;

    #[test]
    fn durations_and_sizes_read_as_written() {
        assert_eq!(duration("50ms"), Some(50_000));
        assert_eq!(duration("1.5h"), Some(90 * MINUTE));
        assert_eq!(duration("-2h"), Some(-2 * HOUR));
        for wrong in ["", "s", "5", "5 weeks", "infs", "1e3s", "--1s", "nan s"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        assert_eq!(bytes("256KiB"), Some(262_144));
        assert_eq!(bytes("7"), Some(7));
        assert_eq!(bytes("-1KiB"), None);
        assert_eq!(bytes("1KB"), None);
    }

    #[test]
    fn a_time_reads_back_as_it_was_shown() {
        for micros in [0, 951_782_400_000_000, 1_790_000_000_123_456, 4_102_444_799_999_999, 1_709_164_800_000_000] {
            assert_eq!(rfc3339(&Rfc3339(micros).to_string()), Some(micros));
        }
        for wrong in ["2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-11-21", "2026-11-21T24:00:00Z", "yesterday"]
        {
            assert_eq!(rfc3339(wrong), None, "{wrong}");
        }
        assert_eq!(Start::parse("now-30d"), Some(Start::Ago(30 * DAY)));
        assert_eq!(Start::parse("now").map(|s| s.resolve(7)), Some(7));
        assert_eq!(Start::parse("then"), None);
    }
}
