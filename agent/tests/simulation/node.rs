//! A sensor node as the contract has it: it numbers its frames, keeps them in a ring, sends again what stays unconfirmed
//! and frees only what a durable confirmation covers. (Crates of the house may not import the firmware's own machine
//! here; this is the least that the agent may rely on, and nothing more.)

use std::collections::{BTreeSet, VecDeque};

use fettle_wire::{ClockQuality, Durable, Frame, SCHEMA_VERSION, Waveform, topic};

use crate::check::{Check, Violation};
use crate::plan::{ACCELERATION, EPOCH, MS, SECOND, SITE, block, value};
use crate::random::mix;

/// After this long without a confirmation a frame goes again.
const RESEND: u64 = 5 * SECOND;
/// The most frames sent in one tick.
const BURST: usize = 24;
/// How far ahead the one wild stamp lies, microseconds.
const WILD: i64 = 2 * 86_400_000_000;

/// A frame in the ring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    sequence: u64,
    at: u64,
    wild: bool,
    /// Carries a waveform block instead of readings.
    block: bool,
    sent: Option<u64>,
}

/// Blocks that a node sends beside its readings: each lasts a second, and what follows it at once joins it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blocks {
    pub(crate) samples: usize,
    /// Seconds from block to block.
    pub(crate) every: u64,
    /// One second in so many has none.
    pub(crate) gap: u64,
}

impl Blocks {
    fn due(self, now: u64) -> bool {
        let second = now / SECOND;
        second.is_multiple_of(self.every) && !second.is_multiple_of(self.gap)
    }
}

/// A boot that ended.
#[derive(Debug, Clone)]
pub(crate) struct Grave {
    pub(crate) boot: u64,
    pub(crate) durable: u64,
    pub(crate) overflowed: BTreeSet<u64>,
}

/// The node of one asset.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: &'static str,
    pub(crate) boot: u64,
    booted: u64,
    pub(crate) next: u64,
    pub(crate) ring: VecDeque<Held>,
    pub(crate) capacity: usize,
    /// Its clock stands at 1970 when it boots.
    pub(crate) epoch: bool,
    /// The scalars' channels.
    pub(crate) channels: [&'static str; 2],
    pub(crate) blocks: Option<Blocks>,
    /// Sampling time from which a third channel speaks.
    pub(crate) third: u64,
    pub(crate) linked: bool,
    /// Counts connections: what was under way on an old one is lost.
    pub(crate) link: u64,
    /// No message of this link arrives before the one sent earlier.
    pub(crate) last_arrival: u64,
    pub(crate) durable: u64,
    pub(crate) overflowed: BTreeSet<u64>,
    pub(crate) graves: Vec<Grave>,
    index: usize,
}

impl Node {
    pub(crate) fn new(seed: u64, index: usize, name: &'static str) -> Self {
        Self {
            name,
            boot: mix(&[seed, index as u64, 0]),
            booted: 0,
            next: 0,
            ring: VecDeque::new(),
            capacity: usize::MAX,
            epoch: false,
            channels: ["pressure", "temperature"],
            blocks: None,
            third: u64::MAX,
            linked: true,
            link: 0,
            last_arrival: 0,
            durable: 0,
            overflowed: BTreeSet::new(),
            graves: Vec::new(),
            index,
        }
    }

    fn topic(&self, held: Held) -> String {
        if held.block { topic::waveform(SITE, self.name, ACCELERATION) } else { topic::readings(SITE, self.name) }
    }

    /// Closes a frame of readings at `now`, and one of a block if it is due.
    pub(crate) fn sample(&mut self, now: u64, wild: bool) {
        self.push(now, wild, false);
        if self.blocks.is_some_and(|blocks| blocks.due(now)) {
            self.push(now, false, true);
        }
    }

    /// At the ring's bound the oldest is lost.
    fn push(&mut self, now: u64, wild: bool, block: bool) {
        if self.ring.len() >= self.capacity
            && let Some(oldest) = self.ring.pop_front()
        {
            self.overflowed.insert(oldest.sequence);
        }
        self.ring.push_back(Held { sequence: self.next, at: now, wild, block, sent: None });
        self.next += 1;
    }

    /// The frames that go now, with their topics.
    pub(crate) fn send(&mut self, now: u64) -> Vec<(String, Vec<u8>)> {
        if !self.linked {
            return Vec::new();
        }
        let due = |held: &Held| held.sent.is_none_or(|sent| now >= sent + RESEND);
        let places: Vec<usize> = (0..self.ring.len()).filter(|at| due(&self.ring[*at])).take(BURST).collect();
        places
            .into_iter()
            .map(|at| {
                self.ring[at].sent = Some(now);
                (self.topic(self.ring[at]), self.encode(self.ring[at]))
            })
            .collect()
    }

    fn encode(&self, held: Held) -> Vec<u8> {
        let uptime = held.at - self.booted;
        let base = EPOCH + held.at as i64 - SECOND as i64;
        let time = match (self.epoch, held.wild) {
            (true, _) => uptime as i64,
            (false, true) => base + WILD,
            (false, false) => base,
        };
        let mut channels = self.channels.to_vec();
        if held.at >= self.third {
            channels.push("vibration");
        }
        // Two looks at each channel, half a second apart.
        let mut readings: Vec<_> = (0..2u64)
            .flat_map(|look| channels.iter().enumerate().map(move |(at, channel)| (look, at, *channel)))
            .map(|(look, at, channel)| {
                let taken = held.at + look * 500 * MS;
                (at as u16, (look * 500 * MS) as i64, value(self.index, channel, taken))
            })
            .collect();
        let samples = self.blocks.filter(|_| held.block).map(|blocks| block(self.index, blocks.samples, held.at));
        let waveform = samples.as_deref().map(|samples| {
            // A block lasts a second.
            Waveform { rate: samples.len() as f64 / 2.0, scale: 0.01, offset: 0.0, samples }
        });
        if waveform.is_some() {
            readings.clear();
            channels = vec![ACCELERATION];
        }
        let frame = Frame {
            version: SCHEMA_VERSION,
            boot: self.boot,
            sequence: held.sequence,
            oldest: self.ring.front().map_or(held.sequence, |first| first.sequence),
            time: Some(time),
            uptime,
            clock: ClockQuality::Synced,
            channels,
            readings,
            flags: vec![],
            waveform,
        };
        frame.encode().expect("a frame has a CBOR form")
    }

    /// Frees what the confirmation covers.
    pub(crate) fn confirmed(&mut self, payload: &[u8]) -> Check {
        let durable = match Durable::decode(payload) {
            Ok(durable) => durable,
            Err(e) => return Err(Violation::new("C2", format!("{} got an unreadable confirmation: {e}", self.name))),
        };
        let Some(next) = durable.next_of(self.boot) else { return Ok(()) };
        if next > self.next {
            let what = format!("{} is told {next} is durable, it has made {}", self.name, self.next);
            return Err(Violation::new("C2", what));
        }
        self.durable = self.durable.max(next);
        while self.ring.front().is_some_and(|held| held.sequence < next) {
            self.ring.pop_front();
        }
        Ok(())
    }

    /// Everything unconfirmed is gone; a new boot begins.
    pub(crate) fn reboot(&mut self, now: u64) {
        let overflowed = std::mem::take(&mut self.overflowed);
        self.graves.push(Grave { boot: self.boot, durable: self.durable, overflowed });
        self.boot = mix(&[self.boot, now]);
        (self.booted, self.next, self.durable) = (now, 0, 0);
        self.ring.clear();
    }
}
