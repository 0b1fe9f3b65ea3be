//! The board: the chips of a node and the [`Node`] they feed.
//!
//! [`Board::poll`] is called with the sampling time and says when it wants to be called next; that is all a main loop or
//! a timer interrupt has to do. In between, a burst of waveform blocks is fetched from the vibration chip's FIFO piece by
//! piece; scalars are read at their interval, each conversion waited for with the delay. The two never overlap, because a
//! conversion takes longer than the FIFO could wait: scalars that fall into a burst are read when it ends.
//!
//! - B1: a block holds consecutive samples. What the FIFO lost ends the run: the block under way is left out, the next one
//!   begins later, and its time says so.
//! - B2: the blocks of one burst follow one another in sequence, and each in time by its length to the microsecond, as
//!   long as nothing was lost.
//! - B3: a value that cannot be had is absent, one that cannot be true is sent as bad; either is counted by channel and
//!   [`Reason`]. A chip that failed is started anew, identity and all, the next time it is asked.
//!
//! It must never wait for a chip beyond its data sheet's time, keep a sample across a gap, or grow its memory.

use alloc::vec;
use alloc::vec::Vec;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use embedded_hal::spi::SpiDevice;
use fettle_wire::Quality;

use crate::node::{Block, Clock, Node, NodeSettings};
use crate::sensor::ads1115::{Ads1115, Input};
use crate::sensor::iis3dwb::{FullScale, Iis3dwb, WATERMARK};
use crate::sensor::keller_ld::KellerLd;
use crate::sensor::tmp117::Tmp117;
use crate::sensor::{Reason, SensorError};

/// The buses and the delay that a board is built on. The three I2C devices may share one bus, as embedded-hal-bus does.
#[derive(Debug)]
pub struct Chips<SPI, I2C, D> {
    /// IIS3DWB.
    pub vibration: SPI,
    /// TMP117.
    pub temperature: I2C,
    /// KELLER LD.
    pub pressure: I2C,
    /// ADS1115.
    pub loops: I2C,
    /// Waits.
    pub delay: D,
}

/// A scalar the board can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Loop on A0.
    Speed,
    /// Loop on A1.
    Current,
    /// Loop on A2.
    Load,
    /// TMP117, degrees Celsius.
    Temperature,
    /// KELLER LD, bar.
    Pressure,
}

/// What a 4..20 mA loop means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// The value at 4 mA.
    pub low: f64,
    /// The value at 20 mA.
    pub high: f64,
}

impl Span {
    /// The value at a current in mA.
    pub fn value(self, milliampere: f64) -> f64 {
        self.low + (milliampere - 4.0) / 16.0 * (self.high - self.low)
    }

    /// The current at a value, mA.
    pub fn current(self, value: f64) -> f64 {
        4.0 + (value - self.low) / (self.high - self.low) * 16.0
    }
}

/// NAMUR NE 43: below it a loop is broken.
pub const LOOP_BROKEN_BELOW_MA: f64 = 3.6;
/// NAMUR NE 43: from it on a transmitter reports its own failure.
pub const LOOP_FAILED_FROM_MA: f64 = 21.0;

/// How waveforms are taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WaveformSettings {
    /// Sampling time from one burst to the next; microseconds.
    pub interval: u64,
    /// Sampling time from boot to the first burst.
    pub offset: u64,
    /// Samples of a block.
    pub samples: usize,
    /// Consecutive blocks of a burst.
    pub blocks: u32,
    /// The vibration chip's range.
    pub full_scale: FullScale,
}

/// What a board reads.
#[derive(Debug, Clone, PartialEq)]
pub struct BoardSettings {
    /// The node. Its channels are the quantities in their order and then, with a waveform, the waveform's.
    pub node: NodeSettings,
    /// What is read, in the order of the channels.
    pub quantities: Vec<Quantity>,
    /// Sampling time between two readings of a quantity; microseconds.
    pub interval: u64,
    /// Waveforms, if any.
    pub waveform: Option<WaveformSettings>,
    /// The loops on A0, A1, A2.
    pub loops: [Span; 3],
}

/// A reading as it was taken, for whoever keeps a record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Taken {
    /// Its channel.
    pub channel: u16,
    /// Sampling time.
    pub sampled: u64,
    /// Its value.
    pub value: f64,
    /// How good it is.
    pub quality: Quality,
    /// The sequence of the frame it goes into.
    pub sequence: u64,
}

/// How often the same value is believed. With the least noise every one of these chips changes its last digit.
pub const STUCK_AFTER: u32 = 60;
/// A FIFO that is empty for this long, microseconds, belongs to a chip that has stopped.
const SILENT: u64 = 20_000;
/// How often a burst is begun anew before the chip is started anew.
const RESTARTS: u32 = 3;

/// Failures of one channel, by [`Reason`].
pub type Failures = [u32; Reason::ALL.len()];

/// A burst under way.
#[derive(Debug)]
struct Burst {
    /// When the FIFO began to run.
    begun: u64,
    /// Samples fetched since.
    fetched: u64,
    /// Blocks still to be closed.
    blocks: u32,
    /// Times it may still be begun anew.
    restarts: u32,
    /// When the FIFO last held something.
    heard: u64,
    /// When it wants to be looked at again.
    wake: u64,
}

/// What is remembered of a quantity.
#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    last: Option<u64>,
    repeats: u32,
}

/// A node with its chips, from one boot to the next.
#[derive(Debug)]
pub struct Board<SPI, I2C, D> {
    node: Node,
    vibration: Iis3dwb<SPI>,
    temperature: Tmp117<I2C>,
    pressure: KellerLd<I2C>,
    loops: Ads1115<I2C>,
    delay: D,
    /// Which chips are started: vibration, temperature, pressure, loops.
    started: [bool; 4],
    quantities: Vec<Quantity>,
    interval: u64,
    waveform: Option<WaveformSettings>,
    spans: [Span; 3],
    memory: Vec<Memory>,
    failures: Vec<Failures>,
    block: Vec<u8>,
    burst: Option<Burst>,
    next_scalars: u64,
    next_burst: u64,
    samples_lost: u64,
}

const VIBRATION: usize = 0;
const TEMPERATURE: usize = 1;
const PRESSURE: usize = 2;
const LOOPS: usize = 3;

impl<SPI: SpiDevice, I2C: I2c, D: DelayNs> Board<SPI, I2C, D> {
    /// A board that boots at sampling time `booted` with the random number `boot`. No chip is touched before the first
    /// [`Self::poll`].
    pub fn new(settings: BoardSettings, chips: Chips<SPI, I2C, D>, boot: u64, booted: u64, clock: Clock) -> Self {
        let channels = settings.quantities.len() + usize::from(settings.waveform.is_some());
        let full_scale = settings.waveform.map_or(FullScale::G16, |w| w.full_scale);
        let (bytes, offset) = settings.waveform.map_or((0, 0), |w| (w.samples * 2, w.offset));
        Self {
            node: Node::new(settings.node, boot, booted, clock),
            vibration: Iis3dwb::new(chips.vibration, full_scale),
            temperature: Tmp117::new(chips.temperature),
            pressure: KellerLd::new(chips.pressure),
            loops: Ads1115::new(chips.loops),
            delay: chips.delay,
            started: [false; 4],
            memory: vec![Memory::default(); settings.quantities.len()],
            quantities: settings.quantities,
            interval: settings.interval.max(1),
            waveform: settings.waveform,
            spans: settings.loops,
            failures: vec![Failures::default(); channels],
            block: Vec::with_capacity(bytes),
            burst: None,
            next_scalars: booted,
            next_burst: booted.saturating_add(offset),
            samples_lost: 0,
        }
    }

    /// The node, for its ring, link and account.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The node, to drive its link.
    pub fn node_mut(&mut self) -> &mut Node {
        &mut self.node
    }

    /// Failures of a channel since boot.
    pub fn failures(&self, channel: u16) -> Failures {
        self.failures.get(usize::from(channel)).copied().unwrap_or_default()
    }

    /// Samples that were fetched and belong to no block, because the run they were in ended.
    pub fn samples_lost(&self) -> u64 {
        self.samples_lost
    }

    /// Whether readings or samples wait for the rest of their frame: what a loss of power takes without a trace.
    pub fn mid_frame(&self) -> bool {
        self.burst.is_some() || self.node.batched() > 0
    }

    /// Bytes of memory that a board of these settings takes at most, itself included; see [`Node::ram`].
    pub fn ram(settings: &BoardSettings) -> Option<usize> {
        let block = settings.waveform.map_or(0, |w| w.samples * 2);
        let channels = settings.quantities.len() + 1;
        let beside = channels * (size_of::<Memory>() + size_of::<Failures>() + size_of::<Quantity>());
        Some(Node::ram(&settings.node, block)? - size_of::<Node>() + size_of::<Self>() + block + beside)
    }

    /// Does what is due at sampling time `now`, which must not go back, and returns when there is more to do. Each reading
    /// taken is shown to `taken`.
    pub fn poll(&mut self, now: u64, taken: &mut dyn FnMut(Taken)) -> u64 {
        if self.burst.is_some() {
            self.acquire(now);
        }
        if self.burst.is_none() {
            if now >= self.next_scalars {
                self.scalars(now, taken);
                self.next_scalars = following(self.next_scalars, self.interval, now);
            } else if let Some(waveform) = self.waveform.filter(|_| now >= self.next_burst) {
                self.begin(now, waveform);
            }
        }
        let wake = match (&self.burst, self.waveform) {
            (Some(burst), _) => burst.wake,
            (None, Some(_)) => self.next_scalars.min(self.next_burst),
            (None, None) => self.next_scalars,
        };
        wake.max(now + 1)
    }

    fn scalars(&mut self, now: u64, taken: &mut dyn FnMut(Taken)) {
        for i in 0..self.quantities.len() {
            let Some(quantity) = self.quantities.get(i).copied() else { break };
            let chip = match quantity {
                Quantity::Temperature => TEMPERATURE,
                Quantity::Pressure => PRESSURE,
                Quantity::Speed | Quantity::Current | Quantity::Load => LOOPS,
            };
            match self.read(quantity, chip) {
                Ok((value, flaw)) => {
                    let flaw = flaw.or(self.is_stuck(i, value));
                    let quality = if flaw.is_some() { Quality::Bad } else { Quality::Good };
                    if let Some(reason) = flaw {
                        self.count(i, reason);
                    }
                    let (channel, sequence) = (i as u16, self.node.sequence());
                    self.node.reading(now, channel, value, quality);
                    taken(Taken { channel, sampled: now, value, quality, sequence });
                }
                Err(error) => {
                    self.started[chip] = false;
                    self.count(i, error.reason());
                }
            }
        }
    }

    /// A value, and what is wrong with it.
    fn read(&mut self, quantity: Quantity, chip: usize) -> Result<(f64, Option<Reason>), SensorError<I2C::Error>> {
        let delay = &mut self.delay;
        if !self.started[chip] {
            match chip {
                TEMPERATURE => self.temperature.start(delay),
                PRESSURE => self.pressure.start(delay),
                _ => self.loops.start(),
            }?;
            self.started[chip] = true;
        }
        let (input, span) = match quantity {
            Quantity::Temperature => return Ok((self.temperature.read(delay)?, None)),
            Quantity::Pressure => return Ok((self.pressure.read(delay)?, None)),
            Quantity::Speed => (Input::A0, self.spans[0]),
            Quantity::Current => (Input::A1, self.spans[1]),
            Quantity::Load => (Input::A2, self.spans[2]),
        };
        let current = self.loops.read(input, delay)?;
        let broken = !(LOOP_BROKEN_BELOW_MA..LOOP_FAILED_FROM_MA).contains(&current);
        Ok((span.value(current), broken.then_some(Reason::OutOfRange)))
    }

    fn is_stuck(&mut self, i: usize, value: f64) -> Option<Reason> {
        let memory = self.memory.get_mut(i)?;
        let same = memory.last == Some(value.to_bits());
        memory.repeats = if same { memory.repeats.saturating_add(1) } else { 0 };
        memory.last = Some(value.to_bits());
        (memory.repeats >= STUCK_AFTER).then_some(Reason::Stuck)
    }

    fn count(&mut self, channel: usize, reason: Reason) {
        if let Some(failures) = self.failures.get_mut(channel) {
            failures[reason as usize] = failures[reason as usize].saturating_add(1);
        }
    }

    /// Begins a burst; a chip that has first to be started is, and the burst begins when that has passed.
    fn begin(&mut self, now: u64, waveform: WaveformSettings) {
        if !self.started[VIBRATION] {
            match self.vibration.start(&mut self.delay) {
                Ok(()) => self.started[VIBRATION] = true,
                Err(error) => {
                    self.count(self.quantities.len(), error.reason());
                    self.next_burst = following(self.next_burst, waveform.interval, now);
                }
            }
            return;
        }
        self.next_burst = following(self.next_burst, waveform.interval, now);
        self.node.flush();
        self.block.clear();
        let (blocks, restarts) = (waveform.blocks, RESTARTS);
        self.burst = Some(Burst { begun: now, fetched: 0, blocks, restarts, heard: now, wake: now });
        if let Err(error) = self.vibration.begin() {
            self.give_up(error.reason());
        }
        self.plan(now);
    }

    /// Fetches what the FIFO holds.
    fn acquire(&mut self, now: u64) {
        let level = match self.vibration.level() {
            Ok(level) => level,
            Err(error) => return self.give_up(error.reason()),
        };
        if level.overrun {
            return self.begin_anew(now, Reason::Overrun);
        }
        let mut words = level.words;
        while words > 0 {
            let (Some(waveform), Some(burst)) = (self.waveform, &mut self.burst) else { return };
            burst.heard = now;
            let wanted = waveform.samples - self.block.len() / 2;
            let fetch = usize::from(words).min(wanted) as u16;
            let block = &mut self.block;
            let drained = self.vibration.drain(fetch, |[_, _, z]| block.extend_from_slice(&z.to_le_bytes()));
            if let Err(error) = drained {
                return match error {
                    SensorError::Malformed { .. } => self.begin_anew(now, Reason::Malformed),
                    other => self.give_up(other.reason()),
                };
            }
            burst.fetched += u64::from(fetch);
            words -= fetch;
            if self.block.len() >= waveform.samples * 2 {
                self.close(waveform);
            }
        }
        let silent = self.burst.as_ref().is_some_and(|b| now.saturating_sub(b.heard) > SILENT);
        if silent {
            return self.give_up(Reason::NotReady);
        }
        self.plan(now);
    }

    /// A block is full.
    fn close(&mut self, waveform: WaveformSettings) {
        let Some(burst) = &mut self.burst else { return };
        let (rate, scale) = (self.vibration.rate(), self.vibration.scale());
        // The first sample comes one period after the FIFO began to run.
        let first = burst.fetched + 1 - waveform.samples as u64;
        let sampled = burst.begun + micros(first, rate);
        burst.blocks -= 1;
        let over = burst.blocks == 0;
        let stuck = self.block.chunks_exact(2).all(|count| count == &self.block[..2]);
        if stuck {
            self.samples_lost += waveform.samples as u64;
            self.count(self.quantities.len(), Reason::Stuck);
        } else {
            let block = Block { rate, scale, samples: &self.block };
            self.node.waveform(sampled, self.quantities.len() as u16, block);
        }
        self.block.clear();
        if over {
            self.burst = None;
            if let Err(error) = self.vibration.end() {
                self.started[VIBRATION] = false;
                self.count(self.quantities.len(), error.reason());
            }
        }
    }

    /// Says when the FIFO is worth a look: at its watermark, or when the burst's last sample is in.
    fn plan(&mut self, now: u64) {
        let (Some(burst), Some(waveform)) = (&mut self.burst, self.waveform) else { return };
        let missing = waveform.samples as u64 * u64::from(burst.blocks) - self.block.len() as u64 / 2;
        let words = missing.min(u64::from(WATERMARK));
        burst.wake = now.max(burst.begun + micros(burst.fetched + words + 1, self.vibration.rate()));
    }

    /// The run of samples has ended: what is left of the block is lost (B1), a new run begins.
    fn begin_anew(&mut self, now: u64, reason: Reason) {
        self.lose_block();
        self.count(self.quantities.len(), reason);
        let Some(burst) = &mut self.burst else { return };
        if burst.restarts == 0 {
            self.burst = None;
            self.started[VIBRATION] = false;
            return;
        }
        burst.restarts -= 1;
        (burst.begun, burst.fetched, burst.heard) = (now, 0, now);
        match self.vibration.begin() {
            Ok(()) => self.plan(now),
            Err(error) => self.give_up(error.reason()),
        }
    }

    fn give_up(&mut self, reason: Reason) {
        self.lose_block();
        self.burst = None;
        self.started[VIBRATION] = false;
        self.count(self.quantities.len(), reason);
    }

    fn lose_block(&mut self) {
        self.samples_lost += self.block.len() as u64 / 2;
        self.block.clear();
    }
}

/// The next time after `now` on the grid of `interval` through `last`.
fn following(last: u64, interval: u64, now: u64) -> u64 {
    let interval = interval.max(1);
    last.saturating_add(interval.saturating_mul(now.saturating_sub(last) / interval + 1))
}

/// Microseconds that `samples` take at `rate`, rounded.
fn micros(samples: u64, rate: f64) -> u64 {
    (samples as f64 * 1e6 / rate + 0.5) as u64
}
