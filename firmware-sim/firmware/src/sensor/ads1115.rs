//! ADS1115 (TI): four inputs of 16 bits, I2C. A cover of the kept driver `ads1x1x`.
//!
//! It reads the analogue outputs of the motor's drive, 4..20 mA each over a shunt of 100 ohm: A0 speed, A1 current,
//! A2 load. A loop's living zero tells a broken wire from a standing machine: NAMUR NE 43 takes 3.8..20.5 mA for values
//! and below 3.6 or from 21 mA for failures. At +-4.096 V a code is 125 uV, 1.25 uA.
//!
//! The chip has no identity; that it takes its configuration is all that can be checked at the start.
//!
//! It must never wait longer than a conversion takes, nor judge the value: a broken loop is the board's to flag.

use ads1x1x::ic::{Ads1115 as Chip, Resolution16Bit};
use ads1x1x::mode::OneShot;
use ads1x1x::{Ads1x1x, ChannelId, DataRate16Bit, Error, FullScaleRange, TargetAddr, channel};
use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use super::SensorError;

/// The address with ADDR at ground.
pub const ADDRESS: u8 = 0x48;
/// Shunt of each loop, ohm.
pub const SHUNT_OHM: f64 = 100.0;
/// Volts per code at +-4.096 V.
pub const VOLT_PER_CODE: f64 = 4.096 / 32_768.0;
/// A conversion at 860 a second takes 1.2 ms, with 10 % tolerance; milliseconds.
const CONVERSION_MS: u32 = 2;
/// How often a conversion is looked at.
const LOOKS: u32 = 3;

/// One input with its loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// AIN0.
    A0,
    /// AIN1.
    A1,
    /// AIN2.
    A2,
}

/// An ADS1115 on its bus.
pub struct Ads1115<I2C> {
    driver: Ads1x1x<I2C, Chip, Resolution16Bit, OneShot>,
}

impl<I2C: I2c> Ads1115<I2C> {
    /// A chip that is not started yet.
    pub fn new(i2c: I2C) -> Self {
        Self { driver: Ads1x1x::new_ads1115(i2c, TargetAddr::Gnd) }
    }

    /// Sets range and rate.
    pub fn start(&mut self) -> Result<(), SensorError<I2C::Error>> {
        self.driver.set_full_scale_range(FullScaleRange::Within4_096V).map_err(in_words("Config"))?;
        self.driver.set_data_rate(DataRate16Bit::Sps860).map_err(in_words("Config"))?;
        // A conversion of an input that nobody reads: what was left over from before an error is then never taken for
        // a new one, because the driver gives a result only for the input it converted last.
        match self.driver.read(channel::SingleA3) {
            Ok(_) | Err(nb::Error::WouldBlock) => Ok(()),
            Err(nb::Error::Other(error)) => Err(in_words("Config")(error)),
        }
    }

    /// Converts one input and reads the current in its loop: mA.
    pub fn read(&mut self, input: Input, delay: &mut impl DelayNs) -> Result<f64, SensorError<I2C::Error>> {
        let code = match input {
            Input::A0 => self.convert(|| channel::SingleA0, delay),
            Input::A1 => self.convert(|| channel::SingleA1, delay),
            Input::A2 => self.convert(|| channel::SingleA2, delay),
        }?;
        Ok(f64::from(code) * VOLT_PER_CODE / SHUNT_OHM * 1e3)
    }

    /// The driver starts a conversion at the first call and gives its result at a later one.
    fn convert<C>(&mut self, channel: impl Fn() -> C, delay: &mut impl DelayNs) -> Result<i16, SensorError<I2C::Error>>
    where
        C: ChannelId<Ads1x1x<I2C, Chip, Resolution16Bit, OneShot>>,
    {
        for _ in 0..=LOOKS {
            match self.driver.read(channel()) {
                Ok(code) => return Ok(code),
                Err(nb::Error::WouldBlock) => delay.delay_ms(CONVERSION_MS),
                Err(nb::Error::Other(error)) => return Err(in_words("Conversion")(error)),
            }
        }
        Err(SensorError::NotReady { register: "Conversion" })
    }
}

impl<I2C> core::fmt::Debug for Ads1115<I2C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Ads1115")
    }
}

fn in_words<E>(register: &'static str) -> impl Fn(Error<E>) -> SensorError<E> {
    move |error| match error {
        Error::I2C(source) => SensorError::Bus { register, source },
        Error::InvalidInputData => SensorError::Malformed { register, found: 0 },
    }
}
