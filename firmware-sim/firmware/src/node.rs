//! The node: boot id, sequence and clock; readings are batched into frames, a waveform block is a frame of its own, frames
//! go to the ring, the link sends them.
//!
//! The whole of what a sensor node knows lives here and dies with a reboot: a new boot is a new [`Node`] with a new boot
//! id. Two times are passed in, which on a board are one: the sampling time stamps readings (a simulation runs it
//! faster), the link time drives time-outs. Both are monotonic microseconds.
//!
//! - N1: sequences count from 0 without a gap; each closed frame has one.
//! - N2: readings = confirmed + overflowed + discarded + held + batched; a waveform block counts for one.
//! - N3: frames have their sequence in the order of their first sample, readings and waveforms together.
//! - N4: with [`NodeSettings::ring_frames`] set, the heap stays within [`Node::ram`] whatever the link does.
//!
//! It must never read a clock, draw a random number, or change a frame's readings after it was closed.

use alloc::string::String;
use alloc::vec::Vec;

use fettle_wire::frame::FrameReading;
use fettle_wire::time::ClockQuality;
use fettle_wire::{Frame, Micros, Quality, SCHEMA_VERSION, Waveform};

use crate::link::{Action, Destination, Event, Link, LinkCount, LinkSettings};
use crate::ring::{Count, ENTRY_BYTES, Ring};

/// What a node is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSettings {
    /// The channels, by index of [`Node::reading`].
    pub channels: Vec<String>,
    /// Readings that close a frame; at least 1.
    pub frame_readings: usize,
    /// Sampling time after which a reading closes its frame even if it is not full.
    pub frame_age: Option<u64>,
    /// Bytes of unconfirmed frames held.
    pub ring_bytes: usize,
    /// Unconfirmed frames held; `None` leaves them bounded by bytes alone. A node whose memory is accounted for sets it.
    pub ring_frames: Option<usize>,
    /// How the link waits.
    pub link: LinkSettings,
}

/// The node's idea of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// No real-time clock: frames carry uptime alone.
    #[default]
    Absent,
    /// UTC is sampling time plus `offset`.
    Utc {
        /// Microseconds to add.
        offset: Micros,
        /// How far the node trusts it.
        quality: ClockQuality,
    },
}

impl Clock {
    fn at(self, sampled: u64) -> (Option<Micros>, ClockQuality) {
        match self {
            Self::Absent => (None, ClockQuality::Unknown),
            Self::Utc { offset, quality } => {
                (Some(i64::try_from(sampled).unwrap_or(i64::MAX).saturating_add(offset)), quality)
            }
        }
    }
}

/// What became of everything since this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    /// Frames closed and readings taken.
    pub generated: Count,
    /// Freed because the agent confirmed them.
    pub confirmed: Count,
    /// Lost to the ring's bound.
    pub overflowed: Count,
    /// Given up because no transport can carry them.
    pub discarded: Count,
    /// In the ring; readings not yet in a frame are counted here too.
    pub held: Count,
    /// The highest `next` confirmed for this boot.
    pub durable: u64,
    /// Hand-overs.
    pub link: LinkCount,
}

impl Account {
    /// N2.
    pub fn balances(&self) -> bool {
        let parts = [self.confirmed, self.overflowed, self.discarded, self.held];
        let sum = |part: fn(&Count) -> u64| parts.iter().map(part).sum::<u64>();
        self.generated.frames == sum(|c| c.frames) && self.generated.readings == sum(|c| c.readings)
    }
}

/// What a frame says of the moment it begins.
#[derive(Debug, Clone, Copy, Default)]
struct Moment {
    sampled: u64,
    time: Option<Micros>,
    clock: ClockQuality,
}

/// A waveform block on its way into a frame.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    /// Samples a second.
    pub rate: f64,
    /// Unit per count.
    pub scale: f64,
    /// 16-bit little-endian counts; at most [`MAX_BLOCK_BYTES`] bytes.
    pub samples: &'a [u8],
}

/// The largest block: with its header a frame stays below [`fettle_wire::frame::MAX_FRAME`].
pub const MAX_BLOCK_BYTES: usize = fettle_wire::frame::MAX_FRAME - 1024;

#[derive(Debug, Default)]
struct Batch {
    begun: Moment,
    channels: Vec<u16>,
    readings: Vec<FrameReading>,
    flags: Vec<(u32, Quality)>,
}

/// A sensor node from one boot to the next.
#[derive(Debug)]
pub struct Node {
    settings: NodeSettings,
    boot: u64,
    booted: u64,
    clock: Clock,
    batch: Batch,
    readings: u64,
    ring: Ring,
    link: Link,
}

impl Node {
    /// A node that boots at sampling time `booted` with the random number `boot`.
    pub fn new(settings: NodeSettings, boot: u64, booted: u64, clock: Clock) -> Self {
        let ring = match settings.ring_frames {
            Some(frames) => Ring::bounded(settings.ring_bytes, frames),
            None => Ring::new(settings.ring_bytes),
        };
        let link = Link::new(settings.link, boot);
        Self { settings, boot, booted, clock, batch: Batch::default(), readings: 0, ring, link }
    }

    /// The boot id.
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// The sequence that the frame now being filled will have.
    pub fn sequence(&self) -> u64 {
        self.ring.next()
    }

    /// The ring, for its fill.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The UTC that the node would stamp on a reading taken at `sampled`.
    pub fn utc(&self, sampled: u64) -> Option<Micros> {
        self.clock.at(sampled).0
    }

    /// Sets the clock; the frame being filled is closed first, because it has one base time.
    pub fn set_clock(&mut self, clock: Clock) {
        if clock != self.clock {
            self.flush();
            self.clock = clock;
        }
    }

    /// Takes one reading of the channel with index `channel` at sampling time `sampled`, which must not go back. Returns
    /// whether it closed a frame. A channel that does not exist is not taken.
    pub fn reading(&mut self, sampled: u64, channel: u16, value: f64, quality: Quality) -> bool {
        if usize::from(channel) >= self.settings.channels.len() {
            return false;
        }
        if self.batch.readings.is_empty() {
            self.batch.begun = self.moment(sampled);
        }
        let place = self.batch.channels.iter().position(|c| *c == channel).unwrap_or_else(|| {
            self.batch.channels.push(channel);
            self.batch.channels.len() - 1
        });
        if quality != Quality::Good {
            self.batch.flags.push((self.batch.readings.len() as u32, quality));
        }
        let age = sampled.saturating_sub(self.batch.begun.sampled);
        // At most as many places as channels, which are indexed by u16.
        self.batch.readings.push((place as u16, i64::try_from(age).unwrap_or(i64::MAX), value));
        self.readings += 1;
        let full = self.batch.readings.len() >= self.settings.frame_readings;
        if full || self.settings.frame_age.is_some_and(|limit| age >= limit) {
            self.flush();
            return true;
        }
        false
    }

    /// Takes a waveform block of the channel with index `channel` whose first sample was taken at `sampled`. Readings
    /// batched so far are closed before it (N3). Returns the sequence of its frame; `None` for a channel that does not
    /// exist, or an empty or too large block, which is not taken.
    pub fn waveform(&mut self, sampled: u64, channel: u16, block: Block<'_>) -> Option<u64> {
        let exists = usize::from(channel) < self.settings.channels.len();
        if !exists || block.samples.is_empty() || block.samples.len() > MAX_BLOCK_BYTES {
            return None;
        }
        self.flush();
        let Block { rate, scale, samples } = block;
        let waveform = Waveform { rate, scale, offset: 0.0, samples };
        let (sequence, moment) = (self.ring.next(), self.moment(sampled));
        self.readings += 1;
        self.close(moment, &[channel], Vec::new(), Vec::new(), Some(waveform));
        Some(sequence)
    }

    /// Readings taken that are not in a frame yet.
    pub fn batched(&self) -> usize {
        self.batch.readings.len()
    }

    /// Closes the frame being filled, if it holds anything.
    pub fn flush(&mut self) {
        let batch = core::mem::take(&mut self.batch);
        if !batch.readings.is_empty() {
            self.close(batch.begun, &batch.channels, batch.readings, batch.flags, None);
        }
    }

    fn moment(&self, sampled: u64) -> Moment {
        let (time, clock) = self.clock.at(sampled);
        Moment { sampled, time, clock }
    }

    fn close(
        &mut self,
        begun: Moment,
        channels: &[u16],
        readings: Vec<FrameReading>,
        flags: Vec<(u32, Quality)>,
        waveform: Option<Waveform<'_>>,
    ) {
        let to = match (&waveform, channels) {
            (Some(_), [channel]) => Destination::Waveform(*channel),
            _ => Destination::Readings,
        };
        let count = if waveform.is_some() { 1 } else { readings.len() as u32 };
        // Whoever batches checks that the channel exists.
        let channels = channels.iter().map(|c| self.settings.channels[usize::from(*c)].as_str()).collect();
        let mut frame = Frame {
            version: SCHEMA_VERSION,
            boot: self.boot,
            sequence: self.ring.next(),
            oldest: WIDE,
            time: begun.time,
            uptime: begun.sampled.saturating_sub(self.booted),
            clock: begun.clock,
            channels,
            readings,
            flags,
            waveform,
        };
        // Encoding into memory fails for no frame; were it to, the agent would count an unreadable one.
        let bytes = frame.encode().unwrap_or_default();
        frame.readings.clear();
        frame.channels.clear();
        frame.waveform = None;
        let oldest_at = place_of_oldest(&mut frame);
        self.ring.push(bytes, oldest_at, count, to);
    }

    /// Tells the link what happened at link time `now`; what to do is added to `actions`.
    pub fn step(&mut self, now: u64, event: Event<'_>, actions: &mut Vec<Action>) {
        self.link.step(now, &mut self.ring, event, actions);
    }

    /// Whether a frame waits to be sent now, room provided.
    pub fn ready(&mut self, now: u64) -> bool {
        self.link.ready(now, &self.ring)
    }

    /// When [`Self::ready`] may become true by time alone.
    pub fn wake(&mut self) -> Option<u64> {
        self.link.wake(&self.ring)
    }

    /// Bytes of memory that a node of these settings takes at most, itself included (N4): its ring with the places of all
    /// frames, the batch, and what closing one frame needs for a moment, where `block` is the bytes of a waveform block
    /// (0 without). Frames handed to the transport are the transport's, each at most [`Self::frame_bytes`].
    /// `None` where the number of frames is not bounded.
    pub fn ram(settings: &NodeSettings, block: usize) -> Option<usize> {
        let places = (settings.ring_frames? + 1) * ENTRY_BYTES;
        let names: usize = settings.channels.iter().map(|c| c.len() + size_of::<String>()).sum();
        // Vectors double as they grow, and hold the old and the new at that moment.
        let batch = 3 * settings.frame_readings.max(4) * (size_of::<FrameReading>() + size_of::<(u32, Quality)>())
            + 3 * settings.channels.len().max(4) * (size_of::<u16>() + size_of::<&str>());
        // The frame being encoded, twice while its vector grows, and its copy cut to size.
        let closing = 4 * Self::frame_bytes(settings, block);
        Some(size_of::<Self>() + settings.ring_bytes + places + names + batch + closing)
    }

    /// Bytes of the largest frame: CBOR of its readings or its block, and its header.
    pub fn frame_bytes(settings: &NodeSettings, block: usize) -> usize {
        let names: usize = settings.channels.iter().map(|c| c.len() + 2).sum();
        // Index, offset and value take at most 3, 9 and 9 bytes, a flag 7; a header at most 100 beside the names.
        (settings.frame_readings * 29).max(block + 50) + names + 100
    }

    /// What became of everything since this boot.
    pub fn account(&self) -> Account {
        let mut held = self.ring.held();
        held.readings += self.batch.readings.len() as u64;
        Account {
            generated: Count { frames: self.ring.next(), readings: self.readings },
            confirmed: self.ring.confirmed(),
            overflowed: self.ring.overflowed(),
            discarded: self.ring.discarded(),
            held,
            durable: self.link.confirmed(),
            link: self.link.count,
        }
    }
}

/// A value of `oldest` that CBOR encodes in nine bytes, as any value can be.
const WIDE: u64 = u64::MAX;

/// Where the eight bytes of `oldest` lie in the encoding of `frame`: the first byte that changes when `oldest` changes
/// from one wide value to another. Found by encoding, so that this crate knows nothing of the wire's layout but that
/// `oldest` stands before the readings.
fn place_of_oldest(frame: &mut Frame<'_>) -> u32 {
    frame.oldest = WIDE;
    let one = frame.encode().unwrap_or_default();
    frame.oldest = WIDE >> 1;
    let other = frame.encode().unwrap_or_default();
    one.iter().zip(&other).position(|(a, b)| a != b).unwrap_or(one.len()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use fettle_wire::Durable;

    fn node(frame_readings: usize, boot: u64) -> Node {
        let settings = NodeSettings {
            channels: vec!["speed".into(), "vibration".into(), "unused".into()],
            frame_readings,
            frame_age: None,
            ring_bytes: 100_000,
            ring_frames: None,
            link: LinkSettings::default(),
        };
        Node::new(settings, boot, 1_000, Clock::Utc { offset: 5_000_000, quality: ClockQuality::Synced })
    }

    fn sent(node: &mut Node, now: u64) -> Vec<Vec<u8>> {
        let mut actions = Vec::new();
        node.step(now, Event::Room(usize::MAX), &mut actions);
        actions.into_iter().map(|Action::Publish { bytes, .. }| bytes).collect()
    }

    #[test]
    fn a_frame_says_what_was_read_and_names_only_the_channels_in_it() {
        let mut node = node(2, 7);
        assert!(!node.reading(2_000, 1, 1.5, Quality::Good));
        assert!(node.reading(2_500, 0, 1480.25, Quality::Uncertain));
        node.step(0, Event::Connected, &mut Vec::new());
        let sent = sent(&mut node, 0);
        let frame = Frame::decode(&sent[0]).unwrap();
        assert_eq!((frame.boot, frame.sequence, frame.oldest, frame.uptime), (7, 0, 0, 1_000));
        assert_eq!((frame.time, frame.clock), (Some(5_002_000), ClockQuality::Synced));
        assert_eq!(frame.channels, ["vibration", "speed"]);
        assert_eq!(frame.readings, [(0, 0, 1.5), (1, 500, 1480.25)]);
        assert_eq!(frame.flags, [(1, Quality::Uncertain)]);
    }

    #[test]
    fn oldest_is_found_and_replaced_whatever_the_boot_and_the_clock() {
        for boot in [0, 23, 24, 255, 256, 65_536, u64::from(u32::MAX), u64::MAX] {
            for clock in [Clock::Absent, Clock::Utc { offset: -9_000_000, quality: ClockQuality::FreeRunning }] {
                let mut node = node(1, boot);
                node.set_clock(clock);
                for i in 0..300 {
                    node.reading(2_000 + i, 0, 0.1 + i as f64, Quality::Good);
                }
                node.step(0, Event::Connected, &mut Vec::new());
                sent(&mut node, 0);
                for sequence in 0..300 {
                    node.step(1, Event::Acknowledged(sequence), &mut Vec::new());
                }
                let durable = Durable { version: 1, confirmed: vec![(boot, 290)] };
                node.step(2, Event::Confirmed(&durable), &mut Vec::new());
                let again = sent(&mut node, u64::from(u32::MAX));
                assert_eq!(again.len(), 10);
                for (i, bytes) in again.iter().enumerate() {
                    let frame = Frame::decode(bytes).unwrap();
                    assert_eq!((frame.boot, frame.sequence, frame.oldest), (boot, 290 + i as u64, 290));
                    assert_eq!(frame.readings, [(0, 0, 0.1 + 290.0 + i as f64)]);
                }
            }
        }
    }

    #[test]
    fn a_waveform_shares_the_sequence_and_goes_to_its_channels_topic() {
        let mut node = node(100, 7);
        node.step(0, Event::Connected, &mut Vec::new());
        node.reading(2_000, 0, 1480.0, Quality::Good);
        let block = Block { rate: 26_667.0, scale: 0.005, samples: &[1, 0, 255, 255] };
        assert_eq!(node.waveform(3_000, 1, block), Some(1), "the batch before it was closed as frame 0");
        node.reading(4_000, 0, 1481.0, Quality::Good);
        node.flush();
        let mut actions = Vec::new();
        node.step(0, Event::Room(9), &mut actions);
        let to: Vec<_> = actions.iter().map(|Action::Publish { to, .. }| *to).collect();
        assert_eq!(to, [Destination::Readings, Destination::Waveform(1), Destination::Readings]);
        let Action::Publish { bytes, .. } = &actions[1];
        let frame = Frame::decode(bytes).unwrap();
        assert_eq!((frame.sequence, frame.oldest, frame.uptime, frame.time), (1, 0, 2_000, Some(5_003_000)));
        assert_eq!(frame.channels, ["vibration"]);
        let waveform = frame.waveform.unwrap();
        assert_eq!((waveform.rate, waveform.scale, waveform.samples), (26_667.0, 0.005, &[1, 0, 255, 255][..]));
        let account = node.account();
        assert_eq!((account.generated.frames, account.generated.readings), (3, 3));
        assert!(account.balances());
        assert_eq!(node.waveform(5_000, 9, block), None, "no such channel");
        assert_eq!(node.waveform(5_000, 1, Block { samples: &[], ..block }), None);
    }

    #[test]
    fn an_old_batch_is_closed_by_its_next_reading() {
        let mut node = node(100, 1);
        node.settings.frame_age = Some(1_000_000);
        assert!(!node.reading(0, 0, 1.0, Quality::Good));
        assert!(!node.reading(999_999, 0, 1.0, Quality::Good));
        assert!(node.reading(1_000_000, 0, 1.0, Quality::Good));
        assert_eq!(node.sequence(), 1);
    }

    #[test]
    fn a_changed_clock_closes_the_frame_because_a_frame_has_one_base_time() {
        let mut node = node(100, 1);
        node.reading(0, 0, 1.0, Quality::Good);
        node.set_clock(Clock::Absent);
        node.reading(1, 0, 1.0, Quality::Good);
        assert_eq!((node.sequence(), node.account().held.readings), (1, 2));
        assert!(node.account().balances());
    }
}
