//! Gradient boosting by smartcore, exported to our flat form.
//!
//! smartcore keeps a tree's nodes private but serialises them, so the export reads its serialised form: nested nodes with
//! `left`, `right`, `value`, `threshold`, `split_feature_idx`. A test compares both predictions.

use fettle_models::predict::trees::{LEAF, Node, Trees};
use serde::Deserialize;
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::xgboost::xgb_regressor::{XGRegressor, XGRegressorParameters};

use super::table::Table;
use super::{BoostRecipe, FitError};

/// smartcore's model over our numbers.
pub type Boosted = XGRegressor<f64, f64, DenseMatrix<f64>, Vec<f64>>;

#[derive(Deserialize)]
struct SavedModel {
    regressors: Option<Vec<SavedNode>>,
    parameters: Option<XGRegressorParameters>,
}

#[derive(Deserialize)]
struct SavedNode {
    left: Option<Box<SavedNode>>,
    right: Option<Box<SavedNode>>,
    value: f64,
    threshold: f64,
    split_feature_idx: usize,
}

/// Boosted trees for the rows of some units.
pub(super) fn train(
    table: &Table,
    units: impl Iterator<Item = usize>,
    recipe: &BoostRecipe,
    seed: u64,
) -> Result<Trees, FitError> {
    let rows: Vec<usize> = units.flat_map(|u| table.unit(u)).collect();
    let targets: Vec<f64> = rows.iter().map(|i| table.target(*i)).collect();
    let features = rows.iter().flat_map(|i| table.row(*i)).map(|x| f64::from(*x));
    let matrix = DenseMatrix::new(rows.len(), table.width(), features.collect(), false);
    let matrix = matrix.map_err(|e| FitError::Trees(e.to_string()))?;
    export(&boost(&matrix, &targets, recipe, seed)?, table.width())
}

/// smartcore's own training.
///
/// # Errors
/// What smartcore says.
pub fn boost(x: &DenseMatrix<f64>, y: &Vec<f64>, recipe: &BoostRecipe, seed: u64) -> Result<Boosted, FitError> {
    let parameters = XGRegressorParameters::default()
        .with_n_estimators(recipe.count)
        .with_max_depth(recipe.depth)
        .with_learning_rate(recipe.rate)
        .with_subsample(recipe.share)
        .with_min_child_weight(recipe.leaf)
        .with_lambda(recipe.shrink)
        .with_base_score(y.iter().sum::<f64>() / y.len().max(1) as f64)
        .with_seed(seed);
    XGRegressor::fit(x, y, parameters).map_err(|e| FitError::Trees(e.to_string()))
}

/// smartcore's model in our flat form.
///
/// # Errors
/// If a newer smartcore serialises something else.
pub fn export(model: &Boosted, inputs: usize) -> Result<Trees, FitError> {
    let failed = |e: &dyn std::fmt::Display| FitError::Trees(format!("export: {e}"));
    let saved = serde_json::to_value(model).map_err(|e| failed(&e))?;
    let saved: SavedModel = serde_json::from_value(saved).map_err(|e| failed(&e))?;
    let (Some(regressors), Some(parameters)) = (saved.regressors, saved.parameters) else {
        return Err(failed(&"the model was not fitted"));
    };
    let inputs = u32::try_from(inputs).map_err(|e| failed(&e))?;
    let (base, scale) = (parameters.base_score, parameters.learning_rate);
    let mut trees = Trees { inputs, base, scale, roots: Vec::new(), nodes: Vec::new() };
    for tree in &regressors {
        trees.roots.push(trees.nodes.len() as u32);
        flatten(tree, &mut trees.nodes);
    }
    trees.check().map_err(|e| failed(&e))?;
    Ok(trees)
}

fn flatten(saved: &SavedNode, nodes: &mut Vec<Node>) {
    let place = nodes.len();
    nodes.push(Node { feature: LEAF, left: 0, right: 0, threshold: saved.value });
    if let (Some(left), Some(right)) = (&saved.left, &saved.right) {
        let left_place = nodes.len() as u32;
        flatten(left, nodes);
        let right_place = nodes.len() as u32;
        flatten(right, nodes);
        let feature = saved.split_feature_idx as u32;
        nodes[place] = Node { feature, left: left_place, right: right_place, threshold: saved.threshold };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fettle_models::train::random::Random;

    #[test]
    fn our_walk_says_what_smartcore_says() {
        let (rows, width) = (600, 7);
        let mut random = Random::new(2);
        // Numbers that f32 holds exactly, for that is what a row of features is.
        let x: Vec<f64> = (0..rows * width).map(|_| f64::from(random.normal() as f32)).collect();
        let y: Vec<f64> = x.chunks(width).map(|r| r[0] * r[1] + r[2].abs() + 0.1 * random.normal()).collect();
        let matrix = DenseMatrix::new(rows, width, x.clone(), false).unwrap();
        let recipe = BoostRecipe { share: 0.5, leaf: 3, ..BoostRecipe::default() };
        let model = boost(&matrix, &y, &recipe, 3).unwrap();
        let trees = export(&model, width).unwrap();
        let theirs = model.predict(&matrix).unwrap();
        assert_eq!(trees.roots.len(), recipe.count);
        for (row, theirs) in x.chunks(width).zip(&theirs) {
            let row: Vec<f32> = row.iter().map(|x| *x as f32).collect();
            assert!((trees.evaluate(&row) - theirs).abs() <= 1e-9, "{} {theirs}", trees.evaluate(&row));
        }
        let spread = theirs.iter().fold(f64::MIN, |a, b| a.max(*b)) - theirs.iter().fold(f64::MAX, |a, b| a.min(*b));
        assert!(spread > 1.0, "the trees say something: {spread}");
    }
}
