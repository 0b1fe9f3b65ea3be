//! Rows to learn from: scaled features and what the network should say.

use serde::{Deserialize, Serialize};

/// Rows of one width with a target each, in one piece of memory.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Samples {
    width: usize,
    rows: Vec<f32>,
    targets: Vec<f32>,
}

impl Samples {
    /// Without rows yet.
    pub fn new(width: usize) -> Self {
        Self { width, rows: Vec::new(), targets: Vec::new() }
    }

    /// Adds a row; one of another width or with a number that is not finite is refused.
    pub fn push(&mut self, row: &[f32], target: f32) -> bool {
        let good = row.len() == self.width && target.is_finite() && row.iter().all(|x| x.is_finite());
        if good {
            self.rows.extend_from_slice(row);
            self.targets.push(target);
        }
        good
    }

    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// One row.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.rows[i * self.width..(i + 1) * self.width]
    }

    /// Its target.
    pub fn target(&self, i: usize) -> f32 {
        self.targets[i]
    }
}
