//! The TMP117 at register level: pointer, configuration, conversions that take their time, identity.
//!
//! The temperature is set from outside. Modelled are one-shot, shutdown and continuous conversion, averaging's time, data
//! ready, software reset, device ID. Not modelled: alerts, limits, EEPROM.

use fettle_wire::Micros;

use super::NoAnswer;

/// Degrees Celsius per code.
const CODE: f64 = 0.007_812_5;
const CONFIGURATION_DEFAULT: u16 = 0x0220;
const DATA_READY: u16 = 0x2000;
const RESET: u16 = 0x0002;
/// DID with revision 0.
const DEVICE_ID: u16 = 0x0117;
/// -256 degrees Celsius, before the first conversion.
const NOT_CONVERTED: u16 = 0x8000;

/// The chip.
#[derive(Debug, Clone)]
pub struct Tmp117 {
    /// What it would measure now, degrees Celsius.
    pub input: f64,
    pointer: u8,
    configuration: u16,
    result: u16,
    ready: bool,
    converted_at: Option<Micros>,
}

impl Tmp117 {
    /// A chip just powered at time `now`.
    pub fn new(now: Micros) -> Self {
        let mut chip = Self {
            input: 0.0,
            pointer: 0,
            configuration: CONFIGURATION_DEFAULT,
            result: NOT_CONVERTED,
            ready: false,
            converted_at: None,
        };
        chip.begin(now);
        chip
    }

    /// Conversion time with averaging of 1, 8, 32 and 64, microseconds.
    fn conversion(&self) -> Micros {
        [15_500, 125_000, 500_000, 1_000_000][usize::from(self.configuration >> 5 & 0x03)]
    }

    fn begin(&mut self, now: Micros) {
        self.converted_at = Some(now + self.conversion());
    }

    fn settle(&mut self, now: Micros) {
        if self.converted_at.is_some_and(|at| now >= at) {
            self.result = ((self.input / CODE).round() as i16).cast_unsigned();
            self.ready = true;
            self.converted_at = None;
            match self.configuration >> 10 & 0x03 {
                0b00 | 0b10 => self.begin(now),
                // After a one-shot conversion it shuts down.
                _ => self.configuration = self.configuration & !0x0c00 | 0x0400,
            }
        }
    }

    /// A write of the master.
    pub fn write(&mut self, now: Micros, bytes: &[u8]) -> Result<(), NoAnswer> {
        self.settle(now);
        let (Some(pointer), value) = (bytes.first(), bytes.get(1..3)) else { return Ok(()) };
        self.pointer = *pointer;
        if let (0x01, Some(&[high, low])) = (*pointer, value) {
            let value = u16::from_be_bytes([high, low]);
            if value & RESET != 0 {
                *self = Self { input: self.input, pointer: self.pointer, ..Self::new(now) };
                return Ok(());
            }
            self.configuration = value & 0x0ffc;
            match value >> 10 & 0x03 {
                0b01 => self.converted_at = None,
                _ => self.begin(now),
            }
        }
        Ok(())
    }

    /// A read of the master, from the register pointed at.
    pub fn read(&mut self, now: Micros, into: &mut [u8]) -> Result<(), NoAnswer> {
        self.settle(now);
        let value = match self.pointer {
            0x00 => {
                self.ready = false;
                self.result
            }
            0x01 => {
                let ready = std::mem::take(&mut self.ready);
                self.configuration | if ready { DATA_READY } else { 0 }
            }
            0x0f => DEVICE_ID,
            _ => 0,
        };
        for (place, byte) in into.iter_mut().zip(value.to_be_bytes()) {
            *place = byte;
        }
        Ok(())
    }
}
