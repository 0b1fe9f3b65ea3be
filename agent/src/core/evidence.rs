//! Raw waveform samples around an alarm, kept at the site within a bound.
//!
//! Place in the flow: the engine says what is to be captured ([`fettle_models::Capture`]); it is written in the commit of
//! the entry that caused it, under a number that counts up. [`Index`] knows what lies in the store; beyond the bound the
//! oldest is given up first, counted. What is replayed is on disk already and is not captured again.

use std::collections::VecDeque;

use fettle_models::Capture;
use fettle_wire::{Micros, Name, Unit, cbor};
use serde::{Deserialize, Serialize};

use crate::journal::snapshot::Bytes;

/// The largest record read back, in bytes.
const MAX_KEPT: usize = 1 << 20;

/// One stretch of samples as it lies in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The asset.
    pub asset: Name,
    /// The waveform channel.
    pub channel: Name,
    /// Event time of the first sample.
    pub time: Micros,
    /// Samples per second.
    pub rate: f64,
    /// Unit of `count * scale + offset`.
    pub unit: Unit,
    /// Unit per count.
    pub scale: f64,
    /// Value of count 0.
    pub offset: f64,
    /// The alarm's condition.
    pub condition: String,
    /// Its occurrence.
    pub occurrence: u64,
    /// Event time at which it was raised.
    pub raised_at: Micros,
    /// Whether the samples arrived after the alarm was raised.
    pub after: bool,
    /// Counts, 16-bit little-endian.
    pub samples: Bytes,
}

impl From<Capture> for Kept {
    fn from(capture: Capture) -> Self {
        let Capture { asset, channel, time, rate, unit, scale, offset, .. } = capture;
        let Capture { samples, condition, occurrence, raised_at, after, .. } = capture;
        let samples = Bytes(samples);
        Self { asset, channel, time, rate, unit, scale, offset, condition, occurrence, raised_at, after, samples }
    }
}

impl Kept {
    /// Encodes as CBOR.
    pub fn encode(&self) -> Vec<u8> {
        // Invariant: texts, numbers and bytes; CBOR holds them all.
        cbor::encode(self).unwrap_or_default()
    }

    /// Decodes.
    pub fn decode(bytes: &[u8]) -> Result<Self, cbor::CborError> {
        cbor::decode(bytes, MAX_KEPT)
    }

    /// The values in [`Kept::unit`], with the seconds since the first.
    pub fn values(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        let counts = self.samples.0.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
        counts.enumerate().map(|(i, count)| (i as f64 / self.rate, f64::from(count) * self.scale + self.offset))
    }
}

/// What the store holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Index {
    /// The number that the next record gets.
    next: u64,
    /// (number, bytes on disk), oldest first.
    kept: VecDeque<(u64, u64)>,
    bytes: u64,
    written: u64,
    given_up: u64,
}

/// What the evidence on disk looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EvidenceStatus {
    /// Records kept.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records written since the start of the process.
    pub written: u64,
    /// Records given up to keep the bound, since the start of the process.
    pub given_up: u64,
}

impl Index {
    /// A record found in the store, in ascending order of numbers.
    pub fn found(&mut self, number: u64, bytes: u64) {
        self.kept.push_back((number, bytes));
        self.bytes += bytes;
        self.next = number + 1;
    }

    /// The number that the next record gets.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Notes a record that was written as [`Index::next`]; the numbers to be given up for it, oldest first.
    pub fn wrote(&mut self, bytes: u64, most: u64) -> Vec<u64> {
        self.found(self.next, bytes);
        self.written += 1;
        let mut gone = Vec::new();
        while self.bytes > most
            && let Some((number, bytes)) = self.kept.pop_front()
        {
            self.bytes -= bytes;
            self.given_up += 1;
            gone.push(number);
        }
        gone
    }

    /// What it looks like.
    pub fn status(&self) -> EvidenceStatus {
        let blocks = self.kept.len() as u64;
        EvidenceStatus { blocks, bytes: self.bytes, written: self.written, given_up: self.given_up }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_and_the_oldest_goes_first() {
        let mut index = Index::default();
        assert!(index.wrote(40, 100).is_empty() && index.wrote(40, 100).is_empty());
        assert_eq!(index.wrote(40, 100), [0]);
        assert_eq!(index.wrote(100, 100), [1, 2]);
        assert_eq!(index.wrote(101, 100), [3, 4], "one that is larger than the bound is not kept either");
        assert_eq!(index.status(), EvidenceStatus { blocks: 0, bytes: 0, written: 5, given_up: 5 });
        assert_eq!(index.next(), 5);
    }

    #[test]
    fn what_is_kept_reads_back_with_its_values() {
        let kept = Kept {
            asset: Name::new("pump").unwrap(),
            channel: Name::new("a").unwrap(),
            time: 5,
            rate: 2.0,
            unit: Unit::from_code("m/s2").unwrap(),
            scale: 0.5,
            offset: 1.0,
            condition: "anomaly".into(),
            occurrence: 1,
            raised_at: 6,
            after: false,
            samples: Bytes(vec![2, 0, 0xff, 0xff]),
        };
        let back = Kept::decode(&kept.encode()).unwrap();
        assert_eq!(back, kept);
        assert_eq!(back.values().collect::<Vec<_>>(), [(0.0, 2.0), (0.5, 0.5)]);
    }
}
