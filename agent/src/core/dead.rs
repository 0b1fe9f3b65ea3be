//! Dead letters: messages that could not be used, kept for inspection in a bounded store.

use fettle_wire::{Micros, cbor};
use serde::{Deserialize, Serialize};

/// The most dead letters kept; the oldest make room.
pub const MAX_DEAD: u64 = 1000;
/// How much of a payload is kept, in bytes.
const KEEP: usize = 1024;

/// One message that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Wall time of arrival.
    pub at: Micros,
    /// The ledger's reason.
    pub reason: String,
    /// What exactly was wrong.
    pub detail: String,
    /// The topic.
    pub topic: String,
    /// Bytes of the whole payload.
    pub length: u64,
    /// Its beginning.
    #[serde(with = "payload")]
    pub payload: Vec<u8>,
}

mod payload {
    use serde::{Deserialize, Deserializer, Serializer};
    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        <&[u8]>::deserialize(deserializer).map(<[u8]>::to_vec)
    }
}

impl DeadLetter {
    /// Takes down a message.
    pub fn new(at: Micros, reason: &str, detail: String, topic: &str, payload: &[u8]) -> Self {
        Self {
            at,
            reason: reason.to_owned(),
            detail,
            topic: topic.chars().take(256).collect(),
            length: payload.len() as u64,
            payload: payload[..payload.len().min(KEEP)].to_vec(),
        }
    }

    /// Encodes as CBOR.
    pub fn encode(&self) -> Vec<u8> {
        // Invariant: texts, numbers and bytes; CBOR holds them all.
        cbor::encode(self).unwrap_or_default()
    }

    /// Decodes.
    pub fn decode(bytes: &[u8]) -> Result<Self, cbor::CborError> {
        cbor::decode(bytes, 64 * 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_keeps_the_beginning_of_its_payload() {
        let letter = DeadLetter::new(5, "malformed_cbor", "why".to_owned(), "topic", &[7; 5000]);
        let back = DeadLetter::decode(&letter.encode()).unwrap();
        assert_eq!((back.length, back.payload.len()), (5000, KEEP));
        assert_eq!(back, letter);
    }
}
