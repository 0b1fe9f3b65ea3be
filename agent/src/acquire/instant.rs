//! The times that foreign publishers write: numbers since 1970 in an unknown scale, and RFC 3339. Pure.
//!
//! A number's scale is told by its magnitude: up to 10^11 it is seconds (that is the year 5138), up to 10^14 milliseconds, up
//! to 10^17 microseconds, beyond nanoseconds. Between 2000 and 2100 the four ranges are far apart, and only those years are
//! accepted further on, so nothing that is used is ever ambiguous.

use fettle_wire::Micros;
use fettle_wire::time::{DAY, HOUR, MINUTE, SECOND};

/// A whole number since 1970. Saturates instead of overflowing.
pub(super) fn from_integer(value: i64) -> Micros {
    match value.unsigned_abs() {
        0..100_000_000_000 => value * SECOND,
        100_000_000_000..100_000_000_000_000 => value * 1_000,
        100_000_000_000_000..100_000_000_000_000_000 => value,
        _ => value / 1_000,
    }
}

/// A number with a fraction since 1970; `None` if it is not finite.
pub(super) fn from_float(value: f64) -> Option<Micros> {
    let micros = match value.abs() {
        x if x < 1e11 => value * 1e6,
        x if x < 1e14 => value * 1e3,
        x if x < 1e17 => value,
        _ => value / 1e3,
    };
    // The cast saturates; such a time is far outside what is accepted.
    value.is_finite().then_some(micros.round() as Micros)
}

/// RFC 3339, or a number written as text. Without an offset it is not a point in time: `None`.
pub(super) fn from_text(text: &str) -> Option<Micros> {
    let text = text.trim();
    rfc3339(text).or_else(|| text.parse().ok().map(from_integer)).or_else(|| text.parse().ok().and_then(from_float))
}

/// RFC 3339, section 5.6. A space or `t` may stand for `T`; digits beyond microseconds are cut; `:60` is the next second.
fn rfc3339(text: &str) -> Option<Micros> {
    let bytes = text.as_bytes();
    let number = |from: usize, digits: usize| -> Option<i64> {
        let part = bytes.get(from..from + digits)?;
        part.iter().try_fold(0, |sum, b| b.is_ascii_digit().then(|| sum * 10 + i64::from(b - b'0')))
    };
    let separator = |at: usize, allowed: &[u8]| bytes.get(at).is_some_and(|b| allowed.contains(b)).then_some(());
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    separator(4, b"-")?;
    separator(7, b"-")?;
    separator(10, b"Tt ")?;
    separator(13, b":")?;
    separator(16, b":")?;
    if !(1..=12).contains(&month)
        || !(1..=days_in(year, month)).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let (fraction, rest) = fraction(&bytes[19..])?;
    let offset = match rest {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let at = bytes.len() - 5;
            let (hours, minutes) = (number(at, 2)?, number(at + 3, 2)?);
            let size = (hours <= 23 && minutes <= 59).then_some(hours * HOUR + minutes * MINUTE)?;
            if *sign == b'-' { -size } else { size }
        }
        _ => return None,
    };
    let days = days_from_civil(year, month, day);
    Some(days * DAY + hour * HOUR + minute * MINUTE + second * SECOND + fraction - offset)
}

/// `.123456` at the beginning as microseconds, and what follows; a dot without digits is an error.
fn fraction(bytes: &[u8]) -> Option<(Micros, &[u8])> {
    let Some(digits) = bytes.strip_prefix(b".") else { return Some((0, bytes)) };
    let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    let at = |place: usize| if place < count { i64::from(digits[place] - b'0') } else { 0 };
    let micros = (0..6).fold(0, |sum, place| sum * 10 + at(place));
    (count > 0).then_some((micros, &digits[count..]))
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01, after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use fettle_wire::time::{EARLIEST, LATEST, Rfc3339};
    use proptest::prelude::*;

    use super::*;

    /// 2024-11-21T10:05:14.123456Z
    const T: Micros = 1_732_183_514_123_456;

    #[test]
    fn the_scale_of_a_number_is_told_by_its_magnitude() {
        assert_eq!(from_integer(1_732_183_514), T - 123_456);
        assert_eq!(from_integer(1_732_183_514_123), T - 456);
        assert_eq!(from_integer(T), T);
        assert_eq!(from_integer(T * 1_000 + 999), T);
        assert_eq!(from_float(1_732_183_514.5), Some(T - 123_456 + 500_000));
        assert_eq!(from_float(f64::NAN), None);
        assert_eq!(from_integer(i64::MIN), i64::MIN / 1_000);
        assert_eq!(from_integer(0), 0);
    }

    #[test]
    fn rfc_3339_is_read_with_its_offset_and_refused_without() {
        for text in
            ["2024-11-21T10:05:14.123456Z", "2024-11-21t11:05:14.1234569+01:00", "2024-11-21 04:35:14.123456-05:30"]
        {
            assert_eq!(from_text(text), Some(T), "{text}");
        }
        assert_eq!(
            from_text("2024-02-29T00:00:00Z").map(|t| Rfc3339(t).to_string()).as_deref(),
            Some("2024-02-29T00:00:00.000000Z")
        );
        assert_eq!(from_text("2016-12-31T23:59:60Z"), from_text("2017-01-01T00:00:00Z"));
        for text in [
            "2024-11-21T10:05:14",
            "2024-11-21",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-11-21T24:00:00Z",
            "2024-11-21T10:05:14.Z",
            "2024-11-21T10:05:14+1:00",
            "2024-11-21T10:05:14+25:00",
            "",
            "noon",
            "2024-11-21T10:05:14Zx",
        ] {
            assert_eq!(from_text(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_may_be_written_as_text() {
        assert_eq!(from_text(" 1732183514123 "), Some(T - 456));
        assert_eq!(from_text("1732183514.25"), Some(T - 123_456 + 250_000));
    }

    proptest! {
        #[test]
        fn every_accepted_time_survives_its_rfc_3339_text(time in EARLIEST..LATEST) {
            prop_assert_eq!(from_text(&Rfc3339(time).to_string()), Some(time));
            prop_assert_eq!(from_integer(time), time);
            prop_assert_eq!(from_integer(time / 1_000), time / 1_000 * 1_000);
            prop_assert_eq!(from_integer(time / SECOND), time / SECOND * SECOND);
        }

        #[test]
        fn arbitrary_texts_and_numbers_never_panic(text in "[0-9TZ:+. -]{0,32}|.{0,40}", integer: i64, float: f64) {
            let _ = (from_text(&text), from_integer(integer), from_float(float));
        }
    }
}
