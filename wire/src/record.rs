//! The envelope of every Kafka record, and its identity.
//!
//! The id is a hash of what the record is about, so what is emitted again after a crash has the same id; the content
//! hash shows whether it also says the same. Equal id with different content is a conflict.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::id::Name;
use crate::json::{self, JsonError};

/// A lane of the outbox, in the order of delivery. One sequence counts per lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Alarms.
    Alerts,
    /// Health records and aggregates.
    Health,
    /// Ledger entries.
    Ledger,
}

impl Lane {
    /// All lanes, most urgent first.
    pub const ALL: [Self; 3] = [Self::Alerts, Self::Health, Self::Ledger];

    /// The name used in records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alerts => "alerts",
            Self::Health => "health",
            Self::Ledger => "ledger",
        }
    }
}

/// A 128-bit hash, shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub [u8; 16]);

impl RecordId {
    /// The hash of `parts`, each preceded by its length so that no two lists of parts run together.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        let digest = hasher.finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }

    /// Reads 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut id = [0; 16];
        unhex(text, &mut id)?;
        Some(Self(id))
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl Serialize for RecordId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RecordId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("an id is 32 hexadecimal digits"))
    }
}

/// The envelope of every record on Kafka. `body` stays as the bytes that were hashed and signed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Envelope {
    /// Schema version.
    pub version: u8,
    /// Hash of what the record is about.
    pub id: RecordId,
    /// The site.
    pub site: Name,
    /// The agent.
    pub agent: Name,
    /// Random number born with the agent's store, 16 hexadecimal digits.
    pub incarnation: String,
    /// The lane.
    pub lane: Lane,
    /// Number of this record within incarnation and lane, from 0.
    pub sequence: u64,
    /// Version of the engine that computed the body.
    pub engine: String,
    /// Hash of `body`.
    pub content: RecordId,
    /// The first 16 hexadecimal digits of the SHA-256 of the agent's public key, where signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// ed25519 signature, 128 hexadecimal digits, over [`Envelope::signed_text`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// [`crate::Alert`], [`crate::Health`] or [`crate::LedgerEntry`] by lane.
    pub body: Box<RawValue>,
}

/// Why an envelope was not accepted.
#[derive(Debug)]
pub enum EnvelopeError {
    /// Not an envelope's JSON.
    Json(JsonError),
    /// Written by a schema too far from this build's.
    Version(u8),
    /// The content hash is not the body's.
    Content,
    /// A signature is present and wrong, or required and absent.
    Signature,
}

impl fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(e) => e.fmt(f),
            Self::Version(v) => write!(f, "schema version {v} is not within one of {}", crate::SCHEMA_VERSION),
            Self::Content => write!(f, "the content hash is not the body's"),
            Self::Signature => write!(f, "the signature is absent or wrong"),
        }
    }
}

impl core::error::Error for EnvelopeError {}

/// Who writes: the constant part of an agent's envelopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The site.
    pub site: Name,
    /// The agent.
    pub agent: Name,
    /// Random number born with the agent's store.
    pub incarnation: u64,
}

impl Envelope {
    /// Wraps a body that already is JSON.
    pub fn new(identity: &Identity, lane: Lane, sequence: u64, about: &[&[u8]], body: Box<RawValue>) -> Self {
        let incarnation = format!("{:016x}", identity.incarnation);
        let mut parts = alloc::vec![
            identity.site.as_bytes(),
            identity.agent.as_bytes(),
            incarnation.as_bytes(),
            lane.as_str().as_bytes(),
        ];
        parts.extend_from_slice(about);
        Self {
            version: crate::SCHEMA_VERSION,
            id: RecordId::of(&parts),
            site: identity.site.clone(),
            agent: identity.agent.clone(),
            lane,
            sequence,
            engine: env!("CARGO_PKG_VERSION").to_owned(),
            content: RecordId::of(&[body.get().as_bytes()]),
            key: None,
            signature: None,
            body,
            incarnation,
        }
    }

    /// What is signed: everything that identifies the record, and the hash of its body.
    pub fn signed_text(&self) -> String {
        format!(
            "fettle/{}|{}|{}|{}|{}|{}|{}|{}",
            self.version,
            self.id,
            self.site,
            self.agent,
            self.incarnation,
            self.lane.as_str(),
            self.sequence,
            self.content
        )
    }

    /// Signs with the agent's key.
    pub fn sign(&mut self, key: &SigningKey) {
        self.key = Some(key_id(&key.verifying_key()));
        let signature = key.sign(self.signed_text().as_bytes());
        self.signature = Some(Hex(&signature.to_bytes()).to_string());
    }

    /// Whether the signature is present and by `key`.
    pub fn verify(&self, key: &VerifyingKey) -> Result<(), EnvelopeError> {
        let mut bytes = [0; 64];
        self.signature.as_deref().and_then(|text| unhex(text, &mut bytes)).ok_or(EnvelopeError::Signature)?;
        key.verify(self.signed_text().as_bytes(), &Signature::from_bytes(&bytes)).map_err(|_| EnvelopeError::Signature)
    }

    /// Encodes as JSON.
    pub fn encode(&self) -> Result<String, JsonError> {
        json::encode(self)
    }

    /// Decodes and checks version and content hash (not the signature).
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let envelope: Self = json::decode(bytes).map_err(EnvelopeError::Json)?;
        if !crate::accepts_version(envelope.version) {
            return Err(EnvelopeError::Version(envelope.version));
        }
        if envelope.content != RecordId::of(&[envelope.body.get().as_bytes()]) {
            return Err(EnvelopeError::Content);
        }
        Ok(envelope)
    }

    /// The body as its type.
    pub fn body<'a, T: Deserialize<'a>>(&'a self) -> Result<T, JsonError> {
        json::decode(self.body.get().as_bytes())
    }
}

/// The id of a public key: the first 16 hexadecimal digits of its SHA-256.
pub fn key_id(key: &VerifyingKey) -> String {
    Hex(&Sha256::digest(key.as_bytes())[..8]).to_string()
}

/// Shows bytes as lower-case hexadecimal digits.
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, self.0)
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

/// Reads exactly `bytes.len()` bytes of hexadecimal digits.
pub fn unhex(text: &str, bytes: &mut [u8]) -> Option<()> {
    let digits = text.as_bytes();
    if digits.len() != bytes.len() * 2 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = (high * 16 + low) as u8;
    }
    Some(())
}
