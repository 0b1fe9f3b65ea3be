//! The model of a healthy asset: what each monitored channel does at this speed and load, given what it did before.
//!
//! Idea: each monitored channel is regressed on its own last values, on the operating channels now, one slide before and
//! smoothed, and on their products and cubes (an ARX model). What is left, the innovation, is close to white and free of
//! regime: pre-whitening and regime normalisation are one regression. A second regression without the channel's own past
//! says what level belongs to a regime; trends are judged against it.
//!
//! The noise may grow with load, as that of a flow or of a sensor that errs by a share of its reading does: each channel's
//! innovation variance is a linear function of the operating channels where that is significant.
//!
//! Guarantee: for a linear process of up to eighth order with Gaussian noise the innovations are white up to estimation
//! error, and that error is known: the variance of a prediction is variance * leverage, with
//! leverage = 1/n + r' (R'R)^-1 r. `mewma` divides it out.
//! Cost: a few dozen multiplications per channel and slide.
//!
//! M1: `channels` holds no channel whose innovation is constant or a combination of the others'.

use fettle_wire::Micros;
use fettle_wire::time::MONTH;
use serde::{Deserialize, Serialize};

use crate::detect::DetectorParams;
use crate::detect::feature::{LAGS, Plan, Row};
use crate::detect::linear::{Cholesky, Fit, fit};
use crate::detect::moments::{Gathered, Moments};
use crate::detect::run_length;
use crate::detect::tail::chi_squared_quantile_above;

/// Squared t statistic a regressor needs to earn its place in the static regression, against which trends are judged: no
/// leverage tames what a needless regressor says far from its mean. Between Akaike's 2 and Schwarz's ln n = 7.3 at 1,440
/// slides.
const ENTER: f64 = 6.0;
/// An innovation with this share of its channel's variance or less is rounding, not noise.
const RELATIVE_NOISE: f64 = 1e-10;
/// Own lags together never count as more than this, so that the long-run variance stays finite.
const MAX_PERSISTENCE: f64 = 0.98;
/// The largest response to a shock of 1 that a channel at rest may show.
const MAX_RESPONSE: f64 = 10.0;
/// Standard deviations about its regime's level within which a healthy channel's past lies.
const HEALTHY_REACH: f64 = 3.0;
/// Slides over which the memory of regressors is followed.
const ECHO: usize = 120;
/// Squared t statistic an operating channel needs to be held responsible for the size of the noise.
const ENTER_SPREAD: f64 = 9.0;
/// Slides without which nothing is said about the size of the noise.
const LEAST_SPREAD: u32 = 120;
/// The noise is taken for neither smaller nor larger than on average by more than this factor (of its variance).
const MAX_SPREAD: f64 = 4.0;
/// Share of innovations that are longer, while healthy and Gaussian, than the length to which all are cut.
const CLIPPED_SHARE: f64 = 5e-4;

/// Where the operating channels were while the baseline was learned, in the plan's order.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Regime {
    ranges: Vec<(f64, f64)>,
}

impl Regime {
    /// Widens to hold the operating channels of this slide, all of which must be known.
    pub(crate) fn learn(&mut self, plan: &Plan, row: &Row) {
        let values = &row.values[plan.now()];
        if self.ranges.is_empty() {
            self.ranges = values.iter().map(|v| (*v, *v)).collect();
        }
        for (range, v) in self.ranges.iter_mut().zip(values) {
            *range = (range.0.min(*v), range.1.max(*v));
        }
    }

    /// Whether every operating channel is within what was learned, plus a margin of a quarter of the learned range and
    /// of 2 % of its larger end. Absent channels are not judged here.
    pub(crate) fn holds(&self, plan: &Plan, row: &Row) -> bool {
        row.values[plan.now()].iter().zip(&self.ranges).all(|(value, (low, high))| {
            let margin = 0.25 * (high - low) + 0.02 * low.abs().max(high.abs());
            !(*value < low - margin || *value > high + margin)
        })
    }
}

/// One monitored channel's model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ChannelModel {
    /// Index in the layout.
    pub(crate) channel: usize,
    /// Index among the plan's monitored channels.
    pub(crate) position: usize,
    /// Mean over the baseline, SI.
    pub(crate) mean: f64,
    terms: Vec<usize>,
    beta: Vec<f64>,
    /// Of the co-moment matrix of the terms: lower triangle, row by row.
    inverse: Vec<f64>,
    /// Innovation variance, SI squared.
    pub(crate) variance: f64,
    /// How much wider than computed the smoothed innovations were on data the model had not seen; 1 if not
    /// significantly so.
    pub(crate) inflation: f64,
    /// By how much of itself the innovation variance grows with each operating channel, 1/SI of that channel.
    spread: Vec<f64>,
    static_terms: Vec<usize>,
    static_beta: Vec<f64>,
    /// Variance about the static expectation, SI squared.
    pub(crate) static_variance: f64,
    /// Variance of a long mean about the static expectation times its number of slides, SI squared.
    pub(crate) long_run_variance: f64,
}

/// What follows from the settings and the number of channels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Calibration {
    lambda: f64,
    run_length: f64,
}

/// The frozen baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Model {
    pub(crate) plan: Plan,
    pub(crate) regime: Regime,
    pub(crate) channels: Vec<ChannelModel>,
    /// Monitored and operating channels that do not take part, by index in the layout.
    pub(crate) dropped: Vec<usize>,
    /// Means of the regressors.
    pub(crate) means: Vec<f64>,
    rows: f64,
    /// Degrees of freedom of the covariance.
    pub(crate) freedom: f64,
    /// Factor of the innovations' covariance.
    pub(crate) covariance: Cholesky,
    pub(crate) precision_diagonal: Vec<f64>,
    calibration: Option<Calibration>,
    /// Threshold on the corrected T2.
    pub(crate) threshold: f64,
    /// Square of the length to which whitened innovations are cut.
    pub(crate) clip: f64,
    pub(crate) winsorised: u64,
}

impl Model {
    /// Fits the model to what was gathered; `None` if no monitored channel varies.
    pub(crate) fn fit(plan: &Plan, regime: &Regime, gathered: &Gathered) -> Option<Self> {
        let Gathered { moments, spread, echo } = gathered;
        if plan.monitored.is_empty() {
            return None;
        }
        let exogenous: Vec<usize> = (0..plan.shapes().end).collect();
        // Whatever the target, a fit leaves out the same of them: what is constant or a combination of the others.
        let exogenous = fit(moments, plan.target(0), &exogenous, &[], f64::INFINITY).terms;
        let echoes = echo.echoes(moments, &exogenous, ECHO);
        let fits: Vec<(usize, Fit)> = (0..plan.monitored.len())
            .map(|position| (position, fit_channel(plan, moments, position, &echoes)))
            .filter(|(position, fit)| {
                let target = plan.target(*position);
                let total = moments.product(target, target);
                let rounding = 1e-24 * moments.mean[target] * moments.mean[target] * f64::from(moments.count);
                fit.residual > RELATIVE_NOISE * total && total > rounding
            })
            .collect();
        let (fits, covariance, residual) = independent(plan, moments, fits)?;
        let most = fits.iter().map(|(_, fit)| fit.terms.len()).max().unwrap_or(0);
        let channels: Vec<_> = fits
            .into_iter()
            .zip(residual)
            .map(|((position, fit), variance)| ChannelModel {
                spread: spread_of(plan, moments, spread, position),
                ..ChannelModel::new(plan, moments, position, fit, variance)
            })
            .collect();
        Some(Self {
            plan: plan.clone(),
            regime: regime.clone(),
            dropped: Vec::new(),
            means: moments.mean[..plan.regressors()].to_vec(),
            rows: f64::from(moments.count),
            freedom: (f64::from(moments.count) - 1.0 - most as f64).max(channels.len() as f64 + 1.0),
            precision_diagonal: covariance.inverse_diagonal(),
            covariance,
            channels,
            calibration: None,
            threshold: f64::INFINITY,
            clip: f64::INFINITY,
            winsorised: 0,
        })
    }

    /// Whether threshold and clip belong to other settings than these.
    pub(crate) fn is_stale(&self, params: &DetectorParams) -> bool {
        self.calibration != Some(Calibration { lambda: params.lambda, run_length: run_length(params) })
    }

    /// Computes threshold and clip for these settings.
    pub(crate) fn calibrate(&mut self, params: &DetectorParams) {
        let (p, lambda, run_length) = (self.channels.len(), params.lambda, run_length(params));
        self.calibration = Some(Calibration { lambda, run_length });
        self.threshold = run_length::threshold(p, lambda, run_length);
        // Innovations of the clip's length, all in one direction, must take the score far over the threshold.
        let reach = 4.0 * self.threshold * lambda / (2.0 - lambda);
        self.clip = chi_squared_quantile_above(CLIPPED_SHARE, p).max(reach);
    }

    /// Whether the innovation of channel `i` of the model can be computed.
    pub(crate) fn is_ready(&self, i: usize, row: &Row) -> bool {
        let model = &self.channels[i];
        let known = |k: usize| !row.values[k].is_nan();
        known(self.plan.target(model.position)) && model.terms.iter().all(|k| known(*k))
    }

    /// The innovation of each of the model's channels, SI; NaN where it cannot be computed.
    pub(crate) fn innovations(&self, row: &Row) -> Vec<f64> {
        let residual = |c: &ChannelModel| {
            let explained = c.terms.iter().zip(&c.beta).map(|(k, b)| b * (row.values[*k] - self.means[*k]));
            row.values[self.plan.target(c.position)] - c.mean - explained.sum::<f64>()
        };
        self.channels.iter().map(residual).collect()
    }

    /// What the static regression adds to a channel's mean at this speed and load, SI; NaN if the regime is unknown.
    pub(crate) fn regime_effect(&self, i: usize, row: &Row) -> f64 {
        let c = &self.channels[i];
        let terms = c.static_terms.iter().zip(&c.static_beta);
        terms.map(|(k, b)| b * (row.values[*k] - self.means[*k])).sum()
    }

    /// Deviations of a row's regressors from their means; 0 where unknown.
    pub(crate) fn deviations<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = f64> + 'a {
        row.values.iter().zip(&self.means).map(|(v, m)| if v.is_nan() { 0.0 } else { v - m })
    }

    /// Deviations of a row's regressors as experience counts them: like [`Self::deviations`], but a channel's own past no
    /// further from its regime's level than [`HEALTHY_REACH`] of its standard deviations. A fault carries its channel's
    /// past along; taken for inexperience, a fault would count the less the larger it is.
    pub(crate) fn experienced(&self, row: &Row) -> Vec<f64> {
        let mut deviations: Vec<f64> = self.deviations(row).collect();
        for (i, c) in self.channels.iter().enumerate() {
            let effect = self.regime_effect(i, row);
            let (level, reach) =
                (if effect.is_nan() { 0.0 } else { effect }, HEALTHY_REACH * c.static_variance.max(0.0).sqrt());
            for age in 1..=LAGS {
                let deviation = &mut deviations[self.plan.lag(c.position, age)];
                *deviation = deviation.max(level - reach).min(level + reach);
            }
        }
        deviations
    }

    /// Variance of the prediction of channel `i` from estimation alone, as a multiple of its innovation variance, at
    /// regressors that deviate from their means by `deviations`.
    pub(crate) fn leverage(&self, i: usize, deviations: &[f64]) -> f64 {
        let c = &self.channels[i];
        let (mut sum, mut entries) = (0.0, c.inverse.iter());
        for (at, a) in c.terms.iter().enumerate() {
            // The triangle has exactly `at` + 1 entries in this row, the last on the diagonal.
            let row = c.terms[..at].iter().zip(entries.by_ref());
            let dot: f64 = row.map(|(b, v)| v * deviations[*b]).sum();
            let own = entries.next().map_or(0.0, |v| v * deviations[*a]);
            sum += (2.0 * dot + own) * deviations[*a];
        }
        1.0 / self.rows + sum.max(0.0)
    }
}

/// Slides between two false alarms.
fn run_length(params: &DetectorParams) -> f64 {
    MONTH as f64 / (params.slide.max(1 as Micros) as f64 * params.false_alarms_per_asset_month)
}

/// The dynamic regression holds all that is offered. An effect left out because it is not significant still shifts whole
/// regimes by up to its standard error, and the leverage does not know it (measured: 1.5 times the alarms asked for, most
/// of them on few assets); one kept in vain costs a little more leverage, which is divided out.
fn fit_channel(plan: &Plan, moments: &Moments, position: usize, echoes: &[f64]) -> Fit {
    let own = (1..=LAGS).map(|age| plan.lag(position, age));
    let all: Vec<usize> = (0..plan.shapes().end).chain(own).collect();
    let mut found = fit(moments, plan.target(position), &all, &[], f64::INFINITY);
    unbias(plan, moments, position, echoes, &mut found);
    found
}

/// Takes out what regressors with a memory do to the coefficients of a channel's own past in a short baseline.
///
/// They explain some of the slow part of the noise, so that the past seems to matter less than it does, by a bias of
/// order (number of slow regressors) / rows: E[Z' M u] = -variance * sum over j of psi_j tr(P L^(l + j)) for own lag l, with
/// psi the response of the channel to a shock, P the projection on the other regressors, L the shift by one slide (Kiviet
/// & Phillips 1993, "Alternative bias approximations in regressions with a lagged-dependent variable", Econometric Theory
/// 9). For a slow channel it is several standard errors, and widens the smoothed innovations by a tenth.
fn unbias(plan: &Plan, moments: &Moments, position: usize, echoes: &[f64], fit: &mut Fit) {
    let n = fit.terms.len();
    let at: Vec<Option<usize>> =
        (1..=LAGS).map(|age| fit.terms.iter().position(|k| *k == plan.lag(position, age))).collect();
    let phi: Vec<f64> = at.iter().map(|i| i.map_or(0.0, |i| fit.beta[i])).collect();
    if phi.iter().sum::<f64>().abs() > MAX_PERSISTENCE {
        return;
    }
    let rows = f64::from(moments.count);
    let variance = fit.residual / (rows - 1.0 - n as f64).max(1.0);
    let mut psi = vec![1.0];
    for j in 1..echoes.len() {
        psi.push((1..=LAGS.min(j)).map(|l| phi[l - 1] * psi[j - l]).sum());
    }
    // An estimate that rings on has no such response, and a bias computed from one would be nonsense.
    if psi.iter().any(|p| p.abs() > MAX_RESPONSE) {
        return;
    }
    let mut shift = vec![0.0; n];
    for (age, at) in (1..=LAGS).zip(&at) {
        let Some(at) = at else { continue };
        // The intercept is a regressor too, with the longest memory of all: the 1.
        let sum: f64 = psi.iter().zip(&echoes[(age - 1).min(echoes.len())..]).map(|(p, e)| p * (e + 1.0)).sum();
        for (i, shift) in shift.iter_mut().enumerate() {
            *shift += variance * fit.inverse[i * n + at] * sum;
        }
    }
    fit.beta.iter_mut().zip(shift).for_each(|(beta, shift)| *beta += shift);
}

type Independent = (Vec<(usize, Fit)>, Cholesky, Vec<f64>);

/// Keeps the channels whose innovations are not combinations of earlier ones', with the factor of their covariance and
/// their variances (M1).
fn independent(plan: &Plan, moments: &Moments, fits: Vec<(usize, Fit)>) -> Option<Independent> {
    let covariance = |a: &(usize, Fit), b: &(usize, Fit)| {
        // An innovation is a weighted sum of the row's components: 1 for the target, minus beta for the terms.
        let weights = |(position, fit): &(usize, Fit)| {
            let terms: Vec<_> = fit.terms.iter().copied().zip(fit.beta.iter().map(|b| -b)).collect();
            [(plan.target(*position), 1.0)].into_iter().chain(terms).collect::<Vec<_>>()
        };
        let (wa, wb) = (weights(a), weights(b));
        let sum: f64 =
            wa.iter().map(|(i, x)| wb.iter().map(|(j, y)| x * y * moments.product(*i, *j)).sum::<f64>()).sum();
        let freedom = |f: &Fit| (f64::from(moments.count) - 1.0 - f.terms.len() as f64).max(1.0);
        sum / (freedom(&a.1) * freedom(&b.1)).sqrt()
    };
    let matrix = |kept: &[(usize, Fit)]| -> Vec<f64> {
        kept.iter().flat_map(|a| kept.iter().map(move |b| covariance(a, b))).collect()
    };
    let done = |kept: Vec<(usize, Fit)>| {
        let entries = matrix(&kept);
        let factor = Cholesky::new(kept.len(), &entries)?;
        let diagonal = (0..kept.len()).map(|i| entries[i * kept.len() + i]).collect();
        Some((kept, factor, diagonal))
    };
    if fits.is_empty() {
        return None;
    }
    if let Some(all) = done(fits.clone()) {
        return Some(all);
    }
    let mut kept: Vec<(usize, Fit)> = Vec::new();
    for fit in fits {
        kept.push(fit);
        if Cholesky::new(kept.len(), &matrix(&kept)).is_none() {
            kept.pop();
        }
    }
    done(kept)
}

/// How the innovation variance of the monitored channel at `position` grows with each operating channel, relative to
/// what it is on average: the regression of Breusch & Pagan (1979, "A simple test for heteroscedasticity and random
/// coefficient variation", Econometrica 47). Empty where nothing significant is seen.
fn spread_of(plan: &Plan, moments: &Moments, spread: &Moments, position: usize) -> Vec<f64> {
    let operating = plan.operating.len();
    if spread.count < LEAST_SPREAD {
        return Vec::new();
    }
    let target = operating + position;
    let candidates: Vec<usize> = (0..operating).collect();
    let found = fit(spread, target, &[], &candidates, ENTER_SPREAD);
    let away = |k: usize| moments.mean[k] - spread.mean[k];
    let average = spread.mean[target] + found.terms.iter().zip(&found.beta).map(|(k, b)| b * away(*k)).sum::<f64>();
    if found.terms.is_empty() || average <= 0.0 {
        return Vec::new();
    }
    let mut slopes = vec![0.0; operating];
    for (k, b) in found.terms.iter().zip(&found.beta) {
        slopes[*k] = b / average;
    }
    slopes
}

/// The lower triangle of a symmetric n x n matrix, row by row.
fn triangle(matrix: &[f64], n: usize) -> Vec<f64> {
    (0..n).flat_map(|i| matrix[i * n..=i * n + i].iter().copied()).collect()
}

impl ChannelModel {
    /// Innovation variance at the operating channels of `row`, as a multiple of `variance`.
    pub(crate) fn spread(&self, means: &[f64], row: &Row) -> f64 {
        let slopes = self.spread.iter().zip(&row.values).zip(means);
        let spread = 1.0 + slopes.map(|((slope, value), mean)| slope * (value - mean)).sum::<f64>();
        if spread.is_nan() { 1.0 } else { spread.clamp(1.0 / MAX_SPREAD, MAX_SPREAD) }
    }

    fn new(plan: &Plan, moments: &Moments, position: usize, dynamic: Fit, variance: f64) -> Self {
        let (target, terms) = (plan.target(position), dynamic.terms.len());
        let own = |age: usize| dynamic.terms.iter().position(|k| *k == plan.lag(position, age));
        let own = (1..=LAGS).filter_map(own).map(|i| dynamic.beta[i]).sum::<f64>();
        let persistence = own.clamp(0.0, MAX_PERSISTENCE);
        let stretch = (1.0 + persistence) / (1.0 - persistence);
        let forced: Vec<usize> = plan.now().collect();
        let offered: Vec<usize> = plan.shapes().collect();
        // Dependent residuals carry less information: a regressor must be more significant by the same factor.
        let level = fit(moments, target, &forced, &offered, ENTER * stretch);
        let freedom = (f64::from(moments.count) - 1.0 - level.terms.len() as f64).max(1.0);
        let static_variance = level.residual / freedom;
        let white = variance / ((1.0 - persistence) * (1.0 - persistence));
        Self {
            channel: plan.monitored[position],
            position,
            mean: moments.mean[target],
            terms: dynamic.terms,
            beta: dynamic.beta,
            inverse: triangle(&dynamic.inverse, terms),
            variance,
            inflation: 1.0,
            spread: Vec::new(),
            static_terms: level.terms,
            static_beta: level.beta,
            static_variance,
            long_run_variance: white.max(static_variance * stretch),
        }
    }
}
