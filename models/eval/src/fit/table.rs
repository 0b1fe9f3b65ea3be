//! The rows of a training: features and truth of every step of every life, and how an error over them is weighed.
//!
//! The figures that choose anything imitate the test protocol, in which a life is cut once, somewhere before its failure,
//! and counts once: each unit weighs 1, shared among the rows at which it could have been cut ([`Weighting`]).

use std::ops::Range;

use fettle_models::predict::feature::{FeatureState, Regimes, Scale, Schema};
use fettle_models::predict::metrics::nasa_penalty;

use super::Recipe;
use crate::life::Life;

/// Rows at which a life could have been cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weighting {
    /// Steps seen before at least.
    pub steps: usize,
    /// Remaining life at least.
    pub least: f64,
    /// Remaining life at most.
    pub most: f64,
}

impl Default for Weighting {
    fn default() -> Self {
        Self { steps: 30, least: 6.0, most: 145.0 }
    }
}

#[derive(Debug, Clone)]
struct Row {
    time: f64,
    remaining: f64,
    judged: bool,
}

/// All rows of features, unit by unit.
#[derive(Debug, Clone)]
pub struct Table {
    width: usize,
    features: Vec<f64>,
    scaled: Vec<f32>,
    rows: Vec<Row>,
    units: Vec<Range<usize>>,
    cap: f64,
}

impl Table {
    /// The features of every step that has some, by the very code that runs at inference.
    pub(crate) fn new(lives: &[Life], schema: &Schema, regimes: &Regimes, picked: &[usize], recipe: &Recipe) -> Self {
        let width = schema.width();
        let weighting = Weighting::default();
        let (mut features, mut rows, mut units) = (Vec::new(), Vec::new(), Vec::new());
        let mut row = vec![0.0; width];
        for life in lives {
            let (begin, mut state) = (rows.len(), FeatureState::new(schema, None));
            for (seen, step) in life.steps.iter().enumerate() {
                let values: Vec<Option<f64>> = picked.iter().map(|c| step.values[*c]).collect();
                if state.step(schema, regimes, step.time, &step.settings, &values, &mut row).is_ok() {
                    features.extend_from_slice(&row);
                    let remaining = life.end() - step.time;
                    let within = (weighting.least..=weighting.most).contains(&remaining);
                    rows.push(Row { time: step.time, remaining, judged: within && seen + 1 >= weighting.steps });
                }
            }
            units.push(begin..rows.len());
        }
        Self { width, features, scaled: Vec::new(), rows, units, cap: recipe.cap }
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn features(&self) -> impl Iterator<Item = &[f64]> + Clone {
        self.features.chunks_exact(self.width)
    }

    /// Scales all rows; the unscaled ones are no longer needed. Returns how many lie outside the domain: none of those
    /// the scale was learned from.
    pub(crate) fn scale(&mut self, scale: &Scale) -> usize {
        let mut scaled = vec![0f32; self.features.len()];
        let rows = self.features.chunks_exact(self.width).zip(scaled.chunks_exact_mut(self.width));
        let outside = rows.map(|(row, out)| scale.apply(row, out)).filter(Result::is_err).count();
        (self.scaled, self.features) = (scaled, Vec::new());
        outside
    }

    /// The scaled features of a row.
    pub(crate) fn row(&self, i: usize) -> &[f32] {
        &self.scaled[i * self.width..(i + 1) * self.width]
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// What a network should say of a row: remaining life, capped, in shares of the cap.
    pub(crate) fn target(&self, i: usize) -> f64 {
        self.rows[i].remaining.min(self.cap) / self.cap
    }

    pub(crate) fn time(&self, i: usize) -> f64 {
        self.rows[i].time
    }

    pub(crate) fn remaining(&self, i: usize) -> f64 {
        self.rows[i].remaining
    }

    /// The rows of each unit.
    pub(crate) fn units(&self) -> impl Iterator<Item = Range<usize>> {
        self.units.iter().cloned()
    }

    pub(crate) fn unit(&self, unit: usize) -> Range<usize> {
        self.units[unit].clone()
    }

    pub(crate) fn unit_count(&self) -> usize {
        self.units.len()
    }

    /// Rows at which a life could have been cut, and their unit.
    pub(crate) fn judged(&self) -> impl Iterator<Item = (usize, usize)> {
        let all = self.units.iter().enumerate().flat_map(|(u, range)| range.clone().map(move |i| (i, u)));
        all.filter(|(i, _)| self.rows[*i].judged)
    }

    /// Root of the mean over units of the mean square error over a unit's judged rows; `said` in the data's unit.
    pub(crate) fn rmse(&self, said: &[f64]) -> f64 {
        self.mean(|i| (said[i].clamp(0.0, self.cap) - self.rows[i].remaining.min(self.cap)).powi(2)).sqrt()
    }

    /// Mean over units of the mean NASA penalty over a unit's judged rows.
    pub(crate) fn score(&self, said: &[f64]) -> f64 {
        self.mean(|i| nasa_penalty(said[i].clamp(0.0, self.cap), self.rows[i].remaining.min(self.cap)))
    }

    fn mean(&self, error: impl Fn(usize) -> f64) -> f64 {
        let (mut sum, mut units) = (0.0, 0.0);
        for range in &self.units {
            let judged: Vec<f64> = range.clone().filter(|i| self.rows[*i].judged).map(&error).collect();
            if !judged.is_empty() {
                sum += judged.iter().sum::<f64>() / judged.len() as f64;
                units += 1.0;
            }
        }
        sum / units
    }

    /// Mean scaled features of rows whose remaining life is beyond the cap.
    pub(crate) fn healthy(&self, width: usize) -> Vec<f32> {
        let (mut sum, mut n) = (vec![0f64; width], 0.0);
        for i in (0..self.rows.len()).filter(|i| self.rows[*i].remaining >= self.cap) {
            sum.iter_mut().zip(self.row(i)).for_each(|(sum, x)| *sum += f64::from(*x));
            n += 1.0;
        }
        sum.iter().map(|s| (s / f64::max(n, 1.0)) as f32).collect()
    }
}
