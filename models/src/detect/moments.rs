//! Means and co-moments of a vector, accumulated one row at a time.
//!
//! Idea: Welford's update in matrix form (Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance"):
//! deviations from the running mean are multiplied, never raw values, so an offset of 1e5 costs no digits. Cost: d^2/2
//! multiplications a row. From this one matrix follow every regression and every residual covariance of the baseline
//! in closed form, without a second pass over data that is no longer there.

use serde::{Deserialize, Serialize};

use crate::detect::linear::solve;

/// Number of rows, means, and sums of products of deviations (lower triangle, row by row).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Moments {
    pub(crate) count: u32,
    pub(crate) mean: Vec<f64>,
    products: Vec<f64>,
}

impl Moments {
    pub(crate) fn new(dimension: usize) -> Self {
        Self { count: 0, mean: vec![0.0; dimension], products: vec![0.0; dimension * (dimension + 1) / 2] }
    }

    /// Adds one row of the same dimension.
    pub(crate) fn add(&mut self, row: &[f64]) {
        self.count += 1;
        let n = f64::from(self.count);
        let weight = (n - 1.0) / n;
        let deviation: Vec<f64> = row.iter().zip(&self.mean).map(|(x, m)| x - m).collect();
        let mut products = self.products.iter_mut();
        for (i, a) in deviation.iter().enumerate() {
            let scaled = a * weight;
            // The triangle has exactly i + 1 entries in row i, so both iterators end together.
            for (b, p) in deviation[..=i].iter().zip(products.by_ref()) {
                *p += scaled * b;
            }
        }
        for (m, d) in self.mean.iter_mut().zip(&deviation) {
            *m += d / n;
        }
    }

    /// Sum over all rows of the product of the deviations of components `i` and `j`.
    pub(crate) fn product(&self, i: usize, j: usize) -> f64 {
        let (low, high) = if i < j { (i, j) } else { (j, i) };
        self.products[high * (high + 1) / 2 + low]
    }
}

/// All that a baseline gathers for its model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Gathered {
    /// Of the whole row.
    pub(crate) moments: Moments,
    /// Of the operating channels and the squares of the interim models' innovations.
    pub(crate) spread: Moments,
    /// How long the regressors remember.
    pub(crate) echo: Echo,
}

impl Gathered {
    pub(crate) fn new(row: usize, spread: usize) -> Self {
        Self { moments: Moments::new(row), spread: Moments::new(spread), echo: Echo::default() }
    }
}

/// How long the regressors remember: sums of products of each row with the one before it.
///
/// Needed because slow regressors fitted beside a channel's own past pull its coefficients towards 0 (`Self::echoes`).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Echo {
    /// First row; products are taken about it, so that an offset costs no digits.
    centre: Vec<f64>,
    /// Deviations of the last row, if the next follows it.
    previous: Option<Vec<f64>>,
    /// Row-major: now times before.
    products: Vec<f64>,
    pairs: u32,
}

impl Echo {
    /// The next row does not follow the last.
    pub(crate) fn interrupt(&mut self) {
        self.previous = None;
    }

    /// Adds the row that follows the last.
    pub(crate) fn add(&mut self, row: &[f64]) {
        if row.is_empty() {
            return;
        }
        if self.centre.is_empty() {
            self.centre = row.to_vec();
            self.products = vec![0.0; row.len() * row.len()];
        }
        let now: Vec<f64> = row.iter().zip(&self.centre).map(|(x, c)| x - c).collect();
        if let Some(before) = self.previous.replace(now.clone()) {
            self.pairs += 1;
            for (sums, a) in self.products.chunks_exact_mut(before.len()).zip(&now) {
                sums.iter_mut().zip(&before).for_each(|(sum, b)| *sum += a * b);
            }
        }
    }

    /// For m = 1 .. `length`, the sum over the directions of the space of `terms` of their autocorrelation at lag m: the
    /// traces of R^m with R the regression of the terms on themselves one row before. Empty if nothing is known.
    pub(crate) fn echoes(&self, moments: &Moments, terms: &[usize], length: usize) -> Vec<f64> {
        let (n, all) = (terms.len(), self.centre.len());
        if n == 0 || self.pairs == 0 {
            return Vec::new();
        }
        let scale: Vec<f64> = terms.iter().map(|i| moments.product(*i, *i).sqrt()).collect();
        let rows = f64::from(moments.count) / f64::from(self.pairs);
        let away = |i: usize| moments.mean[i] - self.centre[i];
        let mut r = vec![0.0; n * n];
        // Column by column: R = S^-1 G.
        for (column, j) in terms.iter().enumerate() {
            let lagged = |i: usize| {
                rows * (self.products[i * all + j] - f64::from(self.pairs) * away(i) * away(*j)) / scale[column]
            };
            let mut g: Vec<f64> = terms.iter().zip(&scale).map(|(i, s)| lagged(*i) / s).collect();
            let entry = |a: usize, b: usize| moments.product(terms[a], terms[b]) / (scale[a] * scale[b]);
            let mut s: Vec<f64> = (0..n * n).map(|k| entry(k / n, k % n)).collect();
            if solve(n, &mut s, &mut g).is_none() {
                return Vec::new();
            }
            g.iter().enumerate().for_each(|(i, v)| r[i * n + column] = *v);
        }
        let mut power = r.clone();
        let mut traces = Vec::with_capacity(length);
        for _ in 0..length {
            let trace: f64 = (0..n).map(|i| power[i * n + i]).sum();
            // Autocorrelations lie within 1, but for the ends of the series.
            traces.push(trace.clamp(-(n as f64), n as f64));
            power = (0..n * n).map(|k| (0..n).map(|m| power[k / n * n + m] * r[m * n + k % n]).sum()).collect();
        }
        traces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_of_a_hundred_thousand_costs_no_digits() {
        let rows: Vec<[f64; 2]> = (0..1000).map(|i| [f64::from(i % 7) - 3.0, f64::from(i % 5)]).collect();
        let (mut plain, mut offset) = (Moments::new(2), Moments::new(2));
        for r in &rows {
            plain.add(r);
            offset.add(&[r[0] + 1e5, r[1] - 1e5]);
        }
        let naive: f64 = {
            let m = [0, 1].map(|k| rows.iter().map(|r| r[k]).sum::<f64>() / 1000.0);
            rows.iter().map(|r| (r[0] - m[0]) * (r[1] - m[1])).sum()
        };
        assert!((plain.product(0, 1) - naive).abs() < 1e-9);
        assert!((offset.product(1, 0) - naive).abs() < 1e-6, "{} and {naive}", offset.product(1, 0));
    }

    #[test]
    fn an_echo_is_the_autocorrelation_of_each_direction_whatever_the_mixture_and_the_offset() {
        // Two processes of first order with memories 0.9 and 0.5, seen through a mixture.
        let (mut moments, mut echo, mut state, mut seed) = (Moments::new(2), Echo::default(), [0.0; 2], 1u64);
        let mut shock = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        };
        for _ in 0..200_000 {
            state = [0.9 * state[0] + shock(), 0.5 * state[1] + shock()];
            let row = [1e4 + state[0] + state[1], -1e4 + state[0] - 3.0 * state[1]];
            moments.add(&row);
            echo.add(&row);
        }
        for (m, trace) in (1..).zip(echo.echoes(&moments, &[0, 1], 20)) {
            let expected = 0.9f64.powi(m) + 0.5f64.powi(m);
            assert!((trace - expected).abs() < 0.02, "{m}: {trace} is not {expected}");
        }
    }

    #[test]
    fn across_an_interruption_nothing_is_compared() {
        let (mut moments, mut echo) = (Moments::new(1), Echo::default());
        for value in [1.0, -1.0, 1.0, -1.0] {
            moments.add(&[value]);
            echo.interrupt();
            echo.add(&[value]);
        }
        assert!(echo.echoes(&moments, &[0], 5).is_empty());
    }

    #[test]
    fn rows_and_columns_are_not_mixed_up() {
        let mut m = Moments::new(3);
        for r in [[0.0, 0.0, 0.0], [2.0, 4.0, 8.0]] {
            m.add(&r);
        }
        let all: Vec<f64> = [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)].map(|(i, j)| m.product(i, j)).to_vec();
        assert_eq!(all, [2.0, 4.0, 8.0, 8.0, 16.0, 32.0]);
        assert_eq!(m.mean, [1.0, 2.0, 4.0]);
    }
}
