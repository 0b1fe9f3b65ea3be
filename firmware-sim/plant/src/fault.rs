//! A fault that grows: from its onset to the machine's failure.
//!
//! Severity is 0 before the onset and 1 at the failure, which is the moment the vibration of a machine at its usual
//! load reaches its limit. The machine model turns severity into signals.

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
}

const STEEPNESS: f64 = 4.0;

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
        };
        severity.min(WORST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_is_0_at_onset_1_at_failure_and_never_falls() {
        for growth in [Growth::Linear, Growth::Exponential] {
            let fault = Fault { onset: 1_000, failure: 2_000, growth };
            assert_eq!(fault.severity(0), 0.0);
            assert_eq!(fault.severity(1_000), 0.0);
            assert!((fault.severity(2_000) - 1.0).abs() < 1e-12);
            let path: Vec<f64> = (0..400).map(|i| fault.severity(i * 10)).collect();
            assert!(path.is_sorted() && path.iter().all(|s| *s <= WORST));
        }
    }

    #[test]
    fn exponential_growth_comes_late() {
        let fault = Fault { onset: 0, failure: 600, growth: Growth::Exponential };
        assert!(fault.severity(300) < 0.13 && (fault.severity(500) - 0.5).abs() < 0.01, "{}", fault.severity(500));
    }
}
