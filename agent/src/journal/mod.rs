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
//! | `e` + number | raw samples around an alarm ([`crate::core::evidence::Kept`]) |
//! | `g` | the shared snapshot: generation, command offsets, quarantine |
//! | `l` + number + part | a machine's life, recorded for learning ([`crate::core::lives::stored`]) |
//! | `o` + lane + sequence | an outbox record |
//! | `r` + content hash | a release file ([`crate::release`]) |
//! | `s` + asset | an asset's snapshot |
//! | `z` + batch number | a journal batch: header and entries |
//!
//! Numbers are 8 bytes, big-endian, so that keys sort as they count; journal batches sort last, so that they append.
//! Each value begins with CRC-32C (Castagnoli) over key and all that follows, little-endian, so that neither a flipped bit
//! nor a record under a foreign key is taken for good; then a format byte; then the payload, plain, or packed where that
//! makes it smaller: its length (4 bytes, little-endian) and an LZ4 block. Frames of a batch share topics, names and times,
//! records and snapshots repeat their field names, and a commit is paid in whole pages: docs/benchmarks.md has both sizes.
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
pub mod replace;
pub mod seen;
pub mod snapshot;
pub mod store;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The store version this build writes: 1 kept every payload as it was, 2 packs what gets smaller by it
/// ([`replace`] migrates).
pub const STORE_VERSION: u32 = 2;
/// Format byte of a sealed value whose payload is as it was.
const PLAIN: u8 = 1;
/// Format byte of a sealed value whose payload is packed.
const PACKED: u8 = 2;
/// Bytes that [`seal`] puts before a payload, packed or not.
pub const SEAL_BYTES: usize = 5;
/// Bytes of a packed payload that say how long it was.
const LENGTH_BYTES: usize = 4;
/// What is shorter is not tried.
const LEAST_PACKED: usize = 64;
/// The most that a payload may unpack to: what a damaged length can ask for.
const MOST_UNPACKED: usize = 1 << 30;

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
        "record {key} has format {found}, this build reads {PLAIN} and {PACKED}; run the version of fettle-agent that wrote it"
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

/// Packs `payload` if that makes it smaller, and puts checksum and format byte before it.
pub fn seal(key: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut value = vec![0; SEAL_BYTES];
    value[SEAL_BYTES - 1] = if pack(payload, &mut value) { PACKED } else { PLAIN };
    if value.len() == SEAL_BYTES {
        value.extend_from_slice(payload);
    }
    let sum = checksum(key, &value[SEAL_BYTES - 1..]).to_le_bytes();
    value[..sum.len()].copy_from_slice(&sum);
    value
}

/// Appends the packed form of `payload`, or nothing if that would hardly be smaller.
fn pack(payload: &[u8], value: &mut Vec<u8>) -> bool {
    let Some(length) = u32::try_from(payload.len()).ok().filter(|_| payload.len() >= LEAST_PACKED) else {
        return false;
    };
    let begin = value.len();
    value.extend_from_slice(&length.to_le_bytes());
    let block = value.len();
    value.resize(block + lz4_flex::block::get_maximum_output_size(payload.len()), 0);
    let packed = lz4_flex::block::compress_into(payload, &mut value[block..]).unwrap_or(payload.len());
    let worth = LENGTH_BYTES + packed < payload.len() - payload.len() / 16;
    value.truncate(if worth { block + packed } else { begin });
    worth
}

/// Checks and takes off what [`seal`] put before the payload, and unpacks it.
pub fn open<'a>(key: &[u8], value: &'a [u8]) -> Result<Cow<'a, [u8]>, Damage> {
    let (Some(sum), Some((format, payload))) = (value.first_chunk::<4>(), value.get(4..).and_then(|v| v.split_first()))
    else {
        return Err(Damage::Checksum { key: readable(key) });
    };
    if u32::from_le_bytes(*sum) != checksum(key, &value[4..]) {
        return Err(Damage::Checksum { key: readable(key) });
    }
    match *format {
        PLAIN => Ok(Cow::Borrowed(payload)),
        PACKED => unpack(payload).map(Cow::Owned).map_err(|why| Damage::Content { key: readable(key), why }),
        found => Err(Damage::Format { key: readable(key), found }),
    }
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>, String> {
    let Some((length, block)) = packed.split_first_chunk::<LENGTH_BYTES>() else { return Err("no length".to_owned()) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > MOST_UNPACKED {
        return Err(format!("{length} bytes are above {MOST_UNPACKED}"));
    }
    lz4_flex::block::decompress(block, length).map_err(|e| e.to_string())
}

fn checksum(key: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), payload)
}

/// A key as a person can read it: its prefix, then text or number.
pub fn readable(key: &[u8]) -> String {
    match key {
        [b'z' | b'd' | b'e', number @ ..] if number.len() == 8 => {
            format!("{}{}", char::from(key[0]), number.iter().fold(0u64, |n, b| n << 8 | u64::from(*b)))
        }
        [b'l', rest @ ..] if rest.len() == 12 => match crate::core::lives::stored::of_key(key) {
            Some((life, part)) => format!("l{life}.{}", part.0),
            None => String::from_utf8_lossy(key).into_owned(),
        },
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

/// The key of evidence `number`.
pub fn evidence_key(number: u64) -> [u8; 9] {
    numbered(b'e', number)
}

/// The key of the release file with this content hash.
pub fn release_key(hash: &str) -> Vec<u8> {
    [b"r", hash.as_bytes()].concat()
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

/// The number in a key made by [`batch_key`], [`dead_key`] or [`evidence_key`].
pub fn number_of(key: &[u8]) -> Option<u64> {
    key.get(1..)?.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_record_opens_under_its_key_only() {
        let repeated = b"temperature, ".repeat(40);
        for payload in [&b""[..], b"payload", &repeated] {
            let value = seal(b"z1", payload);
            assert_eq!(open(b"z1", &value).unwrap(), payload);
            assert!(matches!(open(b"z2", &value), Err(Damage::Checksum { .. })));
            for at in 0..value.len() {
                let mut flipped = value.clone();
                flipped[at] ^= 1;
                assert!(matches!(open(b"z1", &flipped), Err(Damage::Checksum { .. })), "byte {at}");
                assert!(open(b"z1", &value[..at]).is_err());
            }
        }
    }

    #[test]
    fn what_repeats_itself_is_packed_and_noise_is_not() {
        assert!(seal(b"z", &b"temperature, ".repeat(40)).len() < 60);
        let mut state = 1u64;
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        let noise: Vec<u8> = (0..1000).map(|_| byte()).collect();
        assert_eq!(seal(b"z", &noise).len(), noise.len() + SEAL_BYTES);
    }

    #[test]
    fn a_packed_record_that_lies_about_its_length_is_refused() {
        let mut value = vec![0, 0, 0, 0, PACKED];
        value.extend_from_slice(&u32::MAX.to_le_bytes());
        let sum = checksum(b"z", &value[4..]).to_le_bytes();
        value[..4].copy_from_slice(&sum);
        assert!(matches!(open(b"z", &value), Err(Damage::Content { .. })));
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
