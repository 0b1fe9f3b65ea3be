//! The ADS1115 at register level: pointer, configuration, single conversions that take their time.
//!
//! The voltages of its inputs are set from outside. Modelled are the multiplexer's single-ended inputs, the amplifier's
//! ranges, data rates and the busy bit. Not modelled: differential inputs, continuous mode, the comparator.

use fettle_wire::Micros;

use super::NoAnswer;

const CONFIGURATION_DEFAULT: u16 = 0x8583;
const START: u16 = 0x8000;

/// The chip.
#[derive(Debug, Clone)]
pub struct Ads1115 {
    /// Volts at AIN0..AIN3.
    pub inputs: [f64; 4],
    pointer: u8,
    configuration: u16,
    result: i16,
    converted_at: Option<Micros>,
}

impl Default for Ads1115 {
    fn default() -> Self {
        let configuration = CONFIGURATION_DEFAULT;
        Self { inputs: [0.0; 4], pointer: 0, configuration, result: 0, converted_at: None }
    }
}

impl Ads1115 {
    fn full_scale(&self) -> f64 {
        [6.144, 4.096, 2.048, 1.024, 0.512, 0.256, 0.256, 0.256][usize::from(self.configuration >> 9 & 0x07)]
    }

    fn conversion(&self) -> Micros {
        let rate = [8, 16, 32, 64, 128, 250, 475, 860][usize::from(self.configuration >> 5 & 0x07)];
        1_000_000 / rate + 1
    }

    fn settle(&mut self, now: Micros) {
        if self.converted_at.is_some_and(|at| now >= at) {
            // MUX 100..111: AIN0..AIN3 against ground.
            let input = self.inputs[usize::from(self.configuration >> 12 & 0x03)];
            // A cast saturates, as the converter does.
            self.result = (input / self.full_scale() * 32_768.0).round() as i16;
            self.converted_at = None;
        }
    }

    /// A write of the master.
    pub fn write(&mut self, now: Micros, bytes: &[u8]) -> Result<(), NoAnswer> {
        self.settle(now);
        let Some(pointer) = bytes.first() else { return Ok(()) };
        self.pointer = *pointer & 0x03;
        if let (0x01, Some(&[high, low])) = (self.pointer, bytes.get(1..3)) {
            self.configuration = u16::from_be_bytes([high, low]);
            if self.configuration & START != 0 {
                self.converted_at = Some(now + self.conversion());
            }
        }
        Ok(())
    }

    /// A read of the master, from the register pointed at.
    pub fn read(&mut self, now: Micros, into: &mut [u8]) -> Result<(), NoAnswer> {
        self.settle(now);
        let idle = if self.converted_at.is_none() { START } else { 0 };
        let value = match self.pointer {
            0x00 => self.result.cast_unsigned(),
            0x01 => self.configuration & !START | idle,
            _ => 0,
        };
        for (place, byte) in into.iter_mut().zip(value.to_be_bytes()) {
            *place = byte;
        }
        Ok(())
    }
}
