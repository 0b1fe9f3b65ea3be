//! Vibration velocity on the bearing housing, mm/s RMS 10-1000 Hz as one level.
//!
//! Unbalance grows with the square of the speed, the rest a little with the load; a fault multiplies the level so that
//! a machine at its usual load reaches the limit at severity 1.

use super::{Design, Wander};
use crate::channel::Channel;
use crate::random::Random;

#[derive(Debug, Clone)]
pub(crate) struct Vibration {
    level: f64,
    gain: f64,
    wander: Wander,
}

/// The load at which a machine is said to run as usual.
const USUAL_LOAD: f64 = 0.75;

impl Vibration {
    /// `noise` is how much its level wanders, 1 as usual.
    pub(crate) fn new(design: &Design, noise: f64) -> Self {
        let usual = healthy(design.vibration_mm_s, super::profile::speed(USUAL_LOAD), USUAL_LOAD);
        let limit = Channel::Vibration.limit().unwrap_or(usual);
        Self { level: design.vibration_mm_s, gain: limit / usual - 1.0, wander: Wander::new(0.03 * noise, 120.0) }
    }

    pub(crate) fn step(&mut self, seconds: f64, speed: f64, load: f64, severity: f64, random: &mut Random) -> f64 {
        healthy(self.level, speed, load) * (1.0 + self.gain * severity) * (1.0 + self.wander.step(seconds, random))
    }
}

fn healthy(level: f64, speed: f64, load: f64) -> f64 {
    level * (0.25 + 0.6 * speed * speed + 0.15 * load)
}
