//! The rig: one node's chips, wired to one machine, in simulated time.
//!
//! Drivers hold handles ([`Spi`], [`Bus`], [`Wait`]) that lead here. Before a transaction the rig brings its chips up to
//! date: it makes the samples that the vibration chip's FIFO has taken since (at most as many as the FIFO holds), and sets
//! what the others would measure, each through its sensor's faults. Delays let time pass and cost none.
//!
//! - R1: seed, machine index, times and transactions decide every byte; nothing else does.
//! - R2: acceleration is made only for samples that a FIFO takes while it runs.
//!
//! It must never read a clock or wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{self, I2c};
use embedded_hal::spi::{self, SpiDevice};
use fettle_firmware::Chips;
use fettle_firmware::board::Span;
use fettle_firmware::sensor::ads1115::{ADDRESS as ADS1115, SHUNT_OHM};
use fettle_firmware::sensor::iis3dwb::FIFO_WORDS;
use fettle_firmware::sensor::keller_ld::ADDRESS as KELLER_LD;
use fettle_firmware::sensor::tmp117::ADDRESS as TMP117;
use fettle_wire::Micros;

use super::NoAnswer;
use super::ads1115::Ads1115;
use super::fault::{Kind, SensorFault};
use super::iis3dwb::Iis3dwb;
use super::keller_ld::KellerLd;
use super::tmp117::Tmp117;
use crate::channel::{ACCELERATION, Channel};
use crate::machine::{Machine, Physical};
use crate::random::{Purpose, Random};

/// What the drive's analogue outputs mean: speed, current and load at 4 and 20 mA.
pub fn loops(rated_current_a: f64) -> [Span; 3] {
    let span = |channel: Channel| Span { low: channel.range().0, high: channel.range().1 };
    [span(Channel::Speed), Span { low: 0.0, high: 2.0 * rated_current_a }, span(Channel::Load)]
}

/// A fault with what its sensor saw when it began.
#[derive(Debug, Clone)]
struct Fitted {
    fault: SensorFault,
    held: Option<f64>,
}

/// One node's chips and their machine.
#[derive(Debug, Clone)]
pub struct Rig {
    now: Micros,
    physical: Physical,
    faults: Vec<Fitted>,
    spans: [Span; 3],
    vibration: Iis3dwb,
    temperature: Tmp117,
    pressure: KellerLd,
    converter: Ads1115,
    /// Noise of the slow sensors.
    noise: Random,
    /// Whether an unsteady contact holds.
    contact: Random,
}

impl Rig {
    /// The rig of machine `index` of the fleet with `seed`, powered at event time `now`.
    pub fn new(seed: u64, index: u64, machine: Machine, faults: Vec<SensorFault>, now: Micros) -> Self {
        // Oscillators are off by up to 3 %.
        let fine = Random::new(seed, index, Purpose::Chip).between(-20.0, 20.0) as i8;
        let vibration = Iis3dwb::new(fine);
        let spans = loops(machine.design().rated_current_a);
        let (low, high) = Channel::Pressure.range();
        Self {
            now,
            physical: Physical::new(seed, index, machine, vibration.rate()),
            faults: faults.into_iter().map(|fault| Fitted { fault, held: None }).collect(),
            spans,
            vibration,
            temperature: Tmp117::new(now),
            pressure: KellerLd::new(low as f32, high as f32),
            converter: Ads1115::default(),
            noise: Random::new(seed, index, Purpose::Measurement),
            contact: Random::new(seed, index, Purpose::Bus),
        }
    }

    /// The simulated time.
    pub fn now(&self) -> Micros {
        self.now
    }

    /// Lets time go on to `now`, if it is not there yet.
    pub fn advance_to(&mut self, now: Micros) {
        self.now = self.now.max(now);
    }

    /// Takes power away from every chip and gives it back.
    pub fn power_cycle(&mut self) {
        self.vibration.power_cycle();
        self.temperature = Tmp117::new(self.now);
        self.converter = Ads1115::default();
    }

    /// What the sensor of `channel` sees instead of `value`.
    fn seen(&mut self, channel: &str, value: f64) -> f64 {
        let mut value = value;
        for Fitted { fault, held } in &mut self.faults {
            if fault.channel == channel && fault.is_active(self.now) {
                value = fault.distort(self.now, value, *held.get_or_insert(value));
            }
        }
        value
    }

    /// Whether the sensor of `channel` answers.
    fn answers(&mut self, channel: &str) -> bool {
        let mut answers = true;
        for Fitted { fault, .. } in &self.faults {
            if fault.channel == channel && fault.is_active(self.now) {
                answers &= match fault.kind {
                    Kind::BrokenWire => false,
                    Kind::Dropout => !self.contact.hit(fault.amount),
                    _ => true,
                };
            }
        }
        answers
    }

    /// The FIFO's samples up to now (R2).
    fn fill(&mut self) {
        let owed = self.vibration.owed(self.now);
        if owed == 0 {
            return;
        }
        self.physical.state(self.now);
        let unseen = owed.saturating_sub(FIFO_WORDS as u64);
        if unseen > 0 {
            self.vibration.pass(unseen);
            self.physical.pass(unseen as f64 / self.vibration.rate());
        }
        let distorted = self.faults.iter().any(|f| f.fault.channel == ACCELERATION && f.fault.is_active(self.now));
        for _ in unseen..owed {
            let mut radial = self.physical.acceleration();
            if distorted {
                radial = self.seen(ACCELERATION, radial);
            }
            // Z is radial and level, X along the shaft, Y upright; the housing passes a part on to each.
            self.vibration.sample([0.3 * radial, 9.81 + 0.5 * radial, radial]);
        }
    }

    fn spi(&mut self, operations: &mut [spi::Operation<'_, u8>]) {
        self.fill();
        if self.answers(ACCELERATION) {
            self.vibration.transaction(self.now, operations);
            return;
        }
        // Nobody drives the line: it reads high.
        for operation in operations {
            match operation {
                spi::Operation::Read(into)
                | spi::Operation::Transfer(into, _)
                | spi::Operation::TransferInPlace(into) => {
                    into.fill(0xff);
                }
                spi::Operation::Write(_) | spi::Operation::DelayNs(_) => {}
            }
        }
    }

    /// Sets what the chip at `address` would measure now. Whether it answers.
    fn expose(&mut self, address: u8) -> bool {
        let state = self.physical.state(self.now);
        let design = self.physical.machine().design();
        let (rated_speed, rated_current) = (design.rated_speed_rpm, design.rated_current_a);
        match address {
            TMP117 => {
                let value = state.temperature + 0.1 * self.noise.gaussian();
                self.temperature.input = self.seen(Channel::Temperature.name(), value);
                self.answers(Channel::Temperature.name())
            }
            KELLER_LD => {
                let value = state.pressure + 0.015 * self.noise.gaussian();
                self.pressure.input = self.seen(Channel::Pressure.name(), value);
                self.answers(Channel::Pressure.name())
            }
            ADS1115 => {
                let loops = [
                    (Channel::Speed, state.speed * rated_speed, 0.5),
                    (Channel::Current, state.current, 0.003 * rated_current),
                    (Channel::Load, state.load * 100.0, 0.2),
                ];
                for (i, (channel, value, noise)) in loops.into_iter().enumerate() {
                    let value = (value + noise * self.noise.gaussian()).max(0.0);
                    let value = self.seen(channel.name(), value);
                    // A broken loop carries no current; an unsteady one now and then.
                    let live = self.answers(channel.name());
                    let milliampere = if live { self.spans[i].current(value) } else { 0.0 };
                    self.converter.inputs[i] = milliampere * 1e-3 * SHUNT_OHM;
                }
                true
            }
            _ => false,
        }
    }

    fn i2c(&mut self, address: u8, operations: &mut [i2c::Operation<'_>]) -> Result<(), NoAnswer> {
        if !self.expose(address) {
            return Err(NoAnswer);
        }
        let now = self.now;
        for operation in operations {
            match (address, operation) {
                (TMP117, i2c::Operation::Write(bytes)) => self.temperature.write(now, bytes),
                (TMP117, i2c::Operation::Read(into)) => self.temperature.read(now, into),
                (KELLER_LD, i2c::Operation::Write(bytes)) => self.pressure.write(now, bytes),
                (KELLER_LD, i2c::Operation::Read(into)) => self.pressure.read(now, into),
                (_, i2c::Operation::Write(bytes)) => self.converter.write(now, bytes),
                (_, i2c::Operation::Read(into)) => self.converter.read(now, into),
            }?;
        }
        Ok(())
    }
}

/// A rig that its drivers share. One node is driven by one task, so nobody ever waits for the lock.
#[derive(Debug, Clone)]
pub struct Shared(Arc<Mutex<Rig>>);

impl Shared {
    /// Wires a rig up.
    pub fn new(rig: Rig) -> Self {
        Self(Arc::new(Mutex::new(rig)))
    }

    /// The rig.
    pub fn rig(&self) -> MutexGuard<'_, Rig> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Buses and delay for a board.
    pub fn chips(&self) -> Chips<Spi, Bus, Wait> {
        let bus = || Bus(self.clone());
        Chips {
            vibration: Spi(self.clone()),
            temperature: bus(),
            pressure: bus(),
            loops: bus(),
            delay: Wait(self.clone()),
        }
    }
}

/// The vibration chip's SPI.
#[derive(Debug, Clone)]
pub struct Spi(Shared);

impl spi::ErrorType for Spi {
    type Error = NoAnswer;
}

impl SpiDevice for Spi {
    fn transaction(&mut self, operations: &mut [spi::Operation<'_, u8>]) -> Result<(), NoAnswer> {
        self.0.rig().spi(operations);
        Ok(())
    }
}

/// The I2C bus with all its chips.
#[derive(Debug, Clone)]
pub struct Bus(Shared);

impl i2c::ErrorType for Bus {
    type Error = NoAnswer;
}

impl I2c for Bus {
    fn transaction(&mut self, address: u8, operations: &mut [i2c::Operation<'_>]) -> Result<(), NoAnswer> {
        self.0.rig().i2c(address, operations)
    }
}

/// A delay: time passes in the rig.
#[derive(Debug, Clone)]
pub struct Wait(Shared);

impl DelayNs for Wait {
    fn delay_ns(&mut self, ns: u32) {
        let mut rig = self.0.rig();
        let micros = Micros::from(ns.div_ceil(1_000));
        rig.now += micros;
    }
}
