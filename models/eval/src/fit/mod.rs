//! Central training: lives to failure in, a [`RulModel`] out.
//!
//! The order: regimes -> statistics per regime -> channels that tell of wear -> features and their scale -> networks on
//! all but one fold of units in turn -> trees likewise -> everything that is chosen (weight of the trees, filter) and
//! calibrated (intervals) from what the members say of units they were not trained on. Nothing looks at a test file.

pub(crate) mod channels;
pub(crate) mod ensemble;
mod recipe;
pub(crate) mod regimes;
mod table;
pub mod trees;

use fettle_models::predict::conformal::{Conformal, Residual};
use fettle_models::predict::feature::{Channel, Frozen, Scale, Schema};
use fettle_models::predict::filter::{Filter, FilterParams};
use fettle_models::predict::learned::RulModel;
use serde::Serialize;
use thiserror::Error;

pub use recipe::{BoostRecipe, Recipe};
pub use table::{Table, Weighting};

use crate::life::{Inputs, Life};
use crate::progress::Progress;
use ensemble::HeldOut;

/// Why no model can be trained.
#[derive(Debug, Error)]
pub enum FitError {
    /// Too little to hold units out.
    #[error("{0} lives are too few to train on; at least {1} are needed")]
    TooFewLives(usize, usize),
    /// No channel moves with wear.
    #[error("no channel differs between the beginning and the end of a life by more than noise")]
    NoChannel,
    /// The clustering library failed.
    #[error("k-means over the operating settings: {0}")]
    Regimes(String),
    /// The tree library failed.
    #[error("training of the trees: {0}")]
    Trees(String),
    /// No interval can be calibrated.
    #[error("too few units have held-out predictions to calibrate intervals")]
    Calibration,
}

/// A model and what its training saw.
#[derive(Debug, Clone)]
pub struct Fitted {
    /// The model.
    pub model: RulModel,
    /// Which of the inputs' channels it takes, in order.
    pub picked: Vec<usize>,
    /// Figures of the training.
    pub summary: Summary,
}

/// Figures of one training, for people.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Lives.
    pub lives: usize,
    /// Rows of features.
    pub rows: usize,
    /// Regimes found.
    pub regimes: usize,
    /// Channels taken.
    pub channels: Vec<String>,
    /// Members of the ensemble.
    pub members: usize,
    /// Weights and biases of one member.
    pub parameters: usize,
    /// Epochs of each member.
    pub epochs: Vec<u32>,
    /// Root mean square error on held-out units: networks, trees, both, and after the filter.
    pub held_out_networks: f64,
    /// See [`Self::held_out_networks`].
    pub held_out_trees: Option<f64>,
    /// See [`Self::held_out_networks`].
    pub held_out_both: f64,
    /// See [`Self::held_out_networks`].
    pub held_out_told: f64,
    /// NASA score per unit on held-out units, after the filter.
    pub held_out_score: f64,
    /// Weight of the trees.
    pub tree_weight: f64,
    /// The filter chosen.
    pub filter: FilterParams,
}

/// Steps of progress that a training reports.
pub fn steps(recipe: &Recipe) -> usize {
    ensemble::steps(recipe)
}

/// Trains on lives to failure.
///
/// # Errors
/// What is missing in the lives, or what a library says.
pub fn train(lives: &[Life], inputs: &Inputs, recipe: &Recipe, progress: &Progress) -> Result<Fitted, FitError> {
    let least = recipe.folds.max(10);
    if lives.len() < least {
        return Err(FitError::TooFewLives(lives.len(), least));
    }
    let regimes = regimes::learn(lives)?;
    let picked = channels::pick(lives, &regimes, recipe.channel_threshold);
    if picked.is_empty() {
        return Err(FitError::NoChannel);
    }
    let named = |(name, unit): &(String, String)| Channel { name: name.clone(), unit: unit.clone() };
    let schema = Schema {
        channels: picked.iter().map(|c| named(&inputs.channels[*c])).collect(),
        settings: inputs.settings.iter().map(named).collect(),
        time_unit: inputs.time_unit.clone(),
        step_seconds: inputs.step_seconds,
        time_constants: recipe.time_constants,
        baseline_steps: recipe.baseline_steps,
        baseline_least: recipe.baseline_least.min(recipe.baseline_steps),
        age: recipe.age,
    };
    let regimes = regimes::of_channels(&regimes, &picked);
    let mut table = Table::new(lives, &schema, &regimes, &picked, recipe);
    let scale = Scale::learn(schema.width(), table.features());
    let outside = table.scale(&scale);
    debug_assert_eq!(outside, 0);
    let held = ensemble::train(&table, recipe, progress)?;
    let (tree_weight, both) = combine(&table, &held);
    let (filter, told) = choose_filter(&table, &both, recipe.cap);
    let conformal = calibrate(&table, &told, recipe.cap).ok_or(FitError::Calibration)?;
    let summary = Summary {
        lives: lives.len(),
        rows: table.len(),
        regimes: regimes.centres.len(),
        channels: schema.channels.iter().map(|c| c.name.clone()).collect(),
        members: held.members.len(),
        parameters: held.members.first().map_or(0, |m| m.parameters()),
        epochs: held.epochs.clone(),
        held_out_networks: table.rmse(&held.networks),
        held_out_trees: held.trees.as_ref().map(|t| table.rmse(t)),
        held_out_both: table.rmse(&both),
        held_out_told: table.rmse(&told),
        held_out_score: table.score(&told),
        tree_weight,
        filter,
    };
    let healthy = table.healthy(schema.width());
    let frozen = Frozen { schema, regimes, scale };
    let trees = held.all_trees.filter(|_| tree_weight > 0.0);
    let model = RulModel { frozen, networks: held.members, trees, tree_weight, filter, conformal, healthy };
    Ok(Fitted { model, picked, summary })
}

/// The weight of the trees with the least held-out error, and what both say together.
fn combine(table: &Table, held: &HeldOut) -> (f64, Vec<f64>) {
    let Some(trees) = &held.trees else { return (0.0, held.networks.clone()) };
    let mix = |w: f64| held.networks.iter().zip(trees).map(|(n, t)| (1.0 - w) * n + w * t).collect::<Vec<f64>>();
    let weights = (0..=10).map(|i| f64::from(i) / 10.0);
    let best = weights.min_by(|a, b| table.rmse(&mix(*a)).total_cmp(&table.rmse(&mix(*b)))).unwrap_or(0.0);
    (best, mix(best))
}

/// The filter with the least held-out error, and what it tells.
fn choose_filter(table: &Table, raw: &[f64], cap: f64) -> (FilterParams, Vec<f64>) {
    const GAINS: [f64; 7] = [1.0, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08];
    const SOFT: [f64; 3] = [10.0, 25.0, 40.0];
    // Patience is a promise to people and no matter of error: two units of time.
    let all = GAINS.iter().flat_map(|gain| SOFT.map(|soft| FilterParams { cap, gain: *gain, soft, patience: 2.0 }));
    let tried = all.map(|params| {
        let told = told(table, raw, &params);
        (params, table.rmse(&told), told)
    });
    let best = tried.min_by(|a, b| a.1.total_cmp(&b.1));
    best.map_or((FilterParams { cap, gain: 1.0, soft: 10.0, patience: 2.0 }, raw.to_vec()), |(p, _, told)| (p, told))
}

fn told(table: &Table, raw: &[f64], params: &FilterParams) -> Vec<f64> {
    let mut told = vec![f64::NAN; raw.len()];
    for unit in table.units() {
        let (mut filter, mut last) = (Filter::default(), None);
        for i in unit {
            let time = table.time(i);
            told[i] = filter.step(params, last.map_or(0.0, |last| time - last), raw[i]).value;
            last = Some(time);
        }
    }
    told
}

fn calibrate(table: &Table, told: &[f64], cap: f64) -> Option<Conformal> {
    let residuals: Vec<Residual> = table
        .judged()
        .map(|(i, unit)| Residual { unit, predicted: told[i], truth: table.remaining(i).min(cap) })
        .collect();
    Conformal::calibrate(&residuals, cap)
}
