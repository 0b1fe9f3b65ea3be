//! The IIS3DWB at register level: what the SPI master sees, byte by byte.
//!
//! Samples are pushed in from outside, in m/s2; whoever holds the chip asks [`Iis3dwb::owed`] how many the time passed has
//! brought. Modelled are identity, software reset, configuration of range and FIFO, the FIFO with its tags, status and
//! overrun, and the oscillator's deviation. Not modelled: filters, self-test, interrupts, the other registers.
//!
//! It must never produce a sample by itself nor know of physics.

use std::collections::VecDeque;

use embedded_hal::spi::Operation;
use fettle_firmware::sensor::iis3dwb::{
    BDR_XL, CONTINUOUS, FIFO_WORDS, FINE_STEP, FullScale, NOMINAL_RATE, READ, SW_RESET, TAG_ACCELEROMETER, WHO_AM_I,
    WORD_BYTES, XL_EN, even_parity, register,
};
use fettle_wire::Micros;

/// How long a software reset takes, microseconds.
const RESET_TIME: Micros = 50;
/// CTRL3_C after power-up: addresses increment.
const CTRL3_C_DEFAULT: u8 = 0x04;

/// The chip.
#[derive(Debug, Clone)]
pub struct Iis3dwb {
    registers: [u8; 128],
    fifo: VecDeque<[u8; WORD_BYTES]>,
    overrun: bool,
    slot: u8,
    fine: i8,
    /// When the FIFO began to fill, and the samples taken since.
    running: Option<(Micros, u64)>,
    reset_until: Micros,
}

impl Iis3dwb {
    /// A chip just powered, whose oscillator deviates by `fine` steps of 0.15 %.
    pub fn new(fine: i8) -> Self {
        let mut chip = Self {
            registers: [0; 128],
            fifo: VecDeque::with_capacity(FIFO_WORDS),
            overrun: false,
            slot: 0,
            fine,
            running: None,
            reset_until: Micros::MIN,
        };
        chip.defaults();
        chip
    }

    /// Takes power away and gives it back.
    pub fn power_cycle(&mut self) {
        *self = Self::new(self.fine);
    }

    fn defaults(&mut self) {
        self.registers = [0; 128];
        self.registers[usize::from(register::WHO_AM_I)] = WHO_AM_I;
        self.registers[usize::from(register::CTRL3_C)] = CTRL3_C_DEFAULT;
        self.registers[usize::from(register::INTERNAL_FREQ_FINE)] = self.fine.cast_unsigned();
        self.empty();
        self.running = None;
    }

    fn empty(&mut self) {
        self.fifo.clear();
        self.overrun = false;
    }

    /// Samples a second.
    pub fn rate(&self) -> f64 {
        NOMINAL_RATE * (1.0 + FINE_STEP * f64::from(self.fine))
    }

    /// How many samples the FIFO should have taken by `now` and has not.
    pub fn owed(&self, now: Micros) -> u64 {
        let Some((since, taken)) = self.running else { return 0 };
        let due = now.saturating_sub(since).max(0) as f64 * 1e-6 * self.rate();
        (due as u64).saturating_sub(taken)
    }

    /// Lets `samples` go by that nobody will ever read, because the FIFO runs over with those after them.
    pub fn pass(&mut self, samples: u64) {
        if let Some((_, taken)) = &mut self.running {
            *taken += samples;
            self.slot = (u64::from(self.slot) + samples) as u8 & 0x03;
            self.overrun |= samples > 0;
        }
    }

    /// Takes one sample of X, Y and Z in m/s2 into the FIFO.
    pub fn sample(&mut self, xyz: [f64; 3]) {
        let Some((_, taken)) = &mut self.running else { return };
        *taken += 1;
        let scale = 1.0 / self.full_scale().scale();
        let mut tag = TAG_ACCELEROMETER << 3 | self.slot << 1;
        tag |= u8::from(!even_parity(tag));
        self.slot = (self.slot + 1) & 0x03;
        // A cast saturates, as the converter does.
        let [x, y, z] = xyz.map(|a| ((a * scale).round() as i16).to_le_bytes());
        if self.fifo.len() == FIFO_WORDS {
            self.fifo.pop_front();
            self.overrun = true;
        }
        self.fifo.push_back([tag, x[0], x[1], y[0], y[1], z[0], z[1]]);
    }

    fn full_scale(&self) -> FullScale {
        let bits = self.registers[usize::from(register::CTRL1_XL)] & 0x0c;
        [FullScale::G2, FullScale::G16, FullScale::G4, FullScale::G8]
            .into_iter()
            .find(|scale| scale.bits() == bits)
            .unwrap_or(FullScale::G2)
    }

    /// One transaction, chip select low to high.
    pub fn transaction(&mut self, now: Micros, operations: &mut [Operation<'_, u8>]) {
        let mut address: Option<u8> = None;
        for operation in operations {
            match operation {
                Operation::Write(out) => out.iter().for_each(|byte| {
                    self.clock(now, &mut address, *byte);
                }),
                Operation::Read(into) => self.clock_out(now, &mut address, into),
                Operation::Transfer(into, out) => {
                    for i in 0..into.len().max(out.len()) {
                        let byte = self.clock(now, &mut address, out.get(i).copied().unwrap_or(0));
                        if let Some(place) = into.get_mut(i) {
                            *place = byte;
                        }
                    }
                }
                Operation::TransferInPlace(bytes) => {
                    bytes.iter_mut().for_each(|byte| *byte = self.clock(now, &mut address, *byte));
                }
                Operation::DelayNs(_) => {}
            }
        }
    }

    /// Many bytes out; whole FIFO words at once.
    fn clock_out(&mut self, now: Micros, address: &mut Option<u8>, into: &mut [u8]) {
        let mut rest = into;
        while *address == Some(READ | register::FIFO_DATA_OUT_TAG) && rest.len() >= WORD_BYTES && !self.fifo.is_empty()
        {
            let (word, after) = rest.split_at_mut(WORD_BYTES);
            if let Some(oldest) = self.fifo.pop_front() {
                word.copy_from_slice(&oldest);
            }
            rest = after;
        }
        rest.iter_mut().for_each(|byte| *byte = self.clock(now, address, 0));
    }

    /// Eight clocks: the first byte is the address, what follows is data; addresses count up, and from the FIFO's last
    /// output register back to its first.
    fn clock(&mut self, now: Micros, address: &mut Option<u8>, out: u8) -> u8 {
        let Some(at) = *address else {
            *address = Some(out);
            return 0;
        };
        let register = at & !READ;
        let next = if register == register::FIFO_DATA_OUT_TAG + 6 { register::FIFO_DATA_OUT_TAG } else { register + 1 };
        *address = Some(at & READ | next & !READ);
        if at & READ != 0 {
            return self.read(now, register);
        }
        self.write(now, register, out);
        0
    }

    fn read(&mut self, now: Micros, register: u8) -> u8 {
        match register {
            register::FIFO_STATUS1 => (self.fifo.len() & 0xff) as u8,
            register::FIFO_STATUS2 => {
                let flags = u8::from(self.overrun) << 6 | u8::from(self.overrun) << 3;
                let full = u8::from(self.fifo.len() >= FIFO_WORDS) << 5;
                let watermark = u8::from(self.fifo.len() >= self.watermark()) << 7;
                self.overrun = false;
                flags | full | watermark | (self.fifo.len() >> 8) as u8 & 0x03
            }
            register::CTRL3_C if now < self.reset_until => self.registers[usize::from(register)] | SW_RESET,
            register::FIFO_DATA_OUT_TAG..0x7f => {
                let place = usize::from(register - register::FIFO_DATA_OUT_TAG);
                let byte = self.fifo.front().map_or(0, |word| word[place]);
                if place == WORD_BYTES - 1 {
                    self.fifo.pop_front();
                }
                byte
            }
            other => self.registers.get(usize::from(other)).copied().unwrap_or(0),
        }
    }

    fn watermark(&self) -> usize {
        let [low, high] = [register::FIFO_CTRL1, register::FIFO_CTRL2].map(|r| self.registers[usize::from(r)]);
        usize::from(low) | usize::from(high & 1) << 8
    }

    fn write(&mut self, now: Micros, register: u8, value: u8) {
        let read_only = matches!(
            register,
            register::WHO_AM_I | register::FIFO_STATUS1..=register::FIFO_STATUS2 | register::INTERNAL_FREQ_FINE | 0x78..
        );
        if read_only {
            return;
        }
        if register == register::CTRL3_C && value & SW_RESET != 0 {
            self.defaults();
            self.reset_until = now + RESET_TIME;
            return;
        }
        self.registers[usize::from(register)] = value;
        let of = |r: u8| self.registers[usize::from(r)];
        let continuous = of(register::FIFO_CTRL4) & 0x07 == CONTINUOUS;
        let powered = of(register::CTRL1_XL) & 0xe0 == XL_EN && of(register::FIFO_CTRL3) & 0x0f == BDR_XL;
        match (continuous && powered, self.running) {
            (true, None) => self.running = Some((now, 0)),
            (false, Some(_)) => self.running = None,
            _ => {}
        }
        if register == register::FIFO_CTRL4 && !continuous {
            self.empty();
        }
    }
}
