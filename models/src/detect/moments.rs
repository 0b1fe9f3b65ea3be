//! Means and co-moments of a vector, accumulated one row at a time.
//!
//! Idea: Welford's update in matrix form (Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance"):
//! deviations from the running mean are multiplied, never raw values, so an offset of 1e5 costs no digits. Cost: d^2/2
//! multiplications a row. From this one matrix follow every regression and every residual covariance of the baseline
//! in closed form, without a second pass over data that is no longer there.

use serde::{Deserialize, Serialize};

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
