//! A rolling-element bearing: geometry and its frequencies, friction, and a spall that knocks.
//!
//! Frequencies are the kinematic ones of a bearing that rolls without slip, its outer ring at rest (T. A. Harris, Rolling
//! Bearing Analysis). A spalled spot is rolled over at one of them; each time an impact excites a resonance of the housing
//! that decays (P. D. McFadden, J. D. Smith, J. Sound Vib. 96 (1984) 69-82). Real bearings slip a little, so the time from
//! impact to impact wanders by about one per cent, and errors add up rather than cancel (J. Antoni, R. B. Randall, J. Vib.
//! Acoust. 125 (2003) 282-289).
//!
//! The amplitude of an impact grows with the length of the spall, the load and the speed. Its value at the failure is this
//! model's own assumption, not a standard's.

use std::f64::consts::TAU;

use serde::Serialize;

use crate::random::{Purpose, Random};

/// What a bearing is made of. Angles in degrees, lengths in mm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Geometry {
    /// Rolling elements.
    pub balls: u32,
    /// Their diameter.
    pub ball_diameter_mm: f64,
    /// The diameter of the circle their centres run on.
    pub pitch_diameter_mm: f64,
    /// Contact angle.
    pub contact_angle_deg: f64,
}

impl Geometry {
    /// `d/D cos(contact angle)`.
    fn ratio(&self) -> f64 {
        self.ball_diameter_mm / self.pitch_diameter_mm * self.contact_angle_deg.to_radians().cos()
    }

    /// Ball pass order of the outer ring: `n/2 (1 - d/D cos a)` per turn of the shaft.
    pub fn bpfo(&self) -> f64 {
        0.5 * f64::from(self.balls) * (1.0 - self.ratio())
    }

    /// Ball pass order of the inner ring: `n/2 (1 + d/D cos a)`.
    pub fn bpfi(&self) -> f64 {
        0.5 * f64::from(self.balls) * (1.0 + self.ratio())
    }

    /// Ball spin order: `D/2d (1 - (d/D cos a)^2)`. A spot on a ball strikes both rings, at twice this.
    pub fn bsf(&self) -> f64 {
        0.5 * self.pitch_diameter_mm / self.ball_diameter_mm * (1.0 - self.ratio() * self.ratio())
    }

    /// Order of the cage: `1/2 (1 - d/D cos a)`.
    pub fn ftf(&self) -> f64 {
        0.5 * (1.0 - self.ratio())
    }
}

/// Which part of a bearing is spalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Component {
    /// The outer ring's raceway, in the load zone.
    OuterRing,
    /// The inner ring's raceway, which turns through the load zone.
    InnerRing,
    /// A ball.
    Ball,
}

impl Component {
    /// Impacts per turn of the shaft.
    pub fn order(self, geometry: &Geometry) -> f64 {
        match self {
            Self::OuterRing => geometry.bpfo(),
            Self::InnerRing => geometry.bpfi(),
            Self::Ball => 2.0 * geometry.bsf(),
        }
    }
}

/// A bearing as it is fitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bearing {
    /// Its designation.
    pub designation: &'static str,
    /// Its geometry.
    pub geometry: Geometry,
    /// The part that will spall, if one does.
    pub component: Component,
}

/// Deep-groove ball bearings of the 63 series by the machine's power in kW, up to which each is fitted: bore and outside
/// diameter are ISO 15's, the ball's is a usual one; makers differ by a few per cent.
const FITTED: [(f64, &str, u32, f64, f64); 3] =
    [(20.0, "6309", 8, 17.462, 72.5), (60.0, "6312", 8, 22.225, 95.0), (f64::INFINITY, "6316", 8, 28.575, 125.0)];

impl Bearing {
    /// The bearing of machine `index`, by its power.
    pub(crate) fn draw(seed: u64, index: u64, power_kw: f64) -> Self {
        let mut random = Random::new(seed, index, Purpose::Bearing);
        // Outer rings, which stand in the load zone, fail most often.
        let component = match random.uniform() {
            lot if lot < 0.6 => Component::OuterRing,
            lot if lot < 0.9 => Component::InnerRing,
            _ => Component::Ball,
        };
        let (_, designation, balls, ball, pitch) =
            FITTED.into_iter().find(|f| power_kw <= f.0).unwrap_or(FITTED[FITTED.len() - 1]);
        let geometry = Geometry { balls, ball_diameter_mm: ball, pitch_diameter_mm: pitch, contact_angle_deg: 0.0 };
        Self { designation, geometry, component }
    }
}

/// Amplitude of an impact at the failure, at rated speed and full load; m/s2.
const IMPACT_AT_FAILURE: f64 = 40.0;
/// Slip: the time to the next impact wanders by this much of itself.
const SLIP: f64 = 0.01;
/// Impacts differ in strength by this much.
const SPREAD: f64 = 0.15;

/// What the spall of a bearing shakes.
#[derive(Debug, Clone)]
pub(crate) struct Knock {
    order: f64,
    cage: f64,
    component: Component,
    /// Impacts until the next one, in periods.
    until: f64,
    /// Turns of the cage, modulo 1.
    cage_turn: f64,
    /// The resonance: its last two outputs, and how a step makes the next.
    y: [f64; 2],
    feedback: [f64; 2],
    drive: f64,
}

impl Knock {
    /// A resonance drawn for this housing, at samples of `dt` seconds.
    pub(crate) fn new(bearing: &Bearing, dt: f64, random: &mut Random) -> Self {
        let (frequency, damping) = (random.between(2_600.0, 4_200.0), random.between(0.03, 0.05));
        // An exact discrete copy of a decaying sinusoid: r^n sin(n w) for an impulse of 1.
        let r = (-damping * TAU * frequency * dt).exp();
        let w = frequency * (1.0 - damping * damping).sqrt() * TAU * dt;
        Self {
            order: bearing.component.order(&bearing.geometry),
            cage: bearing.geometry.ftf(),
            component: bearing.component,
            until: random.uniform(),
            cage_turn: random.uniform(),
            y: [0.0; 2],
            feedback: [2.0 * r * w.cos(), -r * r],
            drive: w.sin(),
        }
    }

    /// One sample further, during which the shaft made `turns` and stands at `turn`: m/s2. `severity` is the spall's length
    /// as a part of that at the failure; `load` and `speed` are shares of the rated ones.
    pub(crate) fn step(
        &mut self,
        turns: f64,
        turn: f64,
        severity: f64,
        load: f64,
        speed: f64,
        random: &mut Random,
    ) -> f64 {
        self.until -= turns * self.order;
        self.cage_turn = (self.cage_turn + turns * self.cage).fract();
        let mut impulse = 0.0;
        if self.until <= 0.0 {
            self.until += 1.0 + SLIP * random.gaussian();
            let strength = 1.0 + SPREAD * random.gaussian();
            impulse = IMPACT_AT_FAILURE * severity * (0.4 + 0.6 * load) * speed * strength * self.zone(turn);
        }
        let next = self.feedback[0] * self.y[0] + self.feedback[1] * self.y[1] + self.drive * impulse;
        self.y = [next, self.y[0]];
        next
    }

    /// How much of the load bears on the spot: it stands in the load zone, or turns through it with shaft or cage.
    fn zone(&self, turn: f64) -> f64 {
        match self.component {
            Component::OuterRing => 1.0,
            Component::InnerRing => 0.2 + 0.8 * (turn * TAU).cos().max(0.0),
            Component::Ball => 0.2 + 0.8 * (self.cage_turn * TAU).cos().max(0.0),
        }
    }

    /// Time nobody looks at goes by: `turns` of the shaft.
    pub(crate) fn pass(&mut self, turns: f64) {
        self.until -= turns * self.order;
        self.until -= self.until.floor();
        self.cage_turn = (self.cage_turn + turns * self.cage).fract();
        self.y = [0.0; 2];
    }
}

/// How much of the friction at rated speed and full load is the lubricant's.
const VISCOUS: f64 = 0.4;
/// How much more the load-dependent friction is at the failure: a rough raceway, and a lubricant full of its debris.
const WEAR_FRICTION: f64 = 2.2;

/// Heat made by friction, as a part of that of a sound bearing at rated speed and full load. After Palmgren: a viscous
/// moment with the speed to two thirds and a moment with the load, their sum times the speed (Harris, chapter on friction).
pub(crate) fn friction_heat(speed: f64, load: f64, severity: f64) -> f64 {
    let viscous = VISCOUS * speed.max(0.0).powf(2.0 / 3.0);
    let loaded = (1.0 - VISCOUS) * load * (1.0 + WEAR_FRICTION * severity);
    speed * (viscous + loaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(balls: u32, ball: f64, pitch: f64) -> Geometry {
        Geometry { balls, ball_diameter_mm: ball, pitch_diameter_mm: pitch, contact_angle_deg: 0.0 }
    }

    #[test]
    fn the_orders_are_those_published_for_the_bearings_of_case_western_reserve() {
        // SKF 6205 and 6203 of the CWRU Bearing Data Center, whose page gives these multiples of the running speed.
        for (geometry, [inner, outer, cage, ball]) in [
            (geometry(9, 7.94, 39.04), [5.4152, 3.5848, 0.39828, 4.7135]),
            (geometry(8, 6.746, 28.5), [4.9469, 3.0530, 0.3817, 3.9874]),
        ] {
            for (found, expected) in [
                (geometry.bpfi(), inner),
                (geometry.bpfo(), outer),
                (geometry.ftf(), cage),
                (2.0 * geometry.bsf(), ball),
            ] {
                assert!((found / expected - 1.0).abs() < 1e-3, "{found} instead of {expected}");
            }
        }
    }

    #[test]
    fn ball_pass_orders_add_up_to_the_number_of_balls_at_any_contact_angle() {
        let tilted = Geometry { contact_angle_deg: 25.0, ..geometry(9, 7.94, 39.04) };
        assert!((tilted.bpfo() + tilted.bpfi() - 9.0).abs() < 1e-12);
        assert!(tilted.bpfo() > geometry(9, 7.94, 39.04).bpfo());
    }

    #[test]
    fn an_impact_rings_and_decays() {
        let bearing = Bearing::draw(1, 0, 30.0);
        let mut random = Random::new(1, 0, Purpose::Vibration);
        let dt = 1.0 / 26_667.0;
        let mut knock = Knock::new(&bearing, dt, &mut random);
        knock.until = 0.0;
        let ring: Vec<f64> = (0..200).map(|_| knock.step(1e-9, 0.0, 1.0, 1.0, 1.0, &mut random)).collect();
        let peak = |part: &[f64]| part.iter().fold(0.0f64, |a, b| a.max(b.abs()));
        assert!(peak(&ring[..20]) > 5.0, "{}", peak(&ring[..20]));
        assert!(peak(&ring[150..]) < 0.1 * peak(&ring[..20]));
        assert!(ring.windows(2).filter(|w| w[0] * w[1] < 0.0).count() > 20, "it oscillates");
    }

    #[test]
    fn friction_is_1_at_the_rated_point_and_grows_with_speed_load_and_wear() {
        assert!((friction_heat(1.0, 1.0, 0.0) - 1.0).abs() < 1e-12);
        assert!(friction_heat(0.9, 1.0, 0.0) < 1.0 && friction_heat(1.0, 0.9, 0.0) < 1.0);
        assert!(friction_heat(1.0, 1.0, 0.5) > 1.2);
    }
}
