//! Regimes from the operating settings: k-means over settings of unit spread, the number of regimes from the data.
//!
//! Settings that are set (altitude, load steps) leave almost nothing of their variance within clusters once there are
//! enough of them; settings that merely scatter never do (k clusters of one Gaussian keep about 1/k of it per dimension).
//! So: the least k that leaves at most [`WITHIN`] of the variance; none up to [`MOST`]: one regime.

use fettle_models::predict::feature::Regimes;
use linfa::DatasetBase;
use linfa::traits::Fit;
use linfa_clustering::KMeans;
use ndarray::Array2;

use super::FitError;
use crate::life::Life;

/// Regimes at most.
const MOST: usize = 16;
/// Share of the variance that may remain within clusters.
const WITHIN: f64 = 0.005;
/// Rows the clustering looks at; evenly taken.
const ROWS: usize = 4_000;
/// Rows of a regime below which its own spread cannot be trusted.
const FEW: usize = 30;

/// Regimes with the mean and spread of every channel in each.
pub(crate) fn learn(lives: &[Life]) -> Result<Regimes, FitError> {
    let steps = || lives.iter().flat_map(|life| &life.steps);
    let settings = steps().next().map_or(0, |s| s.settings.len());
    let channels = steps().next().map_or(0, |s| s.values.len());
    let moments = |i: usize| moments(steps().filter_map(|s| s.settings[i]));
    let (setting_mean, setting_sd): (Vec<f64>, Vec<f64>) = (0..settings).map(moments).map(|m| (m.mean, m.sd())).unzip();
    let mut regimes = Regimes {
        setting_mean,
        setting_sd,
        centres: vec![vec![0.0; settings]],
        reach: vec![0.0],
        mean: vec![],
        sd: vec![],
    };
    let scaled: Vec<Vec<f64>> = steps().filter_map(|s| regimes.scaled(&s.settings).ok()).collect();
    if regimes.setting_sd.iter().any(|sd| *sd > 0.0) {
        regimes.centres = centres(&scaled, settings)?.unwrap_or(regimes.centres);
    }
    describe(&mut regimes, lives, channels);
    Ok(regimes)
}

fn centres(scaled: &[Vec<f64>], settings: usize) -> Result<Option<Vec<Vec<f64>>>, FitError> {
    let every = scaled.len().div_ceil(ROWS).max(1);
    let flat: Vec<f64> = scaled.iter().step_by(every).flatten().copied().collect();
    let rows = flat.len() / settings.max(1);
    let matrix = Array2::from_shape_vec((rows, settings), flat).map_err(|e| FitError::Regimes(e.to_string()))?;
    let total = matrix.iter().map(|x| x * x).sum::<f64>() / rows as f64;
    let data = DatasetBase::from(matrix);
    for k in 2..=MOST.min(rows / FEW) {
        let fitted = KMeans::params(k).n_runs(5).max_n_iterations(100).fit(&data);
        let fitted = fitted.map_err(|e| FitError::Regimes(e.to_string()))?;
        if fitted.inertia() <= WITHIN * total {
            return Ok(Some(fitted.centroids().rows().into_iter().map(|c| c.to_vec()).collect()));
        }
    }
    Ok(None)
}

fn describe(regimes: &mut Regimes, lives: &[Life], channels: usize) {
    let count = regimes.centres.len();
    let mut cells = vec![vec![Moments::default(); channels]; count];
    regimes.reach = vec![0.0; count];
    for step in lives.iter().flat_map(|life| &life.steps) {
        let Ok(scaled) = regimes.scaled(&step.settings) else { continue };
        let Some((regime, distance)) = regimes.nearest(&scaled) else { continue };
        regimes.reach[regime] = regimes.reach[regime].max(distance);
        let values = step.values.iter().zip(&mut cells[regime]);
        values.for_each(|(value, cell)| value.iter().for_each(|v| cell.push(*v)));
    }
    regimes.mean = cells.iter().map(|row| row.iter().map(|m| m.mean).collect()).collect();
    regimes.sd = cells.iter().map(|row| row.iter().map(Moments::sd).collect()).collect();
}

/// The same regimes for some of the channels.
pub(crate) fn of_channels(regimes: &Regimes, picked: &[usize]) -> Regimes {
    let pick = |rows: &[Vec<f64>]| rows.iter().map(|row| picked.iter().map(|c| row[*c]).collect()).collect();
    Regimes { mean: pick(&regimes.mean), sd: pick(&regimes.sd), ..regimes.clone() }
}

/// Running mean and variance (Welford).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moments {
    n: f64,
    pub(super) mean: f64,
    m2: f64,
}

impl Moments {
    pub(super) fn push(&mut self, x: f64) {
        self.n += 1.0;
        let before = x - self.mean;
        self.mean += before / self.n;
        self.m2 += before * (x - self.mean);
    }

    pub(super) fn variance(&self) -> f64 {
        self.m2 / (self.n - 1.0).max(1.0)
    }

    /// 0 where nothing but rounding moves.
    pub(super) fn sd(&self) -> f64 {
        let sd = self.variance().sqrt();
        if sd > 1e-9 * self.mean.abs() { sd } else { 0.0 }
    }
}

pub(super) fn moments(values: impl Iterator<Item = f64>) -> Moments {
    let mut moments = Moments::default();
    values.for_each(|v| moments.push(v));
    moments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::life::Step;
    use fettle_models::train::random::Random;

    fn lives(settings: impl Fn(&mut Random) -> f64) -> Vec<Life> {
        let mut random = Random::new(4);
        let mut step = |t: i32| Step {
            time: f64::from(t),
            settings: vec![Some(settings(&mut random)), Some(100.0)],
            values: vec![Some(1.0)],
        };
        vec![Life { unit: "a".into(), steps: (0..2000).map(&mut step).collect() }]
    }

    #[test]
    fn set_points_are_found_whatever_their_scale_and_scatter_is_one_regime() {
        for scale in [1e-6, 1.0, 1e6] {
            let set = lives(|r| scale * ([0.0, 10.0, 20.0, 42.0][r.below(4)] + 0.01 * r.normal()) + 7.0 * scale);
            assert_eq!(learn(&set).unwrap().centres.len(), 4, "scale {scale}");
            assert_eq!(learn(&lives(|r| scale * r.normal())).unwrap().centres.len(), 1, "scatter, scale {scale}");
        }
        assert_eq!(learn(&lives(|_| 5.0)).unwrap().centres.len(), 1, "settings that never move");
    }
}
