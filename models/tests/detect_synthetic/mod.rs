//! A synthetic machine for the tests of detection: speed and load by a daily programme, vibration, temperature with
//! stored heat, and current; autocorrelated noise; written apart from the detector's own assumptions. Seeded.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "names and units below are constants")]

use fettle_models::Role;
use fettle_models::detect::{DetectorParams, Layout};
use fettle_wire::time::{DAY, MINUTE};
use fettle_wire::{Name, Unit};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Length of the shocks' tails.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Tails {
    Gaussian,
    /// Student's t with 5 degrees, scaled to variance 1.
    Student5,
}

/// What departs from the ideal.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub tails: Tails,
    /// White sensor noise on top of the autocorrelated process, in standard deviations of the process' shocks.
    pub sensor_noise: f64,
    /// Temperature noise that does not pass through the machine's heat capacity, but has memory of its own.
    pub foreign_heat: bool,
    /// Current noise that grows with the square of the load, and a current that is no polynomial of it.
    pub load_noise: bool,
}

pub const IDEAL: Kind = Kind { tails: Tails::Gaussian, sensor_noise: 0.0, foreign_heat: false, load_noise: false };

pub struct Machine {
    rng: ChaCha8Rng,
    kind: Kind,
    minute: i64,
    wander: f64,
    noise: [f64; 3],
    heat: f64,
    offset: f64,
}

/// Channels in the order of the layout.
pub const CURRENT: usize = 0;
pub const LOAD: usize = 1;
pub const SPEED: usize = 2;
pub const TEMPERATURE: usize = 3;
pub const VIBRATION: usize = 4;

pub fn layout() -> Layout {
    let channel = |name: &str, role, unit: &str| (Name::new(name).unwrap(), role, Unit::from_code(unit).unwrap(), None);
    let channels = vec![
        channel("current", Role::Monitored, "A"),
        channel("load", Role::Operating, "1"),
        channel("speed", Role::Operating, "rad/s"),
        channel("temperature", Role::Monitored, "K"),
        channel("vibration", Role::Monitored, "m/s"),
    ];
    Layout { channels }
}

pub fn params(false_alarms_per_asset_month: f64) -> DetectorParams {
    DetectorParams {
        slide: MINUTE,
        baseline_slides: 1440,
        false_alarms_per_asset_month,
        lambda: 0.1,
        max_imputed_share: 0.34,
        rul_horizon: 365 * DAY,
    }
}

pub fn seeded(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

pub fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    ((rng.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

pub fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v) = (uniform(rng), uniform(rng));
    (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
}

impl Machine {
    pub fn new(seed: u64, kind: Kind) -> Self {
        let mut rng = seeded(seed);
        let offset = uniform(&mut rng) * DAY as f64 / MINUTE as f64;
        Self { rng, kind, minute: 0, wander: 0.0, noise: [0.0; 3], heat: 320.0, offset }
    }

    fn shock(&mut self) -> f64 {
        match self.kind.tails {
            Tails::Gaussian => normal(&mut self.rng),
            Tails::Student5 => {
                let chi: f64 = (0..5).map(|_| normal(&mut self.rng).powi(2)).sum();
                normal(&mut self.rng) / (chi / 5.0).sqrt() * (3.0f64 / 5.0).sqrt()
            }
        }
    }

    /// The means of the next minute.
    #[allow(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> [f64; 5] {
        let day = (self.minute as f64 + self.offset) / 1440.0;
        self.minute += 1;
        self.wander = 0.9 * self.wander + 0.02 * normal(&mut self.rng);
        let load = 0.6 + 0.2 * (2.0 * std::f64::consts::PI * day).sin() + self.wander;
        let step = [150.0, 157.0, 140.0][(day * 3.0).rem_euclid(3.0) as usize];
        let speed = step + 0.5 * normal(&mut self.rng);
        for (i, memory) in [0.3, 0.8, 0.6].into_iter().enumerate() {
            let shock = self.shock();
            self.noise[i] = memory * self.noise[i] + shock;
        }
        let sensor: [f64; 3] = std::array::from_fn(|_| self.kind.sensor_noise * normal(&mut self.rng));
        let (idle, rough) = if self.kind.load_noise {
            (8.0f64.hypot(20.0 * load), (load / 0.6).powi(2))
        } else {
            (5.0 + 20.0 * load, 1.0)
        };
        let current = idle + 0.2 * (rough * self.noise[0] + sensor[0]);
        let inner = if self.kind.foreign_heat { 0.0 } else { 0.1 * self.shock() };
        self.heat += (310.0 + 40.0 * load - self.heat) / 20.0 + inner;
        let outer = if self.kind.foreign_heat { 0.2 * self.noise[1] } else { 0.0 };
        let temperature = self.heat + outer + 0.1 * sensor[1];
        let vibration = 1e-3 + 2e-3 * (speed / 157.0).powi(2) + 5e-4 * load + 5e-5 * (self.noise[2] + sensor[2]);
        [current, load, speed, temperature, vibration]
    }
}
