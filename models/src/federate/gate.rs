//! Whether a candidate may become active: judged on a root set where the operator gives one, else by the sites.
//!
//! On the root set: its error is at most (1 + tolerance) times the active model's and (1 + drift) times the least seen.
//! By the sites: the median over sites of (candidate's error / active model's error), each on the site's own rows, is at
//! most 1 + tolerance; a site has one vote whatever it says of its size, so fewer than half of them lying cannot pass
//! what the others find worse, nor stop what they find better.

use super::rules::Rules;
use crate::predict::network::Network;
use crate::train::{Samples, loss};

/// Errors on the root set, mean squares in shares of the cap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// Of the active model.
    pub active: f64,
    /// Of the candidate.
    pub candidate: f64,
    /// Whether the candidate passes.
    pub passed: bool,
}

/// Judges on the root set; `least` is the least error an active model has had on it.
pub fn on_root(active: &Network, candidate: &Network, root: &Samples, least: Option<f64>, rules: &Rules) -> Judged {
    let (active, candidate) = (loss(active, root), loss(candidate, root));
    let floor = least.unwrap_or(active).min(active);
    // Negated comparisons would let NaN pass.
    let passed = candidate <= (1.0 + rules.tolerance) * active && candidate <= (1.0 + rules.drift) * floor;
    Judged { active, candidate, passed }
}

/// Whether one change by itself, applied to the active model, makes it worse than [`Rules::harm`] allows (after Xie,
/// Koyejo, Gupta 2019, "Zeno: distributed stochastic gradient descent with suspicion-based fault-tolerance").
pub fn harmful(active: &Network, alone: &Network, root: &Samples, rules: &Rules) -> bool {
    let allowed = (1.0 + rules.harm) * loss(active, root);
    // NaN is harmful.
    loss(alone, root).partial_cmp(&allowed).is_none_or(std::cmp::Ordering::is_gt)
}

/// Judges by what sites report: pairs of (active, candidate) errors, one of each site.
pub fn by_sites(reports: impl Iterator<Item = (f32, f32)>, rules: &Rules) -> bool {
    let mut ratios: Vec<f64> = reports.map(|(a, c)| f64::from(c) / f64::from(a).max(1e-12)).collect();
    ratios.sort_by(f64::total_cmp);
    // The upper median: an even split is no majority.
    ratios.get(ratios.len() / 2).is_some_and(|median| *median <= 1.0 + rules.tolerance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minority_of_liars_neither_passes_nor_stops_a_candidate() {
        let rules = Rules::default();
        let judge = |ratios: &[f32]| by_sites(ratios.iter().map(|r| (1.0, *r)), &rules);
        assert!(judge(&[0.9, 0.95, 0.9, 1e30, 1e30]));
        assert!(!judge(&[1.2, 1.3, 1.2, 0.0, 0.0]));
        assert!(!judge(&[0.0, 0.0, 1.2, 1.2]), "an even split");
        assert!(!judge(&[]));
        assert!(!by_sites([(0.0, 0.5)].into_iter(), &rules), "worse than perfect");
    }
}
