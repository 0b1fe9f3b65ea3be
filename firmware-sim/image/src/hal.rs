//! The board's buses behind functions of C, as embedded-hal's traits. A result other than 0 is an error and is kept: 1 says
//! that nobody acknowledged, the rest is the board's own.
//!
//! A transaction is handed over whole, its writes first and its reads after them, because the drivers do no other: an SPI
//! device is selected for both, an I2C device addressed anew between them.

use embedded_hal::delay::DelayNs;
use embedded_hal::{i2c, spi};

/// Functions of the board.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Hal {
    /// Selects the vibration chip, writes, reads, deselects.
    pub spi: extern "C" fn(*const u8, usize, *mut u8, usize) -> i32,
    /// Writes to the address (7 bits), then reads; a length of 0 leaves that part out.
    pub i2c: extern "C" fn(u8, *const u8, usize, *mut u8, usize) -> i32,
    /// Waits at least so many nanoseconds.
    pub delay: extern "C" fn(u32),
}

/// What the board's function returned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failed(i32);

/// Nobody acknowledged.
const NOBODY: i32 = 1;

impl spi::Error for Failed {
    fn kind(&self) -> spi::ErrorKind {
        spi::ErrorKind::Other
    }
}

impl i2c::Error for Failed {
    fn kind(&self) -> i2c::ErrorKind {
        if self.0 == NOBODY {
            return i2c::ErrorKind::NoAcknowledge(i2c::NoAcknowledgeSource::Unknown);
        }
        i2c::ErrorKind::Other
    }
}

fn judged(result: i32) -> Result<(), Failed> {
    if result == 0 { Ok(()) } else { Err(Failed(result)) }
}

/// The vibration chip.
pub(crate) struct Spi(pub(crate) Hal);

impl spi::ErrorType for Spi {
    type Error = Failed;
}

impl spi::SpiDevice for Spi {
    fn transaction(&mut self, operations: &mut [spi::Operation<'_, u8>]) -> Result<(), Failed> {
        let (out, into) = match operations {
            [spi::Operation::Write(out)] => (*out, &mut [][..]),
            [spi::Operation::Write(out), spi::Operation::Read(into)] => (*out, &mut **into),
            _ => return Err(Failed(i32::MIN)),
        };
        judged((self.0.spi)(out.as_ptr(), out.len(), into.as_mut_ptr(), into.len()))
    }
}

/// A chip on the I2C bus.
pub(crate) struct I2c(pub(crate) Hal);

impl i2c::ErrorType for I2c {
    type Error = Failed;
}

impl i2c::I2c for I2c {
    fn transaction(&mut self, address: u8, operations: &mut [i2c::Operation<'_>]) -> Result<(), Failed> {
        let (out, into) = match operations {
            [i2c::Operation::Write(out)] => (*out, &mut [][..]),
            [i2c::Operation::Read(into)] => (&[][..], &mut **into),
            [i2c::Operation::Write(out), i2c::Operation::Read(into)] => (*out, &mut **into),
            _ => return Err(Failed(i32::MIN)),
        };
        judged((self.0.i2c)(address, out.as_ptr(), out.len(), into.as_mut_ptr(), into.len()))
    }
}

/// The board's delay.
pub(crate) struct Delay(pub(crate) Hal);

impl DelayNs for Delay {
    fn delay_ns(&mut self, ns: u32) {
        (self.0.delay)(ns);
    }
}
