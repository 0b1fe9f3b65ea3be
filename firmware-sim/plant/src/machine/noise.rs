//! Process noise with a memory: the Ornstein-Uhlenbeck process, exact at any step.

use crate::random::Random;

/// A quantity that wanders about 0 with standard deviation `sigma` and forgets within `tau` seconds. Discretised
/// exactly: `x' = a x + sigma sqrt(1 - a^2) n` with `a = exp(-dt / tau)`, so its law does not depend on the interval.
#[derive(Debug, Clone)]
pub(crate) struct Wander {
    sigma: f64,
    tau: f64,
    value: f64,
    step: f64,
    keep: f64,
    fresh: f64,
}

impl Wander {
    pub(crate) fn new(sigma: f64, tau: f64) -> Self {
        Self { sigma, tau, value: 0.0, step: f64::INFINITY, keep: 0.0, fresh: sigma }
    }

    /// Moves on by `seconds` and returns the value. An infinite step forgets everything.
    pub(crate) fn step(&mut self, seconds: f64, random: &mut Random) -> f64 {
        if seconds != self.step {
            self.step = seconds;
            self.keep = (-seconds / self.tau).exp();
            self.fresh = self.sigma * (1.0 - self.keep * self.keep).sqrt();
        }
        self.value = self.keep * self.value + self.fresh * random.gaussian();
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    #[test]
    fn variance_and_memory_are_those_asked_for() {
        let (mut random, mut wander) = (Random::new(1, 1, Purpose::Process), Wander::new(2.0, 10.0));
        wander.step(f64::INFINITY, &mut random);
        let x: Vec<f64> = (0..200_000).map(|_| wander.step(1.0, &mut random)).collect();
        let product = |lag: usize| x.iter().zip(&x[lag..]).map(|(a, b)| a * b).sum::<f64>() / (x.len() - lag) as f64;
        assert!((product(0) - 4.0).abs() < 0.2, "{}", product(0));
        assert!((product(10) / product(0) - (-1f64).exp()).abs() < 0.03, "{}", product(10) / product(0));
    }
}
