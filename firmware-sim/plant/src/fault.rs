//! A fault that grows: from its onset to the machine's failure.
//!
//! Severity is 0 before the onset and 1 at the failure, which is the moment the vibration of a machine at its usual
//! load reaches its limit; for a machine under simulated chips, the moment its bearing's spall reaches the area at which
//! a bearing is said to have failed. The machine model turns severity into signals.

use fettle_wire::Micros;
use serde::Serialize;

/// How severity grows between onset and failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Growth {
    /// By the same amount in equal times.
    Linear,
    /// By the same factor in equal times: `(e^(k u) - 1) / (e^k - 1)` with `k` = 4, so that half of the damage comes in
    /// the last sixth of the time.
    Exponential,
    /// As a spall grows: severity is its length as a part of that at the failure, so it begins at 0.04, when the first
    /// spot breaks out. Its area `D` follows `dD/dt = C D^n` (Y. Li et al., Adaptive prognostics for rolling element
    /// bearing condition, Mech. Syst. Signal Process. 13 (1999) 103-113), here with `n` = 1.2 and `C` such that `D` goes
    /// from [`SPALL_AT_ONSET`] to [`SPALL_AT_FAILURE`] in the time to failure.
    Spall,
}

const STEEPNESS: f64 = 4.0;

/// Area of a spall when it breaks out, mm2.
pub const SPALL_AT_ONSET: f64 = 0.01;
/// Area of a spall at which the bearing has failed, mm2: 0.01 square inch, the usual end of a bearing's life test.
pub const SPALL_AT_FAILURE: f64 = 6.45;
/// The exponent of the law of growth.
const SPALL_EXPONENT: f64 = 1.2;

/// Area of the spall in mm2, a share `u` of the time from onset to failure after the onset: the law integrated,
/// `D^(1-n) = D0^(1-n) - u (D0^(1-n) - D1^(1-n))`.
fn spall_area(u: f64) -> f64 {
    let power = 1.0 - SPALL_EXPONENT;
    let (begin, end) = (SPALL_AT_ONSET.powf(power), SPALL_AT_FAILURE.powf(power));
    // Beyond the failure the law goes to infinity in finite time; severity is cut off before.
    (begin - u * (begin - end)).max(0.5 * end).powf(1.0 / power)
}

/// A machine that reaches its limit is not switched off; its severity stays at this value beyond the failure.
const WORST: f64 = 1.25;

/// A growing fault of one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// When severity leaves 0.
    pub onset: Micros,
    /// When severity reaches 1; later than the onset.
    pub failure: Micros,
    /// How it grows.
    pub growth: Growth,
}

impl Fault {
    /// The severity at `time`.
    pub fn severity(&self, time: Micros) -> f64 {
        if time <= self.onset {
            return 0.0;
        }
        let span = self.failure.saturating_sub(self.onset).max(1) as f64;
        let u = time.saturating_sub(self.onset) as f64 / span;
        let severity = match self.growth {
            Growth::Linear => u,
            Growth::Exponential => (STEEPNESS * u).exp_m1() / STEEPNESS.exp_m1(),
            Growth::Spall => (spall_area(u) / SPALL_AT_FAILURE).sqrt(),
        };
        severity.min(WORST)
    }

    /// The area of the spall at `time` in mm2, for a bearing whose severity is its spall's length.
    pub fn spall_mm2(&self, time: Micros) -> f64 {
        let length = self.severity(time);
        length * length * SPALL_AT_FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_is_0_at_onset_1_at_failure_and_never_falls() {
        for growth in [Growth::Linear, Growth::Exponential, Growth::Spall] {
            let fault = Fault { onset: 1_000, failure: 2_000, growth };
            assert_eq!(fault.severity(0), 0.0);
            assert_eq!(fault.severity(1_000), 0.0);
            assert!((fault.severity(2_000) - 1.0).abs() < 1e-12);
            let path: Vec<f64> = (0..400).map(|i| fault.severity(i * 10)).collect();
            assert!(path.is_sorted() && path.iter().all(|s| *s <= WORST));
        }
    }

    #[test]
    fn a_spall_grows_by_the_law_it_cites() {
        let fault = Fault { onset: 0, failure: 1_000_000, growth: Growth::Spall };
        assert!((fault.spall_mm2(1) - SPALL_AT_ONSET).abs() < 1e-4);
        assert!((fault.spall_mm2(1_000_000) - SPALL_AT_FAILURE).abs() < 1e-9);
        // dD/dt = C D^n: the same C at every size.
        let c = |at: i64| {
            let rate = (fault.spall_mm2(at + 100) - fault.spall_mm2(at - 100)) / 200.0;
            rate / fault.spall_mm2(at).powf(SPALL_EXPONENT)
        };
        for at in [300_000, 600_000, 900_000] {
            assert!((c(at) / c(100_000) - 1.0).abs() < 1e-3, "{at}: {} {}", c(at), c(100_000));
        }
    }

    #[test]
    fn exponential_growth_comes_late() {
        let fault = Fault { onset: 0, failure: 600, growth: Growth::Exponential };
        assert!(fault.severity(300) < 0.13 && (fault.severity(500) - 0.5).abs() < 0.01, "{}", fault.severity(500));
    }
}
