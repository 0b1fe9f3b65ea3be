//! Durations and sizes as people type them: `50ms`, `10s`, `30min`, `7d`; `512KiB`, `2GiB`.
//!
//! A whole number and a unit, nothing else: `1.5h` is `90min`. A bare number is refused, because it says nothing.

use std::time::Duration;

/// How a duration is written, for messages.
pub(super) const DURATION_FORM: &str = "a duration is a whole number and one of us, ms, s, min, h, d";
/// How a size is written, for messages.
pub(super) const SIZE_FORM: &str = "a size is a whole number and one of B, KiB, MiB, GiB, TiB";

const DURATIONS: &[(&str, u64)] =
    &[("us", 1), ("ms", 1_000), ("s", 1_000_000), ("min", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000)];
const SIZES: &[(&str, u64)] = &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// Reads a duration in microseconds, at most `i64::MAX`.
pub(super) fn micros(text: &str) -> Option<i64> {
    i64::try_from(quantity(text, DURATIONS)?).ok()
}

/// Reads a duration.
pub(super) fn duration(text: &str) -> Option<Duration> {
    quantity(text, DURATIONS).map(Duration::from_micros)
}

/// Reads a size in bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    quantity(text, SIZES)
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let scale = units.iter().find(|(name, _)| *name == unit.trim_start())?.1;
    number.parse::<u64>().ok()?.checked_mul(scale)
}

/// Shows a duration in its largest whole unit.
pub fn show_duration(duration: Duration) -> String {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    show(micros, DURATIONS, "0s")
}

/// Shows bytes as they are typed, in the largest whole unit.
pub(super) fn exact_size(bytes: u64) -> String {
    show(bytes, SIZES, "0B")
}

/// Shows bytes with three digits and the unit that suits.
pub fn show_size(bytes: u64) -> String {
    let (name, scale) = SIZES.iter().rev().find(|(_, scale)| bytes >= *scale).copied().unwrap_or(("B", 1));
    if scale == 1 {
        return format!("{bytes} B");
    }
    let number = bytes as f64 / scale as f64;
    let digits = if number < 10.0 { 2 } else { usize::from(number < 100.0) };
    format!("{number:.digits$} {name}")
}

fn show(amount: u64, units: &[(&str, u64)], zero: &str) -> String {
    if amount == 0 {
        return zero.to_owned();
    }
    let (name, scale) =
        units.iter().rev().find(|(_, scale)| amount.is_multiple_of(*scale)).copied().unwrap_or(units[0]);
    format!("{number}{name}", number = amount / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_read() {
        assert_eq!(duration("50ms"), Some(Duration::from_millis(50)));
        assert_eq!(micros("30min"), Some(1_800_000_000));
        assert_eq!(micros("7 d"), Some(7 * 86_400_000_000));
        assert_eq!(size("2GiB"), Some(2 << 30));
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for text in ["", "10", "s", "1.5h", "-1s", "10 sec", "99999999999999d", "1m"] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(size("2GB"), None);
        assert_eq!(micros("18446744073709551615us"), None);
    }

    #[test]
    fn amounts_are_shown_as_people_say_them() {
        assert_eq!(show_duration(Duration::from_secs(1800)), "30min");
        assert_eq!(show_duration(Duration::from_millis(50)), "50ms");
        assert_eq!(show_duration(Duration::ZERO), "0s");
        assert_eq!(show_size(2_684_354_560), "2.50 GiB");
        assert_eq!(show_size(1023), "1023 B");
        assert_eq!(show_size(150 << 20), "150 MiB");
    }
}
