//! A machine as its sensors meet it: operating state, shaft and bearing as one acceleration, sample by sample.
//!
//! The slow quantities are those of the light model ([`Machine`]), with the bearing's heat from friction instead of load.
//! Acceleration is made only for samples that somebody takes: time in between is passed over in one step.
//!
//! Depends on the seed, the machine's index and the times asked, on nothing else.

use fettle_wire::Micros;

use super::bearing::Knock;
use super::shaft::Shaft;
use super::{Machine, State};
use crate::random::{Purpose, Random};

/// How often the operating state is worked out anew while samples are taken, microseconds.
const STATE_EVERY: Micros = 5_000;
/// Broadband acceleration of a sound machine at rated speed and full load, m/s2: flow, rolling contact, the motor.
const BROADBAND: f64 = 0.6;
/// Noise of the accelerometer: 75 ug per root hertz (IIS3DWB, data sheet) over 6.3 kHz; m/s2.
const SENSOR_NOISE: f64 = 0.058;

/// A machine under simulated sensors.
#[derive(Debug, Clone)]
pub struct Physical {
    machine: Machine,
    state: State,
    at: Option<Micros>,
    shaft: Shaft,
    knock: Knock,
    random: Random,
    dt: f64,
}

impl Physical {
    /// Machine `index` of the fleet with `seed` under an accelerometer that takes `rate` samples a second.
    pub fn new(seed: u64, index: u64, machine: Machine, rate: f64) -> Self {
        let mut random = Random::new(seed, index, Purpose::Vibration);
        let dt = 1.0 / rate;
        let knock = Knock::new(machine.bearing(), dt, &mut random);
        let shaft = Shaft::new(machine.design());
        Self { machine, state: State::default(), at: None, shaft, knock, random, dt }
    }

    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The operating state at `now`, worked out anew if the last one is older than a few milliseconds.
    pub fn state(&mut self, now: Micros) -> State {
        if self.at.is_none_or(|at| now.saturating_sub(at) >= STATE_EVERY) {
            self.state = self.machine.state(now);
            self.at = Some(now);
        }
        self.state
    }

    fn frequency(&self) -> f64 {
        self.state.speed * self.machine.design().rated_speed_rpm / 60.0
    }

    /// The next sample of radial acceleration, m/s2, in the operating state last asked for.
    pub fn acceleration(&mut self) -> f64 {
        let frequency = self.frequency();
        let State { load, speed, severity, .. } = self.state;
        let turns = frequency * self.dt;
        self.shaft.advance(turns);
        let knock = self.knock.step(turns, self.shaft.turn(), severity, load, speed, &mut self.random);
        let broad = BROADBAND * speed * (0.5 + 0.5 * load) * (1.0 + severity);
        let noise = (broad * broad + SENSOR_NOISE * SENSOR_NOISE).sqrt() * self.random.gaussian();
        self.shaft.acceleration(frequency) + knock + noise
    }

    /// Passes over `seconds` that nobody samples.
    pub fn pass(&mut self, seconds: f64) {
        let turns = self.frequency() * seconds;
        self.shaft.advance(turns);
        self.knock.pass(turns);
    }
}
