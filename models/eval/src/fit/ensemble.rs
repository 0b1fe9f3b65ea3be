//! The ensemble: in every repeat units are dealt into folds, and a member is trained for each fold on all others, stopping
//! early by the fold's own error. What is said of a unit by members that never saw it is what everything later is chosen
//! and calibrated by.

use fettle_models::predict::network::Network;
use fettle_models::predict::trees::Trees;
use fettle_models::train::random::Random;
use fettle_models::train::{Plan, Progress as Trained, Samples, Trainer};

use super::table::Table;
use super::{FitError, Recipe, trees};
use crate::progress::Progress;

/// Members, and what was said of units held out, in the data's unit.
pub(super) struct HeldOut {
    pub(super) members: Vec<Network>,
    pub(super) epochs: Vec<u32>,
    pub(super) networks: Vec<f64>,
    pub(super) trees: Option<Vec<f64>>,
    /// Trees trained on all units.
    pub(super) all_trees: Option<Trees>,
}

pub(super) fn train(table: &Table, recipe: &Recipe, progress: &Progress) -> Result<HeldOut, FitError> {
    let mut networks = vec![0.0; table.len()];
    let (mut members, mut epochs) = (Vec::new(), Vec::new());
    for repeat in 0..recipe.repeats {
        for (fold, held) in deal(table.unit_count(), recipe, repeat).iter().enumerate() {
            let seed = Random::of(recipe.training.seed, 1000 + (repeat * recipe.folds + fold) as u64).bits();
            let (network, done) = member(table, recipe, held, seed);
            let rows = held.iter().flat_map(|u| table.unit(*u));
            for i in rows {
                let said = f64::from(network.evaluate(table.row(i))) * recipe.cap;
                networks[i] += said / recipe.repeats as f64;
            }
            members.push(network);
            epochs.push(done);
            progress.step();
        }
    }
    let (mut held_trees, mut all_trees) = (None, None);
    if let Some(boost) = &recipe.trees {
        let mut said = vec![0.0; table.len()];
        for held in deal(table.unit_count(), recipe, 0) {
            let others = (0..table.unit_count()).filter(|u| !held.contains(u));
            let trees = trees::train(table, others, boost, recipe.training.seed)?;
            let rows = held.iter().flat_map(|u| table.unit(*u));
            rows.for_each(|i| said[i] = trees.evaluate(table.row(i)) * recipe.cap);
            progress.step();
        }
        held_trees = Some(said);
        all_trees = Some(trees::train(table, 0..table.unit_count(), boost, recipe.training.seed)?);
        progress.step();
    }
    Ok(HeldOut { members, epochs, networks, trees: held_trees, all_trees })
}

/// Steps that [`train`] reports.
pub(super) fn steps(recipe: &Recipe) -> usize {
    recipe.folds * recipe.repeats + recipe.trees.as_ref().map_or(0, |_| recipe.folds + 1)
}

/// Units dealt into folds.
fn deal(units: usize, recipe: &Recipe, repeat: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..units).collect();
    Random::of(recipe.training.seed, repeat as u64).shuffle(&mut order);
    let mut folds = vec![Vec::new(); recipe.folds];
    order.iter().enumerate().for_each(|(i, unit)| folds[i % recipe.folds].push(*unit));
    folds
}

fn member(table: &Table, recipe: &Recipe, held: &[usize], seed: u64) -> (Network, u32) {
    let plan = Plan { seed, ..recipe.training.clone() };
    let samples = |units: &mut dyn Iterator<Item = usize>| {
        let mut samples = Samples::new(table.width());
        units.flat_map(|u| table.unit(u)).for_each(|i| {
            samples.push(table.row(i), table.target(i) as f32);
        });
        samples
    };
    let train = samples(&mut (0..table.unit_count()).filter(|u| !held.contains(u)));
    let kept = samples(&mut held.iter().copied());
    let mut trainer = Trainer::fresh(table.width(), &recipe.hidden, plan);
    while trainer.advance(&train, &kept) != Trained::Done {}
    let epochs = trainer.epochs();
    (trainer.into_best(), epochs)
}
