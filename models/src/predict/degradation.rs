//! Level and rate of one channel: a bank of three Kalman filters with short, middle and long memory.
//!
//! Idea: a local linear trend, level' = rate with the rate a random walk, observed once a slide in noise of variance R.
//! R is the *long-run* variance of the static residual, because the residuals of neighbouring slides are not
//! independent; taking them for white is what makes trends appear that are not there. A filter's memory is tau slides
//! when the rate's variance grows by R / tau^4 a slide; in its steady state the level is then known to
//! P11 = sqrt(2) R / tau, the rate to P22 = sqrt(2) R / tau^3, with P12 = R / tau^2 (the continuous Kalman-Bucy
//! solution), and there each filter starts: at the baseline's mean, without a trend.
//!
//! Which filter speaks: the one with the longest memory whose prediction errors average to nothing. A long memory sees
//! slow wear that a short one cannot; a short one follows a fault that grows within the hour, which a long one would
//! tell too late and too surely. An EWMA of the standardised errors over a quarter of the memory, more than
//! [`LAGGING`] standard deviations from 0, says that a filter lags behind.
//!
//! That finds a trend. Where it has led away from the baseline, the laws of [`super::law`] say how it goes on.
//!
//! Source: Harvey (1989), "Forecasting, structural time series models and the Kalman filter", 2.3.

use serde::{Deserialize, Serialize};

use super::law::Laws;

/// Memories in slides: half an hour, four hours, 32 hours of one-minute slides.
const MEMORIES: [f64; 3] = [30.0, 240.0, 1920.0];
/// Standard deviations of the averaged error beyond which a filter is not believed.
const LAGGING: f64 = 4.0;
/// Standard deviations by which a rate must differ from 0 to be a trend.
const IDENTIFIABLE: f64 = 3.0;

/// Level (SI) and rate (SI per slide) with their covariance.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Estimate {
    pub(super) level: f64,
    pub(super) rate: f64,
    pub(super) p11: f64,
    pub(super) p12: f64,
    pub(super) p22: f64,
    /// Growth of the rate's variance per slide.
    pub(super) q: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Filter {
    estimate: Estimate,
    /// EWMA of standardised prediction errors.
    error: f64,
}

/// One channel's filters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Degradation {
    filters: [Filter; MEMORIES.len()],
    /// While there is damage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    laws: Option<Box<Laws>>,
}

impl Estimate {
    /// One slide passes.
    fn predict(&mut self) {
        self.level += self.rate;
        self.p11 += 2.0 * self.p12 + self.p22;
        self.p12 += self.p22;
        self.p22 += self.q;
    }

    /// Whether there is a trend.
    fn is_identifiable(&self) -> bool {
        self.rate.abs() > IDENTIFIABLE * self.p22.sqrt()
    }

    /// A level is observed with variance `r`; returns the standardised prediction error.
    fn update(&mut self, level: f64, r: f64) -> f64 {
        let (error, variance) = (level - self.level, self.p11 + r);
        let (gain_level, gain_rate) = (self.p11 / variance, self.p12 / variance);
        self.level += gain_level * error;
        self.rate += gain_rate * error;
        self.p22 -= gain_rate * self.p12;
        self.p12 -= gain_rate * self.p11;
        self.p11 -= gain_level * self.p11;
        error / variance.sqrt()
    }
}

impl Degradation {
    /// A channel at `mean`, healthy, whose level is observed with long-run variance `r`.
    pub(super) fn new(mean: f64, r: f64) -> Self {
        let root2 = core::f64::consts::SQRT_2;
        let filter = |tau: f64| {
            let (p11, p12, p22) = (root2 * r / tau, r / (tau * tau), root2 * r / (tau * tau * tau));
            let q = r / (tau * tau * tau * tau);
            Filter { estimate: Estimate { level: mean, rate: 0.0, p11, p12, p22, q }, error: 0.0 }
        };
        Self { filters: MEMORIES.map(filter), laws: None }
    }

    /// One slide of a channel whose baseline has this `mean`, with its level if there is one.
    pub(super) fn step(&mut self, level: Option<f64>, mean: f64, r: f64) {
        self.follow(level, mean, r);
        for (filter, tau) in self.filters.iter_mut().zip(MEMORIES) {
            filter.estimate.predict();
            if let Some(level) = level {
                let error = filter.estimate.update(level, r);
                filter.error += (4.0 / tau) * (error - filter.error);
            }
        }
    }

    /// Takes the laws up where a trend has led away from the baseline, and gives them up where it is over.
    fn follow(&mut self, level: Option<f64>, mean: f64, r: f64) {
        match &mut self.laws {
            Some(laws) => {
                laws.step(level, mean, r);
                let is_over = (self.filters[0].estimate.level - mean).abs() < r.sqrt();
                if is_over || !laws.is_finite() {
                    self.laws = None;
                }
            }
            None => {
                let estimate = self.believed();
                if let Some(level) = level
                    && estimate.is_identifiable()
                {
                    self.laws = Laws::begin(&estimate, mean, level, r).map(Box::new);
                }
            }
        }
    }

    /// The estimate of the longest memory that does not lag behind.
    fn believed(&self) -> Estimate {
        let believed = self.filters.iter().zip(MEMORIES).rev().find(|(filter, tau)| {
            let weight = 4.0 / tau;
            filter.error.abs() <= LAGGING * (weight / (2.0 - weight)).sqrt()
        });
        believed.map_or(self.filters[0].estimate, |(filter, _)| filter.estimate)
    }

    /// The laws by which the damage grows towards `limit`, once there is any.
    pub(super) fn laws(&self, limit: f64, mean: f64) -> Option<&Laws> {
        self.laws.as_deref().filter(|laws| laws.towards(limit, mean))
    }

    /// The level of the shortest memory.
    pub(super) fn smoothed(&self) -> f64 {
        self.filters[0].estimate.level
    }

    /// The trend that leads from the baseline's `mean` towards `limit` (or is beyond it already), if it is identifiable.
    pub(super) fn towards(&self, limit: f64, mean: f64) -> Option<Estimate> {
        let up = (limit - mean).signum();
        let estimate = self.believed();
        let beyond = (self.smoothed() - limit) * up >= 0.0;
        let rising = estimate.rate * up > 0.0 && estimate.is_identifiable();
        (beyond || rising).then_some(if beyond { self.filters[0].estimate } else { estimate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_step_agrees_with_a_calculation_by_hand() {
        let mut e = Estimate { level: 10.0, rate: 1.0, p11: 2.0, p12: 0.5, p22: 0.25, q: 0.25 };
        e.predict();
        // level 11, P = F P F' + Q = [[2 + 2 * 0.5 + 0.25, 0.75], [0.75, 0.5]]
        assert_eq!(e, Estimate { level: 11.0, rate: 1.0, p11: 3.25, p12: 0.75, p22: 0.5, q: 0.25 });
        let error = e.update(13.0, 0.75);
        // variance 4, gain (0.8125, 0.1875), error 2
        assert_eq!(error, 1.0);
        assert_eq!((e.level, e.rate), (12.625, 1.375));
        assert_eq!((e.p11, e.p12, e.p22), (3.25 * 0.1875, 0.75 * 0.1875, 0.5 - 0.1875 * 0.75));
    }

    #[test]
    fn a_filter_starts_where_it_would_settle() {
        let mut d = Degradation::new(5.0, 2.0);
        let start = d.filters[1].estimate;
        (0..5000).for_each(|_| d.step(Some(5.0), 5.0, 2.0));
        let end = d.filters[1].estimate;
        for (a, b) in [(start.p11, end.p11), (start.p12, end.p12), (start.p22, end.p22)] {
            assert!((a / b - 1.0).abs() < 0.02, "{a} and {b}");
        }
        assert_eq!((end.level, end.rate), (5.0, 0.0));
    }

    #[test]
    fn a_ramp_is_found_and_a_level_line_is_not() {
        let (mut ramp, mut flat) = (Degradation::new(0.0, 1.0), Degradation::new(0.0, 1.0));
        for i in 0..3000 {
            let noise = f64::from(i * 7919 % 101) / 50.0 - 1.0;
            ramp.step(Some(0.01 * f64::from(i) + noise), 0.0, 1.0);
            flat.step(Some(noise), 0.0, 1.0);
        }
        let rate = ramp.towards(100.0, 0.0).unwrap().rate;
        assert!((rate / 0.01 - 1.0).abs() < 0.1, "{rate}");
        assert!(ramp.towards(-100.0, 0.0).is_none(), "it leads away from that limit");
        assert!(flat.towards(100.0, 0.0).is_none());
    }

    #[test]
    fn a_missing_level_widens_what_is_known() {
        let mut d = Degradation::new(0.0, 1.0);
        let before = d.filters[0].estimate;
        (0..10).for_each(|_| d.step(None, 0.0, 1.0));
        let after = d.filters[0].estimate;
        assert!(after.p11 > before.p11 && after.p22 > before.p22 && after.level == before.level);
    }
}
