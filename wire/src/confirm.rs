//! The durable confirmation: the agent tells a node which of its frames are on disk.
//!
//! Published retained on `fettle/1/<site>/<asset>/durable`, at most once a second. A broker's acknowledgement proves
//! nothing; a node frees a frame only when this message covers it.

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

    /// Decodes a confirmation of at most [`MAX_CONFIRMATION`] bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        cbor::decode(bytes, MAX_CONFIRMATION)
    }

    /// The sequence below which everything of `boot` is settled; `None` if the boot is not listed.
    pub fn next_of(&self, boot: u64) -> Option<u64> {
        self.confirmed.iter().find(|c| c.0 == boot).map(|c| c.1)
    }
}
