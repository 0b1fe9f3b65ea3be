//! Coverage as it turns out: what was predicted along a life, judged when its end becomes known.
//!
//! Place in the flow: one [`Open`] per asset while it lives, one [`Tally`] per release. A life counts as one whatever its
//! length. Bounded: at most [`KEPT`] predictions of a life are kept, thinned evenly as it grows longer.

use serde::{Deserialize, Serialize};

use super::conformal::Bounds;
use super::metrics::{Judged, coverage};

/// Predictions kept of one life.
const KEPT: usize = 64;

/// Predictions of a life that has not ended.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Open {
    /// When, and the bounds told then.
    kept: Vec<(f64, Bounds)>,
    /// Every how many predictions one is kept, as a power of two.
    stride: u32,
    seen: u64,
}

/// Lives that have ended, and how often the truth lay within.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Lives judged.
    pub lives: u64,
    /// Sum over lives of the share of predictions that held the truth.
    pub covered: f64,
}

impl Open {
    /// A prediction was told at `time`.
    pub fn told(&mut self, time: f64, bounds: Bounds) {
        if self.seen.trailing_zeros() >= self.stride || self.seen == 0 {
            self.kept.push((time, bounds));
        }
        self.seen += 1;
        if self.kept.len() > KEPT {
            let mut even = false;
            self.kept.retain(|_| {
                even = !even;
                even
            });
            self.stride += 1;
        }
    }

    /// The life ended by failure at `time`; remaining lives beyond `cap` count as `cap`.
    pub fn ended(self, time: f64, cap: f64, tally: &mut Tally) {
        if self.kept.is_empty() {
            return;
        }
        let judged = self.kept.iter().map(|(at, b)| Judged { low: b.low, high: b.high, truth: (time - at).min(cap) });
        tally.covered += coverage(judged);
        tally.lives += 1;
    }
}

impl Tally {
    /// Share of the truth that lay within the bounds; `None` before the first life has ended.
    pub fn coverage(&self) -> Option<f64> {
        (self.lives > 0).then(|| self.covered / self.lives as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(low: f64, high: f64) -> Bounds {
        Bounds { p10: low, p90: high, low, high }
    }

    #[test]
    fn a_life_is_judged_when_it_ends_and_counts_once_however_long() {
        let mut tally = Tally::default();
        assert_eq!(tally.coverage(), None);
        let mut good = Open::default();
        for t in 0..10_000 {
            let left = f64::from(10_000 - t).min(125.0);
            good.told(f64::from(t), bounds(left - 5.0, left + 5.0));
        }
        assert!(good.kept.len() <= KEPT && good.kept.len() > KEPT / 4, "{}", good.kept.len());
        let mut bad = Open::default();
        bad.told(0.0, bounds(50.0, 60.0));
        good.ended(10_000.0, 125.0, &mut tally);
        bad.ended(10.0, 125.0, &mut tally);
        Open::default().ended(10.0, 125.0, &mut tally);
        assert_eq!((tally.lives, tally.coverage()), (2, Some(0.5)));
    }
}
