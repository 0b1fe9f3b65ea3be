//! A slide's summary in one cache line: what windows are merged from.
//!
//! Place in the flow: an open slide rounds its summary to this form when it is folded, a closed one keeps nothing else.
//! A channel holds one of these for every slide of its window, which is most of what it holds at a slow rate.
//!
//! K1: count, flags, mean and extremes are exact. The central moments keep 37 of 53 bits (7e-12 of their size): a window's
//! variance, skewness, kurtosis and slope stay far within 1e-9. No moment at all stays exactly none.
//! K2: rounding a summary that has been rounded changes nothing, so open or closed, loaded or not, a slide counts alike.
//! Cost: 64 bytes; a few shifts.

use super::Summary;

/// The upper 48 bits of a 64-bit float.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Short([u16; 3]);

impl Short {
    /// To the nearest. Behind the door a moment is far from the largest number there is, so this never overflows.
    fn new(value: f64) -> Self {
        let bits = (value.to_bits() + 0x8000) >> 16;
        Self([(bits >> 32) as u16, (bits >> 16) as u16, bits as u16])
    }

    fn get(self) -> f64 {
        let [high, middle, low] = self.0.map(u64::from);
        f64::from_bits(high << 48 | middle << 32 | low << 16)
    }
}

/// A summary of at most [`Compact::MAX_COUNT`] readings, and its distance from the one before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Compact {
    mean: f64,
    min: f64,
    max: f64,
    m2: Short,
    m3: Short,
    m4: Short,
    time: Short,
    time_m2: Short,
    covariance: Short,
    /// The flag [`Summary::RESTAMPED`] in the high bit.
    count: u16,
    /// Slides from the start of the summary before to this one's; of no meaning for one that stands alone.
    pub(super) after: u16,
}

const _: () = assert!(size_of::<Compact>() == 64);

impl Compact {
    /// The most readings that can be counted.
    pub(super) const MAX_COUNT: usize = 0x7FFF;

    /// Rounds a summary.
    pub(super) fn new(summary: &Summary) -> Self {
        debug_assert!(summary.count as usize <= Self::MAX_COUNT && summary.flags <= Summary::RESTAMPED);
        Self {
            mean: summary.mean,
            min: summary.min,
            max: summary.max,
            m2: Short::new(summary.m2),
            m3: Short::new(summary.m3),
            m4: Short::new(summary.m4),
            time: Short::new(summary.time),
            time_m2: Short::new(summary.time_m2),
            covariance: Short::new(summary.covariance),
            count: (summary.count as u16 & Self::MAX_COUNT as u16) | (summary.flags as u16) << 15,
            after: 0,
        }
    }

    /// What is left after rounding.
    pub(super) fn summary(&self) -> Summary {
        Summary {
            count: u32::from(self.count) & Self::MAX_COUNT as u32,
            flags: u32::from(self.count >> 15),
            mean: self.mean,
            m2: self.m2.get(),
            m3: self.m3.get(),
            m4: self.m4.get(),
            min: self.min,
            max: self.max,
            time: self.time.get(),
            time_m2: self.time_m2.get(),
            covariance: self.covariance.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_keeps_eleven_digits_and_once_is_as_good_as_twice() {
        let readings = (0..60).map(|i| (f64::from(i) + 0.123_456, 100_000.0 + f64::from(i * 7919 % 101) * 1e-4));
        let exact = Summary { flags: Summary::RESTAMPED, ..Summary::of(readings) };
        let rounded = Compact::new(&exact).summary();
        assert_eq!((rounded.count, rounded.flags), (60, Summary::RESTAMPED));
        assert_eq!((rounded.mean, rounded.min, rounded.max), (exact.mean, exact.min, exact.max));
        for (a, b) in [
            (rounded.m2, exact.m2),
            (rounded.m3, exact.m3),
            (rounded.m4, exact.m4),
            (rounded.time, exact.time),
            (rounded.time_m2, exact.time_m2),
            (rounded.covariance, exact.covariance),
        ] {
            assert!((a / b - 1.0).abs() < 7.3e-12 && a != b, "{a} and {b}");
        }
        assert_eq!(Compact::new(&rounded), Compact::new(&exact));
    }

    #[test]
    fn none_stays_none_and_the_largest_stays_finite() {
        assert_eq!(Compact::new(&Summary::EMPTY).summary(), Summary::EMPTY);
        let huge = Summary { m4: 16_384.0 * 1.6e241, ..Summary::EMPTY };
        assert!(Compact::new(&huge).summary().m4.is_finite());
    }
}
