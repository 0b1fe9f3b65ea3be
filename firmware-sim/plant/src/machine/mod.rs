//! One rotating machine: a pump driven by a motor, drawn from the fleet's seed.
//!
//! A light model, in the order of cause: the load follows a shift profile and wanders; speed follows load; vibration,
//! temperature, pressure and current follow speed and load; a fault raises vibration and temperature; a sensor adds
//! noise and rounds to single precision, as a transmitter does. Values depend on the seed, the machine's index and
//! the times sampled, on nothing else: no clock, and the same numbers however many channels are published.
//!
//! A sample must not lie before the one before it: noise is carried forward in time.
//!
//! The same machine can stand under simulated chips ([`Physical`]): its slow quantities are these, before a transmitter's
//! noise; vibration then is acceleration, sample by sample, from shaft and bearing.

pub mod bearing;
mod motor;
mod noise;
pub mod physical;
mod pressure;
mod profile;
mod shaft;
mod thermal;
mod vibration;

use fettle_wire::Micros;

use crate::channel::Channel;
use crate::fault::Fault;
use crate::life::Life;
use crate::random::{Purpose, Random};
use bearing::{Bearing, Component};
use noise::Wander;
pub use physical::Physical;

/// The values of all channels at one time, by [`Channel::index`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Event time.
    pub time: Micros,
    /// Values in the channels' units.
    pub values: [f64; Channel::ALL.len()],
}

impl Sample {
    /// The value of one channel.
    pub fn value(&self, channel: Channel) -> f64 {
        self.values[channel.index()]
    }
}

/// How a machine runs at one time, before any sensor.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct State {
    /// Share of rated power.
    pub load: f64,
    /// Share of rated speed.
    pub speed: f64,
    /// Vibration velocity RMS, mm/s, of the light model.
    pub vibration: f64,
    /// Bearing temperature, degrees Celsius.
    pub temperature: f64,
    /// Discharge pressure, bar.
    pub pressure: f64,
    /// Motor current, A.
    pub current: f64,
    /// How far its fault has grown: 0 sound, 1 at the failure.
    pub severity: f64,
}

/// What a machine is, as its name plate says; in the registry.
#[derive(Debug, Clone, PartialEq)]
pub struct Design {
    /// Rated speed, revolutions per minute.
    pub rated_speed_rpm: f64,
    /// Rated power, kW.
    pub power_kw: f64,
    /// Rated motor current, A.
    pub rated_current_a: f64,
    /// Discharge pressure at rated speed and no flow, bar.
    pub shut_off_pressure_bar: f64,
    /// Vibration at rated speed and full load when healthy, mm/s RMS.
    pub vibration_mm_s: f64,
    /// Bearing temperature above ambient at full load, K.
    pub heat_rise_k: f64,
    /// Thermal time constant, s.
    pub thermal_s: f64,
    /// Mean temperature of the hall, degrees Celsius.
    pub ambient_cel: f64,
    /// The load of the early, late and night shift, as a share.
    pub shifts: [f64; 3],
}

impl Design {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let rated = [985.0, 1_480.0, 2_960.0][(random.uniform() * 3.0) as usize % 3];
        let power = [15.0, 30.0, 55.0, 75.0, 110.0][(random.uniform() * 5.0) as usize % 5];
        Self {
            rated_speed_rpm: rated,
            power_kw: power,
            rated_current_a: motor::rated_current(power),
            shut_off_pressure_bar: random.between(5.0, 12.0),
            vibration_mm_s: random.between(1.2, 2.2),
            heat_rise_k: random.between(25.0, 38.0),
            thermal_s: random.between(900.0, 1_800.0),
            ambient_cel: random.between(18.0, 26.0),
            shifts: [random.between(0.75, 0.92), random.between(0.65, 0.85), random.between(0.45, 0.65)],
        }
    }
}

/// A machine and its state at its last sample.
#[derive(Debug, Clone)]
pub struct Machine {
    design: Design,
    fault: Option<Fault>,
    /// The life that it lives, where lives end.
    life: Option<Life>,
    bearing: Bearing,
    /// Whether the bearing's heat follows friction rather than load.
    friction: bool,
    last: Option<Micros>,
    load: Wander,
    speed: Wander,
    vibration: vibration::Vibration,
    thermal: thermal::Thermal,
    pressure: Wander,
    current: Wander,
    process: Random,
    measurement: Random,
}

impl Machine {
    /// Machine `index` of the fleet with `seed`; healthy without a fault.
    pub fn new(seed: u64, index: u64, fault: Option<Fault>) -> Self {
        Self::of_design(seed, index, Design::draw(&mut Random::new(seed, index, Purpose::Design)), fault)
    }

    /// The machine that lives `life`, built to `design`; its vibration wanders `noise` times as much as usual.
    pub(crate) fn living(seed: u64, index: u64, design: Design, noise: f64, life: Life) -> Self {
        let mut machine = Self::of_design(seed, index, design, None);
        machine.vibration = vibration::Vibration::new(&machine.design, noise);
        machine.life = Some(life);
        machine
    }

    fn of_design(seed: u64, index: u64, design: Design, fault: Option<Fault>) -> Self {
        Self {
            bearing: Bearing::draw(seed, index, design.power_kw),
            friction: false,
            load: Wander::new(0.04, 7_200.0),
            speed: Wander::new(0.0015, 20.0),
            vibration: vibration::Vibration::new(&design, 1.0),
            thermal: thermal::Thermal::new(&design),
            pressure: Wander::new(0.006, 60.0),
            current: Wander::new(0.008, 30.0),
            process: Random::new(seed, index, Purpose::Process),
            measurement: Random::new(seed, index, Purpose::Measurement),
            last: None,
            design,
            fault,
            life: None,
        }
    }

    /// The name plate.
    pub fn design(&self) -> &Design {
        &self.design
    }

    /// The fault, if the machine has one.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// The bearing.
    pub fn bearing(&self) -> &Bearing {
        &self.bearing
    }

    /// The same machine for simulated chips: its bearing is heated by friction, and `component` spalls, if one is named.
    pub fn with_physics(mut self, component: Option<Component>) -> Self {
        self.friction = true;
        self.bearing.component = component.unwrap_or(self.bearing.component);
        self
    }

    /// How it runs at `time`. A time before the last one asked is taken as that.
    pub fn state(&mut self, time: Micros) -> State {
        // The first sample finds the machine as if it had been running for ever.
        let seconds = self.last.map_or(f64::INFINITY, |last| time.saturating_sub(last).max(0) as f64 * 1e-6);
        self.last = Some(self.last.map_or(time, |last| last.max(time)));
        let by_fault = || self.fault.map_or(0.0, |f| f.severity(time));
        let severity = self.life.map_or_else(by_fault, |life| life.severity(time));
        let process = &mut self.process;
        let load = (profile::load(&self.design.shifts, time) + self.load.step(seconds, process)).clamp(0.15, 1.1);
        let speed = profile::speed(load) * (1.0 + self.speed.step(seconds, process));
        let vibration = self.vibration.step(seconds, speed, load, severity, process);
        let target = if self.friction {
            self.thermal.target_by_friction(time, bearing::friction_heat(speed, load, severity))
        } else {
            self.thermal.target(time, load, severity)
        };
        let temperature = self.thermal.step(seconds, target, process);
        let pressure = pressure::discharge(self.design.shut_off_pressure_bar, speed, load)
            * (1.0 + self.pressure.step(seconds, process));
        let current =
            motor::current(self.design.rated_current_a, load, severity) * (1.0 + self.current.step(seconds, process));
        State { load, speed, vibration, temperature, pressure, current, severity }
    }

    /// What transmitters read at `time`, of all channels at once. A time before the last sample's is read as the last
    /// sample's.
    pub fn sample(&mut self, time: Micros) -> Sample {
        let State { load, speed, vibration, temperature, pressure, current, .. } = self.state(time);
        let mut read =
            |value: f64, noise: f64| f64::from((value + noise * self.measurement.gaussian()).max(0.0) as f32);
        let values = [
            read(speed * self.design.rated_speed_rpm, 0.5),
            read(load * 100.0, 0.2),
            read(vibration, 0.02 + 0.015 * vibration),
            read(temperature, 0.1),
            read(pressure, 0.015),
            read(current, 0.003 * self.design.rated_current_a),
        ];
        Sample { time, values }
    }

    /// Samples every `interval` from `start` on, for ever. A month of a reading a minute: `machine.samples(start,
    /// MINUTE).take(43_200)`.
    pub fn samples(mut self, start: Micros, interval: Micros) -> impl Iterator<Item = Sample> {
        (0..).map(move |i: i64| self.sample(start.saturating_add(interval.saturating_mul(i))))
    }

    /// Like [`Self::samples`], reading by reading, in the order a node takes them.
    pub fn readings(
        self,
        start: Micros,
        interval: Micros,
        channels: &[Channel],
    ) -> impl Iterator<Item = (Channel, Micros, f64)> {
        self.samples(start, interval).flat_map(|s| channels.iter().map(move |c| (*c, s.time, s.value(*c))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Growth;
    use fettle_wire::time::{DAY, HOUR, MINUTE, SECOND};

    const START: Micros = 1_790_000_000 * SECOND;

    fn series(machine: Machine, channel: Channel, n: usize, interval: Micros) -> Vec<f64> {
        machine.samples(START, interval).take(n).map(|s| s.value(channel)).collect()
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    #[test]
    fn the_same_seed_gives_the_same_bits_and_another_machine_others() {
        let draw = |seed, index| series(Machine::new(seed, index, None), Channel::Vibration, 100, SECOND);
        assert_eq!(draw(1, 3), draw(1, 3));
        assert_ne!(draw(1, 3), draw(1, 4));
        assert_ne!(draw(1, 3), draw(2, 3));
    }

    #[test]
    fn a_healthy_month_stays_in_range_and_below_every_limit() {
        for index in 0..10 {
            for sample in Machine::new(5, index, None).samples(START, MINUTE).take(43_200) {
                for channel in Channel::ALL {
                    let (low, high) = channel.range();
                    let value = sample.value(channel);
                    assert!((low..=high).contains(&value), "{channel:?} {value}");
                    assert!(channel.limit().is_none_or(|l| value < 0.85 * l), "{channel:?} {value}");
                }
            }
        }
    }

    #[test]
    fn a_fault_brings_vibration_to_its_limit_at_the_failure_and_warms_the_bearing() {
        for growth in [Growth::Linear, Growth::Exponential] {
            for index in 0..10 {
                let fault = Fault { onset: START + DAY, failure: START + 3 * DAY, growth };
                let sick: Vec<Sample> =
                    Machine::new(7, index, Some(fault)).samples(START, MINUTE).take(4 * 1440).collect();
                let well: Vec<Sample> = Machine::new(7, index, None).samples(START, MINUTE).take(4 * 1440).collect();
                assert_eq!(sick[..1440], well[..1440], "before the onset nothing differs");
                let day = |s: &[Sample], c: Channel, d: usize| {
                    mean(&s[d * 1440..(d + 1) * 1440].iter().map(|s| s.value(c)).collect::<Vec<_>>())
                };
                let at_failure: Vec<f64> =
                    sick[3 * 1440 - 60..3 * 1440 + 60].iter().map(|s| s.value(Channel::Vibration)).collect();
                assert!((5.0..10.0).contains(&mean(&at_failure)), "{}", mean(&at_failure));
                let warmer = day(&sick, Channel::Temperature, 3) - day(&well, Channel::Temperature, 3);
                assert!(warmer > 8.0, "{warmer}");
            }
        }
    }

    #[test]
    fn shifts_show_in_the_load_and_the_load_in_current_and_temperature() {
        let midnight = START.div_euclid(DAY) * DAY;
        let samples: Vec<Sample> = Machine::new(9, 0, None).samples(midnight, MINUTE).take(20 * 1440).collect();
        let at = |hour: i64, channel: Channel| {
            let hours = samples.iter().filter(|s| s.time.rem_euclid(DAY) / HOUR == hour);
            mean(&hours.map(|s| s.value(channel)).collect::<Vec<_>>())
        };
        for channel in [Channel::Load, Channel::Current, Channel::Temperature, Channel::Speed, Channel::Vibration] {
            assert!(at(10, channel) > 1.02 * at(2, channel), "{channel:?} {} {}", at(10, channel), at(2, channel));
        }
    }

    #[test]
    fn temperature_lags_the_load() {
        let mut machine = Machine::new(11, 0, None);
        machine.sample(START);
        let before = machine.thermal.value();
        // A jump of the target is followed by 63 % after one time constant.
        let tau = machine.design.thermal_s;
        machine.thermal.settle(before);
        let mut still = Random::new(0, 0, Purpose::Process);
        let target = machine.thermal.target(START, 1.0, 0.0);
        machine.thermal.step(tau, target, &mut still);
        let share = (machine.thermal.value() - before) / (target - before);
        assert!((share - 0.632).abs() < 0.001, "{share}");
    }

    #[test]
    fn heated_by_friction_a_sound_bearing_stays_cool_and_a_spalled_one_warms_before_it_fails() {
        for index in 0..10 {
            let fault = Fault { onset: START + DAY, failure: START + 3 * DAY, growth: Growth::Spall };
            let day = |machine: Machine, day: usize| {
                let mut machine = machine.with_physics(None);
                let values: Vec<f64> =
                    (0..1440).map(|i| machine.state(START + (day as i64) * DAY + i * MINUTE).temperature).collect();
                (mean(&values), values.iter().fold(0.0f64, |a, b| a.max(*b)))
            };
            let (well, hottest) = day(Machine::new(7, index, None), 2);
            assert!(hottest < 75.0, "{hottest}");
            let (sick, _) = day(Machine::new(7, index, Some(fault)), 2);
            assert!(sick > well + 4.0, "{sick} {well}");
        }
    }

    #[test]
    fn noise_at_one_minute_has_the_variance_of_noise_at_one_second() {
        let spread = |interval| {
            let values = series(Machine::new(13, 2, None), Channel::Pressure, 600, interval);
            let steps: Vec<f64> = values.windows(2).map(|w| (w[1] - w[0]).powi(2)).collect();
            mean(&steps)
        };
        // Neighbours a second apart are alike, neighbours a minute apart are not: the noise has a memory.
        assert!(spread(60 * SECOND) > 2.0 * spread(SECOND));
    }
}
