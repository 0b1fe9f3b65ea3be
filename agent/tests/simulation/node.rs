//! A sensor node as the contract has it: it numbers its frames, keeps them in a ring, sends again what stays unconfirmed
//! and frees only what a durable confirmation covers. (Crates of the house may not import the firmware's own machine
//! here; this is the least that the agent may rely on, and nothing more.)

use std::collections::{BTreeSet, VecDeque};

use fettle_wire::{ClockQuality, Durable, Frame, SCHEMA_VERSION, topic};

use crate::check::{Check, Violation};
use crate::plan::{EPOCH, MS, SECOND, SITE, value};
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
    sent: Option<u64>,
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
    index: u64,
}

impl Node {
    pub(crate) fn new(seed: u64, index: usize, name: &'static str) -> Self {
        let index = index as u64;
        Self {
            name,
            boot: mix(&[seed, index, 0]),
            booted: 0,
            next: 0,
            ring: VecDeque::new(),
            capacity: usize::MAX,
            epoch: false,
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

    pub(crate) fn topic(&self) -> String {
        topic::readings(SITE, self.name)
    }

    /// Closes a frame at `now`; at the ring's bound the oldest is lost.
    pub(crate) fn sample(&mut self, now: u64, wild: bool) {
        if self.ring.len() >= self.capacity
            && let Some(oldest) = self.ring.pop_front()
        {
            self.overflowed.insert(oldest.sequence);
        }
        self.ring.push_back(Held { sequence: self.next, at: now, wild, sent: None });
        self.next += 1;
    }

    /// The frames that go now.
    pub(crate) fn send(&mut self, now: u64) -> Vec<Vec<u8>> {
        if !self.linked {
            return Vec::new();
        }
        let due = |held: &Held| held.sent.is_none_or(|sent| now >= sent + RESEND);
        let places: Vec<usize> = (0..self.ring.len()).filter(|at| due(&self.ring[*at])).take(BURST).collect();
        places
            .into_iter()
            .map(|at| {
                self.ring[at].sent = Some(now);
                self.encode(self.ring[at])
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
        let mut channels = vec!["pressure", "temperature"];
        if held.at >= self.third {
            channels.push("vibration");
        }
        // Two looks at each channel, half a second apart.
        let readings = (0..2u64)
            .flat_map(|look| (0..channels.len()).map(move |channel| (look, channel)))
            .map(|(look, channel)| {
                let taken = held.at + look * 500 * MS;
                (channel as u16, (look * 500 * MS) as i64, value(self.index, channel as u64, taken))
            })
            .collect();
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
            waveform: None,
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
