//! A sum of regression trees in flat form, and the walk through it.
//!
//! Place in the flow: trained centrally by a library, exported to this form, part of a release. No runtime for networks
//! that we use knows trees, and walking them is a dozen lines.
//!
//! R1: children stand after their parent, so every walk ends; checked when trees enter ([`Trees::check`]).

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What stands in [`Node::feature`] of a leaf.
pub const LEAF: u32 = u32::MAX;

/// A split (`x[feature] <= threshold` goes left) or a leaf (`threshold` is its value).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Feature that is compared, or [`LEAF`].
    pub feature: u32,
    /// Index of the left child within `nodes`.
    pub left: u32,
    /// Index of the right child.
    pub right: u32,
    /// Where it splits, or the leaf's value.
    pub threshold: f64,
}

/// base + scale x sum of the trees' values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trees {
    /// Number of features that go in.
    pub inputs: u32,
    /// What is said before any tree speaks.
    pub base: f64,
    /// By how much each tree counts (the learning rate).
    pub scale: f64,
    /// Where each tree begins within `nodes`.
    pub roots: Vec<u32>,
    /// All nodes of all trees.
    pub nodes: Vec<Node>,
}

/// Why trees are none.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum TreesError {
    /// A root or child lies outside the list or not after its parent.
    #[error("tree node {0} leads outside the list or backwards")]
    Broken(usize),
    /// A node compares a feature that is not there.
    #[error("tree node {0} compares a feature that is not there")]
    Feature(usize),
    /// A number is not finite.
    #[error("tree node {0} holds a number that is not finite")]
    NotFinite(usize),
}

impl Trees {
    /// Checks R1, features and numbers.
    ///
    /// # Errors
    /// The first node that breaks a rule.
    pub fn check(&self) -> Result<(), TreesError> {
        let len = self.nodes.len();
        if let Some(root) = self.roots.iter().find(|root| **root as usize >= len) {
            return Err(TreesError::Broken(*root as usize));
        }
        if !self.base.is_finite() || !self.scale.is_finite() {
            return Err(TreesError::NotFinite(0));
        }
        for (i, node) in self.nodes.iter().enumerate() {
            let after = |child: u32| child as usize > i && (child as usize) < len;
            if !node.threshold.is_finite() {
                return Err(TreesError::NotFinite(i));
            }
            if node.feature != LEAF && node.feature >= self.inputs {
                return Err(TreesError::Feature(i));
            }
            if node.feature != LEAF && !(after(node.left) && after(node.right)) {
                return Err(TreesError::Broken(i));
            }
        }
        Ok(())
    }

    /// The trees' value for one row; `NaN` for a row of another width.
    pub fn evaluate(&self, row: &[f32]) -> f64 {
        if row.len() != self.inputs as usize {
            return f64::NAN;
        }
        let mut sum = self.base;
        for root in &self.roots {
            sum += self.scale * self.walk(*root, row);
        }
        sum
    }

    fn walk(&self, root: u32, row: &[f32]) -> f64 {
        let mut node = &self.nodes[root as usize];
        while node.feature != LEAF {
            let left = f64::from(row[node.feature as usize]) <= node.threshold;
            node = &self.nodes[if left { node.left } else { node.right } as usize];
        }
        node.threshold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stump() -> Trees {
        let leaf = |threshold| Node { feature: LEAF, left: 0, right: 0, threshold };
        let nodes = vec![Node { feature: 1, left: 1, right: 2, threshold: 0.5 }, leaf(-1.0), leaf(2.0)];
        Trees { inputs: 2, base: 10.0, scale: 0.1, roots: vec![0, 2], nodes }
    }

    #[test]
    fn a_row_walks_left_at_the_threshold_itself() {
        let trees = stump();
        trees.check().unwrap();
        assert_eq!(trees.evaluate(&[0.0, 0.5]), 10.0 - 0.1 + 0.1 * 2.0);
        assert_eq!(trees.evaluate(&[0.0, 0.75]), 10.0 + 0.1 * 2.0 + 0.1 * 2.0);
        assert!(trees.evaluate(&[0.0]).is_nan());
    }

    #[test]
    fn trees_that_lead_nowhere_or_round_are_refused() {
        let broken = |change: fn(&mut Trees)| {
            let mut trees = stump();
            change(&mut trees);
            trees.check()
        };
        assert_eq!(broken(|t| t.nodes[0].left = 0), Err(TreesError::Broken(0)));
        assert_eq!(broken(|t| t.nodes[0].right = 3), Err(TreesError::Broken(0)));
        assert_eq!(broken(|t| t.roots.push(9)), Err(TreesError::Broken(9)));
        assert_eq!(broken(|t| t.nodes[0].feature = 2), Err(TreesError::Feature(0)));
        assert_eq!(broken(|t| t.nodes[2].threshold = f64::NAN), Err(TreesError::NotFinite(2)));
    }
}
