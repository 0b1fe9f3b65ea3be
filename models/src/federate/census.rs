//! Input statistics of many sites merged into those of all their rows together, so that all share one normaliser.
//!
//! A cell is a count, a mean and the sum of squared deviations from it (M2). Two cells merge exactly:
//! n = n1 + n2, d = m2 - m1, m = m1 + d n2 / n, M2 = M2_1 + M2_2 + d^2 n1 n2 / n. What comes out is what one pass over
//! all rows would give, up to the rounding of the last bits, and to the bit the same whatever the order of arrival.
//! Source: Chan, Golub, LeVeque (1979), "Updating formulae and a pairwise algorithm for computing sample variances".
//!
//! A cohort asks its questions once, before its first round: first per regime and channel, then per feature; an answer
//! after a census is closed changes nothing. Because a mean has no memory of who moved it, a site is left out whole if
//! in some cell its mean lies farther from the median site's than `FAR` median standard deviations, or its deviation is
//! `FAR` times as large or as small, and no site counts for more than `COUNT` times the median site's rows.

use std::collections::BTreeMap;

use fettle_wire::cbor;
use serde::{Deserialize, Serialize};

use super::merge::lower_median;
use super::message::Who;
use super::refusal::Refusal;
use crate::predict::feature::Scale;

/// Cells at most: 4,096 features, or 16 regimes of 256 channels.
const CELLS: usize = 4096;
/// Median standard deviations, or factors of them, beyond which a site is no site of this cohort.
const FAR: f64 = 20.0;
/// Median site's rows a site counts for at most.
const COUNT: f64 = 50.0;
/// How many times the median site's reach is believed.
const REACH: f64 = 4.0;

/// Count, mean and sum of squared deviations of one number.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Moment {
    /// Values.
    pub count: f64,
    /// Their mean.
    pub mean: f64,
    /// Sum of squared deviations from it.
    pub m2: f64,
}

impl Moment {
    /// Takes a value (Welford).
    pub fn push(&mut self, x: f64) {
        self.count += 1.0;
        let before = x - self.mean;
        self.mean += before / self.count;
        self.m2 += before * (x - self.mean);
    }

    /// Both together.
    pub fn merged(self, other: Self) -> Self {
        let count = self.count + other.count;
        if count <= 0.0 {
            return Self::default();
        }
        let between = other.mean - self.mean;
        let mean = self.mean + between * (other.count / count);
        let m2 = self.m2 + other.m2 + between * between * (self.count * other.count / count);
        Self { count, mean, m2 }
    }

    /// Standard deviation; 0 where nothing but rounding moves.
    pub fn sd(&self) -> f64 {
        let sd = (self.m2 / (self.count - 1.0).max(1.0)).sqrt();
        if sd > 1e-9 * self.mean.abs() { sd } else { 0.0 }
    }

    /// As if there had been that many values.
    fn counting(self, count: f64) -> Self {
        if self.count > count { Self { count, mean: self.mean, m2: self.m2 * (count / self.count) } } else { self }
    }

    fn sound(&self) -> bool {
        let finite = [self.count, self.mean, self.m2].iter().all(|x| x.is_finite() && x.abs() < 1e150);
        finite && self.count >= 0.0 && self.m2 >= 0.0
    }
}

/// One cell for each number of a row.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Statistics {
    /// In the order the question gives.
    #[serde(deserialize_with = "cbor::sequence_up_to::<CELLS, _, _>")]
    pub cells: Vec<Moment>,
}

impl Statistics {
    /// Without values yet.
    pub fn new(cells: usize) -> Self {
        Self { cells: vec![Moment::default(); cells] }
    }

    /// Takes a row, or part of one.
    pub fn push(&mut self, row: impl Iterator<Item = Option<f64>>) {
        self.cells.iter_mut().zip(row).filter_map(|(cell, x)| Some((cell, x?))).for_each(|(cell, x)| cell.push(x));
    }

    /// The normaliser they make; `farthest` as from [`reach`].
    pub fn scale(&self, farthest: f64) -> Scale {
        let (mean, sd) = self.cells.iter().map(|c| (c.mean, c.sd())).unzip();
        Scale { mean, sd, farthest }
    }

    fn merged(mut self, other: &Self) -> Self {
        self.cells.iter_mut().zip(&other.cells).for_each(|(a, b)| *a = a.merged(*b));
        self
    }

    fn rows(&self) -> f64 {
        self.cells.iter().fold(0.0, |most, c| most.max(c.count))
    }
}

/// The answers to one question so far; may be saved at any time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Census {
    cells: usize,
    answers: BTreeMap<Who, Statistics>,
}

impl Census {
    /// A question of so many cells.
    pub fn new(cells: usize) -> Self {
        Self { cells, answers: BTreeMap::new() }
    }

    /// Takes an answer; a later one of the same agent takes the place of its earlier one.
    ///
    /// # Errors
    /// [`Refusal::WrongShape`], [`Refusal::NonFinite`] (a negative count or sum of squares as well) or
    /// [`Refusal::NoSamples`].
    pub fn answer(&mut self, who: Who, statistics: Statistics) -> Result<(), Refusal> {
        if statistics.cells.len() != self.cells || self.cells > CELLS {
            return Err(Refusal::WrongShape);
        }
        if !statistics.cells.iter().all(Moment::sound) {
            return Err(Refusal::NonFinite);
        }
        if statistics.rows() < 1.0 {
            return Err(Refusal::NoSamples);
        }
        self.answers.insert(who, statistics);
        Ok(())
    }

    /// Agents that have answered.
    pub fn answered(&self) -> usize {
        self.answers.len()
    }

    /// The statistics of all rows together, and who was left out as implausible.
    pub fn close(&self) -> (Statistics, Vec<Who>) {
        let typical: Vec<(f64, f64)> = (0..self.cells).map(|c| self.typical(c)).collect();
        let (good, out): (Vec<_>, Vec<_>) = self.answers.iter().partition(|(_, s)| plausible(s, &typical));
        let most = COUNT * lower_median(&good.iter().map(|(_, s)| s.rows()).collect::<Vec<_>>());
        let bounded = good.into_iter().map(|(_, s)| {
            // One factor for all cells: a site's cells keep their proportion.
            let factor = (most / s.rows()).min(1.0);
            Statistics { cells: s.cells.iter().map(|c| c.counting(c.count * factor)).collect() }
        });
        let merged = bounded.fold(Statistics::new(self.cells), |sum, s| sum.merged(&s));
        (merged, out.into_iter().map(|(who, _)| who.clone()).collect())
    }

    /// Median over sites of a cell's mean and deviation.
    fn typical(&self, cell: usize) -> (f64, f64) {
        let cells = || self.answers.values().map(|s| s.cells[cell]).filter(|c| c.count > 1.0);
        let median = |of: fn(Moment) -> f64| lower_median(&cells().map(of).collect::<Vec<_>>());
        (median(|c| c.mean), median(|c| c.sd()))
    }
}

fn plausible(statistics: &Statistics, typical: &[(f64, f64)]) -> bool {
    let cells = statistics.cells.iter().zip(typical).filter(|(c, _)| c.count > 1.0);
    let mut near = cells.map(|(cell, (mean, sd))| {
        let sd_here = cell.sd();
        // Where the median site sees no movement at all, there is nothing to measure a distance by but the mean itself.
        let unit = if *sd > 0.0 { *sd } else { 1e-3 * mean.abs() + 1e-9 };
        (cell.mean - mean).abs() <= FAR * unit && sd_here <= FAR * unit
    });
    near.all(|near| near)
}

/// Mean square of a row's features under a normaliser: what a site reports the greatest of.
pub fn distance(scale: &Scale, row: &[f64]) -> f64 {
    let cells = row.iter().zip(&scale.mean).zip(&scale.sd).filter(|(_, sd)| **sd > 0.0);
    cells.map(|((x, mean), sd)| ((x - mean) / sd).powi(2)).sum::<f64>() / row.len().max(1) as f64
}

/// How far the cohort's rows reach: the farthest any site reports, as far as `REACH` times the median site's is believed.
pub fn reach(reports: &[f64]) -> f64 {
    let sound: Vec<f64> = reports.iter().copied().filter(|r| r.is_finite() && *r >= 0.0).collect();
    sound.iter().fold(0.0, |a, b| f64::max(a, *b)).min(REACH * lower_median(&sound))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::random::Random;
    use fettle_wire::id::Name;
    use proptest::prelude::*;

    fn who(i: usize) -> Who {
        Who { site: Name::new(&format!("site-{i}")).unwrap(), agent: Name::new("gw").unwrap() }
    }

    fn rows(n: usize, offset: f64, seed: u64) -> Vec<[f64; 3]> {
        let mut random = Random::new(seed);
        (0..n).map(|_| [offset + random.normal(), 1e-3 * random.normal(), 7.0]).collect()
    }

    fn of(rows: &[[f64; 3]]) -> Statistics {
        let mut statistics = Statistics::new(3);
        rows.iter().for_each(|row| statistics.push(row.iter().map(|x| Some(*x))));
        statistics
    }

    fn census(sites: &[Vec<[f64; 3]>], order: &[usize]) -> Census {
        let mut census = Census::new(3);
        order.iter().for_each(|i| census.answer(who(*i), of(&sites[*i])).unwrap());
        census
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn merged_statistics_are_those_of_all_rows_and_do_not_depend_on_the_order(
            sizes in proptest::collection::vec(20usize..400, 1..12),
            offset in prop_oneof![Just(0.0), Just(1e6)],
            seed in any::<u64>(),
        ) {
            let sites: Vec<_> = sizes.iter().enumerate().map(|(i, n)| rows(*n, offset, seed ^ i as u64)).collect();
            let mut order: Vec<usize> = (0..sites.len()).collect();
            let (merged, out) = census(&sites, &order).close();
            prop_assert!(out.is_empty(), "{:?}", out);
            Random::new(seed).shuffle(&mut order);
            prop_assert_eq!(&census(&sites, &order).close().0, &merged);
            let pooled = of(&sites.concat());
            for (a, b) in merged.cells.iter().zip(&pooled.cells) {
                prop_assert_eq!(a.count, b.count);
                prop_assert!((a.mean - b.mean).abs() <= 1e-12 * (1.0 + b.mean.abs()), "{:?} {:?}", a, b);
                prop_assert!((a.sd() - b.sd()).abs() <= 1e-9 * (1e-9 + b.sd()), "{:?} {:?}", a, b);
            }
        }
    }

    #[test]
    fn a_site_that_lies_is_left_out_or_bounded() {
        let sites: Vec<_> = (0..6).map(|i| rows(100, 5.0, i)).collect();
        let order = [0, 1, 2, 3, 4, 5];
        let honest = census(&sites, &order).close().0;
        let mut far = census(&sites, &order);
        let mut lie = of(&rows(100, 1e6, 9));
        far.answer(who(6), lie.clone()).unwrap();
        assert_eq!(far.close(), (honest.clone(), vec![who(6)]));
        lie = of(&rows(100, 5.5, 9));
        lie.cells.iter_mut().for_each(|c| (c.count, c.m2) = (c.count * 1e12, c.m2 * 1e12));
        let mut many = census(&sites, &order);
        many.answer(who(6), lie).unwrap();
        let (merged, out) = many.close();
        assert!(out.is_empty() && merged.cells[0].count <= 600.0 + 50.0 * 100.0, "{merged:?}");
        assert!((merged.cells[0].sd() / honest.cells[0].sd() - 1.0).abs() < 0.3);
    }

    #[test]
    fn what_is_no_statistic_is_refused_and_changes_nothing() {
        let mut census = census(&[rows(50, 0.0, 1)], &[0]);
        let before = census.clone();
        let good = of(&rows(50, 0.0, 2));
        let edit = |change: fn(&mut Moment)| {
            let mut s = good.clone();
            change(&mut s.cells[1]);
            s
        };
        let mut refused = |s: Statistics| census.answer(who(1), s).unwrap_err();
        assert_eq!(refused(Statistics::new(2)), Refusal::WrongShape);
        assert_eq!(refused(Statistics::new(3)), Refusal::NoSamples);
        assert_eq!(refused(edit(|c| c.mean = f64::NAN)), Refusal::NonFinite);
        assert_eq!(refused(edit(|c| c.m2 = -1.0)), Refusal::NonFinite);
        assert_eq!(refused(edit(|c| c.count = 1e300)), Refusal::NonFinite);
        assert_eq!(census, before);
        assert_eq!(reach(&[1.0, 2.0, 1.5, f64::NAN, 1e30]), 4.0 * 1.5);
        assert_eq!(reach(&[1.0, 2.0, 1.5]), 2.0);
    }
}
