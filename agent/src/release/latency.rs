//! How long inferences take: a scorer that is timed. The engine reads no clock, so the clock comes with the scorer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fettle_models::predict::score::{ScoreError, Scorer};

use crate::clock::Stopwatch;

/// Upper bounds of the buckets, microseconds; the last bucket has none.
pub const BOUNDS: [u64; 12] = [2, 4, 6, 8, 10, 15, 20, 50, 100, 1_000, 10_000, 100_000];
/// Inferences before a percentile means anything.
const ENOUGH: u64 = 1_000;

/// Inferences by duration.
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Latency {
    fn note(&self, nanoseconds: u64) {
        let place = BOUNDS.iter().position(|bound| nanoseconds <= bound * 1_000).unwrap_or(BOUNDS.len());
        self.buckets[place].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Inferences in each bucket, and seconds altogether.
    pub fn read(&self) -> ([u64; BOUNDS.len() + 1], f64) {
        let counts = std::array::from_fn(|i| self.buckets[i].load(Ordering::Relaxed));
        (counts, self.nanoseconds.load(Ordering::Relaxed) as f64 * 1e-9)
    }

    /// Whether more than a hundredth of them took longer than `bound` microseconds (to the next bucket's bound).
    pub fn exceeds(&self, bound: u64) -> bool {
        let (counts, _) = self.read();
        let all: u64 = counts.iter().sum();
        let within = BOUNDS.iter().position(|b| *b >= bound).unwrap_or(BOUNDS.len());
        let longer: u64 = counts[within + 1..].iter().sum();
        all >= ENOUGH && longer * 100 > all
    }
}

/// Times another scorer.
pub struct Timed {
    inner: Box<dyn Scorer + Send>,
    latency: Arc<Latency>,
}

impl Timed {
    /// Times `inner` into `latency`.
    pub fn new(inner: Box<dyn Scorer + Send>, latency: Arc<Latency>) -> Self {
        Self { inner, latency }
    }
}

impl Scorer for Timed {
    fn score(&mut self, row: &[f32]) -> Result<f32, ScoreError> {
        let watch = Stopwatch::start();
        let said = self.inner.score(row);
        self.latency.note(watch.nanoseconds());
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundredth_may_take_longer_and_no_more() {
        let latency = Latency::default();
        (0..990).for_each(|_| latency.note(3_000));
        (0..10).for_each(|_| latency.note(30_000));
        assert!(!latency.exceeds(20));
        latency.note(30_000);
        assert!(latency.exceeds(20) && !latency.exceeds(50));
        let (counts, seconds) = latency.read();
        assert_eq!((counts[1], counts[7]), (990, 11));
        assert!((seconds - 0.0033).abs() < 1e-9);
    }

    #[test]
    fn a_few_say_nothing() {
        let latency = Latency::default();
        (0..999).for_each(|_| latency.note(1_000_000));
        assert!(!latency.exceeds(10));
    }
}
