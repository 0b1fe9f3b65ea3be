//! Learning the baseline: what this asset does while it is healthy, from the first slides after commissioning.
//!
//! Place in the flow: inside `detect`, before there is a verdict. In order:
//!
//! 1. *Warm-up* (the first 24th, at most 60 slides): smoothed regressors settle; a channel with a value in fewer than
//!    half of the slides is left out, so that a dead sensor does not keep the others waiting for ever.
//! 2. *Gathering*: means and co-moments of the whole row (`feature`), one row at a time; no row is kept.
//! 3. *Freezing*: regressions, covariance and threshold follow in closed form (`model`), never to change again.
//!
//! The guard: from time to time an interim model is fitted; a value more than [`OUTLIER`] of its innovation's standard
//! deviations from the interim prediction, in a regime the interim model knows, is replaced by the value at that
//! distance and counted. More than [`SPIKE`] in a row are no outliers but the machine, and are learned as they are.
//!
//! The interim models also tell what no formula can: each predicts slides it has not seen, and the smoothed innovations'
//! variance is compared with the computed one. A channel for which it is significantly larger gets that ratio as its
//! `inflation`: it depends on its past in a way the regression does not hold.
//!
//! B1: the share learned grows by one slide per slide on which every taking-part channel and its lags are known.
//! B2: as many slides as the baseline has in a row without such a one, and learning starts anew.

use fettle_wire::Micros;
use serde::{Deserialize, Serialize};

use crate::detect::feature::{Lags, Plan, Row};
use crate::detect::mewma::Mewma;
use crate::detect::model::{Model, Regime};
use crate::detect::moments::Moments;
use crate::detect::{DetectorParams, Layout};
use crate::registry::Role;

/// Standard deviations of an innovation beyond which a value is winsorised.
const OUTLIER: f64 = 5.0;
/// The most slides in a row that one channel's outliers may last.
const SPIKE: u8 = 3;
/// Rows before the first interim model, beside three per coefficient.
const FIRST_FIT: u32 = 60;
/// Time constants of the EWMA that must pass before its variance is that of its steady state.
const SETTLING: f64 = 3.0;
/// Standard errors by which smoothed innovations must be wider than computed for that to count.
const SIGNIFICANT: f64 = 2.5;

/// What is known while learning.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Learner {
    roles: Vec<Role>,
    /// All channels until the warm-up is over, then those that take part.
    plan: Plan,
    warm_up: WarmUp,
    /// Slides that count (B1).
    seen: u32,
    /// Slides since the last that counted (B2).
    stalled: u32,
    moments: Moments,
    regime: Regime,
    guard: Option<Guard>,
    next_fit: u32,
    validation: Validation,
    winsorised: u64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct WarmUp {
    over: bool,
    slides: u32,
    /// Values per channel of the layout.
    values: Vec<u32>,
}

/// An interim model, and for how many slides in a row each of its channels has been an outlier.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Guard {
    model: Model,
    streaks: Vec<u8>,
    mewma: Mewma,
    age: u32,
}

/// Squares of standardised smoothed innovations, per monitored channel of the plan.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Validation {
    sums: Vec<f64>,
    counts: Vec<u32>,
}

impl Learner {
    pub(crate) fn new(layout: &Layout) -> Self {
        Self::with_roles(layout.channels.iter().map(|c| c.1).collect())
    }

    fn with_roles(roles: Vec<Role>) -> Self {
        let n = roles.len();
        let plan = Plan::new(&roles, |_| true);
        Self {
            plan,
            warm_up: WarmUp { values: vec![0; n], ..WarmUp::default() },
            seen: 0,
            stalled: 0,
            moments: Moments::new(0),
            regime: Regime::default(),
            guard: None,
            next_fit: 0,
            validation: Validation::default(),
            winsorised: 0,
            roles,
        }
    }

    /// One slide.
    pub(crate) fn step(&mut self, lags: &mut Lags, end: Micros, params: &DetectorParams, x: &[Option<f64>]) {
        let row = lags.advance(&self.plan, end, params.slide, x);
        if !self.warm_up.over {
            self.warm(params, x);
            return;
        }
        if !row.is_complete() {
            self.stalled += 1;
            if self.stalled > params.baseline_slides {
                *self = Self::with_roles(std::mem::take(&mut self.roles));
            }
            return;
        }
        self.stalled = 0;
        self.seen += 1;
        self.gather(lags, params, row);
    }

    fn warm(&mut self, params: &DetectorParams, x: &[Option<f64>]) {
        if !self.plan.monitored.iter().any(|c| x[*c].is_some()) {
            return;
        }
        let warm = &mut self.warm_up;
        warm.slides += 1;
        self.seen += 1;
        warm.values.iter_mut().zip(x).for_each(|(n, v)| *n += u32::from(v.is_some()));
        if warm.slides < (params.baseline_slides / 24).clamp(4, 60) {
            return;
        }
        warm.over = true;
        let (values, slides) = (&warm.values, warm.slides);
        self.plan = Plan::new(&self.roles, |i| values[i] * 2 >= slides);
        self.moments = Moments::new(self.plan.dimension());
        self.next_fit = self.least_rows().max(FIRST_FIT);
        let monitored = self.plan.monitored.len();
        self.validation = Validation { sums: vec![0.0; monitored], counts: vec![0; monitored] };
    }

    fn gather(&mut self, lags: &mut Lags, params: &DetectorParams, mut row: Row) {
        if let Some(guard) = &mut self.guard {
            if guard.model.regime.holds(&self.plan, &row) {
                self.winsorised += guard.winsorise(&self.plan, lags, &mut row);
            }
            guard.validate(&mut self.validation, params.lambda, &row);
        }
        self.regime.learn(&self.plan, &row);
        self.moments.add(&row.values);
        if self.moments.count >= self.next_fit {
            self.next_fit = self.moments.count + self.moments.count / 2;
            self.guard = Model::fit(&self.plan, &self.regime, &self.moments).map(Guard::new);
        }
    }

    /// Rows without which nothing may be fitted: three per coefficient that is always there, and per channel.
    fn least_rows(&self) -> u32 {
        (3 * (2 + 2 * self.plan.operating.len()) + self.plan.monitored.len()) as u32
    }

    /// Share learned, 0..1.
    pub(crate) fn share(&self, params: &DetectorParams) -> f64 {
        (f64::from(self.seen) / f64::from(params.baseline_slides.max(1))).min(1.0)
    }

    pub(crate) fn is_complete(&self, params: &DetectorParams) -> bool {
        self.warm_up.over && self.seen >= params.baseline_slides && self.moments.count >= self.least_rows()
    }

    pub(crate) fn winsorised(&self) -> u64 {
        self.winsorised
    }

    /// The model of all that was gathered; `None` if no monitored channel varies.
    pub(crate) fn freeze(&self, params: &DetectorParams) -> Option<Model> {
        let mut model = Model::fit(&self.plan, &self.regime, &self.moments)?;
        for channel in &mut model.channels {
            channel.inflation = self.validation.inflation(channel.position, params.lambda);
        }
        let taking_part = |i: &usize| model.channels.iter().any(|c| c.channel == *i) || self.plan.operating.contains(i);
        model.dropped = (0..self.roles.len()).filter(|i| !taking_part(i)).collect();
        model.winsorised = self.winsorised;
        model.calibrate(params);
        Some(model)
    }
}

impl Guard {
    fn new(model: Model) -> Self {
        Self { streaks: vec![0; model.channels.len()], mewma: Mewma::new(&model), model, age: 0 }
    }

    /// Pulls outliers in, in the row and in what the lags remember; how many.
    fn winsorise(&mut self, plan: &Plan, lags: &mut Lags, row: &mut Row) -> u64 {
        let mut count = 0;
        let innovations = self.model.innovations(row);
        for ((channel, streak), u) in self.model.channels.iter().zip(&mut self.streaks).zip(innovations) {
            let bound = OUTLIER * libm::sqrt(channel.variance);
            if u.abs() <= bound {
                *streak = 0;
                continue;
            }
            *streak = streak.saturating_add(1);
            if *streak <= SPIKE {
                let target = &mut row.values[plan.target(channel.position)];
                *target -= u - bound.copysign(u);
                lags.replace(channel.channel, *target);
                count += 1;
            }
        }
        count
    }

    /// Adds this slide, which the model has not seen, to the comparison of computed and found variance.
    fn validate(&mut self, validation: &mut Validation, lambda: f64, row: &Row) {
        self.mewma.update(&self.model, lambda, row, self.model.innovations(row));
        self.age += 1;
        if f64::from(self.age) * lambda < SETTLING {
            return;
        }
        for (channel, s) in self.model.channels.iter().zip(self.mewma.standardised(&self.model, lambda)) {
            validation.sums[channel.position] += s * s;
            validation.counts[channel.position] += 1;
        }
    }
}

impl Validation {
    /// Found over computed variance where that is significantly above 1, else 1. Squares of an EWMA with weight lambda
    /// are correlated like (1 - lambda)^2k, so n of them are worth n (1 - q) / (1 + q) with q = (1 - lambda)^2.
    fn inflation(&self, position: usize, lambda: f64) -> f64 {
        let q = (1.0 - lambda) * (1.0 - lambda);
        let worth = f64::from(self.counts[position]) * (1.0 - q) / (1.0 + q);
        if worth < 4.0 {
            return 1.0;
        }
        let ratio = self.sums[position] / f64::from(self.counts[position]);
        if ratio > 1.0 + SIGNIFICANT * libm::sqrt(2.0 / worth) { ratio } else { 1.0 }
    }
}
