//! Small dense linear algebra: Cholesky factors, a pivoting solver, and least squares with forward selection.
//!
//! Everything is row-major `f64` of a few dozen rows; no blocking, no generality.

use crate::detect::moments::Moments;
use serde::{Deserialize, Serialize};

/// A lower triangular factor L of a positive definite matrix L L'.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cholesky {
    n: usize,
    /// Row-major, lower triangle used.
    l: Vec<f64>,
}

impl Cholesky {
    /// Factors the n x n matrix `a`; `None` if it is not positive definite to working precision.
    pub(crate) fn new(n: usize, a: &[f64]) -> Option<Self> {
        let mut l = a.to_vec();
        for i in 0..n {
            for j in 0..=i {
                let dot: f64 = (0..j).map(|k| l[i * n + k] * l[j * n + k]).sum();
                let rest = a[i * n + j] - dot;
                if i != j {
                    l[i * n + j] = rest / l[j * n + j];
                } else if rest > a[i * n + i].abs() * 1e-12 {
                    l[i * n + i] = rest.sqrt();
                } else {
                    return None;
                }
            }
        }
        Some(Self { n, l })
    }

    /// Solves L y = b in place: y is b whitened.
    pub(crate) fn whiten(&self, b: &mut [f64]) {
        for i in 0..self.n {
            let row = &self.l[i * self.n..i * self.n + i];
            let dot: f64 = row.iter().zip(b.iter()).map(|(l, y)| l * y).sum();
            b[i] = (b[i] - dot) / self.l[i * self.n + i];
        }
    }

    /// Solves L' x = y in place; after [`Self::whiten`] it completes the solution of L L' x = b.
    pub(crate) fn complete(&self, y: &mut [f64]) {
        for i in (0..self.n).rev() {
            let dot: f64 = (i + 1..self.n).map(|k| self.l[k * self.n + i] * y[k]).sum();
            y[i] = (y[i] - dot) / self.l[i * self.n + i];
        }
    }

    /// The entry (i, j) of L L'.
    pub(crate) fn product(&self, i: usize, j: usize) -> f64 {
        let n = self.n;
        (0..=i.min(j)).map(|k| self.l[i * n + k] * self.l[j * n + k]).sum()
    }

    /// The diagonal of (L L')^-1.
    pub(crate) fn inverse_diagonal(&self) -> Vec<f64> {
        (0..self.n)
            .map(|i| {
                let mut unit = vec![0.0; self.n];
                unit[i] = 1.0;
                self.whiten(&mut unit);
                unit.iter().map(|y| y * y).sum()
            })
            .collect()
    }
}

/// Solves a x = b by Gaussian elimination with partial pivoting; `a` and `b` are used up. `None` if singular.
pub(crate) fn solve(n: usize, a: &mut [f64], b: &mut [f64]) -> Option<()> {
    for k in 0..n {
        let pivot = (k..n).max_by(|i, j| a[i * n + k].abs().total_cmp(&a[j * n + k].abs()))?;
        if a[pivot * n + k] == 0.0 {
            return None;
        }
        if pivot != k {
            (0..n).for_each(|j| a.swap(k * n + j, pivot * n + j));
            b.swap(k, pivot);
        }
        let (top, below) = a.split_at_mut((k + 1) * n);
        let pivot_row = &top[k * n..];
        for (i, row) in below.chunks_exact_mut(n).enumerate() {
            let factor = row[k] / pivot_row[k];
            if factor != 0.0 {
                row[k..].iter_mut().zip(&pivot_row[k..]).for_each(|(x, p)| *x -= factor * p);
                b[k + 1 + i] -= factor * b[k];
            }
        }
    }
    for i in (0..n).rev() {
        let dot: f64 = (i + 1..n).map(|j| a[i * n + j] * b[j]).sum();
        b[i] = (b[i] - dot) / a[i * n + i];
    }
    Some(())
}

/// A least squares fit of one component of a moments vector on others (with intercept).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fit {
    /// Which components were kept.
    pub(crate) terms: Vec<usize>,
    /// Their coefficients.
    pub(crate) beta: Vec<f64>,
    /// Inverse of the co-moment matrix of the kept components, row-major.
    pub(crate) inverse: Vec<f64>,
    /// Residual sum of squares.
    pub(crate) residual: f64,
}

/// A regressor that others explain to this share of its variance, or that is constant, is not kept.
const COLLINEAR: f64 = 1e-8;

/// Fits `target` on all of `forced` and on those of `candidates` whose squared t statistic, when they are the best to
/// enter, is above `enter` (forward selection with the sweep operator: Goodnight 1979, "A tutorial on the SWEEP
/// operator"). Work is on correlations, so scales do not matter.
pub(crate) fn fit(moments: &Moments, target: usize, forced: &[usize], candidates: &[usize], enter: f64) -> Fit {
    let all: Vec<usize> = forced.iter().chain(candidates).copied().chain([target]).collect();
    let n = all.len();
    let scale: Vec<f64> = all.iter().map(|&i| (moments.product(i, i)).sqrt()).collect();
    let mut a = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..n {
            let norm = scale[i] * scale[j];
            a[i * n + j] = if norm > 0.0 { moments.product(all[i], all[j]) / norm } else { 0.0 };
        }
    }
    let y = n - 1;
    let mut kept = vec![false; n];
    for k in 0..forced.len() {
        if a[k * n + k] > COLLINEAR {
            sweep(n, &mut a, k);
            kept[k] = true;
        }
    }
    let t_squared = |a: &[f64], kept: &[bool], j: usize| {
        let (own, rest) = (a[j * n + j], a[y * n + y]);
        if kept[j] || own <= COLLINEAR || rest <= 0.0 {
            return 0.0;
        }
        let explained = a[j * n + y] * a[j * n + y] / own;
        let freedom = f64::from(moments.count) - kept.iter().filter(|k| **k).count() as f64 - 2.0;
        freedom * explained / (rest - explained).max(f64::MIN_POSITIVE)
    };
    loop {
        let best = (forced.len()..y).map(|j| (t_squared(&a, &kept, j), j)).max_by(|p, q| p.0.total_cmp(&q.0));
        match best {
            Some((t, j)) if t > enter => {
                sweep(n, &mut a, j);
                kept[j] = true;
            }
            _ => break,
        }
    }
    let kept: Vec<usize> = (0..y).filter(|i| kept[*i]).collect();
    let inverse = |i: &usize, j: &usize| a[i * n + j] / (scale[*i] * scale[*j]);
    Fit {
        terms: kept.iter().map(|&i| all[i]).collect(),
        beta: kept.iter().map(|&i| a[i * n + y] * scale[y] / scale[i]).collect(),
        inverse: kept.iter().flat_map(|i| kept.iter().map(move |j| inverse(i, j))).collect(),
        residual: a[y * n + y].max(0.0) * scale[y] * scale[y],
    }
}

/// Sweeps the n x n matrix on `k`.
fn sweep(n: usize, a: &mut [f64], k: usize) {
    let pivot = a[k * n + k];
    for j in 0..n {
        a[k * n + j] /= pivot;
    }
    for i in (0..n).filter(|i| *i != k) {
        let factor = a[i * n + k];
        for j in 0..n {
            a[i * n + j] -= factor * a[k * n + j];
        }
        a[i * n + k] = -factor / pivot;
    }
    a[k * n + k] = 1.0 / pivot;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of (1, x1, x2, y) with offsets that plain normal equations would not survive.
    fn rows() -> Vec<[f64; 3]> {
        (0..400)
            .map(|i| {
                let t = f64::from(i);
                let (a, b) = (1e5 + (t * 0.7).sin(), 3.0 + (t * 1.3).cos() + 0.5 * (t * 0.7).sin());
                [a, b, 2.0 * a - 0.25 * b + 0.1 * (t * 2.9).sin()]
            })
            .collect()
    }

    fn moments() -> Moments {
        let mut m = Moments::new(3);
        rows().iter().for_each(|r| m.add(r));
        m
    }

    /// The oracle: normal equations with intercept on exactly centred data, solved by elimination.
    fn naive() -> Vec<f64> {
        let rows = rows();
        let (mut a, mut b) = (vec![0.0; 9], vec![0.0; 3]);
        for r in &rows {
            let x = [1.0, r[0] - 1e5, r[1] - 3.0];
            let y = r[2] - 2e5;
            for i in 0..3 {
                (0..3).for_each(|j| a[i * 3 + j] += x[i] * x[j]);
                b[i] += x[i] * y;
            }
        }
        solve(3, &mut a, &mut b).unwrap();
        b[1..].to_vec()
    }

    #[test]
    fn regression_agrees_with_the_naive_solver() {
        let fit = fit(&moments(), 2, &[0, 1], &[], f64::INFINITY);
        for (ours, theirs) in fit.beta.iter().zip(naive()) {
            assert!((ours - theirs).abs() < 1e-8, "{ours} and {theirs}");
        }
    }

    #[test]
    fn the_residual_and_the_inverse_are_those_of_the_definition() {
        let m = moments();
        let fit = fit(&m, 2, &[0, 1], &[], f64::INFINITY);
        let mean = &m.mean;
        let residual: f64 = rows()
            .iter()
            .map(|r| r[2] - mean[2] - fit.beta[0] * (r[0] - mean[0]) - fit.beta[1] * (r[1] - mean[1]))
            .map(|e| e * e)
            .sum();
        assert!((fit.residual / residual - 1.0).abs() < 1e-6, "{} and {residual}", fit.residual);
        for i in 0..2 {
            for j in 0..2 {
                let entry: f64 = (0..2).map(|k| fit.inverse[i * 2 + k] * m.product(k, j)).sum();
                assert!((entry - f64::from(u8::from(i == j))).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn a_candidate_enters_only_if_it_explains_something_and_a_constant_never() {
        let mut m = Moments::new(4);
        for (i, r) in rows().iter().enumerate() {
            m.add(&[r[0], f64::from(i as u32 * 7919 % 13), 5.0, r[2]]);
        }
        let fit = fit(&m, 3, &[2], &[0, 1], 10.0);
        assert_eq!(fit.terms, [0]);
    }

    #[test]
    fn a_cholesky_factor_whitens_and_solves() {
        let a = [4.0, 2.0, 0.6, 2.0, 5.0, 1.5, 0.6, 1.5, 3.0];
        let factor = Cholesky::new(3, &a).unwrap();
        let mut x = vec![1.0, -2.0, 0.5];
        factor.whiten(&mut x);
        let length: f64 = x.iter().map(|v| v * v).sum();
        factor.complete(&mut x);
        let (mut b, mut copy) = (vec![1.0, -2.0, 0.5], a.to_vec());
        solve(3, &mut copy, &mut b).unwrap();
        x.iter().zip(&b).for_each(|(p, q)| assert!((p - q).abs() < 1e-12));
        assert!((length - (b[0] - 2.0 * b[1] + 0.5 * b[2])).abs() < 1e-12);
        let mut unit = vec![0.0, 1.0, 0.0];
        solve(3, &mut a.to_vec(), &mut unit).unwrap();
        assert!((factor.inverse_diagonal()[1] - unit[1]).abs() < 1e-12);
    }

    #[test]
    fn a_singular_matrix_has_no_factor_and_no_solution() {
        assert!(Cholesky::new(2, &[1.0, 2.0, 2.0, 4.0]).is_none());
        assert!(solve(2, &mut [1.0, 2.0, 2.0, 4.0], &mut [1.0, 1.0]).is_none());
    }
}
