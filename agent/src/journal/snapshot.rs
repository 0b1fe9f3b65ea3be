//! Snapshots on disk: one per asset, one for what assets share. Each says up to which batch it holds (J3).
//!
//! They are written a few at a time, oldest first, in the commits that happen anyway, as far as a tenth of the journal's
//! own bytes allows; so ingest never waits for them, and what recovery must replay is bounded by ten times the state.

use std::collections::{BTreeMap, VecDeque};

use fettle_wire::{Name, Tally, cbor};
use serde::{Deserialize, Serialize};

use super::Damage;
use crate::ledger::Door;
use crate::release::change::ReleaseAccount;

/// The largest snapshot that is read back, in bytes.
const MAX_SNAPSHOT: usize = 256 << 20;

/// One asset's state.
#[derive(Debug, Serialize, Deserialize)]
pub struct AssetSnapshot {
    /// The effect of every entry up to this batch is in here, and of none after it.
    pub batch: u64,
    /// The account.
    pub door: Door,
    /// The engine's state of the asset, or its quarantine; none before its first reading.
    pub engine: Option<Bytes>,
}

/// What assets share.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct SharedSnapshot {
    /// As in [`AssetSnapshot`].
    pub batch: u64,
    /// The state.
    pub shared: Shared,
    /// The engine's shared state.
    pub engine: Bytes,
}

/// State that belongs to no asset.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Shared {
    /// JSON of the generation in force.
    pub generation: Bytes,
    /// How many generations there have been.
    pub generations: u64,
    /// Messages that name no usable asset.
    pub nameless: Tally,
    /// Next offset of `fettle.commands` per partition.
    pub offsets: BTreeMap<i32, i64>,
    /// Ids of the last commands applied, oldest first.
    pub applied: VecDeque<String>,
    /// Commands applied.
    pub commands_applied: u64,
    /// Commands refused, by reason.
    pub commands_refused: BTreeMap<String, u64>,
    /// Monotonic instant of the last ledger round.
    pub ledger_at: u64,
    /// What became of events of machines.
    #[serde(default)]
    pub events: EventCounts,
    /// What is known of releases.
    #[serde(default)]
    pub releases: ReleaseAccount,
}

/// What became of events of machines, by command or over MQTT.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EventCounts {
    /// Taken.
    pub taken: u64,
    /// Of those, the ones told after what they are about was final.
    pub late: u64,
    /// Known already: the same id.
    pub duplicate: u64,
    /// Not taken, by reason.
    pub refused: BTreeMap<String, u64>,
}

impl EventCounts {
    /// Counts one event; of one that was taken, whether it was late.
    pub fn count(&mut self, outcome: Result<bool, &str>) {
        match outcome {
            Ok(late) => {
                self.taken += 1;
                self.late += u64::from(late);
            }
            Err("duplicate") => self.duplicate += 1,
            Err(reason) => *self.refused.entry(reason.to_owned()).or_default() += 1,
        }
    }
}

/// Bytes that serialise as a byte string.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(<&'de [u8]>::deserialize(deserializer)?.to_vec()))
    }
}

/// Encodes a snapshot.
pub fn encode<T: Serialize>(snapshot: &T) -> Vec<u8> {
    // Invariant: our own types are CBOR (no maps with keys that serde_cbor refuses); a test encodes each.
    cbor::encode(snapshot).unwrap_or_default()
}

/// Decodes a snapshot found under `key`.
pub fn decode<'a, T: Deserialize<'a>>(key: &[u8], bytes: &'a [u8]) -> Result<T, Damage> {
    cbor::decode(bytes, MAX_SNAPSHOT).map_err(|e| Damage::Content { key: super::readable(key), why: e.to_string() })
}

/// The asset in a key made by [`super::snapshot_key`].
pub fn asset_of(key: &[u8]) -> Option<Name> {
    Name::new(std::str::from_utf8(key.strip_prefix(b"s")?).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_read_back_as_written() {
        let mut shared = Shared::default();
        shared.offsets.insert(3, 77);
        shared.applied.push_back("id".to_owned());
        shared.nameless.reject("bad_name", 2);
        let snapshot = SharedSnapshot { batch: 9, shared: shared.clone(), engine: Bytes(vec![1, 2]) };
        let bytes = encode(&snapshot);
        let back: SharedSnapshot = decode(b"g", &bytes).unwrap();
        assert_eq!((back.batch, back.shared, back.engine), (9, shared, Bytes(vec![1, 2])));
        let bytes = encode(&AssetSnapshot { batch: 1, door: Door::default(), engine: None });
        assert!(decode::<AssetSnapshot>(b"sx", &bytes).is_ok());
    }
}
