//! From raw remaining lives to one that may be told: the memory of what was said before.
//!
//! Idea: a machine that was said to have 80 cycles left has 79 one cycle later unless something new was seen. The raw
//! value corrects that expectation with a constant gain (a scalar Kalman filter in its steady state). Where remaining
//! life is capped, nothing falls until it comes off the cap, so the expected fall fades out over `soft` below the cap.
//!
//! P2: what is told falls no faster than time passes, unless the filter's own estimate is more than `patience` below what
//! would then be told; the caller shows evidence for such a step ([`Told::evidence_due`]).

use serde::{Deserialize, Serialize};

/// Constants, chosen at training by cross-validation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FilterParams {
    /// Greatest remaining life that is told apart.
    pub cap: f64,
    /// Share of the difference to a raw value that is taken over per step, 0..=1.
    pub gain: f64,
    /// Range below the cap over which the expected fall fades out.
    pub soft: f64,
    /// By how much the estimate may lie below what is told before that follows at once.
    pub patience: f64,
}

impl FilterParams {
    /// Whether a filter can run with them.
    pub(crate) fn is_sound(&self) -> bool {
        let positive = self.cap > 0.0 && self.soft > 0.0 && self.cap.is_finite() && self.soft.is_finite();
        positive && (0.0..=1.0).contains(&self.gain) && self.patience >= 0.0
    }
}

/// One life's filter.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Filter {
    estimate: Option<f64>,
    told: Option<f64>,
}

/// What may be told at a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Told {
    /// Remaining life.
    pub value: f64,
    /// It fell faster than time passed.
    pub evidence_due: bool,
}

impl Filter {
    /// Takes a raw value, `elapsed` after the last one.
    pub fn step(&mut self, params: &FilterParams, elapsed: f64, raw: f64) -> Told {
        let raw = raw.clamp(0.0, params.cap);
        let expected = |value: f64| {
            let share = ((params.cap - value) / params.soft).clamp(0.0, 1.0);
            (value - elapsed * share).max(0.0)
        };
        let estimate = match self.estimate {
            None => raw,
            Some(before) => {
                let expected = expected(before);
                // Steps that were left out are made up for: the gain of `elapsed` steps at once.
                let gain = 1.0 - libm::pow(1.0 - params.gain, elapsed.clamp(1.0, 100.0));
                expected + gain * (raw - expected)
            }
        };
        self.estimate = Some(estimate);
        let (value, evidence_due) = match self.told {
            None => (estimate, false),
            Some(before) => {
                let floor = (before - elapsed).max(0.0);
                if estimate < floor - params.patience { (estimate, true) } else { (estimate.max(floor), false) }
            }
        };
        self.told = Some(value);
        Told { value, evidence_due }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMS: FilterParams = FilterParams { cap: 125.0, gain: 0.25, soft: 20.0, patience: 2.0 };

    #[test]
    fn a_life_that_is_consumed_as_foreseen_is_followed_exactly() {
        let mut filter = Filter::default();
        for t in 0..90 {
            let truth = 90.0 - f64::from(t);
            assert!((filter.step(&PARAMS, 1.0, truth).value - truth).abs() < 1e-9);
        }
    }

    #[test]
    fn at_the_cap_nothing_falls() {
        let mut filter = Filter::default();
        (0..50).for_each(|_| assert_eq!(filter.step(&PARAMS, 1.0, 130.0).value, 125.0));
    }

    #[test]
    fn what_is_told_falls_no_faster_than_time_unless_evidence_is_due() {
        let mut filter = Filter::default();
        let mut before = filter.step(&PARAMS, 1.0, 100.0).value;
        let mut fast = 0;
        for t in 1..60 {
            let raw = 100.0 - f64::from(t) - if t > 30 { 25.0 } else { 0.0 } + f64::from(t * 7919 % 13) - 6.0;
            let told = filter.step(&PARAMS, 1.0, raw);
            assert!(told.evidence_due || told.value >= before - 1.0 - 1e-12, "at {t}: {before} to {told:?}");
            fast += u32::from(told.evidence_due);
            before = told.value;
        }
        assert!(fast > 0, "a fall of 25 is told");
        assert!((before - (100.0 - 59.0 - 25.0)).abs() < 6.0, "{before}");
    }
}
