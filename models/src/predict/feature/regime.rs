//! Regimes of a learned prognosis: operating states in which a channel's values are comparable, learned at training.
//!
//! A step belongs to the nearest centre in settings scaled to unit spread. A step farther from it than training ever was
//! (with a margin) belongs to none: extrapolating a mean into an operating state nobody has seen is worse than silence.
//! Source of the idea: operating condition normalisation, e.g. Peel (2008), "Data driven prognostics using a Kalman
//! filter ensemble of neural network models".

use serde::{Deserialize, Serialize};

use crate::predict::Reason;

/// How much farther than any training step a step may lie from its centre.
const REACH: f64 = 3.0;
/// Or this share of the distance between the two nearest centres, for regimes that training saw very tight.
const BETWEEN: f64 = 0.1;

/// Centres and, per regime and channel, mean and spread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Regimes {
    /// Mean of each setting over training.
    pub setting_mean: Vec<f64>,
    /// Its standard deviation; 0 for one that never moved, which then tells nothing.
    pub setting_sd: Vec<f64>,
    /// Centres in scaled settings; at least one.
    pub centres: Vec<Vec<f64>>,
    /// Greatest distance of a training step from its centre, per regime.
    pub reach: Vec<f64>,
    /// Mean of each channel, per regime.
    pub mean: Vec<Vec<f64>>,
    /// Standard deviation of each channel, per regime; 0 where it never moved.
    pub sd: Vec<Vec<f64>>,
}

impl Regimes {
    /// Whether all parts have the size that so many settings and channels need, and every number is one.
    pub(crate) fn is_sound(&self, settings: usize, channels: usize) -> bool {
        let finite = |x: &[f64]| x.iter().all(|x| x.is_finite());
        let spread = |x: &[f64]| finite(x) && x.iter().all(|x| *x >= 0.0);
        let all = |rows: &[Vec<f64>], width: usize, rule: &dyn Fn(&[f64]) -> bool| {
            rows.len() == self.centres.len() && rows.iter().all(|row| row.len() == width && rule(row))
        };
        !self.centres.is_empty()
            && (self.setting_mean.len(), self.setting_sd.len()) == (settings, settings)
            && finite(&self.setting_mean)
            && spread(&self.setting_sd)
            && self.reach.len() == self.centres.len()
            && spread(&self.reach)
            && all(&self.centres, settings, &finite)
            && all(&self.mean, channels, &finite)
            && all(&self.sd, channels, &spread)
    }

    /// The regime of these settings.
    ///
    /// # Errors
    /// [`Reason::InputsMissing`] if a setting that matters is absent, [`Reason::RegimeUnknown`] if none is near.
    pub fn of(&self, settings: &[Option<f64>]) -> Result<usize, Reason> {
        let scaled: Vec<f64> = self.scaled(settings)?;
        let (regime, distance) = self.nearest(&scaled).ok_or(Reason::RegimeUnknown)?;
        let allowed = (REACH * self.reach[regime]).max(BETWEEN * self.separation(regime));
        // One regime of settings that never moved: nothing to be far from.
        if self.centres.len() == 1 && self.setting_sd.iter().all(|sd| *sd == 0.0) || distance <= allowed {
            return Ok(regime);
        }
        Err(Reason::RegimeUnknown)
    }

    /// Settings in units of their spread over training.
    ///
    /// # Errors
    /// [`Reason::InputsMissing`] if one that moved in training is absent.
    pub fn scaled(&self, settings: &[Option<f64>]) -> Result<Vec<f64>, Reason> {
        let scale = |((x, mean), sd): ((&Option<f64>, &f64), &f64)| match x.filter(|x| x.is_finite()) {
            _ if *sd == 0.0 => Ok(0.0),
            Some(x) => Ok((x - mean) / sd),
            None => Err(Reason::InputsMissing),
        };
        settings.iter().zip(&self.setting_mean).zip(&self.setting_sd).map(scale).collect()
    }

    /// The nearest centre to scaled settings, and its distance.
    pub fn nearest(&self, scaled: &[f64]) -> Option<(usize, f64)> {
        let distances = self.centres.iter().map(|centre| distance(centre, scaled)).enumerate();
        distances.min_by(|a, b| a.1.total_cmp(&b.1))
    }

    fn separation(&self, regime: usize) -> f64 {
        let others = self.centres.iter().enumerate().filter(|(i, _)| *i != regime);
        let distances = others.map(|(_, centre)| distance(centre, &self.centres[regime]));
        distances.min_by(f64::total_cmp).unwrap_or(0.0)
    }

    /// A channel's value in standard deviations from its mean in that regime.
    pub fn normalise(&self, regime: usize, channel: usize, value: f64) -> f64 {
        let sd = self.sd[regime][channel];
        if sd > 0.0 { (value - self.mean[regime][channel]) / sd } else { 0.0 }
    }
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Regimes {
        Regimes {
            setting_mean: vec![100.0, 7.0],
            setting_sd: vec![50.0, 0.0],
            centres: vec![vec![-1.0, 0.0], vec![1.0, 0.0]],
            reach: vec![0.01, 0.1],
            mean: vec![vec![3.0], vec![4.0]],
            sd: vec![vec![0.5], vec![0.0]],
        }
    }

    #[test]
    fn a_step_belongs_to_the_nearest_regime_or_to_none() {
        let regimes = two();
        assert_eq!(regimes.of(&[Some(50.0), Some(7.0)]), Ok(0));
        assert_eq!(regimes.of(&[Some(150.0), None]), Ok(1), "a setting that never moved is not needed");
        assert_eq!(regimes.of(&[Some(100.0), Some(7.0)]), Err(Reason::RegimeUnknown));
        assert_eq!(regimes.of(&[Some(5e9), Some(7.0)]), Err(Reason::RegimeUnknown));
        assert_eq!(regimes.of(&[None, Some(7.0)]), Err(Reason::InputsMissing));
        assert_eq!(regimes.of(&[Some(f64::NAN), Some(7.0)]), Err(Reason::InputsMissing));
    }

    #[test]
    fn values_are_normalised_within_their_regime() {
        assert_eq!(two().normalise(0, 0, 4.0), 2.0);
        assert_eq!(two().normalise(1, 0, 9.0), 0.0, "it never moved there");
    }
}
