//! Lives that end: machines of one class wear out, fail, and are replaced by others of the class.
//!
//! Light model only. What machines of a class share (rated speed and power, pressure, thermal mass) is drawn from the
//! class's number, so that plants with other seeds have the same class; each life differs, by seed, machine and number:
//! how long it lasts, how early wear begins and how late it comes, how well it was from the first day, how it is loaded
//! and how much it shakes and warms.
//!
//! Wear grows from its onset to the failure as `s = s0 + (1 - s0) (e^(k u) - 1) / (e^k - 1)`, `u` the share of that time,
//! so the failure is the instant at which vibration at the usual load reaches its limit ([`crate::fault`]). The machine
//! stands from then on; after the pause another one, as good as new, begins the next life. The first machine has lived
//! for a while when the run begins.
//!
//! Everything is a function of (plan, seed, machine, start of the run): the ground truth can be written ahead.

use fettle_wire::Micros;
use serde::Serialize;

use crate::machine::{Design, Machine};
use crate::random::{Purpose, Random};

/// How lives go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LifePlan {
    /// Number of the class.
    pub class: u64,
    /// Mean length of a life.
    pub mean: Micros,
    /// Lives last between (1 - this) and (1 + this) times as long.
    pub spread: f64,
    /// From a failure to the next life.
    pub pause: Micros,
}

/// One life.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Life {
    /// Which of the asset's, from 1.
    pub life: u64,
    /// When it began, microseconds UTC; the first one's is before the run.
    pub begin_us: Micros,
    /// When wear sets in.
    pub onset_us: Micros,
    /// When it fails: true remaining life is the time until then.
    pub failure_us: Micros,
    /// Severity on the first day.
    pub initial: f64,
    /// How late wear comes: `k`.
    pub steepness: f64,
}

impl Life {
    /// The severity at `time`.
    pub fn severity(&self, time: Micros) -> f64 {
        let span = self.failure_us.saturating_sub(self.onset_us).max(1) as f64;
        let u = (time.saturating_sub(self.onset_us) as f64 / span).clamp(0.0, 1.0);
        self.initial + (1.0 - self.initial) * (self.steepness * u).exp_m1() / self.steepness.exp_m1()
    }
}

/// The lives of one asset: the present one, and how they go on.
#[derive(Debug, Clone)]
pub struct Lives {
    plan: LifePlan,
    seed: u64,
    index: u64,
    life: Life,
}

/// Random streams of one life: those of a machine that no fleet has.
fn stream(index: u64, life: u64) -> u64 {
    index + (life << 24)
}

impl Lives {
    /// The lives of machine `index` in a run that begins at `start`.
    pub fn new(plan: LifePlan, seed: u64, index: u64, start: Micros) -> Self {
        let mut first = Self::draw(&plan, seed, index, 1, start);
        // What it has lived already: uniform over its life but for the last fifth.
        let lived = Random::new(seed, stream(index, 0), Purpose::Life).between(0.0, 0.8);
        let before = ((first.failure_us - start) as f64 * lived) as Micros;
        first.begin_us -= before;
        first.onset_us -= before;
        first.failure_us -= before;
        Self { plan, seed, index, life: first }
    }

    fn draw(plan: &LifePlan, seed: u64, index: u64, number: u64, begin: Micros) -> Life {
        let mut random = Random::new(seed, stream(index, number), Purpose::Life);
        let length = plan.mean as f64 * random.between(1.0 - plan.spread, 1.0 + plan.spread);
        let onset = length * random.between(0.1, 0.5);
        Life {
            life: number,
            begin_us: begin,
            onset_us: begin.saturating_add(onset as Micros),
            failure_us: begin.saturating_add((length as Micros).max(1)),
            initial: random.between(0.0, 0.12),
            steepness: random.between(2.0, 5.0),
        }
    }

    /// The present life.
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// When the next one begins.
    pub fn replaced_at(&self) -> Micros {
        self.life.failure_us.saturating_add(self.plan.pause)
    }

    /// The next life has begun.
    pub fn replace(&mut self) {
        self.life = Self::draw(&self.plan, self.seed, self.index, self.life.life + 1, self.replaced_at());
    }

    /// The machine that lives it.
    pub fn machine(&self) -> Machine {
        let index = stream(self.index, self.life.life);
        // The first draws of the stream are the life itself.
        let mut random = Random::new(self.seed, index, Purpose::Design);
        let class = Design::draw(&mut Random::new(self.plan.class, 0, Purpose::Design));
        let mut vary = |value: f64, share: f64| value * random.between(1.0 - share, 1.0 + share);
        let design = Design {
            vibration_mm_s: vary(class.vibration_mm_s, 0.15),
            heat_rise_k: vary(class.heat_rise_k, 0.1),
            ambient_cel: vary(class.ambient_cel, 0.08),
            shifts: class.shifts.map(|load| vary(load, 0.08).min(0.95)),
            ..class
        };
        let noise = vary(1.0, 0.25);
        Machine::living(self.seed, index, design, noise, self.life)
    }
}

impl Iterator for Lives {
    type Item = Life;

    /// One life after the other, for ever: the truth.
    fn next(&mut self) -> Option<Life> {
        let life = self.life;
        self.replace();
        Some(life)
    }
}

#[cfg(test)]
mod tests {
    use fettle_wire::time::{DAY, HOUR, MINUTE};

    use super::*;
    use crate::channel::Channel;

    const START: Micros = 1_790_000_000_000_000;
    const PLAN: LifePlan = LifePlan { class: 1, mean: 2 * DAY, spread: 0.3, pause: HOUR };

    fn lives(seed: u64, index: u64) -> Lives {
        Lives::new(PLAN, seed, index, START)
    }

    #[test]
    fn lives_follow_one_another_and_no_two_are_alike() {
        let all: Vec<Life> = lives(1, 3).take(50).collect();
        assert!(all[0].begin_us <= START && all[0].failure_us > START);
        for pair in all.windows(2) {
            assert_eq!(pair[1].begin_us, pair[0].failure_us + HOUR);
            assert_eq!(pair[1].life, pair[0].life + 1);
            let length = (pair[1].failure_us - pair[1].begin_us) as f64 / PLAN.mean as f64;
            assert!((0.7..1.3).contains(&length) && pair[1].onset_us > pair[1].begin_us, "{length}");
            assert_ne!(pair[0].steepness, pair[1].steepness);
        }
        assert_eq!(all, lives(1, 3).take(50).collect::<Vec<_>>(), "the seed decides");
        assert_ne!(all[1], lives(1, 4).nth(1).unwrap());
        assert_ne!(all[1], lives(2, 3).nth(1).unwrap());
    }

    #[test]
    fn machines_of_a_class_have_one_name_plate_whatever_the_seed() {
        let plate = |seed, index| {
            let machine = lives(seed, index).machine();
            (machine.design().rated_speed_rpm, machine.design().power_kw, machine.design().shut_off_pressure_bar)
        };
        assert_eq!(plate(1, 0), plate(9, 77));
        let vibration = |seed| lives(seed, 0).machine().design().vibration_mm_s;
        assert_ne!(vibration(1), vibration(2));
    }

    #[test]
    fn severity_rises_to_one_at_the_failure_and_vibration_to_its_limit() {
        let mut reached = Vec::new();
        for index in 0..20 {
            let mut lives = lives(5, index);
            lives.replace();
            let life = *lives.life();
            assert_eq!(life.severity(life.begin_us), life.initial);
            assert!((life.severity(life.failure_us) - 1.0).abs() < 1e-12);
            let hour = |at: Micros| {
                let values = lives.machine().samples(at - HOUR, MINUTE).take(60).map(|s| s.value(Channel::Vibration));
                values.sum::<f64>() / 60.0
            };
            let (healthy, worn) = (hour(life.begin_us + 2 * HOUR), hour(life.failure_us));
            assert!(healthy < 3.4 && worn > 1.6 * healthy, "{healthy} {worn}");
            reached.push(worn);
        }
        let mean = reached.iter().sum::<f64>() / 20.0;
        assert!((5.5..8.0).contains(&mean), "{mean}");
    }
}
