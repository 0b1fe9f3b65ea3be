//! What a release says of itself.

use std::collections::BTreeMap;
use std::fmt;

use fettle_wire::record::{Hex, unhex};
use fettle_wire::{Micros, Name};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// SHA-256 of something, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// From its digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        unhex(text, &mut bytes).map(|()| Self(bytes))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("a hash has 64 hexadecimal digits"))
    }
}

/// One part of a release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// `network.onnx`, `prognosis.cbor` or `golden.cbor`.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: Hash,
}

/// What a release says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this form.
    pub format: u32,
    /// What it is called; with the version it names a release to people.
    pub name: Name,
    /// Counts up with every release of that name.
    pub version: u64,
    /// Class of machines it is for, as in the registry.
    pub class: String,
    /// Hash of the feature schema; with the class it makes a cohort.
    pub schema: String,
    /// When it was made, microseconds UTC.
    pub created: Micros,
    /// Hash of the release it grew out of by learning at sites.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Hash>,
    /// Numbers that go into a network: one row of scaled features.
    pub inputs: u64,
    /// Networks whose mean speaks.
    pub members: u64,
    /// Weights and biases of all members.
    pub parameters: u64,
    /// What a runtime must know.
    pub operators: Vec<String>,
    /// How much the trees count: (1 - weight) networks + weight trees.
    pub tree_weight: f64,
    /// Lives it was trained on.
    pub lives: u64,
    /// Figures of merit on lives held out, in the schema's unit of time.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, f64>,
    /// What a person should know.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// The parts in the order in which they follow.
    pub parts: Vec<Part>,
}
