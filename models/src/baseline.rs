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
//! deviations from the interim prediction is replaced by the value at that distance. In a regime the interim model does
//! not know, its prediction is worth less: there only a slide with a value more than [`WILD`] times the warm-up's spread
//! (10 % to 90 %) from the prediction is not learned, and before the first interim model, from the warm-up's median.
//! Every such value is counted; more than [`SPIKE`] in a row of one channel are no outliers but the machine, and are
//! learned as they are.
//!
//! The interim models also tell what no formula can. Each predicts slides it has not seen: the squares of its errors say
//! whether the noise grows with an operating channel (`spread`), and, once it rests on half the baseline, the variance of
//! the smoothed innovations is compared with the computed one. Both only where it has experience. A channel for which it is significantly larger gets that ratio as its
//! `inflation`: it depends on its past in a way the regression does not hold.
//!
//! B1: the share learned grows by one slide with each slide on which every channel that takes part has a value; at least
//! half as many must have been learned from (have lags, are no outliers).
//! B2: as many slides as the baseline has in a row that cannot be learned from, and learning starts anew.

use fettle_wire::Micros;
use serde::{Deserialize, Serialize};

use crate::detect::feature::{LAGS, Lags, Plan, Row};
use crate::detect::mewma::Mewma;
use crate::detect::model::{Model, Regime};
use crate::detect::moments::Gathered;
use crate::detect::{DetectorParams, Layout};
use crate::registry::Role;

/// Standard deviations of an innovation beyond which a value is winsorised.
const OUTLIER: f64 = 5.0;
/// Spreads of the warm-up from its median beyond which a value is not learned.
const WILD: f64 = 10.0;
/// The most slides in a row that one channel's outliers may last.
const SPIKE: u8 = 3;
/// Rows before the first interim model, beside three per coefficient.
const FIRST_FIT: u32 = 60;
/// Time constants of the EWMA that must pass before its variance is that of its steady state.
const SETTLING: f64 = 3.0;
/// An interim model of less than this fraction (one in ..) of the baseline says nothing about the final one.
const MATURE: u32 = 2;
/// Variance of a prediction over that of the noise up to which its error tells of the noise.
const EXPERIENCED: f64 = 1.1;
/// The same of smoothed innovations, up to which they tell whether the computed variance is right.
const TRUSTED: f64 = 1.5;
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
    gathered: Gathered,
    regime: Regime,
    guard: Option<Guard>,
    /// For how many slides in a row each of the plan's monitored channels has been an outlier.
    streaks: Vec<u8>,
    next_fit: u32,
    validation: Validation,
    winsorised: u64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct WarmUp {
    over: bool,
    slides: u32,
    /// Values of each channel of the layout; empty once it is over.
    values: Vec<Vec<f64>>,
    /// Of each of the plan's monitored channels, once it is over.
    spans: Vec<Span>,
}

/// Where a channel was during the warm-up, SI.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Span {
    median: f64,
    /// Distance from the 10 % to the 90 % quantile.
    spread: f64,
}

/// An interim model.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Guard {
    model: Model,
    mewma: Mewma,
    age: u32,
    /// Whether the model rests on enough of the baseline to be judged for what it says of slides it has not seen.
    is_mature: bool,
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
            warm_up: WarmUp { values: vec![Vec::new(); n], ..WarmUp::default() },
            seen: 0,
            stalled: 0,
            gathered: Gathered::new(0, 0),
            regime: Regime::default(),
            guard: None,
            streaks: Vec::new(),
            next_fit: 0,
            validation: Validation::default(),
            winsorised: 0,
            roles,
        }
    }

    /// One slide.
    pub(crate) fn step(&mut self, lags: &mut Lags, end: Micros, params: &DetectorParams, x: &[Option<f64>]) {
        let mut row = lags.advance(&self.plan, end, params.slide, x);
        if !self.warm_up.over {
            self.warm(params, x);
            return;
        }
        let present = self.plan.monitored.iter().chain(&self.plan.operating).all(|c| x[*c].is_some());
        self.seen += u32::from(present);
        if !row.is_complete() {
            self.gathered.echo.interrupt();
            self.stalled += 1;
            if self.stalled > params.baseline_slides {
                *self = Self::with_roles(std::mem::take(&mut self.roles));
            }
            return;
        }
        self.stalled = 0;
        if self.is_sane(lags, params, &mut row) {
            self.gather(params, &row);
        } else {
            self.gathered.echo.interrupt();
        }
    }

    fn warm(&mut self, params: &DetectorParams, x: &[Option<f64>]) {
        if !self.plan.monitored.iter().any(|c| x[*c].is_some()) {
            return;
        }
        let warm = &mut self.warm_up;
        warm.slides += 1;
        self.seen += 1;
        warm.values.iter_mut().zip(x).for_each(|(values, v)| values.extend(v));
        if warm.slides < (params.baseline_slides / 24).clamp(4, 60) {
            return;
        }
        warm.over = true;
        let (slides, mut values) = (warm.slides as usize, std::mem::take(&mut warm.values));
        self.plan = Plan::new(&self.roles, |i| values[i].len() * 2 >= slides);
        self.warm_up.spans = self.plan.monitored.iter().map(|c| Span::new(&mut values[*c])).collect();
        self.gathered = Gathered::new(self.plan.dimension(), self.plan.operating.len() + self.plan.monitored.len());
        self.next_fit = self.least_rows().max(FIRST_FIT);
        let monitored = self.plan.monitored.len();
        self.streaks = vec![0; monitored];
        self.validation = Validation { sums: vec![0.0; monitored], counts: vec![0; monitored] };
    }

    /// The guard: pulls outliers in where the regime is known, and says whether the slide may be learned.
    fn is_sane(&mut self, lags: &mut Lags, params: &DetectorParams, row: &mut Row) -> bool {
        let before = self.winsorised;
        let Some(guard) = &mut self.guard else {
            for (position, span) in self.warm_up.spans.iter().enumerate() {
                let away = (row.values[self.plan.target(position)] - span.median).abs();
                if outlier(&mut self.streaks[position], away > span.wild()) {
                    lags.forget(self.plan.monitored[position]);
                    self.winsorised += 1;
                }
            }
            return self.winsorised == before;
        };
        let known = guard.model.regime.holds(&self.plan, row);
        let innovations = guard.model.innovations(row);
        let deviations: Vec<f64> = guard.model.deviations(row).collect();
        let mut is_experienced = true;
        let mut spread = row.values[self.plan.now()].to_vec();
        spread.resize(self.plan.operating.len() + self.plan.monitored.len(), 0.0);
        for (i, (channel, u)) in guard.model.channels.iter().zip(innovations).enumerate() {
            // Where the interim model has little experience its prediction errs by more than the noise.
            let wider = 1.0 + guard.model.leverage(i, &deviations);
            let near = OUTLIER * (channel.variance * channel.spread(&guard.model.means, row) * wider).sqrt();
            let bound = if known { near } else { near.max(self.warm_up.spans[channel.position].wild()) };
            let is_outlier = outlier(&mut self.streaks[channel.position], u.abs() > bound);
            let kept = if is_outlier { bound.copysign(u) } else { u };
            is_experienced &= wider < EXPERIENCED;
            spread[self.plan.operating.len() + channel.position] = u.abs().min(near).powi(2) / wider;
            if !is_outlier {
                continue;
            }
            self.winsorised += 1;
            if known {
                let target = &mut row.values[self.plan.target(channel.position)];
                *target -= u - kept;
                lags.replace(channel.channel, *target);
            } else {
                lags.forget(channel.channel);
            }
        }
        if known {
            if is_experienced {
                self.gathered.spread.add(&spread);
            }
            guard.validate(&mut self.validation, params.lambda, row);
        } else {
            guard.unsettle();
        }
        known || self.winsorised == before
    }

    fn gather(&mut self, params: &DetectorParams, row: &Row) {
        self.regime.learn(&self.plan, row);
        self.gathered.moments.add(&row.values);
        self.gathered.echo.add(&row.values[..self.plan.shapes().end]);
        if self.gathered.moments.count >= self.next_fit {
            self.next_fit = self.gathered.moments.count + self.gathered.moments.count / 2;
            let is_mature = self.seen > params.baseline_slides / MATURE;
            let model = Model::fit(&self.plan, &self.regime, &self.gathered);
            self.guard = model.map(|model| Guard::new(model, is_mature));
        }
    }

    /// Rows without which nothing may be fitted: three per coefficient of a channel, and one per channel.
    fn least_rows(&self) -> u32 {
        (3 * (1 + self.plan.shapes().end + LAGS) + self.plan.monitored.len()) as u32
    }

    /// Share learned, 0..1.
    pub(crate) fn share(&self, params: &DetectorParams) -> f64 {
        (f64::from(self.seen) / f64::from(params.baseline_slides.max(1))).min(1.0)
    }

    pub(crate) fn is_complete(&self, params: &DetectorParams) -> bool {
        self.warm_up.over
            && self.seen >= params.baseline_slides
            && self.gathered.moments.count >= self.least_rows().max(params.baseline_slides / 2)
    }

    pub(crate) fn winsorised(&self) -> u64 {
        self.winsorised
    }

    /// The model of all that was gathered; `None` if no monitored channel varies.
    pub(crate) fn freeze(&self, params: &DetectorParams) -> Option<Model> {
        let mut model = Model::fit(&self.plan, &self.regime, &self.gathered)?;
        for channel in &mut model.channels {
            channel.inflation = self.validation.inflation(channel.position, params.lambda);
        }
        let taking_part = |i: &usize| model.channels.iter().any(|c| c.channel == *i) || self.plan.operating.contains(i);
        model.dropped = (0..self.roles.len()).filter(|i| self.roles[*i] != Role::Recorded && !taking_part(i)).collect();
        model.winsorised = self.winsorised;
        model.calibrate(params);
        Some(model)
    }
}

/// Counts outliers in a row, and says whether this one still is one.
fn outlier(streak: &mut u8, is_far: bool) -> bool {
    *streak = if is_far { streak.saturating_add(1) } else { 0 };
    is_far && *streak <= SPIKE
}

impl Span {
    fn new(values: &mut [f64]) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| values.get((share * values.len() as f64) as usize).copied().unwrap_or(0.0);
        Self { median: at(0.5), spread: at(0.9) - at(0.1) }
    }

    /// The distance beyond which a value is wild; a channel that hardly moved during the warm-up has none.
    fn wild(&self) -> f64 {
        if self.spread > 0.0 { WILD * self.spread } else { f64::INFINITY }
    }
}

impl Guard {
    fn new(model: Model, is_mature: bool) -> Self {
        Self { mewma: Mewma::new(&model), model, age: 0, is_mature }
    }

    /// Forgets the smoothed innovations: some come from a regime the model does not know.
    fn unsettle(&mut self) {
        self.age = 0;
        self.mewma = Mewma::new(&self.model);
    }

    /// Adds this slide, which the model has not seen, to the comparison of computed and found variance.
    fn validate(&mut self, validation: &mut Validation, lambda: f64, row: &Row) {
        self.mewma.update(&self.model, lambda, row, self.model.innovations(row));
        self.age += 1;
        if f64::from(self.age) * lambda < SETTLING || !self.is_mature {
            return;
        }
        let squares = self.mewma.squares(&self.model, lambda, row);
        for (channel, (square, wider)) in self.model.channels.iter().zip(squares) {
            if wider < TRUSTED {
                validation.sums[channel.position] += square;
                validation.counts[channel.position] += 1;
            }
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
        if ratio > 1.0 + SIGNIFICANT * (2.0 / worth).sqrt() { ratio } else { 1.0 }
    }
}
