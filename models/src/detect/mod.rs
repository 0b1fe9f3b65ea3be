//! State detection: is this machine behaving as its own baseline, at the speed and load it runs now?
//!
//! Place in the flow: the engine hands over, once a slide, the mean of each channel over that slide (not over the
//! sliding window: overlapping windows would make the innovations dependent and the calibration worthless); back comes
//! an [`Assessment`]. In order:
//!
//! ```text
//! channel means -> feature (regressors) -> model (innovations, regime and autocorrelation removed)
//!    -> mewma (T2 of their EWMA, corrected for a finite baseline) -> run_length (threshold from the rate asked for)
//!    -> predict (trend of the regime-corrected level, health index, remaining life)
//! ```
//!
//! While the baseline is learned (`crate::baseline`) there is no verdict; afterwards it is frozen: a detector that
//! always adapts learns the fault away. Everything frozen is behind an `Arc`, so that a clone for a provisional
//! evaluation copies a few hundred bytes.
//!
//! D1: the outcome is a function of the detector and the arguments of each step; no clock, no randomness.
//! D2: a detector that is saved and loaded continues bit for bit as it would have.
//! D3: a channel's unit scale and the order of channels change nothing but rounding.
//! D4: nothing is learned after the baseline is frozen.

pub(crate) mod feature;
pub(crate) mod linear;
pub(crate) mod mewma;
pub(crate) mod model;
pub(crate) mod moments;
pub mod run_length;
pub mod tail;

use std::sync::Arc;

use fettle_wire::{Micros, Name, NoVerdict, Unit, Verdict};
use serde::{Deserialize, Serialize};

pub use crate::assess::Assessment;
use crate::baseline::Learner;
use crate::detect::feature::{Lags, Row};
use crate::detect::mewma::Mewma;
use crate::detect::model::Model;
use crate::predict::Prognosis;
use crate::registry::Role;

/// Which channels an asset has, in the order of the values handed to [`Detector::step`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    /// (channel, role, unit whose SI the values are in, limit in SI).
    pub channels: Vec<(Name, Role, Unit, Option<f64>)>,
}

/// How detection works; all of it from the settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetectorParams {
    /// Distance of two slides, microseconds.
    pub slide: Micros,
    /// Slides to learn the baseline from.
    pub baseline_slides: u32,
    /// False alarms that are acceptable per asset and month of 30 days, above 0.
    pub false_alarms_per_asset_month: f64,
    /// Weight of the newest innovation in the multivariate EWMA, above 0, at most 1.
    pub lambda: f64,
    /// Largest share of monitored channels that may be imputed, 0..1.
    pub max_imputed_share: f64,
    /// Farthest future for which a remaining life is told, microseconds.
    pub rul_horizon: Micros,
}

/// One asset's detector.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Detector {
    lags: Lags,
    phase: Phase,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Phase {
    // -> Frozen, Unusable
    Learning(Box<Learner>),
    // (for ever)
    Frozen(Frozen),
    // Every monitored channel was constant. -> Learning is a new detector's business.
    Unusable,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Frozen {
    model: Arc<Model>,
    mewma: Mewma,
    prognosis: Prognosis,
}

impl Detector {
    /// A detector that knows nothing yet.
    pub fn new(layout: &Layout, _params: &DetectorParams) -> Self {
        Self { lags: Lags::new(layout.channels.len()), phase: Phase::Learning(Box::new(Learner::new(layout))) }
    }

    /// The means `x` of the slide that ends at `end`, in the layout's order and SI; `None` where a channel had no
    /// reading. Slides come in order of time; where one is left out, the next has no lag. A slice of another length
    /// than the layout is taken as if the missing channels were absent.
    pub fn step(&mut self, end: Micros, layout: &Layout, params: &DetectorParams, x: &[Option<f64>]) -> Assessment {
        if !layout.channels.iter().any(|c| c.1 == Role::Monitored) {
            return Assessment::none(NoVerdict::NothingMonitored, 0.0);
        }
        let x = &*cleaned(layout, x);
        match &mut self.phase {
            Phase::Learning(learner) => {
                learner.step(&mut self.lags, end, params, x);
                let share = learner.share(params);
                if learner.is_complete(params) {
                    self.phase = match learner.freeze(params) {
                        Some(model) => Phase::Frozen(Frozen::new(model)),
                        None => Phase::Unusable,
                    };
                }
                Assessment::none(NoVerdict::BaselineNotLearned, share)
            }
            Phase::Frozen(frozen) => {
                if frozen.model.is_stale(params) {
                    Arc::make_mut(&mut frozen.model).calibrate(params);
                }
                let row = self.lags.advance(&frozen.model.plan, end, params.slide, x);
                frozen.step(layout, params, x, &row)
            }
            Phase::Unusable => Assessment::none(NoVerdict::Degenerate, 1.0),
        }
    }

    /// Whether the baseline is frozen.
    pub fn is_frozen(&self) -> bool {
        matches!(self.phase, Phase::Frozen(_))
    }

    /// How many single values were winsorised as outliers while the baseline was learned.
    pub fn winsorised(&self) -> u64 {
        match &self.phase {
            Phase::Learning(learner) => learner.winsorised(),
            Phase::Frozen(frozen) => frozen.model.winsorised,
            Phase::Unusable => 0,
        }
    }

    /// What the frozen baseline expects on average, SI, and the standard deviation about what it expects, for the
    /// channel with this index; `None` before it is frozen and for a channel it left out.
    pub fn level(&self, channel: usize) -> Option<(f64, f64)> {
        let Phase::Frozen(frozen) = &self.phase else { return None };
        frozen.model.channels.iter().find(|c| c.channel == channel).map(|c| (c.mean, c.static_variance.sqrt()))
    }
}

/// The values with everything that is not finite taken as absent, as many as the layout has channels.
fn cleaned<'a>(layout: &Layout, x: &'a [Option<f64>]) -> std::borrow::Cow<'a, [Option<f64>]> {
    if x.len() == layout.channels.len() && x.iter().flatten().all(|v| v.is_finite()) {
        return x.into();
    }
    let mut owned: Vec<_> = x.iter().map(|v| v.filter(|v| v.is_finite())).collect();
    owned.resize(layout.channels.len(), None);
    owned.into()
}

impl Frozen {
    fn new(model: Model) -> Self {
        Self { mewma: Mewma::new(&model), prognosis: Prognosis::new(&model), model: Arc::new(model) }
    }

    fn step(&mut self, layout: &Layout, params: &DetectorParams, x: &[Option<f64>], row: &Row) -> Assessment {
        let model = &*self.model;
        let missing = (0..model.channels.len()).filter(|i| !model.is_ready(*i, row)).count();
        let too_many = missing as f64 > params.max_imputed_share * model.channels.len() as f64;
        let reason = match (row.operating_known, model.regime.holds(&model.plan, row)) {
            (false, _) => Some(NoVerdict::InputsMissing),
            (true, false) => Some(NoVerdict::RegimeUnknown),
            (true, true) => too_many.then_some(NoVerdict::InputsMissing),
        };
        let imputed = (0..model.channels.len()).filter(|i| !model.is_ready(*i, row));
        let imputed = imputed.map(|i| model.channels[i].channel).collect();
        let mut assessment = match reason {
            Some(reason) => {
                self.mewma.rest(params.lambda);
                self.prognosis.rest(model);
                Assessment::none(reason, 1.0)
            }
            None => {
                let innovations = model.innovations(row);
                self.mewma.update(model, params.lambda, row, innovations);
                self.prognosis.update(model, x, row);
                self.judged(params, x, row)
            }
        };
        assessment.health_index = self.prognosis.health_index(&self.model, layout);
        if reason.is_none() {
            assessment.rul = self.prognosis.remaining_life(&self.model, layout, params);
        }
        assessment.imputed = imputed;
        assessment.dropped.clone_from(&self.model.dropped);
        assessment
    }

    fn judged(&self, params: &DetectorParams, x: &[Option<f64>], row: &Row) -> Assessment {
        let model = &*self.model;
        let (score, contributions) = self.mewma.score(model, params.lambda, x, row);
        let verdict = if score > model.threshold { Verdict::Abnormal } else { Verdict::Normal };
        let mut assessment = Assessment::none(NoVerdict::BaselineNotLearned, 1.0);
        assessment.verdict = verdict;
        assessment.reason = None;
        assessment.score = Some(score);
        assessment.threshold = Some(model.threshold);
        assessment.p_value = Some(tail::chi_squared_survival(score, model.channels.len()));
        assessment.contributions = contributions;
        assessment
    }
}
