//! TMP117 (TI): temperature, I2C, +-0.1 K from -20 to 50 degrees Celsius, used to 150. A cover of the kept driver
//! `tmp117`.
//!
//! One conversion per reading, without averaging (15.5 ms), the chip shut down in between. A code is 7.8125 mK.
//!
//! It must never take the value the register holds after a reset (-256 degrees Celsius) for a temperature.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use tmp117::error::Error;
use tmp117::register::Average;

use super::SensorError;

/// The address with ADD0 at V+, because the current loops' converter has the one with ADD0 at ground.
pub const ADDRESS: u8 = 0x49;
/// What DID, the lower twelve bits of the device ID register, holds.
pub const DEVICE_ID: u16 = 0x117;
/// Degrees Celsius that the register holds before the first conversion.
const NOT_CONVERTED: f32 = -256.0;

/// A TMP117 on its bus.
#[derive(Debug)]
pub struct Tmp117<I2C> {
    i2c: I2C,
}

impl<I2C: I2c> Tmp117<I2C> {
    /// A chip that is not started yet.
    pub fn new(i2c: I2C) -> Self {
        Self { i2c }
    }

    /// Identifies, resets and shuts the chip down. Takes at least 2 ms.
    pub fn start(&mut self, delay: &mut impl DelayNs) -> Result<(), SensorError<I2C::Error>> {
        let mut driver = tmp117::Tmp117::new(&mut self.i2c, ADDRESS, delay);
        let id = driver.id().map_err(in_words("Device_ID"))?;
        if id.device != DEVICE_ID {
            let (expected, found) = (u32::from(DEVICE_ID), u32::from(id.device));
            return Err(SensorError::Identity { register: "Device_ID", expected, found });
        }
        driver.reset().map_err(in_words("Configuration"))
    }

    /// Converts once and reads: degrees Celsius.
    pub fn read(&mut self, delay: &mut impl DelayNs) -> Result<f64, SensorError<I2C::Error>> {
        let mut driver = tmp117::Tmp117::new(&mut self.i2c, ADDRESS, delay);
        let celsius = driver.oneshot(Average::NoAverage).map_err(in_words("Temp_Result"))?;
        if celsius <= NOT_CONVERTED {
            return Err(SensorError::NotReady { register: "Temp_Result" });
        }
        Ok(f64::from(celsius))
    }
}

fn in_words<E>(register: &'static str) -> impl Fn(Error<E>) -> SensorError<E> {
    move |error| match error {
        Error::Bus(source) => SensorError::Bus { register, source },
        Error::DataNotReady | Error::Timeout | Error::AlertPin => SensorError::NotReady { register },
        Error::InvalidData => SensorError::Malformed { register, found: 0 },
    }
}
