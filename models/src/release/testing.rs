//! A small model for tests of releases.

use fettle_wire::Name;

use super::Draft;
use crate::predict::conformal::{Conformal, Residual};
use crate::predict::feature::{Channel, Frozen, Regimes, Scale, Schema};
use crate::predict::filter::FilterParams;
use crate::predict::learned::RulModel;
use crate::train::random_network;

/// Two channels, one regime, two networks of random weights.
pub(crate) fn model() -> RulModel {
    let channel = |name: &str| Channel { name: name.into(), unit: "K".into() };
    let schema = Schema {
        channels: vec![channel("wear"), channel("noise")],
        settings: vec![],
        time_unit: "step".into(),
        step_seconds: 60.0,
        time_constants: [2.0, 8.0, 32.0],
        baseline_steps: 5,
        baseline_least: 3,
        age: true,
    };
    let width = schema.width();
    let regimes = Regimes {
        setting_mean: vec![],
        setting_sd: vec![],
        centres: vec![vec![]],
        reach: vec![0.0],
        mean: vec![vec![300.0, 1.0]],
        sd: vec![vec![5.0, 1.0]],
    };
    let residual = |i: usize| Residual { unit: i, predicted: 5.0 * i as f64, truth: 5.0 * i as f64 + (i % 7) as f64 };
    RulModel {
        frozen: Frozen {
            schema,
            regimes,
            scale: Scale { mean: vec![0.0; width], sd: vec![1.0; width], farthest: 1e4 },
        },
        networks: (0..2).map(|seed| random_network(width, &[8, 4], seed)).collect(),
        trees: None,
        tree_weight: 0.0,
        filter: FilterParams { cap: 100.0, gain: 0.5, soft: 20.0, patience: 2.0 },
        conformal: Conformal::calibrate(&(0..20).map(residual).collect::<Vec<_>>(), 100.0).expect("enough units"),
        healthy: vec![0.0; width],
    }
}

/// A release of it.
pub(crate) fn draft(model: &RulModel) -> Draft<'_> {
    Draft {
        name: Name::new("pump-life").expect("a name"),
        version: 3,
        class: "pump",
        created: 1_700_000_000_000_000,
        base: None,
        lives: 20,
        figures: std::collections::BTreeMap::new(),
        note: "",
        model,
    }
}
