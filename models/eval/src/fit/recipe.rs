//! What can be chosen about a training. The defaults were chosen by cross-validation over units of train files
//! (docs/prognosis.md says how and with which figures), never by a test file.

use fettle_models::train::Plan;
use serde::{Deserialize, Serialize};

/// Everything a training depends on beside the lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// Time constants of the EWMAs, in steps.
    pub time_constants: [f64; 3],
    /// First steps of a life whose mean is its healthy baseline.
    pub baseline_steps: u32,
    /// Steps after which the mean so far stands for it.
    pub baseline_least: u32,
    /// Whether age is a feature.
    pub age: bool,
    /// Greatest remaining life told apart.
    pub cap: f64,
    /// Least signal of a channel that is taken (`fit/channels.rs`).
    pub channel_threshold: f64,
    /// Hidden layers of a member.
    pub hidden: Vec<usize>,
    /// Folds of units; each is held out once in every repeat.
    pub folds: usize,
    /// Repeats of the folds; folds x repeats is the number of members.
    pub repeats: usize,
    /// How each member is trained; everything random follows from its seed.
    pub training: Plan,
    /// Trees; none: networks alone.
    pub trees: Option<BoostRecipe>,
}

impl Recipe {
    /// Whether a training with it can work.
    ///
    /// # Errors
    /// The first key that cannot be, with its rule.
    pub fn check(&self) -> Result<(), String> {
        let [short, middle, long] = self.time_constants;
        let plan = &self.training;
        let rules = [
            (0.0 < short && short < middle && middle < long && long.is_finite(), "time_constants: ascending, positive"),
            (self.baseline_steps > 0 && self.baseline_least > 0, "baseline_steps, baseline_least: at least 1"),
            (self.cap > 0.0 && self.cap.is_finite(), "cap: positive"),
            (self.hidden.iter().all(|n| (1..=4096).contains(n)), "hidden: layers of 1 to 4096"),
            (self.folds >= 2 && self.repeats >= 1, "folds: at least 2; repeats: at least 1"),
            (self.folds.saturating_mul(self.repeats) <= 256, "folds x repeats: at most 256 members"),
            (plan.batch > 0 && plan.epochs > 0, "training.batch, training.epochs: at least 1"),
            (plan.rate > 0.0 && plan.rate.is_finite(), "training.rate: positive"),
            ((0.0..1.0).contains(&plan.average), "training.average: 0 up to 1"),
            (
                plan.decay >= 0.0 && plan.noise >= 0.0 && plan.proximal >= 0.0,
                "training.decay, .noise, .proximal: not negative",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(format!("recipe: {rule}")),
            None => Ok(()),
        }
    }
}

/// Gradient boosting of regression trees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BoostRecipe {
    /// Trees.
    pub count: usize,
    /// Depth of each.
    pub depth: u16,
    /// Share of each tree's word that counts.
    pub rate: f64,
    /// Share of the rows each tree sees.
    pub share: f64,
    /// Rows in a leaf at least.
    pub leaf: usize,
    /// Shrinkage of leaves.
    pub shrink: f64,
}

impl Default for BoostRecipe {
    fn default() -> Self {
        Self { count: 80, depth: 5, rate: 0.08, share: 0.1, leaf: 20, shrink: 1.0 }
    }
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            time_constants: [3.0, 10.0, 30.0],
            baseline_steps: 30,
            baseline_least: 15,
            age: true,
            cap: 125.0,
            channel_threshold: 5.0,
            hidden: vec![64, 32],
            folds: 5,
            repeats: 1,
            training: Plan::default(),
            trees: None,
        }
    }
}
