//! A KELLER LD transmitter as its protocol shows it: memory words on request, conversions that take their time.
//!
//! The pressure is set from outside. Modelled are the product code, mode and range in memory, the conversion with its busy
//! bit, pressure and temperature codes.

use fettle_firmware::sensor::keller_ld::{CUST_ID0, REQUEST, SCALING0, SCALING1, SCALING3, STATUS_GOOD};
use fettle_wire::Micros;

use super::NoAnswer;

const BUSY: u8 = 0x20;
/// A typical conversion, microseconds; the protocol promises 8 ms.
const CONVERSION: Micros = 4_000;
/// From a memory request to its word, microseconds.
const MEMORY: Micros = 250;

/// The transmitter.
#[derive(Debug, Clone)]
pub struct KellerLd {
    /// What it would measure now, bar.
    pub input: f64,
    /// The temperature of its body, degrees Celsius.
    pub body: f64,
    memory: [u16; 0x20],
    range: (f64, f64),
    asked: u8,
    ready_at: Micros,
}

impl KellerLd {
    /// A gauge transmitter from `low` to `high` bar.
    pub fn new(low: f32, high: f32) -> Self {
        let mut memory = [0; 0x20];
        memory[usize::from(CUST_ID0)] = 0x0145;
        memory[usize::from(CUST_ID0) + 1] = 0x2b07;
        memory[usize::from(SCALING0)] = 0;
        for (at, value) in [(SCALING1, low), (SCALING3, high)] {
            memory[usize::from(at)] = (value.to_bits() >> 16) as u16;
            memory[usize::from(at) + 1] = value.to_bits() as u16;
        }
        let range = (f64::from(low), f64::from(high));
        Self { input: 0.0, body: 20.0, memory, range, asked: 0, ready_at: Micros::MIN }
    }

    /// A write of the master: what it asks for.
    pub fn write(&mut self, now: Micros, bytes: &[u8]) -> Result<(), NoAnswer> {
        if let Some(asked) = bytes.first() {
            self.asked = *asked;
            self.ready_at = now + if *asked == REQUEST { CONVERSION } else { MEMORY };
        }
        Ok(())
    }

    /// A read of the master: status, and what was asked for.
    pub fn read(&mut self, now: Micros, into: &mut [u8]) -> Result<(), NoAnswer> {
        let status = if now < self.ready_at { STATUS_GOOD | BUSY } else { STATUS_GOOD };
        let word = self.memory.get(usize::from(self.asked)).copied().unwrap_or(0).to_be_bytes();
        let share = (self.input - self.range.0) / (self.range.1 - self.range.0);
        // Casts saturate, as the codes do.
        let pressure = ((16_384.0 + 32_768.0 * share).round() as u16).to_be_bytes();
        let body = (((((self.body + 50.0) / 0.05) + 24.0).round() as u16) << 4).to_be_bytes();
        let measured = [status, pressure[0], pressure[1], body[0], body[1]];
        let remembered = [status, word[0], word[1], 0, 0];
        let answer = if self.asked == REQUEST { measured } else { remembered };
        for (place, byte) in into.iter_mut().zip(answer) {
            *place = byte;
        }
        Ok(())
    }
}
