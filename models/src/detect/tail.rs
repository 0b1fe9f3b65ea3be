//! Tail probabilities: chi squared, normal, and the correction of T2 for an estimated covariance.
//!
//! All through `libm`, so that a value does not depend on the platform's mathematics library; but for the square root,
//! which IEEE 754 defines to the last bit.

use core::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, LN_2, PI};

/// P(chi squared with `freedom` degrees > x), by the finite sums for whole degrees (Abramowitz & Stegun 26.4.4, 26.4.5).
/// 1 for x <= 0. Relative error below 1e-12 down to the smallest numbers.
pub fn chi_squared_survival(x: f64, freedom: usize) -> f64 {
    if x.is_nan() || x <= 0.0 || freedom == 0 {
        return 1.0;
    }
    let half = x / 2.0;
    // The terms are e^-h h^k / Gamma(k + 1), for k = 0, 1, .. or 1/2, 3/2, .. with Gamma(3/2) = sqrt(pi) / 2.
    let base = libm::exp(-half);
    let (mut sum, mut k, mut term) = if freedom.is_multiple_of(2) {
        (0.0, 0.0, base)
    } else {
        (libm::erfc(half.sqrt()), 0.5, base * half.sqrt() * FRAC_2_SQRT_PI)
    };
    while k + 0.75 < freedom as f64 / 2.0 {
        sum += term;
        k += 1.0;
        term *= half / k;
    }
    sum.min(1.0)
}

/// The x with P(chi squared > x) = `p`, for p above 0 and below 1, by bisection to 1e-10.
pub fn chi_squared_quantile_above(p: f64, freedom: usize) -> f64 {
    let (mut low, mut high) = (0.0, freedom as f64 + 10.0);
    while chi_squared_survival(high, freedom) > p && high < 1e6 {
        high *= 2.0;
    }
    while high - low > 1e-10 * (1.0 + high) {
        let middle = 0.5 * (low + high);
        if chi_squared_survival(middle, freedom) > p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// The standard normal distribution function.
pub fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x * FRAC_1_SQRT_2)
}

/// Density at `x` > 0 of the noncentral chi squared distribution with `freedom` degrees and noncentrality `c` >= 0: a
/// Poisson mixture of central densities, summed outwards from its largest term until terms fall below 1e-17 of it.
pub(crate) fn noncentral_chi_squared_density(x: f64, freedom: f64, c: f64) -> f64 {
    let (a, b) = (freedom / 2.0, c * x / 4.0);
    // ln of e^-(x+c)/2 (x/2)^(a-1)/2 * b^k / (k! Gamma(a + k)): largest near k (k + a) = b.
    let peak = libm::floor(0.5 * ((a * a + 4.0 * b).sqrt() - a));
    let log_b = if b > 0.0 { libm::log(b) } else { 0.0 };
    let log_peak = -0.5 * (x + c) + (a - 1.0) * libm::log(x / 2.0) - LN_2 + peak * log_b
        - libm::lgamma(peak + 1.0)
        - libm::lgamma(a + peak);
    let mut sum = 1.0;
    let (mut term, mut k) = (1.0, peak);
    while term > 1e-17 {
        k += 1.0;
        term *= b / (k * (a + k - 1.0));
        sum += term;
    }
    let (mut term, mut k) = (1.0, peak);
    while k > 0.0 && term > 1e-17 {
        term *= k * (a + k - 1.0) / b;
        k -= 1.0;
        sum += term;
    }
    libm::exp(log_peak) * sum
}

/// Maps a T2 whose covariance was estimated with `freedom` degrees of freedom from `channels` channels onto the chi
/// squared scale.
///
/// T2 is then not chi squared but freedom * B / (1 - B) with B beta distributed with channels/2 and
/// (freedom - channels + 1)/2; -ln(1 - B) times (freedom - channels/2) is chi squared up to terms of order 1/freedom^2
/// (Bartlett's correction). Monotone, so comparing the mapped score with the chi squared threshold is comparing T2 with
/// the F threshold.
pub fn corrected_t_squared(t_squared: f64, channels: usize, freedom: f64) -> f64 {
    (freedom - channels as f64 / 2.0) * libm::log1p(t_squared / freedom)
}

/// Nodes and weights of Gauss-Legendre quadrature on [0, 1].
pub(crate) fn gauss_legendre(n: usize) -> Vec<(f64, f64)> {
    let order = n as f64;
    (0..n)
        .map(|i| {
            let mut x = libm::cos(PI * (i as f64 + 0.75) / (order + 0.5));
            let mut slope = 1.0;
            // Newton from this start converges for every root; six rounds reach the last digit.
            for _ in 0..8 {
                let (mut p, mut before) = (1.0, 0.0);
                for k in 0..n {
                    let k = k as f64;
                    (p, before) = (((2.0 * k + 1.0) * x * p - k * before) / (k + 1.0), p);
                }
                slope = order * (x * p - before) / (x * x - 1.0);
                x -= p / slope;
            }
            (0.5 * (1.0 - x), 1.0 / ((1.0 - x * x) * slope * slope))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, relative: f64) {
        assert!((a - b).abs() <= relative * b.abs(), "{a} is not {b}");
    }

    #[test]
    fn chi_squared_tails_agree_with_the_tables() {
        // Quantiles at 5 %, 1 % and 0.1 %: Abramowitz & Stegun table 26.8.
        for (freedom, p, x) in [
            (1, 0.05, 3.841459),
            (1, 0.001, 10.827566),
            (2, 0.01, 9.210340),
            (3, 0.05, 7.814728),
            (3, 0.001, 16.266236),
            (4, 0.01, 13.276704),
            (5, 0.001, 20.515006),
            (10, 0.05, 18.307038),
            (30, 0.01, 50.892181),
        ] {
            close(chi_squared_survival(x, freedom), p, 2e-6);
            close(chi_squared_quantile_above(p, freedom), x, 1e-6);
        }
        assert_eq!(chi_squared_survival(-1.0, 3), 1.0);
        assert_eq!(chi_squared_survival(f64::NAN, 3), 1.0);
    }

    #[test]
    fn the_noncentral_density_is_the_central_one_at_zero_and_integrates_to_one() {
        // Central, 4 degrees: x e^-x/2 / 4.
        close(noncentral_chi_squared_density(3.0, 4.0, 0.0), 3.0 * (-1.5f64).exp() / 4.0, 1e-13);
        // One degree: the density of a squared shifted normal.
        let phi = |z: f64| (-z * z / 2.0).exp() / (2.0 * PI).sqrt();
        let (x, shift) = (2.5f64, 1.7f64);
        let squared = (phi(x.sqrt() - shift) + phi(x.sqrt() + shift)) / (2.0 * x.sqrt());
        close(noncentral_chi_squared_density(x, 1.0, shift * shift), squared, 1e-13);
        for (freedom, c) in [(2.0, 0.5), (3.0, 40.0), (5.0, 900.0)] {
            let end = 4.0 * (freedom + c) + 200.0;
            let total: f64 = gauss_legendre(400)
                .iter()
                .map(|(x, w)| w * end * noncentral_chi_squared_density(x * end, freedom, c))
                .sum();
            close(total, 1.0, 1e-6);
        }
    }

    #[test]
    fn the_normal_distribution_agrees_with_the_table() {
        close(normal_cdf(1.0), 0.841_344_746_068_543, 1e-12);
        close(normal_cdf(-3.0), 1.349_898_031_630_095e-3, 1e-12);
    }

    #[test]
    fn the_correction_turns_f_quantiles_into_chi_squared_ones() {
        // T2 = 3 nu / (nu - 2) F(3, nu - 2); F(0.01; 3, 60) = 4.12589, so nu = 62 and T2 = 12.7903.
        let t_squared = 3.0 * 62.0 / 60.0 * 4.125_89;
        close(corrected_t_squared(t_squared, 3, 62.0), chi_squared_quantile_above(0.01, 3), 5e-4);
    }

    #[test]
    fn quadrature_integrates_polynomials_exactly() {
        let sum: f64 = gauss_legendre(5).iter().map(|(x, w)| w * x.powi(9)).sum();
        close(sum, 0.1, 1e-13);
    }
}
