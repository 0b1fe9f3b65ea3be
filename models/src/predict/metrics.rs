//! Figures of merit of a prognosis, in one place, so that a figure means the same in an evaluation, a shadow comparison
//! and a round of federated learning.
//!
//! d = predicted - true throughout. Unless said otherwise a figure over no pairs is `NaN`: there is none.

/// Root mean square error of (predicted, true) pairs, in their unit.
pub fn rmse(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (sum, n) = pairs.fold((0.0, 0.0), |(sum, n), (p, t)| (sum + (p - t) * (p - t), n + 1.0));
    (sum / n).sqrt()
}

/// The NASA score of one pair, in cycles: exp(-d/13) - 1 early, exp(d/10) - 1 late.
///
/// Source: Saxena, Goebel, Simon, Eklund (2008), "Damage propagation modeling for aircraft engine run-to-failure
/// simulation", eq. 8, whose text exchanges 10 and 13; late costs more, as everyone has computed it since.
pub fn nasa_penalty(predicted: f64, truth: f64) -> f64 {
    let d = predicted - truth;
    if d < 0.0 { (-d / 13.0).exp() - 1.0 } else { (d / 10.0).exp() - 1.0 }
}

/// Sum of [`nasa_penalty`] over pairs; 0 over none.
pub fn nasa_score(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    pairs.map(|(p, t)| nasa_penalty(p, t)).sum()
}

/// An interval and the truth it should hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
    /// What was true.
    pub truth: f64,
}

impl Judged {
    /// Whether the bounds hold the truth.
    pub fn covers(self) -> bool {
        (self.low..=self.high).contains(&self.truth)
    }
}

/// Share of intervals that hold the truth.
pub fn coverage(intervals: impl Iterator<Item = Judged>) -> f64 {
    mean(intervals.map(|i| f64::from(u8::from(i.covers()))))
}

/// Mean width of intervals.
pub fn width(intervals: impl Iterator<Item = Judged>) -> f64 {
    mean(intervals.map(|i| i.high - i.low))
}

/// Mean interval score at level 1 - `alpha`: width plus 2/alpha times what the truth lies outside. Lower is better.
///
/// Source: Gneiting, Raftery (2007), "Strictly proper scoring rules, prediction, and estimation", eq. 43.
pub fn interval_score(intervals: impl Iterator<Item = Judged>, alpha: f64) -> f64 {
    mean(intervals.map(|i| i.high - i.low + 2.0 / alpha * ((i.low - i.truth).max(0.0) + (i.truth - i.high).max(0.0))))
}

/// One prediction along a life.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Along {
    /// When it was made.
    pub time: f64,
    /// Predicted remaining life.
    pub predicted: f64,
    /// True remaining life.
    pub truth: f64,
}

/// Alpha-lambda accuracy of one life: whether the first prediction at or after the share `lambda` of the life between
/// the first prediction and the failure lies within `alpha` times the truth of it. `None` without a prediction there.
///
/// Source: Saxena, Celaya, Saha, Saha, Goebel (2010), "Metrics for offline evaluation of prognostic performance", 4.2.
pub fn alpha_lambda(life: &[Along], alpha: f64, lambda: f64) -> Option<bool> {
    let first = life.first()?;
    let at = first.time + lambda * first.truth;
    let chosen = life.iter().find(|p| p.time >= at)?;
    Some((chosen.predicted - chosen.truth).abs() <= alpha * chosen.truth)
}

/// Prognostic horizon of one life: the true remaining life at the first prediction from which on every prediction lies
/// within `bound` of the truth. 0 if the last one does not. Source: as [`alpha_lambda`], 4.1.
pub fn prognostic_horizon(life: &[Along], bound: f64) -> f64 {
    let good = life.iter().rev().take_while(|p| (p.predicted - p.truth).abs() <= bound);
    good.last().map_or(0.0, |p| p.truth)
}

/// Arithmetic mean; `NaN` of nothing.
pub fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0.0), |(sum, n), v| (sum + v, n + 1.0));
    sum / n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_costs_more_than_early() {
        assert!((nasa_penalty(110.0, 100.0) - (1f64.exp() - 1.0)).abs() < 1e-12);
        assert!((nasa_penalty(87.0, 100.0) - (1f64.exp() - 1.0)).abs() < 1e-12);
        assert!((nasa_score([(110.0, 100.0), (100.0, 100.0)].into_iter()) - 1.718_281_828).abs() < 1e-9);
    }

    #[test]
    fn errors_and_intervals_agree_with_a_calculation_by_hand() {
        assert!((rmse([(1.0, 4.0), (5.0, 1.0)].into_iter()) - 12.5f64.sqrt()).abs() < 1e-12);
        assert!(rmse(std::iter::empty()).is_nan());
        let judged = |low, high, truth| Judged { low, high, truth };
        let all = [judged(0.0, 10.0, 10.0), judged(0.0, 20.0, 23.0)];
        assert_eq!(coverage(all.into_iter()), 0.5);
        assert_eq!(width(all.into_iter()), 15.0);
        assert!((interval_score(all.into_iter(), 0.1) - (10.0 + 20.0 + 60.0) / 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_life_is_judged_at_its_middle_and_from_where_it_stays_good() {
        let life: Vec<Along> = [(0.0, 50.0), (25.0, 80.0), (50.0, 52.0), (75.0, 20.0), (99.0, 2.0)]
            .map(|(time, predicted)| Along { time, predicted, truth: 100.0 - time })
            .to_vec();
        assert_eq!(alpha_lambda(&life, 0.2, 0.5), Some(true));
        assert_eq!(alpha_lambda(&life, 0.03, 0.5), Some(false));
        assert_eq!(alpha_lambda(&[], 0.2, 0.5), None);
        assert_eq!(prognostic_horizon(&life, 6.0), 75.0);
        assert_eq!(prognostic_horizon(&life, 0.5), 0.0);
    }
}
