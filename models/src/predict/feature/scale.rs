//! Scaling of features to zero mean and unit spread, and the bound of the domain in which a model may speak.
//!
//! The bound is on the mean square of the scaled features (a Mahalanobis distance that neglects correlation, which can
//! be summed over sites exactly): half as far again as the farthest training row. Beyond it a network extrapolates.

use serde::{Deserialize, Serialize};

use crate::predict::Reason;

/// Standard deviations at which a scaled feature is cut off: one spike must not swing a network.
const CUT: f64 = 12.0;
/// How much farther than any training row a row may lie.
const BEYOND: f64 = 1.5;

/// Mean and spread of each feature over training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// Means.
    pub mean: Vec<f64>,
    /// Standard deviations; 0 for a feature that never moved.
    pub sd: Vec<f64>,
    /// Greatest mean square of scaled features of a training row.
    pub farthest: f64,
}

impl Scale {
    /// Learned from rows of features.
    pub fn learn<'a>(width: usize, rows: impl Iterator<Item = &'a [f64]> + Clone) -> Self {
        // Welford's update: exact for features with a large offset.
        let (mut n, mut mean, mut m2) = (0.0, vec![0.0; width], vec![0.0; width]);
        for row in rows.clone() {
            n += 1.0;
            for ((x, mean), m2) in row.iter().zip(&mut mean).zip(&mut m2) {
                let before = x - *mean;
                *mean += before / n;
                *m2 += before * (x - *mean);
            }
        }
        let sd = |(m2, mean): (&f64, &f64)| {
            let sd = (m2 / f64::max(n - 1.0, 1.0)).sqrt();
            // Rounding alone is no movement.
            if sd > 1e-9 * mean.abs() { sd } else { 0.0 }
        };
        let sd = m2.iter().zip(&mean).map(sd).collect();
        let mut scale = Self { mean, sd, farthest: 0.0 };
        let mut scaled = vec![0f32; width];
        scale.farthest = rows.map(|row| scale.write(row, &mut scaled)).fold(0.0, f64::max);
        scale
    }

    /// Whether it is made for rows of this width and every number is one.
    pub(crate) fn is_sound(&self, width: usize) -> bool {
        let finite = self.mean.iter().chain(&self.sd).all(|x| x.is_finite()) && self.sd.iter().all(|sd| *sd >= 0.0);
        finite && self.mean.len() == width && self.sd.len() == width && self.farthest >= 0.0
    }

    /// Writes the scaled row.
    ///
    /// # Errors
    /// [`Reason::OutOfDomain`] if the row lies farther out than the model may speak of.
    pub fn apply(&self, row: &[f64], out: &mut [f32]) -> Result<(), Reason> {
        let far = self.write(row, out);
        if far <= BEYOND * self.farthest { Ok(()) } else { Err(Reason::OutOfDomain) }
    }

    /// Writes the scaled row and returns the mean square before the cut.
    fn write(&self, row: &[f64], out: &mut [f32]) -> f64 {
        let mut squares = 0.0;
        for (((x, mean), sd), out) in row.iter().zip(&self.mean).zip(&self.sd).zip(out.iter_mut()) {
            let z = if *sd > 0.0 { (x - mean) / sd } else { 0.0 };
            squares += z * z;
            *out = z.clamp(-CUT, CUT) as f32;
        }
        squares / row.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_scaled_and_those_far_out_are_refused() {
        let rows: Vec<[f64; 2]> = (0..100).map(|i| [1e6 + f64::from(i), 3.0]).collect();
        let scale = Scale::learn(2, rows.iter().map(|r| &r[..]));
        let mut out = [0f32; 2];
        scale.apply(&[1e6 + 49.5, 3.0], &mut out).unwrap();
        assert_eq!(out, [0.0, 0.0]);
        scale.apply(&rows[99], &mut out).unwrap();
        assert!((out[0] - 1.706).abs() < 1e-3, "{out:?}");
        assert_eq!(scale.apply(&[1e6 + 1e3, 3.0], &mut out), Err(Reason::OutOfDomain));
        assert_eq!(scale.apply(&[f64::NAN, 3.0], &mut out), Err(Reason::OutOfDomain));
    }
}
