//! One change out of several sites' changes, such that no site, and no fifth of the sites, can steer it.
//!
//! 1. Norm bound: no change is longer than the (lower) median of those merged; a sign flipped and ten times as long is
//!    then one vote against, not ten.
//! 2. Influence cap: a site weighs min(n, cap) (1+s)^-1/2 with n rows and s versions of staleness, and at most a stated
//!    multiple of the (lower) median weight, so that lying about n gains little.
//! 3. From `trim_from` changes on, per weight of the network the greatest and the least share of the values are left out
//!    and the others averaged; with fewer, the weighted mean.
//!
//! Sources: Nguyen et al. (2022), "Federated learning with buffered asynchronous aggregation" (buffer, staleness weight);
//! Yin, Chen, Ramchandran, Bartlett (2018), "Byzantine-robust distributed learning" (coordinate-wise trimmed mean); Sun,
//! Kairouz, Suresh, McMahan (2019), "Can you really backdoor federated learning?" (norm bound).
//!
//! Sums run in the order given; the caller gives sites in ascending order, which makes G2 hold to the bit.

use super::codec::Delta;
use super::rules::Rules;

/// One site's part.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Its change.
    pub delta: Delta,
    /// Rows it was learned from, as reported.
    pub samples: u32,
    /// Versions its base lies behind.
    pub staleness: u64,
}

/// What became of a part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// Its length as sent.
    pub norm: f64,
    /// The factor that bounded it.
    pub bounded: f64,
    /// Its share of all weights.
    pub weight: f64,
}

/// (1 + s)^-1/2.
pub fn staleness_weight(staleness: u64) -> f64 {
    1.0 / (1.0 + staleness as f64).sqrt()
}

/// Merges at least one part of one shape; what each counted for stands in the parts' order.
pub fn merge(mut parts: Vec<Part>, rules: &Rules) -> (Delta, Vec<Share>) {
    let norms: Vec<f64> = parts.iter().map(|p| p.delta.norm()).collect();
    let bound = lower_median(&norms);
    let bounded: Vec<f64> = parts.iter_mut().map(|p| p.delta.bound(bound)).collect();
    let weights = weights(&parts, rules);
    let shares = norms.iter().zip(bounded).zip(&weights);
    let shares = shares.map(|((norm, bounded), weight)| Share { norm: *norm, bounded, weight: *weight }).collect();
    let cut = if parts.len() >= rules.trim_from { (rules.trim * parts.len() as f64) as usize } else { 0 };
    let mut merged = Delta(parts.first().map(|p| p.delta.0.clone()).unwrap_or_default());
    let mut column: Vec<(f32, f64)> = Vec::with_capacity(parts.len());
    for (t, tensor) in merged.0.iter_mut().enumerate() {
        for (i, value) in tensor.iter_mut().enumerate() {
            column.clear();
            column.extend(parts.iter().zip(&weights).map(|(p, w)| (p.delta.0[t][i], *w)));
            *value = average(&mut column, cut);
        }
    }
    (merged, shares)
}

/// Weighted mean of what is left when `cut` values at either end are not counted.
fn average(column: &mut [(f32, f64)], cut: usize) -> f32 {
    if cut > 0 {
        // Stable, so that of equal values the first site's counts as the lesser.
        column.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    let kept = &column[cut..column.len() - cut];
    let (sum, all) = kept.iter().fold((0.0, 0.0), |(sum, all), (v, w)| (sum + w * f64::from(*v), all + w));
    (sum / all) as f32
}

fn weights(parts: &[Part], rules: &Rules) -> Vec<f64> {
    let weight = |p: &Part| f64::from(p.samples.clamp(1, rules.most_samples)) * staleness_weight(p.staleness);
    let mut weights: Vec<f64> = parts.iter().map(weight).collect();
    let most = rules.influence * lower_median(&weights);
    weights.iter_mut().for_each(|w| *w = w.min(most));
    let all: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|w| *w /= all);
    weights
}

/// The middle value, of two the lesser: with half of the sites lying upwards it is still an honest site's.
pub(super) fn lower_median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(values: &[f32], samples: u32, staleness: u64) -> Part {
        Part { delta: Delta(vec![values.to_vec()]), samples, staleness }
    }

    #[test]
    fn a_stale_update_counts_less_by_the_root_of_its_age() {
        let parts = vec![part(&[1.0], 100, 0), part(&[-1.0], 100, 3)];
        let (merged, shares) = merge(parts, &Rules::default());
        assert!((shares[1].weight - 1.0 / 3.0).abs() < 1e-12, "{shares:?}");
        assert!((merged.0[0][0] - 1.0 / 3.0).abs() < 1e-6);
    }

    #[test]
    fn neither_a_long_change_nor_a_large_count_wins() {
        let honest = || part(&[1.0, 1.0], 100, 0);
        let liar = part(&[-100.0, -100.0], u32::MAX, 0);
        let (merged, shares) = merge(vec![honest(), honest(), honest(), liar], &Rules::default());
        assert!((shares[3].weight - 2.0 / 5.0).abs() < 1e-12 && (shares[3].bounded - 0.01).abs() < 1e-9, "{shares:?}");
        assert!((merged.0[0][0] - 0.2).abs() < 1e-6, "three fifths for, two fifths against: {merged:?}");
    }

    #[test]
    fn from_ten_updates_on_two_at_either_end_of_each_weight_are_left_out() {
        let value = |i: usize| match i {
            0 | 1 => 50.0,
            2 | 3 => -80.0,
            i => 1.0 + 0.1 * i as f32,
        };
        // Two weights, so that the bound on the length alone does not do it.
        let parts: Vec<Part> = (0..10).map(|i| part(&[value(i), 100.0], 10, 0)).collect();
        let (merged, _) = merge(parts.clone(), &Rules::default());
        let factor = |i: usize| 100.0 / (100.0f32.powi(2) + value(i).powi(2)).sqrt();
        let bound = parts.iter().map(|p| p.delta.norm()).fold(f64::MAX, f64::min);
        assert!(bound > 0.0 && factor(0) < 1.0);
        assert!((1.3..2.0).contains(&merged.0[0][0]), "{merged:?}");
        let mean = merge(parts, &Rules { trim_from: 11, ..Rules::default() }).0;
        assert!(mean.0[0][0] < 0.0, "what the plain mean would say: {mean:?}");
    }
}
