//! A learned prognosis: features, ensemble, filter and intervals composed into one step per asset.
//!
//! Place in the flow: values of one step -> [`RulState::step`] -> [`Prediction`]. [`RulModel`] is what training made and
//! a release carries; [`RulState`] is what an agent keeps of an asset and snapshots. Training, evaluation and the agent
//! run this code and no other.
//!
//! P3: a prediction is an interval that holds its P50, or the reason why there is none.
//! P4: a P50 that falls faster than time passes comes with evidence: the channels that moved it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Reason;
use super::conformal::{Bounds, Conformal};
use super::feature::{FeatureState, Frozen, PER_CHANNEL};
use super::filter::{Filter, FilterParams};
use super::network::{Network, NetworkError};
use super::score::Scorer;
use super::trees::{Trees, TreesError};

/// How remaining life was found by networks alone, and by networks and trees together.
pub const METHOD_NETWORK: &str = "network_ensemble";
/// See [`METHOD_NETWORK`].
pub const METHOD_COMBINED: &str = "network_and_tree_ensemble";
/// Channels shown as evidence.
const SHOWN: usize = 3;

/// What training made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RulModel {
    /// Schema, regimes and scaling.
    pub frozen: Frozen,
    /// The ensemble's members; their mean speaks, in shares of the cap.
    pub networks: Vec<Network>,
    /// Trees beside them, in shares of the cap.
    pub trees: Option<Trees>,
    /// How much the trees count: raw = (1 - weight) networks + weight trees.
    pub tree_weight: f64,
    /// From raw values to one that may be told; holds the cap.
    pub filter: FilterParams,
    /// Intervals.
    pub conformal: Conformal,
    /// Scaled features of a healthy unit: what a channel is replaced by to see how much it moves the prediction.
    pub healthy: Vec<f32>,
}

/// Why a model is none.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ModelError {
    /// One of the networks.
    #[error("member {0}: {1}")]
    Network(usize, NetworkError),
    /// The trees.
    #[error(transparent)]
    Trees(#[from] TreesError),
    /// Numbers that no training leaves behind, or parts of another size than the schema asks for.
    #[error("{0}")]
    Unsound(&'static str),
    /// Parts of different width.
    #[error("{what} takes {found} features, the schema gives {wanted}")]
    Width {
        /// Which part.
        what: &'static str,
        /// What it takes.
        found: usize,
        /// What there is.
        wanted: usize,
    },
}

/// What is known of an asset's life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RulState {
    features: FeatureState,
    filter: Filter,
    /// When a prediction was last made.
    last: Option<f64>,
}

/// How much a channel moves a prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// The channel's name, or `age`.
    pub channel: String,
    /// Raw prediction minus what it would be were this channel like a healthy unit's; negative: it shortens the life.
    pub moves: f64,
}

/// An estimate of remaining life, in the schema's unit of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// The median that is told.
    pub p50: f64,
    /// P10, P90 and the shortest interval of 90 %.
    pub bounds: Bounds,
    /// What the ensemble said at this step, before the filter.
    pub raw: f64,
    /// The scaled features it said it of.
    pub row: Vec<f32>,
    /// Strongest first; empty unless the P50 falls faster than time passes.
    pub evidence: Vec<Contribution>,
}

/// What is said at a step: an interval, or why there is none (P3).
pub type Prediction = Result<Estimate, Reason>;

impl RulModel {
    /// Whether the parts fit together.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self) -> Result<(), ModelError> {
        let Frozen { schema, regimes, scale } = &self.frozen;
        schema.check().map_err(ModelError::Unsound)?;
        let wanted = schema.width();
        let rules = [
            (!self.networks.is_empty(), "there is no network"),
            (regimes.is_sound(schema.settings.len(), schema.channels.len()), "the regimes do not fit the schema"),
            (self.filter.is_sound(), "the filter's constants are out of range"),
            (self.conformal.is_sound(self.filter.cap), "the intervals do not belong to this cap"),
            ((0.0..=1.0).contains(&self.tree_weight), "the trees' weight is not between 0 and 1"),
            (self.healthy.iter().all(|x| x.is_finite()), "the healthy reference holds a number that is not finite"),
        ];
        if let Some((_, rule)) = rules.iter().find(|(holds, _)| !holds) {
            return Err(ModelError::Unsound(rule));
        }
        for (i, network) in self.networks.iter().enumerate() {
            network.check().map_err(|e| ModelError::Network(i, e))?;
        }
        if let Some(trees) = &self.trees {
            trees.check()?;
        }
        let networks = self.networks.iter().map(|n| ("a network", n.inputs()));
        let trees = self.trees.iter().map(|t| ("the tree ensemble", t.inputs as usize));
        let rest = [("the healthy reference", self.healthy.len()), ("the scaling", self.frozen.scale.mean.len())];
        match networks.chain(trees).chain(rest).find(|(_, found)| *found != wanted) {
            Some((what, found)) => Err(ModelError::Width { what, found, wanted }),
            None if scale.is_sound(wanted) => Ok(()),
            None => Err(ModelError::Unsound("the scaling does not fit the schema")),
        }
    }

    /// How its predictions are found.
    pub fn method(&self) -> &'static str {
        if self.trees.is_some() && self.tree_weight > 0.0 { METHOD_COMBINED } else { METHOD_NETWORK }
    }

    /// The ensemble's word on one row of scaled features.
    ///
    /// # Errors
    /// [`Reason::NotFinite`] if the scorer fails or its number is not finite.
    pub fn raw(&self, scorer: &mut dyn Scorer, row: &[f32]) -> Result<f64, Reason> {
        let network = scorer.score(row).map_err(|_| Reason::NotFinite)?;
        let mut share = f64::from(network);
        if let Some(trees) = &self.trees {
            share += self.tree_weight * (trees.evaluate(row) - share);
        }
        let raw = share * self.filter.cap;
        if raw.is_finite() { Ok(raw) } else { Err(Reason::NotFinite) }
    }

    /// How much each channel moves the raw prediction for a row, strongest first: each is replaced by a healthy unit's
    /// (occlusion). Costs a score for each channel.
    ///
    /// # Errors
    /// As [`Self::raw`].
    pub fn contributions(&self, scorer: &mut dyn Scorer, row: &[f32]) -> Result<Vec<Contribution>, Reason> {
        let raw = self.raw(scorer, row)?;
        let schema = &self.frozen.schema;
        let channels = schema.channels.iter().map(|c| c.name.clone()).chain(schema.age.then(|| "age".into()));
        let mut all = Vec::new();
        for (i, channel) in channels.enumerate() {
            let range = PER_CHANNEL * i..(PER_CHANNEL * (i + 1)).min(row.len());
            let mut without = row.to_vec();
            without[range.clone()].copy_from_slice(&self.healthy[range]);
            all.push(Contribution { channel, moves: raw - self.raw(scorer, &without)? });
        }
        all.sort_by(|a, b| b.moves.abs().total_cmp(&a.moves.abs()));
        Ok(all)
    }
}

impl RulState {
    /// A life that begins; `began` as for [`FeatureState::new`].
    pub fn new(model: &RulModel, began: Option<f64>) -> Self {
        Self { features: FeatureState::new(&model.frozen.schema, began), filter: Filter::default(), last: None }
    }

    /// One step. `settings` and `values` stand in the schema's order.
    ///
    /// # Errors
    /// Why nothing can be said at this step.
    pub fn step(
        &mut self,
        model: &RulModel,
        scorer: &mut dyn Scorer,
        time: f64,
        settings: &[Option<f64>],
        values: &[Option<f64>],
    ) -> Prediction {
        let Frozen { schema, regimes, scale } = &model.frozen;
        let mut features = vec![0.0; schema.width()];
        self.features.step(schema, regimes, time, settings, values, &mut features)?;
        let mut row = vec![0f32; features.len()];
        scale.apply(&features, &mut row)?;
        let raw = model.raw(scorer, &row)?;
        let elapsed = self.last.map_or(0.0, |last| time - last);
        self.last = Some(time);
        let told = self.filter.step(&model.filter, elapsed, raw);
        let mut evidence = if told.evidence_due { model.contributions(scorer, &row)? } else { Vec::new() };
        evidence.truncate(SHOWN);
        Ok(Estimate { p50: told.value, bounds: model.conformal.bounds(told.value), raw, row, evidence })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::conformal::Residual;
    use crate::predict::feature::{Channel, Regimes, Scale, Schema};
    use crate::predict::network::Layer;
    use crate::predict::score::Reference;

    /// Remaining life falls by a tenth of the cap for each unit of the first channel's short average.
    fn model() -> RulModel {
        let channel = |name: &str| Channel { name: name.into(), unit: "K".into() };
        let schema = Schema {
            channels: vec![channel("wear"), channel("noise")],
            settings: vec![],
            time_unit: "h".into(),
            step_seconds: 0.0,
            time_constants: [1e-3, 8.0, 32.0],
            baseline_steps: 2,
            baseline_least: 2,
            age: false,
        };
        let regimes = Regimes {
            setting_mean: vec![],
            setting_sd: vec![],
            centres: vec![vec![]],
            reach: vec![0.0],
            mean: vec![vec![0.0; 2]],
            sd: vec![vec![1.0; 2]],
        };
        let scale = Scale { mean: vec![0.0; 12], sd: vec![1.0; 12], farthest: 40.0 };
        let mut weights = vec![0f32; 12];
        weights[0] = -0.1;
        let residual = |unit| Residual { unit, predicted: 50.0 + unit as f64, truth: 45.0 + 1.5 * unit as f64 };
        RulModel {
            frozen: Frozen { schema, regimes, scale },
            networks: vec![Network { layers: vec![Layer { inputs: 12, outputs: 1, weights, biases: vec![1.0] }] }],
            trees: None,
            tree_weight: 0.0,
            filter: FilterParams { cap: 100.0, gain: 0.5, soft: 10.0, patience: 2.0 },
            conformal: Conformal::calibrate(&(0..20).map(residual).collect::<Vec<_>>(), 100.0).unwrap(),
            healthy: vec![0.0; 12],
        }
    }

    #[test]
    fn a_sudden_fall_is_told_with_the_channel_that_moved_it() {
        let model = model();
        model.check().unwrap();
        let mut state = RulState::new(&model, None);
        let mut step = |t: i32, wear: f64| {
            let mut scorer = Reference(&model.networks);
            state.step(&model, &mut scorer, f64::from(t), &[], &[Some(wear), Some(0.5)])
        };
        assert_eq!(step(0, 0.0), Err(Reason::BaselineNotLearned));
        let Ok(calm) = step(1, 0.0) else { panic!("no interval") };
        assert!((calm.p50 - 100.0).abs() < 1e-6 && calm.evidence.is_empty(), "{calm:?}");
        let Ok(fallen) = step(2, 6.0) else { panic!("no interval") };
        assert!((fallen.raw - 40.0).abs() < 1e-5 && (fallen.p50 - 70.0).abs() < 1e-5, "{fallen:?}");
        assert_eq!(fallen.evidence[0].channel, "wear");
        assert!((fallen.evidence[0].moves + 60.0).abs() < 1e-5);
        let Bounds { p10, p90, low, high } = fallen.bounds;
        assert!(p10 <= fallen.p50 && fallen.p50 <= p90 && low <= fallen.p50 && fallen.p50 <= high);
        assert_eq!(step(2, 6.0), Err(Reason::NotInOrder));
        assert_eq!(step(3, 1e6), Err(Reason::OutOfDomain));
    }

    #[test]
    fn a_state_saved_and_loaded_says_the_same() {
        let model = model();
        let mut one = RulState::new(&model, None);
        let mut scorer = Reference(&model.networks);
        for t in 0..10 {
            let said = one.step(&model, &mut scorer, f64::from(t), &[], &[Some(f64::from(t) / 7.0), Some(0.0)]);
            assert_eq!(said.is_ok(), t > 0, "{said:?}");
        }
        let mut two: RulState = serde_cbor::from_slice(&serde_cbor::to_vec(&one).unwrap()).unwrap();
        let values = [Some(2.0), Some(0.1)];
        let [a, b] = [&mut one, &mut two].map(|s| s.step(&model, &mut scorer, 10.0, &[], &values));
        assert_eq!(a, b);
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let mut model = model();
        model.healthy.pop();
        assert_eq!(model.check(), Err(ModelError::Width { what: "the healthy reference", found: 11, wanted: 12 }));
    }
}
