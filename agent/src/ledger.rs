//! The account of every reading of one asset, and what is known of its nodes.
//!
//! Place in the flow: the door between acquire and the engine. A [`Door`] is part of the asset's snapshot and changes
//! only by journal entries. L1: the tally balances after every message (`received = used + late + duplicate + rejected +
//! shed`). L2: per boot, sequences below `next` = received + missing.

use fettle_wire::time::{EARLIEST, LATEST};
use fettle_wire::{Arrival, ClockQuality, Durable, Frame, LedgerEntry, Micros, Name, NodeAccount, Tally};
use serde::{Deserialize, Serialize};

use crate::journal::seen::{Seen, Sequences};

/// The most boots remembered per asset; the least recently heard is retired into two sums.
pub const MAX_BOOTS: usize = fettle_wire::confirm::MAX_CONFIRMED_BOOTS;
/// The most foreign messages remembered per asset.
const MAX_RECENT: usize = 64;
/// The most missing ranges listed per boot in a ledger entry.
const MAX_LISTED: usize = 32;

/// One boot of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Boot {
    id: u64,
    sequences: Sequences,
    /// Least (arrival wall - uptime) seen: when the node booted, if its own clock does not know.
    booted: Micros,
    /// Whether `booted` was seen by a wall clock of known quality. One of unknown quality may show 1970.
    known: bool,
}

/// An asset's account.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Door {
    /// What became of the readings.
    pub tally: Tally,
    /// Messages received.
    pub frames: u64,
    /// Most recently heard first.
    boots: Vec<Boot>,
    retired_received: u64,
    retired_missing: u64,
    /// Contents of the last foreign messages without a time of their own.
    recent: std::collections::VecDeque<u64>,
    /// Latest wall time of a message.
    pub heard: Micros,
    /// Monotonic instant of the last message.
    pub heard_at: u64,
    /// Changed since the last ledger entry was emitted.
    pub unreported: bool,
}

/// What the door says of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// To the engine, with the event time of the frame's base and whether it was re-stamped.
    Enter {
        /// Event time to which each reading's offset is added.
        base: Micros,
        /// The node's own clock was not used.
        restamped: bool,
    },
    /// Counted already, or not to be counted as received for good.
    Stop(Seen),
}

impl Door {
    /// Counts a message, whatever becomes of it.
    pub fn hear_message(&mut self, now: &Arrival) {
        self.frames += 1;
        self.heard = self.heard.max(now.wall);
        self.heard_at = now.monotonic;
    }

    /// Accounts for a frame from a node with our firmware and decides whether its readings go on.
    pub fn admit(&mut self, now: &Arrival, frame: &Frame<'_>) -> Admission {
        let booted = now.wall.saturating_sub(i64::try_from(frame.uptime).unwrap_or(i64::MAX));
        let known = now.quality != ClockQuality::Unknown;
        let boot = self.hear(frame.boot, booted);
        match (boot.known, known) {
            (false, true) => (boot.booted, boot.known) = (booted, true),
            (true, false) => {}
            _ => boot.booted = boot.booted.min(booted),
        }
        let seen = boot.sequences.record(frame.sequence, frame.oldest);
        let booted = boot.booted;
        let weight = frame.weight();
        match seen {
            Seen::New => {}
            Seen::Duplicate => {
                self.tally.received += weight;
                self.tally.duplicate += weight;
                return Admission::Stop(seen);
            }
            Seen::Full => {
                self.tally.received += weight;
                *self.tally.shed.entry("sequence_window_full".to_owned()).or_default() += weight;
                return Admission::Stop(seen);
            }
        }
        match frame.time {
            // A node whose clock was never set starts at its epoch; its uptime still orders its readings.
            Some(time) if frame.clock != ClockQuality::Unknown && time >= EARLIEST => {
                Admission::Enter { base: time, restamped: false }
            }
            _ => Admission::Enter {
                base: booted.saturating_add(i64::try_from(frame.uptime).unwrap_or(i64::MAX)).clamp(EARLIEST, LATEST),
                restamped: true,
            },
        }
    }

    /// Moves the boot to the front, retiring the least recently heard if there are too many.
    fn hear(&mut self, id: u64, booted: Micros) -> &mut Boot {
        match self.boots.iter().position(|b| b.id == id) {
            Some(at) => self.boots[..=at].rotate_right(1),
            None => {
                if self.boots.len() >= MAX_BOOTS
                    && let Some(retired) = self.boots.pop()
                {
                    self.retired_received += retired.sequences.received();
                    self.retired_missing += retired.sequences.missing();
                }
                self.boots.insert(0, Boot { id, sequences: Sequences::default(), booted, known: false });
            }
        }
        &mut self.boots[0]
    }

    /// Whether a foreign message without a time is a copy that the broker sent again. Without a time, equal content alone
    /// proves nothing: a steady sensor repeats itself; so the broker must say so, too.
    pub fn repeated(&mut self, content: u64, redelivered: bool) -> bool {
        if redelivered && self.recent.contains(&content) {
            return true;
        }
        if self.recent.len() >= MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(content);
        false
    }

    /// Counts a message that is not a usable frame.
    pub fn reject(&mut self, reason: &str, weight: u64) {
        self.tally.received += weight;
        self.tally.reject(reason, weight);
    }

    /// What to confirm to the asset's nodes.
    pub fn durable(&self) -> Durable {
        Durable {
            version: fettle_wire::SCHEMA_VERSION,
            confirmed: self.boots.iter().map(|b| (b.id, b.sequences.settled())).collect(),
        }
    }

    /// Whether any node with our firmware was heard.
    pub fn has_nodes(&self) -> bool {
        !self.boots.is_empty()
    }

    /// The ledger entry as of `at`.
    pub fn entry(&self, asset: &Name, quarantined: bool, at: Micros) -> LedgerEntry {
        let nodes = self.boots.iter().map(|b| NodeAccount {
            boot: format!("{:016x}", b.id),
            next: b.sequences.next(),
            received: b.sequences.received(),
            missing: b.sequences.missing(),
            lost: b.sequences.lost(),
            missing_ranges: b.sequences.gaps().take(MAX_LISTED).collect(),
        });
        LedgerEntry {
            asset: asset.clone(),
            quarantined,
            at,
            frames: self.frames,
            readings: self.tally.clone(),
            nodes: nodes.collect(),
            retired_received: self.retired_received,
            retired_missing: self.retired_missing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(boot: u64, sequence: u64, time: Option<Micros>, uptime: u64) -> Frame<'static> {
        Frame {
            version: 1,
            boot,
            sequence,
            oldest: 0,
            time,
            uptime,
            clock: ClockQuality::Synced,
            channels: vec!["a"],
            readings: vec![(0, 0, 1.0), (0, 1, 2.0)],
            flags: vec![],
            waveform: None,
        }
    }

    fn at(wall: Micros) -> Arrival {
        Arrival { wall, monotonic: 0, quality: ClockQuality::Synced }
    }

    const NOW: Micros = 1_800_000_000_000_000;

    #[test]
    fn a_repeated_frame_is_counted_and_stopped() {
        let mut door = Door::default();
        let frame = frame(7, 0, Some(NOW), 5);
        assert_eq!(door.admit(&at(NOW), &frame), Admission::Enter { base: NOW, restamped: false });
        assert_eq!(door.admit(&at(NOW), &frame), Admission::Stop(Seen::Duplicate));
        assert_eq!((door.tally.received, door.tally.duplicate), (2, 2));
    }

    #[test]
    fn a_node_without_a_clock_is_stamped_from_its_uptime() {
        let mut door = Door::default();
        door.admit(&at(NOW), &frame(7, 0, None, 1_000_000));
        let later = door.admit(&at(NOW + 9_000_000), &frame(7, 1, Some(3), 6_000_000));
        assert_eq!(later, Admission::Enter { base: NOW + 5_000_000, restamped: true });
    }

    #[test]
    fn an_agent_that_woke_in_1970_stamps_right_once_it_knows_the_time() {
        let mut door = Door::default();
        let woken = Arrival { wall: 9_000_000, monotonic: 0, quality: ClockQuality::Unknown };
        door.admit(&woken, &frame(7, 0, None, 1_000_000));
        let later = door.admit(&at(NOW), &frame(7, 1, None, 6_000_000));
        assert_eq!(later, Admission::Enter { base: NOW, restamped: true });
        door.admit(&woken, &frame(7, 2, None, 7_000_000));
        let later = door.admit(&at(NOW + 5_000_000), &frame(7, 3, None, 8_000_000));
        assert_eq!(later, Admission::Enter { base: NOW + 2_000_000, restamped: true });
    }

    #[test]
    fn boots_are_bounded_and_what_is_forgotten_stays_in_the_sums() {
        let mut door = Door::default();
        for boot in 0..40 {
            door.admit(&at(NOW), &frame(boot, 1, Some(NOW), 0));
        }
        let entry = door.entry(&Name::new("pump").unwrap(), false, NOW);
        assert_eq!(entry.nodes.len(), MAX_BOOTS);
        assert_eq!((entry.retired_received, entry.retired_missing), (24, 24));
        assert_eq!(door.durable().confirmed.len(), MAX_BOOTS);
    }
}
