//! The threshold of a multivariate EWMA chart from the false alarms that are acceptable.
//!
//! Idea: while healthy, the length r of the MEWMA vector z = (1 - lambda) z + lambda u, with u standard normal in p
//! dimensions, is a Markov chain on the half line: given r, the square of the next length over lambda squared is
//! noncentral chi squared with p degrees and noncentrality ((1 - lambda) r / lambda)^2. Runger & Prabhu (1996, "A
//! Markov chain model for the multivariate exponentially weighted moving averages control chart", JASA 91) cut the half
//! line into states; we solve the same chain in its limit of infinitely many, the integral equation of Rigdon (1995, "An
//! integral equation for the in-control average run length of a multivariate EWMA control chart"),
//!
//! ```text
//! L(r) = 1 + integral over 0..H of k(s | r) L(s) ds,      H^2 = h lambda / (2 - lambda)
//! ```
//!
//! by Gauss-Legendre collocation, which converges geometrically. The threshold h is then found by the secant rule on
//! ln L, nearly linear in h.
//!
//! Guarantee: relative error of the run length below 1e-4 for lambda from 0.02 to 1 (checked against published tables).
//! Cost: a few ms; the agent needs a handful of different thresholds, so they are remembered for the process. The
//! memory holds values of a pure function and changes no result.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::detect::linear;
use crate::detect::tail::{chi_squared_quantile_above, gauss_legendre, noncentral_chi_squared_density};

/// The longest and shortest in-control average run lengths that are solved for, in slides.
const RUN_LENGTHS: (f64, f64) = (2.0, 1e9);

/// The in-control average run length of a chart with `channels` channels, weight `lambda` in (0, 1] and threshold `h`
/// on T2, in slides, started with z = 0.
pub fn average_run_length(channels: usize, lambda: f64, h: f64) -> f64 {
    let radius = (h * lambda / (2.0 - lambda)).sqrt();
    // The kernel is as wide as lambda: four nodes a width, plus some.
    let n = (24.0 + 4.0 * radius / lambda).min(240.0) as usize;
    let nodes: Vec<(f64, f64)> = gauss_legendre(n).iter().map(|(x, w)| (x * radius, w * radius)).collect();
    let kernel = |from: f64, to: f64| {
        let square = |x: f64| x * x / (lambda * lambda);
        let density = noncentral_chi_squared_density(square(to), channels as f64, square((1.0 - lambda) * from));
        density * 2.0 * to / (lambda * lambda)
    };
    let mut a = Vec::with_capacity(n * n);
    for (i, (from, _)) in nodes.iter().enumerate() {
        for (j, (to, weight)) in nodes.iter().enumerate() {
            a.push(f64::from(u8::from(i == j)) - weight * kernel(*from, *to));
        }
    }
    let mut lengths = vec![1.0; n];
    if linear::solve(n, &mut a, &mut lengths).is_none() {
        return f64::INFINITY;
    }
    1.0 + nodes.iter().zip(&lengths).map(|((to, weight), length)| weight * kernel(0.0, *to) * length).sum::<f64>()
}

/// The threshold on T2 with which a healthy asset with `channels` monitored channels crosses once in `run_length` slides
/// on average.
pub fn threshold(channels: usize, lambda: f64, run_length: f64) -> f64 {
    static KNOWN: Mutex<BTreeMap<(usize, u64, u64), f64>> = Mutex::new(BTreeMap::new());
    let key = (channels, lambda.to_bits(), run_length.to_bits());
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(h) = known().get(&key) {
        return *h;
    }
    let h = solve(channels, lambda, run_length);
    let mut known = known();
    // Settings change rarely; should somebody try thousands, forget and start anew.
    if known.len() >= 1024 {
        known.clear();
    }
    known.insert(key, h);
    h
}

fn solve(channels: usize, lambda: f64, run_length: f64) -> f64 {
    let run_length = run_length.clamp(RUN_LENGTHS.0, RUN_LENGTHS.1);
    let goal = libm::log(run_length);
    let miss = |h: f64| libm::log(average_run_length(channels, lambda, h)) - goal;
    // Independent statistics would cross at this quantile; smoothing makes them cross less often, so h is lower.
    let mut b = chi_squared_quantile_above(1.0 / run_length, channels);
    let mut a = 0.9 * b;
    let (mut miss_a, mut miss_b) = (miss(a), miss(b));
    for _ in 0..40 {
        if miss_b.abs() < 1e-9 || miss_a == miss_b {
            break;
        }
        let step = miss_b * (b - a) / (miss_b - miss_a);
        let next = (b - step).clamp(b * 0.5, b * 1.5);
        (a, miss_a) = (b, miss_b);
        b = next;
        miss_b = miss(b);
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_agree_with_the_published_tables() {
        // Prabhu & Runger (1997), "Designing a multivariate EWMA control chart", J. Quality Technology 29, table 1
        // (in-control run length 200; theirs is a chain of finitely many states).
        for (channels, lambda, h) in [(2, 0.1, 8.64), (4, 0.1, 12.73), (2, 0.2, 9.65), (4, 0.2, 13.87)] {
            let ours = threshold(channels, lambda, 200.0);
            assert!((ours - h).abs() < 0.05, "{channels} {lambda}: {ours} is not {h}");
        }
    }

    #[test]
    fn without_smoothing_the_run_length_is_geometric() {
        let h = chi_squared_quantile_above(1.0 / 370.0, 3);
        assert!((average_run_length(3, 1.0, h) / 370.0 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn more_nodes_would_change_nothing() {
        // The same chart by brute force, with states 300 in the radius (Runger & Prabhu's way).
        let (channels, lambda, h) = (3usize, 0.1f64, 12.0);
        let radius = (h * lambda / (2.0 - lambda)).sqrt();
        let n = 300usize;
        let width = radius / n as f64;
        let cell = |i: usize| (i as f64 + 0.5) * width;
        let mut a = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..n {
                let square = |x: f64| x * x / (lambda * lambda);
                let density =
                    noncentral_chi_squared_density(square(cell(j)), channels as f64, square((1.0 - lambda) * cell(i)));
                let probability = density * 2.0 * cell(j) / (lambda * lambda) * width;
                a[i * n + j] = f64::from(u8::from(i == j)) - probability;
            }
        }
        let mut lengths = vec![1.0; n];
        linear::solve(n, &mut a, &mut lengths).unwrap();
        let ours = average_run_length(channels, lambda, h);
        assert!((ours / lengths[0] - 1.0).abs() < 2e-3, "{ours} and {}", lengths[0]);
    }

    #[test]
    fn a_threshold_gives_the_run_length_it_was_made_for_whatever_the_weight() {
        for lambda in [0.02, 0.05, 0.3, 0.9] {
            for channels in [1, 3, 12] {
                let h = threshold(channels, lambda, 43_200.0);
                let length = average_run_length(channels, lambda, h);
                assert!((length / 43_200.0 - 1.0).abs() < 1e-6, "{lambda} {channels}: {length}");
            }
        }
    }
}
