//! Prognosis: where each channel's regime-corrected level is, where it goes, and when it reaches its limit.
//!
//! Place in the flow: fed by `detect` once the baseline is frozen; gives the health index and the remaining useful life.
//! The level of a channel is its value minus what the static regression adds for speed and load, so a machine that is
//! merely run harder does not age.
//!
//! *Limit*: the channel's own from the registry, on whichever side of the baseline mean it lies. If no channel that
//! takes part has one: 12 standard deviations (of the static residual) from the baseline mean, on either side; the
//! method's name then says so, for that is a statement about unusualness, not about strength.
//!
//! *Health index*: the smallest over channels of 1 - (level - mean) / (limit - mean), within 0..1, of a level smoothed
//! over about an hour of one-minute slides.
//!
//! P1: a remaining life is told only of a trend that is identifiable (`degradation`) and leads to a limit.
//!
//! Where labelled failures exist, a learned prognosis speaks instead ([`learned`]): features, an ensemble of networks and
//! trees, a filter and conformal intervals, each in its own file here. The prediction says which method spoke.

pub mod conformal;
mod degradation;
pub mod feature;
pub mod filter;
mod law;
pub mod learned;
pub mod metrics;
pub mod network;
pub mod onnx;
mod passage;
mod reason;
pub mod score;
pub mod tracker;
#[cfg(feature = "onnx")]
pub mod tract;
pub mod trees;

pub use reason::Reason;

use fettle_wire::{Rul, time::SECOND};
use serde::{Deserialize, Serialize};

use crate::detect::feature::Row;
use crate::detect::model::{ChannelModel, Model};
use crate::detect::{DetectorParams, Layout};
use degradation::Degradation;
use passage::{Passage, passage, quantiles};

/// How remaining life was found, with limits from the registry: a level with a rate, and once there is damage the laws by
/// which it grows.
pub const METHODS: [&str; 2] = ["level_rate_first_passage", "damage_law_first_passage"];
/// The same with the limit taken from the baseline's spread.
pub const METHODS_WITHOUT_LIMIT: [&str; 2] =
    ["level_rate_first_passage_limit_12_sigma", "damage_law_first_passage_limit_12_sigma"];
/// Standard deviations from the baseline mean that stand for a limit where there is none.
const DEFAULT_LIMIT: f64 = 12.0;

/// The trends of a model's channels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Prognosis {
    channels: Vec<Degradation>,
}

impl Prognosis {
    pub(crate) fn new(model: &Model) -> Self {
        let fresh = |c: &ChannelModel| Degradation::new(c.mean, c.long_run_variance);
        Self { channels: model.channels.iter().map(fresh).collect() }
    }

    /// One slide in a known regime; a channel without a value only moves on.
    pub(crate) fn update(&mut self, model: &Model, x: &[Option<f64>], row: &Row) {
        for (i, (trend, c)) in self.channels.iter_mut().zip(&model.channels).enumerate() {
            let level = x[c.channel].map(|x| x - model.regime_effect(i, row)).filter(|level| level.is_finite());
            trend.step(level, c.mean, c.long_run_variance);
        }
    }

    /// A slide that tells nothing.
    pub(crate) fn rest(&mut self, model: &Model) {
        for (trend, c) in self.channels.iter_mut().zip(&model.channels) {
            trend.step(None, c.mean, c.long_run_variance);
        }
    }

    /// 1 healthy .. 0 at the limit.
    pub(crate) fn health_index(&self, model: &Model, layout: &Layout) -> Option<f64> {
        let limits = Limits::new(model, layout);
        let indices = self.channels.iter().zip(&model.channels).flat_map(|(trend, c)| {
            let used = move |limit: f64| (trend.smoothed() - c.mean) / (limit - c.mean);
            limits.of(c).map(move |limit| (1.0 - used(limit)).clamp(0.0, 1.0))
        });
        indices.min_by(f64::total_cmp)
    }

    /// The earliest passage over channels, or why there is none.
    pub(crate) fn remaining_life(&self, model: &Model, layout: &Layout, params: &DetectorParams) -> Rul {
        let limits = Limits::new(model, layout);
        let seconds = params.slide as f64 / SECOND as f64;
        let horizon = params.rul_horizon as f64 / params.slide as f64;
        let mut none = Reason::TrendNotIdentifiable;
        let mut first: Option<(Passage, usize, bool)> = None;
        for (trend, c) in self.channels.iter().zip(&model.channels) {
            for limit in limits.of(c) {
                let Some(estimate) = trend.towards(limit, c.mean) else { continue };
                let laws = trend.laws(limit, c.mean);
                let found = match laws {
                    Some(laws) => quantiles(&laws.passed(limit, c.mean), horizon),
                    None => passage(&estimate, limit, c.mean, horizon),
                };
                match found {
                    None => none = Reason::BeyondHorizon,
                    Some(found) if first.as_ref().is_none_or(|(f, ..)| found.p50 < f.p50) => {
                        first = Some((found, c.channel, laws.is_some()));
                    }
                    Some(_) => {}
                }
            }
        }
        match first {
            None => Rul::None { reason: none.as_str().into() },
            Some((found, channel, by_laws)) => Rul::Interval {
                p10: found.p10 * seconds,
                p50: found.p50 * seconds,
                p90: found.p90.map(|p| p * seconds),
                method: (if limits.own { METHODS } else { METHODS_WITHOUT_LIMIT })[usize::from(by_laws)].into(),
                channel: layout.channels[channel].0.clone(),
            },
        }
    }
}

/// The limits of a model's channels.
struct Limits<'a> {
    layout: &'a Layout,
    /// Whether any channel that takes part has its own.
    own: bool,
}

impl<'a> Limits<'a> {
    fn new(model: &Model, layout: &'a Layout) -> Self {
        Self { layout, own: model.channels.iter().any(|c| own_limit(layout, c).is_some()) }
    }

    fn of(&self, c: &ChannelModel) -> impl Iterator<Item = f64> + use<> {
        let spread = DEFAULT_LIMIT * c.static_variance.sqrt();
        let default = (!self.own).then_some([c.mean - spread, c.mean + spread]);
        own_limit(self.layout, c).into_iter().chain(default.into_iter().flatten())
    }
}

/// The channel's limit from the registry; one that the baseline mean itself sits on separates nothing.
fn own_limit(layout: &Layout, c: &ChannelModel) -> Option<f64> {
    layout.channels.get(c.channel).and_then(|l| l.3).filter(|limit| *limit != c.mean)
}
