//! At which frequencies a rolling bearing's defects knock, and how far such lines stand out.
//!
//! With the outer ring fixed, `f` the shaft's speed, `n` balls of diameter `d` on pitch diameter `D` at contact angle `a`
//! (Randall and Antoni 2011, MSSP 25, equations 1-4; `g = d / D cos a`):
//!
//! | line | part | frequency |
//! |---|---|---|
//! | BPFO | outer ring | `n f / 2 (1 - g)` |
//! | BPFI | inner ring | `n f / 2 (1 + g)` |
//! | BSF | ball or roller | `D f / 2d (1 - g^2)` |
//! | FTF | cage | `f / 2 (1 - g)` |
//!
//! Balls slip: real frequencies lie a per cent or two beside these, so a line is looked for within [`SLIP`] of its place,
//! once and at twice and three times the frequency.
//!
//! Strength. At each harmonic the highest line within the tolerance is divided by the local noise floor: the median of
//! the lines around, divided by ln 2, which is the mean of noise power whose distribution is exponential (as a
//! periodogram's is) and does not see a few neighbouring lines. The strength is the mean of those ratios in decibels: a
//! defect shows at every harmonic, while a line that lies near one harmonic by chance (three times BPFO and twice BPFI
//! are 0.7 % apart in a 6205) counts for a third. About 3 dB for noise alone, whatever its level; in four joined blocks
//! a real line stands 6 dB further out than in one, noise does not.

use serde::{Deserialize, Serialize};

use super::envelope::Envelope;

/// How far from its computed place a line may lie, relative.
pub const SLIP: f64 = 0.02;
/// Harmonics that are looked at.
pub const HARMONICS: u32 = 3;
/// Resolved frequencies on each side that give the noise floor.
const AROUND: usize = 16;
/// Resolved frequencies next to 0 that belong to the mean.
const MEAN: usize = 2;
/// A shaft slower than this stands still as far as bearings are concerned, Hz.
pub const LEAST_SPEED: f64 = 0.5;

/// Geometry of a rolling bearing, from its maker's data sheet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BearingGeometry {
    /// Balls or rollers in one row.
    pub balls: u32,
    /// Diameter of one, mm.
    pub ball_diameter_mm: f64,
    /// Diameter of the circle of their centres, mm.
    pub pitch_diameter_mm: f64,
    /// Contact angle, degrees; 0 for a deep groove bearing under radial load.
    #[serde(default)]
    pub contact_angle_deg: f64,
}

/// Where a bearing may be damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// Outer ring: BPFO.
    Outer,
    /// Inner ring: BPFI.
    Inner,
    /// Ball or roller: BSF.
    Ball,
    /// Cage: FTF.
    Cage,
}

impl Defect {
    /// All, in the order of arrays.
    pub const ALL: [Self; 4] = [Self::Outer, Self::Inner, Self::Ball, Self::Cage];

    /// The name of its line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Outer => "bpfo",
            Self::Inner => "bpfi",
            Self::Ball => "bsf",
            Self::Cage => "ftf",
        }
    }
}

impl BearingGeometry {
    /// What is wrong with it: (field, what must hold, what was found), all at once.
    pub fn problems(&self) -> Vec<(&'static str, &'static str, String)> {
        let mut problems = Vec::new();
        let positive = |x: f64| x > 0.0 && x.is_finite();
        if !(3..=200).contains(&self.balls) {
            problems.push(("balls", "must be a whole number from 3 to 200", self.balls.to_string()));
        }
        if !positive(self.ball_diameter_mm) {
            problems.push(("ball_diameter_mm", "must be above 0", self.ball_diameter_mm.to_string()));
        }
        if !positive(self.pitch_diameter_mm) || self.pitch_diameter_mm <= self.ball_diameter_mm {
            let rule = "must be above ball_diameter_mm: the balls run on a circle wider than themselves";
            problems.push(("pitch_diameter_mm", rule, self.pitch_diameter_mm.to_string()));
        }
        if !(0.0..90.0).contains(&self.contact_angle_deg) {
            problems.push(("contact_angle_deg", "must be from 0 to below 90", self.contact_angle_deg.to_string()));
        }
        problems
    }

    /// The frequencies in the order of [`Defect::ALL`] at `shaft` turns a second, Hz.
    pub fn frequencies(&self, shaft: f64) -> [f64; 4] {
        let ratio = self.ball_diameter_mm / self.pitch_diameter_mm;
        let g = ratio * libm::cos(self.contact_angle_deg.to_radians());
        let balls = f64::from(self.balls);
        [
            balls * shaft / 2.0 * (1.0 - g),
            balls * shaft / 2.0 * (1.0 + g),
            shaft / (2.0 * ratio) * (1.0 - g * g),
            shaft / 2.0 * (1.0 - g),
        ]
    }
}

/// How far the line at `frequency` and its harmonics stand out of the envelope's noise, dB; absent where the first cannot
/// be told from 0 or lies beyond the envelope's spectrum.
pub fn strength(envelope: &Envelope, frequency: f64) -> Option<f64> {
    let ratios = (1..=HARMONICS).map_while(|h| ratio(envelope, f64::from(h) * frequency));
    let decibels = ratios.map(|ratio| 10.0 * libm::log10(ratio));
    let (sum, count) = decibels.fold((0.0, 0_u32), |(sum, count), decibel| (sum + decibel, count + 1));
    let mean = sum / f64::from(count);
    mean.is_finite().then_some(mean)
}

fn ratio(envelope: &Envelope, frequency: f64) -> Option<f64> {
    let (power, spread) = (&envelope.power, envelope.spread);
    let place = frequency / envelope.step;
    let from = (place * (1.0 - SLIP)).floor();
    let to = (place * (1.0 + SLIP)).ceil();
    let first = MEAN * spread + 1;
    if !(from >= first as f64 && to + spread as f64 * 4.0 < power.len() as f64) {
        return None;
    }
    // Inside the spectrum, as just checked.
    let (from, to) = (from as usize, to as usize);
    let highest = power[from..=to].iter().copied().fold(0.0, f64::max);
    // Two lines on each side belong to what the window makes of the line itself.
    let below = first.max(from.saturating_sub((AROUND + 2) * spread))..first.max(from.saturating_sub(2 * spread));
    let above = (to + 1 + 2 * spread).min(power.len())..(to + 1 + (AROUND + 2) * spread).min(power.len());
    let mut around: Vec<f64> = power[below].iter().chain(&power[above]).copied().collect();
    let middle = around.len() / 2;
    if around.len() < 4 {
        return None;
    }
    let (_, median, _) = around.select_nth_unstable_by(middle, f64::total_cmp);
    let floor = *median / std::f64::consts::LN_2;
    (floor > 0.0 && highest > 0.0).then(|| highest / floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SKF 6205-2RS JEM as the bearing data centre of Case Western Reserve University states it: inches 0.3126 and 1.537.
    const SKF_6205: BearingGeometry =
        BearingGeometry { balls: 9, ball_diameter_mm: 7.94, pitch_diameter_mm: 39.04, contact_angle_deg: 0.0 };

    #[test]
    fn a_6205_has_the_multiples_of_running_speed_that_are_published_for_it() {
        // Case Western Reserve University, "Bearing Information": inner 5.4152, outer 3.5848, cage 0.39828, rolling
        // element 4.7135 (impacts on both rings: twice the spin frequency).
        let [outer, inner, ball, cage] = SKF_6205.frequencies(1.0);
        for (found, published) in [(outer, 3.5848), (inner, 5.4152), (cage, 0.398_28), (2.0 * ball, 4.7135)] {
            assert!((found - published).abs() < 5e-4, "{found} {published}");
        }
        assert_eq!(SKF_6205.frequencies(25.0)[0], 25.0 * outer);
    }

    #[test]
    fn an_angle_brings_the_rings_frequencies_together_and_their_sum_is_that_of_all_balls() {
        let angled = BearingGeometry { contact_angle_deg: 60.0, ..SKF_6205 };
        let (straight, angled) = (SKF_6205.frequencies(1.0), angled.frequencies(1.0));
        for [outer, inner, ..] in [straight, angled] {
            assert!((outer + inner - 9.0).abs() < 1e-12);
        }
        assert!((angled[1] - angled[0]) / (straight[1] - straight[0]) - 0.5 < 1e-12);
    }

    #[test]
    fn each_impossible_geometry_is_named() {
        let wrong =
            BearingGeometry { balls: 2, ball_diameter_mm: f64::NAN, pitch_diameter_mm: 5.0, contact_angle_deg: 90.0 };
        let fields: Vec<_> = wrong.problems().iter().map(|p| p.0).collect();
        assert_eq!(fields, ["balls", "ball_diameter_mm", "contact_angle_deg"]);
        let turned = BearingGeometry { pitch_diameter_mm: 7.0, ..SKF_6205 };
        assert_eq!(turned.problems()[0].0, "pitch_diameter_mm");
        assert!(SKF_6205.problems().is_empty());
    }

    fn envelope(power: Vec<f64>) -> Envelope {
        Envelope { band: (0.0, 0.0), kurtosis: 0.0, power, step: 1.0, spread: 1, gain: 1.0 }
    }

    /// Exponential noise of mean 1.
    fn noise(seed: u64) -> Vec<f64> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            -(((state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64).ln()
        };
        (0..1_000).map(|_| next()).collect()
    }

    #[test]
    fn noise_alone_has_the_same_small_strength_at_any_level() {
        let strengths: Vec<f64> = (1..200).map(|s| strength(&envelope(noise(s)), 90.0).unwrap()).collect();
        let mean = strengths.iter().sum::<f64>() / strengths.len() as f64;
        assert!((1.0..5.0).contains(&mean) && strengths.iter().all(|s| *s < 10.0), "{mean}");
        let (quiet, loud) = (noise(5), noise(5).iter().map(|p| 1e6 * p).collect());
        let [quiet, loud] = [quiet, loud].map(|p| strength(&envelope(p), 90.0).unwrap());
        assert!((quiet - loud).abs() < 1e-9);
    }

    #[test]
    fn a_line_is_found_where_slip_puts_it_and_not_beyond() {
        for (place, found) in [(90, true), (91, true), (89, true), (94, false), (85, false)] {
            let mut power = noise(3);
            let without = strength(&envelope(power.clone()), 90.0).unwrap();
            power[place] = 1_000.0;
            let strength = strength(&envelope(power), 90.0).unwrap();
            assert_eq!(strength > without + 5.0, found, "{place}: {strength} {without}");
        }
    }

    #[test]
    fn a_whole_series_counts_thrice_what_one_of_its_lines_does() {
        let with = |places: &[usize]| {
            let mut power = vec![1.0; 1_000];
            places.iter().for_each(|at| power[*at] = 1_000.0);
            strength(&envelope(power), 90.0).unwrap()
        };
        let none = with(&[]);
        assert!((with(&[90, 180, 270]) - none - 30.0).abs() < 1e-9);
        for one in [90, 180, 270] {
            assert!((with(&[one]) - none - 10.0).abs() < 1e-9);
        }
    }

    #[test]
    fn a_line_that_cannot_be_resolved_is_absent() {
        assert_eq!(strength(&envelope(noise(1)), 2.0), None);
        assert_eq!(strength(&envelope(noise(1)), 5_000.0), None);
        assert_eq!(strength(&envelope(noise(1)), f64::NAN), None);
        assert_eq!(strength(&envelope(vec![0.0; 1_000]), 90.0), None);
    }
}
