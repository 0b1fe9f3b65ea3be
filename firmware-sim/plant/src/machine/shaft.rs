//! The shaft: where it stands, and what its unbalance and misalignment shake.
//!
//! Unbalance is a rotating force: displacement of constant amplitude at the rotation frequency, so acceleration with the
//! square of the speed. Misalignment is taken as 0.3 of that acceleration at twice the frequency.

use std::f64::consts::{SQRT_2, TAU};

use super::Design;

/// Of the name plate's vibration level, which is all of 10-1000 Hz, the part that is unbalance.
const UNBALANCE_SHARE: f64 = 0.7;
/// The second order's acceleration as a part of the first's.
const MISALIGNMENT: f64 = 0.3;

/// A turning shaft.
#[derive(Debug, Clone)]
pub(crate) struct Shaft {
    /// Displacement amplitude at the first order, m.
    displacement: f64,
    /// Turns since the beginning, modulo 1.
    turn: f64,
}

impl Shaft {
    pub(crate) fn new(design: &Design) -> Self {
        let omega = design.rated_speed_rpm / 60.0 * TAU;
        let velocity = SQRT_2 * UNBALANCE_SHARE * design.vibration_mm_s * 1e-3;
        Self { displacement: velocity / omega, turn: 0.0 }
    }

    /// Where it stands, in turns.
    pub(crate) fn turn(&self) -> f64 {
        self.turn
    }

    /// Turns on by `turns`.
    pub(crate) fn advance(&mut self, turns: f64) {
        self.turn = (self.turn + turns).fract();
    }

    /// Acceleration in m/s2 at `frequency` turns a second.
    pub(crate) fn acceleration(&self, frequency: f64) -> f64 {
        let omega = frequency * TAU;
        let first = (self.turn * TAU).cos();
        // cos 2x = 2 cos^2 x - 1.
        let second = 2.0 * first * first - 1.0;
        self.displacement * omega * omega * (first + MISALIGNMENT * second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;

    #[test]
    fn unbalance_has_the_velocity_of_the_name_plate_and_grows_with_the_square_of_the_speed() {
        let machine = Machine::new(3, 1, None);
        let design = machine.design();
        let frequency = design.rated_speed_rpm / 60.0;
        let amplitude = |frequency: f64| {
            // The first Fourier coefficient over one turn, from 360 positions.
            let mut shaft = Shaft::new(design);
            let mut sum = 0.0;
            for _ in 0..360 {
                sum += shaft.acceleration(frequency) * (shaft.turn() * TAU).cos() / 180.0;
                shaft.advance(1.0 / 360.0);
            }
            sum
        };
        let velocity = amplitude(frequency) / (frequency * TAU) / SQRT_2 * 1e3;
        assert!((velocity - 0.7 * design.vibration_mm_s).abs() < 1e-6, "{velocity}");
        assert!((amplitude(frequency) / amplitude(0.5 * frequency) - 4.0).abs() < 1e-9);
    }
}
