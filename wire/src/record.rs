//! The envelope of every Kafka record, and its identity.
//!
//! The id is a hash of what the record is about, so what is emitted again after a crash has the same id; the content
//! hash shows whether it also says the same. Equal id with different content is a conflict.
//!
//! The agent wraps a body once, stores the text in its outbox and sends those bytes however often it takes; a reader
//! decodes them with [`Envelope::decode`], which checks in this order: JSON, schema version, the shape of the hexadecimal
//! fields, content hash. The signature is the reader's to ask for ([`Envelope::verify`]), because only it knows the keys.
//!
//! - E1: `content` is the hash of the bytes of `body` as they stand, so the body is never re-encoded on the way.
//! - E2: the signed text names version, id, site, agent, incarnation, lane, sequence and content; none of its parts but
//!   the incarnation, which is checked, could hold the `|` between them. `engine` and `key` are not signed: `engine` is
//!   for people, and `key` is compared with the key that verifies.
//!
//! Must never: hold a secret key, or trust a record because its hash agrees (anybody can hash).

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
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
    /// Waveform blocks with their spectra.
    Evidence,
}

impl Lane {
    /// All lanes, most urgent first.
    pub const ALL: [Self; 4] = [Self::Alerts, Self::Health, Self::Ledger, Self::Evidence];

    /// The name used in records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alerts => "alerts",
            Self::Health => "health",
            Self::Ledger => "ledger",
            Self::Evidence => "evidence",
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
    /// [`crate::Alert`], [`crate::Health`], [`crate::LedgerEntry`] or [`crate::Evidence`] by lane.
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

    /// Whether the signature is present and by `key`, and the envelope names that key. Strict as in RFC 8032 section 5.1.7
    /// and beyond: weak keys, under which one signature fits many texts, are refused. A retry never helps.
    pub fn verify(&self, key: &VerifyingKey) -> Result<(), EnvelopeError> {
        let mut bytes = [0; 64];
        self.signature.as_deref().and_then(|text| unhex(text, &mut bytes)).ok_or(EnvelopeError::Signature)?;
        if self.key.as_deref() != Some(key_id(key).as_str()) {
            return Err(EnvelopeError::Signature);
        }
        key.verify_strict(self.signed_text().as_bytes(), &Signature::from_bytes(&bytes))
            .map_err(|_| EnvelopeError::Signature)
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
        if !is_hex(&envelope.incarnation, 16) {
            return Err(EnvelopeError::Json(json::violation("an incarnation is 16 hexadecimal digits")));
        }
        if !envelope.key.as_deref().is_none_or(|key| is_hex(key, 16)) {
            return Err(EnvelopeError::Json(json::violation("a key id is 16 hexadecimal digits")));
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

/// Whether `text` is `digits` lower-case hexadecimal digits.
fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

/// Reads exactly `bytes.len()` bytes of hexadecimal digits, in either case; `None` for anything else, and what `bytes`
/// then hold means nothing.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032 section 7.1, TEST 1: secret key, public key, signature of the empty message.
    const SECRET: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    const EMPTY: &str = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd\
                         25bf5f0595bbe24655141438e7a100b";

    fn key() -> SigningKey {
        let mut secret = [0; 32];
        unhex(SECRET, &mut secret).unwrap();
        SigningKey::from_bytes(&secret)
    }

    fn envelope() -> Envelope {
        let name = |text| Name::new(text).unwrap();
        let identity = Identity { site: name("plant-a"), agent: name("gw-1"), incarnation: 0xfeed };
        let body = RawValue::from_string("{\"a\": 1}".into()).unwrap();
        Envelope::new(&identity, Lane::Alerts, 9, &[b"pump-1", b"anomaly"], body)
    }

    fn decode(envelope: &Envelope) -> Result<Envelope, EnvelopeError> {
        Envelope::decode(envelope.encode().unwrap().as_bytes())
    }

    #[test]
    fn the_key_and_its_signature_are_those_of_rfc_8032() {
        let key = key();
        assert_eq!(Hex(key.verifying_key().as_bytes()).to_string(), PUBLIC);
        assert_eq!(Hex(&key.sign(b"").to_bytes()).to_string(), EMPTY);
        // printf PUBLIC | xxd -r -p | sha256sum
        assert_eq!(key_id(&key.verifying_key()), "21fe31dfa154a261");
    }

    #[test]
    fn an_id_is_the_front_of_a_sha_256_over_lengths_and_parts() {
        // The empty list hashes nothing: FIPS 180-4's digest of the empty message.
        assert_eq!(RecordId::of(&[]).to_string(), "e3b0c44298fc1c149afbf4c8996fb924");
        // printf '\0\0\0\0\0\0\0\003abc' | sha256sum
        assert_eq!(RecordId::of(&[b"abc"]).to_string(), "c3494ca1a2cf8eeb8a11ded316fb55b8");
        // printf '\0\0\0\0\0\0\0\001a\0\0\0\0\0\0\0\002bc' | sha256sum
        assert_eq!(RecordId::of(&[b"a", b"bc"]).to_string(), "3fafa1cf2f19a7c1129beb20cf0983f7");
        assert_ne!(RecordId::of(&[b"ab", b"c"]), RecordId::of(&[b"a", b"bc"]));
    }

    #[test]
    fn a_signed_envelope_is_read_back_and_verified() {
        let mut sent = envelope();
        sent.sign(&key());
        let read = decode(&sent).unwrap();
        assert_eq!(read.encode().unwrap(), sent.encode().unwrap());
        assert!(read.verify(&key().verifying_key()).is_ok());
        assert_eq!(read.body.get(), "{\"a\": 1}", "the body keeps its bytes, blanks too");
    }

    #[test]
    fn a_signature_does_not_cover_anything_that_was_changed() {
        let public = key().verifying_key();
        let mut signed = envelope();
        signed.sign(&key());
        let name = |text| Name::new(text).unwrap();
        let other_id = RecordId([0; 16]);
        let changed = [
            Envelope { version: 2, ..signed.clone() },
            Envelope { id: other_id, ..signed.clone() },
            Envelope { site: name("plant-b"), ..signed.clone() },
            Envelope { agent: name("gw-2"), ..signed.clone() },
            Envelope { incarnation: "000000000000feee".into(), ..signed.clone() },
            Envelope { lane: Lane::Health, ..signed.clone() },
            Envelope { sequence: 10, ..signed.clone() },
            Envelope { content: other_id, ..signed.clone() },
            Envelope { key: Some("0000000000000000".into()), ..signed.clone() },
            Envelope { key: None, ..signed.clone() },
            Envelope { signature: None, ..signed.clone() },
            Envelope { signature: Some("00".into()), ..signed.clone() },
        ];
        for (i, envelope) in changed.iter().enumerate() {
            assert!(matches!(envelope.verify(&public), Err(EnvelopeError::Signature)), "change {i} went unseen");
        }
        let other = SigningKey::from_bytes(&[1; 32]).verifying_key();
        assert!(signed.verify(&other).is_err());
    }

    #[test]
    fn a_changed_body_is_refused_by_its_content_hash() {
        let mut signed = envelope();
        signed.sign(&key());
        let text = signed.encode().unwrap();
        assert!(Envelope::decode(text.as_bytes()).is_ok());
        // Even where the JSON means the same.
        let changed = text.replace("{\"a\": 1}", "{\"a\":1}");
        assert_ne!(changed, text);
        assert!(matches!(Envelope::decode(changed.as_bytes()), Err(EnvelopeError::Content)));
    }

    #[test]
    fn a_far_version_is_refused_and_the_next_is_read_with_its_new_fields() {
        let next = Envelope { version: crate::SCHEMA_VERSION + 1, ..envelope() };
        let text = next.encode().unwrap().replacen('{', "{\"new\":[{}],", 1);
        assert!(Envelope::decode(text.as_bytes()).is_ok());
        let far = Envelope { version: crate::SCHEMA_VERSION + 2, ..envelope() };
        assert!(matches!(decode(&far), Err(EnvelopeError::Version(3))));
    }

    #[test]
    fn hexadecimal_fields_of_another_shape_are_refused() {
        for incarnation in ["", "feed", "00000000000000000", "000000000000FEED", "0|000000000000000"] {
            let odd = Envelope { incarnation: incarnation.into(), ..envelope() };
            assert!(matches!(decode(&odd), Err(EnvelopeError::Json(_))), "{incarnation}");
        }
        assert!(matches!(decode(&Envelope { key: Some("key".into()), ..envelope() }), Err(EnvelopeError::Json(_))));
        let mut bytes = [0; 2];
        assert_eq!(unhex("0aFf", &mut bytes).map(|()| bytes), Some([0x0a, 0xff]));
        for text in ["", "0", "0aff0", "0aff00", "0ag0", "é00", "+a00"] {
            assert!(unhex(text, &mut bytes).is_none(), "{text}");
        }
    }

    #[test]
    fn a_lane_is_named_in_json_as_it_is_in_metrics() {
        for lane in Lane::ALL {
            assert_eq!(json::encode(&lane).unwrap(), format!("\"{}\"", lane.as_str()));
        }
    }
}
