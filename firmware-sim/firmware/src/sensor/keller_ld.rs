//! KELLER 4LD..9LD: process pressure, I2C. A small driver from the maker's "Communication Protocol 4LD-9LD", because the
//! registry has none, and barometric chips, for which it has, end where a pump begins.
//!
//! The transmitter is calibrated; two numbers in its memory say what its codes 16384 and 49152 mean in bar. A request
//! (0xAC) starts a conversion of at most 8 ms; the answer is a status byte, pressure and temperature.
//!
//! - The pressure is what the transmitter's mode says: gauge (PR), sealed gauge (PA) or absolute (PAA).
//!
//! It must never use a value whose status byte says busy or memory error.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use super::SensorError;

/// The address as delivered.
pub const ADDRESS: u8 = 0x40;
/// Request of a measurement.
pub const REQUEST: u8 = 0xac;
/// Memory: the product code, customer part. Zero in no transmitter that was delivered.
pub const CUST_ID0: u8 = 0x00;
/// Memory: year, month, day and mode of calibration. Of the mode only its two lowest bits count.
pub const SCALING0: u8 = 0x12;
/// Memory: the pressure at code 16384, a float in two words, the higher first.
pub const SCALING1: u8 = 0x13;
/// Memory: the pressure at code 49152.
pub const SCALING3: u8 = 0x15;
/// Status: bits that must be as in [`STATUS_GOOD`].
pub const STATUS_MASK: u8 = 0b1110_0100;
/// Status: bit 6 set, not busy (5), no memory error (2).
pub const STATUS_GOOD: u8 = 0b0100_0000;
/// Conversion, milliseconds.
const CONVERSION_MS: u32 = 8;
/// From asking for a memory word to reading it, milliseconds.
const MEMORY_MS: u32 = 1;
/// The pressure code at the lower end of the range.
const LOW_CODE: f64 = 16_384.0;
/// Codes over the range.
const SPAN_CODES: f64 = 32_768.0;

/// What the pressure is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// PR: against the surrounding air.
    #[default]
    Gauge,
    /// PA: against 1 bar.
    SealedGauge,
    /// PAA: against vacuum.
    Absolute,
}

/// A transmitter on its bus.
#[derive(Debug)]
pub struct KellerLd<I2C> {
    i2c: I2C,
    mode: Mode,
    low: f64,
    high: f64,
}

impl<I2C: I2c> KellerLd<I2C> {
    /// A transmitter that is not started yet.
    pub fn new(i2c: I2C) -> Self {
        Self { i2c, mode: Mode::default(), low: 0.0, high: 0.0 }
    }

    /// What the pressure is measured against; known once it was started.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Reads the product code and the range. Takes at least 6 ms.
    pub fn start(&mut self, delay: &mut impl DelayNs) -> Result<(), SensorError<I2C::Error>> {
        let code = self.memory(CUST_ID0, "CUST_ID0", delay)?;
        if matches!(code, 0 | 0xffff) {
            return Err(SensorError::Identity { register: "CUST_ID0", expected: 1, found: u32::from(code) });
        }
        let mode = self.memory(SCALING0, "SCALING0", delay)?;
        self.mode = match mode & 0x03 {
            0 => Mode::Gauge,
            1 => Mode::SealedGauge,
            2 => Mode::Absolute,
            _ => return Err(SensorError::Malformed { register: "SCALING0", found: u32::from(mode) }),
        };
        let low = self.float(SCALING1, "SCALING1", delay)?;
        let high = self.float(SCALING3, "SCALING3", delay)?;
        if !(low.is_finite() && high.is_finite() && low < high) {
            return Err(SensorError::Malformed { register: "SCALING3", found: high.to_bits() });
        }
        (self.low, self.high) = (f64::from(low), f64::from(high));
        Ok(())
    }

    /// Converts once and reads: bar.
    pub fn read(&mut self, delay: &mut impl DelayNs) -> Result<f64, SensorError<I2C::Error>> {
        self.i2c.write(ADDRESS, &[REQUEST]).map_err(SensorError::bus("REQUEST"))?;
        delay.delay_ms(CONVERSION_MS);
        let mut answer = [0; 5];
        self.i2c.read(ADDRESS, &mut answer).map_err(SensorError::bus("STATUS"))?;
        let [status, high, low, _, _] = answer;
        check_status::<I2C::Error>(status)?;
        let code = f64::from(u16::from_be_bytes([high, low]));
        Ok(self.low + (code - LOW_CODE) * (self.high - self.low) / SPAN_CODES)
    }

    fn memory(
        &mut self,
        address: u8,
        register: &'static str,
        delay: &mut impl DelayNs,
    ) -> Result<u16, SensorError<I2C::Error>> {
        self.i2c.write(ADDRESS, &[address]).map_err(SensorError::bus(register))?;
        delay.delay_ms(MEMORY_MS);
        let mut answer = [0; 3];
        self.i2c.read(ADDRESS, &mut answer).map_err(SensorError::bus(register))?;
        let [status, high, low] = answer;
        check_status::<I2C::Error>(status)?;
        Ok(u16::from_be_bytes([high, low]))
    }

    fn float(
        &mut self,
        address: u8,
        register: &'static str,
        delay: &mut impl DelayNs,
    ) -> Result<f32, SensorError<I2C::Error>> {
        let high = self.memory(address, register, delay)?;
        let low = self.memory(address + 1, register, delay)?;
        Ok(f32::from_bits(u32::from(high) << 16 | u32::from(low)))
    }
}

fn check_status<E>(status: u8) -> Result<(), SensorError<E>> {
    if status & STATUS_MASK == STATUS_GOOD {
        Ok(())
    } else if status & STATUS_MASK == STATUS_GOOD | 0b0010_0000 {
        Err(SensorError::NotReady { register: "STATUS" })
    } else {
        Err(SensorError::Malformed { register: "STATUS", found: u32::from(status) })
    }
}
