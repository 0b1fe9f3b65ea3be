//! Seeded random numbers: one independent stream per (seed, machine, purpose), so that what one machine or one purpose
//! draws never changes another's.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream is drawn for.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Purpose {
    Design = 0,
    Process = 1,
    Measurement = 2,
    Fault = 3,
    Weather = 4,
    Clock = 5,
    Bearing = 6,
    Vibration = 7,
    Chip = 8,
    SensorFault = 9,
    Bus = 10,
    Life = 11,
}

/// One stream of random numbers.
#[derive(Debug, Clone)]
pub struct Random {
    source: ChaCha8Rng,
    spare: Option<f64>,
}

impl Random {
    /// The stream of `purpose` for machine `index` of the fleet with `seed`.
    pub fn new(seed: u64, index: u64, purpose: Purpose) -> Self {
        let mut source = ChaCha8Rng::seed_from_u64(seed);
        source.set_stream(index.wrapping_mul(16).wrapping_add(purpose as u64));
        Self { source, spare: None }
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.source.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in [low, high).
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// True with probability `share`. Draws nothing for a share of 0.
    pub fn hit(&mut self, share: f64) -> bool {
        share > 0.0 && self.uniform() < share
    }

    /// Standard normal (Marsaglia and Bray's polar method).
    pub fn gaussian(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (u, v) = (self.between(-1.0, 1.0), self.between(-1.0, 1.0));
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                let scale = (-2.0 * s.ln() / s).sqrt();
                self.spare = Some(v * scale);
                return u * scale;
            }
        }
    }
}

/// A boot id, as a node draws it from its hardware; never from the seed, because two runs must not share sequences.
pub fn boot_id() -> Result<u64, getrandom::Error> {
    getrandom::u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaussian_has_mean_0_and_variance_1_and_normal_tails() {
        let mut random = Random::new(1, 2, Purpose::Process);
        let n = 200_000;
        let draws: Vec<f64> = (0..n).map(|_| random.gaussian()).collect();
        let mean = draws.iter().sum::<f64>() / f64::from(n);
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
        let beyond = draws.iter().filter(|x| x.abs() > 1.959_964).count() as f64 / f64::from(n);
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        assert!((beyond - 0.05).abs() < 0.003, "{beyond}");
    }

    #[test]
    fn streams_differ_by_machine_and_purpose_and_repeat_by_seed() {
        let draw = |seed, index, purpose| Random::new(seed, index, purpose).uniform();
        assert_eq!(draw(1, 0, Purpose::Process), draw(1, 0, Purpose::Process));
        assert_ne!(draw(1, 0, Purpose::Process), draw(1, 1, Purpose::Process));
        assert_ne!(draw(1, 0, Purpose::Process), draw(1, 0, Purpose::Measurement));
        assert_ne!(draw(1, 0, Purpose::Process), draw(2, 0, Purpose::Process));
    }
}
