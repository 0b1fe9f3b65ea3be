//! Indicators from a window's moments: variance, skewness, kurtosis, RMS and slope.
//!
//! Population moments throughout: `m_k = M_k / n`. Skewness is m3 / m2^(3/2), kurtosis m4 / m2^2 (3 for a Gaussian),
//! the slope is the ordinary least-squares one. What is not defined, or not finite, is absent: an indicator is never NaN.

use fettle_wire::{Indicator, Name, Unit};

use crate::window::Summary;

/// The indicators of one channel over one window; absent when it has no readings.
pub fn indicator(channel: &Name, unit: Unit, summary: &Summary) -> Option<Indicator> {
    if summary.count == 0 {
        return None;
    }
    let n = f64::from(summary.count);
    let variance = summary.m2 / n;
    let defined = |x: f64| (summary.m2 > 0.0 && x.is_finite()).then_some(x);
    let slope = summary.covariance / summary.time_m2;
    Some(Indicator {
        channel: channel.clone(),
        unit: unit.si_code().into(),
        count: summary.count.into(),
        mean: summary.mean,
        variance,
        skewness: defined(summary.m3 / n / (variance * libm::sqrt(variance))),
        kurtosis: defined(summary.m4 / n / (variance * variance)),
        min: summary.min,
        max: summary.max,
        rms: libm::sqrt(summary.mean * summary.mean + variance),
        slope: (summary.time_m2 > 0.0 && slope.is_finite()).then_some(slope),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[(f64, f64)]) -> Option<Indicator> {
        indicator(&Name::new("t").unwrap(), Unit::ONE, &Summary::of(values.iter().copied()))
    }

    #[test]
    fn a_known_sample_has_its_known_indicators() {
        let i = of(&[(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 6.0)]).unwrap();
        assert_eq!((i.count, i.mean, i.variance, i.min, i.max), (4, 3.0, 3.5, 1.0, 6.0));
        assert!((i.rms - 12.5f64.sqrt()).abs() < 1e-15);
        assert!((i.skewness.unwrap() - 4.5 / 3.5f64.powf(1.5)).abs() < 1e-14);
        assert!((i.kurtosis.unwrap() - 24.5 / 3.5f64.powi(2)).abs() < 1e-14);
        assert!((i.slope.unwrap() - 1.6).abs() < 1e-14);
    }

    #[test]
    fn what_is_not_defined_is_absent() {
        assert_eq!(of(&[]), None);
        let one = of(&[(5.0, 7.0)]).unwrap();
        assert_eq!((one.skewness, one.kurtosis, one.slope), (None, None, None));
        let tiny = of(&[(0.0, 0.0), (1.0, 1e-160)]).unwrap();
        assert!(tiny.kurtosis.is_none_or(f64::is_finite) && tiny.skewness.is_none_or(f64::is_finite));
    }
}
