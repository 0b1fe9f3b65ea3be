//! IIS3DWB (ST): vibration, three axes, 26.667 kHz, SPI. A small driver from the data sheet (DS12569), because the
//! registry has none.
//!
//! Three axes are sampled and all three cross the bus; the board sends the Z axis, which is normal to the mounting face
//! and so radial to the shaft. Samples are taken in bursts through the chip's FIFO of 512 words: [`Iis3dwb::begin`]
//! empties it and lets it run, [`Iis3dwb::drain`] takes what has come in, [`Iis3dwb::end`] stops it.
//!
//! - Samples drained between `begin` and the first overrun are consecutive. Two signs tell a gap: the overrun flags of
//!   FIFO_STATUS2, and the two-bit time slot in each word's tag, which must count up by one.
//! - The rate is the chip's own: INTERNAL_FREQ_FINE says how far its oscillator is from 26.667 kHz, in steps of 0.15 %.
//!
//! It must never hand out a word whose tag is not an accelerometer's, nor read more words than the FIFO says it holds.

use embedded_hal::delay::DelayNs;
use embedded_hal::spi::{Operation, SpiDevice};

use super::SensorError;

/// Register addresses.
pub mod register {
    #![expect(missing_docs, reason = "the data sheet's names")]
    pub const FIFO_CTRL1: u8 = 0x07;
    pub const FIFO_CTRL2: u8 = 0x08;
    pub const FIFO_CTRL3: u8 = 0x09;
    pub const FIFO_CTRL4: u8 = 0x0a;
    pub const WHO_AM_I: u8 = 0x0f;
    pub const CTRL1_XL: u8 = 0x10;
    pub const CTRL3_C: u8 = 0x12;
    pub const FIFO_STATUS1: u8 = 0x3a;
    pub const FIFO_STATUS2: u8 = 0x3b;
    pub const INTERNAL_FREQ_FINE: u8 = 0x63;
    pub const FIFO_DATA_OUT_TAG: u8 = 0x78;
}

/// What WHO_AM_I holds.
pub const WHO_AM_I: u8 = 0x7b;
/// First bit of an SPI read.
pub const READ: u8 = 0x80;
/// CTRL3_C: software reset.
pub const SW_RESET: u8 = 0x01;
/// CTRL3_C: block data update, and address increment in bursts.
pub const BDU_IF_INC: u8 = 0x44;
/// CTRL1_XL: XL_EN = 101, 26.667 kHz.
pub const XL_EN: u8 = 0xa0;
/// FIFO_CTRL3: BDR_XL = 1010, every sample goes into the FIFO.
pub const BDR_XL: u8 = 0x0a;
/// FIFO_CTRL4: bypass, which empties the FIFO.
pub const BYPASS: u8 = 0x00;
/// FIFO_CTRL4: continuous, new words push out the oldest.
pub const CONTINUOUS: u8 = 0x06;
/// FIFO_STATUS2: the FIFO ran over since it was last read.
pub const OVERRUN: u8 = 0x48;
/// FIFO_DATA_OUT_TAG: TAG_SENSOR of an accelerometer word.
pub const TAG_ACCELEROMETER: u8 = 0x02;

/// Words the FIFO holds.
pub const FIFO_WORDS: usize = 512;
/// Bytes of a word: tag, X, Y, Z.
pub const WORD_BYTES: usize = 7;
/// The watermark: half the FIFO, 9.6 ms of samples, which leaves as much time to come and fetch them.
pub const WATERMARK: u16 = 256;
/// Words read in one transaction.
const BURST_WORDS: usize = 32;
/// Nominal samples a second.
pub const NOMINAL_RATE: f64 = 26_667.0;
/// Step of INTERNAL_FREQ_FINE as a share of the rate.
pub const FINE_STEP: f64 = 0.0015;
/// Time from power to the first access, and from a reset to the next; milliseconds.
const BOOT_MS: u32 = 10;
/// How often SW_RESET is looked at before the chip is given up, a millisecond apart.
const RESET_LOOKS: u32 = 10;

/// Full scale. A wider one resolves less: the sensitivity is the data sheet's, in mg per count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FullScale {
    /// +-2 g, 0.061 mg a count.
    G2,
    /// +-4 g, 0.122 mg a count.
    G4,
    /// +-8 g, 0.244 mg a count.
    G8,
    /// +-16 g, 0.488 mg a count.
    G16,
}

impl FullScale {
    /// FS_XL in its place in CTRL1_XL.
    pub const fn bits(self) -> u8 {
        match self {
            Self::G2 => 0b00 << 2,
            Self::G16 => 0b01 << 2,
            Self::G4 => 0b10 << 2,
            Self::G8 => 0b11 << 2,
        }
    }

    /// m/s2 per count: the sensitivity in mg times standard gravity (9.80665 m/s2).
    pub const fn scale(self) -> f64 {
        let milli_g = match self {
            Self::G2 => 0.061,
            Self::G4 => 0.122,
            Self::G8 => 0.244,
            Self::G16 => 0.488,
        };
        milli_g * 9.806_65e-3
    }
}

/// What the FIFO says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Words waiting.
    pub words: u16,
    /// Whether words were pushed out since the last look.
    pub overrun: bool,
}

/// Whether a tag byte has even parity over its eight bits, as the chip makes it.
pub const fn even_parity(tag: u8) -> bool {
    tag.count_ones().is_multiple_of(2)
}

/// An IIS3DWB on its SPI device.
#[derive(Debug)]
pub struct Iis3dwb<SPI> {
    spi: SPI,
    full_scale: FullScale,
    rate: f64,
    slot: Option<u8>,
    burst: [u8; BURST_WORDS * WORD_BYTES],
}

impl<SPI: SpiDevice> Iis3dwb<SPI> {
    /// A chip that is not started yet.
    pub fn new(spi: SPI, full_scale: FullScale) -> Self {
        Self { spi, full_scale, rate: NOMINAL_RATE, slot: None, burst: [0; BURST_WORDS * WORD_BYTES] }
    }

    /// Samples a second, as the chip's oscillator runs; known once it was started.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// m/s2 per count.
    pub fn scale(&self) -> f64 {
        self.full_scale.scale()
    }

    /// Identifies, resets and configures the chip; leaves its FIFO empty. Takes at least 20 ms.
    pub fn start(&mut self, delay: &mut impl DelayNs) -> Result<(), SensorError<SPI::Error>> {
        delay.delay_ms(BOOT_MS);
        let found = self.read(register::WHO_AM_I, "WHO_AM_I")?;
        if found != WHO_AM_I {
            let (expected, found) = (u32::from(WHO_AM_I), u32::from(found));
            return Err(SensorError::Identity { register: "WHO_AM_I", expected, found });
        }
        self.write(register::CTRL3_C, SW_RESET, "CTRL3_C")?;
        self.wait_for_reset(delay)?;
        self.write(register::CTRL3_C, BDU_IF_INC, "CTRL3_C")?;
        let [low, high] = WATERMARK.to_le_bytes();
        self.write(register::FIFO_CTRL1, low, "FIFO_CTRL1")?;
        self.write(register::FIFO_CTRL2, high & 1, "FIFO_CTRL2")?;
        self.write(register::FIFO_CTRL3, BDR_XL, "FIFO_CTRL3")?;
        self.write(register::FIFO_CTRL4, BYPASS, "FIFO_CTRL4")?;
        let fine = self.read(register::INTERNAL_FREQ_FINE, "INTERNAL_FREQ_FINE")?;
        self.rate = NOMINAL_RATE * (1.0 + FINE_STEP * f64::from(fine.cast_signed()));
        self.write(register::CTRL1_XL, XL_EN | self.full_scale.bits(), "CTRL1_XL")?;
        delay.delay_ms(BOOT_MS);
        Ok(())
    }

    fn wait_for_reset(&mut self, delay: &mut impl DelayNs) -> Result<(), SensorError<SPI::Error>> {
        for _ in 0..RESET_LOOKS {
            delay.delay_ms(1);
            if self.read(register::CTRL3_C, "CTRL3_C")? & SW_RESET == 0 {
                return Ok(());
            }
        }
        Err(SensorError::NotReady { register: "CTRL3_C" })
    }

    /// Empties the FIFO and lets it run: the first sample comes one period later.
    pub fn begin(&mut self) -> Result<(), SensorError<SPI::Error>> {
        self.end()?;
        self.write(register::FIFO_CTRL4, CONTINUOUS, "FIFO_CTRL4")
    }

    /// Stops and empties the FIFO.
    pub fn end(&mut self) -> Result<(), SensorError<SPI::Error>> {
        self.slot = None;
        self.write(register::FIFO_CTRL4, BYPASS, "FIFO_CTRL4")
    }

    /// How full the FIFO is. Clears the latched overrun flag.
    pub fn level(&mut self) -> Result<Level, SensorError<SPI::Error>> {
        let mut status = [0; 2];
        self.read_into(register::FIFO_STATUS1, &mut status, "FIFO_STATUS1")?;
        // Bit 2 is not used and reads 0; a bus that nobody drives reads all ones.
        if status[1] & 0x04 != 0 {
            let found = u32::from(u16::from_be_bytes(status));
            return Err(SensorError::Malformed { register: "FIFO_STATUS2", found });
        }
        let words = u16::from_le_bytes([status[0], status[1] & 0x03]);
        Ok(Level { words, overrun: status[1] & OVERRUN != 0 })
    }

    /// Takes `words` words out of the FIFO, which must hold them, and hands each to `take` as counts of X, Y and Z. A
    /// word that is not the next sample of the accelerometer ends it with an error: what was handed out so far is
    /// consecutive.
    pub fn drain(&mut self, words: u16, mut take: impl FnMut([i16; 3])) -> Result<(), SensorError<SPI::Error>> {
        let mut left = usize::from(words);
        while left > 0 {
            let now = left.min(BURST_WORDS);
            let Some(bytes) = self.burst.get_mut(..now * WORD_BYTES) else { break };
            let address = [READ | register::FIFO_DATA_OUT_TAG];
            let mut operations = [Operation::Write(&address), Operation::Read(bytes)];
            self.spi.transaction(&mut operations).map_err(SensorError::bus("FIFO_DATA_OUT_TAG"))?;
            for word in bytes.chunks_exact(WORD_BYTES) {
                let &[tag, xl, xh, yl, yh, zl, zh] = word else { continue };
                let slot = tag >> 1 & 0x03;
                let next = self.slot.is_none_or(|before| slot == (before + 1) & 0x03);
                if tag >> 3 != TAG_ACCELEROMETER || !even_parity(tag) || !next {
                    return Err(SensorError::Malformed { register: "FIFO_DATA_OUT_TAG", found: u32::from(tag) });
                }
                self.slot = Some(slot);
                take([[xl, xh], [yl, yh], [zl, zh]].map(i16::from_le_bytes));
            }
            left -= now;
        }
        Ok(())
    }

    fn read(&mut self, address: u8, name: &'static str) -> Result<u8, SensorError<SPI::Error>> {
        let mut value = [0];
        self.read_into(address, &mut value, name)?;
        Ok(value[0])
    }

    fn read_into(&mut self, address: u8, into: &mut [u8], name: &'static str) -> Result<(), SensorError<SPI::Error>> {
        let address = [READ | address];
        let mut operations = [Operation::Write(&address), Operation::Read(into)];
        self.spi.transaction(&mut operations).map_err(SensorError::bus(name))
    }

    fn write(&mut self, address: u8, value: u8, name: &'static str) -> Result<(), SensorError<SPI::Error>> {
        self.spi.write(&[address, value]).map_err(SensorError::bus(name))
    }
}
