//! Releases on their way: the parts of a release file, the pointer that says what a class of machines runs, and how a
//! record names what spoke.
//!
//! A release file is larger than a Kafka record should be, so it travels in parts on `fettle.releases`, each under a key
//! of its own (compaction keeps the last record of a key). A [`Rollout`] on `fettle.rollouts`, keyed by class, names the
//! release that is to be run. It is no permission: an agent judges the file itself, by its signature and all else.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::cbor::{self, CborError};
use crate::id::Name;
use crate::json::{self, JsonError};
use crate::time::Micros;

/// Bytes of a file in one part.
pub const PART_BYTES: usize = 900_000;
/// Parts of a file at most.
pub const MAX_PARTS: u32 = 16;
/// The longest class and issuer, in bytes.
const MAX_TEXT: usize = 256;

/// What names a release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReleaseRef {
    /// Its name.
    pub name: Name,
    /// Its version.
    pub version: u64,
    /// Its content hash, 64 lower-case hexadecimal digits.
    pub hash: String,
}

/// How a release is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Beside the active one, silently, until the agent's own comparison promotes it.
    Shadow,
    /// At once.
    Active,
}

/// What a class of machines is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Schema version.
    pub version: u8,
    /// The class of machines.
    pub class: String,
    /// The release.
    pub release: ReleaseRef,
    /// How.
    pub mode: Mode,
    /// The least version that may be run from now on; it only rises.
    #[serde(default)]
    pub floor: u64,
    /// Who decided it.
    pub issuer: String,
    /// When; of two pointers the later one counts.
    pub issued: Micros,
}

impl Rollout {
    /// Encodes as JSON.
    pub fn encode(&self) -> Result<String, JsonError> {
        json::encode(self)
    }

    /// Decodes and checks.
    pub fn decode(bytes: &[u8]) -> Result<Self, JsonError> {
        let rollout: Self = json::decode(bytes)?;
        if !crate::accepts_version(rollout.version) {
            return Err(json::violation("schema_version"));
        }
        let hash = &rollout.release.hash;
        if hash.len() != 64 || !hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(json::violation("hash"));
        }
        if rollout.class.is_empty() || rollout.class.len().max(rollout.issuer.len()) > MAX_TEXT {
            return Err(json::violation("text_length"));
        }
        Ok(rollout)
    }
}

/// One part of a release file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasePart {
    /// Content hash of the release.
    pub hash: String,
    /// Which part, from 0.
    pub index: u32,
    /// How many there are.
    pub count: u32,
    /// Its bytes.
    #[serde(with = "bytes")]
    pub bytes: Vec<u8>,
}

impl ReleasePart {
    /// The parts of a file.
    pub fn of(hash: &str, file: &[u8]) -> Vec<Self> {
        let count = file.len().div_ceil(PART_BYTES) as u32;
        let part = |(index, bytes): (usize, &[u8])| Self {
            hash: hash.into(),
            index: index as u32,
            count,
            bytes: bytes.to_vec(),
        };
        file.chunks(PART_BYTES).enumerate().map(part).collect()
    }

    /// Encodes as CBOR.
    pub fn encode(&self) -> Result<Vec<u8>, CborError> {
        cbor::encode(self)
    }

    /// Decodes; a part that cannot belong to a whole is malformed.
    pub fn decode(record: &[u8]) -> Result<Self, CborError> {
        let part: Self = cbor::decode(record, PART_BYTES + 1024)?;
        if part.hash.len() != 64 || part.count > MAX_PARTS || part.index >= part.count {
            return Err(CborError::Malformed(serde::de::Error::custom("a part of nothing")));
        }
        Ok(part)
    }
}

/// Byte strings, not sequences of numbers.
mod bytes {
    use alloc::vec::Vec;

    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("a byte string")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout() -> Rollout {
        let hash = "0123456789abcdef".repeat(4);
        Rollout {
            version: crate::SCHEMA_VERSION,
            class: "pump".into(),
            release: ReleaseRef { name: Name::new("pump-life").unwrap(), version: 3, hash },
            mode: Mode::Shadow,
            floor: 2,
            issuer: "ada".into(),
            issued: 7,
        }
    }

    #[test]
    fn a_rollout_is_read_back_and_one_without_a_hash_is_none() {
        let sent = rollout();
        assert_eq!(Rollout::decode(sent.encode().unwrap().as_bytes()).unwrap(), sent);
        let mut bad = rollout();
        bad.release.hash.pop();
        assert!(Rollout::decode(bad.encode().unwrap().as_bytes()).is_err());
        assert!(Rollout::decode(Rollout { class: String::new(), ..rollout() }.encode().unwrap().as_bytes()).is_err());
        assert!(Rollout::decode(Rollout { version: 9, ..rollout() }.encode().unwrap().as_bytes()).is_err());
    }

    #[test]
    fn the_parts_of_a_file_make_the_file() {
        let file: Vec<u8> = (0..2 * PART_BYTES + 5).map(|i| (i * 7) as u8).collect();
        let hash = "ab".repeat(32);
        let parts = ReleasePart::of(&hash, &file);
        assert_eq!(parts.len(), 3);
        let back: Vec<u8> =
            parts.iter().flat_map(|p| ReleasePart::decode(&p.encode().unwrap()).unwrap().bytes).collect();
        assert_eq!(back, file);
        let stray = ReleasePart { index: 3, ..parts[0].clone() };
        assert!(ReleasePart::decode(&stray.encode().unwrap()).is_err());
        assert!(ReleasePart::decode(&[0xff; 9]).is_err());
    }
}
