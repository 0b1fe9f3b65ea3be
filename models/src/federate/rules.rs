//! The constants of a cohort. The defaults were chosen on units held out of train files (docs/federation.md).

use serde::{Deserialize, Serialize};

/// How updates of a cohort are taken, merged and judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Length to which a site clips its change; one longer than twice that is refused (rounding alone can lengthen it).
    pub clip: f64,
    /// Rows a site may count for at most.
    pub most_samples: u32,
    /// Updates a round waits for: half of the sites online, within these two.
    pub fewest: usize,
    /// See [`Self::fewest`].
    pub most: usize,
    /// Microseconds after a round's first update from which fewer are enough, and within which sites judge a candidate.
    pub patience: i64,
    /// Updates, or verdicts, that are enough then.
    pub enough_late: usize,
    /// Versions an update's base may lie behind.
    pub stalest: u64,
    /// A site weighs no more than so many times the median site of its round.
    pub influence: f64,
    /// Updates from which the mean is trimmed.
    pub trim_from: usize,
    /// Share of the updates left out at either end, per weight.
    pub trim: f64,
    /// Share of the merged change that is taken.
    pub step: f64,
    /// A candidate's error may exceed the active model's by this share. A little more than nothing, because a root set
    /// of few units says which of two good models is better no more exactly than that.
    pub tolerance: f64,
    /// The least error a root set has seen may be exceeded by this share: many small steps back are one large one.
    pub drift: f64,
    /// One update by itself may exceed the active model's error on the root set by this share.
    pub harm: f64,
    /// Updates a site may have taken within the window of [`Self::stalest`] versions.
    pub flood: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            clip: 3.0,
            most_samples: 20_000,
            fewest: 4,
            most: 20,
            patience: 86_400_000_000,
            enough_late: 2,
            stalest: 16,
            influence: 2.0,
            trim_from: 10,
            trim: 0.2,
            step: 1.0,
            tolerance: 0.01,
            drift: 0.05,
            harm: 0.1,
            flood: 64,
        }
    }
}

impl Rules {
    /// Whether rounds can work by them.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn check(&self) -> Result<(), &'static str> {
        let rules = [
            (self.clip > 0.0 && self.clip <= 1e6, "clip: above 0, at most 1e6"),
            (self.most_samples > 0, "most_samples: at least 1"),
            (1 <= self.fewest && self.fewest <= self.most, "fewest, most: at least 1, in this order"),
            (self.patience > 0 && self.enough_late >= 1, "patience: above 0; enough_late: at least 1"),
            (self.influence >= 1.0 && self.influence.is_finite(), "influence: at least 1"),
            ((0.0..0.5).contains(&self.trim) && self.trim_from >= 3, "trim: 0 up to 0.5; trim_from: at least 3"),
            (self.step > 0.0 && self.step <= 2.0, "step: above 0, at most 2"),
            ([self.tolerance, self.drift, self.harm].iter().all(|t| *t >= 0.0), "tolerance, drift, harm: not negative"),
            (self.flood >= 1 && self.stalest <= 10_000, "flood: at least 1; stalest: at most 10000"),
        ];
        rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, rule)| Err(rule))
    }

    /// Updates a round waits for with so many sites online.
    pub fn wanted(&self, online: u32) -> usize {
        (online as usize / 2).clamp(self.fewest, self.most)
    }

    /// Whether so many are enough: all that are wanted, or some once the patience has passed.
    pub fn enough(&self, have: usize, online: u32, since: Option<i64>, now: i64) -> bool {
        let late = since.is_some_and(|since| now.saturating_sub(since) >= self.patience);
        have >= self.wanted(online) || late && have >= self.enough_late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_waits_for_half_of_those_online_within_bounds_or_until_it_is_late() {
        let rules = Rules::default();
        assert!(rules.check().is_ok());
        assert_eq!([0, 3, 8, 12, 30, 1000].map(|n| rules.wanted(n)), [4, 4, 4, 6, 15, 20]);
        let late = rules.patience;
        assert!(!rules.enough(3, 10, Some(0), late - 1) && rules.enough(3, 10, Some(0), late));
        assert!(!rules.enough(1, 10, Some(0), late), "one site alone is no fleet");
        assert!(rules.enough(5, 10, Some(0), 1) && !rules.enough(5, 12, Some(0), 1));
    }

    #[test]
    fn rules_that_cannot_work_are_named() {
        let wrong = [
            Rules { clip: f64::NAN, ..Rules::default() },
            Rules { most: 3, ..Rules::default() },
            Rules { trim: 0.5, ..Rules::default() },
            Rules { harm: f64::NAN, ..Rules::default() },
        ];
        wrong.iter().for_each(|rules| assert!(rules.check().is_err(), "{rules:?}"));
    }
}
