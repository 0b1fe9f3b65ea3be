//! The chips of a sensor node, simulated at register level, and the board they sit on.
//!
//! ```text
//! firmware driver --transaction--> [`rig`] --bytes--> <chip>.rs   registers, FIFO, conversion times
//!                                    |  ^---- m/s2, degrees, bar, volts ---- machine (physics), through [`fault`]
//!                                    '-- delay: simulated time passes
//! ```
//!
//! A chip knows registers and time, not physics; the rig knows both. No chip waits: time is what the rig says.

pub mod ads1115;
pub mod fault;
pub mod iis3dwb;
pub mod keller_ld;
pub mod rig;
pub mod tmp117;

use embedded_hal::{i2c, spi};

/// A device that does not acknowledge its address: broken off, without power, or not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoAnswer;

impl i2c::Error for NoAnswer {
    fn kind(&self) -> i2c::ErrorKind {
        i2c::ErrorKind::NoAcknowledge(i2c::NoAcknowledgeSource::Address)
    }
}

impl spi::Error for NoAnswer {
    fn kind(&self) -> spi::ErrorKind {
        spi::ErrorKind::Other
    }
}
