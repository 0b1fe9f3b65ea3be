//! The multivariate EWMA of innovations and its T2 (Lowry, Woodall, Champ & Rigdon 1992, "A multivariate exponentially
//! weighted moving average control chart", Technometrics 34), made honest about a finite baseline.
//!
//! Idea: z = (1 - lambda) z + lambda u gathers small persistent shifts; T2 = (2 - lambda)/lambda z' S^-1 z. With
//! parameters estimated from m slides three things widen T2 while healthy, and each is taken out:
//!
//! 1. The coefficients are estimated. Their error enters z as g' (beta - beta^), where g is the same EWMA of the
//!    regressors' deviations; its variance is variance * leverage(g), so each z is divided by
//!    sqrt(1 + (2 - lambda)/lambda * leverage(g)). A mean known from m slides alone gives 1 + (2 - lambda)/(lambda m);
//!    slow regressors far from their mean give more. In regimes the baseline hardly knows the score is thereby careful.
//! 2. S is estimated: T2 is mapped from its F to the chi squared scale (`tail::corrected_t_squared`).
//! 3. The process is not exactly linear of that order: where smoothed innovations on slides the model had not seen were
//!    significantly wider than computed, they are divided by what was found (`inflation`, see `crate::baseline`).
//!
//! All three are corrections on average over baselines: an unlucky baseline alarms more often than asked for, a lucky one
//! less; over a fleet the rate is the one asked for.
//!
//! Heavy tails: an innovation longer (in the metric of S) than all but 5 in 10,000 Gaussian ones is cut to that length.
//! For Gaussian noise that is next to nothing (2 % fewer alarms); a single wild value cannot raise an alarm, three in a
//! row can.
//!
//! Measured (`tests/detect_calibration.rs`, `report`): 100 assets, three monitored and two operating channels, a month
//! after a baseline of one day, one alarm per asset asked for, five seeds (a Poisson count would lie in 75 to 127). Process
//! of the model's order, Gaussian: 93 to 142 alarms; white sensor noise on top: 107 to 165; a second memory in the
//! temperature: 69 to 81; noise that grows with the square of the load: 86 to 133. Student's t with 5 degrees: 160 to 219;
//! the cut does not make up for tails that heavy. In the tail a variance that is wrong by a twentieth changes the rate by
//! half, so what is left comes from the second order of the baseline's errors.
//!
//! The statistic starts at 0 with the variance of its steady state, as the run-length equation assumes.

use serde::{Deserialize, Serialize};

use crate::assess::Share;
use crate::detect::feature::Row;
use crate::detect::linear::solve;
use crate::detect::model::Model;
use crate::detect::tail::corrected_t_squared;

/// The statistic's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mewma {
    /// EWMA of the innovations of the model's channels, SI.
    z: Vec<f64>,
    /// EWMA of the regressors' deviations from their means, as experience counts them.
    g: Vec<f64>,
}

impl Mewma {
    pub(crate) fn new(model: &Model) -> Self {
        Self { z: vec![0.0; model.channels.len()], g: vec![0.0; model.plan.regressors()] }
    }

    /// One slide's innovations; those that are NaN are imputed by their conditional mean given the others.
    pub(crate) fn update(&mut self, model: &Model, lambda: f64, row: &Row, mut innovations: Vec<f64>) {
        for (u, channel) in innovations.iter_mut().zip(&model.channels) {
            *u /= channel.spread(&model.means, row).sqrt();
        }
        impute(model, &mut innovations);
        let mut white = innovations.clone();
        model.covariance.whiten(&mut white);
        let length: f64 = white.iter().map(|w| w * w).sum();
        let cut = if length > model.clip { (model.clip / length).sqrt() } else { 1.0 };
        for (z, u) in self.z.iter_mut().zip(&innovations) {
            *z += lambda * (cut * u - *z);
        }
        for (g, d) in self.g.iter_mut().zip(model.experienced(row)) {
            *g += lambda * (d - *g);
        }
    }

    /// A slide that tells nothing.
    pub(crate) fn rest(&mut self, lambda: f64) {
        self.z.iter_mut().chain(&mut self.g).for_each(|v| *v -= lambda * *v);
    }

    /// The smoothed innovations, divided so that while healthy their covariance is that of the innovations themselves
    /// (corrections 1 and 3), SI; each with how much estimation widens its variance (correction 1).
    fn scaled<'a>(&'a self, model: &'a Model, lambda: f64, row: &'a Row) -> impl Iterator<Item = (f64, f64)> + 'a {
        let gain = (2.0 - lambda) / lambda;
        self.z.iter().enumerate().map(move |(i, z)| {
            let channel = &model.channels[i];
            let leverage = model.leverage(i, &self.g) / channel.spread(&model.means, row);
            let wider = (1.0 + gain * leverage) * channel.inflation;
            (z * (gain / wider).sqrt(), 1.0 + gain * leverage)
        })
    }

    /// The square of each smoothed innovation over its variance, 1 on average while healthy; each with how much estimation
    /// widens its variance.
    pub(crate) fn squares<'a>(
        &'a self,
        model: &'a Model,
        lambda: f64,
        row: &'a Row,
    ) -> impl Iterator<Item = (f64, f64)> + 'a {
        self.scaled(model, lambda, row).zip(&model.channels).map(|((y, w), c)| (y * y / c.variance, w))
    }

    /// The corrected T2 and each channel's share, largest first.
    ///
    /// A channel's share is proportional to what T2 would lose if that channel were unknown and replaced by its
    /// conditional mean given the others, (S^-1 z)_i^2 / (S^-1)_ii: never negative, whatever the correlations.
    pub(crate) fn score(&self, model: &Model, lambda: f64, x: &[Option<f64>], row: &Row) -> (f64, Vec<Share>) {
        let mut y: Vec<f64> = self.scaled(model, lambda, row).map(|s| s.0).collect();
        model.covariance.whiten(&mut y);
        let t_squared: f64 = y.iter().map(|v| v * v).sum();
        model.covariance.complete(&mut y);
        let losses: Vec<f64> = y.iter().zip(&model.precision_diagonal).map(|(v, d)| v * v / d).collect();
        let total: f64 = losses.iter().sum();
        let even = 1.0 / losses.len() as f64;
        let share = |loss: f64| if total > 0.0 { loss / total } else { even };
        let mut shares: Vec<Share> = losses
            .iter()
            .zip(&model.channels)
            .enumerate()
            .map(|(i, (loss, c))| {
                let expected = c.mean + model.regime_effect(i, row);
                Share { channel: c.channel, share: share(*loss), value: x[c.channel].unwrap_or(expected), expected }
            })
            .collect();
        shares.sort_by(|a, b| b.share.total_cmp(&a.share).then(a.channel.cmp(&b.channel)));
        (corrected_t_squared(t_squared, model.channels.len(), model.freedom), shares)
    }
}

/// Replaces NaN by the conditional mean given the other innovations, S_mo S_oo^-1 u_o.
fn impute(model: &Model, innovations: &mut [f64]) {
    let (missing, known): (Vec<usize>, Vec<usize>) = (0..innovations.len()).partition(|i| innovations[*i].is_nan());
    if missing.is_empty() {
        return;
    }
    let n = known.len();
    let mut s: Vec<f64> = known.iter().flat_map(|i| known.iter().map(|j| model.covariance.product(*i, *j))).collect();
    let mut weights: Vec<f64> = known.iter().map(|i| innovations[*i]).collect();
    // The covariance is positive definite (M1), so is each of its blocks; were it not, 0 is the mean of an innovation.
    let solved = solve(n, &mut s, &mut weights).is_some();
    for i in missing {
        let terms = known.iter().zip(&weights).map(|(j, w)| model.covariance.product(i, *j) * w);
        innovations[i] = if solved { terms.sum() } else { 0.0 };
    }
}
