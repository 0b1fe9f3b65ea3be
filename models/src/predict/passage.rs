//! First passage: when a level with a rate, both uncertain, reaches a limit.
//!
//! Idea: t slides ahead the level is Gaussian with mean level + rate t and variance P11 + 2 t P12 + t^2 P22 + q t^3 / 3;
//! the probability of having passed is taken as that of being beyond the limit then, P(T <= t) =
//! Phi((level + rate t - limit) / sd(t)) (for a rising trend; mirrored for a falling one). That neglects paths that were
//! beyond and came back, which a wearing machine does not do; where the expression falls again for large t, because the
//! rate's own wandering q outgrows the rate, the quantile is the first t that reaches it. The same holds in any coordinate
//! in which the damage grows evenly ([`super::law`]).
//! Cost: about a hundred normal probabilities, and only while there is a trend.

use super::degradation::Estimate;
use crate::detect::tail::normal_cdf;

/// Quantiles of the passage, in slides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Passage {
    pub(super) p10: f64,
    pub(super) p50: f64,
    /// Absent when it lies beyond the horizon.
    pub(super) p90: Option<f64>,
}

/// Ratio of neighbouring instants on the grid that brackets a quantile.
const GRID: f64 = 1.15;

/// The probability that a level, that now has `ahead` to go to its limit (negative: beyond) at `estimate`'s rate towards
/// it and with its covariance, has passed after `t` slides.
pub(super) fn passed(estimate: &Estimate, ahead: f64, t: f64) -> f64 {
    let variance = estimate.p11 + t * (2.0 * estimate.p12 + t * (estimate.p22 + t * estimate.q / 3.0));
    normal_cdf((estimate.rate * t - ahead) / variance.max(f64::MIN_POSITIVE).sqrt())
}

/// The quantiles of a passage of which `passed` gives the probability at each t; `None` if the median lies beyond
/// `horizon` (slides).
pub(super) fn quantiles(passed: &impl Fn(f64) -> f64, horizon: f64) -> Option<Passage> {
    let p50 = quantile(passed, 0.5, horizon)?;
    Some(Passage { p10: quantile(passed, 0.1, horizon)?, p50, p90: quantile(passed, 0.9, horizon) })
}

/// The passage of a level with a constant rate from the side of `mean` over `limit`.
pub(super) fn passage(estimate: &Estimate, limit: f64, mean: f64, horizon: f64) -> Option<Passage> {
    let up = (limit - mean).signum();
    let towards = Estimate { rate: estimate.rate * up, ..*estimate };
    quantiles(&|t| passed(&towards, (limit - estimate.level) * up, t), horizon)
}

/// The first t up to `horizon` at which `passed` reaches `p`, to one part in a million.
fn quantile(passed: &impl Fn(f64) -> f64, p: f64, horizon: f64) -> Option<f64> {
    if passed(0.0) >= p {
        return Some(0.0);
    }
    let (mut low, mut high) = (0.0, 1.0f64.min(horizon));
    while passed(high) < p {
        if high >= horizon {
            return None;
        }
        low = high;
        high = (high * GRID).min(horizon);
    }
    while high - low > 1e-6 * high {
        let middle = 0.5 * (low + high);
        if passed(middle) < p { low = middle } else { high = middle }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(level: f64, rate: f64, p22: f64) -> Estimate {
        Estimate { level, rate, p11: 0.0, p12: 0.0, p22, q: 0.0 }
    }

    #[test]
    fn the_median_is_where_the_trend_meets_the_limit() {
        let found = passage(&estimate(2.0, 0.5, 1e-4), 12.0, 0.0, 1e6).unwrap();
        assert!((found.p50 - 20.0).abs() < 1e-3);
    }

    #[test]
    fn with_an_uncertain_rate_only_the_quantiles_are_those_of_the_closed_form() {
        // (a + b t) / (s t) = z  =>  t = -a / (b - z s), with a = -10, b = 0.5, s = 0.01, z = 1.2816
        let found = passage(&estimate(2.0, 0.5, 1e-4), 12.0, 0.0, 1e6).unwrap();
        let z = 1.281_551_565_5;
        assert!((found.p10 - 10.0 / (0.5 + z * 0.01)).abs() < 1e-3, "{found:?}");
        assert!((found.p90.unwrap() - 10.0 / (0.5 - z * 0.01)).abs() < 1e-3, "{found:?}");
    }

    #[test]
    fn a_falling_trend_reaches_a_limit_below() {
        let up = passage(&estimate(2.0, 0.5, 1e-4), 12.0, 0.0, 1e6).unwrap();
        let down = passage(&estimate(-2.0, -0.5, 1e-4), -12.0, 0.0, 1e6).unwrap();
        assert_eq!(up, down);
    }

    #[test]
    fn beyond_the_horizon_there_is_nothing_and_a_part_beyond_it_is_left_out() {
        assert_eq!(passage(&estimate(2.0, 0.5, 1e-4), 12.0, 0.0, 19.0), None);
        let found = passage(&estimate(2.0, 0.5, 1e-2), 12.0, 0.0, 22.0).unwrap();
        assert_eq!(found.p90, None);
    }

    #[test]
    fn a_limit_that_is_passed_is_reached_now() {
        let found = passage(&estimate(20.0, 0.5, 1e-4), 12.0, 0.0, 1e6).unwrap();
        assert_eq!(found, Passage { p10: 0.0, p50: 0.0, p90: Some(0.0) });
    }
}
