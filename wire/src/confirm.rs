//! The durable confirmation: the agent tells a node which of its frames are on disk.
//!
//! Published retained on `fettle/1/<site>/<asset>/durable`, at most once a second. A broker's acknowledgement proves
//! nothing; a node frees a frame only when this message covers it.
//!
//! A node must never free a frame of a boot that is not listed, nor one at or above `next`; a listed boot's `next` never
//! goes back, so a confirmation that is read late or twice frees nothing too early.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::cbor::{self, CborError};

/// The most boots that one confirmation lists; the least recently heard are left out.
pub const MAX_CONFIRMED_BOOTS: usize = 16;
/// The largest confirmation, in bytes.
pub const MAX_CONFIRMATION: usize = 4096;

/// Every boot lately heard of an asset's nodes, with the sequence up to which all is settled.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Durable {
    /// Schema version.
    pub version: u8,
    /// (boot, next): every frame of the boot with a sequence below `next` is on disk, or was declared lost by the node
    /// itself through [`crate::Frame::oldest`].
    #[serde(deserialize_with = "cbor::sequence")]
    pub confirmed: Vec<(u64, u64)>,
}

impl Durable {
    /// Encodes the confirmation.
    pub fn encode(&self) -> Result<Vec<u8>, CborError> {
        cbor::encode(self)
    }

    /// Decodes a confirmation of at most [`MAX_CONFIRMATION`] bytes and checks its schema version.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let durable: Self = cbor::decode(bytes, MAX_CONFIRMATION)?;
        if !crate::accepts_version(durable.version) {
            return Err(CborError::Malformed(serde::de::Error::custom(format_args!(
                "schema version {} is not within one of {}",
                durable.version,
                crate::SCHEMA_VERSION
            ))));
        }
        Ok(durable)
    }

    /// The sequence below which everything of `boot` is settled; `None` if the boot is not listed.
    pub fn next_of(&self, boot: u64) -> Option<u64> {
        self.confirmed.iter().find(|c| c.0 == boot).map(|c| c.1)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    fn durable(version: u8) -> Durable {
        Durable { version, confirmed: vec![(u64::MAX, 7), (3, 0)] }
    }

    #[test]
    fn a_confirmation_is_read_back() {
        let sent = durable(crate::SCHEMA_VERSION);
        let read = Durable::decode(&sent.encode().unwrap()).unwrap();
        assert_eq!(read, sent);
        assert_eq!((read.next_of(u64::MAX), read.next_of(3), read.next_of(4)), (Some(7), Some(0), None));
    }

    #[test]
    fn a_confirmation_of_a_far_version_is_refused() {
        assert!(Durable::decode(&durable(crate::SCHEMA_VERSION + 1).encode().unwrap()).is_ok());
        let error = Durable::decode(&durable(crate::SCHEMA_VERSION + 2).encode().unwrap()).unwrap_err();
        assert!(error.to_string().contains("schema version 3"), "{error}");
    }

    #[test]
    fn the_longest_confirmation_that_is_sent_fits() {
        let confirmed = vec![(u64::MAX, u64::MAX); MAX_CONFIRMED_BOOTS];
        let bytes = Durable { version: u8::MAX, confirmed }.encode().unwrap();
        assert!(bytes.len() <= MAX_CONFIRMATION, "{}", bytes.len());
    }
}
