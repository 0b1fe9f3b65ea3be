//! Intervals by split conformal prediction, calibrated by unit and conditional on what was predicted.
//!
//! Idea: residuals (truth - prediction) of units that the model was not trained on say how wrong it is. Rows of one life
//! are anything but independent, so a unit and not a row is what counts: within a neighbourhood of a predicted value
//! each unit weighs 1, shared among its rows there, and a quantile over n units is taken at the level corrected by
//! (n + 1) / n. Neighbourhoods because a model is surer near failure than far from it.
//!
//! Two kinds of bounds are kept: quantiles (P10, P90) and the shortest interval of 90 %. Where remaining life is capped
//! the truth cannot lie above the cap, and an interval with equal tails would waste half of its error there.
//!
//! Source: Vovk, Gammerman, Shafer (2005), "Algorithmic learning in a random world" (Mondrian conformal predictors);
//! Lei, G'Sell, Rinaldo, Tibshirani, Wasserman (2018), "Distribution-free predictive inference for regression".

use serde::{Deserialize, Serialize};

/// Distance between two knots, in the unit of remaining life, as a share of the cap.
const KNOTS: usize = 26;
/// Knots that are read at most.
const MOST_KNOTS: usize = 1024;
/// Half width of a neighbourhood, as a share of the cap; widened until it holds [`ENOUGH`] units.
const NEAR: f64 = 0.08;
/// Units below which a neighbourhood is widened.
const ENOUGH: usize = 20;
/// Level of the shortest interval.
pub const LEVEL: f64 = 0.9;

/// A prediction on a held-out unit and what was true; both capped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Residual {
    /// Which unit, by any number.
    pub unit: usize,
    /// What was predicted.
    pub predicted: f64,
    /// What was true.
    pub truth: f64,
}

/// Offsets from a predicted value at one knot.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Knot {
    /// To P10, the median and P90.
    quantiles: [f64; 3],
    /// To the ends of the shortest interval.
    shortest: [f64; 2],
}

/// What was learned from held-out units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conformal {
    cap: f64,
    knots: Vec<Knot>,
    /// Units it was calibrated on.
    units: usize,
}

/// Bounds around one prediction, within 0..=cap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// With probability 0.1 less than this remains.
    pub p10: f64,
    /// With probability 0.1 more than this remains.
    pub p90: f64,
    /// Lower end of the shortest interval of 90 %.
    pub low: f64,
    /// Upper end of it.
    pub high: f64,
}

impl Conformal {
    /// Calibrated on held-out units; `None` with fewer than ten of them, from which no tenth can be learned.
    pub fn calibrate(residuals: &[Residual], cap: f64) -> Option<Self> {
        let mut ids: Vec<usize> = residuals.iter().map(|r| r.unit).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() < 10 || cap.is_nan() || cap <= 0.0 {
            return None;
        }
        let knots = (0..KNOTS).map(|k| knot(residuals, cap * k as f64 / (KNOTS - 1) as f64, cap, ids.len()));
        Some(Self { cap, knots: smooth(&knots.collect::<Vec<_>>()), units: ids.len() })
    }

    /// Whether bounds can be drawn from it.
    pub(crate) fn is_sound(&self, cap: f64) -> bool {
        let finite = |k: &Knot| k.quantiles.iter().chain(&k.shortest).all(|x| x.is_finite());
        self.cap == cap && (2..=MOST_KNOTS).contains(&self.knots.len()) && self.knots.iter().all(finite)
    }

    /// Units it was calibrated on.
    pub fn units(&self) -> usize {
        self.units
    }

    /// The bounds around a predicted value, which lies within P10..P90 whatever was learned.
    pub fn bounds(&self, predicted: f64) -> Bounds {
        let k = self.at(predicted);
        let inside = |offset: f64| (predicted + offset).clamp(0.0, self.cap);
        Bounds {
            p10: inside(k.quantiles[0].min(0.0)),
            p90: inside(k.quantiles[2].max(0.0)),
            low: inside(k.shortest[0].min(0.0)),
            high: inside(k.shortest[1].max(0.0)),
        }
    }

    /// The median of what was true where this was predicted.
    pub fn median(&self, predicted: f64) -> f64 {
        (predicted + self.at(predicted).quantiles[1]).clamp(0.0, self.cap)
    }

    /// Between the knots linear.
    fn at(&self, predicted: f64) -> Knot {
        let last = self.knots.len() - 1;
        let place = (predicted / self.cap).clamp(0.0, 1.0) * last as f64;
        let k = (place as usize).min(last.saturating_sub(1));
        let (a, b, share) = (self.knots[k], self.knots[(k + 1).min(last)], place - k as f64);
        let mix = |a: f64, b: f64| a + share * (b - a);
        Knot {
            quantiles: [0, 1, 2].map(|i| mix(a.quantiles[i], b.quantiles[i])),
            shortest: [0, 1].map(|i| mix(a.shortest[i], b.shortest[i])),
        }
    }
}

/// Neighbouring knots share most of their rows; averaging three takes out what is left of chance.
fn smooth(knots: &[Knot]) -> Vec<Knot> {
    let around = |i: usize| &knots[i.saturating_sub(1)..(i + 2).min(knots.len())];
    let mean = |i: usize, f: &dyn Fn(&Knot) -> f64| {
        let near = around(i);
        near.iter().map(f).sum::<f64>() / near.len() as f64
    };
    (0..knots.len())
        .map(|i| Knot {
            quantiles: [0, 1, 2].map(|q| mean(i, &|k| k.quantiles[q])),
            shortest: [0, 1].map(|q| mean(i, &|k| k.shortest[q])),
        })
        .collect()
}

fn knot(residuals: &[Residual], at: f64, cap: f64, units: usize) -> Knot {
    let mut near = NEAR * cap;
    loop {
        let weighted = weighted(residuals, at, near);
        if weighted.1 >= ENOUGH.min(units) || near > cap {
            return of(&weighted.0, weighted.1);
        }
        near *= 1.5;
    }
}

/// Residuals near `at` in ascending order, each with its share of its unit; and how many units there are.
fn weighted(residuals: &[Residual], at: f64, near: f64) -> (Vec<(f64, f64)>, usize) {
    let inside: Vec<&Residual> = residuals.iter().filter(|r| (r.predicted - at).abs() <= near).collect();
    let mut rows = std::collections::BTreeMap::<usize, f64>::new();
    inside.iter().for_each(|r| *rows.entry(r.unit).or_default() += 1.0);
    let mut weighted: Vec<_> = inside.iter().map(|r| (r.truth - r.predicted, 1.0 / rows[&r.unit])).collect();
    weighted.sort_by(|a, b| a.0.total_cmp(&b.0));
    (weighted, rows.len())
}

fn of(sorted: &[(f64, f64)], units: usize) -> Knot {
    let n = units as f64;
    let total: f64 = sorted.iter().map(|r| r.1).sum();
    // Outwards of the median by the correction for finitely many units.
    let outward = |p: f64| (0.5 + (p - 0.5) * (n + 1.0) / n).clamp(0.0, 1.0);
    let quantile = |p: f64| {
        let mut sum = 0.0;
        let found = sorted.iter().find(|(_, weight)| {
            sum += weight / total;
            sum >= p - 1e-12
        });
        found.or(sorted.last()).map_or(0.0, |r| r.0)
    };
    let level = (LEVEL * (n + 1.0) / n).min(1.0);
    let tails = (0..=10).map(|i| f64::from(i) * 0.1 * (1.0 - level));
    let candidates = tails.map(|tail| [quantile(tail), quantile(tail + level)]);
    let shortest = candidates.min_by(|a, b| (a[1] - a[0]).total_cmp(&(b[1] - b[0]))).unwrap_or([0.0; 2]);
    Knot { quantiles: [outward(0.1), 0.5, outward(0.9)].map(quantile), shortest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::random::Random;

    /// Units whose rows share most of their error, which grows with what remains; the truth never exceeds the cap.
    fn world(units: usize, seed: u64) -> Vec<Residual> {
        let mut random = Random::new(seed);
        let mut all = Vec::new();
        for unit in 0..units {
            let own = random.normal();
            for _ in 0..40 {
                let predicted = 125.0 * random.uniform();
                let error = (0.1 * predicted + 2.0) * (0.9 * own + 0.4 * random.normal());
                all.push(Residual { unit, predicted, truth: (predicted + error).clamp(0.0, 125.0) });
            }
        }
        all
    }

    #[test]
    fn nine_of_ten_new_units_lie_within_and_surer_predictions_are_narrower() {
        let conformal = Conformal::calibrate(&world(100, 1), 125.0).unwrap();
        let (mut shortest, mut tails, mut n) = (0.0, [0.0; 2], 0.0);
        for r in world(400, 2) {
            let b = conformal.bounds(r.predicted);
            shortest += f64::from(u8::from((b.low..=b.high).contains(&r.truth)));
            tails[0] += f64::from(u8::from(r.truth < b.p10));
            tails[1] += f64::from(u8::from(r.truth > b.p90));
            n += 1.0;
        }
        assert!((0.87..0.95).contains(&(shortest / n)), "{}", shortest / n);
        assert!(tails[0] / n < 0.13 && tails[1] / n < 0.13, "{tails:?} of {n}");
        let width = |at: f64| conformal.bounds(at).high - conformal.bounds(at).low;
        assert!(width(10.0) < 0.6 * width(80.0), "{} and {}", width(10.0), width(80.0));
    }

    #[test]
    fn bounds_hold_the_prediction_and_stay_within_what_can_be() {
        let conformal = Conformal::calibrate(&world(50, 3), 125.0).unwrap();
        for i in 0..=125 {
            let (p, b) = (f64::from(i), conformal.bounds(f64::from(i)));
            assert!(0.0 <= b.p10 && b.p10 <= p && p <= b.p90 && b.p90 <= 125.0, "{p}: {b:?}");
            assert!(0.0 <= b.low && b.low <= p && p <= b.high && b.high <= 125.0, "{p}: {b:?}");
        }
    }

    #[test]
    fn a_unit_with_many_rows_counts_once() {
        let mut rows: Vec<_> =
            (0..20).map(|unit| Residual { unit, predicted: 60.0, truth: 60.0 + unit as f64 }).collect();
        let few = Conformal::calibrate(&rows, 125.0).unwrap();
        rows.extend(std::iter::repeat_n(Residual { unit: 3, predicted: 60.0, truth: 63.0 }, 10_000));
        assert_eq!(Conformal::calibrate(&rows, 125.0).unwrap(), few);
        assert_eq!(Conformal::calibrate(&rows[..9], 125.0), None);
    }
}
