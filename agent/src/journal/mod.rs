//! The journal: the agent's memory on disk, and the specification of its store.
//!
//! Place in the flow: between acquire and the engine. Everything that can change an output is an [`entry::Entry`];
//! recovery is the last snapshots plus a replay of what follows them.
//!
//! # Format
//! One ordered key space; the first byte of a key says what the record is:
//!
//! | key | record |
//! |---|---|
//! | `M` | the store's [`Format`]: version, incarnation |
//! | `d` + number | a dead letter ([`crate::core::dead::DeadLetter`]) |
//! | `g` | the shared snapshot: generation, command offsets, quarantine |
//! | `o` + lane + sequence | an outbox record |
//! | `s` + asset | an asset's snapshot |
//! | `z` + batch number | a journal batch: header and entries |
//!
//! Numbers are 8 bytes, big-endian, so that keys sort as they count; journal batches sort last, so that they append.
//! Each value begins with CRC-32C (Castagnoli) over key and payload, little-endian, so that neither a flipped bit nor a
//! record under a foreign key is taken for good; then a format byte; then the payload.
//!
//! # Promises
//! - J1: a message is acknowledged, and a frame confirmed, only after the commit that holds it.
//! - J2: a commit is atomic: entries, outputs, snapshots, deletions, all or nothing.
//! - J3: an asset's snapshot holds exactly the effect of every entry up to its batch number; replay skips those.
//! - J4: no batch at or above `replay_from` of the last batch is ever trimmed.
//!
//! # What recovery does not guess
//! A record whose checksum fails is damage of the medium. It is never skipped in silence: a damaged journal batch or
//! snapshot stops the start with the key's name and the way out (restore a backup, or start a new store).

pub mod entry;
pub mod lmdb;
pub mod model;
pub mod seen;
pub mod snapshot;
pub mod store;

use serde::{Deserialize, Serialize};

/// The store version this build writes.
pub const STORE_VERSION: u32 = 1;
/// Format byte of every sealed value.
const SEAL_FORMAT: u8 = 1;
/// Bytes that [`seal`] puts before a payload.
pub const SEAL_BYTES: u64 = 5;

/// The key of the store's format record.
pub const FORMAT_KEY: &[u8] = b"M";
/// The key of the shared snapshot.
pub const SHARED_KEY: &[u8] = b"g";

/// Identity of a store, written once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// The store version.
    pub version: u32,
    /// Random number born with the store; sequences count within it.
    pub incarnation: u64,
}

/// A stored record is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The checksum over key and payload fails.
    #[error(
        "record {key} is damaged (its CRC-32C does not fit); restore a backup or move the store away to begin a new one"
    )]
    Checksum {
        /// The key, readable.
        key: String,
    },
    /// The record was written by another version of the format.
    #[error(
        "record {key} has format {found}, this build reads {SEAL_FORMAT}; run the version of fettle-agent that wrote it"
    )]
    Format {
        /// The key, readable.
        key: String,
        /// The format byte found.
        found: u8,
    },
    /// The payload is not what its key promises.
    #[error("record {key} cannot be read: {why}")]
    Content {
        /// The key, readable.
        key: String,
        /// What is wrong.
        why: String,
    },
}

/// Puts checksum and format byte before `payload`.
pub fn seal(key: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(payload.len() + 5);
    value.extend_from_slice(&checksum(key, payload).to_le_bytes());
    value.push(SEAL_FORMAT);
    value.extend_from_slice(payload);
    value
}

/// Checks and strips what [`seal`] put before the payload.
pub fn open<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], Damage> {
    let (Some(sum), Some(format)) = (value.first_chunk::<4>(), value.get(4)) else {
        return Err(Damage::Checksum { key: readable(key) });
    };
    let payload = &value[5..];
    if u32::from_le_bytes(*sum) != checksum(key, payload) {
        return Err(Damage::Checksum { key: readable(key) });
    }
    if *format != SEAL_FORMAT {
        return Err(Damage::Format { key: readable(key), found: *format });
    }
    Ok(payload)
}

fn checksum(key: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), payload)
}

/// A key as a person can read it: its prefix, then text or number.
pub fn readable(key: &[u8]) -> String {
    match key {
        [b'z' | b'd', number @ ..] if number.len() == 8 => {
            format!("{}{}", char::from(key[0]), number.iter().fold(0u64, |n, b| n << 8 | u64::from(*b)))
        }
        _ => String::from_utf8_lossy(key).into_owned(),
    }
}

/// The key of journal batch `number`.
pub fn batch_key(number: u64) -> [u8; 9] {
    numbered(b'z', number)
}

/// The key of dead letter `number`.
pub fn dead_key(number: u64) -> [u8; 9] {
    numbered(b'd', number)
}

/// The key of the snapshot of `asset`.
pub fn snapshot_key(asset: &str) -> Vec<u8> {
    [b"s", asset.as_bytes()].concat()
}

fn numbered(prefix: u8, number: u64) -> [u8; 9] {
    let mut key = [prefix; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The number in a key made by [`batch_key`] or [`dead_key`].
pub fn number_of(key: &[u8]) -> Option<u64> {
    key.get(1..)?.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_record_opens_under_its_key_only() {
        let value = seal(b"z1", b"payload");
        assert_eq!(open(b"z1", &value), Ok(&b"payload"[..]));
        assert!(matches!(open(b"z2", &value), Err(Damage::Checksum { .. })));
        let mut flipped = value.clone();
        flipped[7] ^= 1;
        assert!(matches!(open(b"z1", &flipped), Err(Damage::Checksum { .. })));
        assert!(open(b"z1", &value[..3]).is_err());
    }

    #[test]
    fn the_checksum_is_castagnoli() {
        // Known answer of RFC 3720, B.4: 32 bytes of zeroes.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn numbered_keys_sort_as_they_count() {
        assert!(batch_key(255) < batch_key(256));
        assert_eq!(number_of(&batch_key(77)), Some(77));
        assert_eq!(readable(&batch_key(77)), "z77");
    }
}
