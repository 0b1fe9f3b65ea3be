//! Bearing temperature: first-order lag towards what ambient and either load and fault, or friction, ask for.

use fettle_wire::Micros;
use fettle_wire::time::DAY;

use super::{Design, Wander};
use crate::channel::Channel;
use crate::random::Random;

/// How much of the distance to its limit the temperature has gone when vibration has reached its own.
const SHARE_AT_FAILURE: f64 = 0.6;

#[derive(Debug, Clone)]
pub(crate) struct Thermal {
    ambient: f64,
    rise: f64,
    tau: f64,
    excess: f64,
    value: f64,
    wander: Wander,
}

impl Thermal {
    pub(crate) fn new(design: &Design) -> Self {
        let usual = design.ambient_cel + design.heat_rise_k * 0.65;
        let limit = Channel::Temperature.limit().unwrap_or(usual);
        Self {
            ambient: design.ambient_cel,
            rise: design.heat_rise_k,
            tau: design.thermal_s,
            excess: (limit - usual) * SHARE_AT_FAILURE,
            value: usual,
            wander: Wander::new(0.25, 600.0),
        }
    }

    /// The hall is warmest at 15:00 UTC, 3 K above its mean.
    fn hall(&self, time: Micros) -> f64 {
        let phase = (time.rem_euclid(DAY) as f64 / DAY as f64 - 0.625) * std::f64::consts::TAU;
        self.ambient + 3.0 * phase.cos()
    }

    /// Where the temperature tends to, in the light model.
    pub(crate) fn target(&self, time: Micros, load: f64, severity: f64) -> f64 {
        self.hall(time) + self.rise * load.powf(1.5) + self.excess * severity
    }

    /// Where the temperature tends to when friction makes `heat` of what it makes at the rated point.
    pub(crate) fn target_by_friction(&self, time: Micros, heat: f64) -> f64 {
        self.hall(time) + self.rise * heat
    }

    pub(crate) fn step(&mut self, seconds: f64, target: f64, random: &mut Random) -> f64 {
        self.value = target + (self.value - target) * (-seconds / self.tau).exp();
        self.value + self.wander.step(seconds, random)
    }

    #[cfg(test)]
    pub(crate) fn value(&self) -> f64 {
        self.value
    }

    #[cfg(test)]
    pub(crate) fn settle(&mut self, value: f64) {
        self.value = value;
    }
}
